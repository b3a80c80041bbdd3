//! Edges, as far as the service sees of them: they report with what edges themselves report with.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cartgate_policy::Sku;
use cartgate_policy::fleet::{Heavy, Item, Reply, Report, Reporter};
use reqwest::Client;

use crate::client::http;

/// How long an edge waits for an answer: a service may hang.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// An edge that reports when it is told to.
#[derive(Debug)]
pub struct Edge {
    id: u64,
    client: Client,
    /// What it reports, and what it makes of answers.
    pub reporter: Reporter,
    /// What its clock is counted from: each has a clock of its own.
    started: Instant,
    reported_ms: u64,
    /// What it is asked for, units per second; hot items and others.
    pub asked: BTreeMap<Sku, u64>,
}

fn sku(name: &str) -> Sku {
    Sku::parse(name).unwrap()
}

impl Edge {
    /// An edge that knows nothing yet, with a clock of its own.
    pub fn new(id: u64) -> Self {
        let reporter = Reporter::default();
        let (started, client, asked) = (Instant::now(), http(), BTreeMap::new());
        Self { id, client, reporter, started, reported_ms: 0, asked }
    }

    /// So many of them.
    pub fn fleet(count: u64) -> Vec<Self> {
        (1..=count).map(Self::new).collect()
    }

    /// Its time.
    pub fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64 + self.id * 10_000
    }

    /// Is asked for so many units per second from now on.
    ///
    /// # Panics
    /// It is no SKU.
    pub fn ask(&mut self, name: &str, per_s: u64) {
        self.asked.insert(sku(name), per_s);
    }

    /// Reports, if it is time to. Gives the status of the answer.
    pub async fn report(&mut self, service: SocketAddr) -> Option<u16> {
        let now_ms = self.now_ms();
        if !self.reporter.is_due(now_ms) {
            return None;
        }
        let over_ms = (now_ms - self.reported_ms).min(400);
        self.reported_ms = now_ms;
        let report = self.compose(over_ms, now_ms);
        let status = match self.post(service, &report).await {
            Ok(reply) => {
                self.reporter.accept(reply, self.now_ms());
                200
            }
            Err(status) => {
                self.reporter.fail(7, self.now_ms());
                status
            }
        };
        Some(status)
    }

    fn compose(&mut self, over_ms: u64, now_ms: u64) -> Report {
        // As long as all that its average is of.
        let items = &self.reporter.table().items;
        let mut asked = vec![0; items.len()];
        for (sku, per_s) in &self.asked {
            if let Some(entry) = items.get(sku) {
                let place = usize::from(entry.place);
                asked.resize(asked.len().max(place + 1), 0);
                asked[place] = per_s * 1_000;
            }
        }
        self.reporter.ask(&asked, 1_000_000);
        let others =
            self.asked.iter().filter(|(sku, _)| !self.reporter.table().items.contains_key(*sku));
        let heavy = others
            .map(|(sku, per_s)| Heavy { sku: sku.clone(), units: per_s * over_ms / 1_000 })
            .collect();
        self.reporter.report(heavy, over_ms, now_ms)
    }

    /// Sends a report.
    ///
    /// # Errors
    /// The status of another answer; 0: there is none.
    pub async fn post(&self, service: SocketAddr, report: &Report) -> Result<Reply, u16> {
        let url = format!("http://{service}/v1/edges/{:016x}/reports", self.id);
        let request = self.client.post(url).json(report).timeout(ANSWER_WITHIN);
        let answer = request.send().await.map_err(|_| 0_u16)?;
        let status = answer.status().as_u16();
        if status == 200 { Ok(answer.json().await.map_err(|_| 0_u16)?) } else { Err(status) }
    }

    /// What it was told of an item.
    pub fn item(&self, name: &str) -> Option<&Item> {
        self.reporter.table().items.get(&sku(name)).map(|entry| &entry.item)
    }

    /// Units per second that it may admit of an item now.
    pub fn share(&self, name: &str) -> u32 {
        let entry = self.reporter.table().items.get(&sku(name));
        let share = entry.filter(|entry| entry.item.limit.is_some()).and_then(|entry| entry.share);
        let is_good = self.now_ms() < self.reporter.contact_until_ms();
        share.filter(|_| is_good).map_or(0, |(_, per_second)| per_second)
    }
}

/// All that are due report.
pub async fn report(edges: &mut [Edge], service: SocketAddr) {
    for edge in edges {
        edge.report(service).await;
    }
}

/// What all of them together may admit.
pub fn total(edges: &[Edge], name: &str) -> u32 {
    edges.iter().map(|edge| edge.share(name)).sum()
}
