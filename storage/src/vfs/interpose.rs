//! A layer between caller and file system that sees each call before and after, and may answer it itself. Recorder,
//! fault injector and sabotage are observers of it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{DirEntry, DirHandle, FileHandle, FilesystemInfo, LockKind, Metadata, OpenOptions, Vfs};

/// The operations of [`Vfs`], without their arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Opening the directory everything else lies beneath.
    OpenRoot,
    /// Opening a directory.
    OpenDir,
    /// Opening or creating a file.
    Open,
    /// Creating a directory.
    CreateDir,
    /// Creating a symbolic link.
    Symlink,
    /// Reading a symbolic link.
    ReadLink,
    /// Renaming.
    Rename,
    /// Removing a file or link.
    Unlink,
    /// Removing a directory.
    RemoveDir,
    /// Listing a directory.
    List,
    /// Describing an entry or an open file.
    Metadata,
    /// Setting permission bits of an entry or an open file.
    SetMode,
    /// Making the names of a directory durable.
    SyncDir,
    /// Making a whole file system durable.
    SyncFilesystem,
    /// Describing a file system.
    Filesystem,
    /// Reading from a file.
    Read,
    /// Writing to a file.
    Write,
    /// Cutting or extending a file.
    SetLen,
    /// Reserving room for a file.
    Allocate,
    /// Making a file's content and length durable.
    SyncData,
    /// Trying to take a lock.
    Lock,
    /// Giving a lock back.
    Unlock,
}

impl Operation {
    /// Says whether this is one of the three that make something durable.
    pub fn is_sync(self) -> bool {
        matches!(self, Self::SyncDir | Self::SyncFilesystem | Self::SyncData)
    }
}

/// One call, as an observer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call<'a> {
    /// What is asked for.
    pub operation: Operation,
    /// The path from the root on (a rename's old one).
    pub path: &'a Path,
    /// A rename's new path.
    pub target: Option<&'a Path>,
    /// Where in the file; 0 where that means nothing.
    pub offset: u64,
    /// How many bytes, or the new length; 0 where that means nothing.
    pub length: u64,
    /// Whether the disk may be changed, or made durable: reads, listings and locks are not, nor is opening a file
    /// without creating or cutting it.
    pub mutates: bool,
}

/// What is to become of a call.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Let it pass.
    Proceed,
    /// Let it write no more than so many bytes.
    Shorten(usize),
    /// Refuse it.
    Fail(io::Error),
    /// Do nothing and say it was done. For operations that answer nothing else.
    Pretend,
}

/// Sees each call before it happens and what came of it.
pub(super) trait Observer: Send + Sync + fmt::Debug {
    /// Decides what becomes of the call.
    fn before(&self, call: &Call<'_>) -> Verdict;
    /// Learns whether it succeeded.
    fn after(&self, _call: &Call<'_>, _succeeded: bool) {}
}

/// A file system seen through an observer.
#[derive(Debug)]
pub(super) struct Interposed<O> {
    inner: Arc<dyn Vfs>,
    observer: O,
}

impl<O: Observer> Interposed<O> {
    pub(super) fn new(inner: Arc<dyn Vfs>, observer: O) -> Self {
        Self { inner, observer }
    }

    /// Runs one call: `run` gets the number of bytes it may write at most.
    fn around<T>(
        &self,
        call: Call<'_>,
        pretended: Option<T>,
        run: impl FnOnce(usize) -> io::Result<T>,
    ) -> io::Result<T> {
        let result = match (self.observer.before(&call), pretended) {
            (Verdict::Fail(error), _) => Err(error),
            (Verdict::Pretend, Some(answer)) => Ok(answer),
            (Verdict::Shorten(most), _) => run(most),
            (Verdict::Proceed | Verdict::Pretend, _) => run(usize::MAX),
        };
        self.observer.after(&call, result.is_ok());
        result
    }
}

/// A directory of the layer beneath, and where it is.
struct Seen<H> {
    inner: H,
    path: PathBuf,
}

fn seen_dir(dir: &DirHandle) -> io::Result<&Seen<DirHandle>> {
    match dir {
        DirHandle::Simulated(any) => any.downcast_ref(),
        DirHandle::Real(_) => None,
    }
    .ok_or_else(foreign)
}

fn seen_file(file: &FileHandle) -> io::Result<&Seen<FileHandle>> {
    match file {
        FileHandle::Simulated(any) => any.downcast_ref(),
        FileHandle::Real(_) => None,
    }
    .ok_or_else(foreign)
}

fn foreign() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "handle of another file system")
}

fn call(operation: Operation, path: &Path, mutates: bool) -> Call<'_> {
    Call { operation, path, target: None, offset: 0, length: 0, mutates }
}

fn join(dir: &Path, path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { dir.to_path_buf() } else { dir.join(path) }
}

impl<O: Observer> Vfs for Interposed<O> {
    fn open_root(&self, path: &Path) -> io::Result<DirHandle> {
        let inner = self.around(call(Operation::OpenRoot, path, false), None, |_| self.inner.open_root(path))?;
        Ok(DirHandle::Simulated(Box::new(Seen { inner, path: path.into() })))
    }

    fn open_dir(&self, dir: &DirHandle, path: &Path) -> io::Result<DirHandle> {
        let dir = seen_dir(dir)?;
        let whole = join(&dir.path, path);
        let inner =
            self.around(call(Operation::OpenDir, &whole, false), None, |_| self.inner.open_dir(&dir.inner, path))?;
        Ok(DirHandle::Simulated(Box::new(Seen { inner, path: whole })))
    }

    fn open(&self, dir: &DirHandle, path: &Path, options: OpenOptions) -> io::Result<FileHandle> {
        let dir = seen_dir(dir)?;
        let whole = join(&dir.path, path);
        let mutates = options.create || options.create_new || options.truncate;
        let inner =
            self.around(call(Operation::Open, &whole, mutates), None, |_| self.inner.open(&dir.inner, path, options))?;
        Ok(FileHandle::Simulated(Box::new(Seen { inner, path: whole })))
    }

    fn create_dir(&self, dir: &DirHandle, path: &Path, mode: u32) -> io::Result<()> {
        let dir = seen_dir(dir)?;
        let whole = join(&dir.path, path);
        self.around(call(Operation::CreateDir, &whole, true), Some(()), |_| {
            self.inner.create_dir(&dir.inner, path, mode)
        })
    }

    fn symlink(&self, dir: &DirHandle, target: &Path, path: &Path) -> io::Result<()> {
        let dir = seen_dir(dir)?;
        let whole = join(&dir.path, path);
        self.around(call(Operation::Symlink, &whole, true), Some(()), |_| self.inner.symlink(&dir.inner, target, path))
    }

    fn read_link(&self, dir: &DirHandle, path: &Path) -> io::Result<PathBuf> {
        let dir = seen_dir(dir)?;
        let whole = join(&dir.path, path);
        self.around(call(Operation::ReadLink, &whole, false), None, |_| self.inner.read_link(&dir.inner, path))
    }

    fn rename(&self, from: &DirHandle, old: &Path, to: &DirHandle, new: &Path) -> io::Result<()> {
        let (from, to) = (seen_dir(from)?, seen_dir(to)?);
        let (whole, target) = (join(&from.path, old), join(&to.path, new));
        let call = Call { target: Some(&target), ..call(Operation::Rename, &whole, true) };
        self.around(call, Some(()), |_| self.inner.rename(&from.inner, old, &to.inner, new))
    }

    fn unlink(&self, dir: &DirHandle, path: &Path) -> io::Result<()> {
        let dir = seen_dir(dir)?;
        let whole = join(&dir.path, path);
        self.around(call(Operation::Unlink, &whole, true), Some(()), |_| self.inner.unlink(&dir.inner, path))
    }

    fn remove_dir(&self, dir: &DirHandle, path: &Path) -> io::Result<()> {
        let dir = seen_dir(dir)?;
        let whole = join(&dir.path, path);
        self.around(call(Operation::RemoveDir, &whole, true), Some(()), |_| self.inner.remove_dir(&dir.inner, path))
    }

    fn list(&self, dir: &DirHandle) -> io::Result<Vec<DirEntry>> {
        let dir = seen_dir(dir)?;
        self.around(call(Operation::List, &dir.path, false), None, |_| self.inner.list(&dir.inner))
    }

    fn metadata(&self, dir: &DirHandle, path: &Path) -> io::Result<Metadata> {
        let dir = seen_dir(dir)?;
        let whole = join(&dir.path, path);
        self.around(call(Operation::Metadata, &whole, false), None, |_| self.inner.metadata(&dir.inner, path))
    }

    fn set_mode(&self, dir: &DirHandle, path: &Path, mode: u32) -> io::Result<()> {
        let dir = seen_dir(dir)?;
        let whole = join(&dir.path, path);
        self.around(call(Operation::SetMode, &whole, true), Some(()), |_| self.inner.set_mode(&dir.inner, path, mode))
    }

    fn sync_dir(&self, dir: &DirHandle) -> io::Result<()> {
        let dir = seen_dir(dir)?;
        self.around(call(Operation::SyncDir, &dir.path, true), Some(()), |_| self.inner.sync_dir(&dir.inner))
    }

    fn sync_filesystem(&self, dir: &DirHandle) -> io::Result<()> {
        let dir = seen_dir(dir)?;
        let call = call(Operation::SyncFilesystem, &dir.path, true);
        self.around(call, Some(()), |_| self.inner.sync_filesystem(&dir.inner))
    }

    fn filesystem(&self, dir: &DirHandle) -> io::Result<FilesystemInfo> {
        let dir = seen_dir(dir)?;
        self.around(call(Operation::Filesystem, &dir.path, false), None, |_| self.inner.filesystem(&dir.inner))
    }

    fn read_at(&self, file: &FileHandle, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let file = seen_file(file)?;
        let call = Call { offset, length: buffer.len() as u64, ..call(Operation::Read, &file.path, false) };
        self.around(call, None, |_| self.inner.read_at(&file.inner, buffer, offset))
    }

    fn write_at(&self, file: &FileHandle, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let file = seen_file(file)?;
        let call = Call { offset, length: bytes.len() as u64, ..call(Operation::Write, &file.path, true) };
        self.around(call, Some(bytes.len()), |most| {
            self.inner.write_at(&file.inner, &bytes[..bytes.len().min(most)], offset)
        })
    }

    fn set_len(&self, file: &FileHandle, length: u64) -> io::Result<()> {
        let file = seen_file(file)?;
        let call = Call { length, ..call(Operation::SetLen, &file.path, true) };
        self.around(call, Some(()), |_| self.inner.set_len(&file.inner, length))
    }

    fn allocate(&self, file: &FileHandle, offset: u64, length: u64) -> io::Result<()> {
        let file = seen_file(file)?;
        let call = Call { offset, length, ..call(Operation::Allocate, &file.path, true) };
        self.around(call, Some(()), |_| self.inner.allocate(&file.inner, offset, length))
    }

    fn sync_data(&self, file: &FileHandle) -> io::Result<()> {
        let file = seen_file(file)?;
        self.around(call(Operation::SyncData, &file.path, true), Some(()), |_| self.inner.sync_data(&file.inner))
    }

    fn file_metadata(&self, file: &FileHandle) -> io::Result<Metadata> {
        let file = seen_file(file)?;
        self.around(call(Operation::Metadata, &file.path, false), None, |_| self.inner.file_metadata(&file.inner))
    }

    fn set_file_mode(&self, file: &FileHandle, mode: u32) -> io::Result<()> {
        let file = seen_file(file)?;
        let call = call(Operation::SetMode, &file.path, true);
        self.around(call, Some(()), |_| self.inner.set_file_mode(&file.inner, mode))
    }

    fn try_lock(&self, file: &FileHandle, kind: LockKind) -> io::Result<bool> {
        let file = seen_file(file)?;
        self.around(call(Operation::Lock, &file.path, false), None, |_| self.inner.try_lock(&file.inner, kind))
    }

    fn unlock(&self, file: &FileHandle) -> io::Result<()> {
        let file = seen_file(file)?;
        self.around(call(Operation::Unlock, &file.path, false), None, |_| self.inner.unlock(&file.inner))
    }
}
