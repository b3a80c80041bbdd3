//! Ids of reserve commands: what makes two requests the same wish.

use cartgate_ledger::{CommandId, Fingerprint};
use cartgate_policy::{Quantity, Sku};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::lanes::Buckets;
use crate::random;

/// Makes ids of reserve commands.
pub(crate) struct CommandIds {
    buckets: Buckets,
    secret: [u8; 32],
}

impl CommandIds {
    /// Ids for a store with these buckets and this secret.
    pub(crate) fn new(buckets: Buckets, secret: [u8; 32]) -> Self {
        Self { buckets, secret }
    }

    /// The id of a command that nobody will repeat.
    pub(crate) fn fresh(&self, sku: &Sku) -> CommandId {
        self.buckets.id(sku, random::bytes())
    }

    /// The id that `key` has, from this customer for this SKU: always the same. It is derived
    /// under the store's secret (HMAC, RFC 2104), since whoever knows an id can settle its hold.
    pub(crate) fn keyed(&self, sku: &Sku, customer: Option<&str>, key: &str) -> CommandId {
        let parts = [sku.as_str(), customer.unwrap_or_default(), key];
        // Unwrap safety: HMAC takes keys of any length.
        #[expect(clippy::unwrap_used, reason = "see above")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).unwrap();
        mac.update(&unambiguous(&parts));
        self.buckets.id(sku, first(&mac.finalize().into_bytes()))
    }
}

/// The digest of what a reserve command asks for.
pub(crate) fn fingerprint(sku: &Sku, quantity: Quantity, customer: Option<&str>) -> Fingerprint {
    let quantity = quantity.to_string();
    let parts = [sku.as_str(), &quantity, customer.unwrap_or_default()];
    Fingerprint(first(&Sha256::digest(unambiguous(&parts))))
}

/// Joins texts so that no other texts join to the same: each after its length.
fn unambiguous(parts: &[&str]) -> Vec<u8> {
    let length_and_text = |part: &&str| [&part.len().to_be_bytes()[..], part.as_bytes()].concat();
    parts.iter().flat_map(length_and_text).collect()
}

fn first<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = *from);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_wish_has_the_same_id_and_no_other() {
        let ids = CommandIds::new(Buckets::new(64), [7; 32]);
        let sku = |text| Sku::parse(text).unwrap();
        let id = ids.keyed(&sku("A"), Some("c"), "k");
        assert_eq!(id, ids.keyed(&sku("A"), Some("c"), "k"));
        let others = [
            ids.keyed(&sku("A"), Some("c"), "l"),
            ids.keyed(&sku("A"), Some("ck"), ""),
            ids.keyed(&sku("A"), None, "ck"),
            ids.keyed(&sku("B"), Some("c"), "k"),
            CommandIds::new(Buckets::new(64), [8; 32]).keyed(&sku("A"), Some("c"), "k"),
            ids.fresh(&sku("A")),
            ids.fresh(&sku("A")),
        ];
        let mut all: Vec<_> = others.into_iter().chain([id]).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 8);
    }
}
