//! What was asked of hot items in the last minute, and what came of it, second by second.

use std::collections::HashMap;
use std::ops::AddAssign;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cartgate_policy::Sku;
use serde::Serialize;

/// How many seconds back there are counts.
pub const WINDOW_S: u64 = 60;

/// How many whole seconds a rate is an average of.
const RATE_S: u64 = 10;

/// Reserve commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// That were asked for.
    pub demand: u64,
    /// That were held.
    pub admitted: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.demand += other.demand;
        self.admitted += other.admitted;
    }
}

/// Reserve commands per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    /// That were asked for.
    pub demand_per_s: f64,
    /// That were held.
    pub admitted_per_s: f64,
}

/// Counts of a minute. Each second has a place, and the one a minute later takes it.
#[derive(Clone, Debug)]
pub struct Window([(u64, Counts); WINDOW_S as usize]);

impl Default for Window {
    fn default() -> Self {
        Self([Default::default(); WINDOW_S as usize])
    }
}

impl Window {
    /// Counts something in a second. What has its place is forgotten.
    pub fn add(&mut self, second: u64, counts: Counts) {
        let place = &mut self.0[(second % WINDOW_S) as usize];
        if place.0 != second {
            *place = (second, Counts::default());
        }
        place.1 += counts;
    }

    /// The rates of the last whole seconds before `now`.
    pub fn rates(&self, now: u64) -> Rates {
        let last = now.saturating_sub(RATE_S)..now;
        let Counts { demand, admitted } = self.sum(|second| last.contains(&second));
        let per_s = |count: u64| count as f64 / RATE_S as f64;
        Rates { demand_per_s: per_s(demand), admitted_per_s: per_s(admitted) }
    }

    fn sum(&self, is_meant: impl Fn(u64) -> bool) -> Counts {
        let mut sum = Counts::default();
        self.0.iter().filter(|(at, _)| is_meant(*at)).for_each(|(_, counts)| sum += *counts);
        sum
    }

    /// Whether there is nothing of the last minute in it.
    fn is_over(&self, now: u64) -> bool {
        self.0.iter().all(|(second, _)| second + WINDOW_S < now)
    }
}

/// The windows of all hot items.
#[derive(Debug, Default)]
pub struct Tally(Mutex<HashMap<Sku, Window>>);

impl Tally {
    /// Counts something of a hot item.
    pub fn add(&self, sku: &Sku, second: u64, counts: Counts) {
        let mut windows = self.windows();
        if let Some(window) = windows.get_mut(sku) {
            return window.add(second, counts);
        }
        // Those that are hot no more make room for those that are.
        windows.retain(|_, window| !window.is_over(second));
        windows.entry(sku.clone()).or_default().add(second, counts);
    }

    /// The rates of a SKU at `now`.
    pub fn rates(&self, sku: &Sku, now: u64) -> Rates {
        self.windows().get(sku).map_or(Rates::default(), |window| window.rates(now))
    }

    /// Takes out all counts.
    pub fn take(&self) -> Vec<(Sku, Counts)> {
        let windows = std::mem::take(&mut *self.windows());
        windows.into_iter().map(|(sku, window)| (sku, window.sum(|_| true))).collect()
    }

    fn windows(&self) -> MutexGuard<'_, HashMap<Sku, Window>> {
        // Nothing in here can panic half way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts() -> impl Strategy<Value = Counts> {
        (0..9_u64, 0..9_u64).prop_map(|(demand, admitted)| Counts { demand, admitted })
    }

    /// What the rates are by all that was ever counted.
    fn expected(all: &[(u64, Counts)], now: u64) -> Rates {
        let mut sum = Counts::default();
        let last = now.saturating_sub(10)..now;
        all.iter().filter(|(at, _)| last.contains(at)).for_each(|(_, counts)| sum += *counts);
        let per_s = |count| count as f64 / 10.0;
        Rates { demand_per_s: per_s(sum.demand), admitted_per_s: per_s(sum.admitted) }
    }

    proptest! {
        /// However long nothing comes in between.
        #[test]
        fn rates_are_those_of_the_last_ten_seconds(
            steps in prop::collection::vec((0..90_u64, counts()), 0..200),
            later in 0..90_u64,
        ) {
            let (mut window, mut all, mut now) = (Window::default(), Vec::new(), 1_000);
            for (step, counts) in steps {
                now += step;
                window.add(now, counts);
                all.push((now, counts));
                prop_assert_eq!(window.rates(now), expected(&all, now));
                prop_assert_eq!(window.rates(now + 1), expected(&all, now + 1));
            }
            prop_assert_eq!(window.rates(now + later), expected(&all, now + later));
        }

        /// A clock that goes back and forth may cost counts, and makes none up.
        #[test]
        fn no_clock_makes_rates_higher(
            steps in prop::collection::vec((0..200_u64, counts()), 0..200),
            now in 0..200_u64,
        ) {
            let mut window = Window::default();
            steps.iter().for_each(|(second, counts)| window.add(*second, *counts));
            let (found, most) = (window.rates(now), expected(&steps, now));
            prop_assert!(found.demand_per_s <= most.demand_per_s);
            prop_assert!(found.admitted_per_s <= most.admitted_per_s);
        }
    }

    #[test]
    fn what_is_hot_no_more_leaves_nothing_behind() {
        let tally = Tally::default();
        let sku = |number| Sku::parse(&format!("A{number}")).unwrap();
        let one = Counts { demand: 1, admitted: 1 };
        for second in 0..1_000 {
            tally.add(&sku(second), second, one);
            assert!(tally.windows().len() <= 62, "{} windows", tally.windows().len());
        }
        let rates = tally.rates(&sku(999), 1_000);
        assert_eq!(rates, Rates { demand_per_s: 0.1, admitted_per_s: 0.1 });
        tally.add(&sku(999), 1_000, one);
        let taken = tally.take();
        assert!(taken.contains(&(sku(999), Counts { demand: 2, admitted: 2 })), "{taken:?}");
        assert_eq!(tally.take(), []);
    }
}
