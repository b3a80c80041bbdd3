//! How far imports of stock are, by the digest of what is imported.
//!
//! An import is applied window by window. Before the first command of a window, its [`Record`] says
//! where the window begins, and at which version each of its SKUs stood: after a crash whoever goes on
//! finds in the journal which of its lines were applied. So a line is applied once, whatever happens in
//! between, and nothing has to be written with each.
//!
//! A record is written as a whole, and the last [`RECORDS_MAX`] are kept. On the embedded store each is
//! a file beside the store's, synced if commits are; on Redis they are in one hash
//! (`redis/imports.rs`). Not part of a commit: a record is ahead of what was committed only if what
//! was promised of commits did not hold either.

mod files;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use cartgate_ledger::UnixMs;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::encoding::{Reader, decode, encode, malformed, put_number, unreadable};
use super::redis::Api;
use super::{Durability, StoreError};
use crate::blocking::blocking;
use files::Files;

/// The most imports that are remembered: the one that went on least lately is forgotten.
pub const RECORDS_MAX: usize = 64;

/// The SHA-256 of what is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentDigest(pub [u8; 32]);

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl ContentDigest {
    /// Reads what `Display` has written.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut digest = [0; 32];
        let is_hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex {
            return None;
        }
        for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
        }
        Some(Self(digest))
    }
}

/// A record as it is stored, for a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) digest: ContentDigest,
    /// When it was written: the oldest is forgotten first.
    pub(crate) written_at: UnixMs,
    pub(crate) record: Vec<u8>,
}

impl Stored {
    /// As a backup has it, beside the digest.
    pub(crate) fn value(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(self.record.len() + 10);
        put_number(&mut value, self.written_at.0);
        value.extend_from_slice(&self.record);
        value
    }

    /// Reads what a backup has.
    ///
    /// # Errors
    /// It is no such thing.
    pub(crate) fn read(digest: &[u8], value: &[u8]) -> Result<Self, StoreError> {
        let digest = digest.try_into().map_err(|_| malformed("import's digest"))?;
        let mut from = Reader::new(value);
        let written_at = UnixMs(from.number().map_err(unreadable("import's record"))?);
        let record = value[value.len() - from.left()..].to_vec();
        Ok(Self { digest: ContentDigest(digest), written_at, record })
    }
}

/// How far an import is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// How many lines are decided.
    pub lines: u64,
    /// A hash of these lines.
    pub prefix: u128,
    /// What became of them.
    pub counts: Counts,
    /// What was said of those that were refused last, as it was said.
    pub refusals: Vec<u8>,
    /// Of each line after these that may have been applied, the version at which its SKU stood before;
    /// 0 of those that name none.
    pub window: Vec<u64>,
}

/// What became of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ImportCounts)]
pub struct Counts {
    /// Their SKU has their quantity by them.
    pub set: u64,
    /// It had it already.
    pub unchanged: u64,
    /// They were wrong, or their SKU cannot have their quantity.
    pub refused: u64,
}

/// One import of a content, among all that there ever are: only the last one may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunId(pub [u8; 8]);

/// Where records are.
pub enum Records {
    /// In files of this machine.
    Files(Arc<Files>),
    /// On the store that many processes share.
    Shared(Arc<Api>),
}

impl Records {
    /// Those in a directory, which is made with the first of them.
    pub fn in_files(directory: &Path, durability: Durability) -> Self {
        Self::Files(Arc::new(Files::new(directory, durability)))
    }

    /// Puts back into a directory what a backup has of it.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn put_back(directory: &Path, all: &[Stored]) -> Result<(), StoreError> {
        let files = Files::new(directory, Durability::Disk);
        all.iter().try_for_each(|stored| files.put_back(stored))
    }

    /// All records of this machine's, and what `pin` gives, which may wait for a disk: no record is
    /// written before both are there. So none is ahead of what `pin` gives of the store, and imports,
    /// and nothing else, wait for it.
    ///
    /// # Errors
    /// They cannot be read, or `pin` fails.
    pub(crate) fn all_at<T>(
        &self,
        pin: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<(Vec<Stored>, T), StoreError> {
        match self {
            Self::Files(files) => files.all_at(pin),
            Self::Shared(_) => Ok((Vec::new(), pin()?)),
        }
    }

    /// The record of a content; `None` if there is none.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn get(&self, digest: ContentDigest) -> Result<Option<Record>, StoreError> {
        let stored = match self {
            Self::Files(files) => {
                let files = Arc::clone(files);
                blocking(move || files.get(digest)).await?
            }
            Self::Shared(api) => api.import(digest).await?,
        };
        stored.map(|stored| read(&stored)).transpose()
    }

    /// Writes a content's record, for this run to go on from: others may not, from now on.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn take(
        &self,
        digest: ContentDigest,
        run: RunId,
        record: &Record,
    ) -> Result<(), StoreError> {
        self.write(digest, None, &written(run, record)?).await.map(drop)
    }

    /// Writes how far this run is; `false`: another has taken the record, and nothing was written.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn put(
        &self,
        digest: ContentDigest,
        run: RunId,
        record: &Record,
    ) -> Result<bool, StoreError> {
        self.write(digest, Some(run), &written(run, record)?).await
    }

    /// Forgets what this run has written.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn forget(&self, digest: ContentDigest, run: RunId) -> Result<(), StoreError> {
        self.write(digest, Some(run), &[]).await.map(drop)
    }

    /// Writes a record, or nothing in its place, if the one before is of that run.
    async fn write(
        &self,
        digest: ContentDigest,
        after: Option<RunId>,
        record: &[u8],
    ) -> Result<bool, StoreError> {
        match self {
            Self::Files(files) => {
                let (files, record) = (Arc::clone(files), record.to_vec());
                blocking(move || files.put(digest, after, &record)).await
            }
            Self::Shared(api) => api.put_import(digest, after, record).await,
        }
    }
}

/// A run's id, and its record: as it is stored.
fn written(run: RunId, record: &Record) -> Result<Vec<u8>, StoreError> {
    Ok([&run.0[..], &encode(record)?].concat())
}

fn read(stored: &[u8]) -> Result<Record, StoreError> {
    decode("import's record", stored.get(size_of::<RunId>()..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::store::redis::rig::Server;

    fn digest(number: u8) -> ContentDigest {
        ContentDigest([number; 32])
    }

    fn record(lines: u64) -> Record {
        let counts = Counts { set: lines, ..Counts::default() };
        let (refusals, window) = (b"{}\n".to_vec(), vec![1, 0, 300]);
        Record { lines, prefix: u128::MAX, counts, refusals, window }
    }

    const ONE: RunId = RunId([1; 8]);
    const OTHER: RunId = RunId([2; 8]);

    /// Looks at both kinds of store: `open` opens it again.
    async fn check<F: Future<Output = ()>>(look: impl Fn(Box<dyn Fn() -> Records>) -> F) {
        let dir = TempDir::new().unwrap();
        let files = dir.path().join("imports");
        look(Box::new(move || Records::in_files(&files, Durability::Disk))).await;
        let dir = TempDir::new().unwrap();
        let server = Server::start(dir.path());
        look(Box::new(move || Records::Shared(Arc::new(server.store().api())))).await;
    }

    #[tokio::test]
    async fn a_record_is_read_as_it_was_written_last() {
        check(async |open| {
            let records = open();
            assert_eq!(records.get(digest(1)).await.unwrap(), None);
            records.take(digest(1), ONE, &record(0)).await.unwrap();
            assert!(records.put(digest(1), ONE, &record(7)).await.unwrap());
            assert_eq!(open().get(digest(1)).await.unwrap(), Some(record(7)));
            assert_eq!(open().get(digest(2)).await.unwrap(), None);
            records.forget(digest(1), ONE).await.unwrap();
            assert_eq!(records.get(digest(1)).await.unwrap(), None);
        })
        .await;
    }

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let digest = ContentDigest(std::array::from_fn(|at| 7 * u8::try_from(at).unwrap()));
        assert_eq!(ContentDigest::parse(&digest.to_string()), Some(digest));
        for wrong in ["", "00", &"x".repeat(64), &format!("{digest}.new")] {
            assert_eq!(ContentDigest::parse(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn what_is_put_back_is_as_it_was() {
        let dir = TempDir::new().unwrap();
        let at = |name: &str| Records::in_files(&dir.path().join(name), Durability::Disk);
        assert_eq!(at("one").all_at(|| Ok(1)).unwrap(), (Vec::new(), 1));
        for number in [2, 1] {
            at("one").take(digest(number), ONE, &record(number.into())).await.unwrap();
        }
        std::fs::write(dir.path().join("one").join(format!("{}.new", digest(3))), "half").unwrap();
        let (all, ()) = at("one").all_at(|| Ok(())).unwrap();
        let digests: Vec<_> = all.iter().map(|stored| stored.digest).collect();
        assert_eq!(digests, [digest(1), digest(2)]);
        let kept = all.iter().map(|stored| Stored::read(&stored.digest.0, &stored.value()));
        let kept = kept.collect::<Result<Vec<_>, _>>().unwrap();
        Records::put_back(&dir.path().join("other"), &kept).unwrap();
        assert_eq!(at("other").all_at(|| Ok(())).unwrap(), (all, ()));
        assert_eq!(at("other").get(digest(2)).await.unwrap(), Some(record(2)));
    }

    #[tokio::test]
    async fn whoever_took_it_last_goes_on() {
        check(async |open| {
            let records = open();
            records.take(digest(1), ONE, &record(1)).await.unwrap();
            records.take(digest(1), OTHER, &record(1)).await.unwrap();
            assert!(!records.put(digest(1), ONE, &record(2)).await.unwrap());
            records.forget(digest(1), ONE).await.unwrap();
            assert_eq!(records.get(digest(1)).await.unwrap(), Some(record(1)));
            assert!(records.put(digest(1), OTHER, &record(3)).await.unwrap());
            // Nobody goes on with what was forgotten meanwhile.
            assert!(!records.put(digest(9), ONE, &record(3)).await.unwrap());
        })
        .await;
    }

    #[tokio::test]
    async fn the_one_that_went_on_least_lately_is_forgotten() {
        check(async |open| {
            let records = open();
            let max = u8::try_from(RECORDS_MAX).unwrap();
            for number in 0..max {
                records.take(digest(number), ONE, &record(1)).await.unwrap();
            }
            // Times are told apart by it.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            records.put(digest(0), ONE, &record(2)).await.unwrap();
            records.take(digest(max), ONE, &record(1)).await.unwrap();
            let mut there = 0;
            for number in 0..=max {
                there += usize::from(records.get(digest(number)).await.unwrap().is_some());
            }
            assert_eq!(there, RECORDS_MAX);
            for number in [0, max] {
                assert!(records.get(digest(number)).await.unwrap().is_some(), "{number}");
            }
        })
        .await;
    }
}
