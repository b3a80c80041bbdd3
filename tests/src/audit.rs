//! Checks the service against what its clients were told, and against nothing else.
//!
//! A client notes every order with the answer it got, or that it got none. After a crash, or
//! after anything else, [`audit`] looks at what the service says now:
//!
//! - a SKU's journal has no gaps, each entry begins where the one before ended, nothing in it is
//!   negative, and folding it gives the SKU's counters;
//! - a reservation id is taken once and ends at most once;
//! - every 201 is there, with its quantity, in a state that its client's confirmations and releases
//!   allow; every 202 leads to an outcome; no 409 came for a SKU that always had enough units;
//! - an order repeated with its key gets the answer it got before;
//! - whatever else is in the journal is accounted for by orders whose answer was lost.
//!
//! Holds must last longer than the test: an expiry would be a change no client asked for.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::process::eventually;
use crate::shop::{Answer, Order, Shop};

/// What a client noted about one order.
#[derive(Clone, Debug)]
pub struct Note {
    /// What it asked for.
    pub order: Order,
    /// What it was told.
    pub told: Told,
    /// What it asked to be done with its reservation.
    pub settlement: Option<Settlement>,
}

/// The answer to an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// 201 with this reservation.
    Held(String),
    /// 202 with this ticket.
    Queued(String),
    /// 409 `sold-out`.
    SoldOut,
    /// The order was not taken: 503, for one.
    Refused(u16),
    /// No answer came.
    Nothing,
}

impl Told {
    /// Sorts an answer to an order, or its absence.
    pub fn from_answer<E>(answer: &Result<Answer, E>) -> Self {
        match answer {
            Ok(answer) if answer.status == 201 => Self::Held(answer.reservation_id().to_owned()),
            Ok(answer) if answer.status == 202 => Self::Queued(answer.ticket().to_owned()),
            Ok(answer) if answer.problem() == "sold-out" => Self::SoldOut,
            Ok(answer) => Self::Refused(answer.status),
            Err(_) => Self::Nothing,
        }
    }

    /// What one order was told that was sent twice, with one key: the two must agree.
    ///
    /// # Panics
    /// They do not.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing | Self::Refused(_), told) | (told, Self::Nothing | Self::Refused(_)) => {
                told
            }
            (Self::Held(id), Self::Held(other) | Self::Queued(other))
            | (Self::Queued(other), Self::Held(id)) => {
                assert_eq!(id, other, "one order, sent twice, got two reservations");
                Self::Held(id)
            }
            // A repeat may have to wait in the lane again.
            (Self::SoldOut, Self::Queued(_)) | (Self::Queued(_), Self::SoldOut) => Self::SoldOut,
            (told, other) => {
                assert_eq!(told, other, "one order, sent twice, got two answers");
                told
            }
        }
    }
}

/// A request to end a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// `confirm` or `release`.
    pub how: &'static str,
    /// The status of the answer, `None` if none came.
    pub status: Option<u16>,
}

impl Settlement {
    /// Where its reservation may stand afterwards.
    fn allows(&self, state: &str) -> bool {
        let settled = if self.how == "confirm" { "confirmed" } else { "released" };
        match self.status {
            Some(200) => state == settled,
            // Perhaps it was lost before, perhaps after it took effect.
            None => state == settled || state == "held",
            Some(_) => state == "held",
        }
    }
}

/// Checks `notes`, which are all that the clients of `skus` have noted so far, against what the
/// service behind `shop` says now. First it asks once more for what is still open (tickets, and
/// orders with a key whose answer was lost) and adds the answers to their notes.
///
/// # Panics
/// The service does not keep what it told.
pub async fn audit(shop: &Shop, skus: &[&str], notes: &mut [Note]) {
    for note in &mut *notes {
        ask_again(shop, note).await;
    }
    let mut journals = BTreeMap::new();
    for sku in skus {
        journals.insert((*sku).to_owned(), read_journal(shop, sku).await);
    }
    let audit = Audit { shop, journals };
    for note in &*notes {
        audit.check_note(note).await;
    }
    audit.check_strays(notes);
    check_one_hold_each(notes);
}

/// Asks for the answer to an order that has none yet, if there is a way to ask.
async fn ask_again(shop: &Shop, note: &mut Note) {
    if note.told == Told::Nothing && note.order.key.is_some() {
        note.told = order_again(shop, &note.order).await;
    }
    if let Told::Queued(ticket) = &note.told {
        let outcome = ticket_outcome(shop, ticket).await;
        if let Told::Held(id) = &outcome {
            assert_eq!(id, ticket, "the ticket of {note:?} led to another's reservation");
        }
        note.told = outcome;
    }
}

/// What the same order gets when it is sent again.
async fn order_again(shop: &Shop, order: &Order) -> Told {
    let answer = shop.reserve(order).await;
    match Told::from_answer(&answer) {
        Told::Queued(ticket) => ticket_outcome(shop, &ticket).await,
        told @ (Told::Held(_) | Told::SoldOut) => told,
        _ => panic!("{order:?}, sent again: {answer:?}"),
    }
}

/// Waits for what a ticket leads to.
async fn ticket_outcome(shop: &Shop, ticket: &str) -> Told {
    let path = format!("/v1/tickets/{ticket}");
    let answer = eventually("a ticket's outcome", || async {
        let answer = shop.get(&path).await.expect("the service answers");
        (answer.status != 202).then_some(answer)
    });
    match answer.await {
        answer if answer.status == 200 => Told::Held(answer.reservation_id().to_owned()),
        answer if answer.problem() == "sold-out" => Told::SoldOut,
        answer => panic!("ticket {ticket}: {answer:?}"),
    }
}

/// Reads a SKU's journal and counters at a moment when they belong together: orders whose answer
/// was lost may still be on their way through a lane.
async fn read_journal(shop: &Shop, sku: &str) -> Journal {
    let read = || async {
        let entries = shop.journal(sku).await.expect("the service answers");
        let stock = shop.stock(sku).await.expect("the service answers").body;
        (stock["version"] == entries.len()).then_some((entries, stock))
    };
    let (entries, stock) = eventually("a journal as long as the SKU's version says", read).await;
    Journal::fold(sku, &entries, &stock)
}

/// Nobody gets a hold that another order took; an order sent twice with its key gets the same.
fn check_one_hold_each(notes: &[Note]) {
    let mut orders: HashMap<&str, &Order> = HashMap::new();
    for note in notes {
        if let Told::Held(id) = &note.told
            && let Some(other) = orders.insert(id, &note.order)
        {
            assert_eq!(other, &note.order, "two orders got the hold {id}");
            assert!(other.key.is_some(), "two orders got the hold {id}: {other:?}");
        }
    }
}

/// A service whose journals are right in themselves.
struct Audit<'a> {
    shop: &'a Shop,
    journals: BTreeMap<String, Journal>,
}

/// What a SKU's journal tells.
#[derive(Debug)]
struct Journal {
    /// Units taken, by reservation id.
    taken: HashMap<String, u64>,
    /// Reservations that have ended.
    ended: BTreeSet<String>,
    /// The fewest units that were ever available, once there were any.
    available_min: u64,
}

impl Audit<'_> {
    async fn check_note(&self, note: &Note) {
        match &note.told {
            Told::Held(id) => self.check_held(id, note).await,
            Told::SoldOut => self.check_sold_out(&note.order),
            Told::Refused(status) => assert_eq!(*status, 503, "{note:?}"),
            Told::Queued(_) | Told::Nothing => {}
        }
        if note.order.key.is_some() && matches!(note.told, Told::Held(_) | Told::SoldOut) {
            let again = order_again(self.shop, &note.order).await;
            assert_eq!(again, note.told, "{:?}, sent again", note.order);
        }
    }

    async fn check_held(&self, id: &str, note: &Note) {
        let taken = self.journal(&note.order).taken.get(id);
        assert_eq!(taken, Some(&note.order.quantity.into()), "in the journal: {note:?}");
        let path = format!("/v1/reservations/{id}");
        let answer = self.shop.get(&path).await.expect("the service answers");
        assert_eq!(answer.status, 200, "{note:?} is gone: {}", answer.body);
        assert_eq!(answer.body["sku"], note.order.sku, "{note:?}");
        assert_eq!(answer.body["quantity"], note.order.quantity, "{note:?}");
        let state = answer.body["state"].as_str().unwrap_or_default();
        let is_allowed = note.settlement.as_ref().map_or(state == "held", |s| s.allows(state));
        assert!(is_allowed, "{note:?} is {state}");
    }

    fn check_sold_out(&self, order: &Order) {
        let fewest = self.journal(order).available_min;
        assert!(fewest < order.quantity.into(), "{order:?}: 409, yet {fewest} were available");
    }

    fn check_strays(&self, notes: &[Note]) {
        let known = |note: &Note| match &note.told {
            Told::Held(id) => Some(id.clone()),
            _ => None,
        };
        let known: BTreeSet<String> = notes.iter().filter_map(known).collect();
        for (sku, journal) in &self.journals {
            let strays = journal.taken.keys().filter(|id| !known.contains(*id)).count();
            let lost = notes.iter().filter(|n| n.told == Told::Nothing && n.order.sku == *sku);
            let lost = lost.count();
            assert!(strays <= lost, "{sku}: {strays} holds nobody asked for ({lost} answers lost)");
        }
    }

    fn journal(&self, order: &Order) -> &Journal {
        &self.journals[&order.sku]
    }
}

impl Journal {
    /// Follows a journal from its first entry, and checks every step.
    fn fold(sku: &str, entries: &[Value], stock: &Value) -> Self {
        let mut journal =
            Self { taken: HashMap::new(), ended: BTreeSet::new(), available_min: u64::MAX };
        let mut counters = [0, 0, 0];
        for (index, entry) in entries.iter().enumerate() {
            assert_eq!(entry["version"], index as u64 + 1, "{sku}: a gap before {entry}");
            assert_eq!(counters_of(&entry["before"]), counters, "{sku}: a jump before {entry}");
            journal.step(sku, entry);
            counters = counters_of(&entry["after"]);
            journal.available_min = journal.available_min.min(counters[0]);
        }
        assert_eq!(counters_of(stock), counters, "{sku}: the journal does not lead to {stock}");
        journal
    }

    /// Units move as the cause says; what is taken once ends at most once. A subtraction below
    /// zero panics, which is what it should do.
    fn step(&mut self, sku: &str, entry: &Value) {
        let [available, held, confirmed] = counters_of(&entry["before"]);
        let units = entry["quantity"].as_u64().expect("a quantity");
        let id = entry["reservation_id"].as_str().unwrap_or_default();
        let cause = entry["cause"].as_str().unwrap_or_default();
        let after = match cause {
            "set" => [units - held - confirmed, held, confirmed],
            "reserve" => [available - units, held + units, confirmed],
            "confirm" => [available, held - units, confirmed + units],
            "release" | "expire" => [available + units, held - units, confirmed],
            _ => panic!("{sku}: an unknown cause in {entry}"),
        };
        assert_eq!(counters_of(&entry["after"]), after, "{sku}: {entry} does not add up");
        if cause == "reserve" {
            let before = self.taken.insert(id.to_owned(), units);
            assert!(before.is_none(), "{sku}: taken twice: {entry}");
        } else if cause != "set" {
            assert_eq!(self.taken.get(id), Some(&units), "{sku}: not what was taken: {entry}");
            assert!(self.ended.insert(id.to_owned()), "{sku}: ended twice: {entry}");
        }
    }
}

/// Available, held, confirmed.
fn counters_of(value: &Value) -> [u64; 3] {
    ["available", "held", "confirmed"].map(|name| value[name].as_u64().expect("a counter"))
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use serde_json::json;

    use super::*;

    fn counters([available, held, confirmed]: [u64; 3]) -> Value {
        json!({ "available": available, "held": held, "confirmed": confirmed })
    }

    fn entry(version: u64, (cause, id): (&str, &str), change: [[u64; 3]; 2]) -> Value {
        let [before, after] = change.map(counters);
        json!({
            "version": version, "cause": cause, "reservation_id": id, "quantity": 2,
            "before": before, "after": after,
        })
    }

    /// A sale of two units, and then `more`.
    fn check(more: &[Value], last: [u64; 3], expected: Result<(), &str>) {
        let mut entries = vec![
            entry(1, ("set", ""), [[0, 0, 0], [2, 0, 0]]),
            entry(2, ("reserve", "a"), [[2, 0, 0], [0, 2, 0]]),
        ];
        entries.extend(more.iter().cloned());
        let folded = catch_unwind(|| drop(Journal::fold("SKU", &entries, &counters(last))));
        let said = folded.map_err(|panic| *panic.downcast::<String>().unwrap_or_default());
        match expected {
            Ok(()) => assert_eq!(said, Ok(())),
            Err(part) => assert!(said.as_ref().is_err_and(|said| said.contains(part)), "{said:?}"),
        }
    }

    #[test]
    fn a_journal_that_is_wrong_is_found_out() {
        let confirm = entry(3, ("confirm", "a"), [[0, 2, 0], [0, 0, 2]]);
        check(&[], [0, 2, 0], Ok(()));
        check(std::slice::from_ref(&confirm), [0, 0, 2], Ok(()));
        check(std::slice::from_ref(&confirm), [0, 2, 0], Err("does not lead to"));
        check(&[entry(4, ("confirm", "a"), [[0, 2, 0], [0, 0, 2]])], [0, 0, 2], Err("a gap"));
        check(&[entry(3, ("confirm", "a"), [[1, 2, 0], [1, 0, 2]])], [1, 0, 2], Err("a jump"));
        check(&[entry(3, ("release", "a"), [[0, 2, 0], [0, 0, 2]])], [0, 0, 2], Err("add up"));
        check(&[entry(3, ("release", "b"), [[0, 2, 0], [2, 0, 0]])], [2, 0, 0], Err("not what"));
        let again = entry(4, ("set", ""), [[0, 0, 2], [0, 0, 2]]);
        check(&[confirm.clone(), again], [0, 0, 2], Ok(()));
        let release = entry(3, ("release", "a"), [[0, 2, 0], [2, 0, 0]]);
        let retake = entry(4, ("reserve", "a"), [[2, 0, 0], [0, 2, 0]]);
        check(&[release.clone(), retake], [0, 2, 0], Err("taken twice"));
        let take = entry(4, ("reserve", "b"), [[2, 0, 0], [0, 2, 0]]);
        let end_again = entry(5, ("release", "a"), [[0, 2, 0], [2, 0, 0]]);
        check(&[release, take, end_again], [2, 0, 0], Err("ended twice"));
    }

    #[test]
    fn an_order_sent_twice_is_told_one_thing() {
        let held = |id: &str| Told::Held(id.to_owned());
        assert_eq!(held("a").and(Told::Nothing), held("a"));
        assert_eq!(Told::Refused(503).and(held("a")), held("a"));
        assert_eq!(Told::Queued("a".to_owned()).and(held("a")), held("a"));
        assert_eq!(Told::SoldOut.and(Told::SoldOut), Told::SoldOut);
        for (told, other) in [(held("a"), held("b")), (held("a"), Told::SoldOut)] {
            assert!(catch_unwind(|| told.and(other)).is_err());
        }
    }
}
