//! The level of an answer.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::store::tenure::Reached;

/// What the commits have reached that an answer rests on: the least of them counts.
#[derive(Debug, Default)]
pub struct Level(Mutex<Option<Reached>>);

impl Level {
    /// The answer rests on this commit as well.
    pub fn note(&self, reached: Reached) {
        let mut level = self.level();
        *level = Some(level.map_or(reached, |before| before.and(reached)));
    }

    /// `None`: it rests on none whose level was told.
    pub fn reached(&self) -> Option<Reached> {
        *self.level()
    }

    fn level(&self) -> MutexGuard<'_, Option<Reached>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
