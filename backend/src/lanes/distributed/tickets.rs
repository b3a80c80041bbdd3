//! Until when commands are good that tickets were given for.

use std::collections::BTreeSet;

use cartgate_ledger::{CommandId, IdMap, UnixMs};
use cartgate_policy::Sku;

use crate::store::tenure::{Place, Ticket};

/// The tickets of a bucket whose commands are not decided, as far as the owner knows.
#[derive(Default)]
pub(super) struct Tickets {
    given: IdMap<Ticket>,
    /// Those whose commands were not read yet. A failover may have lost some.
    unread: BTreeSet<(UnixMs, CommandId)>,
    /// Those that have come since the last turn.
    new: Vec<(CommandId, Sku)>,
}

impl Tickets {
    /// Those that the store knows of, when no command has been read.
    pub(super) fn restore(tickets: Vec<(CommandId, Ticket)>) -> Self {
        let unread = tickets.iter().map(|(id, ticket)| (ticket.until, *id)).collect();
        Self { given: tickets.into_iter().collect(), unread, new: Vec::new() }
    }

    /// Until when the command is good.
    pub(super) fn until(&self, id: CommandId) -> Option<UnixMs> {
        self.given.get(&id).map(|ticket| ticket.until)
    }

    /// A ticket was given for a command that was read, or was not yet. Until when that is good now.
    pub(super) fn give(
        &mut self,
        id: CommandId,
        sku: Sku,
        ticket: Ticket,
        is_read: bool,
    ) -> UnixMs {
        let before = self.take(id);
        let ticket = before.map_or(ticket, |before| ticket.or(before));
        self.given.insert(id, ticket);
        self.new.push((id, sku));
        if !is_read {
            self.unread.insert((ticket.until, id));
        }
        ticket.until
    }

    /// The command has been read at a place. Until when it is good, if it has a ticket.
    pub(super) fn find(&mut self, id: CommandId, place: Place) -> Option<UnixMs> {
        let ticket = *self.given.get(&id)?;
        if place >= ticket.place {
            self.unread.remove(&(ticket.until, id));
        }
        Some(ticket.until)
    }

    /// The command has been decided at a place. Whether its ticket ends with that.
    pub(super) fn end(&mut self, id: CommandId, place: Place) -> bool {
        let is_last = self.given.get(&id).is_some_and(|ticket| place >= ticket.place);
        is_last && self.take(id).is_some()
    }

    /// What is to be written of those that have come since the last turn, and have not ended with it.
    pub(super) fn take_new(&mut self) -> Vec<(CommandId, Sku, Ticket)> {
        let new = std::mem::take(&mut self.new).into_iter();
        new.filter_map(|(id, sku)| Some((id, sku, *self.given.get(&id)?))).collect()
    }

    /// Takes out those that are good no more before their commands were read.
    pub(super) fn take_void(&mut self, now: UnixMs) -> Vec<CommandId> {
        let mut void = Vec::new();
        while let Some((until, id)) = self.unread.first().copied()
            && until < now
        {
            self.take(id);
            void.push(id);
        }
        void
    }

    fn take(&mut self, id: CommandId) -> Option<Ticket> {
        let ticket = self.given.remove(&id)?;
        self.unread.remove(&(ticket.until, id));
        Some(ticket)
    }
}
