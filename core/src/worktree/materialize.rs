//! Materializing: entries of trees become files on disk, on every core.
//!
//! A file is written under a temporary name, checked against its ids as it is read, and renamed into place; a large one
//! is written by several workers at once. Links come last, so that no file is ever written through one. Nothing is synced
//! here but what [`Durability`] asks for; where it asks, content is durable before the file has its name, so that after a
//! power cut a name stands for the old file or the new one and never for a torn one, which nobody could tell from an edit.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shard_storage::vfs::{Dir, File, Metadata, OpenOptions};

use crate::object::ObjectStore;
use crate::object::chunker::is_zero;
use crate::object::reader::{read_all, read_range};
use crate::progress::{Progress, Unit};
use crate::tree::editor::Node;
use crate::tree::{EntryType, MAX_TARGET};
use crate::{Error, RepoPath, Result};

/// From this size on a file is written by several workers.
const SHARED_FROM: u64 = 32 << 20;
/// What one worker writes of such a file at a time, at least.
const SEGMENT: u64 = 8 << 20;
/// Most segments of all files beside one each, whatever sizes they claim: a tree from elsewhere may name exbibytes.
const MAX_SEGMENTS: u128 = 65_536;
/// Files a worker takes at a time, neighbours in the store as on disk.
const BATCH: usize = 16;
/// Up to so many files,
const SYNC_EACH_FILES: usize = 256;
/// and so many bytes, are synced one by one; beyond, the file system as a whole.
const SYNC_EACH_BYTES: u64 = 64 << 20;
/// Then so many files,
const BATCH_FILES: usize = 1 << 16;
/// and so many bytes, wait for one sync under temporary names, beside those they replace.
const BATCH_BYTES: u64 = 4 << 30;

/// Something to be written.
#[derive(Debug, Clone)]
pub struct Item {
    /// Where.
    pub path: RepoPath,
    /// What.
    pub node: Node,
}

/// How durable the files are when this returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// As durable as the system makes them in time.
    Unsynced,
    /// On disk, names included.
    Synced,
}

/// Where files go and how.
pub struct Materializer<'a> {
    /// Where content is read from.
    pub store: &'a ObjectStore,
    /// The directory paths are relative to.
    pub root: &'a Dir,
    /// Where temporaries lie; `None` writes files in place under their own names, which must be free.
    pub temporaries: Option<&'a Dir>,
    /// Workers.
    pub threads: usize,
    /// Whether to sync.
    pub durability: Durability,
    /// Who watches.
    pub progress: &'a dyn Progress,
}

/// When a file that was written gets its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// At once.
    Unsynced,
    /// Once its content was synced.
    Synced,
    /// Once the file system was synced.
    Later,
}

/// Where a file that was written is.
enum Written {
    InPlace(Metadata),
    Waiting(String),
}

enum Work {
    Files(std::ops::Range<usize>),
    Segment { large: usize, offset: u64 },
}

/// A file that several workers write. It is open only while they do: there may be more than a process may open.
struct Large {
    item: usize,
    left: AtomicUsize,
    open: Mutex<Option<(Arc<File>, Option<String>)>>,
}

impl Large {
    fn lock(&self) -> MutexGuard<'_, Option<(Arc<File>, Option<String>)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Materializer<'_> {
    /// Writes files and links, making directories as needed. `items` are sorted by path. Returns what `lstat` says of
    /// each file just after it was put in place.
    pub fn run(&self, items: &[Item]) -> Result<Vec<(usize, Metadata)>> {
        let files = items.iter().filter(|item| item.node.kind.is_file());
        let bytes = files.map(|item| item.node.size).fold(0, u64::saturating_add);
        self.progress.phase("writing", Some(bytes), Unit::Bytes);
        self.make_directories(items)?;
        let few = items.len() <= SYNC_EACH_FILES && bytes <= SYNC_EACH_BYTES;
        let naming = match (self.durability, self.temporaries) {
            (Durability::Unsynced, _) | (_, None) => Naming::Unsynced,
            (Durability::Synced, Some(_)) if few => Naming::Synced,
            (Durability::Synced, Some(_)) => Naming::Later,
        };
        let mut written = Vec::with_capacity(items.len());
        for batch in batches(items, naming) {
            let files = self.write_files(items, batch, naming)?;
            let synced = match naming {
                Naming::Later => self.root.sync_filesystem().map_err(crate::repository::sync_failure),
                Naming::Synced | Naming::Unsynced => Ok(()),
            };
            self.name_waiting(items, &files, synced, &mut written)?;
        }
        for (at, item) in items.iter().enumerate().filter(|(_, item)| item.node.kind == EntryType::Symlink) {
            written.push((at, self.write_link(item)?));
        }
        if self.durability == Durability::Synced {
            self.sync(items, few, naming)?;
        }
        Ok(written)
    }

    /// Puts files that waited in place, once they are synced.
    fn name_waiting(
        &self,
        items: &[Item],
        files: &[(usize, Written)],
        synced: Result<()>,
        written: &mut Vec<(usize, Metadata)>,
    ) -> Result<()> {
        let mut parent = Parent { root: self.root, open: None };
        let mut result = synced;
        for (at, file) in files {
            let placed = match file {
                Written::InPlace(metadata) => Ok(*metadata),
                Written::Waiting(name) if result.is_err() => {
                    self.discard(name);
                    continue;
                }
                Written::Waiting(name) => self.put_in_place(Some(name), &items[*at].path, &mut parent),
            };
            match placed {
                Ok(metadata) => written.push((*at, metadata)),
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// Writes the files among some of the items.
    fn write_files(
        &self,
        items: &[Item],
        batch: std::ops::Range<usize>,
        naming: Naming,
    ) -> Result<Vec<(usize, Written)>> {
        let among = || items.iter().enumerate().take(batch.end).skip(batch.start);
        let is_shared = |item: &Item| item.node.kind.is_file() && item.node.size >= SHARED_FROM;
        let shared: u128 =
            among().filter(|(_, item)| is_shared(item)).map(|(_, item)| u128::from(item.node.size)).sum();
        let segment = SEGMENT.max(u64::try_from(shared.div_ceil(MAX_SEGMENTS)).unwrap_or(u64::MAX));
        let mut work = Vec::new();
        let mut large = Vec::new();
        let mut small: Vec<usize> = Vec::new();
        for (at, item) in among().filter(|(_, item)| item.node.kind.is_file()) {
            if !is_shared(item) {
                small.push(at);
                continue;
            }
            let segments = item.node.size.div_ceil(segment);
            let index = large.len();
            large.push(Large { item: at, left: AtomicUsize::new(segments as usize), open: Mutex::default() });
            work.extend((0..segments).map(|number| Work::Segment { large: index, offset: number * segment }));
        }
        let batches = small.len().div_ceil(BATCH);
        work.extend((0..batches).map(|at| Work::Files(at * BATCH..small.len().min((at + 1) * BATCH))));
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let written = Mutex::new(Vec::with_capacity(batch.len()));
        let worker = || -> Result<()> {
            let mut mine = Vec::new();
            let mut parent = Parent { root: self.root, open: None };
            let result = (|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(work) = work.get(at).filter(|_| !failed.load(Ordering::Relaxed)) else { return Ok(()) };
                    if self.progress.is_cancelled() {
                        return Err(Error::Cancelled);
                    }
                    match work {
                        Work::Files(range) => {
                            for &item in &small[range.clone()] {
                                mine.push((item, self.write_file(&items[item], &mut parent, naming)?));
                            }
                        }
                        Work::Segment { large: index, offset } => {
                            let large = &large[*index];
                            let item = &items[large.item];
                            self.write_segment(large, item, *offset, segment)?;
                            if large.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                                let (file, temporary) = large.lock().take().expect("it was opened to be written");
                                let name = temporary.clone();
                                let file = self.name(&file, temporary, &item.path, &mut parent, naming);
                                let file = file.inspect_err(|_| name.iter().for_each(|name| self.discard(name)))?;
                                mine.push((large.item, file));
                            }
                        }
                    }
                }
            })();
            if result.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            written.lock().expect("nothing panics while holding the list").append(&mut mine);
            result
        };
        let useful = work.len().div_ceil(2).clamp(1, 8);
        std::thread::scope(|scope| -> Result<()> {
            let others: Vec<_> = (1..self.threads.min(useful)).map(|_| scope.spawn(worker)).collect();
            let mut result = worker();
            for other in others {
                match other.join() {
                    Ok(other) => result = result.and(other),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            result
        })
        .inspect_err(|_| {
            let written = written.lock().expect("nothing panics while holding the list");
            let waiting = written.iter().filter_map(|(_, file)| match file {
                Written::Waiting(name) => Some(name),
                Written::InPlace(_) => None,
            });
            waiting.for_each(|name| self.discard(name));
            let unfinished = large.iter().filter_map(|large| large.lock().take().and_then(|(_, name)| name));
            unfinished.for_each(|name| self.discard(&name));
        })?;
        Ok(written.into_inner().expect("nothing panics while holding the list"))
    }

    fn discard(&self, temporary: &str) {
        if let Some(temporaries) = self.temporaries {
            let _ = temporaries.unlink(temporary);
        }
    }

    fn make_directories(&self, items: &[Item]) -> Result<()> {
        let mut made: BTreeSet<RepoPath> = BTreeSet::new();
        for item in items {
            let directory = match item.node.kind {
                EntryType::Directory => Some(item.path.clone()),
                _ => item.path.parent(),
            };
            let mut missing = Vec::new();
            let mut at = directory;
            while let Some(path) = at.filter(|path| !path.is_root() && !made.contains(path)) {
                at = path.parent();
                missing.push(path);
            }
            for path in missing.into_iter().rev() {
                match self.root.create_dir(path.as_str(), 0o777) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
                    _ => {}
                }
                made.insert(path);
            }
        }
        Ok(())
    }

    fn create(&self, path: &RepoPath, kind: EntryType) -> Result<(File, Option<String>)> {
        let mode = if kind == EntryType::Executable { 0o777 } else { 0o666 };
        match self.temporaries {
            None => Ok((self.root.open(path.as_str(), OpenOptions::CREATE_NEW.mode(mode))?, None)),
            Some(temporaries) => {
                let name = temporary_name()?;
                Ok((temporaries.open(&name, OpenOptions::CREATE_NEW.mode(mode))?, Some(name)))
            }
        }
    }

    fn write_file(&self, item: &Item, parent: &mut Parent<'_>, naming: Naming) -> Result<Written> {
        let mode = if item.node.kind == EntryType::Executable { 0o777 } else { 0o666 };
        let (file, temporary) = match self.temporaries {
            None => {
                let (dir, name) = parent.of(&item.path)?;
                (dir.open(name, OpenOptions::CREATE_NEW.mode(mode))?, None)
            }
            Some(_) => self.create(&item.path, item.node.kind)?,
        };
        let name = temporary.clone();
        let written = self.fill(&file, item, 0, item.node.size).and_then(|ends_in_hole| {
            if ends_in_hole {
                file.set_len(item.node.size)?;
            }
            self.name(&file, temporary, &item.path, parent, naming)
        });
        if let (Err(_), Some(name)) = (&written, &name) {
            self.discard(name);
        }
        written
    }

    /// Gives a file that is complete its name, or leaves it waiting.
    fn name(
        &self,
        file: &File,
        temporary: Option<String>,
        path: &RepoPath,
        parent: &mut Parent<'_>,
        naming: Naming,
    ) -> Result<Written> {
        let Some(temporary) = temporary else { return Ok(Written::InPlace(file.metadata()?)) };
        if naming == Naming::Later {
            return Ok(Written::Waiting(temporary));
        }
        if naming == Naming::Synced {
            file.sync_data().map_err(crate::repository::sync_failure)?;
        }
        Ok(Written::InPlace(self.put_in_place(Some(&temporary), path, parent)?))
    }

    fn write_segment(&self, large: &Large, item: &Item, offset: u64, length: u64) -> Result<()> {
        let file = {
            let mut open = large.lock();
            match &*open {
                Some((file, _)) => file.clone(),
                None => {
                    let (file, temporary) = self.create(&item.path, item.node.kind)?;
                    let file = Arc::new(file);
                    *open = Some((file.clone(), temporary));
                    file.set_len(item.node.size)?;
                    file
                }
            }
        };
        self.fill(&file, item, offset, length)?;
        if self.durability == Durability::Synced {
            // One worker waits for the disk while the others read and check: the sync at the end finds little left.
            file.sync_data().map_err(crate::repository::sync_failure)?;
        }
        Ok(())
    }

    /// Writes a range; says whether it ends in a hole, which leaves the file short.
    fn fill(&self, file: &File, item: &Item, offset: u64, length: u64) -> Result<bool> {
        let mut hole = false;
        let Node { content, size, .. } = &item.node;
        read_range(self.store, content, *size, offset, length, &mut |at, length, bytes| {
            hole = bytes.is_none();
            if let Some(bytes) = bytes {
                file.write_all_at(bytes, at)?;
            }
            self.progress.advance(length);
            Ok(())
        })
        .map_err(|error| match error {
            // What is damaged or absent is named by where it should have gone, too.
            Error::ObjectCorrupt { id, reason } => {
                Error::ObjectCorrupt { id, reason: format!("{reason} (needed for {})", item.path) }
            }
            other => other,
        })?;
        Ok(hole)
    }

    fn put_in_place(&self, temporary: Option<&str>, path: &RepoPath, parent: &mut Parent<'_>) -> Result<Metadata> {
        let (Some(temporaries), Some(temporary)) = (self.temporaries, temporary) else {
            let (dir, name) = parent.of(path)?;
            return Ok(dir.metadata(name)?);
        };
        let placed = parent.of(path).and_then(|(dir, name)| {
            match temporaries.rename(temporary, dir, name) {
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                    copy_beside(temporaries, temporary, dir, name)?;
                }
                other => other?,
            }
            Ok(dir.metadata(name)?)
        });
        placed.inspect_err(|_| self.discard(temporary))
    }

    fn write_link(&self, item: &Item) -> Result<Metadata> {
        let target = read_all(self.store, &item.node.content, item.node.size, MAX_TARGET)?;
        let target = std::path::Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&target));
        let path = item.path.as_str();
        match self.temporaries {
            None => self.root.symlink(target, path)?,
            Some(temporaries) => {
                let name = temporary_name()?;
                temporaries.symlink(target, &name)?;
                if let Err(error) = temporaries.rename(&name, self.root, path) {
                    self.discard(&name);
                    if error.kind() != io::ErrorKind::CrossesDevices {
                        return Err(error.into());
                    }
                    let beside = match item.path.parent().filter(|parent| !parent.is_root()) {
                        Some(parent) => format!("{parent}/{name}"),
                        None => name,
                    };
                    self.root.symlink(target, &beside)?;
                    self.root.rename(&beside, self.root, path).inspect_err(|_| drop(self.root.unlink(&beside)))?;
                }
            }
        }
        Ok(self.root.metadata(path)?)
    }

    /// Makes names durable, and content where that was not done before.
    fn sync(&self, items: &[Item], few: bool, naming: Naming) -> Result<()> {
        self.progress.phase("syncing", None, Unit::Items);
        let failed = crate::repository::sync_failure;
        if !few {
            return self.root.sync_filesystem().map_err(failed);
        }
        let mut directories = BTreeSet::new();
        for item in items {
            if item.node.kind.is_file() && naming == Naming::Unsynced {
                self.root.open(item.path.as_str(), OpenOptions::READ)?.sync_data().map_err(failed)?;
            }
            let mut at = item.path.parent();
            while let Some(path) = at {
                at = path.parent();
                directories.insert(path);
            }
        }
        for directory in directories.iter().rev().filter(|directory| !directory.is_root()) {
            self.root.open_dir(directory.as_str())?.sync().map_err(failed)?;
        }
        self.root.sync().map_err(failed)
    }
}

/// Divides items into ranges whose files may wait for one sync together.
fn batches(items: &[Item], naming: Naming) -> Vec<std::ops::Range<usize>> {
    if naming != Naming::Later {
        return std::iter::once(0..items.len()).collect();
    }
    let mut ranges = Vec::new();
    let (mut start, mut bytes) = (0, 0u64);
    for (at, item) in items.iter().enumerate() {
        if at > start && (at - start >= BATCH_FILES || bytes.saturating_add(item.node.size) > BATCH_BYTES) {
            ranges.push(start..at);
            (start, bytes) = (at, 0);
        }
        bytes = bytes.saturating_add(item.node.size);
    }
    ranges.push(start..items.len());
    ranges
}

/// The directory last written to, kept open: neighbours in path order share it.
struct Parent<'a> {
    root: &'a Dir,
    open: Option<(RepoPath, Dir)>,
}

impl Parent<'_> {
    fn of<'p>(&mut self, path: &'p RepoPath) -> Result<(&Dir, &'p str)> {
        let name = path.name().expect("an item is not the root");
        let parent = path.parent().unwrap_or_else(RepoPath::root);
        if parent.is_root() {
            return Ok((self.root, name));
        }
        if self.open.as_ref().is_none_or(|(open, _)| *open != parent) {
            let dir = self.root.open_dir(parent.as_str())?;
            self.open = Some((parent, dir));
        }
        let (_, dir) = self.open.as_ref().expect("opened just above");
        Ok((dir, name))
    }
}

fn temporary_name() -> Result<String> {
    use std::sync::LazyLock;
    static PREFIX: LazyLock<Option<[u8; 8]>> = LazyLock::new(|| crate::repository::random().ok());
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let prefix = match *PREFIX {
        Some(prefix) => prefix,
        None => crate::repository::random()?,
    };
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    Ok(format!("{}{:016x}-{number:x}", crate::repo_path::TEMPORARY_PREFIX, u64::from_le_bytes(prefix)))
}

/// The target lies on another file system: the copy goes beside it under a temporary name first.
fn copy_beside(temporaries: &Dir, temporary: &str, dir: &Dir, name: &str) -> Result<()> {
    let from = temporaries.open(temporary, OpenOptions::READ)?;
    let beside = temporary_name()?;
    let to = dir.open(&beside, OpenOptions::CREATE_NEW.mode(0o600))?;
    let copied = copy(&from, &to).and_then(|()| Ok(dir.rename(&beside, dir, name)?));
    copied.inspect_err(|_| drop(dir.unlink(&beside)))?;
    temporaries.unlink(temporary)?;
    Ok(())
}

/// Copies content, holes as holes, and mode, and syncs.
fn copy(from: &File, to: &File) -> Result<()> {
    let metadata = from.metadata()?;
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let read = from.read_full_at(&mut buffer, at)?;
        if read == 0 {
            break;
        }
        if !is_zero(&buffer[..read]) {
            to.write_all_at(&buffer[..read], at)?;
        }
        at += read as u64;
    }
    to.set_len(metadata.size)?;
    to.set_mode(metadata.mode)?;
    to.sync_data().map_err(crate::repository::sync_failure)
}

/// Collects what a tree holds as items, in path order; types of a later version are returned apart.
pub fn items_of(store: &ObjectStore, tree: crate::ids::TreeId) -> Result<(Vec<Item>, Vec<RepoPath>)> {
    let (mut items, mut unknown) = (Vec::new(), Vec::new());
    crate::tree::walk::visit(store, tree, None, &mut |path, entry| {
        match entry.kind {
            EntryType::Unknown(_) => unknown.push(path),
            EntryType::Directory if entry.tree() != Some(crate::tree::Tree::empty_id()) => {}
            _ => items.push(Item { path, node: Node::from(entry.clone()) }),
        }
        Ok(())
    })?;
    Ok((items, unknown))
}
