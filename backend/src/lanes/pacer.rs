//! How fast a lane applies reserve commands.

use std::num::NonZeroU32;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
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

/// Lets reserve commands through at the lane's rate, so that what is downstream of the commit sees
/// a bounded number of them.
pub(super) struct Pacer {
    limiter: Option<Limiter>,
    clock: PaceClock,
    /// How much longer to wait than for the next command, in milliseconds: until about half of what
    /// may come at once can, so that a turn need not be taken for each.
    gather_ms: u64,
}

impl Pacer {
    /// A pacer for `per_s` commands per second; without a rate it lets everything through.
    pub(super) fn new(per_s: Option<NonZeroU32>) -> Self {
        let clock = pace_clock();
        let Some(per_s) = per_s else { return Self { limiter: None, clock, gather_ms: 0 } };
        // What a twentieth of a second admits may come at once: enough to fill a batch, too little
        // for those downstream to feel as a burst.
        let burst = NonZeroU32::new(per_s.get() / 20).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(per_s).allow_burst(burst);
        let limiter = Some(RateLimiter::direct_with_clock(quota, clock.clone()));
        let gather_ms = u64::from((burst.get() - 1) / 2) * 1_000 / u64::from(per_s.get());
        Self { limiter, clock, gather_ms }
    }

    /// Lets one command through, or says in how many milliseconds to ask again: then at least one
    /// can come.
    pub(super) fn admit(&self) -> Result<(), u64> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        limiter.check().map_err(|not_until| {
            let wait = not_until.wait_time_from(self.clock.now());
            let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            ms.saturating_add(1 + self.gather_ms)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn commands_pass_at_the_rate_and_a_little_at_once() {
        let pacer = Pacer::new(NonZeroU32::new(40));
        let admitted = |ms| {
            pacer.clock.advance(Duration::from_millis(ms));
            std::iter::from_fn(|| pacer.admit().ok()).count()
        };
        assert_eq!(admitted(0), 2);
        assert_eq!(pacer.admit(), Err(26));
        assert_eq!(admitted(24), 0);
        assert_eq!(admitted(1), 1);
        assert_eq!((0..1_000).map(|_| admitted(1)).sum::<usize>(), 40);
        assert_eq!(admitted(60_000), 2, "idle time is not saved up");
    }

    /// A turn for each would be a commit for each. Who asks when told to loses nothing of the rate.
    #[test]
    fn several_are_waited_for() {
        let pacer = Pacer::new(NonZeroU32::new(200));
        let (mut asked, mut admitted, mut ms) = (0, 0, 0);
        while ms < 10_000 {
            let wait = loop {
                match pacer.admit() {
                    Ok(()) => admitted += 1,
                    Err(wait) => break wait,
                }
            };
            asked += 1;
            ms += wait;
            pacer.clock.advance(Duration::from_millis(wait));
        }
        assert!((2_000..=2_010).contains(&admitted), "{admitted} in 10 s");
        assert!(asked <= 410, "asked {asked} times");
    }

    #[test]
    fn without_a_rate_everything_passes() {
        let pacer = Pacer::new(None);
        assert!((0..10_000).all(|_| pacer.admit() == Ok(())));
    }
}
