//! A store on Redis (7.0 or later, Valkey, a cluster of either), shared by many processes.
//!
//! Redis is the queue and the store. API processes post commands into a bucket's streams; the worker
//! that holds the bucket's lease reads and decides them, and commits; the outcomes find their way
//! back through a stream of answers, and through Pub/Sub for those who are there to hear it.
//!
//! ```text
//! API process              Redis: bucket b                     worker: tenure of b
//! -----------              ---------------                     -------------------
//! Api::post ──post.lua───> settle, lane, lane:<sku> ──XREAD──> window, in memory
//!    wishes for tickets ─> settle                                 │ turn: ledger::apply
//!                          all of the table below <─commit.lua────┘
//! callers <──SUBSCRIBE──── cg:answers:<process> <────PUBLISH───── told
//! callers <──Api::answers─ answers                                │
//! callers <────────────────────────────────────────────────────── told, in the same process
//! ```
//!
//! # Keys
//!
//! All keys of bucket `b` begin with `{cg:b}:`, so that a cluster has them in one slot and a script
//! may touch them together; `cg` is a setting. None of these has a time to live but `rates`: Redis removes
//! nothing else by itself, and must not (`maxmemory-policy noeviction`). Values are laid out as in
//! `encoding.rs`.
//!
//! | key             | type   | content                                      | until when            |
//! |-----------------|--------|----------------------------------------------|-----------------------|
//! | `meta`          | hash   | the lease: `worker`, `nonce`, `until_ms`; `turn`, the nonce of what was done last: the lease's when it is taken, then each commit's own; `routes_version`, another random number with each mark | for ever |
//! | `stock`         | hash   | SKU: [`StockRow`](super::StockRow)           | for ever              |
//! | `held`          | hash   | id: SKU, reservation                         | its hold ends         |
//! | `ended`         | hash   | id: SKU, reservation                         | it is forgotten       |
//! | `adjusted`      | hash   | id: adjustment                               | it is forgotten       |
//! | `ends`          | zset   | kind, time, id of what ended; all scores are 0: members sort by their bytes, which are exact | it is forgotten |
//! | `bought:<sku>`  | hash   | customer: units                              | for ever              |
//! | `tickets`       | hash   | id: until when it is good, its place, SKU    | its command is decided |
//! | `ticketed`      | hash   | id: command that an owner has written down itself; the distributed one has no need to | it is decided |
//! | `hot`           | hash   | SKU: hot item                                | it is one no more     |
//! | `histories`     | hash   | SKU: the last 100 changes of its entry in `hot` | it is none, and others went later |
//! | `routes`        | hash   | SKU: `joining`, `open`, `leaving`            | it has no lane of its own |
//! | `settle`, `lane`, `lane:<sku>` | streams | commands, as they were posted | they are decided: each commit trims what is |
//! | `cursors`       | hash   | stream: what of it is decided                | the stream goes       |
//! | `depths`        | hash   | stream: how much of it is not decided; posts are refused where that is too much | the stream goes |
//! | `journal:<sku>` | stream | chunks of up to 512 versions, the last for an id | `journal_max` versions later |
//! | `rates:<sku>`   | hash   | of a hot item, second modulo 60: the second, commands asked for in it and held, of all processes | nothing was counted for a minute |
//! | `answers`       | stream | who is told what, an entry a commit          | half a minute, or 10,000 entries |
//! | `tenures`       | stream | a tenure's worker, and the turn that it began after | 100 tenures later     |
//! | `lost`          | hash   | SKU: version that was committed, version that a failover left | an operator removes it |
//!
//! Of the whole store: `{cg:imports}:records`, a hash of how far imports of stock are (`imports.rs`), and
//! `{cg:imports}:order`, when that was written, the last 64 of each; `cg:store`, a hash of `format`, `buckets`, `secret`, and `customers`, the mark of the key
//! that customers' pseudonyms are made with; `cg:workers`, a hash of
//! workers and their reports, each good for as long as a lease is; `cg:control`, a string, the incarnation
//! that leads the fleet of edges, until its lease ends; the channels `cg:answers:<process>`,
//! `cg:control:leader` and `cg:control:<process>`, which keep nothing. What has no end in the table is what the shop itself
//! makes: SKUs, and what customers have bought.
//!
//! An entry of a stream of commands has `n`, a nonce of its post; `t`, the server's time; and one or
//! more `d`, what was posted; or, for a HANDOFF, `h`, the SKU. Redis's clock is the only one.
//!
//! # Steps
//!
//! Each is a script, and so atomic; its parameters are described in `scripts/`.
//!
//! 1. *Post* stamps commands and puts them into streams, unless one is full, or the caller sorted
//!    them by routes that are no more. With reserve commands in it, it is refused when Redis is out
//!    of memory.
//! 2. *Acquire* takes a lease that is free, has passed, or is the worker's own: a new nonce.
//! 3. *Renew* keeps it or gives it back, if the nonce is still this. The same request tells
//!    which history of data the server has, by run id and replication id: if it is another, the
//!    tenure is over.
//! 4. *Read* is `TIME`, then one `XREAD` over all streams: what is stamped before that time has been
//!    read. When there is nothing, it waits in Redis. The lease is looked at last: if it is another's
//!    by then, that one may have taken out what it has decided (`fenced`).
//! 5. *Commit* writes a turn, unless the lease is another's (`fenced`), the last turn that is there
//!    is not the tenure's last (`history`), or an entry that was read is not there any more, or is
//!    another (`entry`). What is posted behind a mark has a later id, though it goes into another
//!    stream: tickets are compared by their commands' places. `WAIT` or `WAITAOF` follow on the
//!    same connection, in the same packet, if they are asked for.
//! 6. *Publish*, once the commit is as durable as it is to be, or that has taken too long: with the
//!    level that it has reached. A new owner publishes the last answers again; of replicas it knows
//!    nothing, and neither does who reads them from the stream. The owner tells callers of its own
//!    process directly, and waits for no reply to what it publishes.
//!
//! Why *commit* does not publish as well, and save one way: Redis writes to clients after it has
//! synced its log, but not to one that was sent more than 64 KiB in a turn of its event loop, or does
//! not keep up. Such a one has the rest, and whatever comes behind it, as soon as it can be
//! written to: that may be before the next sync. A caller would hear of a commit that is nowhere yet.
//!
//! Beside these each process *counts* what is asked of hot items and what is held of them, and adds that
//! once a second to `rates`. Nothing rests on it: what cannot be written is left out.
//!
//! Safety rests on no clock: a worker that was stopped for an hour has its commit refused. After any
//! failure a tenure does nothing more; its worker begins another, and loads what is
//! there. Each commit names the one before it, down to the acquire that began the tenure, and all of
//! them are random numbers: so what it finds under that name is what it was decided on, and a tenure
//! does not outlive the loss of any of its commits. Why an entry's nonce besides: what is posted is
//! part of no commit; a failover may lose it, and give its id again.
//!
//! # What Redis cannot promise
//!
//! A failover may lose what was acknowledged, whatever `WAIT` said. What this process has committed
//! and does not find again it notes in `lost`, logs and counts ([`Lost`]), whoever has the bucket by
//! then (`past.rs`); what only a process knew that died with the server, nobody misses.

mod address;
mod api;
mod ask;
mod breaker;
mod commit;
pub mod control;
mod customers;
mod facts;
mod imports;
pub(crate) mod keys;
mod line;
mod link;
mod listing;
mod load;
mod past;
mod post;
mod published;
mod remote;
mod reply;
#[cfg(test)]
pub(super) mod rig;
mod scripts;
mod streams;
mod tenure;
#[cfg(test)]
mod tests;
mod tickets;
mod topology;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::Pipeline;

use self::facts::Assurance;
use self::keys::{StoreKeys, slot};
use self::link::{Link, pipeline};
use self::past::Past;
use self::published::Ears;
use self::reply::{Replies, failed_to, new_nonce};
use self::tenure::RedisTenure;
use super::encoding::{decode, encode};
use super::tenure::{SharedStore, Tenure, WorkerId, WorkerReport};
use super::{Durability, StoreError};

pub use self::address::Address;
pub use self::api::Api;
pub use self::past::Lost;
pub use self::post::PostError;
pub use self::published::{Hearing, Published};
pub use self::reply::is_passing;

/// The format written by this version.
pub(crate) const FORMAT: u16 = 2;

/// How long a lease lasts that is not renewed, in milliseconds.
const LEASE_MS: u64 = 1_500;

/// How a store on Redis is used.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What all keys begin with.
    pub prefix: Box<str>,
    /// How many buckets it has, or is made with.
    pub buckets: u16,
    /// What a commit is to survive, if the server can say so: from 7.2 on it is waited for.
    pub durability: Durability,
    /// How many replicas are to have a commit before it is answered.
    pub replicas: u32,
    /// How long that is waited for.
    pub wait: Duration,
    /// The longest that a server may take to answer.
    pub timeout: Duration,
    /// How many versions back a SKU's journal is kept.
    pub journal_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            prefix: "cg".into(),
            buckets: 64,
            durability: Durability::Disk,
            replicas: 0,
            wait: Duration::from_millis(500),
            timeout: Duration::from_secs(1),
            journal_max: 100_000,
        }
    }
}

/// A store on Redis.
pub struct RedisStore {
    shared: Arc<Shared>,
}

/// What all tenures have in common.
struct Shared {
    link: Arc<Link>,
    settings: Settings,
    durability: Durability,
    keys: StoreKeys,
    buckets: u16,
    secret: [u8; 32],
    past: Mutex<Vec<Past>>,
    ears: Arc<Ears>,
}

impl Shared {
    /// Tenures that are over.
    fn past(&self) -> MutexGuard<'_, Vec<Past>> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RedisStore {
    /// Opens the store at an address, or makes one there.
    ///
    /// # Errors
    /// It cannot be reached, is too old, or was made with another number of buckets or by another
    /// version.
    pub fn open(address: Address, settings: Settings) -> Result<Self, StoreError> {
        let keys = StoreKeys::new(&settings.prefix);
        let link = Arc::new(Link::new(address, settings.timeout));
        let mut wire = link.borrow(slot(&keys.store()))?;
        let durability = Assurance::of(&mut wire, &settings)?.durability();
        let mut call = scripts::OPEN.call(&[keys.store()]);
        let secret: [u8; 32] = crate::random::bytes();
        call.arg(FORMAT).arg(settings.buckets).arg(&secret[..]);
        let mut pipe = pipeline();
        pipe.add_command(call);
        let mut replies = Replies::new(wire.query(&pipe).map_err(failed_to("be opened"))?);
        let (format, buckets, secret): (u16, u16, Vec<u8>) = replies.next("store")?;
        check_meta(format, buckets, settings.buckets)?;
        let secret = secret.try_into().map_err(|_| StoreError::NoStore)?;
        let (past, ears) = Default::default();
        let shared = Shared { link, settings, durability, keys, buckets, secret, past, ears };
        wire.give_back();
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What every commit survives that can be read: as the server is set up that was asked first.
    pub fn durability(&self) -> Durability {
        self.shared.durability
    }

    /// The store for an API process.
    pub fn api(&self) -> Api {
        let Shared { keys, link, ears, durability, .. } = &*self.shared;
        Api::new(keys.clone(), Arc::clone(link), Arc::clone(ears), *durability)
    }

    /// Compares a tenure that is over with what there is, and adds to `count` how many SKUs have lost
    /// something.
    fn compare(&self, past: &mut Past, count: &mut usize) -> Result<(), StoreError> {
        let keys = self.shared.keys.bucket(past.bucket);
        let mut wire = self.shared.link.borrow(keys.slot())?;
        let mut ask = |pipe: &Pipeline| {
            wire.query(pipe).map(Replies::new).map_err(failed_to("say what was lost"))
        };
        let turns = ask::turns(&keys);
        let there = (turns.read)(&mut ask(&turns.pipe)?)?;
        let mut lost = past.lost(&there);
        // Before it is noted in the store, which may have no room for it.
        *count += past.announce(&lost);
        if !lost.is_empty() {
            let before = ask::lost(&keys);
            let before = (before.read)(&mut ask(&before.pipe)?)?;
            for lost in &mut lost {
                before.iter().for_each(|before| lost.and(before));
            }
            ask(&ask::put_lost(&keys, &lost))?;
        }
        past.forget_lost(&there);
        wire.give_back();
        Ok(())
    }

    /// Runs commands on the key that workers are listed under.
    fn query_workers(&self, pipe: &Pipeline) -> Result<Replies, StoreError> {
        let mut wire = self.shared.link.borrow(slot(&self.shared.keys.workers()))?;
        let replies = wire.query(pipe).map_err(failed_to("list workers"))?;
        wire.give_back();
        Ok(Replies::new(replies))
    }
}

fn check_meta(format: u16, stored: u16, configured: u16) -> Result<(), StoreError> {
    if format != FORMAT {
        return Err(StoreError::Format { stored: format, supported: FORMAT });
    }
    if stored != configured {
        return Err(StoreError::BucketsDiffer { stored, configured });
    }
    Ok(())
}

fn worker_text(worker: WorkerId) -> String {
    format!("{:016x}", worker.0)
}

impl SharedStore for RedisStore {
    fn buckets(&self) -> u16 {
        self.shared.buckets
    }

    fn secret(&self) -> [u8; 32] {
        self.shared.secret
    }

    fn acquire(
        &self,
        bucket: u16,
        worker: WorkerId,
    ) -> Result<Option<Arc<dyn Tenure>>, StoreError> {
        let keys = self.shared.keys.bucket(bucket);
        let mut wire = self.shared.link.borrow(keys.slot())?;
        let nonce = new_nonce();
        let mut call = scripts::ACQUIRE.call(&[keys.key("meta"), keys.key("tenures")]);
        call.arg(worker_text(worker)).arg(&nonce).arg(LEASE_MS);
        let mut pipe = pipeline();
        pipe.add_command(call);
        let replies = wire.query(&pipe).map_err(failed_to("give a lease"))?;
        let is_takeover = match Replies::new(replies).next::<u8>("lease")? {
            0 => {
                wire.give_back();
                return Ok(None);
            }
            taken => taken == 2,
        };
        let shared = Arc::clone(&self.shared);
        let tenure = RedisTenure::begin(shared, bucket, nonce, is_takeover, wire)?;
        Ok(Some(Arc::new(tenure)))
    }

    fn compare_past(&self) -> (usize, Result<(), StoreError>) {
        let (mut count, mut compared) = (0, Ok(()));
        // Whoever asks meanwhile leaves it to this one.
        let mut all = std::mem::take(&mut *self.shared.past());
        for past in &mut all {
            // After an error the others: they may be in a part of the store that can be reached.
            compared = self.compare(past, &mut count).and(compared);
        }
        all.retain(Past::counts);
        self.shared.past().append(&mut all);
        (count, compared)
    }

    fn report(&self, report: &WorkerReport) -> Result<Vec<WorkerReport>, StoreError> {
        let mut call = scripts::REPORT.call(&[self.shared.keys.workers()]);
        call.arg(worker_text(report.worker)).arg(encode(report)?).arg(LEASE_MS);
        let mut pipe = pipeline();
        pipe.add_command(call);
        let reports: Vec<Vec<u8>> = self.query_workers(&pipe)?.next("reports")?;
        reports.iter().map(|report| decode("worker's report", report)).collect()
    }

    fn retire(&self, worker: WorkerId) -> Result<(), StoreError> {
        let mut pipe = pipeline();
        pipe.cmd("HDEL").arg(self.shared.keys.workers()).arg(worker_text(worker));
        self.query_workers(&pipe).map(drop)
    }
}
