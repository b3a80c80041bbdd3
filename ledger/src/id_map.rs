//! Maps by command id.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::CommandId;

/// A map by command id. Ids are random, or made under a secret: they need no hashing again.
pub type IdMap<V> = HashMap<CommandId, V, BuildHasherDefault<IdHasher>>;

/// Makes an id's hash of its last eight bytes. The first ones tell its bucket.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk() {
            // A multiplication spreads what ids may have in common: nothing, but for tests.
            let product = u128::from(u64::from_ne_bytes(*last)) * 0x9e37_79b9_7f4a_7c15;
            self.0 = (product as u64) ^ ((product >> 64) as u64);
        }
    }

    /// The length of an array comes before its bytes: ids are all of one length.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_the_last_eight_counts() {
        use std::hash::BuildHasher as _;
        let hash = |id: [u8; 16]| BuildHasherDefault::<IdHasher>::default().hash_one(CommandId(id));
        let changed = |at: usize| {
            let mut id = [7; 16];
            id[at] = 8;
            hash(id) != hash([7; 16])
        };
        assert!((8..16).all(changed));
    }
}
