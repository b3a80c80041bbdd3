//! The reservation engine, as HTTP knows it: with a store of its own, or on one that many processes
//! share.

mod background;
mod known;
mod listing;
mod shared;

use std::collections::BTreeMap;
use std::sync::Arc;

use cartgate_ledger::{Command, CommandId, JournalEntry, Reservation, UnixMs};
use cartgate_policy::Sku;

use crate::blocking::blocking;
use crate::hot_items::{Changed, HotItem, HotItemHistory, Note};
use crate::lanes::{
    BucketDepths, Buckets, EnqueueError, HotLaneState, InLine, Lanes, Level, Standing, State,
    Waiter,
};
use crate::store::redis::Api;
use crate::store::{Durability, StockRow, Store, StoreError};
use crate::trace::Trail;
use crate::window::{Rates, Tally};

pub use crate::lanes::HotStock;
pub use listing::Listing;
pub use shared::Shared;

/// The reservation engine.
pub enum Engine {
    /// All of it is in this process.
    Local(Local),
    /// This process has a part in it.
    Shared(Shared),
}

/// A hot item, and how it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HotState {
    /// Its entry in the registry.
    pub item: HotItem,
    /// Its stock; `None`: it was never put up for sale.
    pub stock: Option<HotStock>,
    /// What its lane does, if a limit is to follow that and it is known.
    pub lane: Option<HotLaneWork>,
}

/// What a hot item's lane does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HotLaneWork {
    /// How many reserve commands were decided, if that is known here; only differences count.
    pub decided: Option<u64>,
    /// How many wait.
    pub waiting: u64,
}

/// A command that waits, and that a ticket was given for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waits {
    /// The ticket.
    pub id: CommandId,
    sku: Sku,
    /// When it was posted, by a shared store's clock.
    posted_at: Option<UnixMs>,
}

/// An engine with a store of its own.
pub struct Local {
    lanes: Lanes,
    store: Arc<dyn Store>,
}

impl Engine {
    /// Lanes, and the store that they commit to.
    pub fn local(lanes: Lanes, store: Arc<dyn Store>) -> Self {
        Self::Local(Local { lanes, store })
    }

    /// The store, if many processes share it.
    pub fn shared_api(&self) -> Option<Arc<Api>> {
        match self {
            Self::Local(_) => None,
            Self::Shared(shared) => Some(shared.api()),
        }
    }

    /// The store, if it is this process's own.
    pub fn own_store(&self) -> Option<Arc<dyn Store>> {
        match self {
            Self::Local(local) => Some(Arc::clone(&local.store)),
            Self::Shared(_) => None,
        }
    }

    /// Where SKUs and ids belong.
    pub fn buckets(&self) -> Buckets {
        match self {
            Self::Local(local) => *local.lanes.buckets(),
            Self::Shared(shared) => shared.buckets(),
        }
    }

    /// As [`Store::secret`].
    pub fn secret(&self) -> [u8; 32] {
        match self {
            Self::Local(local) => local.store.secret(),
            Self::Shared(shared) => shared.secret(),
        }
    }

    /// What all that is committed survives.
    pub fn durability(&self) -> Durability {
        match self {
            Self::Local(local) => local.store.durability(),
            Self::Shared(shared) => shared.durability(),
        }
    }

    /// As [`Lanes::submit`]. On a shared store there is always a waiter: whether there was room it
    /// hears later, and with what it hears, what the commit has reached is noted in `level`.
    ///
    /// # Errors
    /// As [`Lanes::submit`].
    pub fn submit(
        &self,
        sku: Sku,
        command: Command,
        trail: Trail,
        level: &Arc<Level>,
    ) -> Result<Waiter, EnqueueError> {
        match self {
            Self::Local(local) => local.lanes.submit(sku, command, trail),
            Self::Shared(shared) => Ok(shared.front().submit(sku, command, &trail, level)),
        }
    }

    /// What became of a command that may have come before, if that can be told without asking
    /// another process. Who asks its lane is told the same, in its turn.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn known_reservation(
        &self,
        id: CommandId,
    ) -> Result<Option<(Sku, Reservation)>, StoreError> {
        match self {
            Self::Local(local) => local.store.reservation(id),
            Self::Shared(_) => Ok(None),
        }
    }

    /// As [`Store::reservation`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn reservation(
        &self,
        id: CommandId,
    ) -> Result<Option<(Sku, Reservation)>, StoreError> {
        match self {
            Self::Local(local) => local.store.reservation(id),
            Self::Shared(shared) => shared.reservation(id).await,
        }
    }

    /// A command that still waits, and that a ticket was given for.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn ticketed(&self, id: CommandId) -> Result<Option<Waits>, StoreError> {
        match self {
            Self::Local(local) => {
                let ticketed = local.store.ticketed(id)?;
                Ok(ticketed.map(|ticketed| Waits { id, sku: ticketed.sku, posted_at: None }))
            }
            Self::Shared(shared) => shared.ticketed(id).await,
        }
    }

    /// Where it stands in its lane; `None`: it does not wait any more, or is being decided.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn in_line(&self, waits: &Waits) -> Result<Option<InLine>, StoreError> {
        match self {
            Self::Local(local) => Ok(local.lanes.in_line(&waits.sku, waits.id)),
            Self::Shared(shared) => shared.in_line(waits).await,
        }
    }

    /// As [`Store::stock`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn stock(&self, sku: &Sku) -> Result<Option<StockRow>, StoreError> {
        match self {
            Self::Local(local) => local.store.stock(sku),
            Self::Shared(shared) => shared.stock(sku).await,
        }
    }

    /// The stock of some SKUs, in their order; `None` of those that were never set.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn stocks(&self, skus: &[&Sku]) -> Result<Vec<Option<StockRow>>, StoreError> {
        match self {
            Self::Local(local) => skus.iter().map(|sku| local.store.stock(sku)).collect(),
            Self::Shared(shared) => shared.stocks(skus).await,
        }
    }

    /// A page of a SKU's journal as [`Store::journal`] reads it, and where its stock stood after
    /// that; `None` if it was never set.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn journal(
        &self,
        sku: Sku,
        after: u64,
        limit: usize,
    ) -> Result<(Vec<JournalEntry>, Option<StockRow>), StoreError> {
        match self {
            Self::Local(Local { store, .. }) => {
                let store = Arc::clone(store);
                let read = move || Ok((store.journal(&sku, after, limit)?, store.stock(&sku)?));
                // A page is many reads, perhaps from disk.
                blocking(read).await
            }
            Self::Shared(shared) => {
                let entries = shared.journal(&sku, after, limit).await?;
                Ok((entries, shared.stock(&sku).await?))
            }
        }
    }

    /// As [`Lanes::change_hot_item`]. Of `level` as in [`Engine::submit`].
    ///
    /// # Errors
    /// As there.
    pub async fn change_hot_item(
        &self,
        sku: Sku,
        item: Option<HotItem>,
        note: Note,
        level: &Arc<Level>,
    ) -> Result<Changed, EnqueueError> {
        match self {
            Self::Local(local) => local.lanes.change_hot_item(sku, item, note).await,
            Self::Shared(shared) => shared.change_hot_item(sku, item, note, level).await,
        }
    }

    /// The registry of hot items.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn hot_items(&self) -> Result<BTreeMap<Sku, HotItem>, StoreError> {
        match self {
            Self::Local(local) => Ok(local.lanes.hot_items()),
            Self::Shared(shared) => shared.hot_items().await,
        }
    }

    /// The hot items, and how they stand.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn hot_states(&self) -> Result<BTreeMap<Sku, HotState>, StoreError> {
        match self {
            Self::Local(local) => Ok(local.hot_states()),
            Self::Shared(shared) => shared.hot_states().await,
        }
    }

    /// A SKU's entry in the registry of hot items.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn hot_item(&self, sku: &Sku) -> Result<Option<HotItem>, StoreError> {
        match self {
            Self::Local(local) => Ok(local.lanes.hot_item(sku)),
            Self::Shared(shared) => shared.hot_item(sku).await,
        }
    }

    /// The history of a SKU's entry in the registry of hot items: empty, if nothing is kept of it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn hot_item_history(&self, sku: &Sku) -> Result<HotItemHistory, StoreError> {
        match self {
            Self::Local(local) => local.store.hot_item_history(sku),
            Self::Shared(shared) => shared.hot_item_history(sku).await,
        }
    }

    /// A SKU's entry in the registry of hot items, as far as this process knows without asking: on a
    /// shared store, what another process has changed it hears of within a second.
    pub fn known_hot_item(&self, sku: &Sku) -> Option<HotItem> {
        match self {
            Self::Local(local) => local.lanes.hot_item(sku),
            Self::Shared(shared) => shared.known_hot_items().of(sku),
        }
    }

    /// Whether a SKU is a hot item, as far as this process knows without asking.
    pub fn is_hot(&self, sku: &Sku) -> bool {
        match self {
            Self::Local(local) => local.lanes.hot_item(sku).is_some(),
            Self::Shared(shared) => shared.front().is_hot(sku),
        }
    }

    /// What is asked of a hot item, and what comes of it: of a store of one's own, this process's
    /// `tally` has it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn rates(&self, sku: &Sku, tally: &Tally, now: UnixMs) -> Result<Rates, StoreError> {
        match self {
            Self::Local(_) => Ok(tally.rates(sku, now.0 / 1_000)),
            Self::Shared(shared) => shared.rates(sku).await,
        }
    }

    /// As [`Lanes::hot_lane`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn hot_lane(&self, sku: &Sku) -> Result<Option<HotLaneState>, StoreError> {
        match self {
            Self::Local(local) => Ok(local.lanes.hot_lane(sku)),
            Self::Shared(shared) => shared.hot_lane(sku).await,
        }
    }

    /// How much waits in every lane, as far as it can be told.
    pub async fn depths(&self) -> Vec<BucketDepths> {
        match self {
            Self::Local(local) => local.lanes.depths(),
            Self::Shared(shared) => shared.depths().await,
        }
    }

    /// Whether it takes commands.
    pub async fn is_ready(&self) -> bool {
        match self {
            Self::Local(local) => local.lanes.state() == State::Running,
            Self::Shared(shared) => shared.is_ready().await,
        }
    }

    /// Waits until it has failed: it does not get over that.
    pub async fn failed(&self) {
        match self {
            Self::Local(local) => drop(local.lanes.stopped().await),
            Self::Shared(_) => std::future::pending().await,
        }
    }

    /// Ends it in order. Says how that was.
    pub async fn stop(&self) -> State {
        match self {
            Self::Local(local) => local.lanes.stop().await,
            Self::Shared(shared) => shared.stop().await,
        }
    }
}

impl Local {
    fn hot_states(&self) -> BTreeMap<Sku, HotState> {
        let (registry, standings) = (self.lanes.hot_items(), self.lanes.standings());
        let state = |(sku, item): (Sku, HotItem)| {
            let Standing { stock, decided } = standings.get(&sku).copied().unwrap_or_default();
            let is_followed = item.edge.wait_target_ms.is_some();
            let lane = is_followed.then(|| self.lanes.hot_lane(&sku)).flatten();
            let lane = lane.map(|lane| HotLaneWork {
                decided: Some(decided),
                waiting: lane.depth.reserve as u64,
            });
            (sku, HotState { item, stock, lane })
        };
        registry.into_iter().map(state).collect()
    }
}
