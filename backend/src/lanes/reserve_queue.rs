//! The reserve commands of a lane, in the order in which they are applied.

use std::collections::{HashMap, HashSet, VecDeque};

use cartgate_ledger::{Command, CommandId, Reserve, UnixMs};

use super::Queued;
use super::waiter::Reply;
use crate::store::Ticketed;

/// Reserve commands, first in first out.
///
/// A command that comes again while it waits does not queue twice: the repeat joins it, in its
/// place. So an id stands for one command here, and for at most one ticket in the store.
#[derive(Default)]
pub(super) struct ReserveQueue {
    /// In the order of `seq`.
    commands: VecDeque<Queued>,
    /// Where those are that can be repeated, by `seq`.
    repeatable: HashMap<CommandId, u64>,
}

/// What waits under this id asks for something else.
pub(super) struct OtherFingerprint;

impl ReserveQueue {
    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    pub(super) fn front(&self) -> Option<&Queued> {
        self.commands.front()
    }

    /// Puts a command at the end. Its `seq` is higher than any before.
    pub(super) fn push(&mut self, queued: Queued) {
        if let Command::Reserve(reserve) = &queued.command
            && reserve.repeatable
        {
            self.repeatable.insert(reserve.id, queued.seq);
        }
        self.commands.push_back(queued);
    }

    pub(super) fn pop_front(&mut self) -> Option<Queued> {
        let queued = self.commands.pop_front()?;
        self.leave(&queued);
        Some(queued)
    }

    /// The place of the command that `reserve` repeats, if that one waits here.
    pub(super) fn first_of(&self, reserve: &Reserve) -> Result<Option<u64>, OtherFingerprint> {
        let Some(seq) = self.repeatable.get(&reserve.id).copied() else { return Ok(None) };
        match self.get(seq).map(|first| &first.command) {
            Some(Command::Reserve(first)) if first.fingerprint == reserve.fingerprint => {
                Ok(Some(seq))
            }
            _ => Err(OtherFingerprint),
        }
    }

    /// Lets one more caller wait for the command at `seq`, until `claim_by`.
    pub(super) fn join(&mut self, seq: u64, reply: Reply, claim_by: UnixMs) {
        let Some(queued) = self.get_mut(seq) else { return };
        // Before the list grows: those who repeat and hang up, again and again, leave nothing behind.
        if queued.replies.len() == queued.replies.capacity() {
            queued.replies.retain(|reply| !reply.is_closed());
        }
        queued.replies.push(reply);
        if let Command::Reserve(reserve) = &mut queued.command {
            reserve.claim_by = reserve.claim_by.max(claim_by);
        }
    }

    /// Makes the command at `seq` a ticketed one until `claim_by`, for it to be written down. `None`
    /// if it does not wait any more: then its outcome is on its way.
    pub(super) fn ticket(&mut self, seq: u64, claim_by: UnixMs) -> Option<ToWrite> {
        let queued = self.get_mut(seq)?;
        let Command::Reserve(reserve) = &mut queued.command else { return None };
        // Whoever is given a ticket is given all of its time, also for a command that has one.
        if queued.is_ticketed && reserve.claim_by >= claim_by {
            return Some(ToWrite::Nothing);
        }
        queued.is_ticketed = true;
        reserve.claim_by = reserve.claim_by.max(claim_by);
        reserve.repeatable = true;
        Some(ToWrite::Ticketed(Ticketed {
            seq,
            sku: queued.sku.clone(),
            reserve: reserve.clone(),
            request_id: queued.request_id.clone(),
            enqueued_at: queued.enqueued_at,
        }))
    }

    /// Drops commands whose callers have gone, but for ticketed ones. Returns how many.
    pub(super) fn drop_abandoned(&mut self) -> u64 {
        self.retain(|queued| !queued.is_abandoned())
    }

    /// Drops ticketed commands that nobody waits for: they are in the store, for the next start. So
    /// that nothing overtakes them, later commands of their SKUs are dropped as well, whoever waits.
    pub(super) fn leave_tickets(&mut self) {
        let mut left = HashSet::new();
        self.retain(|queued| {
            let stays = queued.has_caller() && !left.contains(&queued.sku);
            if !stays {
                left.insert(queued.sku.clone());
            }
            stays
        });
    }

    pub(super) fn clear(&mut self) {
        self.retain(|_| false);
    }

    /// Drops what `keep` refuses. Returns how many.
    fn retain(&mut self, keep: impl FnMut(&Queued) -> bool) -> u64 {
        let commands = std::mem::take(&mut self.commands);
        let (kept, dropped): (VecDeque<_>, VecDeque<_>) = commands.into_iter().partition(keep);
        dropped.iter().for_each(|queued| self.leave(queued));
        self.commands = kept;
        dropped.len() as u64
    }

    fn leave(&mut self, queued: &Queued) {
        if let Some(id) = queued.command.id()
            && self.repeatable.get(&id) == Some(&queued.seq)
        {
            self.repeatable.remove(&id);
        }
    }

    fn get(&self, seq: u64) -> Option<&Queued> {
        self.commands.get(self.index(seq)?)
    }

    fn get_mut(&mut self, seq: u64) -> Option<&mut Queued> {
        let index = self.index(seq)?;
        self.commands.get_mut(index)
    }

    fn index(&self, seq: u64) -> Option<usize> {
        self.commands.binary_search_by_key(&seq, |queued| queued.seq).ok()
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
    use tokio::sync::oneshot;

    use super::super::rig;
    use super::*;

    #[test]
    fn repeats_that_hang_up_leave_nothing_behind() {
        let mut queue = ReserveQueue::default();
        queue.push(Queued {
            seq: 7,
            sku: rig::sku(),
            command: rig::reserve(1),
            request_id: "r".into(),
            enqueued_at: UnixMs(1),
            is_ticketed: true,
            replies: Vec::new(),
        });
        for _ in 0..10_000 {
            queue.join(7, oneshot::channel().0, UnixMs(1));
        }
        assert!(queue.front().unwrap().replies.capacity() < 10);
    }
}
