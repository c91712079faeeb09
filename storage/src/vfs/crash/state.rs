//! The simulated file system itself: nodes, names and locks, and what each operation does to them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::CrashMode;
use super::chance::Chance;
use super::content::{Content, SECTOR};
use super::names::{Change, Inode, Names, ROOT, Tree};
use crate::vfs::{FileKind, LockKind, Metadata, path_check};

/// What is taken away from the mode of everything created.
const UMASK: u32 = 0o022;
/// Where the simulated clock starts, in nanoseconds since 1970, and how far each change moves it.
pub(super) const CLOCK_START: i64 = 1_700_000_000_000_000_000;
const CLOCK_STEP: i64 = 1_000;

#[derive(Debug)]
pub(super) enum Body {
    File(Content),
    Directory,
    Symlink(PathBuf),
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) body: Body,
    pub(super) mode: u32,
    pub(super) durable_mode: u32,
    pub(super) mtime_ns: i64,
    pub(super) ctime_ns: i64,
    /// Whether this is a directory without a name, in which nothing can be created any more.
    pub(super) removed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Lock {
    pub(super) exclusive: Option<u64>,
    pub(super) shared: BTreeSet<u64>,
}

pub(super) struct State {
    pub(super) nodes: BTreeMap<Inode, Node>,
    pub(super) names: Names,
    pub(super) locks: HashMap<Inode, Lock>,
    pub(super) next_inode: Inode,
    pub(super) next_handle: u64,
    pub(super) clock: i64,
    pub(super) operations: u64,
    pub(super) stop_at: Option<u64>,
    pub(super) stopped: bool,
}

impl Node {
    pub(super) fn new(body: Body, mode: u32, now: i64) -> Self {
        Self { body, mode, durable_mode: mode, mtime_ns: now, ctime_ns: now, removed: false }
    }

    pub(super) fn kind(&self) -> FileKind {
        match self.body {
            Body::File(_) => FileKind::File,
            Body::Directory => FileKind::Directory,
            Body::Symlink(_) => FileKind::Symlink,
        }
    }

    pub(super) fn describe(&self, inode: Inode) -> Metadata {
        let size = match &self.body {
            Body::File(content) => content.size(),
            Body::Directory => 4096,
            Body::Symlink(target) => target.as_os_str().len() as u64,
        };
        Metadata {
            kind: self.kind(),
            size,
            mode: self.mode,
            mtime_ns: self.mtime_ns,
            ctime_ns: self.ctime_ns,
            inode,
            device: 1,
            uid: rustix::process::geteuid().as_raw(),
            allocated: size.next_multiple_of(SECTOR),
        }
    }

    pub(super) fn sync(&mut self) {
        if let Body::File(content) = &mut self.body {
            content.sync();
        }
        self.durable_mode = self.mode;
    }

    pub(super) fn after_crash(&self, mode: CrashMode, chance: &mut Chance) -> Self {
        let body = match &self.body {
            Body::File(content) => Body::File(Content::durable(content.after_crash(mode, chance))),
            Body::Directory => Body::Directory,
            Body::Symlink(target) => Body::Symlink(target.clone()),
        };
        let keeps_mode = match mode {
            CrashMode::Lost => false,
            CrashMode::Random => chance.eighths(4),
            _ => true,
        };
        let bits = if keeps_mode { self.mode } else { self.durable_mode };
        Self { body, mode: bits, durable_mode: bits, mtime_ns: self.mtime_ns, ctime_ns: self.ctime_ns, removed: false }
    }
}

impl State {
    /// Returns a running machine that finds these nodes and names, all of them durable.
    pub(super) fn new(nodes: BTreeMap<Inode, Node>, tree: Tree, clock: i64) -> Self {
        Self {
            next_inode: nodes.last_key_value().map_or(ROOT, |(&inode, _)| inode) + 1,
            nodes,
            names: Names::durable(tree),
            locks: HashMap::new(),
            next_handle: 0,
            clock,
            operations: 0,
            stop_at: None,
            stopped: false,
        }
    }

    pub(super) fn running(&self) -> io::Result<()> {
        if self.stopped { Err(io::Error::other("the simulated machine has stopped")) } else { Ok(()) }
    }

    pub(super) fn mutate<T>(&mut self, run: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        self.running()?;
        self.operations += 1;
        self.clock += CLOCK_STEP;
        let result = run(self);
        self.stopped = self.stop_at == Some(self.operations);
        self.running()?;
        result
    }

    pub(super) fn sync_all(&mut self) {
        self.names.sync_all();
        self.nodes.values_mut().for_each(Node::sync);
    }

    pub(super) fn node(&mut self, inode: Inode) -> &mut Node {
        self.nodes.get_mut(&inode).expect("nodes live as long as the file system")
    }

    pub(super) fn content(&mut self, inode: Inode) -> io::Result<&mut Content> {
        match &mut self.node(inode).body {
            Body::File(content) => Ok(content),
            Body::Directory | Body::Symlink(_) => Err(Errno::INVAL.into()),
        }
    }

    /// Finds the directory a path of normal components ends in, and its last component.
    pub(super) fn locate<'p>(&mut self, dir: Inode, path: &'p Path) -> io::Result<(Inode, &'p OsStr)> {
        path_check(path)?;
        let name = path.file_name().expect("checked: the last component is a normal one");
        let mut here = dir;
        for component in path.parent().into_iter().flat_map(Path::components) {
            here = self.entry(here, component.as_os_str())?.ok_or(Errno::NOENT)?;
            if self.node(here).kind() != FileKind::Directory {
                return Err(Errno::NOTDIR.into());
            }
        }
        Ok((here, name))
    }

    pub(super) fn entry(&self, dir: Inode, name: &OsStr) -> io::Result<Option<Inode>> {
        if name.len() > 255 {
            return Err(Errno::NAMETOOLONG.into());
        }
        Ok(self.names.volatile.get(dir, name))
    }

    /// Finds what a path stands for; the empty path is the directory itself.
    pub(super) fn find(&mut self, dir: Inode, path: &Path) -> io::Result<Inode> {
        if path.as_os_str().is_empty() {
            return Ok(dir);
        }
        let (parent, name) = self.locate(dir, path)?;
        Ok(self.entry(parent, name)?.ok_or(Errno::NOENT)?)
    }

    pub(super) fn change(&mut self, dirs: [Inode; 2], change: Change) {
        self.names.change(change);
        let now = self.clock;
        for dir in dirs {
            let node = self.node(dir);
            (node.mtime_ns, node.ctime_ns) = (now, now);
        }
    }

    pub(super) fn create(&mut self, dir: Inode, path: &Path, body: Body, mode: u32) -> io::Result<Inode> {
        let (parent, name) = self.locate(dir, path)?;
        if self.entry(parent, name)?.is_some() {
            return Err(Errno::EXIST.into());
        }
        if self.node(parent).removed {
            return Err(Errno::NOENT.into());
        }
        let inode = self.next_inode;
        self.next_inode += 1;
        let mode = match body {
            Body::Symlink(_) => 0o777,
            Body::File(_) | Body::Directory => mode & 0o7777 & !UMASK,
        };
        self.nodes.insert(inode, Node::new(body, mode, self.clock));
        self.change([parent, parent], Change::add(parent, name, inode));
        Ok(inode)
    }

    pub(super) fn rename(&mut self, from: Inode, old: &Path, to: Inode, new: &Path) -> io::Result<()> {
        let (from, old) = self.locate(from, old)?;
        let (to, new) = self.locate(to, new)?;
        let moved = self.entry(from, old)?.ok_or(Errno::NOENT)?;
        if self.node(to).removed {
            return Err(Errno::NOENT.into());
        }
        let is_dir = self.node(moved).kind() == FileKind::Directory;
        if is_dir && self.names.volatile.reachable(moved, None).contains(&to) {
            return Err(Errno::INVAL.into());
        }
        let mut removed_dir = None;
        if let Some(replaced) = self.entry(to, new)? {
            if replaced == moved {
                return Ok(());
            }
            let replaces_dir = self.node(replaced).kind() == FileKind::Directory;
            if replaces_dir && self.names.volatile.reachable(replaced, None).contains(&from) {
                return Err(Errno::NOTEMPTY.into());
            }
            match (is_dir, replaces_dir) {
                (false, true) => return Err(Errno::ISDIR.into()),
                (true, false) => return Err(Errno::NOTDIR.into()),
                (true, true) if !self.names.volatile.is_empty(replaced) => return Err(Errno::NOTEMPTY.into()),
                _ => {}
            }
            if replaces_dir {
                self.node(replaced).removed = true;
                removed_dir = Some(replaced);
            }
        }
        self.change([from, to], Change::rename(moved, (from, old), (to, new), removed_dir));
        self.node(moved).ctime_ns = self.clock;
        Ok(())
    }

    pub(super) fn remove(&mut self, dir: Inode, path: &Path, directory: bool) -> io::Result<()> {
        let (parent, name) = self.locate(dir, path)?;
        let inode = self.entry(parent, name)?.ok_or(Errno::NOENT)?;
        match (directory, self.node(inode).kind() == FileKind::Directory) {
            (true, false) => return Err(Errno::NOTDIR.into()),
            (false, true) => return Err(Errno::ISDIR.into()),
            (true, true) if !self.names.volatile.is_empty(inode) => return Err(Errno::NOTEMPTY.into()),
            _ => {}
        }
        self.node(inode).removed = directory;
        self.change([parent, parent], Change::remove(parent, name, directory.then_some(inode)));
        Ok(())
    }

    pub(super) fn set_mode(&mut self, inode: Inode, mode: u32) -> io::Result<()> {
        let now = self.clock;
        let node = self.node(inode);
        if node.kind() == FileKind::Symlink {
            return Err(Errno::LOOP.into());
        }
        node.mode = mode & 0o7777;
        node.ctime_ns = now;
        Ok(())
    }

    pub(super) fn touch(&mut self, inode: Inode) {
        let now = self.clock;
        let node = self.node(inode);
        (node.mtime_ns, node.ctime_ns) = (now, now);
    }

    pub(super) fn try_lock(&mut self, inode: Inode, handle: u64, kind: LockKind) -> bool {
        let lock = self.locks.entry(inode).or_default();
        let others_exclude = lock.exclusive.is_some_and(|holder| holder != handle);
        let others_share = lock.shared.iter().any(|&holder| holder != handle);
        if others_exclude || (kind == LockKind::Exclusive && others_share) {
            return false;
        }
        self.release(inode, handle);
        let lock = self.locks.entry(inode).or_default();
        match kind {
            LockKind::Shared => _ = lock.shared.insert(handle),
            LockKind::Exclusive => lock.exclusive = Some(handle),
        }
        true
    }

    pub(super) fn release(&mut self, inode: Inode, handle: u64) {
        if let Some(lock) = self.locks.get_mut(&inode) {
            lock.exclusive.take_if(|holder| *holder == handle);
            lock.shared.remove(&handle);
        }
    }
}
