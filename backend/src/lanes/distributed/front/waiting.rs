//! Who waits in this process for what was posted.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cartgate_ledger::UnixMs;
use cartgate_policy::Sku;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::lanes::queued::{Replies, Reply};
use crate::lanes::registry::Verdict;
use crate::lanes::{EnqueueError, Level};
use crate::store::tenure::{Place, Reached, Stream};

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
    command: Whereabouts,
    pub(super) reply: CallerReply,
    pub(super) level: Arc<Level>,
    /// Who is told that it has a ticket, if it wants one.
    ticket: Option<oneshot::Sender<()>>,
}

/// Where a caller's command is, as far as this process knows.
#[derive(Clone)]
pub(super) enum Whereabouts {
    /// On its way into a stream.
    Underway,
    /// In a stream.
    Posted(PostedAt),
    /// In a stream or not: nobody answered.
    Unknown,
}

/// Where a command is that was posted.
#[derive(Clone)]
pub(super) struct PostedAt {
    pub(super) stream: Stream,
    pub(super) place: Place,
    /// That of its entry.
    pub(super) nonce: u64,
    /// When it came there, by the store's clock.
    pub(super) at: UnixMs,
}

/// What it waits for.
pub(super) enum CallerReply {
    /// A command's outcome.
    Outcome(Replies),
    /// That a change of the registry is written.
    Change(oneshot::Sender<Verdict>),
}

impl CallerReply {
    /// One of the same kind that nobody listens to.
    fn unheard(&self) -> Self {
        match self {
            Self::Outcome(_) => Self::Outcome(Replies::one(Reply::new().0)),
            Self::Change(_) => Self::Change(oneshot::channel().0),
        }
    }

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
    pub(super) fn add(&self, bucket: u16, sku: Sku, reply: CallerReply, level: &Arc<Level>) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let since = Instant::now();
        let level = Arc::clone(level);
        let command = Whereabouts::Underway;
        let caller = Caller { bucket, sku, since, command, reply, level, ticket: None };
        self.callers().insert(number, caller);
        number
    }

    /// Takes a caller out: it hears something now, or has gone.
    pub(super) fn remove(&self, number: u64) -> Option<Caller> {
        self.callers().remove(&number)
    }

    /// Refuses somebody whose command may be in a stream or not. Its place is kept: if a hold is taken
    /// for it all the same, the outcome finds that nobody hears of it.
    pub(super) fn refuse_posted(&self, number: u64, error: EnqueueError) {
        let reply = self.callers().get_mut(&number).map(|caller| {
            caller.command = Whereabouts::Unknown;
            let unheard = caller.reply.unheard();
            std::mem::replace(&mut caller.reply, unheard)
        });
        if let Some(reply) = reply {
            reply.refuse(error);
        }
    }

    /// Whether somebody has not heard anything yet.
    pub(super) fn has(&self, number: u64) -> bool {
        self.callers().contains_key(&number)
    }

    /// Notes where what somebody waits for is.
    pub(super) fn note_posted(&self, posted: impl IntoIterator<Item = (u64, PostedAt)>) {
        let mut callers = self.callers();
        for (number, posted_at) in posted {
            if let Some(caller) = callers.get_mut(&number) {
                caller.command = Whereabouts::Posted(posted_at);
            }
        }
    }

    /// Where the command of somebody who waits is.
    pub(super) fn command_of(&self, number: u64) -> Option<Whereabouts> {
        Some(self.callers().get(&number)?.command.clone())
    }

    /// Somebody who waits wants a ticket. If nobody does, it has heard the outcome.
    pub(super) fn want_ticket(&self, number: u64, ticket: oneshot::Sender<()>) {
        if let Some(caller) = self.callers().get_mut(&number) {
            caller.ticket = Some(ticket);
        }
    }

    /// There is no ticket for somebody who waits.
    pub(super) fn refuse_ticket(&self, number: u64) {
        if let Some(caller) = self.callers().get_mut(&number) {
            caller.ticket = None;
        }
    }

    /// Somebody who waits has its ticket, if it wants one.
    pub(super) fn give_ticket(&self, number: u64, reached: Reached) {
        if let Some(caller) = self.callers().get_mut(&number)
            && let Some(wish) = caller.ticket.take()
        {
            caller.level.note(reached);
            // A caller that has gone can still ask for its ticket's outcome, if it kept the key.
            let _ = wish.send(());
        }
    }

    /// The buckets that may have been asked so long ago by somebody who has not heard anything yet.
    pub(super) fn overdue(&self, age: Duration) -> BTreeSet<u16> {
        let is_overdue = |caller: &&Caller| {
            caller.since.elapsed() >= age && !matches!(caller.command, Whereabouts::Underway)
        };
        self.callers().values().filter(is_overdue).map(|caller| caller.bucket).collect()
    }

    /// Takes out those who have waited for so long.
    pub(super) fn take_older(&self, age: Duration) -> Vec<Caller> {
        let is_older = |_: &u64, caller: &mut Caller| caller.since.elapsed() >= age;
        self.callers().extract_if(is_older).map(|(_, caller)| caller).collect()
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.callers().len()
    }

    fn callers(&self) -> MutexGuard<'_, HashMap<u64, Caller>> {
        // Nothing in here can panic half way through a change.
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
