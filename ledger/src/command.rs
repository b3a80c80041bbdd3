//! What can be asked of a SKU's stock.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Put `units` up for sale in all: what is held and confirmed counts among them. Setting the
    /// same again changes nothing.
    Set {
        /// The new `available + held + confirmed`.
        units: u64,
    },
    /// Take units off the shelf until the hold ends.
    Reserve(Reserve),
    /// The units of a hold are sold.
    Confirm {
        /// The hold, by the command that took it.
        id: CommandId,
    },
    /// The units of a hold go back on the shelf.
    Release {
        /// The hold, by the command that took it.
        id: CommandId,
    },
    /// Return what holds have left behind that are due, and nothing else.
    Expire,
}

impl Command {
    /// The reserve command that this command is, or whose hold it settles.
    pub fn id(&self) -> Option<CommandId> {
        match self {
            Self::Reserve(reserve) => Some(reserve.id),
            Self::Confirm { id } | Self::Release { id } => Some(*id),
            Self::Set { .. } | Self::Expire => None,
        }
    }
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
    pub customer: Option<Box<str>>,
    /// How many units.
    pub quantity: NonZeroU32,
    /// How long the hold lasts, in milliseconds from when it is taken.
    pub hold_ms: u64,
    /// The last moment at which somebody still waits for the outcome. Judged later than this the
    /// command is abandoned: it takes nothing.
    pub claim_by: UnixMs,
}
