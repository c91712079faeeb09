//! What a pack is called, and its first 64 bytes.

use std::fmt;
use std::io;
use std::path::PathBuf;

use shard_crypto::Digest;
use xxhash_rust::xxh3::xxh3_64;

use super::little_endian::{array_at, u32_at};
use super::{PackError, Result};
use crate::vfs::{File, VfsError};

/// Length of a pack's header in bytes.
pub const PACK_HEADER_LENGTH: usize = 64;

/// Length at which a writer seals a pack of its own: large enough that a terabyte is some 30,000 files, small enough
/// that rewriting one is cheap.
pub const PACK_TARGET: u64 = 32 << 20;

/// Largest end of a pack's last frame: 64 MiB, so that 32-bit offsets always suffice and a pack fits in memory of any
/// machine that must repair it.
pub const MAX_PACK: u64 = 64 << 20;

/// Packs of one class in one directory, so that no directory grows slow.
const PACKS_PER_DIRECTORY: u32 = 1024;

const MAGIC: &[u8; 8] = b"SHRDPACK";
const VERSION: u8 = 1;
const FLAG_SEALED: u8 = 1;
const FLAG_FILTERED: u8 = 2;

/// Which of the two kinds of pack: file content and page data apart from everything that describes it, so that
/// walking history touches few bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Pieces of files and database pages.
    Data,
    /// All other objects.
    Meta,
}

impl Class {
    /// Both classes, data first.
    pub const ALL: [Self; 2] = [Self::Data, Self::Meta];

    /// Returns the name of its directory under `objects/`.
    pub fn directory(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Meta => "meta",
        }
    }
}

/// Whether every object that a pack's objects refer to must be in the repository too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Completeness {
    /// Absent references are damage.
    Complete,
    /// References may be absent: the pack comes from a lazy clone.
    Filtered,
}

/// The number that names a pack: never reused, and unique across both classes. Even numbers are data packs, odd ones
/// meta packs, so 32 bits say everything a path needs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackOrdinal(u32);

impl PackOrdinal {
    /// Returns the first ordinal of a class.
    pub const fn first(class: Class) -> Self {
        match class {
            Class::Data => Self(0),
            Class::Meta => Self(1),
        }
    }

    /// Takes an ordinal as formats store it.
    pub const fn from_u32(ordinal: u32) -> Self {
        Self(ordinal)
    }

    /// Returns the ordinal as formats store it.
    pub const fn to_u32(self) -> u32 {
        self.0
    }

    /// Returns the class the ordinal belongs to.
    pub const fn class(self) -> Class {
        if self.0 & 1 == 0 { Class::Data } else { Class::Meta }
    }

    /// Returns the next ordinal of the same class, or `None` when all 2³¹ are used.
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(2) {
            Some(next) => Some(Self(next)),
            None => None,
        }
    }

    /// Returns the directory of the pack below `objects/`: `data/0000`.
    pub fn directory(self) -> PathBuf {
        [self.class().directory(), &format!("{:04x}", self.0 / (2 * PACKS_PER_DIRECTORY))].iter().collect()
    }

    /// Says whether hardly any pack lies in the directory of this one yet.
    pub(super) fn is_among_first_of_directory(self) -> bool {
        self.0 / 2 % PACKS_PER_DIRECTORY < 16
    }

    /// Returns the path of the pack below `objects/`: `data/0000/0000002a.pack`.
    pub fn path(self) -> PathBuf {
        self.directory().join(format!("{:08x}.pack", self.0))
    }

    /// Reads an ordinal from a file name such as `0000002a.pack`; `None` when it is not one.
    pub fn from_file_name(name: &str) -> Option<Self> {
        let digits = name.strip_suffix(".pack")?;
        let plain = digits.len() == 8 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        plain.then(|| u32::from_str_radix(digits, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for PackOrdinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for PackOrdinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackOrdinal({:08x})", self.0)
    }
}

/// The first 64 bytes of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackHeader {
    /// Which kind of pack.
    pub class: Class,
    /// Whether a footer was written. Set by sealing; a crash can leave it set without a footer.
    pub sealed: bool,
    /// Whether references may be absent.
    pub completeness: Completeness,
    /// Random number that tells this pack from all others.
    pub serial: [u8; 16],
    /// The repository the pack belongs to.
    pub repository: Digest,
}

impl PackHeader {
    /// Returns the header of a new pack, with a random serial.
    pub(super) fn new(
        class: Class,
        completeness: Completeness,
        repository: Digest,
    ) -> std::result::Result<Self, io::Error> {
        let mut serial = [0; 16];
        getrandom::fill(&mut serial).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { class, sealed: false, completeness, serial, repository })
    }

    /// Reads and checks the header of a pack that is named `ordinal` and must belong to `repository`.
    ///
    /// # Errors
    /// `Truncated`, `BadMagic`, `UnsupportedVersion`, `BadHeader`, `ForeignRepository` or `Io`.
    pub fn read(file: &File, ordinal: PackOrdinal, repository: &Digest) -> Result<Self> {
        let mut bytes = [0; PACK_HEADER_LENGTH];
        let filled = file.read_full_at(&mut bytes, 0)?;
        let path = || file.path().to_path_buf();
        if filled < PACK_HEADER_LENGTH {
            return Err(PackError::Truncated { path: path(), length: filled as u64 });
        }
        let header = match Self::decode(&bytes) {
            Ok(header) => header,
            Err(HeaderProblem::Magic) => return Err(PackError::BadMagic { path: path() }),
            Err(HeaderProblem::Version(found)) => return Err(PackError::UnsupportedVersion { path: path(), found }),
            Err(HeaderProblem::Other(what)) => return Err(PackError::BadHeader { path: path(), what }),
        };
        if header.repository != *repository {
            return Err(PackError::ForeignRepository { path: path(), found: header.repository });
        }
        if header.class != ordinal.class() {
            return Err(PackError::BadHeader { path: path(), what: "its class is not that of its name" });
        }
        Ok(header)
    }

    /// Writes the header at the start of `file`. It lies in one sector, so a crash leaves the old one or this.
    pub(super) fn write(&self, file: &File) -> std::result::Result<(), VfsError> {
        file.write_all_at(&self.encode(), 0)
    }

    pub(super) fn encode(&self) -> [u8; PACK_HEADER_LENGTH] {
        let mut bytes = [0; PACK_HEADER_LENGTH];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8] = VERSION;
        bytes[9] = match self.class {
            Class::Data => 0,
            Class::Meta => 1,
        };
        bytes[10] |= if self.sealed { FLAG_SEALED } else { 0 };
        bytes[10] |= if self.completeness == Completeness::Filtered { FLAG_FILTERED } else { 0 };
        bytes[12..28].copy_from_slice(&self.serial);
        bytes[28..60].copy_from_slice(&self.repository.0);
        let check = low_half(xxh3_64(&bytes[..60]));
        bytes[60..64].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; PACK_HEADER_LENGTH]) -> std::result::Result<Self, HeaderProblem> {
        if &bytes[0..8] != MAGIC {
            return Err(HeaderProblem::Magic);
        }
        // Before the check: a newer version may keep its check elsewhere.
        if bytes[8] != VERSION {
            return Err(HeaderProblem::Version(bytes[8]));
        }
        if u32_at(bytes, 60) != low_half(xxh3_64(&bytes[..60])) {
            return Err(HeaderProblem::Other("its check does not match"));
        }
        if bytes[10] & !(FLAG_SEALED | FLAG_FILTERED) != 0 || bytes[11] != 0 {
            return Err(HeaderProblem::Other("it has flags this program does not know"));
        }
        Ok(Self {
            class: match bytes[9] {
                0 => Class::Data,
                1 => Class::Meta,
                _ => return Err(HeaderProblem::Other("its class is neither data nor meta")),
            },
            sealed: bytes[10] & FLAG_SEALED != 0,
            completeness: if bytes[10] & FLAG_FILTERED != 0 { Completeness::Filtered } else { Completeness::Complete },
            serial: array_at(bytes, 12),
            repository: Digest(array_at(bytes, 28)),
        })
    }
}

enum HeaderProblem {
    Magic,
    Version(u8),
    Other(&'static str),
}

fn low_half(check: u64) -> u32 {
    (check & u64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinal_names_class_directory_and_file() {
        assert_eq!(PackOrdinal::from_u32(0x2a).path(), PathBuf::from("data/0000/0000002a.pack"));
        assert_eq!(PackOrdinal::from_u32(0x2b).path(), PathBuf::from("meta/0000/0000002b.pack"));
        assert_eq!(PackOrdinal::from_u32(2048).path(), PathBuf::from("data/0001/00000800.pack"));
        assert_eq!(PackOrdinal::from_u32(u32::MAX).directory(), PathBuf::from("meta/1fffff"));
    }

    #[test]
    fn a_directory_holds_1024_packs_of_a_class() {
        let mut ordinal = PackOrdinal::first(Class::Meta);
        for _ in 0..PACKS_PER_DIRECTORY {
            assert_eq!(ordinal.directory(), PathBuf::from("meta/0000"));
            ordinal = ordinal.next().unwrap();
        }
        assert_eq!(ordinal.directory(), PathBuf::from("meta/0001"));
    }

    #[test]
    fn only_the_exact_file_name_is_an_ordinal() {
        assert_eq!(PackOrdinal::from_file_name("0000002a.pack"), Some(PackOrdinal::from_u32(42)));
        for name in ["2a.pack", "0000002A.pack", "+000002a.pack", "0000002a.pack~", "0000002a", "00000002a.pack"] {
            assert_eq!(PackOrdinal::from_file_name(name), None, "{name}");
        }
    }
}
