//! What is on its way into the streams of one bucket.
//!
//! One post is under way at a time. What comes meanwhile makes up the next one: the batch grows with
//! the load by itself, as commits do. So what one process posts stays in order, also when a bucket's
//! routes change between.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cartgate_ledger::CommandId;
use cartgate_policy::Sku;

use crate::store::tenure::{Posted, ReplyTo};

/// The most that is posted at once: some 300 KiB.
const POST_MAX: usize = 4_096;

/// What is on its way into the streams of one bucket.
#[derive(Default)]
pub(super) struct Outbox(Mutex<State>);

#[derive(Default)]
struct State {
    outgoing: VecDeque<Outgoing>,
    /// What nobody waits for, and could not be posted: at most [`POST_MAX`].
    left: Vec<Posted>,
    /// Whether somebody posts what comes.
    is_posting: bool,
}

/// Something on its way.
pub(super) enum Outgoing {
    /// Something for a stream.
    Posted {
        /// What it is.
        posted: Posted,
        /// Who waits for it.
        number: Option<u64>,
        /// Whether the stream's bound is for it.
        is_bounded: bool,
    },
    /// The wish for a ticket.
    Ticket {
        sku: Sku,
        id: CommandId,
        /// Who waits for the command.
        reply: ReplyTo,
    },
}

impl Outbox {
    /// Adds something. Whether the caller is to post what is here from now on: nobody else does.
    pub(super) fn push(&self, outgoing: Outgoing) -> bool {
        let mut state = self.state();
        state.outgoing.push_back(outgoing);
        !std::mem::replace(&mut state.is_posting, true)
    }

    /// What is to be posted next, at most [`POST_MAX`]. `None`: nothing, and whoever adds something
    /// posts it.
    pub(super) fn take(&self) -> Option<Vec<Outgoing>> {
        let mut state = self.state();
        state.is_posting = !state.outgoing.is_empty();
        let count = state.outgoing.len().min(POST_MAX);
        state.is_posting.then(|| state.outgoing.drain(..count).collect())
    }

    /// Keeps what could not be posted, as far as there is room. Returns how much there was no room for.
    pub(super) fn leave(&self, mut unheard: Vec<Posted>) -> usize {
        let left = &mut self.state().left;
        let rest = unheard.split_off(unheard.len().min(POST_MAX.saturating_sub(left.len())));
        left.append(&mut unheard);
        rest.len()
    }

    /// What could not be posted, to try it again.
    pub(super) fn take_left(&self) -> Vec<Posted> {
        std::mem::take(&mut self.state().left)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
