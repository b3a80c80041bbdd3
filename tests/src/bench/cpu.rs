//! CPU time, as the system has counted it.

use std::fs;
use std::time::Duration;

/// The CPU time of a process so far, of all its threads.
pub fn of_process(pid: u32) -> Duration {
    stat(pid).map_or(Duration::ZERO, |stat| ticks(stat.own))
}

/// The CPU time so far of those threads of a process that still run and whose names begin like this.
pub fn of_threads(pid: u32, name: &str) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let stats =
        threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("stat")).ok());
    let named =
        stats.filter(|stat| stat.split_once(" (").is_some_and(|(_, rest)| rest.starts_with(name)));
    ticks(named.filter_map(|stat| Some(parse(&stat)?.own)).sum())
}

/// The CPU time of this process so far.
pub fn of_this_process() -> Duration {
    of_process(std::process::id())
}

/// The CPU time of this process's children that have ended and been waited for.
pub fn of_ended_children() -> Duration {
    stat(std::process::id()).map_or(Duration::ZERO, |stat| ticks(stat.children))
}

/// How long all cores together have been busy, and how long they could have been.
pub fn of_machine() -> (Duration, Duration) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    machine(&stat)
}

/// What others use of the machine, meanwhile.
#[derive(Debug)]
pub struct OthersCpu {
    busy: Duration,
    total: Duration,
    ours: Duration,
}

impl OthersCpu {
    /// From now on.
    pub fn start() -> Self {
        let (busy, total) = of_machine();
        Self { busy, total, ours: ours() }
    }

    /// Their share of all cores so far. Our own children count as others until they have ended.
    pub fn share(&self) -> f64 {
        let (busy, total) = of_machine();
        let others = (busy - self.busy).saturating_sub(ours() - self.ours);
        others.as_secs_f64() / (total - self.total).as_secs_f64()
    }
}

fn ours() -> Duration {
    of_this_process() + of_ended_children()
}

fn machine(stat: &str) -> (Duration, Duration) {
    let line = stat.lines().next().unwrap_or_default();
    let numbers = line.split_whitespace().skip(1).take(8);
    let numbers: Vec<u64> = numbers.filter_map(|number| number.parse().ok()).collect();
    let total: u64 = numbers.iter().sum();
    let idle: u64 = numbers.iter().skip(3).take(2).sum();
    (ticks(total - idle), ticks(total))
}

struct Stat {
    own: u64,
    children: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// `pid (name) state ppid ...`: the name may have spaces and brackets of its own.
fn parse(stat: &str) -> Option<Stat> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    // utime and stime are fields 14 and 15 of proc(5), the state is field 3.
    Some(Stat { own: number(11)? + number(12)?, children: number(13)? + number(14)? })
}

fn ticks(count: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second();
    Duration::from_secs_f64(count as f64 / per_second as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_be_called_anything() {
        let stat = parse("7 (a) b (c)) S 1 7 7 0 -1 4 9 9 0 0 110 20 3 4 20 0 1").unwrap();
        assert_eq!((stat.own, stat.children), (130, 7));
    }

    #[test]
    fn idle_and_waiting_for_disks_is_not_busy() {
        let (busy, total) = machine("cpu  100 0 50 700 100 0 20 30 9 9\ncpu0 1 1\n");
        assert_eq!((busy, total), (ticks(200), ticks(1_000)));
    }

    #[test]
    fn what_a_thread_uses_is_told_from_the_others() {
        let busy = std::thread::Builder::new().name("busy-1".into());
        let enough = Duration::from_millis(20);
        let pid = std::process::id();
        let work = move || {
            while of_threads(pid, "busy-") < enough {
                std::hint::black_box(fs::read("/proc/self/stat").unwrap());
            }
            of_threads(pid, "idle-")
        };
        assert_eq!(busy.spawn(work).unwrap().join().unwrap(), Duration::ZERO);
    }

    #[test]
    fn what_this_process_uses_is_seen() {
        let before = of_this_process();
        while of_this_process() < before + Duration::from_millis(20) {
            std::hint::black_box(fs::read("/proc/self/stat").unwrap());
        }
    }
}
