//! Which SKUs are asked for so often that somebody should know, among any number of others.

use datasketches::frequencies::{ErrorType, FrequentItemsSketch};

use crate::Sku;
use crate::fleet::Heavy;

/// Counts of the SKUs that are asked for most, in bounded memory: a frequent items sketch (Misra, Gries 1982;
/// Anderson et al., *A High-Performance Algorithm for Identifying Frequent Items in Data Streams*, 2017).
///
/// No count is too high. One may be too low by up to 1.4 % of all units that were counted (3.5 parts of
/// [`Sketch::SIZE`]), so a SKU that has less than that may be missed.
#[derive(Clone, Debug, Default)]
pub struct Sketch(Option<FrequentItemsSketch<Sku>>);

impl Sketch {
    /// How many places it has. Three in four are ever taken.
    pub const SIZE: usize = 256;

    /// The most that are named.
    pub const NAMED_MAX: usize = 32;

    /// What is asked for less often is not worth a name.
    const UNITS_MIN: u64 = 2;

    /// Counts units of a SKU.
    pub fn add(&mut self, sku: &Sku, units: u64) {
        if self.0.is_none() {
            // A power of two is never refused.
            self.0 = FrequentItemsSketch::new(Self::SIZE).ok();
        }
        if let Some(sketch) = &mut self.0 {
            sketch.update_with_count_ref(sku, units);
        }
    }

    /// The SKUs asked for most since the last time, most first, with units that they had at least.
    pub fn take(&mut self) -> Vec<Heavy> {
        let Some(sketch) = self.0.take() else { return Vec::new() };
        let rows = sketch.frequent_items(ErrorType::NoFalseNegatives);
        let heavy = rows.iter().map(|row| (row.item(), row.lower_bound()));
        let heavy = heavy.filter(|(_, units)| *units >= Self::UNITS_MIN).take(Self::NAMED_MAX);
        heavy.map(|(sku, units)| Heavy { sku: sku.clone(), units }).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn sku(n: u64) -> Sku {
        Sku::parse(&format!("A{n}")).unwrap()
    }

    #[test]
    fn one_among_very_many() {
        let mut sketch = Sketch::default();
        for n in 0..100_000 {
            sketch.add(&sku(if n % 20 == 0 { 0 } else { n }), 1);
        }
        let heavy = sketch.take();
        let most = &heavy[0];
        assert_eq!(most.sku, sku(0));
        assert!((5_000 - 1_400..=5_000).contains(&most.units), "{}", most.units);
        assert_eq!(sketch.take(), []);
    }

    #[test]
    fn only_so_many_are_named() {
        let mut sketch = Sketch::default();
        (0..100).for_each(|n| sketch.add(&sku(n), n));
        let named: Vec<_> =
            sketch.take().into_iter().map(|heavy| (heavy.sku, heavy.units)).collect();
        let expected: Vec<_> = (68..100).rev().map(|n| (sku(n), n)).collect();
        assert_eq!(named, expected);
        sketch.add(&sku(1), 1);
        assert_eq!(sketch.take(), [], "one unit is not worth a name");
    }

    proptest! {
        #[test]
        fn counts_are_never_too_high_nor_much_too_low(
            asked in prop::collection::vec((0_u64..2_000, 1_u64..5), 0..3_000),
        ) {
            let (mut sketch, mut truth) = (Sketch::default(), HashMap::<Sku, u64>::new());
            for (n, units) in asked {
                sketch.add(&sku(n * n / 2_000), units);
                *truth.entry(sku(n * n / 2_000)).or_default() += units;
            }
            let error = truth.values().sum::<u64>() as f64 * 3.5 / Sketch::SIZE as f64;
            let named = sketch.take();
            for heavy in &named {
                prop_assert!(heavy.units <= truth[&heavy.sku]);
                prop_assert!(heavy.units as f64 + error >= truth[&heavy.sku] as f64);
            }
            if named.len() < Sketch::NAMED_MAX {
                for (sku, units) in truth {
                    let is_named = named.iter().any(|heavy| heavy.sku == sku);
                    prop_assert!(is_named || units as f64 <= error + 1.0, "{} of {}", units, sku);
                }
            }
        }
    }
}
