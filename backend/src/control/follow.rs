//! Limits that follow the engine: as much as a lane drains, so that nobody waits longer than a target.
//!
//! ```text
//! edges ── admitted ──> lane: so many wait ── drained ──> decided
//!   ^                                                       │
//!   └───────────── limit, every 200 ms <────────────────────┘
//! ```
//!
//! While the lane is not kept busy, the limit goes up by a tenth, if edges are asked for as much. While it
//! is, its drain is known, and the limit is set to that, a little more or less of it depending on how long
//! the wait is: so that in the end half of the target is waited. How much, depends on how late the lane
//! notices a change: what is on its way must not be corrected again. Since a limit is units, and the lane
//! drains commands, what the lane drains is told in units by what has come of the limit lately.

use std::num::NonZeroU32;

use cartgate_policy::gcra::Limit;

#[cfg(test)]
mod tests;

/// What the lane has done since the last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Over how long, in milliseconds.
    pub over_ms: u64,
    /// Reserve commands that were decided.
    pub decided: u64,
    /// Reserve commands that wait now.
    pub waiting: u64,
    /// Units per second that edges are asked for.
    pub demand_per_s: u64,
    /// Units in stock that can be had.
    pub available: u64,
}

/// A limit that follows the engine.
#[derive(Clone, Debug)]
pub struct Follower {
    /// Units per second.
    level: f64,
    /// What edges were told, which `level` may differ from by a little.
    told: f64,
    /// The last levels, the latest first: what comes now is of the oldest.
    levels: [f64; LATE],
    /// On average lately: the level that what came is of, in units per second; what came and what was
    /// decided, in commands per second.
    came_of: f64,
    came_per_s: f64,
    drain_per_s: f64,
    /// Units of the level for each command that comes of it.
    units: f64,
    waiting: u64,
    is_new: bool,
}

/// After how many steps the lane notices another level: edges report every 200 ms.
const LATE: usize = 3;

/// Over how long is averaged: as long as it takes until a level shows.
const AVERAGE_S: f64 = 0.6;

/// The most that a step raises a level by while nobody knows what the lane drains.
const RAISE: f64 = 1.1;

/// The most that a step lowers it to.
const LOWER: f64 = 0.5;

/// The least part of the drain that comes in while many wait.
const DRAIN_PART_MIN: f64 = 0.2;

/// The part of the drain that a level goes back up to at once.
const DRAIN_PART_SAFE: f64 = 0.8;

/// The most by which more or less than the drain comes in for a wait as long as it should be.
const GAIN_MAX: f64 = 0.5;

/// By which part a level has to be another for edges to be told, but for the highest.
const TELL_PART: f64 = 0.03;

impl Follower {
    /// Begins with the pace of the lane, if that is known; otherwise with a part of the limit: too little is
    /// mended sooner than too much, which waits.
    pub fn new(limit: Limit, reserves_per_s: Option<NonZeroU32>) -> Self {
        let limit = f64::from(limit.per_second());
        let pace = reserves_per_s.map(|pace| f64::from(pace.get()));
        let level = pace.unwrap_or(limit / 10.0).clamp(1.0, limit);
        Self {
            level,
            told: level,
            levels: [level; LATE],
            came_of: level,
            came_per_s: 0.0,
            drain_per_s: 0.0,
            units: 1.0,
            waiting: 0,
            is_new: true,
        }
    }

    /// The limit in force, of this one.
    pub fn limit(&self, limit: Limit) -> Limit {
        part_of(limit, self.told)
    }

    /// The limit from now on: at most `limit`, with a burst in the same proportion.
    pub fn step(&mut self, limit: Limit, wait_target_ms: NonZeroU32, seen: Seen) -> Limit {
        self.average(seen);
        let target_s = f64::from(wait_target_ms.get()) / 1_000.0;
        let aim_s = target_s / 2.0;
        let wait_s = seen.waiting as f64 / self.drain_per_s.max(0.01);
        let drain = self.units * self.drain_per_s;
        let bound = f64::from(limit.per_second()).min(seen.available as f64).max(1.0);
        // While little is left the level stays what it is: there may be more at any time.
        let is_asked_for = seen.demand_per_s as f64 >= self.level * 0.8 && self.level <= bound;
        let raised = self.level * if is_asked_for { RAISE } else { 1.0 };
        let wished = if wait_s < aim_s / 4.0 {
            raised
        } else {
            // A wait that is wrong by some part is mended in twice the time that a level takes to show.
            let gain = (aim_s / (2.0 * AVERAGE_S)).min(GAIN_MAX);
            let part = (1.0 + gain * (1.0 - wait_s / aim_s)).max(DRAIN_PART_MIN);
            // Far above the target it goes down in any case, whatever the drain is thought to be.
            let is_far = wait_s > 2.0 * target_s;
            let most = if is_far { self.level * target_s / wait_s } else { f64::MAX };
            (drain * part).min(most)
        };
        let most = raised.max(drain * DRAIN_PART_SAFE);
        let highest = f64::from(limit.per_second());
        self.level = wished.clamp(self.level * LOWER, most).clamp(1.0, highest);
        let in_force = self.level.min(bound);
        let is_other = (in_force - self.told).abs() >= self.told * TELL_PART;
        if is_other || in_force >= bound || self.told > bound {
            self.told = in_force;
        }
        part_of(limit, self.told)
    }

    fn average(&mut self, seen: Seen) {
        let seconds = seen.over_ms.max(1) as f64 / 1_000.0;
        let came = (seen.decided + seen.waiting).saturating_sub(self.waiting);
        let [came_per_s, drain_per_s] = [came, seen.decided].map(|count| count as f64 / seconds);
        let of = self.levels[LATE - 1].min(seen.demand_per_s as f64);
        self.levels.rotate_right(1);
        self.levels[0] = self.told;
        // The first counts for itself.
        let part = if self.is_new { 1.0 } else { 1.0 - (-seconds / AVERAGE_S).exp() };
        self.came_of += (of - self.came_of) * part;
        self.came_per_s += (came_per_s - self.came_per_s) * part;
        self.drain_per_s += (drain_per_s - self.drain_per_s) * part;
        (self.waiting, self.is_new) = (seen.waiting, false);
        // Of next to nothing nothing is learnt.
        if self.came_per_s > self.drain_per_s * DRAIN_PART_MIN {
            self.units = self.came_of / self.came_per_s;
        }
    }
}

/// So many units per second of a limit, with as much of its burst, and at least one second's units.
fn part_of(limit: Limit, per_second: f64) -> Limit {
    let per_second = u64::from(limit.per_second()).min(per_second as u64).max(1);
    let burst = u64::from(limit.burst()) * per_second / u64::from(limit.per_second());
    let most = u64::from(Limit::UNITS_MAX);
    // Both are within the bounds of a limit.
    Limit::new(per_second, burst.max(per_second).min(most)).unwrap_or(limit)
}
