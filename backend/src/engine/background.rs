//! What a process does all the time that has a part in an engine on a shared store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::known::KnownHotItems;
use super::shared::read_registry;
use crate::clock::every;
use crate::lanes::{Buckets, Front};
use crate::metrics::Metrics;
use crate::store::StoreError;
use crate::store::redis::Api;
use crate::trouble::Trouble;

/// How often those who wait are looked after.
const LOOK_AFTER_EVERY: Duration = Duration::from_millis(500);

/// How often it is sent what was counted of hot items.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// How often the registry of hot items is read: a request for each bucket.
const LEARN_EVERY: Duration = Duration::from_millis(500);

/// How long to wait before listening again when that could not be done.
const LISTEN_AGAIN: Duration = Duration::from_millis(250);

/// Begins with all of it, in the tokio runtime that this is called in.
pub(super) fn start(
    api: &Arc<Api>,
    front: &Arc<Front>,
    known: &Arc<KnownHotItems>,
    buckets: Buckets,
    metrics: Arc<Metrics>,
) -> [AbortHandle; 4] {
    let listening = tokio::spawn(listen(Arc::clone(api), Arc::clone(front)));
    let looking_after = tokio::spawn(look_after(Arc::clone(front)));
    let counting = tokio::spawn(send_counts(Arc::clone(api), buckets, metrics));
    let learning = tokio::spawn(learn(Arc::clone(api), buckets, Arc::clone(known)));
    [listening, looking_after, counting, learning].map(|task| task.abort_handle())
}

/// Hears answers as they are published.
async fn listen(api: Arc<Api>, front: Arc<Front>) {
    loop {
        match api.hear(front.process()).await {
            Ok(mut hearing) => {
                while let Some(published) = hearing.next().await {
                    match published {
                        Ok(published) => front.hear(published.answers, published.reached),
                        Err(error) => warn(&error, "a published answer cannot be read"),
                    }
                }
            }
            Err(error) => warn(&error, "answers cannot be listened to"),
        }
        sleep(LISTEN_AGAIN).await;
    }
}

fn warn(error: &StoreError, what: &str) {
    let error: &dyn std::error::Error = error;
    tracing::warn!(error, "{what}");
}

async fn look_after(front: Arc<Front>) {
    let mut ticks = every(LOOK_AFTER_EVERY);
    loop {
        ticks.tick().await;
        front.look_after().await;
    }
}

/// Learns what the registry of hot items has.
async fn learn(api: Arc<Api>, buckets: Buckets, known: Arc<KnownHotItems>) {
    let mut ticks = every(LEARN_EVERY);
    let mut trouble = Trouble::new("the registry of hot items cannot be read");
    loop {
        ticks.tick().await;
        let began_at = known.changes();
        // What was known before counts until it can be read.
        if let Some(registry) = trouble.tell(read_registry(&api, buckets).await) {
            known.learn(registry, began_at);
        }
    }
}

/// Adds what this process counts of hot items to what others do.
async fn send_counts(api: Arc<Api>, buckets: Buckets, metrics: Arc<Metrics>) {
    let mut ticks = every(COUNT_EVERY);
    loop {
        ticks.tick().await;
        let mut by_bucket = BTreeMap::<u16, Vec<_>>::new();
        for (sku, counts) in metrics.tally.take() {
            by_bucket.entry(buckets.of_sku(&sku)).or_default().push((sku, counts));
        }
        for (bucket, counts) in by_bucket {
            if let Err(error) = api.count(bucket, &counts).await {
                // They are missing then: nothing rests on them.
                warn(&error, "what was counted of hot items cannot be written");
            }
        }
    }
}
