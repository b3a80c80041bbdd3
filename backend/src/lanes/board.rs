//! How the hot items stand: written by the owner with each turn, for those who tell the edges of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cartgate_ledger::UnixMs;
use cartgate_policy::Sku;

use super::stocks::Stocks;
use super::turn::Decided;
use crate::hot_items::HotItem;
use crate::store::Commit;

/// How the hot items stand, as of the last commit.
#[derive(Default)]
pub(super) struct Board(Mutex<BTreeMap<Sku, Standing>>);

/// How a hot item stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its stock; `None`: it was never put up for sale.
    pub stock: Option<HotStock>,
    /// How many reserve commands were decided since the owner began, or since it is a hot item.
    pub decided: u64,
}

/// A hot item's stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HotStock {
    /// Units that can be had.
    pub available: u64,
    /// Units in holds.
    pub held: u64,
    /// When the first of them expires; `None`: there are none, or nobody knows.
    pub next_due: Option<UnixMs>,
}

impl Board {
    /// Notes a hot item that there is from the start.
    pub(super) fn restore(&self, sku: &Sku, stocks: &Stocks) {
        let standing = Standing { stock: stocks.hot_stock(sku), decided: 0 };
        self.standings().insert(sku.clone(), standing);
    }

    /// Notes what a turn has changed. `hot_items` are all that there are after it.
    pub(super) fn note(
        &self,
        hot_items: &BTreeMap<Sku, HotItem>,
        commit: &Commit,
        decided: &Decided,
        stocks: &Stocks,
    ) {
        let mut standings = self.standings();
        if hot_items.is_empty() && standings.is_empty() {
            return;
        }
        for (sku, item) in &commit.hot_items {
            if item.is_none() {
                standings.remove(sku);
            } else if !standings.contains_key(sku) {
                let stock = stocks.hot_stock(sku);
                standings.insert(sku.clone(), Standing { stock, decided: 0 });
            }
        }
        for changed in &commit.skus {
            if let Some(standing) = standings.get_mut(&changed.sku) {
                standing.stock = stocks.hot_stock(&changed.sku);
            }
        }
        for (sku, reserves) in decided.reserves_of(hot_items) {
            if let Some(standing) = standings.get_mut(sku) {
                standing.decided += reserves.decided;
            }
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> BTreeMap<Sku, Standing> {
        self.standings().clone()
    }

    fn standings(&self) -> MutexGuard<'_, BTreeMap<Sku, Standing>> {
        // Nothing in here can panic half way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::rig::{HOLD_MS, Rig, SETTINGS, confirm, sku};

    fn standing(rig: &Rig) -> Option<(u64, u64, Option<u64>, u64)> {
        let Standing { stock, decided } = *rig.shared.board.all().get(&sku())?;
        let HotStock { available, held, next_due } = stock?;
        Some((available, held, next_due.map(|due| due.0), decided))
    }

    #[test]
    fn a_hot_item_is_as_the_last_turn_has_left_it() {
        let mut rig = Rig::new(2, SETTINGS);
        let _early = rig.reserve(1).unwrap();
        rig.turns();
        assert_eq!(standing(&rig), None);
        rig.change_hot_item(&sku(), Some(HotItem::default()));
        let due = Some(1_000 + HOLD_MS);
        assert_eq!(standing(&rig), Some((1, 1, due, 0)));
        rig.set_time(1_010);
        let _late = [2, 3, 4].map(|n| rig.reserve(n).unwrap());
        rig.turns();
        // One was held, two were refused.
        assert_eq!(standing(&rig), Some((0, 2, due, 3)));
        let _confirm = rig.settle(confirm(1));
        rig.turns();
        assert_eq!(standing(&rig), Some((0, 1, due.map(|due| due + 10), 3)));
        let mut rig = rig.crash(SETTINGS);
        assert_eq!(standing(&rig), Some((0, 1, due.map(|due| due + 10), 0)));
        rig.set_time(1_200);
        rig.turns();
        assert_eq!(standing(&rig), Some((1, 0, None, 0)));
        rig.change_hot_item(&sku(), None);
        assert_eq!(standing(&rig), None);
    }
}
