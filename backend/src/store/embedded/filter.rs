//! Which ids may have a decision in the tables: a Bloom filter.
//!
//! Every keyed command asks whether it came before, and almost none did. The answer "no" costs a
//! glance at memory here, where the tables would look through a filter for each of their files.
//!
//! Two bytes an id: of those that are not there it says, when it is full, of one or two in a thousand
//! that they may be. What is forgotten stays in it, so when it is full a new one is made of what is in
//! the tables, with room for as much again. So it has 2 MiB at least, and at most 4 MiB for each
//! million of ids that were there when it was made.

use std::sync::atomic::{AtomicUsize, Ordering};

use cartgate_ledger::CommandId;
use fastbloom::AtomicBloomFilter;

const BITS_PER_ID: usize = 16;

/// So many of them are an id's own. With more it would be mistaken a little less often, and take
/// longer each time.
const HASHES: u32 = 5;

/// The least room, in ids.
const ROOM_MIN: usize = 1 << 20;

/// A set of ids that may say yes to an id that is not in it, but never no to one that is.
pub(super) struct Filter {
    ids: AtomicBloomFilter,
    room: AtomicUsize,
}

impl Filter {
    /// A filter of these ids, with room for as many again.
    pub(super) fn of(ids: &[u64]) -> Self {
        let room = ids.len().max(ROOM_MIN);
        let bits = (ids.len() + room) * BITS_PER_ID;
        let filter = Self {
            ids: AtomicBloomFilter::with_num_bits(bits).hashes(HASHES),
            room: AtomicUsize::new(room),
        };
        filter.add(ids);
        filter
    }

    /// What a filter needs to know of an id. Ids are random, or made under a secret: no hash is
    /// needed. Their first bytes tell their bucket.
    pub(super) fn digest(id: CommandId) -> u64 {
        let [_, _, _, _, _, _, _, _, last @ ..] = id.0;
        u64::from_ne_bytes(last)
    }

    /// Takes up ids, if there is room for all of them. Only one thread at a time may call this.
    pub(super) fn insert(&self, ids: &[u64]) -> Result<(), Full> {
        let room = self.room.load(Ordering::Relaxed).checked_sub(ids.len()).ok_or(Full)?;
        self.room.store(room, Ordering::Relaxed);
        self.add(ids);
        Ok(())
    }

    /// Whether the id may be there.
    pub(super) fn may_have(&self, id: CommandId) -> bool {
        self.ids.contains_hash(Self::digest(id))
    }

    fn add(&self, ids: &[u64]) {
        for id in ids {
            self.ids.insert_hash(*id);
        }
    }
}

/// There is no room for as many ids.
#[derive(Debug)]
pub(super) struct Full;

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids as random as real ones: a multiplicative sequence spreads over all of them.
    fn id(number: u64) -> CommandId {
        let [one, other] = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03_u64]
            .map(|factor| (number + 1).wrapping_mul(factor).rotate_left(31).wrapping_mul(factor));
        CommandId((u128::from(one) << 64 | u128::from(other)).to_be_bytes())
    }

    #[test]
    fn it_forgets_none_and_takes_few_others_for_its_own() {
        let digests = |numbers: std::ops::Range<u64>| {
            numbers.map(|number| Filter::digest(id(number))).collect::<Vec<_>>()
        };
        let filter = Filter::of(&digests(0..100_000));
        let room = ROOM_MIN as u64;
        filter.insert(&digests(100_000..room)).unwrap();
        assert!((0..room).all(|number| filter.may_have(id(number))));
        filter.insert(&digests(room..room + 100_000)).unwrap();
        assert!(filter.insert(&[7]).is_err(), "there is room for as many as it says, no more");
        assert!((0..room + 100_000).all(|number| filter.may_have(id(number))));
        let others = 2 * room..2 * room + 100_000;
        let mistaken = others.filter(|number| filter.may_have(id(*number))).count();
        assert!(mistaken < 300, "{mistaken} of 100,000 with the filter full");
    }
}
