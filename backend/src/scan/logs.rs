//! Access logs as streams of requests: files, gz or not, and standard input.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use cartgate_ledger::UnixMs;
use flate2::bufread::MultiGzDecoder;
use serde::Serialize;
use thiserror::Error;

use super::line::{self, Format, Keys, LineError, excerpt};
use super::order::Event;
use super::place::{Places, Target};

/// The longest line that is read, in bytes. Envoy takes heads of up to 60 KiB, and a path may be logged twice.
pub(super) const LINE_BYTES_MAX: usize = 128 << 10;

/// The most logs that are open at a time: most systems let a process have 1024 files.
const LOGS_MAX: usize = 512;

/// How many bytes are read at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// How gz begins (RFC 1952, section 2.3.1), and no line of text.
const GZ_MAGIC: u8 = 0x1f;

/// How to read lines, and what to look for in them.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) format: Option<Format>,
    pub(super) keys: Keys,
    pub(super) places: Places,
    /// Requests that began before are passed over.
    pub(super) since: Option<UnixMs>,
}

/// How many lines there were of each kind. Each line that was read is of one of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Lines {
    /// All that were not blank.
    pub(super) read: u64,
    /// Requests for a SKU.
    pub(super) counted: u64,
    /// Other requests.
    pub(super) other: u64,
    /// Requests in whose place for it there was no SKU.
    pub(super) no_sku: u64,
    /// Requests that began before those that were asked for.
    pub(super) old: u64,
    /// Lines that nobody could read.
    pub(super) unreadable: u64,
    /// Among the counted: in no peak, since they came later than is waited for.
    pub(super) late: u64,
}

/// A line that could not be read, as an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) line: String,
    pub(super) reason: LineError,
}

/// What was read up to now.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) lines: Lines,
    pub(super) example: Option<Unreadable>,
    /// Whether a time was between two seconds.
    pub(super) has_fractions: bool,
}

/// An access log.
pub(super) struct Log {
    name: String,
    bytes: Box<dyn BufRead>,
    line: Vec<u8>,
    /// Of the last line, which was for several SKUs.
    more: Vec<Event>,
}

/// A log that cannot be read.
#[derive(Debug, Error)]
pub enum LogError {
    /// It is not there, or stops in the middle.
    #[error("{name}")]
    Read {
        /// The file.
        name: String,
        /// What the operating system, or the gz decoder, says.
        source: io::Error,
    },
    /// There are more than can be open at once.
    #[error(
        "more than {max} logs and directories: give fewer, or pipe them in one after the other"
    )]
    TooMany {
        /// How many can be.
        max: usize,
    },
}

/// Opens logs: `-`, or none at all, is standard input; a directory, all files in it and below.
pub(super) fn open(paths: &[PathBuf]) -> Result<Vec<Log>, LogError> {
    if paths.is_empty() {
        return Ok(vec![stdin()?]);
    }
    let mut logs = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            logs.push(stdin()?);
            continue;
        }
        for file in files(path)? {
            if logs.len() == LOGS_MAX {
                return Err(LogError::TooMany { max: LOGS_MAX });
            }
            let name = name(&file);
            let opened = File::open(&file);
            let opened = opened.map_err(|source| LogError::Read { name: name.clone(), source })?;
            logs.push(Log::new(&name, opened)?);
        }
    }
    Ok(logs)
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

fn stdin() -> Result<Log, LogError> {
    Log::new("standard input", io::stdin())
}

/// The file, or those in the directory and below it, by name.
fn files(path: &Path) -> Result<Vec<PathBuf>, LogError> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let (mut files, mut directories) = (Vec::new(), vec![path.to_path_buf()]);
    while let Some(directory) = directories.pop() {
        let read = |source| LogError::Read { name: name(&directory), source };
        for entry in fs::read_dir(&directory).map_err(read)? {
            let entry = entry.map_err(read)?;
            // A link to a directory is not followed: it may lead back.
            if entry.file_type().map_err(read)?.is_dir() {
                directories.push(entry.path());
            } else if entry.path().is_file() {
                files.push(entry.path());
            }
            if files.len() + directories.len() > LOGS_MAX {
                return Err(LogError::TooMany { max: LOGS_MAX });
            }
        }
    }
    files.sort();
    Ok(files)
}

impl Log {
    /// A log under this name.
    pub(super) fn new(name: &str, bytes: impl Read + 'static) -> Result<Self, LogError> {
        let read = |source| LogError::Read { name: name.to_owned(), source };
        let bytes = Self::bytes(bytes).map_err(read)?;
        Ok(Self { name: name.to_owned(), bytes, line: Vec::new(), more: Vec::new() })
    }

    /// Unpacks what is gz, whatever it is called.
    fn bytes(bytes: impl Read + 'static) -> io::Result<Box<dyn BufRead>> {
        let mut bytes = BufReader::with_capacity(BUFFER_BYTES, bytes);
        if bytes.fill_buf()?.starts_with(&[GZ_MAGIC]) {
            let unpacked = MultiGzDecoder::new(bytes);
            return Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, unpacked)));
        }
        Ok(Box::new(bytes))
    }

    /// The next request for a SKU; `None`: there is no more.
    ///
    /// # Errors
    /// The log cannot be read on.
    pub(super) fn next(
        &mut self,
        reading: &Reading,
        seen: &mut Seen,
    ) -> Result<Option<Event>, LogError> {
        while self.more.is_empty() {
            let line = self.next_line();
            let line = line.map_err(|source| LogError::Read { name: self.name.clone(), source })?;
            let Some(is_whole) = line else { return Ok(None) };
            self.more = reading.events(&self.line, is_whole, seen);
        }
        Ok(self.more.pop())
    }

    /// Reads a line, or its beginning if it is too long, and says whether it is whole.
    fn next_line(&mut self) -> io::Result<Option<bool>> {
        self.line.clear();
        let room = LINE_BYTES_MAX as u64 + 1;
        let read = self.bytes.by_ref().take(room).read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(None);
        }
        let is_whole = self.line.ends_with(b"\n") || self.line.len() <= LINE_BYTES_MAX;
        if !is_whole {
            self.bytes.skip_until(b'\n')?;
        }
        Ok(Some(is_whole))
    }
}

impl Reading {
    /// The request that a line tells of, for each of its SKUs.
    fn events(&self, line: &[u8], is_whole: bool, seen: &mut Seen) -> Vec<Event> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return Vec::new();
        }
        seen.lines.read += 1;
        let entry = match is_whole {
            true => line::read(line, self.format, &self.keys),
            false => Err(LineError::TooLong { max: LINE_BYTES_MAX }),
        };
        let entry = match entry {
            Ok(entry) => entry,
            Err(reason) => {
                seen.lines.unreadable += 1;
                seen.example.get_or_insert_with(|| Unreadable { line: excerpt(line), reason });
                return Vec::new();
            }
        };
        if self.since.is_some_and(|since| entry.at < since) {
            seen.lines.old += 1;
            return Vec::new();
        }
        match self.places.target(&entry) {
            Target::Skus(skus) => {
                seen.lines.counted += 1;
                seen.has_fractions |= !entry.at.0.is_multiple_of(1_000);
                let (at, is_denied) = (entry.at, entry.status == 429);
                skus.into_iter().map(|sku| Event { at, sku, is_denied }).collect()
            }
            Target::NoSku => {
                seen.lines.no_sku += 1;
                Vec::new()
            }
            Target::Other => {
                seen.lines.other += 1;
                Vec::new()
            }
        }
    }
}
