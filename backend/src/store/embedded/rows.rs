//! Every SKU's row, in memory.
//!
//! A row is found by its SKU's hash, since every commit and every reader looks for some. Their order is
//! kept apart, and changes only with a SKU that was never there: so pages are read in order, and nobody
//! else pays for it.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use cartgate_policy::Sku;

use crate::store::StockRow;

/// Every SKU's row.
#[derive(Default)]
pub(super) struct Rows {
    by_sku: HashMap<Sku, StockRow>,
    in_order: BTreeSet<Sku>,
}

impl Rows {
    pub(super) fn get(&self, sku: &Sku) -> Option<&StockRow> {
        self.by_sku.get(sku)
    }

    pub(super) fn set(&mut self, sku: &Sku, row: StockRow) {
        match self.by_sku.get_mut(sku) {
            Some(stood) => *stood = row,
            None => {
                self.by_sku.insert(sku.clone(), row);
                self.in_order.insert(sku.clone());
            }
        }
    }

    /// In no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Sku, &StockRow)> {
        self.by_sku.iter()
    }

    /// At most `limit` rows in the order of their SKUs, from the one after `after`.
    pub(super) fn after(&self, after: Option<&Sku>, limit: usize) -> Vec<(Sku, StockRow)> {
        let first = after.map_or(Bound::Unbounded, Bound::Excluded);
        let skus = self.in_order.range((first, Bound::Unbounded)).take(limit);
        skus.filter_map(|sku| Some((sku.clone(), *self.get(sku)?))).collect()
    }
}

impl FromIterator<(Sku, StockRow)> for Rows {
    fn from_iter<T: IntoIterator<Item = (Sku, StockRow)>>(rows: T) -> Self {
        let by_sku: HashMap<Sku, StockRow> = rows.into_iter().collect();
        let in_order = by_sku.keys().cloned().collect();
        Self { by_sku, in_order }
    }
}
