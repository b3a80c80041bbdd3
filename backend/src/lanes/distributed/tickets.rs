//! Until when commands are good that tickets were given for, and who is told that they are.
//!
//! A ticket may cross its command's outcome on the way: then nothing is kept of a command that nobody
//! was to ask for, and the ticket would lead nowhere. So whoever has asked is told by the owner, with
//! a commit, and only if the command still waits; else the outcome is on its way to them.

use std::collections::BTreeSet;

use cartgate_ledger::{CommandId, IdMap, UnixMs};

use crate::store::tenure::ReplyTo;

/// The tickets of a bucket whose commands are not decided, as far as the owner knows.
#[derive(Default)]
pub(super) struct Tickets {
    until: IdMap<UnixMs>,
    /// Those whose commands do not wait here: they were not read yet, or were decided before the
    /// tickets were given.
    unfound: BTreeSet<(UnixMs, CommandId)>,
    /// Who has asked for those, in this tenure.
    askers: IdMap<Vec<ReplyTo>>,
    /// Who is to be told with the next commit that a ticket is good, and until when it is.
    good: Vec<(ReplyTo, UnixMs)>,
}

impl Tickets {
    /// Those that the store knows of, when no command has been read.
    pub(super) fn restore(tickets: Vec<(CommandId, UnixMs)>) -> Self {
        let unfound = tickets.iter().map(|(id, until)| (*until, *id)).collect();
        Self { until: tickets.into_iter().collect(), unfound, ..Self::default() }
    }

    /// Until when the command is good.
    pub(super) fn until(&self, id: CommandId) -> Option<UnixMs> {
        self.until.get(&id).copied()
    }

    /// A ticket was given for a command that waits, or does not (`is_found`). Of two the longer
    /// counts.
    pub(super) fn give(&mut self, id: CommandId, until: UnixMs, asker: ReplyTo, is_found: bool) {
        let given = self.until.entry(id).or_insert(until);
        self.unfound.remove(&(*given, id));
        *given = until.max(*given);
        if is_found {
            self.good.push((asker, *given));
        } else {
            self.unfound.insert((*given, id));
            self.askers.entry(id).or_default().push(asker);
        }
    }

    /// Takes out who is to be told that a ticket is good. Its time may have passed before anybody read
    /// of it.
    pub(super) fn take_good(&mut self, now: UnixMs) -> impl Iterator<Item = ReplyTo> {
        let good = std::mem::take(&mut self.good).into_iter();
        good.filter(move |(_, until)| *until >= now).map(|(asker, _)| asker)
    }

    /// A command has been read. Until when it is good, if it has a ticket.
    pub(super) fn find(&mut self, id: CommandId) -> Option<UnixMs> {
        let until = self.until(id)?;
        self.unfound.remove(&(until, id));
        let askers = self.askers.remove(&id).into_iter().flatten();
        self.good.extend(askers.map(|asker| (asker, until)));
        Some(until)
    }

    /// The command has been decided.
    pub(super) fn end(&mut self, id: CommandId) {
        if let Some(until) = self.until.remove(&id) {
            self.unfound.remove(&(until, id));
            self.askers.remove(&id);
        }
    }

    /// Takes out those for which there is no command: if `all_read`, each that was not found; else
    /// those that are good no more.
    pub(super) fn take_void(&mut self, now: UnixMs, all_read: bool) -> Vec<CommandId> {
        let mut void = Vec::new();
        while let Some((until, id)) = self.unfound.first().copied()
            && (all_read || until < now)
        {
            self.end(id);
            void.push(id);
        }
        void
    }
}
