//! A lane: the queues of one bucket, and what they refuse.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cartgate_ledger::{Command, UnixMs};
use cartgate_policy::Sku;
use tokio::sync::oneshot;

use super::pacer::Pacer;
use super::reserve_queue::{OtherFingerprint, ReserveQueue, ToWrite};
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
    reserve: ReserveQueue,
    settle: VecDeque<Queued>,
    tickets: Vec<(u64, TicketReply)>,
    next_seq: u64,
    pacer: Pacer,
    /// Reserve commands refused for want of room.
    refused: usize,
    /// Reserve commands dropped since the last turn because their callers had gone.
    hung_up: u64,
    is_closed: bool,
}

/// What lanes give the owner for one turn.
#[derive(Default)]
pub(super) struct Taken {
    /// What is to be decided.
    pub(super) commands: Commands,
    /// Commands that stay queued, but are to be written down for the tickets given for them.
    pub(super) ticketed: Vec<Ticketed>,
    /// Who is to be told that a ticket is good, once this turn is committed.
    pub(super) tickets: Vec<TicketReply>,
    /// Reserve commands whose callers had gone.
    pub(super) hung_up: u64,
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
                reserve: ReserveQueue::default(),
                settle: VecDeque::new(),
                tickets: Vec::new(),
                next_seq: 0,
                pacer: Pacer::new(settings.reserves_per_s),
                refused: 0,
                hung_up: 0,
                is_closed: false,
            }),
            batch_max: settings.batch_max,
            reserve_queue_max: settings.reserve_queue_max,
            settle_queue_max: settings.settle_queue_max,
        }
    }

    /// Puts a command at the end of its queue; a repeat of one that waits joins it there. Unless
    /// `may_hold`, no other reserve command is taken.
    pub(super) fn push(
        &self,
        sku: Sku,
        command: Command,
        request_id: &str,
        clock: &Clock,
        may_hold: bool,
    ) -> Result<Enqueued, EnqueueError> {
        let mut queues = self.lock();
        if queues.is_closed {
            return Err(EnqueueError::Stopped);
        }
        let (reply, outcome) = oneshot::channel();
        let seq = queues.next_seq;
        let is_reserve = match &command {
            Command::Reserve(reserve) => {
                let first = queues.reserve.first_of(reserve);
                if let Some(first) = first.map_err(|OtherFingerprint| EnqueueError::KeyReused)? {
                    queues.reserve.join(first, reply, reserve.claim_by);
                    return Ok(Enqueued { seq: first, outcome });
                }
                if !may_hold {
                    return Err(EnqueueError::TooManyHolds);
                }
                queues.check_reserve_room(self.reserve_queue_max)?;
                true
            }
            _ => {
                check_room(queues.settle.len(), self.settle_queue_max)?;
                false
            }
        };
        // Read under the lock: see `Owner::turn` for what rests on it.
        let enqueued_at = clock();
        let (request_id, replies) = (request_id.into(), vec![reply]);
        let is_ticketed = false;
        let queued = Queued { seq, sku, command, request_id, enqueued_at, is_ticketed, replies };
        if is_reserve {
            queues.reserve.push(queued);
        } else {
            queues.settle.push_back(queued);
        }
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
        queues.reserve.push(Queued {
            seq: ticketed.seq,
            sku: ticketed.sku,
            command: Command::Reserve(ticketed.reserve),
            request_id: ticketed.request_id,
            enqueued_at: ticketed.enqueued_at,
            is_ticketed: true,
            replies: Vec::new(),
        });
    }

    /// Adds the work of a turn at `now` to what other lanes have given. `ticket_until` is how long
    /// a ticket given in it is good for.
    pub(super) fn take(&self, now: UnixMs, ticket_until: UnixMs, taken: &mut Taken) {
        let mut queues = self.lock();
        if queues.is_closed {
            // Also what has been ticketed since then is no reason to stay.
            queues.reserve.leave_tickets();
        }
        taken.hung_up += std::mem::take(&mut queues.hung_up);
        taken.commands.settle.extend(queues.settle.drain(..));
        let paced_ms = queues.take_reserves(self.batch_max, now, taken);
        taken.paced_ms = [taken.paced_ms, paced_ms].into_iter().flatten().min();
        // After the commands: one that is decided in this turn needs no ticket.
        for (seq, reply) in std::mem::take(&mut queues.tickets) {
            let Some(to_write) = queues.reserve.ticket(seq, ticket_until) else { continue };
            taken.tickets.push(reply);
            if let ToWrite::Ticketed(ticketed) = to_write {
                taken.ticketed.push(ticketed);
            }
        }
    }

    /// Refuses what comes from now on. What waits is still decided, but for ticketed commands that
    /// nobody waits for.
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

    /// Whether it refuses new commands and nobody waits for an old one.
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
    /// Makes room where callers have gone, if there is none otherwise. Looking through the whole
    /// queue is worth it for every sixteenth of it that was refused, not for each refusal.
    fn check_reserve_room(&mut self, max: usize) -> Result<(), EnqueueError> {
        let Err(full) = check_room(self.reserve.len(), max) else { return Ok(()) };
        if self.refused.is_multiple_of((max / 16).max(1)) {
            self.hung_up += self.reserve.drop_abandoned();
        }
        self.refused += 1;
        check_room(self.reserve.len(), max).map_err(|_| full)
    }

    /// Takes the reserve commands of a turn. Returns in how many milliseconds pacing lets the next
    /// one through, if one is left.
    fn take_reserves(&mut self, batch_max: usize, now: UnixMs, taken: &mut Taken) -> Option<u64> {
        for _ in 0..batch_max {
            // What nobody waits for costs no pace, and neither does what is too late to take
            // anything: else a lane under a flood would be busy with nothing but the past.
            while self.reserve.front()?.is_abandoned() {
                self.reserve.pop_front();
                taken.hung_up += 1;
            }
            let is_paced = !self.reserve.front()?.is_lapsed(now);
            if is_paced && let Err(wait_ms) = self.pacer.admit() {
                return Some(wait_ms);
            }
            taken.commands.reserve.extend(self.reserve.pop_front());
        }
        (!self.reserve.is_empty()).then_some(0)
    }
}

fn check_room(depth: usize, max: usize) -> Result<(), EnqueueError> {
    if depth < max { Ok(()) } else { Err(EnqueueError::Full { depth }) }
}
