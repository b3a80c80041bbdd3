//! `cartgate hot-items scan`: which products are hot, by the access logs of the proxies in front?
//!
//! For shops whose edges do not report to the service: a cron job reads what Envoy or Istio has logged, and
//! registers what it finds.
//!
//! ```text
//! logs.rs     files, gz, standard input ── lines ──┐
//! line.rs     a line: JSON or text ────────────────┤ entry: time, method, path, status
//! place.rs    where its SKU is, as the edge reads it┤ event: time, SKU, denied
//! order.rs    events wait for earlier ones ────────┤ in order of time
//! peaks.rs    counts, and a window that slides ────┘ found: requests, denied, highest peak
//! report.rs   what is proposed           register.rs   and sent to the service
//! ```
//!
//! Memory is bounded whatever a log holds: lines that are too long are passed over, events that wait are
//! let go early, and when there are more SKUs than fit half of them are given up. Each of these is counted,
//! and said in the report: an exact figure is one without a remark.

mod arguments;
mod line;
mod logs;
mod order;
mod peaks;
mod place;
mod register;
#[cfg(test)]
mod register_tests;
mod report;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use cartgate_ledger::UnixMs;
use thiserror::Error;

use crate::client::ServiceArguments;
use crate::clock;

use logs::{Lines, Log, Reading, Seen, Unreadable};
use order::{Event, Waiting};
use peaks::{Bounds, Peaks};
use place::Places;
use report::Asked;

pub use arguments::{RegisterArguments, ScanArguments};
pub use line::{Format, Keys, LineError};
pub use logs::LogError;
pub use place::{Place, PlaceError, PlacesError};
pub use report::Report;

/// What is kept at most: about 20 MiB for each of the three.
const ROOM: Room = Room {
    // Some 100 bytes each, with the SKU's text.
    waiting_max: 200_000,
    bounds: Bounds { seats_max: 100_000, cells_max: 1_000_000 },
};

/// How much is kept.
#[derive(Clone, Copy, Debug)]
struct Room {
    waiting_max: usize,
    bounds: Bounds,
}

/// Why there is no report, or why not all was done that it proposes.
#[derive(Debug, Error)]
pub enum ScanError {
    /// A log cannot be read.
    #[error("an access log cannot be read")]
    Log(#[from] LogError),
    /// The configuration that has the routes cannot be read.
    #[error("{}", path.display())]
    RoutesFile {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The routes cannot be used.
    #[error("the routes cannot be used")]
    Routes(#[from] PlacesError),
    /// `--limit-burst` is less than `--limit-per-second`.
    #[error(
        "--limit-burst {burst} is less than --limit-per-second {per_second}: give at least as many"
    )]
    Burst {
        /// The burst, in units.
        burst: u32,
        /// The limit, in units per second.
        per_second: u32,
    },
    /// More than half of the lines are something else than an access log has.
    #[error(
        "{unreadable} of {lines} lines cannot be read, the first of them {example} because {reason}. A line has \
         to look like {json} (other keys: --time-key, --method-key, --path-key, --status-key) or like \
         [2026-11-29T10:00:00.000Z] \"POST /cart/SKU/add HTTP/1.1\" 200 ..."
    )]
    Unreadable {
        /// How many cannot be read.
        unreadable: u64,
        /// How many there are.
        lines: u64,
        /// The first that cannot be read.
        example: String,
        /// Why.
        reason: LineError,
        /// How JSON would have to look.
        json: String,
    },
    /// All times are whole seconds, and a window is shorter.
    #[error(
        "all times in the log are whole seconds, so that no peak of {window_ms} ms can be told: give \
         --window-ms 1000 or more, or log START_TIME with its milliseconds"
    )]
    Coarse {
        /// The window.
        window_ms: u64,
    },
    /// Not all of the hot items are registered. The report says which.
    #[error("{failed} of {all} hot items could not be registered; the others are as it says above")]
    NotRegistered {
        /// How many are not.
        failed: usize,
        /// How many should be.
        all: usize,
    },
    /// Something of the operating system's.
    #[error("the scan cannot be run")]
    System(#[source] io::Error),
}

/// Reads logs, registers what is to be registered, and writes the report to standard output.
///
/// # Errors
/// There is nothing to report, or, after the report, not all was registered.
pub fn run(arguments: &ScanArguments) -> Result<(), ScanError> {
    check_limit(&arguments.register)?;
    let clock = clock::wall();
    let last_ms = |last: std::time::Duration| u64::try_from(last.as_millis()).unwrap_or(u64::MAX);
    let reading = Reading {
        format: arguments.format,
        keys: arguments.keys.clone(),
        places: places(arguments)?,
        since: arguments.last.map(|last| UnixMs(clock().0.saturating_sub(last_ms(last)))),
    };
    let asked = Asked {
        window_ms: arguments.window_ms,
        threshold_per_s: arguments.threshold.get(),
        late_ms: arguments.late_ms,
        items_max: arguments.items_max.into(),
    };
    let mut report = scan(&mut logs::open(&arguments.files)?, &reading, asked, ROOM)?;
    if let Some(url) = &arguments.register.url {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let service = ServiceArguments::new(url.clone(), arguments.register.token.clone());
        let registering = register::register(&report, &service, &arguments.register, clock());
        report.registrations = Some(runtime.map_err(ScanError::System)?.block_on(registering));
    }
    write(&report, arguments.json).map_err(ScanError::System)?;
    let registrations = report.registrations.as_deref().unwrap_or_default();
    match registrations.iter().filter(|registration| registration.has_failed()).count() {
        0 => Ok(()),
        failed => Err(ScanError::NotRegistered { failed, all: registrations.len() }),
    }
}

fn check_limit(asked: &RegisterArguments) -> Result<(), ScanError> {
    match (asked.limit_burst, asked.limit_per_second) {
        (Some(burst), Some(per_second)) if burst < per_second => {
            Err(ScanError::Burst { burst: burst.get(), per_second: per_second.get() })
        }
        _ => Ok(()),
    }
}

fn places(arguments: &ScanArguments) -> Result<Places, ScanError> {
    let Some(path) = &arguments.routes else {
        return Ok(Places::named(arguments.method.clone(), &arguments.sku));
    };
    let config =
        fs::read(path).map_err(|source| ScanError::RoutesFile { path: path.clone(), source })?;
    Ok(Places::of_routes(&config)?)
}

fn write(report: &Report, is_json: bool) -> io::Result<()> {
    let mut output = io::stdout().lock();
    if is_json {
        serde_json::to_writer_pretty(&mut output, report)?;
        writeln!(output)?;
    } else {
        write!(output, "{report}")?;
    }
    output.flush()
}

/// Reads logs side by side, and finds what was hot.
fn scan(
    logs: &mut [Log],
    reading: &Reading,
    asked: Asked,
    room: Room,
) -> Result<Report, ScanError> {
    let mut seen = Seen::default();
    let mut counts = Counts {
        waiting: Waiting::new(asked.late_ms, room.waiting_max),
        peaks: Peaks::new(asked.window_ms, asked.hot(), room.bounds),
        span: None,
        late: 0,
    };
    // How far each log has come. The one that is behind is read on: nothing earlier than its time, but for
    // what is late, comes from any of them.
    let mut stamps = BinaryHeap::new();
    for (n, log) in logs.iter_mut().enumerate() {
        if let Some(event) = log.next(reading, &mut seen)? {
            stamps.push(Reverse((event.at, n)));
            counts.take(event);
        }
    }
    while let Some(Reverse((stamp, n))) = stamps.pop() {
        counts.count(stamp);
        if let Some(event) = logs[n].next(reading, &mut seen)? {
            stamps.push(Reverse((event.at, n)));
            counts.take(event);
        }
    }
    counts.count_rest();
    check_lines(&seen, &reading.keys)?;
    let lost_max = counts.peaks.lost_max();
    let lines = Lines { late: counts.late, ..seen.lines };
    let report = Report::new(asked, lines, counts.span, &counts.peaks.found(), lost_max);
    if asked.window_ms < 1_000 && !seen.has_fractions && !report.hot_items.is_empty() {
        return Err(ScanError::Coarse { window_ms: asked.window_ms });
    }
    Ok(report)
}

/// What is counted of the requests, on their way from the logs.
struct Counts {
    waiting: Waiting,
    peaks: Peaks,
    /// When the first and the last began.
    span: Option<(UnixMs, UnixMs)>,
    late: u64,
}

impl Counts {
    fn take(&mut self, event: Event) {
        let (first, last) = self.span.unwrap_or((event.at, event.at));
        self.span = Some((first.min(event.at), last.max(event.at)));
        if let Err(event) = self.waiting.push(event) {
            self.late += 1;
            self.peaks.add_late(&event);
        }
    }

    /// Counts what need not wait any more once all logs have come to `stamp`.
    fn count(&mut self, stamp: UnixMs) {
        while let Some(event) = self.waiting.pop(stamp) {
            self.peaks.add(event);
        }
    }

    fn count_rest(&mut self) {
        while let Some(event) = self.waiting.pop_first() {
            self.peaks.add(event);
        }
    }
}

/// Says what is wrong with lines of which most cannot be read.
fn check_lines(seen: &Seen, keys: &Keys) -> Result<(), ScanError> {
    let Lines { read, unreadable, .. } = seen.lines;
    let Some(Unreadable { line, reason }) = &seen.example else { return Ok(()) };
    if unreadable * 2 <= read {
        return Ok(());
    }
    let first = |keys: &[String]| keys.first().cloned().unwrap_or_default();
    let json = format!(
        "{{{:?}: \"2026-11-29T10:00:00.000Z\", {:?}: \"POST\", {:?}: \"/cart/SKU/add\", {:?}: 200}}",
        first(&keys.time_key),
        first(&keys.method_key),
        first(&keys.path_key),
        first(&keys.status_key),
    );
    let (example, reason) = (line.clone(), reason.clone());
    Err(ScanError::Unreadable { unreadable, lines: read, example, reason, json })
}
