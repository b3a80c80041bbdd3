//! The default store: one process, one directory, a log-structured database (fjall).
//!
//! | keyspace   | key                      | value                                           |
//! |------------|--------------------------|-------------------------------------------------|
//! | `meta`     | name                     | `format`, `buckets`, `secret`                   |
//! | `stock`    | SKU                      | [`StockRow`]                                    |
//! | `journal`  | SKU, 0, version          | [`JournalEntry`]                                |
//! | `held`     | id                       | SKU, [`Reservation`] whose hold has not ended   |
//! | `ended`    | id                       | SKU, [`Reservation`] that can no longer change  |
//! | `ended_at` | [`EndedKind`], time, id  | nothing: the order is the content               |
//! | `ticketed` | id                       | [`Ticketed`]                                    |
//!
//! Reservations are apart by whether they can change, so that a start reads what is held and not
//! all that was sold. Numbers in keys are big-endian: keys sort as numbers do. Values are postcard;
//! its layout is that of [`FORMAT`], and a test keeps it. A commit is one write batch, synced to
//! disk before it returns (`fdatasync`): whatever was answered survives `kill -9` and a power cut.

use std::collections::HashMap;
use std::path::Path;

use cartgate_ledger::{
    CommandId, Counters, JournalEntry, Reservation, ReservationState, UnixMs, verify_next,
};
use cartgate_policy::Sku;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Commit, Ended, EndedKind, Loaded, StockRow, Store, StoreError, Ticketed};

/// The format written by this version.
const FORMAT: u16 = 1;

/// The most files of the database's that are kept open. `serve` sets files aside for these, and for
/// as many again: journals, and tables that are being made of others.
const CACHED_FILES_MAX: usize = 128;

/// A store in a directory of this machine. Only one process can have it open.
pub struct Embedded {
    database: Database,
    stock: Keyspace,
    journal: Keyspace,
    held: Keyspace,
    ended: Keyspace,
    ended_at: Keyspace,
    ticketed: Keyspace,
    buckets: u16,
    secret: [u8; 32],
}

impl Embedded {
    /// Opens the store in `directory`, or makes one there with `buckets` buckets.
    ///
    /// # Errors
    /// The directory cannot be used, another process has it open, or the store in it was made
    /// with another number of buckets or by another version.
    pub fn open(directory: &Path, buckets: u16) -> Result<Self, StoreError> {
        let failed = failed_to("be opened");
        let database = Database::builder(directory)
            .max_cached_files(Some(CACHED_FILES_MAX))
            .open()
            .map_err(&failed)?;
        let keyspace =
            |name| database.keyspace(name, KeyspaceCreateOptions::default).map_err(&failed);
        let meta = keyspace("meta")?;
        let mut store = Self {
            stock: keyspace("stock")?,
            journal: keyspace("journal")?,
            held: keyspace("held")?,
            ended: keyspace("ended")?,
            ended_at: keyspace("ended_at")?,
            ticketed: keyspace("ticketed")?,
            database,
            buckets,
            secret: [0; 32],
        };
        store.secret = store.check_meta(&meta)?;
        Ok(store)
    }

    /// Checks what was written when the store was made, or writes it. Returns the secret.
    fn check_meta(&self, meta: &Keyspace) -> Result<[u8; 32], StoreError> {
        let Some(format) = get::<u16>(meta, "format")? else {
            let is_new = self.stock.first_key_value().is_none();
            return if is_new { self.write_meta(meta) } else { Err(StoreError::NoStore) };
        };
        if format != FORMAT {
            return Err(StoreError::Format { stored: format, supported: FORMAT });
        }
        let stored: u16 = get(meta, "buckets")?.ok_or(StoreError::NoStore)?;
        if stored != self.buckets {
            return Err(StoreError::BucketsDiffer { stored, configured: self.buckets });
        }
        get(meta, "secret")?.ok_or(StoreError::NoStore)
    }

    fn write_meta(&self, meta: &Keyspace) -> Result<[u8; 32], StoreError> {
        let secret = crate::random::bytes();
        let mut batch = self.batch();
        put(&mut batch, meta, "format", &FORMAT)?;
        put(&mut batch, meta, "buckets", &self.buckets)?;
        put(&mut batch, meta, "secret", &secret)?;
        batch.commit().map_err(failed_to("be written"))?;
        Ok(secret)
    }

    fn batch(&self) -> OwnedWriteBatch {
        self.database.batch().durability(Some(PersistMode::SyncData))
    }

    /// Checks that a SKU's last journal entry ends where its stock stands.
    fn verify_journal(&self, sku: &Sku, row: &StockRow) -> Result<(), StoreError> {
        let last = self.journal(sku, row.version.saturating_sub(1), 2)?;
        let before = last.first().map_or(Counters::default(), |entry| entry.before);
        let mut state = (row.version.saturating_sub(1), before);
        for entry in &last {
            verify_next(state.0, state.1, entry)
                .map_err(|source| StoreError::Journal { sku: sku.clone(), source })?;
            state = (entry.version, entry.after);
        }
        if state != (row.version, row.counters) {
            let source = cartgate_ledger::JournalError::Jump { version: row.version + 1 };
            return Err(StoreError::Journal { sku: sku.clone(), source });
        }
        Ok(())
    }
}

impl Store for Embedded {
    fn buckets(&self) -> u16 {
        self.buckets
    }

    fn secret(&self) -> [u8; 32] {
        self.secret
    }

    fn load(&self) -> Result<Loaded, StoreError> {
        let mut loaded = Loaded::default();
        for item in self.stock.iter() {
            let (key, value) = item.into_inner().map_err(failed_to("be read"))?;
            let row = decode("stock", &value)?;
            let sku = sku_from_key(&key)?;
            self.verify_journal(&sku, &row)?;
            loaded.stocks.push((sku, row));
        }
        for item in self.held.iter() {
            let value = item.value().map_err(failed_to("be read"))?;
            loaded.holds.push(decode("reservation", &value)?);
        }
        for item in self.ticketed.iter() {
            let value = item.value().map_err(failed_to("be read"))?;
            loaded.ticketed.push(decode("ticketed command", &value)?);
        }
        loaded.ticketed.sort_by_key(|ticketed| ticketed.seq);
        loaded.refusals =
            self.ended(EndedKind::Refusal, UnixMs(0), UnixMs(u64::MAX), usize::MAX)?;
        verify_holds(&loaded)?;
        Ok(loaded)
    }

    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        let mut batch = self.batch();
        for changed in &commit.skus {
            put(&mut batch, &self.stock, changed.sku.as_str(), &changed.row)?;
            for entry in &changed.entries {
                put(&mut batch, &self.journal, journal_key(&changed.sku, entry.version), entry)?;
            }
        }
        for changed in &commit.reservations {
            let (_, Reservation { id, state, .. }) = changed;
            match state {
                ReservationState::Held { .. } => put(&mut batch, &self.held, id.0, changed)?,
                ReservationState::SoldOut { .. } => put(&mut batch, &self.ended, id.0, changed)?,
                ReservationState::Confirmed { .. }
                | ReservationState::Released { .. }
                | ReservationState::Expired { .. } => {
                    // In this order: a batch is written as a whole, but seen item by item.
                    put(&mut batch, &self.ended, id.0, changed)?;
                    batch.remove(&self.held, id.0);
                }
            }
        }
        for ticketed in &commit.ticketed {
            put(&mut batch, &self.ticketed, ticketed.reserve.id.0, ticketed)?;
        }
        for id in &commit.unticketed {
            batch.remove(&self.ticketed, id.0);
        }
        for ended in &commit.ended {
            batch.insert(&self.ended_at, ended_key(ended), []);
        }
        for ended in &commit.forgotten {
            batch.remove(&self.ended_at, ended_key(ended));
            batch.remove(&self.ended, ended.id.0);
        }
        batch.commit().map_err(failed_to("be written"))
    }

    fn stock(&self, sku: &Sku) -> Result<Option<StockRow>, StoreError> {
        get(&self.stock, sku.as_str())
    }

    fn reservation(&self, id: CommandId) -> Result<Option<(Sku, Reservation)>, StoreError> {
        // In this order: a reservation is in the second before it leaves the first.
        match get(&self.held, id.0)? {
            Some(held) => Ok(Some(held)),
            None => get(&self.ended, id.0),
        }
    }

    fn ticketed(&self, id: CommandId) -> Result<Option<Ticketed>, StoreError> {
        get(&self.ticketed, id.0)
    }

    fn journal(
        &self,
        sku: &Sku,
        after: u64,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        let Some(first) = after.checked_add(1) else { return Ok(Vec::new()) };
        let keys = journal_key(sku, first)..=journal_key(sku, u64::MAX);
        let decode_entry = |item: fjall::Guard| {
            decode("journal entry", &item.value().map_err(failed_to("be read"))?)
        };
        self.journal.range(keys).take(limit).map(decode_entry).collect()
    }

    fn ended(
        &self,
        kind: EndedKind,
        from: UnixMs,
        until: UnixMs,
        limit: usize,
    ) -> Result<Vec<Ended>, StoreError> {
        if from > until {
            return Ok(Vec::new());
        }
        let [first, last] = [(from, [0; 16]), (until, [0xff; 16])]
            .map(|(at, id)| ended_key(&Ended { kind, at, id: CommandId(id) }));
        let parse = |item: fjall::Guard| {
            let key = item.key().map_err(failed_to("be read"))?;
            ended_from_key(kind, &key)
        };
        self.ended_at.range(first..=last).take(limit).map(parse).collect()
    }
}

/// Checks that each SKU's counter says what its holds have, and that every hold has its SKU.
fn verify_holds(loaded: &Loaded) -> Result<(), StoreError> {
    let mut held = HashMap::<&Sku, u64>::new();
    for (sku, hold) in &loaded.holds {
        *held.entry(sku).or_default() += u64::from(hold.quantity);
    }
    let differs = |sku: &Sku, counted, held| StoreError::Holds { sku: sku.clone(), counted, held };
    for (sku, row) in &loaded.stocks {
        let (held, counted) = (held.remove(sku).unwrap_or_default(), row.counters.held);
        if counted != held {
            return Err(differs(sku, counted, held));
        }
    }
    match held.into_iter().next() {
        Some((sku, held)) => Err(differs(sku, 0, held)),
        None => Ok(()),
    }
}

fn failed_to(action: &'static str) -> impl Fn(fjall::Error) -> StoreError {
    move |source| StoreError::Database { action, source: Box::new(source) }
}

fn get<T: DeserializeOwned>(
    keyspace: &Keyspace,
    key: impl AsRef<[u8]>,
) -> Result<Option<T>, StoreError> {
    let value = keyspace.get(key).map_err(failed_to("be read"))?;
    value.map(|value| decode("value", &value)).transpose()
}

fn put(
    batch: &mut OwnedWriteBatch,
    keyspace: &Keyspace,
    key: impl AsRef<[u8]>,
    value: &impl Serialize,
) -> Result<(), StoreError> {
    let value = postcard::to_stdvec(value).map_err(|source| StoreError::Encoding {
        what: "value",
        action: "written",
        source,
    })?;
    batch.insert(keyspace, key.as_ref(), value);
    Ok(())
}

fn decode<T: DeserializeOwned>(what: &'static str, value: &[u8]) -> Result<T, StoreError> {
    postcard::from_bytes(value).map_err(|source| unreadable(what, source))
}

fn sku_from_key(key: &[u8]) -> Result<Sku, StoreError> {
    let sku = std::str::from_utf8(key).ok().and_then(|text| Sku::parse(text).ok());
    sku.ok_or_else(|| unreadable("SKU", postcard::Error::DeserializeBadUtf8))
}

fn unreadable(what: &'static str, source: postcard::Error) -> StoreError {
    StoreError::Encoding { what, action: "read", source }
}

/// No SKU contains a 0 byte, so that no SKU's entries lie among another's.
fn journal_key(sku: &Sku, version: u64) -> Vec<u8> {
    [sku.as_str().as_bytes(), &[0], &version.to_be_bytes()].concat()
}

fn ended_key(ended: &Ended) -> Vec<u8> {
    [&[ended.kind as u8][..], &ended.at.0.to_be_bytes(), &ended.id.0].concat()
}

fn ended_from_key(kind: EndedKind, key: &[u8]) -> Result<Ended, StoreError> {
    let at = key.get(1..9).and_then(|at| at.try_into().ok()).map(u64::from_be_bytes);
    let id = key.get(9..).and_then(|id| id.try_into().ok()).map(CommandId);
    match (at, id) {
        (Some(at), Some(id)) => Ok(Ended { kind, at: UnixMs(at), id }),
        _ => Err(unreadable("time of an end", postcard::Error::DeserializeUnexpectedEnd)),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use cartgate_ledger::{Cause, Fingerprint, Reserve};

    use super::*;

    fn check(value: &impl Serialize, expected: &str) {
        let bytes = postcard::to_stdvec(value).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
    }

    /// A change of these bytes is another [`FORMAT`]: stores that exist would be misread.
    #[test]
    fn the_format_is_what_it_was() {
        let (before, after) = (
            Counters { available: 3, held: 0, confirmed: 1 },
            Counters { held: 2, ..<_>::default() },
        );
        check(&StockRow { counters: after, version: 300, now: UnixMs(5) }, "000200ac0205");
        let entry = |cause| JournalEntry {
            version: 7,
            at: UnixMs(8),
            cause,
            id: Some(CommandId([9; 16])),
            quantity: 2,
            before,
            after,
        };
        let causes = [Cause::Set, Cause::Reserve, Cause::Confirm, Cause::Release, Cause::Expire];
        check(&causes, "0001020304");
        check(&entry(Cause::Expire), "070804010909090909090909090909090909090902030001000200");
        let expires_at = UnixMs(6);
        let states = [
            ReservationState::Held { expires_at },
            ReservationState::Confirmed { expires_at },
            ReservationState::Released { expires_at },
            ReservationState::Expired { expires_at },
            ReservationState::SoldOut { available: 4 },
        ];
        check(&states, "00060106020603060404");
        let (id, fingerprint) = (CommandId([1; 16]), Fingerprint([2; 16]));
        let sku = Sku::parse("A").unwrap();
        let reservation = Reservation {
            id,
            fingerprint,
            customer: Some("c".into()),
            quantity: 3,
            decided_at: UnixMs(4),
            state: states[0],
        };
        check(
            &(&sku, reservation),
            "0141010101010101010101010101010101010202020202020202020202020202020201016303040006",
        );
        let reserve = Reserve {
            id,
            fingerprint,
            repeatable: true,
            customer: None,
            quantity: NonZeroU32::MIN,
            hold_ms: 5,
            claim_by: UnixMs(6),
        };
        let (request_id, enqueued_at) = ("r".into(), UnixMs(8));
        check(
            &Ticketed { seq: 7, sku, reserve, request_id, enqueued_at },
            "07014101010101010101010101010101010101020202020202020202020202020202020100010506017208",
        );
        let ended = Ended { kind: EndedKind::Hold, at: UnixMs(0x0102), id };
        assert_eq!(ended_key(&ended)[..9], [1, 0, 0, 0, 0, 0, 0, 1, 2]);
    }

    #[test]
    fn another_format_and_a_store_without_its_beginning_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let meta = |store: &Embedded| {
            store.database.keyspace("meta", KeyspaceCreateOptions::default).unwrap()
        };
        let open = || Embedded::open(directory.path(), 4);
        let store = open().unwrap();
        let row = StockRow { counters: Counters::default(), version: 1, now: UnixMs(1) };
        store.stock.insert("A", postcard::to_stdvec(&row).unwrap()).unwrap();
        meta(&store).insert("format", [FORMAT as u8 + 1]).unwrap();
        drop(store);
        let refused = open().err().unwrap();
        assert!(matches!(refused, StoreError::Format { supported: FORMAT, .. }), "{refused}");
        // The database itself opens, to take the beginning away.
        let database = Database::builder(directory.path()).open().unwrap();
        let meta = database.keyspace("meta", KeyspaceCreateOptions::default).unwrap();
        meta.remove("format").unwrap();
        drop((meta, database));
        let refused = open().err().unwrap();
        assert!(matches!(refused, StoreError::NoStore), "{refused}");
    }
}
