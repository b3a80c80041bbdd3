//! First in, first out: a SKU's reserve commands are decided in the order in which they came.
//!
//! What waits is looked at before and after everything that happens. Somebody waits for a command,
//! or it has a ticket: then it *counts*. All others may vanish from the queue at any time.

use std::collections::HashMap;

use cartgate_ledger::{Cause, CommandId, ReservationState};
use cartgate_policy::Sku;

use super::Checked;
use crate::store::Commit;

/// What may happen to those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A command came.
    Came(CommandId),
    /// The owner took a turn.
    Turn,
    /// The owner took a turn while the lanes are closed.
    LastTurn,
}

/// Checks that what waits `after` an event is what waited `before`, in the same order, without those
/// that were decided: before all others.
pub(super) fn check_line(
    before: &[CommandId],
    after: &[CommandId],
    event: Event,
    counts: impl Fn(CommandId) -> bool,
) -> Checked {
    let mut left = before.iter();
    for id in after {
        let is_new = event == Event::Came(*id) && after.last() == Some(id) && !before.contains(id);
        let is_in_order = left.any(|earlier| earlier == id);
        ensure!(is_in_order || is_new, "{id} has changed its place: {before:?}, then {after:?}");
    }
    let decided = |id: &&CommandId| !after.contains(id) && counts(**id);
    match (event, before.iter().rfind(decided)) {
        (Event::Came(_), Some(gone)) => ensure!(false, "{gone} counts, and is gone"),
        (Event::Turn, Some(last)) => {
            let overtaken = before
                .iter()
                .take_while(|id| *id != last)
                .find(|id| after.contains(id) && counts(**id));
            ensure!(overtaken.is_none(), "{last} has overtaken {overtaken:?}");
        }
        // Commands may be dropped: see `check_decided`.
        (Event::LastTurn, _) | (_, None) => {}
    }
    Ok(())
}

/// The commands of a SKU that a commit has decided to hold, or to refuse and to remember, in order.
pub(super) fn decided(commit: &Commit, sku: &Sku) -> Vec<CommandId> {
    let entries = commit.skus.iter().find(|changed| changed.sku == *sku);
    let entries = entries.map(|changed| &changed.entries[..]).unwrap_or_default();
    let mut taken = HashMap::new();
    for (index, entry) in entries.iter().enumerate().filter(|(_, e)| e.cause == Cause::Reserve) {
        // What is taken to be sold in the same moment was no reserve command.
        let next = entries.get(index + 1);
        let is_again = next.is_some_and(|n| n.cause == Cause::Confirm && n.id == entry.id);
        taken.extend(entry.id.filter(|_| !is_again).map(|id| (id, ())));
    }
    let is_decided = |state, id| match state {
        ReservationState::Held { .. } => taken.contains_key(&id),
        ReservationState::Confirmed { .. }
        | ReservationState::Released { .. }
        | ReservationState::Expired { .. } => false,
        // A refusal.
        _ => true,
    };
    let of_sku = commit.reservations.iter().filter(|(of, _)| of == sku);
    of_sku.map(|(_, r)| r).filter(|r| is_decided(r.state, r.id)).map(|r| r.id).collect()
}

/// Checks that a commit has decided a SKU's commands in the order in which they waited `before`,
/// only those that count, and none ahead of one that has a ticket and still waits for its turn.
pub(super) fn check_decided(
    decided: &[CommandId],
    before: &[CommandId],
    counts: impl Fn(CommandId) -> bool,
    is_ticketed: impl Fn(CommandId) -> bool,
) -> Checked {
    let mut left = before.iter();
    for id in decided {
        let is_in_order = left.any(|earlier| earlier == id);
        ensure!(is_in_order, "decided {decided:?}, when {before:?} waited");
        ensure!(counts(*id), "{id} was decided, and nobody had asked for it any more");
    }
    if let Some(last) = decided.last() {
        let mut earlier = before.iter().take_while(|id| *id != last);
        let overtaken = earlier.find(|id| is_ticketed(**id));
        ensure!(overtaken.is_none(), "{last} has overtaken {overtaken:?}, which has a ticket");
    }
    Ok(())
}
