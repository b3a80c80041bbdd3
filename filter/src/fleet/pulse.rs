//! The small value that every worker thread looks at with each tick.

use crate::count::NS_PER_MS;

/// Who reports, and what threads have to know at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pulse {
    /// The worker thread that reports, and when it last said so, in monotonic nanoseconds.
    pub(super) leader: u64,
    pub(super) beat_ns: u64,
    /// Changed whenever threads have to read the table again.
    pub(super) table: u64,
    /// Changed whenever a share has.
    pub(super) shares: u64,
    /// Until when shares are good, in monotonic nanoseconds.
    pub(super) contact_until_ns: u64,
    /// The service's time less this machine's monotonic one, in milliseconds.
    pub(super) service_ahead_ms: i64,
    /// Of the last report that was sent.
    pub(super) number: u64,
    /// The incarnation that the shares are of.
    pub(super) holds: Option<u64>,
}

/// Without a sign of the thread that reports for so long, another does. It gives one with each tick.
const TAKE_OVER_NS: u64 = 600 * NS_PER_MS;

impl Pulse {
    const BYTES: usize = 65;

    /// Whether another thread than this one reports, by the signs that it gives.
    pub(super) fn is_anothers(&self, me: u64, now_ns: u64) -> bool {
        let is_quiet = now_ns.saturating_sub(self.beat_ns) >= TAKE_OVER_NS;
        self.leader != me && self.leader != 0 && !is_quiet
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::BYTES);
        for word in [
            self.leader,
            self.beat_ns,
            self.table,
            self.shares,
            self.contact_until_ns,
            self.service_ahead_ms.cast_unsigned(),
            self.number,
            self.holds.unwrap_or_default(),
        ] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.push(self.holds.is_some().into());
        bytes
    }

    /// `None`: it is something else.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&last, words) = bytes.split_last()?;
        let mut words = words.chunks_exact(8).map(|word| word.try_into().map(u64::from_le_bytes));
        let mut next = || words.next()?.ok();
        let pulse = Self {
            leader: next()?,
            beat_ns: next()?,
            table: next()?,
            shares: next()?,
            contact_until_ns: next()?,
            service_ahead_ms: next()?.cast_signed(),
            number: next()?,
            holds: next().filter(|_| last == 1),
        };
        (bytes.len() == Self::BYTES).then_some(pulse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes() {
        let pulse = Pulse {
            leader: 1,
            beat_ns: 2,
            table: 3,
            shares: 4,
            contact_until_ns: u64::MAX,
            service_ahead_ms: -5,
            number: 6,
            holds: Some(0),
        };
        for pulse in [pulse, Pulse { holds: None, ..pulse }, Pulse::default()] {
            assert_eq!(Pulse::from_bytes(&pulse.to_bytes()), Some(pulse));
            assert_eq!(Pulse::from_bytes(&pulse.to_bytes()[1..]), None);
        }
        assert_eq!(Pulse::from_bytes(&[0; 66]), None);
        assert_eq!(Pulse::from_bytes(b""), None);
    }
}
