//! Trees: a directory as a sorted list of named entries.
//!
//! A small directory is one node. A large one is split at places that depend on its names alone, so equal content has
//! one id whatever its history, and one change rewrites few nodes. [`manifest`] does the same for the chunks of a file.
//! Nodes are read through [`ObjectStore`](crate::object::ObjectStore) and written to an
//! [`ObjectSink`](crate::object::ObjectSink); everything read here has passed the gate.

pub mod editor;
pub mod manifest;
pub mod walk;

use std::sync::LazyLock;

use crate::canonical::{Canonical, DecodeError, Decoder, Encoder, ItemType};
use crate::ids::{ChunkId, ManifestId, ObjectId, TreeId};
use crate::object::{ObjectSink, ObjectStore};
use crate::repo_path::validate_component;
use crate::{Error, Result};

/// Content of at most this many bytes stands in the entry itself: an id and its frame would cost as much.
pub const MAX_INLINE: usize = 128;
/// Largest tree node in bytes, a quarter of the largest object.
pub const MAX_NODE: usize = 256 << 10;
/// Longest target of a symbolic link in bytes: Linux's `PATH_MAX`.
pub const MAX_TARGET: u64 = 4096;
/// A directory of at most this many entries, and at most [`SPLIT_BYTES`], is one node.
const SPLIT_ENTRIES: usize = 1024;
/// See [`SPLIT_ENTRIES`].
const SPLIT_BYTES: usize = 64 << 10;
/// Fewest entries of a node that ends where a name says so.
const MIN_NODE_ENTRIES: usize = 64;
/// Deepest tree of nodes for one directory: at 64 entries a node, far beyond 2^32 names.
const MAX_LEVEL: u64 = 8;

/// What an entry of a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryType {
    /// A regular file.
    File,
    /// A regular file that may be executed.
    Executable,
    /// A symbolic link; never followed.
    Symlink,
    /// A directory.
    Directory,
    /// A type of a later version. It is kept and listed, and cannot be checked out.
    Unknown(u8),
}

impl EntryType {
    fn number(self) -> u64 {
        match self {
            Self::File => 0,
            Self::Executable => 1,
            Self::Symlink => 2,
            Self::Directory => 3,
            Self::Unknown(number) => u64::from(number),
        }
    }

    fn from_number(number: u8) -> Self {
        match number {
            0 => Self::File,
            1 => Self::Executable,
            2 => Self::Symlink,
            3 => Self::Directory,
            other => Self::Unknown(other),
        }
    }

    /// Says whether it is a regular file, executable or not.
    pub fn is_file(self) -> bool {
        matches!(self, Self::File | Self::Executable)
    }

    /// Returns the word shown to people and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Executable => "executable",
            Self::Symlink => "symlink",
            Self::Directory => "directory",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// Where the bytes of an entry are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Content {
    /// Here: at most [`MAX_INLINE`] bytes.
    Inline(Box<[u8]>),
    /// One chunk holds all of it.
    Chunk(ChunkId),
    /// A manifest lists its chunks.
    Manifest(ManifestId),
    /// A directory's tree.
    Tree(TreeId),
    /// The content of an entry type of a later version, as encoded.
    Opaque(Box<[u8]>),
}

impl Content {
    /// Returns the object this content stands in, where it is not inline.
    pub fn object(&self) -> Option<ObjectId> {
        match self {
            Self::Inline(_) | Self::Opaque(_) => None,
            Self::Chunk(id) => Some(id.0),
            Self::Manifest(id) => Some(id.0),
            Self::Tree(id) => Some(id.0),
        }
    }
}

/// One named entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TreeEntry {
    /// Its name, one checked component.
    pub name: Box<str>,
    /// What it is.
    pub kind: EntryType,
    /// Bytes of content; of a directory, the total beneath it.
    pub size: u64,
    /// Where its content is.
    pub content: Content,
}

impl TreeEntry {
    /// Returns the tree of a directory.
    pub fn tree(&self) -> Option<TreeId> {
        match self.content {
            Content::Tree(id) if self.kind == EntryType::Directory => Some(id),
            _ => None,
        }
    }

    /// Says whether both have the same type and content, whatever their names.
    pub fn same_content(&self, other: &Self) -> bool {
        self.kind == other.kind && self.size == other.size && self.content == other.content
    }

    fn encode(&self, e: &mut Encoder) {
        e.array(4).text(&self.name).uint(self.kind.number()).uint(self.size);
        match &self.content {
            Content::Inline(bytes) => e.bytes(bytes),
            Content::Chunk(id) => e.array(2).uint(0).bytes(id.as_bytes()),
            Content::Manifest(id) => e.array(2).uint(1).bytes(id.as_bytes()),
            Content::Tree(id) => e.bytes(id.as_bytes()),
            Content::Opaque(item) => e.raw(item),
        };
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        d.array_of(4)?;
        let name = d.text()?;
        if validate_component(name.as_bytes()).is_err() {
            return Err(d.invalid("an entry has a name that is not allowed"));
        }
        let kind = EntryType::from_number(d.uint_as()?);
        let size = d.uint()?;
        let content = match kind {
            EntryType::Unknown(_) => Content::Opaque(d.item()?.into()),
            EntryType::Directory => Content::Tree(TreeId::from_bytes(d.bytes_of()?)),
            _ if d.peek()? == ItemType::Bytes => {
                let bytes = d.bytes()?;
                if bytes.len() > MAX_INLINE || bytes.len() as u64 != size {
                    return Err(d.invalid("inline content does not have the size stated"));
                }
                Content::Inline(bytes.into())
            }
            _ => {
                d.array_of(2)?;
                let form = d.uint_to(1)?;
                let id = d.bytes_of()?;
                match form {
                    0 => Content::Chunk(ChunkId::from_bytes(id)),
                    _ if kind == EntryType::Symlink => return Err(d.invalid("a link's target is no manifest")),
                    _ => Content::Manifest(ManifestId::from_bytes(id)),
                }
            }
        };
        if kind == EntryType::Symlink && (size > MAX_TARGET || size == 0) {
            return Err(d.invalid("a link's target has a length that is not allowed"));
        }
        Ok(Self { name: name.into(), kind, size, content })
    }
}

/// A reference from an upper node to the node below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRef {
    /// The greatest name beneath.
    pub last: Box<str>,
    /// Bytes of content beneath.
    pub size: u64,
    /// The node.
    pub id: TreeId,
}

/// One node of a directory: what a tree object holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeNode {
    /// Entries, sorted by name bytes.
    Leaf(Vec<TreeEntry>),
    /// Nodes one level below, sorted by their last names.
    Upper {
        /// 1 just above the leaves.
        level: u64,
        /// The nodes below.
        children: Vec<NodeRef>,
    },
}

impl Canonical for TreeNode {
    fn encode(&self, e: &mut Encoder) {
        match self {
            Self::Leaf(entries) => {
                e.array(3).uint(1).uint(0).array(entries.len());
                entries.iter().for_each(|entry| entry.encode(e));
            }
            Self::Upper { level, children } => {
                e.array(3).uint(1).uint(*level).array(children.len());
                for child in children {
                    e.array(3).text(&child.last).uint(child.size).bytes(child.id.as_bytes());
                }
            }
        }
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        d.array_of(3)?;
        if d.uint()? != 1 {
            return Err(d.invalid("a tree of a later version"));
        }
        let level = d.uint_to(MAX_LEVEL)?;
        let count = d.array()?;
        if level == 0 {
            // An entry takes 5 bytes at least, so memory is bounded by the node's own length.
            let mut entries: Vec<TreeEntry> = Vec::with_capacity(count.min(d.remaining() / 5));
            let mut total = 0u64;
            for _ in 0..count {
                let entry = TreeEntry::decode(d)?;
                if entries.last().is_some_and(|last| last.name.as_bytes() >= entry.name.as_bytes()) {
                    return Err(d.invalid("entries are not sorted, or a name stands twice"));
                }
                total = total.checked_add(entry.size).ok_or_else(|| d.invalid("sizes overflow"))?;
                entries.push(entry);
            }
            return Ok(Self::Leaf(entries));
        }
        if count == 0 {
            return Err(d.invalid("an upper node has no children"));
        }
        let mut children: Vec<NodeRef> = Vec::with_capacity(count.min(d.remaining() / 36));
        let mut total = 0u64;
        for _ in 0..count {
            d.array_of(3)?;
            let last: Box<str> = d.text()?.into();
            if children.last().is_some_and(|before| before.last.as_bytes() >= last.as_bytes()) {
                return Err(d.invalid("nodes are not sorted"));
            }
            let size = d.uint()?;
            total = total.checked_add(size).ok_or_else(|| d.invalid("sizes overflow"))?;
            children.push(NodeRef { last, size, id: TreeId::from_bytes(d.bytes_of()?) });
        }
        Ok(Self::Upper { level, children })
    }
}

impl TreeNode {
    /// Bytes of content beneath.
    pub fn size(&self) -> u64 {
        match self {
            Self::Leaf(entries) => entries.iter().map(|entry| entry.size).sum(),
            Self::Upper { children, .. } => children.iter().map(|child| child.size).sum(),
        }
    }
}

/// A directory's entries, whole and sorted by name bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    entries: Vec<TreeEntry>,
}

impl Tree {
    /// Returns the id of the empty directory.
    pub fn empty_id() -> TreeId {
        static EMPTY: LazyLock<TreeId> =
            LazyLock::new(|| TreeId(crate::object::ObjectKind::Tree.id(&TreeNode::Leaf(Vec::new()).to_bytes())));
        *EMPTY
    }

    /// Makes a directory of entries that are sorted by name bytes, each name once.
    pub(crate) fn from_sorted(entries: Vec<TreeEntry>) -> Self {
        debug_assert!(entries.is_sorted_by(|a, b| a.name.as_bytes() < b.name.as_bytes()));
        Self { entries }
    }

    /// Reads a directory, all its nodes.
    ///
    /// # Errors
    /// A node that is absent, damaged, or does not hold what the node above says.
    pub fn read(store: &ObjectStore, id: TreeId) -> Result<Self> {
        let mut entries = Vec::new();
        read_node(store, id, None, &mut entries)?;
        Ok(Self { entries })
    }

    /// Returns the entries.
    pub fn entries(&self) -> &[TreeEntry] {
        &self.entries
    }

    /// Takes the entries out.
    pub fn into_entries(self) -> Vec<TreeEntry> {
        self.entries
    }

    /// Bytes of content beneath.
    pub fn size(&self) -> u64 {
        // Sizes that strangers state may add up to more; such a directory is never written.
        self.entries.iter().map(|entry| entry.size).fold(0, u64::saturating_add)
    }

    /// Returns the entry of this name.
    pub fn get(&self, name: &str) -> Option<&TreeEntry> {
        let at = self.entries.binary_search_by(|entry| entry.name.as_bytes().cmp(name.as_bytes())).ok()?;
        Some(&self.entries[at])
    }

    /// Writes the directory's nodes and returns its id. Nodes that exist already cost a lookup.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a directory whose sizes add up to 2^64 bytes or more.
    pub fn write(&self, sink: &mut dyn ObjectSink) -> Result<TreeId> {
        if self.entries.iter().try_fold(0u64, |sum, entry| sum.checked_add(entry.size)).is_none() {
            return Err(Error::Unsupported { what: "a directory of 2^64 bytes or more".to_owned() });
        }
        let whole = encode_leaf(&self.entries);
        if self.entries.len() <= SPLIT_ENTRIES && whole.len() <= SPLIT_BYTES {
            return Ok(TreeId(sink.put(crate::object::ObjectKind::Tree, &whole)?));
        }
        drop(whole);
        let mut nodes = Vec::new();
        let mut start = 0;
        let mut bytes = 0;
        for (at, entry) in self.entries.iter().enumerate() {
            let length = encoded_length(entry);
            // The node's own head takes 7 bytes at most.
            if start < at && bytes + length + 7 > MAX_NODE {
                nodes.push(write_leaf(sink, &self.entries[start..at])?);
                (start, bytes) = (at, 0);
            }
            bytes += length;
            if ends_node(at + 1 - start, &entry.name, 0) {
                nodes.push(write_leaf(sink, &self.entries[start..=at])?);
                (start, bytes) = (at + 1, 0);
            }
        }
        if start < self.entries.len() {
            nodes.push(write_leaf(sink, &self.entries[start..])?);
        }
        let mut level = 1;
        while nodes.len() > 1 {
            let mut above = Vec::new();
            let mut group: Vec<NodeRef> = Vec::new();
            let mut bytes = 0;
            for node in nodes {
                // A name, its length, a size, an id and what announces them.
                let length = node.last.len() + 48;
                if !group.is_empty() && bytes + length + 7 > MAX_NODE {
                    above.push(write_upper(sink, level, std::mem::take(&mut group))?);
                    bytes = 0;
                }
                bytes += length;
                let ends = ends_node(group.len() + 1, &node.last, level);
                group.push(node);
                if ends {
                    above.push(write_upper(sink, level, std::mem::take(&mut group))?);
                    bytes = 0;
                }
            }
            if !group.is_empty() {
                above.push(write_upper(sink, level, group)?);
            }
            nodes = above;
            level += 1;
        }
        Ok(nodes.pop().expect("a directory above the split size has entries").id)
    }
}

/// Says whether a node that has `count` entries, the last of which is `name`, ends here.
fn ends_node(count: usize, name: &str, level: u64) -> bool {
    let byte = 31 - level as usize;
    count >= SPLIT_ENTRIES || (count >= MIN_NODE_ENTRIES && blake3::hash(name.as_bytes()).as_bytes()[byte] == 0)
}

fn encode_leaf(entries: &[TreeEntry]) -> Vec<u8> {
    let mut e = Encoder::with_capacity(entries.len() * 64 + 8);
    e.array(3).uint(1).uint(0).array(entries.len());
    entries.iter().for_each(|entry| entry.encode(&mut e));
    e.into_bytes()
}

fn encoded_length(entry: &TreeEntry) -> usize {
    let mut e = Encoder::new();
    entry.encode(&mut e);
    e.as_bytes().len()
}

fn write_leaf(sink: &mut dyn ObjectSink, entries: &[TreeEntry]) -> Result<NodeRef> {
    let id = TreeId(sink.put(crate::object::ObjectKind::Tree, &encode_leaf(entries))?);
    let last = entries.last().expect("a node has entries").name.clone();
    Ok(NodeRef { last, size: entries.iter().map(|entry| entry.size).sum(), id })
}

fn write_upper(sink: &mut dyn ObjectSink, level: u64, children: Vec<NodeRef>) -> Result<NodeRef> {
    let last = children.last().expect("a node has children").last.clone();
    let size = children.iter().map(|child| child.size).sum();
    let node = TreeNode::Upper { level, children };
    Ok(NodeRef { last, size, id: TreeId(sink.put(crate::object::ObjectKind::Tree, &node.to_bytes())?) })
}

/// Decodes one node, naming the object in the error.
pub fn decode_node(id: TreeId, payload: &[u8]) -> Result<TreeNode> {
    if payload.len() > MAX_NODE {
        return Err(Error::ObjectCorrupt { id: id.digest(), reason: "a tree node above 256 KiB".to_owned() });
    }
    TreeNode::from_bytes(payload).map_err(|error| Error::ObjectCorrupt { id: id.digest(), reason: error.to_string() })
}

fn read_node(
    store: &ObjectStore,
    id: TreeId,
    expected: Option<(u64, &NodeRef)>,
    out: &mut Vec<TreeEntry>,
) -> Result<()> {
    let wrong = |reason: &str| Error::ObjectCorrupt { id: id.digest(), reason: reason.to_owned() };
    let node = decode_node(id, &store.get(id.0, TreeId::KIND)?)?;
    if let Some((level, above)) = expected {
        let (found, last) = match &node {
            TreeNode::Leaf(entries) => (0, entries.last().map(|entry| &entry.name)),
            TreeNode::Upper { level, children } => (*level, children.last().map(|child| &child.last)),
        };
        if found != level || last != Some(&above.last) || node.size() != above.size {
            return Err(wrong("does not hold what the node above says"));
        }
    }
    match node {
        TreeNode::Leaf(entries) => {
            if let (Some(before), Some(first)) = (out.last(), entries.first())
                && before.name.as_bytes() >= first.name.as_bytes()
            {
                return Err(wrong("entries are not sorted across nodes"));
            }
            out.extend(entries);
        }
        TreeNode::Upper { level, children } => {
            for child in &children {
                read_node(store, child.id, Some((level - 1, child)), out)?;
            }
        }
    }
    Ok(())
}
