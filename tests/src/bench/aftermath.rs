//! What is left after `kill -9`: everything that callers were told, or the benchmark fails.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Deserialize;
use tokio::task::JoinSet;

use super::answer::Answer;
use super::closed::Caller;
use super::request::{Skus, Template, sku_name};
use super::tally::Told;
use crate::{Service, Shop};

/// Of so many at most the outcomes are asked for again: evenly spread, and the last.
const REPEATS_MAX: usize = 200_000;

/// What was told last is the likeliest to be lost.
const LAST: usize = 1_000;

/// Callers that repeat.
const REPEATERS: usize = 32;

/// What callers were told of some SKUs.
#[derive(Debug)]
pub struct Promises {
    /// The SKUs.
    pub skus: Skus,
    /// The reservations.
    pub told: Vec<Told>,
}

impl Promises {
    /// Nothing has been told of these.
    pub fn none_yet(skus: Skus) -> Self {
        Self { skus, told: Vec::new() }
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Reservations that callers were told of.
    pub told: usize,
    /// Holds there are: at least as many.
    pub holds: usize,
    /// Entries of the journals.
    pub entries: usize,
    /// Outcomes that were asked for again, and were as told.
    pub outcomes: usize,
}

#[derive(Deserialize)]
struct Page {
    entries: Vec<Entry>,
    next: Option<u64>,
}

#[derive(Deserialize)]
struct Entry {
    version: u64,
    reservation_id: Option<String>,
    before: Counters,
    after: Counters,
}

#[derive(Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counters {
    available: u64,
    held: u64,
    confirmed: u64,
}

/// Counts holds, outcomes and journal entries at a service that has been killed and started again.
/// `unanswered` requests were on their way when it died.
///
/// # Panics
/// Something is missing, or is there that nobody asked for.
pub async fn count(service: &Service, promises: &[Promises], unanswered: u64) -> Counted {
    let (mut ids, mut entries) = (HashSet::new(), 0);
    for sku in promises.iter().flat_map(|promises| promises.skus.all()) {
        entries += read_journal(service, &sku_name(sku), &mut ids).await;
    }
    let all = promises.iter().flat_map(|promises| &promises.told);
    let missing = all.clone().filter(|(_, id)| !ids.contains(id)).count();
    let told = all.count();
    assert_eq!(missing, 0, "of {told} reservations that were told of, so many are lost");
    let untold = ids.len() - told;
    assert!(untold as u64 <= unanswered, "{untold} holds that nobody was told of");
    let mut outcomes = 0;
    for promises in promises {
        outcomes += repeat(service, promises).await;
    }
    Counted { told, holds: ids.len(), entries, outcomes }
}

/// Reads a SKU's journal, which must have no gap and end where the stock stands, and adds the holds
/// in it to `ids`. Returns the number of entries.
async fn read_journal(service: &Service, sku: &str, ids: &mut HashSet<u128>) -> usize {
    let shop = Shop::at(service.address());
    let client = crate::client::http();
    let stock = shop.stock(sku).await.expect("the stock").body;
    let (mut version, mut counters, mut holds) = (0, Counters::default(), 0);
    let mut next = Some(0);
    while let Some(after) = next {
        let url = service.url(&format!("/v1/skus/{sku}/journal?after={after}"));
        let page = client.get(url).send().await.expect("a page of the journal");
        let page: Page = page.json().await.expect("a page of the journal");
        for entry in page.entries {
            assert_eq!((entry.version, entry.before), (version + 1, counters), "{sku}: a gap");
            (version, counters) = (entry.version, entry.after);
            if let Some(id) = entry.reservation_id {
                let id = u128::from_str_radix(&id, 16).expect("an id");
                assert!(ids.insert(id), "{sku}: {id:032x} twice");
                holds += 1;
            }
        }
        next = page.next;
    }
    assert_eq!((&stock["version"], &stock["held"]), (&version.into(), &counters.held.into()));
    assert_eq!(counters.held, holds, "{sku}: units held, and holds");
    usize::try_from(version).expect("a number of entries")
}

/// Sends requests once more: each must be answered as it was.
async fn repeat(service: &Service, Promises { skus, told }: &Promises) -> usize {
    let step = told.len().div_ceil(REPEATS_MAX).max(1);
    let last = told.len().saturating_sub(LAST);
    let sample = told.iter().enumerate().filter(|(at, _)| at % step == 0 || *at >= last);
    let sample: Arc<[Told]> = sample.map(|(_, told)| *told).collect();
    let (count, next) = (sample.len(), Arc::new(AtomicUsize::new(0)));
    let mut repeaters = JoinSet::new();
    for mut caller in Caller::connect_all(service.address(), REPEATERS).await {
        let (sample, next) = (sample.clone(), next.clone());
        let mut template = Template::reservation(service.address(), *skus);
        repeaters.spawn(async move {
            while let Some(&(number, id)) = sample.get(next.fetch_add(1, Ordering::Relaxed)) {
                let answer = caller.ask(template.numbered(number)).await.expect("an answer");
                assert_eq!(answer, Answer { status: 201, id: Some(id) }, "request {number}");
            }
        });
    }
    repeaters.join_all().await;
    count
}
