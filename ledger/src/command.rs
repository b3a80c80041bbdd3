//! What can be asked of a SKU's stock.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Milliseconds since 1970-01-01 UTC.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct UnixMs(pub u64);

impl UnixMs {
    /// The time `ms` milliseconds later; the end of time if there is none.
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// Names a reserve command, and with it the ticket to its outcome and the hold that it takes.
///
/// 16 bytes, written as 32 lower-case hex digits. The ledger only compares them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CommandId(pub [u8; 16]);

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for CommandId {
    type Err = InvalidCommandId;

    fn from_str(text: &str) -> Result<Self, InvalidCommandId> {
        let is_canonical =
            text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_canonical {
            return Err(InvalidCommandId);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| InvalidCommandId)?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// A text that names no command: not 32 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("an id is 32 lower-case hexadecimal digits")]
pub struct InvalidCommandId;

/// A digest of what a command asks for. Two commands with one id must have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 16]);

/// One wish for one SKU's stock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Put `units` up for sale in all: what is held and confirmed counts among them. Setting the
    /// same again changes nothing.
    Set {
        /// The new `available + held + confirmed`.
        units: u64,
        /// Refuse it unless the SKU stands at this version.
        expected_version: Option<u64>,
    },
    /// Put more units up for sale, or take some off.
    Adjust(Adjust),
    /// Take units off the shelf until the hold ends.
    Reserve(Reserve),
    /// The units of a hold are sold.
    Confirm {
        /// The hold, by the command that took it.
        id: CommandId,
        /// How many of them; the others go back on the shelf. `None`: all.
        quantity: Option<NonZeroU32>,
        /// What to do if the hold has run out of time.
        on_expired: OnExpired,
    },
    /// The units of a hold go back on the shelf.
    Release {
        /// The hold, by the command that took it.
        id: CommandId,
    },
    /// The hold lasts longer; never shorter than before.
    Extend {
        /// The hold, by the command that took it.
        id: CommandId,
        /// How long from now, in milliseconds.
        hold_ms: u64,
        /// The longest that a hold may last from when it was taken, in milliseconds.
        hold_ms_max: u64,
    },
    /// Somebody knows of the hold and wants it: whoever waits for the outcome. If nobody does any
    /// more, nothing is claimed.
    Claim {
        /// The hold, by the command that took it.
        id: CommandId,
    },
    /// Whoever asked for the hold has gone without hearing of it: it goes back on the shelf, unless
    /// somebody has asked for it since.
    Cancel {
        /// The hold, by the command that took it.
        id: CommandId,
        /// The attempt that nobody waits for any more: see [`Reservation::attempt`].
        ///
        /// [`Reservation::attempt`]: crate::Reservation::attempt
        attempt: u32,
        /// Whether it goes back even if it was claimed: whoever claimed it is who cancels.
        even_claimed: bool,
    },
    /// Return what holds have left behind that are due, and nothing else.
    Expire,
}

impl Command {
    /// The command whose fate this one repeats or changes; `None` if there is none to recall.
    pub fn id(&self) -> Option<CommandId> {
        match self {
            Self::Reserve(Reserve { id, .. })
            | Self::Adjust(Adjust { id, .. })
            | Self::Confirm { id, .. }
            | Self::Release { id }
            | Self::Extend { id, .. }
            | Self::Claim { id }
            | Self::Cancel { id, .. } => Some(*id),
            Self::Set { .. } | Self::Expire => None,
        }
    }
}

/// What becomes of a confirmation that comes too late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum OnExpired {
    /// It is refused.
    #[default]
    Refuse,
    /// The units are taken again, if they are still there, and are sold.
    Reacquire,
}

/// A wish to change how many units there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjust {
    /// Names the command; a repeat carries the same.
    pub id: CommandId,
    /// Of everything that a repeat must have in common with the first.
    pub fingerprint: Fingerprint,
    /// Whether anybody can repeat this command. If not, its outcome needs no remembering.
    pub repeatable: bool,
    /// Units to add; fewer than none to take off.
    pub by: i64,
}

/// A wish to hold stock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserve {
    /// Names the command; a repeat carries the same.
    pub id: CommandId,
    /// Of everything that a repeat must have in common with the first.
    pub fingerprint: Fingerprint,
    /// Whether anybody can name this command again, by key or ticket. If not, its refusal needs
    /// no remembering.
    pub repeatable: bool,
    /// Who asks, if known. An opaque name.
    pub customer: Option<Arc<str>>,
    /// How many units.
    pub quantity: NonZeroU32,
    /// How long the hold lasts, in milliseconds from when it is taken.
    pub hold_ms: u64,
    /// The last moment at which somebody still waits for the outcome. Judged later than this the
    /// command is abandoned: it takes nothing.
    pub claim_by: UnixMs,
    /// How often it was asked for while it waited: 1, and one more for each repeat.
    pub attempt: u32,
    /// Whether the hold is only kept if it is claimed, although somebody waits for it: a line of a
    /// cart, which is nothing without the others.
    pub is_tentative: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let id = CommandId([0, 1, 0x2a, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(id.to_string(), "00012aff000000000000000000000007");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn only_one_spelling_is_an_id() {
        let digits = "0123456789abcdef0123456789abcdef";
        assert!(digits.parse::<CommandId>().is_ok());
        let upper = digits.to_uppercase();
        let signed = format!("+{}", &digits[1..]);
        for other in
            ["", &digits[1..], &format!("{digits}0"), &upper, &signed, &digits.replace('a', "é")]
        {
            assert_eq!(other.parse::<CommandId>(), Err(InvalidCommandId), "{other}");
        }
    }
}
