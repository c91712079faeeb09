//! Where an object lies, and the tables of 44-byte entries sorted by id that say so.

use shard_crypto::Digest;

use super::frame::{MAX_FRAME, MAX_FRAME_ENTRIES, MIN_FRAME};
use super::header::PACK_HEADER_LENGTH;
use super::little_endian::{array_at, u16_at, u32_at};

/// Bytes of one entry, in footers and runs alike; the id comes first.
pub(super) const ENTRY_LENGTH: usize = 44;

/// Entries read at once when looking something up: 11 KiB, several times a usual bucket.
const SEARCH_WINDOW: u64 = 256;

/// Where an object lies in its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// Where its frame begins.
    pub offset: u32,
    /// Bytes to read from there to have the whole frame: its exact length when a pack says so, up to 8 KiB more when
    /// a run does.
    pub reach: u32,
    /// Its place in the frame's table.
    pub slot: u16,
    /// What it is; core's numbers.
    pub kind: u8,
}

impl Location {
    /// Says whether a frame could lie there in a pack whose frames end at `end`. What lies there is another matter.
    pub(super) fn is_within(&self, end: u64) -> bool {
        self.offset as usize >= PACK_HEADER_LENGTH
            && (MIN_FRAME..=MAX_FRAME).contains(&(self.reach as usize))
            && u64::from(self.offset) + u64::from(self.reach) <= end
            && usize::from(self.slot) < MAX_FRAME_ENTRIES
    }
}

/// One object of a pack, as its footer lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FooterEntry {
    /// The object's id.
    pub id: Digest,
    /// Where it lies; `reach` is the frame's exact length.
    pub location: Location,
}

impl FooterEntry {
    pub(super) fn encode(&self) -> [u8; ENTRY_LENGTH] {
        let mut bytes = [0; ENTRY_LENGTH];
        bytes[..32].copy_from_slice(&self.id.0);
        bytes[32..36].copy_from_slice(&self.location.offset.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.location.reach.to_le_bytes());
        bytes[40..42].copy_from_slice(&self.location.slot.to_le_bytes());
        bytes[42] = self.location.kind;
        bytes
    }

    pub(super) fn decode(bytes: &[u8; ENTRY_LENGTH]) -> Self {
        Self {
            id: Digest(array_at(bytes, 0)),
            location: Location {
                offset: u32_at(bytes, 32),
                reach: u32_at(bytes, 36),
                slot: u16_at(bytes, 40),
                kind: bytes[42],
            },
        }
    }
}

/// Finds the entries of `id` among entries `low..high` of a sorted table and gives them to `accept` in turn, until it
/// answers `Some`.
///
/// `read(n, buffer)` fills `buffer` with the entries from number `n`. A usual bucket costs one call. On a table that is
/// not sorted the answer is arbitrary, but always an entry with that id.
pub(super) fn search<T, E>(
    mut low: u64,
    mut high: u64,
    id: &Digest,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    mut accept: impl FnMut(&[u8; ENTRY_LENGTH]) -> Option<T>,
) -> Result<Option<T>, E> {
    let end = high;
    let mut entry = [0; ENTRY_LENGTH];
    while high.saturating_sub(low) > SEARCH_WINDOW {
        let middle = low + (high - low) / 2;
        read(middle, &mut entry)?;
        if entry[..32] < id.0[..] { low = middle + 1 } else { high = middle }
    }
    let mut window = [0; SEARCH_WINDOW as usize * ENTRY_LENGTH];
    // Beyond `high` lie further entries of the same id, if any.
    while low < end {
        let count = (end - low).min(SEARCH_WINDOW) as usize;
        let window = &mut window[..count * ENTRY_LENGTH];
        read(low, window)?;
        let (entries, _) = window.as_chunks::<ENTRY_LENGTH>();
        let first = entries.partition_point(|entry| entry[..32] < id.0[..]);
        for entry in &entries[first..] {
            if entry[..32] != id.0[..] {
                return Ok(None);
            }
            if let Some(found) = accept(entry) {
                return Ok(Some(found));
            }
        }
        low += count as u64;
    }
    Ok(None)
}
