//! Identifiers: each kind of object has its own type, so that one never fits where another belongs.
//!
//! All are 32 bytes. They become text only when printed, never a path.

use std::fmt;

use shard_crypto::Digest;

use crate::object::ObjectKind;

/// Names any object: the keyed BLAKE3 hash of its payload, the key being derived from its kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub [u8; 32]);

impl ObjectId {
    /// Returns the id as a digest.
    pub fn digest(self) -> Digest {
        Digest(self.0)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.digest(), f)
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.digest(), f)
    }
}

macro_rules! object_ids {
    ($($(#[$doc:meta])* $name:ident = $kind:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub ObjectId);

        impl $name {
            /// The kind of object this names.
            pub const KIND: ObjectKind = ObjectKind::$kind;

            /// Wraps 32 bytes read from a checked structure.
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(ObjectId(bytes))
            }

            /// Returns the 32 bytes.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0.0
            }

            /// Returns the id as a digest.
            pub fn digest(self) -> Digest {
                self.0.digest()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl From<$name> for ObjectId {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    )*};
}

object_ids! {
    /// Names a piece of a file.
    ChunkId = Chunk;
    /// Names how a file is made of chunks.
    ManifestId = Manifest;
    /// Names a directory, or a node of a large one.
    TreeId = Tree;
    /// Names a signed snapshot of the whole worktree.
    CommitId = Commit;
    /// Names an annotated tag.
    TagId = Tag;
    /// Names a repository: the id of its genesis.
    RepositoryId = Genesis;
}
