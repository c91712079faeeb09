//! Walking trees: one path, everything beneath, or what differs between two.

use std::collections::VecDeque;

use super::{EntryType, Tree, TreeEntry, TreeNode, decode_node};
use crate::ids::TreeId;
use crate::object::ObjectStore;
use crate::{RepoPath, Result};

/// Finds one name in a directory, reading only the nodes on the way.
pub fn lookup(store: &ObjectStore, tree: TreeId, name: &str) -> Result<Option<TreeEntry>> {
    let mut id = tree;
    loop {
        match decode_node(id, &store.get(id.0, TreeId::KIND)?)? {
            TreeNode::Leaf(mut entries) => {
                let found = entries.binary_search_by(|entry| entry.name.as_bytes().cmp(name.as_bytes()));
                return Ok(found.ok().map(|at| entries.swap_remove(at)));
            }
            TreeNode::Upper { children, .. } => {
                let at = children.partition_point(|child| child.last.as_bytes() < name.as_bytes());
                match children.get(at) {
                    Some(child) => id = child.id,
                    None => return Ok(None),
                }
            }
        }
    }
}

/// Finds a path beneath a root.
pub fn find(store: &ObjectStore, root: TreeId, path: &RepoPath) -> Result<Option<TreeEntry>> {
    let mut tree = root;
    let mut components = path.components().peekable();
    while let Some(name) = components.next() {
        let Some(entry) = lookup(store, tree, name)? else { return Ok(None) };
        if components.peek().is_none() {
            return Ok(Some(entry));
        }
        match entry.tree() {
            Some(id) => tree = id,
            None => return Ok(None),
        }
    }
    Ok(None)
}

/// Visits every entry beneath a directory in path order, a directory before what it holds. `path` is where it lies.
pub fn visit(
    store: &ObjectStore,
    tree: TreeId,
    path: Option<&RepoPath>,
    visitor: &mut dyn FnMut(RepoPath, &TreeEntry) -> Result<()>,
) -> Result<()> {
    for entry in Tree::read(store, tree)?.entries() {
        let here = join(path, &entry.name)?;
        visitor(here.clone(), entry)?;
        if let Some(tree) = entry.tree() {
            visit(store, tree, Some(&here), visitor)?;
        }
    }
    Ok(())
}

/// Appends a name that a tree holds.
pub fn join(path: Option<&RepoPath>, name: &str) -> Result<RepoPath> {
    match path {
        Some(path) => path.join(name),
        None => RepoPath::parse(name),
    }
}

/// One path that differs between two trees. Never a directory on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeChange {
    /// Where.
    pub path: RepoPath,
    /// What the first tree has there.
    pub old: Option<TreeEntry>,
    /// What the second has.
    pub new: Option<TreeEntry>,
}

/// Lists what differs between two roots in path order, reading only directories whose ids differ.
///
/// A directory that is only on one side is listed by its files and links; an empty one by itself.
pub fn compare(store: &ObjectStore, old: Option<TreeId>, new: Option<TreeId>) -> Result<Vec<TreeChange>> {
    let mut changes = Vec::new();
    compare_directory(store, old, new, None, &mut changes)?;
    Ok(changes)
}

fn compare_directory(
    store: &ObjectStore,
    old: Option<TreeId>,
    new: Option<TreeId>,
    path: Option<&RepoPath>,
    changes: &mut Vec<TreeChange>,
) -> Result<()> {
    if old == new {
        return Ok(());
    }
    let read = |id: Option<TreeId>| match id {
        Some(id) => Ok(VecDeque::from(Tree::read(store, id)?.into_entries())),
        None => Ok::<_, crate::Error>(VecDeque::new()),
    };
    let (mut old, mut new) = (read(old)?, read(new)?);
    loop {
        let order = match (old.front(), new.front()) {
            (None, None) => return Ok(()),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(a), Some(b)) => a.name.as_bytes().cmp(b.name.as_bytes()),
        };
        let a = if order.is_le() { old.pop_front() } else { None };
        let b = if order.is_ge() { new.pop_front() } else { None };
        if let (Some(a), Some(b)) = (&a, &b)
            && a.same_content(b)
        {
            continue;
        }
        let name = a.as_ref().or(b.as_ref()).map(|entry| entry.name.clone()).unwrap_or_default();
        let here = join(path, &name)?;
        let trees = (a.as_ref().and_then(TreeEntry::tree), b.as_ref().and_then(TreeEntry::tree));
        // A file in place of a directory, or the other way round, is a change of its own beside those beneath.
        let a = a.filter(is_listed);
        let b = b.filter(is_listed);
        if a.is_some() || b.is_some() {
            changes.push(TreeChange { path: here.clone(), old: a, new: b });
        }
        if trees.0.is_some() || trees.1.is_some() {
            compare_directory(store, trees.0, trees.1, Some(&here), changes)?;
        }
    }
}

/// A directory stands in a list of changes only when it is empty, since otherwise its files do.
fn is_listed(entry: &TreeEntry) -> bool {
    entry.kind != EntryType::Directory || entry.tree() == Some(Tree::empty_id())
}
