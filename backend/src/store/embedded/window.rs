//! What was committed and is not in the tables yet, in memory.
//!
//! A [`Window`] is the content of one of the log's files and an index of it. [`Windows`] are the one
//! that grows, and the one before it while it is being projected. Behind one lock, held to index a
//! commit that is durable: it is seen as a whole or not at all.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cartgate_ledger::IdMap;
use cartgate_policy::Sku;

use super::log::Run;
use super::record::{Part, Place, read};
use super::rows::Rows;
use crate::store::encoding::{EndedKey, decode, is_held, unreadable};
use crate::store::journal::Entries;
use crate::store::{StockRow, StoreError};

/// What is not in the tables yet.
#[derive(Default)]
pub(super) struct Windows {
    /// Every SKU's stock, whether it is in the tables or not: whoever asks for anything of a SKU
    /// asks for this first.
    pub(super) rows: Rows,
    /// What the log's active file has.
    pub(super) active: Window,
    /// What the other one has, if it is not in the tables yet.
    pub(super) sealed: Option<Arc<Window>>,
}

impl Windows {
    /// The latest that is known; `None` if the tables know better.
    pub(super) fn find<'a, T>(&'a self, look: impl Fn(&'a Window) -> Option<T>) -> Option<T> {
        self.newest_first().find_map(look)
    }

    pub(super) fn newest_first(&self) -> impl DoubleEndedIterator<Item = &Window> {
        [Some(&self.active), self.sealed.as_deref()].into_iter().flatten()
    }

    /// Takes in a commit, given as its record.
    pub(super) fn take(&mut self, record: &[u8]) -> Result<(), StoreError> {
        self.active.take(record, &mut self.rows)
    }
}

/// Commits in a row.
#[derive(Default)]
pub(super) struct Window {
    /// Their records, as in the log.
    bytes: Vec<u8>,
    pub(super) skus: HashMap<Sku, SkuWindow>,
    pub(super) reservations: IdMap<Last>,
    pub(super) adjustments: IdMap<Last>,
    pub(super) purchases: HashMap<Sku, Vec<PurchasePlace>>,
    pub(super) ticketed: IdMap<Last>,
    /// Whether each counts.
    pub(super) ends: BTreeMap<EndedKey, bool>,
    pub(super) hot_items: HashMap<Sku, Last>,
    pub(super) hot_item_histories: HashMap<Sku, Last>,
}

/// What became last of something that has a value: where that is, or that it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    Is(Place),
    Gone,
}

impl Last {
    /// What has no bytes is gone.
    fn of(value: Place, bytes: &[u8]) -> Self {
        if value.of(bytes).is_empty() { Self::Gone } else { Self::Is(value) }
    }
}

/// What happened to a SKU.
pub(super) struct SkuWindow {
    pub(super) row: StockRow,
    pub(super) chunks: Vec<ChunkPlace>,
}

/// Where a chunk of a journal is, by the version of its last entry.
#[derive(Clone, Copy)]
pub(super) struct ChunkPlace {
    pub(super) last_version: u64,
    pub(super) place: Place,
}

/// A purchase, and where its customer's name is.
#[derive(Clone, Copy)]
pub(super) struct PurchasePlace {
    pub(super) customer: Place,
    pub(super) version: u64,
    pub(super) units: u32,
}

impl Window {
    /// Indexes what the log had when it was opened.
    pub(super) fn of(run: Run, rows: &mut Rows) -> Result<Self, StoreError> {
        let mut window = Self { bytes: run.bytes, ..Self::default() };
        window.index(0, rows)?;
        Ok(window)
    }

    /// An empty one, with room for as many reservations as came in this one.
    pub(super) fn next(&self) -> Self {
        let reservations = IdMap::with_capacity_and_hasher(self.reservations.len(), <_>::default());
        Self { reservations, ..Self::default() }
    }

    /// How long its records are.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn value(&self, place: Place) -> &[u8] {
        place.of(&self.bytes)
    }

    /// The value of what is not gone.
    pub(super) fn last_value(&self, last: Last) -> Option<&[u8]> {
        match last {
            Last::Is(place) => Some(self.value(place)),
            Last::Gone => None,
        }
    }

    fn take(&mut self, record: &[u8], rows: &mut Rows) -> Result<(), StoreError> {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(record);
        self.index(at, rows)
    }

    fn index(&mut self, at: usize, rows: &mut Rows) -> Result<(), StoreError> {
        let bytes = std::mem::take(&mut self.bytes);
        let mut result = Ok(());
        for content in Run::contents(&bytes[at..]) {
            let content = at + content.start..at + content.end;
            let indexed = read(&bytes, content, |part| {
                if let Err(error) = self.put(part, &bytes, rows) {
                    result = Err(error);
                }
            });
            result = result.and(indexed.map_err(unreadable("commit")));
        }
        self.bytes = bytes;
        result
    }

    fn put(&mut self, part: Part, bytes: &[u8], rows: &mut Rows) -> Result<(), StoreError> {
        match part {
            Part::Stock { sku, row, chunks } => {
                let row: StockRow = decode("stock", row.of(bytes))?;
                let last_version = |chunk| Ok(Entries::of(chunk)?.last_version());
                let chunk = |place: Place| {
                    Ok(ChunkPlace { last_version: last_version(place.of(bytes))?, place })
                };
                let chunks =
                    chunks.into_iter().map(chunk).collect::<Result<Vec<_>, StoreError>>()?;
                rows.set(&sku, row);
                let changed =
                    self.skus.entry(sku).or_insert_with(|| SkuWindow { row, chunks: Vec::new() });
                changed.row = row;
                changed.chunks.extend(chunks);
            }
            Part::Reservation { id, value } => _ = self.reservations.insert(id, Last::Is(value)),
            Part::Adjustment { id, value } => _ = self.adjustments.insert(id, Last::Is(value)),
            Part::Purchase { sku, customer, version, units } => {
                let purchase = PurchasePlace { customer, version, units };
                self.purchases.entry(sku).or_default().push(purchase);
            }
            Part::Ticketed { id, value } => _ = self.ticketed.insert(id, Last::Is(value)),
            Part::Unticketed(id) => _ = self.ticketed.insert(id, Last::Gone),
            Part::Superseded(key) => _ = self.ends.insert(key, false),
            Part::Ended(key) => _ = self.ends.insert(key, true),
            Part::Forgotten(key) => self.forget(key, bytes),
            Part::HotItem { sku, value } => {
                _ = self.hot_items.insert(sku, Last::of(value, bytes));
            }
            Part::HotItemHistory { sku, value } => {
                _ = self.hot_item_histories.insert(sku, Last::of(value, bytes));
            }
        }
        Ok(())
    }

    /// Forgets a decision; but not a hold that was taken anew under the same id.
    fn forget(&mut self, key: EndedKey, bytes: &[u8]) {
        self.ends.insert(key, false);
        let id = key.id();
        if key.is_adjustment() {
            self.adjustments.insert(id, Last::Gone);
        } else if !matches!(self.reservations.get(&id), Some(Last::Is(p)) if is_held(p.of(bytes))) {
            self.reservations.insert(id, Last::Gone);
        }
    }
}
