//! Asks a running service for a backup.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use axum::body::Bytes;
use axum::http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{BackupArguments, BackupError, Summary, open, parent, sync_directory};
use crate::client::{CallError, read};

/// How often the bar is drawn.
const FRAMES_PER_S: u8 = 5;

/// Makes a backup, and says what is in it.
///
/// # Errors
/// There is none: the service cannot be asked, or not all of it has come, or it cannot be written.
pub fn backup(arguments: &BackupArguments) -> Result<Summary, BackupError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(BackupError::System)?.block_on(run(arguments))
}

async fn run(BackupArguments { file, service }: &BackupArguments) -> Result<Summary, BackupError> {
    if file.exists() {
        return Err(BackupError::Exists(file.clone()));
    }
    let head = service.head(Method::GET, "/v1/backup");
    let answer = service.send(head, Empty::<Bytes>::new()).await?;
    if answer.status() != StatusCode::OK {
        return Err(BackupError::Refused { said: read(answer).await?.said() });
    }
    let part = Part::of(file);
    write(answer.into_body(), &part.0).await?;
    // What is on the disk counts, not what has come.
    let summary = open(&part.0)?.summary().map_err(BackupError::of(&part.0))?;
    // It may have come to be there meanwhile.
    if file.exists() {
        return Err(BackupError::Exists(file.clone()));
    }
    fs::rename(&part.0, file).map_err(BackupError::at(file))?;
    sync_directory(parent(file))?;
    Ok(summary)
}

/// A file that is not whole yet; it goes when this does.
struct Part(PathBuf);

impl Part {
    fn of(file: &Path) -> Self {
        let mut name = file.as_os_str().to_owned();
        name.push(".part");
        Self(name.into())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // If it stays, its name says what it is.
        let _ = fs::remove_file(&self.0);
    }
}

async fn write(mut body: Incoming, path: &Path) -> Result<(), BackupError> {
    let failed = BackupError::at(path);
    let mut file = create(path).map_err(&failed)?;
    let bar = bar();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| CallError::NoAnswer(error.to_string()))?;
        let data = frame.into_data().unwrap_or_default();
        file.write_all(&data).map_err(&failed)?;
        bar.inc(data.len() as u64);
    }
    bar.finish_and_clear();
    file.sync_all().map_err(failed)
}

/// Nobody else is to read it.
fn create(path: &Path) -> io::Result<File> {
    // What was left of another one may be anybody's to read.
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Shown only where standard error is a terminal. Nobody knows how much will come.
fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(FRAMES_PER_S));
    match ProgressStyle::with_template("{spinner} {binary_bytes}, {binary_bytes_per_sec}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
