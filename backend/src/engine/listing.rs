//! All SKUs and their stock, page by page.
//!
//! In the order of SKUs where all of them are in this process; on a shared store bucket by bucket, each in
//! the order in which Redis gives it. There something may come twice, when Redis makes more room
//! meanwhile: so what has come of a bucket is remembered until its end.

use std::collections::HashSet;
use std::sync::Arc;

use cartgate_policy::Sku;

use super::Engine;
use crate::store::{StockRow, StoreError};

/// How many rows are read at once of a store of one's own.
const PAGE: usize = 1_000;

/// How far a listing is. Each SKU comes once, as it stands then; of those that are new meanwhile, some.
pub struct Listing {
    engine: Arc<Engine>,
    place: Place,
}

enum Place {
    After(Option<Sku>),
    In { bucket: u16, from: u64, seen: HashSet<Sku> },
    End,
}

impl Listing {
    /// From the beginning.
    pub fn new(engine: Arc<Engine>) -> Self {
        let place = match &*engine {
            Engine::Local(_) => Place::After(None),
            Engine::Shared(_) => Place::In { bucket: 0, from: 0, seen: HashSet::new() },
        };
        Self { engine, place }
    }

    /// The next rows, perhaps none; `None`: that was all.
    ///
    /// # Errors
    /// The store cannot be read. The same may be tried again.
    pub async fn next(&mut self) -> Result<Option<Vec<(Sku, StockRow)>>, StoreError> {
        let rows = match (&*self.engine, &mut self.place) {
            (Engine::Local(local), Place::After(last)) => {
                let rows = local.store.stocks_after(last.as_ref(), PAGE)?;
                self.place = match rows.last() {
                    Some((sku, _)) => Place::After(Some(sku.clone())),
                    None => Place::End,
                };
                rows
            }
            (Engine::Shared(shared), Place::In { bucket, from, seen }) => {
                let mut scanned = shared.api().scan_stock(*bucket, *from).await?;
                scanned.rows.retain(|(sku, _)| seen.insert(sku.clone()));
                *from = scanned.next;
                if scanned.next == 0 {
                    seen.clear();
                    *bucket += 1;
                    if *bucket == shared.buckets().count() {
                        self.place = Place::End;
                    }
                }
                scanned.rows
            }
            _ => return Ok(None),
        };
        Ok(Some(rows))
    }
}
