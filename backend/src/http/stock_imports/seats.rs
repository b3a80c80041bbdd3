//! Which imports are under way in this process: a few, and of each content one.
//!
//! Whoever comes with the same content takes over: mostly it is the same client, whose connection broke
//! before this process noticed. The import of before ends when its last window is decided, and only then
//! the other begins.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use crate::store::imports::ContentDigest;

/// The most imports at a time. Each has a few MiB in memory at most, and they share one engine.
const IMPORTS_MAX: usize = 4;

/// How long one waits for its turn.
const WITHIN: Duration = Duration::from_secs(10);

/// Which imports are under way.
pub(in crate::http) struct Seats {
    by_content: Mutex<HashMap<ContentDigest, Weak<Seat>>>,
    places: Arc<Semaphore>,
}

/// Where the import of a content is.
struct Seat {
    /// How many have asked for it so far: the last one gets it.
    asked: watch::Sender<u64>,
    taken: Arc<tokio::sync::Mutex<()>>,
}

/// An import that is under way, until this is dropped.
pub(super) struct Taken {
    of_content: Option<OfContent>,
    _place: OwnedSemaphorePermit,
}

struct OfContent {
    seat: Arc<Seat>,
    number: u64,
    _taken: OwnedMutexGuard<()>,
}

impl Default for Seats {
    fn default() -> Self {
        Self { by_content: Mutex::default(), places: Arc::new(Semaphore::new(IMPORTS_MAX)) }
    }
}

impl Seats {
    /// Takes a seat; `None`: there was none in time, or somebody who came later has it.
    pub(super) async fn take(&self, content: Option<ContentDigest>) -> Option<Taken> {
        let taken = async {
            let of_content = match content {
                Some(content) => Some(self.seat(content).take().await?),
                None => None,
            };
            let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
            Some(Taken { of_content, _place: place })
        };
        timeout(WITHIN, taken).await.ok().flatten()
    }

    fn seat(&self, content: ContentDigest) -> Arc<Seat> {
        // Nothing in here can panic half way through a change.
        let mut seats = self.by_content.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seat) = seats.get(&content).and_then(Weak::upgrade) {
            return seat;
        }
        seats.retain(|_, seat| seat.strong_count() > 0);
        let seat = Arc::new(Seat { asked: watch::Sender::new(0), taken: Arc::default() });
        seats.insert(content, Arc::downgrade(&seat));
        seat
    }
}

impl Seat {
    async fn take(self: Arc<Self>) -> Option<OfContent> {
        let mut number = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            number = *asked;
        });
        let taken = Arc::clone(&self.taken).lock_owned().await;
        let is_last = *self.asked.borrow() == number;
        is_last.then_some(OfContent { seat: self, number, _taken: taken })
    }
}

impl Taken {
    /// Waits until somebody else wants to go on with this content.
    pub(super) async fn taken_over(&self) {
        let Some(OfContent { seat, number, .. }) = &self.of_content else {
            return std::future::pending().await;
        };
        // It cannot be closed while this is there.
        let _ = seat.asked.subscribe().wait_for(|asked| asked != number).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Option<ContentDigest> = Some(ContentDigest([1; 32]));

    #[tokio::test(start_paused = true)]
    async fn who_comes_later_takes_over_once_the_first_has_ended() {
        let seats = Seats::default();
        let first = seats.take(A).await.unwrap();
        let (second, ()) = tokio::join!(seats.take(A), async {
            first.taken_over().await;
            drop(first);
        });
        let second = second.unwrap();
        assert!(timeout(WITHIN, second.taken_over()).await.is_err());
        // One that does not end keeps it.
        assert!(seats.take(A).await.is_none());
        second.taken_over().await;
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_a_few_at_a_time() {
        let seats = Seats::default();
        let mut taken = Vec::new();
        for number in 0..u8::try_from(IMPORTS_MAX).unwrap() {
            taken.push(seats.take(Some(ContentDigest([number; 32]))).await.unwrap());
        }
        assert!(seats.take(None).await.is_none());
        taken.pop();
        assert!(seats.take(None).await.is_some());
    }
}
