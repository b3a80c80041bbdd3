//! An edge, as far as the service sees of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use cartgate_policy::Sku;
use cartgate_policy::fleet::{Heavy, Item, Reply, Report, Reporter, Table};
use cartgate_tests::client::http;
use reqwest::Client;

/// An edge that reports when it is told to.
pub(crate) struct Edge {
    id: u64,
    client: Client,
    pub(crate) reporter: Reporter,
    /// What its clock is counted from: each has a clock of its own.
    started: Instant,
    reported_ms: u64,
    /// What it is asked for, units per second; hot items and others.
    pub(crate) asked: BTreeMap<Sku, u64>,
}

pub(crate) fn sku(name: &str) -> Sku {
    Sku::parse(name).unwrap()
}

impl Edge {
    pub(crate) fn new(id: u64) -> Self {
        let reporter = Reporter::resume(Table::default(), 0, None, 0);
        let (started, client, asked) = (Instant::now(), http(), BTreeMap::new());
        Self { id, client, reporter, started, reported_ms: 0, asked }
    }

    pub(crate) fn fleet(count: u64) -> Vec<Self> {
        (1..=count).map(Self::new).collect()
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64 + self.id * 10_000
    }

    /// Is asked for so many units per second from now on.
    pub(crate) fn ask(&mut self, name: &str, per_s: u64) {
        self.asked.insert(sku(name), per_s);
    }

    /// Reports, if it is time to. Gives the status of the answer.
    pub(crate) async fn report(&mut self, service: SocketAddr) -> Option<u16> {
        let now_ms = self.now_ms();
        if !self.reporter.is_due(now_ms) {
            return None;
        }
        let over_ms = (now_ms - self.reported_ms).min(400);
        self.reported_ms = now_ms;
        let report = self.reporter_report(over_ms, now_ms);
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

    fn reporter_report(&mut self, over_ms: u64, now_ms: u64) -> Report {
        // As long as all that its average is of.
        let asked = self.asked.iter().map(|(sku, per_s)| (sku.clone(), per_s * 1_000)).collect();
        self.reporter.ask(&asked, 1_000_000);
        let others =
            self.asked.iter().filter(|(sku, _)| !self.reporter.table().items.contains_key(*sku));
        let heavy = others
            .map(|(sku, per_s)| Heavy { sku: sku.clone(), units: per_s * over_ms / 1_000 })
            .collect();
        self.reporter.report(heavy, over_ms, now_ms)
    }

    /// Sends a report. A status of 0: there is no answer.
    pub(crate) async fn post(&self, service: SocketAddr, report: &Report) -> Result<Reply, u16> {
        let url = format!("http://{service}/v1/edges/{:016x}/reports", self.id);
        let answer = self.client.post(url).json(report).send().await.map_err(|_| 0_u16)?;
        let status = answer.status().as_u16();
        if status == 200 { Ok(answer.json().await.map_err(|_| 0_u16)?) } else { Err(status) }
    }

    /// What it was told of an item.
    pub(crate) fn item(&self, name: &str) -> Option<&Item> {
        self.reporter.table().items.get(&sku(name)).map(|entry| &entry.item)
    }

    /// Units per second that it may admit of an item now.
    pub(crate) fn share(&self, name: &str) -> u32 {
        let entry = self.reporter.table().items.get(&sku(name));
        let share = entry.filter(|entry| entry.item.limit.is_some()).and_then(|entry| entry.share);
        let is_good = self.now_ms() < self.reporter.contact_until_ms();
        share.filter(|_| is_good).map_or(0, |(_, per_second)| per_second)
    }
}

/// All that are due report.
pub(crate) async fn report(edges: &mut [Edge], service: SocketAddr) {
    for edge in edges {
        edge.report(service).await;
    }
}

/// What all of them together may admit.
pub(crate) fn total(edges: &[Edge], name: &str) -> u32 {
    edges.iter().map(|edge| edge.share(name)).sum()
}
