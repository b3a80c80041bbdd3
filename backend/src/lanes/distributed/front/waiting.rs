//! Who waits in this process for what was posted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cartgate_ledger::UnixMs;
use cartgate_policy::Sku;
use tokio::sync::oneshot;

use crate::lanes::EnqueueError;
use crate::lanes::queued::Replies;

/// Callers, by their numbers.
#[derive(Default)]
pub(super) struct Waiting {
    callers: Mutex<HashMap<u64, Caller>>,
    next: AtomicU64,
}

/// Somebody who waits.
pub(super) struct Caller {
    bucket: u16,
    pub(super) sku: Sku,
    since: Instant,
    /// When its command came into the stream, by the store's clock; `None`: it is on its way there.
    posted_at: Option<UnixMs>,
    pub(super) reply: CallerReply,
    /// Tells it that its ticket is good, if it has asked for one.
    ticket: Option<oneshot::Sender<()>>,
}

/// What it waits for.
pub(super) enum CallerReply {
    /// A command's outcome.
    Outcome(Replies),
    /// That a change of the registry is written.
    Change(oneshot::Sender<Result<(), EnqueueError>>),
}

impl CallerReply {
    /// Tells the caller that there will be no answer.
    pub(super) fn refuse(self, error: EnqueueError) {
        match self {
            Self::Outcome(replies) => replies.refuse(error),
            Self::Change(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(Err(error));
            }
        }
    }
}

impl Waiting {
    /// Adds a caller, and returns its number.
    pub(super) fn add(&self, bucket: u16, sku: Sku, reply: CallerReply) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (since, posted_at, ticket) = (Instant::now(), None, None);
        let caller = Caller { bucket, sku, since, posted_at, reply, ticket };
        self.callers().insert(number, caller);
        number
    }

    /// Takes a caller out: it hears something now, or has gone.
    pub(super) fn remove(&self, number: u64) -> Option<Caller> {
        self.callers().remove(&number)
    }

    /// A caller asks for a ticket, and is told here that it is good.
    pub(super) fn want_ticket(&self, number: u64) -> oneshot::Receiver<()> {
        let (sender, ticket) = oneshot::channel();
        if let Some(caller) = self.callers().get_mut(&number) {
            caller.ticket = Some(sender);
        }
        ticket
    }

    /// A caller's ticket is good.
    pub(super) fn give_ticket(&self, number: u64) {
        let ticket = self.callers().get_mut(&number).and_then(|caller| caller.ticket.take());
        // A caller that has gone can still ask for the outcome, if it kept the key.
        let _ = ticket.map(|ticket| ticket.send(()));
    }

    /// Notes that what these wait for is in the stream.
    pub(super) fn note_posted(&self, numbers: &[u64], at: UnixMs) {
        let mut callers = self.callers();
        for number in numbers {
            if let Some(caller) = callers.get_mut(number) {
                caller.posted_at = Some(at);
            }
        }
    }

    /// When the command of somebody who waits came into the stream. The inner `None`: it is on its way
    /// there.
    pub(super) fn posted_at(&self, number: u64) -> Option<Option<UnixMs>> {
        Some(self.callers().get(&number)?.posted_at)
    }

    /// The buckets that somebody has waited on for so long, each with when the first of them came
    /// into its stream.
    pub(super) fn overdue(&self, age: Duration) -> HashMap<u16, UnixMs> {
        let mut earliest = HashMap::new();
        for caller in self.callers().values().filter(|caller| caller.since.elapsed() >= age) {
            let Some(posted_at) = caller.posted_at else { continue };
            let first = earliest.entry(caller.bucket).or_insert(posted_at);
            *first = posted_at.min(*first);
        }
        earliest
    }

    /// Takes out those who have waited for so long.
    pub(super) fn take_older(&self, age: Duration) -> Vec<Caller> {
        let is_older = |_: &u64, caller: &mut Caller| caller.since.elapsed() >= age;
        self.callers().extract_if(is_older).map(|(_, caller)| caller).collect()
    }

    fn callers(&self) -> MutexGuard<'_, HashMap<u64, Caller>> {
        // Nothing in here can panic half way through a change.
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
