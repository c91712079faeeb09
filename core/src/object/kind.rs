//! What an object is.

use std::fmt;
use std::sync::LazyLock;

use shard_crypto::ObjectHasher;

use crate::ids::ObjectId;

/// Largest payload of an object: 1 MiB, so that each fits a frame and a message.
pub const MAX_OBJECT: usize = 1 << 20;

/// What an object is. The number is written in packs; the name is part of its hash key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ObjectKind {
    /// A piece of a file, or a database page.
    Chunk = 0,
    /// How a file is made of chunks.
    Manifest = 1,
    /// A directory.
    Tree = 2,
    /// A signed snapshot of the worktree.
    Commit = 3,
    /// An annotated tag.
    Tag = 4,
    /// The terms of an unresolved merge.
    Conflict = 5,
    /// A database's page map node or snapshot.
    Database = 6,
    /// A part of an issue snapshot.
    IssueState = 7,
    /// What names a repository.
    Genesis = 8,
}

impl ObjectKind {
    /// Every kind, in order of its number.
    pub const ALL: [Self; 9] = [
        Self::Chunk,
        Self::Manifest,
        Self::Tree,
        Self::Commit,
        Self::Tag,
        Self::Conflict,
        Self::Database,
        Self::IssueState,
        Self::Genesis,
    ];

    /// Returns the kind with this number; unknown kinds are refused by the caller.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Returns the lower-case name that is part of the hash key.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chunk => "chunk",
            Self::Manifest => "manifest",
            Self::Tree => "tree",
            Self::Commit => "commit",
            Self::Tag => "tag",
            Self::Conflict => "conflict",
            Self::Database => "database",
            Self::IssueState => "issue state",
            Self::Genesis => "genesis",
        }
    }

    /// Returns the id of a payload of this kind.
    pub fn id(self, payload: &[u8]) -> ObjectId {
        static HASHERS: LazyLock<[ObjectHasher; 9]> =
            LazyLock::new(|| ObjectKind::ALL.map(|kind| ObjectHasher::new(kind.name(), b"")));
        ObjectId(HASHERS[self as usize].digest(payload).0)
    }

    /// Says whether objects of this kind go to the data packs; all else is metadata.
    pub fn is_data(self) -> bool {
        self == Self::Chunk
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
