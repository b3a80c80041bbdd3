//! Keys of tables. Numbers in them are big-endian: keys sort as numbers do.

use cartgate_policy::Sku;

use crate::store::StoreError;
use crate::store::encoding::malformed;

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
