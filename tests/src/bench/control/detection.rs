//! Steps: a product that nobody has registered turns hot from one moment to the next.

use std::time::{Duration, Instant};

use super::super::figures::Figure;
use super::super::run::Run;
use super::super::statistics::{median, p99};
use super::edges::{EDGES, Fleet};
use super::load::{ask_all, first};

/// What the service is told of hot items that it notices.
const SETTINGS: &str = "
[detection]
per_s = 500
registrations_per_s = 100
limit = { per_second = 100, burst = 100 }
";

/// What is asked for at each edge. Together it is four times the threshold.
const PER_S: f64 = 500.0;

/// What an edge admits of a product that it knows nothing of: all of it.
const NO_LIMIT: (u32, u32) = (100_000, 100_000);

const STEPS: usize = 40;

const GIVE_UP: Duration = Duration::from_secs(10);

pub(super) async fn measure(run: &mut Run) {
    let fleet = Fleet::start(run, "detection", SETTINGS, NO_LIMIT).await;
    let steps = if run.extent.is_smoke { 2 } else { STEPS };
    let mut took_s = Vec::new();
    for step in 0..steps {
        let sku = format!("STEP-{step}");
        fleet.set_stock(&sku, 1_000_000).await;
        let began = Instant::now();
        let is_denied = |status| status == 429;
        let told = ask_all(&fleet.addresses(), &sku, &[PER_S; EDGES], GIVE_UP, is_denied).await;
        let enforced = told.iter().map(|told| first(told, 429)).max().flatten();
        took_s.push(enforced.expect("every edge denies").duration_since(began).as_secs_f64());
    }
    fleet.stop().await;
    let note = format!(
        "{steps} steps from nothing to {:.0}/s at four edges, threshold 500/s; median {:.2} s",
        PER_S * EDGES as f64,
        median(&took_s),
    );
    run.add(Figure::new("detect_to_enforce_s_p99", p99(&took_s), "s").at_most(1.0).note(note));
}
