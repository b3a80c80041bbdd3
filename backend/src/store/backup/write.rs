//! Writing a backup, block by block.

use std::io::{self, Write};

use sha2::{Digest as _, Sha256};

use super::{Head, Kind, MAGIC, Summary, VERSION};
use crate::store::encoding::{put_bytes, put_number};

/// A block of rows is written when it has as many bytes: few enough to wait for, enough to be worth a
/// write.
const BLOCK_LEN: usize = 256 * 1024;

/// The byte that says which block it is, and the length of its content.
const BLOCK_HEAD: usize = 5;

/// Writes a backup. Each write to what is below is a whole block.
pub(crate) struct Writer<W> {
    to: W,
    hash: Sha256,
    /// Rows that are not written yet, behind room for the head of their block.
    rows: Vec<u8>,
    summary: Summary,
}

impl<W: Write> Writer<W> {
    /// Begins a backup.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn begin(to: W, head: &Head) -> io::Result<Self> {
        let summary =
            Summary { commit: head.commit, taken_at: head.taken_at, ..Summary::default() };
        let mut writer = Self { to, hash: Sha256::new(), rows: vec![0; BLOCK_HEAD], summary };
        writer.write(&[&MAGIC[..], &VERSION.to_le_bytes()].concat())?;
        let mut content = vec![0; BLOCK_HEAD];
        put_number(&mut content, u64::from(head.store_format));
        put_number(&mut content, head.commit);
        put_number(&mut content, head.taken_at.0);
        writer.write_block(Kind::Head, &mut content)?;
        Ok(writer)
    }

    /// Begins the next table.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn table(&mut self, name: &str) -> io::Result<()> {
        self.flush_rows()?;
        let mut content = vec![0; BLOCK_HEAD];
        content.extend_from_slice(name.as_bytes());
        self.write_block(Kind::Table, &mut content)?;
        self.summary.tables.push((name.to_owned(), 0));
        Ok(())
    }

    /// Writes a row of the table that was begun last: its key comes after those of the rows before.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn row(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        put_bytes(&mut self.rows, key);
        put_bytes(&mut self.rows, value);
        if let Some((_, rows)) = self.summary.tables.last_mut() {
            *rows += 1;
        }
        if self.rows.len() < BLOCK_LEN { Ok(()) } else { self.flush_rows() }
    }

    /// Ends it.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn end(mut self) -> io::Result<Summary> {
        self.flush_rows()?;
        let mut content = vec![0; BLOCK_HEAD];
        put_number(&mut content, self.summary.tables.len() as u64);
        for (name, rows) in &self.summary.tables {
            put_bytes(&mut content, name.as_bytes());
            put_number(&mut content, *rows);
        }
        self.write_block(Kind::End, &mut content)?;
        let digest = self.hash.clone().finalize();
        self.write(&digest)?;
        self.to.flush()?;
        Ok(self.summary)
    }

    fn flush_rows(&mut self) -> io::Result<()> {
        if self.rows.len() == BLOCK_HEAD {
            return Ok(());
        }
        let mut rows = std::mem::take(&mut self.rows);
        let written = self.write_block(Kind::Rows, &mut rows);
        rows.truncate(BLOCK_HEAD);
        self.rows = rows;
        written
    }

    /// Writes a block whose content stands behind room for its head.
    fn write_block(&mut self, kind: Kind, block: &mut [u8]) -> io::Result<()> {
        let len = u32::try_from(block.len() - BLOCK_HEAD).map_err(io::Error::other)?;
        block[0] = kind as u8;
        block[1..BLOCK_HEAD].copy_from_slice(&len.to_le_bytes());
        self.write(block)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.summary.bytes += bytes.len() as u64;
        self.to.write_all(bytes)
    }
}
