//! Everything some commits reach, each object once, held against what refers to it.
//!
//! The walk reads commits, trees and manifests and checks them as it goes: hash, form, sizes, names, levels, depths. What
//! it comes upon it tells a [`Reached`]; chunks are only named to it, since how thoroughly they are looked at differs.
//! Memory grows with the metadata reached, some 100 bytes a tree or manifest node, not with chunks.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use shard_crypto::{Signed, Unverified};

use super::fault::{self, Fault, ObjectFault};
use crate::canonical::Canonical;
use crate::history::commit::{self, Commit};
use crate::ids::{ChunkId, CommitId, ManifestId, ObjectId, TreeId};
use crate::object::{ObjectBytes, ObjectKind, ObjectStore};
use crate::tree::manifest::{ManifestNode, NodeEntries};
use crate::tree::{Content, NodeRef, TreeEntry, TreeNode, decode_node, walk};
use crate::{Error, RepoPath, Result};

/// Learns what a walk comes upon.
pub(crate) trait Reached {
    /// A commit whose form and depth hold. Its signature was not looked at.
    fn commit(&mut self, id: CommitId, commit: Signed<Commit, Unverified>) -> Result<()>;
    /// A chunk that the file at `path` needs, of `length` bytes. The same one may be named again.
    fn chunk(&mut self, id: ChunkId, length: u64, path: &Arc<str>) -> Result<()>;
    /// A commit, tree or manifest node of so many bytes, once.
    fn object(&mut self, bytes: u64) -> Result<()>;
    /// Something is wrong.
    fn fault(&mut self, fault: ObjectFault);
}

/// What is remembered of a tree node, to hold it against each node above it.
#[derive(Debug)]
struct NodeSummary {
    level: u64,
    size: u64,
    first: Option<Box<str>>,
    last: Option<Box<str>>,
}

/// What is remembered of a manifest node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ManifestSummary {
    level: u64,
    size: u64,
    profile: u64,
}

/// The file a manifest belongs to.
#[derive(Clone, Copy)]
struct File<'a> {
    path: &'a RepoPath,
    /// The same path, for those that keep it.
    shared: &'a Arc<str>,
    /// How many nodes may still lie below each other.
    room: usize,
}

/// Nodes that may lie below each other in one directory or manifest: more than either format admits. Whoever chains
/// nodes beyond their levels does not get to choose how deep this recurses.
const MAX_NODES_DEEP: usize = 10;

const TOO_DEEP: &str = "more nodes lie below each other than there are levels";

/// A walk over everything some commits reach.
pub(crate) struct Closure<'s, R> {
    store: &'s ObjectStore,
    pub(crate) reached: R,
    /// `None` for what cannot be read.
    depths: HashMap<CommitId, Option<u64>>,
    visited: HashSet<CommitId>,
    nodes: HashMap<TreeId, Option<Rc<NodeSummary>>>,
    manifests: HashMap<ManifestId, Option<ManifestSummary>>,
}

impl<'s, R: Reached> Closure<'s, R> {
    pub(crate) fn new(store: &'s ObjectStore, reached: R) -> Self {
        Self {
            store,
            reached,
            depths: HashMap::new(),
            visited: HashSet::new(),
            nodes: HashMap::new(),
            manifests: HashMap::new(),
        }
    }

    fn fault(&mut self, id: ObjectId, fault: Fault, path: Option<&RepoPath>, why: impl Into<String>) {
        let path = path.map(|path| path.as_str().to_owned());
        self.reached.fault(ObjectFault { id, fault, path, why: why.into() });
    }

    fn error(&mut self, id: ObjectId, path: Option<&RepoPath>, error: &Error) {
        let why = fault::why(error);
        self.fault(id, Fault::of(error), path, why);
    }

    /// Returns how many commits were visited.
    pub(crate) fn commits(&self) -> u64 {
        self.visited.len() as u64
    }

    /// Walks these commits, all their ancestors, and all that belongs to them.
    ///
    /// # Errors
    /// Only what `reached` fails with.
    pub(crate) fn walk(&mut self, tips: impl IntoIterator<Item = CommitId>) -> Result<()> {
        let mut pending: Vec<CommitId> = tips.into_iter().collect();
        pending.reverse();
        while let Some(id) = pending.pop() {
            if !self.visited.insert(id) {
                continue;
            }
            let commit = match commit::read_signed(self.store, id) {
                Ok(commit) => commit,
                Err(error) => {
                    self.depths.insert(id, None);
                    self.error(id.0, None, &error);
                    continue;
                }
            };
            let claimed = commit.claimed();
            let (tree, parents, depth) = (claimed.tree, claimed.parents.clone(), claimed.depth);
            let body = claimed.to_bytes();
            if shard_crypto::Digest::of(&body) != *commit.digest() {
                self.fault(id.0, Fault::Invalid, None, "it is not in the one form its content has");
            }
            self.depths.insert(id, Some(depth));
            let of_parents: Vec<_> = parents.iter().map(|parent| self.depth(*parent)).collect();
            // A parent that cannot be read is told of when it is visited.
            if of_parents.iter().all(Option::is_some) {
                let greatest = of_parents.into_iter().flatten().max().unwrap_or(0);
                if greatest.checked_add(1) != Some(depth) {
                    self.fault(id.0, Fault::Invalid, None, "its depth is not one more than its parents'");
                }
            }
            self.reached.object(body.len() as u64)?;
            self.reached.commit(id, commit)?;
            self.directory(tree, None)?;
            pending.extend(parents.into_iter().rev());
        }
        Ok(())
    }

    fn depth(&mut self, id: CommitId) -> Option<u64> {
        if let Some(depth) = self.depths.get(&id) {
            return *depth;
        }
        let depth = commit::read(self.store, id).ok().map(|commit| commit.depth);
        self.depths.insert(id, depth);
        depth
    }

    fn payload(&mut self, id: ObjectId, kind: ObjectKind, path: Option<&RepoPath>) -> Option<ObjectBytes> {
        match self.store.get(id, kind) {
            Ok(payload) => Some(payload),
            Err(error) => {
                self.error(id, path, &error);
                None
            }
        }
    }

    /// Walks a directory and all beneath it; returns its size, or `None` where its root cannot be read.
    pub(crate) fn directory(&mut self, id: TreeId, path: Option<&RepoPath>) -> Result<Option<u64>> {
        Ok(self.node(id, path, MAX_NODES_DEEP)?.map(|node| node.size))
    }

    fn node(&mut self, id: TreeId, path: Option<&RepoPath>, room: usize) -> Result<Option<Rc<NodeSummary>>> {
        if let Some(known) = self.nodes.get(&id) {
            return Ok(known.clone());
        }
        let summary = match room.checked_sub(1) {
            Some(room) => self.read_node(id, path, room)?.map(Rc::new),
            None => {
                self.fault(id.0, Fault::Invalid, path, TOO_DEEP);
                None
            }
        };
        self.nodes.insert(id, summary.clone());
        Ok(summary)
    }

    fn read_node(&mut self, id: TreeId, path: Option<&RepoPath>, room: usize) -> Result<Option<NodeSummary>> {
        let Some(payload) = self.payload(id.0, ObjectKind::Tree, path) else { return Ok(None) };
        self.reached.object(payload.len() as u64)?;
        let node = match decode_node(id, &payload) {
            Ok(node) => node,
            Err(error) => {
                self.error(id.0, path, &error);
                return Ok(None);
            }
        };
        if node.to_bytes() != *payload {
            self.fault(id.0, Fault::Invalid, path, "it is not in the one form its content has");
        }
        drop(payload);
        let size = node.size();
        Ok(Some(match node {
            TreeNode::Leaf(entries) => {
                for entry in &entries {
                    self.entry(id, entry, path)?;
                }
                let name = |entry: Option<&TreeEntry>| entry.map(|entry| entry.name.clone());
                NodeSummary { level: 0, size, first: name(entries.first()), last: name(entries.last()) }
            }
            TreeNode::Upper { level, children } => {
                let (mut first, mut last): (Option<Box<str>>, Option<Box<str>>) = (None, None);
                for child in &children {
                    let Some(below) = self.node(child.id, path, room)? else { continue };
                    if !fits(&below, level - 1, child) {
                        self.fault(child.id.0, Fault::Invalid, path, "it does not hold what the node above says");
                    }
                    let ordered = match (&last, &below.first) {
                        (Some(last), Some(first)) => last.as_bytes() < first.as_bytes(),
                        _ => true,
                    };
                    if !ordered {
                        self.fault(id.0, Fault::Invalid, path, "its entries are not sorted across nodes");
                    }
                    first = first.or_else(|| below.first.clone());
                    last = Some(child.last.clone());
                }
                let last = children.last().map(|child| child.last.clone());
                NodeSummary { level, size, first, last }
            }
        }))
    }

    fn entry(&mut self, tree: TreeId, entry: &TreeEntry, path: Option<&RepoPath>) -> Result<()> {
        if entry.content.object().is_none() {
            return Ok(());
        }
        let here = match walk::join(path, &entry.name) {
            Ok(here) => here,
            Err(error) => {
                self.error(tree.0, path, &error);
                return Ok(());
            }
        };
        let wrong_size = |found: u64| format!("it has {found} bytes where {} are recorded", entry.size);
        match &entry.content {
            Content::Inline(_) | Content::Opaque(_) => {}
            Content::Chunk(id) => self.reached.chunk(*id, entry.size, &here.as_str().into())?,
            Content::Manifest(id) => {
                let shared = here.as_str().into();
                let file = File { path: &here, shared: &shared, room: MAX_NODES_DEEP };
                let found = self.manifest(*id, file)?;
                if let Some(found) = found.filter(|found| found.size != entry.size) {
                    self.fault(id.0, Fault::Invalid, Some(&here), wrong_size(found.size));
                }
            }
            Content::Tree(id) => {
                let found = self.directory(*id, Some(&here))?;
                if let Some(found) = found.filter(|found| *found != entry.size) {
                    self.fault(id.0, Fault::Invalid, Some(&here), wrong_size(found));
                }
            }
        }
        Ok(())
    }

    fn manifest(&mut self, id: ManifestId, file: File<'_>) -> Result<Option<ManifestSummary>> {
        if let Some(known) = self.manifests.get(&id) {
            return Ok(*known);
        }
        let summary = match file.room.checked_sub(1) {
            Some(room) => self.read_manifest(id, File { room, ..file })?,
            None => {
                self.fault(id.0, Fault::Invalid, Some(file.path), TOO_DEEP);
                None
            }
        };
        self.manifests.insert(id, summary);
        Ok(summary)
    }

    fn read_manifest(&mut self, id: ManifestId, file: File<'_>) -> Result<Option<ManifestSummary>> {
        let path = file.path;
        let Some(payload) = self.payload(id.0, ObjectKind::Manifest, Some(path)) else { return Ok(None) };
        self.reached.object(payload.len() as u64)?;
        let node = match ManifestNode::from_bytes(&payload) {
            Ok(node) => node,
            Err(error) => {
                self.fault(id.0, Fault::Damaged, Some(path), error.to_string());
                return Ok(None);
            }
        };
        if node.to_bytes() != *payload {
            self.fault(id.0, Fault::Invalid, Some(path), "it is not in the one form its content has");
        }
        drop(payload);
        let (size, profile) = (node.size, node.profile);
        let level = match node.entries {
            NodeEntries::Leaf(extents) => {
                for extent in extents {
                    if let Some(chunk) = extent.chunk {
                        self.reached.chunk(chunk, extent.length, file.shared)?;
                    }
                }
                0
            }
            NodeEntries::Upper(level, children) => {
                for (child, size) in children {
                    let expected = ManifestSummary { level: level - 1, size, profile };
                    let found = self.manifest(child, file)?;
                    if found.is_some_and(|found| found != expected) {
                        self.fault(child.0, Fault::Invalid, Some(path), "it does not hold what the node above says");
                    }
                }
                level
            }
        };
        Ok(Some(ManifestSummary { level, size, profile }))
    }
}

fn fits(found: &NodeSummary, level: u64, above: &NodeRef) -> bool {
    found.level == level && found.size == above.size && found.last.as_deref() == Some(&*above.last)
}
