//! An API process: it holds callers, posts for them, and hears what became of it.

use std::collections::BTreeMap;

use cartgate_ledger::{Claim, Command, CommandId, Outcome, Reservation, UnixMs};
use cartgate_policy::Sku;

use crate::lanes::simulation::op::Key;
use crate::lanes::simulation::request::Asked;
use crate::store::tenure::{Answer, Place, Posted, ReplyTo, Route, Stream, Told};

/// An API process.
pub(super) struct Process {
    /// A number that no other process has ever had.
    pub(super) id: u64,
    next_number: u64,
    /// The routes of each bucket as it last heard of them.
    pub(super) routes: Vec<(u64, BTreeMap<Sku, Route>)>,
    /// The last answers that it has read of each bucket.
    pub(super) read: Vec<u64>,
    /// What it has gathered and not posted yet.
    pub(super) gathered: Vec<(Key, Command)>,
    pub(super) callers: BTreeMap<u64, Caller>,
    /// Who wait for a change of the registry, and for which of all that were asked for.
    pub(super) changers: BTreeMap<u64, usize>,
}

/// Somebody whose command was posted.
pub(super) struct Caller {
    pub(super) asked: Asked,
    /// Where its command was posted.
    pub(super) stream: Stream,
    pub(super) place: Place,
    /// That of its entry.
    pub(super) nonce: u64,
    pub(super) stays: Stays,
    pub(super) told: Option<Outcome>,
}

/// Whether a caller waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stays {
    Waits,
    /// For a ticket as well, that is good until then.
    WantsTicket(UnixMs),
    Gone,
}

impl Process {
    pub(super) fn new(id: u64, buckets: u16) -> Self {
        let buckets = usize::from(buckets);
        let (gathered, callers, changers) = Default::default();
        let (routes, read) = (vec![Default::default(); buckets], vec![0; buckets]);
        Self { id, next_number: 0, routes, read, gathered, callers, changers }
    }

    pub(super) fn reply(&mut self) -> ReplyTo {
        self.next_number += 1;
        ReplyTo { process: self.id, number: self.next_number }
    }

    /// Where a command goes, as far as the process knows.
    pub(super) fn stream_of(&self, bucket: u16, sku: &Sku, command: &Command) -> Stream {
        match (command, self.routes[usize::from(bucket)].1.get(sku)) {
            (Command::Reserve(_), Some(Route::Joining | Route::Open)) => Stream::Hot(sku.clone()),
            (Command::Reserve(_), Some(Route::Leaving) | None) => Stream::Normal,
            _ => Stream::Settle,
        }
    }

    /// Hears an answer. Says if it is another one than before.
    pub(super) fn hear(&mut self, answer: Answer) -> Result<Heard, String> {
        let number = answer.reply.number;
        match answer.told {
            Told::Outcome(outcome) => {
                let Some(caller) = self.callers.get_mut(&number) else { return Ok(Heard::Nothing) };
                let before = caller.told.replace(outcome.clone()).unwrap_or(outcome.clone());
                if before != outcome {
                    return Err(format!("told {outcome:?}, and before {before:?}"));
                }
                if caller.stays != Stays::Gone {
                    return Ok(Heard::Nothing);
                }
                let (sku, command) = (caller.asked.sku, caller.asked.command.clone());
                self.callers.remove(&number);
                if let Command::Claim { id } = command {
                    return Ok(Heard::LostClaim(id));
                }
                Ok(Heard::Ghost(sku, outcome))
            }
            Told::Ticketed => Ok(self.hear_ticketed(number)),
            Told::TooManyHolds => {
                let caller = self.callers.remove(&number);
                Ok(caller.map_or(Heard::Nothing, |_| Heard::TooManyHolds))
            }
            told @ (Told::HotItemWritten(_) | Told::TooManyHotItems | Told::HotItemChanged(_)) => {
                let change = self.changers.remove(&number);
                Ok(change.map_or(Heard::Nothing, |index| Heard::Change(index, told)))
            }
        }
    }

    /// A caller goes with its ticket, unless it has heard more.
    fn hear_ticketed(&mut self, number: u64) -> Heard {
        match self.callers.get(&number) {
            Some(Caller { stays: Stays::WantsTicket(until), told: None, .. }) => {
                let until = *until;
                let caller = self.callers.remove(&number);
                caller.map_or(Heard::Nothing, |caller| Heard::Ticket(caller.asked, until))
            }
            _ => Heard::Nothing,
        }
    }

    /// The caller who has waited longest under a key, or latest.
    pub(super) fn caller_of(
        &self,
        key: Key,
        is_latest: bool,
        is_meant: impl Fn(&Caller) -> bool,
    ) -> Option<u64> {
        let mut numbers = self.callers.iter().filter(|(_, caller)| {
            caller.asked.key == key && caller.stays != Stays::Gone && is_meant(caller)
        });
        let found = if is_latest { numbers.next_back() } else { numbers.next() };
        found.map(|(number, _)| *number)
    }

    /// Whether it has a caller of this name.
    pub(super) fn waits(&self, reply: ReplyTo) -> bool {
        reply.process == self.id && self.callers.contains_key(&reply.number)
    }

    /// Whether it may yet hear of a command.
    pub(super) fn expects(&self, id: CommandId) -> bool {
        self.callers.values().any(|caller| caller.asked.reserve_id() == Some(id))
    }
}

/// What a process has heard.
pub(super) enum Heard {
    Nothing,
    /// What somebody was to hear who has gone.
    Ghost(usize, Outcome),
    /// A hold was claimed for somebody who has gone: as if the answer were lost on the wire.
    LostClaim(CommandId),
    /// A caller has a ticket that is good until then at least.
    Ticket(Asked, UnixMs),
    /// There was no room for a caller's hold.
    TooManyHolds,
    /// What became of a change of the registry.
    Change(usize, Told),
}

/// The hold in an outcome that was taken for somebody who has gone.
pub(super) fn unheard(outcome: &Outcome) -> Option<&Reservation> {
    match outcome {
        Outcome::Held(hold) => {
            Some(hold).filter(|hold| hold.claim == Claim::Awaited && hold.since == hold.decided_at)
        }
        _ => None,
    }
}

/// What gives it back.
pub(super) fn cancel(&Reservation { id, attempt, .. }: &Reservation) -> Command {
    Command::Cancel { id, attempt, even_claimed: false }
}

/// A command as it is posted.
pub(super) fn posted(
    sku: Sku,
    command: Command,
    reply: Option<ReplyTo>,
    good_for_ms: u64,
) -> Posted {
    let request_id = "r".into();
    let command =
        crate::store::tenure::PostedCommand { sku, command, request_id, reply, good_for_ms };
    Posted::Command(command)
}

/// The command as the owner will see it that comes at `now`.
pub(super) fn stamped(mut command: Command, now: UnixMs, good_for_ms: u64) -> Command {
    if let Command::Reserve(reserve) = &mut command {
        reserve.claim_by = now.plus_ms(good_for_ms);
    }
    command
}
