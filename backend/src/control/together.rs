//! The tasks of a process on a store that many share: it tries to lead the fleet, and answers the others
//! while it does; and hears what it is answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::Control;
use super::post::{Answered, Asked, Post, What};
use crate::clock::every;
use crate::random;
use crate::store::StoreError;
use crate::store::redis::control::{LEAD_MS, Lead, Line};
use crate::trouble::Trouble;

/// How often the lead is kept, or tried for: it may be missed three times.
const LEAD_EVERY: Duration = Duration::from_millis(400);

/// By how much sooner the lead ends here than there: clocks may run at different speeds.
const LEAD_MARGIN: Duration = Duration::from_millis(10);

/// How often a process says something to itself, to hear whether it hears.
const ECHO_EVERY: Duration = Duration::from_millis(500);

/// Who hears nothing for so long, not even itself, listens anew.
const SILENT_MAX: Duration = Duration::from_millis(1_500);

/// How long to wait before listening again when that could not be done.
const LISTEN_AGAIN: Duration = Duration::from_millis(250);

/// How many answers may be on their way at once. One more is not given.
const ANSWERS_MAX: usize = 256;

/// Tries to lead, and to go on leading.
pub(super) async fn lead(control: Arc<Control>, post: Arc<Post>) {
    let mut ticks = every(LEAD_EVERY);
    let mut trouble = Trouble::new("who leads the fleet of edges cannot be found out");
    loop {
        ticks.tick().await;
        trouble.tell(control.try_to_lead(&post).await);
    }
}

impl Control {
    async fn try_to_lead(&self, post: &Post) -> Result<(), StoreError> {
        // From before it is asked for: the lease cannot begin later.
        let asked = Instant::now();
        let until = asked + Duration::from_millis(LEAD_MS) - LEAD_MARGIN;
        let current = self.seat().incarnation(asked);
        if let Some(incarnation) = current {
            if post.api.lead(incarnation, Lead::Keep).await? {
                // Not if it has ended meanwhile, as far as anybody here could tell.
                let is_kept = self.seat().incarnation(Instant::now()) == current;
                if is_kept {
                    self.seat().take(incarnation, Some(until));
                }
                return Ok(());
            }
            tracing::info!("another process leads the fleet of edges");
        }
        // If it was lost by time alone it may still stand in its own way.
        let before = self.seat().lose();
        if let Some(before) = before {
            post.api.lead(before, Lead::GiveBack).await?;
        }
        let incarnation = u64::from_ne_bytes(random::bytes());
        if post.api.lead(incarnation, Lead::Take).await? {
            tracing::info!("this process leads the fleet of edges");
            self.seat().take(incarnation, Some(until));
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Lets another process lead at once.
    pub(super) async fn give_lead_back(&self, post: &Post) {
        let before = self.seat().lose();
        if let Some(before) = before {
            // Otherwise it ends by itself.
            let _ = post.api.lead(before, Lead::GiveBack).await;
        }
    }

    /// Hears a message to the leader, and answers it if it is one.
    fn hear(self: &Arc<Self>, post: &Arc<Post>, message: &[u8], answers: &Arc<Semaphore>) {
        let Ok(Asked { reply_to, what }) = serde_json::from_slice(message) else { return };
        let Some(told) = self.lead(|leader| self.tell(leader, what)) else { return };
        let Some((process, number)) = reply_to else { return };
        let Ok(place) = Arc::clone(answers).try_acquire_owned() else { return };
        let post = Arc::clone(post);
        tokio::spawn(async move {
            // Whoever has no answer asks again.
            let _ = post.send(Line::Process(process), &Answered { number, told }).await;
            drop(place);
        });
    }
}

/// Listens to what the leader is told, while this process leads.
pub(super) async fn hear_asked(control: Arc<Control>, post: Arc<Post>) {
    let answers = Arc::new(Semaphore::new(ANSWERS_MAX));
    loop {
        if control.leads()
            && let Ok(mut heard) = post.api.listen(Line::Leader).await
        {
            while control.leads()
                && let Ok(Some(message)) = timeout(SILENT_MAX, heard.next()).await
            {
                control.hear(&post, &message, &answers);
            }
        }
        sleep(LISTEN_AGAIN).await;
    }
}

/// Listens to what this process is answered.
pub(super) async fn hear_answers(post: Arc<Post>) {
    loop {
        if let Ok(mut heard) = post.api.listen(Line::Process(post.process)).await {
            while let Ok(Some(message)) = timeout(SILENT_MAX, heard.next()).await {
                post.hear(&message);
            }
        }
        sleep(LISTEN_AGAIN).await;
    }
}

/// Lets a process hear itself, and the leader.
pub(super) async fn echo(control: Arc<Control>, post: Arc<Post>) {
    let mut ticks = every(ECHO_EVERY);
    loop {
        ticks.tick().await;
        // What is not heard is noticed by whoever listens.
        let _ = post.send(Line::Process(post.process), &()).await;
        if control.leads() {
            let _ = post.tell(What::Echo).await;
        }
    }
}
