//! How long a start takes with a million live holds, after `kill -9`.

use std::time::Instant;

use super::engine::{Lanes, Place};
use super::figures::Figure;
use super::run::{Run, progress};
use super::statistics::median;
use crate::{Service, Shop};

/// Live holds.
const HOLDS: usize = 1_000_000;

/// SKUs whose holds they are.
const SKUS: usize = 1_000;

/// Measures.
///
/// # Panics
/// Something fails, or is lost.
pub async fn measure(run: &mut Run) {
    let lanes = Lanes::built();
    let (holds, skus) = (run.extent.many(HOLDS), run.extent.many(SKUS));
    progress(&format!("{holds} live holds, kill -9, and a start"));
    let options = run.service_options("recovery", "");
    let length = format!("--commands={holds}");
    let dir = run.dir().join("recovery/data");
    lanes.run(run, Place::Dir(&dir), skus, &length).await;
    let (mut times, mut said) = (Vec::new(), String::new());
    for _ in 0..run.extent.rounds {
        let began = Instant::now();
        let mut service = run.start(&options).await;
        times.push(began.elapsed().as_secs_f64());
        said = last_words(&service);
        assert_eq!(held(&service, skus).await, holds as u64, "holds after a start");
        service.process.kill().await.expect("the service is killed");
    }
    let per_million = median(&times) * 1e6 / holds as f64;
    let note = format!("until /ready, {holds} holds of {skus} SKUs; the service says: {said}");
    run.add(Figure::new("recovery_s_per_million", per_million, "s").at_most(5.0).note(note));
}

/// What the service says it has found: the last line with a count of holds in its log.
fn last_words(service: &Service) -> String {
    let log = service.log();
    let line = log.lines().rfind(|line| line.contains("holds="));
    // Without its time and the module that says it.
    let words = line.map(|line| line.rsplit_once(": ").map_or(line, |(_, words)| words));
    words.unwrap_or("nothing").to_owned()
}

/// Units held of all SKUs.
async fn held(service: &Service, skus: usize) -> u64 {
    let shop = Shop::at(service.address());
    let mut held = 0;
    for sku in 0..skus {
        let stock = shop.stock(&super::request::sku_name(sku as u32)).await.expect("the stock");
        held += stock.body["held"].as_u64().expect("a number of units held");
    }
    held
}
