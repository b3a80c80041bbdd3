//! A command in a lane, and those who wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cartgate_ledger::{Claim, Command, Outcome, UnixMs};
use cartgate_policy::Sku;
use tokio::sync::oneshot;

use super::EnqueueError;
use crate::store::tenure::ReplyTo;
use crate::trace::Trail;

/// A command in a lane.
pub(super) struct Queued {
    /// Its place among all commands of its bucket.
    pub(super) seq: u64,
    pub(super) sku: Sku,
    pub(super) command: Command,
    pub(super) trail: Trail,
    pub(super) enqueued_at: UnixMs,
    /// Until when it is good by what is written in the store: a ticket was given for it, so that it
    /// is applied though nobody waits.
    pub(super) ticketed_until: Option<UnixMs>,
    /// Whether its lane has given it for a turn before: then it was put back, to be decided in
    /// another.
    pub(super) was_taken: bool,
    pub(super) replies: Replies,
}

impl Queued {
    pub(super) fn is_ticketed(&self) -> bool {
        self.ticketed_until.is_some()
    }

    /// Makes a reserve command a ticketed one, unless it has a ticket that is good for as long:
    /// whoever is given one is given all of its time. Returns whether it did.
    pub(super) fn ticket(&mut self, until: UnixMs) -> bool {
        let Command::Reserve(reserve) = &mut self.command else { return false };
        if self.ticketed_until.is_some_and(|ticketed| ticketed >= until) {
            return false;
        }
        reserve.claim_by = reserve.claim_by.max(until);
        reserve.repeatable = true;
        self.ticketed_until = Some(reserve.claim_by);
        true
    }

    pub(super) fn has_caller(&self) -> bool {
        self.replies.has_listener()
    }

    /// Whether it is too late for it to take anything.
    pub(super) fn is_lapsed(&self, now: UnixMs) -> bool {
        matches!(&self.command, Command::Reserve(reserve) if reserve.claim_by < now)
    }

    /// Whether nobody would hear of the outcome.
    pub(super) fn is_abandoned(&self) -> bool {
        !self.is_ticketed() && !self.has_caller()
    }
}

/// Carries the outcome to a caller, once it is durable.
pub(super) struct Reply(oneshot::Sender<Result<Told, EnqueueError>>);

impl Reply {
    pub(super) fn new() -> (Self, oneshot::Receiver<Result<Told, EnqueueError>>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }
}

/// Everyone who waits for an outcome: the caller, and those who repeat its command; or somebody in
/// another process.
#[derive(Default)]
pub(super) struct Replies {
    first: Option<Reply>,
    more: Vec<Reply>,
    elsewhere: Option<ReplyTo>,
}

impl Replies {
    pub(super) fn one(reply: Reply) -> Self {
        Self { first: Some(reply), ..Self::default() }
    }

    /// Of somebody who waits in another process, if anybody does.
    pub(super) fn elsewhere(elsewhere: Option<ReplyTo>) -> Self {
        Self { elsewhere, ..Self::default() }
    }

    /// Who waits in another process.
    pub(super) fn waits_elsewhere(&self) -> Option<ReplyTo> {
        self.elsewhere
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.iter().count()
    }

    pub(super) fn push(&mut self, reply: Reply) {
        // Before the list grows: those who repeat and hang up, again and again, leave nothing behind.
        if self.more.len() == self.more.capacity() {
            self.more.retain(|reply| !reply.0.is_closed());
        }
        self.more.push(reply);
    }

    fn iter(&self) -> impl Iterator<Item = &Reply> {
        self.first.iter().chain(&self.more)
    }

    fn has_listener(&self) -> bool {
        self.elsewhere.is_some() || self.iter().any(|reply| !reply.0.is_closed())
    }

    /// Tells everyone who still waits that there will be no outcome.
    pub(super) fn refuse(self, error: EnqueueError) {
        for reply in self.first.into_iter().chain(self.more) {
            // Whoever has gone does not care.
            let _ = reply.0.send(Err(error));
        }
    }

    /// Tells everyone who still waits in this process. Gives the outcome back if it is a hold that was taken for
    /// somebody, and nobody hears of it.
    pub(super) fn tell(self, outcome: Outcome) -> Option<Outcome> {
        match (self.first, self.more.is_empty()) {
            (None, true) => None,
            (Some(first), true) => {
                let untold = first.0.send(Ok(Told { outcome, untold: None })).err()?.ok()?;
                untold.is_ghost().then_some(untold.outcome)
            }
            (first, false) => {
                let replies: Vec<_> = first.into_iter().chain(self.more).collect();
                tell_all(replies, &outcome).then_some(outcome)
            }
        }
    }
}

fn tell_all(replies: Vec<Reply>, outcome: &Outcome) -> bool {
    let untold = Arc::new(AtomicUsize::new(replies.len()));
    let mut is_ghost = false;
    for reply in replies {
        let told = Told { outcome: outcome.clone(), untold: Some(Arc::clone(&untold)) };
        if let Err(Ok(told)) = reply.0.send(Ok(told)) {
            is_ghost |= told.is_ghost();
        }
    }
    is_ghost
}

/// An outcome on its way to a caller.
pub(super) struct Told {
    outcome: Outcome,
    /// How many are told the same, without those who have gone; `None`: this one alone.
    untold: Option<Arc<AtomicUsize>>,
}

impl Told {
    /// The caller hears of it.
    pub(super) fn hear(self) -> Outcome {
        self.outcome
    }

    /// The caller has gone without hearing of it. Whether it was the last one who could, and a hold
    /// was taken for it.
    pub(super) fn is_ghost(&self) -> bool {
        let is_last = match &self.untold {
            Some(untold) => untold.fetch_sub(1, Ordering::SeqCst) == 1,
            None => true,
        };
        is_last && is_awaited_hold(&self.outcome)
    }

    pub(super) fn outcome(&self) -> &Outcome {
        &self.outcome
    }
}

/// Whether a hold was taken because somebody waited for it. Any other goes back by itself, unless it
/// is claimed.
fn is_awaited_hold(outcome: &Outcome) -> bool {
    // What has stood elsewhere since it was decided has ended: that is the first answer once more,
    // and the id may be another hold's by now.
    matches!(outcome, Outcome::Held(hold)
        if hold.claim == Claim::Awaited && hold.since == hold.decided_at)
}
