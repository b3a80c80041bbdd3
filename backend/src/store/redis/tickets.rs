//! How tickets are kept: until when the command is good, its place, its SKU, one after the other. The
//! first two are hexadecimal digits, always as many.

use cartgate_ledger::UnixMs;
use cartgate_policy::Sku;

use crate::store::StoreError;
use crate::store::encoding::{malformed, parse_sku};
use crate::store::tenure::{EntryId, Place, Ticket};

pub(super) fn text(&Ticket { until, place }: &Ticket, sku: &Sku) -> String {
    let Place { entry: EntryId { ms, number }, index } = place;
    format!("{:016x}{ms:016x}{number:016x}{index:08x}{}", until.0, sku.as_str())
}

pub(super) fn parse(value: &[u8]) -> Result<(Ticket, Sku), StoreError> {
    let (until, rest) = hexadecimal(value, 16)?;
    let (ms, rest) = hexadecimal(rest, 16)?;
    let (number, rest) = hexadecimal(rest, 16)?;
    let (index, sku) = hexadecimal(rest, 8)?;
    let index = u32::try_from(index).map_err(|_| malformed("ticket"))?;
    let place = Place { entry: EntryId { ms, number }, index };
    Ok((Ticket { until: UnixMs(until), place }, parse_sku(sku)?))
}

/// The number that so many digits stand for, and what is behind them.
fn hexadecimal(value: &[u8], digits: usize) -> Result<(u64, &[u8]), StoreError> {
    let parsed = value.split_at_checked(digits).and_then(|(digits, rest)| {
        let digits = std::str::from_utf8(digits).ok()?;
        Some((u64::from_str_radix(digits, 16).ok()?, rest))
    });
    parsed.ok_or_else(|| malformed("ticket"))
}
