//! An API process and a store that says what it is told to.

use std::sync::atomic::{AtomicBool, Ordering};

use cartgate_ledger::{Claim, Fingerprint, Refusal, ReservationState};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;

use super::*;
use crate::lanes::Answer as Heard;
use crate::lanes::rig::{self, SETTINGS};
use crate::store::tenure::{Answer, Place, PostedTicket, Reached, Told};

const GOOD_FOR_MS: u64 = 5_000;

const POSTED_AT: UnixMs = UnixMs(1_000);

const REACHED: Reached = Reached { durability: Durability::Disk, replicas: Some(2) };

/// Takes all that is posted. Each post becomes entries of the next millisecond.
#[derive(Default)]
struct Store {
    posts: Mutex<Vec<Post>>,
    /// Whether tickets come too late.
    is_late: AtomicBool,
}

impl PostBox for Store {
    fn post<'a>(&'a self, _: u16, post: &'a Post) -> Later<'a, Result<PostReply, PostError>> {
        let mut posts = self.posts.lock().unwrap();
        posts.push(post.clone());
        let entry = entry(posts.len());
        let is_in_time = !self.is_late.load(Ordering::SeqCst);
        let (groups, tickets) =
            (vec![Some(entry); post.groups.len()], vec![is_in_time; post.tickets.len()]);
        Box::pin(async move { Ok(PostReply::Posted { at: POSTED_AT, groups, tickets }) })
    }

    fn durability(&self) -> Durability {
        Durability::Process
    }

    fn answers(&self, _: u16, _: EntryId) -> Later<'_, Result<Vec<AnswersEntry>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

fn entry(post: usize) -> EntryId {
    EntryId { ms: post as u64, number: 0 }
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
        let (front, level) = (&self.front, &self.level);
        let submit = |number| front.submit(rig::sku(), rig::reserve(number), &"r".into(), level);
        let (first, second) = (submit(1), submit(2));
        let waiting = tokio::spawn(second.outcome_or_ticket_after(async {}));
        let ticket = async {
            loop {
                let found = self.store.posts.lock().unwrap().iter().find_map(|post| {
                    let wish = post.tickets.first()?;
                    assert_eq!(wish.claim_by, POSTED_AT.plus_ms(GOOD_FOR_MS));
                    Some(wish.ticket.clone())
                });
                match found {
                    Some(ticket) => return ticket,
                    None => yield_now().await,
                }
            }
        };
        let ticket = timeout(Duration::from_secs(10), ticket).await.unwrap();
        (first, waiting, ticket)
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
    let hang_up = async {
        loop {
            let found = rig.posted().into_iter().find_map(|posted| match posted {
                Posted::HangUp { id, reply, .. } => Some((id, reply)),
                _ => None,
            });
            match found {
                Some(hang_up) => return hang_up,
                None => yield_now().await,
            }
        }
    };
    let (id, reply) = timeout(Duration::from_secs(10), hang_up).await.unwrap();
    assert_eq!(id, rig::id(1));
    rig.hear(reply, Told::Outcome(Outcome::Held(hold(id))));
    let is_cancel = |posted: &Posted| {
        matches!(posted, Posted::Command(PostedCommand { command, .. })
            if *command == Command::Cancel { id, attempt: 1, even_claimed: false })
    };
    let cancelled = async {
        while !rig.posted().iter().any(is_cancel) {
            yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), cancelled).await.unwrap();
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
