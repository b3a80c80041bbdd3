//! A backup: all that a store of one's own has, as it stands after one of its commits, as a file.
//!
//! ```text
//! "cartgate backup\n"     16 bytes
//! version                 2 bytes, little-endian: 1
//! head                    a block
//! table, rows, rows, ..   blocks, table after table
//! end                     a block
//! SHA-256                 32 bytes: of all that stands before it
//! ```
//!
//! A block is a byte that says which one it is, the length of its content (4 bytes, little-endian,
//! [`BLOCK_MAX`] at most), and its content:
//!
//! | block | byte | content                                                                    |
//! |-------|------|----------------------------------------------------------------------------|
//! | head  | 1    | format of the store, number of the commit, time of the backup in ms since 1970 |
//! | table | 2    | its name                                                                   |
//! | rows  | 3    | of the table named last: key and value, each after its length, keys ascending |
//! | end   | 4    | how many tables; of each its name, after its length, and how many rows it has |
//!
//! Numbers in a content are as in `encoding.rs`. Tables are those of `embedded/mod.rs`, and
//! [`IMPORTS`]. So a file that was cut off, however neatly, is none: it lacks its end; and a bit that
//! is another one is found by the SHA-256 at the latest.
//!
//! It is written row by row and read row by row: neither side has more than a block of it in memory.

mod read;
mod write;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;

use cartgate_ledger::UnixMs;
use thiserror::Error;

use crate::grouped::Grouped;
use crate::http::Rfc3339;

pub(crate) use read::Reader;
pub(crate) use write::Writer;

/// What a backup begins with.
const MAGIC: &[u8; 16] = b"cartgate backup\n";

/// The version of the layout above.
const VERSION: u16 = 1;

/// The most bytes of a block's content. Blocks are a quarter of a MiB; one row alone may be longer.
const BLOCK_MAX: usize = 16 * 1024 * 1024;

/// The most bytes of a key, of which there is one at least: tables have no others.
const KEY_MAX: usize = u16::MAX as usize;

/// What stands beside the store's tables: how far imports are, by digest. A value is the time at
/// which the record was written, in ms, and the record.
pub(crate) const IMPORTS: &str = "imports";

/// Which block it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Head = 1,
    Table = 2,
    Rows = 3,
    End = 4,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [Self::Head, Self::Table, Self::Rows, Self::End]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// What a backup is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// The format of the store's tables.
    pub(crate) store_format: u16,
    /// The number of the last commit that is in it.
    pub(crate) commit: u64,
    /// When it was made.
    pub(crate) taken_at: UnixMs,
}

/// What is in a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The number of the last commit that is in it.
    pub commit: u64,
    /// When it was made.
    pub taken_at: UnixMs,
    /// How many rows each table has.
    tables: Vec<(String, u64)>,
    /// How long it is.
    pub bytes: u64,
}

impl Summary {
    /// How many rows a table has; none, if there is no such table.
    pub fn rows(&self, table: &str) -> u64 {
        self.tables
            .iter()
            .find(|(name, _)| name == table)
            .map(|(_, rows)| *rows)
            .unwrap_or_default()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [skus, holds, tickets] =
            ["stock", "held", "ticketed"].map(|table| Grouped(self.rows(table)));
        let (commit, taken_at) = (self.commit, Rfc3339(self.taken_at));
        let bytes = Grouped(self.bytes);
        write!(
            f,
            "{skus} SKUs, {holds} holds, {tickets} tickets, as of commit {commit} ({taken_at}), \
             {bytes} bytes"
        )
    }
}

/// Why a file is no backup that can be used.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Io(#[source] io::Error),
    /// It is something else.
    #[error("it is no backup of cartgate")]
    NoBackup,
    /// Another version of cartgate has made it.
    #[error("the backup has version {version}, this cartgate reads version {VERSION}")]
    Version {
        /// The backup's version.
        version: u16,
    },
    /// It is not all there.
    #[error("it was cut off: what comes after byte {at} is not all there")]
    CutOff {
        /// How far it is whole.
        at: u64,
    },
    /// It is not what was written.
    #[error("it is damaged: {what}, before byte {at}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
        /// How far it was read.
        at: u64,
    },
}
