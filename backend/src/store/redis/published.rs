//! What a process is told: over Pub/Sub, or directly, if the owner is in the same process. Whoever
//! misses it reads the stream of answers.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt as _;
use redis::aio::PubSubStream;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::store::StoreError;
use crate::store::encoding::{self, decode};
use crate::store::tenure::{Answer, EntryId, Reached};

/// A message on a process's channel.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Published {
    /// The bucket.
    pub bucket: u16,
    /// The entry in its stream of answers.
    pub entry: EntryId,
    /// What the commit has reached, as far as is known.
    pub reached: Reached,
    /// What the process's callers are told.
    pub answers: Vec<Answer>,
}

/// How many messages may wait for a process that is told directly. One more goes over Pub/Sub.
const TOLD_MAX: usize = 1_024;

/// A process's subscription to what its callers are told.
///
/// It ends with the connection, and a connection that leads nowhere may last long: whoever waits for
/// more than a second reads the stream of answers.
pub struct Hearing {
    pub(super) published: PubSubStream,
    pub(super) told: mpsc::Receiver<Published>,
}

impl Hearing {
    /// The next message; `None` when the connection has ended, and may have lost some.
    pub async fn next(&mut self) -> Option<Result<Published, StoreError>> {
        tokio::select! {
            biased;
            Some(told) = self.told.recv() => Some(Ok(told)),
            message = self.published.next() => {
                Some(Published::decode(message?.get_payload_bytes()))
            }
        }
    }
}

/// Who listens in this process, and need not be told by way of the server.
#[derive(Default)]
pub(super) struct Ears(Mutex<HashMap<u64, mpsc::Sender<Published>>>);

impl Ears {
    fn all(&self) -> MutexGuard<'_, HashMap<u64, mpsc::Sender<Published>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens to what a process is told from now on.
    pub(super) fn listen(&self, process: u64) -> mpsc::Receiver<Published> {
        let (ear, told) = mpsc::channel(TOLD_MAX);
        self.all().insert(process, ear);
        told
    }

    /// Tells a process. `false`: it is not this one, or has not heard what it was told before.
    pub(super) fn tell(&self, process: u64, told: impl FnOnce() -> Published) -> bool {
        let permit = self.all().get(&process).map(|ear| ear.clone().try_reserve_owned());
        let Some(Ok(permit)) = permit else { return false };
        permit.send(told());
        true
    }
}

#[derive(Serialize)]
struct Message<'a> {
    bucket: u16,
    entry: EntryId,
    reached: Reached,
    answers: &'a [&'a Answer],
}

impl Published {
    /// Reads a message.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(message: &[u8]) -> Result<Self, StoreError> {
        decode("message", message)
    }
}

pub(super) fn encode(
    bucket: u16,
    entry: EntryId,
    reached: Reached,
    answers: &[&Answer],
) -> Result<Vec<u8>, StoreError> {
    encoding::encode(&Message { bucket, entry, reached, answers })
}

pub(super) fn by_process(answers: &[Answer]) -> BTreeMap<u64, Vec<&Answer>> {
    let mut by_process = BTreeMap::<u64, Vec<&Answer>>::new();
    for answer in answers {
        by_process.entry(answer.reply.process).or_default().push(answer);
    }
    by_process
}
