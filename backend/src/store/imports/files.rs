//! Records of imports in files, one each, named by digest.
//!
//! A record is written beside the old one, synced, and put in its place: whatever happens, one of the
//! two is there. Only one process has the directory, as it has the store in it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use cartgate_ledger::UnixMs;

use super::{ContentDigest, RECORDS_MAX, RunId, Stored};
use crate::store::{Durability, StoreError};

/// A directory of records.
pub struct Files {
    directory: PathBuf,
    durability: Durability,
    /// Whoever writes a record shares this; whoever wants none to be written has it alone.
    writing: RwLock<()>,
}

impl Files {
    pub(super) fn new(directory: &Path, durability: Durability) -> Self {
        Self { directory: directory.to_path_buf(), durability, writing: RwLock::new(()) }
    }

    pub(super) fn get(&self, digest: ContentDigest) -> Result<Option<Vec<u8>>, StoreError> {
        unless_gone(fs::read(self.path(digest))).map_err(failed_to("be read"))
    }

    /// Writes a record, or removes it if there are no bytes; unless another run has written it.
    pub(super) fn put(
        &self,
        digest: ContentDigest,
        after: Option<RunId>,
        record: &[u8],
    ) -> Result<bool, StoreError> {
        let _shared = self.writing.read().unwrap_or_else(PoisonError::into_inner);
        let before = self.get(digest)?;
        if let Some(RunId(run)) = after
            && !before.as_ref().is_some_and(|before| before.starts_with(&run))
        {
            return Ok(false);
        }
        let written = match record {
            [] => fs::remove_file(self.path(digest)),
            _ => self.write(&self.path(digest), record),
        };
        let written = match before {
            None => written.and_then(|()| self.forget_oldest()),
            Some(_) => written,
        };
        written.map(|()| true).map_err(failed_to("be written"))
    }

    /// All records, in the order of digests, and what `pin` gives: no record is written before both are
    /// there.
    pub(super) fn all_at<T>(
        &self,
        pin: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<(Vec<Stored>, T), StoreError> {
        let _alone = self.writing.write().unwrap_or_else(PoisonError::into_inner);
        let mut records = self.all().map_err(failed_to("be read"))?;
        records.sort_unstable_by_key(|record| record.digest.0);
        Ok((records, pin()?))
    }

    fn all(&self) -> io::Result<Vec<Stored>> {
        let Some(entries) = unless_gone(fs::read_dir(&self.directory))? else {
            return Ok(Vec::new());
        };
        let mut records = Vec::new();
        for entry in entries {
            let entry = entry?;
            // One that was being written when the process died has another name.
            let Some(digest) = entry.file_name().to_str().and_then(ContentDigest::parse) else {
                continue;
            };
            let written_at = entry.metadata()?.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let since_epoch = written_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let written_at = UnixMs(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX));
            records.push(Stored { digest, written_at, record: fs::read(entry.path())? });
        }
        Ok(records)
    }

    /// Puts back a record as it was stored.
    pub(super) fn put_back(&self, stored: &Stored) -> Result<(), StoreError> {
        let path = self.path(stored.digest);
        let written_at = SystemTime::UNIX_EPOCH + Duration::from_millis(stored.written_at.0);
        let written = self
            .write(&path, &stored.record)
            .and_then(|()| File::options().write(true).open(&path)?.set_modified(written_at));
        written.map_err(failed_to("be written"))
    }

    fn path(&self, digest: ContentDigest) -> PathBuf {
        self.directory.join(digest.to_string())
    }

    fn write(&self, path: &Path, record: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        // Imports of other contents are written at the same time.
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(record)?;
        let is_synced = self.durability == Durability::Disk;
        if is_synced {
            file.sync_data()?;
        }
        fs::rename(new, path)?;
        if is_synced {
            File::open(&self.directory)?.sync_all()?;
        }
        Ok(())
    }

    fn forget_oldest(&self) -> io::Result<()> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let Some(metadata) = unless_gone(entry.metadata())? else { continue };
            let written_at = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            records.push((written_at, entry.path()));
        }
        records.sort_unstable();
        let over = records.len().saturating_sub(RECORDS_MAX);
        // Imports that begin at the same time see the same ones, and each would have them go.
        let forget = |(_, path)| unless_gone(fs::remove_file(path)).map(drop);
        records.into_iter().take(over).try_for_each(forget)
    }
}

/// What was done to a file; `None`: there is none.
fn unless_gone<T>(done: io::Result<T>) -> io::Result<Option<T>> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        done => done.map(Some),
    }
}

fn failed_to(action: &'static str) -> impl Fn(io::Error) -> StoreError {
    move |source| StoreError::Database { action, source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use tempfile::TempDir;

    use super::*;

    /// They all find that the same ones are the oldest.
    #[test]
    fn imports_that_begin_at_the_same_time_forget_the_same_records() {
        let dir = TempDir::new().unwrap();
        let files = Files::new(dir.path(), Durability::Process);
        let digest = |first: u8, number: u8| {
            ContentDigest([[first; 16], [number; 16]].concat().try_into().unwrap())
        };
        for number in 0..64 {
            let written_at = UnixMs(number.into());
            let stored = Stored { digest: digest(0, number), written_at, record: vec![1] };
            files.put_back(&stored).unwrap();
        }
        let together = Barrier::new(8);
        let begin = |thread| {
            let put = |round| {
                together.wait();
                files.put(digest(round, thread), None, b"new")
            };
            // Also after a failure: the others wait for it.
            (1..=4).map(put).collect::<Vec<_>>()
        };
        let put: Vec<_> = std::thread::scope(|scope| {
            let begin = &begin;
            let threads: Vec<_> = (0..8).map(|thread| scope.spawn(move || begin(thread))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert!(put.iter().all(|put| matches!(put, Ok(true))), "{put:?}");
        let all = files.all().unwrap();
        let is_new = |stored: &&Stored| stored.record == b"new";
        assert!(all.len() <= RECORDS_MAX && all.iter().filter(is_new).count() == 32);
    }
}
