//! What is held here whole: all that reaches what a ref of this repository names.
//!
//! That an object lies in a pack says nothing of what it names: a transfer may have been cut short, damage may have taken
//! a pack. Refs move only once everything they reach is here, so what they reach needs no look, and nothing else is
//! spared one.

use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::rc::Rc;

use crate::history::commit::{self, Commit};
use crate::ids::{CommitId, ManifestId, ObjectId, TreeId};
use crate::object::{ObjectKind, ObjectStore};
use crate::tree::manifest::{self, NodeEntries};
use crate::tree::{self, Content, TreeNode};
use crate::{Error, Result};

/// Ids known to be whole that are remembered: some 12 MB. What is beyond is looked at again.
const MAX_WHOLE: usize = 1 << 18;
/// Entries of one directory that are remembered: some 6 MB.
const MAX_ENTRIES: usize = 1 << 16;

/// What lay under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Old {
    Directory(TreeId),
    File(ManifestId),
}

/// What of a directory that is whole has objects beneath it, by name.
pub(super) type OldEntries = Rc<BTreeMap<Box<str>, Old>>;

/// What is here, with everything it reaches.
#[derive(Debug)]
pub(super) struct Held<'a> {
    store: &'a ObjectStore,
    /// Commits not entered yet, the deepest first.
    ahead: BinaryHeap<(u64, CommitId)>,
    commits: HashSet<CommitId>,
    /// Trees and manifests found beneath them so far.
    objects: HashSet<ObjectId>,
    /// Of commits that are not here, the tree of the nearest first parent that is.
    nearest: HashMap<CommitId, Option<TreeId>>,
}

impl<'a> Held<'a> {
    /// `tips` are what refs of this repository name.
    pub(super) fn new(store: &'a ObjectStore, tips: impl IntoIterator<Item = CommitId>) -> Self {
        let (ahead, commits, objects) = (BinaryHeap::new(), HashSet::new(), HashSet::new());
        let mut held = Self { store, ahead, commits, objects, nearest: HashMap::new() };
        tips.into_iter().for_each(|tip| held.enter_later(tip));
        held
    }

    fn enter_later(&mut self, id: CommitId) {
        if self.commits.contains(&id) {
            return;
        }
        match commit::read(self.store, id) {
            Ok(commit) => self.ahead.push((commit.depth, id)),
            // Whatever needs it will look for it elsewhere.
            Err(error) => tracing::warn!(commit = %id, %error, "a commit that is held cannot be read"),
        }
    }

    /// Says whether a commit of this depth is whole.
    pub(super) fn has_commit(&mut self, id: CommitId, depth: u64) -> bool {
        // A commit is deeper than its parents: once none as deep is left, none that descends from it is.
        while let Some(&(_, next)) = self.ahead.peek().filter(|(deepest, _)| *deepest >= depth) {
            self.ahead.pop();
            if self.commits.insert(next)
                && let Ok(commit) = commit::read(self.store, next)
            {
                commit.parents.iter().for_each(|parent| self.enter_later(*parent));
            }
        }
        self.commits.contains(&id)
    }

    /// Says whether a tree or manifest is known to be whole.
    pub(super) fn has(&self, id: ObjectId) -> bool {
        self.objects.contains(&id)
    }

    fn learn(&mut self, id: ObjectId) {
        if self.objects.len() < MAX_WHOLE {
            self.objects.insert(id);
        }
    }

    /// Returns the tree of the nearest commit that is whole, from a commit's first parent on downwards: what the commit
    /// is likely to resemble. `read` gives commits that may not be here.
    pub(super) fn nearest_tree(
        &mut self,
        commit: &Commit,
        read: impl Fn(CommitId) -> Result<Commit>,
    ) -> Result<Option<TreeId>> {
        if self.ahead.is_empty() && self.commits.is_empty() {
            return Ok(None);
        }
        let mut passed = Vec::new();
        let mut at = commit.parents.first().copied();
        let found = loop {
            let Some(id) = at else { break None };
            if let Some(known) = self.nearest.get(&id) {
                break *known;
            }
            let commit = read(id)?;
            if self.has_commit(id, commit.depth) {
                self.learn(commit.tree.0);
                break Some(commit.tree);
            }
            passed.push(id);
            at = commit.parents.first().copied();
        };
        self.nearest.extend(passed.into_iter().map(|id| (id, found)));
        Ok(found)
    }

    /// Reads a directory that is whole, and learns that what it names is too.
    pub(super) fn enter_directory(&mut self, id: TreeId) -> OldEntries {
        let mut old = BTreeMap::new();
        let mut nodes = vec![id];
        while let Some(id) = nodes.pop() {
            let node = self.store.get(id.0, ObjectKind::Tree).and_then(|payload| tree::decode_node(id, &payload));
            match node {
                Ok(TreeNode::Upper { children, .. }) => {
                    children.iter().for_each(|child| self.learn(child.id.0));
                    nodes.extend(children.iter().map(|child| child.id));
                }
                Ok(TreeNode::Leaf(entries)) => {
                    for entry in entries {
                        let beneath = match entry.content {
                            Content::Tree(id) => Old::Directory(id),
                            Content::Manifest(id) => Old::File(id),
                            _ => continue,
                        };
                        self.learn(match beneath {
                            Old::Directory(id) => id.0,
                            Old::File(id) => id.0,
                        });
                        if old.len() < MAX_ENTRIES {
                            old.insert(entry.name, beneath);
                        }
                    }
                }
                Err(error) => self.unreadable(id.0, &error),
            }
        }
        Rc::new(old)
    }

    /// Reads what lists the nodes of a manifest that is whole, and learns that they are too.
    pub(super) fn enter_manifest(&mut self, id: ManifestId) {
        let mut nodes = vec![id];
        while let Some(id) = nodes.pop() {
            match manifest::read_node(self.store, id).map(|node| node.entries) {
                Ok(NodeEntries::Upper(level, children)) => {
                    children.iter().for_each(|(child, _)| self.learn(child.0));
                    if level > 1 {
                        nodes.extend(children.iter().map(|(child, _)| *child));
                    }
                }
                Ok(NodeEntries::Leaf(_)) => {}
                Err(error) => self.unreadable(id.0, &error),
            }
        }
    }

    fn unreadable(&mut self, id: ObjectId, error: &Error) {
        tracing::warn!(object = %id, %error, "what is held cannot be read");
        self.objects.remove(&id);
    }
}
