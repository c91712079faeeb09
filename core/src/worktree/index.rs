//! The index: what the next commit will hold.
//!
//! It is a tree, beginning as HEAD's, so that unstaged tracked files stay in the commit and the index is small enough
//! for the write-ahead log. Where a checkout was interrupted, it says from where to where.

use crate::canonical::{Canonical, DecodeError, Decoder, Encoder};
use crate::history::refs::Head;
use crate::ids::{CommitId, TreeId};

/// A checkout that has begun and not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The tree the worktree had.
    pub from: TreeId,
    /// The tree it is to have.
    pub to: TreeId,
    /// The commit the index is to stand on.
    pub commit: Option<CommitId>,
    /// Where HEAD is to stand.
    pub head: Head,
}

/// The staging area of one actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The commit it began from; `None` on an unborn branch.
    pub base: Option<CommitId>,
    /// What the next commit will hold.
    pub tree: TreeId,
    /// A checkout under way.
    pub pending: Option<Pending>,
}

impl Canonical for Index {
    fn encode(&self, e: &mut Encoder) {
        e.map(4).uint(1).uint(1);
        e.uint(2).optional(self.base, |e, id| {
            e.bytes(id.as_bytes());
        });
        e.uint(3).bytes(self.tree.as_bytes());
        e.uint(4).optional(self.pending.as_ref(), |e, pending| {
            e.array(4).bytes(pending.from.as_bytes()).bytes(pending.to.as_bytes());
            e.optional(pending.commit, |e, id| {
                e.bytes(id.as_bytes());
            });
            e.text(&pending.head.to_string());
        });
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut keys = d.map()?;
        keys.expect(d, 1)?;
        if d.uint()? != 1 {
            return Err(d.invalid("an index of a later version"));
        }
        keys.expect(d, 2)?;
        let base = d.optional(|d| Ok(CommitId::from_bytes(d.bytes_of()?)))?;
        keys.expect(d, 3)?;
        let tree = TreeId::from_bytes(d.bytes_of()?);
        keys.expect(d, 4)?;
        let pending = d.optional(|d| {
            d.array_of(4)?;
            Ok(Pending {
                from: TreeId::from_bytes(d.bytes_of()?),
                to: TreeId::from_bytes(d.bytes_of()?),
                commit: d.optional(|d| Ok(CommitId::from_bytes(d.bytes_of()?)))?,
                head: Head::parse(d.text()?).ok_or_else(|| d.invalid("it names no branch or commit"))?,
            })
        })?;
        if keys.next(d)?.is_some() {
            return Err(d.invalid("an unknown field"));
        }
        Ok(Self { base, tree, pending })
    }
}
