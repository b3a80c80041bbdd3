//! The seat of the fleet's leader, as a process knows it: whether it is its own, and until when.
//!
//! On a store that many processes share the seat is leased. The time of the lease is counted from before it
//! was asked for, so that it ends here before it ends there. Who has had it and lost it is never the same
//! leader again: another may have granted something in between. A new one is another incarnation, and learns.

use std::time::Instant;

use super::leader::Leader;

/// A process's claim to lead, and the leader that it is.
#[derive(Default)]
pub(super) struct Seat {
    claim: Option<Claim>,
    /// `None`: the registry was not read yet. Whoever reported then would be told that there is none.
    leader: Option<Leader>,
}

#[derive(Clone, Copy)]
struct Claim {
    incarnation: u64,
    /// `None`: for ever.
    until: Option<Instant>,
}

impl Seat {
    /// It is this process's: as another incarnation than ever, or for longer.
    pub(super) fn take(&mut self, incarnation: u64, until: Option<Instant>) {
        if self.claim.is_none_or(|claim| claim.incarnation != incarnation) {
            self.leader = None;
        }
        self.claim = Some(Claim { incarnation, until });
    }

    /// It is this process's no more. Gives the incarnation that had it.
    pub(super) fn lose(&mut self) -> Option<u64> {
        self.leader = None;
        self.claim.take().map(|claim| claim.incarnation)
    }

    /// The incarnation that has it at `now`.
    pub(super) fn incarnation(&self, now: Instant) -> Option<u64> {
        let is_good = |claim: &Claim| claim.until.is_none_or(|until| now < until);
        self.claim.filter(is_good).map(|claim| claim.incarnation)
    }

    /// The leader, if it may answer at `now`.
    pub(super) fn leader(&mut self, now: Instant) -> Option<&mut Leader> {
        self.incarnation(now)?;
        self.leader.as_mut()
    }

    /// The leader of this incarnation, if it still has the seat at `now`: from now on it may answer.
    pub(super) fn begin(
        &mut self,
        incarnation: u64,
        now: Instant,
        new: impl FnOnce() -> Leader,
    ) -> Option<&mut Leader> {
        self.incarnation(now).filter(|current| *current == incarnation)?;
        Some(self.leader.get_or_insert_with(new))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Config;
    use crate::control::leader::Rules;

    fn leader(incarnation: u64) -> Leader {
        Leader::new(incarnation, &Rules::new(&Config::default()), 0)
    }

    fn leads(seat: &mut Seat, now: Instant) -> Option<u64> {
        seat.leader(now).map(|leader| leader.view().version.incarnation)
    }

    #[test]
    fn nobody_answers_before_the_registry_was_read_or_after_the_lease() {
        let (mut seat, start) = (Seat::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert!(seat.begin(1, at(0), || leader(1)).is_none());
        seat.take(1, Some(at(1_000)));
        assert_eq!((seat.incarnation(at(999)), leads(&mut seat, at(0))), (Some(1), None));
        seat.begin(1, at(0), || leader(1));
        assert_eq!(leads(&mut seat, at(999)), Some(1));
        assert_eq!((seat.incarnation(at(1_000)), leads(&mut seat, at(1_000))), (None, None));
        assert!(seat.begin(1, at(1_000), || leader(1)).is_none());
        // It was kept, and that is known a little late.
        seat.take(1, Some(at(2_000)));
        assert_eq!(leads(&mut seat, at(1_001)), Some(1));
    }

    #[test]
    fn another_incarnation_knows_nothing_of_the_one_before() {
        let (mut seat, now) = (Seat::default(), Instant::now());
        seat.take(1, None);
        seat.begin(1, now, || leader(1));
        assert_eq!(seat.lose(), Some(1));
        assert_eq!(leads(&mut seat, now), None);
        seat.take(2, None);
        assert_eq!(leads(&mut seat, now), None);
        // What the registry was read for is over.
        assert!(seat.begin(1, now, || leader(1)).is_none());
        seat.begin(2, now, || leader(2));
        assert_eq!(leads(&mut seat, now), Some(2));
        seat.take(3, None);
        assert_eq!(leads(&mut seat, now), None);
    }
}
