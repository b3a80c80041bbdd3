//! `cartgate backup` and `restore`: the store of a running service as a file, and a store of that.
//!
//! ```text
//! take.rs      asks a running service, and has the file only once it is whole and on the disk
//! restore.rs   makes a store of it, which is there only once it is whole and on the disk
//! ```
//!
//! How a backup is laid out: `store/backup.rs`.

mod restore;
mod take;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::client::{AnyError, CallError, ServiceArguments};
use crate::grouped::Grouped;
use crate::store::StoreError;
use crate::store::backup::Reader;

pub use crate::store::backup::{ReadError, Summary};
pub use restore::restore;
pub use take::backup;

/// Write all that a running service with an embedded store has into a file, as it stands after one commit,
/// while the service serves. It has the store's secret and its customers: keep it as you keep these. Ends with
/// 0, or 2 if it is not complete: then there is no file of that name.
#[derive(Debug, clap::Args)]
pub struct BackupArguments {
    /// The file; it must not be there yet.
    file: PathBuf,
    #[command(flatten)]
    service: ServiceArguments,
}

/// Make an embedded store of a backup, for `serve --data` to go on with. Holds that are due by then expire at
/// once. Ends with 0; with 1 if the file is no whole backup; with 2 if the store cannot be made. In both cases
/// nothing is left.
#[derive(Debug, clap::Args)]
pub struct RestoreArguments {
    /// The backup.
    file: PathBuf,
    /// Where to make the store: a directory that is empty, or not there yet.
    #[arg(long, required_unless_present = "check", conflicts_with = "check")]
    data: Option<PathBuf>,
    /// Only see whether the backup is whole, and what is in it.
    #[arg(long)]
    check: bool,
}

/// Why there is no backup, or nothing was restored.
#[derive(Debug, Error)]
pub enum BackupError {
    /// A file or directory of that name is there.
    #[error("{} is there already: name another one, or move it away", .0.display())]
    Exists(PathBuf),
    /// Something was left in the way.
    #[error(
        "{} is there: unless another restore is under way, remove it, since one was cut off there",
        .0.display()
    )]
    Left(PathBuf),
    /// The directory cannot be replaced.
    #[error(
        "a volume is mounted at {}: restore into a directory in it, such as {}, and serve that",
        .0.display(), .0.join("restored").display()
    )]
    Mounted(PathBuf),
    /// The file is no whole backup.
    #[error("{}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: ReadError,
    },
    /// A file or directory cannot be used.
    #[error("{}", path.display())]
    Path {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What the backup has makes no store.
    #[error("no store can be made of {}", file.display())]
    Store {
        /// The file.
        file: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// The backup has something that no store has.
    #[error("{} has a table {table:?}, which this cartgate does not know", file.display())]
    Table {
        /// The file.
        file: PathBuf,
        /// The table.
        table: String,
    },
    /// The service does not do it.
    #[error("the service refuses: {said}")]
    Refused {
        /// What it said.
        said: String,
    },
    /// Not all of it has come.
    #[error(
        "the backup broke off after {} bytes: run it again; the service's log says why",
        Grouped(*bytes)
    )]
    BrokeOff {
        /// How many have come.
        bytes: u64,
        /// How that was noticed.
        source: AnyError,
    },
    /// There is no answer.
    #[error("the service cannot be asked")]
    Call(#[from] CallError),
    /// Something of the operating system's.
    #[error("the command cannot be run")]
    System(#[source] io::Error),
}

impl BackupError {
    /// Whether what the file has is not what was once backed up.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::File { source, .. } => {
                !matches!(source, ReadError::Io(_) | ReadError::Version { .. })
            }
            Self::Store { source, .. } => {
                !matches!(source, StoreError::Database { .. } | StoreError::Format { .. })
            }
            _ => false,
        }
    }

    fn at(path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Path { path: path.clone(), source }
    }

    fn of(file: &Path) -> impl Fn(ReadError) -> Self {
        let file = file.to_path_buf();
        move |source| Self::File { file: file.clone(), source }
    }
}

fn open(file: &Path) -> Result<Reader<io::BufReader<File>>, BackupError> {
    let opened = File::open(file).map_err(BackupError::at(file))?;
    Reader::begin(io::BufReader::with_capacity(READ_LEN, opened)).map_err(BackupError::of(file))
}

/// How much is read at once.
const READ_LEN: usize = 1 << 20;

/// The directory that something is in.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Sees to it that what was renamed in a directory is so on the disk.
fn sync_directory(directory: &Path) -> Result<(), BackupError> {
    let synced = File::open(directory).and_then(|opened| opened.sync_all());
    synced.map_err(BackupError::at(directory))
}
