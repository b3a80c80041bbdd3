//! What edges know of a hot item.

use serde::{Deserialize, Serialize};

use crate::Sku;
use crate::gcra::Limit;
use crate::shares::Allowance;

/// A hot item, as far as edges have to do with it. Instants are the service's time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Item {
    /// The SKU.
    pub sku: Sku,
    /// What all edges together admit; `None`: each has the limit that its configuration says.
    pub limit: Option<Limit>,
    /// What each client may take, in place of the edge's limits per client.
    pub client_limit: Option<Limit>,
    /// When its sale opens.
    pub opens_at_ms: Option<u64>,
    /// When its sale closes.
    pub closes_at_ms: Option<u64>,
    /// Nothing is available; the first hold expires then, or that is when to ask again.
    pub sold_out_until_ms: Option<u64>,
    /// Whether an operator has switched it off.
    pub is_paused: bool,
}

/// Whether a hot item can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It can.
    Open,
    /// An operator has switched it off.
    Paused,
    /// Its sale opens in so long.
    NotOpenYet {
        /// In milliseconds.
        opens_in_ms: u64,
    },
    /// Its sale is over.
    Closed,
    /// Nothing is available now.
    SoldOut {
        /// When to ask again, in milliseconds.
        recheck_in_ms: u64,
    },
}

impl Item {
    /// Whether it can be asked for at `now_ms`, the service's time. That nothing is left counts until it is to
    /// be asked for again: if no news comes, somebody has to go and see.
    pub fn gate(&self, now_ms: u64) -> Gate {
        let in_ms = |at_ms: Option<u64>| at_ms?.checked_sub(now_ms).filter(|in_ms| *in_ms > 0);
        if self.is_paused {
            Gate::Paused
        } else if let Some(opens_in_ms) = in_ms(self.opens_at_ms) {
            Gate::NotOpenYet { opens_in_ms }
        } else if self.closes_at_ms.is_some_and(|closes_at_ms| closes_at_ms <= now_ms) {
            Gate::Closed
        } else if let Some(recheck_in_ms) = in_ms(self.sold_out_until_ms) {
            Gate::SoldOut { recheck_in_ms }
        } else {
            Gate::Open
        }
    }

    /// Whether it can be asked for at any time: its gate is open, whatever the time is.
    pub fn is_always_open(&self) -> bool {
        let times = [self.opens_at_ms, self.closes_at_ms, self.sold_out_until_ms];
        !self.is_paused && times.iter().all(Option::is_none)
    }

    /// What one of so many edges admits of it that does not hear of the service; nothing, if it has no limit.
    pub fn safe_share(&self, edges: u32) -> Allowance {
        self.limit.map(|limit| Allowance::safe(limit, edges)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_counts() {
        let sku = Sku::parse("A").unwrap();
        let (limit, client_limit) = (None, None);
        let sale = Item {
            sku,
            limit,
            client_limit,
            opens_at_ms: Some(1_000),
            closes_at_ms: Some(2_000),
            sold_out_until_ms: Some(1_500),
            is_paused: false,
        };
        for (now_ms, expected) in [
            (0, Gate::NotOpenYet { opens_in_ms: 1_000 }),
            (999, Gate::NotOpenYet { opens_in_ms: 1 }),
            (1_000, Gate::SoldOut { recheck_in_ms: 500 }),
            (1_500, Gate::Open),
            (1_999, Gate::Open),
            (2_000, Gate::Closed),
        ] {
            assert_eq!(sale.gate(now_ms), expected, "{now_ms}");
            assert_eq!(Item { is_paused: true, ..sale.clone() }.gate(now_ms), Gate::Paused);
        }
    }
}
