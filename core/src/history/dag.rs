//! The graph of commits, walked newest first.
//!
//! Order is depth, then id: the clocks of those who committed play no part. A commit is deeper than all its parents, so
//! when the deepest is taken first, all that descends from a commit has been seen before it, and one pass answers what
//! one side reaches and the other does not. That a depth is one more than the parents' is checked wherever both are read.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap, HashSet};

use shard_crypto::{Signed, Unverified};

use super::commit::{self, Commit};
use crate::ids::{CommitId, TreeId};
use crate::object::ObjectStore;
use crate::{Error, Result};

/// The commits of a store. Holds nothing: memory is used by walks, in proportion to the width of history.
#[derive(Debug, Clone, Copy)]
pub struct Dag<'s> {
    store: &'s ObjectStore,
}

/// Which side of a walk reaches a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The first.
    Ours,
    /// The second.
    Theirs,
}

/// A commit that a walk came upon.
#[derive(Debug, Clone)]
pub struct WalkedCommit {
    /// Its id.
    pub id: CommitId,
    /// The commit; its signature is not checked.
    pub commit: Signed<Commit, Unverified>,
    /// The trees of its parents, in their order.
    pub parent_trees: Vec<TreeId>,
    /// Who reaches it.
    pub side: Side,
}

impl<'s> Dag<'s> {
    /// Looks at the commits of a store.
    pub fn new(store: &'s ObjectStore) -> Self {
        Self { store }
    }

    /// Walks all that `tips` reach, newest first.
    pub fn walk(&self, tips: impl IntoIterator<Item = CommitId>) -> Result<Walk<'s>> {
        self.walk_without(tips, [])
    }

    /// Walks what `tips` reach and `haves` do not, newest first. Of `haves` those that are not here are passed over.
    ///
    /// Reads no further than to where everything left is reached by `haves`.
    pub fn walk_without(
        &self,
        tips: impl IntoIterator<Item = CommitId>,
        haves: impl IntoIterator<Item = CommitId>,
    ) -> Result<Walk<'s>> {
        let mut walk = Walk::new(self.store, Wanted::Ours);
        for tip in tips {
            walk.reach(tip, OURS)?;
        }
        for have in haves {
            if self.store.contains(have.0)? {
                walk.reach(have, THEIRS)?;
            }
        }
        Ok(walk)
    }

    /// Walks what exactly one of both sides reaches, newest first.
    pub fn walk_difference(
        &self,
        ours: impl IntoIterator<Item = CommitId>,
        theirs: impl IntoIterator<Item = CommitId>,
    ) -> Result<Walk<'s>> {
        let mut walk = Walk::new(self.store, Wanted::Either);
        for tip in ours {
            walk.reach(tip, OURS)?;
        }
        for tip in theirs {
            walk.reach(tip, THEIRS)?;
        }
        Ok(walk)
    }

    /// Counts the commits only `ours` reaches and those only `theirs` does.
    pub fn ahead_behind(&self, ours: CommitId, theirs: CommitId) -> Result<(u64, u64)> {
        let (mut ahead, mut behind) = (0, 0);
        for walked in self.walk_difference([ours], [theirs])? {
            match walked?.side {
                Side::Ours => ahead += 1,
                Side::Theirs => behind += 1,
            }
        }
        Ok((ahead, behind))
    }

    /// Says whether `descendant` reaches `ancestor`; a commit reaches itself. Reads nothing older than `ancestor`'s depth.
    pub fn is_ancestor(&self, ancestor: CommitId, descendant: CommitId) -> Result<bool> {
        if ancestor == descendant {
            return Ok(true);
        }
        let floor = commit::read(self.store, ancestor)?.depth;
        let mut seen = HashSet::from([descendant]);
        let mut waiting = vec![(descendant, commit::read(self.store, descendant)?)];
        while let Some((id, commit)) = waiting.pop() {
            if commit.depth <= floor {
                continue;
            }
            if commit.parents.contains(&ancestor) {
                return Ok(true);
            }
            let mut deepest = 0;
            for &parent in &commit.parents {
                let read = commit::read(self.store, parent)?;
                deepest = deepest.max(read.depth);
                if seen.insert(parent) {
                    waiting.push((parent, read));
                }
            }
            check_depth(id, &commit, deepest)?;
        }
        Ok(false)
    }

    /// Gives every commit that `tips` reach to `visit`, in no order, each once. Tips that are not here are passed over.
    ///
    /// Reads every commit: two microseconds each where their packs are in the page cache.
    pub fn visit_ids(
        &self,
        tips: impl IntoIterator<Item = CommitId>,
        visit: &mut dyn FnMut(CommitId) -> Result<()>,
    ) -> Result<()> {
        let (mut seen, mut waiting) = (HashSet::new(), Vec::new());
        for tip in tips {
            if !seen.contains(&tip) && self.store.contains(tip.0)? {
                seen.insert(tip);
                waiting.push(tip);
            }
        }
        while let Some(id) = waiting.pop() {
            visit(id)?;
            for parent in commit::read(self.store, id)?.parents {
                if seen.insert(parent) {
                    waiting.push(parent);
                }
            }
        }
        Ok(())
    }
}

fn check_depth(id: CommitId, commit: &Commit, deepest_parent: u64) -> Result<()> {
    if commit.depth.checked_sub(1) == Some(deepest_parent) {
        return Ok(());
    }
    let reason = format!("its depth is {} and its parents' {deepest_parent}", commit.depth);
    Err(Error::ObjectCorrupt { id: id.digest(), reason })
}

/// Bit of what our side reaches.
const OURS: u8 = 1;
/// Bit of what the other side reaches.
const THEIRS: u8 = 2;

#[derive(Debug, Clone, Copy)]
enum Wanted {
    Ours,
    Either,
}

impl Wanted {
    fn takes(self, sides: u8) -> bool {
        match self {
            Self::Ours => sides == OURS,
            Self::Either => sides != OURS | THEIRS,
        }
    }
}

#[derive(Debug)]
struct Pending {
    commit: Signed<Commit, Unverified>,
    sides: u8,
}

/// A walk through the commits. After an error it has ended.
#[derive(Debug)]
pub struct Walk<'s> {
    store: &'s ObjectStore,
    wanted: Wanted,
    /// The deepest first; among equally deep ones the least id.
    order: BinaryHeap<(u64, Reverse<CommitId>)>,
    pending: HashMap<CommitId, Pending>,
    /// How many of `pending` are wanted as things stand.
    open: usize,
}

impl<'s> Walk<'s> {
    fn new(store: &'s ObjectStore, wanted: Wanted) -> Self {
        Self { store, wanted, order: BinaryHeap::new(), pending: HashMap::new(), open: 0 }
    }

    /// Notes that sides reach a commit; returns its depth and tree.
    fn reach(&mut self, id: CommitId, sides: u8) -> Result<(u64, TreeId)> {
        let pending = match self.pending.entry(id) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let commit = commit::read_signed(self.store, id)?;
                self.order.push((commit.claimed().depth, Reverse(id)));
                entry.insert(Pending { commit, sides: 0 })
            }
        };
        let was_open = pending.sides != 0 && self.wanted.takes(pending.sides);
        pending.sides |= sides;
        self.open += usize::from(self.wanted.takes(pending.sides));
        self.open -= usize::from(was_open);
        let commit = pending.commit.claimed();
        Ok((commit.depth, commit.tree))
    }

    fn advance(&mut self) -> Result<Option<WalkedCommit>> {
        while self.open > 0 {
            let Some((_, Reverse(id))) = self.order.pop() else { return Ok(None) };
            let Pending { commit, sides } = self.pending.remove(&id).expect("what is in order is pending");
            let wanted = self.wanted.takes(sides);
            self.open -= usize::from(wanted);
            let claimed = commit.claimed();
            let (mut deepest, mut parent_trees) = (0, Vec::with_capacity(claimed.parents.len()));
            for &parent in &claimed.parents {
                let (depth, tree) = self.reach(parent, sides)?;
                deepest = deepest.max(depth);
                parent_trees.push(tree);
            }
            check_depth(id, claimed, deepest)?;
            if wanted {
                let side = if sides & OURS != 0 { Side::Ours } else { Side::Theirs };
                return Ok(Some(WalkedCommit { id, commit, parent_trees, side }));
            }
        }
        Ok(None)
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<WalkedCommit>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            self.open = 0;
        }
        next.transpose()
    }
}
