//! What lanes give the owner for one turn.

use cartgate_ledger::CommandId;
use cartgate_policy::Sku;
use tokio::sync::oneshot;

use super::lane::Drained;
use super::queued::Queued;
use super::registry::{Verdict, Wanted};
use crate::store::Ticketed;

/// Tells the caller that its ticket is written down.
pub(super) type TicketReply = oneshot::Sender<()>;

/// How many reserve commands the lanes may give for a turn.
#[derive(Clone, Copy, Default)]
pub(super) struct Room {
    /// All of them together; but no lane gives less than its least.
    pub(super) batch_max: usize,
    /// The lanes that had any in the last turn. When many more have any, those that come last get the
    /// least.
    pub(super) busy_lanes: usize,
    /// What each lane may give in any case.
    pub(super) quantum_min: usize,
}

impl Room {
    /// What one lane may give, after so many have been taken.
    pub(super) fn quantum(self, taken: usize) -> usize {
        let share = self.batch_max / self.busy_lanes.max(1);
        share.min(self.batch_max.saturating_sub(taken)).max(self.quantum_min)
    }
}

/// The work of a turn.
#[derive(Default)]
pub(super) struct Taken {
    /// How many reserve commands it has room for.
    pub(super) room: Room,
    /// All settle commands, each lane's in order.
    pub(super) settle: Vec<Queued>,
    /// Reserve commands, as many of each lane as pacing and its share allow, in order.
    pub(super) reserve: Vec<Queued>,
    /// SKUs whose HANDOFF came up: behind all of their reserve commands in this turn.
    pub(super) handoffs: Vec<Sku>,
    /// Who is to be told what of the registry of hot items, once this turn is committed.
    pub(super) verdicts: Vec<(VerdictReply, Verdict)>,
    /// How many hot items have a lane, those included that are about to lose it.
    pub(super) hot_lanes: usize,
    /// Commands that stay queued, but are to be written down for the tickets given for them.
    pub(super) ticketed: Vec<Ticketed>,
    /// Who asked for a ticket for a command that is not queued: it is decided in this turn, or was.
    pub(super) unfound: Vec<TicketRequest>,
    /// Who is to be told that a ticket is good, once this turn is committed.
    pub(super) tickets: Vec<TicketReply>,
    /// Reserve commands whose callers had gone.
    pub(super) hung_up: u64,
    /// Those of them that came up in this turn.
    pub(super) dropped: Vec<Queued>,
    /// Milliseconds until pacing, or the next turn, lets reserve commands through, if one is left.
    pub(super) paced_ms: Option<u64>,
    /// Lanes that gave reserve commands.
    pub(super) busy_lanes: usize,
}

/// Tells whoever has asked for a change of the registry of hot items what came of it.
pub(super) type VerdictReply = oneshot::Sender<Verdict>;

/// A change of the registry of hot items that is asked for.
pub(super) struct Change {
    pub(super) wanted: Wanted,
    pub(super) reply: VerdictReply,
}

/// Somebody who wants a ticket.
pub(super) struct TicketRequest {
    pub(super) sku: Sku,
    pub(super) id: CommandId,
    pub(super) reply: TicketReply,
}

impl Taken {
    /// Nothing yet.
    pub(super) fn new(room: Room) -> Self {
        Self { room, ..Self::default() }
    }

    /// Whether nothing but commands asks for a commit, and for answers behind it.
    pub(super) fn is_idle(&self) -> bool {
        self.tickets.is_empty() && self.verdicts.is_empty() && self.handoffs.is_empty()
    }

    /// Tells everyone who asked for something to be written that it is.
    pub(super) fn tell_written(self) {
        for ticket in self.tickets {
            // A caller that has gone can still ask for its ticket's outcome, if it kept the key.
            let _ = ticket.send(());
        }
        for (reply, verdict) in self.verdicts {
            let _ = reply.send(verdict);
        }
    }

    /// Adds what one lane gives, which is at most as many as `drain` is told.
    pub(super) fn reserve(&mut self, drain: impl FnOnce(usize, &mut Drained)) {
        let mut drained = Drained::default();
        drain(self.room.quantum(self.reserve.len()), &mut drained);
        let Drained { mut commands, handoffs, hung_up, paced_ms } = drained;
        self.busy_lanes += usize::from(!commands.is_empty());
        if self.reserve.is_empty() {
            self.reserve = commands;
        } else {
            self.reserve.append(&mut commands);
        }
        self.handoffs.extend(handoffs);
        self.hung_up += hung_up.len() as u64;
        self.dropped.extend(hung_up);
        self.paced_ms = [self.paced_ms, paced_ms].into_iter().flatten().min();
    }
}
