//! What stands where a checkout is to write.
//!
//! A file is renamed over a file, never over a directory; and no directory is made where a file stands. Whatever has to
//! go first is listed here by name, ignored or not, so that it is known, saved or refused, and nothing is removed that
//! was not looked at.

use std::collections::BTreeSet;

use shard_storage::vfs::{Dir, FileKind, Metadata};

use crate::error::BlockedReason;
use crate::repo_path::validate_component;
use crate::{RepoPath, Result};

/// A worktree looked at from where files are to be written.
pub(super) struct Ground<'a> {
    worktree: &'a Dir,
    /// Directories that are nothing else, all the way from the root.
    directories: BTreeSet<RepoPath>,
}

impl<'a> Ground<'a> {
    pub(super) fn new(worktree: &'a Dir) -> Self {
        Self { worktree, directories: BTreeSet::new() }
    }

    /// Describes what stands at a path; nothing does beneath what is no directory.
    pub(super) fn at(&self, path: &RepoPath) -> Result<Option<Metadata>> {
        Ok(self.worktree.metadata_optional(path.as_str())?)
    }

    /// Returns the file or link above a path that stands where a directory must be.
    pub(super) fn above(&mut self, path: &RepoPath) -> Result<Option<RepoPath>> {
        let mut unknown = Vec::new();
        let mut at = path.parent();
        while let Some(parent) = at.filter(|parent| !parent.is_root() && !self.directories.contains(parent)) {
            at = parent.parent();
            unknown.push(parent);
        }
        for parent in unknown.into_iter().rev() {
            match self.at(&parent)? {
                None => return Ok(None),
                Some(metadata) if metadata.kind == FileKind::Directory => drop(self.directories.insert(parent)),
                Some(_) => return Ok(Some(parent)),
            }
        }
        Ok(None)
    }

    /// Lists what a directory at `path` holds, directories themselves left out; nothing where no directory is. What
    /// cannot be saved is [`BlockedReason::Unsafe`]: repositories, devices, what cannot be read or named.
    pub(super) fn within(&self, path: &RepoPath) -> Result<Vec<(RepoPath, BlockedReason)>> {
        let mut found = Vec::new();
        if self.at(path)?.is_some_and(|metadata| metadata.kind == FileKind::Directory) {
            self.list(path, &mut found);
        }
        Ok(found)
    }

    fn list(&self, directory: &RepoPath, found: &mut Vec<(RepoPath, BlockedReason)>) {
        let unsafe_here = (directory.clone(), BlockedReason::Unsafe);
        let Ok(entries) = self.worktree.open_dir(directory.as_str()).and_then(|dir| dir.list()) else {
            found.push(unsafe_here);
            return;
        };
        for entry in entries {
            let name = validate_component(std::os::unix::ffi::OsStrExt::as_bytes(entry.name.as_os_str())).ok();
            let Some(path) = name.and_then(|name| directory.join(name).ok()) else {
                found.push(unsafe_here.clone());
                continue;
            };
            match entry.kind {
                FileKind::Directory => self.list(&path, found),
                FileKind::File | FileKind::Symlink => found.push((path, BlockedReason::Untracked)),
                FileKind::Other => found.push((path, BlockedReason::Unsafe)),
            }
        }
    }
}

/// Says whether nobody has touched a file between two looks at it.
pub(super) fn untouched(a: &Metadata, b: &Metadata) -> bool {
    let facts = |m: &Metadata| (m.kind, m.size, m.mode, m.mtime_ns, m.ctime_ns, m.inode, m.device);
    facts(a) == facts(b)
}
