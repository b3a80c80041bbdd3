//! An honest shop never gets a bad verdict, whatever its clients do and however calls overlap; and
//! no case, however absurd, makes the checker panic.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use proptest::sample::Index;

use super::shop::{Shop, Trial, record};
use crate::drill::record::{Answer, Call, Order, Record, Settlement};
use crate::drill::verdict::{Limit, Limits};

const LIMIT: Limit = Limit { per_second: 20, burst: 6 };

/// One wish, and what its client and the network make of it. Times are milliseconds.
#[derive(Clone, Debug)]
struct Wish {
    sent_ms: u64,
    /// To the edge, from there to the queue, and back.
    way_ms: [u64; 3],
    sku: u8,
    quantity: u32,
    key: Option<u8>,
    fate: Fate,
    settles: Option<(Settlement, u64, Fate)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// It is answered.
    Answered,
    /// It takes effect, but its answer is lost.
    Unheard,
    /// It never arrives.
    Dropped,
    /// It is answered with a ticket, if it is an order.
    Ticketed,
}

fn fate() -> impl Strategy<Value = Fate> {
    use Fate::{Answered, Dropped, Ticketed, Unheard};
    prop_oneof![4 => Just(Answered), 1 => Just(Unheard), 1 => Just(Dropped), 1 => Just(Ticketed)]
}

fn wish() -> impl Strategy<Value = Wish> {
    let how = prop_oneof![Just(Settlement::Confirm), Just(Settlement::Release)];
    let settles = proptest::option::of((how, 0..900_u64, fate()));
    let times = (0..3_000_u64, [0..40_u64, 0..40, 0..40]);
    let what = (0..2_u8, 1..4_u32, proptest::option::of(0..6_u8));
    (times, what, fate(), settles).prop_map(
        |((sent_ms, way_ms), (sku, quantity, key), fate, settles)| Wish {
            sent_ms,
            way_ms,
            sku,
            quantity,
            key,
            fate,
            settles,
        },
    )
}

/// What happens at the shop, in order of time.
enum Event {
    AtEdge { wish: Wish, order: Order },
    Decide { wish: Wish, order: Order },
    Settle { id: String, how: Settlement, sent_ms: u64, fate: Fate },
}

/// Clients, the edge and the shop, moved on from event to event.
struct World {
    shop: Shop,
    events: BTreeMap<(u64, usize), Event>,
    count: usize,
    records: Vec<Record>,
    /// When all admitted units are paid for, by SKU.
    paid_us: HashMap<String, u64>,
    /// Until when a SKU is sold out, as the edge has heard it.
    heard_ms: HashMap<String, u64>,
    /// How long orders wait in the queue; settlements do not.
    lag_ms: u64,
}

impl World {
    fn run(wishes: Vec<Wish>, stock: u64, hold_ms: u64, lag_ms: u64) -> Trial {
        let (events, paid_us, heard_ms) = Default::default();
        let (shop, records) = (Shop::new(hold_ms), Vec::new());
        let mut world = Self { shop, events, count: 0, records, paid_us, heard_ms, lag_ms };
        world.shop.set(0, "A", stock);
        world.shop.set(0, "B", stock);
        for (number, wish) in wishes.into_iter().enumerate() {
            let customer = wish.key.map_or(number.to_string(), |_| "keyed".to_owned());
            let (quantity, key) = (wish.quantity, wish.key.map(|key| key.to_string()));
            let order = Order {
                sku: ["A", "B"][usize::from(wish.sku)].to_owned(),
                quantity,
                customer,
                key,
            };
            let at_ms = wish.sent_ms + wish.way_ms[0];
            world.later(at_ms, Event::AtEdge { wish, order });
        }
        while let Some(((now_ms, _), event)) = world.events.pop_first() {
            world.happen(now_ms, event);
        }
        let limits = Limits::all(LIMIT);
        world.shop.into_trial(world.records, Some(limits))
    }

    fn later(&mut self, at_ms: u64, event: Event) {
        self.count += 1;
        self.events.insert((at_ms, self.count), event);
    }

    fn happen(&mut self, now_ms: u64, event: Event) {
        match event {
            Event::AtEdge { wish, order } if wish.fate == Fate::Dropped => {
                self.note(Call::Reserve(order), wish.sent_ms, now_ms, Answer::Lost);
            }
            Event::AtEdge { wish, order } => {
                // Now and then the edge hears of the service.
                if wish.way_ms[0].is_multiple_of(3) {
                    let until_ms = self.shop.sold_out_until_ms(now_ms, &order.sku);
                    self.heard_ms.insert(order.sku.clone(), until_ms);
                }
                let until_ms = self.heard_ms.get(&order.sku).copied().unwrap_or_default();
                if order.key.is_none() && now_ms < until_ms {
                    let answer = Answer::SoldOutAtEdge { recheck_in_ms: until_ms - now_ms };
                    self.note(Call::Reserve(order), wish.sent_ms, now_ms + 1, answer);
                } else if self.admit(now_ms, &order) {
                    let at_ms = now_ms + wish.way_ms[1] + self.lag_ms;
                    self.later(at_ms, Event::Decide { wish, order });
                } else {
                    self.note(Call::Reserve(order), wish.sent_ms, now_ms, Answer::OverLimit);
                }
            }
            Event::Decide { wish, order } => self.decide(now_ms, &wish, order),
            Event::Settle { id, how, sent_ms, fate } => {
                let answer = match fate {
                    Fate::Dropped => Answer::Lost,
                    _ => self.shop.settle(now_ms, &id, how),
                };
                let answer = if fate == Fate::Unheard { Answer::HungUp } else { answer };
                self.note(Call::Settle { id, how }, sent_ms, now_ms + 3, answer);
            }
        }
    }

    fn decide(&mut self, now_ms: u64, wish: &Wish, order: Order) {
        let answer = self.shop.reserve(now_ms, &order);
        let ended_ms = now_ms + wish.way_ms[2];
        let told = match (wish.fate, &answer) {
            (Fate::Unheard, _) => Answer::HungUp,
            (Fate::Ticketed, Answer::Held { id, .. }) => {
                let ticket = id.clone();
                let asked = Call::Ticket { id: ticket.clone() };
                self.note(asked, now_ms, ended_ms + 1, answer.clone());
                Answer::Queued { ticket }
            }
            _ => answer.clone(),
        };
        // A ticket is given when the order has its place, before it is decided.
        let is_ticket = matches!(told, Answer::Queued { .. });
        let ended_ms = if is_ticket { now_ms - self.lag_ms } else { ended_ms };
        self.note(Call::Reserve(order), wish.sent_ms, ended_ms, told);
        if let (Answer::Held { id, .. }, Some((how, after_ms, fate))) = (answer, wish.settles)
            && wish.fate != Fate::Unheard
        {
            let sent_ms = now_ms + wish.way_ms[2] + 2 + after_ms;
            self.later(sent_ms + 1, Event::Settle { id, how, sent_ms, fate });
        }
    }

    /// The limit, as the edge keeps it.
    fn admit(&mut self, now_ms: u64, order: &Order) -> bool {
        let unit_us = 1_000_000 / u64::from(LIMIT.per_second);
        let paid_us = self.paid_us.entry(order.sku.clone()).or_default();
        let new_us = (*paid_us).max(now_ms * 1_000) + unit_us * u64::from(order.quantity);
        let is_admitted = new_us <= now_ms * 1_000 + unit_us * u64::from(LIMIT.burst);
        if is_admitted {
            *paid_us = new_us;
        }
        is_admitted
    }

    fn note(&mut self, call: Call, sent_ms: u64, ended_ms: u64, answer: Answer) {
        let serial = self.records.len() as u64;
        self.records.push(record(serial, call, [sent_ms * 1_000, ended_ms * 1_000], answer));
    }
}

fn trial() -> impl Strategy<Value = Trial> {
    let wishes = proptest::collection::vec(wish(), 1..80);
    (wishes, 1..40_u64, 100..2_000_u64, 0..100_u64)
        .prop_map(|(wishes, stock, hold_ms, lag_ms)| World::run(wishes, stock, hold_ms, lag_ms))
}

/// Something absurd in a record or an entry.
#[derive(Clone, Debug)]
struct Absurdity {
    place: Index,
    field: u8,
    number: u64,
}

fn absurdity() -> impl Strategy<Value = Absurdity> {
    let number = prop_oneof![Just(0), Just(1), Just(u64::MAX), any::<u64>()];
    (any::<Index>(), 0..9_u8, number).prop_map(|(place, field, number)| Absurdity {
        place,
        field,
        number,
    })
}

fn distort(trial: &mut Trial, Absurdity { place, field, number }: Absurdity) {
    if field < 4
        && let Some(record) = trial.records.get_mut(place.index(80))
    {
        match field {
            0 => record.sent_us = number,
            1 => record.ended_us = number,
            2 => record.answer = Answer::SoldOut { available: number },
            _ => record.answer = Answer::Held { id: "r1".to_owned(), expires_at_ms: number },
        }
    } else if let Some(entry) = trial.evidence[0].journal.get_mut(place.index(80)) {
        match field {
            4 => entry.version = number,
            5 => entry.quantity = number,
            6 => entry.before.held = number,
            7 => entry.after.available = number,
            _ => entry.cause = "expire".to_owned(),
        }
    }
}

proptest! {
    #[test]
    fn an_honest_shop_is_acquitted(trial in trial()) {
        let verdict = trial.judge();
        prop_assert!(verdict.holds(), "{verdict}");
    }

    #[test]
    fn no_case_is_too_absurd(
        mut trial in trial(),
        absurdities in proptest::collection::vec(absurdity(), 1..20),
    ) {
        absurdities.into_iter().for_each(|absurdity| distort(&mut trial, absurdity));
        prop_assert!(!trial.judge().to_string().is_empty());
    }
}
