//! The operation log: what each command moved, so that it can be taken back.

use shard_crypto::ActorId;

use crate::canonical::{Canonical, DecodeError, Decoder, Encoder};
use crate::ids::TreeId;

/// A slot that an operation moved: HEAD, a branch, a tag or the index, as the bytes of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotChange {
    /// Path under `.shard/`.
    pub slot: String,
    /// What it held; `None` where it was absent.
    pub old: Option<Vec<u8>>,
    /// What it holds now; `None` where it was removed.
    pub new: Option<Vec<u8>>,
}

/// One entry of the operation log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Who ran it.
    pub actor: ActorId,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// The command, without secrets.
    pub command: String,
    /// What it moved.
    pub changes: Vec<SlotChange>,
    /// What it overwrote in the worktree.
    pub rescue: Option<TreeId>,
}

impl Canonical for Operation {
    fn encode(&self, e: &mut Encoder) {
        e.map(6).uint(1).uint(1);
        e.uint(2).bytes(self.actor.as_bytes());
        e.uint(3).uint(self.time_ms);
        e.uint(4).text(&self.command);
        e.uint(5).array(self.changes.len());
        for change in &self.changes {
            e.array(3).text(&change.slot);
            for value in [&change.old, &change.new] {
                e.optional(value.as_ref(), |e, bytes| {
                    e.bytes(bytes);
                });
            }
        }
        e.uint(6).optional(self.rescue, |e, tree| {
            e.bytes(tree.as_bytes());
        });
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut keys = d.map()?;
        keys.expect(d, 1)?;
        if d.uint()? != 1 {
            return Err(d.invalid("an operation of a later version"));
        }
        keys.expect(d, 2)?;
        let actor = ActorId::from_bytes(d.bytes_of()?);
        keys.expect(d, 3)?;
        let time_ms = d.uint()?;
        keys.expect(d, 4)?;
        let command = d.text()?.to_owned();
        keys.expect(d, 5)?;
        let count = d.array()?;
        let mut changes = Vec::new();
        for _ in 0..count {
            d.array_of(3)?;
            changes.push(SlotChange {
                slot: d.text()?.to_owned(),
                old: d.optional(|d| Ok(d.bytes()?.to_vec()))?,
                new: d.optional(|d| Ok(d.bytes()?.to_vec()))?,
            });
        }
        keys.expect(d, 6)?;
        let rescue = d.optional(|d| Ok(TreeId::from_bytes(d.bytes_of()?)))?;
        if keys.next(d)?.is_some() {
            return Err(d.invalid("an unknown field"));
        }
        Ok(Self { actor, time_ms, command, changes, rescue })
    }
}
