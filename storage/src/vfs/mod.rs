//! Every disk operation of repository and worktree.
//!
//! [`Vfs`] is the small trait that the real file system ([`Real`]) and a crash simulator in memory ([`Crash`]) keep;
//! [`Fault`], [`Sabotage`] and [`Trace`] lie over either. It is handle-based: a path is always relative to an open
//! directory and **no component of it is ever followed when it is a symbolic link**, so content cannot reach outside
//! the directory that was opened.
//!
//! Callers use the wrappers [`Dir`] and [`File`], which remember their path so that each error names it. SQLite and
//! sled bypass this module; they hold only views that can be rebuilt.

mod crash;
mod fault;
mod filesystem;
mod interpose;
mod real;
mod trace;
mod user;

use std::any::Any;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use crash::{Crash, CrashMode};
pub use fault::{Failure, Fault, Injection, Sabotage, Select};
pub use interpose::{Call, Operation};
pub use real::Real;
pub use trace::{Event, Trace};
pub use user::effective_uid;

/// A failed disk operation: what was tried, on which path, and why it failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}", path.display())]
pub struct VfsError {
    /// What was tried, as a verb: `open`, `write`, `sync`.
    pub operation: &'static str,
    /// The full path it was tried on.
    pub path: PathBuf,
    /// The operating system's answer.
    #[source]
    pub source: io::Error,
}

impl VfsError {
    /// Returns the kind of the underlying error.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// Says whether the thing named does not exist (a missing parent included).
    pub fn is_not_found(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
    }

    /// Says whether there is no room left: ENOSPC or EDQUOT.
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Says whether the file system cannot be written: EROFS, or no permission.
    pub fn is_read_only(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
    }
}

/// Result of a disk operation.
pub type Result<T> = std::result::Result<T, VfsError>;

/// What an entry of a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, socket or fifo.
    Other,
}

/// What `lstat` says of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: FileKind,
    /// Length in bytes.
    pub size: u64,
    /// Permission bits, `0o7777` at most.
    pub mode: u32,
    /// Time of the last change of content, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Time of the last change of content or attributes, nanoseconds since 1970.
    pub ctime_ns: i64,
    /// Inode number.
    pub inode: u64,
    /// Device number.
    pub device: u64,
    /// Owner.
    pub uid: u32,
    /// Bytes really allocated on disk.
    pub allocated: u64,
}

/// One entry of a directory listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name: one component, any bytes but `/` and NUL.
    pub name: OsString,
    /// What it is.
    pub kind: FileKind,
}

/// What kind of file system a directory lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilesystemInfo {
    /// NFS, SMB, 9p and the like, where OS locks cannot be trusted.
    pub network: bool,
    /// Mounted read-only.
    pub read_only: bool,
    /// Bytes an unprivileged user may still write.
    pub free: u64,
    /// Size in bytes.
    pub total: u64,
    /// Coarsest step of its timestamps in nanoseconds, as far as known from its type (10 ms at least).
    pub granularity_ns: i64,
}

/// How a file is opened. Starts as read-only, existing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenOptions {
    /// Open for writing too.
    pub write: bool,
    /// Create the file where it is absent.
    pub create: bool,
    /// Create the file and fail with `AlreadyExists` where it is present (`O_EXCL`).
    pub create_new: bool,
    /// Cut an existing file to nothing.
    pub truncate: bool,
    /// Permission bits of a created file, before the umask; 0 stands for `0o666`.
    pub mode: u32,
}

impl OpenOptions {
    /// Opens an existing file for reading.
    pub const READ: Self = Self { write: false, create: false, create_new: false, truncate: false, mode: 0 };
    /// Opens an existing file for reading and writing.
    pub const WRITE: Self = Self { write: true, ..Self::READ };
    /// Opens for reading and writing, creating where absent.
    pub const CREATE: Self = Self { write: true, create: true, ..Self::READ };
    /// Creates a file that must not exist yet.
    pub const CREATE_NEW: Self = Self { write: true, create_new: true, ..Self::READ };

    /// Sets the permission bits of a created file.
    pub const fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }
}

/// How an OS lock is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// Any number of holders.
    Shared,
    /// One holder.
    Exclusive,
}

/// An open directory as a [`Vfs`] knows it.
pub enum DirHandle {
    /// A descriptor of the operating system.
    Real(std::os::fd::OwnedFd),
    /// Whatever a simulator needs.
    Simulated(Box<dyn Any + Send + Sync>),
}

/// An open file as a [`Vfs`] knows it. Closing it (dropping) frees its locks.
pub enum FileHandle {
    /// A file of the operating system.
    Real(std::fs::File),
    /// Whatever a simulator needs.
    Simulated(Box<dyn Any + Send + Sync>),
}

/// The disk operations. Paths are relative, of one or more normal components, and never cross a symbolic link; the
/// empty path is the directory itself where that makes sense (`metadata`).
///
/// Nothing is durable before `sync_data` (a file's content and size) and `sync_dir` (the names in a directory) return.
pub trait Vfs: Send + Sync + fmt::Debug {
    /// Opens a directory by an ordinary path, following links: the one way in.
    fn open_root(&self, path: &Path) -> io::Result<DirHandle>;
    /// Opens a directory beneath `dir`.
    fn open_dir(&self, dir: &DirHandle, path: &Path) -> io::Result<DirHandle>;
    /// Opens or creates a file beneath `dir`; the last component is not followed either.
    fn open(&self, dir: &DirHandle, path: &Path, options: OpenOptions) -> io::Result<FileHandle>;
    /// Creates a directory with these permission bits, before the umask.
    fn create_dir(&self, dir: &DirHandle, path: &Path, mode: u32) -> io::Result<()>;
    /// Creates a symbolic link holding `target`.
    fn symlink(&self, dir: &DirHandle, target: &Path, path: &Path) -> io::Result<()>;
    /// Reads a symbolic link.
    fn read_link(&self, dir: &DirHandle, path: &Path) -> io::Result<PathBuf>;
    /// Renames, replacing what is there (never a directory by a file).
    fn rename(&self, from: &DirHandle, old: &Path, to: &DirHandle, new: &Path) -> io::Result<()>;
    /// Removes a file or link.
    fn unlink(&self, dir: &DirHandle, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, dir: &DirHandle, path: &Path) -> io::Result<()>;
    /// Lists the directory itself, in no order, without `.` and `..`.
    fn list(&self, dir: &DirHandle) -> io::Result<Vec<DirEntry>>;
    /// Describes an entry (`lstat`); with the empty path, the directory itself.
    fn metadata(&self, dir: &DirHandle, path: &Path) -> io::Result<Metadata>;
    /// Sets permission bits of a file or directory.
    fn set_mode(&self, dir: &DirHandle, path: &Path, mode: u32) -> io::Result<()>;
    /// Makes the names in the directory durable (`fsync` on it).
    fn sync_dir(&self, dir: &DirHandle) -> io::Result<()>;
    /// Makes the whole file system durable (`syncfs`).
    fn sync_filesystem(&self, dir: &DirHandle) -> io::Result<()>;
    /// Describes the file system the directory lies on.
    fn filesystem(&self, dir: &DirHandle) -> io::Result<FilesystemInfo>;
    /// Reads at an offset; 0 at the end.
    fn read_at(&self, file: &FileHandle, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes at an offset, growing the file; may be short.
    fn write_at(&self, file: &FileHandle, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Cuts or extends (with zeros) to a length.
    fn set_len(&self, file: &FileHandle, length: u64) -> io::Result<()>;
    /// Reserves space without changing the length (`FALLOC_FL_KEEP_SIZE`); does nothing where unsupported.
    fn allocate(&self, file: &FileHandle, offset: u64, length: u64) -> io::Result<()>;
    /// Makes content and length durable (`fdatasync`).
    fn sync_data(&self, file: &FileHandle) -> io::Result<()>;
    /// Describes an open file.
    fn file_metadata(&self, file: &FileHandle) -> io::Result<Metadata>;
    /// Sets permission bits of an open file.
    fn set_file_mode(&self, file: &FileHandle, mode: u32) -> io::Result<()>;
    /// Takes an OS lock without waiting; false where somebody else holds it.
    fn try_lock(&self, file: &FileHandle, kind: LockKind) -> io::Result<bool>;
    /// Gives a lock back.
    fn unlock(&self, file: &FileHandle) -> io::Result<()>;
}

/// Refuses a path that is not made of one or more normal components: absolute, empty, with `.`, `..`, a doubled or
/// trailing slash, or a NUL byte.
fn path_check(path: &Path) -> io::Result<()> {
    let bytes = path.as_os_str().as_encoded_bytes();
    let normal =
        !bytes.contains(&0) && bytes.split(|&byte| byte == b'/').all(|part| !matches!(part, b"" | b"." | b".."));
    if normal {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a relative path of normal components"))
}

/// An open directory. Cloning is cheap and shares the descriptor.
#[derive(Clone)]
pub struct Dir {
    vfs: Arc<dyn Vfs>,
    handle: Arc<DirHandle>,
    path: Arc<Path>,
}

impl fmt::Debug for Dir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dir").field(&self.path).finish()
    }
}

impl Dir {
    /// Opens a directory by an ordinary path, following links.
    pub fn open_root(vfs: Arc<dyn Vfs>, path: &Path) -> Result<Self> {
        let handle = vfs.open_root(path).map_err(|source| VfsError { operation: "open", path: path.into(), source })?;
        Ok(Self { vfs, handle: Arc::new(handle), path: path.into() })
    }

    /// Returns the path this directory was opened under, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file system this directory belongs to.
    pub fn vfs(&self) -> &Arc<dyn Vfs> {
        &self.vfs
    }

    fn failed<'a>(&'a self, operation: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> VfsError + 'a {
        move |source| {
            // Joined only now: the happy path allocates nothing for a message nobody reads.
            let path = if path.as_os_str().is_empty() { self.path.to_path_buf() } else { self.path.join(path) };
            VfsError { operation, path, source }
        }
    }

    /// Opens a directory beneath this one.
    pub fn open_dir(&self, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let handle = self.vfs.open_dir(&self.handle, path).map_err(self.failed("open", path))?;
        Ok(Self { vfs: self.vfs.clone(), handle: Arc::new(handle), path: self.path.join(path).into() })
    }

    /// Opens a directory beneath this one, creating it and its parents (mode `0o777` before the umask) where absent.
    ///
    /// New names are not durable until their parents are synced.
    pub fn create_dir_all(&self, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        match self.open_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let mut prefix = PathBuf::new();
        for component in path.components() {
            prefix.push(component);
            match self.create_dir(&prefix, 0o777) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        self.open_dir(path)
    }

    /// Opens or creates a file.
    pub fn open(&self, path: impl AsRef<Path>, options: OpenOptions) -> Result<File> {
        let path = path.as_ref();
        let handle = self.vfs.open(&self.handle, path, options).map_err(self.failed("open", path))?;
        Ok(File { vfs: self.vfs.clone(), handle, path: self.path.join(path) })
    }

    /// Reads a whole file of at most `limit` bytes; a longer one is an error of kind `InvalidData`.
    pub fn read(&self, path: impl AsRef<Path>, limit: u64) -> Result<Vec<u8>> {
        self.open(path, OpenOptions::READ)?.read_all(limit)
    }

    /// Reads a whole file of at most `limit` bytes, or `None` where it is absent.
    pub fn read_optional(&self, path: impl AsRef<Path>, limit: u64) -> Result<Option<Vec<u8>>> {
        match self.read(path, limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates a directory with these permission bits, before the umask.
    pub fn create_dir(&self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        let path = path.as_ref();
        self.vfs.create_dir(&self.handle, path, mode).map_err(self.failed("create", path))
    }

    /// Creates a symbolic link holding `target`.
    pub fn symlink(&self, target: &Path, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        self.vfs.symlink(&self.handle, target, path).map_err(self.failed("link", path))
    }

    /// Reads a symbolic link.
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = path.as_ref();
        self.vfs.read_link(&self.handle, path).map_err(self.failed("read", path))
    }

    /// Renames `old` here to `new` in `to`, replacing what is there.
    pub fn rename(&self, old: impl AsRef<Path>, to: &Dir, new: impl AsRef<Path>) -> Result<()> {
        let (old, new) = (old.as_ref(), new.as_ref());
        self.vfs.rename(&self.handle, old, &to.handle, new).map_err(to.failed("rename", new))
    }

    /// Removes a file or link.
    pub fn unlink(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        self.vfs.unlink(&self.handle, path).map_err(self.failed("remove", path))
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        self.vfs.remove_dir(&self.handle, path).map_err(self.failed("remove", path))
    }

    /// Lists this directory, sorted by name bytes.
    pub fn list(&self) -> Result<Vec<DirEntry>> {
        let mut entries = self.vfs.list(&self.handle).map_err(self.failed("list", Path::new("")))?;
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Describes an entry without following it; the empty path is this directory.
    pub fn metadata(&self, path: impl AsRef<Path>) -> Result<Metadata> {
        let path = path.as_ref();
        self.vfs.metadata(&self.handle, path).map_err(self.failed("examine", path))
    }

    /// Describes an entry, or `None` where nothing has that name.
    pub fn metadata_optional(&self, path: impl AsRef<Path>) -> Result<Option<Metadata>> {
        match self.metadata(path) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets permission bits.
    pub fn set_mode(&self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        let path = path.as_ref();
        self.vfs.set_mode(&self.handle, path, mode).map_err(self.failed("change the mode of", path))
    }

    /// Makes the names in this directory durable.
    pub fn sync(&self) -> Result<()> {
        self.vfs.sync_dir(&self.handle).map_err(self.failed("sync", Path::new("")))
    }

    /// Makes the whole file system durable.
    pub fn sync_filesystem(&self) -> Result<()> {
        self.vfs.sync_filesystem(&self.handle).map_err(self.failed("sync", Path::new("")))
    }

    /// Describes the file system this directory lies on.
    pub fn filesystem(&self) -> Result<FilesystemInfo> {
        self.vfs.filesystem(&self.handle).map_err(self.failed("examine", Path::new("")))
    }
}

/// An open file. Reads and writes take offsets, so threads may share it. Dropping it frees its locks.
pub struct File {
    vfs: Arc<dyn Vfs>,
    handle: FileHandle,
    path: PathBuf,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("File").field(&self.path).finish()
    }
}

impl File {
    /// Returns the path this file was opened under, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(io::Error) -> VfsError + '_ {
        move |source| VfsError { operation, path: self.path.clone(), source }
    }

    /// Reads at an offset; 0 at the end; interruptions are retried.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        loop {
            match self.vfs.read_at(&self.handle, buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map_err(self.failed("read")),
            }
        }
    }

    /// Fills the whole buffer, or as much as the file holds; returns how much.
    pub fn read_full_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(&mut buffer[filled..], offset + filled as u64)? {
                0 => break,
                n => filled += n,
            }
        }
        Ok(filled)
    }

    /// Fills the whole buffer; a file that ends before is an error of kind `UnexpectedEof`.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        if self.read_full_at(buffer, offset)? < buffer.len() {
            return Err(self.failed("read")(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }

    /// Reads the whole file of at most `limit` bytes; a longer one is an error of kind `InvalidData`.
    pub fn read_all(&self, limit: u64) -> Result<Vec<u8>> {
        let size = self.metadata()?.size;
        if size > limit {
            let why = format!("{size} bytes, more than the {limit} allowed here");
            return Err(self.failed("read")(io::Error::new(io::ErrorKind::InvalidData, why)));
        }
        let mut bytes = vec![0; size as usize];
        let filled = self.read_full_at(&mut bytes, 0)?;
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Writes everything at an offset; short writes and interruptions are continued.
    pub fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> Result<()> {
        while !bytes.is_empty() {
            match self.vfs.write_at(&self.handle, bytes, offset) {
                Ok(0) => return Err(self.failed("write")(io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    bytes = &bytes[n..];
                    offset += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed("write")(error)),
            }
        }
        Ok(())
    }

    /// Cuts or extends (with zeros) to a length.
    pub fn set_len(&self, length: u64) -> Result<()> {
        self.vfs.set_len(&self.handle, length).map_err(self.failed("resize"))
    }

    /// Reserves space without changing the length; does nothing where the file system cannot.
    pub fn allocate(&self, offset: u64, length: u64) -> Result<()> {
        self.vfs.allocate(&self.handle, offset, length).map_err(self.failed("reserve space for"))
    }

    /// Makes content and length durable. A failure is final: it must never be retried on this descriptor.
    pub fn sync_data(&self) -> Result<()> {
        self.vfs.sync_data(&self.handle).map_err(self.failed("sync"))
    }

    /// Describes the file.
    pub fn metadata(&self) -> Result<Metadata> {
        self.vfs.file_metadata(&self.handle).map_err(self.failed("examine"))
    }

    /// Returns the length in bytes.
    pub fn size(&self) -> Result<u64> {
        Ok(self.metadata()?.size)
    }

    /// Sets permission bits.
    pub fn set_mode(&self, mode: u32) -> Result<()> {
        self.vfs.set_file_mode(&self.handle, mode).map_err(self.failed("change the mode of"))
    }

    /// Takes an OS lock without waiting; false where somebody else holds it.
    pub fn try_lock(&self, kind: LockKind) -> Result<bool> {
        self.vfs.try_lock(&self.handle, kind).map_err(self.failed("lock"))
    }

    /// Gives a lock back.
    pub fn unlock(&self) -> Result<()> {
        self.vfs.unlock(&self.handle).map_err(self.failed("unlock"))
    }
}
