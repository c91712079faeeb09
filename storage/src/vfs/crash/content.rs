//! What a file holds, what of it would survive, and what has happened in between.

use std::collections::HashSet;

use super::CrashMode;
use super::chance::Chance;

/// What a disk writes whole or not at all.
pub(super) const SECTOR: u64 = 512;

#[derive(Debug, Clone)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    Resize(u64),
}

/// A file's content as the running system sees it, as the disk is sure to hold it, and the changes that lead from the
/// second to the first.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    volatile: Vec<u8>,
    durable: Vec<u8>,
    changes: Vec<Change>,
}

impl Content {
    pub(super) fn durable(bytes: Vec<u8>) -> Self {
        Self { volatile: bytes.clone(), durable: bytes, changes: Vec::new() }
    }

    pub(super) fn size(&self) -> u64 {
        self.volatile.len() as u64
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let start = offset.min(self.size()) as usize;
        let length = buffer.len().min(self.volatile.len() - start);
        buffer[..length].copy_from_slice(&self.volatile[start..start + length]);
        length
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        put(&mut self.volatile, bytes, offset);
        self.changes.push(Change::Write { offset, bytes: bytes.to_vec() });
    }

    pub(super) fn resize(&mut self, length: u64) {
        if length != self.size() {
            self.volatile.resize(length as usize, 0);
            self.changes.push(Change::Resize(length));
        }
    }

    pub(super) fn sync(&mut self) {
        if !self.changes.is_empty() {
            self.durable.clone_from(&self.volatile);
            self.changes.clear();
        }
    }

    /// Returns what is on the disk after a crash.
    pub(super) fn after_crash(&self, mode: CrashMode, chance: &mut Chance) -> Vec<u8> {
        if self.changes.is_empty() {
            return self.durable.clone();
        }
        match mode {
            CrashMode::Kept | CrashMode::NamesLost => self.volatile.clone(),
            CrashMode::Lost => self.durable.clone(),
            CrashMode::DataLost => self.replay(self.changes.len(), |_| false),
            CrashMode::Torn if chance.eighths(4) => {
                // A tail is missing: the usual look of an append cut short.
                let mut left = chance.below(self.sectors_written() + 1);
                self.replay(self.changes.len(), |_| {
                    let kept = left > 0;
                    left = left.saturating_sub(1);
                    kept
                })
            }
            CrashMode::Torn => self.replay_by_chance(self.changes.len(), chance),
            CrashMode::Random => self.replay_by_chance(chance.below(self.changes.len() + 1), chance),
        }
    }

    fn replay_by_chance(&self, sized: usize, chance: &mut Chance) -> Vec<u8> {
        let density = chance.density();
        self.replay(sized, |_| chance.eighths(density))
    }

    fn sectors_written(&self) -> usize {
        let sectors = |change: &Change| match change {
            Change::Write { offset, bytes } => pieces(*offset, bytes).count(),
            Change::Resize(_) => 0,
        };
        self.changes.iter().map(sectors).sum()
    }

    /// Replays the changes upon what is durable: the first `sized` of them take effect on the length, and of each
    /// write those sectors of which `keep` says so. A sector that missed one write misses all later ones, for it is
    /// written out whole; so does what lies behind a cut that never reached the disk.
    fn replay(&self, sized: usize, mut keep: impl FnMut(u64) -> bool) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let mut size = self.durable.len();
        let mut missed: HashSet<u64> = HashSet::new();
        let mut missed_from = u64::MAX;
        for (index, change) in self.changes.iter().enumerate() {
            match change {
                Change::Resize(length) if index < sized => {
                    size = *length as usize;
                    bytes.truncate(size);
                    bytes.resize(size, 0);
                }
                Change::Resize(length) => missed_from = missed_from.min(length / SECTOR),
                Change::Write { offset, bytes: written } => {
                    for (at, piece) in pieces(*offset, written) {
                        let sector = at / SECTOR;
                        if sector < missed_from && !missed.contains(&sector) && keep(sector) {
                            put(&mut bytes, piece, at);
                        } else {
                            missed.insert(sector);
                        }
                    }
                    if index < sized {
                        size = size.max(*offset as usize + written.len());
                    }
                }
            }
        }
        bytes.resize(size, 0);
        bytes
    }
}

fn put(content: &mut Vec<u8>, bytes: &[u8], offset: u64) {
    let start = offset as usize;
    if content.len() < start + bytes.len() {
        content.resize(start + bytes.len(), 0);
    }
    content[start..start + bytes.len()].copy_from_slice(bytes);
}

/// Cuts a write at sector boundaries.
fn pieces(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut at = offset;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = rest.len().min((SECTOR - at % SECTOR) as usize);
        let (piece, behind) = rest.split_at(length);
        let here = at;
        at += length as u64;
        rest = behind;
        Some((here, piece))
    })
}
