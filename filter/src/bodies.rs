//! A watch over requests that wait for their bodies.
//!
//! The filter cannot see whether Envoy was given `allow_on_headers_stop_iteration`. Without it Envoy takes a
//! pause at the head for one of everything: in strict mode no body ever comes to the filter, and each such
//! request hangs until a timeout ends it. From in here that looks like clients that send nothing; but of all
//! clients of a worker thread, ever, not one sends a byte only where the flag is missing.

use std::cell::Cell;

use cartgate_policy::config::BodyMode;

use crate::fleet::TICK_MS;

/// For how long requests wait in vain, one or another, before it is said.
const PATIENCE_TICKS: u32 = 5_000 / TICK_MS;

/// How often it is said again.
const AGAIN_TICKS: u32 = 60_000 / TICK_MS;

const LINE: &str = "requests wait for their bodies, and none has ever come: is allow_on_headers_stop_iteration \
    set to true beside this filter's configuration? body_mode strict needs it (Envoy 1.35 or later); \
    `cartgate check-config` reads both";

/// What one worker thread knows of the bodies that its requests wait for.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    /// Whether one has ever come.
    has_come: Cell<bool>,
    waiting: Cell<u32>,
    /// For how many ticks in all there has been one that waits: clients give up, and others come.
    ticks: Cell<u32>,
}

impl Bodies {
    /// A request waits for its body.
    pub(crate) fn wait(&self) {
        self.waiting.set(self.waiting.get().saturating_add(1));
    }

    /// The first of its body has come, or its end.
    pub(crate) fn come(&self) {
        self.has_come.set(true);
        self.miss();
    }

    /// It ended before.
    pub(crate) fn miss(&self) {
        self.waiting.set(self.waiting.get().saturating_sub(1));
    }

    /// Some time has passed. Gives a line for the log, if it is time for one.
    pub(crate) fn tick(&self, mode: BodyMode) -> Option<&'static str> {
        if self.has_come.get() || self.waiting.get() == 0 || mode != BodyMode::Strict {
            return None;
        }
        let ticks = self.ticks.get().saturating_add(1);
        self.ticks.set(ticks);
        let since = ticks.checked_sub(PATIENCE_TICKS)?;
        since.is_multiple_of(AGAIN_TICKS).then_some(LINE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bodies: &Bodies, mode: BodyMode, ticks: u32) -> usize {
        (0..ticks).filter_map(|_| bodies.tick(mode)).count()
    }

    #[test]
    fn it_is_said_after_a_while_and_once_a_minute() {
        let bodies = Bodies::default();
        bodies.wait();
        assert_eq!(lines(&bodies, BodyMode::Strict, PATIENCE_TICKS - 1), 0);
        assert_eq!(lines(&bodies, BodyMode::Strict, 1), 1);
        assert_eq!(lines(&bodies, BodyMode::Strict, AGAIN_TICKS - 1), 0);
        // Others come and go as the first does, and it is the same trouble.
        bodies.miss();
        assert_eq!(lines(&bodies, BodyMode::Strict, 10), 0);
        bodies.wait();
        assert_eq!(lines(&bodies, BodyMode::Strict, 1), 1);
    }

    #[test]
    fn nothing_is_said_of_slow_clients() {
        let bodies = Bodies::default();
        bodies.wait();
        bodies.wait();
        bodies.come();
        assert_eq!(lines(&bodies, BodyMode::Strict, 10 * PATIENCE_TICKS), 0);
    }

    #[test]
    fn nothing_is_said_when_nobody_waits_or_the_head_does_not() {
        let bodies = Bodies::default();
        assert_eq!(lines(&bodies, BodyMode::Strict, 10 * PATIENCE_TICKS), 0);
        bodies.wait();
        assert_eq!(lines(&bodies, BodyMode::Compat, 10 * PATIENCE_TICKS), 0);
        bodies.miss();
        assert_eq!(lines(&bodies, BodyMode::Strict, 10 * PATIENCE_TICKS), 0);
    }
}
