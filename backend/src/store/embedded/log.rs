//! The log: what was committed, in order. It is the truth; all tables follow from it.
//!
//! Two files are written in turn. When the one that is being written to has enough for a window,
//! writing goes on at the beginning of the other, whose commits are in the tables by then. So no
//! file is ever made, renamed or removed, and after the first round every write goes to blocks that
//! the file has: `fdatasync` then need not write anything about the file itself, which saves a
//! third of the time (98 us instead of 160 us on the machine of `README.md`).
//!
//! A commit is a record: a header of [`HEADER`] bytes, then its content, then zeros up to a
//! multiple of 8.
//!
//! | bytes | what                                                                       |
//! |-------|----------------------------------------------------------------------------|
//! | 8     | checksum (XXH3) of all that follows                                        |
//! | 4     | length of the content                                                      |
//! | 4     | 1: it was synced to disk before the next one was written; 0: it was not    |
//! | 8     | number: one more than that of the commit before                            |
//! | 8     | checksum of the record before                                              |
//!
//! Numbers are little-endian. What is left of a file's earlier rounds, or of a commit that a crash
//! cut short, is no continuation: it does not name the record before it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use crate::store::{Durability, StoreError};

/// Bytes before a record's content.
pub(super) const HEADER: usize = 32;

/// Zeros are written so many bytes ahead, one write in a few thousand, so that small commits find
/// blocks that the file has.
const AHEAD: usize = 1024 * 1024;

/// A commit as long as this goes where it goes: it would write as many zeros as content.
const LARGE: usize = 64 * 1024;

/// The log, open to be written to.
pub(super) struct Log {
    files: [File; 2],
    /// Which of them is written to, where, and how long it is.
    active: usize,
    at: u64,
    len: u64,
    last: Mark,
    durability: Durability,
    record: Vec<u8>,
}

/// A place in the order of commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    number: u64,
    checksum: u64,
}

/// Records in a row, from the beginning of a file.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// The records as they are in the file, and nothing else.
    pub(super) bytes: Vec<u8>,
    first: Option<Record>,
    last: Mark,
    /// Whether the beginning of one more record stands behind them, and not all of it.
    pub(super) is_torn: bool,
}

/// A record's header.
#[derive(Clone, Copy, Debug)]
struct Record {
    number: u64,
    previous: u64,
    checksum: u64,
    /// Of the record as a whole.
    len: usize,
}

impl Log {
    /// Opens the log in `directory`, and reads what comes after commit number `projected`: at most
    /// two runs, the later of which goes on growing. Makes a log there if `is_new`.
    ///
    /// # Errors
    /// It cannot be read, or lacks a commit that was synced.
    pub(super) fn open(
        directory: &Path,
        is_new: bool,
        projected: u64,
        durability: Durability,
    ) -> Result<(Self, Vec<Run>), StoreError> {
        let paths = paths(directory);
        if is_new {
            Self::make(directory).map_err(failed_to("be made"))?;
        }
        let [first, second] = paths.map(|path| open_file(&path).map_err(unopened));
        let ((first, first_bytes), (second, second_bytes)) = (first?, second?);
        let lens = [&first_bytes, &second_bytes].map(|bytes| bytes.len() as u64);
        let contents = [first_bytes, second_bytes];
        let mut runs = [0, 1].map(|file| (file, Run::of(&contents[file])));
        runs.sort_by_key(|(_, run)| run.last.number);
        let mut log = Self {
            files: [first, second],
            active: 0,
            at: 0,
            len: lens[0],
            last: Mark { number: projected, checksum: 0 },
            durability,
            record: Vec::new(),
        };
        let kept = log.follow(runs, &contents)?;
        log.len = lens[log.active];
        Ok((log, kept))
    }

    /// Makes an empty log, and makes sure that a power cut leaves it there, and all directories above:
    /// who knows which of them are new.
    pub(super) fn make(directory: &Path) -> io::Result<()> {
        std::fs::create_dir_all(directory)?;
        for path in paths(directory) {
            File::options().create(true).append(true).open(path)?.sync_all()?;
        }
        for above in directory.canonicalize()?.ancestors() {
            match File::open(above) {
                // One that we may not read we have not made.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                opened => opened?.sync_all()?,
            }
        }
        Ok(())
    }

    /// Keeps the runs that go on where the tables end, one after the other.
    fn follow(
        &mut self,
        runs: [(usize, Run); 2],
        contents: &[Vec<u8>; 2],
    ) -> Result<Vec<Run>, StoreError> {
        let mut kept = Vec::new();
        for (file, run) in runs {
            let Some(first) = run.first else { continue };
            if run.last.number <= self.last.number {
                continue;
            }
            let is_next = first.number == self.last.number + 1
                && (kept.is_empty() || first.previous == self.last.checksum);
            if !is_next {
                // It is found again below, if it shows that something is missing.
                continue;
            }
            (self.active, self.at, self.last) = (file, run.bytes.len() as u64, run.last);
            kept.push(run);
        }
        // Whatever was written after a commit that was synced, was so when that was on the disk.
        let last = self.last.number;
        if contents.iter().any(|bytes| synced_anywhere(bytes, last).next().is_some()) {
            return Err(StoreError::CommitLost { number: last + 1 });
        }
        Ok(kept)
    }

    /// Writes a commit, and returns its record once it is as durable as it is to be.
    pub(super) fn append(
        &mut self,
        put_content: impl FnOnce(&mut Vec<u8>) -> Result<(), StoreError>,
    ) -> Result<&[u8], StoreError> {
        self.record.clear();
        self.record.resize(HEADER, 0);
        put_content(&mut self.record)?;
        self.write().map_err(failed_to("be written"))?;
        Ok(&self.record)
    }

    fn write(&mut self) -> io::Result<()> {
        let number = self.last.number + 1;
        let len = u32::try_from(self.record.len() - HEADER).map_err(io::Error::other)?;
        self.record.resize(self.record.len().next_multiple_of(8), 0);
        let was_synced = u32::from(self.durability == Durability::Disk);
        self.record[8..12].copy_from_slice(&len.to_le_bytes());
        self.record[12..16].copy_from_slice(&was_synced.to_le_bytes());
        self.record[16..24].copy_from_slice(&number.to_le_bytes());
        self.record[24..32].copy_from_slice(&self.last.checksum.to_le_bytes());
        let checksum = xxh3_64(&self.record[8..]);
        self.record[..8].copy_from_slice(&checksum.to_le_bytes());
        let end = self.at + self.record.len() as u64;
        let file = &self.files[self.active];
        if end > self.len {
            let ahead = if self.record.len() < LARGE { AHEAD } else { 0 };
            file.write_all_at(&vec![0; ahead], end)?;
            self.len = end + ahead as u64;
        }
        file.write_all_at(&self.record, self.at)?;
        if self.durability == Durability::Disk {
            file.sync_data()?;
        }
        self.at = end;
        self.last = Mark { number, checksum };
        Ok(())
    }

    /// Goes on at the beginning of the other file. Returns a handle to the one that is complete, to
    /// sync it if commits are not.
    pub(super) fn switch(&mut self) -> io::Result<File> {
        let complete = self.files[self.active].try_clone()?;
        self.active = 1 - self.active;
        self.at = 0;
        self.len = self.files[self.active].metadata()?.len();
        Ok(complete)
    }

    /// The number of the last commit.
    pub(super) fn last_number(&self) -> u64 {
        self.last.number
    }
}

fn paths(directory: &Path) -> [PathBuf; 2] {
    ["0", "1"].map(|name| directory.join(name))
}

/// What is in the file is on the disk from here on, however it was written: what comes after it may
/// rely on that.
fn open_file(path: &Path) -> io::Result<(File, Vec<u8>)> {
    let file = File::options().read(true).write(true).open(path)?;
    file.sync_all()?;
    Ok((file, std::fs::read(path)?))
}

impl Run {
    /// The records in a row from the beginning of `bytes`.
    fn of(bytes: &[u8]) -> Self {
        let mut run = Self::default();
        let mut len = 0;
        while let Some(record) = Record::at(&bytes[len..]) {
            let is_next = run.first.is_none()
                || record.number == run.last.number + 1 && record.previous == run.last.checksum;
            if !is_next {
                break;
            }
            run.first.get_or_insert(record);
            run.last = Mark { number: record.number, checksum: record.checksum };
            len += record.len;
        }
        run.is_torn = run.first.is_some() && follows(&bytes[len..], run.last);
        run.bytes = bytes[..len].to_vec();
        run
    }

    /// The number of the last commit.
    pub(super) fn last_number(&self) -> u64 {
        self.last.number
    }

    /// How many commits there are.
    pub(super) fn count(&self) -> u64 {
        self.first.map_or(0, |first| self.last.number + 1 - first.number)
    }

    /// Where the contents of records are in `bytes`, which are records and nothing else.
    pub(super) fn contents(bytes: &[u8]) -> impl Iterator<Item = std::ops::Range<usize>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let len = content_len(bytes.get(at..)?)?;
            let content = at + HEADER..at + HEADER + len;
            at = content.end.next_multiple_of(8);
            Some(content)
        })
    }
}

/// Whether `bytes` begin as a record does that comes after `last`.
fn follows(bytes: &[u8], last: Mark) -> bool {
    let number_at = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    number_at(16) == Some(last.number + 1) && number_at(24) == Some(last.checksum)
}

fn content_len(bytes: &[u8]) -> Option<usize> {
    Some(u32::from_le_bytes(*bytes.get(8..12)?.first_chunk()?) as usize)
}

impl Record {
    /// The record that `bytes` begin with, if it is whole.
    fn at(bytes: &[u8]) -> Option<Self> {
        let number_at = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let (checksum, number, previous) = (number_at(0)?, number_at(16)?, number_at(24)?);
        let len = (HEADER + content_len(bytes)?).next_multiple_of(8);
        // First what costs nothing: bytes that are looked at wherever they are, are mostly no record.
        let was_synced = u32::from_le_bytes(*bytes.get(12..)?.first_chunk()?);
        let is_whole = number > 0 && was_synced <= 1 && xxh3_64(bytes.get(8..len)?) == checksum;
        is_whole.then_some(Self { number, previous, checksum, len })
    }
}

/// Whole records wherever they are in `bytes` that were synced, with numbers that can come after
/// `last`.
fn synced_anywhere(bytes: &[u8], last: u64) -> impl Iterator<Item = Record> {
    // A file has no more records than there is room for: that and the mark tell headers from content,
    // before anything is summed up.
    let plausible = last + 1..=last.saturating_add((bytes.len() / HEADER) as u64);
    let is_header = move |at: usize| {
        let mark = bytes.get(at + 12..)?.first_chunk()?;
        let number = bytes.get(at + 16..)?.first_chunk()?;
        let is_synced = u32::from_le_bytes(*mark) == 1;
        Some(is_synced && plausible.contains(&u64::from_le_bytes(*number)))
    };
    let places = (0..bytes.len()).step_by(8).filter(move |at| is_header(*at) == Some(true));
    places.filter_map(|at| Record::at(&bytes[at..]))
}

fn unopened(error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::NotFound => StoreError::NoStore,
        _ => failed_to("be opened")(error),
    }
}

pub(super) fn failed_to(action: &'static str) -> impl Fn(io::Error) -> StoreError {
    move |source| StoreError::Database { action, source: Box::new(source) }
}
