//! What a process is told over Pub/Sub: whoever misses it reads the stream of answers.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use redis::aio::PubSubStream;
use serde::{Deserialize, Serialize};

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

/// A process's subscription to what its callers are told.
///
/// It ends with the connection, and a connection that leads nowhere may last long: whoever waits for
/// more than a second reads the stream of answers.
pub struct Hearing(pub(super) PubSubStream);

impl Hearing {
    /// The next message; `None` when the connection has ended, and may have lost some.
    pub async fn next(&mut self) -> Option<Result<Published, StoreError>> {
        let message = self.0.next().await?;
        Some(Published::decode(message.get_payload_bytes()))
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
