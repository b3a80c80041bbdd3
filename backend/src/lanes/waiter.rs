//! A caller's side of a command: waiting for the outcome, leaving with a ticket, or hanging up.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cartgate_ledger::{CommandId, Outcome};
use cartgate_policy::Sku;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::Shared;
use super::bucket_lanes::ticket_request;
use super::queued::Told;

/// Waits for a command's outcome.
///
/// Dropping it before that is hanging up. A reserve command that has not been applied takes nothing
/// then; if it has, and nobody else asked for the hold, the hold goes back at once. A settle command
/// is applied all the same.
pub struct Waiter {
    sku: Sku,
    id: Option<CommandId>,
    outcome: oneshot::Receiver<Told>,
    shared: Arc<Shared>,
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
    pub(super) fn new(
        sku: Sku,
        id: Option<CommandId>,
        outcome: oneshot::Receiver<Told>,
        shared: Arc<Shared>,
    ) -> Self {
        Self { sku, id, outcome, shared }
    }

    /// Waits until the outcome is durable.
    ///
    /// # Errors
    /// The engine stopped.
    pub async fn outcome(mut self) -> Result<Outcome, Stopped> {
        self.shared.idle.attend();
        (&mut self.outcome).await.map(Told::hear).map_err(|_| Stopped)
    }

    /// Waits until the outcome is durable, but no longer than `wait`: then until a ticket is.
    ///
    /// # Errors
    /// The engine stopped.
    pub async fn outcome_or_ticket(self, wait: Duration) -> Result<Answer, Stopped> {
        self.outcome_or_ticket_after(sleep(wait)).await
    }

    /// The same, with any other end of the wait.
    pub(super) async fn outcome_or_ticket_after(
        mut self,
        end_of_wait: impl Future<Output = ()>,
    ) -> Result<Answer, Stopped> {
        self.shared.idle.attend();
        tokio::select! {
            biased;
            told = &mut self.outcome => {
                return told.map(|told| Answer::Outcome(told.hear())).map_err(|_| Stopped);
            }
            () = end_of_wait => {}
        }
        let Some(id) = self.id else { return self.outcome().await.map(Answer::Outcome) };
        let (request, ticket) = ticket_request(self.sku.clone(), id);
        self.shared.lanes_of(&self.sku).ask_ticket(request);
        self.shared.idle.wake_for_work();
        tokio::select! {
            biased;
            told = &mut self.outcome => {
                told.map(|told| Answer::Outcome(told.hear())).map_err(|_| Stopped)
            }
            // No ticket, because the outcome is on its way: the branch above has it.
            Ok(()) = ticket => Ok(Answer::Ticket),
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.outcome.close();
        if let Ok(told) = self.outcome.try_recv()
            && told.is_ghost()
        {
            self.shared.cancel(self.sku.clone(), told.outcome());
        }
    }
}
