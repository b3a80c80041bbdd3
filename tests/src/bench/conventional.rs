//! The conventional way, in both its forms: `pgbench`, and an axum server with a pool.

use std::cmp::Ordering;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use super::closed::{self, Caller};
use super::postgres::Postgres;
use super::request::{Skus, Template};
use super::run::{CALLERS, Run, progress};
use super::statistics::Series;
use crate::process::{Process, StartError};
use crate::{client, paths, ports};

/// One reservation: a unit off the hot row and a line in a cart, in one transaction.
const SCRIPT: &str = "\\set customer random(1, 1000000000)
BEGIN;
UPDATE stock SET qty = qty - 1 WHERE sku = 1 AND qty > 0;
INSERT INTO cart (sku, customer) VALUES (1, 'c-' || :customer);
END;
";

/// Client counts of `pgbench` and pool sizes among which the conventional way may choose its best.
const CLIENTS: [usize; 6] = [1, 2, 4, 8, 16, 32];
const POOLS: [usize; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

/// PostgreSQL, and how it does best.
#[derive(Debug)]
pub struct Rivals {
    postgres: Postgres,
    clients: usize,
    pool: usize,
}

impl Rivals {
    /// Starts PostgreSQL, and tries which client count and which pool size are best.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start(run: &Run) -> Self {
        let postgres = run.cores.for_server(Postgres::start(run.dir())).await.expect("PostgreSQL");
        let mut rivals = Self { postgres, clients: CLIENTS[0], pool: POOLS[0] };
        if run.extent.is_smoke {
            return rivals;
        }
        progress("PostgreSQL: which client count and which pool size are best?");
        let lasts = run.extent.phase / 2;
        let best = CLIENTS.map(|clients| (pgbench(&rivals.postgres, clients, lasts), clients));
        rivals.clients = best.into_iter().max_by(by_rate).map_or(CLIENTS[0], |(_, best)| best);
        let mut best = Vec::new();
        for pool in POOLS {
            best.push((rivals.pooled(run, pool, lasts).await, pool));
        }
        rivals.pool = best.into_iter().max_by(by_rate).map_or(POOLS[0], |(_, best)| best);
        rivals
    }

    /// Measures 200 clients, the best client count, and the best pool size, once each.
    ///
    /// # Panics
    /// Something fails.
    pub async fn measure(&mut self, run: &Run, series: &mut Series) {
        let lasts = run.extent.phase;
        series.note(("pgbench 200", "per_s"), pgbench(&self.postgres, CALLERS, lasts));
        let pgbench = pgbench(&self.postgres, self.clients, lasts);
        let pooled = self.pooled(run, self.pool, lasts).await;
        series.note(("pgbench", "per_s"), pgbench);
        series.note(("pool", "per_s"), pooled);
        series.note(("best", "per_s"), pgbench.max(pooled));
    }

    /// Reservations per second of the axum server, with as many callers as ours has.
    async fn pooled(&self, run: &Run, pool: usize, lasts: Duration) -> f64 {
        let start = Conventional::start(run.dir(), &self.postgres, pool);
        let server = run.cores.for_server(start).await.expect("the conventional server");
        let callers = Caller::connect_all(server.address, CALLERS).await;
        let template = Template::reservation(server.address, Skus::Hot);
        closed::run(callers, &template, &run.numbers, lasts).await.per_s(201)
    }

    /// What is best, in words.
    pub fn describe(&self, series: &Series) -> String {
        format!(
            "the better of pgbench with {} clients ({:.0}/s) and the axum server with a pool of {} \
             ({:.0}/s); PostgreSQL {} on a socket, fsync on, as it comes",
            self.clients,
            series.median(("pgbench", "per_s")),
            self.pool,
            series.median(("pool", "per_s")),
            self.postgres.version(),
        )
    }

    /// Stops PostgreSQL: it is to be out of the way of what comes next.
    ///
    /// # Panics
    /// The operating system cannot tell how it ended.
    pub async fn stop(&mut self) {
        self.postgres.process.stop().await.expect("PostgreSQL ends");
    }
}

fn by_rate<T>((a, _): &(f64, T), (b, _): &(f64, T)) -> Ordering {
    a.total_cmp(b)
}

/// Transactions per second that `pgbench` gets through with `clients` clients. On a machine so busy
/// that it gets through none, it is given more time.
fn pgbench(postgres: &Postgres, clients: usize, lasts: Duration) -> f64 {
    let script = postgres.socket().with_extension("sql");
    fs::write(&script, SCRIPT).expect("write pgbench's script");
    let first = lasts.as_secs().max(1);
    let mut said = String::new();
    for seconds in [first, 4 * first, 16 * first] {
        let mut pgbench = postgres.client("pgbench");
        pgbench.args(["--no-vacuum", "--protocol=prepared", "--jobs=1"]);
        pgbench.arg(format!("--client={clients}")).arg(format!("--time={seconds}"));
        let output = pgbench.arg("--file").arg(&script).output().expect("run pgbench");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pgbench: {complaint}");
        said = String::from_utf8_lossy(&output.stdout).into_owned();
        if let Some(tps) = tps(&said) {
            return tps;
        }
    }
    panic!("pgbench says no tps: {said}")
}

fn tps(said: &str) -> Option<f64> {
    let line = said.lines().find_map(|line| line.strip_prefix("tps = "))?;
    line.split(' ').next()?.parse().ok()
}

/// The axum server with a pool of connections.
#[derive(Debug)]
struct Conventional {
    /// Killed when it is dropped.
    _process: Process,
    address: SocketAddr,
}

impl Conventional {
    async fn start(dir: &Path, postgres: &Postgres, pool: usize) -> Result<Self, StartError> {
        let address = ports::free_address();
        let mut command = Command::new(paths::conventional()?);
        command.arg("--listen").arg(address.to_string());
        command.arg("--socket").arg(postgres.socket());
        command.arg("--pool").arg(pool.to_string());
        let log = dir.join("conventional.log");
        let mut process = Process::spawn("conventional", command, &log, None)?;
        let client = client::http();
        let ready = || async {
            let answer = client.get(format!("http://{address}/ready")).send().await.ok()?;
            answer.status().is_success().then_some(())
        };
        process.until_ready(ready).await?;
        Ok(Self { _process: process, address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pgbench_says_how_many_transactions_it_did() {
        let said = "latency average = 0.4 ms\ninitial connection time = 2.5 ms\n\
                    tps = 2391.4 (without initial connection time)\n";
        assert_eq!(tps(said), Some(2391.4));
        assert_eq!(tps("pgbench: error"), None);
    }
}
