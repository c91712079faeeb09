//! Digests: 32-byte BLAKE3 values, and the labels that keep one use of the hash apart from every other.
//!
//! Whatever is named by its content is named by one of three functions: [`Digest::of`], the plain hash;
//! [`Context`], the hash under a label of its own; and [`ObjectHasher`], which gives stored objects their ids.

use std::{fmt, str::FromStr};

use zeroize::Zeroizing;

use crate::hex::{self, HexError};

/// A 32-byte BLAKE3 digest, ordered by its bytes.
///
/// Comparison is not constant-time: a digest is public, and what it is computed from is not derived from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Bytes in a digest.
    pub const LEN: usize = 32;

    /// Thirty-two zero bytes: a placeholder in fixed-size formats, never the digest of anything known.
    pub const ZERO: Self = Self([0; 32]);

    /// Computes the plain BLAKE3 hash of `bytes`, under no label.
    ///
    /// This is what signatures of commits, tags and ref sets are made over; whatever becomes a *name* takes a
    /// [`Context`] or an [`ObjectHasher`] instead.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Takes the 32 bytes of a digest computed elsewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the digest's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the first eight hexadecimal digits: for people to read, never to look anything up by.
    pub fn short(&self) -> String {
        hex::text(&self.0[..4])
    }
}

impl FromStr for Digest {
    type Err = HexError;

    /// Reads 64 hexadecimal digits of either case; a prefix is refused.
    fn from_str(text: &str) -> Result<Self, HexError> {
        hex::parse(text).map(Self)
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(&self.0, f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A label under which bytes are hashed, so that a digest computed for one purpose never answers for another.
///
/// It is BLAKE3's `derive_key` mode with the label as its context string. Labels are constants of the program, begin
/// with `shard v1 `, and no label in use is a prefix of another; each belongs in the list of the `domains` module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context(&'static str);

impl Context {
    /// Names a pack by its header and footer.
    pub const PACK: Self = Self::new("shard v1 pack");
    /// Names an event by its header.
    pub const EVENT_ID: Self = Self::new("shard v1 event id");
    /// Ties an event's body to its header.
    pub const EVENT_BODY: Self = Self::new("shard v1 event body");
    /// Names a closed chunk of events.
    pub const EVENT_CHUNK: Self = Self::new("shard v1 event chunk");
    /// Derives the id of an issue object which no event creates, such as the lease object.
    pub const OBJECT_NAME: Self = Self::new("shard v1 object name");
    /// Names the folded state of one issue.
    pub const ISSUE_STATE: Self = Self::new("shard v1 issue state");
    /// Names a snapshot of all issues.
    pub const ISSUE_SNAPSHOT: Self = Self::new("shard v1 issue snapshot");
    /// Names an entry of the undo log.
    pub const OPERATION: Self = Self::new("shard v1 operation");

    /// Makes a context of a label; the label must be unique to its use.
    pub const fn new(label: &'static str) -> Self {
        Self(label)
    }

    /// Returns the label.
    pub const fn label(self) -> &'static str {
        self.0
    }

    /// Hashes `bytes` under the label.
    pub fn digest(self, bytes: &[u8]) -> Digest {
        self.hasher().update(bytes).finalize()
    }

    /// Starts a hash under the label of bytes that come in pieces.
    pub fn hasher(self) -> Hasher {
        Hasher(blake3::Hasher::new_derive_key(self.0))
    }
}

/// A hash under way; the pieces it is given are hashed as if they were one.
#[derive(Clone)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// Starts a plain hash, as [`Digest::of`] computes it.
    pub fn plain() -> Self {
        Self(blake3::Hasher::new())
    }

    /// Adds the next piece.
    pub fn update(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// Returns the digest of all pieces so far; more may follow.
    pub fn finalize(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher(…)")
    }
}

/// Gives objects of one kind their ids: BLAKE3, keyed for the kind and the repository.
///
/// The key is derived once, so that an id costs one keyed hash of the payload and nothing else. In a private repository
/// the secret keeps outsiders from confirming a guess at some content; in a public one it is empty.
#[derive(Clone)]
pub struct ObjectHasher(Zeroizing<[u8; 32]>);

impl ObjectHasher {
    /// Derives the key for the kind of this lower-case name, such as `chunk`, under the repository's secret.
    pub fn new(kind: &str, secret: &[u8]) -> Self {
        let mut context = String::from("shard v1 object ");
        context.push_str(kind);
        Self(Zeroizing::new(blake3::derive_key(&context, secret)))
    }

    /// Returns the id of an object with this payload.
    pub fn digest(&self, payload: &[u8]) -> Digest {
        Digest(*blake3::keyed_hash(&self.0, payload).as_bytes())
    }

    /// Starts the id of an object whose payload comes in pieces.
    pub fn hasher(&self) -> Hasher {
        Hasher(blake3::Hasher::new_keyed(&self.0))
    }
}

impl fmt::Debug for ObjectHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ObjectHasher(…)")
    }
}
