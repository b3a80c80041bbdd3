//! An edge's side: its share as units that come and are taken.
//!
//! A token bucket in whole nano-units, so that nothing is rounded: `per_second` units per second are as many
//! nano-units per nanosecond. Shares change all the time; what is left stays left then, but for what has no
//! room any more. So no unit comes but by time, and when shares move between edges,
//!
//! ```text
//! admitted by all edges in w seconds <= limit * w + burst
//! ```
//!
//! A share begins with nothing left. As in [`crate::gcra`] units may be charged some time before they are
//! spent, and for that the bucket has by as much less room as comes in that time.

use crate::Quantity;
use crate::gcra::{Decision, Limit};

const NANO: u64 = 1_000_000_000;

/// How long to wait when nobody knows: until the share may be another one.
const ANOTHER_SHARE_NS: u64 = NANO;

/// So many units per second, and so many at once. Both may be 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Units per second.
    pub per_second: u32,
    /// Units at once.
    pub burst: u32,
}

impl Allowance {
    /// As much of a fleet's limit as goes with `per_second` of it.
    pub fn of(limit: Limit, per_second: u32) -> Self {
        let burst =
            u64::from(limit.burst()) * u64::from(per_second) / u64::from(limit.per_second());
        Self { per_second, burst: u32::try_from(burst).unwrap_or(u32::MAX) }
    }

    /// What an edge goes on with that does not hear of the service any more: as much as each of so many
    /// edges can have, at least one unit per second.
    pub fn safe(limit: Limit, edges: u32) -> Self {
        let share = |units: u32| (units / edges.max(1)).max(1);
        Self { per_second: share(limit.per_second()), burst: share(limit.burst()) }
    }

    /// The same as a limit, if there is anything.
    pub fn limit(self) -> Option<Limit> {
        Limit::new(self.per_second.into(), self.burst.into()).ok()
    }

    /// Units that can ever be taken at once.
    pub fn at_once(self) -> u32 {
        u32::try_from(self.room() / NANO).unwrap_or(u32::MAX)
    }

    fn room(self) -> u64 {
        let leased = self.limit().map_or(0, |limit| u64::from(self.per_second) * limit.lease_ns());
        (u64::from(self.burst) * NANO).saturating_sub(leased)
    }
}

/// What an edge's threads share of one hot item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meter {
    /// Which item it is of: places are used again.
    fingerprint: u64,
    share: Allowance,
    left_nano: u64,
    at_ns: u64,
}

impl Meter {
    /// The length of [`Meter::to_bytes`].
    pub const BYTES: usize = 32;

    /// The meter of an item with this `fingerprint` that has no share yet.
    pub fn empty(fingerprint: u64, now_ns: u64) -> Self {
        Self { fingerprint, share: Allowance::default(), left_nano: 0, at_ns: now_ns }
    }

    /// Whether it is of this item.
    pub fn is_of(&self, fingerprint: u64) -> bool {
        self.fingerprint == fingerprint
    }

    /// The share that counts at `now_ns`: what was granted, as far as its edge is heard of by the service
    /// (until `contact_until_ns`); the `safe` one from then on.
    pub fn share(&self, safe: Allowance, contact_until_ns: u64, now_ns: u64) -> Allowance {
        if now_ns < contact_until_ns { self.share } else { safe }
    }

    /// The meter with another share from `now_ns` on.
    pub fn granted(
        self,
        share: Allowance,
        safe: Allowance,
        contact_until_ns: u64,
        now_ns: u64,
    ) -> Self {
        let settled = self.settled(safe, contact_until_ns, now_ns);
        Self { share, left_nano: settled.left_nano.min(share.room()), ..settled }
    }

    /// Decides on a request for `cost` units at `now_ns`, and charges up to `ahead` more if it is admitted.
    /// Gives the meter to store, and how many more were charged. That the cost is more than the share ever
    /// admits at once is no error, since the share may be another one soon.
    pub fn charge(
        self,
        cost: Quantity,
        ahead: u32,
        (safe, contact_until_ns): (Allowance, u64),
        now_ns: u64,
    ) -> (Decision, Self, u32) {
        let mut meter = self.settled(safe, contact_until_ns, now_ns);
        let share = meter.share(safe, contact_until_ns, now_ns);
        let cost_nano = u64::from(cost.get()) * NANO;
        if let Some(left_nano) = meter.left_nano.checked_sub(cost_nano) {
            let ahead = ahead.min(u32::try_from(left_nano / NANO).unwrap_or(u32::MAX));
            meter.left_nano = left_nano - u64::from(ahead) * NANO;
            return (Decision::Admitted, meter, ahead);
        }
        let retry_after_ns = match u64::from(share.per_second) {
            0 => ANOTHER_SHARE_NS,
            _ if cost_nano > share.room() => ANOTHER_SHARE_NS,
            per_second => (cost_nano - meter.left_nano).div_ceil(per_second),
        };
        (Decision::Denied { retry_after_ns }, meter, 0)
    }

    /// The form in which it is stored.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.fingerprint.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.share.per_second.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.share.burst.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.left_nano.to_le_bytes());
        bytes[24..].copy_from_slice(&self.at_ns.to_le_bytes());
        bytes
    }

    /// Reads what [`Meter::to_bytes`] wrote. `None`: it is something else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let word = |at: usize| bytes[at..].first_chunk().copied().map(u64::from_le_bytes);
        let half = |at: usize| bytes[at..].first_chunk().copied().map(u32::from_le_bytes);
        let share = Allowance { per_second: half(8)?, burst: half(12)? };
        Some(Self { fingerprint: word(0)?, share, left_nano: word(16)?, at_ns: word(24)? })
    }

    /// With what has come by `now_ns`.
    fn settled(self, safe: Allowance, contact_until_ns: u64, now_ns: u64) -> Self {
        // Each share has room for its own time only.
        let heard = match self.at_ns < contact_until_ns {
            true => self.filled(self.share, contact_until_ns.min(now_ns)),
            false => self,
        };
        if now_ns < contact_until_ns { heard } else { heard.filled(safe, now_ns) }
    }

    fn filled(self, share: Allowance, until_ns: u64) -> Self {
        let came = u64::from(share.per_second).saturating_mul(until_ns.saturating_sub(self.at_ns));
        let left_nano = self.left_nano.saturating_add(came).min(share.room());
        Self { left_nano, at_ns: self.at_ns.max(until_ns), ..self }
    }
}

#[cfg(test)]
mod tests;
