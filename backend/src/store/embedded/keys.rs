//! Keys of tables. Numbers in them are big-endian: keys sort as numbers do.

use cartgate_ledger::{CommandId, UnixMs};
use cartgate_policy::Sku;
use postcard::Error as Malformed;

use super::encoding::unreadable;
use crate::store::{Ended, EndedKind, StoreError};

const ID: usize = 16;

/// When a decision ended, as a key: kind, time, id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EndedKey(pub(super) [u8; 1 + 8 + ID]);

impl From<&Ended> for EndedKey {
    fn from(ended: &Ended) -> Self {
        let mut key = [0; 1 + 8 + ID];
        key[0] = ended.kind as u8;
        key[1..9].copy_from_slice(&ended.at.0.to_be_bytes());
        key[9..].copy_from_slice(&ended.id.0);
        Self(key)
    }
}

impl EndedKey {
    pub(super) fn parse(key: &[u8]) -> Result<Self, StoreError> {
        key.try_into().map(Self).map_err(|_| malformed("time of an end"))
    }

    /// What it says, if it is of that kind.
    pub(super) fn ended(&self, kind: EndedKind) -> Ended {
        let mut at = [0; 8];
        at.copy_from_slice(&self.0[1..9]);
        Ended { kind, at: UnixMs(u64::from_be_bytes(at)), id: self.id() }
    }

    pub(super) fn id(&self) -> CommandId {
        let mut id = [0; ID];
        id.copy_from_slice(&self.0[9..]);
        CommandId(id)
    }

    pub(super) fn is_adjustment(&self) -> bool {
        self.0[0] == EndedKind::Adjustment as u8
    }
}

/// A SKU, and 0: no SKU contains one, so that no SKU's rows lie among another's.
pub(super) fn sku_prefix(sku: &Sku) -> Vec<u8> {
    [sku.as_str().as_bytes(), &[0]].concat()
}

/// A chunk of a SKU's journal is found by the version of its last entry.
pub(super) fn chunk_key(sku: &Sku, last_version: u64) -> Vec<u8> {
    [sku.as_str().as_bytes(), &[0], &last_version.to_be_bytes()].concat()
}

/// A purchase: SKU, 0, customer, 0, version.
pub(super) fn purchase_key(sku: &Sku, customer: &[u8], version: u64) -> Vec<u8> {
    [sku.as_str().as_bytes(), &[0], customer, &[0], &version.to_be_bytes()].concat()
}

/// The customer in the key of a purchase of `sku`: between what has a fixed length or is known, so
/// that any text can be a customer.
pub(super) fn customer_of<'k>(key: &'k [u8], sku: &Sku) -> Result<&'k str, StoreError> {
    let end = key.len().checked_sub(1 + size_of::<u64>());
    let customer = end.and_then(|end| key.get(sku.as_str().len() + 1..end));
    customer.and_then(|text| std::str::from_utf8(text).ok()).ok_or_else(|| malformed("purchase"))
}

pub(super) fn parse_id(key: &[u8]) -> Result<CommandId, StoreError> {
    key.try_into().map(CommandId).map_err(|_| malformed("id"))
}

pub(super) fn parse_sku(key: &[u8]) -> Result<Sku, StoreError> {
    let sku = std::str::from_utf8(key).ok().and_then(|text| Sku::parse(text).ok());
    sku.ok_or_else(|| malformed("SKU"))
}

fn malformed(what: &'static str) -> StoreError {
    unreadable(what)(Malformed::SerdeDeCustom)
}
