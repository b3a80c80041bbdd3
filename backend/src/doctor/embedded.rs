//! Examines an embedded store that no process has open.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use thiserror::Error;

use super::checks;
use super::facts::{DataFacts, Took};
use super::report::Report;
use crate::store::StoreError;
use crate::store::embedded::examine::{Obstacle, PARTS, examine};

/// How often a write is timed.
const WRITES: usize = 50;

/// As much is written each time.
const PAGE: usize = 4_096;

/// What is written to, for a moment.
const PROBE: &str = "doctor.tmp";

/// There was nothing to examine.
#[derive(Debug, Error)]
pub enum NotExamined {
    /// It is used.
    #[error(
        "{}: another process has the store open: stop it first, or examine a copy, which \
         `cartgate backup` and `cartgate restore` make while it runs", .0.display()
    )]
    InUse(PathBuf),
    /// There is none.
    #[error("{}: there is no embedded store", .0.display())]
    NoStore(PathBuf),
    /// Others than the service's user would leave files there that it cannot use.
    #[error(
        "{}: the store is user {owner}'s, who alone can examine it and leave it usable: \
         sudo -u '#{owner}' cartgate doctor --data {}", path.display(), path.display()
    )]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// Whose the store is.
        owner: u32,
    },
    /// It cannot be looked at.
    #[error("{}", path.display())]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Examines the store in a directory.
///
/// # Errors
/// There is none, it is used, or it cannot be looked at by us.
pub fn examine_data(data: &Path) -> Result<Report, NotExamined> {
    let unreadable = |source| NotExamined::Unreadable { path: data.to_path_buf(), source };
    let Some(owner) = owner(data).map_err(unreadable)? else {
        return Err(NotExamined::NoStore(data.to_path_buf()));
    };
    only_for(owner, geteuid().as_raw(), data)?;
    let contents = match examine(data) {
        Err(error) => Err(of_the_store(error, data)?),
        contents => contents,
    };
    let free = rustix::fs::statvfs(data).map_err(|error| unreadable(error.into()))?;
    let facts = DataFacts {
        at: data.display().to_string(),
        mode: fs::metadata(data).map_err(unreadable)?.mode(),
        free: free.f_bavail.saturating_mul(free.f_frsize),
        write: writes(&data.join(PROBE)).map_err(|error| error.to_string()),
        contents,
    };
    let together = checks::embedded::all(&facts);
    Ok(Report { store: facts.at, servers: Vec::new(), together })
}

/// Whose the store is: what is in the directory counts, which may be the root of a volume. `None`: there is
/// no store.
fn owner(data: &Path) -> io::Result<Option<u32>> {
    for part in PARTS {
        match fs::metadata(data.join(part)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found.map(|found| Some(found.uid())),
        }
    }
    Ok(None)
}

/// Opening the database makes files, and may merge tables into new ones.
fn only_for(owner: u32, user: u32, data: &Path) -> Result<(), NotExamined> {
    if owner == user {
        return Ok(());
    }
    Err(NotExamined::NotOurs { path: data.to_path_buf(), owner })
}

/// Gives back an error that says something of the store.
fn of_the_store(error: StoreError, data: &Path) -> Result<StoreError, NotExamined> {
    let path = data.to_path_buf();
    match Obstacle::of(&error) {
        Obstacle::InUse => Err(NotExamined::InUse(path)),
        Obstacle::Unreadable => {
            Err(NotExamined::Unreadable { path, source: io::Error::other(error) })
        }
        _ => Ok(error),
    }
}

/// Writes as the log does: to blocks that the file has.
fn writes(probe: &Path) -> io::Result<Took> {
    let times = File::create(probe).and_then(|mut file| {
        file.write_all(&vec![0; WRITES * PAGE])?;
        file.sync_all()?;
        (0..WRITES).map(|number| write(&file, (number * PAGE) as u64)).collect()
    });
    // If it was not made, that is what there is to tell.
    let _ = fs::remove_file(probe);
    Took::of(times?).ok_or_else(|| io::Error::other("nothing was written"))
}

fn write(file: &File, at: u64) -> io::Result<Duration> {
    let began = Instant::now();
    file.write_all_at(&[1; PAGE], at)?;
    file.sync_data()?;
    Ok(began.elapsed())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::store::Durability;
    use crate::store::embedded::Embedded;

    #[test]
    fn a_store_is_its_owners_whosever_the_directory_is() {
        let data = TempDir::new().unwrap();
        assert!(matches!(examine_data(data.path()), Err(NotExamined::NoStore(_))));
        assert_eq!(owner(data.path()).unwrap(), None);
        fs::create_dir(data.path().join("log")).unwrap();
        assert_eq!(owner(data.path()).unwrap(), Some(geteuid().as_raw()));
        only_for(7, 7, data.path()).unwrap();
        let error = only_for(7, 0, data.path()).unwrap_err();
        assert!(error.to_string().contains("sudo -u '#7' cartgate doctor"), "{error}");
    }

    #[test]
    fn what_cannot_be_looked_at_may_be_there() {
        let data = TempDir::new().unwrap();
        let file = data.path().join("file");
        fs::write(&file, "").unwrap();
        let error = examine_data(&file).unwrap_err();
        assert!(matches!(error, NotExamined::Unreadable { .. }), "{error}");
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let denied = StoreError::Database { action: "be opened", source: Box::new(denied) };
        let error = of_the_store(denied, &file).unwrap_err();
        assert!(matches!(error, NotExamined::Unreadable { .. }), "{error}");
    }

    #[test]
    fn why_nothing_can_be_written_is_told() {
        let data = TempDir::new().unwrap();
        drop(Embedded::open(data.path(), 4, Durability::Process).unwrap());
        fs::create_dir(data.path().join(PROBE)).unwrap();
        let report = examine_data(data.path()).unwrap();
        let write = report.together.iter().find(|finding| finding.check == "write").unwrap();
        assert!(write.found.contains("Is a directory"), "{write:?}");
    }
}
