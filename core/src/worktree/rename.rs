//! Renames: what is gone in one place and new in another, with the same content.
//!
//! Only identical content pairs, and empty files never do: all of them are alike. Of what is staged the ids are known; on
//! disk a file is read only where its size is that of one that is gone, and only so much of them.

use std::collections::HashMap;

use super::gather::Gathering;
use super::scan::ChangeKind;
use crate::object::ingest::{IngestJob, IngestOutcome, ingest};
use crate::object::{Discard, ObjectStore};
use crate::progress::Progress;
use crate::repository::Repository;
use crate::tree::walk::{self, TreeChange};
use crate::tree::{Content, Tree, TreeEntry, manifest};
use crate::{Error, RepoPath, Result};

/// Most untracked files read to find renames: a directory of that size is more likely copied than moved.
const MAX_READ: usize = 256;
/// Most bytes of untracked files read to find renames.
const MAX_READ_BYTES: u64 = 64 << 20;

/// Most entries of one directory that is gone looked at.
const MAX_GONE: usize = 10_000;

/// A file whose content is gone in one place and new in another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    /// Where it was.
    pub from: RepoPath,
    /// Where it is.
    pub to: RepoPath,
    /// Both are staged; otherwise it happened on disk.
    pub staged: bool,
}

/// Files that are gone, by their content.
#[derive(Default)]
struct Gone(HashMap<Content, Vec<RepoPath>>);

impl Gone {
    /// Adds a file, of some content.
    fn add(&mut self, path: &RepoPath, entry: &TreeEntry) {
        if entry.kind.is_file() && entry.size > 0 {
            self.0.entry(entry.content.clone()).or_default().push(path.clone());
        }
    }

    /// Takes the file that became one of this content: of several the one of the same name, else the first.
    fn take(&mut self, content: &Content, to: &RepoPath) -> Option<RepoPath> {
        let paths = self.0.get_mut(content).filter(|paths| !paths.is_empty())?;
        let at = paths.iter().position(|path| path.name() == to.name()).unwrap_or(0);
        Some(paths.remove(at))
    }
}

/// Pairs what is staged. Reads nothing.
pub(super) fn staged(changes: &[TreeChange]) -> Vec<Rename> {
    let mut gone = Gone::default();
    for change in changes {
        if let (Some(old), None) = (&change.old, &change.new) {
            gone.add(&change.path, old);
        }
    }
    let new = changes.iter().filter_map(|change| match (&change.old, &change.new) {
        (None, Some(new)) if new.kind.is_file() => Some((&change.path, &new.content)),
        _ => None,
    });
    new.filter_map(|(to, content)| {
        let from = gone.take(content, to)?;
        Some(Rename { from, to: to.clone(), staged: true })
    })
    .collect()
}

/// Lists the file an entry is, or those beneath the directory it is; none of a directory that holds too many.
pub(super) fn files_of(store: &ObjectStore, path: &RepoPath, entry: &TreeEntry) -> Result<Vec<(RepoPath, TreeEntry)>> {
    let Some(tree) = entry.tree() else { return Ok(vec![(path.clone(), entry.clone())]) };
    let (mut files, mut trees) = (Vec::new(), vec![(path.clone(), tree)]);
    while let Some((path, tree)) = trees.pop() {
        for entry in Tree::read(store, tree)?.into_entries() {
            let here = walk::join(Some(&path), &entry.name)?;
            match entry.tree() {
                Some(tree) => trees.push((here, tree)),
                None => files.push((here, entry)),
            }
        }
        if files.len() + trees.len() > MAX_GONE {
            return Ok(Vec::new());
        }
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(files)
}

impl Repository {
    /// Pairs tracked files that are gone from disk with untracked ones. Reads at most 256 files and 64 MiB, and only files
    /// of the size of one that is gone.
    pub(super) fn renames_on_disk(
        &self,
        store: &ObjectStore,
        gathering: &Gathering,
        progress: &dyn Progress,
    ) -> Result<Vec<Rename>> {
        let untracked = || gathering.scan.changes.iter().filter(|change| matches!(change.kind, ChangeKind::Untracked));
        if untracked().next().is_none() {
            return Ok(Vec::new());
        }
        let (mut gone, mut sizes) = (Gone::default(), HashMap::new());
        for change in gathering.changes.iter().filter(|change| change.node.is_none()) {
            let Some(base) = &change.base else { continue };
            for (path, entry) in files_of(store, &change.path, base)? {
                gone.add(&path, &entry);
                sizes.entry(entry.size).or_insert(entry.content);
            }
        }
        let (mut jobs, mut bytes) = (Vec::new(), 0);
        for change in untracked() {
            let Some(disk) = change.disk.filter(|disk| disk.kind == shard_storage::vfs::FileKind::File) else {
                continue;
            };
            let Some(content) = sizes.get(&disk.size) else { continue };
            if jobs.len() == MAX_READ || bytes + disk.size > MAX_READ_BYTES {
                break;
            }
            bytes += disk.size;
            let recorded = match content {
                // Content has the same id only where it is cut alike.
                Content::Manifest(id) => match manifest::read_node(store, *id) {
                    Ok(node) => Some((node.profile, disk.size)),
                    Err(Error::ObjectNotFound { .. } | Error::ObjectCorrupt { .. }) => None,
                    Err(error) => return Err(error),
                },
                _ => None,
            };
            jobs.push(IngestJob { path: change.path.clone(), size: disk.size, recorded });
        }
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let outcomes = ingest(&self.layout().worktree, &jobs, self.ingest_options(), Discard, progress)?;
        let mut renames = Vec::new();
        for (job, outcome) in jobs.into_iter().zip(outcomes) {
            if let IngestOutcome::Stored(node, _) = outcome
                && let Some(from) = gone.take(&node.content, &job.path)
            {
                renames.push(Rename { from, to: job.path, staged: false });
            }
        }
        Ok(renames)
    }
}
