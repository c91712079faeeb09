//! Reading objects: where they lie, decoded and checked.

use std::collections::{HashMap, HashSet};
use std::ops::{Deref, Range};
use std::sync::{Arc, LazyLock, OnceLock, RwLock};

use shard_crypto::Digest;
use shard_storage::pack::index::{Run, RunEntry};
use shard_storage::pack::{
    Class, FRAME_HEADER_LENGTH, FrameBuffer, FrameEntry, Location, MAX_FRAME_ENTRIES, OpenPack, PackError, PackOrdinal,
    PackReader,
};
use shard_storage::vfs::{Dir, OpenOptions};

use super::ObjectKind;
use super::catalog::{Catalog, PackState};
use super::compression::{self, Decompressor};
use super::frame_cache::{DecodedFrame, FrameCache};
use crate::canonical::Canonical;
use crate::ids::{ObjectId, RepositoryId};
use crate::repository::layout::Layout;
use crate::repository::state::State;
use crate::tree::{Tree, TreeNode};
use crate::{Error, Result, metrics};

/// The bytes of an object, shared with the frame they came in.
#[derive(Debug, Clone)]
pub struct ObjectBytes {
    frame: Arc<DecodedFrame>,
    range: Range<usize>,
}

impl Deref for ObjectBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.frame.raw[self.range.clone()]
    }
}

/// Where an object lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// In which pack.
    pub pack: PackOrdinal,
    /// Where in it.
    pub location: Location,
}

/// Sealed packs kept open: a process may usually have 1,024 files open, and 1 TB takes 30,000 packs.
const MAX_OPEN_PACKS: usize = 256;

/// Bytes of one object in a frame's table.
const TABLE_ENTRY: usize = 37;

/// What a frame says it holds, read without its payload.
#[derive(Debug)]
pub(crate) struct FrameTable {
    /// Its objects, by slot.
    pub(crate) entries: Vec<FrameEntry>,
    /// Bytes of the whole frame as stored.
    pub(crate) length: u32,
    /// Bytes of its objects together.
    pub(crate) raw: u32,
}

/// The objects one state registers. Reading takes no lock; packs are opened when first needed.
pub struct ObjectStore {
    objects: Dir,
    repository: RepositoryId,
    catalog: Catalog,
    open: Vec<OpenPack>,
    runs: Vec<Run>,
    /// Sealed packs no run covers, newest first.
    uncovered: Vec<PackOrdinal>,
    packs: RwLock<HashMap<PackOrdinal, Arc<PackReader>>>,
    cache: OnceLock<FrameCache>,
    cache_limit: usize,
}

impl std::fmt::Debug for ObjectStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectStore").field("objects", &self.objects).finish_non_exhaustive()
    }
}

impl ObjectStore {
    /// Opens the objects of a state. `cache_limit` is in bytes of decoded frames.
    pub(crate) fn open(layout: &Layout, repository: RepositoryId, state: &State, cache_limit: usize) -> Result<Self> {
        let objects = layout.shard.open_dir("objects")?;
        let added = |file: &str| -> Vec<_> {
            state.overlay.appends.iter().filter(|append| append.file == file).cloned().collect()
        };
        let catalog = Catalog::read(&layout.shard, state)?;
        let mut open = Vec::new();
        for class in Class::ALL {
            let Some(ordinal) = catalog.open_pack(class) else { continue };
            let name = pack_file(ordinal);
            let appends = added(&name);
            let registered = appends.first().map_or(state.end(&name).offset, |append| append.offset);
            let file = objects.open(ordinal.path(), OpenOptions::READ)?;
            let (mut pack, damaged) =
                OpenPack::list(file, ordinal, &repository.digest(), registered).map_err(pack_error)?;
            if let Some(range) = damaged.ranges.first() {
                // Everybody who opens the store comes by here: telling people is for the commands that look for damage.
                tracing::info!(pack = %ordinal, from = range.start, to = range.end, "open pack is damaged");
                super::frame_objects::admit_proven(&mut pack, &damaged);
            }
            for append in &appends {
                if append.bytes.is_empty() {
                    pack.extend_to(append.end.offset).map_err(pack_error)?;
                } else {
                    pack.overlay(append.offset, &append.bytes).map_err(pack_error)?;
                }
            }
            open.push(pack);
        }
        let runs = super::reader::open_runs(&objects, repository);
        let covered: HashSet<_> = runs.iter().flat_map(|(_, packs)| packs.iter().copied()).collect();
        let runs = runs.into_iter().map(|(run, _)| run).collect();
        let mut uncovered: Vec<_> = catalog
            .packs()
            .filter(|(ordinal, state, _)| *state == PackState::Sealed && !covered.contains(ordinal))
            .map(|(ordinal, _, _)| ordinal)
            .collect();
        uncovered.reverse();
        Ok(Self {
            objects,
            repository,
            catalog,
            open,
            runs,
            uncovered,
            packs: RwLock::default(),
            cache: OnceLock::new(),
            cache_limit,
        })
    }

    /// Returns how many objects the shared packs hold, which no footer lists yet.
    pub fn open_objects(&self) -> u64 {
        self.open.iter().map(|pack| pack.table().len() as u64).sum()
    }

    /// Returns which packs count.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Returns the repository the objects belong to.
    pub fn repository(&self) -> RepositoryId {
        self.repository
    }

    /// Returns the directory of the packs.
    pub(crate) fn objects(&self) -> &Dir {
        &self.objects
    }

    /// Returns how many sealed packs no run of the index covers.
    pub(crate) fn uncovered(&self) -> &[PackOrdinal] {
        &self.uncovered
    }

    /// Returns the runs of the pack index.
    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Opens a sealed pack, or returns it where it is open already.
    pub fn pack(&self, ordinal: PackOrdinal) -> Result<Arc<PackReader>> {
        if let Some(pack) = self.packs.read().expect("nothing panics while holding the packs").get(&ordinal) {
            return Ok(pack.clone());
        }
        let file = self.objects.open(ordinal.path(), OpenOptions::READ)?;
        let pack = Arc::new(PackReader::open(file, ordinal, &self.repository.digest()).map_err(pack_error)?);
        let mut packs = self.packs.write().expect("nothing panics while holding the packs");
        if packs.len() >= MAX_OPEN_PACKS {
            // Whoever reads one at this moment keeps it; the others are opened again when they are needed.
            packs.retain(|_, pack| Arc::strong_count(pack) > 1);
        }
        Ok(packs.entry(ordinal).or_insert(pack).clone())
    }

    /// Finds where an object lies. The answer is confirmed by the frame only when it is read.
    pub fn find(&self, id: ObjectId) -> Result<Option<Place>> {
        let digest = id.digest();
        for pack in &self.open {
            if let Some(location) = pack.lookup(&digest) {
                return Ok(Some(Place { pack: pack.ordinal(), location }));
            }
        }
        for &ordinal in &self.uncovered {
            match self.pack(ordinal).and_then(|pack| pack.lookup(&digest).map_err(pack_error)) {
                Ok(Some(location)) => return Ok(Some(Place { pack: ordinal, location })),
                Ok(None) => {}
                // What a later version wrote is never taken for nothing.
                Err(error @ Error::RepositoryFormat { .. }) => return Err(error),
                // A pack that cannot be read hides only what it holds: another may have the object too.
                Err(error) => tracing::warn!(pack = %ordinal, %error, "pack cannot be searched"),
            }
        }
        for run in &self.runs {
            let registered = |entry: &RunEntry| self.catalog.state(entry.pack) == Some(PackState::Sealed);
            match run.lookup(&digest, registered) {
                Ok(Some(entry)) => return Ok(Some(Place { pack: entry.pack, location: entry.location })),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "index run cannot be searched"),
            }
        }
        Ok(None)
    }

    /// Says whether an object is here: an index names it and the frame's own table agrees, so that a lying index costs
    /// space and never data.
    pub fn contains(&self, id: ObjectId) -> Result<bool> {
        if id == Tree::empty_id().0 {
            return Ok(true);
        }
        let Some(place) = self.find(id)? else { return Ok(false) };
        if self.open.iter().any(|pack| pack.ordinal() == place.pack) {
            return Ok(true);
        }
        match self.frame_table_agrees(id, place) {
            Ok(agrees) => Ok(agrees),
            Err(error) => {
                tracing::warn!(object = %id, %error, "object cannot be confirmed");
                Ok(false)
            }
        }
    }

    /// Returns how long an object is, as the table of its frame says; `None` where it is not here. Costs what
    /// [`contains`](Self::contains) does, in a shared pack a frame.
    pub fn length(&self, id: ObjectId) -> Result<Option<u32>> {
        let Some(place) = self.find(id)? else { return Ok(None) };
        if self.open.iter().any(|pack| pack.ordinal() == place.pack) {
            let table = self.frame_table(place)?;
            let entry = table.entries.get(usize::from(place.location.slot)).filter(|entry| entry.id.0 == id.0);
            return Ok(entry.map(|entry| entry.length));
        }
        self.length_in_table(id, place)
    }

    fn frame_table_agrees(&self, id: ObjectId, place: Place) -> Result<bool> {
        Ok(self.length_in_table(id, place)?.is_some())
    }

    /// Returns the length the frame's table states for an object, where it lies where an index says.
    fn length_in_table(&self, id: ObjectId, place: Place) -> Result<Option<u32>> {
        // The frame's head and table: as many bytes as the slot needs, read without its payload.
        let needed = FRAME_HEADER_LENGTH + (usize::from(place.location.slot) + 1) * TABLE_ENTRY;
        let mut head = vec![0; needed.min(place.location.reach as usize)];
        let read = self.pack(place.pack)?.read_raw(place.location.offset, &mut head).map_err(pack_error)?;
        let at = needed - TABLE_ENTRY;
        let agrees = read >= needed && head[at..at + 32] == id.0 && head[at + 32] == place.location.kind;
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        Ok(agrees.then(|| word(at + 33)))
    }

    /// Reads what a frame says it holds, without its payload: nothing of it is verified.
    ///
    /// # Errors
    /// [`Error::FileCorrupt`] where no frame lies there.
    pub(crate) fn frame_table(&self, place: Place) -> Result<FrameTable> {
        /// Objects of a table read at the first attempt: most frames hold no more.
        const USUAL: usize = 64;
        if self.open.iter().any(|pack| pack.ordinal() == place.pack) {
            let frame = self.raw_frame(place)?;
            let view = frame.view();
            let (length, raw) = (view.as_bytes().len() as u32, view.header().raw_length);
            return Ok(FrameTable { entries: view.entries().collect(), length, raw });
        }
        let Location { offset, reach, .. } = place.location;
        let damaged = || Error::FileCorrupt {
            path: self.objects.path().join(place.pack.path()),
            reason: format!("no frame begins at {offset}"),
        };
        let pack = self.pack(place.pack)?;
        let mut head = vec![0; (FRAME_HEADER_LENGTH + USUAL * TABLE_ENTRY).min(reach as usize)];
        let mut read = pack.read_raw(offset, &mut head).map_err(pack_error)?;
        if read < FRAME_HEADER_LENGTH || head[..3] != [0xf5, 0x53, 0x46] {
            return Err(damaged());
        }
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let count = usize::from(u16::from_le_bytes([head[6], head[7]]));
        let (raw, stored) = (word(8), word(12));
        let end = FRAME_HEADER_LENGTH + count * TABLE_ENTRY;
        if count > MAX_FRAME_ENTRIES || end + stored as usize > reach as usize {
            return Err(damaged());
        }
        if read < end {
            head.resize(end, 0);
            read = pack.read_raw(offset, &mut head).map_err(pack_error)?;
        }
        let table = head.get(FRAME_HEADER_LENGTH..end).filter(|_| read >= end).ok_or_else(damaged)?;
        let entry = |entry: &[u8; TABLE_ENTRY]| {
            let (id, rest) = entry.split_first_chunk::<32>().expect("an entry is 37 bytes");
            let length = u32::from_le_bytes([rest[1], rest[2], rest[3], rest[4]]);
            FrameEntry { id: Digest(*id), kind: rest[0], length }
        };
        let entries = table.as_chunks::<TABLE_ENTRY>().0.iter().map(entry).collect();
        Ok(FrameTable { entries, length: (end + stored as usize) as u32, raw })
    }

    fn cache(&self) -> &FrameCache {
        self.cache.get_or_init(|| FrameCache::new(self.cache_limit))
    }

    /// Reads an object of a known kind and checks it against its id.
    ///
    /// # Errors
    /// [`Error::ObjectNotFound`] where it is not here, [`Error::ObjectCorrupt`] where its bytes are not what the id says.
    pub fn get(&self, id: ObjectId, kind: ObjectKind) -> Result<ObjectBytes> {
        if id == Tree::empty_id().0 && kind == ObjectKind::Tree {
            let frame = EMPTY_TREE.clone();
            let range = 0..frame.raw.len();
            return Ok(ObjectBytes { frame, range });
        }
        let place = self.find(id)?;
        let found = match place {
            Some(place) => self.object_at(id, kind, place),
            None => Err(Error::ObjectNotFound { id: id.digest() }),
        };
        let found = found.or_else(|error| {
            // Another copy may be whole, and a damaged index may only seem to know of none.
            let others = self.places_elsewhere(id, place);
            let other = others.into_iter().find_map(|place| self.object_at(id, kind, place).ok());
            other.ok_or(error)
        });
        if found.is_ok() {
            metrics::COUNTERS.objects_read.add(1);
        }
        found
    }

    /// Reads an object that lies at `place` and checks it against its id.
    fn object_at(&self, id: ObjectId, kind: ObjectKind, place: Place) -> Result<ObjectBytes> {
        let (frame, at) = self.decoded(id, place)?;
        let (_, found, range) = &frame.objects[at];
        if *found != Some(kind) {
            let found = found.map_or("of an unknown kind", ObjectKind::name);
            return Err(Error::ObjectCorrupt { id: id.digest(), reason: format!("it is {found}, not {kind}") });
        }
        let range = range.start as usize..range.end as usize;
        if kind.id(&frame.raw[range.clone()]) != id {
            return Err(Error::ObjectCorrupt { id: id.digest(), reason: "its bytes hash to another id".to_owned() });
        }
        Ok(ObjectBytes { frame, range })
    }

    /// Finds where an object lies, also where damage of the index hides it: before something is called missing.
    pub(crate) fn find_surely(&self, id: ObjectId) -> Result<Option<Place>> {
        Ok(self.find(id)?.or_else(|| self.places_elsewhere(id, None).first().copied()))
    }

    /// Returns the places of an object other than `known`, those included that a damaged run denies.
    fn places_elsewhere(&self, id: ObjectId, known: Option<Place>) -> Vec<Place> {
        let digest = id.digest();
        let same = |pack, offset| known.is_some_and(|known| known.pack == pack && known.location.offset == offset);
        let mut places = Vec::new();
        let mut add = |pack: PackOrdinal, location: Location| {
            if !same(pack, location.offset) {
                places.push(Place { pack, location });
            }
        };
        for pack in &self.open {
            pack.lookup(&digest).into_iter().for_each(|location| add(pack.ordinal(), location));
        }
        for &ordinal in &self.uncovered {
            let found = self.pack(ordinal).ok().and_then(|pack| pack.lookup(&digest).ok().flatten());
            found.into_iter().for_each(|location| add(ordinal, location));
        }
        let counts = |pack| self.catalog.state(pack) == Some(PackState::Sealed);
        for run in &self.runs {
            let other = |entry: &RunEntry| counts(entry.pack) && !same(entry.pack, entry.location.offset);
            if let Ok(Some(entry)) = run.lookup(&digest, other) {
                add(entry.pack, entry.location);
            }
            if run.verify_around(&digest).is_ok() {
                continue;
            }
            // What the run merged says it too. These packs are many: none is kept open.
            for ordinal in run.packs().unwrap_or_default().into_iter().filter(|pack| counts(*pack)) {
                let pack = self.objects.open(ordinal.path(), OpenOptions::READ).map_err(PackError::from);
                let pack = pack.and_then(|file| PackReader::open(file, ordinal, &self.repository.digest()));
                if let Ok(Some(location)) = pack.and_then(|pack| pack.lookup(&digest)) {
                    add(ordinal, location);
                }
            }
        }
        places
    }

    /// Decodes the frame an object lies in, or takes it from the cache; returns it with the object's place in it.
    fn decoded(&self, id: ObjectId, place: Place) -> Result<(Arc<DecodedFrame>, usize)> {
        let key = (place.pack.to_u32(), place.location.offset);
        let frame = match self.cache().get(key) {
            Some(frame) => frame,
            None => {
                let frame = Arc::new(self.read_frame(place).map_err(|error| self.blame(id, error))?);
                self.cache().insert(key, frame.clone());
                frame
            }
        };
        let slot = usize::from(place.location.slot);
        match frame.objects.get(slot) {
            Some((found, _, _)) if *found == id => Ok((frame, slot)),
            _ => {
                let at = frame.objects.iter().position(|(found, _, _)| *found == id);
                let reason = || format!("pack {} does not hold it where its index says", place.pack);
                let at = at.ok_or_else(|| Error::ObjectCorrupt { id: id.digest(), reason: reason() })?;
                Ok((frame, at))
            }
        }
    }

    fn blame(&self, id: ObjectId, error: Error) -> Error {
        match error {
            Error::FileCorrupt { path, reason } => {
                Error::ObjectCorrupt { id: id.digest(), reason: format!("{}: {reason}", path.display()) }
            }
            other => other,
        }
    }

    /// Reads a frame as stored.
    pub(crate) fn raw_frame(&self, place: Place) -> Result<FrameBuffer> {
        let Location { offset, reach, .. } = place.location;
        match self.open.iter().find(|pack| pack.ordinal() == place.pack) {
            Some(pack) => pack.read_frame(offset, reach).map_err(pack_error),
            None => self.pack(place.pack)?.read_frame(offset, reach).map_err(pack_error),
        }
    }

    fn read_frame(&self, place: Place) -> Result<DecodedFrame> {
        decode_frame(&self.raw_frame(place)?, place)
    }
}

/// The empty directory is everywhere without being stored.
static EMPTY_TREE: LazyLock<Arc<DecodedFrame>> =
    LazyLock::new(|| Arc::new(DecodedFrame { raw: TreeNode::Leaf(Vec::new()).to_bytes(), objects: Vec::new() }));

thread_local! {
    /// Contexts are costly to make and cheap to keep: one a thread.
    static DECOMPRESSOR: std::cell::RefCell<Decompressor> = std::cell::RefCell::new(Decompressor::new());
}

/// Decompresses a frame whose check held. Ids are compared when objects are taken out.
pub(super) fn decode_frame(frame: &FrameBuffer, place: Place) -> Result<DecodedFrame> {
    let view = frame.view();
    let header = view.header();
    let damaged = |reason: String| Error::FileCorrupt {
        path: pack_file(place.pack).into(),
        reason: format!("frame at {}: {reason}", place.location.offset),
    };
    let mut raw = Vec::new();
    let codec = compression::Codec::from_code(header.codec.0)
        .ok_or_else(|| damaged(format!("codec {} is of a later version", header.codec.0)))?;
    DECOMPRESSOR
        .with_borrow_mut(|decompressor| {
            decompressor.decompress(codec, view.payload(), header.raw_length as usize, &mut raw)
        })
        .map_err(|error| damaged(error.to_string()))?;
    let mut objects = Vec::with_capacity(usize::from(header.count));
    let mut at = 0u32;
    for entry in view.entries() {
        let end = at + entry.length;
        objects.push((ObjectId(entry.id.0), ObjectKind::from_number(entry.kind), at..end));
        at = end;
    }
    Ok(DecodedFrame { raw, objects })
}

/// Returns a pack's path under `.shard/`, as the write-ahead log names it.
pub(crate) fn pack_file(ordinal: PackOrdinal) -> String {
    format!("objects/{}", ordinal.path().display())
}

/// Turns a pack's error into ours.
pub(crate) fn pack_error(error: PackError) -> Error {
    match error {
        PackError::Io(error) => Error::from(error),
        PackError::ForeignRepository { path, .. } => Error::PackForeign { path },
        PackError::Poisoned { path } => {
            Error::DurabilityUnknown { path, source: std::io::Error::other("an earlier sync failed") }
        }
        PackError::UnsupportedVersion { path, found } => {
            Error::RepositoryFormat { path, found: found.into(), supported: 1 }
        }
        other => {
            let path = other.path().to_path_buf();
            let mut reason = other.to_string();
            if let Some(source) = std::error::Error::source(&other) {
                reason = format!("{reason}: {source}");
            }
            // The error names the file already.
            let reason = reason.replace(&format!(" of {}", path.display()), "");
            Error::FileCorrupt { path, reason }
        }
    }
}

/// The digest under which packs know an object.
pub(crate) fn pack_id(id: ObjectId) -> Digest {
    id.digest()
}
