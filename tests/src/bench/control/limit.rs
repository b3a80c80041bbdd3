//! A fleet's limit, while demand moves between edges.

use std::time::{Duration, Instant};

use serde_json::json;

use super::super::figures::Figure;
use super::super::run::Run;
use super::edges::{EDGES, Fleet};
use super::load::{Told, ask_all};

const LIMIT: f64 = 400.0;
const BURST: f64 = 400.0;

/// What each edge admits of what it knows nothing of.
const DEFAULT: (u32, u32) = (200, 200);

/// All that is asked for, at whichever edges.
const DEMAND: f64 = 1_000.0;

/// The windows over which a limit is judged.
const WINDOW: Duration = Duration::from_secs(10);

const SKU: &str = "WANTED";

/// What part of the demand is at which edge.
const PHASES: [[f64; EDGES]; 6] = [
    [1.0, 0.0, 0.0, 0.0],
    [0.0, 1.0, 0.0, 0.0],
    [0.25, 0.25, 0.25, 0.25],
    [0.0, 0.0, 0.0, 1.0],
    [0.0, 0.0, 0.5, 0.5],
    [0.7, 0.1, 0.1, 0.1],
];

pub(super) async fn measure(run: &mut Run) {
    let fleet = Fleet::start(run, "limit", "[detection]\nenabled = false\n", DEFAULT).await;
    fleet.set_stock(SKU, 1_000_000).await;
    let lasts = if run.extent.is_smoke { Duration::from_secs(2) } else { Duration::from_secs(20) };
    before_known(run, &fleet).await;
    let began = Instant::now();
    let mut admitted = Vec::new();
    for phase in PHASES {
        let told = phase_of(&fleet, phase, lasts).await;
        admitted.extend(told.into_iter().flatten().filter(|told| told.1 == 200).map(|told| told.0));
    }
    let took = began.elapsed();
    fleet.stop().await;
    admitted.sort();
    let worst = worst_window(&admitted);
    let most = LIMIT * WINDOW.as_secs_f64() + BURST;
    let note = format!(
        "{worst} admitted in the worst 10 s of {:.0} s at four edges; limit {LIMIT}/s, burst {BURST}",
        took.as_secs_f64(),
    );
    run.add(Figure::new("overshoot", worst as f64 / most, "x").at_most(1.0).note(note));
    let used = admitted.len() as f64 / (LIMIT * took.as_secs_f64());
    let note = format!(
        "{} admitted while {DEMAND}/s were asked for, all on one, another, even ..",
        admitted.len()
    );
    run.add(Figure::new("utilization", used, "x").at_least(0.95).note(note));
}

/// What is admitted while edges have not heard of the item yet, beside what is published.
async fn before_known(run: &mut Run, fleet: &Fleet) {
    let asking = phase_of(fleet, [0.25; EDGES], Duration::from_secs(4));
    let registering = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let registered = Instant::now();
        fleet.register(SKU, json!({"limit": {"per_second": LIMIT, "burst": BURST}})).await;
        fleet.until_known(SKU).await;
        (registered, Instant::now())
    };
    let (told, (registered, known)) = tokio::join!(asking, registering);
    let admitted = told.iter().flatten().filter(|(at, status)| *status == 200 && *at >= registered);
    let (admitted, w) = (admitted.count() as f64, (known - registered).as_secs_f64());
    let until = told.iter().flatten().map(|told| told.0).max().unwrap_or(known);
    let all_s = until.duration_since(registered).as_secs_f64();
    let unheard = EDGES as f64 * (f64::from(DEFAULT.0) * w + f64::from(DEFAULT.1));
    let most = LIMIT * all_s + BURST + unheard;
    let note = format!(
        "known at all edges after {:.0} ms; {admitted} admitted of at most {most:.0}",
        w * 1e3
    );
    run.add(Figure::new("overshoot_before_known", admitted / most, "x").at_most(1.0).note(note));
}

async fn phase_of(fleet: &Fleet, parts: [f64; EDGES], lasts: Duration) -> Vec<Vec<Told>> {
    let per_s = parts.map(|part| part * DEMAND);
    ask_all(&fleet.addresses(), SKU, &per_s, lasts, |_| false).await
}

/// The most that were admitted within a window.
fn worst_window(admitted: &[Instant]) -> usize {
    let mut first = 0;
    let counts = admitted.iter().enumerate().map(|(last, at)| {
        while at.duration_since(admitted[first]) > WINDOW {
            first += 1;
        }
        last - first + 1
    });
    counts.max().unwrap_or_default()
}
