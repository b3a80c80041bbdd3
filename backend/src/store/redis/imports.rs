//! How far imports of stock are.

use super::api::Api;
use super::ask::Ask;
use super::keys::slot;
use super::link::pipeline;
use super::remote::Failure;
use super::reply::Replies;
use super::scripts;
use crate::store::StoreError;
use crate::store::imports::{ContentDigest, RECORDS_MAX, RunId};

impl Api {
    /// What is stored of the import of a content.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(in crate::store) async fn import(
        &self,
        digest: ContentDigest,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let [records, _] = self.keys.imports();
        let mut pipe = pipeline();
        pipe.cmd("HGET").arg(&records).arg(&digest.0[..]);
        let ask = Ask::new(pipe, |replies| replies.next("import's record"));
        self.remote.ask(slot(&records), ask).await
    }

    /// Stores a record of an import, or removes it if there are no bytes, if what is there is of the run
    /// `after`. Whether that was done.
    ///
    /// # Errors
    /// The store cannot be reached: nobody knows whether it was.
    pub(in crate::store) async fn put_import(
        &self,
        digest: ContentDigest,
        after: Option<RunId>,
        record: &[u8],
    ) -> Result<bool, StoreError> {
        let keys = self.keys.imports();
        let mut call = scripts::IMPORT.call(&keys);
        let after = after.map(|RunId(run)| run.to_vec()).unwrap_or_default();
        call.arg(&digest.0[..]).arg(after).arg(record).arg(RECORDS_MAX);
        let mut pipe = pipeline();
        pipe.add_command(call);
        let replies = self.remote.query(slot(&keys[0]), &pipe).await;
        let mut replies = Replies::new(replies.map_err(Failure::into_store_error)?);
        Ok(replies.next::<u8>("import")? == 1)
    }
}
