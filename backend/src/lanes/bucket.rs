//! The fixed home of each SKU, and ids that tell it.

use std::hash::Hasher as _;

use cartgate_ledger::CommandId;
use cartgate_policy::Sku;
use siphasher::sip::SipHasher13;

/// The buckets of a store.
#[derive(Clone, Copy, Debug)]
pub struct Buckets {
    count: u16,
}

impl Buckets {
    /// `count` buckets; at least one.
    pub fn new(count: u16) -> Self {
        Self { count: count.max(1) }
    }

    /// How many.
    pub fn count(self) -> u16 {
        self.count
    }

    /// All of them.
    pub fn all(self) -> impl Iterator<Item = u16> {
        0..self.count
    }

    /// The bucket of a SKU: the same in every process, for as long as the store lives.
    pub fn of_sku(self, sku: &Sku) -> u16 {
        // SipHash with the zero key: fixed for ever, and spread evenly. Whoever chooses SKUs so
        // that they meet in one bucket is the shop itself: only SKUs in stock get this far.
        let mut hasher = SipHasher13::new();
        hasher.write(sku.as_str().as_bytes());
        let bucket = hasher.finish() % u64::from(self.count);
        u16::try_from(bucket).unwrap_or_default()
    }

    /// The bucket that an id tells; `None`: no bucket of these.
    pub fn of_id(self, id: CommandId) -> Option<u16> {
        let bucket = u16::from_be_bytes([id.0[0], id.0[1]]);
        (bucket < self.count).then_some(bucket)
    }

    /// An id whose first two bytes are the SKU's bucket, so that whoever holds the id finds it.
    pub fn id(self, sku: &Sku, unique: [u8; 14]) -> CommandId {
        let [b0, b1] = self.of_sku(sku).to_be_bytes();
        let mut id = [0; 16];
        id[..2].copy_from_slice(&[b0, b1]);
        id[2..].copy_from_slice(&unique);
        CommandId(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moving a SKU to another bucket would lose its stock: these may never change.
    #[test]
    fn a_sku_stays_in_its_bucket() {
        let bucket = |sku| Buckets::new(64).of_sku(&Sku::parse(sku).unwrap());
        assert_eq!(["A", "LIMITED-SNEAKER", "TEE-WHITE-M"].map(bucket), [6, 12, 38]);
    }

    #[test]
    fn an_id_tells_its_bucket() {
        let buckets = Buckets::new(64);
        let sku = Sku::parse("LIMITED-SNEAKER").unwrap();
        let id = buckets.id(&sku, [0xab; 14]).to_string();
        assert_eq!(id, format!("{:04x}{}", buckets.of_sku(&sku), "ab".repeat(14)));
    }
}
