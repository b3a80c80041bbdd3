//! The reserve commands of a lane, in the order in which they are applied.

use std::collections::{HashSet, VecDeque};

use cartgate_ledger::{Command, CommandId, IdMap, Reserve, UnixMs};
use cartgate_policy::Sku;

use super::EnqueueError;
use super::lane::check_room;
use super::queued::{Queued, Reply};
use crate::store::Ticketed;

/// Reserve commands, first in first out, and marks between them.
///
/// A command that comes again while it waits does not queue twice: the repeat joins it, in its
/// place. So an id stands for one command here, and for at most one ticket in the store. Where
/// commands come from streams repeats do stand here: then an id is found at the last of them.
pub(super) struct ReserveQueue {
    places: VecDeque<Place>,
    /// The position of the first place. What is put back in front has a lower one.
    first: u64,
    positions: IdMap<u64>,
    /// Commands refused for want of room.
    refused: usize,
    commands: usize,
}

/// What stands in a queue.
pub(super) enum Place {
    /// A command.
    Command(Queued),
    /// HANDOFF: what comes later of this SKU is in another lane, which has waited for this mark.
    Handoff(Sku),
}

impl Place {
    /// The SKU that it is about.
    pub(super) fn sku(&self) -> &Sku {
        match self {
            Self::Command(queued) => &queued.sku,
            Self::Handoff(sku) => sku,
        }
    }
}

/// What waits under this id asks for something else.
pub(super) struct OtherFingerprint;

impl Default for ReserveQueue {
    fn default() -> Self {
        // Far enough from either end of the numbers.
        let (places, positions, commands, refused) = Default::default();
        Self { places, first: 1 << 63, positions, commands, refused }
    }
}

impl ReserveQueue {
    /// How many commands wait.
    pub(super) fn len(&self) -> usize {
        self.commands
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn front(&self) -> Option<&Place> {
        self.places.front()
    }

    /// The command that has waited longest.
    pub(super) fn oldest(&self) -> Option<&Queued> {
        self.places.iter().find_map(|place| match place {
            Place::Command(queued) => Some(queued),
            Place::Handoff(_) => None,
        })
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Place> {
        self.places.iter()
    }

    /// Puts something at the end.
    pub(super) fn push(&mut self, place: Place) {
        if let Place::Command(queued) = &place {
            self.commands += 1;
            let position = self.first + self.places.len() as u64;
            self.positions.extend(queued.command.id().map(|id| (id, position)));
        }
        self.places.push_back(place);
    }

    /// Puts something back where it was taken from.
    pub(super) fn put_back(&mut self, place: Place) {
        self.first -= 1;
        if let Place::Command(queued) = &place {
            self.commands += 1;
            if let Some(id) = queued.command.id() {
                self.positions.entry(id).or_insert(self.first);
            }
        }
        self.places.push_front(place);
    }

    /// Puts all that waits in `other` at the end.
    pub(super) fn append(&mut self, other: Self) {
        other.places.into_iter().for_each(|place| self.push(place));
    }

    pub(super) fn pop_front(&mut self) -> Option<Place> {
        let place = self.places.pop_front()?;
        if let Place::Command(Queued { command, .. }) = &place {
            self.commands -= 1;
            if let Some(id) = command.id()
                && self.positions.get(&id) == Some(&self.first)
            {
                self.positions.remove(&id);
            }
        }
        self.first += 1;
        Some(place)
    }

    /// Lets `reply` wait for the command that `reserve` repeats, if that one waits here; else gives
    /// it back.
    pub(super) fn join(
        &mut self,
        reserve: &Reserve,
        reply: Reply,
    ) -> Result<Result<(), Reply>, OtherFingerprint> {
        let Some(queued) = self.get_mut(reserve.id) else { return Ok(Err(reply)) };
        let Command::Reserve(first) = &mut queued.command else { return Err(OtherFingerprint) };
        if first.fingerprint != reserve.fingerprint {
            return Err(OtherFingerprint);
        }
        first.claim_by = first.claim_by.max(reserve.claim_by);
        first.attempt = first.attempt.saturating_add(1);
        queued.replies.push(reply);
        Ok(Ok(()))
    }

    /// Makes the command a ticketed one until `claim_by`, for it to be written down. `None` if it
    /// does not wait here.
    pub(super) fn ticket(&mut self, id: CommandId, claim_by: UnixMs) -> Option<ToWrite> {
        let queued = self.get_mut(id)?;
        if !queued.ticket(claim_by) {
            return Some(ToWrite::Nothing);
        }
        let Command::Reserve(reserve) = &queued.command else { return None };
        Some(ToWrite::Ticketed(Ticketed {
            seq: queued.seq,
            sku: queued.sku.clone(),
            reserve: reserve.clone(),
            request_id: queued.trail.to_text().as_ref().into(),
            enqueued_at: queued.enqueued_at,
        }))
    }

    /// Makes room where callers have gone, if there is none otherwise. Looking through the whole
    /// queue is worth it for every sixteenth of it that was refused, not for each refusal. Returns
    /// how many had gone.
    pub(super) fn make_room(&mut self, max: usize) -> Result<u64, EnqueueError> {
        if check_room(self.len(), max).is_ok() {
            return Ok(0);
        }
        let is_worth_it = self.refused.is_multiple_of((max / 16).max(1));
        let gone = if is_worth_it { self.retain(|queued| !queued.is_abandoned()) } else { 0 };
        self.refused += 1;
        check_room(self.len(), max).map(|()| gone)
    }

    /// Drops ticketed commands that nobody waits for: they are in the store, for the next start. So
    /// that nothing overtakes them, later commands of their SKUs are dropped as well, whoever waits:
    /// `left` is of which SKUs any were dropped.
    pub(super) fn leave_tickets(&mut self, left: &mut HashSet<Sku>) {
        self.retain(|queued| {
            let stays = queued.has_caller() && !left.contains(&queued.sku);
            if !stays && queued.is_ticketed() {
                left.insert(queued.sku.clone());
            }
            stays
        });
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Drops what `keep` refuses. Returns how many.
    fn retain(&mut self, mut keep: impl FnMut(&Queued) -> bool) -> u64 {
        let before = self.len();
        let is_kept = |place: &Place| match place {
            Place::Command(queued) => keep(queued),
            Place::Handoff(_) => true,
        };
        let (kept, dropped): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.places).into_iter().partition(is_kept);
        if dropped.is_empty() {
            self.places = kept;
        } else {
            self.positions.clear();
            self.commands = 0;
            kept.into_iter().for_each(|place| self.push(place));
        }
        (before - self.len()) as u64
    }

    /// How many places there are before the command of this id.
    pub(super) fn before(&self, id: CommandId) -> Option<u64> {
        self.positions.get(&id)?.checked_sub(self.first)
    }

    /// The command of this id that came last.
    pub(super) fn get_mut(&mut self, id: CommandId) -> Option<&mut Queued> {
        let index = self.positions.get(&id)?.checked_sub(self.first)?;
        match self.places.get_mut(usize::try_from(index).ok()?)? {
            Place::Command(queued) => Some(queued),
            Place::Handoff(_) => None,
        }
    }
}

/// What a ticket needs written down.
pub(super) enum ToWrite {
    /// The command, for its first ticket or for a longer one.
    Ticketed(Ticketed),
    /// Nothing more: that long it is ticketed already, in an earlier turn or in this one.
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::super::rig;
    use super::*;

    fn queued(number: u8) -> Place {
        Place::Command(Queued {
            seq: number.into(),
            sku: rig::sku(),
            command: rig::reserve(number),
            trail: "r".into(),
            enqueued_at: UnixMs(1),
            ticketed_until: Some(UnixMs(1)),
            was_taken: false,
            replies: Default::default(),
        })
    }

    fn ids(queue: &mut ReserveQueue) -> Vec<Option<CommandId>> {
        let id = |place: Place| match place {
            Place::Command(queued) => queued.command.id(),
            Place::Handoff(_) => None,
        };
        std::iter::from_fn(|| queue.pop_front()).map(id).collect()
    }

    #[test]
    fn repeats_that_hang_up_leave_nothing_behind() {
        let mut queue = ReserveQueue::default();
        queue.push(queued(7));
        let Command::Reserve(reserve) = rig::reserve(7) else { unreachable!() };
        for _ in 0..10_000 {
            let (reply, _) = Reply::new();
            assert!(matches!(queue.join(&reserve, reply), Ok(Ok(()))));
        }
        assert!(queue.oldest().unwrap().replies.len() < 10);
    }

    #[test]
    fn what_waits_is_found_wherever_it_has_moved() {
        let mut queue = ReserveQueue::default();
        let mut other = ReserveQueue::default();
        (1..=3).for_each(|number| queue.push(queued(number)));
        (4..=5).for_each(|number| other.push(queued(number)));
        let taken = queue.pop_front().unwrap();
        queue.push(Place::Handoff(rig::sku()));
        queue.append(other);
        queue.put_back(taken);
        queue.retain(|queued| queued.seq != 2);
        for number in [1, 3, 4, 5] {
            assert_eq!(queue.get_mut(rig::id(number)).unwrap().seq, u64::from(number));
        }
        assert!(queue.get_mut(rig::id(2)).is_none());
        assert_eq!(queue.len(), 4);
        let id = |number| Some(rig::id(number));
        assert_eq!(ids(&mut queue), [id(1), id(3), None, id(4), id(5)]);
    }
}
