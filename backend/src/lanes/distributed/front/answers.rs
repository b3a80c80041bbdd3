//! How what became of commands comes back to those who wait.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::cursor::before;
use super::Front;
use super::waiting::CallerReply;
use crate::lanes::EnqueueError;
use crate::store::StoreError;
use crate::store::tenure::{Answer, AnswersEntry, Reached, ReplyTo, Told};

/// Whoever waits for so long is looked after: the answer may have been published while nobody
/// listened.
const OVERDUE: Duration = Duration::from_secs(1);

impl Front {
    /// Brings answers to those who wait for them, and what their commit has reached. They may come
    /// more than once, and be others'.
    pub fn hear(self: &Arc<Self>, answers: Vec<Answer>, reached: Reached) {
        for Answer { reply: ReplyTo { process, number }, told } in answers {
            if process == self.process {
                self.hear_one(number, told, reached);
            }
        }
    }

    fn hear_one(self: &Arc<Self>, number: u64, told: Told, reached: Reached) {
        if told == Told::Ticketed {
            // It goes when it likes; until then it may yet hear the outcome.
            return self.waiting.give_ticket(number, reached);
        }
        let Some(caller) = self.waiting.remove(number) else { return };
        caller.level.note(reached);
        match (caller.reply, told) {
            (CallerReply::Outcome(replies), Told::Outcome(outcome)) => {
                if let Some(unheard) = replies.tell(outcome) {
                    self.cancel(caller.sku, &unheard);
                }
            }
            (CallerReply::Change(reply), Told::HotItemWritten(changed)) => {
                // Whoever asked may have gone.
                let _ = reply.send(Ok(changed));
            }
            (reply @ CallerReply::Change(_), Told::HotItemChanged(version)) => {
                reply.refuse(EnqueueError::HotItemChanged { version });
            }
            (reply @ CallerReply::Outcome(_), Told::TooManyHolds) => {
                reply.refuse(EnqueueError::TooManyHolds);
            }
            (reply @ CallerReply::Change(_), Told::TooManyHotItems) => {
                let max = self.settings.lanes.hot_items_max;
                reply.refuse(EnqueueError::TooManyHotItems { max });
            }
            (reply, told) => {
                tracing::error!(?told, "an answer to another question");
                reply.refuse(EnqueueError::Stopped);
            }
        }
    }

    /// Reads from the store what those who have waited for long may have missed, and sends away
    /// those who have waited too long; and posts what could not be posted for those who have gone. To
    /// be called again and again, every second or so.
    pub async fn look_after(self: &Arc<Self>) {
        self.send_left();
        for caller in self.waiting.take_older(self.settings.patience) {
            caller.reply.refuse(EnqueueError::Stopped);
        }
        for bucket in self.waiting.overdue(OVERDUE) {
            if let Err(error) = self.read_answers(bucket).await {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, bucket, "answers cannot be read");
            }
        }
    }

    /// Goes on behind what was read last, if that is still there. Otherwise that was long ago, or a
    /// failover has lost it: then new answers may have earlier ids, by the clock of another server, and
    /// all that are kept are read.
    async fn read_answers(self: &Arc<Self>, bucket: u16) -> Result<(), StoreError> {
        let reached = Reached::at_least(self.post_box.durability());
        loop {
            let read = self.answers_read().get(&bucket).cloned();
            let after = read.as_ref().map(|(last, _)| before(*last));
            let mut entries = self.post_box.answers(bucket, after.unwrap_or_default()).await?;
            if let Some(read) = read {
                if entries.first() != Some(&read) {
                    self.answers_read().remove(&bucket);
                    continue;
                }
                entries.remove(0);
            }
            let Some(last) = entries.last() else { return Ok(()) };
            self.answers_read().insert(bucket, last.clone());
            entries.into_iter().for_each(|(_, answers)| self.hear(answers, reached));
        }
    }

    fn answers_read(&self) -> MutexGuard<'_, HashMap<u16, AnswersEntry>> {
        self.answers_read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
