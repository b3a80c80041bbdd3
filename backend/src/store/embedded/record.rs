//! A commit as the log has it.
//!
//! The parts of a [`Commit`] in the order of its fields, each after the number of its items. What is
//! stored by id has the id, then the value after its length, just as it is stored in its table: so
//! projecting copies values and reads none.

use cartgate_ledger::CommandId;
use cartgate_policy::Sku;
use postcard::Error as Malformed;
use serde::Serialize;

use crate::store::encoding::{
    EndedKey, Reader, put_bytes, put_number, put_reservation, put_sku, put_value,
};
use crate::store::journal::{CHUNK_MAX, put_chunk};
use crate::store::{Commit, SkuCommit, StoreError};

/// Puts a commit. Its journal entries have to be verified.
pub(super) fn put(to: &mut Vec<u8>, commit: &Commit) -> Result<(), StoreError> {
    // Most commits have little but reservations: what they take, and their entries.
    to.reserve(128 * commit.reservations.len());
    let mut value = Vec::with_capacity(256);
    put_number(to, commit.skus.len() as u64);
    for changed in &commit.skus {
        put_sku_commit(to, changed, &mut value)?;
    }
    put_number(to, commit.reservations.len() as u64);
    for (sku, reservation) in &commit.reservations {
        to.extend_from_slice(&reservation.id.0);
        value.clear();
        put_reservation(&mut value, sku, reservation);
        put_bytes(to, &value);
    }
    put_number(to, commit.adjustments.len() as u64);
    for (_, adjustment) in &commit.adjustments {
        to.extend_from_slice(&adjustment.id.0);
        put_value(to, adjustment)?;
    }
    put_number(to, commit.purchases.len() as u64);
    for (sku, purchase) in &commit.purchases {
        put_sku(to, sku);
        put_bytes(to, purchase.customer.as_bytes());
        put_number(to, purchase.version);
        put_number(to, u64::from(purchase.units));
    }
    put_number(to, commit.ticketed.len() as u64);
    for ticketed in &commit.ticketed {
        to.extend_from_slice(&ticketed.reserve.id.0);
        put_value(to, ticketed)?;
    }
    put_number(to, commit.unticketed.len() as u64);
    commit.unticketed.iter().for_each(|id| to.extend_from_slice(&id.0));
    for ends in [&commit.superseded, &commit.ended, &commit.forgotten] {
        put_number(to, ends.len() as u64);
        ends.iter().for_each(|ended| to.extend_from_slice(&EndedKey::from(ended).0));
    }
    put_by_sku(to, &commit.hot_items)?;
    put_by_sku(to, &commit.hot_item_histories)
}

/// Puts what is stored by SKU; what is gone has no bytes.
fn put_by_sku<T: Serialize>(to: &mut Vec<u8>, all: &[(Sku, Option<T>)]) -> Result<(), StoreError> {
    put_number(to, all.len() as u64);
    for (sku, value) in all {
        put_sku(to, sku);
        match value {
            Some(value) => put_value(to, value)?,
            None => put_bytes(to, &[]),
        }
    }
    Ok(())
}

fn put_sku_commit(
    to: &mut Vec<u8>,
    changed: &SkuCommit,
    chunk: &mut Vec<u8>,
) -> Result<(), StoreError> {
    put_sku(to, &changed.sku);
    put_value(to, &changed.row)?;
    let chunks = changed.entries.chunks(CHUNK_MAX);
    put_number(to, chunks.len() as u64);
    for entries in chunks {
        chunk.clear();
        put_chunk(chunk, entries);
        put_bytes(to, chunk);
    }
    Ok(())
}

/// What a commit consists of, in order. Values are given by their place in what is read.
#[derive(Debug)]
pub(super) enum Part {
    Stock { sku: Sku, row: Place, chunks: Vec<Place> },
    Reservation { id: CommandId, value: Place },
    Adjustment { id: CommandId, value: Place },
    Purchase { sku: Sku, customer: Place, version: u64, units: u32 },
    Ticketed { id: CommandId, value: Place },
    Unticketed(CommandId),
    Superseded(EndedKey),
    Ended(EndedKey),
    Forgotten(EndedKey),
    HotItem { sku: Sku, value: Place },
    HotItemHistory { sku: Sku, value: Place },
}

/// Where a value is among the bytes of a window, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    at: u32,
    len: u32,
}

impl Place {
    pub(super) fn of(self, bytes: &[u8]) -> &[u8] {
        let at = self.at as usize;
        bytes.get(at..at + self.len as usize).unwrap_or_default()
    }
}

/// Reads back the commit that is at `content` in `bytes`, part by part.
pub(super) fn read(
    bytes: &[u8],
    content: std::ops::Range<usize>,
    mut each: impl FnMut(Part),
) -> Result<(), Malformed> {
    let content = bytes.get(..content.end).zip(Some(content.start));
    let (bytes, start) = content.ok_or(Malformed::DeserializeUnexpectedEnd)?;
    let end = bytes.len();
    let mut from = Reader::new(bytes.get(start..).unwrap_or_default());
    let place = |from: &mut Reader<'_>| {
        let len = from.bytes()?.len();
        let place =
            |number: usize| u32::try_from(number).map_err(|_| Malformed::DeserializeBadVarint);
        Ok::<_, Malformed>(Place { at: place(end - from.left() - len)?, len: place(len)? })
    };
    for _ in 0..from.number()? {
        let (sku, row) = (from.sku()?, place(&mut from)?);
        let chunks = (0..from.number()?).map(|_| place(&mut from)).collect::<Result<_, _>>()?;
        each(Part::Stock { sku, row, chunks });
    }
    for _ in 0..from.number()? {
        each(Part::Reservation { id: from.id()?, value: place(&mut from)? });
    }
    for _ in 0..from.number()? {
        each(Part::Adjustment { id: from.id()?, value: place(&mut from)? });
    }
    for _ in 0..from.number()? {
        let (sku, customer) = (from.sku()?, place(&mut from)?);
        each(Part::Purchase { sku, customer, version: from.number()?, units: from.number_u32()? });
    }
    for _ in 0..from.number()? {
        each(Part::Ticketed { id: from.id()?, value: place(&mut from)? });
    }
    for _ in 0..from.number()? {
        each(Part::Unticketed(from.id()?));
    }
    for part in [Part::Superseded, Part::Ended, Part::Forgotten] {
        for _ in 0..from.number()? {
            each(part(EndedKey(from.array()?)));
        }
    }
    for _ in 0..from.number()? {
        each(Part::HotItem { sku: from.sku()?, value: place(&mut from)? });
    }
    for _ in 0..from.number()? {
        each(Part::HotItemHistory { sku: from.sku()?, value: place(&mut from)? });
    }
    if from.left() == 0 { Ok(()) } else { Err(Malformed::DeserializeBadEncoding) }
}
