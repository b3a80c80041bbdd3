//! The default store: one process, one directory; a log, and tables that follow from it.
//!
//! ```text
//!            pwrite, fdatasync                  sorted runs, synced
//! Commit ──> log, two files in turn ──> Window ──────────────────────> tables (fjall)
//!            (log.rs, record.rs)        in memory    the projector
//!                                       (window.rs)  (projection.rs)
//! ```
//!
//! A commit is one record in the log, and durable with it. It is then in memory, where readers look
//! first; a thread brings it into the tables later, many commits at once, of which only the last
//! state of anything counts. So a commit costs what writing its bytes costs, and the tables are
//! written in the way that costs least. A start reads the log again.
//!
//! | table         | key                               | value, and until when               |
//! |---------------|-----------------------------------|-------------------------------------|
//! | `meta`        | name                              | `format`, `buckets`, `secret`; `projected`: the last commit in the tables |
//! | `stock`       | SKU                               | [`StockRow`], for ever              |
//! | `journal`     | SKU, 0, version of the last entry | up to 512 entries, for ever (`journal.rs`) |
//! | `held`        | id                                | SKU, [`Reservation`] until its hold ends (`encoding.rs`) |
//! | `ended`       | id                                | SKU, [`Reservation`] from its end until it is forgotten |
//! | `ended_at`    | [`EndedKind`], time, id           | nothing: the order is the content; as long as what ended |
//! | `adjustments` | id                                | [`Adjustment`], until it is forgotten |
//! | `purchases`   | SKU, 0, customer, 0, version      | units, for ever                     |
//! | `ticketed`    | id                                | [`Ticketed`], until it is decided   |
//! | `hot_items`   | SKU                               | [`HotItem`](crate::hot_items::HotItem), until it is one no more |
//! | `hot_item_histories` | SKU                        | [`HotItemHistory`], until it is forgotten  |
//!
//! Reservations are apart by whether they can change, so that a start reads what is held and not
//! all that was sold. A hold that was forgone and then taken anew is in both: what is held counts.
//!
//! Bounds. A window is sealed, and the projector takes it, when it has [`WINDOW_LEN`] bytes of
//! records and the one before is in the tables; a commit waits for that if it has twice as many. So
//! memory has at most four times as many bytes, 128 MiB, and two commits. That is 1,300,000
//! reservations at 100 bytes each, journal entry included, and their index another 60 MiB: 29 bytes
//! a place, and less than two places for each. The log's files are as long. Besides, memory has
//! every SKU's row, and the filter of `filter.rs`.
//!
//! A failure to write anything is final: nobody knows what is on the disk, so nothing is committed
//! any more until the next start.

pub(crate) mod examine;
mod filter;
mod keys;
mod load;
mod log;
mod pin;
mod projection;
mod read;
mod record;
pub(crate) mod restore;
mod rows;
mod tables;
#[cfg(test)]
mod tests;
mod window;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use cartgate_ledger::{Adjustment, CommandId, JournalEntry, Reservation, UnixMs};
use cartgate_policy::Sku;

use self::log::{Log, failed_to};
use self::projection::{Progress, Sealed, Shared};
use self::tables::{Tables, get_decoded};
use self::window::{Window, Windows};
use super::encoding::encode;
use super::{
    Commit, Durability, Ended, EndedKind, Loaded, StockRow, Store, StoreError, Ticketed, journal,
};
use crate::hot_items::HotItemHistory;

pub use pin::Pinned;

/// The format written by this version.
const FORMAT: u16 = 3;

/// A window of this length is due to be projected: long enough that its rows make few runs in the
/// tables, short enough that a start reads it in half a second.
const WINDOW_LEN: usize = 32 * 1024 * 1024;

/// A store in a directory of this machine. Only one process can have it open.
pub struct Embedded {
    log: Mutex<Log>,
    shared: Arc<Shared>,
    projector: Option<JoinHandle<()>>,
    pinning: Mutex<()>,
    buckets: u16,
    secret: [u8; 32],
    durability: Durability,
    window_len: usize,
}

impl Embedded {
    /// Opens the store in `directory`, or makes one there with `buckets` buckets.
    ///
    /// # Errors
    /// The directory cannot be used, another process has it open, the store in it was made
    /// with another number of buckets or by another version, or its log is damaged.
    pub fn open(
        directory: &Path,
        buckets: u16,
        durability: Durability,
    ) -> Result<Self, StoreError> {
        Self::open_with(directory, buckets, durability, WINDOW_LEN)
    }

    /// Opens it in such a way that each commit is in the tables before the one after the next.
    #[cfg(test)]
    pub(crate) fn open_projecting(directory: &Path, buckets: u16) -> Result<Self, StoreError> {
        Self::open_with(directory, buckets, Durability::Process, 1)
    }

    fn open_with(
        directory: &Path,
        buckets: u16,
        durability: Durability,
        window_len: usize,
    ) -> Result<Self, StoreError> {
        make_private(directory).map_err(failed_to("be made"))?;
        let tables = Tables::open(directory)?;
        let meta = check_meta(&tables)?;
        if let Some(Meta { buckets: stored, .. }) = meta
            && stored != buckets
        {
            return Err(StoreError::BucketsDiffer { stored, configured: buckets });
        }
        let (log, runs) = read_log(directory, &tables, meta.is_none(), durability)?;
        let secret = match meta {
            Some(meta) => meta.secret,
            None if runs.is_empty() => write_meta(&tables, buckets)?,
            None => return Err(StoreError::NoStore),
        };
        let shared = Arc::new(shared(tables, runs)?);
        let projector = {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name("projector".into());
            thread.spawn(move || shared.project_all()).map_err(failed_to("start its thread"))?
        };
        let (log, projector, pinning) = (Mutex::new(log), Some(projector), Mutex::new(()));
        Ok(Self { log, shared, projector, pinning, buckets, secret, durability, window_len })
    }

    /// Waits until the active window may grow.
    fn make_room(&self, log: &mut Log) -> Result<(), StoreError> {
        let mut progress = self.shared.progress();
        loop {
            if progress.has_failed {
                return Err(failed_before());
            }
            let len = self.shared.windows().active.len();
            if len < self.window_len {
                return Ok(());
            }
            if !progress.is_projecting {
                return self.seal(log, &mut progress);
            }
            if len < 2 * self.window_len {
                return Ok(());
            }
            progress = self.shared.wait(progress);
        }
    }

    /// Hands the active window to the projector, and goes on in the other file of the log.
    fn seal(&self, log: &mut Log, progress: &mut Progress) -> Result<(), StoreError> {
        let last_number = log.last_number();
        let file = log.switch().map_err(failed_to("be written"))?;
        let unsynced = (self.durability == Durability::Process).then_some(file);
        let mut windows = self.shared.windows_mut();
        let next = windows.active.next();
        windows.sealed = Some(Arc::new(std::mem::replace(&mut windows.active, next)));
        progress.is_projecting = true;
        progress.sealed = Some(Sealed { last_number, unsynced });
        self.shared.changed.notify_all();
        Ok(())
    }

    fn write(&self, commit: &Commit) -> Result<(), StoreError> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        self.make_room(&mut log)?;
        {
            let windows = self.shared.windows();
            for changed in &commit.skus {
                journal::verify(windows.rows.get(&changed.sku), changed)?;
            }
        }
        let record = log.append(|to| record::put(to, commit))?;
        self.shared.windows_mut().take(record)
    }
}

/// Makes a directory for us alone, unless it is there: what is in it has the store's secret.
fn make_private(directory: &Path) -> std::io::Result<()> {
    if directory.is_dir() { Ok(()) } else { create_private(directory) }
}

/// Makes a directory for us alone, which is not there yet.
pub(crate) fn create_private(directory: &Path) -> std::io::Result<()> {
    if let Some(parent) = directory.parent() {
        std::fs::create_dir_all(parent)?;
    }
    DirBuilder::new().mode(0o700).create(directory)
}

/// The log, and what it has that the tables do not.
fn read_log(
    directory: &Path,
    tables: &Tables,
    is_new: bool,
    durability: Durability,
) -> Result<(Log, Vec<log::Run>), StoreError> {
    let projected = get_decoded(&tables.meta, "projected")?.unwrap_or_default();
    Log::open(&directory.join("log"), is_new, projected, durability)
}

/// What readers see of these.
fn shared(tables: Tables, runs: Vec<log::Run>) -> Result<Shared, StoreError> {
    let (windows, sealed) = windows(&tables, runs)?;
    let is_projecting = sealed.is_some();
    Ok(Shared {
        tables,
        windows: RwLock::new(windows),
        filter: RwLock::new(None),
        progress: Mutex::new(Progress { sealed, is_projecting, ..Progress::default() }),
        changed: Condvar::new(),
    })
}

/// The windows that the log has, and the one to be projected.
fn windows(tables: &Tables, runs: Vec<log::Run>) -> Result<(Windows, Option<Sealed>), StoreError> {
    let mut windows = Windows { rows: load::rows(tables)?, ..Windows::default() };
    let mut sealed = None;
    let mut runs = runs.into_iter().peekable();
    while let Some(run) = runs.next() {
        let last_number = run.last_number();
        let window = Window::of(run, &mut windows.rows)?;
        if runs.peek().is_some() {
            windows.sealed = Some(Arc::new(window));
            sealed = Some(Sealed { last_number, unsynced: None });
        } else {
            windows.active = window;
        }
    }
    Ok((windows, sealed))
}

/// What was written when the store was made.
struct Meta {
    buckets: u16,
    secret: [u8; 32],
}

/// Reads what was written when the store was made; `None`: there is no store.
fn check_meta(tables: &Tables) -> Result<Option<Meta>, StoreError> {
    let Some(stored) = get_decoded(&tables.meta, "format")? else {
        let is_empty = tables.stock.first_key_value().is_none();
        return if is_empty { Ok(None) } else { Err(StoreError::NoStore) };
    };
    if stored != FORMAT {
        return Err(StoreError::Format { stored, supported: FORMAT });
    }
    let buckets = get_decoded(&tables.meta, "buckets")?.ok_or(StoreError::NoStore)?;
    let secret = get_decoded(&tables.meta, "secret")?.ok_or(StoreError::NoStore)?;
    Ok(Some(Meta { buckets, secret }))
}

fn write_meta(tables: &Tables, buckets: u16) -> Result<[u8; 32], StoreError> {
    let secret = crate::random::bytes();
    let rows = [
        ("buckets", Some(encode(&buckets)?)),
        ("format", Some(encode(&FORMAT)?)),
        ("secret", Some(encode(&secret)?)),
    ];
    tables::write(&tables.meta, rows)?;
    Ok(secret)
}

fn failed_before() -> StoreError {
    let source = "something could not be written before".into();
    StoreError::Database { action: "be written any more", source }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.shared.progress().is_closing = true;
        self.shared.changed.notify_all();
        // A panic of the projector's has been reported, and noted, where it happened.
        let _ = self.projector.take().map(JoinHandle::join);
    }
}

impl Store for Embedded {
    fn buckets(&self) -> u16 {
        self.buckets
    }

    fn secret(&self) -> [u8; 32] {
        self.secret
    }

    fn durability(&self) -> Durability {
        self.durability
    }

    fn load(&self) -> Result<Loaded, StoreError> {
        let mut loaded = load::load(&self.shared.tables, &self.shared.windows())?;
        let all = UnixMs(u64::MAX);
        loaded.refusals = self.ended(EndedKind::Refusal, UnixMs(0), all, usize::MAX)?;
        Ok(loaded)
    }

    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        self.write(commit).inspect_err(|_| self.shared.fail())
    }

    fn pin(&self) -> Result<Option<Pinned>, StoreError> {
        self.pin_tables().map(Some)
    }

    fn stock(&self, sku: &Sku) -> Result<Option<StockRow>, StoreError> {
        Ok(self.shared.stock(sku))
    }

    fn stocks_after(
        &self,
        after: Option<&Sku>,
        limit: usize,
    ) -> Result<Vec<(Sku, StockRow)>, StoreError> {
        Ok(self.shared.windows().rows.after(after, limit))
    }

    fn reservation(&self, id: CommandId) -> Result<Option<(Sku, Reservation)>, StoreError> {
        self.shared.reservation(id)
    }

    fn ended_reservation(&self, id: CommandId) -> Result<Option<Reservation>, StoreError> {
        self.shared.ended_reservation(id)
    }

    fn adjustment(&self, id: CommandId) -> Result<Option<Adjustment>, StoreError> {
        self.shared.adjustment(id)
    }

    fn purchases(&self, sku: &Sku) -> Result<Vec<(Arc<str>, u64)>, StoreError> {
        self.shared.purchases(sku)
    }

    fn ticketed(&self, id: CommandId) -> Result<Option<Ticketed>, StoreError> {
        self.shared.ticketed(id)
    }

    fn journal(
        &self,
        sku: &Sku,
        after: u64,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        self.shared.journal(sku, after, limit)
    }

    fn hot_item_history(&self, sku: &Sku) -> Result<HotItemHistory, StoreError> {
        self.shared.hot_item_history(sku)
    }

    fn ended(
        &self,
        kind: EndedKind,
        from: UnixMs,
        until: UnixMs,
        limit: usize,
    ) -> Result<Vec<Ended>, StoreError> {
        self.shared.ended(kind, from, until, limit)
    }
}
