//! Whether a verdict that holds is worth something.

use thiserror::Error;

use super::course::{Course, What};
use super::load::Load;
use super::record::{Answer, Role};
use super::verdict::{Check, Checked};

/// Checks that find something to check in every drill worth the name. Repeats and outcomes may be
/// few; but without holds and journals nothing was sold, and without an admission nothing limited.
const TELLING: [Check; 5] =
    [Check::Journal, Check::Promises, Check::Order, Check::Limit, Check::Accounts];

/// Of so many calls one may fail: beyond that the drill is about a system that is down.
const CALLS_PER_FAILURE: u64 = 10;

/// Whether there was something to check.
pub(super) fn checks(checked: &Checked) -> Result<(), Hollow> {
    let empty = TELLING.into_iter().filter(|check| checked.count(*check) == 0);
    let checks: Vec<&str> = empty.map(Check::name).collect();
    if checks.is_empty() { Ok(()) } else { Err(Hollow::Empty { checks: checks.join(", ") }) }
}

/// Whether a product that was to be noticed has gone all of its way.
pub(super) fn course(sku: &str, course: &Course) -> Result<(), Hollow> {
    let missing: Vec<&str> = course.missing().into_iter().map(What::words).collect();
    let (sku, missing) = (sku.to_owned(), missing.join(", never "));
    if missing.is_empty() { Ok(()) } else { Err(Hollow::Course { sku, missing }) }
}

/// Whether most calls came to something.
pub(super) fn calls(load: &Load) -> Result<(), Hollow> {
    Tally::of(load).weigh()
}

/// What customers' calls came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    offered: u64,
    lost: u64,
    refused: u64,
    not_sent: u64,
}

impl Tally {
    fn of(load: &Load) -> Self {
        let mut tally = Self { not_sent: load.not_sent, ..Self::default() };
        for record in load.records.iter().filter(|record| record.role != Role::Witness) {
            tally.offered += 1;
            match &record.answer {
                Answer::Lost => tally.lost += 1,
                // A full lane is the service's own word, and what it sheds a drill may want to see.
                answer @ Answer::Refused { .. } if !answer.is_from_service() => tally.refused += 1,
                _ => {}
            }
        }
        tally.offered += tally.not_sent;
        tally
    }

    fn weigh(self) -> Result<(), Hollow> {
        let Self { offered, lost, refused, not_sent } = self;
        if (lost + refused + not_sent) * CALLS_PER_FAILURE > offered {
            return Err(Hollow::Failures { offered, lost, refused, not_sent });
        }
        Ok(())
    }
}

/// Why a verdict that holds says nothing.
#[derive(Debug, Error)]
pub enum Hollow {
    /// There was nothing to be wrong.
    #[error("the drill proves nothing: there was nothing to check for {checks}")]
    Empty {
        /// The checks that looked at nothing.
        checks: String,
    },
    /// The product that was to be noticed has not gone all of its way.
    #[error("the drill proves nothing: {sku} was never {missing}")]
    Course {
        /// The product.
        sku: String,
        /// What never happened.
        missing: String,
    },
    /// Most of what was to be seen did not happen.
    #[error(
        "the drill proves nothing: of {offered} calls {lost} got no answer, {refused} were refused \
         and {not_sent} not sent, more than one in {CALLS_PER_FAILURE}"
    )]
    Failures {
        /// Calls that were to be made.
        offered: u64,
        /// Those without an answer.
        lost: u64,
        /// Those that were refused for other reasons than the limit, the stock or a full lane.
        refused: u64,
        /// Those that found no connection.
        not_sent: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_that_looked_at_nothing_are_named() {
        let check = |checked: &str, expected: Option<&str>| {
            let error = checks(&serde_json::from_str(checked).unwrap()).err();
            assert_eq!(error.map(|error| error.to_string()).as_deref(), expected);
        };
        let all = r#"{"journal": 9, "promises": 1, "order": 1, "limit": 1, "accounts": 1}"#;
        check(all, None);
        let says = "the drill proves nothing: there was nothing to check for promises, limit";
        check(r#"{"journal": 9, "promises": 0, "order": 1, "accounts": 1}"#, Some(says));
    }

    #[test]
    fn what_never_happened_is_named() {
        let error = course("A", &Course::default()).unwrap_err().to_string();
        let says =
            "A was never noticed, never limit known at all edges, never sold out, never let go";
        assert!(error.ends_with(says), "{error}");
    }

    #[test]
    fn one_failure_in_ten_calls_is_the_most() {
        let check = |offered, [lost, refused, not_sent]: [u64; 3], is_enough| {
            let tally = Tally { offered, lost, refused, not_sent };
            assert_eq!(tally.weigh().is_ok(), is_enough, "{tally:?}");
        };
        check(100, [0, 0, 0], true);
        check(100, [5, 3, 2], true);
        check(100, [5, 3, 3], false);
        check(100, [0, 100, 0], false);
        check(100, [0, 0, 11], false);
    }
}
