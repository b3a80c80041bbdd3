//! A primary and its replica.

use std::path::Path;

use super::{Partition, Redis, RedisOptions};
use crate::process::{StartError, eventually};

/// A primary, its replica, and the network between them.
#[derive(Debug)]
pub struct Pair {
    /// The primary.
    pub primary: Redis,
    /// Its replica, which asks it by way of the `link`.
    pub replica: Redis,
    /// What the replica has not got when this is silenced, it loses if it is promoted.
    pub link: Partition,
}

impl Pair {
    /// Starts both below `dir`, with more `settings` for both, and waits until the replica has all
    /// that the primary has.
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub async fn start(dir: &Path, settings: &str) -> Result<Self, StartError> {
        let options = |name| RedisOptions::new(&dir.join(name)).settings(settings);
        let primary = Redis::start(&options("primary")).await?;
        let link = Partition::before(primary.address()).await;
        let replica = Redis::start(&options("replica").replica_of(link.address())).await?;
        let pair = Self { primary, replica, link };
        pair.until_in_step().await;
        Ok(pair)
    }

    /// Waits until the replica has all that the primary has.
    ///
    /// # Panics
    /// It takes too long.
    pub async fn until_in_step(&self) {
        eventually("the replica has what the primary has", || async {
            let link = self.replica.info("master_link_status").await?;
            let sent = self.primary.info("master_repl_offset").await?;
            let has = self.replica.info("slave_repl_offset").await?;
            (link == "up" && has >= sent).then_some(())
        })
        .await;
    }

    /// Makes the replica a primary, with what it has: what a failover does.
    ///
    /// # Panics
    /// It cannot be reached.
    pub async fn promote(&self) {
        let promoted = self.replica.ask::<()>(&["REPLICAOF", "NO", "ONE"]).await;
        promoted.expect("the replica is a primary");
    }
}
