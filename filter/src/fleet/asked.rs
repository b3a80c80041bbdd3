//! What was asked for, on its way from all worker threads to the one that reports.

use std::collections::BTreeMap;

use cartgate_policy::Sku;
use serde::{Deserialize, Serialize};

/// Units, by SKU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    /// Of hot items.
    pub(super) items: BTreeMap<Sku, u64>,
    /// Of the others that are asked for most.
    pub(super) heavy: BTreeMap<Sku, u64>,
}

/// The most SKUs of each kind. Hot items are no more; of the others those with the fewest units give way.
const SKUS_MAX: usize = 10_000;
const HEAVY_MAX: usize = 128;

impl Asked {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.heavy.is_empty()
    }

    pub(super) fn add(&mut self, other: &Self) {
        add(&mut self.items, &other.items);
        add_heavy(&mut self.heavy, &other.heavy);
        while self.items.len() > SKUS_MAX {
            self.items.pop_last();
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // No failure is possible: it has neither lengths that are unknown nor maps without order. If one
        // were, demand would show later.
        postcard::to_allocvec(self).unwrap_or_default()
    }

    /// What cannot be read is as good as nothing: demand shows a little later.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        postcard::from_bytes(bytes).unwrap_or_default()
    }
}

/// Adds units of what is no hot item.
pub(super) fn add_heavy(to: &mut BTreeMap<Sku, u64>, from: &BTreeMap<Sku, u64>) {
    add(to, from);
    if to.len() > HEAVY_MAX {
        *to = heaviest(std::mem::take(to), HEAVY_MAX).collect();
    }
}

/// Those with the most units, the most first: `max` of them at most.
pub(super) fn heaviest(all: BTreeMap<Sku, u64>, max: usize) -> impl Iterator<Item = (Sku, u64)> {
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by_key(|(_, units)| std::cmp::Reverse(*units));
    all.into_iter().take(max)
}

fn add(to: &mut BTreeMap<Sku, u64>, from: &BTreeMap<Sku, u64>) {
    for (sku, units) in from {
        if let Some(sum) = to.get_mut(sku) {
            *sum = sum.saturating_add(*units);
        } else {
            to.insert(sku.clone(), *units);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_have_a_bound() {
        let sku = |n: u64| Sku::parse(&format!("A{n}")).unwrap();
        let one = |n, units| BTreeMap::from([(sku(n), units)]);
        let mut asked = Asked::default();
        assert!(asked.is_empty());
        for n in 0..20_000 {
            asked.add(&Asked { items: one(n, 1), heavy: one(n % 500, n) });
        }
        assert_eq!((asked.items.len(), asked.heavy.len()), (SKUS_MAX, HEAVY_MAX));
        let least = asked.heavy.values().min();
        assert!(least > Some(&19_000), "{least:?}");
        assert_eq!(Asked::from_bytes(&asked.to_bytes()), asked);
        assert_eq!(Asked::from_bytes(b"\xff"), Asked::default());
        let mut twice = asked.clone();
        twice.add(&asked);
        assert_eq!(twice.items.values().next(), Some(&2));
    }
}
