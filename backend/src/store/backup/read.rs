//! Reading a backup, row by row. What was read counts only once the end has been read, too.

use std::io::{self, Read};

use cartgate_ledger::UnixMs;
use postcard::Error as Malformed;
use sha2::{Digest as _, Sha256};

use super::{BLOCK_MAX, Head, KEY_MAX, Kind, MAGIC, ReadError, Summary, VERSION};
use crate::store::encoding::Reader as Content;

/// Reads a backup.
pub(crate) struct Reader<R> {
    from: Input<R>,
    head: Head,
    /// The tables that were read, and how many rows of each.
    tables: Vec<(String, u64)>,
    /// The block of rows that is being read, how far it was, and the key before that.
    rows: Vec<u8>,
    at: usize,
    key: Vec<u8>,
    /// The block behind the rows of a table.
    next: Option<(Kind, Vec<u8>)>,
    /// Whether the end was read, and agrees.
    is_whole: bool,
}

/// A key and its value.
pub(crate) type Row = (Vec<u8>, Vec<u8>);

impl<R: Read> Reader<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// It is no backup, or one of another version.
    pub(crate) fn begin(from: R) -> Result<Self, ReadError> {
        let mut from = Input { from, hash: Sha256::new(), at: 0 };
        let magic = from.array().map_err(|error| match error {
            ReadError::CutOff { .. } => ReadError::NoBackup,
            error => error,
        })?;
        if magic != *MAGIC {
            return Err(ReadError::NoBackup);
        }
        let version = u16::from_le_bytes(from.array()?);
        if version != VERSION {
            return Err(ReadError::Version { version });
        }
        let (Kind::Head, content) = from.block()? else {
            return Err(from.damaged("its head is missing"));
        };
        let head = head(&content).map_err(|_| from.damaged("its head cannot be read"))?;
        let (tables, rows, key) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { from, head, tables, rows, at: 0, key, next: None, is_whole: false })
    }

    /// What it is of.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// The name of the next table, past what is left of the one before; `None`: there is none, and the
    /// backup is whole.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn next_table(&mut self) -> Result<Option<String>, ReadError> {
        while self.next_row()?.is_some() {}
        let Some((kind, content)) = self.next.take() else { return Ok(None) };
        if kind == Kind::End {
            return self.end(&content).map(|()| None);
        }
        let name = String::from_utf8(content);
        let name = name.map_err(|_| self.from.damaged("a table has no name"))?;
        if self.tables.iter().any(|(before, _)| *before == name) {
            return Err(self.from.damaged("a table is there twice"));
        }
        self.tables.push((name.clone(), 0));
        self.key.clear();
        Ok(Some(name))
    }

    /// The next row of the table; `None`: that was all.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn next_row(&mut self) -> Result<Option<Row>, ReadError> {
        while !self.is_whole && self.next.is_none() && self.at == self.rows.len() {
            match self.from.block()? {
                (Kind::Rows, rows) => (self.rows, self.at) = (rows, 0),
                (Kind::Head, _) => return Err(self.from.damaged("it has a second head")),
                next => self.next = Some(next),
            }
        }
        if self.is_whole || self.next.is_some() {
            return Ok(None);
        }
        let mut content = Content::new(&self.rows[self.at..]);
        let row = row(&mut content).map_err(|_| self.from.damaged("a row cannot be read"))?;
        self.at = self.rows.len() - content.left();
        let Some((_, rows)) = self.tables.last_mut() else {
            return Err(self.from.damaged("a row belongs to no table"));
        };
        if row.0.is_empty() || row.0.len() > KEY_MAX {
            return Err(self.from.damaged("a key is too long, or none"));
        }
        if *rows > 0 && row.0 <= self.key {
            return Err(self.from.damaged("rows are not in order"));
        }
        *rows += 1;
        self.key.clone_from(&row.0);
        Ok(Some(row))
    }

    /// Reads all that is left, and says what was in it.
    ///
    /// # Errors
    /// It is not whole.
    pub(crate) fn summary(mut self) -> Result<Summary, ReadError> {
        while self.next_table()?.is_some() {}
        let Head { commit, taken_at, .. } = self.head;
        Ok(Summary { commit, taken_at, tables: self.tables, bytes: self.from.at })
    }

    /// Compares what was read with what the end says of it.
    fn end(&mut self, content: &[u8]) -> Result<(), ReadError> {
        let counts = counts(content).map_err(|_| self.from.damaged("its end cannot be read"))?;
        if counts != self.tables {
            return Err(self.from.damaged("it has other rows than its end says"));
        }
        let expected: [u8; 32] = self.from.hash.clone().finalize().into();
        if self.from.array()? != expected {
            return Err(self.from.damaged("its SHA-256 is another"));
        }
        match self.from.array::<1>() {
            Err(ReadError::CutOff { .. }) => self.is_whole = true,
            Err(error) => return Err(error),
            Ok(_) => return Err(self.from.damaged("something comes after its end")),
        }
        Ok(())
    }
}

fn head(content: &[u8]) -> Result<Head, Malformed> {
    let mut from = Content::new(content);
    let store_format = from.number()?.try_into().map_err(|_| Malformed::DeserializeBadVarint)?;
    Ok(Head { store_format, commit: from.number()?, taken_at: UnixMs(from.number()?) })
}

fn row(from: &mut Content<'_>) -> Result<Row, Malformed> {
    Ok((from.bytes()?.to_vec(), from.bytes()?.to_vec()))
}

fn counts(content: &[u8]) -> Result<Vec<(String, u64)>, Malformed> {
    let mut from = Content::new(content);
    (0..from.number()?).map(|_| Ok((from.text()?.to_owned(), from.number()?))).collect()
}

/// What is read, and a hash of it.
struct Input<R> {
    from: R,
    hash: Sha256,
    at: u64,
}

impl<R: Read> Input<R> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ReadError> {
        self.from.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ReadError::CutOff { at: self.at },
            _ => ReadError::Io(error),
        })?;
        self.hash.update(&*bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn block(&mut self) -> Result<(Kind, Vec<u8>), ReadError> {
        let [kind] = self.array()?;
        let len = u32::from_le_bytes(self.array()?) as usize;
        let kind = Kind::of(kind).ok_or_else(|| self.damaged("a block is of no kind"))?;
        if len > BLOCK_MAX {
            return Err(self.damaged("a block is too long"));
        }
        let mut content = vec![0; len];
        self.fill(&mut content)?;
        Ok((kind, content))
    }

    fn damaged(&self, what: &'static str) -> ReadError {
        ReadError::Damaged { what, at: self.at }
    }
}
