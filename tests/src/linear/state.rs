//! Where a SKU stands, and its orders.

use std::hash::{Hash, Hasher};

use super::history::{Answer, End};

/// Where a SKU stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    total: u64,
    held: u64,
    confirmed: u64,
    version: u64,
    orders: Vec<Standing>,
}

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is not decided.
    Open,
    /// There were too few units.
    SoldOut,
    /// It has its units, and nobody knows.
    Held,
    /// It has its units, and somebody was told.
    Promised,
    /// The units were sold.
    Confirmed,
    /// They were given back.
    Released,
    /// They went back.
    Expired,
}

impl State {
    /// Before anything has happened to so many orders.
    pub(super) fn new(orders: usize) -> Self {
        Self { orders: vec![Standing::Open; orders], ..Self::default() }
    }

    pub(super) fn standing(&self, order: usize) -> Standing {
        self.orders[order]
    }

    pub(super) fn standings(&self) -> impl Iterator<Item = (usize, Standing)> {
        self.orders.iter().copied().enumerate()
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn available(&self) -> u64 {
        self.total - self.held - self.confirmed
    }

    /// What a read shows.
    pub(super) fn shown(&self) -> Answer {
        let Self { held, confirmed, version, .. } = *self;
        Answer::Stock { available: self.available(), held, confirmed, version }
    }

    /// Decides an order for so many units.
    pub(super) fn decide(&mut self, order: usize, units: u64) {
        self.orders[order] = if units <= self.available() {
            self.held += units;
            self.version += 1;
            Standing::Held
        } else {
            Standing::SoldOut
        };
    }

    /// Somebody is told of an order's hold.
    pub(super) fn promise(&mut self, order: usize) {
        if self.orders[order] == Standing::Held {
            self.orders[order] = Standing::Promised;
        }
    }

    /// An order's hold of so many units is over.
    pub(super) fn end(&mut self, order: usize, units: u64, standing: Standing) {
        self.held -= units;
        if standing == Standing::Confirmed {
            self.confirmed += units;
        }
        self.version += 1;
        self.orders[order] = standing;
    }

    /// Puts so many units up for sale in all, and says what the answer is. Setting the same again
    /// is no change, but for the first time.
    pub(super) fn set(&mut self, units: u64) -> Answer {
        let committed = self.held + self.confirmed;
        if units < committed {
            return Answer::BelowCommitted { committed };
        }
        if units != self.total || self.version == 0 {
            self.total = units;
            self.version += 1;
        }
        Answer::Set
    }
}

/// Orders are hashed as one run of bytes: it is done for every configuration.
impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let Self { total, held, confirmed, version, orders } = self;
        [*total, *held, *confirmed, *version].hash(hasher);
        let orders: Vec<u8> = orders.iter().map(|standing| *standing as u8).collect();
        hasher.write(&orders);
    }
}

impl Standing {
    /// Whether it holds units.
    pub(super) fn is_held(self) -> bool {
        matches!(self, Self::Held | Self::Promised)
    }

    /// How its hold has ended.
    pub(super) fn end(self) -> Option<End> {
        match self {
            Self::Confirmed => Some(End::Confirmed),
            Self::Released => Some(End::Released),
            Self::Expired => Some(End::Expired),
            Self::Open | Self::SoldOut | Self::Held | Self::Promised => None,
        }
    }
}

impl From<End> for Standing {
    fn from(end: End) -> Self {
        match end {
            End::Confirmed => Self::Confirmed,
            End::Released => Self::Released,
            End::Expired => Self::Expired,
        }
    }
}
