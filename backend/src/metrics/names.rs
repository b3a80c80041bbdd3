//! Names of commands and outcomes, in metrics, logs and spans.

use cartgate_ledger::{Command, Outcome, Refusal};

/// A command's name in metrics, logs and spans.
pub fn command_name(command: &Command) -> &'static str {
    match command {
        Command::Set { .. } => "set",
        Command::Reserve(_) => "reserve",
        Command::Confirm { .. } => "confirm",
        Command::Release { .. } => "release",
        Command::Adjust(_) => "adjust",
        Command::Extend { .. } => "extend",
        Command::Claim { .. } => "claim",
        Command::Cancel { .. } => "cancel",
        Command::Expire => "expire",
    }
}

/// An outcome's name in metrics, logs and spans.
pub fn outcome_name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Stock { .. } => "stock",
        Outcome::Adjusted(_) => "adjusted",
        Outcome::Deferred => "deferred",
        Outcome::Held(_) => "held",
        Outcome::Settled(_) => "settled",
        Outcome::Refused(refusal) => match refusal {
            Refusal::UnknownSku => "unknown-sku",
            Refusal::SoldOut { .. } => "sold-out",
            Refusal::Abandoned => "abandoned",
            Refusal::KeyReused => "key-reused",
            Refusal::BelowCommitted { .. } => "below-committed",
            Refusal::UnknownHold => "unknown-hold",
            Refusal::OverCap { .. } => "over-cap",
            Refusal::CustomerRequired => "customer-required",
            Refusal::NotOpenYet { .. } => "not-open-yet",
            Refusal::Closed { .. } => "closed",
            Refusal::TooManyUnits { .. } => "too-many-units",
            Refusal::VersionDiffers { .. } => "version-differs",
            Refusal::MoreThanHeld { .. } => "more-than-held",
            Refusal::AlreadyConfirmed { .. } => "already-confirmed",
            Refusal::AlreadyReleased => "already-released",
            Refusal::AlreadyExpired => "already-expired",
        },
    }
}
