//! Requests in order of time.
//!
//! A proxy logs a request when it ends, with the time at which it began: one that took long comes after
//! others that began later. So requests wait until nothing earlier can be expected any more.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use cartgate_ledger::UnixMs;
use cartgate_policy::Sku;

/// A request for a SKU.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Event {
    /// When it began.
    pub(super) at: UnixMs,
    pub(super) sku: Sku,
    /// Whether it was answered 429.
    pub(super) is_denied: bool,
}

/// Requests that wait for earlier ones.
#[derive(Debug)]
pub(super) struct Waiting {
    events: BinaryHeap<Reverse<Event>>,
    late_ms: u64,
    events_max: usize,
    /// The latest that was let go.
    gone: UnixMs,
}

impl Waiting {
    /// Nobody comes more than `late_ms` late. Of more than `events_max`, the earliest wait no longer.
    pub(super) fn new(late_ms: u64, events_max: usize) -> Self {
        Self { events: BinaryHeap::new(), late_ms, events_max, gone: UnixMs(0) }
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// It comes too late: a later one has been let go. It is given back.
    pub(super) fn push(&mut self, event: Event) -> Result<(), Event> {
        if event.at < self.gone {
            return Err(event);
        }
        self.events.push(Reverse(event));
        Ok(())
    }

    /// Lets the earliest go, if nothing before it can be expected by somebody who has come to `stamp`.
    pub(super) fn pop(&mut self, stamp: UnixMs) -> Option<Event> {
        let Reverse(first) = self.events.peek()?;
        let has_waited = first.at.plus_ms(self.late_ms) <= stamp;
        (has_waited || self.events.len() > self.events_max).then(|| self.pop_first())?
    }

    /// Lets the earliest go, when nothing comes any more.
    pub(super) fn pop_first(&mut self) -> Option<Event> {
        let Reverse(event) = self.events.pop()?;
        self.gone = event.at;
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets `stamps` through: what came out, in this order, and what was too late.
    fn through(stamps: &[u64], late_ms: u64, events_max: usize) -> (Vec<u64>, Vec<u64>) {
        let mut waiting = Waiting::new(late_ms, events_max);
        let (mut out, mut late) = (Vec::new(), Vec::new());
        for stamp in stamps {
            let (at, sku) = (UnixMs(*stamp), Sku::parse("A").unwrap());
            if let Err(event) = waiting.push(Event { at, sku, is_denied: false }) {
                late.push(event.at.0);
            }
            out.extend(std::iter::from_fn(|| waiting.pop(at)).map(|event| event.at.0));
            assert!(waiting.events.len() <= events_max);
        }
        out.extend(std::iter::from_fn(|| waiting.pop_first()).map(|event| event.at.0));
        (out, late)
    }

    #[test]
    fn who_is_not_too_late_gets_to_its_place() {
        assert_eq!(through(&[5, 3, 9, 4, 14, 10], 5, 99), (vec![3, 4, 5, 9, 10, 14], vec![]));
        assert_eq!(through(&[5, 9, 14, 8], 5, 99), (vec![5, 9, 14], vec![8]));
    }

    #[test]
    fn one_wrong_clock_spoils_nothing_that_comes_after() {
        let (out, late) = through(&[10, 11, 9_999, 12, 13, 20, 19], 5, 99);
        assert_eq!((out, late), (vec![10, 11, 12, 13, 19, 20, 9_999], vec![]));
    }

    #[test]
    fn when_it_is_full_the_earliest_wait_no_longer() {
        assert_eq!(through(&[5, 6, 7, 4], 1_000, 2), (vec![5, 6, 7], vec![4]));
    }
}
