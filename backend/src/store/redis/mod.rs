//! A store on Redis (7.0 or later, Valkey, a cluster of either), shared by many processes.

mod address;
mod ask;
mod breaker;
mod commit;
mod facts;
mod keys;
mod link;
mod load;
mod published;
mod reply;
#[cfg(test)]
pub(super) mod rig;
mod scripts;
mod streams;
mod tenure;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::Pipeline;

use self::commit::Lease;
use self::keys::{StoreKeys, slot};
use self::link::{Link, pipeline};
use self::load::Known;
use self::reply::{Replies, failed_to, nonce_text};
use self::tenure::RedisTenure;
use super::encoding::{decode, encode};
use super::tenure::{SharedStore, Tenure, WorkerId, WorkerReport};
use super::{Durability, StoreError};

pub use self::address::Address;
pub use self::load::Lost;
pub use self::published::Published;

/// The format written by this version.
const FORMAT: u16 = 1;

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
    keys: StoreKeys,
    buckets: u16,
    secret: [u8; 32],
    known: Mutex<Known>,
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut call = scripts::OPEN.call(&[keys.store()]);
        let secret: [u8; 32] = crate::random::bytes();
        call.arg(FORMAT).arg(settings.buckets).arg(&secret[..]);
        let mut pipe = pipeline();
        pipe.add_command(call);
        let mut replies = Replies::new(wire.query(&pipe).map_err(failed_to("be opened"))?);
        let (format, buckets, secret): (u16, u16, Vec<u8>) = replies.next("store")?;
        check_meta(format, buckets, settings.buckets)?;
        let secret = secret.try_into().map_err(|_| StoreError::NoStore)?;
        let known = Mutex::default();
        let shared = Arc::new(Shared { link, settings, keys, buckets, secret, known });
        wire.give_back();
        Ok(Self { shared })
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
        let nonce = nonce_text(u64::from_ne_bytes(crate::random::bytes()));
        let mut call = scripts::ACQUIRE.call(&[keys.key("meta")]);
        call.arg(worker_text(worker)).arg(&nonce).arg(LEASE_MS);
        let mut pipe = pipeline();
        pipe.add_command(call);
        let replies = wire.query(&pipe).map_err(failed_to("give a lease"))?;
        let epoch: Option<String> = Replies::new(replies).next("epoch")?;
        let Some(epoch) = epoch else {
            wire.give_back();
            return Ok(None);
        };
        let lease = Lease { epoch, nonce };
        let tenure = RedisTenure::begin(Arc::clone(&self.shared), bucket, lease, wire)?;
        Ok(Some(Arc::new(tenure)))
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
