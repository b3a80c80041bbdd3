//! How the processes of a shared store reach the fleet's leader, by way of the store.
//!
//! ```text
//! a process of the API                         the leader
//! Post::ask ── Asked ──> control:leader ─────> Control::hear
//!     ^──── Answered ─── control:<process> <──────┘
//! ```
//!
//! Nothing is kept and nothing is repeated: whoever hears nothing says so to its edge, which reports again.
//! A connection that leads nowhere ends when a process does not hear itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cartgate_policy::Sku;
use cartgate_policy::fleet::{Heavy, NotTaken, Reply, Report};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::leader::{FleetView, ItemView};
use crate::random;
use crate::store::StoreError;
use crate::store::redis::Api;
use crate::store::redis::control::Line;

/// How long the leader's answer is waited for.
const ANSWER_WITHIN: Duration = Duration::from_millis(300);

/// The most that wait for answers; one more gets none.
const WAITING_MAX: usize = 10_000;

/// What the leader is told or asked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum What {
    /// An edge's report.
    Report { edge: u64, report: Report },
    /// What a process was asked for.
    Counts(Counts),
    /// The registry was changed.
    Changed,
    /// How the fleet stands.
    Fleet,
    /// How an item stands at the edges.
    Item(Sku),
    /// Whoever sends this wants to hear itself.
    Echo,
}

/// What a process was asked for in the last `over_ms`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) over_ms: u64,
    /// SKUs that it was asked for most.
    pub(super) heavy: Vec<Heavy>,
    /// Reserve commands for hot items.
    pub(super) reserves: Vec<(Sku, u64)>,
}

/// What the leader answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Told {
    Reply(Box<Reply>),
    NotTaken(NotTaken),
    Fleet(FleetView),
    Item(Option<ItemView>),
    /// There is nothing to say.
    Nothing,
}

/// A message to the leader.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    /// Who waits for an answer, under which number.
    pub(super) reply_to: Option<(u64, u64)>,
    pub(super) what: What,
}

/// A message to a process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answered {
    pub(super) number: u64,
    pub(super) told: Told,
}

/// The way to the leader, and back.
pub(super) struct Post {
    pub(super) api: Arc<Api>,
    pub(super) process: u64,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Told>>>,
}

impl Post {
    pub(super) fn new(api: Arc<Api>) -> Self {
        let (process, next, waiting) =
            (u64::from_ne_bytes(random::bytes()), AtomicU64::new(1), Mutex::default());
        Self { api, process, next, waiting }
    }

    /// Asks the leader. `None`: there is no answer.
    pub(super) async fn ask(&self, what: What) -> Option<Told> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, told) = oneshot::channel();
        let _place = self.wait(number, sender)?;
        let asked = Asked { reply_to: Some((self.process, number)), what };
        let answer = async {
            self.send(Line::Leader, &asked).await.ok()?;
            told.await.ok()
        };
        timeout(ANSWER_WITHIN, answer).await.ok().flatten()
    }

    /// Tells the leader, if there is one.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub(super) async fn tell(&self, what: What) -> Result<(), StoreError> {
        self.send(Line::Leader, &Asked { reply_to: None, what }).await
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub(super) async fn send(
        &self,
        line: Line,
        message: &impl Serialize,
    ) -> Result<(), StoreError> {
        // Nothing that we serialise can fail to be JSON; empty, it would be heard by nobody.
        let message = serde_json::to_vec(message).unwrap_or_default();
        self.api.tell(line, &message).await
    }

    /// Hears an answer.
    pub(super) fn hear(&self, message: &[u8]) {
        let Ok(Answered { number, told }) = serde_json::from_slice(message) else { return };
        if let Some(waiting) = self.waiting().remove(&number) {
            // Who has given up needs none.
            let _ = waiting.send(told);
        }
    }

    fn wait(&self, number: u64, sender: oneshot::Sender<Told>) -> Option<Place<'_>> {
        let mut waiting = self.waiting();
        if waiting.len() >= WAITING_MAX {
            return None;
        }
        waiting.insert(number, sender);
        Some(Place { post: self, number })
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Told>>> {
        // Nothing in here can panic half way through a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody waits, until this is dropped.
struct Place<'a> {
    post: &'a Post,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.post.waiting().remove(&self.number);
    }
}
