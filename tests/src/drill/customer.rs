//! What one customer does, from the first call to the end of their hold.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::cast::{Arrival, Holder, Impatience};
use super::connection::{Lease, Pool};
use super::evidence::is_open;
use super::progress::Counts;
use super::record::{Answer, Call, Record, Role, Settlement};
use super::wire;

/// How often the outcome of a ticket is asked for.
const TICKET_EVERY_US: u64 = 250_000;

/// How much later than its end a hold's expiry can be looked for.
const EXPIRY_MARGIN_MS: u64 = 300;

/// When the drill began, and when it stops listening: all times count from there.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
    began_at_ms: u64,
    ends: Instant,
}

impl Clock {
    /// Begins now, and stops listening after `lasts`.
    pub fn start(lasts: Duration) -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let began = Instant::now();
        Self { began, began_at_ms: since_1970.as_millis() as u64, ends: began + lasts }
    }

    /// Now, in microseconds since the drill began.
    pub fn now_us(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }

    /// A moment of the drill; not later than its end.
    pub fn at(&self, us: u64) -> Instant {
        (self.began + Duration::from_micros(us)).min(self.ends)
    }

    /// When the drill began, in milliseconds since 1970.
    pub fn began_at_ms(&self) -> u64 {
        self.began_at_ms
    }

    /// Waits for a moment of the drill; `None` if it is not before the drill's end.
    async fn until(&self, us: u64) -> Option<()> {
        sleep_until(self.at(us)).await;
        (Instant::now() < self.ends).then_some(())
    }
}

/// What customers share.
#[derive(Debug)]
pub struct Street {
    /// The time.
    pub clock: Clock,
    /// The edge, as requests name it: a gateway may choose by that where they go.
    pub host: String,
    /// The connections of people.
    pub people: Arc<Pool>,
    /// The connections of bots, by address.
    pub bots: Vec<Arc<Pool>>,
    /// What is shown.
    pub counts: Arc<Counts>,
    /// Where every call is noted.
    pub notes: UnboundedSender<Record>,
}

/// A call that is about to be made.
struct Intent {
    call: Call,
    scheduled_us: u64,
    hang_up_us: Option<u64>,
}

/// One customer at work.
struct Customer<'a> {
    street: &'a Street,
    role: Role,
    form: bool,
    pool: &'a Arc<Pool>,
}

/// Plays a customer's part to its end, or to the drill's.
pub async fn play(street: Arc<Street>, arrival: Arrival) {
    let Arrival { at_us, role, order, form, impatience, holder, bot_address } = arrival;
    let bots = bot_address.and_then(|address| street.bots.get(address));
    let pool = bots.unwrap_or(&street.people);
    let customer = Customer { street: &street, role, form, pool };
    street.counts.offer();
    // Whoever gets no answer, or no connection, goes home. What was lost the drill itself asks for
    // again, when all is over.
    let Some(outcome) = customer.reserve(Call::Reserve(order), at_us, impatience).await else {
        return;
    };
    street.counts.decide(&outcome);
    if let Answer::Held { id, expires_at_ms } = outcome {
        customer.end(id, expires_at_ms, holder).await;
    }
}

impl Customer<'_> {
    /// Asks for a reservation, once or twice, and waits for the outcome.
    async fn reserve(
        &self,
        call: Call,
        scheduled_us: u64,
        impatience: Option<Impatience>,
    ) -> Option<Answer> {
        let hang_up_us = impatience.map(|impatience| impatience.hang_up_us);
        let first = Intent { call: call.clone(), scheduled_us, hang_up_us };
        let mut answer = self.make(first).await;
        if let Some(Impatience { again_us, .. }) = impatience {
            let scheduled_us = self.street.clock.now_us() + again_us;
            self.street.clock.until(scheduled_us).await?;
            answer = self.make(Intent { call, scheduled_us, hang_up_us: None }).await.or(answer);
        }
        match answer {
            Some(Answer::Queued { ticket }) => self.redeem(ticket).await,
            answer => answer,
        }
    }

    /// Asks for a ticket's outcome until there is one.
    async fn redeem(&self, ticket: String) -> Option<Answer> {
        loop {
            let scheduled_us = self.street.clock.now_us() + TICKET_EVERY_US;
            self.street.clock.until(scheduled_us).await?;
            let call = Call::Ticket { id: ticket.clone() };
            let intent = Intent { call: call.clone(), scheduled_us, hang_up_us: None };
            let outcome = self.make(intent).await;
            if outcome.as_ref().is_some_and(|answer| !is_open(&call, answer)) {
                return outcome;
            }
            // Still queued; or an answer was lost, and the next may not be.
        }
    }

    /// Ends a hold as its holder will, or waits for it to end.
    async fn end(&self, id: String, expires_at_ms: u64, holder: Holder) -> Option<()> {
        let clock = &self.street.clock;
        let (how, after_us) = match holder {
            Holder::Confirm(after_us) => (Settlement::Confirm, after_us),
            Holder::Release(after_us) => (Settlement::Release, after_us),
            Holder::Lapse => {
                // So that the drill does not end before the journal shows it; unless it ends anyway.
                let after_ms = expires_at_ms.saturating_sub(clock.began_at_ms());
                let expired_us = (after_ms + EXPIRY_MARGIN_MS).saturating_mul(1_000);
                let is_seen = clock.at(expired_us) < clock.ends;
                return if is_seen { clock.until(expired_us).await } else { None };
            }
        };
        let scheduled_us = clock.now_us() + after_us;
        clock.until(scheduled_us).await?;
        let call = Call::Settle { id, how };
        self.make(Intent { call, scheduled_us, hang_up_us: None }).await.map(drop)
    }

    /// Makes a call and notes it. `None` if there was no connection for it.
    async fn make(&self, intent: Intent) -> Option<Answer> {
        let Street { clock, counts, .. } = self.street;
        let Some(lease) = self.pool.lease() else {
            counts.give_up();
            return None;
        };
        counts.begin();
        let Intent { call, scheduled_us, hang_up_us } = intent;
        let hangs_up = hang_up_us.map(|after_us| clock.at(scheduled_us + after_us));
        let (sent_us, answer) = self.exchange(lease, &call, hangs_up).await;
        let ended_us = clock.now_us();
        counts.end(&answer);
        let note = Record {
            // Numbers are given when all calls are known.
            serial: 0,
            role: self.role,
            call,
            scheduled_us,
            sent_us,
            ended_us,
            answer: answer.clone(),
        };
        // Nobody listens any more: then nobody wants to know.
        let _ = self.street.notes.send(note);
        Some(answer)
    }

    /// When the request went out, and what came back.
    async fn exchange(
        &self,
        mut lease: Lease,
        call: &Call,
        hangs_up: Option<Instant>,
    ) -> (u64, Answer) {
        let Street { clock, host, .. } = self.street;
        let until = hangs_up.unwrap_or(clock.ends);
        let given_up = if hangs_up.is_some() { Answer::HungUp } else { Answer::Lost };
        let connected = timeout_at(until, lease.connect()).await;
        let sent_us = clock.now_us();
        let Ok(request) = wire::request(host, call, self.form) else {
            return (sent_us, Answer::Lost);
        };
        let answered = match connected {
            Ok(Ok(())) => timeout_at(until, lease.ask(request)).await,
            Ok(Err(error)) => Ok(Err(error)),
            Err(elapsed) => Err(elapsed),
        };
        match answered {
            Ok(Ok((status, body))) => {
                lease.give_back();
                (sent_us, wire::answer(call, status, &body))
            }
            Ok(Err(_)) => (sent_us, Answer::Lost),
            Err(_) => (sent_us, given_up),
        }
    }
}
