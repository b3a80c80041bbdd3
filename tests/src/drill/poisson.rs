//! Arrivals of people who know nothing of each other.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, Exp1};

/// A Poisson process whose rate changes at given seconds: the times of its arrivals, in
/// microseconds.
#[derive(Debug)]
pub struct Poisson {
    random: StdRng,
    /// From which second on, and how many per second; in order of time.
    rates: Vec<(f64, f64)>,
    until_s: f64,
    now_s: f64,
}

impl Poisson {
    /// Arrivals before the second `until_s`.
    pub fn new(rates: Vec<(f64, f64)>, until_s: f64, seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), rates, until_s, now_s: 0.0 }
    }

    /// The rate now, and when it changes.
    fn rate(&self) -> (f64, f64) {
        let later = self.rates.iter().position(|(from_s, _)| *from_s > self.now_s);
        let now = later.unwrap_or(self.rates.len()).checked_sub(1);
        let per_s = now.map_or(0.0, |now| self.rates[now].1);
        (per_s, later.map_or(self.until_s, |later| self.rates[later].0.min(self.until_s)))
    }
}

impl Iterator for Poisson {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        while self.now_s < self.until_s {
            let (per_s, changes_s) = self.rate();
            let gap: f64 = Exp1.sample(&mut self.random);
            let next_s = self.now_s + gap / per_s;
            if next_s < changes_s {
                self.now_s = next_s;
                return Some((next_s * 1e6) as u64);
            }
            // The process has no memory: it may start afresh where its rate changes.
            self.now_s = changes_s;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five standard deviations: one honest seed in two million fails.
    fn check(times: &[u64], seconds: (u64, u64), per_s: f64) {
        let within = seconds.0 * 1_000_000..seconds.1 * 1_000_000;
        let count = times.iter().filter(|at| within.contains(at)).count() as f64;
        let expected = per_s * (seconds.1 - seconds.0) as f64;
        let off = (count - expected).abs();
        assert!(off <= 5.0 * expected.sqrt(), "{count} in {seconds:?}, not {expected}");
    }

    #[test]
    fn rates_are_as_set_on_either_side_of_a_change() {
        let times: Vec<u64> = Poisson::new(vec![(0.0, 20.0), (10.0, 2_000.0)], 30.0, 1).collect();
        check(&times, (0, 10), 20.0);
        check(&times, (10, 11), 2_000.0);
        check(&times, (11, 30), 2_000.0);
        assert!(times.is_sorted() && times.iter().all(|at| *at < 30_000_000));
    }

    #[test]
    fn gaps_vary_as_much_as_chance_makes_them() {
        let times: Vec<u64> = Poisson::new(vec![(0.0, 1_000.0)], 20.0, 2).collect();
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>();
        let deviation = (variance / gaps.len() as f64).sqrt();
        // An exponential distribution deviates by its mean.
        assert!((deviation / mean - 1.0).abs() < 0.05, "{deviation} of {mean}");
    }

    #[test]
    fn nobody_comes_at_rate_zero() {
        let times: Vec<u64> = Poisson::new(vec![(0.0, 0.0), (2.0, 100.0)], 3.0, 3).collect();
        check(&times, (2, 3), 100.0);
        assert!(times[0] >= 2_000_000);
        assert_eq!(Poisson::new(vec![(0.0, 0.0)], 9.0, 3).count(), 0);
    }
}
