//! Where a command stands in its lane, and how long it may be until its turn.

use std::num::NonZeroU32;

/// Where a reserve command stands in its lane. Both numbers are guesses: callers hang up, paces change,
/// and on a shared store the first is worked out from times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InLine {
    /// 1: it is the next.
    pub position: u64,
    /// How long until its turn, in milliseconds.
    pub wait_ms: u64,
}

impl InLine {
    /// Of a command with so many `before` it, in a lane where so many are `waiting`, the oldest for
    /// `oldest_age_ms`.
    ///
    /// A lane with a pace gives so many a second. Any other goes on as it has: what comes up now has
    /// waited for `oldest_age_ms` while `waiting` came (Little's law: the number in line is what comes per
    /// second, times how long each waits).
    pub(crate) fn of(
        before: u64,
        waiting: u64,
        oldest_age_ms: u64,
        per_s: Option<NonZeroU32>,
    ) -> Self {
        let position = before.saturating_add(1);
        let wait_ms = match per_s {
            Some(per_s) => position.saturating_mul(1_000) / u64::from(per_s.get()),
            None => position.saturating_mul(oldest_age_ms) / waiting.max(position),
        };
        Self { position, wait_ms }
    }

    /// Of a command that has waited for `age_ms`, of which nobody counts what is before it: as if all in
    /// the lane had come at the same rate.
    pub(crate) fn by_age(
        age_ms: u64,
        waiting: u64,
        oldest_age_ms: u64,
        per_s: Option<NonZeroU32>,
    ) -> Self {
        let younger = age_ms.min(oldest_age_ms);
        let share = oldest_age_ms - younger;
        let before = waiting.saturating_mul(share) / oldest_age_ms.max(1);
        Self::of(before.min(waiting.saturating_sub(1)), waiting, oldest_age_ms, per_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: InLine, position: u64, wait_ms: u64) {
        assert_eq!(line, InLine { position, wait_ms });
    }

    #[test]
    fn a_lane_with_a_pace_keeps_it() {
        let per_s = NonZeroU32::new(50);
        check(InLine::of(0, 1, 9, per_s), 1, 20);
        check(InLine::of(499, 500, 9, per_s), 500, 10_000);
        check(InLine::of(u64::MAX, 1, 9, per_s), u64::MAX, u64::MAX / 50);
    }

    #[test]
    fn any_other_goes_on_as_it_has() {
        // A hundred have come in the second that the oldest has waited.
        check(InLine::of(49, 100, 1_000, None), 50, 500);
        check(InLine::of(99, 100, 1_000, None), 100, 1_000);
        check(InLine::of(0, 0, 0, None), 1, 0);
    }

    #[test]
    fn who_came_later_stands_further_behind() {
        check(InLine::by_age(1_000, 100, 1_000, None), 1, 10);
        check(InLine::by_age(250, 100, 1_000, None), 76, 760);
        check(InLine::by_age(0, 100, 1_000, None), 100, 1_000);
        // A clock that was read earlier.
        check(InLine::by_age(1_001, 100, 1_000, None), 1, 10);
        check(InLine::by_age(0, 0, 0, NonZeroU32::new(10)), 1, 100);
    }
}
