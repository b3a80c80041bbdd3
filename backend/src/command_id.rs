//! Ids of commands: what makes two requests the same wish.

use cartgate_ledger::{CommandId, Fingerprint};
use cartgate_policy::{Quantity, Sku};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::digest::Update;
use sha2::{Digest as _, Sha256};

use crate::lanes::Buckets;
use crate::random;

/// Makes ids of commands. Those with a key are derived under the store's secret (HMAC, RFC 2104),
/// since whoever knows an id can settle its hold.
pub(crate) struct CommandIds {
    buckets: Buckets,
    mac: Hmac<Sha256>,
}

impl CommandIds {
    /// Ids for a store with these buckets and this secret.
    pub(crate) fn new(buckets: Buckets, secret: [u8; 32]) -> Self {
        // Unwrap safety: HMAC takes keys of any length.
        #[expect(clippy::unwrap_used, reason = "see above")]
        let mac = Hmac::new_from_slice(&secret).unwrap();
        Self { buckets, mac }
    }

    /// The id of a command that nobody will repeat.
    pub(crate) fn fresh(&self, sku: &Sku) -> CommandId {
        self.buckets.id(sku, random::bytes())
    }

    /// The id that `key` gives a reservation, from this customer for this SKU: always the same.
    pub(crate) fn reservation(&self, sku: &Sku, customer: Option<&str>, key: &str) -> CommandId {
        self.keyed(sku, &[sku.as_str(), customer.unwrap_or_default(), key])
    }

    /// The id that `key` gives a cart's line, from this customer for this SKU.
    pub(crate) fn cart_line(&self, sku: &Sku, customer: Option<&str>, key: &str) -> CommandId {
        self.keyed(sku, &["cart", sku.as_str(), customer.unwrap_or_default(), key])
    }

    /// The id that `key` gives an adjustment of this SKU.
    pub(crate) fn adjustment(&self, sku: &Sku, key: &str) -> CommandId {
        self.keyed(sku, &["adjustment", sku.as_str(), "", key])
    }

    /// No two kinds of command share an id: carts' lines and adjustments begin with different words,
    /// and reservations have one part less.
    fn keyed(&self, sku: &Sku, parts: &[&str]) -> CommandId {
        let mut mac = self.mac.clone();
        parts.iter().for_each(|part| feed(&mut mac, part.as_bytes()));
        self.buckets.id(sku, first(&mac.finalize().into_bytes()))
    }
}

/// The digest of what a reservation asks for.
pub(crate) fn reservation_fingerprint(
    sku: &Sku,
    quantity: Quantity,
    customer: Option<&str>,
) -> Fingerprint {
    let mut digest = Sha256::new();
    feed_line(&mut digest, sku, quantity);
    feed(&mut digest, customer.unwrap_or_default().as_bytes());
    Fingerprint(first(&digest.finalize()))
}

/// The digest of what a cart asks for. Each of its lines has it: a cart that shares a line and its
/// key with another one, and is not the same, is found out.
pub(crate) fn cart_fingerprint<'a>(
    customer: Option<&str>,
    lines: impl Iterator<Item = (&'a Sku, Quantity)>,
) -> Fingerprint {
    let mut digest = Sha256::new();
    feed(&mut digest, customer.unwrap_or_default().as_bytes());
    lines.for_each(|(sku, quantity)| feed_line(&mut digest, sku, quantity));
    Fingerprint(first(&digest.finalize()))
}

/// The digest of what an adjustment asks for.
pub(crate) fn adjustment_fingerprint(sku: &Sku, by: i64) -> Fingerprint {
    let mut digest = Sha256::new();
    feed(&mut digest, sku.as_str().as_bytes());
    feed(&mut digest, &by.to_be_bytes());
    Fingerprint(first(&digest.finalize()))
}

fn feed_line(digest: &mut impl Update, sku: &Sku, quantity: Quantity) {
    feed(digest, sku.as_str().as_bytes());
    feed(digest, &quantity.get().to_be_bytes());
}

/// Feeds a part after its length, so that no other parts give the same bytes.
fn feed(digest: &mut impl Update, part: &[u8]) {
    digest.update(&part.len().to_be_bytes());
    digest.update(part);
}

fn first<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = *from);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sku(text: &str) -> Sku {
        Sku::parse(text).unwrap()
    }

    #[test]
    fn the_same_wish_has_the_same_id_and_no_other() {
        let ids = CommandIds::new(Buckets::new(64), [7; 32]);
        let id = ids.reservation(&sku("A"), Some("c"), "k");
        assert_eq!(id, ids.reservation(&sku("A"), Some("c"), "k"));
        let others = [
            ids.reservation(&sku("A"), Some("c"), "l"),
            ids.reservation(&sku("A"), Some("ck"), ""),
            ids.reservation(&sku("A"), None, "ck"),
            ids.reservation(&sku("A"), None, "k"),
            ids.reservation(&sku("B"), Some("c"), "k"),
            CommandIds::new(Buckets::new(64), [8; 32]).reservation(&sku("A"), Some("c"), "k"),
            ids.cart_line(&sku("A"), Some("c"), "k"),
            ids.cart_line(&sku("A"), None, "k"),
            ids.adjustment(&sku("A"), "k"),
            ids.fresh(&sku("A")),
            ids.fresh(&sku("A")),
        ];
        let mut all: Vec<_> = others.into_iter().chain([id]).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 12);
    }

    #[test]
    fn whatever_differs_shows_in_the_fingerprint() {
        let units = |units| Quantity::new(units).unwrap();
        let (a, b) = (sku("A"), sku("B"));
        let cart = |customer, lines: &[(&Sku, u64)]| {
            cart_fingerprint(customer, lines.iter().map(|(sku, count)| (*sku, units(*count))))
        };
        let all = [
            reservation_fingerprint(&a, units(1), None),
            reservation_fingerprint(&a, units(1), Some("c")),
            reservation_fingerprint(&a, units(2), None),
            reservation_fingerprint(&b, units(1), None),
            cart(None, &[(&a, 1)]),
            cart(Some("c"), &[(&a, 1)]),
            cart(None, &[(&a, 1), (&b, 1)]),
            cart(None, &[(&b, 1), (&a, 1)]),
            cart(None, &[(&a, 1), (&b, 2)]),
            adjustment_fingerprint(&a, 1),
            adjustment_fingerprint(&a, -1),
            adjustment_fingerprint(&b, 1),
        ];
        let distinct: std::collections::HashSet<_> = all.into_iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
