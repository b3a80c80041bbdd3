//! The mark by which processes know that they give customers the same pseudonyms.

use super::api::Api;
use super::ask::Ask;
use super::keys::slot;
use super::link::pipeline;
use super::remote::Failure;
use crate::store::StoreError;

const FIELD: &str = "customers";

impl Api {
    /// The mark that is there.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn customers_mark(&self) -> Result<Option<String>, StoreError> {
        let store = self.keys.store();
        let mut pipe = pipeline();
        pipe.cmd("HGET").arg(&store).arg(FIELD);
        self.remote.ask(slot(&store), Ask::new(pipe, |replies| replies.next("mark"))).await
    }

    /// Leaves one.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub(crate) async fn mark_customers(&self, mark: &str) -> Result<(), StoreError> {
        let store = self.keys.store();
        let mut pipe = pipeline();
        pipe.cmd("HSET").arg(&store).arg(FIELD).arg(mark);
        let marked = self.remote.query(slot(&store), &pipe).await;
        marked.map(drop).map_err(Failure::into_store_error)
    }
}
