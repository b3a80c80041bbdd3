//! What an API process does with a store on Redis, without blocking.

use std::sync::Arc;

use cartgate_ledger::{CommandId, JournalEntry, Reservation};
use cartgate_policy::Sku;

use super::ask::{self, Ask, JournalPage};
use super::keys::{Keys, StoreKeys, slot};
use super::line::{self, Line};
use super::link::{Link, pipeline};
use super::past::Lost;
use super::post::{self, PostError};
use super::published::{Ears, Hearing};
use super::remote::{Failure, Remote};
use super::reply::Replies;
use super::scripts;
use crate::hot_items::{HotItem, HotItemHistory};
use crate::store::post::{Post, PostReply};
use crate::store::tenure::{Answer, EntryId, Route, Stream, Ticket};
use crate::store::{Durability, StockRow, StoreError};
use crate::window::{Counts, Rates, WINDOW_S};

/// Posts into the streams of all buckets, and reads what is committed.
pub struct Api {
    pub(super) keys: StoreKeys,
    pub(super) remote: Remote,
    ears: Arc<Ears>,
    durability: Durability,
}

impl Api {
    pub(super) fn new(
        keys: StoreKeys,
        link: Arc<Link>,
        ears: Arc<Ears>,
        durability: Durability,
    ) -> Self {
        Self { keys, remote: Remote::new(link), ears, durability }
    }

    /// As [`RedisStore::durability`](super::RedisStore::durability).
    pub fn durability(&self) -> Durability {
        self.durability
    }

    pub(super) async fn ask<T>(
        &self,
        bucket: u16,
        ask: impl FnOnce(&Keys) -> Ask<T>,
    ) -> Result<T, StoreError> {
        let keys = self.keys.bucket(bucket);
        self.remote.ask(keys.slot(), ask(&keys)).await
    }

    /// Puts something into a bucket's streams.
    ///
    /// # Errors
    /// Says whether nothing was posted, or nobody knows.
    pub async fn post(&self, bucket: u16, post: &Post) -> Result<PostReply, PostError> {
        let keys = self.keys.bucket(bucket);
        let nonce = u64::from_ne_bytes(crate::random::bytes());
        let mut pipe = pipeline();
        pipe.add_command(post::call(&keys, post, nonce).map_err(PostError::Refused)?);
        match self.remote.query(keys.slot(), &pipe).await {
            Ok(replies) => post::read(Replies::new(replies), nonce).map_err(PostError::Unknown),
            Err(failure) => Err(post_error(failure)),
        }
    }

    /// Hears from now on what the callers of a process are told.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn hear(&self, process: u64) -> Result<Hearing, StoreError> {
        let channel = self.keys.channel(process);
        let subscribed = self.remote.subscribe(slot(&channel), &channel).await;
        let published = subscribed.map_err(Failure::into_store_error)?;
        Ok(Hearing { published, told: self.ears.listen(process) })
    }

    /// A SKU's stock; `None` if it was never set.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn stock(&self, bucket: u16, sku: &Sku) -> Result<Option<StockRow>, StoreError> {
        self.ask(bucket, |keys| ask::stock(keys, sku)).await
    }

    /// The stock of some SKUs of a bucket, in their order.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn stocks(
        &self,
        bucket: u16,
        skus: &[Sku],
    ) -> Result<Vec<Option<StockRow>>, StoreError> {
        self.ask(bucket, |keys| ask::stocks(keys, skus)).await
    }

    /// What became of a command, and of which SKU's stock it was.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn reservation(
        &self,
        bucket: u16,
        id: CommandId,
    ) -> Result<Option<(Sku, Reservation)>, StoreError> {
        self.ask(bucket, |keys| ask::reservation(keys, id)).await
    }

    /// Of a command that a ticket was given for and that waits: the ticket, and its SKU.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn ticketed(
        &self,
        bucket: u16,
        id: CommandId,
    ) -> Result<Option<(Ticket, Sku)>, StoreError> {
        self.ask(bucket, |keys| ask::ticket(keys, id)).await
    }

    /// How one of a bucket's streams stands; `None`: nothing waits in it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn line(&self, bucket: u16, stream: &Stream) -> Result<Option<Line>, StoreError> {
        self.ask(bucket, |keys| line::ask(keys, stream)).await
    }

    /// At most `limit` entries of a SKU's journal, in order, from the one after version `after`.
    ///
    /// # Errors
    /// The store cannot be read, or what was asked for is not kept any more.
    pub async fn journal(
        &self,
        bucket: u16,
        sku: &Sku,
        after: u64,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        let keys = self.keys.bucket(bucket);
        let mut page = JournalPage::new(sku, after, limit);
        while let Some(ask) = page.next(&keys) {
            page.take(self.remote.ask(keys.slot(), ask).await?)?;
        }
        Ok(page.entries())
    }

    /// A bucket's hot items, in order.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn hot_items(&self, bucket: u16) -> Result<Vec<(Sku, HotItem)>, StoreError> {
        self.ask(bucket, ask::hot_items).await
    }

    /// The history of a SKU's entry in the registry of hot items: empty, if nothing is kept of it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn hot_item_history(
        &self,
        bucket: u16,
        sku: &Sku,
    ) -> Result<HotItemHistory, StoreError> {
        self.ask(bucket, |keys| ask::hot_item_history(keys, sku)).await
    }

    /// A bucket's SKUs with lanes of their own, and the version of that.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn routes(&self, bucket: u16) -> Result<(u64, Vec<(Sku, Route)>), StoreError> {
        self.ask(bucket, ask::routes).await
    }

    /// How much is posted in each of a bucket's streams and not decided.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn depths(&self, bucket: u16) -> Result<Vec<(Stream, u64)>, StoreError> {
        self.ask(bucket, ask::depths).await
    }

    /// How long the oldest command of each of a bucket's streams has waited, in milliseconds, by the
    /// server's clock; `None`: none does.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn ages(
        &self,
        bucket: u16,
        streams: &[Stream],
    ) -> Result<Vec<Option<u64>>, StoreError> {
        self.ask(bucket, |keys| ask::ages(keys, streams)).await
    }

    /// Adds to what was asked of a bucket's hot items, and held, in this second.
    ///
    /// # Errors
    /// The store cannot be reached, or has no room.
    pub async fn count(&self, bucket: u16, counts: &[(Sku, Counts)]) -> Result<(), StoreError> {
        let keys = self.keys.bucket(bucket);
        let rates: Vec<_> = counts.iter().map(|(sku, _)| keys.rates(sku)).collect();
        let mut call = scripts::COUNT.call(&rates);
        call.arg(WINDOW_S);
        for (_, Counts { demand, admitted }) in counts {
            call.arg(*demand).arg(*admitted);
        }
        let mut pipe = pipeline();
        pipe.add_command(call);
        let counted = self.remote.query(keys.slot(), &pipe).await;
        counted.map(drop).map_err(Failure::into_store_error)
    }

    /// What is asked of a hot item by all processes, and held.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn rates(&self, bucket: u16, sku: &Sku) -> Result<Rates, StoreError> {
        self.ask(bucket, |keys| ask::rates(keys, sku)).await
    }

    /// At most `limit` entries of a bucket's answers after that one, in order. They are kept for half
    /// a minute.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn answers(
        &self,
        bucket: u16,
        after: EntryId,
        limit: usize,
    ) -> Result<Vec<(EntryId, Vec<Answer>)>, StoreError> {
        self.ask(bucket, |keys| ask::answers(keys, after, limit)).await
    }

    /// A bucket's SKUs that have lost the end of their journals.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn lost(&self, bucket: u16) -> Result<Vec<Lost>, StoreError> {
        self.ask(bucket, ask::lost).await
    }
}

fn post_error(failure: Failure) -> PostError {
    match failure {
        failure if failure.is_out_of_memory() => PostError::OutOfMemory,
        Failure::OutOfReach { retry_after } => PostError::OutOfReach { retry_after },
        Failure::Refused { .. } => PostError::Refused(failure.into_store_error()),
        Failure::Unknown { .. } => PostError::Unknown(failure.into_store_error()),
    }
}
