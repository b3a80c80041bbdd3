//! The registry of hot items: the last change that was acknowledged, or a later one that was not.

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::wish::{SKUS, number_of};
use super::world::End;
use super::{Checked, Violation};
use crate::hot_items::HotItem;
use crate::lanes::EnqueueError;
use crate::store::Commit;

type Written = oneshot::Receiver<Result<(), EnqueueError>>;

/// What was asked for, acknowledged and written.
#[derive(Default)]
pub(super) struct Registry {
    skus: [Changes; SKUS.len()],
    /// Who waits for an acknowledgement: of which SKU, and of which change.
    waiting: Vec<(usize, usize, Written)>,
}

/// What a SKU is to be registered with; `None`: it is to be no hot item.
type Wanted = Option<HotItem>;

/// The changes of one SKU.
#[derive(Default)]
struct Changes {
    /// In order; those that were refused are no more.
    asked: Vec<Option<Wanted>>,
    /// How many of them are acknowledged, or came before one that is.
    acknowledged: usize,
    written: Option<HotItem>,
}

impl Registry {
    pub(super) fn asked(&mut self, sku: usize, item: Option<HotItem>, written: Written) {
        self.skus[sku].asked.push(Some(item));
        self.waiting.push((sku, self.skus[sku].asked.len(), written));
    }

    /// Everything that is not written is lost, and nobody hears of what is.
    pub(super) fn crash(&mut self) {
        self.waiting.clear();
    }

    pub(super) fn committed(&mut self, commit: &Commit) {
        for (sku, item) in &commit.hot_items {
            self.skus[number_of(sku)].written = *item;
        }
    }

    /// All acknowledgements that are there arrive. After an `end` there is one for each, or none
    /// will come. Returns how many changes were refused.
    pub(super) fn hear(&mut self, end: End) -> Result<usize, Violation> {
        let mut refused = 0;
        for (sku, number, mut written) in std::mem::take(&mut self.waiting) {
            match written.try_recv() {
                Ok(Ok(())) => {
                    let changes = &mut self.skus[sku];
                    changes.acknowledged = changes.acknowledged.max(number);
                }
                Ok(Err(EnqueueError::TooManyHotItems { .. })) => {
                    refused += 1;
                    self.skus[sku].asked[number - 1] = None;
                }
                Ok(Err(error)) => return Err(Violation(format!("no reason: {error}"))),
                Err(TryRecvError::Closed) => {
                    ensure!(end == End::Failed, "a change of a hot item is lost");
                }
                Err(TryRecvError::Empty) => {
                    ensure!(end == End::None, "a change of a hot item waits for ever");
                    self.waiting.push((sku, number, written));
                }
            }
        }
        Ok(refused)
    }

    /// Checks what is written, and what the engine says of it.
    pub(super) fn check(&self, says: impl Fn(usize) -> Option<HotItem>, max: usize) -> Checked {
        for (sku, Changes { asked, acknowledged, written }) in self.skus.iter().enumerate() {
            let is_written = Some(*written);
            let may_be = match acknowledged.checked_sub(1) {
                Some(last) => asked[last..].contains(&is_written),
                None => written.is_none() || asked.contains(&is_written),
            };
            ensure!(may_be, "{written:?} is written, {asked:?} was asked, {acknowledged} are told");
            let says = says(sku);
            ensure!(says == *written, "{written:?} is written, but the registry says {says:?}");
        }
        let count = self.count();
        ensure!(count <= max, "{count} hot items, more than {max}");
        Ok(())
    }

    /// How many hot items are written.
    pub(super) fn count(&self) -> usize {
        self.skus.iter().filter(|changes| changes.written.is_some()).count()
    }
}
