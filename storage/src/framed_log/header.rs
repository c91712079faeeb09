//! The first 48 bytes of a log: what kind it is, and the random id that tells its records from all others'.

use std::fmt;
use std::io;

use xxhash_rust::xxh3::xxh3_64;

use super::Position;

/// Length of the header in bytes; the first record begins there.
pub const HEADER_SIZE: usize = 48;

/// The version this build writes and the newest it reads.
pub const VERSION: u8 = 1;

const MAGIC: [u8; 8] = *b"SHRDLOG\0";

/// What a log is for. A log of one kind is never opened as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogKind(pub u8);

impl LogKind {
    /// The repository's write-ahead log.
    pub const WAL: Self = Self(1);
    /// The states of packs.
    pub const CATALOG: Self = Self(2);
    /// Signed events not yet closed into a chunk.
    pub const EVENTS: Self = Self(3);
    /// The undo log.
    pub const OPERATIONS: Self = Self(4);
    /// The transactions of one database volume.
    pub const VOLUME: Self = Self(5);
    /// The flat backend.
    pub const FLAT: Self = Self(6);
    /// The headers of signed ref sets.
    pub const REF_CHAIN: Self = Self(7);
}

impl fmt::Display for LogKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::WAL => f.write_str("write-ahead log"),
            Self::CATALOG => f.write_str("pack catalog"),
            Self::EVENTS => f.write_str("event log"),
            Self::OPERATIONS => f.write_str("operation log"),
            Self::VOLUME => f.write_str("transaction log"),
            Self::FLAT => f.write_str("flat backend"),
            Self::REF_CHAIN => f.write_str("ref chain"),
            Self(other) => write!(f, "log of kind {other}"),
        }
    }
}

/// The random name of one log. A log that replaces another has a new one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogId(pub [u8; 16]);

impl LogId {
    /// Draws a new id from the operating system.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(io::Error::from)?;
        Ok(Self(bytes))
    }

    /// Returns the seed of the record checks: XXH3-64 of the id.
    pub(super) fn seed(self) -> u64 {
        xxh3_64(&self.0)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogId({self})")
    }
}

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The first bytes are not those of a log.
    #[error("the file is not a log")]
    NotALog,
    /// Written by a newer build. Never taken for an empty log.
    #[error("the log has format version {found}, this build reads up to {VERSION}")]
    UnsupportedVersion {
        /// The version found.
        found: u8,
    },
    /// A log of another kind.
    #[error("expected a {expected}, found a {found}")]
    WrongKind {
        /// The kind asked for.
        expected: LogKind,
        /// The kind found.
        found: LogKind,
    },
    /// The header's bytes have changed since they were written.
    #[error("the log's header is damaged")]
    BadCheck,
}

/// The header of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogHeader {
    /// Format version.
    pub version: u8,
    /// What the log is for.
    pub kind: LogKind,
    /// Bits for the log's owner; 0 where it has no use for them.
    pub flags: u16,
    /// The random id that seeds the checks of its records.
    pub log_id: LogId,
    /// Number of its first record.
    pub first_sequence: u64,
}

impl LogHeader {
    /// Makes a header of the current version without flags.
    pub const fn new(kind: LogKind, log_id: LogId, first_sequence: u64) -> Self {
        Self { version: VERSION, kind, flags: 0, log_id, first_sequence }
    }

    /// Returns where the first record begins.
    pub const fn start(&self) -> Position {
        Position { offset: HEADER_SIZE as u64, sequence: self.first_sequence }
    }

    /// Returns the 48 bytes.
    pub fn encode(&self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8] = self.version;
        bytes[9] = self.kind.0;
        bytes[10..12].copy_from_slice(&self.flags.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.log_id.0);
        bytes[32..40].copy_from_slice(&self.first_sequence.to_le_bytes());
        let check = xxh3_64(&bytes[..40]);
        bytes[40..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Reads the 48 bytes back. The version is judged before the check, so that a newer layout is named as such.
    pub fn decode(bytes: &[u8; HEADER_SIZE]) -> Result<Self, HeaderError> {
        if bytes[..8] != MAGIC {
            return Err(HeaderError::NotALog);
        }
        if bytes[8] != VERSION {
            return Err(HeaderError::UnsupportedVersion { found: bytes[8] });
        }
        if xxh3_64(&bytes[..40]).to_le_bytes() != bytes[40..] || bytes[12..16] != [0; 4] {
            return Err(HeaderError::BadCheck);
        }
        let mut log_id = [0; 16];
        log_id.copy_from_slice(&bytes[16..32]);
        Ok(Self {
            version: bytes[8],
            kind: LogKind(bytes[9]),
            flags: u16::from_le_bytes([bytes[10], bytes[11]]),
            log_id: LogId(log_id),
            first_sequence: super::scan::u64_at(bytes, 32),
        })
    }
}
