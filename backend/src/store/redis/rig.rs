//! Real servers for tests.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Client, Connection, InfoDict};

use super::{RedisStore, Settings};
use crate::store::tenure::{SharedStore as _, Tenure, WorkerId};

/// How long a server may take to start, on a machine that is busy.
const START_MAX: Duration = Duration::from_secs(30);

/// A Redis server of a test's own. It is killed when it is dropped, as a crash would.
pub(in crate::store) struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts one whose data is in `directory`, synced with every write.
    pub(in crate::store) fn start(directory: &Path) -> Self {
        Self::start_with(directory, &["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// Starts one with these settings.
    pub(in crate::store) fn start_with(directory: &Path, settings: &[&str]) -> Self {
        let deadline = Instant::now() + START_MAX;
        while Instant::now() < deadline {
            // Somebody else may take the port before the server does: then it ends, and the next
            // one is tried.
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let child = spawn(directory, port, settings);
            let mut server = Self { child, port };
            if server.is_up_by(deadline) {
                return server;
            }
        }
        panic!("redis-server did not start within {START_MAX:?}");
    }

    /// Waits until it answers; `false` if it ended.
    fn is_up_by(&mut self, deadline: Instant) -> bool {
        while Instant::now() < deadline {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if self.answers() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// Whether it is this server that answers on the port, with all of its data read.
    fn answers(&self) -> bool {
        let connected =
            Client::open(self.url()).unwrap().get_connection_with_timeout(Duration::from_secs(1));
        let Ok(mut connection) = connected else { return false };
        let info = redis::cmd("INFO").query::<InfoDict>(&mut connection);
        info.is_ok_and(|info| {
            info.get("process_id") == Some(self.child.id()) && info.get("loading") == Some(0_u8)
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(in crate::store) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection past the store.
    pub(super) fn connection(&self) -> Connection {
        let connection = Client::open(self.url()).unwrap().get_connection().unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        connection
    }

    pub(in crate::store) fn store(&self) -> RedisStore {
        self.store_with(settings())
    }

    pub(super) fn store_with(&self, settings: Settings) -> RedisStore {
        RedisStore::open(self.url().parse().unwrap(), settings).unwrap()
    }

    /// A tenure of the bucket 0.
    pub(in crate::store) fn tenure(&self) -> std::sync::Arc<dyn Tenure> {
        self.store().acquire(0, WorkerId(1)).unwrap().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As the conformance suite expects, and patient.
pub(super) fn settings() -> Settings {
    Settings {
        buckets: crate::store::conformance::BUCKETS,
        timeout: Duration::from_secs(10),
        ..Settings::default()
    }
}

fn spawn(directory: &Path, port: u16, settings: &[&str]) -> Child {
    let port = port.to_string();
    let mut server = Command::new("redis-server");
    server.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--dir"]).arg(directory);
    server.args(settings).stdin(Stdio::null()).stdout(Stdio::null());
    server.spawn().unwrap_or_else(|error| {
        panic!("redis-server cannot be run, the tests need it (package redis-server): {error}")
    })
}
