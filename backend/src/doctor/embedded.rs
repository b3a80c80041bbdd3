//! Examines an embedded store that no process has open.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use thiserror::Error;

use super::checks;
use super::facts::{DataFacts, Took};
use super::report::Report;
use crate::store::embedded::examine::{PARTS, examine, is_in_use};

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
/// There is none, or it is used.
pub fn examine_data(data: &Path) -> Result<Report, NotExamined> {
    let unreadable = |source| NotExamined::Unreadable { path: data.to_path_buf(), source };
    if !PARTS.iter().any(|part| data.join(part).exists()) {
        return Err(NotExamined::NoStore(data.to_path_buf()));
    }
    let contents = match examine(data) {
        Err(error) if is_in_use(&error) => return Err(NotExamined::InUse(data.to_path_buf())),
        contents => contents.map_err(|error| chain(&error)),
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

/// Writes as the log does: to blocks that the file has.
fn writes(probe: &Path) -> io::Result<Took> {
    let times = File::create(probe).and_then(|mut file| {
        file.write_all(&vec![0; WRITES * PAGE])?;
        file.sync_all()?;
        (0..WRITES).map(|number| write(&file, (number * PAGE) as u64)).collect()
    });
    // It is gone, whatever came of it.
    fs::remove_file(probe)?;
    Took::of(times?).ok_or_else(|| io::Error::other("nothing was written"))
}

fn write(file: &File, at: u64) -> io::Result<Duration> {
    let began = Instant::now();
    file.write_all_at(&[1; PAGE], at)?;
    file.sync_data()?;
    Ok(began.elapsed())
}

/// An error and what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
