//! A lane: the queues of one bucket, and what they refuse.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cartgate_ledger::{Command, UnixMs};
use cartgate_policy::Sku;
use tokio::sync::oneshot;

use super::pacer::Pacer;
use super::waiter::{Enqueued, TicketReply};
use super::{EnqueueError, LaneDepth, LaneSettings, Queued};
use crate::clock::Clock;
use crate::store::Ticketed;

/// The queues of one bucket. Callers push, the owner takes.
pub(super) struct Lane {
    queues: Mutex<Queues>,
    batch_max: usize,
    reserve_queue_max: usize,
    settle_queue_max: usize,
}

struct Queues {
    reserve: VecDeque<Queued>,
    settle: VecDeque<Queued>,
    tickets: Vec<(u64, TicketReply)>,
    next_seq: u64,
    pacer: Pacer,
    is_closed: bool,
}

/// What lanes give the owner for one turn.
#[derive(Default)]
pub(super) struct Taken {
    /// What is to be decided.
    pub(super) commands: Commands,
    /// Commands that stay queued, but are to be written down for the tickets given for them.
    pub(super) tickets: Vec<(Ticketed, TicketReply)>,
    /// Reserve commands nobody waited for any more.
    pub(super) abandoned: u64,
    /// Milliseconds until pacing lets the next reserve command through, if one is left.
    pub(super) paced_ms: Option<u64>,
}

/// Commands to be decided, each queue in its order.
#[derive(Default)]
pub(super) struct Commands {
    /// All settle commands.
    pub(super) settle: Vec<Queued>,
    /// Reserve commands, as many of each lane as pacing and batch size allow.
    pub(super) reserve: Vec<Queued>,
}

impl Lane {
    pub(super) fn new(settings: &LaneSettings) -> Self {
        Self {
            queues: Mutex::new(Queues {
                reserve: VecDeque::new(),
                settle: VecDeque::new(),
                tickets: Vec::new(),
                next_seq: 0,
                pacer: Pacer::new(settings.reserves_per_s),
                is_closed: false,
            }),
            batch_max: settings.batch_max,
            reserve_queue_max: settings.reserve_queue_max,
            settle_queue_max: settings.settle_queue_max,
        }
    }

    /// Puts a command at the end of its queue.
    pub(super) fn push(
        &self,
        sku: Sku,
        command: Command,
        request_id: &str,
        clock: &Clock,
    ) -> Result<Enqueued, EnqueueError> {
        let mut queues = self.lock();
        if queues.is_closed {
            return Err(EnqueueError::Stopped);
        }
        let seq = queues.next_seq;
        let (queue, max) = if matches!(command, Command::Reserve(_)) {
            (&mut queues.reserve, self.reserve_queue_max)
        } else {
            (&mut queues.settle, self.settle_queue_max)
        };
        if queue.len() >= max {
            return Err(EnqueueError::Full { depth: queue.len() });
        }
        let (reply, outcome) = oneshot::channel();
        queue.push_back(Queued {
            seq,
            sku,
            command,
            request_id: request_id.into(),
            // Read under the lock: see `Owner::turn` for what rests on it.
            enqueued_at: clock(),
            is_ticketed: false,
            reply: Some(reply),
        });
        queues.next_seq += 1;
        Ok(Enqueued { seq, outcome })
    }

    /// Asks that a command which is still queued be written down. The sender is dropped if it is
    /// not queued any more: then its outcome is on its way.
    pub(super) fn ask_ticket(&self, seq: u64, reply: TicketReply) {
        self.lock().tickets.push((seq, reply));
    }

    /// Puts back a command that a ticket was given for, after a restart. Its queue's bound does
    /// not count: it was promised.
    pub(super) fn restore(&self, ticketed: Ticketed) {
        let mut queues = self.lock();
        queues.next_seq = queues.next_seq.max(ticketed.seq + 1);
        queues.reserve.push_back(Queued {
            seq: ticketed.seq,
            sku: ticketed.sku,
            enqueued_at: ticketed.enqueued_at,
            command: Command::Reserve(ticketed.reserve),
            request_id: ticketed.request_id,
            is_ticketed: true,
            reply: None,
        });
    }

    /// Adds a turn's work to what other lanes have given. `ticket_until` is how long a ticket
    /// given now is good for.
    pub(super) fn take(&self, ticket_until: UnixMs, taken: &mut Taken) {
        let mut queues = self.lock();
        taken.commands.settle.extend(queues.settle.drain(..));
        let paced_ms = queues.take_reserves(self.batch_max, taken);
        taken.paced_ms = [taken.paced_ms, paced_ms].into_iter().flatten().min();
        // After the commands: one that is decided in this turn needs no ticket.
        for (seq, reply) in std::mem::take(&mut queues.tickets) {
            let ticketed = queues.ticket(seq, ticket_until);
            taken.tickets.extend(ticketed.map(|ticketed| (ticketed, reply)));
        }
    }

    /// Refuses what comes from now on.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
    }

    /// Drops all that waits, and so tells its callers that there will be no outcome.
    pub(super) fn discard(&self) {
        let mut queues = self.lock();
        queues.reserve.clear();
        queues.settle.clear();
        queues.tickets.clear();
    }

    /// Whether it refuses new commands and has none left.
    pub(super) fn is_drained(&self) -> bool {
        let queues = self.lock();
        queues.is_closed && queues.reserve.is_empty() && queues.settle.is_empty()
    }

    pub(super) fn depth(&self, now: UnixMs) -> LaneDepth {
        let queues = self.lock();
        let oldest = [queues.reserve.front(), queues.settle.front()].into_iter().flatten();
        let oldest = oldest.map(|queued| queued.enqueued_at).min().unwrap_or(now);
        LaneDepth {
            reserve: queues.reserve.len(),
            settle: queues.settle.len(),
            oldest_age_ms: now.0.saturating_sub(oldest.0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        // Nothing in here can panic half way through a change.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    /// Marks the reserve command `seq` as ticketed, if it still waits.
    fn ticket(&mut self, seq: u64, ticket_until: UnixMs) -> Option<Ticketed> {
        let at = self.reserve.binary_search_by_key(&seq, |queued| queued.seq).ok()?;
        let queued = self.reserve.get_mut(at)?;
        let Command::Reserve(reserve) = &mut queued.command else { return None };
        reserve.claim_by = ticket_until;
        reserve.repeatable = true;
        queued.is_ticketed = true;
        Some(Ticketed {
            seq,
            sku: queued.sku.clone(),
            reserve: reserve.clone(),
            request_id: queued.request_id.clone(),
            enqueued_at: queued.enqueued_at,
        })
    }

    /// Takes the reserve commands of a turn. Returns in how many milliseconds pacing lets the next
    /// one through, if one is left.
    fn take_reserves(&mut self, batch_max: usize, taken: &mut Taken) -> Option<u64> {
        for _ in 0..batch_max {
            // What nobody waits for costs no pace.
            while self.reserve.front()?.is_abandoned() {
                self.reserve.pop_front();
                taken.abandoned += 1;
            }
            if let Err(wait_ms) = self.pacer.admit() {
                return Some(wait_ms);
            }
            taken.commands.reserve.extend(self.reserve.pop_front());
        }
        (!self.reserve.is_empty()).then_some(0)
    }
}
