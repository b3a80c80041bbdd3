//! Histories made by hand: those that must be refused, each for its own fault, beside their honest
//! counterparts.

use super::Action::{Read, Set};
use super::*;

const CONFIGURATIONS_MAX: usize = 100_000;

/// A history in the making. Times are milliseconds; holds expire at 1,000 ms.
#[derive(Clone, Default)]
struct Tale(History);

const EXPIRES_MS: u64 = 1_000;

impl Tale {
    /// So many units for sale, from 0 to 1 ms.
    fn of(units: u64) -> Self {
        Self::default().told(0, 1, Set { units }, Answer::Set)
    }

    fn told(self, from_ms: u64, by_ms: u64, action: Action, answer: Answer) -> Self {
        self.add(from_ms, action, Some(Told { at_us: by_ms * 1_000, answer }))
    }

    /// A call that was not answered.
    fn unheard(self, from_ms: u64, action: Action) -> Self {
        self.add(from_ms, action, None)
    }

    fn add(mut self, from_ms: u64, action: Action, told: Option<Told>) -> Self {
        let (client, call_us) = (self.0.operations.len(), from_ms * 1_000);
        self.0.operations.push(Operation { client, call_us, action, told });
        self
    }

    /// One unit for `order`, held.
    fn holds(self, from_ms: u64, by_ms: u64, order: usize) -> Self {
        self.told(from_ms, by_ms, reserve(order), held(order))
    }

    fn sold_out(self, from_ms: u64, by_ms: u64, order: usize) -> Self {
        self.told(from_ms, by_ms, reserve(order), Answer::SoldOut { available: 0 })
    }

    fn settles(self, from_ms: u64, by_ms: u64, order: usize, end: End, answer: Answer) -> Self {
        self.told(from_ms, by_ms, Action::Settle { order, end }, answer)
    }

    fn confirms(self, from_ms: u64, by_ms: u64, order: usize) -> Self {
        self.settles(from_ms, by_ms, order, End::Confirmed, Answer::Settled)
    }

    fn releases(self, from_ms: u64, by_ms: u64, order: usize) -> Self {
        self.settles(from_ms, by_ms, order, End::Released, Answer::Settled)
    }

    fn shows(self, from_ms: u64, by_ms: u64, counters: [u64; 4]) -> Self {
        self.told(from_ms, by_ms, Read, shows(counters))
    }

    #[track_caller]
    fn is_accepted(&self) {
        let verdict = check(&self.0, CONFIGURATIONS_MAX);
        assert!(matches!(verdict, Verdict::Linearizable(_)), "{verdict:?} {:#?}", self.0);
    }

    #[track_caller]
    fn is_refused(&self) {
        assert_eq!(check(&self.0, CONFIGURATIONS_MAX), Verdict::Refused, "{:#?}", self.0);
    }
}

fn reserve(order: usize) -> Action {
    Action::Reserve { order, units: 1 }
}

fn confirm(order: usize) -> Action {
    Action::Settle { order, end: End::Confirmed }
}

fn held(order: usize) -> Answer {
    Answer::Held { id: format!("id-{order}"), expires_us: EXPIRES_MS * 1_000 }
}

fn queued(order: usize) -> Answer {
    Answer::Queued { id: format!("id-{order}") }
}

fn shows([available, held, confirmed, version]: [u64; 4]) -> Answer {
    Answer::Stock { available, held, confirmed, version }
}

#[test]
fn one_after_the_other_is_right() {
    let tale =
        Tale::of(2).shows(2, 3, [2, 0, 0, 1]).holds(4, 5, 1).holds(6, 7, 2).sold_out(8, 9, 3);
    let tale = tale.releases(10, 11, 1).confirms(12, 13, 2).shows(14, 15, [1, 0, 1, 5]);
    tale.is_accepted();
}

#[test]
fn operations_at_the_same_time_come_in_any_order() {
    let both = Tale::of(1).holds(2, 9, 1).sold_out(3, 8, 2);
    both.is_accepted();
    // The read sees the one that answers last, and not yet the one that answers first.
    let tale = Tale::of(2).holds(2, 9, 1).told(3, 8, Set { units: 5 }, Answer::Set);
    tale.clone().shows(4, 5, [1, 1, 0, 2]).is_accepted();
    tale.shows(4, 5, [3, 1, 0, 2]).is_refused();
}

#[test]
fn a_stale_read_is_refused() {
    let tale = Tale::of(2).holds(2, 3, 1);
    tale.clone().shows(4, 5, [1, 1, 0, 2]).is_accepted();
    tale.clone().shows(4, 5, [2, 0, 0, 1]).is_refused();
    tale.shows(2, 5, [2, 0, 0, 1]).is_accepted();
    // What one has seen, nobody later does not see.
    let tale = Tale::of(2).holds(2, 20, 1).shows(3, 4, [1, 1, 0, 2]);
    tale.clone().shows(3, 6, [2, 0, 0, 1]).is_accepted();
    tale.shows(5, 6, [2, 0, 0, 1]).is_refused();
}

#[test]
fn a_double_sale_is_refused() {
    Tale::of(1).holds(2, 9, 1).holds(3, 8, 2).is_refused();
    Tale::of(1).holds(2, 3, 1).releases(4, 5, 1).holds(6, 7, 2).is_accepted();
    Tale::of(1).holds(2, 3, 1).confirms(4, 5, 1).holds(6, 7, 2).is_refused();
    Tale::of(1).holds(2, 3, 1).confirms(4, 5, 1).holds(3_000, 3_001, 2).is_refused();
}

#[test]
fn one_reservation_for_two_orders_is_refused() {
    Tale::of(2).holds(2, 3, 1).told(4, 5, reserve(2), held(1)).is_refused();
}

#[test]
fn sold_out_that_was_not_is_refused() {
    Tale::of(1).sold_out(2, 3, 1).is_refused();
    let two = Action::Reserve { order: 1, units: 2 };
    Tale::of(1).told(2, 3, two, Answer::SoldOut { available: 1 }).is_accepted();
    Tale::of(1).told(2, 3, two, Answer::SoldOut { available: 0 }).is_refused();
}

#[test]
fn a_lost_confirm_is_refused() {
    let tale = Tale::of(1).holds(2, 3, 1).confirms(4, 5, 1);
    tale.clone().shows(6, 7, [0, 0, 1, 3]).is_accepted();
    tale.clone().shows(6, 7, [0, 1, 0, 2]).is_refused();
    let ended = Answer::Ended(End::Expired);
    tale.clone().settles(2_000, 2_001, 1, End::Released, ended).is_refused();
    tale.settles(2_000, 2_001, 1, End::Released, Answer::Ended(End::Confirmed)).is_accepted();
}

#[test]
fn a_hold_ends_once() {
    Tale::of(1).holds(2, 3, 1).confirms(4, 5, 1).releases(6, 7, 1).is_refused();
    Tale::of(1).holds(2, 3, 1).confirms(4, 5, 1).confirms(6, 7, 1).is_accepted();
}

#[test]
fn a_repeat_with_another_answer_is_refused() {
    Tale::of(2).holds(2, 3, 1).holds(4, 5, 1).shows(6, 7, [1, 1, 0, 2]).is_accepted();
    Tale::of(2).holds(2, 3, 1).holds(4, 5, 1).shows(6, 7, [0, 2, 0, 3]).is_refused();
    Tale::of(2).holds(2, 3, 1).told(4, 5, reserve(1), held(7)).is_refused();
    let later = Answer::Held { id: "id-1".to_owned(), expires_us: 1_000_001 };
    Tale::of(2).holds(2, 3, 1).told(4, 5, reserve(1), later).is_refused();
    Tale::of(1).holds(2, 3, 1).sold_out(4, 5, 1).is_refused();
    // Sold out stays sold out for whoever was told, though units are back.
    let back = Tale::of(1).holds(2, 3, 1).sold_out(4, 5, 2).releases(6, 7, 1);
    back.clone().sold_out(8, 9, 2).is_accepted();
    back.holds(8, 9, 2).is_refused();
}

#[test]
fn what_was_not_answered_happens_at_any_time_or_never() {
    let tale = Tale::of(1).unheard(2, reserve(1));
    tale.clone().holds(3, 4, 2).is_accepted();
    tale.clone().sold_out(3, 4, 2).is_accepted();
    tale.clone().shows(3, 4, [1, 0, 0, 1]).shows(500, 501, [0, 1, 0, 2]).is_accepted();
    tale.clone().sold_out(3, 4, 2).holds(5, 6, 3).is_accepted();
    // But not before its call, and it takes no more than it asked for.
    Tale::of(1).sold_out(2, 3, 2).unheard(4, reserve(1)).is_refused();
    tale.shows(3, 4, [1, 0, 0, 1]).sold_out(5, 6, 2).holds(7, 8, 2).is_refused();
    // An order that was repeated until it was answered took its units once.
    let tale = Tale::of(2).unheard(2, reserve(1)).unheard(3, reserve(1)).holds(4, 5, 1);
    tale.clone().shows(6, 7, [1, 1, 0, 2]).is_accepted();
    tale.shows(6, 7, [0, 2, 0, 3]).is_refused();
    // A confirm without an answer.
    let tale = Tale::of(1).holds(2, 3, 1).unheard(4, confirm(1));
    tale.clone().shows(5, 6, [0, 1, 0, 2]).shows(7, 8, [0, 0, 1, 3]).is_accepted();
    tale.clone().releases(5, 6, 1).is_accepted();
    tale.shows(5, 6, [0, 0, 1, 3]).releases(7, 8, 1).is_refused();
}

#[test]
fn a_hold_that_somebody_was_told_of_stays() {
    let lost = Tale::of(1).unheard(2, reserve(1)).shows(3, 4, [0, 1, 0, 2]);
    // Nobody knows of it: it may go back before its time, but the journal says so.
    lost.clone().shows(5, 6, [1, 0, 0, 3]).is_accepted();
    lost.clone().shows(5, 6, [1, 0, 0, 1]).is_refused();
    let told = lost.holds(5, 6, 1);
    told.clone().shows(7, 8, [0, 1, 0, 2]).is_accepted();
    told.shows(7, 8, [1, 0, 0, 3]).is_refused();
}

#[test]
fn a_hold_goes_back_until_the_ticket_of_its_order_is_decided() {
    let ticket = Action::Ticket { order: 1 };
    let ticketed = |tale: Tale, ms| tale.told(ms, ms + 1, reserve(1), queued(1));
    let lost = Tale::of(1).unheard(2, reserve(1));
    let gone = |tale: Tale| tale.shows(5, 6, [0, 1, 0, 2]).shows(7, 8, [1, 0, 0, 3]);
    // Before the ticket was given, and after: the repeat takes the unit anew.
    let before = ticketed(gone(lost.clone()), 9).told(11, 12, ticket, held(1));
    before.clone().is_accepted();
    before.shows(13, 14, [0, 1, 0, 4]).is_accepted();
    let after = gone(ticketed(lost.clone(), 3)).told(11, 12, ticket, held(1));
    after.clone().is_accepted();
    after.clone().shows(13, 14, [0, 1, 0, 4]).is_accepted();
    // It takes it once, and keeps it.
    after.clone().shows(13, 14, [0, 1, 0, 2]).is_refused();
    after.shows(13, 14, [1, 0, 0, 5]).is_refused();
    let kept = ticketed(lost, 3).told(9, 10, ticket, held(1));
    kept.clone().shows(11, 12, [0, 1, 0, 2]).is_accepted();
    kept.clone().shows(11, 12, [1, 0, 0, 3]).is_refused();
    kept.shows(11, 12, [0, 1, 0, 2]).shows(13, 14, [1, 0, 0, 3]).is_refused();
    // What nobody else had asked for is nobody's to let go.
    gone(ticketed(Tale::of(1), 3)).is_refused();
}

#[test]
fn a_hold_expires_at_its_time() {
    let tale = Tale::of(1).holds(2, 3, 1);
    // Not before.
    tale.clone().holds(500, 501, 2).is_refused();
    tale.clone().shows(500, 501, [1, 0, 0, 3]).is_refused();
    tale.clone().settles(500, 501, 1, End::Confirmed, Answer::Ended(End::Expired)).is_refused();
    // Once it is judged after that, it has.
    tale.clone().sold_out(1_100, 1_101, 2).is_refused();
    tale.clone().confirms(1_100, 1_101, 1).is_refused();
    tale.clone().confirms(990, 1_100, 1).is_accepted();
    tale.clone().settles(990, 1_100, 1, End::Confirmed, Answer::Ended(End::Expired)).is_accepted();
    tale.clone().shows(1_100, 1_101, [1, 0, 0, 3]).is_accepted();
    // A repeat still gets the first answer.
    tale.holds(1_100, 1_101, 1).shows(1_102, 1_103, [1, 0, 0, 3]).is_accepted();
}

#[test]
fn holds_expire_in_order() {
    let later = Answer::Held { id: "id-2".to_owned(), expires_us: 1_050_000 };
    let tale = Tale::of(5).holds(2, 3, 1).told(52, 53, reserve(2), later);
    let tale = tale.settles(1_040, 1_100, 2, End::Confirmed, Answer::Ended(End::Expired));
    tale.clone().shows(1_045, 1_110, [5, 0, 0, 5]).is_accepted();
    tale.shows(1_101, 1_110, [4, 1, 0, 4]).is_refused();
    // Who took later does not expire sooner.
    let sooner = Answer::Held { id: "id-2".to_owned(), expires_us: 900_000 };
    Tale::of(5).holds(2, 3, 1).told(52, 53, reserve(2), sooner).is_refused();
}

#[test]
fn who_has_a_ticket_is_not_overtaken() {
    let ticket = |order| Action::Ticket { order };
    let tale = Tale::of(1).told(2, 3, reserve(1), queued(1));
    let held_later = |tale: Tale| tale.told(9, 10, ticket(1), held(1));
    held_later(tale.clone()).is_accepted();
    held_later(tale.clone().sold_out(4, 20, 2)).is_accepted();
    let gone = tale.clone().holds(4, 20, 2);
    gone.clone().told(9, 10, ticket(1), Answer::SoldOut { available: 0 }).is_refused();
    gone.is_refused();
    // Its refusal need not be heard to let others pass.
    let before = Tale::of(1).holds(2, 3, 3).told(4, 5, reserve(1), queued(1));
    before.releases(7, 9, 3).sold_out(6, 8, 2).is_accepted();
    // Who came at the same time may be before it.
    let same = Tale::of(1).told(2, 4, reserve(1), queued(1)).holds(3, 20, 2);
    same.told(9, 10, ticket(1), Answer::SoldOut { available: 0 }).is_accepted();
    // Queued and then decided, never the other way round.
    held_later(tale.clone().told(7, 8, ticket(1), queued(1))).is_accepted();
    held_later(tale.clone()).told(11, 12, ticket(1), queued(1)).is_refused();
    tale.told(9, 10, ticket(1), held(2)).is_refused();
}

#[test]
fn stock_is_set_above_what_is_committed() {
    let set = |units| Set { units };
    let tale = Tale::of(3).holds(2, 3, 1).holds(4, 5, 2);
    let below = Answer::BelowCommitted { committed: 2 };
    tale.clone().told(6, 7, set(1), below.clone()).is_accepted();
    tale.clone().told(6, 7, set(1), Answer::Set).is_refused();
    tale.clone().told(6, 7, set(2), below).is_refused();
    let again = tale.told(6, 7, set(2), Answer::Set).told(8, 9, set(2), Answer::Set);
    again.clone().shows(10, 11, [0, 2, 0, 4]).is_accepted();
    again.shows(10, 11, [0, 2, 0, 5]).is_refused();
}

#[test]
fn a_strange_answer_is_refused() {
    let strange = Answer::Strange { status: 404, problem: "unknown-reservation".to_owned() };
    Tale::of(1).holds(2, 3, 1).told(4, 5, confirm(1), strange).is_refused();
}

/// Forty orders that nobody knows the outcome of are no 2^40 possibilities.
#[test]
fn many_lost_answers_take_no_longer() {
    let mut tale = Tale::of(100);
    for order in 0..40 {
        tale = tale.unheard(2 + order as u64, reserve(order));
    }
    tale.clone().shows(50, 51, [63, 37, 0, 38]).is_accepted();
    tale.clone().shows(50, 51, [60, 40, 0, 41]).shows(52, 53, [61, 39, 0, 42]).is_accepted();
    tale.clone().shows(50, 51, [59, 41, 0, 42]).is_refused();
    tale.shows(50, 51, [63, 37, 0, 38]).shows(52, 53, [64, 36, 0, 38]).is_refused();
}

/// Nor are orders that were repeated again and again, while the service was away, until they had tickets.
#[test]
fn many_repeats_without_an_answer_take_no_longer() {
    let mut tale = Tale::of(1);
    for repeat in 0..20 {
        tale = tale.unheard(2 + 2 * repeat, reserve(1)).unheard(3 + 2 * repeat, reserve(2));
    }
    for order in 1..3 {
        tale = tale.told(100, 101, reserve(order), queued(order));
    }
    let tale = tale.told(110, 111, Action::Ticket { order: 1 }, held(1)).sold_out(112, 113, 2);
    tale.clone().shows(120, 121, [0, 1, 0, 2]).is_accepted();
    // Some of them have taken the unit, and let it go, before its time.
    tale.clone().shows(120, 121, [0, 1, 0, 20]).is_accepted();
    tale.clone().shows(120, 121, [0, 1, 0, 3]).is_refused();
    tale.shows(120, 121, [1, 0, 0, 2]).is_refused();
}

#[test]
fn a_search_that_is_too_long_decides_nothing() {
    let tale = Tale::of(1).holds(2, 3, 1).releases(4, 5, 1);
    assert_eq!(check(&tale.0, 1), Verdict::Undecided);
}

#[test]
fn a_story_is_short_and_still_wrong() {
    let mut tale = Tale::of(50);
    for order in 0..40 {
        let at = 10 + 10 * order as u64;
        tale = tale.holds(at, at + 1, order).shows(
            at + 2,
            at + 3,
            [49 - order as u64, 1 + order as u64, 0, 2 + order as u64],
        );
    }
    tale = tale.confirms(500, 501, 7).shows(502, 503, [10, 40, 0, 41]).releases(504, 505, 3);
    tale.is_refused();
    let story = shrink(&tale.0);
    assert_eq!(check(&story.history, CONFIGURATIONS_MAX), Verdict::Refused);
    let told: Vec<_> = story.history.operations.iter().filter(|o| o.told.is_some()).collect();
    let [confirmed, read] = told[..] else { panic!("{story}") };
    assert_eq!((confirmed.action, read.action), (confirm(7), Read), "{story}");
    let said = story.to_string();
    assert!(said.contains("order 7 to be confirmed: done\n"), "{said}");
    assert!(said.contains("read: 10 available, 40 held, 0 confirmed, version 41\n"), "{said}");
}
