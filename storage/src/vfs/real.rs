//! The file system of the operating system.
//!
//! Every path is resolved beneath an open directory without following a link: on Linux by `openat2` with
//! `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`, elsewhere (and where a kernel or sandbox lacks that call) one component at
//! a time with `O_NOFOLLOW`. A path of one component costs one system call; a longer one three, for its parent is
//! opened first.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::{
    DirEntry, DirHandle, FileHandle, FileKind, FilesystemInfo, LockKind, Metadata, OpenOptions, Vfs, path_check,
};

/// The real file system.
///
/// A final component that is a link fails with `ELOOP` in [`open`](Vfs::open); a link, or anything else that is not a
/// directory, in the middle of a path always fails with `NotADirectory`. Files open without waiting for a fifo's or
/// device's other end. Interrupted calls are repeated, so `Interrupted` is never returned.
#[derive(Debug, Clone, Copy, Default)]
pub struct Real;

/// Bytes of one `getdents` buffer: room for about a thousand names.
#[cfg(target_os = "linux")]
const LIST_BUFFER: usize = 32 * 1024;

/// Set once the kernel, or a sandbox around us, turns out to lack `openat2`.
#[cfg(target_os = "linux")]
static OPENAT2_MISSING: AtomicBool = AtomicBool::new(false);

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// How a parent is opened: it only has to be stood upon.
#[cfg(target_os = "linux")]
const PARENT: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const PARENT: OFlags = DIRECTORY;

fn foreign_handle() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "handle of another file system")
}

fn dir_fd(dir: &DirHandle) -> io::Result<BorrowedFd<'_>> {
    match dir {
        DirHandle::Real(fd) => Ok(fd.as_fd()),
        DirHandle::Simulated(_) => Err(foreign_handle()),
    }
}

fn real_file(file: &FileHandle) -> io::Result<&fs::File> {
    match file {
        FileHandle::Real(file) => Ok(file),
        FileHandle::Simulated(_) => Err(foreign_handle()),
    }
}

/// Turns the refusal to follow a link where a directory is needed into what it means: not a directory.
fn as_directory(error: Errno) -> Errno {
    if matches!(error, Errno::LOOP | Errno::MLINK | Errno::XDEV) { Errno::NOTDIR } else { error }
}

/// A parent directory: the one given, where the path has a single component, or one opened on the way.
enum Parent<'a> {
    Given(BorrowedFd<'a>),
    Opened(OwnedFd),
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Parent::Given(fd) => *fd,
            Parent::Opened(fd) => fd.as_fd(),
        }
    }
}

/// Splits a path into its open parent and its last component.
fn parent<'a, 'p>(dir: BorrowedFd<'a>, path: &'p Path) -> io::Result<(Parent<'a>, &'p Path)> {
    path_check(path)?;
    let bytes = path.as_os_str().as_bytes();
    match bytes.iter().rposition(|&byte| byte == b'/') {
        None => Ok((Parent::Given(dir), path)),
        Some(slash) => {
            let above = component(&bytes[..slash]);
            let opened = open_beneath(dir, above, PARENT, Mode::empty()).map_err(as_directory)?;
            Ok((Parent::Opened(opened), component(&bytes[slash + 1..])))
        }
    }
}

fn component(bytes: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

/// Opens a checked path beneath `dir`, following no link.
fn open_beneath(dir: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    if !path.as_os_str().as_bytes().contains(&b'/') {
        // One component: O_NOFOLLOW alone says all that openat2 would.
        return retry_on_intr(|| rustix::fs::openat(dir, path, flags, mode));
    }
    #[cfg(target_os = "linux")]
    if let Some(answer) = open_with_openat2(dir, path, flags, mode) {
        return answer;
    }
    open_by_component(dir, path, flags, mode)
}

/// Opens with `openat2`; `None` where that call does not exist.
#[cfg(target_os = "linux")]
fn open_with_openat2(dir: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> Option<Result<OwnedFd, Errno>> {
    use rustix::fs::ResolveFlags;
    const RESOLVE: ResolveFlags =
        ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
    if OPENAT2_MISSING.load(Ordering::Relaxed) {
        return None;
    }
    match retry_on_intr(|| rustix::fs::openat2(dir, path, flags, mode, RESOLVE)) {
        // EPERM is a sandbox's way of saying ENOSYS, but also a real answer (an immutable file): ask for something
        // that cannot be refused before believing it.
        Err(error @ (Errno::NOSYS | Errno::PERM)) => {
            let probe = rustix::fs::openat2(dir, ".", PARENT, Mode::empty(), ResolveFlags::BENEATH);
            if probe.is_ok() {
                return Some(Err(error));
            }
            OPENAT2_MISSING.store(true, Ordering::Relaxed);
            None
        }
        // The kernel saw a rename on the way and could not be sure; walking cannot be unsure.
        Err(Errno::AGAIN) => None,
        other => Some(other),
    }
}

/// Opens one component at a time, none of them a link.
fn open_by_component(dir: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let mut here: Option<OwnedFd> = None;
    let mut rest = path.as_os_str().as_bytes();
    loop {
        let at = here.as_ref().map_or(dir, |fd| fd.as_fd());
        match rest.iter().position(|&byte| byte == b'/') {
            None => return retry_on_intr(|| rustix::fs::openat(at, component(rest), flags, mode)),
            Some(slash) => {
                let name = component(&rest[..slash]);
                let next =
                    retry_on_intr(|| rustix::fs::openat(at, name, PARENT, Mode::empty())).map_err(as_directory)?;
                here = Some(next);
                rest = &rest[slash + 1..];
            }
        }
    }
}

fn mode_bits(mode: u32) -> Mode {
    Mode::from_raw_mode((mode & 0o7777) as rustix::fs::RawMode)
}

fn kind(kind: FileType) -> FileKind {
    match kind {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Other,
    }
}

// The widths of these fields differ between platforms, so some casts are empty on some of them.
#[allow(clippy::unnecessary_cast)]
fn described(stat: &rustix::fs::Stat) -> Metadata {
    let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    Metadata {
        kind: kind(FileType::from_raw_mode(stat.st_mode as rustix::fs::RawMode)),
        size: stat.st_size.max(0) as u64,
        mode: stat.st_mode as u32 & 0o7777,
        mtime_ns: nanoseconds(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        ctime_ns: nanoseconds(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        inode: stat.st_ino as u64,
        device: stat.st_dev as u64,
        uid: stat.st_uid as u32,
        allocated: (stat.st_blocks.max(0) as u64).saturating_mul(512),
    }
}

#[cfg(target_os = "linux")]
fn entries(dir: BorrowedFd<'_>) -> io::Result<Vec<DirEntry>> {
    // A descriptor of its own: the reading position belongs to the open directory, which threads share.
    let fresh = retry_on_intr(|| rustix::fs::openat(dir, ".", DIRECTORY, Mode::empty()))?;
    let mut buffer = Vec::with_capacity(LIST_BUFFER);
    let mut raw = rustix::fs::RawDir::new(&fresh, buffer.spare_capacity_mut());
    let mut found = Vec::new();
    while let Some(entry) = raw.next() {
        let entry = match entry {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        push_entry(&mut found, dir, entry.file_name().to_bytes(), entry.file_type())?;
    }
    Ok(found)
}

#[cfg(not(target_os = "linux"))]
fn entries(dir: BorrowedFd<'_>) -> io::Result<Vec<DirEntry>> {
    let mut found = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        push_entry(&mut found, dir, entry.file_name().to_bytes(), entry.file_type())?;
    }
    Ok(found)
}

fn push_entry(found: &mut Vec<DirEntry>, dir: BorrowedFd<'_>, name: &[u8], file_type: FileType) -> io::Result<()> {
    if name == b"." || name == b".." {
        return Ok(());
    }
    let kind = match file_type {
        FileType::Unknown => match rustix::fs::statat(dir, component(name), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => described(&stat).kind,
            Err(Errno::NOENT) => return Ok(()), // removed meanwhile
            Err(error) => return Err(error.into()),
        },
        known => kind(known),
    };
    found.push(DirEntry { name: OsString::from_vec(name.to_vec()), kind });
    Ok(())
}

/// Sets the mode of what `name` in `dir` is, never of what a link points to.
fn chmod(dir: BorrowedFd<'_>, name: &Path, mode: Mode) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match retry_on_intr(|| rustix::fs::openat(dir, name, flags, Mode::empty())) {
        Ok(file) => Ok(rustix::fs::fchmod(&file, mode)?),
        // The owner may change the mode even of what it may not read.
        Err(Errno::ACCESS) => chmod_unreadable(dir, name, mode),
        Err(error) => Err(error.into()),
    }
}

#[cfg(target_os = "linux")]
fn chmod_unreadable(dir: BorrowedFd<'_>, name: &Path, mode: Mode) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let file = retry_on_intr(|| {
        rustix::fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    })?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) == FileType::Symlink {
        return Err(Errno::LOOP.into());
    }
    // fchmod refuses such a descriptor, its name under /proc does not.
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::chmodat(rustix::fs::CWD, name, mode, AtFlags::empty())?)
}

#[cfg(not(target_os = "linux"))]
fn chmod_unreadable(dir: BorrowedFd<'_>, name: &Path, mode: Mode) -> io::Result<()> {
    Ok(rustix::fs::chmodat(dir, name, mode, AtFlags::SYMLINK_NOFOLLOW)?)
}

impl Vfs for Real {
    fn open_root(&self, path: &Path) -> io::Result<DirHandle> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(DirHandle::Real(retry_on_intr(|| rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty()))?))
    }

    fn open_dir(&self, dir: &DirHandle, path: &Path) -> io::Result<DirHandle> {
        let dir = dir_fd(dir)?;
        let opened = if path.as_os_str().is_empty() {
            open_beneath(dir, Path::new("."), DIRECTORY, Mode::empty())
        } else {
            path_check(path)?;
            open_beneath(dir, path, DIRECTORY, Mode::empty())
        };
        Ok(DirHandle::Real(opened.map_err(as_directory)?))
    }

    fn open(&self, dir: &DirHandle, path: &Path, options: OpenOptions) -> io::Result<FileHandle> {
        path_check(path)?;
        if options.truncate && !options.write {
            return Err(Errno::INVAL.into());
        }
        let dir = dir_fd(dir)?;
        // NONBLOCK: a fifo in a worktree must not hang us; it means nothing to a regular file.
        let mut flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        flags |= if options.write { OFlags::RDWR } else { OFlags::RDONLY };
        let mut mode = Mode::empty();
        if options.create || options.create_new {
            flags |= OFlags::CREATE;
            mode = mode_bits(if options.mode == 0 { 0o666 } else { options.mode });
        }
        if options.create_new {
            flags |= OFlags::EXCL;
        }
        if options.truncate {
            flags |= OFlags::TRUNC;
        }
        match open_beneath(dir, path, flags, mode) {
            Ok(file) => Ok(FileHandle::Real(file.into())),
            Err(Errno::LOOP) => {
                // A link as the last component, or on the way there? The latter is no directory.
                parent(dir, path)?;
                Err(Errno::LOOP.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn create_dir(&self, dir: &DirHandle, path: &Path, mode: u32) -> io::Result<()> {
        let (parent, name) = parent(dir_fd(dir)?, path)?;
        Ok(retry_on_intr(|| rustix::fs::mkdirat(&parent, name, mode_bits(mode)))?)
    }

    fn symlink(&self, dir: &DirHandle, target: &Path, path: &Path) -> io::Result<()> {
        let (parent, name) = parent(dir_fd(dir)?, path)?;
        Ok(retry_on_intr(|| rustix::fs::symlinkat(target, &parent, name))?)
    }

    fn read_link(&self, dir: &DirHandle, path: &Path) -> io::Result<PathBuf> {
        let (parent, name) = parent(dir_fd(dir)?, path)?;
        let target = rustix::fs::readlinkat(&parent, name, Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()).into())
    }

    fn rename(&self, from: &DirHandle, old: &Path, to: &DirHandle, new: &Path) -> io::Result<()> {
        let (old_parent, old_name) = parent(dir_fd(from)?, old)?;
        let (new_parent, new_name) = parent(dir_fd(to)?, new)?;
        Ok(retry_on_intr(|| rustix::fs::renameat(&old_parent, old_name, &new_parent, new_name))?)
    }

    fn unlink(&self, dir: &DirHandle, path: &Path) -> io::Result<()> {
        let (parent, name) = parent(dir_fd(dir)?, path)?;
        Ok(retry_on_intr(|| rustix::fs::unlinkat(&parent, name, AtFlags::empty()))?)
    }

    fn remove_dir(&self, dir: &DirHandle, path: &Path) -> io::Result<()> {
        let (parent, name) = parent(dir_fd(dir)?, path)?;
        Ok(retry_on_intr(|| rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR))?)
    }

    fn list(&self, dir: &DirHandle) -> io::Result<Vec<DirEntry>> {
        entries(dir_fd(dir)?)
    }

    fn metadata(&self, dir: &DirHandle, path: &Path) -> io::Result<Metadata> {
        let dir = dir_fd(dir)?;
        if path.as_os_str().is_empty() {
            return Ok(described(&rustix::fs::fstat(dir)?));
        }
        let (parent, name) = parent(dir, path)?;
        Ok(described(&retry_on_intr(|| rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW))?))
    }

    fn set_mode(&self, dir: &DirHandle, path: &Path, mode: u32) -> io::Result<()> {
        let dir = dir_fd(dir)?;
        if path.as_os_str().is_empty() {
            return Ok(rustix::fs::fchmod(dir, mode_bits(mode))?);
        }
        let (parent, name) = parent(dir, path)?;
        chmod(parent.as_fd(), name, mode_bits(mode))
    }

    fn sync_dir(&self, dir: &DirHandle) -> io::Result<()> {
        let dir = dir_fd(dir)?;
        #[cfg(target_vendor = "apple")]
        return Ok(retry_on_intr(|| rustix::fs::fcntl_fullfsync(dir))?);
        #[cfg(not(target_vendor = "apple"))]
        Ok(retry_on_intr(|| rustix::fs::fsync(dir))?)
    }

    fn sync_filesystem(&self, dir: &DirHandle) -> io::Result<()> {
        let dir = dir_fd(dir)?;
        #[cfg(target_os = "linux")]
        retry_on_intr(|| rustix::fs::syncfs(dir))?;
        #[cfg(not(target_os = "linux"))]
        {
            let _ = dir;
            rustix::fs::sync();
        }
        Ok(())
    }

    fn filesystem(&self, dir: &DirHandle) -> io::Result<FilesystemInfo> {
        super::filesystem::describe(dir_fd(dir)?)
    }

    fn read_at(&self, file: &FileHandle, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let file = real_file(file)?;
        uninterrupted(|| file.read_at(buffer, offset))
    }

    fn write_at(&self, file: &FileHandle, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let file = real_file(file)?;
        uninterrupted(|| file.write_at(bytes, offset))
    }

    fn set_len(&self, file: &FileHandle, length: u64) -> io::Result<()> {
        real_file(file)?.set_len(length)
    }

    fn allocate(&self, file: &FileHandle, offset: u64, length: u64) -> io::Result<()> {
        let file = real_file(file)?;
        if length == 0 {
            return Ok(());
        }
        #[cfg(target_os = "linux")]
        match retry_on_intr(|| rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, offset, length)) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            other => other?,
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (file, offset);
        Ok(())
    }

    fn sync_data(&self, file: &FileHandle) -> io::Result<()> {
        // fdatasync, or the stronger F_FULLFSYNC where fdatasync stops at the drive's cache.
        real_file(file)?.sync_data()
    }

    fn file_metadata(&self, file: &FileHandle) -> io::Result<Metadata> {
        Ok(described(&rustix::fs::fstat(real_file(file)?)?))
    }

    fn set_file_mode(&self, file: &FileHandle, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::fchmod(real_file(file)?, mode_bits(mode))?)
    }

    fn try_lock(&self, file: &FileHandle, kind: LockKind) -> io::Result<bool> {
        let file = real_file(file)?;
        let answer = match kind {
            LockKind::Shared => file.try_lock_shared(),
            LockKind::Exclusive => file.try_lock(),
        };
        match answer {
            Ok(()) => Ok(true),
            Err(fs::TryLockError::WouldBlock) => Ok(false),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn unlock(&self, file: &FileHandle) -> io::Result<()> {
        real_file(file)?.unlock()
    }
}

fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests;
