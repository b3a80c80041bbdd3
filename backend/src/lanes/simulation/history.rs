//! A history: how the engine is set up, and what happens to it.

use std::fmt;
use std::num::NonZeroU32;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::coverage::Coverage;
use super::op::{Chooser, Op};
use super::wish::SKUS;
use super::world::World;
use super::{Story, Violation};
use crate::lanes::turn::TurnLimits;
use crate::lanes::{LaneSettings, QUANTUM_MIN, Retention};

/// Everything that a seed decides.
#[derive(Clone)]
pub(super) struct History {
    pub(super) seed: u64,
    pub(super) setting: Setting,
    pub(super) ops: Vec<Op>,
}

/// How the engine is set up.
#[derive(Clone, Copy)]
pub(super) struct Setting {
    pub(super) buckets: u16,
    pub(super) lanes: LaneSettings,
    pub(super) limits: TurnLimits,
}

impl Story for History {
    type Event = Op;

    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let setting = Setting::any(&mut random);
        let mut chooser = Chooser::new(&mut random);
        let length = random.random_range(100..300);
        let opening = (0..SKUS.len()).map(|sku| {
            let units = random.random_range(0..20);
            Op::Set { sku, units, expected: None }
        });
        let mut ops: Vec<_> = opening.collect();
        ops.extend((0..length).map(|index| chooser.op(index, &mut random)));
        Self { seed, setting, ops }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn events(&self) -> &[Op] {
        &self.ops
    }

    fn with(&self, ops: Vec<Op>) -> Self {
        Self { ops, ..self.clone() }
    }

    fn happen(&self, coverage: &mut Coverage) -> Result<(), (usize, Violation)> {
        World::run(self, coverage)
    }
}

impl Setting {
    /// Small bounds, so that they are met; now and then large ones, so that nothing is in the way.
    pub(super) fn any(random: &mut StdRng) -> Self {
        // Less than a customer waits, or more.
        let ticket_ttl_ms = if random.random_bool(0.3) { 120 } else { 400 };
        let mut bound = |small: std::ops::Range<usize>, large: usize| {
            if random.random_bool(0.6) { random.random_range(small) } else { large }
        };
        let lanes = LaneSettings {
            batch_max: bound(1..6, 1_000),
            reserve_queue_max: bound(2..8, 1_000),
            settle_queue_max: bound(2..8, 1_000),
            holds_max: bound(4..16, 1_000),
            hot_items_max: bound(1..3, 3),
            retention: Retention {
                holds_ms: 3_000,
                refusals_ms: 500,
                refusals_max: bound(1..6, 1_000),
            },
            reserves_per_s: None,
            ticket_ttl_ms,
            unclaimed_ms: 60,
        };
        let limits = TurnLimits {
            quantum_min: bound(1..4, QUANTUM_MIN),
            sweep_max: bound(1..3, 4_096),
            expire_max: bound(1..3, 1_024),
        };
        let is_paced = random.random_bool(0.5);
        let reserves_per_s =
            is_paced.then(|| NonZeroU32::new(random.random_range(5..100))).flatten();
        Self {
            buckets: random.random_range(1..=2),
            lanes: LaneSettings { reserves_per_s, ..lanes },
            limits,
        }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting: Setting { buckets, lanes, limits }, ops, .. } = self;
        writeln!(f, "{buckets} bucket(s), {lanes:?}, {limits:?}")?;
        for (index, op) in ops.iter().enumerate() {
            writeln!(f, "{index:>4}  {op:?}")?;
        }
        Ok(())
    }
}
