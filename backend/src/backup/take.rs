//! Asks a running service for a backup.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body, Frame, Incoming};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::{BackupArguments, BackupError, Summary, open, parent, sync_directory};
use crate::client::{AnyError, CallError, ServiceArguments, read};

/// A service gives up somebody who takes nothing for a minute: nothing comes later than a little after that.
const COMES_WITHIN: Duration = Duration::from_secs(70);

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
    expect_none(file)?;
    let late = |late: Elapsed| CallError::NoAnswer(late.to_string());
    let body = timeout(COMES_WITHIN, ask(service)).await.map_err(late)??;
    let part = Part::of(file);
    write(body, &part.0).await?;
    // What is on the disk counts, not what has come.
    let summary = open(&part.0)?.summary().map_err(BackupError::of(&part.0))?;
    // It may have come to be there meanwhile.
    expect_none(file)?;
    fs::rename(&part.0, file).map_err(BackupError::at(file))?;
    sync_directory(parent(file))?;
    Ok(summary)
}

fn expect_none(file: &Path) -> Result<(), BackupError> {
    match file.try_exists().map_err(BackupError::at(file))? {
        false => Ok(()),
        true => Err(BackupError::Exists(file.to_path_buf())),
    }
}

/// The backup, as far as it comes.
async fn ask(service: &ServiceArguments) -> Result<Incoming, BackupError> {
    let head = service.head(Method::GET, "/v1/backup");
    let answer = service.send(head, Empty::<Bytes>::new()).await?;
    if answer.status() != StatusCode::OK {
        return Err(BackupError::Refused { said: read(answer).await?.said() });
    }
    Ok(answer.into_body())
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

async fn write<B>(mut body: B, path: &Path) -> Result<(), BackupError>
where
    B: Body<Data = Bytes, Error: Into<AnyError>> + Unpin,
{
    let failed = BackupError::at(path);
    let mut file = create(path).map_err(&failed)?;
    let (bar, mut bytes) = (bar(), 0);
    while let Some(frame) = next(&mut body).await {
        let frame = frame.map_err(|source| BackupError::BrokeOff { bytes, source })?;
        let data = frame.into_data().unwrap_or_default();
        file.write_all(&data).map_err(&failed)?;
        bytes += data.len() as u64;
        bar.set_position(bytes);
    }
    bar.finish_and_clear();
    file.sync_all().map_err(failed)
}

/// What comes next; `None`: that was all.
async fn next<B>(body: &mut B) -> Option<Result<Frame<Bytes>, AnyError>>
where
    B: Body<Data = Bytes, Error: Into<AnyError>> + Unpin,
{
    match timeout(COMES_WITHIN, body.frame()).await {
        Ok(frame) => Some(frame?.map_err(Into::into)),
        Err(late) => Some(Err(late.into())),
    }
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

#[cfg(test)]
mod tests {
    use http_body_util::channel::{Channel, Sender};
    use tempfile::TempDir;

    use super::*;

    type Service = Sender<Bytes, io::Error>;

    /// Looks at a backup of which 1,500 bytes come, and then this.
    async fn check(go_on: impl FnOnce(Service) -> Option<Service>, expected: &str) {
        let dir = TempDir::new().unwrap();
        let (mut service, body) = Channel::new(2);
        for len in [1_000, 500] {
            service.send_data(Bytes::from(vec![7; len])).await.unwrap();
        }
        let _service = go_on(service);
        let error = write(body, &dir.path().join("part")).await.unwrap_err();
        assert!(matches!(error, BackupError::BrokeOff { bytes: 1_500, .. }), "{error:?}");
        assert_eq!(crate::cause::chain(&error), expected);
    }

    const BROKE_OFF: &str =
        "the backup broke off after 1,500 bytes: run it again; the service's log says why: ";

    #[tokio::test]
    async fn what_breaks_off_says_so() {
        let abort = |service: Service| {
            service.abort(io::Error::other("gone"));
            None
        };
        check(abort, &format!("{BROKE_OFF}gone")).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_go_on_breaks_off() {
        check(Some, &format!("{BROKE_OFF}deadline has elapsed")).await;
    }
}
