//! A frame: consecutive objects compressed as one, described by its own table.

use std::fmt;
use std::ops::Range;

use shard_crypto::Digest;
use xxhash_rust::xxh3::Xxh3;

use super::little_endian::{array_at, u16_at, u32_at, u64_at};

/// Length of a frame's header in bytes; the table follows.
pub const FRAME_HEADER_LENGTH: usize = 32;

/// Bytes of one object in a frame's table.
const ENTRY_LENGTH: usize = 37;

/// Most bytes a frame's objects may have together: one object of the largest size, which always stands alone.
pub const MAX_FRAME_RAW: u32 = 1 << 20;

/// Most objects in a frame, so that its table stays below 160 KiB and a slot fits in 16 bits.
pub const MAX_FRAME_ENTRIES: usize = 4096;

/// Largest frame: 1 MiB of payload, and room for a full table, the header and the padding of a sealed one.
pub const MAX_FRAME: usize = (1024 + 160) * 1024;

/// Smallest frame: one empty object, stored raw.
pub(super) const MIN_FRAME: usize = FRAME_HEADER_LENGTH + ENTRY_LENGTH;

/// How every frame begins: three bytes of magic and the version.
pub(super) const MAGIC: [u8; 4] = [0xF5, 0x53, 0x46, 0x01];

/// How a frame's payload is stored. This crate copies the byte and leaves compression to `shard-core`; it knows only
/// that raw payloads are as long as their objects.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Codec(pub u8);

impl Codec {
    /// As it is.
    pub const RAW: Self = Self(0);
    /// zstd (RFC 8878).
    pub const ZSTD: Self = Self(1);
    /// zlib (RFC 1950).
    pub const ZLIB: Self = Self(2);
    /// Differences to another object.
    pub const DELTA: Self = Self(3);
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("RAW"),
            1 => f.write_str("ZSTD"),
            2 => f.write_str("ZLIB"),
            3 => f.write_str("DELTA"),
            other => write!(f, "Codec({other})"),
        }
    }
}

/// One object in a frame's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameEntry {
    /// Its id, as claimed: whoever decodes the payload compares.
    pub id: Digest,
    /// What it is; core's numbers.
    pub kind: u8,
    /// Its length in bytes, uncompressed.
    pub length: u32,
}

/// The fixed part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// How the payload is stored.
    pub codec: Codec,
    /// Objects in the table, 1 to [`MAX_FRAME_ENTRIES`].
    pub count: u16,
    /// Sum of the objects' lengths in bytes, at most [`MAX_FRAME_RAW`].
    pub raw_length: u32,
    /// Length of the payload in bytes, at most [`MAX_FRAME_RAW`].
    pub stored_length: u32,
    /// XXH3-64 of all of the frame but this field.
    pub check: u64,
}

impl FrameHeader {
    /// Returns the length of the whole frame in bytes, at most [`MAX_FRAME`].
    pub fn frame_length(&self) -> usize {
        self.payload_start() + self.stored_length as usize
    }

    /// Returns where in the frame its table ends and its payload begins.
    pub(super) fn payload_start(&self) -> usize {
        FRAME_HEADER_LENGTH + usize::from(self.count) * ENTRY_LENGTH
    }

    /// Reads a frame's header, holding every length against its limit. The check is not verified: that needs the frame.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        if bytes.len() < FRAME_HEADER_LENGTH {
            return Err(FrameError::Truncated { needed: FRAME_HEADER_LENGTH, found: bytes.len() });
        }
        if bytes[..3] != MAGIC[..3] {
            return Err(FrameError::BadMagic);
        }
        if bytes[3] != MAGIC[3] {
            return Err(FrameError::UnsupportedVersion { found: bytes[3] });
        }
        let header = Self {
            codec: Codec(bytes[4]),
            count: u16_at(bytes, 6),
            raw_length: u32_at(bytes, 8),
            stored_length: u32_at(bytes, 12),
            check: u64_at(bytes, 24),
        };
        // Sealed frames (flags, key epoch) are another program's: without their key nothing in them can be read.
        if bytes[5] != 0 || bytes[16..24] != [0; 8] {
            return Err(FrameError::UnsupportedFlags { found: bytes[5] });
        }
        limit("objects", header.count.into(), MAX_FRAME_ENTRIES)?;
        limit("raw length", header.raw_length as usize, MAX_FRAME_RAW as usize)?;
        limit("stored length", header.stored_length as usize, MAX_FRAME_RAW as usize)?;
        if header.count == 0 {
            return Err(FrameError::Inconsistent { what: "it holds no object" });
        }
        if header.codec == Codec::RAW && header.raw_length != header.stored_length {
            return Err(FrameError::Inconsistent { what: "it is stored raw with another length" });
        }
        Ok(header)
    }
}

/// Takes a frame's table apart.
pub(super) fn table_entries(table: &[u8]) -> impl ExactSizeIterator<Item = FrameEntry> + use<'_> {
    table.chunks_exact(ENTRY_LENGTH).map(|entry| FrameEntry {
        id: Digest(array_at(entry, 0)),
        kind: entry[32],
        length: u32_at(entry, 33),
    })
}

fn limit(what: &'static str, found: usize, limit: usize) -> Result<(), FrameError> {
    if found > limit { Err(FrameError::TooLarge { what, found, limit }) } else { Ok(()) }
}

/// Why bytes are not a frame, or objects do not fit in one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes end before the frame does.
    #[error("frame needs {needed} bytes, {found} are here")]
    Truncated {
        /// Bytes the frame needs.
        needed: usize,
        /// Bytes there are.
        found: usize,
    },
    /// No frame begins here.
    #[error("no frame begins here")]
    BadMagic,
    /// A newer program wrote the frame.
    #[error("frame has format version {found}, newer than this program knows")]
    UnsupportedVersion {
        /// The version it names.
        found: u8,
    },
    /// The frame uses something this program does not know, such as sealing.
    #[error("frame has flags {found:#04x}, which this program does not know")]
    UnsupportedFlags {
        /// The flags it has.
        found: u8,
    },
    /// A length or count is above its limit. Nothing was allocated for it.
    #[error("frame declares {what} {found}, above the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// What was declared.
        found: usize,
        /// What is allowed.
        limit: usize,
    },
    /// Two parts of the frame contradict each other.
    #[error("frame contradicts itself: {what}")]
    Inconsistent {
        /// How.
        what: &'static str,
    },
    /// The frame is damaged.
    #[error("frame does not match its check")]
    BadCheck,
}

/// A frame inside a byte slice.
#[derive(Debug, Clone, Copy)]
pub struct FrameView<'a> {
    header: FrameHeader,
    bytes: &'a [u8],
}

impl<'a> FrameView<'a> {
    /// Takes the frame that `bytes` begin with apart, holding everything against its limit but not verifying the check.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let header = FrameHeader::parse(bytes)?;
        let length = header.frame_length();
        let bytes = bytes.get(..length).ok_or(FrameError::Truncated { needed: length, found: bytes.len() })?;
        let view = Self { header, bytes };
        // 4,096 lengths of 32 bits cannot overflow 64.
        let total: u64 = view.entries().map(|entry| u64::from(entry.length)).sum();
        if total != u64::from(header.raw_length) {
            return Err(FrameError::Inconsistent { what: "its objects' lengths do not add up" });
        }
        Ok(view)
    }

    /// Says whether the frame matches its check. Reads all of it.
    pub(super) fn is_intact(&self) -> bool {
        check_of(self.bytes) == self.header.check
    }

    /// Returns the fixed part.
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// Returns the whole frame, fit to be copied to another pack or sent.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the payload as it is stored.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.header.payload_start()..]
    }

    /// Returns the table, one entry per slot.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = FrameEntry> + use<'a> {
        table_entries(&self.bytes[FRAME_HEADER_LENGTH..self.header.payload_start()])
    }

    /// Returns the entry in a slot, or `None` where the table has no such slot. This is how an index is confirmed.
    pub fn entry(&self, slot: u16) -> Option<FrameEntry> {
        self.entries().nth(slot.into())
    }

    /// Returns where the object of a slot lies in the uncompressed payload. Takes time proportional to the slot.
    pub fn raw_range(&self, slot: u16) -> Option<Range<usize>> {
        let entry = self.entry(slot)?;
        let start = self.entries().take(slot.into()).map(|entry| entry.length as usize).sum();
        Some(start..start + entry.length as usize)
    }
}

/// A frame that owns its bytes, as read from a pack. Always intact.
#[derive(Debug, Clone)]
pub struct FrameBuffer {
    header: FrameHeader,
    bytes: Vec<u8>,
}

impl FrameBuffer {
    /// Verifies the frame that `bytes` begin with, and drops what follows it.
    pub(super) fn decode(mut bytes: Vec<u8>) -> Result<Self, FrameError> {
        let header = *decode_frame(&bytes)?.header();
        bytes.truncate(header.frame_length());
        Ok(Self { header, bytes })
    }

    /// Returns the frame's parts.
    pub fn view(&self) -> FrameView<'_> {
        FrameView { header: self.header, bytes: &self.bytes }
    }
}

/// Takes the frame that `bytes` begin with apart and verifies its check; what follows it is ignored.
///
/// Allocates nothing. Ids are only claimed by the table: whoever decodes the payload compares them.
///
/// # Errors
/// Every way in which bytes are not a frame; see [`FrameError`].
pub fn decode_frame(bytes: &[u8]) -> Result<FrameView<'_>, FrameError> {
    let view = FrameView::parse(bytes)?;
    if view.is_intact() { Ok(view) } else { Err(FrameError::BadCheck) }
}

/// Appends a frame to `out`: `payload` is the objects, in order, as `codec` stores them.
///
/// # Errors
/// `TooLarge` or `Inconsistent` where the frame could not be read back; `out` is unchanged then.
pub fn encode_frame(codec: Codec, entries: &[FrameEntry], payload: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
    limit("objects", entries.len(), MAX_FRAME_ENTRIES)?;
    limit("stored length", payload.len(), MAX_FRAME_RAW as usize)?;
    let raw_length: u64 = entries.iter().map(|entry| u64::from(entry.length)).sum();
    limit("raw length", usize::try_from(raw_length).unwrap_or(usize::MAX), MAX_FRAME_RAW as usize)?;

    let start = out.len();
    out.reserve(FRAME_HEADER_LENGTH + entries.len() * ENTRY_LENGTH + payload.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[codec.0, 0]);
    out.extend_from_slice(&(entries.len() as u16).to_le_bytes());
    out.extend_from_slice(&(raw_length as u32).to_le_bytes());
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 16]);
    for entry in entries {
        out.extend_from_slice(&entry.id.0);
        out.push(entry.kind);
        out.extend_from_slice(&entry.length.to_le_bytes());
    }
    out.extend_from_slice(payload);
    let check = check_of(&out[start..]);
    out[start + 24..start + 32].copy_from_slice(&check.to_le_bytes());

    if let Err(error) = FrameView::parse(&out[start..]) {
        out.truncate(start);
        return Err(error);
    }
    Ok(())
}

fn check_of(frame: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&frame[..24]);
    hasher.update(&frame[FRAME_HEADER_LENGTH..]);
    hasher.digest()
}
