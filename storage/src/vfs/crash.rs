//! A file system in memory that forgets what a real one may forget when the power fails.
//!
//! It holds two states: what the running system sees, and what is sure to be on the disk. Between them lie changes that
//! were not synced, any part of which may survive: any subset of written sectors of 512 bytes, of each name's changes
//! the first few, file lengths with zeros where no data arrived. A rename happens wholly or not at all, yet is not
//! durable before a directory it touches is synced; syncing a file makes none of its names durable. What was synced is
//! always kept, and what was durable is never lost by moving it.
//!
//! A test runs a scenario upon [`Crash::new`], has the machine stop at each mutating operation in turn
//! ([`stop_at`](Crash::stop_at)), and reopens what [`image`](Crash::image) says is left.

mod chance;
mod content;
mod names;
mod state;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use self::chance::Chance;
use self::content::Content;
use self::names::{Inode, ROOT, Tree};
use self::state::{Body, CLOCK_START, Node, State};
use super::{
    DirEntry, DirHandle, FileHandle, FileKind, FilesystemInfo, LockKind, Metadata, OpenOptions, Vfs, path_check,
};

/// Largest file the simulator holds; holes cost memory here.
const MAX_FILE: u64 = 1 << 30;
/// Which part of the changes that were not synced survives a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashMode {
    /// Everything: as if only the process had been killed.
    Kept,
    /// Nothing.
    Lost,
    /// All content, but no change of a name.
    NamesLost,
    /// All names and lengths, but no content: zeros where it would be.
    DataLost,
    /// All names and lengths, and of the content some sectors, or all up to some sector.
    Torn,
    /// Any part of anything.
    Random,
}

impl CrashMode {
    /// The modes and seeds every operation of a scenario is to be crashed with.
    pub const MATRIX: [(Self, u64); 8] = [
        (Self::Kept, 0),
        (Self::Lost, 0),
        (Self::NamesLost, 0),
        (Self::DataLost, 0),
        (Self::Torn, 1),
        (Self::Random, 1),
        (Self::Random, 2),
        (Self::Random, 3),
    ];
}

/// The simulated file system. Clones share it; it begins with an empty, durable root directory `/`.
///
/// Times come from a clock of its own that moves with every change, so a run is the same each time. Locks belong to
/// handles, as `flock` does.
#[derive(Clone)]
pub struct Crash {
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Crash")
    }
}

impl Default for Crash {
    fn default() -> Self {
        Self::new()
    }
}

struct OpenDir(Inode);

struct OpenFile {
    state: Arc<Mutex<State>>,
    inode: Inode,
    handle: u64,
    writable: bool,
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        locked(&self.state).release(self.inode, self.handle);
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Crash {
    /// Creates a file system with nothing in it.
    pub fn new() -> Self {
        let root = Node::new(Body::Directory, 0o755, CLOCK_START);
        Self::from_parts(BTreeMap::from([(ROOT, root)]), Tree::default(), CLOCK_START)
    }

    fn from_parts(nodes: BTreeMap<Inode, Node>, tree: Tree, clock: i64) -> Self {
        let state = State::new(nodes, tree, clock);
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// Makes everything durable without counting as an operation, and begins counting anew: what a scenario finds in
    /// place.
    pub fn settle(&self) {
        let mut state = self.state();
        state.sync_all();
        state.operations = 0;
    }

    /// Returns how many mutating operations there were since the beginning or [`settle`](Self::settle): those that
    /// change something or make it durable, failed ones included. Opening an existing file is none, nor are locks.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Stops the machine at mutating operation `n`, counted as by [`operations`](Self::operations) from 1: its effect
    /// is left to chance like everything unsynced (a sync does nothing), it and every later operation fail.
    pub fn stop_at(&self, n: u64) {
        self.state().stop_at = Some(n);
    }

    /// Says whether the machine has stopped.
    pub fn stopped(&self) -> bool {
        self.state().stopped
    }

    /// Returns the file system as a crash now, or when the machine stopped, would leave it: all of it durable, nothing
    /// locked, counting from 0. The same mode and seed give the same image; only `Torn` and `Random` use the seed.
    pub fn image(&self, mode: CrashMode, seed: u64) -> Self {
        let state = self.state();
        let mut chance = Chance::new(seed);
        let tree = state.names.after_crash(mode, &mut chance);
        let alive = tree.reachable(ROOT, None);
        let survives = |(&inode, node): (&Inode, &Node)| {
            // Drawn for every node, so that what one file becomes does not hang on the names of others.
            let node = node.after_crash(mode, &mut chance);
            alive.contains(&inode).then_some((inode, node))
        };
        let nodes = state.nodes.iter().filter_map(survives).collect();
        let image = Self::from_parts(nodes, tree, state.clock);
        image.state().next_inode = state.next_inode;
        image
    }

    /// Runs a mutating operation.
    fn mutate<T>(&self, run: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        self.state().mutate(run)
    }

    /// Runs a mutating operation that makes something durable: nothing of it happens when the machine stops there.
    fn sync(&self, run: impl FnOnce(&mut State)) -> io::Result<()> {
        let mut state = self.state();
        let stops = state.stop_at == Some(state.operations + 1);
        state.mutate(|state| {
            if !stops {
                run(state);
            }
            Ok(())
        })
    }

    /// Runs an operation that changes nothing.
    fn look<T>(&self, run: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state();
        state.running()?;
        run(&mut state)
    }
}

fn foreign_handle() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "handle of another file system")
}

fn dir_inode(dir: &DirHandle) -> io::Result<Inode> {
    match dir {
        DirHandle::Simulated(any) => any.downcast_ref::<OpenDir>().map(|dir| dir.0),
        DirHandle::Real(_) => None,
    }
    .ok_or_else(foreign_handle)
}

fn open_file(file: &FileHandle) -> io::Result<&OpenFile> {
    match file {
        FileHandle::Simulated(any) => any.downcast_ref::<OpenFile>(),
        FileHandle::Real(_) => None,
    }
    .ok_or_else(foreign_handle)
}

fn writable(file: &FileHandle) -> io::Result<&OpenFile> {
    let file = open_file(file)?;
    if file.writable { Ok(file) } else { Err(Errno::BADF.into()) }
}

fn fits(end: Option<u64>) -> io::Result<()> {
    if end.is_some_and(|end| end <= MAX_FILE) { Ok(()) } else { Err(Errno::FBIG.into()) }
}

impl Vfs for Crash {
    fn open_root(&self, path: &Path) -> io::Result<DirHandle> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        self.open_dir(&DirHandle::Simulated(Box::new(OpenDir(ROOT))), relative)
    }

    fn open_dir(&self, dir: &DirHandle, path: &Path) -> io::Result<DirHandle> {
        let dir = dir_inode(dir)?;
        self.look(|state| {
            let inode = state.find(dir, path)?;
            match state.node(inode).kind() {
                FileKind::Directory => Ok(DirHandle::Simulated(Box::new(OpenDir(inode)))),
                _ => Err(Errno::NOTDIR.into()),
            }
        })
    }

    fn open(&self, dir: &DirHandle, path: &Path, options: OpenOptions) -> io::Result<FileHandle> {
        let dir = dir_inode(dir)?;
        if options.truncate && !options.write {
            return Err(Errno::INVAL.into());
        }
        let mut state = self.state();
        state.running()?;
        let (parent, name) = state.locate(dir, path)?;
        let inode = match state.entry(parent, name)? {
            Some(_) if options.create_new => return Err(Errno::EXIST.into()),
            Some(inode) => {
                match state.node(inode).kind() {
                    FileKind::Symlink => return Err(Errno::LOOP.into()),
                    FileKind::Directory => return Err(Errno::ISDIR.into()),
                    FileKind::File | FileKind::Other => {}
                }
                if options.truncate && state.content(inode)?.size() > 0 {
                    state.mutate(|state| {
                        state.touch(inode);
                        state.content(inode)?.resize(0);
                        Ok(())
                    })?;
                }
                inode
            }
            None if options.create || options.create_new => {
                let mode = if options.mode == 0 { 0o666 } else { options.mode };
                let body = Body::File(Content::default());
                state.mutate(|state| state.create(dir, path, body, mode))?
            }
            None => return Err(Errno::NOENT.into()),
        };
        state.next_handle += 1;
        let (handle, writable) = (state.next_handle, options.write);
        Ok(FileHandle::Simulated(Box::new(OpenFile { state: self.state.clone(), inode, handle, writable })))
    }

    fn create_dir(&self, dir: &DirHandle, path: &Path, mode: u32) -> io::Result<()> {
        let dir = dir_inode(dir)?;
        self.mutate(|state| state.create(dir, path, Body::Directory, mode).map(drop))
    }

    fn symlink(&self, dir: &DirHandle, target: &Path, path: &Path) -> io::Result<()> {
        let dir = dir_inode(dir)?;
        if target.as_os_str().is_empty() {
            return Err(Errno::NOENT.into());
        }
        self.mutate(|state| state.create(dir, path, Body::Symlink(target.into()), 0o777).map(drop))
    }

    fn read_link(&self, dir: &DirHandle, path: &Path) -> io::Result<PathBuf> {
        let dir = dir_inode(dir)?;
        path_check(path)?;
        self.look(|state| {
            let inode = state.find(dir, path)?;
            match &state.node(inode).body {
                Body::Symlink(target) => Ok(target.clone()),
                Body::File(_) | Body::Directory => Err(Errno::INVAL.into()),
            }
        })
    }

    fn rename(&self, from: &DirHandle, old: &Path, to: &DirHandle, new: &Path) -> io::Result<()> {
        let (from, to) = (dir_inode(from)?, dir_inode(to)?);
        self.mutate(|state| state.rename(from, old, to, new))
    }

    fn unlink(&self, dir: &DirHandle, path: &Path) -> io::Result<()> {
        let dir = dir_inode(dir)?;
        self.mutate(|state| state.remove(dir, path, false))
    }

    fn remove_dir(&self, dir: &DirHandle, path: &Path) -> io::Result<()> {
        let dir = dir_inode(dir)?;
        self.mutate(|state| state.remove(dir, path, true))
    }

    fn list(&self, dir: &DirHandle) -> io::Result<Vec<DirEntry>> {
        let dir = dir_inode(dir)?;
        self.look(|state| {
            let kind = |inode| state.nodes[&inode].kind();
            let entries = state.names.volatile.entries(dir);
            Ok(entries.map(|(name, inode)| DirEntry { name: name.clone(), kind: kind(inode) }).collect())
        })
    }

    fn metadata(&self, dir: &DirHandle, path: &Path) -> io::Result<Metadata> {
        let dir = dir_inode(dir)?;
        self.look(|state| {
            let inode = state.find(dir, path)?;
            Ok(state.node(inode).describe(inode))
        })
    }

    fn set_mode(&self, dir: &DirHandle, path: &Path, mode: u32) -> io::Result<()> {
        let dir = dir_inode(dir)?;
        self.mutate(|state| {
            let inode = state.find(dir, path)?;
            state.set_mode(inode, mode)
        })
    }

    fn sync_dir(&self, dir: &DirHandle) -> io::Result<()> {
        let dir = dir_inode(dir)?;
        self.sync(|state| {
            state.names.sync_dir(dir);
            state.node(dir).sync();
        })
    }

    fn sync_filesystem(&self, _dir: &DirHandle) -> io::Result<()> {
        self.sync(State::sync_all)
    }

    fn filesystem(&self, _dir: &DirHandle) -> io::Result<FilesystemInfo> {
        self.look(|_| {
            let (free, total) = (1 << 40, 1 << 40);
            Ok(FilesystemInfo { network: false, read_only: false, free, total, granularity_ns: 10_000_000 })
        })
    }

    fn read_at(&self, file: &FileHandle, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let file = open_file(file)?;
        self.look(|state| Ok(state.content(file.inode)?.read(buffer, offset)))
    }

    fn write_at(&self, file: &FileHandle, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let file = writable(file)?;
        fits(offset.checked_add(bytes.len() as u64))?;
        self.mutate(|state| {
            state.touch(file.inode);
            state.content(file.inode)?.write(bytes, offset);
            Ok(bytes.len())
        })
    }

    fn set_len(&self, file: &FileHandle, length: u64) -> io::Result<()> {
        let file = writable(file)?;
        fits(Some(length))?;
        self.mutate(|state| {
            state.touch(file.inode);
            state.content(file.inode)?.resize(length);
            Ok(())
        })
    }

    fn allocate(&self, file: &FileHandle, _offset: u64, _length: u64) -> io::Result<()> {
        writable(file)?;
        self.look(|_| Ok(()))
    }

    fn sync_data(&self, file: &FileHandle) -> io::Result<()> {
        let file = open_file(file)?;
        self.sync(|state| state.node(file.inode).sync())
    }

    fn file_metadata(&self, file: &FileHandle) -> io::Result<Metadata> {
        let file = open_file(file)?;
        self.look(|state| Ok(state.node(file.inode).describe(file.inode)))
    }

    fn set_file_mode(&self, file: &FileHandle, mode: u32) -> io::Result<()> {
        let file = open_file(file)?;
        self.mutate(|state| state.set_mode(file.inode, mode))
    }

    fn try_lock(&self, file: &FileHandle, kind: LockKind) -> io::Result<bool> {
        let file = open_file(file)?;
        self.look(|state| Ok(state.try_lock(file.inode, file.handle, kind)))
    }

    fn unlock(&self, file: &FileHandle) -> io::Result<()> {
        let file = open_file(file)?;
        self.look(|state| {
            state.release(file.inode, file.handle);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
