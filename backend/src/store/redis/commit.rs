//! A turn as the commit script takes it: see there for the order.

use std::collections::BTreeMap;

use cartgate_ledger::{CommandId, Reservation};
use cartgate_policy::Sku;
use redis::Cmd;
use serde::Serialize;

use super::keys::{Keys, route_name, stream_name};
use super::reply::{id_text, new_nonce, nonce_text};
use super::scripts::COMMIT;
use super::tickets;
use crate::store::encoding::{EndedKey, encode, put_reservation};
use crate::store::journal::{CHUNK_MAX, put_chunk};
use crate::store::tenure::{Answer, RouteChange, Step, Stream, TurnCommit};
use crate::store::{Commit, Ended, EndedKind, SkuCommit, StoreError};

/// The keys that each commit has, in this order.
const FIXED: [&str; 14] = [
    "meta",
    "stock",
    "held",
    "ended",
    "ends",
    "adjusted",
    "ticketed",
    "tickets",
    "hot",
    "histories",
    "routes",
    "cursors",
    "depths",
    "answers",
];

/// What a commit rests on.
pub(super) struct Ground<'a> {
    /// The nonce of the lease.
    pub(super) lease: &'a str,
    /// The turn that was written last.
    pub(super) after: &'a str,
    /// A new nonce, for the one that this is.
    pub(super) turn: &'a str,
}

/// Units that each customer has bought, by SKU.
type Bought<'a> = BTreeMap<&'a Sku, Vec<(&'a str, u32)>>;

/// The call that writes a turn. Its journal entries have to be verified.
pub(super) fn call(
    keys: &Keys,
    ground: &Ground<'_>,
    turn: &TurnCommit,
    journal_max: u64,
) -> Result<Cmd, StoreError> {
    let bought = bought(&turn.commit);
    let mut call = COMMIT.call(&keys_of(keys, turn, &bought));
    call.arg(ground.lease).arg(ground.after).arg(ground.turn);
    put_steps(&mut call, &turn.steps)?;
    put_decisions(&mut call, &turn.commit)?;
    put_tickets(&mut call, turn)?;
    put_by_sku(&mut call, &turn.commit.hot_items)?;
    put_by_sku(&mut call, &turn.commit.hot_item_histories)?;
    put_chunks(&mut call, &turn.commit.skus, journal_max);
    put_bought(&mut call, &bought);
    put_routes(&mut call, &turn.routes);
    put_answers(&mut call, &turn.answers)?;
    Ok(call)
}

fn keys_of(keys: &Keys, turn: &TurnCommit, bought: &Bought<'_>) -> Vec<String> {
    let mut all: Vec<String> = FIXED.iter().map(|name| keys.key(name)).collect();
    all.extend(turn.steps.iter().map(|step| keys.stream(&step.stream)));
    for changed in &turn.commit.skus {
        all.extend(changed.entries.chunks(CHUNK_MAX).map(|_| keys.journal(&changed.sku)));
    }
    all.extend(bought.keys().map(|sku| keys.bought(sku)));
    for change in &turn.routes {
        all.push(keys.stream(&Stream::Hot(change.sku.clone())));
        let marked = [change.mark_in.clone(), change.goes_on_in()];
        all.extend(marked.iter().flatten().map(|stream| keys.stream(stream)));
    }
    all
}

fn bought(commit: &Commit) -> Bought<'_> {
    let mut bought = Bought::new();
    for (sku, purchase) in &commit.purchases {
        bought.entry(sku).or_default().push((&purchase.customer, purchase.units));
    }
    bought
}

fn put_steps(call: &mut Cmd, steps: &[Step]) -> Result<(), StoreError> {
    call.arg(steps.len());
    for step in steps {
        call.arg(stream_name(&step.stream)).arg(encode(&step.to)?);
        call.arg(id_text(step.to.next.entry)).arg(step.decided);
        call.arg(id_text(step.newest.0)).arg(nonce_text(step.newest.1));
    }
    Ok(())
}

/// Puts the number of items, then each as one argument.
fn put_section<T>(
    call: &mut Cmd,
    items: impl IntoIterator<Item = T, IntoIter: Clone>,
    put: impl Fn(&mut Cmd, T),
) {
    let items = items.into_iter();
    call.arg(items.clone().count());
    items.for_each(|item| put(call, item));
}

/// Puts twice the number of items, then each as a field and its value.
fn put_pairs<T>(
    call: &mut Cmd,
    items: impl IntoIterator<Item = T, IntoIter: Clone>,
    put: impl Fn(&mut Cmd, T) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut items = items.into_iter();
    call.arg(2 * items.clone().count());
    items.try_for_each(|item| put(call, item))
}

fn put_ids<'a>(call: &mut Cmd, ids: impl IntoIterator<Item = &'a CommandId, IntoIter: Clone>) {
    put_section(call, ids, |call, id| {
        call.arg(&id.0[..]);
    });
}

fn put_decisions(call: &mut Cmd, commit: &Commit) -> Result<(), StoreError> {
    let is_adjustment = |end: &&Ended| end.kind == EndedKind::Adjustment;
    let gone = commit.superseded.iter().chain(&commit.forgotten);
    put_ids(call, gone.clone().filter(|end| !is_adjustment(end)).map(|end| &end.id));
    put_ids(call, gone.clone().filter(is_adjustment).map(|end| &end.id));
    put_section(call, gone, |call, end| {
        call.arg(&EndedKey::from(end).0[..]);
    });
    put_pairs(call, &commit.skus, |call, changed| {
        call.arg(changed.sku.as_str()).arg(encode(&changed.row)?);
        Ok(())
    })?;
    put_reservations(call, commit)?;
    put_pairs(call, &commit.adjustments, |call, (_, adjustment)| {
        call.arg(&adjustment.id.0[..]).arg(encode(adjustment)?);
        Ok(())
    })?;
    put_pairs(call, &commit.ended, |call, end| {
        call.arg(0).arg(&EndedKey::from(end).0[..]);
        Ok(())
    })?;
    put_pairs(call, &commit.ticketed, |call, ticketed| {
        call.arg(&ticketed.reserve.id.0[..]).arg(encode(ticketed)?);
        Ok(())
    })?;
    put_ids(call, &commit.unticketed);
    Ok(())
}

fn put_tickets(call: &mut Cmd, turn: &TurnCommit) -> Result<(), StoreError> {
    put_ids(call, &turn.commit.unticketed);
    put_pairs(call, &turn.tickets, |call, (id, sku, ticket)| {
        call.arg(&id.0[..]).arg(tickets::text(ticket, sku));
        Ok(())
    })
}

fn put_reservations(call: &mut Cmd, commit: &Commit) -> Result<(), StoreError> {
    let all = commit.reservations.iter();
    let put = |call: &mut Cmd, (sku, reservation): &(Sku, _)| put_value(call, sku, reservation);
    put_pairs(call, all.clone().filter(|(_, reservation)| reservation.is_held()), put)?;
    let ended = all.filter(|(_, reservation)| !reservation.is_held());
    // What was refused was never held.
    let was_held = ended.clone().filter(|(_, ended)| ended.state.expires_at().is_some());
    put_ids(call, was_held.map(|(_, ended)| &ended.id));
    put_pairs(call, ended, put)
}

fn put_value(call: &mut Cmd, sku: &Sku, reservation: &Reservation) -> Result<(), StoreError> {
    let mut value = Vec::with_capacity(96);
    put_reservation(&mut value, sku, reservation);
    call.arg(&reservation.id.0[..]).arg(value);
    Ok(())
}

/// Puts what is kept by SKU, and then of which SKUs it goes.
fn put_by_sku<T: Serialize>(call: &mut Cmd, all: &[(Sku, Option<T>)]) -> Result<(), StoreError> {
    let kept = all.iter().filter_map(|(sku, value)| Some((sku, value.as_ref()?)));
    put_pairs(call, kept, |call, (sku, value)| {
        call.arg(sku.as_str()).arg(encode(value)?);
        Ok(())
    })?;
    put_section(call, all.iter().filter(|(_, value)| value.is_none()), |call, (sku, _)| {
        call.arg(sku.as_str());
    });
    Ok(())
}

/// A chunk's entry has its last version for an id. With it go chunks that ended so many versions
/// before.
fn put_chunks(call: &mut Cmd, skus: &[SkuCommit], journal_max: u64) {
    let chunks = skus.iter().flat_map(|changed| changed.entries.chunks(CHUNK_MAX));
    call.arg(chunks.clone().count());
    for entries in chunks {
        let last = entries.last().map_or(0, |entry| entry.version);
        let mut chunk = Vec::with_capacity(64 + 24 * entries.len());
        put_chunk(&mut chunk, entries);
        let keep = last.saturating_sub(journal_max).saturating_add(1);
        call.arg(format!("{keep}-0")).arg(format!("{last}-0")).arg(chunk);
    }
}

fn put_bought(call: &mut Cmd, bought: &Bought<'_>) {
    call.arg(bought.len());
    for purchases in bought.values() {
        call.arg(purchases.len());
        for (customer, units) in purchases {
            call.arg(*customer).arg(*units);
        }
    }
}

fn put_routes(call: &mut Cmd, routes: &[RouteChange]) {
    call.arg(routes.len());
    for change in routes {
        let stream = Stream::Hot(change.sku.clone());
        call.arg(change.sku.as_str()).arg(stream_name(&stream));
        call.arg(change.route.map(route_name).unwrap_or_default());
        call.arg(change.mark_in.as_ref().map(|_| new_nonce()).unwrap_or_default());
    }
    // Only with a mark do posts go elsewhere. No counter: what a failover has lost may have had the
    // number of what comes after it, and a process that knows those routes would post by them.
    let has_mark = routes.iter().any(|change| change.mark_in.is_some());
    let version = has_mark.then(|| u64::from_ne_bytes(crate::random::bytes()).to_string());
    call.arg(version.unwrap_or_default());
}

fn put_answers(call: &mut Cmd, answers: &[Answer]) -> Result<(), StoreError> {
    if answers.is_empty() {
        call.arg("");
    } else {
        call.arg(encode(&answers)?);
    }
    Ok(())
}
