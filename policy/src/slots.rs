//! A bounded table for the SKUs that have no limit of their own in the configuration.
//!
//! Shared data never frees a key, so there cannot be a key for each SKU that a client names. SKUs
//! share a fixed number of sets instead; a set is one stored value with room for [`WAYS`] SKUs:
//!
//! ```text
//! overflow state (12 bytes), then 0 to 8 times: fingerprint (8 bytes, little endian), state (12)
//! ```
//!
//! A keyed hash tells a SKU's set and its fingerprint in it, so that nobody outside can choose SKUs
//! that meet in one set. A way is taken over only when the SKU in it owes nothing: its state holds
//! no information then, and a flood of invented SKUs can never reset a limit. While every way of a
//! set is owing, its other SKUs share one state, the overflow, under the limit of a single SKU.
//!
//! A SKU that gets a way starts with what the overflow owes, since part of that may be its own. So
//! for each SKU, however often it changes places, what it is charged against owes at least what the
//! SKU itself owes, and its admitted units stay within `per_second * w + burst`. The overflow lives
//! in the set's own value for the same reason: one compare-and-swap moves both.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::client::Client;
use crate::gcra::{Decision, Limit, State};
use crate::{Quantity, Sku};

/// How many SKUs a set holds.
pub const WAYS: usize = 8;

/// The length of a full set, in bytes: no set is ever longer.
pub const SET_BYTES_MAX: usize = State::BYTES + WAYS * WAY_BYTES;

const WAY_BYTES: usize = 8 + State::BYTES;

/// Where a SKU is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The number of its set.
    pub set: u32,
    /// What stands for the SKU in its set. Two SKUs with the same one share a limit; with 64 bits
    /// that is rarer than one set in 10^17.
    pub fingerprint: u64,
}

impl Slot {
    /// Finds the place of `sku`, or of what one `client` takes of it, among `sets_count` sets. `seed` is
    /// random, and the same for everyone who shares the sets.
    pub fn of(sku: &Sku, client: Option<Client>, seed: &[u8; 16], sets_count: u32) -> Self {
        let mut hasher = SipHasher13::new_with_key(seed);
        hasher.write(sku.as_str().as_bytes());
        if let Some(client) = client {
            // No SKU has this byte in it.
            hasher.write(&[0]);
            hasher.write(&client.to_bytes());
        }
        let hash = hasher.finish128();
        let set = hash.h1 % u64::from(sets_count.max(1));
        // A remainder of a `u32` is one.
        Self { set: u32::try_from(set).unwrap_or_default(), fingerprint: hash.h2 }
    }
}

/// What a charge to a set gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charged {
    /// The decision on the request.
    pub decision: Decision,
    /// How many units were charged beyond it.
    pub ahead: u32,
    /// The set to store, `None` if it is as it was.
    pub set: Option<Vec<u8>>,
    /// Whether the request was charged to the overflow, all ways being taken.
    pub overflowed: bool,
}

/// Charges the SKU with this `fingerprint` for `cost` units, and up to `ahead` more, as
/// [`Limit::charge_ahead`] does; `stored` is its set, `None` if nothing
/// was ever stored there.
///
/// Bytes that are no set count as a set whose overflow is exhausted: what they owed is unknown, so
/// everyone in it starts from an empty bucket, and soon all is well again.
pub fn charge(
    stored: Option<&[u8]>,
    fingerprint: u64,
    limit: Limit,
    cost: Quantity,
    ahead: u32,
    now_ns: u64,
) -> Charged {
    let mut set = Set::read(stored, limit, now_ns);
    let known = set.find(fingerprint);
    let (decision, after, ahead) = limit.charge_ahead(set.state(known), cost, ahead, now_ns);
    let way = known.or_else(|| set.free(limit, now_ns));
    match way {
        Some(way) if known.is_some() || decision == Decision::Admitted => {
            set.put(way, (fingerprint, after));
        }
        // No way is free, or a newcomer was denied, who takes no room from others.
        _ => set.overflow = after,
    }
    let bytes = set.to_bytes();
    let changed = stored != Some(bytes.as_slice()) && !(stored.is_none() && set.ways.is_empty());
    Charged { decision, ahead, set: changed.then_some(bytes), overflowed: way.is_none() }
}

/// What the SKU with this `fingerprint` owes in its set, `stored`: where to go on with a SKU that gets
/// a place of its own. `limit` is the one it had in the set.
pub fn state(stored: Option<&[u8]>, fingerprint: u64, limit: Limit, now_ns: u64) -> State {
    let set = Set::read(stored, limit, now_ns);
    set.state(set.find(fingerprint))
}

struct Set {
    overflow: State,
    ways: Vec<(u64, State)>,
}

impl Set {
    fn read(stored: Option<&[u8]>, limit: Limit, now_ns: u64) -> Self {
        match stored {
            None => Self { overflow: limit.fresh(), ways: Vec::new() },
            Some(bytes) => Self::from_bytes(bytes)
                .unwrap_or_else(|| Self { overflow: limit.exhausted(now_ns), ways: Vec::new() }),
        }
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > SET_BYTES_MAX {
            return None;
        }
        let (overflow, ways) = bytes.split_at_checked(State::BYTES)?;
        let overflow = State::from_bytes(overflow)?;
        let ways = ways.chunks(WAY_BYTES).map(way_from_bytes).collect::<Option<_>>()?;
        Some(Self { overflow, ways })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SET_BYTES_MAX);
        bytes.extend(self.overflow.to_bytes());
        for (fingerprint, state) in &self.ways {
            bytes.extend(fingerprint.to_le_bytes());
            bytes.extend(state.to_bytes());
        }
        bytes
    }

    fn find(&self, fingerprint: u64) -> Option<usize> {
        self.ways.iter().position(|way| way.0 == fingerprint)
    }

    /// The state of the SKU in `way`, or of one that has none.
    fn state(&self, way: Option<usize>) -> State {
        way.and_then(|way| self.ways.get(way)).map_or(self.overflow, |way| way.1)
    }

    /// A way that nobody is in, or somebody who owes nothing. A way not used yet comes last, so
    /// that a set is no longer than it needs to be.
    fn free(&self, limit: Limit, now_ns: u64) -> Option<usize> {
        let paid = self.ways.iter().position(|way| !limit.remembers(way.1, now_ns));
        paid.or_else(|| (self.ways.len() < WAYS).then_some(self.ways.len()))
    }

    fn put(&mut self, way: usize, entry: (u64, State)) {
        match self.ways.get_mut(way) {
            Some(place) => *place = entry,
            None => self.ways.push(entry),
        }
    }
}

fn way_from_bytes(bytes: &[u8]) -> Option<(u64, State)> {
    let (fingerprint, state) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*fingerprint), State::from_bytes(state)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: u64 = 1_000_000_000;

    fn limit() -> Limit {
        Limit::new(10, 3).unwrap()
    }

    /// A set in which time passes and SKUs are charged.
    #[derive(Default)]
    struct Table {
        stored: Option<Vec<u8>>,
    }

    impl Table {
        fn charge(&mut self, fingerprint: u64, cost: u64, now_ns: u64) -> Charged {
            let cost = Quantity::new(cost).unwrap();
            let charged = charge(self.stored.as_deref(), fingerprint, limit(), cost, 0, now_ns);
            if let Some(set) = &charged.set {
                self.stored = Some(set.clone());
            }
            charged
        }

        fn owing(&self, now_ns: u64) -> Vec<(u64, State)> {
            let set = Set::read(self.stored.as_deref(), limit(), now_ns);
            set.ways.into_iter().filter(|way| limit().remembers(way.1, now_ns)).collect()
        }
    }

    #[test]
    fn each_sku_has_its_own_limit_until_the_set_is_full() {
        let mut table = Table::default();
        for sku in 0..WAYS as u64 {
            assert_eq!(table.charge(sku, 3, 0).decision, Decision::Admitted);
        }
        let denied = Decision::Denied { retry_after_ns: S / 10 };
        for sku in 0..WAYS as u64 {
            let charged = table.charge(sku, 1, 0);
            assert_eq!(
                charged,
                Charged { decision: denied, ahead: 0, set: None, overflowed: false }
            );
        }
        // Everyone else shares one limit.
        let first = table.charge(100, 3, 0);
        assert!(first.overflowed && first.decision == Decision::Admitted);
        let second = table.charge(101, 1, 0);
        assert!(second.overflowed && second.decision == denied);
        // When a way is free again, its new SKU still answers for what the overflow owes.
        let charged = table.charge(101, 3, S / 5);
        assert_eq!(charged.decision, Decision::Denied { retry_after_ns: S / 10 });
        let charged = table.charge(101, 3, 3 * S / 10);
        assert_eq!((charged.decision, charged.overflowed), (Decision::Admitted, false));
        assert_eq!(table.stored.map(|set| set.len()), Some(SET_BYTES_MAX));
    }

    #[test]
    fn a_refused_newcomer_is_not_remembered() {
        let charged = Table::default().charge(1, 4, 0);
        assert_eq!(
            charged,
            Charged { decision: Decision::OverBurst, ahead: 0, set: None, overflowed: false }
        );
    }

    #[test]
    fn a_sku_that_leaves_takes_along_what_it_owes() {
        let mut table = Table::default();
        let owes = |table: &Table, fingerprint| {
            let state = state(table.stored.as_deref(), fingerprint, limit(), 0);
            // 3 units at once: what is admitted still is what is not owed yet.
            let admitted = |units: &u64| {
                let units = Quantity::new(*units).unwrap();
                limit().charge(state, units, 0).0 == Decision::Admitted
            };
            3 - (1..=3).rev().find(admitted).unwrap_or(0)
        };
        assert_eq!(owes(&table, 0), 0);
        for sku in 0..WAYS as u64 {
            table.charge(sku, 1 + sku % 3, 0);
        }
        assert_eq!([0, 1, 2, 100].map(|sku| owes(&table, sku)), [1, 2, 3, 0]);
        // What the overflow owes may be its own.
        table.charge(100, 2, 0);
        assert_eq!([0, 100, 101].map(|sku| owes(&table, sku)), [1, 2, 2]);
    }

    /// What a thread has leased can be spent for a while after it was paid.
    #[test]
    fn a_sku_with_a_lease_keeps_its_way() {
        let limit = Limit::new(1_000, 1_000).unwrap();
        let charge = |stored: Option<&[u8]>, sku, ahead, now_ns| {
            charge(stored, sku, limit, Quantity::ONE, ahead, now_ns).set.unwrap()
        };
        let mut set = charge(None, 100, 19, S);
        // 20 ms are paid, and 50 ms of the lease are not over.
        for sku in 0..2 * WAYS as u64 {
            set = charge(Some(&set), sku, 0, S + S / 20);
        }
        let holds = |set: &[u8]| Set::from_bytes(set).unwrap().find(100).is_some();
        assert!(holds(&set));
        // 20 ms and 50 ms.
        assert!(!holds(&charge(Some(&set), 200, 0, S + 7 * S / 100)));
    }

    #[test]
    fn malformed_bytes_are_an_exhausted_set() {
        for malformed in [&[][..], &[0; 12], &[1; 31], &[255; SET_BYTES_MAX], &[1; 4096]] {
            let mut table = Table { stored: Some(malformed.to_vec()) };
            let denied = Decision::Denied { retry_after_ns: S / 10 };
            assert_eq!(table.charge(1, 1, S).decision, denied, "{malformed:?}");
            assert_eq!(table.charge(1, 1, S + S / 10).decision, Decision::Admitted);
        }
    }

    #[test]
    fn slots_depend_on_the_seed_and_stay_in_range() {
        let sku = Sku::parse("A").unwrap();
        let slot = |seed, sets_count| Slot::of(&sku, None, &[seed; 16], sets_count);
        assert_ne!(slot(1, 4096), slot(2, 4096));
        assert_eq!(slot(1, 1).set, 0);
        assert_eq!(slot(1, 0).set, 0);
    }

    fn any_requests() -> impl Strategy<Value = Vec<(u64, u64, u64)>> {
        let pause = prop_oneof![4 => Just(0), 2 => 0..S / 10, 1 => 0..S];
        // Twenty SKUs in a set for eight: a flood aimed at one set.
        prop::collection::vec((pause, 0..20_u64, 1..4_u64), 1..400)
    }

    proptest! {
        #[test]
        fn each_sku_stays_within_its_limit_under_a_flood(requests in any_requests()) {
            let (mut table, mut now) = (Table::default(), S);
            let mut admitted: Vec<Vec<(u64, u64)>> = vec![Vec::new(); 20];
            for (pause, sku, cost) in requests {
                now += pause;
                if table.charge(sku, cost, now).decision == Decision::Admitted {
                    admitted[sku as usize].push((now, cost));
                }
            }
            for sku in &admitted {
                for (start, (from, _)) in sku.iter().enumerate() {
                    let mut sum = 0;
                    for (at, cost) in &sku[start..] {
                        sum += cost;
                        prop_assert!(sum.saturating_sub(3) * S <= 10 * (at - from));
                    }
                }
            }
        }

        #[test]
        fn who_owes_is_never_forgotten(requests in any_requests()) {
            let (mut table, mut now) = (Table::default(), S);
            for (pause, sku, cost) in requests {
                now += pause;
                let before = table.owing(now);
                table.charge(sku, cost, now);
                let after = table.owing(now);
                prop_assert!(before.iter().all(|way| way.0 == sku || after.contains(way)));
                prop_assert!(before.iter().all(|way| after.iter().any(|a| a.0 == way.0)));
                prop_assert!(table.stored.as_ref().is_none_or(|set| set.len() <= SET_BYTES_MAX));
            }
        }

        #[test]
        fn no_bytes_panic_or_grow(
            stored in prop::collection::vec(any::<u8>(), 0..400), fingerprint: u64, now: u64,
        ) {
            let charged = charge(Some(&stored), fingerprint, limit(), Quantity::ONE, 0, now);
            prop_assert!(charged.set.is_none_or(|set| set.len() <= SET_BYTES_MAX));
        }
    }
}
