//! Histories that once failed, as short as they can be. Each is of a mistake that is mended.

use std::num::NonZeroU32;

use super::coverage::Coverage;
use super::history::{History, Setting};
use super::op::{NewTerms, Op};
use crate::lanes::turn::TurnLimits;
use crate::lanes::{LaneSettings, Retention};

/// Room for everything.
const LANES: LaneSettings = LaneSettings {
    batch_max: 1_000,
    reserve_queue_max: 1_000,
    settle_queue_max: 1_000,
    reserves_per_s: None,
    holds_max: 1_000,
    ticket_ttl_ms: 400,
    unclaimed_ms: 60,
    hot_items_max: 3,
    retention: Retention { holds_ms: 3_000, refusals_ms: 500, refusals_max: 1_000 },
};

const NO_TERMS: NewTerms =
    NewTerms { reserves_per_s: None, customer_cap: None, opens_in_ms: None, closes_in_ms: None };

fn check(lanes: LaneSettings, ops: &[Op]) {
    let setting = Setting { buckets: 1, lanes, limits: TurnLimits::default() };
    let history = History { seed: 0, setting, ops: ops.to_vec() };
    if let Err((index, found)) = super::run(&history, &mut Coverage::default()) {
        panic!("number {index}: {found}\n{history}");
    }
}

fn set(sku: usize, units: u64) -> Op {
    Op::Set { sku, units, expected: None }
}

/// What ends by a command that waited for long ends earlier than what is forgotten already.
#[test]
fn what_ends_in_the_past_is_forgotten_too() {
    let confirm = Op::Confirm { key: 24, units: None, reacquire: false };
    check(
        LANES,
        &[
            set(0, 9),
            Op::StepBack { ms: 435 },
            set(2, 9),
            Op::Reserve { key: 24 },
            Op::Turn,
            confirm,
            Op::Reserve { key: 29 },
            Op::Turn,
            Op::HangUp { key: 29 },
            Op::Advance { ms: 6_000 },
        ],
    );
}

/// What was parked is appended to a queue whatever its bound: one that has gone makes no room then.
#[test]
fn a_queue_that_is_too_long_takes_no_more() {
    let lanes = LaneSettings { reserve_queue_max: 3, reserves_per_s: NonZeroU32::new(10), ..LANES };
    let reserve = |key| Op::Reserve { key };
    check(
        lanes,
        &[
            reserve(0),
            Op::Turn,
            Op::Promote { sku: 2, terms: NO_TERMS, expected: None },
            Op::Turn,
            // One of these is decided, and the mark waits behind the other.
            reserve(2),
            reserve(11),
            Op::Demote { sku: 2, expected: None },
            Op::Turn,
            // Parked.
            reserve(17),
            reserve(20),
            Op::HangUp { key: 20 },
            // In the normal lane, which is full then.
            reserve(3),
            reserve(6),
            reserve(9),
            Op::Advance { ms: 100 },
            Op::Turn,
            reserve(12),
        ],
    );
}

/// Of two times to claim a hold that customers were told, the later counts.
#[test]
fn a_repeat_shortens_no_time_to_claim() {
    check(
        LANES,
        &[
            set(1, 9),
            Op::Reserve { key: 13 },
            Op::Turn,
            Op::Advance { ms: 1 },
            Op::Reserve { key: 13 },
            Op::Turn,
            Op::HearAll,
            Op::Crash,
            Op::StepBack { ms: 1_000 },
            Op::Reserve { key: 13 },
            Op::Turn,
        ],
    );
}

/// A repeat waits longer than the ticket of what it joins: that is no ticket.
#[test]
fn a_ticket_is_as_good_as_the_store_says() {
    let lanes = LaneSettings { ticket_ttl_ms: 120, reserves_per_s: NonZeroU32::new(5), ..LANES };
    check(
        lanes,
        &[
            Op::Reserve { key: 0 },
            Op::Reserve { key: 6 },
            Op::EndWait { key: 6 },
            Op::Turn,
            Op::HearAll,
            Op::Advance { ms: 100 },
            Op::Reserve { key: 6 },
            Op::EndWait { key: 6 },
            Op::Turn,
            Op::HearAll,
        ],
    );
}

/// Whoever hangs up on the first answer to what has ended says nothing of what came after it.
#[test]
fn a_hang_up_on_what_has_ended_cancels_nothing() {
    check(
        LANES,
        &[
            set(2, 9),
            Op::Reserve { key: 17 },
            Op::Turn,
            Op::HearAll,
            Op::AdvanceToDue { more_ms: 1 },
            Op::Turn,
            // Its answer is about the hold that has expired, which is forgotten in the same turn.
            Op::Reserve { key: 17 },
            Op::EndWait { key: 17 },
            Op::Advance { ms: 5_000 },
            Op::Turn,
            Op::Reserve { key: 17 },
            Op::Turn,
            Op::EndWait { key: 17 },
            Op::HangUp { key: 17 },
        ],
    );
}

/// A command that is judged anew, and refused in the same moment as before, is one refusal.
#[test]
fn what_is_refused_twice_at_once_is_kept_once() {
    let retention = Retention { refusals_max: 1, ..LANES.retention };
    let lanes = LaneSettings { retention, reserves_per_s: NonZeroU32::new(33), ..LANES };
    let not_open = NewTerms { opens_in_ms: Some(16), ..NO_TERMS };
    check(
        lanes,
        &[
            set(1, 1),
            Op::Reserve { key: 1 },
            Op::Turn,
            // With a ticket, it is refused for the terms of the sale.
            Op::Reserve { key: 10 },
            Op::EndWait { key: 10 },
            Op::Turn,
            Op::Promote { sku: 1, terms: not_open, expected: None },
            Op::Turn,
            Op::Crash,
            Op::Turn,
            // Open again, it is sold out.
            Op::Promote { sku: 1, terms: NO_TERMS, expected: None },
            Op::Reserve { key: 10 },
            Op::Turn,
            Op::Turn,
            Op::Turn,
        ],
    );
}
