//! Commits: signed snapshots of the whole worktree.
//!
//! What is stored is `[body, signature]`, so the id covers both. The signature covers BLAKE3 of the body bytes exactly as
//! they came; they are kept and never encoded anew.

use shard_crypto::{ActorId, Digest, SecretKey, Signature, SignatureDomain, Signed, Unverified, Verified};

use crate::canonical::{Canonical, DecodeError, Decoder, Encoder};
use crate::ids::{CommitId, RepositoryId, TreeId};
use crate::object::{ObjectKind, ObjectStore};
use crate::{Error, Result};

/// Longest message in bytes.
pub const MAX_MESSAGE: usize = 64 << 10;
/// Longest author text in bytes.
pub const MAX_AUTHOR: usize = 256;
/// Most parents.
pub const MAX_PARENTS: usize = 16;
/// Most access heads.
const MAX_ACCESS_HEADS: usize = 8;
/// Body keys from here on may be unknown and are kept; unknown ones below are refused.
const FIRST_FREE_KEY: u64 = 64;

/// The body of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The repository it belongs to; a commit of another is refused.
    pub repository: RepositoryId,
    /// The root directory.
    pub tree: TreeId,
    /// What it follows, in order; none for a first commit.
    pub parents: Vec<CommitId>,
    /// Who signed it.
    pub actor: ActorId,
    /// Access events the actor had seen.
    pub access_heads: Vec<[u8; 32]>,
    /// 1 + the greatest depth among its parents; 1 without.
    pub depth: u64,
    /// When, in milliseconds since 1970, as the actor says: for display, never for order.
    pub time_ms: u64,
    /// The actor's time zone, minutes east of UTC.
    pub zone_minutes: i64,
    /// The author as text.
    pub author: String,
    /// The message.
    pub message: String,
    /// Extensions of a later version, as encoded.
    pub extensions: Option<Vec<u8>>,
    /// The actor's own newest event, where it has any.
    pub event_head: Option<[u8; 32]>,
    /// Keys this version does not know, as encoded, in ascending order.
    pub unknown: Vec<(u64, Vec<u8>)>,
}

impl Canonical for Commit {
    fn encode(&self, e: &mut Encoder) {
        let present = 12 + usize::from(self.extensions.is_some()) + self.unknown.len();
        e.map(present);
        e.uint(1).uint(1);
        e.uint(2).bytes(self.repository.as_bytes());
        e.uint(3).bytes(self.tree.as_bytes());
        e.uint(4).array(self.parents.len());
        self.parents.iter().for_each(|parent| {
            e.bytes(parent.as_bytes());
        });
        e.uint(5).bytes(self.actor.as_bytes());
        e.uint(6).array(self.access_heads.len());
        self.access_heads.iter().for_each(|head| {
            e.bytes(head);
        });
        e.uint(7).uint(self.depth);
        e.uint(8).uint(self.time_ms);
        e.uint(9).int(self.zone_minutes);
        e.uint(10).text(&self.author);
        e.uint(11).text(&self.message);
        if let Some(item) = &self.extensions {
            e.uint(12).raw(item);
        }
        e.uint(13).optional(self.event_head, |e, head| {
            e.bytes(&head);
        });
        for (key, item) in &self.unknown {
            e.uint(*key).raw(item);
        }
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut keys = d.map()?;
        keys.expect(d, 1)?;
        if d.uint()? != 1 {
            return Err(d.invalid("a commit of a later version"));
        }
        keys.expect(d, 2)?;
        let repository = RepositoryId::from_bytes(d.bytes_of()?);
        keys.expect(d, 3)?;
        let tree = TreeId::from_bytes(d.bytes_of()?);
        keys.expect(d, 4)?;
        let parents = ids(d, MAX_PARENTS)?.into_iter().map(CommitId::from_bytes).collect::<Vec<_>>();
        if (1..parents.len()).any(|at| parents[..at].contains(&parents[at])) {
            return Err(d.invalid("a parent stands twice"));
        }
        keys.expect(d, 5)?;
        let actor = ActorId::from_bytes(d.bytes_of()?);
        keys.expect(d, 6)?;
        let access_heads = ids(d, MAX_ACCESS_HEADS)?;
        keys.expect(d, 7)?;
        let depth = d.uint()?;
        if (depth == 1) != parents.is_empty() || depth == 0 {
            return Err(d.invalid("the depth does not fit the parents"));
        }
        keys.expect(d, 8)?;
        let time_ms = d.uint()?;
        keys.expect(d, 9)?;
        let zone_minutes = d.int()?;
        if zone_minutes.unsigned_abs() > 26 * 60 {
            return Err(d.invalid("no such time zone"));
        }
        keys.expect(d, 10)?;
        let author = d.text()?.to_owned();
        keys.expect(d, 11)?;
        let message = d.text()?.to_owned();
        if author.len() > MAX_AUTHOR || message.len() > MAX_MESSAGE {
            return Err(d.invalid("author or message is too long"));
        }
        let (mut extensions, mut event_head, mut unknown, mut head_seen) = (None, None, Vec::new(), false);
        while let Some(key) = keys.next(d)? {
            match key {
                12 => extensions = Some(d.item()?.to_vec()),
                13 => {
                    event_head = d.optional(|d| d.bytes_of())?;
                    head_seen = true;
                }
                FIRST_FREE_KEY.. => unknown.push((key, d.item()?.to_vec())),
                _ => return Err(d.invalid("an unknown field below 64")),
            }
        }
        if !head_seen {
            return Err(d.invalid("a field is missing"));
        }
        Ok(Self {
            repository,
            tree,
            parents,
            actor,
            access_heads,
            depth,
            time_ms,
            zone_minutes,
            author,
            message,
            extensions,
            event_head,
            unknown,
        })
    }
}

fn ids(d: &mut Decoder<'_>, most: usize) -> Result<Vec<[u8; 32]>, DecodeError> {
    let count = d.array()?;
    if count > most {
        return Err(d.invalid("too many ids"));
    }
    (0..count).map(|_| d.bytes_of()).collect()
}

/// Signs a commit and returns the payload of its object.
pub fn sign(commit: Commit, key: &SecretKey) -> Vec<u8> {
    let body = commit.to_bytes();
    let signed = Signed::<Commit, Verified>::sign(commit, Digest::of(&body), SignatureDomain::COMMIT, key);
    let mut e = Encoder::with_capacity(body.len() + 80);
    e.array(2).bytes(&body).bytes(signed.signature().as_bytes());
    e.into_bytes()
}

/// Decodes the payload of a commit object; its signature is not checked yet.
pub fn decode(id: CommitId, payload: &[u8]) -> Result<Signed<Commit, Unverified>> {
    let parse = || -> Result<_, DecodeError> {
        let mut d = Decoder::new(payload);
        d.array_of(2)?;
        let body = d.bytes()?;
        let signature = Signature::from_bytes(d.bytes_of()?);
        d.finish()?;
        Ok(Signed::new(Commit::from_bytes(body)?, Digest::of(body), signature))
    };
    parse().map_err(|error| Error::ObjectCorrupt { id: id.digest(), reason: error.to_string() })
}

/// Reads a commit. Its form and hash are checked, its signature is not: see [`Trust`].
pub fn read(store: &ObjectStore, id: CommitId) -> Result<Commit> {
    Ok(read_signed(store, id)?.into_claimed())
}

/// Reads a commit with its signature.
pub fn read_signed(store: &ObjectStore, id: CommitId) -> Result<Signed<Commit, Unverified>> {
    decode(id, &store.get(id.0, ObjectKind::Commit)?)
}

/// How far a commit is to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Signed by somebody who may commit here.
    Good,
    /// Signed well, by somebody who may not commit here.
    NotAllowed,
    /// The signature does not hold, or the commit is of another repository.
    BadSignature,
}

impl Trust {
    /// Judges one commit. Until there are access events, only the repository's creator may commit.
    pub fn of(commit: &Signed<Commit, Unverified>, repository: RepositoryId, creator: &ActorId) -> Self {
        let claimed = commit.claimed();
        let key = claimed.actor.public_key();
        let signed = key.is_ok_and(|key| commit.check(SignatureDomain::COMMIT, &key).is_ok());
        if !signed || claimed.repository != repository {
            Self::BadSignature
        } else if claimed.actor == *creator && claimed.access_heads.is_empty() {
            Self::Good
        } else {
            Self::NotAllowed
        }
    }

    /// Says to people what speaks for or against it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Good => "it is signed by somebody who may commit here",
            Self::NotAllowed => "it is signed by somebody who may not commit here",
            Self::BadSignature => "its signature does not hold, or is for another repository",
        }
    }

    /// Returns the word shown to people and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::NotAllowed => "not_allowed",
            Self::BadSignature => "bad_signature",
        }
    }
}

impl std::fmt::Display for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
