//! A process's part in an engine on a store that many share.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use cartgate_ledger::{CommandId, JournalEntry, Reservation, UnixMs};
use cartgate_policy::Sku;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::task::AbortHandle;

use super::known::KnownHotItems;
use super::{HotLaneWork, HotState, HotStock, Waits, background};
use crate::hot_items::{Changed, HotItem, HotItemHistory, Note};
use crate::lanes::{
    BucketDepths, Buckets, EnqueueError, Front, FrontSettings, HotLaneState, InLine, LaneDepth,
    LaneSettings, Later, Level, PostBox, State, Worker,
};
use crate::metrics::Metrics;
use crate::store::post::{Post, PostReply};
use crate::store::redis::{Api, PostError, RedisStore};
use crate::store::tenure::{AnswersEntry, EntryId, Route, SharedStore as _, Stream, Ticket};
use crate::store::{Durability, StockRow, StoreError};
use crate::window::Rates;

/// How many buckets are asked about at once.
const ASKED_AT_ONCE: usize = 32;

/// How many entries of answers are read at a time.
const ANSWERS_MAX: usize = 100;

/// A process's part in the engine: it posts what its callers ask for, or owns buckets, or both.
pub struct Shared {
    store: Arc<RedisStore>,
    api: Arc<Api>,
    front: Arc<Front>,
    known: Arc<KnownHotItems>,
    hot_items_max: usize,
    /// What lanes give per second that have no pace of their own.
    reserves_per_s: Option<NonZeroU32>,
    worker: Mutex<Option<Worker>>,
    tasks: [AbortHandle; 4],
}

impl PostBox for Api {
    fn post<'a>(&'a self, bucket: u16, post: &'a Post) -> Later<'a, Result<PostReply, PostError>> {
        Box::pin(self.post(bucket, post))
    }

    fn durability(&self) -> Durability {
        self.durability()
    }

    fn answers(
        &self,
        bucket: u16,
        after: EntryId,
    ) -> Later<'_, Result<Vec<AnswersEntry>, StoreError>> {
        Box::pin(self.answers(bucket, after, ANSWERS_MAX))
    }
}

impl Shared {
    /// Begins to post to a store and to listen to its answers, in the tokio runtime that this is
    /// called in.
    pub fn start(
        store: Arc<RedisStore>,
        settings: FrontSettings,
        worker: Option<Worker>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let api = Arc::new(store.api());
        let buckets = Buckets::new(store.buckets());
        let LaneSettings { hot_items_max, reserves_per_s, .. } = settings.lanes;
        let front = Arc::new(Front::new(buckets, settings, Arc::clone(&api) as Arc<dyn PostBox>));
        let known = Arc::default();
        let tasks = background::start(&api, &front, &known, buckets, metrics);
        let worker = Mutex::new(worker);
        Self { store, api, front, known, hot_items_max, reserves_per_s, worker, tasks }
    }

    pub(super) fn api(&self) -> Arc<Api> {
        Arc::clone(&self.api)
    }

    pub(super) fn front(&self) -> &Arc<Front> {
        &self.front
    }

    pub(super) fn buckets(&self) -> Buckets {
        Buckets::new(self.store.buckets())
    }

    pub(super) fn secret(&self) -> [u8; 32] {
        self.store.secret()
    }

    pub(super) fn durability(&self) -> Durability {
        self.store.durability()
    }

    fn bucket(&self, sku: &Sku) -> u16 {
        self.buckets().of_sku(sku)
    }

    pub(super) async fn reservation(
        &self,
        id: CommandId,
    ) -> Result<Option<(Sku, Reservation)>, StoreError> {
        match self.buckets().of_id(id) {
            Some(bucket) => self.api.reservation(bucket, id).await,
            None => Ok(None),
        }
    }

    pub(super) async fn ticketed(&self, id: CommandId) -> Result<Option<Waits>, StoreError> {
        let Some(bucket) = self.buckets().of_id(id) else { return Ok(None) };
        let found = self.api.ticketed(bucket, id).await?;
        let posted_at = |ticket: Ticket| Some(UnixMs(ticket.place.entry.ms));
        Ok(found.map(|(ticket, sku)| Waits { id, sku, posted_at: posted_at(ticket) }))
    }

    /// The bucket's own clock tells how long the command has waited.
    pub(super) async fn in_line(&self, waits: &Waits) -> Result<Option<InLine>, StoreError> {
        let Waits { sku, posted_at, .. } = waits;
        let stream = self.front.reserve_stream(sku);
        let Some(line) = self.api.line(self.bucket(sku), &stream).await? else { return Ok(None) };
        let per_s = self.known.of(sku).and_then(|item| item.reserves_per_s).or(self.reserves_per_s);
        let age_ms = |since: UnixMs| line.now.0.saturating_sub(since.0);
        let own = posted_at.map_or(0, age_ms);
        Ok(Some(InLine::by_age(own, line.waiting, age_ms(line.oldest), per_s)))
    }

    pub(super) async fn stock(&self, sku: &Sku) -> Result<Option<StockRow>, StoreError> {
        self.api.stock(self.bucket(sku), sku).await
    }

    /// Asks each bucket for its own.
    pub(super) async fn stocks(&self, skus: &[&Sku]) -> Result<Vec<Option<StockRow>>, StoreError> {
        let mut by_bucket = BTreeMap::<u16, (Vec<usize>, Vec<Sku>)>::new();
        for (place, sku) in skus.iter().enumerate() {
            let (places, of_bucket) = by_bucket.entry(self.bucket(sku)).or_default();
            places.push(place);
            of_bucket.push(Sku::clone(sku));
        }
        let mut found = vec![None; skus.len()];
        let mut asked = stream::iter(by_bucket)
            .map(async |(bucket, (places, skus))| {
                Ok::<_, StoreError>((places, self.api.stocks(bucket, &skus).await?))
            })
            .buffer_unordered(ASKED_AT_ONCE);
        while let Some((places, rows)) = asked.try_next().await? {
            places.into_iter().zip(rows).for_each(|(place, row)| found[place] = row);
        }
        drop(asked);
        Ok(found)
    }

    pub(super) async fn journal(
        &self,
        sku: &Sku,
        after: u64,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        self.api.journal(self.bucket(sku), sku, after, limit).await
    }

    pub(super) async fn hot_items(&self) -> Result<BTreeMap<Sku, HotItem>, StoreError> {
        read_registry(&self.api, self.buckets()).await
    }

    /// When holds expire is not known here, nor how much lanes decide.
    pub(super) async fn hot_states(&self) -> Result<BTreeMap<Sku, HotState>, StoreError> {
        let all = ask_all(self.buckets(), |bucket| self.hot_states_of(bucket));
        Ok(all.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }

    async fn hot_states_of(&self, bucket: u16) -> Result<Vec<(Sku, HotState)>, StoreError> {
        let items = self.api.hot_items(bucket).await?;
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let skus: Vec<_> = items.iter().map(|(sku, _)| sku.clone()).collect();
        let rows = self.api.stocks(bucket, &skus).await?;
        let is_followed = |item: &HotItem| item.edge.wait_target_ms.is_some();
        let are_any = items.iter().any(|(_, item)| is_followed(item));
        let depths = if are_any { self.api.depths(bucket).await? } else { Vec::new() };
        let waiting = |sku: &Sku| {
            let own = |(stream, _): &&(Stream, u64)| matches!(stream, Stream::Hot(of) if of == sku);
            depths.iter().find(own).map_or(0, |(_, depth)| *depth)
        };
        let state = |((sku, item), row): ((Sku, HotItem), Option<StockRow>)| {
            let stock = row.map(|StockRow { counters, .. }| HotStock {
                available: counters.available,
                held: counters.held,
                next_due: None,
            });
            let lane =
                is_followed(&item).then(|| HotLaneWork { decided: None, waiting: waiting(&sku) });
            (sku, HotState { item, stock, lane })
        };
        Ok(items.into_iter().zip(rows).map(state).collect())
    }

    /// An owner sees to it that its bucket has no more than may be. That all buckets together do not
    /// is seen to here; two processes that are asked at once may go beyond it by one.
    pub(super) async fn change_hot_item(
        &self,
        sku: Sku,
        item: Option<HotItem>,
        note: Note,
        level: &Arc<Level>,
    ) -> Result<Changed, EnqueueError> {
        let max = self.hot_items_max;
        if item.is_some() {
            let registry = self.hot_items().await.map_err(|_| EnqueueError::Stopped)?;
            if registry.len() >= max && !registry.contains_key(&sku) {
                return Err(EnqueueError::TooManyHotItems { max });
            }
        }
        let changed = self.front.change_hot_item(sku.clone(), item, note, level).await?;
        self.known.note(sku, changed.item);
        Ok(changed)
    }

    pub(super) async fn hot_item_history(&self, sku: &Sku) -> Result<HotItemHistory, StoreError> {
        self.api.hot_item_history(self.bucket(sku), sku).await
    }

    pub(super) fn known_hot_items(&self) -> &KnownHotItems {
        &self.known
    }

    pub(super) async fn hot_item(&self, sku: &Sku) -> Result<Option<HotItem>, StoreError> {
        let items = self.api.hot_items(self.bucket(sku)).await?;
        Ok(items.into_iter().find(|(of, _)| of == sku).map(|(_, item)| item))
    }

    pub(super) async fn hot_lane(&self, sku: &Sku) -> Result<Option<HotLaneState>, StoreError> {
        let bucket = self.bucket(sku);
        let (_, routes) = self.api.routes(bucket).await?;
        let Some((_, route)) = routes.into_iter().find(|(of, _)| of == sku) else {
            return Ok(None);
        };
        let own = Stream::Hot(sku.clone());
        let waiting = self.waiting(bucket, |stream| *stream == own).await?;
        let depth = waiting.first();
        let depth = depth.map_or_else(LaneDepth::default, |(_, depth, age)| reserves(*depth, *age));
        Ok(Some(HotLaneState { depth, is_open: route == Route::Open }))
    }

    pub(super) async fn rates(&self, sku: &Sku) -> Result<Rates, StoreError> {
        self.api.rates(self.bucket(sku), sku).await
    }

    pub(super) async fn depths(&self) -> Vec<BucketDepths> {
        let all = ask_all(self.buckets(), |bucket| self.waiting(bucket, |_| true));
        let all = all.collect::<Vec<_>>().await;
        let all = self.buckets().all().zip(all);
        // What cannot be asked is left out.
        all.filter_map(|(bucket, depths)| Some(bucket_depths(bucket, depths.ok()?))).collect()
    }

    /// How many commands wait in each of a bucket's streams that are `wanted`, and for how many
    /// milliseconds the oldest of them has.
    async fn waiting(
        &self,
        bucket: u16,
        wanted: impl Fn(&Stream) -> bool,
    ) -> Result<Vec<(Stream, u64, u64)>, StoreError> {
        let mut depths = self.api.depths(bucket).await?;
        depths.retain(|(stream, _)| wanted(stream));
        let streams: Vec<_> = depths.iter().map(|(stream, _)| stream.clone()).collect();
        let ages = match depths.iter().any(|(_, depth)| *depth > 0) {
            true => self.api.ages(bucket, &streams).await?,
            false => vec![None; streams.len()],
        };
        let waiting = depths.into_iter().zip(ages);
        let waiting = waiting.map(|((s, depth), age)| (s, depth, age.unwrap_or_default()));
        Ok(waiting.collect())
    }

    /// Whether the store answers; of a cluster any part of it, for that part's callers.
    pub(super) async fn is_ready(&self) -> bool {
        let third = usize::from(self.store.buckets() / 3).max(1);
        for bucket in self.buckets().all().step_by(third) {
            if self.api.routes(bucket).await.is_ok() {
                return true;
            }
        }
        false
    }

    /// Gives the worker's buckets to the others.
    pub(super) async fn stop(&self) -> State {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Its turns end first: that takes a moment, and a panic in there has been reported.
        let _ = tokio::task::spawn_blocking(move || drop(worker)).await;
        State::Drained
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Asks about all buckets, some at a time, and gives what is said of them in their order.
fn ask_all<T, F: Future<Output = T>>(
    buckets: Buckets,
    ask: impl Fn(u16) -> F,
) -> impl futures_util::Stream<Item = T> {
    stream::iter(buckets.all()).map(ask).buffered(ASKED_AT_ONCE)
}

pub(super) async fn read_registry(
    api: &Api,
    buckets: Buckets,
) -> Result<BTreeMap<Sku, HotItem>, StoreError> {
    let all = ask_all(buckets, |bucket| api.hot_items(bucket));
    Ok(all.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
}

fn bucket_depths(bucket: u16, waiting: Vec<(Stream, u64, u64)>) -> BucketDepths {
    let mut all = BucketDepths { bucket, ..BucketDepths::default() };
    for (stream, depth, age_ms) in waiting {
        match stream {
            Stream::Settle => {
                let settle = LaneDepth { settle: count(depth), reserve: 0, oldest_age_ms: age_ms };
                all.normal = all.normal.and(settle);
            }
            Stream::Normal => all.normal = all.normal.and(reserves(depth, age_ms)),
            Stream::Hot(sku) => all.hot.push((sku, reserves(depth, age_ms))),
        }
    }
    all
}

/// The depth of a lane with so many reserve commands.
fn reserves(depth: u64, oldest_age_ms: u64) -> LaneDepth {
    LaneDepth { reserve: count(depth), settle: 0, oldest_age_ms }
}

fn count(depth: u64) -> usize {
    usize::try_from(depth).unwrap_or(usize::MAX)
}
