//! Random histories: commands and changed terms, at times that mostly run on.

use cartgate_ledger::{Circumstances, Command, Fingerprint, OnExpired, Reserve, Terms, UnixMs};
use proptest::prelude::*;

use super::{adjust, adjust_by, at, confirm_some, extend, id, units, wish};

/// What happens to a SKU next.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Somebody asks something.
    Ask(Command, Circumstances<'static>),
    /// Whoever runs the sale changes its terms.
    Terms(Terms),
}

/// Steps with the owner's clock at each: mostly a little later than the last, sometimes a good
/// deal later, so that many holds are due at once, and sometimes earlier: a clock set back.
pub(crate) fn any_history() -> impl Strategy<Value = Vec<Step>> {
    let passed = prop_oneof![8 => 0i64..6, 1 => 20i64..70, 1 => -20i64..0];
    let step = (any_step(), passed);
    prop::collection::vec(step, 1..100).prop_map(|steps| {
        let mut clock = 100i64;
        let mut place = |(step, passed): (Step, i64)| {
            clock = (clock + passed).max(0);
            step.starting_at(clock.unsigned_abs())
        };
        steps.into_iter().map(&mut place).collect()
    })
}

impl Step {
    /// Moves the times in it, which are given from 0 on, to `now`.
    fn starting_at(self, now: u64) -> Self {
        // Ten later: what is less than ten is before `now`.
        let moved = |time: UnixMs| UnixMs((now + time.0).saturating_sub(10));
        match self {
            Self::Ask(Command::Reserve(reserve), circumstances) => {
                let claim_by = moved(reserve.claim_by);
                let command = Command::Reserve(Reserve { claim_by, ..reserve });
                Self::Ask(command, Circumstances { now: UnixMs(now), ..circumstances })
            }
            Self::Ask(command, circumstances) => {
                Self::Ask(command, Circumstances { now: UnixMs(now), ..circumstances })
            }
            Self::Terms(terms) => Self::Terms(Terms {
                opens_at: terms.opens_at.map(moved),
                closes_at: terms.closes_at.map(moved),
                ..terms
            }),
        }
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        24 => (any_command(), any_circumstances()).prop_map(|(c, given)| Step::Ask(c, given)),
        1 => any_terms().prop_map(Step::Terms),
    ]
}

fn any_circumstances() -> impl Strategy<Value = Circumstances<'static>> {
    (prop::bool::weighted(0.7), 5u64..20, 1usize..4).prop_map(
        |(is_awaited, unclaimed_ms, expire_max)| Circumstances {
            is_awaited,
            unclaimed_ms,
            expire_max,
            ..at(0)
        },
    )
}

fn any_terms() -> impl Strategy<Value = Terms> {
    let cap = prop::option::weighted(0.7, (1u32..7).prop_map(units));
    let opens_at = prop::option::weighted(0.2, (0u64..40).prop_map(UnixMs));
    let closes_at = prop::option::weighted(0.2, (0u64..200).prop_map(UnixMs));
    (cap, opens_at, closes_at).prop_map(|(customer_cap, opens_at, closes_at)| Terms {
        customer_cap,
        opens_at,
        closes_at,
    })
}

/// Holds are numbered up to 16, adjustments from 14 on: some ids are used for both.
fn any_command() -> impl Strategy<Value = Command> {
    let number = || 0u8..16;
    let on_expired = prop_oneof![Just(OnExpired::Refuse), Just(OnExpired::Reacquire)];
    let quantity = prop::option::of(1u32..5);
    let expected_version = prop::option::weighted(0.3, 0u64..40);
    prop_oneof![
        2 => (4u64..24, expected_version)
            .prop_map(|(units, expected_version)| Command::Set { units, expected_version }),
        2 => any_adjust(),
        12 => any_reserve(),
        4 => (number(), quantity, on_expired)
            .prop_map(|(number, quantity, on)| confirm_some(number, quantity, on)),
        2 => number().prop_map(super::release),
        2 => (number(), 0u64..60, 0u64..90).prop_map(|(number, ms, max)| extend(number, ms, max)),
        2 => number().prop_map(super::claim),
        4 => (number(), 1u32..5, any::<bool>()).prop_map(|(number, attempt, even_claimed)| {
            Command::Cancel { id: id(number), attempt, even_claimed }
        }),
        2 => Just(Command::Expire),
    ]
}

fn any_adjust() -> impl Strategy<Value = Command> {
    (14u8..22, -6i64..9, prop::bool::weighted(0.9)).prop_map(|(number, by, repeatable)| {
        if repeatable {
            // The same each time it comes with the same number.
            return adjust(number, i64::from(number) - 17);
        }
        let mut once = adjust_by(number, by);
        once.repeatable = false;
        Command::Adjust(once)
    })
}

/// A wish that is mostly the same each time it comes with the same number.
fn any_reserve() -> impl Strategy<Value = Command> {
    let flags = (
        prop::bool::weighted(0.05),
        prop::bool::weighted(0.9),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.1),
    );
    (0u8..16, flags, 1u32..3, 0u64..60).prop_map(|(number, flags, attempt, claim_by)| {
        let (is_other, repeatable, is_tentative, is_late) = flags;
        let mut wish = wish(number, u32::from(number) % 3 + 1);
        // One in four has no name.
        wish.customer = (number % 4 > 0).then(|| format!("c{}", number % 4).into());
        wish.hold_ms = 30 + u64::from(number) % 5;
        if is_other {
            wish.fingerprint = Fingerprint([99; 16]);
        }
        wish.claim_by = UnixMs(if is_late { claim_by } else { claim_by + 10 });
        Command::Reserve(Reserve { repeatable, is_tentative, attempt, ..wish })
    })
}
