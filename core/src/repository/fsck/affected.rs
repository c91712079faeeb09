//! Which commits and paths need what is damaged.

use std::collections::{HashMap, HashSet};

use crate::history::commit;
use crate::ids::{CommitId, ManifestId, ObjectId, TreeId};
use crate::object::{ObjectKind, ObjectStore};
use crate::tree::manifest::{self, NodeEntries};
use crate::tree::{Content, TreeNode, decode_node};

/// Most commits and paths listed.
const MAX_LISTED: usize = 10_000;
/// Most paths remembered for one tree.
const MAX_BENEATH: usize = 1_000;
/// Deepest path looked at, and nodes beneath each other with it.
const MAX_DEPTH: usize = 300;

/// A commit that needs something damaged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Affected {
    /// The commit.
    pub commit: CommitId,
    /// The path in its tree; `None` where the commit itself or its root cannot be read.
    pub path: Option<String>,
}

/// Lists the commits from `tips` on that need one of `lost`, newest found first, with their paths.
pub(super) fn find(store: &ObjectStore, tips: &[CommitId], lost: &HashSet<ObjectId>) -> Vec<Affected> {
    let mut search = Search { store, lost, trees: HashMap::new(), manifests: HashMap::new() };
    let (mut found, mut met) = (Vec::new(), HashSet::new());
    let mut pending: Vec<CommitId> = tips.iter().rev().copied().collect();
    while let Some(id) = pending.pop() {
        if found.len() >= MAX_LISTED {
            break;
        }
        if !met.insert(id) {
            continue;
        }
        let Ok(commit) = commit::read(store, id) else {
            found.push(Affected { commit: id, path: None });
            continue;
        };
        for path in search.tree(commit.tree, MAX_DEPTH).iter() {
            let path = Some(path.clone()).filter(|path| !path.is_empty());
            found.push(Affected { commit: id, path });
        }
        pending.extend(commit.parents);
    }
    found.truncate(MAX_LISTED);
    found
}

struct Search<'s> {
    store: &'s ObjectStore,
    lost: &'s HashSet<ObjectId>,
    /// Paths beneath each tree that need something lost; the empty path is the tree itself.
    trees: HashMap<TreeId, std::rc::Rc<Vec<String>>>,
    manifests: HashMap<ManifestId, bool>,
}

impl Search<'_> {
    fn tree(&mut self, id: TreeId, room: usize) -> std::rc::Rc<Vec<String>> {
        if let Some(known) = self.trees.get(&id) {
            return known.clone();
        }
        let mut paths = self.read_tree(id, room);
        paths.truncate(MAX_BENEATH);
        let paths = std::rc::Rc::new(paths);
        self.trees.insert(id, paths.clone());
        paths
    }

    fn read_tree(&mut self, id: TreeId, room: usize) -> Vec<String> {
        let node = self.store.get(id.0, ObjectKind::Tree).and_then(|payload| decode_node(id, &payload));
        let (Ok(node), Some(room)) = (node, room.checked_sub(1)) else { return vec![String::new()] };
        let mut paths = Vec::new();
        match node {
            TreeNode::Upper { children, .. } => {
                for child in children {
                    paths.extend(self.tree(child.id, room).iter().cloned());
                }
            }
            TreeNode::Leaf(entries) => {
                for entry in entries {
                    match entry.content {
                        Content::Inline(_) | Content::Opaque(_) => {}
                        Content::Chunk(chunk) if self.lost.contains(&chunk.0) => paths.push(entry.name.into()),
                        Content::Chunk(_) => {}
                        Content::Manifest(manifest) => {
                            if self.manifest(manifest, room) {
                                paths.push(entry.name.into());
                            }
                        }
                        Content::Tree(below) => {
                            for path in self.tree(below, room).iter() {
                                let under = if path.is_empty() { "" } else { "/" };
                                paths.push(format!("{}{under}{path}", entry.name));
                            }
                        }
                    }
                }
            }
        }
        paths
    }

    fn manifest(&mut self, id: ManifestId, room: usize) -> bool {
        if let Some(known) = self.manifests.get(&id) {
            return *known;
        }
        let needs = match (manifest::read_node(self.store, id), room.checked_sub(1)) {
            (Ok(node), Some(room)) => match node.entries {
                NodeEntries::Leaf(extents) => {
                    extents.iter().filter_map(|extent| extent.chunk).any(|chunk| self.lost.contains(&chunk.0))
                }
                NodeEntries::Upper(_, children) => children.into_iter().any(|(child, _)| self.manifest(child, room)),
            },
            _ => true,
        };
        self.manifests.insert(id, needs);
        needs
    }
}
