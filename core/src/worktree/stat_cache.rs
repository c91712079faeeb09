//! The stat cache: which file, as `lstat` describes it, held which content.
//!
//! It spares reading files that have not changed, and trees whose directory is known to match. It is a hint that can be
//! deleted at any time; what it says of a file is believed only if everything `lstat` says is the same and the file was
//! last touched well before it was looked at, so that a later change must show.
//!
//! The file is split by directory: each block names the tree its directory was compared with, and whether it matched.

use std::collections::HashMap;
use std::ops::Range;

use shard_storage::atomic_file::{self, Sync};
use shard_storage::vfs::{FileKind, Metadata};
use xxhash_rust::xxh3::xxh3_64;

use crate::ids::TreeId;
use crate::repository::Layout;
use crate::repository::layout::STAT_CACHE;
use crate::tree::editor::Node;
use crate::tree::{Content, EntryType};

const MAGIC: &[u8; 8] = b"SHRDSTAT";
const VERSION: u32 = 1;
const HEADER: usize = 56;
const RECORD: usize = 90;
/// Largest cache that is read: about ten million files.
const MAX_CACHE: u64 = 2 << 30;
/// What was recorded within this time before a reboot may have been lost with the files it spoke of.
const UNSETTLED_NS: i64 = 60_000_000_000;

/// Says which content a file has: its type, and a digest of what its tree entry would hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    kind: u8,
    digest: [u8; 32],
}

impl Identity {
    /// Returns the identity of what stands in a tree; `None` for types of a later version.
    pub fn of(kind: EntryType, content: &Content) -> Option<Self> {
        let kind = match kind {
            EntryType::File => 0,
            EntryType::Executable => 1,
            EntryType::Symlink => 2,
            EntryType::Directory => 3,
            EntryType::Unknown(_) => return None,
        };
        let digest = match content {
            Content::Inline(bytes) => *blake3::hash(bytes).as_bytes(),
            Content::Chunk(id) => *id.as_bytes(),
            Content::Manifest(id) => *id.as_bytes(),
            Content::Tree(id) => *id.as_bytes(),
            Content::Opaque(_) => return None,
        };
        Some(Self { kind, digest })
    }

    /// Returns the identity of a node.
    pub fn of_node(node: &Node) -> Option<Self> {
        Self::of(node.kind, &node.content)
    }

    /// Returns the identity of a directory with this tree.
    pub fn of_tree(tree: TreeId) -> Self {
        Self { kind: 3, digest: *tree.as_bytes() }
    }

    /// Returns the tree of a directory.
    pub fn tree(&self) -> Option<TreeId> {
        (self.kind == 3).then(|| TreeId::from_bytes(self.digest))
    }
}

/// What is remembered of one name in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered<'a> {
    /// Its name.
    pub name: &'a str,
    /// Which content it had.
    pub identity: Identity,
    size: u64,
    mtime_ns: i64,
    ctime_ns: i64,
    inode: u64,
    device: u64,
    mode: u32,
    trusted: bool,
}

impl<'a> Remembered<'a> {
    /// Remembers that `metadata`, taken at `now_ns`, described a file with this content. Unless the file was last
    /// touched more than `granularity_ns` before, a later change might not show, and it will be read again.
    pub fn new(name: &'a str, identity: Identity, metadata: &Metadata, now_ns: i64, granularity_ns: i64) -> Self {
        let settled = now_ns.saturating_sub(granularity_ns);
        Self {
            name,
            identity,
            size: metadata.size,
            mtime_ns: metadata.mtime_ns,
            ctime_ns: metadata.ctime_ns,
            inode: metadata.inode,
            device: metadata.device,
            mode: metadata.mode,
            trusted: metadata.mtime_ns < settled && metadata.ctime_ns < settled,
        }
    }

    /// Remembers a directory by its tree.
    pub fn directory(name: &'a str, tree: TreeId) -> Self {
        let identity = Identity::of_tree(tree);
        Self { name, identity, size: 0, mtime_ns: 0, ctime_ns: 0, inode: 0, device: 0, mode: 0, trusted: true }
    }

    /// Says whether the file is as it was.
    pub fn matches(&self, metadata: &Metadata) -> bool {
        let kind = match metadata.kind {
            FileKind::File => self.identity.kind <= 1,
            FileKind::Symlink => self.identity.kind == 2,
            _ => false,
        };
        self.trusted
            && kind
            && self.size == metadata.size
            && self.mtime_ns == metadata.mtime_ns
            && self.ctime_ns == metadata.ctime_ns
            && self.inode == metadata.inode
            && self.device == metadata.device
            && self.mode == metadata.mode
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.identity.kind);
        out.push(u8::from(self.trusted));
        out.extend_from_slice(&self.identity.digest);
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&self.mtime_ns.to_le_bytes());
        out.extend_from_slice(&self.ctime_ns.to_le_bytes());
        out.extend_from_slice(&self.inode.to_le_bytes());
        out.extend_from_slice(&self.device.to_le_bytes());
        out.extend_from_slice(&self.mode.to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        // Names are at most 255 bytes; four bytes keep records aligned to nothing in particular.
        out.extend_from_slice(&(self.name.len() as u32).to_le_bytes());
        out.extend_from_slice(self.name.as_bytes());
    }
}

/// One directory as it was found.
#[derive(Debug, Clone)]
pub struct Block {
    bytes: Vec<u8>,
    count: u32,
}

impl Block {
    /// Starts the block of a directory that was compared with `tree`, or of one that is not tracked.
    pub fn new(path: &str, tree: Option<TreeId>, clean: bool) -> Self {
        let mut bytes = Vec::with_capacity(64 + path.len());
        bytes.extend_from_slice(&[0; 8]);
        bytes.push(u8::from(clean) | u8::from(tree.is_some()) << 1);
        bytes.extend_from_slice(tree.as_ref().map_or(&[0; 32], |tree| tree.as_bytes()));
        bytes.extend_from_slice(&(path.len() as u32).to_le_bytes());
        bytes.extend_from_slice(path.as_bytes());
        Self { bytes, count: 0 }
    }

    /// Appends a name; names come sorted.
    pub fn push(&mut self, remembered: &Remembered<'_>) {
        remembered.encode(&mut self.bytes);
        self.count += 1;
    }

    /// Completes it.
    pub fn finish(mut self) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&length.to_le_bytes());
        self.bytes[4..8].copy_from_slice(&self.count.to_le_bytes());
        self.bytes
    }
}

/// A directory's block, read.
#[derive(Debug)]
pub struct CachedDirectory<'a> {
    /// The tree it was compared with.
    pub tree: Option<TreeId>,
    /// Whether it matched, names and contents of all that is not ignored.
    pub clean: bool,
    /// What is remembered, sorted by name.
    pub entries: Vec<Remembered<'a>>,
}

impl<'a> CachedDirectory<'a> {
    /// Finds a name.
    pub fn get(&self, name: &str) -> Option<&Remembered<'a>> {
        let at = self.entries.binary_search_by(|entry| entry.name.as_bytes().cmp(name.as_bytes())).ok()?;
        Some(&self.entries[at])
    }
}

/// The stat cache, read whole.
#[derive(Debug, Default)]
pub struct StatCache {
    bytes: Vec<u8>,
    blocks: HashMap<Box<str>, Range<usize>>,
    /// Files touched after this are doubted; `None` where nothing is.
    doubt_after: Option<i64>,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

impl StatCache {
    /// Reads the cache; an absent, damaged or later one is empty.
    pub fn read(layout: &Layout, boot_id: [u8; 16]) -> Self {
        let bytes = layout.shard.read_optional(STAT_CACHE, MAX_CACHE).ok().flatten().unwrap_or_default();
        Self::parse(bytes, boot_id).unwrap_or_default()
    }

    fn parse(bytes: Vec<u8>, boot_id: [u8; 16]) -> Option<Self> {
        if !bytes.starts_with(MAGIC) || u32::from_le_bytes(number(&bytes, 8)?) != VERSION {
            return None;
        }
        let check = u64::from_le_bytes(number(&bytes, 16)?);
        if xxh3_64(bytes.get(24..)?) != check {
            return None;
        }
        let boot: [u8; 16] = number(&bytes, 24)?;
        let written = i64::from_le_bytes(number(&bytes, 40)?);
        let mut blocks = HashMap::new();
        let mut at = HEADER;
        while at < bytes.len() {
            let length = u32::from_le_bytes(number(&bytes, at)?) as usize;
            let path_length = u32::from_le_bytes(number(&bytes, at + 41)?) as usize;
            let path = std::str::from_utf8(bytes.get(at + 45..at + 45 + path_length)?).ok()?;
            bytes.get(at..at + length)?;
            if length < 45 + path_length {
                return None;
            }
            blocks.insert(path.into(), at..at + length);
            at += length;
        }
        let doubt_after = (boot != boot_id).then(|| written.saturating_sub(UNSETTLED_NS));
        Some(Self { bytes, blocks, doubt_after })
    }

    /// Returns what is remembered of a directory, by its path within the worktree (empty for the root).
    pub fn directory(&self, path: &str) -> Option<CachedDirectory<'_>> {
        let range = self.blocks.get(path)?.clone();
        let block = &self.bytes[range];
        let count = u32::from_le_bytes(number(block, 4)?) as usize;
        let flags = block[8];
        let tree = (flags & 2 != 0).then(|| number(block, 9).map(TreeId::from_bytes)).flatten();
        let mut at = 45 + u32::from_le_bytes(number(block, 41)?) as usize;
        let mut entries = Vec::with_capacity(count.min(block.len() / RECORD));
        for _ in 0..count {
            let record = block.get(at..at + RECORD)?;
            let name_length = u32::from_le_bytes(number(record, 86)?) as usize;
            let name = std::str::from_utf8(block.get(at + RECORD..at + RECORD + name_length)?).ok()?;
            at += RECORD + name_length;
            let (mtime_ns, ctime_ns) =
                (i64::from_le_bytes(number(record, 42)?), i64::from_le_bytes(number(record, 50)?));
            let doubted = self.doubt_after.is_some_and(|after| mtime_ns > after || ctime_ns > after);
            entries.push(Remembered {
                name,
                identity: Identity { kind: record[0], digest: number(record, 2)? },
                size: u64::from_le_bytes(number(record, 34)?),
                mtime_ns,
                ctime_ns,
                inode: u64::from_le_bytes(number(record, 58)?),
                device: u64::from_le_bytes(number(record, 66)?),
                mode: u32::from_le_bytes(number(record, 74)?),
                trusted: record[1] == 1 && !doubted,
            });
        }
        Some(CachedDirectory { tree, clean: flags & 1 != 0, entries })
    }

    /// Says whether some of what is remembered is doubted, since the machine was started anew.
    pub fn has_doubts(&self) -> bool {
        self.doubt_after.is_some()
    }

    /// Returns a directory's block as stored, to be written again.
    pub fn block(&self, path: &str) -> Option<&[u8]> {
        Some(&self.bytes[self.blocks.get(path)?.clone()])
    }

    /// Returns the directories remembered.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.blocks.keys().map(AsRef::as_ref)
    }

    /// Writes a cache of these blocks. Not synced: a torn one is discarded when read. Failures are only told, since the
    /// cache is a hint and the medium may be read-only.
    pub fn write<'b>(layout: &Layout, boot_id: [u8; 16], now_ns: i64, blocks: impl Iterator<Item = &'b [u8]>) {
        let mut bytes = vec![0; HEADER];
        blocks.for_each(|block| bytes.extend_from_slice(block));
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[24..40].copy_from_slice(&boot_id);
        bytes[40..48].copy_from_slice(&now_ns.to_le_bytes());
        let check = xxh3_64(&bytes[24..]);
        bytes[16..24].copy_from_slice(&check.to_le_bytes());
        let written = atomic_file::write_atomically(&layout.tmp, &layout.shard, STAT_CACHE, &bytes, 0o644, Sync::None);
        if let Err(error) = written {
            tracing::debug!(%error, "the stat cache is not kept");
        }
    }
}
