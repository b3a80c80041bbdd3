//! Which cores a process may use: the load generator keeps to one, so that it is the same in every
//! measurement, and servers may use what there is.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores of this machine, divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores {
    generator: usize,
    servers: Vec<usize>,
}

impl Cores {
    /// The generator gets the last core. Servers get all of them if they `share`, else the others.
    ///
    /// # Panics
    /// The system does not say which cores there are.
    pub fn divide(share: bool) -> Self {
        let all = sched_getaffinity(None).expect("the cores that this process may use");
        let all: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).collect();
        let (generator, others) = all.split_last().expect("a core");
        let servers = if share || others.is_empty() { all.clone() } else { others.to_vec() };
        Self { generator: *generator, servers }
    }

    /// The same cores, but that no server gets the generator's, unless there is only one.
    pub fn apart(&self) -> Self {
        let others = self.servers.iter().copied().filter(|core| *core != self.generator);
        let others: Vec<usize> = others.collect();
        let servers = if others.is_empty() { self.servers.clone() } else { others };
        Self { generator: self.generator, servers }
    }

    /// Pins this thread, and the threads that it will start, to the generator's core.
    ///
    /// # Panics
    /// The system does not allow it.
    pub fn pin_generator(&self) {
        pin(&[self.generator]);
    }

    /// Calls `start`, whose child processes run on the servers' cores: children begin where their
    /// parent may run.
    ///
    /// # Panics
    /// The system does not allow it.
    pub async fn for_server<T>(&self, start: impl Future<Output = T>) -> T {
        pin(&self.servers);
        let started = start.await;
        self.pin_generator();
        started
    }

    /// How many cores servers may use.
    pub fn server_count(&self) -> usize {
        self.servers.len()
    }

    /// The division, in words.
    pub fn describe(&self) -> String {
        let servers: Vec<String> = self.servers.iter().map(ToString::to_string).collect();
        let servers = servers.join(", ");
        format!("load generator pinned to core {}, servers on core {servers}", self.generator)
    }
}

fn pin(cores: &[usize]) {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    sched_setaffinity(None, &set).expect("pin this thread");
}
