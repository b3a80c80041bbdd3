//! The ordered record of every stock change.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{CommandId, Counters, UnixMs};

/// One change of one SKU's stock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Its number: 1 for a SKU's first change, and one more for each that follows.
    pub version: u64,
    /// When it happened. Never earlier than the entry before.
    pub at: UnixMs,
    /// What made it happen.
    pub cause: Cause,
    /// The command that took the hold concerned, or that adjusted; `None` for [`Cause::Set`].
    pub id: Option<CommandId>,
    /// The units that moved; for [`Cause::Set`] the new total; for [`Cause::Adjust`] the units added,
    /// fewer than none if they were taken off.
    pub quantity: i64,
    /// The counters before.
    pub before: Counters,
    /// The counters after.
    pub after: Counters,
}

/// What changes stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The number of units was set.
    Set,
    /// A hold was taken.
    Reserve,
    /// A hold ended with a sale.
    Confirm,
    /// A hold was given back.
    Release,
    /// A hold ran out of time.
    Expire,
    /// Units were added, or taken off.
    Adjust,
    /// A hold went back because whoever asked for it had gone.
    Cancel,
}

impl Cause {
    /// The counters after `quantity` units have moved for this cause; `None` if there are not as
    /// many where they should come from. Only [`Cause::Adjust`] moves fewer units than none.
    pub fn move_units(self, before: Counters, quantity: i64) -> Option<Counters> {
        let Counters { available, held, confirmed } = before;
        if self == Self::Adjust {
            return Some(Counters { available: available.checked_add_signed(quantity)?, ..before });
        }
        let units = u64::try_from(quantity).ok()?;
        Some(match self {
            Self::Set | Self::Adjust => {
                Counters { available: units.checked_sub(before.committed())?, ..before }
            }
            Self::Reserve => Counters {
                available: available.checked_sub(units)?,
                held: held.checked_add(units)?,
                confirmed,
            },
            Self::Confirm => Counters {
                available,
                held: held.checked_sub(units)?,
                confirmed: confirmed.checked_add(units)?,
            },
            Self::Release | Self::Expire | Self::Cancel => Counters {
                available: available.checked_add(units)?,
                held: held.checked_sub(units)?,
                confirmed,
            },
        })
    }
}

/// Checks that `entry` is what comes after `version` changes that led to `counters`: no gap, no
/// jump, and the units moved as its cause says. Folding a journal is calling this with each entry.
///
/// # Errors
/// Says what is wrong with the entry.
pub fn verify_next(
    version: u64,
    counters: Counters,
    entry: &JournalEntry,
) -> Result<(), JournalError> {
    if entry.version != version + 1 {
        return Err(JournalError::Gap { version, next: entry.version });
    }
    if entry.before != counters {
        return Err(JournalError::Jump { version: entry.version });
    }
    if entry.cause.move_units(entry.before, entry.quantity) != Some(entry.after) {
        return Err(JournalError::Sum { version: entry.version });
    }
    Ok(())
}

/// What is wrong with a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum JournalError {
    /// An entry is missing or there twice.
    #[error("entry {version} is followed by entry {next}")]
    Gap {
        /// The last good entry.
        version: u64,
        /// What came after it.
        next: u64,
    },
    /// An entry does not begin where the one before ended.
    #[error("entry {version} does not begin where the one before it ended")]
    Jump {
        /// The entry.
        version: u64,
    },
    /// The counters after an entry are not those before, changed as it says.
    #[error("entry {version} does not add up")]
    Sum {
        /// The entry.
        version: u64,
    },
}
