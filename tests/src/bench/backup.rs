//! What a backup costs those who order meanwhile, and how fast it is.
//!
//! The store is filled first. Then callers order with and without a client that takes one backup after the
//! other, and throws it away; it runs beside the load generator, on its core.

use std::cell::Cell;
use std::time::Instant;

use super::figures::Figure;
use super::http::{load, used};
use super::request::{Skus, Template};
use super::run::{Run, progress};
use super::statistics::{Series, median};
use super::watch::{fill, peak_resident_bytes, pid};
use crate::Service;

/// What the service may need in memory for it, in MiB: a few blocks, and what the projector needs for one
/// window more.
const MIB_MAX: f64 = 64.0;

/// Backups, one after the other.
#[derive(Default)]
struct Taken {
    /// MiB/s of each.
    mib_per_s: Vec<f64>,
    mib: f64,
}

/// Measures.
///
/// # Panics
/// Something fails.
pub async fn measure(run: &mut Run) {
    let service = run.start(&run.service_options("backup", "")).await;
    for sku in Skus::Hot.all() {
        fill(&service, sku).await;
    }
    let template = Template::reservation(service.address(), Skus::Hot);
    let mut series = Series::default();
    progress("a store is filled");
    load(run, &service, "filling", &template, 201, &mut series).await;
    let mut idle = Taken::default();
    let before = peak_resident_bytes(pid(&service));
    take(&service, &mut idle).await;
    let mib = (peak_resident_bytes(pid(&service)) - before) as f64 / f64::from(1 << 20);
    let mut busy = Taken::default();
    for round in 1..=run.extent.rounds {
        progress(&format!(
            "orders while backups are taken, round {round} of {}",
            run.extent.rounds
        ));
        load(run, &service, "alone", &template, 201, &mut series).await;
        let is_over = Cell::new(false);
        let ordering = async {
            load(run, &service, "meanwhile", &template, 201, &mut series).await;
            is_over.set(true);
        };
        let taking = async {
            while !is_over.get() {
                take(&service, &mut busy).await;
            }
        };
        tokio::join!(ordering, taking);
    }
    let [alone, meanwhile] = ["alone", "meanwhile"].map(|name| (name, "per_s"));
    let note = used("meanwhile", &series);
    run.add(Figure::new("backup_orders_per_s", series.median(meanwhile), "/s").note(note));
    let ratio = series.ratio(meanwhile, alone);
    run.add(Figure::new("backup_orders_meanwhile_vs_alone", ratio, "x"));
    let note = format!("{:.0} MiB, while nobody orders", idle.mib);
    run.add(Figure::new("backup_mib_per_s", median(&idle.mib_per_s), "MiB/s").note(note));
    let note = format!("{:.0} MiB in {} backups", busy.mib, busy.mib_per_s.len());
    run.add(Figure::new("backup_busy_mib_per_s", median(&busy.mib_per_s), "MiB/s").note(note));
    let held_up = held_up_us(&service);
    let worst = held_up.iter().copied().fold(0.0, f64::max);
    let note = format!("{worst:.0} us at worst of {}", held_up.len());
    run.add(Figure::new("backup_held_up_us", median(&held_up), "us").note(note));
    let note = "what the service had at most, over what it had had before the first";
    run.add(Figure::new("backup_rss_mib", mib, "MiB").at_most(MIB_MAX).note(note));
}

/// Takes a backup.
async fn take(service: &Service, taken: &mut Taken) {
    let began = Instant::now();
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let mut answer = client.get(service.url("/v1/backup")).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let mut bytes = 0;
    while let Some(chunk) = answer.chunk().await.expect("the whole backup") {
        bytes += chunk.len();
    }
    let mib = bytes as f64 / f64::from(1 << 20);
    taken.mib += mib;
    taken.mib_per_s.push(mib / began.elapsed().as_secs_f64());
}

/// For how long commits were held up for each, as the service has logged it.
fn held_up_us(service: &Service) -> Vec<f64> {
    let log = service.log();
    let told = log.lines().filter_map(|line| line.split_once("held_up_us=")?.1.parse().ok());
    told.collect()
}
