//! A request on its way: what was asked, and whoever waits for the answer.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use cartgate_ledger::{Command, CommandId, UnixMs};

use super::op::Key;
use crate::lanes::{Answer, EnqueueError, Waiter};

type Answering = Pin<Box<dyn Future<Output = Result<Answer, EnqueueError>>>>;

/// A request whose answer has not arrived.
pub(super) struct Request {
    pub(super) asked: Asked,
    /// Whether it waits in a reserve queue no more: decided, or dropped.
    pub(super) has_left_queue: bool,
    pub(super) ticket_asked_at: Option<UnixMs>,
    end_of_wait: Rc<Cell<bool>>,
    answering: Answering,
}

/// What was asked, and what was known then.
#[derive(Clone)]
pub(super) struct Asked {
    /// Its number among all requests of the history.
    pub(super) number: usize,
    pub(super) key: Key,
    pub(super) sku: usize,
    pub(super) command: Command,
    /// The latest time that there had been.
    pub(super) latest: UnixMs,
    /// The moment until which the hold that it is about had been promised.
    pub(super) promised_until: Option<UnixMs>,
    /// Whether the SKU had been put up for sale.
    pub(super) is_sku_known: bool,
}

impl Asked {
    /// The id of a reserve command.
    pub(super) fn reserve_id(&self) -> Option<CommandId> {
        match &self.command {
            Command::Reserve(reserve) => Some(reserve.id),
            _ => None,
        }
    }

    /// Whether whoever hears the answer hears of a hold, and could not have known of it before.
    pub(super) fn hears_of(&self, id: CommandId) -> bool {
        self.reserve_id() == Some(id) || self.command == Command::Claim { id }
    }
}

impl Request {
    pub(super) fn new(asked: Asked, waiter: Waiter) -> Self {
        let end_of_wait = Rc::new(Cell::new(false));
        let is_over = Rc::clone(&end_of_wait);
        let ended = poll_fn(move |_| if is_over.get() { Poll::Ready(()) } else { Poll::Pending });
        // Nobody gets a ticket for anything but a reservation.
        let answering: Answering = match asked.reserve_id() {
            Some(_) => Box::pin(waiter.outcome_or_ticket_after(ended)),
            None => Box::pin(async { waiter.outcome().await.map(Answer::Outcome) }),
        };
        Self { asked, has_left_queue: false, ticket_asked_at: None, end_of_wait, answering }
    }

    /// The answer, if it is there. After that there is none any more.
    pub(super) fn poll(&mut self) -> Option<Result<Answer, EnqueueError>> {
        match self.answering.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        }
    }

    /// The customer waits no longer than `now`: it wants a ticket, from when it is polled next.
    pub(super) fn end_wait(&mut self, now: UnixMs) {
        self.end_of_wait.set(true);
        self.ticket_asked_at = Some(now);
    }

    /// Whether somebody still waits in a queue with it.
    pub(super) fn waits_for(&self, id: CommandId) -> bool {
        !self.has_left_queue && self.asked.reserve_id() == Some(id)
    }
}
