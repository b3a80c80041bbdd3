//! A backup of the store, while it is used.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Method};
use axum::response::Response;
use cartgate_ledger::UnixMs;
use cartgate_policy::problem::{Problem, ProblemType};
use http_body_util::channel::{Channel, Sender};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::App;
use super::refused::Refused;
use crate::blocking::blocking;
use crate::store::backup::{Head, IMPORTS, Writer};
use crate::store::imports::Stored;
use crate::store::{Pinned, StoreError};

/// Whoever takes nothing in for so long gets no more of it: while a backup is read, what is merged in
/// the store's tables is there twice.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);

/// Nor does whoever takes fewer bytes in a second than this, but for the first minute.
const TAKEN_PER_S_MIN: u64 = 1 << 20;

/// All of the embedded store, while it serves.
///
/// As it stands after one commit: at least all that was answered before. It has the store's secret, and
/// customers. `cartgate backup` asks for it, sees whether all of it has come, and writes a file that
/// `cartgate restore` makes a store of. What breaks off is no backup: it does when the service stops, and
/// when whoever asked takes nothing of it for a minute, or, after the first one, less than 1 MiB/s.
#[utoipa::path(
    get, path = "/v1/backup", tag = "operation", security(("token" = ["admin"])),
    operation_id = "back_up",
    responses((status = 200, description = "The backup.",
        content((String = "application/octet-stream")))),
    extensions(("x-problems" = json!(["backup-under-way", "backup-elsewhere"]))),
)]
pub(super) async fn show(State(app): State<Arc<App>>, method: Method) -> Result<Response, Refused> {
    let Some(store) = app.engine.own_store() else { return Err(elsewhere()) };
    let (sender, body) = Channel::<Bytes, Broken>::new(1);
    if method == Method::HEAD {
        // Nobody would read what is pinned.
        return Ok(answer(body));
    }
    let seat = Arc::clone(&app.backup_seat).try_acquire_owned();
    let seat = seat.map_err(|_| Refused(Problem::new(ProblemType::BackupUnderWay)))?;
    let (taken_at, records) = ((app.clock)(), Arc::clone(&app));
    // Whether the store can be read is known before the answer begins. A caller that is gone by then
    // leaves its seat when this ends.
    let pin = move || Ok::<_, StoreError>((records.import_records.all_at(|| store.pin())?, seat));
    let ((imports, pinned), seat) = blocking(pin).await?;
    let pinned = pinned.ok_or_else(elsewhere)?;
    let backup = Backup { pinned, imports, taken_at, _seat: seat };
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(|| backup.send(Output::new(sender, app))));
    Ok(answer(body))
}

fn answer(body: Channel<Bytes, Broken>) -> Response {
    let mut response = Response::new(Body::new(body));
    let media_type = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

fn elsewhere() -> Refused {
    let detail = "its store is Redis: back that up by its own means, such as BGSAVE and its files, \
                  on each primary";
    Refused(Problem::new(ProblemType::BackupElsewhere).detail(detail))
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
    app: Arc<App>,
    runtime: Handle,
    began: Instant,
    /// How many bytes were taken.
    taken: u64,
}

impl Output {
    fn new(sender: Sender<Bytes, Broken>, app: Arc<App>) -> Self {
        Self { sender, app, runtime: Handle::current(), began: Instant::now(), taken: 0 }
    }
}

/// How long somebody may take for the next block who has taken so many bytes in that time. Who has taken
/// them by the time that there are more is never late, however long reading them takes.
fn patience(elapsed: Duration, taken: u64) -> Duration {
    let at_most = TAKEN_WITHIN + Duration::from_secs(taken / TAKEN_PER_S_MIN);
    at_most.saturating_sub(elapsed).min(TAKEN_WITHIN)
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let patience = patience(self.began.elapsed(), self.taken);
        let sent = self.sender.send_data(Bytes::copy_from_slice(bytes));
        let taken = async {
            tokio::select! {
                biased;
                () = self.app.stopping() => Err(io::Error::other("the service stops")),
                sent = timeout(patience, sent) => match sent {
                    Ok(Ok(())) => Ok(bytes.len()),
                    Ok(Err(_)) => {
                        Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client has gone"))
                    }
                    Err(late) => Err(io::Error::new(io::ErrorKind::TimedOut, late)),
                },
            }
        };
        let len = self.runtime.block_on(taken)?;
        self.taken += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_takes_it_slowly_gets_no_more() {
        let check = |elapsed_s, taken: u64, expected_s| {
            let patience = patience(Duration::from_secs(elapsed_s), taken);
            assert_eq!(patience, Duration::from_secs(expected_s), "{elapsed_s} s, {taken} bytes");
        };
        check(0, 0, 60);
        check(59, 0, 1);
        check(60, 0, 0);
        // What was taken fast is no reason to wait for longer.
        check(10, 1 << 40, 60);
        // 1 MiB/s will do, half as much will not.
        check(1_000, 1_000 << 20, 60);
        check(100, 50 << 20, 10);
        check(200, 100 << 20, 0);
    }
}
