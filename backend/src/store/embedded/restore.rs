//! Making a store of what another one had.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::tables::{self, Tables};
use super::window::Windows;
use super::{FORMAT, check_meta, load, log};
use crate::store::{Loaded, StoreError};

/// A store that is being made, table by table.
pub(crate) struct Restoring {
    directory: PathBuf,
    tables: Tables,
}

impl Restoring {
    /// Begins in an empty directory, with tables of that format.
    ///
    /// # Errors
    /// The directory cannot be used, or the format is another one.
    pub(crate) fn begin(directory: &Path, format: u16) -> Result<Self, StoreError> {
        if format != FORMAT {
            return Err(StoreError::Format { stored: format, supported: FORMAT });
        }
        Ok(Self { directory: directory.to_path_buf(), tables: Tables::open(directory)? })
    }

    /// Writes all rows of a table, which are in the order of their keys. `false`: there is no such
    /// table.
    ///
    /// # Errors
    /// They cannot be written.
    pub(crate) fn write(
        &self,
        table: &str,
        rows: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<bool, StoreError> {
        let Some(table) = self.tables.all().into_iter().find(|found| **found.name() == *table)
        else {
            return Ok(false);
        };
        tables::write(table, rows.map(|(key, value)| (key, Some(value)))).map(|()| true)
    }

    /// Checks what there is, as a start does, and sees to it that it is on the disk.
    ///
    /// # Errors
    /// It contradicts itself, or cannot be written.
    pub(crate) fn finish(self) -> Result<Loaded, StoreError> {
        if check_meta(&self.tables)?.is_none() {
            return Err(StoreError::NoStore);
        }
        let windows = Windows { rows: load::rows(&self.tables)?, ..Windows::default() };
        let loaded = load::load(&self.tables, &windows)?;
        log::Log::make(&self.directory.join("log")).map_err(log::failed_to("be made"))?;
        let Self { directory, tables } = self;
        // Whatever is merged in the background has ended then.
        drop(tables);
        sync_all(&directory).map_err(log::failed_to("be synced"))?;
        Ok(loaded)
    }
}

/// Syncs everything in a directory, and the directory.
pub(crate) fn sync_all(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => sync_all(&entry.path())?,
            false => File::open(entry.path())?.sync_all()?,
        }
    }
    File::open(directory)?.sync_all()
}
