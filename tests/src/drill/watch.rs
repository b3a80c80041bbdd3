//! Watches a product that nobody registered while a sale goes on.
//!
//! The service itself is asked, ten times a second, what it knows of the product. When the sale is over and
//! the product is still registered, the watch goes on for a while: it is to be let go.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use super::course::{Change, HotItem, Seen, Sight};
use super::customer::Clock;
use super::evidence::{EvidenceError, read};
use crate::Shop;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Somebody who watches.
#[derive(Debug)]
pub struct Watch {
    shop: Shop,
    sku: String,
    clock: Clock,
    ticks: Interval,
    sights: Vec<Sight>,
    /// The first answer that could not be understood.
    failure: Option<EvidenceError>,
}

impl Watch {
    /// Begins to watch a product of the service at `service`.
    pub fn start(service: SocketAddr, sku: &str, clock: Clock) -> Self {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (sku, sights) = (sku.to_owned(), Vec::new());
        Self { shop: Shop::at(service), sku, clock, ticks, sights, failure: None }
    }

    /// Watches until something is over.
    pub async fn during<T>(&mut self, sale: impl Future<Output = T>) -> T {
        let mut sale = pin!(sale);
        loop {
            tokio::select! {
                over = &mut sale => return over,
                () = self.look() => {}
            }
        }
    }

    /// Goes on until the product is in the registry no more, for `patience` at most, and reads the registry's
    /// history.
    ///
    /// # Errors
    /// What the service shows cannot be understood, or the history is not shown.
    pub async fn end(mut self, patience: Duration) -> Result<Seen, EvidenceError> {
        let let_go = async {
            while self.sights.last().is_some_and(|sight| sight.item.is_some()) {
                self.look().await;
            }
        };
        // If it stays, that is what was seen.
        let _ = timeout(patience, let_go).await;
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let path = format!("/v1/hot-items/{}/history?limit=1000", self.sku);
        let history = timeout(patience, read::<History>(&self.shop, &path)).await;
        let history = history.map_err(|_| EvidenceError::Late { patience })??;
        let history = history.map_or_else(Vec::new, |history| history.changes);
        Ok(Seen { sights: self.sights, history })
    }

    /// Looks once, when it is time. A service that does not answer shows nothing: whoever reads its books
    /// will say so.
    async fn look(&mut self) {
        self.ticks.tick().await;
        let asked_us = self.clock.now_us();
        match self.ask().await {
            Ok((item, available)) => {
                let answered_us = self.clock.now_us();
                self.sights.push(Sight { asked_us, answered_us, item, available });
            }
            Err(EvidenceError::Silent { .. }) => {}
            Err(failure) => drop(self.failure.get_or_insert(failure)),
        }
    }

    async fn ask(&self) -> Result<(Option<HotItem>, u64), EvidenceError> {
        let item = read(&self.shop, &format!("/v1/hot-items/{}", self.sku)).await?;
        let stock: Option<Stock> = read(&self.shop, &format!("/v1/skus/{}", self.sku)).await?;
        Ok((item, stock.map_or(0, |stock| stock.available)))
    }
}

/// `GET /v1/skus/{sku}`.
#[derive(Deserialize)]
struct Stock {
    available: u64,
}

/// `GET /v1/hot-items/{sku}/history`.
#[derive(Deserialize)]
struct History {
    changes: Vec<Change>,
}
