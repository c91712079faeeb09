//! Manifests: a file as an ordered list of chunks.
//!
//! One chunk needs none. A longer list is a tree of nodes split where ids say so, so that an insertion rewrites one leaf
//! and the path above it, and any range is found in as many reads as the tree is deep. Both building and reading stream:
//! memory is one node a level, whatever the file's size.

use crate::canonical::{Canonical, DecodeError, Decoder, Encoder};
use crate::ids::{ChunkId, ManifestId, ObjectId};
use crate::object::{MAX_OBJECT, ObjectKind, ObjectSink, ObjectStore};
use crate::{Error, Result};

/// Fewest entries of a node that ends where an id says so.
const MIN_ENTRIES: usize = 256;
/// Most entries of a node: 4,096 of about 40 bytes are 160 KiB.
pub const MAX_ENTRIES: usize = 4096;
/// Deepest manifest: 256^6 chunks of 4 KiB are beyond any disk.
const MAX_LEVEL: u64 = 6;

/// A run of a file's bytes: one chunk, or a hole that reads as zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The chunk, or `None` for a hole.
    pub chunk: Option<ChunkId>,
    /// Length in bytes.
    pub length: u64,
}

/// One node of a manifest: what a manifest object holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestNode {
    /// The chunker's profile, see [`chunker`](crate::object::chunker).
    pub profile: u64,
    /// Bytes beneath.
    pub size: u64,
    /// What it lists.
    pub entries: NodeEntries,
}

/// What a manifest node lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeEntries {
    /// Runs of the file, in order.
    Leaf(Vec<Extent>),
    /// Nodes one level below, in order, with the bytes beneath each.
    Upper(u64, Vec<(ManifestId, u64)>),
}

impl Canonical for ManifestNode {
    fn encode(&self, e: &mut Encoder) {
        e.array(5).uint(1).uint(self.profile).uint(self.size);
        match &self.entries {
            NodeEntries::Leaf(extents) => {
                e.uint(0).array(extents.len());
                for extent in extents {
                    e.array(2).optional(extent.chunk, |e, id| {
                        e.bytes(id.as_bytes());
                    });
                    e.uint(extent.length);
                }
            }
            NodeEntries::Upper(level, children) => {
                e.uint(*level).array(children.len());
                for (id, size) in children {
                    e.array(2).bytes(id.as_bytes()).uint(*size);
                }
            }
        }
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        d.array_of(5)?;
        if d.uint()? != 1 {
            return Err(d.invalid("a manifest of a later version"));
        }
        let (profile, size, level) = (d.uint()?, d.uint()?, d.uint_to(MAX_LEVEL)?);
        let count = d.array()?;
        if count == 0 || count > MAX_ENTRIES {
            return Err(d.invalid("a manifest node has no or too many entries"));
        }
        let mut total = 0u64;
        let mut add = |d: &Decoder<'_>, length: u64| {
            total =
                total.checked_add(length).filter(|_| length > 0).ok_or_else(|| d.invalid("a length is not allowed"))?;
            Ok::<_, DecodeError>(())
        };
        let entries = if level == 0 {
            let mut extents = Vec::with_capacity(count);
            for _ in 0..count {
                d.array_of(2)?;
                let chunk = d.optional(|d| Ok(ChunkId::from_bytes(d.bytes_of()?)))?;
                let length = d.uint()?;
                add(d, length)?;
                if chunk.is_some() && length > MAX_OBJECT as u64 {
                    return Err(d.invalid("a chunk above 1 MiB"));
                }
                extents.push(Extent { chunk, length });
            }
            NodeEntries::Leaf(extents)
        } else {
            let mut children = Vec::with_capacity(count);
            for _ in 0..count {
                d.array_of(2)?;
                let id = ManifestId::from_bytes(d.bytes_of()?);
                let length = d.uint()?;
                add(d, length)?;
                children.push((id, length));
            }
            NodeEntries::Upper(level, children)
        };
        if total != size {
            return Err(d.invalid("the lengths do not add up to the size stated"));
        }
        Ok(Self { profile, size, entries })
    }
}

fn ends_node(count: usize, id: Option<&ObjectId>) -> bool {
    let low_bits = |id: &ObjectId| u16::from(id.0[31]) | u16::from(id.0[30]) << 8;
    count >= MAX_ENTRIES || (count >= MIN_ENTRIES && id.is_some_and(|id| low_bits(id) & 0x3ff == 0))
}

/// Builds a manifest from extents as they come.
#[derive(Debug)]
pub struct ManifestWriter {
    profile: u64,
    leaf: Vec<Extent>,
    uppers: Vec<Vec<(ManifestId, u64)>>,
}

impl ManifestWriter {
    /// Starts an empty file cut by this profile.
    pub fn new(profile: u64) -> Self {
        Self { profile, leaf: Vec::new(), uppers: Vec::new() }
    }

    /// Appends a run of bytes. Neighbouring holes become one.
    pub fn push(&mut self, extent: Extent, sink: &mut dyn ObjectSink) -> Result<()> {
        if extent.length == 0 {
            return Ok(());
        }
        if let (None, Some(last)) = (extent.chunk, self.leaf.last_mut())
            && last.chunk.is_none()
        {
            last.length += extent.length;
            return Ok(());
        }
        self.leaf.push(extent);
        if ends_node(self.leaf.len(), extent.chunk.as_ref().map(|id| &id.0)) {
            self.close_leaf(sink)?;
        }
        Ok(())
    }

    fn close_leaf(&mut self, sink: &mut dyn ObjectSink) -> Result<()> {
        let extents = std::mem::take(&mut self.leaf);
        let size = extents.iter().map(|extent| extent.length).sum();
        let node = ManifestNode { profile: self.profile, size, entries: NodeEntries::Leaf(extents) };
        let id = ManifestId(sink.put(ObjectKind::Manifest, &node.to_bytes())?);
        self.add_upper(0, id, size, sink)
    }

    fn add_upper(&mut self, index: usize, id: ManifestId, size: u64, sink: &mut dyn ObjectSink) -> Result<()> {
        if self.uppers.len() == index {
            self.uppers.push(Vec::new());
        }
        self.uppers[index].push((id, size));
        if ends_node(self.uppers[index].len(), Some(&id.0)) {
            self.close_upper(index, sink)?;
        }
        Ok(())
    }

    fn close_upper(&mut self, index: usize, sink: &mut dyn ObjectSink) -> Result<()> {
        let children = std::mem::take(&mut self.uppers[index]);
        let size = children.iter().map(|child| child.1).sum();
        let entries = NodeEntries::Upper(index as u64 + 1, children);
        let node = ManifestNode { profile: self.profile, size, entries };
        let id = ManifestId(sink.put(ObjectKind::Manifest, &node.to_bytes())?);
        self.add_upper(index + 1, id, size, sink)
    }

    /// Returns the only chunk, if the whole file is one.
    pub fn single_chunk(&self) -> Option<ChunkId> {
        match (&self.leaf[..], self.uppers.is_empty()) {
            ([Extent { chunk: Some(id), .. }], true) => Some(*id),
            _ => None,
        }
    }

    /// Writes what is left and returns the root. The file has at least one byte.
    pub fn finish(mut self, sink: &mut dyn ObjectSink) -> Result<ManifestId> {
        if !self.leaf.is_empty() {
            self.close_leaf(sink)?;
        }
        let mut index = 0;
        loop {
            let above_is_empty = self.uppers[index + 1..].iter().all(Vec::is_empty);
            if above_is_empty && self.uppers[index].len() == 1 {
                return Ok(self.uppers[index][0].0);
            }
            if !self.uppers[index].is_empty() {
                self.close_upper(index, sink)?;
            }
            index += 1;
        }
    }
}

/// Reads one node, checked.
pub fn read_node(store: &ObjectStore, id: ManifestId) -> Result<ManifestNode> {
    let payload = store.get(id.0, ManifestId::KIND)?;
    ManifestNode::from_bytes(&payload)
        .map_err(|error| Error::ObjectCorrupt { id: id.digest(), reason: error.to_string() })
}

/// The runs of a file in order, from the one that holds a given offset. Reads one node a level.
pub struct Extents<'a> {
    store: &'a ObjectStore,
    /// Nodes still to visit, the next one last, each with its expected level and size.
    pending: Vec<(ManifestId, Option<(u64, u64)>)>,
    leaf: std::vec::IntoIter<Extent>,
    skip: u64,
    position: u64,
    profile: u64,
    size: u64,
}

impl<'a> Extents<'a> {
    /// Opens a manifest at an offset into the file.
    pub fn open(store: &'a ObjectStore, id: ManifestId, offset: u64) -> Result<Self> {
        let mut extents = Self {
            store,
            pending: vec![(id, None)],
            leaf: Vec::new().into_iter(),
            skip: offset,
            position: 0,
            profile: 0,
            size: 0,
        };
        extents.load()?;
        Ok(extents)
    }

    /// Returns the profile the file was cut by.
    pub fn profile(&self) -> u64 {
        self.profile
    }

    /// Returns the size of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn load(&mut self) -> Result<()> {
        while let Some((id, expected)) = self.pending.pop() {
            let node = read_node(self.store, id)?;
            let level = match node.entries {
                NodeEntries::Leaf(_) => 0,
                NodeEntries::Upper(level, _) => level,
            };
            match expected {
                None => (self.profile, self.size) = (node.profile, node.size),
                Some(expected) if expected != (level, node.size) || node.profile != self.profile => {
                    let reason = "does not hold what the node above says".to_owned();
                    return Err(Error::ObjectCorrupt { id: id.digest(), reason });
                }
                Some(_) => {}
            }
            match node.entries {
                NodeEntries::Leaf(extents) => {
                    self.leaf = extents.into_iter();
                    return Ok(());
                }
                NodeEntries::Upper(level, mut children) => {
                    let mut skipped = 0;
                    for &(_, size) in &children {
                        if self.position + size > self.skip {
                            break;
                        }
                        self.position += size;
                        skipped += 1;
                    }
                    children.drain(..skipped);
                    let below = |(id, size)| (id, Some((level - 1, size)));
                    self.pending.extend(children.into_iter().rev().map(below));
                }
            }
        }
        Ok(())
    }
}

impl Iterator for Extents<'_> {
    /// Offset of the run in the file, and the run.
    type Item = Result<(u64, Extent)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            for extent in self.leaf.by_ref() {
                let at = self.position;
                self.position += extent.length;
                if self.position > self.skip {
                    return Some(Ok((at, extent)));
                }
            }
            if self.pending.is_empty() {
                return None;
            }
            if let Err(error) = self.load() {
                self.pending.clear();
                return Some(Err(error));
            }
        }
    }
}
