//! Editing trees: a new root from an old one and a set of changes.

use std::collections::{BTreeMap, HashMap};

use super::{Content, EntryType, Tree, TreeEntry};
use crate::ids::TreeId;
use crate::object::{ObjectSink, ObjectStore};
use crate::{RepoPath, Result};

/// What stands at a path: an entry without its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: EntryType,
    /// Bytes of content; of a directory, the total beneath it.
    pub size: u64,
    /// Where its content is.
    pub content: Content,
}

impl Node {
    /// The empty directory.
    pub fn empty_directory() -> Self {
        Self { kind: EntryType::Directory, size: 0, content: Content::Tree(Tree::empty_id()) }
    }

    /// Gives it a name.
    pub fn named(self, name: &str) -> TreeEntry {
        TreeEntry { name: name.into(), kind: self.kind, size: self.size, content: self.content }
    }
}

impl From<TreeEntry> for Node {
    fn from(entry: TreeEntry) -> Self {
        Self { kind: entry.kind, size: entry.size, content: entry.content }
    }
}

#[derive(Debug, Default)]
struct Edit {
    /// `Some(None)` removes what is here and all beneath it, `Some(Some(_))` puts something in its place.
    here: Option<Option<Node>>,
    beneath: BTreeMap<Box<str>, Edit>,
}

/// A set of changes to a tree. Later changes to a path replace earlier ones.
///
/// A directory left without entries disappears, unless an empty one was put there.
#[derive(Debug, Default)]
pub struct TreeEditor {
    root: Edit,
    edits: usize,
}

impl TreeEditor {
    /// Starts without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says whether nothing was changed.
    pub fn is_empty(&self) -> bool {
        self.edits == 0
    }

    fn at(&mut self, path: &RepoPath) -> &mut Edit {
        self.edits += 1;
        path.components().fold(&mut self.root, |edit, name| edit.beneath.entry(name.into()).or_default())
    }

    /// Puts something at a path, in place of whatever is there and beneath it.
    pub fn set(&mut self, path: &RepoPath, node: Node) {
        *self.at(path) = Edit { here: Some(Some(node)), beneath: BTreeMap::new() };
    }

    /// Removes a path and everything beneath it. Changes made beneath it afterwards still count.
    pub fn remove(&mut self, path: &RepoPath) {
        *self.at(path) = Edit { here: Some(None), beneath: BTreeMap::new() };
    }

    /// [Sets](Self::set) a path, or [removes](Self::remove) it where there is nothing to put there.
    pub fn put(&mut self, path: &RepoPath, node: Option<Node>) {
        match node {
            Some(node) => self.set(path, node),
            None => self.remove(path),
        }
    }

    /// Applies the changes to `base` and writes the nodes that are new. Directories without changes are not read.
    pub fn apply(self, store: &ObjectStore, base: TreeId, sink: &mut dyn ObjectSink) -> Result<TreeId> {
        self.apply_recording(store, base, sink, &mut HashMap::new())
    }

    /// Applies the changes and records the tree of every directory it wrote, by path (empty for the root).
    pub fn apply_recording(
        self,
        store: &ObjectStore,
        base: TreeId,
        sink: &mut dyn ObjectSink,
        written: &mut HashMap<String, TreeId>,
    ) -> Result<TreeId> {
        if self.is_empty() {
            return Ok(base);
        }
        let mut editing = Editing { store, sink, written };
        let entries = editing.directory("", Some(base), self.root.beneath)?;
        let tree = Tree::from_sorted(entries).write(sink)?;
        written.insert(String::new(), tree);
        Ok(tree)
    }
}

struct Editing<'a> {
    store: &'a ObjectStore,
    sink: &'a mut dyn ObjectSink,
    written: &'a mut HashMap<String, TreeId>,
}

impl Editing<'_> {
    fn directory(
        &mut self,
        path: &str,
        base: Option<TreeId>,
        edits: BTreeMap<Box<str>, Edit>,
    ) -> Result<Vec<TreeEntry>> {
        let base = match base {
            Some(id) => Tree::read(self.store, id)?.into_entries(),
            None => Vec::new(),
        };
        let mut result = Vec::with_capacity(base.len() + edits.len());
        let mut base = base.into_iter().peekable();
        for (name, edit) in edits {
            while let Some(entry) = base.next_if(|entry| entry.name.as_bytes() < name.as_bytes()) {
                result.push(entry);
            }
            let old = base.next_if(|entry| *entry.name == *name);
            result.extend(self.entry(path, &name, old, edit)?);
        }
        result.extend(base);
        Ok(result)
    }

    fn entry(&mut self, parent: &str, name: &str, old: Option<TreeEntry>, edit: Edit) -> Result<Option<TreeEntry>> {
        let current = match edit.here {
            Some(node) => node.map(|node| node.named(name)),
            None => old,
        };
        if edit.beneath.is_empty() {
            return Ok(current);
        }
        // What is not a directory gives way to what was put beneath it; a removal beneath it changes nothing.
        let base = current.as_ref().and_then(TreeEntry::tree);
        let path = if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") };
        let entries = self.directory(&path, base, edit.beneath)?;
        if entries.is_empty() {
            // An empty directory that was put here, or was here before, stays one.
            let stays = |entry: &TreeEntry| entry.tree().is_none_or(|tree| tree == Tree::empty_id());
            return Ok(current.filter(stays));
        }
        let tree = Tree::from_sorted(entries);
        let size = tree.size();
        let id = tree.write(self.sink)?;
        self.written.insert(path, id);
        Ok(Some(TreeEntry { name: name.into(), kind: EntryType::Directory, size, content: Content::Tree(id) }))
    }
}
