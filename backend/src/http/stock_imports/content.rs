//! The content of an import, read window by window.

use std::collections::HashSet;
use std::time::Duration;

use axum::body::{Body, Bytes};
use cartgate_policy::{Sku, SkuForm};
use http_body_util::BodyExt as _;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;
use xxhash_rust::xxh3::Xxh3;

use super::ended::Ended;
use super::gunzip::Gunzip;
use super::lines::{Line, Lines};
use super::wanted::{Format, Read, is_csv_header, read};
use crate::store::imports::ContentDigest;

/// The most lines of a window: as many commands make one commit, and so many may be under way.
pub(super) const WINDOW: usize = 4_096;

/// How long a window waits for more, if it has some.
const LINGER: Duration = Duration::from_millis(100);

/// How long nothing may come of a body.
const SILENT_MAX: Duration = Duration::from_secs(30);

/// Lines in a row, each of another SKU: they can be applied in any order.
pub(super) struct Window {
    /// The number of the first line, from 1.
    pub(super) first: u64,
    pub(super) lines: Vec<Read>,
    /// A hash of all lines up to its last.
    pub(super) prefix: u128,
}

/// The content of an import.
pub(super) struct Content {
    body: Body,
    gunzip: Option<Gunzip>,
    /// What is being read, and how far.
    chunk: Bytes,
    at: usize,
    lines: Lines,
    reading: Reading,
    sha: Sha256,
    is_over: bool,
}

impl Content {
    pub(super) fn new(body: Body, is_gzip: bool, format: Format, form: SkuForm) -> Self {
        Self {
            body,
            gunzip: is_gzip.then(Gunzip::new),
            chunk: Bytes::new(),
            at: 0,
            lines: Lines::default(),
            reading: Reading::new(format, form),
            sha: Sha256::new(),
            is_over: false,
        }
    }

    /// Passes over lines that are decided. Returns a hash of them, or of all if there are fewer.
    pub(super) async fn skip(&mut self, lines: u64) -> Result<u128, Ended> {
        while self.reading.count < lines {
            if !self.step(Reading::pass) && !self.fill().await? {
                self.lines.last().into_iter().for_each(|line| self.reading.pass(line));
                break;
            }
        }
        self.reading.given = self.reading.count;
        Ok(self.reading.prefix())
    }

    /// The next window; `None`: that was all. It ends before a SKU that is in it already, and when
    /// nothing more comes just now.
    pub(super) async fn window(&mut self) -> Result<Option<Window>, Ended> {
        let mut open = self.reading.open();
        while !self.take(&mut open) {
            let more = match open.lines.is_empty() {
                true => self.fill().await?,
                false => match timeout(LINGER, self.fill()).await {
                    Ok(more) => more?,
                    Err(_) => break,
                },
            };
            if !more {
                self.lines.last().into_iter().for_each(|line| self.reading.take(line, &mut open));
                break;
            }
        }
        if self.reading.has_no_header {
            return Err(Ended::Header);
        }
        Ok(self.reading.close(open))
    }

    /// Takes lines that are there into a window. Whether it is complete.
    fn take(&mut self, open: &mut Open) -> bool {
        while !open.is_full() {
            if !self.step(|reading, line| reading.take(line, open)) {
                return false;
            }
        }
        true
    }

    /// Does something with the next line that is there; `false`: none is.
    fn step(&mut self, take: impl FnOnce(&mut Reading, Line<'_>)) -> bool {
        let mut rest = &self.chunk[self.at..];
        let line = self.lines.next(&mut rest);
        self.at = self.chunk.len() - rest.len();
        line.map(|line| take(&mut self.reading, line)).is_some()
    }

    /// Waits for more, if all is read that came; `false`: that was all.
    async fn fill(&mut self) -> Result<bool, Ended> {
        self.chunk = match self.next_chunk().await? {
            Some(chunk) => chunk,
            None => return Ok(false),
        };
        self.at = 0;
        self.sha.update(&self.chunk);
        Ok(true)
    }

    async fn next_chunk(&mut self) -> Result<Option<Bytes>, Ended> {
        loop {
            if let Some(gunzip) = &mut self.gunzip
                && let Some(expanded) = gunzip.next()?
            {
                return Ok(Some(expanded));
            }
            match (self.next_data().await?, &mut self.gunzip) {
                (Some(data), Some(gunzip)) => gunzip.push(data),
                (None, Some(gunzip)) => return gunzip.finish(),
                (data, None) => return Ok(data),
            }
        }
    }

    /// What comes next of the body; `None`: that was all.
    async fn next_data(&mut self) -> Result<Option<Bytes>, Ended> {
        while !self.is_over {
            let silent = |_| Ended::Silent { seconds: SILENT_MAX.as_secs() };
            let frame = timeout(SILENT_MAX, self.body.frame()).await.map_err(silent)?;
            match frame.transpose().map_err(|_| Ended::Body)? {
                Some(frame) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    // Trailers.
                    _ => {}
                },
                None => self.is_over = true,
            }
        }
        Ok(None)
    }

    /// The digest of all that was read.
    pub(super) fn digest(&self) -> ContentDigest {
        ContentDigest(self.sha.clone().finalize().into())
    }
}

/// What was read of lines so far.
struct Reading {
    format: Format,
    form: SkuForm,
    prefix: Xxh3,
    /// How many lines were read, and how many of them are in windows.
    count: u64,
    given: u64,
    /// A line that did not fit into the last window, because its SKU was in there.
    held_over: Option<Read>,
    has_no_header: bool,
}

/// A window to which lines are added.
struct Open {
    lines: Vec<Read>,
    skus: HashSet<Sku>,
    /// A hash of all lines up to the last one, if another has been read.
    prefix: Option<u128>,
}

impl Open {
    fn is_full(&self) -> bool {
        self.lines.len() == WINDOW || self.prefix.is_some()
    }
}

impl Reading {
    fn new(format: Format, form: SkuForm) -> Self {
        let (prefix, held_over) = Default::default();
        Self { format, form, prefix, count: 0, given: 0, held_over, has_no_header: false }
    }

    fn open(&mut self) -> Open {
        let lines: Vec<_> = self.held_over.take().into_iter().collect();
        let skus = lines.iter().filter_map(sku).cloned().collect();
        Open { lines, skus, prefix: None }
    }

    /// Reads a line, and adds it to a window if it may be in there.
    fn take(&mut self, line: Line<'_>, open: &mut Open) {
        let read = if self.format == Format::Csv && self.count == 0 {
            self.has_no_header = !is_csv_header(line);
            Read::Nothing
        } else {
            read(self.format, &self.form, line)
        };
        if sku(&read).is_some_and(|sku| !open.skus.insert(sku.clone())) {
            open.prefix = Some(self.prefix());
            self.held_over = Some(read);
        } else {
            open.lines.push(read);
        }
        self.pass(line);
    }

    fn close(&mut self, open: Open) -> Option<Window> {
        let Open { lines, prefix, .. } = open;
        if lines.is_empty() {
            return None;
        }
        let first = self.given + 1;
        self.given += lines.len() as u64;
        Some(Window { first, lines, prefix: prefix.unwrap_or_else(|| self.prefix()) })
    }

    /// Notes that there was a line.
    fn pass(&mut self, line: Line<'_>) {
        match line {
            Line::Text(text) => self.prefix.update(text),
            Line::TooLong => self.prefix.update(b"\0"),
        }
        self.prefix.update(b"\n");
        self.count += 1;
    }

    /// A hash of all lines so far.
    fn prefix(&self) -> u128 {
        self.prefix.digest128()
    }
}

/// The SKU that a line names, if it can be read.
pub(super) fn sku(read: &Read) -> Option<&Sku> {
    match read {
        Read::Wanted(wanted) => Some(&wanted.sku),
        Read::Nothing | Read::Wrong(_) => None,
    }
}
