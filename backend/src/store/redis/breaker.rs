//! Keeps callers from waiting for what does not answer.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The first pause after a failure, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// After a failure nobody tries again for a moment, after the next for twice as long.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<Option<Open>>);

#[derive(Clone, Copy, Debug)]
struct Open {
    until: Instant,
    pause: Duration,
}

impl Breaker {
    /// How long nobody is to try; `None`: one may.
    pub(super) fn open_for(&self) -> Option<Duration> {
        let open = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        let left = open.until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Notes that it did not answer. Failures of attempts that were under way together count once.
    pub(super) fn failed(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (first, longest) = PAUSES;
        let pause = match *state {
            Some(open) if open.until > now => return,
            Some(open) => (2 * open.pause).min(longest),
            None => first,
        };
        *state = Some(Open { until: now + pause, pause });
    }

    /// Notes that it answered.
    pub(super) fn answered(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failure_nobody_tries_until_it_may_be_mended() {
        let breaker = Breaker::default();
        assert_eq!(breaker.open_for(), None);
        breaker.failed();
        breaker.failed();
        let first = breaker.open_for().unwrap();
        assert!(first <= PAUSES.0, "failures together count once: {first:?}");
        breaker.0.lock().unwrap().as_mut().unwrap().until = Instant::now();
        assert_eq!(breaker.open_for(), None);
        breaker.failed();
        assert!(breaker.open_for().unwrap() > PAUSES.0, "twice as long");
        breaker.answered();
        assert_eq!(breaker.open_for(), None);
    }
}
