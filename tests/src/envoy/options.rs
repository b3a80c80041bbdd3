//! How an Envoy is started.

use super::WallClock;

/// How to start an Envoy.
#[derive(Clone, Debug)]
pub struct EnvoyOptions {
    pub(super) workers: u32,
    pub(super) wall_clock: Option<WallClock>,
    pub(super) is_restartable: bool,
}

impl EnvoyOptions {
    /// With so many worker threads.
    pub fn workers(workers: u32) -> Self {
        Self { workers, wall_clock: None, is_restartable: false }
    }

    /// By a wall clock of its own.
    pub fn wall_clock(mut self, clock: &WallClock) -> Self {
        self.wall_clock = Some(clock.clone());
        self
    }

    /// So that another may take over from it: see [`Envoy::start_next`](super::Envoy::start_next).
    pub fn restartable(mut self) -> Self {
        self.is_restartable = true;
        self
    }
}
