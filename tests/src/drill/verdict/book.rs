//! Check *journal*: each SKU's journal is whole, adds up, and leads to the counters shown.
//!
//! Proves: versions follow each other without a gap from the first (or from the version before the
//! drill); each entry begins where the one before ended; units moved as the cause says, so that
//! nothing is negative and `available + held + confirmed` is what was last set, hence held and
//! confirmed units are never more than the stock; the service's time in it never runs backwards; a
//! reservation is taken once, and ended at most once, with the same units; the last entry gives the
//! version and the counters that the service shows.
//!
//! Sound, since all of it is the service's own account of itself, read at a moment when nothing
//! moved (`evidence` reads until version and journal agree).
//!
//! Cannot see: a journal that was forged as a whole and is consistent in itself. That is what the
//! other checks are for: they hold it against what clients were told.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::super::record::{Counters, Entry, SkuEvidence};
use super::calls::Calls;
use super::{Case, Check, Verdict, Violation};

/// The journals, by SKU.
pub(super) struct Books<'a>(HashMap<&'a str, Book<'a>>);

/// One SKU's journal, with what it says of each reservation.
pub(super) struct Book<'a> {
    evidence: &'a SkuEvidence,
    /// What is up to this version was there before the drill.
    pub(super) start: u64,
    /// Whether it can be used as evidence.
    is_sound: bool,
    /// Where a reservation is taken.
    taken: HashMap<&'a str, &'a Entry>,
    /// Where it ends.
    ended: HashMap<&'a str, &'a Entry>,
    /// The entries that took what went back with nobody knowing of it.
    gone: HashSet<u64>,
    last_at_ms: i64,
}

impl<'a> Books<'a> {
    /// Reads and checks all journals.
    pub(super) fn open(case: &Case<'a>, calls: &Calls<'a>, verdict: &mut Verdict) -> Self {
        let mut books = HashMap::new();
        for evidence in case.evidence {
            let book = Book::read(evidence, case.start_of(&evidence.sku), verdict);
            verdict.count(Check::Journal, evidence.journal.len());
            if books.insert(evidence.sku.as_str(), book).is_some() {
                let what = format!("{}: the evidence has two journals of it", evidence.sku);
                verdict.add(Violation::new(Check::Journal, what));
            }
        }
        let mut missing = HashMap::new();
        for (order, held) in calls.held() {
            if !books.contains_key(order.wish.sku.as_str()) {
                missing.entry(order.wish.sku.as_str()).or_insert_with(Vec::new).push(held.by);
            }
        }
        for (sku, promised) in missing {
            let what = format!("{sku}: units were promised, but the evidence has no journal of it");
            verdict.add(Violation::new(Check::Journal, what).records(promised));
        }
        Self(books)
    }

    /// The journal of a SKU, if it can be used as evidence.
    pub(super) fn of(&self, sku: &str) -> Option<&Book<'a>> {
        self.0.get(sku).filter(|book| book.is_sound)
    }

    /// All journals that can be used as evidence.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Book<'a>> {
        self.0.values().filter(|book| book.is_sound)
    }
}

impl<'a> Book<'a> {
    fn read(evidence: &'a SkuEvidence, start: u64, verdict: &mut Verdict) -> Self {
        let (taken, ended, gone) = Default::default();
        let (is_sound, last_at_ms) = (true, i64::MIN);
        let mut book = Self { evidence, start, is_sound, taken, ended, gone, last_at_ms };
        let mut last = book.before_first();
        for entry in &evidence.journal {
            let step = check_step(last, entry).and_then(|()| book.check_time(entry));
            // What follows a fault may speak of holds that were taken where it is.
            let step = if book.is_sound { step.and_then(|()| book.note(entry)) } else { step };
            last = Last { version: Some(entry.version), counters: Some(entry.after) };
            if let Err(what) = step {
                book.is_sound = false;
                book.complain(what, entry, verdict);
                // Each fault is reported once, and not again by what comes after it.
                last = Last { version: None, counters: None };
            }
        }
        book.check_end(last, verdict);
        book
    }

    /// The journal begins at the beginning, with nothing, or right after the start.
    fn before_first(&self) -> Last {
        let begins =
            self.evidence.journal.first().map_or(self.start.saturating_add(1), |e| e.version);
        if self.start == 0 || begins == 1 {
            return Last { version: Some(0), counters: Some(Counters::default()) };
        }
        Last { version: Some(self.start), counters: None }
    }

    fn check_time(&mut self, entry: &Entry) -> Result<(), String> {
        let Some(at_ms) = at_ms(entry) else {
            return Err(format!("is dated {:?}, which is no time", entry.at));
        };
        let last = std::mem::replace(&mut self.last_at_ms, at_ms);
        if at_ms < last { Err("is dated before the entry before it".to_owned()) } else { Ok(()) }
    }

    /// Notes what an entry says of its reservation.
    fn note(&mut self, entry: &'a Entry) -> Result<(), String> {
        let id = match (entry.cause.as_str(), entry.reservation_id.as_deref()) {
            ("set", _) => return Ok(()),
            (_, Some(id)) => id,
            (_, None) => return Err("names no reservation".to_owned()),
        };
        if entry.cause == "reserve" {
            // What ran out of time with nobody knowing of it may be taken anew.
            let lapsed = self.ended.get(id).is_some_and(|ended| ended.cause == "expire");
            if lapsed && let Some(taken) = self.taken.remove(id) {
                self.ended.remove(id);
                self.gone.insert(taken.version);
            }
            return match self.taken.insert(id, entry) {
                Some(first) => Err(format!("takes {id}, which entry {} took", first.version)),
                None => Ok(()),
            };
        }
        let is_whole = self.evidence.journal.first().is_some_and(|first| first.version == 1);
        match self.taken.get(id) {
            None if is_whole => return Err(format!("ends {id}, which was not taken before")),
            Some(taken) if taken.quantity != entry.quantity => {
                let (had, taken) = (taken.quantity, taken.version);
                return Err(format!("ends {id} with other units than the {had} of entry {taken}"));
            }
            _ => {}
        }
        if entry.cause == "cancel" && !self.ended.contains_key(id) {
            // Nobody had heard of it: it is as if it had not been taken.
            self.gone.extend(self.taken.remove(id).map(|taken| taken.version));
            return Ok(());
        }
        match self.ended.insert(id, entry) {
            Some(first) => Err(format!("ends {id}, which entry {} ended", first.version)),
            None => Ok(()),
        }
    }

    /// Whether the entry took what went back with nobody knowing of it.
    pub(super) fn is_gone(&self, version: u64) -> bool {
        self.gone.contains(&version)
    }

    /// The journal leads to what the service shows. One that lacks its end is no evidence either.
    fn check_end(&mut self, last: Last, verdict: &mut Verdict) {
        let SkuEvidence { sku, version: now, counters: shown, .. } = self.evidence;
        let Some(version) = last.version else { return };
        let what = if version != *now {
            self.is_sound = false;
            format!("{sku}: the journal ends with entry {version}, but the SKU's version is {now}")
        } else if let Some(counters) = last.counters.filter(|counters| counters != shown) {
            let (counters, shown) = (show(counters), show(*shown));
            format!("{sku}: entry {version} leads to {counters}, but the SKU shows {shown}")
        } else {
            return;
        };
        verdict.add(Violation::new(Check::Journal, what).entries(sku, [version]));
    }

    fn complain(&self, what: String, entry: &Entry, verdict: &mut Verdict) {
        let (sku, version) = (&self.evidence.sku, entry.version);
        let what = format!("{sku}: entry {version} ({} of {}) {what}", entry.cause, entry.quantity);
        verdict.add(Violation::new(Check::Journal, what).entries(sku, [version]));
    }

    /// The SKU.
    pub(super) fn sku(&self) -> &'a str {
        &self.evidence.sku
    }

    /// All entries.
    pub(super) fn journal(&self) -> &'a [Entry] {
        &self.evidence.journal
    }

    /// The entry that takes a reservation.
    pub(super) fn taken(&self, id: &str) -> Option<&'a Entry> {
        self.taken.get(id).copied()
    }

    /// The entry that ends a reservation.
    pub(super) fn ended(&self, id: &str) -> Option<&'a Entry> {
        self.ended.get(id).copied()
    }
}

/// When an entry was made, by the service's clock.
pub(super) fn at_ms(entry: &Entry) -> Option<i64> {
    entry.at.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

/// What the entry before leads to, as far as it can be relied on.
#[derive(Clone, Copy)]
struct Last {
    version: Option<u64>,
    counters: Option<Counters>,
}

fn check_step(last: Last, entry: &Entry) -> Result<(), String> {
    if let Some(version) = last.version
        && version.checked_add(1) != Some(entry.version)
    {
        return Err(format!("follows entry {version}"));
    }
    if let Some(counters) = last.counters.filter(|counters| *counters != entry.before) {
        let (before, counters) = (show(entry.before), show(counters));
        return Err(format!("begins with {before}, where the one before ended with {counters}"));
    }
    let Counters { available, held, confirmed } = entry.before;
    let units = entry.quantity;
    let after = match entry.cause.as_str() {
        "set" => {
            let committed = held.checked_add(confirmed);
            (committed.and_then(|c| units.checked_sub(c)), Some(held), Some(confirmed))
        }
        "reserve" => (available.checked_sub(units), held.checked_add(units), Some(confirmed)),
        "confirm" => (Some(available), held.checked_sub(units), confirmed.checked_add(units)),
        "release" | "expire" | "cancel" => {
            (available.checked_add(units), held.checked_sub(units), Some(confirmed))
        }
        _ => return Err("has an unknown cause".to_owned()),
    };
    let Counters { available, held, confirmed } = entry.after;
    if after != (Some(available), Some(held), Some(confirmed)) {
        let (before, after) = (show(entry.before), show(entry.after));
        return Err(format!("does not add up: it makes {after} of {before}"));
    }
    Ok(())
}

fn show(Counters { available, held, confirmed }: Counters) -> String {
    format!("{available} available, {held} held, {confirmed} confirmed")
}
