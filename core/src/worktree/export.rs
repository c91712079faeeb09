//! Export: a commit's files outside the repository, as a directory or as a tar archive.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use shard_storage::vfs::{Dir, Vfs};

use super::materialize::{Durability, Item, Materializer, items_of};
use crate::history::commit;
use crate::ids::CommitId;
use crate::object::ObjectStore;
use crate::object::reader::{read_all, read_range};
use crate::progress::{Progress, Unit};
use crate::repository::Repository;
use crate::tree::{EntryType, MAX_TARGET};
use crate::{Error, RepoPath, Result};

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportReport {
    /// The commit.
    pub commit: CommitId,
    /// Files and links.
    pub files: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Entries of a later version, left out.
    pub skipped: Vec<RepoPath>,
}

impl Repository {
    /// Writes a commit's files into `destination`, which must be absent or an empty directory: all of them or none, and
    /// synced. Beneath it nothing is ever overwritten.
    ///
    /// # Errors
    /// [`Error::PathExists`] where the destination holds something, [`Error::ValueInvalid`] where it has no name.
    pub fn export_directory(
        &self,
        vfs: &Arc<dyn Vfs>,
        id: CommitId,
        destination: &Path,
        progress: &dyn Progress,
    ) -> Result<ExportReport> {
        let name = destination.file_name().ok_or_else(|| Error::ValueInvalid {
            what: "destination",
            value: destination.display().to_string(),
            reason: "it has no name of its own".to_owned(),
        })?;
        let above = destination.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let parent = Dir::open_root(vfs.clone(), above)?;
        if let Some(there) = parent.metadata_optional(name)? {
            let is_empty =
                there.kind == shard_storage::vfs::FileKind::Directory && parent.open_dir(name)?.list()?.is_empty();
            if !is_empty {
                let reason = "exists and is not an empty directory".to_owned();
                return Err(Error::PathExists { path: destination.to_owned(), reason });
            }
        }
        let state = self.state()?;
        let store = self.store(&state)?;
        let (items, skipped) = items_of(&store, commit::read(&store, id)?.tree)?;
        let unique = u64::from_le_bytes(crate::repository::random()?);
        let temporary = format!("{}{unique:016x}", crate::repo_path::TEMPORARY_PREFIX);
        parent.create_dir(&temporary, 0o777)?;
        let written = parent.open_dir(&temporary).map_err(Error::from).and_then(|root| {
            let materializer = Materializer {
                store: &store,
                root: &root,
                temporaries: None,
                threads: self.settings().threads,
                durability: Durability::Synced,
                progress,
            };
            materializer.run(&items)?;
            parent.rename(&temporary, &parent, name)?;
            parent.sync().map_err(crate::repository::sync_failure)
        });
        if let Err(error) = written {
            super::checkout::remove_directory(&parent, Path::new(&temporary));
            return Err(error);
        }
        Ok(report_of(id, &items, skipped))
    }

    /// Writes a commit's files as a tar archive (POSIX ustar with PAX where names are long). The same commit always gives
    /// the same bytes: entries in path order, times that of the commit, no owner.
    pub fn export_tar(&self, id: CommitId, out: &mut dyn Write, progress: &dyn Progress) -> Result<ExportReport> {
        let state = self.state()?;
        let store = self.store(&state)?;
        let commit = commit::read(&store, id)?;
        let (items, skipped) = items_of(&store, commit.tree)?;
        let report = report_of(id, &items, skipped);
        progress.phase("writing", Some(report.bytes), Unit::Bytes);
        let mut archive = tar::Builder::new(out);
        let failed = |source: io::Error| match source.downcast::<Error>() {
            Ok(error) => error,
            Err(source) => {
                Error::Disk(shard_storage::vfs::VfsError { operation: "write", path: "the archive".into(), source })
            }
        };
        for item in &items {
            let mut header = tar::Header::new_ustar();
            header.set_mtime(commit.time_ms / 1000);
            let path = item.path.as_str();
            match item.node.kind {
                EntryType::Directory => {
                    header.set_entry_type(tar::EntryType::Directory);
                    header.set_mode(0o755);
                    header.set_size(0);
                    archive.append_data(&mut header, format!("{path}/"), io::empty()).map_err(failed)?;
                }
                EntryType::Symlink => {
                    let target = read_all(&store, &item.node.content, item.node.size, MAX_TARGET)?;
                    let target = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&target);
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_mode(0o777);
                    header.set_size(0);
                    archive.append_link(&mut header, path, target).map_err(failed)?;
                }
                kind => {
                    header.set_entry_type(tar::EntryType::Regular);
                    header.set_mode(if kind == EntryType::Executable { 0o755 } else { 0o644 });
                    header.set_size(item.node.size);
                    let content = Content { store: &store, item, offset: 0, buffer: Vec::new(), at: 0 };
                    archive.append_data(&mut header, path, content).map_err(failed)?;
                    progress.advance(item.node.size);
                }
            }
        }
        archive.into_inner().and_then(|out| out.flush()).map_err(failed)?;
        Ok(report)
    }
}

/// A file's content as a stream, a piece at a time.
struct Content<'a> {
    store: &'a ObjectStore,
    item: &'a Item,
    offset: u64,
    buffer: Vec<u8>,
    at: usize,
}

/// Bytes read at a time.
const PIECE: u64 = 1 << 20;

impl Read for Content<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.buffer.len() && self.offset < self.item.node.size {
            let length = PIECE.min(self.item.node.size - self.offset);
            self.buffer.clear();
            self.buffer.resize(length as usize, 0);
            self.at = 0;
            let (buffer, start) = (&mut self.buffer, self.offset);
            let node = &self.item.node;
            read_range(self.store, &node.content, node.size, start, length, &mut |at, length, bytes| {
                if let Some(bytes) = bytes {
                    let from = (at - start) as usize;
                    buffer[from..from + length as usize].copy_from_slice(bytes);
                }
                Ok(())
            })
            .map_err(io::Error::other)?;
            self.offset += length;
        }
        let left = &self.buffer[self.at..];
        let length = left.len().min(out.len());
        out[..length].copy_from_slice(&left[..length]);
        self.at += length;
        Ok(length)
    }
}

fn report_of(commit: CommitId, items: &[Item], skipped: Vec<RepoPath>) -> ExportReport {
    let files = items.iter().filter(|item| item.node.kind.is_file());
    let bytes = files.map(|item| item.node.size).fold(0, u64::saturating_add);
    let files = items.iter().filter(|item| item.node.kind != EntryType::Directory).count() as u64;
    ExportReport { commit, files, bytes, skipped }
}
