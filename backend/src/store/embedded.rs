//! The default store: one process, one directory, a log-structured database (fjall).
//!
//! | keyspace      | key                      | value                             |
//! |---------------|--------------------------|-----------------------------------|
//! | `meta`        | name                     | `format`, `buckets`, `secret`     |
//! | `stock`       | SKU                      | [`StockRow`]                      |
//! | `journal`     | SKU, 0, version          | [`JournalEntry`]                  |
//! | `reservation` | id                       | SKU, [`Reservation`]              |
//! | `ticketed`    | id                       | [`Ticketed`]                      |
//! | `ended`       | [`EndedKind`], time, id  | nothing: the order is the content |
//!
//! Numbers in keys are big-endian, so that keys sort as numbers do. Values are postcard. A commit
//! is one write batch, synced to disk before it returns (`fdatasync`): whatever was answered
//! survives `kill -9` and a power cut.

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

/// A store in a directory of this machine. Only one process can have it open.
pub struct Embedded {
    database: Database,
    stock: Keyspace,
    journal: Keyspace,
    reservation: Keyspace,
    ticketed: Keyspace,
    ended: Keyspace,
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
        let database = Database::builder(directory).open().map_err(&failed)?;
        let keyspace =
            |name| database.keyspace(name, KeyspaceCreateOptions::default).map_err(&failed);
        let meta = keyspace("meta")?;
        let mut store = Self {
            stock: keyspace("stock")?,
            journal: keyspace("journal")?,
            reservation: keyspace("reservation")?,
            ticketed: keyspace("ticketed")?,
            ended: keyspace("ended")?,
            database,
            buckets,
            secret: [0; 32],
        };
        store.secret = store.check_meta(&meta)?;
        Ok(store)
    }

    /// Checks what was written when the store was made, or writes it. Returns the secret.
    fn check_meta(&self, meta: &Keyspace) -> Result<[u8; 32], StoreError> {
        let (Some(format), Some(buckets), Some(secret)) =
            (get(meta, "format")?, get(meta, "buckets")?, get(meta, "secret")?)
        else {
            return self.write_meta(meta);
        };
        if format != FORMAT {
            return Err(StoreError::Format { stored: format, supported: FORMAT });
        }
        if buckets != self.buckets {
            let configured = self.buckets;
            return Err(StoreError::BucketsDiffer { stored: buckets, configured });
        }
        Ok(secret)
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
        for item in self.reservation.iter() {
            let value = item.value().map_err(failed_to("be read"))?;
            let (sku, reservation): (Sku, Reservation) = decode("reservation", &value)?;
            if matches!(reservation.state, ReservationState::Held { .. }) {
                loaded.holds.push((sku, reservation));
            }
        }
        for item in self.ticketed.iter() {
            let value = item.value().map_err(failed_to("be read"))?;
            loaded.ticketed.push(decode("ticketed command", &value)?);
        }
        loaded.ticketed.sort_by_key(|ticketed| ticketed.seq);
        loaded.refused = self.ended(EndedKind::Refused, UnixMs(0), usize::MAX)?;
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
            put(&mut batch, &self.reservation, changed.1.id.0, changed)?;
        }
        for ticketed in &commit.ticketed {
            put(&mut batch, &self.ticketed, ticketed.reserve.id.0, ticketed)?;
        }
        for id in &commit.unticketed {
            batch.remove(&self.ticketed, id.0);
        }
        for ended in &commit.ended {
            batch.insert(&self.ended, ended_key(ended), []);
        }
        for ended in &commit.forgotten {
            batch.remove(&self.ended, ended_key(ended));
            batch.remove(&self.reservation, ended.id.0);
        }
        batch.commit().map_err(failed_to("be written"))
    }

    fn stock(&self, sku: &Sku) -> Result<Option<StockRow>, StoreError> {
        get(&self.stock, sku.as_str())
    }

    fn reservation(&self, id: CommandId) -> Result<Option<(Sku, Reservation)>, StoreError> {
        get(&self.reservation, id.0)
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

    fn ended(&self, kind: EndedKind, from: UnixMs, limit: usize) -> Result<Vec<Ended>, StoreError> {
        let [first, last] = [(from, [0; 16]), (UnixMs(u64::MAX), [0xff; 16])]
            .map(|(at, id)| ended_key(&Ended { kind, at, id: CommandId(id) }));
        let parse = |item: fjall::Guard| {
            let key = item.key().map_err(failed_to("be read"))?;
            ended_from_key(kind, &key)
        };
        self.ended.range(first..=last).take(limit).map(parse).collect()
    }
}

fn verify_holds(loaded: &Loaded) -> Result<(), StoreError> {
    let mut held = std::collections::HashMap::<&Sku, u64>::new();
    for (sku, hold) in &loaded.holds {
        *held.entry(sku).or_default() += u64::from(hold.quantity);
    }
    for (sku, row) in &loaded.stocks {
        let held = held.get(sku).copied().unwrap_or_default();
        let counted = row.counters.held;
        if counted != held {
            return Err(StoreError::Holds { sku: sku.clone(), counted, held });
        }
    }
    Ok(())
}

fn failed_to(action: &'static str) -> impl Fn(fjall::Error) -> StoreError {
    move |source| StoreError::Database { action, source }
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
    let value = postcard::to_stdvec(value)
        .map_err(|source| StoreError::Undecodable { what: "value", source })?;
    batch.insert(keyspace, key.as_ref(), value);
    Ok(())
}

fn decode<T: DeserializeOwned>(what: &'static str, value: &[u8]) -> Result<T, StoreError> {
    postcard::from_bytes(value).map_err(|source| StoreError::Undecodable { what, source })
}

fn sku_from_key(key: &[u8]) -> Result<Sku, StoreError> {
    std::str::from_utf8(key)
        .ok()
        .and_then(|text| Sku::parse(text).ok())
        .ok_or(StoreError::Undecodable { what: "SKU", source: postcard::Error::DeserializeBadUtf8 })
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
        _ => Err(StoreError::Undecodable {
            what: "time of an end",
            source: postcard::Error::DeserializeUnexpectedEnd,
        }),
    }
}
