//! What is left of many measurements: medians, 99th percentiles, and ratios of what was measured side by side.

use std::collections::BTreeMap;

/// The middle one; the mean of the middle two, if there are as many on either side.
///
/// # Panics
/// There is none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

/// The smallest that at least 99 in 100 of them do not exceed: the largest of less than a hundred.
///
/// # Panics
/// There is none.
pub fn p99(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() * 99).div_ceil(100) - 1]
}

/// What was measured, and what of it: `("hot", "per_s")`.
pub type Key = (&'static str, &'static str);

/// Measurements by key, one of each in each round.
#[derive(Debug, Default)]
pub struct Series(BTreeMap<Key, Vec<f64>>);

impl Series {
    /// Notes the next round's measurement.
    pub fn note(&mut self, key: Key, value: f64) {
        self.0.entry(key).or_default().push(value);
    }

    /// Whether it has been measured.
    pub fn has(&self, key: Key) -> bool {
        self.0.contains_key(&key)
    }

    /// The median of the rounds.
    ///
    /// # Panics
    /// It has not been measured.
    pub fn median(&self, key: Key) -> f64 {
        median(&self.0[&key])
    }

    /// The median of the rounds' ratios: what slows the machine for a while slows both.
    ///
    /// # Panics
    /// One of them has not been measured.
    pub fn ratio(&self, of: Key, over: Key) -> f64 {
        self.compare(of, over, |of, over| of / over)
    }

    /// The median of the rounds' differences, for the same reason.
    ///
    /// # Panics
    /// One of them has not been measured.
    pub fn difference(&self, of: Key, less: Key) -> f64 {
        self.compare(of, less, |of, less| of - less)
    }

    fn compare(&self, one: Key, other: Key, compare: impl Fn(f64, f64) -> f64) -> f64 {
        let pairs = self.0[&one].iter().zip(&self.0[&other]);
        let compared: Vec<f64> = pairs.map(|(one, other)| compare(*one, *other)).collect();
        median(&compared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        for (values, expected) in [(&[3.0, 1.0, 9.0][..], 3.0), (&[4.0, 1.0], 2.5), (&[7.0], 7.0)] {
            assert_eq!(median(values), expected);
        }
    }

    #[test]
    fn one_in_a_hundred_may_be_above_p99() {
        let up_to = |last: u32| (1..=last).rev().map(f64::from).collect::<Vec<_>>();
        for (last, expected) in [(1, 1.0), (40, 40.0), (100, 99.0), (200, 198.0), (201, 199.0)] {
            assert_eq!(p99(&up_to(last)), expected, "{last}");
        }
    }

    #[test]
    fn rounds_are_compared_one_by_one() {
        let (mut series, one, other) = (Series::default(), ("one", "x"), ("other", "x"));
        for (a, b) in [(100.0, 50.0), (10.0, 5.0), (30.0, 10.0)] {
            series.note(one, a);
            series.note(other, b);
        }
        assert_eq!((series.ratio(one, other), series.difference(one, other)), (2.0, 20.0));
        // The ratio of the medians would be 3.
        assert_eq!((series.median(one), series.median(other)), (30.0, 10.0));
    }
}
