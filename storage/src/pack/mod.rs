//! Pack files: where objects lie, and how they are found.
//!
//! A *pack* is a header, frames, and once sealed a footer. A *frame* holds consecutive objects compressed as one and
//! describes itself, so a lost footer is rebuilt by scanning. A *footer* is a sorted table from object id to frame; a
//! *run* ([`index`]) is many footers merged. Packs are the truth; runs can be rebuilt from them.
//!
//! Everything read here is treated as hostile: each offset, count and length is compared with its named limit and the
//! file's size before memory is allocated for it, and every failure is a [`PackError`]. Checks are XXH3-64 and find
//! *damage*. They do not find *lies*: whoever decodes an object compares its id. What a kind means, how payloads are
//! compressed and which packs are registered is left to `shard-core`.

mod entry;
mod entry_table;
mod footer;
mod frame;
mod header;
pub mod index;
mod little_endian;
mod open_pack;
mod reader;
mod scan;
mod table_scan;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use shard_crypto::Digest;

use crate::vfs::VfsError;

pub use entry::{FooterEntry, Location};
pub use entry_table::EntryTable;
pub use footer::{FOOTER_CACHE_LIMIT, MAX_PACK_ENTRIES};
pub use frame::{
    Codec, FRAME_HEADER_LENGTH, FrameBuffer, FrameEntry, FrameError, FrameHeader, FrameView, MAX_FRAME,
    MAX_FRAME_ENTRIES, MAX_FRAME_RAW, decode_frame, encode_frame,
};
pub use header::{Class, Completeness, MAX_PACK, PACK_HEADER_LENGTH, PACK_TARGET, PackHeader, PackOrdinal};
pub use open_pack::{Damage, OpenPack};
pub use reader::{Entries, PackReader};
pub use scan::{FrameScan, OnDamage, ScanItem, ScannedFrame};
pub use table_scan::TableScan;
pub use writer::{PackWriter, SealedPack};

/// Why a pack or run could not be read or written. Each variant names the file.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A disk operation failed.
    #[error(transparent)]
    Io(#[from] VfsError),
    /// The file is shorter than what it must hold.
    #[error("{} ends after {length} bytes", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        length: u64,
    },
    /// The file does not begin as this kind of file does.
    #[error("{} is not what its name says", path.display())]
    BadMagic {
        /// The file.
        path: PathBuf,
    },
    /// A newer program wrote the file.
    #[error("{} has format version {found}, newer than this program knows", path.display())]
    UnsupportedVersion {
        /// The file.
        path: PathBuf,
        /// The version it names.
        found: u8,
    },
    /// The header is damaged or contradicts the file's place.
    #[error("header of {} is damaged: {what}", path.display())]
    BadHeader {
        /// The file.
        path: PathBuf,
        /// The first thing found wrong.
        what: &'static str,
    },
    /// The pack or run belongs to another repository.
    #[error("{} belongs to repository {found}", path.display())]
    ForeignRepository {
        /// The file.
        path: PathBuf,
        /// The repository it names.
        found: Digest,
    },
    /// A frame is damaged, or is not where an index said.
    #[error("frame at {offset} of {} is unreadable", path.display())]
    BadFrame {
        /// The pack.
        path: PathBuf,
        /// The frame's offset in it.
        offset: u64,
        /// What is wrong with it.
        #[source]
        source: FrameError,
    },
    /// The footer or trailer is damaged.
    #[error("footer of {} is damaged: {what}", path.display())]
    BadFooter {
        /// The pack.
        path: PathBuf,
        /// The first thing found wrong.
        what: &'static str,
    },
    /// A run is damaged. It can be rebuilt from footers.
    #[error("index run {} is damaged: {what}", path.display())]
    BadRun {
        /// The run.
        path: PathBuf,
        /// The first thing found wrong.
        what: &'static str,
    },
    /// A stretch of a run does not match its check. It can be rebuilt from footers.
    #[error("{} is damaged at {offset}", path.display())]
    BadCheck {
        /// The run.
        path: PathBuf,
        /// Where the stretch begins.
        offset: u64,
    },
    /// The pack has no footer yet: it is read through an [`OpenPack`].
    #[error("{} is not sealed", path.display())]
    Unsealed {
        /// The pack.
        path: PathBuf,
    },
    /// The pack is complete and takes no more frames.
    #[error("{} is sealed already", path.display())]
    Sealed {
        /// The pack.
        path: PathBuf,
    },
    /// The frame would take the pack past [`MAX_PACK`] or [`MAX_PACK_ENTRIES`]. Nothing was written.
    #[error("{} has no room for another frame", path.display())]
    Full {
        /// The pack.
        path: PathBuf,
    },
    /// A living writer holds the pack.
    #[error("{} is being written by another process", path.display())]
    Locked {
        /// The pack.
        path: PathBuf,
    },
    /// An earlier sync of this pack failed, so what is on disk is unknown until it is opened anew.
    #[error("{} could not be synced, its state on disk is unknown", path.display())]
    Poisoned {
        /// The pack.
        path: PathBuf,
    },
    /// Frames were to be written beyond the end of the pack, leaving a gap.
    #[error("frames for offset {offset} of {} do not follow its end at {length}", path.display())]
    Gap {
        /// The pack.
        path: PathBuf,
        /// Where they were to go.
        offset: u64,
        /// Where the pack ends.
        length: u64,
    },
}

impl PackError {
    /// Returns the file it is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Io(error) => &error.path,
            Self::Truncated { path, .. }
            | Self::BadMagic { path }
            | Self::UnsupportedVersion { path, .. }
            | Self::BadHeader { path, .. }
            | Self::ForeignRepository { path, .. }
            | Self::BadFrame { path, .. }
            | Self::BadFooter { path, .. }
            | Self::BadRun { path, .. }
            | Self::BadCheck { path, .. }
            | Self::Unsealed { path }
            | Self::Sealed { path }
            | Self::Full { path }
            | Self::Locked { path }
            | Self::Poisoned { path }
            | Self::Gap { path, .. } => path,
        }
    }

    /// Says whether the file itself is bad (as opposed to a failed disk operation, a lock or a full pack).
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Truncated { .. }
                | Self::BadMagic { .. }
                | Self::BadHeader { .. }
                | Self::BadFrame { .. }
                | Self::BadFooter { .. }
                | Self::BadRun { .. }
                | Self::BadCheck { .. }
        )
    }
}

/// Result of an operation on a pack or run.
pub type Result<T> = std::result::Result<T, PackError>;
