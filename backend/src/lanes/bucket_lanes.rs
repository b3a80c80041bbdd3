//! The lanes of one bucket, and which of them a SKU's commands go to.
//!
//! Every bucket has a normal lane, and one more for each hot item in it. A SKU changes its lane by
//! HANDOFF: from one moment on its reserve commands go elsewhere, and a mark enters the lane where
//! the earlier ones still wait. What comes later is not touched until the owner has committed all
//! before the mark. So the order stays, no stock moves, and nobody who waits is sent away. It ends
//! however many come: nothing gets in front of the mark any more.
//!
//! ```text
//! promotion   normal lane: .. A B A [HANDOFF A]     A's lane (joining): A A ..   untouched so far
//! demotion    A's lane: A A [HANDOFF A]             parked: A A ..   then at the normal lane's end
//! ```

#[cfg(test)]
mod probe;

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU32;

use cartgate_ledger::{Command, CommandId, Reserve, UnixMs};
use cartgate_policy::Sku;
use tokio::sync::oneshot;

use super::hot_lane::{HotLane, Phase};
use super::in_line::InLine;
use super::lane::{Lane, check_room};
use super::queued::{Queued, Replies, Reply, Told};
use super::reserve_queue::{OtherFingerprint, Place, ReserveQueue, ToWrite};
use super::taken::{Change, Taken, TicketRequest};
use super::{EnqueueError, HotLaneState, LaneDepth, LaneSettings, Submission};
use crate::clock::Clock;
use crate::hot_items::HotItem;
use crate::store::Ticketed;
use crate::trace::Trail;

/// The most changes of hot items that wait for their turn in one bucket.
const CHANGES_MAX: usize = 64;

/// The lanes of one bucket.
pub(super) struct BucketLanes {
    normal: Lane,
    hot: BTreeMap<Sku, HotLane>,
    tickets: Vec<TicketRequest>,
    changes: Vec<Change>,
    next_seq: u64,
    hung_up: u64,
    is_closed: bool,
    reserves_per_s: Option<NonZeroU32>,
    reserve_queue_max: usize,
    settle_queue_max: usize,
    hot_items_max: usize,
}

impl BucketLanes {
    pub(super) fn new(settings: &LaneSettings) -> Self {
        let (hot, tickets, changes) = Default::default();
        Self {
            normal: Lane::new(settings.reserves_per_s),
            hot,
            tickets,
            changes,
            next_seq: 0,
            hung_up: 0,
            is_closed: false,
            reserves_per_s: settings.reserves_per_s,
            reserve_queue_max: settings.reserve_queue_max,
            settle_queue_max: settings.settle_queue_max,
            hot_items_max: settings.hot_items_max,
        }
    }

    /// Puts a command at the end of its queue; a repeat of one that waits joins it there. Unless
    /// `may_hold`, no other reserve command is taken.
    pub(super) fn push(
        &mut self,
        submission: Submission,
        clock: &Clock,
        may_hold: bool,
    ) -> Result<oneshot::Receiver<Result<Told, EnqueueError>>, EnqueueError> {
        let (mut reply, outcome) = Reply::new();
        if self.is_closed {
            return Err(EnqueueError::Stopped);
        }
        if let Command::Reserve(reserve) = &submission.command {
            match self.join(&submission.sku, reserve, reply)? {
                None => return Ok(outcome),
                Some(unused) => reply = unused,
            }
            if !may_hold {
                return Err(EnqueueError::TooManyHolds);
            }
            let max = self.reserve_queue_max;
            self.hung_up += self.entrance_of(&submission.sku).make_room(max)?;
        } else {
            check_room(self.lane_of(&submission.sku).settle.len(), self.settle_queue_max)?;
        }
        self.enqueue(submission, Replies::one(reply), clock);
        Ok(outcome)
    }

    /// Puts a command in that nobody waits for and that needs no room: there is at most one for
    /// each caller that hung up.
    pub(super) fn push_unheard(&mut self, submission: Submission, clock: &Clock) {
        self.enqueue(submission, Replies::default(), clock);
    }

    fn enqueue(&mut self, submission: Submission, replies: Replies, clock: &Clock) {
        let Submission { sku, command, trail } = submission;
        // Read under the lock: see `Owner::turn` for what rests on it.
        let enqueued_at = clock();
        let (seq, ticketed_until) = (self.next_seq, None);
        self.next_seq += 1;
        let is_reserve = matches!(command, Command::Reserve(_));
        let queued = Queued {
            seq,
            sku,
            command,
            trail,
            enqueued_at,
            ticketed_until,
            was_taken: false,
            replies,
        };
        match (self.hot.get_mut(&queued.sku), is_reserve) {
            (Some(hot), true) => hot.entrance().push(Place::Command(queued)),
            (Some(hot), false) => hot.lane.settle.push_back(queued),
            (None, true) => self.normal.reserve.push(Place::Command(queued)),
            (None, false) => self.normal.settle.push_back(queued),
        }
    }

    /// Joins the command that `reserve` repeats, wherever it waits; else gives the reply back.
    fn join(
        &mut self,
        sku: &Sku,
        reserve: &Reserve,
        mut reply: Reply,
    ) -> Result<Option<Reply>, EnqueueError> {
        for queue in self.queues_of(sku) {
            let joined = queue.join(reserve, reply);
            match joined.map_err(|OtherFingerprint| EnqueueError::KeyReused)? {
                Ok(()) => return Ok(None),
                Err(unused) => reply = unused,
            }
        }
        Ok(Some(reply))
    }

    /// The queues that a SKU's reserve commands may wait in.
    fn queues_of(&mut self, sku: &Sku) -> impl Iterator<Item = &mut ReserveQueue> {
        let hot = self.hot.get_mut(sku).map(HotLane::queues).into_iter().flatten();
        hot.chain([&mut self.normal.reserve])
    }

    fn lane_of(&mut self, sku: &Sku) -> &mut Lane {
        match self.hot.get_mut(sku) {
            Some(hot) => &mut hot.lane,
            None => &mut self.normal,
        }
    }

    /// The queue that a SKU's reserve commands enter from now on.
    fn entrance_of(&mut self, sku: &Sku) -> &mut ReserveQueue {
        match self.hot.get_mut(sku) {
            Some(hot) => hot.entrance(),
            None => &mut self.normal.reserve,
        }
    }

    /// Asks that a command which is still queued be written down. The sender is dropped if it is
    /// not queued any more: then its outcome is on its way.
    pub(super) fn ask_ticket(&mut self, request: TicketRequest) {
        self.tickets.push(request);
    }

    /// Asks that a SKU become a hot item, or be one no more.
    pub(super) fn change_hot_item(&mut self, change: Change) -> Result<(), EnqueueError> {
        if self.is_closed {
            return Err(EnqueueError::Stopped);
        }
        check_room(self.changes.len(), CHANGES_MAX)?;
        self.changes.push(change);
        Ok(())
    }

    /// Makes the lane of a SKU that was a hot item when the store was last written.
    pub(super) fn restore_hot_item(&mut self, sku: Sku, item: &HotItem) {
        self.hot.insert(sku, HotLane::new(item.reserves_per_s.or(self.reserves_per_s)));
    }

    /// Puts back a command that a ticket was given for, after a restart. Its queue's bound does
    /// not count: it was promised.
    pub(super) fn restore(&mut self, ticketed: Ticketed) {
        self.next_seq = self.next_seq.max(ticketed.seq + 1);
        let queued = Queued {
            seq: ticketed.seq,
            sku: ticketed.sku,
            ticketed_until: Some(ticketed.reserve.claim_by),
            command: Command::Reserve(ticketed.reserve),
            trail: Trail::read(ticketed.request_id.into(), ticketed.enqueued_at),
            enqueued_at: ticketed.enqueued_at,
            was_taken: false,
            replies: Replies::default(),
        };
        self.lane_of(&queued.sku.clone()).reserve.push(Place::Command(queued));
    }

    /// Adds the work of a turn at `now` to what other buckets have given: of each lane all settle
    /// commands, and at most `quantum` reserve commands. `ticket_until` is how long a ticket given in
    /// it is good for.
    pub(super) fn take(&mut self, now: UnixMs, ticket_until: UnixMs, taken: &mut Taken) {
        if self.is_closed {
            // Also what has been ticketed since then is no reason to stay.
            self.leave_tickets();
        }
        taken.hung_up += std::mem::take(&mut self.hung_up);
        taken.settle.extend(self.normal.settle.drain(..));
        // A repeat joins what waits, or asks the store: none comes here once it has a hold.
        let is_held = |_: &Queued| false;
        taken.reserve(|max, drained| self.normal.drain(max, now, is_held, drained));
        for hot in self.hot.values_mut() {
            taken.settle.extend(hot.lane.settle.drain(..));
            if !matches!(hot.phase, Phase::Joining) {
                taken.reserve(|max, drained| hot.lane.drain(max, now, is_held, drained));
            }
        }
        self.take_tickets(ticket_until, taken);
    }

    /// The changes of hot items that were asked for since the last turn.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Whether a SKU may have a lane of its own, if there are `hot_lanes`. Also one that is being left
    /// is one, until it is gone.
    pub(super) fn room_for(&self, sku: &Sku, hot_lanes: usize) -> Result<(), EnqueueError> {
        let max = self.hot_items_max;
        if hot_lanes < max || self.hot.contains_key(sku) {
            return Ok(());
        }
        Err(EnqueueError::TooManyHotItems { max })
    }

    /// Gives a SKU the lane that it has from now on; `None`: none of its own. Returns whether there is
    /// one more.
    pub(super) fn set_hot_item(&mut self, sku: &Sku, item: Option<&HotItem>) -> bool {
        let had_lane = self.hot.contains_key(sku);
        match (item, self.hot.get_mut(sku)) {
            (Some(item), Some(hot)) => {
                hot.is_wanted = true;
                hot.lane.set_pace(item.reserves_per_s.or(self.reserves_per_s));
            }
            (Some(item), None) => {
                self.restore_hot_item(sku.clone(), item);
                // The normal lane has no mark to wait for if it has no command.
                if !self.normal.reserve.is_empty()
                    && let Some(hot) = self.hot.get_mut(sku)
                {
                    hot.phase = Phase::Joining;
                    self.normal.reserve.push(Place::Handoff(sku.clone()));
                }
            }
            (None, Some(hot)) => {
                hot.lane.set_pace(self.reserves_per_s);
                hot.leave(sku);
            }
            (None, None) => {}
        }
        !had_lane && item.is_some()
    }

    // After the commands: one that is decided in this turn needs no ticket.
    fn take_tickets(&mut self, until: UnixMs, taken: &mut Taken) {
        for request in std::mem::take(&mut self.tickets) {
            let to_write = self.queues_of(&request.sku).find_map(|q| q.ticket(request.id, until));
            let Some(to_write) = to_write else {
                taken.unfound.push(request);
                continue;
            };
            taken.tickets.push(request.reply);
            if let ToWrite::Ticketed(ticketed) = to_write {
                taken.ticketed.push(ticketed);
            }
        }
    }

    /// All that was before a SKU's mark is committed: what comes behind it may go on. Returns whether
    /// the SKU has no lane of its own any more.
    pub(super) fn hand_off(&mut self, sku: &Sku) -> bool {
        if let Some(hot) = self.hot.get_mut(sku).filter(|hot| hot.is_wanted) {
            hot.open();
            return false;
        }
        let Some(hot) = self.hot.remove(sku) else { return false };
        let (reserve, settle) = hot.close();
        self.normal.reserve.append(reserve);
        self.normal.settle.extend(settle);
        true
    }

    /// Puts a place back in front of the lane that it was taken from.
    pub(super) fn put_back(&mut self, place: Place) {
        // Nothing has been taken from the lane of a SKU that is joining.
        let hot = self.hot.get_mut(place.sku());
        match hot.filter(|hot| !matches!(hot.phase, Phase::Joining)) {
            Some(hot) => hot.lane.reserve.put_back(place),
            None => self.normal.reserve.put_back(place),
        }
    }

    /// Puts a settle command back in front.
    pub(super) fn put_back_settle(&mut self, queued: Queued) {
        self.lane_of(&queued.sku.clone()).settle.push_front(queued);
    }

    /// Refuses what comes from now on. What waits is still decided, but for ticketed commands that
    /// nobody waits for.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    fn leave_tickets(&mut self) {
        let mut left = HashSet::new();
        // In the order in which a SKU's commands wait: none of them overtakes what is left.
        self.normal.leave_tickets(&mut left);
        for hot in self.hot.values_mut() {
            hot.queues().for_each(|queue| queue.leave_tickets(&mut left));
        }
    }

    /// Drops all that waits, and so tells its callers that there will be no outcome.
    pub(super) fn discard(&mut self) {
        self.normal.clear();
        self.hot.clear();
        self.tickets.clear();
        self.changes.clear();
    }

    /// Whether it refuses new commands and nobody waits for an old one.
    pub(super) fn is_drained(&self) -> bool {
        self.is_closed
            && self.normal.is_empty()
            && self.changes.is_empty()
            && self.hot.values().all(HotLane::is_empty)
    }

    /// The normal lane's depth, and that of each hot one.
    pub(super) fn depths(&self, now: UnixMs) -> (LaneDepth, Vec<(Sku, LaneDepth)>) {
        let hot = self.hot.iter().map(|(sku, hot)| (sku.clone(), hot.depth(now)));
        (self.normal.depth(now), hot.collect())
    }

    /// Where a reserve command stands, if it waits here.
    pub(super) fn in_line(&self, sku: &Sku, id: CommandId, now: UnixMs) -> Option<InLine> {
        let hot = self.hot.get(sku).and_then(|hot| Some((hot, hot.before(id)?)));
        let (lane, depth, before) = match hot {
            // What is behind the mark waits for all that is before it.
            Some((hot, before)) if matches!(hot.phase, Phase::Joining) => {
                (&hot.lane, hot.depth(now), before + self.normal.reserve.len() as u64)
            }
            Some((hot, before)) => (&hot.lane, hot.depth(now), before),
            None => (&self.normal, self.normal.depth(now), self.normal.reserve.before(id)?),
        };
        let waiting = depth.reserve as u64;
        Some(InLine::of(before, waiting, depth.oldest_age_ms, lane.per_s()))
    }

    #[cfg(test)]
    pub(super) fn set_normal_pace(&mut self, reserves_per_s: Option<NonZeroU32>) {
        self.normal.set_pace(reserves_per_s);
    }

    /// How the SKU's lane of its own stands, if it has one.
    pub(super) fn hot_lane(&self, sku: &Sku, now: UnixMs) -> Option<HotLaneState> {
        let hot = self.hot.get(sku)?;
        Some(HotLaneState { depth: hot.depth(now), is_open: matches!(hot.phase, Phase::Open) })
    }
}

/// Which command a ticket is asked for.
pub(super) fn ticket_request(sku: Sku, id: CommandId) -> (TicketRequest, oneshot::Receiver<()>) {
    let (reply, ticket) = oneshot::channel();
    (TicketRequest { sku, id, reply }, ticket)
}
