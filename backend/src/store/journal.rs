//! A SKU's journal in chunks.
//!
//! A chunk has up to [`CHUNK_MAX`] entries in a row: the first one's version and how many there are,
//! the counters before and the time of the first, then each entry's cause, time since the one
//! before, quantity, and id: 20 bytes, mostly. Counters before and after each are not stored but
//! folded, so that no chunk can contradict itself.

use cartgate_ledger::{
    Cause, CommandId, Counters, JournalEntry, JournalError, UnixMs, verify_next,
};
use cartgate_policy::Sku;
use postcard::Error as Malformed;

use super::encoding::{Reader, put_number, put_signed, put_time, unreadable};
use super::{SkuCommit, StockRow, StoreError};

/// The most entries in a chunk, which is the most that a page is decoded in vain for: 10 KiB of
/// stored bytes, 30 us.
pub(super) const CHUNK_MAX: usize = 512;

/// The bit of an entry's first byte that says that it has an id. Below it is the cause.
const HAS_ID: u8 = 0x10;

/// Puts at most [`CHUNK_MAX`] entries, each of which comes right after the one before.
pub(super) fn put_chunk(to: &mut Vec<u8>, entries: &[JournalEntry]) {
    let Some(first) = entries.first() else { return };
    put_number(to, first.version);
    put_number(to, entries.len() as u64);
    let Counters { available, held, confirmed } = first.before;
    for number in [available, held, confirmed, first.at.0] {
        put_number(to, number);
    }
    let mut before = first.at;
    for entry in entries {
        to.push(cause_tag(entry.cause) | if entry.id.is_some() { HAS_ID } else { 0 });
        put_time(to, before, entry.at);
        put_signed(to, entry.quantity);
        if let Some(CommandId(id)) = &entry.id {
            to.extend_from_slice(id);
        }
        before = entry.at;
    }
}

fn cause_tag(cause: Cause) -> u8 {
    match cause {
        Cause::Set => 0,
        Cause::Reserve => 1,
        Cause::Confirm => 2,
        Cause::Release => 3,
        Cause::Expire => 4,
        Cause::Adjust => 5,
        Cause::Cancel => 6,
    }
}

/// The entries of a chunk, in order.
pub(super) struct Entries<'a> {
    from: Reader<'a>,
    version: u64,
    left: u64,
    at: UnixMs,
    counters: Counters,
}

impl<'a> Entries<'a> {
    pub(super) fn of(chunk: &'a [u8]) -> Result<Self, StoreError> {
        Self::read(Reader::new(chunk)).map_err(unreadable("journal"))
    }

    fn read(mut from: Reader<'a>) -> Result<Self, Malformed> {
        let first = from.number()?.checked_sub(1).ok_or(Malformed::SerdeDeCustom)?;
        let left = from.number()?;
        first.checked_add(left).ok_or(Malformed::SerdeDeCustom)?;
        let [available, held, confirmed] = [from.number()?, from.number()?, from.number()?];
        let at = UnixMs(from.number()?);
        Ok(Self {
            from,
            version: first,
            left,
            at,
            counters: Counters { available, held, confirmed },
        })
    }

    /// The version of the last entry.
    pub(super) fn last_version(&self) -> u64 {
        self.version + self.left
    }

    fn read_next(&mut self) -> Result<JournalEntry, Malformed> {
        let tag = self.from.byte()?;
        let cause = match tag & !HAS_ID {
            0 => Cause::Set,
            1 => Cause::Reserve,
            2 => Cause::Confirm,
            3 => Cause::Release,
            4 => Cause::Expire,
            5 => Cause::Adjust,
            6 => Cause::Cancel,
            _ => return Err(Malformed::DeserializeBadEnum),
        };
        let at = self.from.time(self.at)?;
        let quantity = self.from.signed()?;
        let id = if tag & HAS_ID == 0 { None } else { Some(self.from.id()?) };
        let before = self.counters;
        let after = cause.move_units(before, quantity).ok_or(Malformed::SerdeDeCustom)?;
        let version = self.version + 1;
        (self.version, self.at, self.counters) = (version, at, after);
        Ok(JournalEntry { version, at, cause, id, quantity, before, after })
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<JournalEntry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let next = self.read_next();
        if next.is_err() {
            self.left = 0;
        }
        Some(next.map_err(unreadable("journal")))
    }
}

/// The version of a chunk's last entry, and the counters after it.
pub(super) fn end_of(chunk: &[u8]) -> Result<(u64, Counters), StoreError> {
    let last = Entries::of(chunk)?.last().transpose()?;
    Ok(last.map(|entry| (entry.version, entry.after)).unwrap_or_default())
}

/// A page of a journal, gathered from its chunks in order.
pub(super) struct Page {
    pub(super) entries: Vec<JournalEntry>,
    after: u64,
    limit: usize,
}

impl Page {
    pub(super) fn new(after: u64, limit: usize) -> Self {
        Self { entries: Vec::new(), after, limit }
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= self.limit
    }

    /// Takes what the page has room for from the next chunk. Chunks may overlap.
    pub(super) fn take(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        for entry in Entries::of(chunk)? {
            if self.is_full() {
                break;
            }
            self.push(entry?);
        }
        Ok(())
    }

    /// Takes an entry if it is the next.
    pub(super) fn push(&mut self, entry: JournalEntry) {
        if entry.version > self.after && !self.is_full() {
            self.after = entry.version;
            self.entries.push(entry);
        }
    }
}

/// Checks that a SKU's new entries go on where it stood, and end where it stands. Before that it was
/// never set, if there is no row.
pub(super) fn verify(before: Option<&StockRow>, changed: &SkuCommit) -> Result<(), StoreError> {
    let start = before.map_or_else(<_>::default, |row| (row.version, row.counters));
    let (version, counters) =
        changed.entries.iter().try_fold(start, |(version, counters), entry| {
            let broken = |source| broken(&changed.sku, source);
            verify_next(version, counters, entry).map_err(broken)?;
            Ok((entry.version, entry.after))
        })?;
    verify_end(&changed.sku, version, counters, &changed.row)
}

/// Checks that a SKU stands where its journal ends.
pub(super) fn verify_end(
    sku: &Sku,
    version: u64,
    counters: Counters,
    row: &StockRow,
) -> Result<(), StoreError> {
    if version != row.version {
        return Err(broken(sku, JournalError::Gap { version, next: row.version + 1 }));
    }
    if counters != row.counters {
        return Err(broken(sku, JournalError::Jump { version: version + 1 }));
    }
    Ok(())
}

pub(super) fn broken(sku: &Sku, source: JournalError) -> StoreError {
    StoreError::Journal { sku: sku.clone(), source }
}
