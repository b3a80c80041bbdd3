//! The state of one SKU.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{CommandId, IdMap, Reservation, UnixMs};

/// The most units that a SKU can have: a trillion, which no sum of them here overflows, and which
/// every reader of JSON takes for the number that it is.
pub const UNITS_MAX: u64 = 1_000_000_000_000;

/// Where a SKU's units are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Counters {
    /// On the shelf.
    pub available: u64,
    /// In holds that have not ended.
    pub held: u64,
    /// In holds that ended with a sale.
    pub confirmed: u64,
}

impl Counters {
    /// All units that are for sale or sold: the quantity last set, and what was adjusted since.
    pub fn total(self) -> u64 {
        self.available + self.committed()
    }

    /// Units promised to customers.
    pub fn committed(self) -> u64 {
        self.held + self.confirmed
    }
}

/// The rules of a SKU's sale. Without them, anybody may take anything at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The most units that one customer may hold and have bought.
    pub customer_cap: Option<NonZeroU32>,
    /// Nothing can be reserved before this moment.
    pub opens_at: Option<UnixMs>,
    /// Nothing can be reserved at this moment or later.
    pub closes_at: Option<UnixMs>,
}

/// One SKU's state: its counters and the holds that have not ended.
///
/// Reservations that have ended are not here: whoever owns the stock keeps them, and hands
/// [`apply`](crate::apply) the one that a command is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    pub(crate) counters: Counters,
    pub(crate) version: u64,
    pub(crate) now: UnixMs,
    terms: Terms,
    held: IdMap<Reservation>,
    due: BTreeSet<(UnixMs, CommandId)>,
    /// Units held and confirmed by each customer, while there is a cap on them.
    by_customer: HashMap<Arc<str>, u64>,
}

impl Stock {
    /// A SKU as it was after journal entry `version`, when `now` was the latest time it had seen.
    /// Its holds are put back by [`Stock::restore_hold`], its terms by [`Stock::set_terms`].
    pub fn restore(counters: Counters, version: u64, now: UnixMs) -> Self {
        Self { counters, version, now, ..Self::default() }
    }

    /// Makes room for so many holds to be put back.
    pub fn expect_holds(&mut self, count: usize) {
        self.held.reserve(count);
    }

    /// Puts back a hold that had not ended; any other reservation is ignored.
    pub fn restore_hold(&mut self, reservation: Reservation) {
        if let Some(due_at) = reservation.due_at() {
            self.due.insert((due_at, reservation.id));
            self.count_customer(&reservation, 0, reservation.quantity.into());
            self.held.insert(reservation.id, reservation);
        }
    }

    /// Changes the terms of the sale. `purchases` are the units that customers have bought so far:
    /// with a cap, they count.
    pub fn set_terms<'a>(
        &mut self,
        terms: Terms,
        purchases: impl IntoIterator<Item = &'a (Arc<str>, u64)>,
    ) {
        self.terms = terms;
        self.by_customer.clear();
        if terms.customer_cap.is_none() {
            return;
        }
        let held = self.held.values().filter_map(|r| Some((r.customer.as_ref()?, r.quantity)));
        let held = held.map(|(customer, quantity)| (customer, u64::from(quantity)));
        let bought = purchases.into_iter().map(|(customer, units)| (customer, *units));
        for (customer, units) in held.chain(bought) {
            *self.by_customer.entry(Arc::clone(customer)).or_default() += units;
        }
    }

    /// The terms of the sale.
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// Where the units are.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The number of changes so far: the version of the last journal entry. 0: never set.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The latest time it has seen.
    pub fn now(&self) -> UnixMs {
        self.now
    }

    /// When the next hold is due to go back on the shelf.
    pub fn next_due(&self) -> Option<UnixMs> {
        self.due.first().map(|(due_at, _)| *due_at)
    }

    /// The hold that `id` took, while it has not ended.
    pub fn hold(&self, id: CommandId) -> Option<&Reservation> {
        self.held.get(&id)
    }

    /// How many holds have not ended.
    pub fn hold_count(&self) -> usize {
        self.held.len()
    }

    /// Units that a customer holds and has bought, as far as they count against a cap.
    pub(crate) fn customer_units(&self, customer: &str) -> u64 {
        self.by_customer.get(customer).copied().unwrap_or_default()
    }

    /// Takes out the hold that is due first, if it is due at `now`.
    pub(crate) fn pop_due(&mut self, now: UnixMs) -> Option<Reservation> {
        let (_, id) = *self.due.first().filter(|(due_at, _)| *due_at <= now)?;
        self.remove_hold(id)
    }

    /// Takes out a hold that has not ended. Its units count against the customer's cap no more.
    pub(crate) fn remove_hold(&mut self, id: CommandId) -> Option<Reservation> {
        let reservation = self.held.remove(&id)?;
        if let Some(due_at) = reservation.due_at() {
            self.due.remove(&(due_at, id));
        }
        self.count_customer(&reservation, reservation.quantity.into(), 0);
        Some(reservation)
    }

    /// Counts units that a customer has bought against its cap.
    pub(crate) fn count_purchase(&mut self, reservation: &Reservation, units: u64) {
        self.count_customer(reservation, 0, units);
    }

    fn count_customer(&mut self, reservation: &Reservation, less: u64, more: u64) {
        let Some(customer) = &reservation.customer else { return };
        if self.terms.customer_cap.is_none() {
            return;
        }
        let units = (self.customer_units(customer) + more).saturating_sub(less);
        if units == 0 {
            self.by_customer.remove(customer);
        } else {
            self.by_customer.insert(Arc::clone(customer), units);
        }
    }
}
