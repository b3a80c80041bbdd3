//! What the clients of a recording share: the time, the orders, and the history they write.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::history::{Action, Answer, History, Operation, Told};
use crate::shop;

/// Two looks at two clocks count as one if they are not further apart.
const AT_ONCE: Duration = Duration::from_micros(50);

/// Orders further back are left alone: what is settled and expired says little.
const RECENT: usize = 60;

/// A recording under way.
#[derive(Debug)]
pub(super) struct Notebook {
    began: Instant,
    began_at: SystemTime,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    histories: BTreeMap<String, History>,
    /// By the number that histories have for them.
    orders: Vec<Known>,
}

/// An order, and what somebody was told of it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) wish: shop::Order,
    pub(super) id: Option<String>,
    pub(super) is_decided: bool,
    pub(super) has_hold: bool,
}

impl Notebook {
    pub(super) fn new() -> Self {
        let (began, began_at) = now_by_both_clocks();
        Self { began, began_at, notes: Mutex::default() }
    }

    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// A time of the service's, by the recording's.
    pub(super) fn recorded_us(&self, ms: u64) -> u64 {
        let since = (UNIX_EPOCH + Duration::from_millis(ms)).duration_since(self.began_at);
        u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
    }

    /// Numbers a new order.
    pub(super) fn place(&self, make: impl FnOnce(usize) -> shop::Order) -> usize {
        let mut notes = self.notes();
        let number = notes.orders.len();
        let known = Known { wish: make(number), id: None, is_decided: false, has_hold: false };
        notes.orders.push(known);
        number
    }

    pub(super) fn order(&self, number: usize) -> Known {
        self.notes().orders[number].clone()
    }

    /// The latest orders of a SKU of which this is true.
    pub(super) fn recent(&self, sku: &str, is_wanted: impl Fn(&Known) -> bool) -> Vec<usize> {
        let notes = self.notes();
        let orders = notes.orders.iter().enumerate().rev();
        let of_sku = orders.filter(|(_, known)| known.wish.sku == sku).take(RECENT);
        of_sku.filter(|(_, known)| is_wanted(known)).map(|(number, _)| number).collect()
    }

    /// All orders that have a ticket and no outcome.
    pub(super) fn open_tickets(&self) -> Vec<usize> {
        let notes = self.notes();
        let orders = notes.orders.iter().enumerate();
        let open = orders.filter(|(_, known)| known.id.is_some() && !known.is_decided);
        open.map(|(number, _)| number).collect()
    }

    /// Where the units of a SKU were when somebody last looked.
    pub(super) fn committed(&self, sku: &str) -> u64 {
        let notes = self.notes();
        let operations = notes.histories.get(sku).map_or(&[][..], |h| &h.operations);
        let seen = operations.iter().rev().find_map(|operation| match operation.answer()? {
            Answer::Stock { held, confirmed, .. } => Some(held + confirmed),
            _ => None,
        });
        seen.unwrap_or_default()
    }

    /// Writes down an operation that ended just now.
    pub(super) fn note(
        &self,
        client: usize,
        sku: &str,
        action: Action,
        call_us: u64,
        answer: Option<Answer>,
    ) {
        let at_us = self.now_us();
        let mut notes = self.notes();
        let told = answer.map(|answer| Told { at_us, answer });
        let operation = Operation { client, call_us, action, told };
        if let (Some(order), Some(answer)) = (operation.order(), operation.answer()) {
            notes.orders[order].learn(answer);
        }
        notes.histories.entry(sku.to_owned()).or_default().operations.push(operation);
    }

    pub(super) fn histories(&self) -> BTreeMap<String, History> {
        self.notes().histories.clone()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn learn(&mut self, answer: &Answer) {
        match answer {
            Answer::Held { id, .. } => {
                self.id = Some(id.clone());
                (self.is_decided, self.has_hold) = (true, true);
            }
            Answer::Queued { id } => self.id = Some(id.clone()),
            Answer::SoldOut { .. } => self.is_decided = true,
            _ => {}
        }
    }
}

/// One moment by the clock that only runs forward, and by the wall's.
fn now_by_both_clocks() -> (Instant, SystemTime) {
    loop {
        let (instant, at) = (Instant::now(), SystemTime::now());
        if instant.elapsed() < AT_ONCE {
            return (instant, at);
        }
    }
}
