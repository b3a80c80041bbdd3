//! Which SKUs are in stock, known without asking the store each time.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use cartgate_policy::Sku;

use super::refused::{Refused, unknown_sku};
use crate::engine::Engine;
use crate::store::StoreError;

/// SKUs that were seen in stock. Units can be taken away, but a SKU never is: once seen, it need not
/// be looked up again. There are as many of them as the engine has in memory.
#[derive(Default)]
pub(super) struct InStock(RwLock<HashSet<Sku>>);

impl InStock {
    /// Refuses what is not in stock, so that it never gets a place in a lane.
    pub(super) async fn check(&self, sku: &Sku, engine: &Engine) -> Result<(), Refused> {
        if self.has(sku, engine).await? { Ok(()) } else { Err(unknown_sku(sku)) }
    }

    async fn has(&self, sku: &Sku, engine: &Engine) -> Result<bool, StoreError> {
        // Nothing in here can panic half way through a change.
        if self.0.read().unwrap_or_else(PoisonError::into_inner).contains(sku) {
            return Ok(true);
        }
        let is_in_stock = engine.stock(sku).await?.is_some();
        if is_in_stock {
            self.0.write().unwrap_or_else(PoisonError::into_inner).insert(sku.clone());
        }
        Ok(is_in_stock)
    }
}
