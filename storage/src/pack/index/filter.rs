//! A blocked Bloom filter whose blocks follow the order of ids, so that it is written in one pass over sorted entries.
//!
//! Ids are hashes already: their first eight bytes choose the block, the next eight the bits. Whoever grinds ids to
//! crowd a block makes some lookups read the run in vain, nothing worse.

use shard_crypto::Digest;

/// Bytes of one block: a cache line, so that a lookup touches one.
pub(super) const BLOCK: usize = 64;

/// Bits spent on an object: with [`PROBES`] of them set, some 1 lookup in 180 of an absent id is answered "perhaps".
const BITS_PER_OBJECT: u64 = 12;

/// Bits set for an object.
const PROBES: u32 = 7;

/// Returns how many blocks a filter for `objects` has.
pub(super) fn block_count(objects: u64) -> u64 {
    (objects * BITS_PER_OBJECT).div_ceil(BLOCK as u64 * 8).max(1)
}

/// Returns which of `parts` equal parts of all ids `id` falls into; parts are in the order of ids.
pub(super) fn part_of(id: &Digest, parts: u64) -> u64 {
    let prefix = u64::from_be_bytes(id.0[..8].try_into().expect("eight of 32 bytes"));
    ((u128::from(prefix) * u128::from(parts)) >> 64) as u64
}

fn bits(id: &Digest) -> impl Iterator<Item = usize> + use<> {
    let word = u64::from_le_bytes(id.0[8..16].try_into().expect("eight of 32 bytes"));
    (0..PROBES).map(move |n| (word >> (9 * n) & 511) as usize)
}

/// Marks an object in its block.
pub(super) fn set(block: &mut [u8; BLOCK], id: &Digest) {
    bits(id).for_each(|bit| block[bit / 8] |= 1 << (bit % 8));
}

/// Says whether an object may have been marked in its block.
pub(super) fn may_contain(block: &[u8; BLOCK], id: &Digest) -> bool {
    bits(id).all(|bit| block[bit / 8] & 1 << (bit % 8) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> Digest {
        Digest(*blake3::hash(&n.to_le_bytes()).as_bytes())
    }

    #[test]
    fn a_filter_knows_its_objects_and_few_others() {
        let objects = 20_000;
        let blocks = block_count(objects);
        let mut filter = vec![[0; BLOCK]; blocks as usize];
        for n in 0..objects {
            set(&mut filter[part_of(&id(n), blocks) as usize], &id(n));
        }
        let asks = |n| may_contain(&filter[part_of(&id(n), blocks) as usize], &id(n));
        assert!((0..objects).all(asks), "an object that was marked is always found");
        let wrong = (objects..objects + 100_000).filter(|n| asks(*n)).count();
        assert!(wrong < 1000, "{wrong} of 100,000 absent ids passed; 1 % is the most that pays");
    }

    #[test]
    fn parts_follow_the_order_of_ids() {
        let mut ids: Vec<_> = (0..1000).map(id).collect();
        ids.sort_unstable();
        assert!(ids.is_sorted_by_key(|id| part_of(id, 37)));
        assert_eq!(part_of(&Digest([0xff; 32]), 37), 36);
        assert_eq!(part_of(&Digest([0; 32]), 37), 0);
    }
}
