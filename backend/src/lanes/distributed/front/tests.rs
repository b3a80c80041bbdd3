//! An API process and a store that says what it is told to.

use std::sync::atomic::{AtomicBool, Ordering};

use cartgate_ledger::{Claim, Fingerprint, Refusal, ReservationState, UnixMs};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{advance, timeout};

use super::*;
use crate::lanes::Answer as Heard;
use crate::lanes::rig::{self, SETTINGS};
use crate::store::tenure::{Answer, Place, PostedTicket, Reached, Told};

const GOOD_FOR_MS: u64 = 5_000;

const POSTED_AT: UnixMs = UnixMs(1_000);

const NONCE: u64 = 77;

const REACHED: Reached = Reached { durability: Durability::Disk, replicas: Some(2) };

/// Takes all that is posted. Each post becomes entries of the next millisecond.
#[derive(Default)]
struct Store {
    posts: Mutex<Vec<Post>>,
    /// Whether tickets come too late.
    is_late: AtomicBool,
    /// What is said of the next post.
    error: Mutex<Option<PostError>>,
    answers: Mutex<Vec<AnswersEntry>>,
}

impl PostBox for Store {
    fn post<'a>(&'a self, _: u16, post: &'a Post) -> Later<'a, Result<PostReply, PostError>> {
        let mut posts = self.posts.lock().unwrap();
        posts.push(post.clone());
        let entry = entry(posts.len());
        let is_in_time = !self.is_late.load(Ordering::SeqCst);
        let (groups, tickets) =
            (vec![Some(entry); post.groups.len()], vec![is_in_time; post.tickets.len()]);
        let error = self.error.lock().unwrap().take();
        let reply = PostReply::Posted { at: POSTED_AT, nonce: NONCE, groups, tickets };
        Box::pin(async move { error.map_or(Ok(reply), Err) })
    }

    fn durability(&self) -> Durability {
        Durability::Process
    }

    fn answers(&self, _: u16, after: EntryId) -> Later<'_, Result<Vec<AnswersEntry>, StoreError>> {
        let answers = self.answers.lock().unwrap();
        let later = answers.iter().filter(|(id, _)| *id > after).take(2).cloned().collect();
        Box::pin(async { Ok(later) })
    }
}

fn entry(post: usize) -> EntryId {
    EntryId { ms: post as u64, number: 0 }
}

fn out_of_reach() -> PostError {
    PostError::OutOfReach { retry_after: Duration::from_secs(1) }
}

fn unanswered() -> PostError {
    PostError::Unknown(StoreError::NoStore)
}

struct Rig {
    store: Arc<Store>,
    /// Of what the callers hear.
    level: Arc<Level>,
    front: Arc<Front>,
}

type Waiting = JoinHandle<Result<Heard, EnqueueError>>;

impl Rig {
    fn new() -> Self {
        let store = Arc::<Store>::default();
        let (lanes, patience) = (SETTINGS, Duration::from_secs(60));
        let settings = FrontSettings { lanes, good_for_ms: GOOD_FOR_MS, patience };
        let post_box = Arc::clone(&store) as Arc<dyn PostBox>;
        let front = Arc::new(Front::new(Buckets::new(1), settings, post_box));
        Self { store, level: Arc::default(), front }
    }

    /// Two reserve; the second one wants a ticket at once. It waits until that is posted.
    async fn want_ticket(&self) -> (Waiter, Waiting, PostedTicket) {
        let (first, second) = (self.submit(1), self.submit(2));
        let waiting = tokio::spawn(second.outcome_or_ticket_after(async {}));
        let ticket = found(|| {
            self.store.posts.lock().unwrap().iter().find_map(|post| {
                let wish = post.tickets.first()?;
                assert_eq!(wish.claim_by, POSTED_AT.plus_ms(GOOD_FOR_MS));
                assert_eq!(wish.nonce, NONCE);
                Some(wish.ticket.clone())
            })
        });
        (first, waiting, ticket.await)
    }

    fn submit(&self, number: u8) -> Waiter {
        self.front.submit(rig::sku(), rig::reserve(number), &"r".into(), &self.level)
    }

    /// Whose command it is that somebody hung up on, once that is posted.
    async fn hung_up(&self) -> (CommandId, ReplyTo) {
        found(|| {
            self.posted().into_iter().find_map(|posted| match posted {
                Posted::HangUp { id, reply, .. } => Some((id, reply)),
                _ => None,
            })
        })
        .await
    }

    /// What is in the stream of answers.
    fn keep(&self, answers: &[(u64, ReplyTo, Told)]) {
        let entry = |(ms, reply, told): &(u64, ReplyTo, Told)| {
            (EntryId { ms: *ms, number: 0 }, vec![Answer { reply: *reply, told: told.clone() }])
        };
        *self.store.answers.lock().unwrap() = answers.iter().map(entry).collect();
    }

    async fn until_posted(&self, count: usize) {
        found(|| (self.posted().len() == count).then_some(())).await;
    }

    /// Waits until a hold is given back.
    async fn given_back(&self, id: CommandId) {
        let is_cancel = |posted: &Posted| {
            matches!(posted, Posted::Command(PostedCommand { command, .. })
                if *command == Command::Cancel { id, attempt: 1, even_claimed: false })
        };
        found(|| self.posted().iter().any(is_cancel).then_some(())).await;
    }

    /// All that was ever posted.
    fn posted(&self) -> Vec<Posted> {
        let posts = self.store.posts.lock().unwrap();
        let groups = posts.iter().flat_map(|post| &post.groups);
        groups.flat_map(|group| group.posted.clone()).collect()
    }

    fn hear(&self, reply: ReplyTo, told: Told) {
        self.front.hear(vec![Answer { reply, told }], REACHED);
    }
}

/// Looks for something again and again.
async fn found<T>(find: impl Fn() -> Option<T>) -> T {
    let found = async {
        loop {
            match find() {
                Some(found) => return found,
                None => yield_now().await,
            }
        }
    };
    timeout(Duration::from_secs(10), found).await.unwrap()
}

#[tokio::test]
async fn a_caller_goes_with_its_ticket_when_the_owner_says_so() {
    let rig = Rig::new();
    let (first, waiting, ticket) = rig.want_ticket().await;
    let place = Place { entry: entry(1), index: 1 };
    assert_eq!((ticket.id, ticket.stream, ticket.place), (rig::id(2), Stream::Normal, place));
    let until = POSTED_AT.plus_ms(GOOD_FOR_MS + SETTINGS.ticket_ttl_ms);
    assert_eq!(ticket.until, until);
    for _ in 0..100 {
        yield_now().await;
    }
    assert!(!waiting.is_finished(), "it has been posted, and not been read");
    assert_eq!(rig.level.reached(), None);
    rig.hear(ticket.reply, Told::Ticketed);
    assert_eq!(waiting.await.unwrap(), Ok(Heard::Ticket));
    assert_eq!(rig.level.reached(), Some(REACHED));
    assert_eq!(rig.front.waiting.len(), 1, "the first one waits");
    // It has not hung up, and what it hears no more harms nobody.
    rig.hear(ticket.reply, Told::Ticketed);
    assert_eq!(rig.store.posts.lock().unwrap().len(), 2);
    drop(first);
}

async fn hear_outcome(rig: &Rig, waiting: Waiting, ticket: &PostedTicket) {
    let outcome = Outcome::Refused(Refusal::SoldOut { available: 0 });
    rig.hear(ticket.reply, Told::Outcome(outcome.clone()));
    // That would be no news.
    rig.hear(ticket.reply, Told::Ticketed);
    let heard = timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    assert_eq!(heard, Ok(Heard::Outcome(outcome)));
    assert_eq!(rig.level.reached(), Some(REACHED));
}

#[tokio::test]
async fn a_caller_whose_ticket_crosses_the_outcome_hears_that() {
    let rig = Rig::new();
    let (_first, waiting, ticket) = rig.want_ticket().await;
    hear_outcome(&rig, waiting, &ticket).await;
}

#[tokio::test]
async fn a_caller_whose_ticket_comes_too_late_hears_the_outcome() {
    let rig = Rig::new();
    rig.store.is_late.store(true, Ordering::SeqCst);
    let (_first, waiting, ticket) = rig.want_ticket().await;
    hear_outcome(&rig, waiting, &ticket).await;
}

/// It hangs up while the outcome is on its way: nobody else knows of the hold.
#[tokio::test]
async fn a_hold_that_crosses_its_callers_hang_up_goes_back() {
    let rig = Rig::new();
    let (first, _waiting, _ticket) = rig.want_ticket().await;
    drop(first);
    let (id, reply) = rig.hung_up().await;
    assert_eq!(id, rig::id(1));
    rig.hear(reply, Told::Outcome(Outcome::Held(hold(id))));
    rig.given_back(id).await;
}

/// The script runs all the same, and its owner believes that somebody waits.
#[tokio::test]
async fn a_hold_whose_post_nobody_answered_goes_back() {
    let rig = Rig::new();
    *rig.store.error.lock().unwrap() = Some(unanswered());
    assert_eq!(rig.submit(1).outcome().await, Err(EnqueueError::Stopped));
    let (id, reply) = rig.hung_up().await;
    assert_eq!(id, rig::id(1));
    rig.hear(reply, Told::Outcome(Outcome::Held(hold(id))));
    rig.given_back(id).await;
    assert_eq!(rig.front.waiting.len(), 0);
}

/// Nobody listened either when the outcome was published.
#[tokio::test(start_paused = true)]
async fn a_hold_whose_post_nobody_answered_is_looked_for() {
    let rig = Rig::new();
    *rig.store.error.lock().unwrap() = Some(unanswered());
    assert_eq!(rig.submit(1).outcome().await, Err(EnqueueError::Stopped));
    let (id, reply) = rig.hung_up().await;
    advance(Duration::from_secs(2)).await;
    rig.keep(&[(7, reply, Told::Outcome(Outcome::Held(hold(id))))]);
    rig.front.look_after().await;
    rig.given_back(id).await;
}

/// Its clock is behind, and of the stream it has not all that was read.
#[tokio::test(start_paused = true)]
async fn answers_of_another_server_are_read_after_a_failover() {
    let rig = Rig::new();
    let waiting: Vec<_> =
        (1..=4).map(|number| tokio::spawn(rig.submit(number).outcome())).collect();
    rig.until_posted(4).await;
    let mut replies = rig.posted().into_iter().filter_map(|posted| match posted {
        Posted::Command(PostedCommand { reply, .. }) => reply,
        _ => None,
    });
    let mut answer = |at| (at, replies.next().unwrap(), sold_out());
    let (before, after, late) = ([answer(5_000)], [answer(10), answer(5_000)], answer(5_001));
    advance(Duration::from_secs(2)).await;
    for kept in [before.to_vec(), after.to_vec(), [after.to_vec(), vec![late]].concat()] {
        rig.keep(&kept);
        rig.front.look_after().await;
    }
    assert_eq!(rig.front.waiting.len(), 0);
    for waiting in waiting {
        assert!(matches!(waiting.await.unwrap(), Ok(Outcome::Refused(_))));
    }
}

/// Also what gives a hold back, while the store is away.
#[tokio::test]
async fn a_hang_up_that_cannot_be_posted_is_posted_later() {
    for error in [out_of_reach, unanswered] {
        let rig = Rig::new();
        let waiter = rig.submit(1);
        rig.until_posted(1).await;
        *rig.store.error.lock().unwrap() = Some(error());
        drop(waiter);
        rig.until_posted(2).await;
        let (id, reply) = rig.hung_up().await;
        rig.front.look_after().await;
        rig.until_posted(3).await;
        assert!(matches!(&rig.posted()[2], Posted::HangUp { reply: again, .. } if *again == reply));
        *rig.store.error.lock().unwrap() = Some(error());
        rig.hear(reply, Told::Outcome(Outcome::Held(hold(id))));
        rig.given_back(id).await;
        rig.front.look_after().await;
        rig.until_posted(5).await;
        assert_eq!(rig.posted()[3], rig.posted()[4]);
        rig.front.look_after().await;
        assert!(rig.front.outbox(0).take_left().is_empty() && rig.posted().len() == 5);
    }
}

/// However many hang up while the store is away.
#[test]
fn no_more_is_left_than_one_post_has_room_for() {
    let outbox = Outbox::default();
    let hang_up = |number| {
        let reply = ReplyTo { process: 1, number };
        Posted::HangUp { sku: rig::sku(), id: rig::id(1), reply }
    };
    assert_eq!(outbox.leave((0..4_000).map(hang_up).collect()), 0);
    assert_eq!(outbox.leave((0..100).map(hang_up).collect()), 4);
    assert_eq!((outbox.take_left().len(), outbox.take_left().len()), (4_096, 0));
}

#[tokio::test]
async fn of_what_was_not_posted_nothing_is_left() {
    let rig = Rig::new();
    *rig.store.error.lock().unwrap() = Some(out_of_reach());
    assert_eq!(rig.submit(1).outcome().await, Err(EnqueueError::Stopped));
    assert_eq!((rig.front.waiting.len(), rig.posted().len()), (0, 1));
}

/// Also with a ticket that is for nothing then: its command is in its stream.
#[tokio::test]
async fn whoever_wants_a_ticket_that_cannot_be_posted_is_refused_at_once() {
    for error in [out_of_reach(), unanswered()] {
        let rig = Rig::new();
        let waiter = rig.submit(1);
        found(|| rig.posted().pop()).await;
        *rig.store.error.lock().unwrap() = Some(error);
        let answer = timeout(Duration::from_secs(10), waiter.outcome_or_ticket_after(async {}));
        assert_eq!(answer.await.unwrap(), Err(EnqueueError::Stopped));
        let (id, reply) = rig.hung_up().await;
        rig.hear(reply, Told::Outcome(Outcome::Held(hold(id))));
        rig.given_back(id).await;
    }
}

/// Its command and the wish are in the same post.
#[tokio::test]
async fn whoever_wants_a_ticket_for_what_nobody_answered_is_refused_at_once() {
    let rig = Rig::new();
    *rig.store.error.lock().unwrap() = Some(unanswered());
    let answer = rig.submit(1).outcome_or_ticket_after(async {});
    let answer = timeout(Duration::from_secs(10), answer).await.unwrap();
    assert_eq!(answer, Err(EnqueueError::Stopped));
    assert_eq!(rig.hung_up().await.0, rig::id(1));
}

fn sold_out() -> Told {
    Told::Outcome(Outcome::Refused(Refusal::SoldOut { available: 0 }))
}

fn hold(id: CommandId) -> Reservation {
    Reservation {
        id,
        fingerprint: Fingerprint([1; 16]),
        customer: None,
        quantity: 1,
        decided_at: POSTED_AT,
        since: POSTED_AT,
        attempt: 1,
        claim: Claim::Awaited,
        state: ReservationState::Held { expires_at: POSTED_AT.plus_ms(1_000) },
    }
}
