//! Reads what the service says when the drill is over, and asks once more for what is still open.
//!
//! The order matters, and the verdict relies on it: first the answers that clients did not get, so
//! that all is decided; then the reservations; then the journals, in which everything must be by
//! then that the reservations showed.
//!
//! Everything is asked of the service itself, not through the edge: a witness takes no share of
//! what customers may ask for.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time;

use super::diary;
use super::record::{
    Answer, Call, Counters, Entry, Order, Record, ReservationEvidence, Role, SkuEvidence,
};
use super::verdict::{is_decision, is_unknown};
use crate::Shop;

/// How many questions are open at the same time.
const QUESTIONS_MAX: usize = 64;

/// How long to wait for the books: a service that has died must not keep anybody waiting.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How many times as long what is undecided may take in all. What waits in a paced lane is decided at its
/// pace: thousands of orders that nobody knows the outcome of take minutes.
const PATIENCES_MAX: u32 = 10;

/// How long to wait before asking the same thing again.
const PAUSE: Duration = Duration::from_millis(20);

/// What the service says of everything that clients were told of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The reservations, by id; an id that the service does not know is not here.
    pub reservations: HashMap<String, ReservationEvidence>,
    /// The journals and counters.
    pub skus: Vec<SkuEvidence>,
}

/// Asks the service.
#[derive(Clone, Debug)]
pub struct Witness {
    shop: Shop,
    patience: Duration,
    repeats_everything: bool,
}

impl Witness {
    /// Asks the service at `service`.
    pub fn at(service: SocketAddr) -> Self {
        Self { shop: Shop::at(service), patience: PATIENCE, repeats_everything: false }
    }

    /// How long to wait for the books. For what is not decided yet it is [ten times](PATIENCES_MAX) as
    /// long in all, but what is still open when nothing was decided for two thirds of it is for the
    /// verdict to judge.
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Repeats every order that has a key, and not only those that got no answer: to see whether
    /// the service still gives the answer it gave.
    pub fn repeat_everything(self) -> Self {
        Self { repeats_everything: true, ..self }
    }

    /// Reads all evidence on `skus`. What it has to ask for that clients could ask as well is added
    /// to `records`, which must be all that was recorded: the witness's clock goes on from the last
    /// of them.
    ///
    /// # Errors
    /// The service does not answer in time, or what it answers cannot be understood.
    pub async fn gather(
        &self,
        skus: &[impl AsRef<str>],
        records: &mut Vec<Record>,
    ) -> Result<Evidence, EvidenceError> {
        let patience = self.patience * PATIENCES_MAX;
        let asked = time::timeout(patience, self.ask_again(records)).await;
        asked.map_err(|_| EvidenceError::Late { patience })??;
        let patience = self.patience;
        let read = time::timeout(patience, self.read_books(skus, records)).await;
        read.map_err(|_| EvidenceError::Late { patience })?
    }

    /// Asks for what is not decided, as far as clients know.
    async fn ask_again(&self, records: &mut Vec<Record>) -> Result<(), EvidenceError> {
        let clock = Clock::after(records);
        let orders = self.open_orders(records);
        self.ask(orders, &clock, records).await?;
        let tickets = open_tickets(records);
        self.ask(tickets, &clock, records).await
    }

    async fn read_books(
        &self,
        skus: &[impl AsRef<str>],
        records: &[Record],
    ) -> Result<Evidence, EvidenceError> {
        let reservations = self.reservations(told_ids(records)).await?;
        let skus = skus.iter().map(|sku| sku.as_ref().to_owned()).collect();
        let skus = each(skus, |sku| sku_evidence(self.shop.clone(), sku)).await?;
        Ok(Evidence { reservations, skus })
    }

    /// The versions of SKUs as they are now, for [`Case::starts`](super::verdict::Case::starts).
    /// One that is not in stock is at 0.
    ///
    /// # Errors
    /// As [`Witness::gather`].
    pub async fn versions(
        &self,
        skus: &[impl AsRef<str>],
    ) -> Result<HashMap<String, u64>, EvidenceError> {
        let skus = skus.iter().map(|sku| sku.as_ref().to_owned()).collect();
        let version = async |shop: Shop, sku: String| {
            let stock: Option<Stock> = read(&shop, &format!("/v1/skus/{sku}")).await?;
            Ok((sku, stock.map_or(0, |stock| stock.version)))
        };
        let patience = self.patience;
        let versions = each(skus, |sku| version(self.shop.clone(), sku));
        let versions = time::timeout(patience, versions).await;
        let versions = versions.map_err(|_| EvidenceError::Late { patience })??;
        Ok(versions.into_iter().collect())
    }

    /// Orders with a key that may have taken effect without an answer, each once.
    fn open_orders(&self, records: &[Record]) -> Vec<Call> {
        let mut answered = HashSet::new();
        let mut orders = Vec::new();
        for record in records {
            if let Call::Reserve(order) = &record.call
                && order.key.is_some()
            {
                let is_answered =
                    is_decision(&record.answer) || matches!(record.answer, Answer::Queued { .. });
                if is_answered && !self.repeats_everything {
                    answered.insert(order);
                } else if is_answered || is_unknown(&record.answer) {
                    orders.push(order);
                }
            }
        }
        let mut seen: HashSet<&Order> = answered;
        let open = orders.into_iter().filter(|order| seen.insert(order));
        open.cloned().map(Call::Reserve).collect()
    }

    /// Makes calls until each is answered for good or nothing more comes, and records each answer.
    async fn ask(
        &self,
        calls: Vec<Call>,
        clock: &Clock,
        records: &mut Vec<Record>,
    ) -> Result<(), EvidenceError> {
        let more = Arc::new(More::within(self.patience * 2 / 3));
        let ask = |call| ask_until_decided(self.shop.clone(), *clock, Arc::clone(&more), call);
        let last = records.iter().map(|record| record.serial).max();
        let next = last.map_or(0, |last| last.saturating_add(1));
        let answered = each(calls, ask).await?.into_iter().flatten();
        records.extend(answered.zip(next..).map(|(record, serial)| Record { serial, ..record }));
        Ok(())
    }

    async fn reservations(
        &self,
        ids: Vec<String>,
    ) -> Result<HashMap<String, ReservationEvidence>, EvidenceError> {
        let show = async |shop: Shop, id: String| {
            let found =
                read::<ReservationEvidence>(&shop, &format!("/v1/reservations/{id}")).await?;
            Ok(found.map(|found| (id, found)))
        };
        let found = each(ids, |id| show(self.shop.clone(), id)).await?;
        Ok(found.into_iter().flatten().collect())
    }
}

/// Why there is no evidence.
#[derive(Debug, Error)]
pub enum EvidenceError {
    /// No answer.
    #[error("the service does not answer {path}")]
    Silent {
        /// What was asked for.
        path: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// Not what was asked for.
    #[error("the service answers {path} with {status}: {body}")]
    Unexpected {
        /// What was asked for.
        path: String,
        /// The status.
        status: u16,
        /// The body.
        body: Value,
    },
    /// It cannot be read.
    #[error("the service's answer to {path} cannot be understood")]
    Malformed {
        /// What was asked for.
        path: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Answers are slow or do not come, or stock keeps changing.
    #[error("the service has not shown its books within {patience:?}")]
    Late {
        /// How long was waited.
        patience: Duration,
    },
    /// A part of the reading ended by itself.
    #[error("reading the evidence was cut short")]
    Task(#[source] JoinError),
}

/// Goes on where the clients' clock ended.
#[derive(Clone, Copy, Debug)]
struct Clock {
    last_us: u64,
    since: Instant,
}

impl Clock {
    fn after(records: &[Record]) -> Self {
        let last_us = records.iter().map(|record| record.ended_us).max().unwrap_or_default();
        Self { last_us: last_us.saturating_add(1), since: Instant::now() }
    }

    fn now_us(self) -> u64 {
        let passed = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last_us.saturating_add(passed)
    }
}

/// Runs a task for each of `items`, a bounded number at the same time. Results come in any order.
async fn each<I, T, F>(items: Vec<I>, task: impl Fn(I) -> F) -> Result<Vec<T>, EvidenceError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, EvidenceError>> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(QUESTIONS_MAX));
    let (mut tasks, mut results) = (JoinSet::new(), Vec::with_capacity(items.len()));
    for item in items {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { break };
        let task = task(item);
        tasks.spawn(async move {
            let result = task.await;
            drop(place);
            result
        });
        while let Some(result) = tasks.try_join_next() {
            results.push(result.map_err(EvidenceError::Task)??);
        }
    }
    while let Some(result) = tasks.join_next().await {
        results.push(result.map_err(EvidenceError::Task)??);
    }
    Ok(results)
}

/// Whether more is decided, of all that is asked for.
struct More {
    within: Duration,
    last: Mutex<Instant>,
}

impl More {
    fn within(within: Duration) -> Self {
        Self { within, last: Mutex::new(Instant::now()) }
    }

    fn has_come(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn comes(&self) -> bool {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).elapsed() <= self.within
    }
}

/// Makes a call again and again until it is answered for good or nothing more comes. Gives the records
/// of all attempts that said something, or may have done something.
async fn ask_until_decided(
    shop: Shop,
    clock: Clock,
    more: Arc<More>,
    call: Call,
) -> Result<Vec<Record>, EvidenceError> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let sent_us = clock.now_us();
        let answer = diary::ask(&shop, &call).await;
        let is_decided = !is_open(&call, &answer);
        if is_decided {
            more.has_come();
        }
        let is_last = is_decided || !more.comes();
        if is_last || records.last().is_none_or(|last| last.answer != answer) {
            let (ended_us, call) = (clock.now_us(), call.clone());
            let scheduled_us = sent_us;
            let role = Role::Witness;
            records.push(Record { serial: 0, role, call, scheduled_us, sent_us, ended_us, answer });
        }
        if is_last {
            return Ok(records);
        }
        time::sleep(PAUSE).await;
    }
}

/// Whether asking again may bring more: an order that got a ticket is asked for by that.
pub(super) fn is_open(call: &Call, answer: &Answer) -> bool {
    match answer {
        Answer::Queued { .. } => matches!(call, Call::Ticket { .. }),
        Answer::Refused { status, .. } => *status >= 500,
        Answer::Lost | Answer::HungUp | Answer::OverLimit => true,
        Answer::Held { .. } | Answer::Settled => false,
        Answer::SoldOut { .. } | Answer::SoldOutAtEdge { .. } => false,
    }
}

/// Tickets of which no outcome is known.
fn open_tickets(records: &[Record]) -> Vec<Call> {
    let mut decided: HashSet<&str> = HashSet::new();
    for record in records {
        match (&record.call, &record.answer) {
            (_, Answer::Held { id, .. }) => decided.insert(id),
            (Call::Ticket { id }, Answer::SoldOut { .. }) => decided.insert(id),
            _ => continue,
        };
    }
    let tickets = records.iter().filter_map(|record| match &record.answer {
        Answer::Queued { ticket } => Some(ticket.as_str()),
        _ => None,
    });
    let mut seen = decided;
    let open = tickets.filter(|ticket| seen.insert(ticket));
    open.map(|id| Call::Ticket { id: id.to_owned() }).collect()
}

/// All ids that clients were told as held, each once.
fn told_ids(records: &[Record]) -> Vec<String> {
    let mut seen = HashSet::new();
    let ids = records.iter().filter_map(|record| match &record.answer {
        Answer::Held { id, .. } if seen.insert(id.as_str()) => Some(id.clone()),
        _ => None,
    });
    ids.collect()
}

/// `GET /v1/skus/{sku}`.
#[derive(Deserialize)]
struct Stock {
    #[serde(flatten)]
    counters: Counters,
    version: u64,
}

/// A page of `GET /v1/skus/{sku}/journal`.
#[derive(Deserialize)]
struct Page {
    entries: Vec<Entry>,
    next: Option<u64>,
}

/// Reads a SKU's journal and counters, until they belong together: calls that nobody waits for any
/// more may still be on their way through a lane.
async fn sku_evidence(shop: Shop, sku: String) -> Result<SkuEvidence, EvidenceError> {
    let (mut journal, mut last) = (Vec::new(), None);
    loop {
        let stock = stock(&shop, &sku).await?;
        read_journal(&shop, &sku, &mut journal).await?;
        let ends_with = journal.last().map_or(0, |entry| entry.version);
        // Twice the same: a journal that lacks its end stays so, and is for the verdict to judge.
        if ends_with == stock.version || last == Some((ends_with, stock.version)) {
            let Stock { counters, version } = stock;
            return Ok(SkuEvidence { sku, journal, counters, version });
        }
        last = Some((ends_with, stock.version));
        time::sleep(PAUSE).await;
    }
}

async fn stock(shop: &Shop, sku: &str) -> Result<Stock, EvidenceError> {
    let none = Stock { counters: Counters::default(), version: 0 };
    Ok(read(shop, &format!("/v1/skus/{sku}")).await?.unwrap_or(none))
}

/// Reads on where `journal` ends.
async fn read_journal(
    shop: &Shop,
    sku: &str,
    journal: &mut Vec<Entry>,
) -> Result<(), EvidenceError> {
    let mut after = Some(journal.last().map_or(0, |entry| entry.version));
    while let Some(version) = after {
        let path = format!("/v1/skus/{sku}/journal?after={version}&limit=1000");
        let page: Option<Page> = read(shop, &path).await?;
        let Some(page) = page else { return Ok(()) };
        journal.extend(page.entries);
        // A page that leads back would be read for ever.
        after = page.next.filter(|next| *next > version);
    }
    Ok(())
}

/// Reads a document; `None` if there is none.
pub(super) async fn read<T: DeserializeOwned>(
    shop: &Shop,
    path: &str,
) -> Result<Option<T>, EvidenceError> {
    let path = || path.to_owned();
    let answer = loop {
        let called = shop.get(&path()).await;
        let answer = called.map_err(|source| EvidenceError::Silent { path: path(), source })?;
        // It asks for patience, which whoever gathers has, and not without end.
        if answer.status != 503 {
            break answer;
        }
        time::sleep(PAUSE).await;
    };
    match answer.status {
        200 => {
            let read = serde_json::from_value(answer.body);
            read.map(Some).map_err(|source| EvidenceError::Malformed { path: path(), source })
        }
        404 => Ok(None),
        status => Err(EvidenceError::Unexpected { path: path(), status, body: answer.body }),
    }
}
