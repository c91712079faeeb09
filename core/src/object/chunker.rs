//! Where files are cut.
//!
//! A [`Profile`] says how a file becomes chunks. It is a pure function of the setting, the file's length and its first
//! bytes, and the manifest records its [`code`](Profile::code), so the same bytes are cut alike everywhere and later. A
//! [`Cutter`] finds the cuts. Cuts never depend on how the bytes were read.
//!
//! The content-defined cuts are FastCDC's (Xia et al., "The Design of Fast Content-Defined Chunking for Data
//! Deduplication Based Storage Systems", 2020), normalization level 1. Golden cut points in the tests guard against a
//! library that changes its mind: it would store every file anew.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use fastcdc::v2020::{Normalization, cut_gear, get_gear_with_seed, select_masks};

use crate::byte_size::ByteSize;
use crate::error::Error;

/// Longest file that is one chunk whatever the setting.
pub const WHOLE_MAX: u32 = 4 << 10;

/// First bytes of a file that [`Profile::select`] looks at.
pub const HEADER_LENGTH: usize = 18;

/// Averages `fastcdc:N` may fix: below, tables outweigh the pieces; above, a piece would exceed an object.
const AVERAGES: std::ops::RangeInclusive<u32> = 1 << 10..=256 << 10;
/// Lengths `fixed:N` may fix, for the same reasons.
const FIXED: std::ops::RangeInclusive<u32> = 4 << 10..=1 << 20;
/// Page sizes of the SQLite file format.
const PAGES: std::ops::RangeInclusive<u32> = 512..=64 << 10;

/// The setting `chunker.profile`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChunkerSetting {
    /// `fastcdc`: content-defined cuts, coarser in larger files.
    #[default]
    FastCdc,
    /// `fastcdc:N`: content-defined cuts of one average for all sizes.
    Average(u32),
    /// `fixed:N`: pieces of one length.
    Fixed(u32),
}

impl FromStr for ChunkerSetting {
    type Err = Error;

    /// Reads `fastcdc`, `fastcdc:N`, `fixed:N`, and `rabin` for `fastcdc`; `N` is a size like `64KiB`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |reason: String| Error::ValueInvalid { what: "chunker profile", value: text.to_owned(), reason };
        let (name, size) = match text.split_once(':') {
            Some((name, size)) => (name, Some(size.parse::<ByteSize>().map_err(|error| invalid(error.to_string()))?)),
            None => (text, None),
        };
        let in_range = |size: ByteSize, range: &std::ops::RangeInclusive<u32>, form: &str| {
            u32::try_from(size.0).ok().filter(|size| range.contains(size)).ok_or_else(|| {
                let (least, most) = (ByteSize((*range.start()).into()), ByteSize((*range.end()).into()));
                invalid(format!("{form} takes {least} to {most}"))
            })
        };
        match (name, size) {
            ("fastcdc" | "rabin", None) => Ok(Self::FastCdc),
            ("fastcdc" | "rabin", Some(size)) => {
                let average = in_range(size, &AVERAGES, "fastcdc:N")?;
                if !average.is_power_of_two() {
                    return Err(invalid("fastcdc:N takes a power of two".to_owned()));
                }
                Ok(Self::Average(average))
            }
            ("fixed", Some(size)) => in_range(size, &FIXED, "fixed:N").map(Self::Fixed),
            ("fixed", None) => Err(invalid("fixed needs a length, like fixed:64KiB".to_owned())),
            _ => Err(invalid("it is fastcdc, fastcdc:N or fixed:N".to_owned())),
        }
    }
}

impl fmt::Display for ChunkerSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::FastCdc => f.write_str("fastcdc"),
            Self::Average(average) => write!(f, "fastcdc:{}", ByteSize(average.into())),
            Self::Fixed(length) => write!(f, "fixed:{}", ByteSize(length.into())),
        }
    }
}

/// How one file is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// One chunk.
    Whole,
    /// Content-defined cuts around `average` bytes, at least a quarter and at most four times as long.
    Cdc {
        /// A power of two, 1 to 256 KiB.
        average: u32,
    },
    /// The pages of an SQLite file.
    Page(u32),
    /// Pieces of one length, the last one shorter.
    Fixed(u32),
}

impl Profile {
    /// The finest of the profiles a file's length selects.
    pub const CDC16: Self = Self::Cdc { average: 16 << 10 };
    /// For files of 64 MiB to 4 GiB.
    pub const CDC32: Self = Self::Cdc { average: 32 << 10 };
    /// For files of 4 GiB to 256 GiB.
    pub const CDC64: Self = Self::Cdc { average: 64 << 10 };
    /// For files beyond 256 GiB.
    pub const CDC256: Self = Self::Cdc { average: 256 << 10 };

    /// Selects the profile of a file of `length` bytes that begins with `header`. More than the first
    /// [`HEADER_LENGTH`] bytes make no difference.
    #[must_use]
    pub fn select(setting: ChunkerSetting, length: u64, header: &[u8]) -> Self {
        if length <= u64::from(WHOLE_MAX) {
            return Self::Whole;
        }
        if let ChunkerSetting::Fixed(piece) = setting {
            return Self::Fixed(piece);
        }
        if let Some(page) = sqlite_page_size(header)
            && length.is_multiple_of(u64::from(page))
        {
            return Self::Page(page);
        }
        match setting {
            ChunkerSetting::Average(average) => Self::Cdc { average },
            _ if length <= 64 << 20 => Self::CDC16,
            _ if length <= 4 << 30 => Self::CDC32,
            _ if length <= 256 << 30 => Self::CDC64,
            _ => Self::CDC256,
        }
    }

    /// Returns the number a manifest records: the kind in the two low bits, above them its size in bytes.
    #[must_use]
    pub fn code(self) -> u64 {
        match self {
            Self::Whole => 0,
            Self::Cdc { average } => u64::from(average) << 2 | 1,
            Self::Page(size) => u64::from(size) << 2 | 2,
            Self::Fixed(length) => u64::from(length) << 2 | 3,
        }
    }

    /// Returns the profile of a recorded number; `None` when there is none such.
    #[must_use]
    pub fn from_code(code: u64) -> Option<Self> {
        let size = u32::try_from(code >> 2).ok()?;
        match code & 3 {
            0 => (size == 0).then_some(Self::Whole),
            1 => (AVERAGES.contains(&size) && size.is_power_of_two()).then_some(Self::Cdc { average: size }),
            2 => (PAGES.contains(&size) && size.is_power_of_two()).then_some(Self::Page(size)),
            _ => FIXED.contains(&size).then_some(Self::Fixed(size)),
        }
    }

    /// Returns the least length of a chunk that is not the last, in bytes.
    #[must_use]
    pub fn min(self) -> usize {
        match self {
            Self::Cdc { average } => average as usize / 4,
            _ => self.max(),
        }
    }

    /// Returns the greatest length of a chunk, in bytes: at most 1 MiB.
    #[must_use]
    pub fn max(self) -> usize {
        match self {
            Self::Whole => WHOLE_MAX as usize,
            Self::Cdc { average } => average as usize * 4,
            Self::Page(size) | Self::Fixed(size) => size as usize,
        }
    }

    /// Returns the length of every chunk but the last, where the profile fixes it.
    #[must_use]
    pub fn fixed_length(self) -> Option<u32> {
        match self {
            Self::Page(size) | Self::Fixed(size) => Some(size),
            Self::Whole | Self::Cdc { .. } => None,
        }
    }

    /// Returns what finds the cuts.
    #[must_use]
    pub fn cutter(self) -> Cutter {
        Cutter::seeded(self, 0)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Whole => f.write_str("whole"),
            Self::Cdc { average } if average.is_multiple_of(1 << 10) => write!(f, "cdc{}", average >> 10),
            Self::Cdc { average } => write!(f, "cdc({average})"),
            Self::Page(size) => write!(f, "page({size})"),
            Self::Fixed(length) => write!(f, "fixed({length})"),
        }
    }
}

/// Returns the page size that an SQLite header states (SQLite file format, section 1.3).
fn sqlite_page_size(header: &[u8]) -> Option<u32> {
    let size = header.strip_prefix(b"SQLite format 3\0")?.first_chunk::<2>()?;
    match u32::from(u16::from_be_bytes(*size)) {
        1 => Some(64 << 10),
        size => (PAGES.contains(&size) && size.is_power_of_two()).then_some(size),
    }
}

/// Finds the cuts of one profile. Making one costs nothing worth keeping it for, unless it is seeded.
#[derive(Debug, Clone)]
pub struct Cutter {
    profile: Profile,
    /// Strict mask below the average, loose above it.
    masks: (u64, u64),
    gear: Cow<'static, [u64]>,
    gear_shifted: Cow<'static, [u64]>,
}

impl Cutter {
    /// Makes a cutter whose cuts nobody can foretell who does not know `seed`; 0 is the public table.
    #[must_use]
    pub fn seeded(profile: Profile, seed: u64) -> Self {
        let masks = match profile {
            Profile::Cdc { average } => select_masks(average as usize, Normalization::Level1),
            _ => (0, 0),
        };
        let (gear, gear_shifted) = get_gear_with_seed(seed);
        Self { profile, masks, gear, gear_shifted }
    }

    /// Returns the profile.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Returns the length of the next chunk, which begins where `buffer` does.
    ///
    /// `None` asks for more bytes behind these: fewer than [`Profile::max`] are there and the file does not end with
    /// them. At the end (`at_end`) it is returned for an empty buffer only. Memory is read once; nothing is allocated.
    #[must_use]
    pub fn cut(&self, buffer: &[u8], at_end: bool) -> Option<usize> {
        let max = self.profile.max();
        if buffer.is_empty() || (buffer.len() < max && !at_end) {
            return None;
        }
        let Profile::Cdc { average } = self.profile else {
            return Some(buffer.len().min(max));
        };
        let (strict, loose) = self.masks;
        let (_, length) = cut_gear(
            buffer,
            self.profile.min(),
            average as usize,
            max,
            strict,
            loose,
            strict << 1,
            loose << 1,
            &self.gear,
            &self.gear_shifted,
        );
        Some(length)
    }

    /// Returns the lengths of all chunks that lie whole in `buffer`. What is left of it begins the next buffer.
    pub fn cuts<'a>(&'a self, buffer: &'a [u8], at_end: bool) -> impl Iterator<Item = usize> + 'a {
        let mut rest = buffer;
        std::iter::from_fn(move || {
            let length = self.cut(rest, at_end)?;
            rest = &rest[length..];
            Some(length)
        })
    }
}

/// Returns whether all bytes are zero: such a chunk is a hole, and not stored. Runs at memory speed, and stops early.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    // Whole blocks without a branch inside compile to vector instructions.
    let (blocks, rest) = bytes.as_chunks::<64>();
    blocks.iter().all(|block| block.iter().fold(0, |all, byte| all | byte) == 0) && rest.iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests;
