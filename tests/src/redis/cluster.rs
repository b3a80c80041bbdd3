//! Three primaries and three replicas.

use std::future::Future;
use std::path::Path;

use redis::RedisResult;

use super::{Redis, RedisOptions, field_of};
use crate::process::{StartError, eventually};

/// How many nodes there are.
pub const NODES: usize = 6;

/// How many of them are primaries.
pub const PRIMARIES: usize = 3;

/// How many slots they share.
pub const SLOTS: u16 = 16_384;

/// Whoever is silent for longer has failed: soon, since tests wait for it.
const SETTINGS: &str = "cluster-node-timeout 2000\ncluster-replica-validity-factor 0";

/// A cluster.
#[derive(Debug)]
pub struct Cluster {
    /// Its nodes: at first, three primaries, then their replicas in the same order.
    pub nodes: Vec<Redis>,
}

/// What a node knows of one of them, itself included.
#[derive(Clone, Debug)]
struct Known {
    id: String,
    port: u16,
    flags: String,
    primary: String,
    slots: Vec<(u16, u16)>,
}

impl Cluster {
    /// Starts a cluster below `dir`, with more `settings` for all nodes, and waits until all of them
    /// agree that it works.
    ///
    /// # Errors
    /// As [`Redis::start`].
    ///
    /// # Panics
    /// The nodes do not find together.
    pub async fn start(dir: &Path, settings: &str) -> Result<Self, StartError> {
        let mut nodes = Vec::with_capacity(NODES);
        for number in 0..NODES {
            let options = RedisOptions::new(&dir.join(format!("node-{number}"))).cluster_node();
            nodes.push(Redis::start(&options.settings(SETTINGS).settings(settings)).await?);
        }
        let cluster = Self { nodes };
        cluster.form().await.expect("a cluster");
        cluster.until_ok().await;
        Ok(cluster)
    }

    /// As `redis-cli --cluster create` does it.
    async fn form(&self) -> RedisResult<()> {
        for (number, node) in self.nodes.iter().enumerate() {
            let epoch = (number + 1).to_string();
            node.ask::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await?;
        }
        let share = SLOTS / PRIMARIES as u16;
        for (number, node) in (0u16..).zip(&self.nodes[..PRIMARIES]) {
            let is_last = usize::from(number) + 1 == PRIMARIES;
            let end = if is_last { SLOTS } else { share * (number + 1) } - 1;
            let (first, last) = ((share * number).to_string(), end.to_string());
            node.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await?;
        }
        for other in &self.nodes[1..] {
            let (ip, port) = (other.address().ip().to_string(), other.address().port().to_string());
            let bus = other.ask::<Vec<String>>(&["CONFIG", "GET", "cluster-port"]).await?;
            self.nodes[0].ask::<()>(&["CLUSTER", "MEET", &ip, &port, &bus[1]]).await?;
        }
        for number in PRIMARIES..NODES {
            let id: String = self.nodes[number - PRIMARIES].ask(&["CLUSTER", "MYID"]).await?;
            // It first has to hear of its primary.
            self.eventually("a replica", || async {
                self.nodes[number].ask::<()>(&["CLUSTER", "REPLICATE", &id]).await.ok()
            })
            .await;
        }
        Ok(())
    }

    /// Waits until every node that answers says that all slots are served, and every replica has its
    /// primary's data.
    ///
    /// # Panics
    /// It takes too long.
    pub async fn until_ok(&self) {
        for node in &self.nodes {
            self.eventually("the cluster works", || async {
                if node.process.id().is_none() {
                    return Some(());
                }
                let info: String = node.ask(&["CLUSTER", "INFO"]).await.ok()?;
                let is = |field, value: &str| field_of(&info, field) == Some(value);
                let knows = is("cluster_state", "ok") && is("cluster_slots_ok", "16384");
                let agrees = self.known_to(node).await?.len() == NODES;
                let link = node.info("master_link_status").await;
                let follows = link.is_none_or(|link| link == "up");
                (knows && agrees && follows).then_some(())
            })
            .await;
        }
        self.eventually("every primary has a replica", || async {
            let known = self.known().await?;
            let has_replica =
                |id: &str| known.iter().any(|other| other.primary == id && !other.has_failed());
            let primaries = known.iter().filter(|node| !node.slots.is_empty());
            let is_served = |node: &Known| node.has_failed() || has_replica(&node.id);
            let dead = self.nodes.iter().any(|node| node.process.id().is_none());
            (dead || primaries.into_iter().all(is_served)).then_some(())
        })
        .await;
    }

    /// What `--store` wants: all nodes, of which any that answers will do.
    pub fn url(&self) -> String {
        let nodes = self.nodes.iter().map(|node| node.address().to_string());
        format!("redis://{}", nodes.collect::<Vec<_>>().join(","))
    }

    /// The slot of a key.
    ///
    /// # Panics
    /// The first node does not answer.
    pub async fn slot_of(&self, key: &str) -> u16 {
        let asked = self.ask_any(&["CLUSTER", "KEYSLOT", key]).await;
        asked.expect("a slot")
    }

    /// Which of the nodes is the primary of a slot now.
    ///
    /// # Panics
    /// None is.
    pub async fn primary_of(&self, slot: u16) -> usize {
        let has = |node: &Known| node.slots.iter().any(|&(from, to)| (from..=to).contains(&slot));
        self.eventually("a primary", || async {
            let known = self.known().await?;
            let primary = known.iter().find(|node| has(node) && !node.has_failed())?;
            self.number_of(primary.port)
        })
        .await
    }

    /// A replica of a node, if it has one that works.
    pub async fn replica_of(&self, primary: usize) -> Option<usize> {
        let known = self.known().await?;
        let port = self.nodes[primary].address().port();
        let id = &known.iter().find(|node| node.port == port)?.id;
        let replica = known.iter().find(|node| node.primary == *id && !node.has_failed())?;
        self.number_of(replica.port)
    }

    /// Makes a replica take its primary's place without asking anybody, and waits until all nodes
    /// have heard of it. What it had not got yet is lost.
    ///
    /// # Panics
    /// It cannot be reached, or is no replica.
    pub async fn take_over(&self, replica: usize) {
        let taken = self.nodes[replica].ask::<()>(&["CLUSTER", "FAILOVER", "TAKEOVER"]).await;
        taken.expect("the replica takes over");
        let port = self.nodes[replica].address().port();
        for node in &self.nodes {
            self.eventually("the new primary is known", || async {
                let Some(known) = self.known_to(node).await else {
                    return node.process.id().is_none().then_some(());
                };
                known.iter().any(|node| node.port == port && !node.slots.is_empty()).then_some(())
            })
            .await;
        }
    }

    /// Moves a slot with all its keys to another primary.
    ///
    /// # Errors
    /// A node refuses.
    pub async fn move_slot(&self, slot: u16, to: usize) -> RedisResult<()> {
        let from = self.begin_move(slot, to).await?;
        self.move_keys(slot, from, to).await?;
        self.finish_move(slot, to).await
    }

    /// Begins to move a slot: until [`Cluster::finish_move`], keys that are not at its primary any
    /// more, and new ones, are the new primary's (`ASK`). Says whose it was.
    ///
    /// # Errors
    /// A node refuses.
    pub async fn begin_move(&self, slot: u16, to: usize) -> RedisResult<usize> {
        let from = self.primary_of(slot).await;
        let (slot, ids) = (slot.to_string(), (self.id(from).await?, self.id(to).await?));
        self.nodes[to].ask::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids.0]).await?;
        self.nodes[from].ask::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids.1]).await?;
        Ok(from)
    }

    /// Moves the keys of a slot that is being moved.
    ///
    /// # Errors
    /// A node refuses.
    pub async fn move_keys(&self, slot: u16, from: usize, to: usize) -> RedisResult<()> {
        let (slot, target) = (slot.to_string(), self.nodes[to].address());
        let (ip, port) = (target.ip().to_string(), target.port().to_string());
        loop {
            let some: Vec<String> =
                self.nodes[from].ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]).await?;
            if some.is_empty() {
                return Ok(());
            }
            let mut migrate = vec!["MIGRATE", &ip, &port, "", "0", "5000", "KEYS"];
            migrate.extend(some.iter().map(String::as_str));
            self.nodes[from].ask::<()>(&migrate).await?;
        }
    }

    /// Makes the move of a slot known; the new primary first, so that nobody else takes it.
    ///
    /// # Errors
    /// A node refuses: keys are left behind.
    pub async fn finish_move(&self, slot: u16, to: usize) -> RedisResult<()> {
        let from = self.primary_of(slot).await;
        let (text, id) = (slot.to_string(), self.id(to).await?);
        for node in [to, from] {
            self.nodes[node].ask::<()>(&["CLUSTER", "SETSLOT", &text, "NODE", &id]).await?;
        }
        self.eventually("the move is known", || async {
            (self.primary_of(slot).await == to).then_some(())
        })
        .await;
        Ok(())
    }

    async fn id(&self, node: usize) -> RedisResult<String> {
        self.nodes[node].ask(&["CLUSTER", "MYID"]).await
    }

    fn number_of(&self, port: u16) -> Option<usize> {
        self.nodes.iter().position(|node| node.address().port() == port)
    }

    async fn ask_any<T: redis::FromRedisValue>(&self, command: &[&str]) -> Option<T> {
        for node in self.nodes.iter().filter(|node| node.process.id().is_some()) {
            if let Ok(answer) = node.ask(command).await {
                return Some(answer);
            }
        }
        None
    }

    /// What the first node that answers knows of all.
    async fn known(&self) -> Option<Vec<Known>> {
        let text: String = self.ask_any(&["CLUSTER", "NODES"]).await?;
        Some(text.lines().filter_map(Known::parse).collect())
    }

    async fn known_to(&self, node: &Redis) -> Option<Vec<Known>> {
        node.process.id()?;
        let text: String = node.ask(&["CLUSTER", "NODES"]).await.ok()?;
        Some(text.lines().filter_map(Known::parse).collect())
    }

    /// As [`eventually`]; boxed, because a cluster's futures are large.
    async fn eventually<T, F>(&self, what: &str, probe: impl FnMut() -> F) -> T
    where
        F: Future<Output = Option<T>>,
    {
        Box::pin(eventually(what, probe)).await
    }
}

impl Known {
    /// `id ip:port@bus[,name] flags primary ping pong epoch link slots...`
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [id, address, flags, primary, _, _, _, _, slots @ ..] = words.as_slice() else {
            return None;
        };
        let port = address.split('@').next()?.rsplit(':').next()?.parse().ok()?;
        let slots = slots.iter().filter_map(|range| {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            Some((from.parse().ok()?, to.parse().ok()?))
        });
        let [id, flags, primary] = [id, flags, primary].map(|word| (*word).to_owned());
        Some(Self { id, port, flags, primary, slots: slots.collect() })
    }

    fn has_failed(&self) -> bool {
        self.flags.contains("fail") || self.flags.contains("noaddr")
    }
}
