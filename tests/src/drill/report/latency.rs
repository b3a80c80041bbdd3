//! Percentiles of latency.

use hdrhistogram::Histogram;

/// Anything longer counts as this: no client waits an hour.
const LONGEST_US: u64 = 3_600_000_000;

/// How long calls took, in microseconds; to three significant figures, all 0 if there were none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Calls.
    pub count: u64,
    /// The median.
    pub p50_us: u64,
    /// 90 of 100 took no longer.
    pub p90_us: u64,
    /// 99 of 100.
    pub p99_us: u64,
    /// 999 of 1000.
    pub p99_9_us: u64,
    /// The slowest.
    pub max_us: u64,
}

impl Latency {
    /// The percentiles of `durations_us`.
    pub fn of(durations_us: impl IntoIterator<Item = u64>) -> Self {
        let mut durations_us = durations_us.into_iter().peekable();
        // Most bins of a timeline are like this, and a histogram takes 200 KiB.
        if durations_us.peek().is_none() {
            return Self::default();
        }
        // Unwrap safety: the bounds are constants, 3 is among the precisions there are.
        let mut histogram = Histogram::<u64>::new_with_bounds(1, LONGEST_US, 3).unwrap();
        for duration_us in durations_us {
            histogram.saturating_record(duration_us);
        }
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            count: histogram.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            max_us: histogram.max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(durations_us: impl IntoIterator<Item = u64>, expected: [u64; 6]) {
        let found = Latency::of(durations_us);
        let times = [found.p50_us, found.p90_us, found.p99_us, found.p99_9_us, found.max_us];
        assert_eq!(found.count, expected[0]);
        for (found, expected) in times.into_iter().zip(&expected[1..]) {
            assert!(found.abs_diff(*expected) <= expected / 1000, "{found} for {expected}");
        }
    }

    #[test]
    fn percentiles() {
        check([], [0; 6]);
        check([7], [1, 7, 7, 7, 7, 7]);
        check(1..=1000, [1000, 500, 900, 990, 999, 1000]);
        check(
            (1..=1000).map(|ms| ms * 1000),
            [1000, 500_000, 900_000, 990_000, 999_000, 1_000_000],
        );
        check([0, u64::MAX], [2, 0, LONGEST_US, LONGEST_US, LONGEST_US, LONGEST_US]);
    }
}
