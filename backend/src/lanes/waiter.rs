//! A caller's side of a command: waiting for the outcome, leaving with a ticket, or hanging up.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cartgate_ledger::{CommandId, Outcome};
use cartgate_policy::Sku;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::bucket_lanes::ticket_request;
use super::distributed::Front;
use super::queued::Told;
use super::{EnqueueError, Shared};

/// Waits for a command's outcome.
///
/// Dropping it before that is hanging up. A reserve command that has not been applied takes nothing
/// then; if it has, and nobody else asked for the hold, the hold goes back at once. A settle command
/// is applied all the same.
pub struct Waiter {
    sku: Sku,
    id: Option<CommandId>,
    outcome: oneshot::Receiver<Result<Told, EnqueueError>>,
    queue: Queue,
}

/// Where the command waits.
pub(super) enum Queue {
    /// In a lane of this process.
    Here(Arc<Shared>),
    /// In a stream, or on the way there: the number is the caller's.
    Elsewhere(Arc<Front>, u64),
}

/// What a caller gets when its wait is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The command's outcome. It is durable.
    Outcome(Outcome),
    /// The command still waits. It is durable, and its outcome can be asked for by its id.
    Ticket,
}

impl Waiter {
    pub(super) fn new(
        sku: Sku,
        id: Option<CommandId>,
        outcome: oneshot::Receiver<Result<Told, EnqueueError>>,
        queue: Queue,
    ) -> Self {
        Self { sku, id, outcome, queue }
    }

    /// Waits until the outcome is durable.
    ///
    /// # Errors
    /// There was no room for it, or the engine stopped.
    pub async fn outcome(mut self) -> Result<Outcome, EnqueueError> {
        self.begin();
        self.told().await
    }

    /// Waits until the outcome is durable, but no longer than `wait`: then until a ticket is.
    ///
    /// # Errors
    /// There was no room for it, or the engine stopped.
    pub async fn outcome_or_ticket(self, wait: Duration) -> Result<Answer, EnqueueError> {
        self.outcome_or_ticket_after(sleep(wait)).await
    }

    /// The same, with any other end of the wait.
    pub(super) async fn outcome_or_ticket_after(
        mut self,
        end_of_wait: impl Future<Output = ()>,
    ) -> Result<Answer, EnqueueError> {
        self.begin();
        tokio::select! {
            biased;
            outcome = self.told() => return outcome.map(Answer::Outcome),
            () = end_of_wait => {}
        }
        let Some(id) = self.id else { return self.outcome().await.map(Answer::Outcome) };
        let ticket = self.ask_ticket(id);
        tokio::select! {
            biased;
            outcome = self.told() => outcome.map(Answer::Outcome),
            // No ticket, because the outcome is on its way: the branch above has it.
            Ok(()) = ticket => {
                self.leave_with_ticket();
                Ok(Answer::Ticket)
            }
        }
    }

    async fn told(&mut self) -> Result<Outcome, EnqueueError> {
        match (&mut self.outcome).await {
            Ok(told) => told.map(Told::hear),
            Err(_) => Err(EnqueueError::Stopped),
        }
    }

    /// The caller begins to wait: perhaps it takes the turn itself.
    fn begin(&self) {
        if let Queue::Here(shared) = &self.queue {
            shared.idle.attend();
        }
    }

    fn ask_ticket(&self, id: CommandId) -> oneshot::Receiver<()> {
        match &self.queue {
            Queue::Here(shared) => {
                let (request, ticket) = ticket_request(self.sku.clone(), id);
                shared.lanes_of(&self.sku).ask_ticket(request);
                shared.idle.wake_for_work();
                ticket
            }
            Queue::Elsewhere(front, number) => front.ask_ticket(self.sku.clone(), id, *number),
        }
    }

    fn leave_with_ticket(&self) {
        if let Queue::Elsewhere(front, number) = &self.queue {
            front.leave_with_ticket(*number);
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.outcome.close();
        let unheard = self.outcome.try_recv().ok().and_then(Result::ok).filter(Told::is_ghost);
        match (&self.queue, unheard) {
            (Queue::Here(shared), Some(told)) => shared.cancel(self.sku.clone(), told.outcome()),
            (Queue::Here(_), None) => {}
            (Queue::Elsewhere(front, _), Some(told)) => {
                front.cancel(self.sku.clone(), told.outcome());
            }
            (Queue::Elsewhere(front, number), None) => front.hang_up(&self.sku, self.id, *number),
        }
    }
}
