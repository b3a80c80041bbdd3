//! A caller's side of a command: waiting for the outcome, or leaving with a ticket.

use std::sync::Arc;
use std::time::Duration;

use cartgate_ledger::Outcome;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Shared;

/// Carries the outcome to the caller, once it is durable.
pub(super) type Reply = oneshot::Sender<Outcome>;

/// Tells the caller that its command is written down.
pub(super) type TicketReply = oneshot::Sender<()>;

/// What pushing a command gives back.
pub(super) struct Enqueued {
    pub(super) seq: u64,
    pub(super) outcome: oneshot::Receiver<Outcome>,
}

/// Waits for a command's outcome. Dropping it before that abandons a reserve command that has not
/// been applied; a settle command is applied all the same.
pub struct Waiter {
    enqueued: Enqueued,
    shared: Arc<Shared>,
    bucket: u16,
}

/// What a caller gets when its wait is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The command's outcome. It is durable.
    Outcome(Outcome),
    /// The command still waits. It is durable, and its outcome can be asked for by its id.
    Ticket,
}

/// The engine stopped before it had an answer. The command may or may not have been applied: its
/// caller repeats it with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the engine stopped before it had an answer")]
pub struct Stopped;

impl Waiter {
    pub(super) fn new(enqueued: Enqueued, shared: Arc<Shared>, bucket: u16) -> Self {
        Self { enqueued, shared, bucket }
    }

    /// Waits until the outcome is durable.
    ///
    /// # Errors
    /// The engine stopped.
    pub async fn outcome(self) -> Result<Outcome, Stopped> {
        self.enqueued.outcome.await.map_err(|_| Stopped)
    }

    /// Waits until the outcome is durable, but no longer than `wait`: then until a ticket is.
    ///
    /// # Errors
    /// The engine stopped.
    pub async fn outcome_or_ticket(self, wait: Duration) -> Result<Answer, Stopped> {
        let Enqueued { seq, mut outcome } = self.enqueued;
        if let Ok(outcome) = timeout(wait, &mut outcome).await {
            return outcome.map(Answer::Outcome).map_err(|_| Stopped);
        }
        let (reply, ticket) = oneshot::channel();
        self.shared.lane(self.bucket).ask_ticket(seq, reply);
        self.shared.wake_owner();
        tokio::select! {
            biased;
            outcome = &mut outcome => outcome.map(Answer::Outcome).map_err(|_| Stopped),
            // No ticket, because the outcome is on its way: the branch above has it.
            Ok(()) = ticket => Ok(Answer::Ticket),
        }
    }
}
