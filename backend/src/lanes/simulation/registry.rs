//! The registry of hot items: the last change that was acknowledged, or a later one that was not; and
//! its history, which has every change that was written.

use cartgate_policy::Sku;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::wish::{SKUS, number_of};
use super::world::End;
use super::{Checked, Violation};
use crate::hot_items::{ChangeKind, Changed, HotItem, HotItemHistory};
use crate::lanes::EnqueueError;
use crate::lanes::registry::Verdict;
use crate::store::Commit;

/// What was asked for, acknowledged and written.
#[derive(Default)]
pub(super) struct Registry {
    skus: [Changes; SKUS.len()],
    waiting: Vec<Waiting>,
}

/// Somebody who waits for an acknowledgement.
struct Waiting {
    sku: usize,
    /// Which of the SKU's changes it is.
    number: usize,
    expected_version: Option<u64>,
    verdict: oneshot::Receiver<Verdict>,
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
    history: HotItemHistory,
}

impl Registry {
    pub(super) fn asked(
        &mut self,
        sku: usize,
        item: Option<HotItem>,
        expected_version: Option<u64>,
        verdict: oneshot::Receiver<Verdict>,
    ) {
        self.skus[sku].asked.push(Some(item));
        let number = self.skus[sku].asked.len();
        self.waiting.push(Waiting { sku, number, expected_version, verdict });
    }

    /// The version of a SKU's last change that is written.
    pub(super) fn version(&self, sku: usize) -> u64 {
        version_of(&self.skus[sku].history)
    }

    /// Everything that is not written is lost, and nobody hears of what is.
    pub(super) fn crash(&mut self) {
        self.waiting.clear();
    }

    pub(super) fn committed(&mut self, commit: &Commit) -> Checked {
        check_histories(commit)?;
        for (sku, item) in &commit.hot_items {
            self.skus[number_of(sku)].written = *item;
        }
        for (sku, history) in &commit.hot_item_histories {
            let changes = &mut self.skus[number_of(sku)];
            let (before, history) = (&changes.history, history.clone().unwrap_or_default());
            let is_new = |version: u64| version > version_of(before);
            let old = history.newest_first().skip_while(|entry| is_new(entry.version));
            let is_kept = old.zip(before.newest_first()).all(|(now, before)| now == before);
            ensure!(is_kept, "{before:?} was written, and {history:?} is");
            ensure!(is_new(version_of(&history)), "no change after {before:?}: {history:?}");
            changes.history = history;
        }
        Ok(())
    }

    /// All acknowledgements that are there arrive. After an `end` there is one for each, or none
    /// will come. Returns how many changes found no room, and how many another version.
    pub(super) fn hear(&mut self, end: End) -> Result<(usize, usize), Violation> {
        let (mut too_many, mut changed_since) = (0, 0);
        for mut waiting in std::mem::take(&mut self.waiting) {
            let changes = &mut self.skus[waiting.sku];
            match waiting.verdict.try_recv() {
                Ok(Ok(changed)) => {
                    let asked = changes.asked[waiting.number - 1];
                    let is_right = asked.is_some_and(|wanted| is_as_asked(changed.item, wanted));
                    ensure!(is_right, "{asked:?} was asked, and is said to be {changed:?}");
                    check_expected(waiting.expected_version, &changed)?;
                    changes.acknowledged = changes.acknowledged.max(waiting.number);
                }
                Ok(Err(EnqueueError::TooManyHotItems { .. })) => {
                    too_many += 1;
                    changes.asked[waiting.number - 1] = None;
                }
                Ok(Err(EnqueueError::HotItemChanged { version })) => {
                    let expected = waiting.expected_version;
                    let is_right =
                        expected.is_some_and(|expected| version.unwrap_or(0) != expected);
                    ensure!(is_right, "{expected:?} was expected, and {version:?} is another");
                    changed_since += 1;
                    changes.asked[waiting.number - 1] = None;
                }
                Ok(Err(error)) => return Err(Violation(format!("no reason: {error}"))),
                Err(TryRecvError::Closed) => {
                    ensure!(end == End::Failed, "a change of a hot item is lost");
                }
                Err(TryRecvError::Empty) => {
                    ensure!(end == End::None, "a change of a hot item waits for ever");
                    self.waiting.push(waiting);
                }
            }
        }
        Ok((too_many, changed_since))
    }

    /// Checks what is written, and what the engine says of it.
    pub(super) fn check(&self, says: impl Fn(usize) -> Option<HotItem>, max: usize) -> Checked {
        for (sku, changes) in self.skus.iter().enumerate() {
            let Changes { asked, acknowledged, written, .. } = changes;
            let is_written =
                |asked: &Option<Wanted>| asked.is_some_and(|wanted| is_as_asked(*written, wanted));
            let may_be = match acknowledged.checked_sub(1) {
                Some(last) => asked[last..].iter().any(is_written),
                None => written.is_none() || asked.iter().any(is_written),
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

/// Whether an entry is what was asked for.
pub(super) fn is_as_asked(item: Option<HotItem>, wanted: Option<HotItem>) -> bool {
    match (item, wanted) {
        (Some(item), Some(wanted)) => item.is_as_asked(&wanted),
        (item, wanted) => item.is_none() && wanted.is_none(),
    }
}

/// Whoever changes an entry of a version changes that one; who expects none registers a new one.
pub(super) fn check_expected(expected_version: Option<u64>, changed: &Changed) -> Checked {
    let (Some(expected), Some(item)) = (expected_version, changed.item) else { return Ok(()) };
    let is_right = match changed.kind {
        Some(ChangeKind::Registered) => expected == 0,
        kind => item.version == expected + u64::from(kind.is_some()),
    };
    ensure!(is_right, "{expected} was to be changed, and {changed:?} was done");
    Ok(())
}

/// Each entry that a commit changes is the last of its history, of which no change is missing.
pub(super) fn check_histories(commit: &Commit) -> Checked {
    let history_of = |sku: &Sku| commit.hot_item_histories.iter().find(|(of, _)| of == sku);
    for (sku, item) in &commit.hot_items {
        let Some((_, Some(history))) = history_of(sku) else {
            return Err(Violation(format!("{sku} is changed, and its history is not")));
        };
        let last = history.last();
        ensure!(last.is_some_and(|last| last.item == *item), "{item:?}, and last {last:?}");
        let versions: Vec<_> = history.newest_first().map(|entry| entry.version).collect();
        let has_all = versions.windows(2).all(|pair| pair[0] == pair[1] + 1);
        ensure!(has_all, "a history of {sku} with versions {versions:?}");
        let kept = history.newest_first().filter_map(|entry| Some((entry.version, entry.item?)));
        for (version, item) in kept {
            ensure!(item.version == version, "{item:?} is not version {version}");
        }
    }
    Ok(())
}

fn version_of(history: &HotItemHistory) -> u64 {
    history.last().map_or(0, |last| last.version)
}
