//! A backup of the store, while it is used.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use cartgate_ledger::UnixMs;
use cartgate_policy::problem::{Problem, ProblemType};
use http_body_util::channel::{Channel, Sender};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::App;
use super::refused::Refused;
use crate::store::backup::{Head, IMPORTS, Writer};
use crate::store::imports::Stored;
use crate::store::{Pinned, StoreError};

/// Whoever takes nothing in for so long gets no more of it: while a backup is read, what is merged in
/// the store's tables is there twice.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);

/// All of the embedded store, while it serves.
///
/// As it stands after one commit: at least all that was answered before. It has the store's secret, and
/// customers. `cartgate backup` asks for it, sees whether all of it has come, and writes a file that
/// `cartgate restore` makes a store of. What breaks off is no backup.
#[utoipa::path(
    get, path = "/v1/backup", tag = "operation", security(("token" = ["admin"])),
    operation_id = "back_up",
    responses((status = 200, description = "The backup.",
        content((String = "application/octet-stream")))),
    extensions(("x-problems" = json!(["backup-under-way", "backup-elsewhere"]))),
)]
pub(super) async fn show(State(app): State<Arc<App>>) -> Result<Response, Refused> {
    let Some(store) = app.engine.own_store() else { return Err(elsewhere()) };
    let seat = Arc::clone(&app.backup_seat).try_acquire_owned();
    let seat = seat.map_err(|_| Refused(Problem::new(ProblemType::BackupUnderWay)))?;
    let (taken_at, records) = ((app.clock)(), Arc::clone(&app));
    // Whether the store can be read is known before the answer begins. A caller that is gone by then
    // leaves its seat when this ends.
    let pin = move || Ok::<_, StoreError>((records.import_records.all_at(|| store.pin())?, seat));
    let ((imports, pinned), seat) = blocking(pin).await?;
    let pinned = pinned.ok_or_else(elsewhere)?;
    let (sender, body) = Channel::<Bytes, Broken>::new(1);
    let backup = Backup { pinned, imports, taken_at, _seat: seat };
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(|| backup.send(Output::new(sender))));
    let mut response = Response::new(Body::new(body));
    let media_type = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    Ok(response)
}

fn elsewhere() -> Refused {
    let detail = "its store is Redis: back that up by its own means, such as BGSAVE and its files, \
                  on each primary";
    Refused(Problem::new(ProblemType::BackupElsewhere).detail(detail))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}

/// A backup that is about to be sent; the only one.
struct Backup {
    pinned: Pinned,
    imports: Vec<Stored>,
    taken_at: UnixMs,
    _seat: OwnedSemaphorePermit,
}

impl Backup {
    fn send(self, mut output: Output) {
        let (commit, held_up_us) = (self.pinned.commit(), self.pinned.held_up.as_micros());
        tracing::info!(commit, held_up_us, "a backup begins");
        match self.write(&mut output) {
            Ok(bytes) => tracing::info!(commit, bytes, "a backup is complete"),
            Err(error) => {
                let cause: &dyn std::error::Error = &error;
                tracing::warn!(commit, error = cause, "a backup breaks off");
                output.sender.abort(Broken(error));
            }
        }
    }

    fn write(&self, output: &mut Output) -> io::Result<u64> {
        let Self { pinned, imports, taken_at, .. } = self;
        let head =
            Head { store_format: pinned.format(), commit: pinned.commit(), taken_at: *taken_at };
        let mut writer = Writer::begin(output, &head)?;
        for (name, rows) in pinned.tables() {
            writer.table(name)?;
            for row in rows {
                let (key, value) = row.map_err(io::Error::other)?;
                writer.row(&key, &value)?;
            }
        }
        writer.table(IMPORTS)?;
        for stored in imports {
            writer.row(&stored.digest.0, &stored.value())?;
        }
        Ok(writer.end()?.bytes)
    }
}

/// The backup cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("the backup breaks off")]
struct Broken(#[source] io::Error);

/// Who asked for it. Waits for them, on a thread that may.
struct Output {
    sender: Sender<Bytes, Broken>,
    runtime: Handle,
}

impl Output {
    fn new(sender: Sender<Bytes, Broken>) -> Self {
        Self { sender, runtime: Handle::current() }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.sender.send_data(Bytes::copy_from_slice(bytes));
        match self.runtime.block_on(async { timeout(TAKEN_WITHIN, sent).await }) {
            Ok(Ok(())) => Ok(bytes.len()),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client has gone")),
            Err(late) => Err(io::Error::new(io::ErrorKind::TimedOut, late)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
