//! The objects of a pack that has no footer yet, in memory.

use std::hash::{BuildHasher, RandomState};

use shard_crypto::Digest;

use super::entry::{FooterEntry, Location};

/// An append-only map from id to [`Location`], some 52 bytes an object: entries in the order they were added, and a hash
/// table of their numbers. Hashing is seeded, as strangers choose what is stored.
#[derive(Debug, Default)]
pub struct EntryTable {
    entries: Vec<FooterEntry>,
    /// Numbers of entries plus one, 0 where free; a power of two long, at most half full.
    slots: Vec<u32>,
    seed: RandomState,
}

impl EntryTable {
    /// Returns the number of objects.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Finds an object.
    pub fn get(&self, id: &Digest) -> Option<Location> {
        let at = self.probe(id)?;
        (self.slots[at] != 0).then(|| self.entries[self.slots[at] as usize - 1].location)
    }

    /// Returns the objects in the order they were added.
    pub fn entries(&self) -> &[FooterEntry] {
        &self.entries
    }

    /// Adds an object, unless one of its id is there already: the first copy counts.
    pub(super) fn insert(&mut self, entry: FooterEntry) {
        if self.slots.len() < (self.entries.len() + 1) * 2 {
            self.rebuild((self.slots.len() * 2).max(64));
        }
        let at = self.probe(&entry.id).expect("the table is never empty after growing, and at most half full");
        if self.slots[at] == 0 {
            self.entries.push(entry);
            self.slots[at] = self.entries.len() as u32;
        }
    }

    /// Forgets objects whose frames begin at `offset` or later.
    pub(super) fn truncate(&mut self, offset: u64) {
        let before = self.entries.len();
        self.entries.retain(|entry| u64::from(entry.location.offset) < offset);
        if self.entries.len() < before {
            self.rebuild(self.slots.len());
        }
    }

    /// Returns the objects sorted by id.
    pub(super) fn into_sorted(self) -> Vec<FooterEntry> {
        let Self { mut entries, slots, .. } = self;
        drop(slots);
        entries.sort_unstable_by_key(|entry| entry.id);
        entries
    }

    /// Returns the place of `id` in `slots`, or the free place where it would go.
    fn probe(&self, id: &Digest) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = self.seed.hash_one(id.0) as usize & mask;
        while self.slots[at] != 0 && self.entries[self.slots[at] as usize - 1].id != *id {
            at = (at + 1) & mask;
        }
        Some(at)
    }

    fn rebuild(&mut self, slots: usize) {
        self.slots.clear();
        self.slots.resize(slots, 0);
        for number in 0..self.entries.len() {
            let at = self.probe(&self.entries[number].id).expect("the table is not empty");
            self.slots[at] = number as u32 + 1;
        }
    }
}
