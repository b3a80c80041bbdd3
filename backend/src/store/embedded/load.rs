//! Reading everything back at a start, and checking that it agrees with itself.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

use cartgate_ledger::Counters;
use cartgate_policy::Sku;
use fjall::Keyspace;

use super::keys::{chunk_key, sku_prefix};
use super::rows::Rows;
use super::tables::{Tables, key_and_value};
use super::window::{Last, Window, Windows};
use crate::store::encoding::{decode, is_held, parse_id, parse_sku, reservation};
use crate::store::journal::{end_of, verify_end};
use crate::store::{Loaded, StoreError};

/// Every SKU's stock in the tables.
pub(super) fn rows(tables: &Tables) -> Result<Rows, StoreError> {
    let row = |item| {
        let (key, value) = key_and_value(item)?;
        Ok((parse_sku(&key)?, decode("stock", &value)?))
    };
    tables.stock.iter().map(row).collect()
}

/// All but the refusals, checked.
pub(super) fn load(tables: &Tables, windows: &Windows) -> Result<Loaded, StoreError> {
    let loaded = read(tables, windows)?;
    verify_journals(tables, windows)?;
    loaded.verify_holds()?;
    Ok(loaded)
}

/// All but the refusals, as it is.
pub(super) fn read(tables: &Tables, windows: &Windows) -> Result<Loaded, StoreError> {
    let stocks = windows.rows.iter().map(|(sku, row)| (sku.clone(), *row)).collect();
    let mut loaded = Loaded { stocks, ..Loaded::default() };
    let held = windows.rows.iter().map(|(_, row)| row.counters.held).sum::<u64>();
    // Holds of many units are fewer than this: then some room is left, for a moment.
    loaded.holds.reserve(usize::try_from(held).unwrap_or_default().min(HOLDS_EXPECTED_MAX));
    each_last(
        &tables.held,
        windows,
        |w| &w.reservations,
        parse_id,
        |id, value| {
            if is_held(value) {
                loaded.holds.push(reservation(id, value)?);
            }
            Ok(())
        },
    )?;
    each_last(
        &tables.ticketed,
        windows,
        |w| &w.ticketed,
        parse_id,
        |_, value| {
            loaded.ticketed.push(decode("ticketed command", value)?);
            Ok(())
        },
    )?;
    loaded.ticketed.sort_by_key(|ticketed| ticketed.seq);
    each_last(
        &tables.hot_items,
        windows,
        |w| &w.hot_items,
        parse_sku,
        |sku, value| {
            loaded.hot_items.push((sku, decode("hot item", value)?));
            Ok(())
        },
    )?;
    loaded.hot_items.sort_by(|one, other| one.0.cmp(&other.0));
    each_last(
        &tables.hot_item_histories,
        windows,
        |w| &w.hot_item_histories,
        parse_sku,
        |sku, value| {
            loaded.add_history(sku, &decode("history", value)?);
            Ok(())
        },
    )?;
    Ok(loaded)
}

/// Room is made for so many holds at once: some 160 MiB.
const HOLDS_EXPECTED_MAX: usize = 1 << 20;

/// Goes through a table as if the windows had been projected into it, in no order.
fn each_last<K: Clone + Eq + Hash, S: BuildHasher>(
    table: &Keyspace,
    windows: &Windows,
    of: impl Fn(&Window) -> &HashMap<K, Last, S>,
    parse: impl Fn(&[u8]) -> Result<K, StoreError>,
    mut each: impl FnMut(K, &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    for item in table.iter() {
        let (key, value) = key_and_value(item)?;
        let key = parse(&key)?;
        if windows.find(|window| of(window).get(&key).copied()).is_none() {
            each(key, &value)?;
        }
    }
    if let Some(sealed) = &windows.sealed {
        for (key, last) in of(sealed) {
            match sealed.last_value(*last) {
                Some(value) if !of(&windows.active).contains_key(key) => each(key.clone(), value)?,
                _ => {}
            }
        }
    }
    for (key, last) in of(&windows.active) {
        if let Some(value) = windows.active.last_value(*last) {
            each(key.clone(), value)?;
        }
    }
    Ok(())
}

/// Checks that each SKU's last journal entry ends where its stock stands.
fn verify_journals(tables: &Tables, windows: &Windows) -> Result<(), StoreError> {
    for (sku, row) in windows.rows.iter() {
        let (version, counters) = journal_end(tables, windows, sku)?;
        verify_end(sku, version, counters, row)?;
    }
    Ok(())
}

/// The last entry's version, and the counters after it.
fn journal_end(
    tables: &Tables,
    windows: &Windows,
    sku: &Sku,
) -> Result<(u64, Counters), StoreError> {
    let in_memory = windows.find(|window| {
        let chunk = window.skus.get(sku)?.chunks.last()?;
        Some(window.value(chunk.place))
    });
    if let Some(chunk) = in_memory {
        return end_of(chunk);
    }
    let keys = sku_prefix(sku)..=chunk_key(sku, u64::MAX);
    match tables.journal.range(keys).next_back() {
        Some(last) => end_of(&key_and_value(last)?.1),
        None => Ok(Default::default()),
    }
}
