//! The same customers on an engine of several processes.
//!
//! Two API processes post into the model of a shared store, two workers own its buckets in turn, and
//! the same oracle judges what is written and told. On top of what happens to one process anywhere:
//!
//! **Failures simulated.** A worker that dies, sleeps while another takes its buckets over and goes on
//! then, or loses the answer to a commit; a commit that is on its way until its owner is long gone;
//! an API process that dies with its callers, or knows of old routes; answers that are published and
//! not heard; a failover to a replica that lacks the end of the history.
//!
//! **Checked besides.** What waits of a SKU, as its streams say: posted at its end, decided from its
//! front and nowhere else, across all of this. Depths, tickets and routes agree with what waits.
//! Everybody who waits is told once, whatever was lost on the way.
//!
//! **Not failures here.** A server that answers wrongly. Customers whose API process has died: what
//! was held for them stays until it expires, or they repeat their command. One who hangs up after a
//! claim was posted: it is decided all the same.

mod check;
mod owning;
mod posting;
mod process;
mod resting;
mod world;

use std::fmt;

use rand::distr::{Distribution as _, weighted::WeightedIndex};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::coverage::Coverage;
use super::history::Setting;
use super::op::{Chooser, Op};
use super::wish::SKUS;
use super::{Story, Violation};
use world::SharedWorld;

/// A history of an engine of several processes.
#[derive(Clone)]
pub(super) struct SharedHistory {
    seed: u64,
    setting: Setting,
    events: Vec<Event>,
}

/// Something happens, and it decides which process it happens to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    who: u8,
    what: What,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// What happens to one process as well.
    Op(Op),
    /// An owner sleeps for longer than its lease.
    Sleep,
    /// The next commit is on its way for long.
    Delay,
    /// What was on its way arrives.
    Deliver,
    /// The replica has all that there is.
    Replicate,
    /// The replica takes over.
    FailOver,
    /// The replica takes over while the next commit is on its way.
    FailOverAtCommit,
    /// An API process dies.
    KillProcess,
    /// Nobody hears what was published.
    LoseAnswers,
    /// An API process reads answers from the store.
    ReadAnswers,
    /// An API process posts what it has gathered.
    Post,
}

/// How often each happens.
const WEIGHTS: [(Option<What>, u32); 11] = [
    (None, 850),
    (Some(What::Sleep), 30),
    (Some(What::Delay), 10),
    (Some(What::Deliver), 15),
    (Some(What::Replicate), 20),
    (Some(What::FailOver), 6),
    (Some(What::FailOverAtCommit), 6),
    (Some(What::KillProcess), 6),
    (Some(What::LoseAnswers), 20),
    (Some(What::ReadAnswers), 25),
    (Some(What::Post), 60),
];

/// What happens in any thousand histories, by kind.
pub(super) const EXPECTED: [(&str, &str); 10] = [
    ("reserve", "held; sold-out; over-cap; abandoned; key-reused; ticket; not-open-yet; closed"),
    ("confirm", "settled; already-expired; already-released"),
    ("ticket", "too late; asked for"),
    ("request", "full; full for settling; moved; several at once; too many holds"),
    ("tenure", "begun; fenced; history; entry; lost; slept; given back"),
    ("commit", "late, and written; late, and refused; a ticket is decided; a void ticket"),
    ("lost", "answers; a process; the end of a history"),
    ("hung up", "waiting; unheard of, and given back; a claim"),
    ("route", "joining; open; leaving; gone"),
    ("hot item", "written; too many"),
];

impl Story for SharedHistory {
    type Event = Event;

    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let setting = Setting::any(&mut random);
        let mut chooser = Chooser::new(&mut random);
        let kinds = WeightedIndex::new(WEIGHTS.map(|(_, weight)| weight)).unwrap();
        // Failovers and deaths hide what goes wrong without them.
        let is_calm = random.random_bool(0.3);
        let length = random.random_range(100..300);
        let opening = (0..SKUS.len()).map(|sku| {
            let units = random.random_range(0..20);
            Event { who: 0, what: What::Op(Op::Set { sku, units, expected: None }) }
        });
        let mut events: Vec<_> = opening.collect();
        events.extend((0..length).map(|index| {
            let op = What::Op(chooser.op(index, &mut random));
            let what =
                WEIGHTS[kinds.sample(&mut random)].0.filter(|what| !is_calm || what.is_mild());
            Event { who: random.random(), what: what.unwrap_or(op) }
        }));
        Self { seed, setting, events }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn events(&self) -> &[Event] {
        &self.events
    }

    fn with(&self, events: Vec<Event>) -> Self {
        Self { events, ..self.clone() }
    }

    fn happen(&self, coverage: &mut Coverage) -> Result<(), (usize, Violation)> {
        let mut world = SharedWorld::new(self.setting, coverage);
        for (index, event) in self.events.iter().enumerate() {
            world.happen(*event).map_err(|violation| (index, violation))?;
        }
        world.finish().map_err(|violation| (self.events.len(), violation))
    }
}

impl What {
    fn is_mild(self) -> bool {
        !matches!(self, Self::FailOver | Self::FailOverAtCommit | Self::KillProcess)
    }
}

impl fmt::Display for SharedHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting: Setting { buckets, lanes, limits }, events, .. } = self;
        writeln!(f, "{buckets} bucket(s), {lanes:?}, {limits:?}")?;
        for (index, Event { who, what }) in events.iter().enumerate() {
            writeln!(f, "{index:>4}  {who:>3} {what:?}")?;
        }
        Ok(())
    }
}
