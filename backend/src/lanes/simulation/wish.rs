//! What customers ask for: the same each time for the same key.

use std::num::NonZeroU32;

use cartgate_ledger::{Adjust, CommandId, Fingerprint, Reserve, UnixMs};
use cartgate_policy::Sku;

use super::op::Key;
use crate::lanes::Buckets;

/// The names of the SKUs; everywhere else they are numbers.
pub(super) const SKUS: [&str; 3] = ["A", "B", "C"];

/// How long those who reserve wait, in milliseconds.
pub(super) const WAIT_MS: u64 = 200;

/// The longest that a hold may last, in milliseconds.
pub(super) const HOLD_MS_MAX: u64 = 1_000;

/// What a key stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) key: Key,
    pub(super) sku: usize,
    pub(super) customer: Option<&'static str>,
    pub(super) quantity: u32,
    pub(super) hold_ms: u64,
    /// A line of a cart.
    pub(super) is_tentative: bool,
    /// Whether it comes with a key. If not, nobody can repeat it: each time it is another.
    pub(super) is_repeatable: bool,
}

impl Wish {
    pub(super) fn of(key: Key) -> Self {
        let number = usize::from(key);
        Self {
            key,
            sku: number % SKUS.len(),
            customer: [None, Some("ann"), Some("bob"), Some("eve")][number / 3 % 4],
            quantity: [1, 1, 2, 1, 3][number % 5],
            hold_ms: 100 + 150 * u64::from(key % 4),
            is_tentative: key % 5 == 3,
            is_repeatable: key % 9 != 5,
        }
    }

    /// The id of its command, the `serial`th that is sent.
    pub(super) fn id(self, buckets: Buckets, serial: u32) -> CommandId {
        let serial = if self.is_repeatable { 0 } else { serial };
        id(buckets, self.sku, 0, self.key, serial)
    }

    /// Its command, sent at `now`; `is_other`: somebody asks for something else under the same key.
    pub(super) fn reserve(self, id: CommandId, is_other: bool, now: UnixMs) -> Reserve {
        let fingerprint = fingerprint(self.key, is_other);
        Reserve {
            id,
            fingerprint,
            repeatable: self.is_repeatable,
            customer: self.customer.map(Into::into),
            quantity: NonZeroU32::new(self.quantity_of(fingerprint)).unwrap(),
            hold_ms: self.hold_ms,
            claim_by: now.plus_ms(WAIT_MS),
            attempt: 1,
            is_tentative: self.is_tentative,
        }
    }

    /// The units that are asked for with a fingerprint.
    pub(super) fn quantity_of(self, other_or_not: Fingerprint) -> u32 {
        self.quantity + u32::from(other_or_not == fingerprint(self.key, true))
    }

    /// What the shop asks for under this key.
    pub(super) fn adjust(self, buckets: Buckets, serial: u32) -> Adjust {
        let serial = if self.is_repeatable { 0 } else { serial };
        Adjust {
            id: id(buckets, self.sku, 1, self.key, serial),
            fingerprint: fingerprint(self.key, false),
            repeatable: self.is_repeatable,
            by: i64::from(self.key % 9) - 4,
        }
    }
}

fn fingerprint(key: Key, is_other: bool) -> Fingerprint {
    let [high, low] = key.to_be_bytes();
    let mut bytes = [0; 16];
    bytes[..3].copy_from_slice(&[high, low, is_other.into()]);
    Fingerprint(bytes)
}

pub(super) fn sku(number: usize) -> Sku {
    Sku::parse(SKUS[number]).unwrap()
}

pub(super) fn number_of(sku: &Sku) -> usize {
    SKUS.iter().position(|name| *name == sku.as_str()).unwrap()
}

fn id(buckets: Buckets, sku_number: usize, kind: u8, key: Key, serial: u32) -> CommandId {
    let mut unique = [0; 14];
    unique[0] = kind;
    unique[6..10].copy_from_slice(&serial.to_be_bytes());
    unique[12..].copy_from_slice(&key.to_be_bytes());
    buckets.id(&sku(sku_number), unique)
}
