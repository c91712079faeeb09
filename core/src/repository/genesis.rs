//! The genesis: what names a repository and its creator.

use shard_crypto::ActorId;

use crate::canonical::{Canonical, DecodeError, Decoder, Encoder};
use crate::ids::RepositoryId;
use crate::object::ObjectKind;

/// Longest repository name in bytes.
pub const MAX_NAME: usize = 200;

/// Names a repository: its id is the object id of this, and every signed body names that id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genesis {
    /// Random, so that no two repositories have one id.
    pub nonce: [u8; 16],
    /// Whose commits count from the beginning.
    pub creator: ActorId,
    /// The name shown for it.
    pub name: String,
    /// Says whether its content is sealed.
    pub private: bool,
    /// A key kept apart that may replace the creator's, and that nobody can contest.
    pub recovery_key: Option<ActorId>,
}

impl Genesis {
    /// Returns the repository's id.
    pub fn id(&self) -> RepositoryId {
        RepositoryId(ObjectKind::Genesis.id(&self.to_bytes()))
    }
}

impl Canonical for Genesis {
    fn encode(&self, e: &mut Encoder) {
        e.map(6);
        e.uint(1).uint(1);
        e.uint(2).bytes(&self.nonce);
        e.uint(3).bytes(self.creator.as_bytes());
        e.uint(4).text(&self.name);
        e.uint(5).bool(self.private);
        e.uint(6).optional(self.recovery_key, |e, key| {
            e.bytes(key.as_bytes());
        });
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut keys = d.map()?;
        keys.expect(d, 1)?;
        if d.uint()? != 1 {
            return Err(d.invalid("a genesis of a later version"));
        }
        keys.expect(d, 2)?;
        let nonce = d.bytes_of()?;
        keys.expect(d, 3)?;
        let creator = ActorId::from_bytes(d.bytes_of()?);
        keys.expect(d, 4)?;
        let name = d.text()?.to_owned();
        if name.len() > MAX_NAME {
            return Err(d.invalid("the name is too long"));
        }
        keys.expect(d, 5)?;
        let private = d.bool()?;
        keys.expect(d, 6)?;
        let recovery_key = d.optional(|d| Ok(ActorId::from_bytes(d.bytes_of()?)))?;
        if keys.next(d)?.is_some() {
            return Err(d.invalid("an unknown field"));
        }
        Ok(Self { nonce, creator, name, private, recovery_key })
    }
}
