//! The sorted table at the end of a sealed pack, and the trailer that points at it.

use blake3::Hasher;
use shard_crypto::Digest;

use super::entry::{ENTRY_LENGTH, FooterEntry};
use super::frame::MIN_FRAME;
use super::header::{MAX_PACK, PACK_HEADER_LENGTH};
use super::little_endian::{array_at, u32_at, u64_at};
use super::{PackError, PackHeader, Result};
use crate::vfs::File;

/// Most objects in a pack: the writer's table and a footer's check then stay below 16 MiB however small objects are.
pub const MAX_PACK_ENTRIES: usize = 262_144;

/// Largest footer kept in memory after its first use, in bytes; larger ones are read piece by piece.
pub const FOOTER_CACHE_LIMIT: u64 = 1 << 20;

/// Length of the trailer, the last bytes of a sealed pack.
pub(super) const TRAILER_LENGTH: usize = 64;

/// Magic, version, count and fanout: what comes before the entries.
pub(super) const HEAD_LENGTH: usize = 12 + 256 * 4;

/// How a footer begins. A scan that meets it has met the end of the frames.
pub(super) const MAGIC: [u8; 8] = *b"SFTR\x01\0\0\0";

const TRAILER_MAGIC: &[u8; 8] = b"SHRDPEND";

/// Entries read or written at once: 64 KiB.
pub(super) const ENTRIES_PER_PIECE: usize = 65_536 / ENTRY_LENGTH;

const PACK_ID_CONTEXT: &str = "shard v1 pack";

/// The last 64 bytes of a sealed pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trailer {
    /// Where the footer begins, which is where the frames end.
    pub(super) footer_offset: u64,
    /// Objects in the footer.
    pub(super) count: u32,
    /// Frames that hold them.
    pub(super) frames: u32,
    /// What the pack is named by outside this repository.
    pub(super) pack_id: Digest,
}

impl Trailer {
    pub(super) fn footer_length(&self) -> u64 {
        HEAD_LENGTH as u64 + u64::from(self.count) * ENTRY_LENGTH as u64
    }

    /// Returns where entry number `n` lies in the file.
    pub(super) fn entry_offset(&self, n: u64) -> u64 {
        self.footer_offset + HEAD_LENGTH as u64 + n * ENTRY_LENGTH as u64
    }

    pub(super) fn encode(&self) -> [u8; TRAILER_LENGTH] {
        let mut bytes = [0; TRAILER_LENGTH];
        bytes[0..8].copy_from_slice(&self.footer_offset.to_le_bytes());
        bytes[8..12].copy_from_slice(&(self.footer_length() as u32).to_le_bytes());
        bytes[12..16].copy_from_slice(&self.count.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.frames.to_le_bytes());
        bytes[24..56].copy_from_slice(&self.pack_id.0);
        bytes[56..64].copy_from_slice(TRAILER_MAGIC);
        bytes
    }

    /// Reads the trailer of a pack of `size` bytes and holds all it says against that size.
    pub(super) fn read(file: &File, size: u64) -> Result<Self> {
        let smallest = (PACK_HEADER_LENGTH + HEAD_LENGTH + TRAILER_LENGTH) as u64;
        if size < smallest {
            return Err(PackError::Truncated { path: file.path().into(), length: size });
        }
        let mut bytes = [0; TRAILER_LENGTH];
        file.read_exact_at(&mut bytes, size - TRAILER_LENGTH as u64)?;
        let bad = |what| Err(PackError::BadFooter { path: file.path().into(), what });
        if &bytes[56..64] != TRAILER_MAGIC {
            return bad("the trailer is absent");
        }
        let trailer = Self {
            footer_offset: u64_at(&bytes, 0),
            count: u32_at(&bytes, 12),
            frames: u32_at(&bytes, 16),
            pack_id: Digest(array_at(&bytes, 24)),
        };
        if trailer.count as usize > MAX_PACK_ENTRIES {
            return bad("it lists more objects than a pack may hold");
        }
        if !(PACK_HEADER_LENGTH as u64..=MAX_PACK).contains(&trailer.footer_offset) {
            return bad("it begins outside the pack");
        }
        if u64::from(u32_at(&bytes, 8)) != trailer.footer_length()
            || trailer.footer_offset + trailer.footer_length() + TRAILER_LENGTH as u64 != size
        {
            return bad("its length does not fit the file");
        }
        if u64::from(trailer.frames) * MIN_FRAME as u64 > trailer.footer_offset - PACK_HEADER_LENGTH as u64
            || trailer.frames > trailer.count
        {
            return bad("it counts more frames than fit");
        }
        if bytes[20..24] != [0; 4] {
            return bad("the trailer has fields this program does not know");
        }
        Ok(trailer)
    }
}

/// A footer that was read whole, once, and found to match its pack id.
#[derive(Debug)]
pub(super) struct Footer {
    fanout: Box<[u32; 256]>,
    /// The entries, unless there are too many to keep.
    entries: Option<Vec<u8>>,
}

impl Footer {
    /// Reads the footer in pieces of 64 KiB and verifies everything it says about itself, the pack id last. Keeps the
    /// entries of a footer of at most `cache_limit` bytes.
    pub(super) fn verify(file: &File, header: &PackHeader, trailer: &Trailer, cache_limit: u64) -> Result<Self> {
        let bad = |what| PackError::BadFooter { path: file.path().into(), what };
        let mut head = [0; HEAD_LENGTH];
        file.read_exact_at(&mut head, trailer.footer_offset)?;
        if head[..4] != MAGIC[..4] {
            return Err(bad("its magic is absent"));
        }
        if head[4..8] != MAGIC[4..8] {
            return Err(PackError::UnsupportedVersion { path: file.path().into(), found: head[4] });
        }
        if u32_at(&head, 8) != trailer.count {
            return Err(bad("its count is not the trailer's"));
        }
        let mut fanout = Box::new([0; 256]);
        for (place, bytes) in fanout.iter_mut().zip(head[12..].chunks_exact(4)) {
            *place = u32_at(bytes, 0);
        }
        if !fanout.is_sorted() || fanout[255] != trailer.count {
            return Err(bad("its fanout is not ascending"));
        }

        let mut hasher = pack_id_hasher(header);
        hasher.update(&head);
        let keep = trailer.footer_length() <= cache_limit;
        let mut kept = Vec::with_capacity(if keep { trailer.count as usize * ENTRY_LENGTH } else { 0 });
        let mut offsets = Vec::with_capacity(trailer.count as usize);
        let mut previous: Option<Digest> = None;
        let mut piece = Vec::new();
        for_each_piece(trailer, |first, count| {
            piece.resize(count * ENTRY_LENGTH, 0);
            file.read_exact_at(&mut piece, trailer.entry_offset(first))?;
            hasher.update(&piece);
            if keep {
                kept.extend_from_slice(&piece);
            }
            let (entries, _) = piece.as_chunks::<ENTRY_LENGTH>();
            for (entry, n) in entries.iter().zip(first..) {
                let FooterEntry { id, location } = FooterEntry::decode(entry);
                if previous.is_some_and(|previous| previous >= id) {
                    return Err(bad("its ids are not ascending"));
                }
                previous = Some(id);
                let bucket = bucket(&fanout, &id);
                if !(u64::from(bucket.0)..u64::from(bucket.1)).contains(&n) {
                    return Err(bad("its fanout does not match its ids"));
                }
                if !location.is_within(trailer.footer_offset) || entry[43] != 0 {
                    return Err(bad("an entry points outside the frames"));
                }
                offsets.push(location.offset);
            }
            Ok(())
        })?;
        offsets.sort_unstable();
        offsets.dedup();
        if offsets.len() != trailer.frames as usize {
            return Err(bad("its frames are not as many as the trailer says"));
        }
        if *hasher.finalize().as_bytes() != trailer.pack_id.0 {
            return Err(bad("it does not match the pack id"));
        }
        Ok(Self { fanout, entries: keep.then_some(kept) })
    }

    /// Returns the range of entry numbers among which `id` must lie.
    pub(super) fn bucket(&self, id: &Digest) -> (u64, u64) {
        let (low, high) = bucket(&self.fanout, id);
        (low.into(), high.into())
    }

    /// Returns the entries where they are kept in memory.
    pub(super) fn cached_entries(&self) -> Option<&[u8]> {
        self.entries.as_deref()
    }
}

fn bucket(fanout: &[u32; 256], id: &Digest) -> (u32, u32) {
    let first = usize::from(id.0[0]);
    (if first == 0 { 0 } else { fanout[first - 1] }, fanout[first])
}

fn pack_id_hasher(header: &PackHeader) -> Hasher {
    let mut hasher = Hasher::new_derive_key(PACK_ID_CONTEXT);
    hasher.update(&header.encode());
    hasher
}

fn for_each_piece(trailer: &Trailer, mut visit: impl FnMut(u64, usize) -> Result<()>) -> Result<()> {
    let mut first = 0;
    while first < trailer.count as usize {
        let count = (trailer.count as usize - first).min(ENTRIES_PER_PIECE);
        visit(first as u64, count)?;
        first += count;
    }
    Ok(())
}

/// Writes footer and trailer at `footer_offset`, in pieces of 64 KiB and unsynced. `entries` are sorted by id, without
/// duplicates; `header` is the pack's as it will stand. Returns the trailer written.
pub(super) fn write(file: &File, header: &PackHeader, footer_offset: u64, entries: &[FooterEntry]) -> Result<Trailer> {
    let mut offsets: Vec<u32> = entries.iter().map(|entry| entry.location.offset).collect();
    offsets.sort_unstable();
    offsets.dedup();
    let mut trailer =
        Trailer { footer_offset, count: entries.len() as u32, frames: offsets.len() as u32, pack_id: Digest([0; 32]) };
    drop(offsets);

    let mut hasher = pack_id_hasher(header);
    let mut at = footer_offset;
    let mut put = |bytes: &[u8]| -> Result<()> {
        hasher.update(bytes);
        file.write_all_at(bytes, at)?;
        at += bytes.len() as u64;
        Ok(())
    };
    let mut piece = Vec::with_capacity(HEAD_LENGTH + ENTRIES_PER_PIECE.min(entries.len()) * ENTRY_LENGTH);
    piece.extend_from_slice(&MAGIC);
    piece.extend_from_slice(&trailer.count.to_le_bytes());
    for first in 0..=255u8 {
        let end = entries.partition_point(|entry| entry.id.0[0] <= first);
        piece.extend_from_slice(&(end as u32).to_le_bytes());
    }
    for entries in entries.chunks(ENTRIES_PER_PIECE) {
        entries.iter().for_each(|entry| piece.extend_from_slice(&entry.encode()));
        put(&piece)?;
        piece.clear();
    }
    put(&piece)?;
    trailer.pack_id = Digest(*hasher.finalize().as_bytes());
    file.write_all_at(&trailer.encode(), at)?;
    Ok(trailer)
}
