//! Records histories: clients who do anything at any time, against a real service.
//!
//! They order, repeat, confirm, release, look and restock; they hang up in the middle of a request,
//! and lose requests half way. The seed repeats what they do, not how the machine interleaves it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::history::{Action, Answer, End, History};
use super::notebook::Notebook;
use crate::process::eventually;
use crate::random::Random;
use crate::shop::{self, Called, Shop};

/// The most units of one order.
const UNITS_MAX: u64 = 3;

/// How often a call is made at most: a service that was killed is back in a while.
const TRIES_MAX: usize = 500;

/// How often a ticket's outcome is asked for.
const TICKET_EVERY: Duration = Duration::from_millis(10);

/// How long a client waits when nobody listens.
const NOBODY_THERE: Duration = Duration::from_millis(10);

/// What is to be recorded.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the clients do is drawn from this.
    pub random: Random,
    /// The products; the service must not know them yet.
    pub skus: Vec<String>,
    /// How many clients there are.
    pub clients: usize,
    /// How long they go on.
    pub lasts: Duration,
}

/// What was recorded.
#[derive(Clone, Debug)]
pub struct Recording {
    /// What was done to each SKU.
    pub histories: BTreeMap<String, History>,
    /// How often the service made a hot item of a SKU, or took it back.
    pub moves: usize,
}

/// Records what the clients of a service do. The service may be killed meanwhile, if it comes back
/// at the same address.
pub async fn record(plan: Plan, service: SocketAddr) -> Recording {
    let Plan { mut random, skus, clients, lasts } = plan;
    let (skus, notebook) = (Arc::new(skus), Arc::new(Notebook::new()));
    let client = |number, random| Client {
        number,
        random,
        service,
        shop: Shop::at(service),
        skus: skus.clone(),
        notebook: notebook.clone(),
    };
    let mut owner = client(clients, random.split());
    for sku in skus.iter() {
        owner.restock(sku.clone(), Fate::Heard).await;
    }
    let operator = tokio::spawn(operate(Shop::at(service), skus.clone(), random.split(), lasts));
    let mut crowd = JoinSet::new();
    for number in 0..clients {
        crowd.spawn(client(number, random.split()).live(Instant::now() + lasts));
    }
    crowd.join_all().await;
    let moves = operator.await.unwrap();
    owner.close().await;
    Recording { histories: notebook.histories(), moves }
}

/// Whoever runs the shop makes hot items of SKUs and takes them back, at any time. Returns how
/// often it was done.
async fn operate(shop: Shop, skus: Arc<Vec<String>>, mut random: Random, lasts: Duration) -> usize {
    let (until, mut moves) = (Instant::now() + lasts, 0);
    while Instant::now() < until {
        let sku = &skus[random.below(skus.len() as u64) as usize];
        let moved = match random.below(3) {
            0 => shop.promote(sku, None).await,
            1 => shop.promote(sku, Some(50 + random.below(500) as u32)).await,
            _ => shop.demote(sku).await,
        };
        match moved.map(|answer| answer.status) {
            Ok(200..=299) => moves += 1,
            // There are no hot items, or this is none; the service stops, or has stopped.
            Ok(404 | 405 | 503) | Err(_) => {}
            Ok(status) => panic!("status {status} to whoever moves {sku}"),
        }
        sleep(Duration::from_millis(20 + random.below(150))).await;
    }
    moves
}

/// One client, who does one thing after the other.
struct Client {
    number: usize,
    random: Random,
    service: SocketAddr,
    shop: Shop,
    skus: Arc<Vec<String>>,
    notebook: Arc<Notebook>,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Its client waits for the answer.
    Heard,
    /// Its client hangs up, after this.
    HungUp(Duration),
    /// Its connection breaks before all of it was sent.
    Broken,
}

impl Client {
    async fn live(mut self, until: Instant) {
        while Instant::now() < until {
            let sku = self.skus[self.random.below(self.skus.len() as u64) as usize].clone();
            let fate = self.any_fate();
            match self.random.below(100) {
                0..38 => self.order(sku, fate).await,
                38..48 => self.repeat(&sku, fate).await,
                48..70 => self.settle(&sku, fate).await,
                70..76 => self.redeem(&sku).await,
                76..95 => self.look(&sku).await,
                _ => self.restock(sku, fate).await,
            }
            sleep(Duration::from_micros(self.random.below(4_000))).await;
        }
    }

    fn any_fate(&mut self) -> Fate {
        match self.random.below(100) {
            0..6 => Fate::HungUp(Duration::from_micros(self.random.below(6_000))),
            6..8 => Fate::Broken,
            _ => Fate::Heard,
        }
    }

    async fn order(&mut self, sku: String, fate: Fate) {
        let (quantity, key) = (1 + self.random.below(UNITS_MAX), self.random.next_u64());
        let is_keyed = self.random.below(5) > 0;
        let order = self.notebook.place(|number| shop::Order {
            sku: sku.clone(),
            quantity: quantity as u32,
            customer: format!("customer-{number}"),
            key: is_keyed.then(|| format!("{key:016x}")),
        });
        let action = Action::Reserve { order, units: quantity };
        if is_keyed {
            self.insist(&sku, action, fate).await;
        } else {
            self.make(&sku, action, fate).await;
        }
        if self.random.below(10) > 0 {
            self.wait_in_queue(&sku, order).await;
        }
    }

    /// Whoever has a ticket mostly waits for the outcome: else the queue would grow for ever.
    async fn wait_in_queue(&self, sku: &str, order: usize) {
        for _ in 0..TRIES_MAX {
            let known = self.notebook.order(order);
            if known.is_decided || known.id.is_none() {
                return;
            }
            sleep(TICKET_EVERY).await;
            self.make(sku, Action::Ticket { order }, Fate::Heard).await;
        }
    }

    /// Makes a call that may be repeated, mostly until there is an answer. Every call of which
    /// nobody ever learns what has become doubles what may have happened.
    async fn insist(&mut self, sku: &str, action: Action, fate: Fate) {
        let gives_up = self.random.below(4) == 0;
        let mut is_heard = self.make(sku, action, fate).await;
        for _ in 0..TRIES_MAX {
            if is_heard || gives_up {
                return;
            }
            is_heard = self.make(sku, action, Fate::Heard).await;
        }
    }

    async fn repeat(&mut self, sku: &str, fate: Fate) {
        let keyed = self.notebook.recent(sku, |known| known.wish.key.is_some());
        if let Some(order) = self.any(&keyed) {
            let units = self.notebook.order(order).wish.quantity.into();
            self.insist(sku, Action::Reserve { order, units }, fate).await;
        }
    }

    async fn settle(&mut self, sku: &str, fate: Fate) {
        let held = self.notebook.recent(sku, |known| known.has_hold);
        if let Some(order) = self.any(&held) {
            let end = if self.random.below(2) == 0 { End::Confirmed } else { End::Released };
            self.insist(sku, Action::Settle { order, end }, fate).await;
        }
    }

    async fn redeem(&mut self, sku: &str) {
        let tickets = self.notebook.recent(sku, |known| known.id.is_some());
        if let Some(order) = self.any(&tickets) {
            self.make(sku, Action::Ticket { order }, Fate::Heard).await;
        }
    }

    async fn look(&self, sku: &str) {
        self.make(sku, Action::Read, Fate::Heard).await;
    }

    /// A few units more than were committed, or fewer. A lost call may set them again at any time:
    /// most are waited for.
    async fn restock(&mut self, sku: String, fate: Fate) {
        let fate = if self.random.below(4) == 0 { fate } else { Fate::Heard };
        let units = (self.notebook.committed(&sku) + self.random.below(8)).saturating_sub(2);
        self.make(&sku, Action::Set { units }, fate).await;
    }

    /// Asks for all that is still open, and looks once more.
    async fn close(&self) {
        for order in self.notebook.open_tickets() {
            let sku = self.notebook.order(order).wish.sku;
            let decided = || async {
                self.make(&sku, Action::Ticket { order }, Fate::Heard).await;
                self.notebook.order(order).is_decided.then_some(())
            };
            eventually("a ticket's outcome", decided).await;
        }
        for sku in self.skus.iter() {
            self.look(sku).await;
        }
    }

    fn any(&mut self, orders: &[usize]) -> Option<usize> {
        let count = orders.len() as u64;
        (count > 0).then(|| orders[self.random.below(count) as usize])
    }

    /// Makes a call and notes it; says whether there was an answer that tells something. What was
    /// not even connected has not been called.
    async fn make(&self, sku: &str, action: Action, fate: Fate) -> bool {
        let call_us = self.notebook.now_us();
        let called = match fate {
            Fate::Heard => Some(self.send(sku, action).await),
            Fate::HungUp(after) => timeout(after, self.send(sku, action)).await.ok(),
            Fate::Broken => {
                self.break_off().await;
                None
            }
        };
        let note = |action, answer| self.notebook.note(self.number, sku, action, call_us, answer);
        match called {
            Some(Err(error)) if error.is_connect() => {
                sleep(NOBODY_THERE).await;
                false
            }
            Some(Ok(answer)) => {
                let said = self.read(action, &answer);
                if said == Some(Answer::Set) {
                    // What is shown with it was read after it, as if it had been asked for.
                    note(Action::Read, self.read(Action::Read, &answer));
                }
                let is_heard = said.is_some();
                note(action, said);
                is_heard
            }
            Some(Err(_)) | None => {
                note(action, None);
                false
            }
        }
    }

    async fn send(&self, sku: &str, action: Action) -> Called {
        let id = |order| self.notebook.order(order).id.unwrap_or_default();
        match action {
            Action::Reserve { order, .. } => {
                self.shop.reserve(&self.notebook.order(order).wish).await
            }
            Action::Ticket { order } => self.shop.get(&format!("/v1/tickets/{}", id(order))).await,
            Action::Settle { order, end: End::Confirmed } => {
                self.shop.settle(&id(order), "confirm").await
            }
            Action::Settle { order, .. } => self.shop.settle(&id(order), "release").await,
            Action::Set { units } => self.shop.set_stock(sku, units).await,
            Action::Read => self.shop.stock(sku).await,
        }
    }

    /// Sends the beginning of a request, and breaks off.
    async fn break_off(&self) {
        let begin = b"POST /v1/reservations HTTP/1.1\r\nhost: shop\r\ncontent-type: applica";
        if let Ok(mut stream) = TcpStream::connect(self.service).await {
            // Nobody waits for what comes back, if anything does.
            let _ = stream.write_all(begin).await;
        }
    }

    /// What an answer says; nothing if it leaves open what has happened.
    fn read(&self, action: Action, answer: &shop::Answer) -> Option<Answer> {
        let number = |name: &str| answer.body[name].as_u64().unwrap_or(u64::MAX);
        Some(match (action, answer.status, answer.problem()) {
            (_, 503, _) => return None,
            (Action::Reserve { .. }, 201, _) | (Action::Ticket { .. }, 200, _) => {
                let expires_at = answer.body["expires_at"].as_str().unwrap_or_default();
                let expires_at: Timestamp = expires_at.parse().unwrap_or_default();
                let ms = u64::try_from(expires_at.as_millisecond()).unwrap_or_default();
                let expires_us = self.notebook.recorded_us(ms);
                Answer::Held { id: answer.reservation_id().to_owned(), expires_us }
            }
            (Action::Reserve { .. } | Action::Ticket { .. }, 202, _) => {
                Answer::Queued { id: answer.ticket().to_owned() }
            }
            (Action::Reserve { .. } | Action::Ticket { .. }, 409, "sold-out") => {
                Answer::SoldOut { available: number("available") }
            }
            (Action::Settle { .. }, 200, _) => Answer::Settled,
            (Action::Settle { .. }, 409, "hold-confirmed") => Answer::Ended(End::Confirmed),
            (Action::Settle { .. }, 409, "hold-released") => Answer::Ended(End::Released),
            (Action::Settle { .. }, 409, "hold-expired") => Answer::Ended(End::Expired),
            (Action::Set { .. }, 200, _) => Answer::Set,
            (Action::Set { .. }, 409, "stock-below-committed") => {
                Answer::BelowCommitted { committed: number("committed") }
            }
            (Action::Read, 200, _) => Answer::Stock {
                available: number("available"),
                held: number("held"),
                confirmed: number("confirmed"),
                version: number("version"),
            },
            (_, status, problem) => Answer::Strange { status, problem: problem.to_owned() },
        })
    }
}
