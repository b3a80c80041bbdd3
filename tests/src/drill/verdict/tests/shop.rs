//! A tiny honest shop: what the service promises to be, in memory.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;

use crate::drill::record::{
    Answer, Call, Counters, Entry, Order, Record, ReservationEvidence, Role, Settlement,
    SkuEvidence,
};
use crate::drill::verdict::{Case, Limits, Verdict, judge};

/// Where the service's clock stands when the clients' clock stands at 0: they have nothing to do
/// with each other.
const SERVICE_EPOCH_MS: u64 = 1_000_000_000_000;

/// A shop with its books.
#[derive(Debug)]
pub(super) struct Shop {
    hold_ms: u64,
    skus: HashMap<String, SkuEvidence>,
    holds: HashMap<String, Hold>,
    due: BTreeSet<(u64, String)>,
    /// By key, customer and SKU: what was asked for, and the answer.
    keyed: HashMap<(String, String, String), (u32, Answer)>,
}

#[derive(Debug)]
struct Hold {
    evidence: ReservationEvidence,
    expires_at_ms: u64,
}

impl Shop {
    pub(super) fn new(hold_ms: u64) -> Self {
        let (skus, holds, keyed) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { hold_ms, skus, holds, due: BTreeSet::new(), keyed }
    }

    /// Puts units up for sale at `ms`.
    pub(super) fn set(&mut self, ms: u64, sku: &str, units: u64) {
        let empty = SkuEvidence {
            sku: sku.to_owned(),
            journal: Vec::new(),
            counters: Counters::default(),
            version: 0,
        };
        self.skus.entry(sku.to_owned()).or_insert(empty);
        self.write(SERVICE_EPOCH_MS + ms, sku, ("set", None), units);
    }

    /// Decides an order at `ms` on the clients' clock.
    pub(super) fn reserve(&mut self, ms: u64, order: &Order) -> Answer {
        let now_ms = SERVICE_EPOCH_MS + ms;
        self.expire(now_ms);
        let Order { sku, quantity, customer, key } = order;
        let name = key.clone().map(|key| (key, customer.clone(), sku.clone()));
        if let Some((first, answer)) = name.as_ref().and_then(|name| self.keyed.get(name)) {
            let problem = "idempotency-key-reused".to_owned();
            let reused = Answer::Refused { status: 422, problem };
            return if first == quantity { answer.clone() } else { reused };
        }
        let available = self.skus[sku].counters.available;
        let answer = if available < u64::from(*quantity) {
            Answer::SoldOut { available }
        } else {
            self.hold(now_ms, order)
        };
        if let Some(name) = name {
            self.keyed.insert(name, (*quantity, answer.clone()));
        }
        answer
    }

    fn hold(&mut self, now_ms: u64, order: &Order) -> Answer {
        let id = format!("r{}", self.holds.len() + 1);
        let (expires_at_ms, quantity) = (now_ms + self.hold_ms, order.quantity.into());
        self.write(now_ms, &order.sku, ("reserve", Some(&id)), quantity);
        let evidence = ReservationEvidence {
            reservation_id: id.clone(),
            state: "held".to_owned(),
            sku: order.sku.clone(),
            quantity,
        };
        self.holds.insert(id.clone(), Hold { evidence, expires_at_ms });
        self.due.insert((expires_at_ms, id.clone()));
        Answer::Held { id, expires_at_ms }
    }

    /// Ends a hold at `ms`.
    pub(super) fn settle(&mut self, ms: u64, id: &str, how: Settlement) -> Answer {
        let now_ms = SERVICE_EPOCH_MS + ms;
        self.expire(now_ms);
        let (cause, wanted) = match how {
            Settlement::Confirm => ("confirm", "confirmed"),
            Settlement::Release => ("release", "released"),
        };
        let refused = |problem: String| Answer::Refused { status: 409, problem };
        match self.holds.get(id).map(|hold| hold.evidence.state.clone()).as_deref() {
            None => refused("unknown-reservation".to_owned()),
            Some("held") => {
                self.end(now_ms, id, cause, wanted);
                Answer::Settled
            }
            Some(state) if state == wanted => Answer::Settled,
            Some(state) => refused(format!("hold-{state}")),
        }
    }

    /// Until when edges are told at `ms` that a SKU is sold out; 0 if it is not.
    pub(super) fn sold_out_until_ms(&self, ms: u64, sku: &str) -> u64 {
        if self.skus[sku].counters.available > 0 {
            return 0;
        }
        let is_of = |id: &String| self.holds[id].evidence.sku == sku;
        let first = self.due.iter().find(|(_, id)| is_of(id));
        first.map_or(ms + 60_000, |(due_ms, _)| due_ms - SERVICE_EPOCH_MS)
    }

    fn expire(&mut self, now_ms: u64) {
        while let Some((_, id)) = self.due.first().filter(|(due_ms, _)| *due_ms <= now_ms).cloned()
        {
            self.end(now_ms, &id, "expire", "expired");
        }
    }

    fn end(&mut self, now_ms: u64, id: &str, cause: &str, state: &str) {
        let hold = self.holds.get_mut(id).unwrap();
        hold.evidence.state = state.to_owned();
        self.due.remove(&(hold.expires_at_ms, id.to_owned()));
        let (sku, quantity) = (hold.evidence.sku.clone(), hold.evidence.quantity);
        self.write(now_ms, &sku, (cause, Some(id)), quantity);
    }

    fn write(&mut self, now_ms: u64, sku: &str, (cause, id): (&str, Option<&str>), quantity: u64) {
        let at = Timestamp::from_millisecond(i64::try_from(now_ms).unwrap()).unwrap();
        let entry = Entry {
            version: 0,
            at: format!("{at:.3}"),
            cause: cause.to_owned(),
            reservation_id: id.map(str::to_owned),
            quantity,
            before: Counters::default(),
            after: Counters::default(),
        };
        let evidence = self.skus.get_mut(sku).unwrap();
        add(evidence, entry);
    }

    /// Everything there is to know, with what clients recorded.
    pub(super) fn into_trial(self, records: Vec<Record>, limits: Option<Limits>) -> Trial {
        let mut evidence: Vec<_> = self.skus.into_values().collect();
        evidence.sort_unstable_by(|a, b| a.sku.cmp(&b.sku));
        let holds = self.holds.into_iter().map(|(id, hold)| (id, hold.evidence));
        Trial { records, evidence, reservations: holds.collect(), limits }
    }
}

/// Puts an entry at the end of a journal, as the next version.
pub(super) fn add(evidence: &mut SkuEvidence, mut entry: Entry) {
    let before = evidence.counters;
    let Counters { available, held, confirmed } = before;
    let units = entry.quantity;
    let after = match entry.cause.as_str() {
        "set" => Counters { available: units - held - confirmed, ..before },
        "reserve" => Counters { available: available - units, held: held + units, confirmed },
        "confirm" => Counters { available, held: held - units, confirmed: confirmed + units },
        _ => Counters { available: available + units, held: held - units, confirmed },
    };
    evidence.version += 1;
    evidence.counters = after;
    entry.version = evidence.version;
    (entry.before, entry.after) = (before, after);
    evidence.journal.push(entry);
}

/// A case that owns what it is about, to be falsified.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub(super) records: Vec<Record>,
    pub(super) evidence: Vec<SkuEvidence>,
    pub(super) reservations: HashMap<String, ReservationEvidence>,
    pub(super) limits: Option<Limits>,
}

impl Trial {
    pub(super) fn judge(&self) -> Verdict {
        let case = Case::new(&self.records, &self.reservations, &self.evidence);
        match &self.limits {
            Some(limits) => judge(&case.limits(limits)),
            None => judge(&case),
        }
    }

    /// The record with a serial number.
    pub(super) fn record(&mut self, serial: u64) -> &mut Record {
        self.records.iter_mut().find(|record| record.serial == serial).unwrap()
    }

    /// Takes a record away.
    pub(super) fn forget(&mut self, serial: u64) -> Record {
        let place = self.records.iter().position(|record| record.serial == serial).unwrap();
        self.records.remove(place)
    }

    /// Writes the first SKU's journal anew with these entries, so that it adds up.
    pub(super) fn rewrite(&mut self, entries: Vec<Entry>) {
        let evidence = &mut self.evidence[0];
        evidence.journal.clear();
        (evidence.counters, evidence.version) = (Counters::default(), 0);
        entries.into_iter().for_each(|entry| add(evidence, entry));
    }

    /// The first SKU's journal.
    pub(super) fn journal(&mut self) -> &mut Vec<Entry> {
        &mut self.evidence[0].journal
    }
}

/// A record of a call.
pub(super) fn record(
    serial: u64,
    call: Call,
    [sent_us, ended_us]: [u64; 2],
    answer: Answer,
) -> Record {
    let (role, scheduled_us) = (Role::Shopper, sent_us);
    Record { serial, role, call, scheduled_us, sent_us, ended_us, answer }
}
