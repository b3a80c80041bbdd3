//! A system of several API processes and workers on one Redis, each to be killed, stopped or cut off
//! by itself.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use redis::RedisError;
use thiserror::Error;

use super::verdict::Lost;
use crate::process::StartError;
use crate::redis::{Cluster, Pair, Partition, Redis, RedisOptions};
use crate::{Service, ServiceOptions};

/// What a fleet stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroundKind {
    /// One Redis.
    Single,
    /// A primary and a replica that may lag behind, and take its place.
    Pair,
    /// Three primaries and their replicas.
    Cluster,
}

/// What a fleet is made of.
#[derive(Clone, Debug)]
pub struct FleetPlan {
    /// What it stands on.
    pub ground: GroundKind,
    /// How many API processes there are.
    pub apis: usize,
    /// How many workers.
    pub workers: usize,
    /// How many buckets SKUs are spread over.
    pub buckets: u16,
    /// Settings of all processes, as a TOML file has them.
    pub settings: String,
}

/// The servers themselves.
#[expect(clippy::large_enum_variant, reason = "there are a few of them at most")]
pub(super) enum Ground {
    Single(Redis),
    Pair(Pair),
    Cluster(Cluster),
}

/// The system.
pub struct Fleet {
    pub(super) ground: Ground,
    /// They answer callers.
    pub(super) apis: Vec<Member>,
    /// They own buckets.
    pub(super) workers: Vec<Member>,
    buckets: u16,
}

/// A process of the system.
#[derive(Debug)]
pub(super) struct Member {
    options: ServiceOptions,
    pub(super) service: Service,
    /// The network between it and Redis; there is none where servers say where others are.
    pub(super) link: Option<Partition>,
}

impl Fleet {
    /// Starts servers and processes without data, below `dir`.
    ///
    /// # Errors
    /// One of them does not start.
    pub async fn start(plan: &FleetPlan, dir: &Path) -> Result<Self, FleetError> {
        let FleetPlan { buckets, ref settings, .. } = *plan;
        let ground = Ground::start(plan.ground, &dir.join("redis")).await?;
        let settings = format!("buckets = {buckets}\n{settings}");
        let mut fleet = Self { ground, apis: Vec::new(), workers: Vec::new(), buckets };
        for number in 0..plan.workers {
            let dir = dir.join(format!("worker-{number}"));
            fleet.workers.push(Member::start(&fleet.ground, &dir, "worker", &settings).await?);
        }
        for number in 0..plan.apis {
            let dir = dir.join(format!("api-{number}"));
            fleet.apis.push(Member::start(&fleet.ground, &dir, "api", &settings).await?);
        }
        Ok(fleet)
    }

    /// Where each API process listens; also while it does not.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.apis.iter().map(|api| api.service.address()).collect()
    }

    /// What the processes say that failovers have lost.
    ///
    /// # Errors
    /// A server does not answer, or nobody can read what it says.
    pub async fn lost(&self) -> Result<Vec<Lost>, FleetError> {
        let mut all = Vec::new();
        for bucket in 0..self.buckets {
            let key = format!("{{cg:{bucket}}}:lost");
            let server = self.ground.server_of(&key).await;
            let found: Vec<(String, String)> = server.ask(&["HGETALL", &key]).await?;
            for (sku, versions) in found {
                let lost = Lost::parse(&sku, &versions);
                all.push(lost.ok_or(FleetError::Strange { sku, versions })?);
            }
        }
        Ok(all)
    }

    /// The name of a key of a bucket, any of them.
    pub(super) fn key_of_bucket(&self, number: u64) -> String {
        format!("{{cg:{}}}:meta", number % u64::from(self.buckets))
    }

    /// Stops all processes in order, those first that answer callers.
    ///
    /// # Errors
    /// One of them does not.
    pub async fn stop(&mut self) -> Result<(), FleetError> {
        for member in self.apis.iter_mut().chain(&mut self.workers) {
            member.stop().await?;
        }
        Ok(())
    }
}

impl Ground {
    async fn start(kind: GroundKind, dir: &Path) -> Result<Self, StartError> {
        Ok(match kind {
            GroundKind::Single => Self::Single(Redis::start(&RedisOptions::new(dir)).await?),
            GroundKind::Pair => Self::Pair(Pair::start(dir, "").await?),
            GroundKind::Cluster => Self::Cluster(Cluster::start(dir, "").await?),
        })
    }

    /// The servers that run.
    pub(super) fn servers(&self) -> Vec<&Redis> {
        let all: Vec<_> = match self {
            Self::Single(redis) => vec![redis],
            Self::Pair(pair) => vec![&pair.primary, &pair.replica],
            Self::Cluster(cluster) => cluster.nodes.iter().collect(),
        };
        all.into_iter().filter(|server| server.process.id().is_some()).collect()
    }

    /// The server that has a key now. Of a pair, that is the one which is no replica.
    async fn server_of(&self, key: &str) -> &Redis {
        match self {
            Self::Single(redis) => redis,
            Self::Pair(pair) => match pair.replica.info("role").await.as_deref() {
                Some("master") => &pair.replica,
                _ => &pair.primary,
            },
            Self::Cluster(cluster) => {
                &cluster.nodes[cluster.primary_of(cluster.slot_of(key).await).await]
            }
        }
    }
}

impl Member {
    async fn start(
        ground: &Ground,
        dir: &Path,
        roles: &'static str,
        settings: &str,
    ) -> Result<Self, StartError> {
        let (url, link) = match ground {
            Ground::Single(redis) | Ground::Pair(Pair { primary: redis, .. }) => {
                let link = Partition::before(redis.address()).await;
                (redis.url_at(link.address()), Some(link))
            }
            Ground::Cluster(cluster) => (cluster.url(), None),
        };
        let options = ServiceOptions::new(dir).settings(settings).store(&url).roles(roles);
        let service = Service::start(&options).await?;
        Ok(Self { options, service, link })
    }

    /// Kills it on the spot.
    pub(super) async fn kill(&mut self) -> Result<(), FleetError> {
        self.service.process.kill().await.map(drop).map_err(FleetError::Stop)
    }

    /// Stops it in order.
    pub(super) async fn stop(&mut self) -> Result<(), FleetError> {
        let status = self.service.process.stop().await.map_err(FleetError::Stop)?;
        if status.success() { Ok(()) } else { Err(FleetError::Disorderly { status }) }
    }

    /// Starts it again, at the same address.
    pub(super) async fn start_again(&mut self) -> Result<(), FleetError> {
        self.service = Service::start(&self.options).await?;
        Ok(())
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (apis, workers) = (self.apis.len(), self.workers.len());
        write!(f, "Fleet of {apis} API processes and {workers} workers")
    }
}

/// What has gone wrong with a fleet that nobody has done to it.
#[derive(Debug, Error)]
pub enum FleetError {
    /// A part does not start.
    #[error("{0}")]
    Start(#[from] StartError),
    /// A process cannot be stopped.
    #[error("cannot watch over processes: {0}")]
    Stop(#[source] std::io::Error),
    /// A process that was told to stop has not done so in order.
    #[error("a worker that was told to stop ended otherwise: {status}")]
    Disorderly {
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// A server refuses what is asked of it.
    #[error("Redis does not do as it is told: {0}")]
    Redis(#[from] RedisError),
    /// What is said of a lost SKU cannot be read.
    #[error("{sku} is said to have lost {versions:?}")]
    Strange {
        /// The SKU.
        sku: String,
        /// What is said.
        versions: String,
    },
}
