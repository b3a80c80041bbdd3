//! The limit of one SKU: the Generic Cell Rate Algorithm.
//!
//! GCRA in its virtual scheduling form (ATM Forum, Traffic Management Specification 4.0, section
//! 4.4.2; ITU-T I.371): one number per SKU, the theoretical arrival time (TAT), says when all units
//! admitted so far have been paid for at the limit's pace. What lies ahead of now is owed; a
//! request is admitted if, with its own units, no more than the burst is owed. Hence over any
//! window of `w` seconds:
//!
//! ```text
//! admitted units <= per_second * w + burst
//! ```
//!
//! All time is whole nanoseconds on one monotonic clock, whose zero does not matter. The time that
//! one unit costs is rounded up, so that rounding makes the limit lower, never higher.
//!
//! Units may be charged some time before they are spent ([`crate::lease`]). So what has been paid
//! counts as owed for [`Limit::lease_ns`] longer. Then the bound holds for spent units as well: those
//! spent in a window of `w` seconds were charged in one of `w` seconds and that much before it.
//!
//! A stored [`State`] carries the limit it was written under. A reader with another limit converts
//! what is owed, unit for unit, so that a changed limit neither forgets nor invents debt. It cannot know
//! how long the units that others leased under the old limit live: in the 50 ms after a change, what they
//! have left of these may be admitted above the bound, half of [`Limit::lease_units`] for each thread.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Quantity;

const NS_PER_SECOND: u64 = 1_000_000_000;

/// The part of a burst that may be in leases: one in so many, and no more than what comes in so long.
const LEASE_PART: u64 = 20;
const LEASE_NS_MAX: u64 = 50_000_000;

/// How many units of a SKU are admitted: a pace, and how many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Admitted units per second, in the long run.
    #[cfg_attr(feature = "openapi", schema(value_type = u32, minimum = 1, maximum = 1_000_000))]
    per_second: Units,
    /// Admitted units at once, after a pause.
    #[cfg_attr(feature = "openapi", schema(value_type = u32, minimum = 1, maximum = 1_000_000))]
    burst: Units,
}

impl Limit {
    /// The highest pace, and the largest burst. The product of a burst and the nanoseconds that one
    /// unit costs is at most 10^6 * 10^9 = 10^15, far below 2^64.
    pub const UNITS_MAX: u32 = 1_000_000;

    /// Accepts 1 to [`Limit::UNITS_MAX`] for each.
    ///
    /// # Errors
    /// One of the numbers is out of range.
    pub fn new(per_second: u64, burst: u64) -> Result<Self, LimitError> {
        Ok(Self { per_second: per_second.try_into()?, burst: burst.try_into()? })
    }

    pub(crate) fn of(per_second: Units, burst: Units) -> Self {
        Self { per_second, burst }
    }

    /// Admitted units per second.
    pub fn per_second(self) -> u32 {
        self.per_second.0.get()
    }

    /// Admitted units at once.
    pub fn burst(self) -> u32 {
        self.burst.0.get()
    }

    /// The state of a SKU of which nothing was admitted yet.
    pub fn fresh(self) -> State {
        State { per_second: self.per_second, tat_ns: 0 }
    }

    /// The state of a SKU whose whole burst has just been taken: where to go on when the true state
    /// cannot be read and nothing may be admitted above the limit.
    pub fn exhausted(self, now_ns: u64) -> State {
        let tat_ns = now_ns.saturating_add(self.owed_max_ns());
        State { per_second: self.per_second, tat_ns }
    }

    /// For how long after they were charged units may be spent. 0, at once, where fewer than two come in
    /// that time: such limits lose nothing of their burst.
    pub fn lease_ns(self) -> u64 {
        let lease_ns = (self.owed_max_ns() / LEASE_PART).min(LEASE_NS_MAX);
        if lease_ns >= 2 * self.per_second.interval_ns() { lease_ns } else { 0 }
    }

    /// What comes in the time of a lease, in units.
    pub fn lease_units(self) -> u32 {
        let units = self.lease_ns() / self.per_second.interval_ns();
        u32::try_from(units).unwrap_or(Self::UNITS_MAX)
    }

    /// Whether a state still counts, under this limit. One that does not holds no information:
    /// forgetting it changes no decision.
    pub fn remembers(self, state: State, now_ns: u64) -> bool {
        state.tat_ns.saturating_add(self.lease_ns()) > now_ns
    }

    /// As [`Limit::charge`]; and if the request is admitted, up to `ahead` more units are charged, for
    /// requests to come within [`Limit::lease_ns`]. The last number is how many.
    pub fn charge_ahead(
        self,
        state: State,
        cost: Quantity,
        ahead: u32,
        now_ns: u64,
    ) -> (Decision, State, u32) {
        let (decision, mut state) = self.charge(state, cost, now_ns);
        if decision != Decision::Admitted {
            return (decision, state, 0);
        }
        let left_ns = self.owed_max_ns().saturating_sub(self.counted_ns(state, now_ns));
        // Up to the end of the clock, and no further.
        let left_ns = left_ns.min(u64::MAX - state.tat_ns);
        let left = u32::try_from(left_ns / self.per_second.interval_ns()).unwrap_or(u32::MAX);
        let ahead = ahead.min(left);
        state.tat_ns += self.cost_ns(ahead);
        (decision, state, ahead)
    }

    /// Decides on a request for `cost` units at `now_ns`, and gives the state to store. If that
    /// equals `state`, there is nothing to store.
    ///
    /// `now_ns` must have been read after `state` was. An earlier time counts as owed what has been
    /// paid since. At the same pace that changes nothing, since the TAT stays where it is; but a
    /// faster pace would scale it down, and forgive up to the time by which the clock lags.
    pub fn charge(self, state: State, cost: Quantity, now_ns: u64) -> (Decision, State) {
        let state = self.adopt(state, now_ns);
        if cost.get() > self.burst() {
            return (Decision::OverBurst, state);
        }
        let cost_ns = self.cost_ns(cost.get());
        let counted_ns = self.counted_ns(state, now_ns).saturating_add(cost_ns);
        let retry_after_ns = counted_ns.saturating_sub(self.owed_max_ns());
        match state.tat_ns.max(now_ns).checked_add(cost_ns) {
            Some(tat_ns) if retry_after_ns == 0 => (Decision::Admitted, State { tat_ns, ..state }),
            Some(_) => (Decision::Denied { retry_after_ns }, state),
            // A time that cannot be written down: the end of the clock, 584 years after its zero.
            None => (Decision::Denied { retry_after_ns: u64::MAX }, state),
        }
    }

    /// Converts a state written under another pace: as many units are owed as before, rounded up
    /// to the nanosecond.
    fn adopt(self, state: State, now_ns: u64) -> State {
        if state.per_second == self.per_second {
            return state;
        }
        // 2^64 * 10^9 fits into 128 bits; a result above 2^64 can only come from a damaged state,
        // and saturating keeps that one closed.
        let owed = u128::from(state.owed_ns(now_ns)) * u128::from(self.per_second.interval_ns());
        let owed = owed.div_ceil(u128::from(state.per_second.interval_ns()));
        let owed_ns = u64::try_from(owed).unwrap_or(u64::MAX);
        State { per_second: self.per_second, tat_ns: now_ns.saturating_add(owed_ns) }
    }

    /// What is owed, and what was until so recently that it may not be spent yet.
    fn counted_ns(self, state: State, now_ns: u64) -> u64 {
        state.tat_ns.saturating_add(self.lease_ns()).saturating_sub(now_ns)
    }

    fn owed_max_ns(self) -> u64 {
        self.cost_ns(self.burst())
    }

    /// The time in which as many units are paid.
    pub(crate) fn cost_ns(self, units: u32) -> u64 {
        u64::from(units) * self.per_second.interval_ns()
    }
}

/// What was decided on one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Within the limit.
    Admitted,
    /// Above the limit now.
    Denied {
        /// The same request will be admitted after exactly this time, in nanoseconds, if no other
        /// is admitted before.
        retry_after_ns: u64,
    },
    /// The cost is above the burst: no time to come will admit it.
    OverBurst,
}

/// What is remembered of one SKU: what is owed, and at which pace it is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    per_second: Units,
    tat_ns: u64,
}

impl State {
    /// The length of [`State::to_bytes`].
    pub const BYTES: usize = 12;

    /// The stored form: the pace (4 bytes), the TAT (8 bytes), both little endian.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let [a, b, c, d] = self.per_second.0.get().to_le_bytes();
        let [e, f, g, h, i, j, k, l] = self.tat_ns.to_le_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }

    /// Reads the stored form, `None` if `bytes` is none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (per_second, tat_ns) = bytes.split_first_chunk::<4>()?;
        let per_second = Units::try_from(u64::from(u32::from_le_bytes(*per_second))).ok()?;
        let tat_ns = u64::from_le_bytes(tat_ns.try_into().ok()?);
        Some(Self { per_second, tat_ns })
    }

    fn owed_ns(self, now_ns: u64) -> u64 {
        self.tat_ns.saturating_sub(now_ns)
    }
}

/// 1 to [`Limit::UNITS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("minimum" = 1, "maximum" = 1_000_000)))]
#[serde(try_from = "u64", into = "u32")]
pub(crate) struct Units(NonZeroU32);

impl Units {
    /// What one unit costs at this many units per second.
    fn interval_ns(self) -> u64 {
        NS_PER_SECOND.div_ceil(u64::from(self.0.get()))
    }
}

impl TryFrom<u64> for Units {
    type Error = LimitError;

    fn try_from(units: u64) -> Result<Self, LimitError> {
        u32::try_from(units)
            .ok()
            .filter(|units| *units <= Limit::UNITS_MAX)
            .and_then(NonZeroU32::new)
            .map(Self)
            .ok_or(LimitError { units })
    }
}

impl From<Units> for u32 {
    fn from(units: Units) -> Self {
        units.0.get()
    }
}

/// A pace or a burst out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be a whole number from 1 to {}, not {units}", Limit::UNITS_MAX)]
pub struct LimitError {
    units: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: u64 = NS_PER_SECOND;

    fn limit(per_second: u64, burst: u64) -> Limit {
        Limit::new(per_second, burst).unwrap()
    }

    fn units(units: u32) -> Quantity {
        Quantity::new(units.into()).unwrap()
    }

    /// Charges `(now_ns, cost)` one after the other.
    fn check(limit: Limit, requests: &[(u64, u32)], expected: &[Decision]) {
        let mut state = limit.fresh();
        let decide = |(now_ns, cost): &(u64, u32)| {
            let decision;
            (decision, state) = limit.charge(state, units(*cost), *now_ns);
            decision
        };
        let decisions: Vec<_> = requests.iter().map(decide).collect();
        assert_eq!(decisions, expected);
    }

    #[test]
    fn charges() {
        use Decision::{Admitted, OverBurst};
        let denied = |retry_after_ns| Decision::Denied { retry_after_ns };
        check(limit(1, 1), &[(0, 1), (0, 1), (S, 1)], &[Admitted, denied(S), Admitted]);
        // A burst at once, then one unit for each interval.
        let five = [(7, 3), (7, 2), (7, 1), (7 + S / 5, 1)];
        check(limit(5, 5), &five, &[Admitted, Admitted, denied(S / 5), Admitted]);
        // Three units wait for three intervals; one unit that asks in between goes first.
        let mixed = [(0, 4), (0, 3), (S, 1), (2 * S, 3)];
        check(limit(1, 4), &mixed, &[Admitted, denied(3 * S), Admitted, denied(2 * S)]);
        check(limit(1, 4), &[(0, 5), (0, 4)], &[OverBurst, Admitted]);
        // 10^9 / 3 is rounded up, so that three units never fit into a little less than a second.
        check(limit(3, 1), &[(0, 1), (S / 3, 1)], &[Admitted, denied(1)]);
        // The clock's last nanosecond.
        check(limit(1, 1), &[(u64::MAX, 1)], &[denied(u64::MAX)]);
    }

    #[test]
    fn a_changed_limit_keeps_the_units_owed() {
        let (slow, fast) = (limit(1, 10), limit(100, 10));
        let (_, ten_owed) = slow.charge(slow.fresh(), units(10), 0);
        let (decision, state) = fast.charge(ten_owed, units(1), 0);
        // Ten units are owed under either limit: at the new pace one is paid in 10 ms.
        assert_eq!(decision, Decision::Denied { retry_after_ns: S / 100 });
        // The denial's state is stored, so that what it said stays true.
        assert_eq!(fast.charge(state, units(1), S / 100).0, Decision::Admitted);
    }

    #[test]
    fn stored_form() {
        let state = limit(5, 5).exhausted(1);
        assert_eq!(State::from_bytes(&state.to_bytes()), Some(state));
        for malformed in [&[][..], &[1; 11], &[1; 13], &[0; 12], &[255; 12]] {
            assert_eq!(State::from_bytes(malformed), None, "{malformed:?}");
        }
    }

    #[test]
    fn range() {
        for (per_second, burst) in [(0, 1), (1, 0), (1_000_001, 1), (1, u64::MAX)] {
            assert!(Limit::new(per_second, burst).is_err(), "{per_second} {burst}");
        }
    }

    prop_compose! {
        fn any_limit()(per_second in 1..=1_000_000_u64, burst in 1..=1_000_u64) -> Limit {
            limit(per_second, burst)
        }
    }

    /// Requests as `(ns since the one before, cost)`: from idle to far above the limit.
    fn any_requests() -> impl Strategy<Value = Vec<(u64, u32)>> {
        let pause = prop_oneof![Just(0), 0..2_000_u64, 0..10_000_000_u64, 0..2 * S];
        prop::collection::vec((pause, 1..20_u32), 1..200)
    }

    fn any_state() -> impl Strategy<Value = State> {
        (1..=1_000_000_u64, prop_oneof![any::<u64>(), 0..1_000 * S])
            .prop_map(|(rate, tat_ns)| State { per_second: Units::try_from(rate).unwrap(), tat_ns })
    }

    proptest! {
        #[test]
        fn never_above_the_limit_over_any_window(limit in any_limit(), requests in any_requests()) {
            let (mut now, mut state) = (S, limit.fresh());
            let mut admitted: Vec<(u64, u64)> = Vec::new();
            for (pause, cost) in requests {
                now += pause;
                let decision;
                (decision, state) = limit.charge(state, units(cost), now);
                if decision == Decision::Admitted {
                    admitted.push((now, cost.into()));
                }
            }
            for (start, (from, _)) in admitted.iter().enumerate() {
                let mut sum = 0;
                for (at, cost) in &admitted[start..] {
                    sum += cost;
                    // units <= per_second * w / 10^9 + burst, without division.
                    let above_burst = sum.saturating_sub(limit.burst().into());
                    prop_assert!(above_burst * S <= u64::from(limit.per_second()) * (at - from));
                }
            }
        }

        #[test]
        fn retry_after_is_exact(limit in any_limit(), state in any_state(), cost in 1..1_000_u32) {
            let now = S;
            let (decision, state) = limit.charge(state, units(cost), now);
            if let Decision::Denied { retry_after_ns } = decision
                && let Some(then) = now.checked_add(retry_after_ns)
                && then < u64::MAX - 1_000 * limit.owed_max_ns()
            {
                let just_before = limit.charge(state, units(cost), then - 1).0;
                prop_assert_eq!(just_before, Decision::Denied { retry_after_ns: 1 });
                prop_assert_eq!(limit.charge(state, units(cost), then).0, Decision::Admitted);
            }
        }

        #[test]
        fn a_changed_limit_moves_debt_by_rounding_only(
            from in any_limit(), to in any_limit(), owed in 0..1_000 * S, now in 0..1_000 * S,
        ) {
            let state = State { per_second: from.per_second, tat_ns: now + owed };
            let converted = u128::from(to.adopt(state, now).owed_ns(now));
            let before = u128::from(owed) * u128::from(to.per_second.interval_ns());
            let after = converted * u128::from(from.per_second.interval_ns());
            prop_assert!(before <= after);
            prop_assert!(after < before + u128::from(from.per_second.interval_ns()));
        }

        #[test]
        fn no_input_overflows(
            limit in any_limit(), state in any_state(), cost in 1..=1_000_000_u32, ahead: u32,
            now in prop_oneof![any::<u64>(), u64::MAX - S..=u64::MAX],
        ) {
            let (decision, after) = limit.charge(state, units(cost), now);
            if decision == Decision::Admitted {
                prop_assert!(after.tat_ns > now);
            }
            let (ahead_decision, _, charged) = limit.charge_ahead(state, units(cost), ahead, now);
            prop_assert_eq!(ahead_decision, decision);
            prop_assert!(charged <= ahead && charged <= limit.burst());
        }
    }
}
