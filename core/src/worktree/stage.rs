//! Staging: making the index equal to the disk, at some paths.

use std::collections::HashMap;

use shard_storage::lock_file::LockKind;

use super::gather::{Gathering, Select, edits, looks_secret, write_tree};
use super::scan::{Change, ChangeKind, Scope, Skipped};
use super::stat_cache::StatCache;
use crate::ids::TreeId;
use crate::object::ingest::SkipReason;
use crate::object::{Discard, ObjectStore, StagedObjects};
use crate::progress::Progress;
use crate::repository::{Repository, State};
use crate::tree::editor::TreeEditor;
use crate::tree::walk;
use crate::worktree::index::Index;
use crate::{Blocked, BlockedReason, Error, RepoPath, Result};

/// How paths are staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AddOptions {
    /// Take ignored paths that were named.
    pub force: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What was staged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddReport {
    /// New to the index.
    pub added: Vec<RepoPath>,
    /// With other content than before.
    pub changed: Vec<RepoPath>,
    /// Gone from the index.
    pub removed: Vec<RepoPath>,
    /// Files as they were.
    pub unchanged: u64,
    /// Passed over, and why.
    pub skipped: Vec<Skipped>,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes of new objects, before compression.
    pub new_bytes: u64,
}

/// What an ingest prepared, and the tree it leads to.
pub(super) struct Prepared {
    pub(super) gathering: Gathering,
    pub(super) tree: TreeId,
    pub(super) written: HashMap<String, TreeId>,
    pub(super) objects: StagedObjects,
}

/// What may be taken that was not tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Untracked {
    /// Nothing.
    Leave,
    /// All, however large.
    TakeAll,
    /// All but files above `files.ask_above`.
    Take,
    /// All but those, and what looks like a secret.
    TakeButSecrets,
}

impl Repository {
    /// Makes the index equal to the disk at and beneath `paths`, deletions included. No lock is held while files are
    /// read; adding by several processes at once adds it all.
    ///
    /// # Errors
    /// [`Error::PathNotFound`] for a path that is neither tracked nor on disk, [`Error::PathIgnored`] for an ignored one
    /// without `force`, [`Error::RepositoryInterrupted`] after a checkout that did not end.
    pub fn add(&self, paths: &[RepoPath], options: AddOptions, progress: &dyn Progress) -> Result<AddReport> {
        // Files are not looked at while a checkout moves them.
        let _lock = self.worktree_lock(LockKind::Shared)?;
        let state = self.state()?;
        Self::check_not_interrupted(&state)?;
        let store = self.store(&state)?;
        let scope = scope_of(paths);
        self.check_paths(&store, state.index.tree, paths, options.force)?;
        if options.dry_run {
            let scan = self.scan(&store, &self.stat_cache(), state.index.tree, &scope, options.force, false)?;
            let all = |_: &Change| Ok(());
            let gathering = self.gather(&store, scan, Select::Everything(&all), Discard, progress)?;
            return Ok(report_of(&gathering, 0));
        }
        let cache = self.stat_cache();
        let prepared = self.prepare(
            &store,
            &cache,
            state.index.tree,
            &scope,
            if options.force { Untracked::TakeAll } else { Untracked::Take },
            options.force,
            progress,
        )?;
        let report = report_of(&prepared.gathering, prepared.objects.new_bytes);
        if prepared.gathering.changes.is_empty() {
            self.remember(&cache, &prepared.gathering, &prepared.written, true, &scope);
            return Ok(report);
        }
        let Prepared { gathering, tree, written, mut objects } = prepared;
        let permit = self.write_permit("add")?;
        let mut transaction = self.transaction(&permit)?;
        Self::check_not_interrupted(&transaction.state)?;
        let mut index = transaction.state.index.clone();
        let restaged = index.tree != state.index.tree;
        index.tree = if restaged {
            // Another process staged meanwhile: the same edits on its tree.
            let store = self.store(&transaction.state)?;
            let staging = self.staging(&store);
            let tree = write_tree(&store, &staging, index.tree, edits(&gathering.changes), &mut HashMap::new())?;
            objects.absorb(staging.finish()?);
            tree
        } else {
            tree
        };
        transaction.add_objects(objects);
        transaction.set_index(index);
        transaction.commit()?;
        drop(permit);
        if !restaged {
            // The other's tree was never compared with the disk.
            self.remember(&cache, &gathering, &written, true, &scope);
        }
        Ok(report)
    }

    /// Takes paths out of the index, and off the disk unless `cached`. Both are durable when it returns.
    ///
    /// # Errors
    /// [`Error::WorktreeDirty`] where the disk differs from what is staged, unless `force`; nothing is touched then.
    pub fn remove(&self, paths: &[RepoPath], cached: bool, force: bool, dry_run: bool) -> Result<AddReport> {
        let _lock = if cached || dry_run { None } else { Some(self.worktree_lock(LockKind::Exclusive)?) };
        let state = self.state()?;
        Self::check_not_interrupted(&state)?;
        let store = self.store(&state)?;
        let mut removed = Vec::new();
        for path in paths {
            if path.is_root() {
                walk::visit(&store, state.index.tree, None, &mut |path, entry| {
                    if entry.tree().is_none() {
                        removed.push(path);
                    }
                    Ok(())
                })?;
                continue;
            }
            match walk::find(&store, state.index.tree, path)? {
                None => return Err(Error::PathNotFound { path: path.to_string() }),
                Some(entry) => match entry.tree() {
                    None => removed.push(path.clone()),
                    Some(tree) => walk::visit(&store, tree, Some(path), &mut |path, entry| {
                        if entry.tree().is_none() {
                            removed.push(path);
                        }
                        Ok(())
                    })?,
                },
            }
        }
        removed.sort();
        removed.dedup();
        if !cached && !force {
            let scan = self.scan(&store, &self.stat_cache(), state.index.tree, &scope_of(paths), false, false)?;
            let gathering = self.gather(&store, scan, Select::Tracked, Discard, &crate::progress::Silent)?;
            let differs = gathering.changes.iter().filter(|change| change.node.is_some());
            let differs = differs.map(|change| (change.path.to_string(), BlockedReason::Modified));
            // Nobody knows what is in what cannot be read.
            let unread = gathering.skipped.iter().map(|skipped| (skipped.path.clone(), BlockedReason::Unsafe));
            let blocked: Vec<_> = differs.chain(unread).map(|(path, reason)| Blocked { path, reason }).collect();
            if !blocked.is_empty() {
                return Err(Error::WorktreeDirty { blocked });
            }
        }
        let report = AddReport { removed: removed.clone(), ..AddReport::default() };
        if dry_run || removed.is_empty() {
            return Ok(report);
        }
        let permit = self.write_permit("rm")?;
        let mut transaction = self.transaction(&permit)?;
        Self::check_not_interrupted(&transaction.state)?;
        let store = self.store(&transaction.state)?;
        let staging = self.staging(&store);
        let mut editor = TreeEditor::new();
        let mut index = transaction.state.index.clone();
        if paths.iter().any(RepoPath::is_root) {
            index.tree = crate::tree::Tree::empty_id();
        } else {
            paths.iter().for_each(|path| editor.remove(path));
        }
        index.tree = write_tree(&store, &staging, index.tree, editor, &mut HashMap::new())?;
        transaction.add_objects(staging.finish()?);
        transaction.set_index(index);
        transaction.commit()?;
        drop(permit);
        if !cached {
            for path in &removed {
                super::checkout::remove_file(&self.layout().worktree, path)?;
            }
            // Without it a power cut would bring the files back, and nobody would track them.
            let lost_names = removed.iter().filter_map(RepoPath::parent).collect();
            super::checkout::sync_directories(&self.layout().worktree, lost_names)?;
        }
        Ok(report)
    }

    pub(super) fn stat_cache(&self) -> StatCache {
        StatCache::read(self.layout(), self.boot_id())
    }

    /// Refuses paths that match nothing, or nothing but what is ignored.
    fn check_paths(&self, store: &ObjectStore, tree: TreeId, paths: &[RepoPath], force: bool) -> Result<()> {
        for path in paths.iter().filter(|path| !path.is_root()) {
            if walk::find(store, tree, path)?.is_some() {
                continue;
            }
            let Some(disk) = self.layout().worktree.metadata_optional(path.as_str())? else {
                return Err(Error::PathNotFound { path: path.to_string() });
            };
            if force {
                continue;
            }
            let is_directory = disk.kind == shard_storage::vfs::FileKind::Directory;
            let rules = self.rules_above(path)?;
            if let Some(rule) = Some(rules.check_path(path.as_str(), is_directory))
                .filter(|verdict| verdict.is_ignored())
                .and_then(|verdict| verdict.rule())
            {
                return Err(Error::PathIgnored {
                    path: path.to_string(),
                    file: rule.file.to_owned(),
                    line: rule.line,
                    rule: rule.rule.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Reads the ignore rules that concern a path: those of every directory above it.
    pub fn rules_above(&self, path: &RepoPath) -> Result<super::ignore::IgnoreStack> {
        let mut stack = self.user_rules();
        let mut above = Vec::new();
        let mut parent = path.parent();
        while let Some(directory) = parent {
            parent = directory.parent();
            above.push(directory);
        }
        if above.last().is_none_or(|top| !top.is_root()) {
            above.push(RepoPath::root());
        }
        for directory in above.iter().rev() {
            let file = |name: &str| {
                let path = if directory.is_root() { name.to_owned() } else { format!("{directory}/{name}") };
                self.layout().worktree.read_optional(path, 1 << 20).ok().flatten()
            };
            let gitignore = if self.settings().gitignore { file(".gitignore") } else { None };
            stack = stack.push_directory(directory.as_str(), file(".shardignore").as_deref(), gitignore.as_deref());
        }
        Ok(stack)
    }

    /// Scans, reads, stores and builds the tree that `base` becomes. No lock is held.
    #[allow(clippy::too_many_arguments, reason = "one call, each argument another fact")]
    pub(super) fn prepare(
        &self,
        store: &ObjectStore,
        cache: &StatCache,
        base: TreeId,
        scope: &Scope,
        untracked: Untracked,
        include_ignored: bool,
        progress: &dyn Progress,
    ) -> Result<Prepared> {
        progress.phase("scanning", None, crate::progress::Unit::Items);
        let scan = self.scan(store, cache, base, scope, include_ignored, false)?;
        let admit = |change: &Change| {
            if change.kind != ChangeKind::Untracked || untracked == Untracked::TakeAll {
                return Ok(());
            }
            let limit = self.settings().ask_above.unwrap_or(u64::MAX);
            if untracked == Untracked::TakeButSecrets && looks_secret(&change.path) {
                return Err(SkipReason::Secret);
            }
            if change.disk.is_some_and(|disk| disk.size > limit) { Err(SkipReason::Large) } else { Ok(()) }
        };
        let select = match untracked {
            Untracked::Leave => Select::Tracked,
            _ => Select::Everything(&admit),
        };
        let staging = self.staging(store);
        let gathering = self.gather(store, scan, select, &staging, progress)?;
        let mut written = HashMap::new();
        let tree = write_tree(store, &staging, base, edits(&gathering.changes), &mut written)?;
        progress.phase("syncing", None, crate::progress::Unit::Items);
        Ok(Prepared { gathering, tree, written, objects: staging.finish()? })
    }
}

/// Returns the scope of a list of paths; the root covers everything.
pub(super) fn scope_of(paths: &[RepoPath]) -> Scope {
    if paths.iter().any(RepoPath::is_root) { Scope::All } else { Scope::Paths(paths.to_vec()) }
}

fn report_of(gathering: &Gathering, new_bytes: u64) -> AddReport {
    let mut report = AddReport {
        unchanged: gathering.scan.unchanged + gathering.confirmed.len() as u64,
        skipped: gathering.skipped.clone(),
        bytes: gathering.bytes,
        new_bytes,
        ..AddReport::default()
    };
    for change in &gathering.changes {
        let list = match (&change.base, &change.node) {
            (_, None) => &mut report.removed,
            (None, Some(_)) => &mut report.added,
            (Some(_), Some(_)) => &mut report.changed,
        };
        list.push(change.path.clone());
    }
    report
}

/// Returns an index that stands on a commit's tree, for one that has nothing staged.
pub(super) fn index_at(base: Option<crate::ids::CommitId>, tree: TreeId) -> Index {
    Index { base, tree, pending: None }
}

/// Returns the tree of the commit HEAD stands at, or the empty one.
pub(super) fn head_tree(store: &ObjectStore, state: &State) -> Result<TreeId> {
    match state.head_commit() {
        Some(id) => Ok(crate::history::commit::read(store, id)?.tree),
        None => Ok(crate::tree::Tree::empty_id()),
    }
}
