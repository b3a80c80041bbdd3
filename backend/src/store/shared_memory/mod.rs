//! A model of a store that many processes share: each step of the protocol as the real one takes it,
//! with its checks and nothing else, and with the faults that it is made for.
//!
//! One server holds all buckets. Its clock stands still until it is set. What a replica has is what
//! there was at [`SharedMemory::replicate`]: [`SharedMemory::fail_over`] goes back to that. Whoever
//! reads after it notices, since it cannot be talking to the same server; a commit that was on its
//! way does not.

mod bucket;
mod post;
mod tenure;

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use cartgate_ledger::{CommandId, UnixMs};
use cartgate_policy::Sku;

use self::tenure::ModelTenure;
use super::StoreError;
use super::memory::Memory;
use super::post::{Post, PostReply};
use super::tenure::{
    Answer, Cursor, Place, Posted, Route, SharedStore, Stream, Tenure, TurnCommit, WorkerId,
    WorkerReport,
};
use bucket::{Bucket, Ground};

/// How long a lease lasts without being renewed, in milliseconds.
pub(crate) const LEASE_MS: u64 = 1_500;

/// A store that many processes share, in memory.
pub(crate) struct SharedMemory {
    shared: Arc<Shared>,
}

struct Shared {
    server: Mutex<Server>,
    posted: Condvar,
    /// Whether readers wait for something to come: only where there are threads.
    waits: bool,
}

/// What happens to the next commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It does not come to the server.
    Before,
    /// It is written, but its answer is lost.
    After,
    /// It is on its way for so long that its owner gives it up: see [`SharedMemory::deliver`].
    Late,
    /// The replica takes over before it arrives.
    FailOver,
}

/// A commit that was written.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) bucket: u16,
    /// When its owner sent it.
    pub(crate) at: UnixMs,
    pub(crate) turn: TurnCommit,
}

/// A commit that is on its way.
struct Late {
    ground: Ground,
    commit: Written,
}

struct Server {
    now: UnixMs,
    buckets: Vec<Bucket>,
    replica: Vec<Bucket>,
    workers: BTreeMap<WorkerId, (UnixMs, WorkerReport)>,
    /// Never used twice, whatever a failover forgets.
    nonces: u64,
    fault: Option<Fault>,
    /// What was published and nobody has heard yet.
    published: Vec<Answer>,
    late: Vec<Late>,
    /// How often the replica took over.
    failovers: u64,
    written: Vec<Written>,
}

impl Server {
    fn nonce(&mut self) -> u64 {
        self.nonces += 1;
        self.nonces
    }

    fn fail_over(&mut self) {
        self.buckets = self.replica.clone();
        self.failovers += 1;
    }

    /// Writes a commit, if it may be. Returns its nonce.
    fn commit(&mut self, ground: Ground, commit: Written) -> Result<u64, &'static str> {
        let (now, new_nonce) = (self.now, self.nonce());
        let bucket = &mut self.buckets[usize::from(commit.bucket)];
        bucket.commit(&commit.turn, ground, now, new_nonce)?;
        self.written.push(commit);
        Ok(new_nonce)
    }
}

impl SharedMemory {
    pub(crate) fn new(buckets: u16, now: UnixMs) -> Self {
        let made: Vec<_> = (0..buckets).map(|_| Bucket::default()).collect();
        let server = Server {
            now,
            replica: made.clone(),
            buckets: made,
            workers: BTreeMap::new(),
            nonces: 0,
            fault: None,
            published: Vec::new(),
            late: Vec::new(),
            failovers: 0,
            written: Vec::new(),
        };
        let (server, posted) = (Mutex::new(server), Condvar::new());
        Self { shared: Arc::new(Shared { server, posted, waits: false }) }
    }

    /// One for owners with threads of their own.
    pub(crate) fn with_threads(mut self) -> Self {
        Arc::get_mut(&mut self.shared).unwrap().waits = true;
        self
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        self.shared.server.lock().unwrap()
    }

    pub(crate) fn now(&self) -> UnixMs {
        self.server().now
    }

    pub(crate) fn set_now(&self, now: UnixMs) {
        self.server().now = now;
    }

    /// What happens to the next commit; `None`: nothing.
    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        self.server().fault = fault;
    }

    /// What was late arrives now. Returns whether any of it was written, and whether any was not.
    pub(crate) fn deliver(&self) -> (bool, bool) {
        let mut server = self.server();
        let mut found = (false, false);
        for Late { ground, commit } in std::mem::take(&mut server.late) {
            match server.commit(ground, commit) {
                Ok(_) => found.0 = true,
                Err(_) => found.1 = true,
            }
        }
        found
    }

    /// What has been written since this was last asked.
    pub(crate) fn take_written(&self) -> Vec<Written> {
        std::mem::take(&mut self.server().written)
    }

    /// A bucket's owner sleeps for so long that its lease ends.
    pub(crate) fn lapse(&self, bucket: u16) {
        self.server().buckets[usize::from(bucket)].lapse();
    }

    /// The replica has all that there is.
    pub(crate) fn replicate(&self) {
        let mut server = self.server();
        server.replica = server.buckets.clone();
    }

    /// The replica takes over. What it does not have is lost.
    pub(crate) fn fail_over(&self) {
        self.server().fail_over();
    }

    /// How often the replica took over.
    pub(crate) fn failovers(&self) -> u64 {
        self.server().failovers
    }

    /// What has been published since this was last asked.
    pub(crate) fn heard(&self) -> Vec<Answer> {
        std::mem::take(&mut self.server().published)
    }

    /// Posts into a bucket's streams.
    pub(crate) fn post(&self, bucket: u16, post: Post) -> PostReply {
        let mut server = self.server();
        let (now, nonce) = (server.now, server.nonce());
        let posting = server.buckets[usize::from(bucket)].post(post, now, nonce);
        self.shared.posted.notify_all();
        posting
    }

    /// The answers of a bucket after the one that was last read, and which that is now.
    pub(crate) fn answers(&self, bucket: u16, after: u64) -> (u64, Vec<Answer>) {
        let server = self.server();
        let answers = &server.buckets[usize::from(bucket)].answers;
        let new = answers.iter().filter(|(id, _)| *id > after).flat_map(|(_, answers)| answers);
        (answers.last().map_or(0, |(id, _)| *id), new.cloned().collect())
    }

    /// How often a bucket was written.
    pub(crate) fn commits(&self, bucket: u16) -> u64 {
        self.server().buckets[usize::from(bucket)].data.commits()
    }

    /// What a bucket has of a SKU's stock, for those who look at it from the outside.
    pub(crate) fn data(&self, bucket: u16) -> Memory {
        self.server().buckets[usize::from(bucket)].data.clone()
    }

    pub(crate) fn routes(&self, bucket: u16) -> (u64, BTreeMap<Sku, Route>) {
        let server = self.server();
        let bucket = &server.buckets[usize::from(bucket)];
        (bucket.routes_version, bucket.routes.clone())
    }

    pub(crate) fn tickets(&self, bucket: u16) -> BTreeMap<CommandId, UnixMs> {
        let tickets = &self.server().buckets[usize::from(bucket)].tickets;
        tickets.iter().map(|(id, ticket)| (*id, ticket.until)).collect()
    }

    pub(crate) fn depth(&self, bucket: u16, stream: &Stream) -> u64 {
        let server = self.server();
        server.buckets[usize::from(bucket)].depths.get(stream).copied().unwrap_or_default()
    }

    pub(crate) fn cursor(&self, bucket: u16, stream: &Stream) -> Option<Cursor> {
        self.server().buckets[usize::from(bucket)].cursors.get(stream).cloned()
    }

    /// Shows what of a stream is not decided, in order, with the number of its entry.
    pub(crate) fn each_undecided(
        &self,
        bucket: u16,
        stream: &Stream,
        mut see: impl FnMut(Place, u64, &Posted),
    ) {
        let server = self.server();
        let undecided = server.buckets[usize::from(bucket)].undecided(stream);
        undecided.for_each(|(place, nonce, posted)| see(place, nonce, posted));
    }

    /// How much waits in a stream, marks not counted.
    pub(crate) fn waiting(&self, bucket: u16, stream: &Stream) -> u64 {
        let mut count = 0;
        self.each_undecided(bucket, stream, |_, _, posted| {
            count += u64::from(!matches!(posted, Posted::Handoff(_)));
        });
        count
    }

    /// How a SKU's lane stands.
    pub(crate) fn route(&self, bucket: u16, sku: &Sku) -> Option<Route> {
        self.server().buckets[usize::from(bucket)].routes.get(sku).copied()
    }
}

impl SharedStore for SharedMemory {
    fn buckets(&self) -> u16 {
        u16::try_from(self.server().buckets.len()).unwrap()
    }

    fn secret(&self) -> [u8; 32] {
        [7; 32]
    }

    fn acquire(
        &self,
        bucket: u16,
        worker: WorkerId,
    ) -> Result<Option<Arc<dyn Tenure>>, StoreError> {
        let mut server = self.server();
        let (now, nonce) = (server.now, server.nonce());
        let acquired = server.buckets[usize::from(bucket)].acquire(worker, now, nonce);
        let Some(is_takeover) = acquired else { return Ok(None) };
        let (shared, failovers) = (Arc::clone(&self.shared), server.failovers);
        Ok(Some(Arc::new(ModelTenure::new(shared, bucket, nonce, is_takeover, failovers))))
    }

    /// Histories know by themselves what was lost.
    fn compare_past(&self) -> (usize, Result<(), StoreError>) {
        (0, Ok(()))
    }

    fn report(&self, report: &WorkerReport) -> Result<Vec<WorkerReport>, StoreError> {
        let mut server = self.server();
        let now = server.now;
        server.workers.insert(report.worker, (now.plus_ms(LEASE_MS), report.clone()));
        server.workers.retain(|_, (until, _)| *until >= now);
        Ok(server.workers.values().map(|(_, report)| report.clone()).collect())
    }

    fn retire(&self, worker: WorkerId) -> Result<(), StoreError> {
        self.server().workers.remove(&worker);
        Ok(())
    }
}
