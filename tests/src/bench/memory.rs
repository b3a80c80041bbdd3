//! What a parked caller costs: 20,000 of them wait for a lane that is as slow as can be.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::closed::Caller;
use super::figures::Figure;
use super::request::{Skus, Template};
use super::run::{Run, progress};
use super::watch::{fill, lane_depth, pid, resident_bytes};
use crate::process::poll_until;
use crate::{Service, Shop};

/// Callers that wait; fewer, if the system does not let a process open as many files.
const WAITERS: usize = 20_000;

/// Files that a process opens besides connections.
const OTHER_FILES: usize = 500;

/// They are parked before the first of them has waited for as long as it would.
const PATIENCE: Duration = Duration::from_secs(50);

/// Reservations before anything is measured: what a service allocates once is not a caller's part.
const WARM_UP: u64 = 200;

/// Measures.
///
/// # Panics
/// Something fails.
pub async fn measure(run: &mut Run) {
    let waiters = allow_callers(run.extent.many(WAITERS));
    progress(&format!("{waiters} callers wait"));
    let settings = format!(
        "wait_ms = 60000\nunclaimed_ms = 61000\nconnections_max = {}\n[lanes]\nreserve_queue_max = {waiters}\n",
        waiters + 100
    );
    let options = run.service_options("waiters", &(settings + "reserves_per_s = 1\n"));
    let service = run.start(&options).await;
    fill(&service, 0).await;
    warm_up(&service).await;
    let before = resident_bytes(pid(&service));
    let mut callers = Caller::connect_all(service.address(), waiters).await;
    let connected = resident_bytes(pid(&service));
    let mut template = Template::reservation(service.address(), Skus::Hot);
    for caller in &mut callers {
        let number = run.numbers.fetch_add(1, Ordering::Relaxed);
        caller.send(template.numbered(number)).await.expect("the service takes a request");
    }
    let parked = all_wait(&service, waiters).await;
    let after = resident_bytes(pid(&service));
    let each = |bytes: u64| bytes as f64 / waiters as f64;
    let idle = each(connected.saturating_sub(before));
    let note =
        format!("{parked} callers wait; {idle:.0} of these bytes are their idle connections");
    let bytes = each(after.saturating_sub(before));
    run.add(Figure::new("bytes_per_waiter", bytes, "bytes").at_most(16_384.0).note(note));
}

/// Waits until all stand in the lane, but for those few whose turn has come already.
async fn all_wait(service: &Service, waiters: usize) -> u64 {
    let (enough, seen) = (waiters as u64 * 99 / 100, Cell::new(0));
    let wait = || async {
        seen.set(lane_depth(service).await);
        (seen.get() >= enough).then_some(())
    };
    let all = poll_until(PATIENCE, wait).await;
    assert!(all.is_some(), "only {} of {waiters} callers wait in the lane", seen.get());
    seen.get()
}

/// Other routes than that of the lane, which is too slow.
async fn warm_up(service: &Service) {
    let shop = Shop::at(service.address());
    for quantity in 0..WARM_UP {
        let answer = shop.set_stock("WARM-UP", 1_000 + quantity).await.expect("an answer");
        assert_eq!(answer.status, 200, "{:?}", answer.body);
    }
}

/// Lets this process, and those it starts, open as many files as it may. Returns how many callers
/// there can be: `wanted`, if the system allows it.
fn allow_callers(wanted: usize) -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("more open files");
    // No number means no limit.
    let files = maximum.and_then(|maximum| usize::try_from(maximum).ok()).unwrap_or(usize::MAX);
    wanted.min(files.saturating_sub(OTHER_FILES))
}
