//! The state of one SKU.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::{CommandId, Fingerprint, UnixMs};

/// Where a SKU's units are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Counters {
    /// On the shelf.
    pub available: u64,
    /// In holds that have not ended.
    pub held: u64,
    /// In holds that ended with a sale.
    pub confirmed: u64,
}

impl Counters {
    /// All units that are for sale or sold: the quantity last set.
    pub fn total(self) -> u64 {
        self.available + self.committed()
    }

    /// Units promised to customers.
    pub fn committed(self) -> u64 {
        self.held + self.confirmed
    }
}

/// What became of a reserve command: kept for as long as a repeat must get the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The command.
    pub id: CommandId,
    /// What a repeat must have in common with it.
    pub fingerprint: Fingerprint,
    /// Who asked, if known.
    pub customer: Option<Box<str>>,
    /// Units asked for; if there is a hold, units in it.
    pub quantity: u32,
    /// When it was decided.
    pub decided_at: UnixMs,
    /// Where it stands.
    pub state: ReservationState,
}

/// Where a reservation stands. Only `Held` can change, and only once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReservationState {
    /// The units are off the shelf until `expires_at`.
    Held {
        /// From this moment on the hold has expired.
        expires_at: UnixMs,
    },
    /// The units were sold.
    Confirmed {
        /// When the hold would have expired.
        expires_at: UnixMs,
    },
    /// The units were given back.
    Released {
        /// When the hold would have expired.
        expires_at: UnixMs,
    },
    /// The units went back when the time was up.
    Expired {
        /// When the hold expired.
        expires_at: UnixMs,
    },
    /// There was never a hold: too few units were available.
    SoldOut {
        /// The units that were available, fewer than asked for.
        available: u64,
    },
}

impl ReservationState {
    /// When the hold expires or would have; `None` if there never was one.
    pub fn expires_at(self) -> Option<UnixMs> {
        match self {
            Self::Held { expires_at }
            | Self::Confirmed { expires_at }
            | Self::Released { expires_at }
            | Self::Expired { expires_at } => Some(expires_at),
            Self::SoldOut { .. } => None,
        }
    }
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
    pub(crate) held: HashMap<CommandId, Reservation>,
    due: BTreeSet<(UnixMs, CommandId)>,
}

impl Stock {
    /// A SKU as it was after journal entry `version`, when `now` was the latest time it had seen.
    /// Its holds are put back by [`Stock::restore_hold`].
    pub fn restore(counters: Counters, version: u64, now: UnixMs) -> Self {
        Self { counters, version, now, ..Self::default() }
    }

    /// Puts back a hold that had not ended; any other reservation is ignored.
    pub fn restore_hold(&mut self, reservation: Reservation) {
        if let ReservationState::Held { expires_at } = reservation.state {
            self.due.insert((expires_at, reservation.id));
            self.held.insert(reservation.id, reservation);
        }
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

    /// When the next hold expires.
    pub fn next_due(&self) -> Option<UnixMs> {
        self.due.first().map(|(expires_at, _)| *expires_at)
    }

    /// The hold that `id` took, while it has not ended.
    pub fn hold(&self, id: CommandId) -> Option<&Reservation> {
        self.held.get(&id)
    }

    /// How many holds have not ended.
    pub fn hold_count(&self) -> usize {
        self.held.len()
    }

    /// Takes out the hold that is due first, if it is due at `now`.
    pub(crate) fn pop_due(&mut self, now: UnixMs) -> Option<Reservation> {
        let (_, id) = *self.due.first().filter(|(expires_at, _)| *expires_at <= now)?;
        self.remove_hold(id)
    }

    /// Takes out a hold that has not ended.
    pub(crate) fn remove_hold(&mut self, id: CommandId) -> Option<Reservation> {
        let reservation = self.held.remove(&id)?;
        if let Some(expires_at) = reservation.state.expires_at() {
            self.due.remove(&(expires_at, id));
        }
        Some(reservation)
    }
}
