//! A run of the benchmarks: what all measurements share.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::statfs;
use tempfile::TempDir;

use super::cores::Cores;
use super::cpu::OthersCpu;
use super::figures::{Figure, Figures};
use super::table;
use super::tally::Numbers;
use crate::{Service, ServiceOptions};

/// How many callers there are in a closed loop.
pub const CALLERS: usize = 200;

/// Holds outlive the longest run.
const HOLD_MS: u64 = 24 * 60 * 60 * 1_000;

/// More holds than the fastest run takes.
const HOLDS_MAX: usize = 50_000_000;

/// What `statfs` says of a file system in memory: nothing is durable there.
const TMPFS: i64 = 0x0102_1994;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// How long each phase lasts.
    pub phase: Duration,
    /// How often phases that are compared take turns.
    pub rounds: usize,
    /// Whether this only shows that everything works: nothing is large, and no target is judged.
    pub is_smoke: bool,
}

impl Extent {
    /// So many, or a hundredth in a smoke test.
    pub fn many(&self, count: usize) -> usize {
        if self.is_smoke { count / 100 } else { count }
    }
}

/// A run.
#[derive(Debug)]
pub struct Run {
    /// How much is measured.
    pub extent: Extent,
    /// What runs where.
    pub cores: Cores,
    /// What has come of it so far.
    pub figures: Figures,
    /// The numbers of all requests.
    pub numbers: Numbers,
    /// How many bytes the commit of one reservation writes, once that is known.
    pub commit_bytes: Option<usize>,
    dir: TempDir,
    began: Instant,
    cpu: OthersCpu,
}

impl Run {
    /// A run in a new directory below `parent`. Pins this thread.
    ///
    /// # Panics
    /// The directory cannot be made, or is no disk.
    pub fn new(extent: Extent, cores: Cores, parent: &Path) -> Self {
        let dir = tempfile::Builder::new().prefix("cartgate-bench-").tempdir_in(parent);
        let dir = dir.expect("a directory for the run");
        // PostgreSQL is another user, and has a directory of its own in it.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
        let system = statfs(dir.path()).expect("the file system");
        assert!(system.f_type != TMPFS, "{} is in memory: set --dir", parent.display());
        cores.pin_generator();
        let (figures, numbers) = Default::default();
        let (began, cpu) = (Instant::now(), OthersCpu::start());
        Self { extent, cores, figures, numbers, commit_bytes: None, dir, began, cpu }
    }

    /// Where everything is written.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// How long it has lasted so far.
    pub fn lasted(&self) -> Duration {
        self.began.elapsed()
    }

    /// The share of all cores that was used by what is no part of this run, so far.
    pub fn others_cpu(&self) -> f64 {
        self.cpu.share()
    }

    /// Adds a figure.
    pub fn add(&mut self, figure: Figure) {
        self.figures.add(figure);
    }

    /// How a service in a directory of its own is started: `settings` are added to ours.
    pub fn service_options(&self, name: &str, settings: &str) -> ServiceOptions {
        let settings = format!("hold_ms = {HOLD_MS}\nholds_max = {HOLDS_MAX}\n{settings}");
        ServiceOptions::new(&self.dir().join(name)).quiet().settings(&settings)
    }

    /// Starts a service on the servers' cores.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start(&self, options: &ServiceOptions) -> Service {
        self.cores.for_server(Service::start(options)).await.expect("the service")
    }
}

impl Drop for Run {
    /// What was measured before something failed was measured all the same.
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("bench: measured before it failed:\n{}", table::render(&self.figures, true));
        }
    }
}

/// Says what is going on; figures are said at the end.
pub fn progress(what: &str) {
    eprintln!("bench: {what}");
}
