//! Refs: the only things in history that move.
//!
//! Branches and tags are files of one line, HEAD names a branch or a commit. What others have published stands in one
//! signed *ref set* an actor, so that strangers never choose a file name and an old set cannot be played back.

use std::collections::BTreeMap;
use std::fmt;

use shard_crypto::{ActorId, Context, Digest, SecretKey, Signature, SignatureDomain, Signed, Verified};

use crate::canonical::{Canonical, DecodeError, Decoder, Encoder};
use crate::ids::{CommitId, RepositoryId};
use crate::{Error, Result};

/// Largest ref set in bytes.
pub const MAX_REF_SET: usize = 512 << 10;
/// Most names in a ref set.
pub const MAX_NAMES: usize = 4096;
/// Branches with this prefix are never published.
pub const LOCAL_PREFIX: &str = "local/";

/// Where HEAD stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// On a branch, which may be unborn.
    Branch(String),
    /// At a commit, on no branch.
    Detached(CommitId),
}

impl Head {
    /// Reads the content of the HEAD file; `None` where it names neither a commit nor what may be a branch.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        match text.strip_prefix("ref: refs/heads/") {
            // It becomes a file name.
            Some(name) => super::ref_name::RefName::check(name).ok().map(|()| Self::Branch(name.to_owned())),
            None => Some(Self::Detached(parse_id(text)?)),
        }
    }
}

impl fmt::Display for Head {
    /// Writes the content of the HEAD file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Branch(name) => writeln!(f, "ref: refs/heads/{name}"),
            Self::Detached(id) => writeln!(f, "{id}"),
        }
    }
}

/// Reads the content of a ref file: 64 hex digits and a newline.
pub fn parse_id(text: &str) -> Option<CommitId> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.parse::<Digest>().ok().map(|digest| CommitId::from_bytes(digest.0))
}

/// The names an actor publishes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RefNames {
    /// Branches, without those under `local/`.
    pub heads: BTreeMap<String, CommitId>,
    /// Tags.
    pub tags: BTreeMap<String, CommitId>,
}

impl Canonical for RefNames {
    fn encode(&self, e: &mut Encoder) {
        e.map(2);
        for (key, names) in [(1, &self.heads), (2, &self.tags)] {
            e.uint(key).array(names.len());
            for (name, id) in names {
                e.array(2).text(name).bytes(id.as_bytes());
            }
        }
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut keys = d.map()?;
        let mut read = |d: &mut Decoder<'_>, key| {
            keys.expect(d, key)?;
            let count = d.array()?;
            let mut names = BTreeMap::new();
            for _ in 0..count {
                d.array_of(2)?;
                let name = d.text()?;
                if super::ref_name::RefName::check(name).is_err() {
                    return Err(d.invalid("a ref name that is not allowed"));
                }
                if names.last_key_value().is_some_and(|(last, _): (&String, _)| last.as_str() >= name) {
                    return Err(d.invalid("names are not sorted"));
                }
                names.insert(name.to_owned(), CommitId::from_bytes(d.bytes_of()?));
            }
            Ok(names)
        };
        let (heads, tags) = (read(d, 1)?, read(d, 2)?);
        if heads.len() + tags.len() > MAX_NAMES {
            return Err(d.invalid("too many names"));
        }
        Ok(Self { heads, tags })
    }
}

/// The signed part of a ref set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefSetHeader {
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// Whose names they are.
    pub actor: ActorId,
    /// 1 for the first, then one more each time.
    pub seq: u64,
    /// Hash of the header before, see [`RefSetHeader::digest`]; `None` for the first.
    pub prev: Option<Digest>,
    /// The actor's newest event, where it has any.
    pub event_head: Option<[u8; 32]>,
    /// Says that a branch moved backwards on purpose.
    pub forced: bool,
    /// BLAKE3 of the encoded names.
    pub names: Digest,
}

impl RefSetHeader {
    /// Returns the hash the next header names as `prev`.
    pub fn digest(&self) -> Digest {
        Context::REF_SET_HEADER.digest(&self.to_bytes())
    }
}

impl Canonical for RefSetHeader {
    fn encode(&self, e: &mut Encoder) {
        e.map(7);
        e.uint(1).bytes(self.repository.as_bytes());
        e.uint(2).bytes(self.actor.as_bytes());
        e.uint(3).uint(self.seq);
        e.uint(4).optional(self.prev, |e, prev| {
            e.bytes(&prev.0);
        });
        e.uint(5).optional(self.event_head, |e, head| {
            e.bytes(&head);
        });
        e.uint(6).bool(self.forced);
        e.uint(7).bytes(&self.names.0);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut keys = d.map()?;
        keys.expect(d, 1)?;
        let repository = RepositoryId::from_bytes(d.bytes_of()?);
        keys.expect(d, 2)?;
        let actor = ActorId::from_bytes(d.bytes_of()?);
        keys.expect(d, 3)?;
        let seq = d.uint()?;
        keys.expect(d, 4)?;
        let prev = d.optional(|d| Ok(Digest(d.bytes_of()?)))?;
        keys.expect(d, 5)?;
        let event_head = d.optional(|d| d.bytes_of())?;
        keys.expect(d, 6)?;
        let forced = d.bool()?;
        keys.expect(d, 7)?;
        let names = Digest(d.bytes_of()?);
        if keys.next(d)?.is_some() {
            return Err(d.invalid("an unknown field"));
        }
        if seq == 0 || (seq == 1) != prev.is_none() {
            return Err(d.invalid("seq and prev do not fit"));
        }
        Ok(Self { repository, actor, seq, prev, event_head, forced, names })
    }
}

/// What an actor has published, checked: signature, repository and names fit each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefSet {
    header: Signed<RefSetHeader, Verified>,
    names: RefNames,
    bytes: Vec<u8>,
}

impl RefSet {
    /// Signs the names that follow `before`.
    pub fn sign(
        repository: RepositoryId,
        names: RefNames,
        before: Option<&RefSet>,
        forced: bool,
        key: &SecretKey,
    ) -> Self {
        let encoded = names.to_bytes();
        let header = RefSetHeader {
            repository,
            actor: key.actor(),
            seq: before.map_or(1, |before| before.header().seq + 1),
            prev: before.map(|before| before.header().digest()),
            event_head: None,
            forced,
            names: Digest::of(&encoded),
        };
        let header_bytes = header.to_bytes();
        let digest = Digest::of(&header_bytes);
        let header = Signed::<RefSetHeader, Verified>::sign(header, digest, SignatureDomain::REF_SET, key);
        let mut e = Encoder::with_capacity(encoded.len() + header_bytes.len() + 80);
        e.array(3).bytes(&header_bytes).bytes(header.signature().as_bytes()).bytes(&encoded);
        Self { header, names, bytes: e.into_bytes() }
    }

    /// The gate: decodes a ref set and checks its signature, repository and names.
    pub fn verify(bytes: &[u8], repository: RepositoryId) -> Result<Self> {
        let what = || "a ref set".to_owned();
        if bytes.len() > MAX_REF_SET {
            return Err(Error::SignatureInvalid { what: what() });
        }
        let parse = || -> Result<_, DecodeError> {
            let mut d = Decoder::new(bytes);
            d.array_of(3)?;
            let header = d.bytes()?;
            let signature = Signature::from_bytes(d.bytes_of()?);
            let names = d.bytes()?;
            d.finish()?;
            Ok((RefSetHeader::from_bytes(header)?, Digest::of(header), signature, RefNames::from_bytes(names)?, names))
        };
        let (header, digest, signature, names, encoded) =
            parse().map_err(|_| Error::SignatureInvalid { what: what() })?;
        if header.repository != repository || header.names != Digest::of(encoded) {
            return Err(Error::SignatureInvalid { what: what() });
        }
        let actor = header.actor;
        let header = Signed::new(header, digest, signature)
            .verify_actor(SignatureDomain::REF_SET, &actor)
            .map_err(|_| Error::SignatureInvalid { what: format!("the ref set of {actor}") })?;
        Ok(Self { header, names, bytes: bytes.to_vec() })
    }

    /// Returns the signed part.
    pub fn header(&self) -> &RefSetHeader {
        self.header.value()
    }

    /// Returns the signature over the header.
    pub fn signature(&self) -> &Signature {
        self.header.signature()
    }

    /// Returns the names.
    pub fn names(&self) -> &RefNames {
        &self.names
    }

    /// Returns the encoding, as stored and sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}
