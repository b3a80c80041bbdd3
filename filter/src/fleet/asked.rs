//! What was asked for, on its way from all worker threads to the one that reports.

use std::collections::BTreeMap;

use cartgate_policy::Sku;
use cartgate_policy::fleet::Reporter;
use serde::{Deserialize, Serialize};

/// Units that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    /// Of hot items, by the places of their meters, as the thread that was asked knew them. If a place has
    /// become another item's since then, less than two ticks ago, they count for that one.
    pub(super) items: Vec<u64>,
    /// Of the others that are asked for most, by SKU.
    pub(super) heavy: BTreeMap<Sku, u64>,
}

/// The most of the others: those with the fewest units give way.
const HEAVY_MAX: usize = 128;

impl Asked {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.heavy.is_empty()
    }

    pub(super) fn add(&mut self, other: &Self) {
        let places = self.items.len().max(other.items.len());
        self.items.resize(places.min(Reporter::PLACES_MAX.into()), 0);
        for (sum, units) in self.items.iter_mut().zip(&other.items) {
            *sum = sum.saturating_add(*units);
        }
        add_heavy(&mut self.heavy, &other.heavy);
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
    for (sku, units) in from {
        if let Some(sum) = to.get_mut(sku) {
            *sum = sum.saturating_add(*units);
        } else {
            to.insert(sku.clone(), *units);
        }
    }
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
            asked.add(&Asked { items: vec![n, 0, 1], heavy: one(n % 500, n) });
        }
        asked.add(&Asked { items: vec![1], ..Asked::default() });
        let mut full = asked.clone();
        full.add(&Asked { items: vec![1; 70_000], ..Asked::default() });
        assert_eq!(full.items.len(), usize::from(Reporter::PLACES_MAX));
        assert_eq!(
            (&asked.items[..], asked.heavy.len()),
            (&[199_990_001, 0, 20_000][..], HEAVY_MAX)
        );
        let least = asked.heavy.values().min();
        assert!(least > Some(&19_000), "{least:?}");
        assert_eq!(Asked::from_bytes(&asked.to_bytes()), asked);
        assert_eq!(Asked::from_bytes(b"\xff"), Asked::default());
        let mut twice = asked.clone();
        twice.add(&asked);
        assert_eq!(twice.items[2], 40_000);
    }
}
