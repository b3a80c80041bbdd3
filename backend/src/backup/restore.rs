//! Makes a store of a backup.
//!
//! It is made in a directory beside, and gets its name when all of the backup was read and agrees with
//! its SHA-256, and with itself, and is on the disk. So there is all of it or nothing.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{BackupError, ReadError, RestoreArguments, Summary, open, parent, sync_directory};
use crate::store::backup::{IMPORTS, Reader};
use crate::store::embedded::create_private;
use crate::store::embedded::restore::{Restoring, sync_all};
use crate::store::imports::{Records, Stored};

/// Restores a backup, or only checks it, and says what is in it.
///
/// # Errors
/// Nothing was restored.
pub fn restore(arguments: &RestoreArguments) -> Result<Summary, BackupError> {
    match &arguments.data {
        Some(data) => restore_into(&arguments.file, data),
        None => check(&arguments.file),
    }
}

fn check(file: &Path) -> Result<Summary, BackupError> {
    open(file)?.summary().map_err(BackupError::of(file))
}

fn restore_into(file: &Path, data: &Path) -> Result<Summary, BackupError> {
    let data = free_place(data)?;
    let reader = open(file)?;
    let beside = Beside::make(&data)?;
    let summary = fill(reader, file, &beside.0)?;
    // An empty directory of that name is replaced, and no other.
    fs::rename(&beside.0, &data).map_err(BackupError::at(&data))?;
    sync_directory(parent(&data))?;
    Ok(summary)
}

/// Where a store is to be, if it can be made there: the directory itself, whatever leads to it.
fn free_place(data: &Path) -> Result<PathBuf, BackupError> {
    let failed = BackupError::at(data);
    let place = match data.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return std::path::absolute(data).map_err(failed);
        }
        place => place.map_err(&failed)?,
    };
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).map_err(&failed);
    if device(&place)? != device(parent(&place))? {
        return Err(BackupError::Mounted(place));
    }
    if fs::read_dir(&place).map_err(&failed)?.next().is_some() {
        return Err(BackupError::Exists(place));
    }
    Ok(place)
}

/// A directory beside another, for what is not whole yet; it goes when this does.
struct Beside(PathBuf);

impl Beside {
    fn make(data: &Path) -> Result<Self, BackupError> {
        // It may end in a slash.
        let mut name = data.components().as_path().as_os_str().to_owned();
        name.push(".restoring");
        let path = PathBuf::from(name);
        // Of two restores that begin at the same time, one makes it.
        match create_private(&path) {
            Ok(()) => Ok(Self(path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(BackupError::Left(path))
            }
            Err(error) => Err(BackupError::at(&path)(error)),
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It has another name by now, or is of no use; if it stays, the next restore says so.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn fill(
    mut reader: Reader<BufReader<File>>,
    file: &Path,
    directory: &Path,
) -> Result<Summary, BackupError> {
    let unmade = |source| BackupError::Store { file: file.to_path_buf(), source };
    let restoring = Restoring::begin(directory, reader.head().store_format).map_err(unmade)?;
    let mut imports = Vec::new();
    while let Some(table) = reader.next_table().map_err(BackupError::of(file))? {
        let mut rows = Rows { reader: &mut reader, failed: None };
        let is_known = if table == IMPORTS {
            let stored = rows.by_ref().map(|(digest, value)| Stored::read(&digest, &value));
            imports = stored.collect::<Result<_, _>>().map_err(unmade)?;
            true
        } else {
            restoring.write(&table, rows.by_ref()).map_err(unmade)?
        };
        if let Some(error) = rows.failed {
            return Err(BackupError::of(file)(error));
        }
        if !is_known {
            return Err(BackupError::Table { file: file.to_path_buf(), table });
        }
    }
    let summary = reader.summary().map_err(BackupError::of(file))?;
    restoring.finish().map_err(unmade)?;
    Records::put_back(&directory.join("imports"), &imports).map_err(unmade)?;
    sync_all(directory).map_err(BackupError::at(directory))?;
    Ok(summary)
}

/// The rows of a table, up to the first that cannot be read.
struct Rows<'a> {
    reader: &'a mut Reader<BufReader<File>>,
    failed: Option<ReadError>,
}

impl Iterator for Rows<'_> {
    type Item = (Vec<u8>, Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed.is_some() {
            return None;
        }
        self.reader.next_row().unwrap_or_else(|error| {
            self.failed = Some(error);
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn of_restores_into_one_directory_one_goes_on() {
        let dir = TempDir::new().unwrap();
        let (data, all) = (dir.path().join("above/data"), Barrier::new(8));
        for _ in 0..50 {
            let make = || {
                all.wait();
                Beside::make(&data)
            };
            let made: Vec<_> = std::thread::scope(|scope| {
                let making: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
                making.into_iter().map(|making| making.join().unwrap()).collect()
            });
            let (going_on, refused): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
            assert_eq!(going_on.len(), 1);
            for refused in refused {
                assert!(matches!(refused, Err(BackupError::Left(_))));
            }
            let beside = data.with_extension("restoring");
            assert!(beside.is_dir(), "whoever is refused leaves it alone");
            drop(going_on);
            assert!(!beside.exists());
        }
    }
}
