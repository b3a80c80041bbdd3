//! An API process's side of the engine: it posts what its callers ask for into the streams of its
//! bucket, and brings them what became of it.
//!
//! ```text
//! callers ─> Outbox of the bucket ─> PostBox::post ─> streams ─> the bucket's owner, anywhere
//!    ^           one post at a time                                      │ commit
//!    └── Waiting <── published, or read from the store <── answers <─────┘
//! ```
//!
//! Whoever waits has a number. An answer names the process and the number, so that it is the same
//! whichever worker sends it, how often, and by which way.

mod answers;
mod batch;
mod outbox;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use cartgate_ledger::{Command, CommandId, Outcome, Reservation};
use cartgate_policy::Sku;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::hot_items::{Changed, HotItem, Note};
use crate::lanes::queued::{Replies, Reply};
use crate::lanes::waiter::{Queue, Waiter};
use crate::lanes::{Buckets, EnqueueError, LaneSettings, Level};
use crate::random;
use crate::store::post::{Post, PostReply};
use crate::store::redis::PostError;
use crate::store::tenure::{AnswersEntry, EntryId, Posted, PostedCommand, ReplyTo, Stream};
use crate::store::{Durability, StoreError};
use crate::trace::Trail;

use batch::Batch;
use outbox::{Outbox, Outgoing};
use waiting::{CallerReply, Waiting};

/// How often a post is sorted again because routes have changed in between.
const SORTS_MAX: usize = 8;

/// What an API process does with a store that many share.
pub trait PostBox: Send + Sync {
    /// Puts something into the streams of a bucket, in one step.
    fn post<'a>(&'a self, bucket: u16, post: &'a Post) -> Later<'a, Result<PostReply, PostError>>;

    /// What every commit survives whose answers can be read.
    fn durability(&self) -> Durability;

    /// What was answered in a bucket after that entry, in order; not necessarily all of it.
    fn answers(
        &self,
        bucket: u16,
        after: EntryId,
    ) -> Later<'_, Result<Vec<AnswersEntry>, StoreError>>;
}

/// Something that takes its time.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How an API process treats its callers.
#[derive(Clone, Copy, Debug)]
pub struct FrontSettings {
    /// The lanes' bounds.
    pub lanes: LaneSettings,
    /// How long reserve commands are good without a ticket, in milliseconds.
    pub good_for_ms: u64,
    /// The longest that anybody waits.
    pub patience: Duration,
}

/// An API process's side of the engine.
pub struct Front {
    process: u64,
    buckets: Buckets,
    settings: FrontSettings,
    post_box: Arc<dyn PostBox>,
    outboxes: Box<[Outbox]>,
    routes: Box<[RwLock<Arc<Routes>>]>,
    waiting: Waiting,
    /// Of each bucket's answers, what was read last.
    answers_read: Mutex<HashMap<u16, AnswersEntry>>,
    runtime: Handle,
}

/// Which SKUs of a bucket have reserve streams of their own, as far as this process knows.
#[derive(Default)]
struct Routes {
    version: u64,
    own: BTreeSet<Sku>,
}

impl Routes {
    fn stream(&self, sku: &Sku) -> Stream {
        if self.own.contains(sku) { Stream::Hot(sku.clone()) } else { Stream::Normal }
    }
}

impl Front {
    /// A process that posts from tasks of the tokio runtime that it is made in.
    pub fn new(buckets: Buckets, settings: FrontSettings, post_box: Arc<dyn PostBox>) -> Self {
        Self {
            process: u64::from_ne_bytes(random::bytes()),
            buckets,
            settings,
            post_box,
            outboxes: buckets.all().map(|_| Outbox::default()).collect(),
            routes: buckets.all().map(|_| RwLock::default()).collect(),
            waiting: Waiting::default(),
            answers_read: Mutex::default(),
            runtime: Handle::current(),
        }
    }

    /// The process, as answers name it.
    pub fn process(&self) -> u64 {
        self.process
    }

    /// Whether a SKU has a lane of its own, as far as this process knows.
    pub fn is_hot(&self, sku: &Sku) -> bool {
        self.routes(self.buckets.of_sku(sku)).own.contains(sku)
    }

    /// The stream that a SKU's reserve commands go into, as far as this process knows.
    pub fn reserve_stream(&self, sku: &Sku) -> Stream {
        self.routes(self.buckets.of_sku(sku)).stream(sku)
    }

    /// Puts a command on its way into its stream, for the caller to wait on. What is told of it has
    /// the level that is noted then.
    pub fn submit(
        self: &Arc<Self>,
        sku: Sku,
        command: Command,
        trail: &Trail,
        level: &Arc<Level>,
    ) -> Waiter {
        let (reply, outcome) = Reply::new();
        let (id, bucket) = (command.id(), self.buckets.of_sku(&sku));
        let reply = CallerReply::Outcome(Replies::one(reply));
        let number = self.waiting.add(bucket, sku.clone(), reply, level);
        let posted = self.command(sku.clone(), command, trail.to_text(), Some(number));
        self.send(bucket, Outgoing::Posted { posted, number: Some(number), is_bounded: true });
        Waiter::new(sku, id, outcome, Queue::Elsewhere(Arc::clone(self), number))
    }

    /// Makes a SKU a hot item, or one no more. Says what came of it, once that is written.
    ///
    /// # Errors
    /// As [`Lanes::change_hot_item`](crate::lanes::Lanes::change_hot_item).
    pub async fn change_hot_item(
        self: &Arc<Self>,
        sku: Sku,
        item: Option<HotItem>,
        note: Note,
        level: &Arc<Level>,
    ) -> Result<Changed, EnqueueError> {
        let (reply, written) = oneshot::channel();
        let bucket = self.buckets.of_sku(&sku);
        let reply = CallerReply::Change(reply);
        let number = self.waiting.add(bucket, sku.clone(), reply, level);
        let posted = Posted::HotItem { sku, item, note, reply: self.reply_to(number) };
        self.send(bucket, Outgoing::Posted { posted, number: Some(number), is_bounded: true });
        written.await.unwrap_or(Err(EnqueueError::Stopped))
    }

    /// Asks for a ticket for a command that waits. The sender is dropped if there is none: then its
    /// outcome is on its way.
    pub(crate) fn ask_ticket(
        self: &Arc<Self>,
        sku: Sku,
        id: CommandId,
        number: u64,
    ) -> oneshot::Receiver<()> {
        let (wish, ticket) = oneshot::channel();
        self.waiting.want_ticket(number, wish);
        let (bucket, reply) = (self.buckets.of_sku(&sku), self.reply_to(number));
        self.send(bucket, Outgoing::Ticket { sku, id, reply });
        ticket
    }

    /// A caller waits no more, since it has a ticket.
    pub(crate) fn leave_with_ticket(&self, number: u64) {
        drop(self.waiting.remove(number));
    }

    /// A caller waits no more; if it has not heard anything yet, it has hung up. Its place is kept: the
    /// outcome may be on its way, and nobody hears of it then.
    pub(crate) fn hang_up(self: &Arc<Self>, sku: &Sku, id: Option<CommandId>, number: u64) {
        let Some(id) = id.filter(|_| self.waiting.has(number)) else { return };
        let posted = Posted::HangUp { sku: sku.clone(), id, reply: self.reply_to(number) };
        self.send_unheard(self.buckets.of_sku(sku), posted);
    }

    /// Gives back the hold in an outcome that nobody hears of.
    pub(crate) fn cancel(self: &Arc<Self>, sku: Sku, outcome: &Outcome) {
        let Outcome::Held(Reservation { id, attempt, .. }) = outcome else { return };
        let command = Command::Cancel { id: *id, attempt: *attempt, even_claimed: false };
        let bucket = self.buckets.of_sku(&sku);
        self.send_unheard(bucket, self.command(sku, command, "hung-up".into(), None));
    }

    fn command(
        &self,
        sku: Sku,
        command: Command,
        request_id: Arc<str>,
        number: Option<u64>,
    ) -> Posted {
        let reply = number.map(|number| self.reply_to(number));
        let good_for_ms = self.settings.good_for_ms;
        Posted::Command(PostedCommand { sku, command, request_id, reply, good_for_ms })
    }

    fn reply_to(&self, number: u64) -> ReplyTo {
        ReplyTo { process: self.process, number }
    }

    /// Sends what could not be posted before.
    fn send_left(self: &Arc<Self>) {
        for bucket in self.buckets.all() {
            let left = self.outbox(bucket).take_left();
            left.into_iter().for_each(|posted| self.send_unheard(bucket, posted));
        }
    }

    /// Sends what needs no room: there is at most one for each caller that has gone.
    fn send_unheard(self: &Arc<Self>, bucket: u16, posted: Posted) {
        self.send(bucket, Outgoing::Posted { posted, number: None, is_bounded: false });
    }

    fn send(self: &Arc<Self>, bucket: u16, outgoing: Outgoing) {
        if self.outbox(bucket).push(outgoing) {
            let front = Arc::clone(self);
            self.runtime.spawn(async move {
                while let Some(outgoing) = front.outbox(bucket).take() {
                    front.post(bucket, outgoing).await;
                }
            });
        }
    }

    async fn post(self: &Arc<Self>, bucket: u16, outgoing: Vec<Outgoing>) {
        let (routes, settings) = (self.routes(bucket), &self.settings);
        let mut batch = Batch::sort(outgoing, &routes, settings, &self.waiting);
        for early in std::mem::take(&mut batch.early) {
            self.outbox(bucket).push(early);
        }
        for _ in 0..SORTS_MAX {
            match self.post_box.post(bucket, &batch.post).await {
                Ok(PostReply::Posted { at, nonce, groups, tickets }) => {
                    self.waiting.note_posted(batch.posted(&groups, nonce, at));
                    return self.refuse_unposted(&batch, &groups, &tickets);
                }
                Ok(PostReply::Moved { routes_version: version, own_lanes }) => {
                    let routes = Routes { version, own: own_lanes.into_iter().collect() };
                    batch = batch.sort_again(&routes);
                    self.note_routes(bucket, routes);
                }
                Err(PostError::OutOfMemory) => {
                    tracing::warn!(bucket, "the store is out of memory: orders are refused");
                    let refused = batch.leave_out_reserves();
                    self.refuse(&refused, EnqueueError::Stopped);
                    if batch.is_empty() {
                        return;
                    }
                }
                Err(error) => {
                    let may_be_posted = matches!(error, PostError::Unknown(_));
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, bucket, "commands cannot be posted");
                    return self.give_up(bucket, batch, may_be_posted);
                }
            }
        }
        self.give_up(bucket, batch, false);
    }

    /// Nobody knows what becomes of a batch. Whoever repeats with the same key finds out; what nobody
    /// waits for is tried again, since it does no harm to come twice.
    fn give_up(&self, bucket: u16, batch: Batch, may_be_posted: bool) {
        let numbers = batch.all_numbers();
        let refuse_posted = |number| self.waiting.refuse_posted(number, EnqueueError::Stopped);
        batch.ticket_numbers().for_each(refuse_posted);
        if may_be_posted {
            numbers.into_iter().for_each(refuse_posted);
        } else {
            self.refuse(&numbers, EnqueueError::Stopped);
        }
        let lost = self.outbox(bucket).leave(batch.into_unheard());
        if lost > 0 {
            tracing::warn!(bucket, lost, "hang-ups are lost: their holds stay until they expire");
        }
    }

    /// Tells those for whom there was no room, and those who wanted tickets too late.
    fn refuse_unposted(&self, batch: &Batch, entries: &[Option<EntryId>], is_in_time: &[bool]) {
        let full = EnqueueError::Full { depth: self.settings.lanes.reserve_queue_max };
        self.refuse(&batch.refused(entries), full);
        for number in batch.too_late(is_in_time) {
            // Its outcome is on its way.
            self.waiting.refuse_ticket(number);
        }
    }

    fn refuse(&self, numbers: &[u64], error: EnqueueError) {
        for caller in numbers.iter().filter_map(|number| self.waiting.remove(*number)) {
            caller.reply.refuse(error);
        }
    }

    fn outbox(&self, bucket: u16) -> &Outbox {
        &self.outboxes[usize::from(bucket)]
    }

    fn routes(&self, bucket: u16) -> Arc<Routes> {
        let routes = self.routes[usize::from(bucket)].read();
        Arc::clone(&routes.unwrap_or_else(PoisonError::into_inner))
    }

    fn note_routes(&self, bucket: u16, routes: Routes) {
        let known = self.routes[usize::from(bucket)].write();
        *known.unwrap_or_else(PoisonError::into_inner) = Arc::new(routes);
    }
}
