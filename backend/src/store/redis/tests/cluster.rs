//! A cluster of two servers whose slots move.

use super::*;
use crate::store::redis::keys::StoreKeys;

const CLUSTER: [&str; 4] = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];

/// Two servers, each with half of the slots.
struct Cluster {
    servers: Vec<Server>,
    connections: Vec<Connection>,
    _directories: Vec<TempDir>,
}

impl Cluster {
    fn start() -> Self {
        let directories = vec![TempDir::new().unwrap(), TempDir::new().unwrap()];
        let servers: Vec<_> =
            directories.iter().map(|dir| Server::start_with(dir.path(), &CLUSTER)).collect();
        let connections = servers.iter().map(Server::connection).collect();
        let mut cluster = Self { servers, connections, _directories: directories };
        let port = cluster.servers[1].port().to_string();
        cluster.run(0, &["CLUSTER", "MEET", "127.0.0.1", &port]);
        cluster.run(0, &["CLUSTER", "ADDSLOTSRANGE", "0", "8191"]);
        cluster.run(1, &["CLUSTER", "ADDSLOTSRANGE", "8192", "16383"]);
        cluster.wait_until_all_agree();
        cluster
    }

    fn run(&mut self, server: usize, command: &[&str]) -> redis::Value {
        let connection = &mut self.connections[server];
        redis::cmd(command[0]).arg(&command[1..]).query(connection).unwrap()
    }

    fn text(&mut self, server: usize, command: &[&str]) -> String {
        redis::from_redis_value(self.run(server, command)).unwrap()
    }

    fn wait_until_all_agree(&mut self) {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        for server in 0..2 {
            while !self.text(server, &["CLUSTER", "INFO"]).contains("cluster_state:ok")
                || !self.text(server, &["CLUSTER", "NODES"]).contains("0-8191")
                || !self.text(server, &["CLUSTER", "NODES"]).contains("8192-16383")
            {
                assert!(std::time::Instant::now() < deadline, "the cluster does not form");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn open(&self) -> RedisStore {
        let [a, b] = [self.servers[0].port(), self.servers[1].port()];
        let url = format!("redis://127.0.0.1:{a},127.0.0.1:{b}");
        RedisStore::open(url.parse().unwrap(), settings()).unwrap()
    }

    /// The buckets of each server.
    fn buckets_of_servers() -> [Vec<u16>; 2] {
        let keys = StoreKeys::new("cg");
        let is_first = |bucket: &u16| keys.bucket(*bucket).slot() < 8_192;
        let (first, second) = (0..crate::store::conformance::BUCKETS).partition(is_first);
        [first, second]
    }

    fn ids(&mut self) -> [String; 2] {
        [self.text(0, &["CLUSTER", "MYID"]), self.text(1, &["CLUSTER", "MYID"])]
    }

    /// Begins to move a slot from the first server to the second.
    fn begin_move(&mut self, slot: &str) {
        let [first, second] = self.ids();
        self.run(1, &["CLUSTER", "SETSLOT", slot, "IMPORTING", &first]);
        self.run(0, &["CLUSTER", "SETSLOT", slot, "MIGRATING", &second]);
    }

    /// Moves a key of it.
    fn move_key(&mut self, key: &str) {
        let port = self.servers[1].port().to_string();
        self.run(0, &["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
    }

    fn keys_in(&mut self, slot: &str) -> Vec<String> {
        let keys = self.run(0, &["CLUSTER", "GETKEYSINSLOT", slot, "1000"]);
        redis::from_redis_value(keys).unwrap()
    }

    fn end_move(&mut self, slot: &str) {
        for key in self.keys_in(slot) {
            self.move_key(&key);
        }
        let [_, second] = self.ids();
        self.run(1, &["CLUSTER", "SETSLOT", slot, "NODE", &second]);
        self.run(0, &["CLUSTER", "SETSLOT", slot, "NODE", &second]);
    }
}

fn post() -> Post {
    let groups = vec![Group { stream: Stream::Normal, posted: vec![reserve(1)], depth_max: 99 }];
    Post { groups, ..Post::default() }
}

#[tokio::test]
async fn buckets_are_where_their_slots_are_and_move_with_them() {
    let mut cluster = Cluster::start();
    let store = cluster.open();
    let api = store.api();
    let [first, second] = Cluster::buckets_of_servers();
    assert!(!first.is_empty() && !second.is_empty(), "both have some: {first:?}, {second:?}");
    for bucket in 0..crate::store::conformance::BUCKETS {
        let tenure = store.acquire(bucket, WorkerId(1)).unwrap().unwrap();
        tenure.commit_turn(&sale(0, 2)).unwrap();
        api.post(bucket, &post()).await.unwrap();
        assert_eq!(in_lane(read(&tenure)).len(), 1);
        assert!(api.stock(bucket, &sku("A")).await.unwrap().is_some());
        assert!(tenure.renew().unwrap());
    }
    let bucket = first[0];
    let keys = StoreKeys::new("cg").bucket(bucket);
    let slot = keys.slot().to_string();
    let tenure = store.acquire(bucket, WorkerId(1)).unwrap().unwrap();

    // Halfway, nobody can have all that a step needs: it is tried for a while, and then refused
    // without having done anything.
    cluster.begin_move(&slot);
    cluster.move_key(&keys.key("stock"));
    let error = api.post(bucket, &post()).await.unwrap_err();
    assert!(
        matches!(error, crate::store::redis::PostError::OutOfReach { .. }),
        "nothing was posted: {error}"
    );
    tenure.commit_turn(&sale(2, 3)).unwrap_err();

    // Then all is in its new place, what was not done least of all.
    cluster.end_move(&slot);
    api.post(bucket, &post()).await.unwrap();
    assert_eq!(api.stock(bucket, &sku("A")).await.unwrap().unwrap().version, 2);
    let next = store.acquire(bucket, WorkerId(1));
    let next = match next {
        Ok(next) => next.unwrap(),
        // The first to hear that the slot has moved looks for its server again.
        Err(_) => store.acquire(bucket, WorkerId(1)).unwrap().unwrap(),
    };
    assert_eq!(in_lane(read(&next)).len(), 2);
    next.commit_turn(&sale(2, 3)).unwrap();
    assert_eq!(cluster.keys_in(&slot), [""; 0]);
}

/// A slot that moves in a moment: whoever comes in between waits for it, and does not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_waits_for_a_slot_that_is_moving() {
    let mut cluster = Cluster::start();
    let store = cluster.open();
    let api = store.api();
    let bucket = Cluster::buckets_of_servers()[0][0];
    let keys = StoreKeys::new("cg").bucket(bucket);
    let slot = keys.slot().to_string();
    api.post(bucket, &post()).await.unwrap();
    cluster.begin_move(&slot);
    cluster.move_key(&keys.key("depths"));
    let posting = tokio::spawn(async move { api.post(bucket, &post()).await });
    cluster.end_move(&slot);
    posting.await.unwrap().unwrap();
    let tenure = store.acquire(bucket, WorkerId(1));
    let tenure = tenure.or_else(|_| store.acquire(bucket, WorkerId(1))).unwrap().unwrap();
    assert_eq!(in_lane(read(&tenure)).len(), 2);
}
