//! The stock of every SKU of an owner, in memory, and which hold is due next.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use cartgate_ledger::{
    Changes, Circumstances, Command, CommandId, Counters, Outcome, Reservation, Stock, Terms,
    UnixMs, apply,
};
use cartgate_policy::Sku;

use super::board::HotStock;
use crate::store::StockRow;

/// The stock of every SKU of an owner.
#[derive(Default)]
pub(super) struct Stocks {
    by_sku: HashMap<Sku, Stock>,
    due: BTreeSet<(UnixMs, Sku)>,
    hold_count: usize,
}

impl Stocks {
    pub(super) fn restore(rows: Vec<(Sku, StockRow)>, holds: Vec<(Sku, Reservation)>) -> Self {
        let restore =
            |(sku, row): (Sku, StockRow)| (sku, Stock::restore(row.counters, row.version, row.now));
        let mut by_sku: HashMap<Sku, Stock> = rows.into_iter().map(restore).collect();
        let mut counts = BTreeMap::<&Sku, usize>::new();
        for (sku, _) in &holds {
            *counts.entry(sku).or_default() += 1;
        }
        for (sku, count) in counts {
            if let Some(stock) = by_sku.get_mut(sku) {
                stock.expect_holds(count);
            }
        }
        let hold_count = holds.len();
        for (sku, hold) in holds {
            // The store has checked that every hold is of a SKU in stock.
            if let Some(stock) = by_sku.get_mut(&sku) {
                stock.restore_hold(hold);
            }
        }
        let due = |(sku, stock): (&Sku, &Stock)| Some((stock.next_due()?, sku.clone()));
        let due = by_sku.iter().filter_map(due).collect();
        Self { by_sku, due, hold_count }
    }

    /// [`cartgate_ledger::apply`] to the SKU's stock.
    pub(super) fn apply(
        &mut self,
        sku: &Sku,
        command: &Command,
        circumstances: Circumstances<'_>,
        changes: &mut Changes,
    ) -> Outcome {
        let Some(stock) = self.by_sku.get_mut(sku) else {
            let mut stock = Stock::default();
            let outcome = apply(&mut stock, command, circumstances, changes);
            // Only stock that was set is kept: asking for a SKU does not make it.
            if stock.version() > 0 {
                self.by_sku.insert(sku.clone(), stock);
            }
            return outcome;
        };
        let (due_before, holds_before) = (stock.next_due(), stock.hold_count());
        let outcome = apply(stock, command, circumstances, changes);
        let due_after = stock.next_due();
        self.hold_count = self.hold_count - holds_before + stock.hold_count();
        if due_before != due_after {
            due_before.map(|due| self.due.remove(&(due, sku.clone())));
            due_after.map(|due| self.due.insert((due, sku.clone())));
        }
        outcome
    }

    /// The terms of a SKU's sale.
    pub(super) fn terms(&self, sku: &Sku) -> Terms {
        self.by_sku.get(sku).map(Stock::terms).unwrap_or_default()
    }

    /// Changes the terms of a SKU's sale, also if it is not in stock yet. `purchases` are the units
    /// that customers have bought.
    pub(super) fn set_terms(&mut self, sku: &Sku, terms: Terms, purchases: &[(Arc<str>, u64)]) {
        let stock = self.by_sku.entry(sku.clone()).or_default();
        stock.set_terms(terms, purchases);
        if stock.version() == 0 && terms == Terms::default() {
            self.by_sku.remove(sku);
        }
    }

    /// How many holds have not ended.
    pub(super) fn hold_count(&self) -> usize {
        self.hold_count
    }

    /// The SKU whose hold is due first, and when.
    pub(super) fn next_due(&self) -> Option<&(UnixMs, Sku)> {
        self.due.first()
    }

    /// Whether a hold of the SKU is due at `now`.
    pub(super) fn is_due(&self, sku: &Sku, now: UnixMs) -> bool {
        let stock = self.by_sku.get(sku);
        stock.and_then(Stock::next_due).is_some_and(|due| due <= now)
    }

    /// How the SKU's stock stands, if it was ever set.
    pub(super) fn hot_stock(&self, sku: &Sku) -> Option<HotStock> {
        let stock = self.by_sku.get(sku).filter(|stock| stock.version() > 0)?;
        let Counters { available, held, .. } = stock.counters();
        Some(HotStock { available, held, next_due: stock.next_due() })
    }

    /// Whether the stock holds what `id` took.
    pub(super) fn has_hold(&self, sku: &Sku, id: CommandId) -> bool {
        self.by_sku.get(sku).is_some_and(|stock| stock.hold(id).is_some())
    }

    /// The SKU's stock as it is to be stored; `None` if it was never set.
    pub(super) fn row(&self, sku: &Sku) -> Option<StockRow> {
        let stock = self.by_sku.get(sku).filter(|stock| stock.version() > 0)?;
        Some(StockRow { counters: stock.counters(), version: stock.version(), now: stock.now() })
    }
}
