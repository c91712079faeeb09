//! What commits reach that is not here: the one closure a transfer needs.
//!
//! The walk is iterative and reads commits, trees and manifests, each checked against its id and against what names it.
//! It stops at what this repository [holds](super::held) whole. What is merely here, and not reached by a ref, is not
//! copied and yet entered: what it names may be missing. Memory is some 50 bytes a frame of what is wanted, and bounded
//! caches.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use shard_storage::pack::{Location, PackOrdinal};

use super::held::{Held, Old, OldEntries};
use crate::canonical::Canonical;
use crate::history::commit::{self, Commit};
use crate::ids::{CommitId, ManifestId, ObjectId, RepositoryId, TreeId};
use crate::object::store::{FrameTable, Place};
use crate::object::{ObjectKind, ObjectStore};
use crate::repo_path::{MAX_COMPONENTS, MAX_PATH};
use crate::tree::manifest::{ManifestNode, NodeEntries};
use crate::tree::{self, Content, EntryType, Tree, TreeEntry, TreeNode};
use crate::{Error, Result};

/// Ids remembered as dealt with, so that what many trees share costs one lookup: some 12 MB.
const MAX_SETTLED: usize = 1 << 18;
/// Tables of frames remembered: neighbours are mostly asked for together.
const MAX_TABLES: usize = 256;

/// An object that is reached and not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// Its id.
    pub id: ObjectId,
    /// What it is.
    pub kind: ObjectKind,
    /// Its length in bytes.
    pub length: u32,
}

/// Which slots of a frame are wanted.
#[derive(Debug, Clone)]
enum Slots {
    Few(u64),
    Many(Box<[u64]>),
}

impl Slots {
    fn new(count: usize) -> Self {
        if count <= 64 { Self::Few(0) } else { Self::Many(vec![0; count.div_ceil(64)].into()) }
    }

    fn words(&self) -> &[u64] {
        match self {
            Self::Few(word) => std::slice::from_ref(word),
            Self::Many(words) => words,
        }
    }

    fn contains(&self, slot: u16) -> bool {
        self.words().get(usize::from(slot / 64)).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    fn insert(&mut self, slot: u16) {
        let words = match self {
            Self::Few(word) => std::slice::from_mut(word),
            Self::Many(words) => words,
        };
        words[usize::from(slot / 64)] |= 1 << (slot % 64);
    }
}

/// A frame of the source that holds something wanted.
#[derive(Debug, Clone)]
pub(super) struct WantedFrame {
    /// Bytes as stored.
    pub(super) length: u32,
    /// Bytes of its objects together.
    raw: u32,
    /// Bytes of the wanted ones.
    pub(super) wanted: u32,
    /// Objects in it, and wanted ones.
    count: u16,
    pub(super) objects: u16,
    is_data: bool,
    slots: Slots,
}

impl WantedFrame {
    /// Says whether to copy it as stored. For data, when at least half of it is wanted. For metadata only when all of
    /// it is: what comes along uncalled-for would look as if everything it reaches had come too.
    pub(super) fn is_verbatim(&self) -> bool {
        if self.is_data { u64::from(self.wanted) * 2 >= u64::from(self.raw) } else { self.objects == self.count }
    }

    /// Says whether the object in a slot is wanted.
    pub(super) fn wants(&self, slot: u16) -> bool {
        self.slots.contains(slot)
    }

    /// Returns the first slot that is wanted.
    pub(super) fn first(&self) -> u16 {
        (0..self.count).find(|slot| self.wants(*slot)).unwrap_or(0)
    }
}

/// Wanted frames in the order they lie in the source.
pub(super) type WantedFrames = BTreeMap<(PackOrdinal, u32), WantedFrame>;

/// What names a tree, and what it must therefore be.
#[derive(Debug)]
enum Expected {
    /// A directory of so many bytes; a commit's root may be any.
    Directory(Option<u64>),
    /// A node of a large directory: its level, its last name, its bytes, and the name it must come after.
    Node { level: u64, last: Box<str>, size: u64, after: Option<Box<str>> },
}

/// What is whole here and likely resembles a tree.
#[derive(Debug, Clone)]
enum Beside {
    Nothing,
    /// The same directory, of another commit.
    Directory(TreeId),
    /// The directory a node is of.
    Entries(OldEntries),
}

/// What is to be done about an object.
enum Wanted {
    /// It was reached before.
    Settled,
    /// It is here, which says nothing of what it names.
    Here,
    /// It is to be copied; its length.
    Copied(u32),
}

#[derive(Debug)]
enum Item {
    Commit(CommitId),
    Tree { id: TreeId, expected: Expected, beside: Beside, depth: u16, path: u16 },
    Manifest { id: ManifestId, level: Option<u64>, profile: Option<u64>, size: u64, beside: Option<ManifestId> },
}

/// A walk over what commits of a source reach and this repository lacks.
///
/// An iterator over what is reached, each object once, metadata confirmed by its hash and chunks by the table of the
/// frame they lie in.
pub struct Closure<'a> {
    source: &'a ObjectStore,
    here: &'a ObjectStore,
    held: Held<'a>,
    repository: RepositoryId,
    stack: Vec<Item>,
    /// Found and not yet given out.
    found: Vec<Reached>,
    frames: WantedFrames,
    settled: HashSet<ObjectId>,
    tables: HashMap<(PackOrdinal, u32), Rc<FrameTable>>,
}

impl std::fmt::Debug for Closure<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Closure").field("pending", &self.stack.len()).finish_non_exhaustive()
    }
}

impl<'a> Closure<'a> {
    /// Starts at `tips`, which belong to `repository`. `held` are commits that refs here name: what they reach is here.
    ///
    /// # Errors
    /// [`Error::ObjectNotFound`] where a tip is neither in the source nor here.
    pub fn new(
        source: &'a ObjectStore,
        here: &'a ObjectStore,
        held: impl IntoIterator<Item = CommitId>,
        repository: RepositoryId,
        tips: impl IntoIterator<Item = CommitId>,
    ) -> Result<Self> {
        let mut closure = Self {
            source,
            here,
            held: Held::new(here, held),
            repository,
            stack: Vec::new(),
            found: Vec::new(),
            frames: BTreeMap::new(),
            settled: HashSet::new(),
            tables: HashMap::new(),
        };
        for tip in tips {
            closure.want_commit(tip)?;
        }
        Ok(closure)
    }

    /// Returns where what was reached lies, frame by frame.
    pub(super) fn into_frames(self) -> WantedFrames {
        self.frames
    }

    fn table(&mut self, place: Place) -> Result<Rc<FrameTable>> {
        let key = (place.pack, place.location.offset);
        if let Some(table) = self.tables.get(&key) {
            return Ok(table.clone());
        }
        let table = Rc::new(self.source.frame_table(place)?);
        if self.tables.len() >= MAX_TABLES {
            self.tables.clear();
        }
        self.tables.insert(key, table.clone());
        Ok(table)
    }

    /// Marks an object as wanted, unless it is here.
    fn want(&mut self, id: ObjectId, kind: ObjectKind) -> Result<Wanted> {
        if self.settled.contains(&id) {
            return Ok(Wanted::Settled);
        }
        if self.settled.len() >= MAX_SETTLED {
            self.settled.clear();
        }
        self.settled.insert(id);
        let place = self.source.find(id)?;
        if let Some(Place { pack, location }) = place
            && self.frames.get(&(pack, location.offset)).is_some_and(|frame| frame.wants(location.slot))
        {
            return Ok(Wanted::Settled);
        }
        if self.here.contains(id)? {
            return Ok(Wanted::Here);
        }
        let Some(place) = place else { return Err(Error::ObjectNotFound { id: id.digest() }) };
        let corrupt = |reason: String| Error::ObjectCorrupt { id: id.digest(), reason };
        let table = self.table(place).map_err(|error| corrupt(error.to_string()))?;
        let Location { offset, slot, .. } = place.location;
        let entry = table.entries.get(usize::from(slot)).filter(|entry| entry.id.0 == id.0);
        let entry = entry.ok_or_else(|| corrupt("it does not lie where the index says".to_owned()))?;
        if entry.kind != kind as u8 {
            return Err(corrupt(format!("it is named as {kind} and stored as another kind")));
        }
        let frame = self.frames.entry((place.pack, offset)).or_insert_with(|| WantedFrame {
            length: table.length,
            raw: table.raw,
            wanted: 0,
            count: table.entries.len() as u16,
            objects: 0,
            is_data: kind.is_data(),
            slots: Slots::new(table.entries.len()),
        });
        frame.slots.insert(slot);
        frame.objects += 1;
        frame.wanted = frame.wanted.saturating_add(entry.length);
        self.found.push(Reached { id, kind, length: entry.length });
        Ok(Wanted::Copied(entry.length))
    }

    fn want_commit(&mut self, id: CommitId) -> Result<()> {
        let whole = match self.want(id.0, ObjectKind::Commit)? {
            Wanted::Settled => true,
            Wanted::Here => {
                let depth = self.read_commit(id)?.depth;
                self.held.has_commit(id, depth)
            }
            Wanted::Copied(_) => false,
        };
        if !whole {
            self.stack.push(Item::Commit(id));
        }
        Ok(())
    }

    fn want_chunk(&mut self, id: ObjectId, expected: u64) -> Result<()> {
        let length = match self.want(id, ObjectKind::Chunk)? {
            Wanted::Copied(length) => Some(length),
            Wanted::Here => self.here.length(id)?,
            Wanted::Settled => None,
        };
        match length {
            Some(length) if u64::from(length) != expected => Err(Error::ObjectCorrupt {
                id: id.digest(),
                reason: format!("it has {length} bytes where {expected} are recorded"),
            }),
            _ => Ok(()),
        }
    }

    /// Reads from the source, or where that fails, here.
    fn read<T>(&self, read: impl Fn(&ObjectStore) -> Result<T>) -> Result<T> {
        read(self.source).or_else(|error| read(self.here).map_err(|_| error))
    }

    fn read_commit(&self, id: CommitId) -> Result<Commit> {
        self.read(|store| commit::read(store, id))
    }

    fn visit(&mut self, item: Item) -> Result<()> {
        match item {
            Item::Commit(id) => self.visit_commit(id),
            Item::Tree { id, expected, beside, depth, path } => self.visit_tree(id, &expected, beside, depth, path),
            Item::Manifest { id, level, profile, size, beside } => {
                if let Some(old) = beside {
                    self.held.enter_manifest(old);
                }
                self.visit_manifest(id, level, profile, size)
            }
        }
    }

    fn visit_commit(&mut self, id: CommitId) -> Result<()> {
        let corrupt = |reason: &str| Error::ObjectCorrupt { id: id.digest(), reason: reason.to_owned() };
        let commit = self.read_commit(id)?;
        if commit.repository != self.repository {
            return Err(corrupt("it is a commit of another repository"));
        }
        let mut greatest = 0;
        for parent in &commit.parents {
            greatest = greatest.max(self.read_commit(*parent)?.depth);
            self.want_commit(*parent)?;
        }
        if greatest.checked_add(1) != Some(commit.depth) {
            return Err(corrupt("its depth does not follow from its parents'"));
        }
        let (source, here) = (self.source, self.here);
        let read = |id| commit::read(source, id).or_else(|error| commit::read(here, id).map_err(|_| error));
        let beside = self.held.nearest_tree(&commit, read)?.map_or(Beside::Nothing, Beside::Directory);
        self.want_tree(commit.tree, Expected::Directory(None), beside, 0, 0)
    }

    fn want_tree(&mut self, id: TreeId, expected: Expected, beside: Beside, depth: u16, path: u16) -> Result<()> {
        if self.held.has(id.0) || id == Tree::empty_id() {
            return Ok(());
        }
        if !matches!(self.want(id.0, ObjectKind::Tree)?, Wanted::Settled) {
            self.stack.push(Item::Tree { id, expected, beside, depth, path });
        }
        Ok(())
    }

    fn visit_tree(&mut self, id: TreeId, expected: &Expected, beside: Beside, depth: u16, path: u16) -> Result<()> {
        let corrupt = |reason: &str| Error::ObjectCorrupt { id: id.digest(), reason: reason.to_owned() };
        let payload = self.read(|store| store.get(id.0, ObjectKind::Tree))?;
        let node = tree::decode_node(id, &payload)?;
        let beside = match beside {
            Beside::Directory(old) => Beside::Entries(self.held.enter_directory(old)),
            other => other,
        };
        let (level, first, last) = match &node {
            TreeNode::Leaf(entries) => (0, entries.first().map(|e| &e.name), entries.last().map(|e| &e.name)),
            // What its first name is, the node below says.
            TreeNode::Upper { level, children } => (*level, None, children.last().map(|child| &child.last)),
        };
        let fits = match expected {
            Expected::Directory(size) => size.is_none_or(|size| size == node.size()),
            Expected::Node { level: above, last: named, size, after } => {
                let follows = || match (first, after) {
                    (Some(first), Some(after)) => first.as_bytes() > after.as_bytes(),
                    _ => true,
                };
                level == *above && last == Some(named) && *size == node.size() && follows()
            }
        };
        if !fits {
            return Err(corrupt("does not hold what names it says"));
        }
        match node {
            TreeNode::Leaf(entries) => {
                for entry in &entries {
                    let old = match &beside {
                        Beside::Entries(old) => old.get(&entry.name).copied(),
                        Beside::Nothing | Beside::Directory(_) => None,
                    };
                    self.visit_entry(id, entry, old, depth, path)?;
                }
            }
            TreeNode::Upper { level, children } => {
                let mut after = match expected {
                    Expected::Node { after, .. } => after.clone(),
                    Expected::Directory(_) => None,
                };
                for child in children {
                    let last = child.last.clone();
                    let below = Expected::Node { level: level - 1, last: child.last, size: child.size, after };
                    self.want_tree(child.id, below, beside.clone(), depth, path)?;
                    after = Some(last);
                }
            }
        }
        Ok(())
    }

    fn visit_entry(&mut self, tree: TreeId, entry: &TreeEntry, old: Option<Old>, depth: u16, path: u16) -> Result<()> {
        let separator = usize::from(depth > 0);
        let length = usize::from(path) + separator + entry.name.len();
        if usize::from(depth) >= MAX_COMPONENTS || length > MAX_PATH {
            let reason = format!("a path through it is longer than allowed, at `{}`", entry.name);
            return Err(Error::ObjectCorrupt { id: tree.digest(), reason });
        }
        match &entry.content {
            Content::Inline(_) => Ok(()),
            Content::Chunk(id) => self.want_chunk(id.0, entry.size),
            Content::Manifest(id) => {
                let beside = match old {
                    Some(Old::File(old)) => Some(old),
                    _ => None,
                };
                self.want_manifest(*id, None, None, entry.size, beside)
            }
            Content::Tree(id) => {
                debug_assert_eq!(entry.kind, EntryType::Directory);
                let beside = match old {
                    Some(Old::Directory(old)) => Beside::Directory(old),
                    _ => Beside::Nothing,
                };
                self.want_tree(*id, Expected::Directory(Some(entry.size)), beside, depth + 1, length as u16)
            }
            // What an entry of a later version reaches cannot be known, and would be missed by that version.
            Content::Opaque(_) => Err(Error::Unsupported {
                what: format!("taking over `{}`, which a later version recorded,", entry.name),
            }),
        }
    }

    fn want_manifest(
        &mut self,
        id: ManifestId,
        level: Option<u64>,
        profile: Option<u64>,
        size: u64,
        beside: Option<ManifestId>,
    ) -> Result<()> {
        if !self.held.has(id.0) && !matches!(self.want(id.0, ObjectKind::Manifest)?, Wanted::Settled) {
            self.stack.push(Item::Manifest { id, level, profile, size, beside });
        }
        Ok(())
    }

    fn visit_manifest(&mut self, id: ManifestId, level: Option<u64>, profile: Option<u64>, size: u64) -> Result<()> {
        let corrupt = |reason: String| Error::ObjectCorrupt { id: id.digest(), reason };
        let payload = self.read(|store| store.get(id.0, ObjectKind::Manifest))?;
        let node = ManifestNode::from_bytes(&payload).map_err(|error| corrupt(error.to_string()))?;
        let found = match node.entries {
            NodeEntries::Leaf(_) => 0,
            NodeEntries::Upper(level, _) => level,
        };
        let fits = level.is_none_or(|level| level == found)
            && profile.is_none_or(|profile| profile == node.profile)
            && size == node.size;
        if !fits {
            return Err(corrupt("does not hold what names it says".to_owned()));
        }
        match node.entries {
            NodeEntries::Leaf(extents) => {
                for extent in extents {
                    if let Some(chunk) = extent.chunk {
                        self.want_chunk(chunk.0, extent.length)?;
                    }
                }
            }
            NodeEntries::Upper(level, children) => {
                for (child, size) in children {
                    self.want_manifest(child, Some(level - 1), Some(node.profile), size, None)?;
                }
            }
        }
        Ok(())
    }
}

impl Iterator for Closure<'_> {
    type Item = Result<Reached>;

    fn next(&mut self) -> Option<Result<Reached>> {
        loop {
            if let Some(reached) = self.found.pop() {
                return Some(Ok(reached));
            }
            let item = self.stack.pop()?;
            if let Err(error) = self.visit(item) {
                self.stack.clear();
                return Some(Err(error));
            }
        }
    }
}
