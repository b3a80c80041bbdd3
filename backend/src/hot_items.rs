//! Hot items: SKUs with a lane and terms of their own.

use std::num::NonZeroU32;

use cartgate_ledger::{Terms, UnixMs};
use serde::{Deserialize, Serialize};

/// A SKU in the registry of hot items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotItem {
    /// Reserve commands that its lane applies per second; `None`: as many as it can.
    pub reserves_per_s: Option<NonZeroU32>,
    /// The rules of its sale.
    pub terms: Terms,
    /// Since when it is a hot item.
    pub since: UnixMs,
    /// When it was last changed.
    pub changed_at: UnixMs,
}
