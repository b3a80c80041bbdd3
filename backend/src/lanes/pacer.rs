//! How fast a lane applies reserve commands.

use std::num::NonZeroU32;

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

#[cfg(not(test))]
type PaceClock = governor::clock::DefaultClock;
/// In tests time stands still, until they say otherwise.
#[cfg(test)]
pub(super) type PaceClock = governor::clock::FakeRelativeClock;

#[cfg(test)]
thread_local! {
    /// All pacers that a test's thread makes share it.
    pub(super) static PACE_CLOCK: PaceClock = PaceClock::default();
}

fn pace_clock() -> PaceClock {
    #[cfg(test)]
    return PACE_CLOCK.with(PaceClock::clone);
    #[cfg(not(test))]
    return PaceClock::default();
}

type Limiter =
    RateLimiter<NotKeyed, InMemoryState, PaceClock, NoOpMiddleware<<PaceClock as Clock>::Instant>>;

type Instant = <PaceClock as Clock>::Instant;

/// Lets reserve commands through at the lane's rate, so that what is downstream of the commit sees
/// a bounded number of them.
pub(super) struct Pacer {
    per_s: Option<NonZeroU32>,
    limiter: Option<Limiter>,
    clock: PaceClock,
    /// How much longer than for the next command a pacer that has let all through stays closed: until
    /// about half of what may come at once can. A turn, and a commit, for each would be many.
    gather: Nanos,
    closed_until: Option<Instant>,
}

impl Pacer {
    /// A pacer for `per_s` commands per second; without a rate it lets everything through.
    pub(super) fn new(per_s: Option<NonZeroU32>) -> Self {
        let clock = pace_clock();
        let Some(rate) = per_s else {
            return Self {
                per_s,
                limiter: None,
                clock,
                gather: Nanos::default(),
                closed_until: None,
            };
        };
        // What a twentieth of a second admits may come at once: enough to fill a batch, too little
        // for those downstream to feel as a burst.
        let burst = NonZeroU32::new(rate.get() / 20).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(rate).allow_burst(burst);
        let limiter = Some(RateLimiter::direct_with_clock(quota, clock.clone()));
        let gather = quota.replenish_interval() * ((burst.get() - 1) / 2);
        Self { per_s, limiter, clock, gather: gather.into(), closed_until: None }
    }

    /// The rate.
    pub(super) fn per_s(&self) -> Option<NonZeroU32> {
        self.per_s
    }

    /// Lets one command through, or says in how many milliseconds it does.
    pub(super) fn admit(&mut self) -> Result<(), u64> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        let now = self.clock.now();
        if let Some(until) = self.closed_until.filter(|until| *until > now) {
            return Err(whole_ms(Reference::duration_since(&until, now)));
        }
        self.closed_until = None;
        limiter.check().map_err(|not_until| {
            let until = not_until.earliest_possible() + self.gather;
            self.closed_until = Some(until);
            whole_ms(Reference::duration_since(&until, now))
        })
    }
}

/// Not before that many have passed.
fn whole_ms(duration: Nanos) -> u64 {
    duration.as_u64().div_ceil(1_000_000)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn pacer(per_s: u32) -> Pacer {
        Pacer::new(NonZeroU32::new(per_s))
    }

    /// How many it lets through after so long.
    fn admitted(pacer: &mut Pacer, ms: u64) -> usize {
        pacer.clock.advance(Duration::from_millis(ms));
        std::iter::from_fn(|| pacer.admit().ok()).count()
    }

    #[test]
    fn commands_pass_at_the_rate_and_a_little_at_once() {
        let mut pacer = pacer(40);
        assert_eq!(admitted(&mut pacer, 0), 2);
        assert_eq!(pacer.admit(), Err(25));
        assert_eq!(admitted(&mut pacer, 24), 0);
        assert_eq!(admitted(&mut pacer, 1), 1);
        assert_eq!((0..1_000).map(|_| admitted(&mut pacer, 1)).sum::<usize>(), 40);
        assert_eq!(admitted(&mut pacer, 60_000), 2, "idle time is not saved up");
    }

    /// However often somebody looks: a turn, and a commit, for each would be many.
    #[test]
    fn several_are_waited_for_and_nothing_of_the_rate_is_lost() {
        for look_every_ms in [1, 3, 7] {
            let mut pacer = pacer(200);
            let turns: Vec<_> = (0..10_000 / look_every_ms)
                .map(|_| admitted(&mut pacer, look_every_ms))
                .filter(|admitted| *admitted > 0)
                .collect();
            let all: usize = turns.iter().sum();
            assert!((1_990..=2_010).contains(&all), "{all} in 10 s");
            assert!(turns.len() <= 401, "in {} turns", turns.len());
        }
    }

    #[test]
    fn without_a_rate_everything_passes() {
        let mut pacer = Pacer::new(None);
        assert!((0..10_000).all(|_| pacer.admit() == Ok(())));
    }
}
