//! The service's side: what it knows of its edges, and what it tells them.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Item, Reply, Report, Session, Version};
use crate::Sku;
use crate::shares::Book;

/// How edges are kept in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long shares are good without news.
    pub ttl_ms: u64,
    /// By how much longer an edge's clock may make of that time. Clocks that differ by 500 parts in a million
    /// make 1 ms of 2 s.
    pub margin_ms: u64,
    /// How often an edge reports that has nothing to wait for.
    pub report_every_ms: u64,
    /// The most edges; one more is not answered.
    pub edges_max: usize,
}

/// What the service knows of its edges.
#[derive(Clone, Debug)]
pub struct Fleet {
    settings: Settings,
    incarnation: u64,
    /// Until then others than this incarnation may have granted something.
    learns_until_ms: u64,
    revision: u64,
    items: BTreeMap<Sku, Known>,
    /// What was taken out of the registry, and with which revision; the latest are last.
    gone: VecDeque<(u64, Sku)>,
    /// Books of limits that are no more, until when edges may use shares of them.
    closed: BTreeMap<Sku, (Book, u64)>,
    edges: HashMap<u64, Edge>,
}

#[derive(Clone, Debug)]
struct Known {
    item: Item,
    /// With which it was registered, and changed last.
    since: u64,
    revision: u64,
    /// Units per second that are asked for at all edges.
    demand: u64,
    book: Option<Book>,
}

#[derive(Clone, Debug, Default)]
struct Edge {
    /// Of its last report.
    number: u64,
    until_ms: u64,
    /// The registry that it had then, if it was of this incarnation.
    known: Option<u64>,
    asked: Vec<Asked>,
}

/// What an edge was asked for, by its last report.
#[derive(Clone, Debug)]
struct Asked {
    sku: Sku,
    /// Which registration of the SKU it counts for.
    since: u64,
    demand: u32,
}

/// Why a report was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum NotTaken {
    /// It is not newer than what was taken.
    #[error("report {number} is not newer than {taken}, which was taken")]
    Outdated {
        /// Its number.
        number: u64,
        /// The number of the last one that was taken.
        taken: u64,
    },
    /// There are as many edges as there may be.
    #[error("there are as many edges as there may be: {max}")]
    TooManyEdges {
        /// The number.
        max: usize,
    },
}

/// How many are remembered that are hot no more. An edge that knows less than these is told all there is.
const GONE_MAX: usize = 1_024;

/// How long whole units of a limit below one for each edge stay with an edge, in times of a session. Nobody
/// has a unit while it moves on, for a report or two.
const TURN_TTLS: u64 = 2;

/// An edge that waits for something reports so many times as often. More would be too many for its tick.
const HASTE: u64 = 2;

impl Fleet {
    /// A service without any memory, whose `incarnation` no other ever had.
    pub fn new(incarnation: u64, settings: Settings, now_ms: u64) -> Self {
        let learns_until_ms = now_ms.saturating_add(settings.ttl_ms + settings.margin_ms);
        let (revision, items, gone, closed, edges) = Default::default();
        Self { settings, incarnation, learns_until_ms, revision, items, gone, closed, edges }
    }

    /// The registry's state.
    pub fn version(&self) -> Version {
        Version { incarnation: self.incarnation, revision: self.revision }
    }

    /// How many edges report.
    pub fn edges(&self) -> usize {
        self.edges.len()
    }

    /// Units per second that are asked for of an item at all edges; `None`: it is none.
    pub fn demand(&self, sku: &Sku) -> Option<u64> {
        self.items.get(sku).map(|known| known.demand)
    }

    /// How many edges have acknowledged an item as it is; `None`: it is none.
    pub fn acknowledged(&self, sku: &Sku) -> Option<usize> {
        let revision = self.items.get(sku)?.revision;
        Some(self.edges.values().filter(|edge| edge.known >= Some(revision)).count())
    }

    /// How many edges have not acknowledged the registry as it is.
    pub fn behind(&self) -> usize {
        self.edges.values().filter(|edge| edge.known < Some(self.revision)).count()
    }

    /// An item, as edges know it.
    pub fn item(&self, sku: &Sku) -> Option<&Item> {
        self.items.get(sku).map(|known| &known.item)
    }

    /// The items, as edges know them.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.items.values().map(|known| &known.item)
    }

    /// Registers an item, or changes it.
    pub fn set(&mut self, item: Item) {
        let before = self.items.get_mut(&item.sku);
        if before.as_ref().is_some_and(|known| known.item == item) {
            return;
        }
        self.revision += 1;
        let (sku, revision) = (item.sku.clone(), self.revision);
        let (since, demand, book) = before
            .map_or((revision, 0, None), |known| (known.since, known.demand, known.book.take()));
        let book = match item.limit {
            Some(limit) => {
                let mut book = book.unwrap_or_else(|| self.open_book(&sku));
                book.set_limit(limit.per_second());
                Some(book)
            }
            None => {
                self.close_book(&sku, book);
                None
            }
        };
        self.items.insert(sku, Known { item, since, revision, demand, book });
    }

    /// Takes an item out.
    pub fn remove(&mut self, sku: &Sku) {
        if let Some(known) = self.items.remove(sku) {
            self.revision += 1;
            self.close_book(sku, known.book);
            self.gone.push_back((self.revision, sku.clone()));
            if self.gone.len() > GONE_MAX {
                self.gone.pop_front();
            }
        }
    }

    /// Forgets edges whose sessions have ended, and says anew what each edge is to have. To be called every so
    /// often; the more often, the sooner shares follow demand.
    pub fn plan(&mut self, now_ms: u64) {
        let ended =
            self.edges.iter().filter(|(_, edge)| edge.until_ms <= now_ms).map(|(id, _)| *id);
        for id in ended.collect::<Vec<_>>() {
            let asked = self.edges.remove(&id).map_or_else(Vec::new, |edge| edge.asked);
            self.take_back(&asked);
            self.forget(id);
        }
        self.closed.retain(|_, (_, until_ms)| now_ms < *until_ms);
        let turn = now_ms / self.settings.ttl_ms.saturating_mul(TURN_TTLS).max(1);
        self.books().for_each(|(_, book)| book.plan(turn));
    }

    /// Takes an edge's report, and says what it is to be told. `unix_ms` is the service's time for others.
    ///
    /// # Errors
    /// It is not newer than one that was taken, or there are as many edges as there may be.
    pub fn report(
        &mut self,
        id: u64,
        report: &Report,
        now_ms: u64,
        unix_ms: u64,
    ) -> Result<Reply, NotTaken> {
        let (before, max) = (self.edges.get(&id), self.settings.edges_max);
        match before.map(|edge| edge.number) {
            Some(taken) if report.number <= taken => {
                return Err(NotTaken::Outdated { number: report.number, taken });
            }
            None if self.edges.len() >= max => return Err(NotTaken::TooManyEdges { max }),
            _ => {}
        }
        let learns = now_ms < self.learns_until_ms;
        let is_alive = before.is_some_and(|edge| now_ms < edge.until_ms);
        let session = self.session(report, is_alive, learns);
        if session == Session::Begun {
            self.begin(id, report, learns);
        }
        let known = report.known.filter(|known| known.incarnation == self.incarnation);
        let known = known.map(|known| known.revision);
        let mut edge = self.edges.remove(&id).unwrap_or_default();
        (edge.number, edge.known) = (report.number, known);
        edge.until_ms = match session {
            Session::Unknown => now_ms,
            Session::Renewed | Session::Begun => {
                edge.asked = self.note(id, &edge.asked, report);
                let Settings { ttl_ms, margin_ms, .. } = self.settings;
                now_ms.saturating_add(ttl_ms).saturating_add(margin_ms)
            }
        };
        self.edges.insert(id, edge);
        Ok(self.reply(id, session, known, learns, unix_ms))
    }

    /// What becomes of an edge's session with a report.
    fn session(&self, report: &Report, is_alive: bool, learns: bool) -> Session {
        match report.holds {
            Some(incarnation) if incarnation == self.incarnation && is_alive => Session::Renewed,
            // Of an incarnation before. It is the edge's: nobody else was granted it.
            Some(incarnation) if incarnation != self.incarnation && learns && !report.is_all => {
                Session::Unknown
            }
            _ => Session::Begun,
        }
    }

    /// Begins a session with what the edge has of an incarnation before. What it had of this one has ended,
    /// or was never heard of by it.
    fn begin(&mut self, id: u64, report: &Report, learns: bool) {
        self.forget(id);
        let is_before = report.holds.is_some_and(|incarnation| incarnation != self.incarnation);
        self.books().for_each(|(_, book)| book.ask(id, 0));
        for item in &report.items {
            if let Some((_, per_second)) = item.share
                && learns
                && is_before
                && let Some(book) = self.book(&item.sku)
            {
                book.adopt(id, per_second);
            }
        }
    }

    /// Notes what an edge is asked for, and which shares it has. What it does not name it is not asked for.
    fn note(&mut self, id: u64, asked_before: &[Asked], report: &Report) -> Vec<Asked> {
        self.take_back(asked_before);
        let is_named: HashSet<_> = report.items.iter().map(|item| &item.sku).collect();
        for Asked { sku, .. } in asked_before.iter().filter(|asked| !is_named.contains(&asked.sku))
        {
            if let Some(book) = self.book(sku) {
                book.ask(id, 0);
            }
        }
        let holds = report.holds == Some(self.incarnation);
        let mut asked = Vec::new();
        for item in &report.items {
            let Some(known) = self.items.get_mut(&item.sku) else { continue };
            if item.demand > 0 {
                known.demand += u64::from(item.demand);
                let (sku, since, demand) = (item.sku.clone(), known.since, item.demand);
                asked.push(Asked { sku, since, demand });
            }
            let Some(book) = &mut known.book else { continue };
            book.ask(id, item.demand);
            if let Some((seq, _)) = item.share.filter(|_| holds) {
                book.confirm(id, seq);
            }
        }
        asked
    }

    /// Takes back what was noted of an edge's demand.
    fn take_back(&mut self, asked: &[Asked]) {
        for Asked { sku, since, demand } in asked {
            if let Some(known) = self.items.get_mut(sku).filter(|known| known.since == *since) {
                known.demand -= u64::from(*demand);
            }
        }
    }

    fn reply(
        &mut self,
        id: u64,
        session: Session,
        known: Option<u64>,
        learns: bool,
        unix_ms: u64,
    ) -> Reply {
        let gone_from = self.gone.front().map_or(0, |(revision, _)| revision - 1);
        let known = known.filter(|known| *known >= gone_from || *known == self.revision);
        let is_newer = |revision: u64| known.is_none_or(|known| revision > known);
        let items = self.items.values().filter(|known| is_newer(known.revision));
        let items = items.map(|known| known.item.clone()).collect();
        let gone = self.gone.iter().filter(|(revision, sku)| {
            known.is_some() && is_newer(*revision) && !self.items.contains_key(sku)
        });
        let gone = gone.map(|(_, sku)| sku.clone()).collect();
        let (mut shares, mut waits) = (Vec::new(), session == Session::Unknown);
        if session != Session::Unknown {
            for (sku, book) in self.books() {
                let granted = book.grant(id, learns);
                shares
                    .extend(granted.map(|granted| (sku.clone(), granted.seq, granted.per_second)));
                waits |= granted.is_some() || (!learns && book.is_waiting(id));
            }
        }
        let Settings { ttl_ms, report_every_ms, .. } = self.settings;
        Reply {
            version: self.version(),
            session,
            ttl_ms,
            report_in_ms: if waits { report_every_ms / HASTE } else { report_every_ms },
            edges: u32::try_from(self.edges.len()).unwrap_or(u32::MAX),
            now_ms: unix_ms,
            is_all: known.is_none(),
            items,
            gone,
            shares,
        }
    }

    fn books(&mut self) -> impl Iterator<Item = (&Sku, &mut Book)> {
        self.items.iter_mut().filter_map(|(sku, known)| Some((sku, known.book.as_mut()?)))
    }

    fn book(&mut self, sku: &Sku) -> Option<&mut Book> {
        self.items.get_mut(sku)?.book.as_mut()
    }

    fn forget(&mut self, id: u64) {
        let closed = self.closed.values_mut().map(|(book, _)| book);
        let open = self.items.values_mut().filter_map(|known| known.book.as_mut());
        open.chain(closed).for_each(|book| book.forget(id));
    }

    /// The book of a limit that is new. If there was one just now, edges may still use shares of it.
    fn open_book(&mut self, sku: &Sku) -> Book {
        let mut book = self.closed.remove(sku).map(|(book, _)| book).unwrap_or_default();
        book.tell_again();
        self.edges.keys().for_each(|id| book.ask(*id, 0));
        book
    }

    fn close_book(&mut self, sku: &Sku, book: Option<Book>) {
        // Whoever's session is renewed hears that it is closed.
        let until_ms = self.edges.values().map(|edge| edge.until_ms).max().unwrap_or_default();
        if let Some(book) = book {
            self.closed.insert(sku.clone(), (book, until_ms));
        }
    }
}
