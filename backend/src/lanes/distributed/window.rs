//! What an owner has read of its bucket's streams and not decided yet.
//!
//! The lanes are those of a bucket anywhere: a normal one, and one more for each SKU with a route.
//! But what enters them has been put into streams by others, marks among it; so the window only
//! follows. Each command has a number here, and remembers its place in its stream, so that after a
//! turn the cursors say exactly what is decided. What the window holds of any lane is bounded: from
//! a full one nothing more is read. Settle commands are always read, since a turn's time rests on it.
//!
//! ```text
//! settle ──> tickets, hang-ups, changes          at once
//!            confirm, release, set, ..           all of them, each turn
//! normal ──> normal lane, or parked              if the SKU's own lane is being left
//! own    ──> the SKU's lane                      given once the mark in the normal lane came up
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU32;

use cartgate_ledger::{Command, CommandId, UnixMs};
use cartgate_policy::Sku;

use super::cursor::Reading;
use super::origin::{Origin, Source};
use super::tickets::Tickets;
use crate::hot_items::HotItem;
use crate::lanes::LaneSettings;
use crate::lanes::lane::Lane;
use crate::lanes::queued::{Queued, Replies};
use crate::lanes::registry::Wanted;
use crate::lanes::reserve_queue::{Place, ReserveQueue};
use crate::lanes::taken::{Room, Taken};
use crate::lanes::turn::Deferred;
use crate::store::tenure::{
    Entry, EntryId, Posted, PostedCommand, PostedTicket, Progress, ReplyTo, Route, RouteChange,
    Step, Stream, Ticket,
};
use crate::trace::Trail;

/// What an owner has read and not decided.
pub(super) struct Window {
    /// Its settle queue is that of all SKUs.
    normal: Lane,
    hot: BTreeMap<Sku, HotLane>,
    readings: BTreeMap<Stream, Reading>,
    /// Where commands came from, by their numbers.
    origins: HashMap<u64, Origin>,
    /// Where marks came from. A SKU has one at a time.
    marks: BTreeMap<Sku, Origin>,
    pub(super) tickets: Tickets,
    /// Who asked for tickets that are good, each until then, and is to be told.
    ticketed: Vec<(ReplyTo, UnixMs)>,
    /// Whether reserve commands that come may wait: there is room for more holds.
    may_hold: bool,
    /// Whose reserve commands may not.
    turned_away: Vec<ReplyTo>,
    changes: Vec<Change>,
    /// Lanes that are read to their ends.
    ended: BTreeSet<Stream>,
    next_seq: u64,
    reserves_per_s: Option<NonZeroU32>,
    lane_max: usize,
}

/// A SKU's own lane.
struct HotLane {
    lane: Lane,
    route: Route,
    /// What came into the normal lane since this one is being left.
    parked: ReserveQueue,
}

/// A change of the registry of hot items that was asked for.
pub(super) struct Change {
    pub(super) wanted: Wanted,
    pub(super) reply: ReplyTo,
}

impl Window {
    /// An empty one, at the cursors that earlier tenures have left.
    pub(super) fn restore(progress: Progress, settings: &LaneSettings) -> Self {
        let Progress { cursors, routes, tickets } = progress;
        let cursors = cursors.into_iter().map(|(stream, cursor)| (stream, Some(cursor)));
        let streams = [(Stream::Settle, None), (Stream::Normal, None)].into_iter();
        let hot = routes.iter().map(|(sku, _)| (Stream::Hot(sku.clone()), None));
        let all: BTreeMap<_, _> = streams.chain(hot).chain(cursors).collect();
        let mut window = Self {
            normal: Lane::new(settings.reserves_per_s),
            hot: BTreeMap::new(),
            readings: all.into_iter().map(|(s, cursor)| (s, Reading::new(cursor))).collect(),
            origins: HashMap::new(),
            marks: BTreeMap::new(),
            tickets: Tickets::restore(tickets),
            ticketed: Vec::new(),
            may_hold: true,
            turned_away: Vec::new(),
            changes: Vec::new(),
            ended: BTreeSet::new(),
            next_seq: 0,
            reserves_per_s: settings.reserves_per_s,
            // The next turn's while this one's is decided.
            lane_max: settings.batch_max.saturating_mul(2),
        };
        for (sku, route) in routes {
            window.open_lane(sku, route);
        }
        window
    }

    fn open_lane(&mut self, sku: Sku, route: Route) {
        self.readings.entry(Stream::Hot(sku.clone())).or_default();
        let lane = Lane::new(self.reserves_per_s.filter(|_| route != Route::Leaving));
        self.hot.insert(sku, HotLane { lane, route, parked: ReserveQueue::default() });
    }

    /// Changes how fast a SKU's lane goes, if it has one. One that is being left goes at no pace: what
    /// is left of it is little, and what is parked meanwhile keeps the normal lane from being read on.
    pub(super) fn set_pace(&mut self, sku: &Sku, item: Option<&HotItem>) {
        let reserves_per_s = item.and_then(|item| item.reserves_per_s).or(self.reserves_per_s);
        if let Some(hot) = self.hot.get_mut(sku).filter(|hot| hot.route != Route::Leaving) {
            hot.lane.set_pace(reserves_per_s);
        }
    }

    /// The streams that there is room for, and from where on they are to be read.
    pub(super) fn wants(&self) -> Vec<(Stream, EntryId)> {
        let has_room = |(stream, reading): &(&Stream, &Reading)| {
            **stream == Stream::Settle || reading.span() < self.lane_max
        };
        let wanted = self.readings.iter().filter(has_room);
        wanted.map(|(stream, reading)| (stream.clone(), reading.read_to())).collect()
    }

    /// Takes in what was read when `wanted` was asked for. Less than `entries_max` is all there is.
    /// Unless `may_hold`, no reserve command is to wait that comes now.
    pub(super) fn come(
        &mut self,
        wanted: Vec<(Stream, EntryId)>,
        arrived: Vec<(Stream, Vec<Entry>)>,
        entries_max: usize,
        may_hold: bool,
    ) {
        self.may_hold = may_hold;
        self.ended = wanted.into_iter().map(|(stream, _)| stream).collect();
        // What tickets and hang-ups are about has been read before they come.
        let (settle, lanes): (Vec<_>, Vec<_>) =
            arrived.into_iter().partition(|(stream, _)| *stream == Stream::Settle);
        for (stream, entries) in lanes.into_iter().chain(settle) {
            if entries.len() >= entries_max {
                self.ended.remove(&stream);
            }
            entries.into_iter().for_each(|entry| self.come_entry(&stream, entry));
        }
    }

    fn come_entry(&mut self, stream: &Stream, mut entry: Entry) {
        let Some(reading) = self.readings.get_mut(stream) else { return };
        let source = Source::of(stream);
        let undecided = reading.read(&entry);
        let mut posted: Vec<_> = std::mem::take(&mut entry.posted).into_iter().map(Some).collect();
        for place in undecided {
            let one = usize::try_from(place.index).ok().and_then(|index| posted.get_mut(index));
            if let Some(one) = one.and_then(Option::take) {
                self.come_posted(Origin { source, place }, one, entry.at);
            }
        }
    }

    fn come_posted(&mut self, origin: Origin, posted: Posted, at: UnixMs) {
        match posted {
            Posted::Command(command) => return self.come_command(origin, command, at),
            Posted::Handoff(sku) => return self.come_mark(origin, sku),
            Posted::Ticket(ticket) => self.come_ticket(ticket),
            Posted::HangUp { sku, id, reply } => {
                let found = self.queues_of(&sku).find_map(|queue| queue.get_mut(id));
                let waits = |queued: &&mut Queued| queued.replies.waits_elsewhere() == Some(reply);
                if let Some(queued) = found.filter(waits) {
                    queued.replies = Replies::default();
                }
            }
            Posted::HotItem { sku, item, note, reply } => {
                self.changes.push(Change { wanted: Wanted { sku, item, note }, reply });
            }
        }
        // This turn decides it, whatever it is about.
        if let Some(settle) = self.readings.get_mut(&Stream::Settle) {
            settle.decide(origin.place, true);
        }
    }

    fn come_command(&mut self, origin: Origin, posted: PostedCommand, at: UnixMs) {
        let PostedCommand { sku, mut command, request_id, reply, good_for_ms } = posted;
        if let Command::Reserve(reserve) = &mut command {
            reserve.claim_by = at.plus_ms(good_for_ms);
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        self.origins.insert(seq, origin);
        let mut queued = Queued {
            seq,
            sku,
            command,
            trail: Trail::read(request_id, at),
            enqueued_at: at,
            ticketed_until: None,
            was_taken: false,
            replies: Replies::elsewhere(reply),
        };
        if !matches!(queued.command, Command::Reserve(_)) {
            return self.normal.settle.push_back(queued);
        }
        if let Some(until) = queued.command.id().and_then(|id| self.tickets.find(id, origin.place))
        {
            queued.ticket(until);
        }
        if !self.may_hold && !queued.is_ticketed() && !self.waits(&queued) {
            return self.turn_away(queued);
        }
        let queue = match (origin.source, self.hot.get_mut(&queued.sku)) {
            (Source::Own, Some(hot)) => &mut hot.lane.reserve,
            (_, Some(hot)) if hot.route == Route::Leaving => &mut hot.parked,
            _ => &mut self.normal.reserve,
        };
        queue.push(Place::Command(queued));
    }

    /// Whether the same is asked for already: then it takes no other hold.
    fn waits(&mut self, queued: &Queued) -> bool {
        let id = queued.command.id();
        id.is_some_and(|id| self.queues_of(&queued.sku).any(|queue| queue.get_mut(id).is_some()))
    }

    /// There is no room for another hold. What waits already, or has a ticket, still takes its own.
    fn turn_away(&mut self, queued: Queued) {
        self.decided(&queued);
        self.turned_away.extend(queued.replies.waits_elsewhere());
    }

    /// A ticket is good if its command waits, here or where it has not been read yet. If it does not,
    /// its outcome is on its way.
    fn come_ticket(&mut self, ticket: PostedTicket) {
        let PostedTicket { sku, id, until, stream, place, reply } = ticket;
        let waits = |reading: &&Reading| !reading.is_decided(place);
        let Some(reading) = self.readings.get(&stream).filter(waits) else { return };
        let is_read = reading.is_read(place);
        let until = self.tickets.give(id, sku.clone(), Ticket { until, place }, is_read);
        self.ticketed.push((reply, until));
        if let Some(queued) = self.queues_of(&sku).find_map(|queue| queue.get_mut(id)) {
            queued.ticket(until);
        }
    }

    fn come_mark(&mut self, origin: Origin, sku: Sku) {
        let queue = match (origin.source, self.hot.get_mut(&sku)) {
            (Source::Own, Some(hot)) => &mut hot.lane.reserve,
            _ => &mut self.normal.reserve,
        };
        queue.push(Place::Handoff(sku.clone()));
        self.marks.insert(sku, origin);
    }

    /// The queues that a SKU's reserve commands may wait in.
    fn queues_of(&mut self, sku: &Sku) -> impl Iterator<Item = &mut ReserveQueue> {
        let hot = self.hot.get_mut(sku).map(|hot| [&mut hot.lane.reserve, &mut hot.parked]);
        hot.into_iter().flatten().chain([&mut self.normal.reserve])
    }

    /// Who is to be told that tickets are good. After a takeover a ticket may be read later than that.
    pub(super) fn take_ticketed(&mut self, now: UnixMs) -> Vec<ReplyTo> {
        let ticketed = std::mem::take(&mut self.ticketed).into_iter();
        ticketed.filter(|(_, until)| *until >= now).map(|(reply, _)| reply).collect()
    }

    /// Who is to be told that there is no room for another hold.
    pub(super) fn take_turned_away(&mut self) -> Vec<ReplyTo> {
        std::mem::take(&mut self.turned_away)
    }

    /// The changes of hot items that have come.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// The work of a turn at `now`: all settle commands, and as many reserve commands as there is `room`
    /// for. `is_held` says whether a command repeats one whose hold is there.
    pub(super) fn take(
        &mut self,
        room: Room,
        now: UnixMs,
        is_held: impl Fn(&Queued) -> bool,
    ) -> Taken {
        let mut taken = Taken::new(room);
        taken.settle.extend(self.normal.settle.drain(..));
        taken.reserve(|max, drained| self.normal.drain(max, now, &is_held, drained));
        for hot in self.hot.values_mut().filter(|hot| hot.route != Route::Joining) {
            taken.reserve(|max, drained| hot.lane.drain(max, now, &is_held, drained));
        }
        for queued in &mut taken.reserve {
            // A ticket is for all who repeat the command.
            if let Some(until) = queued.command.id().and_then(|id| self.tickets.until(id)) {
                queued.ticket(until);
            }
        }
        taken
    }

    /// A command has been decided in this turn. Its id, if its ticket ends with that.
    pub(super) fn end_ticket(&mut self, queued: &Queued) -> Option<CommandId> {
        let (id, origin) = (queued.command.id()?, self.origins.get(&queued.seq)?);
        (queued.is_ticketed() && self.tickets.end(id, origin.place)).then_some(id)
    }

    /// A command has been decided in this turn, or dropped.
    pub(super) fn decided(&mut self, queued: &Queued) {
        if let Some(origin) = self.origins.remove(&queued.seq) {
            self.pass(origin, &queued.sku, true);
        }
    }

    fn pass(&mut self, Origin { source, place }: Origin, sku: &Sku, counts: bool) {
        if let Some(reading) = self.readings.get_mut(&source.stream(sku)) {
            reading.decide(place, counts);
        }
    }

    /// Puts back what is to come again, in order. Returns the HANDOFFs that need not wait for it.
    pub(super) fn put_back(&mut self, deferred: Deferred, handoffs: Vec<Sku>) -> Vec<Sku> {
        let (waiting, ready): (Vec<_>, Vec<_>) =
            handoffs.into_iter().partition(|sku| deferred.skus.contains(sku));
        for sku in waiting.into_iter().rev() {
            let source = self.marks.get(&sku).map(|origin| origin.source);
            self.put_back_place(Place::Handoff(sku), source);
        }
        for queued in deferred.reserve.into_iter().rev() {
            let source = self.origins.get(&queued.seq).map(|origin| origin.source);
            self.put_back_place(Place::Command(queued), source);
        }
        for queued in deferred.settle.into_iter().rev() {
            self.normal.settle.push_front(queued);
        }
        ready
    }

    fn put_back_place(&mut self, place: Place, source: Option<Source>) {
        let queue = match self.hot.get_mut(place.sku()) {
            Some(hot) if source == Some(Source::Own) => &mut hot.lane.reserve,
            _ => &mut self.normal.reserve,
        };
        queue.put_back(place);
    }

    /// All before these SKUs' marks is in this turn: what comes behind them goes on after it.
    pub(super) fn hand_off(&mut self, skus: Vec<Sku>) -> Vec<RouteChange> {
        skus.into_iter().filter_map(|sku| self.hand_off_one(sku)).collect()
    }

    fn hand_off_one(&mut self, sku: Sku) -> Option<RouteChange> {
        let origin = self.marks.remove(&sku)?;
        self.pass(origin, &sku, false);
        let hot = self.hot.get_mut(&sku)?;
        let route = match hot.route {
            Route::Joining => {
                hot.route = Route::Open;
                Some(Route::Open)
            }
            Route::Open => return None,
            Route::Leaving => {
                self.normal.reserve.append(std::mem::take(&mut hot.parked));
                self.hot.remove(&sku);
                None
            }
        };
        Some(RouteChange { sku, route, mark_in: None })
    }

    /// Sends SKUs into lanes of their own and out of them, as the registry says; but for those that
    /// are changing already.
    pub(super) fn reroute(
        &mut self,
        registry: &BTreeMap<Sku, HotItem>,
        quantum: usize,
        changes: &mut Vec<RouteChange>,
    ) {
        let is_changing: BTreeSet<_> = changes.iter().map(|change| change.sku.clone()).collect();
        for (sku, item) in registry.iter().filter(|(sku, _)| !is_changing.contains(*sku)) {
            if !self.hot.contains_key(sku) {
                self.open_lane(sku.clone(), Route::Joining);
                self.set_pace(sku, Some(item));
                let (route, mark_in) = (Some(Route::Joining), Some(Stream::Normal));
                changes.push(RouteChange { sku: sku.clone(), route, mark_in });
            }
        }
        for (sku, hot) in &mut self.hot {
            let own = Stream::Hot(sku.clone());
            // Few enough: what is parked meanwhile waits for no longer than a turn or two.
            let is_short = hot.lane.reserve.len() < quantum && self.ended.contains(&own);
            let is_wanted = registry.contains_key(sku) || is_changing.contains(sku);
            if hot.route == Route::Open && is_short && !is_wanted {
                hot.route = Route::Leaving;
                hot.lane.set_pace(None);
                let (route, mark_in) = (Some(Route::Leaving), Some(own));
                changes.push(RouteChange { sku: sku.clone(), route, mark_in });
            }
        }
    }

    /// How this turn moves on in each stream. The streams of lanes that are gone are read no more.
    pub(super) fn steps(&mut self) -> Vec<Step> {
        let step = |(stream, reading): (&Stream, &mut Reading)| reading.step(stream);
        let steps = self.readings.iter_mut().filter_map(step).collect();
        self.readings.retain(|stream, _| match stream {
            Stream::Hot(sku) => self.hot.contains_key(sku),
            Stream::Settle | Stream::Normal => true,
        });
        steps
    }

    /// How many commands wait in it.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.origins.len()
    }
}
