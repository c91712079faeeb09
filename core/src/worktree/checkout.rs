//! Checkout: moving the worktree from one tree to another, planned first.
//!
//! A plan says what would be written and removed, and what stands in the way; anything in the way stops everything. Where
//! it runs, the index says so first, so that whoever comes after a crash knows; it bars commits until it is continued or
//! aborted.

use std::collections::{BTreeMap, HashMap};

use shard_storage::lock_file::{LockFile, LockKind};
use shard_storage::vfs::{Dir, FileKind, Metadata};

use super::gather::{Gathered, Gathering, Select, write_tree};
use super::index::{Index, Pending};
use super::materialize::{Durability, Item, Materializer};
use super::scan::{Change, Scope};
use super::stage::{head_tree, index_at, scope_of};
use super::stat_cache::StatCache;
use crate::error::{Blocked, BlockedReason};
use crate::history::commit;
use crate::history::refs::Head;
use crate::ids::{CommitId, TreeId};
use crate::object::{Discard, ObjectStore};
use crate::progress::{Progress, Silent};
use crate::repository::{Repository, State, layout};
use crate::tree::editor::{Node, TreeEditor};
use crate::tree::walk::{self, TreeChange};
use crate::tree::{EntryType, Tree};
use crate::{Error, RepoPath, Result};

/// What a checkout would do.
#[derive(Debug, Clone, Default)]
pub struct CheckoutPlan {
    /// Files and links to be written.
    pub write: Vec<Item>,
    /// Files whose executable bit alone changes.
    pub chmod: Vec<(RepoPath, bool)>,
    /// Files to be removed.
    pub remove: Vec<RepoPath>,
    /// Files that are already as they are to be.
    pub kept: u64,
    /// What stands in the way.
    pub blocked: Vec<Blocked>,
    /// What would be overwritten, where that was asked for.
    pub overwritten: Vec<RepoPath>,
    /// Entries of a later version, which cannot be put on disk.
    pub unsupported: Vec<RepoPath>,
    /// Bytes to be written.
    pub bytes: u64,
}

/// What a checkout did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutReport {
    /// Where HEAD stands now.
    pub head: Head,
    /// The commit it stands at.
    pub commit: Option<CommitId>,
    /// Files written.
    pub written: u64,
    /// Files removed.
    pub removed: u64,
    /// Files that were as they should be.
    pub kept: u64,
    /// Paths overwritten on request, which were saved first.
    pub rescued: Vec<RepoPath>,
    /// Entries that cannot be put on disk here.
    pub unsupported: Vec<RepoPath>,
    /// Bytes written.
    pub bytes: u64,
}

/// How a checkout treats what is in its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Obstacles {
    /// It stops, and nothing is touched.
    #[default]
    Refuse,
    /// It is saved in the store and overwritten.
    Discard,
}

/// Where a switch goes.
#[derive(Debug, Clone)]
pub struct SwitchTarget {
    /// Where HEAD is to stand.
    pub head: Head,
    /// The commit to check out; `None` for an unborn branch.
    pub commit: Option<CommitId>,
    /// A branch to be made at that commit.
    pub create: bool,
}

impl Repository {
    /// Plans moving the worktree and index from where they stand to a commit. Reads the disk and changes nothing.
    pub fn plan_switch(&self, target: &SwitchTarget, obstacles: Obstacles) -> Result<CheckoutPlan> {
        let state = self.state()?;
        Self::check_not_interrupted(&state)?;
        let store = self.store(&state)?;
        Ok(self.plan(&state, &store, &tree_of(&store, target.commit)?, obstacles)?.0)
    }

    /// Moves HEAD, index and worktree to a branch or commit. Staged and unstaged changes that are not in the way stay.
    ///
    /// # Errors
    /// [`Error::WorktreeDirty`] naming what is in the way, nothing being touched.
    pub fn switch(
        &self,
        target: &SwitchTarget,
        obstacles: Obstacles,
        progress: &dyn Progress,
    ) -> Result<CheckoutReport> {
        let _lock = self.worktree_lock()?;
        let state = self.state()?;
        Self::check_not_interrupted(&state)?;
        let store = self.store(&state)?;
        let tree = tree_of(&store, target.commit)?;
        let (plan, index_tree) = self.plan(&state, &store, &tree, obstacles)?;
        if !plan.blocked.is_empty() {
            return Err(Error::WorktreeDirty { blocked: plan.blocked });
        }
        let rescue = self.rescue(&store, &plan.overwritten)?;
        // What stays staged on the new tree.
        let permit = self.write_permit("switch")?;
        let mut transaction = self.transaction(&permit)?;
        if transaction.state.index != state.index || transaction.state.head != state.head {
            return Err(Error::HeadMoved { path: "HEAD".to_owned() });
        }
        if let (true, Head::Branch(name)) = (target.create, &target.head)
            && transaction.state.heads.contains_key(name)
        {
            return Err(Error::BranchExists { name: name.clone() });
        }
        let staging = self.staging(&store);
        let to = match index_tree {
            Some(editor) => write_tree(&store, &staging, tree, editor, &mut HashMap::new())?,
            None => tree,
        };
        let mut objects = staging.finish()?;
        if let Some((rescue, rescued)) = rescue {
            objects.absorb(rescued);
            transaction.set_rescue(rescue);
        }
        transaction.add_objects(objects);
        let quiet = plan.write.is_empty() && plan.remove.is_empty() && plan.chmod.is_empty();
        let finish = |transaction: &mut crate::repository::Transaction<'_>| {
            if let (true, Some(commit), Head::Branch(name)) = (target.create, target.commit, &target.head) {
                transaction.set_branch(name, Some(commit));
            }
            transaction.set_head(target.head.clone());
            transaction.set_index(index_at(target.commit, to));
        };
        if quiet {
            finish(&mut transaction);
            transaction.commit()?;
            return Ok(report_of(&plan, target.head.clone(), target.commit));
        }
        let pending = Pending { from: state.index.tree, to, commit: target.commit, head: target.head.clone() };
        transaction.set_index(Index { pending: Some(pending), ..state.index.clone() });
        let state = transaction.commit()?;
        drop(permit);
        let store = self.store(&state)?;
        let written = self.run_plan(&store, &plan, progress)?;
        let permit = self.write_permit("switch")?;
        let mut transaction = self.transaction(&permit)?;
        finish(&mut transaction);
        transaction.commit()?;
        drop(permit);
        if let Err(error) = self.remember_written(&store, to, &plan, &written) {
            tracing::debug!(%error, "the files written will be read once more");
        }
        Ok(report_of(&plan, target.head.clone(), target.commit))
    }

    /// Ends an interrupted checkout: forward to where it led, or back. What was edited since is left as it is.
    pub fn end_checkout(&self, forward: bool, progress: &dyn Progress) -> Result<CheckoutReport> {
        let _lock = self.worktree_lock()?;
        let state = self.state()?;
        let Some(pending) = state.index.pending.clone() else {
            return Err(Error::ValueInvalid {
                what: "switch",
                value: if forward { "--continue" } else { "--abort" }.to_owned(),
                reason: "no checkout was interrupted".to_owned(),
            });
        };
        let store = self.store(&state)?;
        let (from, to) = if forward { (pending.from, pending.to) } else { (pending.to, pending.from) };
        let dirty = self.differences(&store, to, &Scope::All)?;
        let before: BTreeMap<RepoPath, TreeChange> = walk::compare(&store, Some(from), Some(to))?
            .into_iter()
            .map(|change| (change.path.clone(), change))
            .collect();
        let mut plan = CheckoutPlan::default();
        for gathered in dirty {
            let Some(change) = before.get(&gathered.path) else {
                // A directory that is not there is reported by its own name: all that belongs in it is to be written.
                if gathered.node.is_none() {
                    let beneath = before.values().filter(|change| change.path.starts_with(&gathered.path));
                    for (path, entry) in beneath.filter_map(|change| Some((&change.path, change.new.as_ref()?))) {
                        if !matches!(entry.kind, EntryType::Unknown(_)) {
                            plan.bytes += entry.size;
                            plan.write.push(Item { path: path.clone(), node: Node::from(entry.clone()) });
                        }
                    }
                }
                continue;
            };
            // Only what still is as the other side left it: everything else was edited.
            if !same(gathered.node.as_ref(), change.old.as_ref()) && gathered.node.is_some() {
                continue;
            }
            match &change.new {
                Some(entry) if !matches!(entry.kind, EntryType::Unknown(_)) => {
                    plan.bytes += entry.size;
                    plan.write.push(Item { path: gathered.path, node: Node::from(entry.clone()) });
                }
                _ => plan.remove.push(gathered.path),
            }
        }
        self.run_plan(&store, &plan, progress)?;
        self.remove_temporaries();
        let permit = self.write_permit("switch")?;
        let mut transaction = self.transaction(&permit)?;
        if forward {
            if let (Head::Branch(name), Some(commit)) = (&pending.head, pending.commit) {
                // A branch to be made, or the current one on its way forwards, unless it moved meanwhile.
                let moves = match transaction.state.heads.get(name) {
                    None => true,
                    Some(at) => transaction.state.head == pending.head && Some(*at) == state.index.base,
                };
                if moves {
                    transaction.set_branch(name, Some(commit));
                }
            }
            transaction.set_head(pending.head.clone());
            transaction.set_index(index_at(pending.commit, pending.to));
        } else {
            transaction.set_index(Index { pending: None, ..state.index.clone() });
        }
        let after = transaction.commit()?;
        Ok(report_of(&plan, after.head.clone(), after.head_commit()))
    }

    /// Plans putting paths back as a tree has them. Reads the disk and changes nothing.
    ///
    /// # Errors
    /// Those of [`Repository::restore`].
    pub fn plan_restore(&self, paths: &[RepoPath], from: Option<CommitId>) -> Result<CheckoutPlan> {
        let state = self.state()?;
        Self::check_not_interrupted(&state)?;
        let store = self.store(&state)?;
        self.restoration(&state, &store, paths, from)
    }

    /// Puts paths back as a tree has them; what was there is saved first. The index stays, so that later edits, and the
    /// restored content itself where it differs from what is staged, are still reported.
    ///
    /// # Errors
    /// [`Error::PathNotFound`] for a path that neither that tree nor the index has.
    pub fn restore(
        &self,
        paths: &[RepoPath],
        from: Option<CommitId>,
        dry_run: bool,
        progress: &dyn Progress,
    ) -> Result<CheckoutReport> {
        let _lock = if dry_run { None } else { Some(self.worktree_lock()?) };
        let state = self.state()?;
        Self::check_not_interrupted(&state)?;
        let store = self.store(&state)?;
        let plan = self.restoration(&state, &store, paths, from)?;
        if dry_run {
            return Ok(report_of(&plan, state.head.clone(), state.head_commit()));
        }
        if let Some((rescue, objects)) = self.rescue(&store, &plan.overwritten)? {
            let permit = self.write_permit("restore")?;
            let mut transaction = self.transaction(&permit)?;
            transaction.add_objects(objects);
            transaction.set_rescue(rescue);
            transaction.commit()?;
        }
        self.run_plan(&store, &plan, progress)?;
        Ok(report_of(&plan, state.head.clone(), state.head_commit()))
    }

    fn restoration(
        &self,
        state: &State,
        store: &ObjectStore,
        paths: &[RepoPath],
        from: Option<CommitId>,
    ) -> Result<CheckoutPlan> {
        let tree = match from {
            Some(commit) => commit::read(store, commit)?.tree,
            None => state.index.tree,
        };
        for path in paths.iter().filter(|path| !path.is_root()) {
            let known =
                walk::find(store, tree, path)?.is_some() || walk::find(store, state.index.tree, path)?.is_some();
            if !known {
                return Err(Error::PathNotFound { path: path.to_string() });
            }
        }
        let scope = scope_of(paths);
        let mut plan = CheckoutPlan::default();
        for gathered in self.differences(store, tree, &scope)? {
            let wanted = walk::find(store, tree, &gathered.path)?;
            match wanted {
                Some(entry) if entry.tree().is_some() && entry.tree() != Some(Tree::empty_id()) => {
                    let directory = gathered.path.clone();
                    let tree = entry.tree().expect("checked just above");
                    walk::visit(store, tree, Some(&directory), &mut |path, entry| {
                        if entry.tree().is_none_or(|tree| tree == Tree::empty_id()) {
                            plan.bytes += entry.size;
                            plan.write.push(Item { path, node: Node::from(entry.clone()) });
                        }
                        Ok(())
                    })?;
                }
                Some(entry) => {
                    plan.bytes += entry.size;
                    plan.write.push(Item { path: gathered.path.clone(), node: Node::from(entry) });
                }
                // Files nobody tracks are nobody's to remove.
                None if walk::find(store, state.index.tree, &gathered.path)?.is_some() => {
                    plan.remove.push(gathered.path.clone());
                }
                None => continue,
            }
            if gathered.node.is_some() {
                plan.overwritten.push(gathered.path);
            }
        }
        plan.write.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(plan)
    }

    /// Makes the index have what a commit, or HEAD, has at some paths. The disk is not touched.
    pub fn unstage(&self, paths: &[RepoPath], from: Option<CommitId>) -> Result<u64> {
        let permit = self.write_permit("restore")?;
        let mut transaction = self.transaction(&permit)?;
        Self::check_not_interrupted(&transaction.state)?;
        let store = self.store(&transaction.state)?;
        let tree = match from {
            Some(commit) => commit::read(&store, commit)?.tree,
            None => head_tree(&store, &transaction.state)?,
        };
        let mut editor = TreeEditor::new();
        let mut index = transaction.state.index.clone();
        for path in paths {
            if path.is_root() {
                index.tree = tree;
                continue;
            }
            match walk::find(&store, tree, path)? {
                Some(entry) => editor.set(path, Node::from(entry)),
                None if walk::find(&store, index.tree, path)?.is_some() => editor.remove(path),
                None => return Err(Error::PathNotFound { path: path.to_string() }),
            }
        }
        let staging = self.staging(&store);
        let old = transaction.state.index.tree;
        index.tree = write_tree(&store, &staging, index.tree, editor, &mut HashMap::new())?;
        transaction.add_objects(staging.finish()?);
        transaction.set_index(index.clone());
        let after = transaction.commit()?;
        let store = self.store(&after)?;
        Ok(walk::compare(&store, Some(old), Some(index.tree))?.len() as u64)
    }

    /// Waits for the worktree to be nobody else's.
    pub(crate) fn worktree_lock(&self) -> Result<shard_storage::lock_file::Guard> {
        let lock = LockFile::open(&self.layout().locks, layout::WORKTREE_LOCK)?;
        let timeout = self.settings().queue_timeout;
        lock.lock(LockKind::Exclusive, timeout, |_| {})?.ok_or(Error::RepositoryBusy { holder: None, waited: timeout })
    }

    /// Lists what on disk differs from a tree, contents read. Untracked files count only where they are asked about.
    fn differences(&self, store: &ObjectStore, tree: TreeId, scope: &Scope) -> Result<Vec<Gathered>> {
        let cache = self.stat_cache();
        let scan = self.scan(store, &cache, tree, scope, false, false)?;
        Ok(self.gather(store, scan, Select::Everything(&|_: &Change| Ok(())), Discard, &Silent)?.changes)
    }

    /// Plans moving to `tree`. Returns what is staged and stays so, as edits to `tree`.
    fn plan(
        &self,
        state: &State,
        store: &ObjectStore,
        tree: &TreeId,
        obstacles: Obstacles,
    ) -> Result<(CheckoutPlan, Option<TreeEditor>)> {
        let head = head_tree(store, state)?;
        let changes = walk::compare(store, Some(head), Some(*tree))?;
        let paths: BTreeMap<&RepoPath, &TreeChange> = changes.iter().map(|change| (&change.path, change)).collect();
        let mut plan = CheckoutPlan::default();
        let mut blocked: BTreeMap<RepoPath, BlockedReason> = BTreeMap::new();
        let mut editor = TreeEditor::new();
        for staged in walk::compare(store, Some(head), Some(state.index.tree))? {
            match related(&paths, &staged.path) {
                None => match staged.new {
                    Some(entry) => editor.set(&staged.path, Node::from(entry)),
                    None => editor.remove(&staged.path),
                },
                // Staged as it is to be: it simply is no longer a change.
                Some(change) if change.path == staged.path && same_entry(change.new.as_ref(), staged.new.as_ref()) => {}
                Some(_) => {
                    blocked.insert(staged.path, BlockedReason::Modified);
                }
            }
        }
        let cache = self.stat_cache();
        let mut scan = self.scan(store, &cache, state.index.tree, &Scope::All, false, false)?;
        scan.changes.retain(|change| related(&paths, &change.path).is_some());
        let dirty = self.gather(store, scan, Select::Everything(&|_: &Change| Ok(())), Discard, &Silent)?;
        let mut on_disk: BTreeMap<&RepoPath, &Gathered> = BTreeMap::new();
        for gathered in &dirty.changes {
            on_disk.insert(&gathered.path, gathered);
            let exact = paths.get(&gathered.path);
            let as_wanted = exact.is_some_and(|change| same(gathered.node.as_ref(), change.new.as_ref()));
            // A file that is gone is in nobody's way.
            if gathered.node.is_none() || as_wanted {
                continue;
            }
            let reason = if gathered.base.is_some() { BlockedReason::Modified } else { BlockedReason::Untracked };
            blocked.insert(gathered.path.clone(), reason);
        }
        for change in &changes {
            if let Some(gathered) = on_disk.get(&change.path)
                && same(gathered.node.as_ref(), change.new.as_ref())
            {
                plan.kept += 1;
                continue;
            }
            match (&change.old, &change.new) {
                (_, Some(entry)) if matches!(entry.kind, EntryType::Unknown(_)) => {
                    plan.unsupported.push(change.path.clone());
                }
                (old, Some(entry)) => {
                    if old.is_none() && !blocked.contains_key(&change.path) && !on_disk.contains_key(&change.path) {
                        self.check_free(&change.path, entry, &changes, &mut blocked)?;
                    }
                    let only_mode = old
                        .as_ref()
                        .is_some_and(|old| old.content == entry.content && old.kind.is_file() && entry.kind.is_file());
                    if only_mode && !on_disk.contains_key(&change.path) {
                        plan.chmod.push((change.path.clone(), entry.kind == EntryType::Executable));
                        continue;
                    }
                    plan.bytes += entry.size;
                    plan.write.push(Item { path: change.path.clone(), node: Node::from(entry.clone()) });
                }
                (Some(old), None) if old.kind != EntryType::Directory => plan.remove.push(change.path.clone()),
                (_, None) => plan.remove.push(change.path.clone()),
            }
        }
        self.check_folding(store, *tree, &mut blocked)?;
        if obstacles == Obstacles::Discard {
            let (stop, over): (Vec<_>, Vec<_>) = blocked
                .into_iter()
                .partition(|(_, reason)| matches!(reason, BlockedReason::Collision | BlockedReason::Unsafe));
            plan.overwritten = over.into_iter().map(|(path, _)| path).collect();
            blocked = stop.into_iter().collect();
            // Staged changes in the way go too.
            for path in &plan.overwritten {
                if let Some(entry) = walk::find(store, *tree, path)? {
                    let planned = plan.write.iter().any(|item| item.path == *path);
                    if !planned && entry.tree().is_none() {
                        plan.bytes += entry.size;
                        plan.write.push(Item { path: path.clone(), node: Node::from(entry) });
                    }
                }
            }
            plan.write.sort_by(|a, b| a.path.cmp(&b.path));
        }
        plan.blocked = blocked.into_iter().map(|(path, reason)| Blocked { path: path.to_string(), reason }).collect();
        Ok((plan, Some(editor).filter(|editor| !editor.is_empty())))
    }

    /// A path that is not tracked and is to be written must be free: what is ignored there is still somebody's.
    fn check_free(
        &self,
        path: &RepoPath,
        entry: &crate::tree::TreeEntry,
        changes: &[TreeChange],
        blocked: &mut BTreeMap<RepoPath, BlockedReason>,
    ) -> Result<()> {
        let Ok(Some(disk)) = self.layout().worktree.metadata_optional(path.as_str()) else { return Ok(()) };
        // A tracked directory gives way to the file that replaces it.
        if disk.kind == FileKind::Directory {
            let replaced = changes.iter().any(|change| change.path.starts_with(path) && change.path != *path);
            if entry.kind == EntryType::Directory || replaced {
                return Ok(());
            }
        }
        let job = crate::object::ingest::IngestJob { path: path.clone(), size: disk.size, recorded: None };
        let read =
            crate::object::ingest::ingest(&self.layout().worktree, &[job], self.ingest_options(), Discard, &Silent)?;
        let same = matches!(&read[..], [crate::object::ingest::IngestOutcome::Stored(node, _)] if same(Some(node), Some(entry)));
        if !same {
            blocked.insert(path.clone(), BlockedReason::Untracked);
        }
        Ok(())
    }

    /// On a file system that takes some different names for one, the second of two is not written.
    fn check_folding(
        &self,
        store: &ObjectStore,
        tree: TreeId,
        blocked: &mut BTreeMap<RepoPath, BlockedReason>,
    ) -> Result<()> {
        let worktree = &self.layout().worktree;
        let folds = matches!(
            (worktree.metadata_optional(".SHARD"), worktree.metadata(layout::SHARD)),
            (Ok(Some(folded)), Ok(own)) if (folded.inode, folded.device) == (own.inode, own.device)
        );
        if !folds {
            return Ok(());
        }
        let mut names: HashMap<String, RepoPath> = HashMap::new();
        walk::visit(store, tree, None, &mut |path, _| {
            let folded = path.components().map(crate::repo_path::fold_key).collect::<Vec<_>>().join("/");
            if names.get(&folded).is_some_and(|first| *first != path) {
                blocked.insert(path, BlockedReason::Collision);
            } else {
                names.insert(folded, path);
            }
            Ok(())
        })
    }

    /// Saves what is about to be overwritten as a tree of its own.
    fn rescue(
        &self,
        store: &ObjectStore,
        paths: &[RepoPath],
    ) -> Result<Option<(TreeId, crate::object::StagedObjects)>> {
        if paths.is_empty() {
            return Ok(None);
        }
        let staging = self.staging(store);
        let scope = Scope::Paths(paths.to_vec());
        let scan = self.scan(store, &StatCache::default(), Tree::empty_id(), &scope, true, false)?;
        let gathering = self.gather(store, scan, Select::Everything(&|_: &Change| Ok(())), &staging, &Silent)?;
        let editor = super::gather::edits(&gathering.changes);
        let tree = write_tree(store, &staging, Tree::empty_id(), editor, &mut HashMap::new())?;
        Ok(Some((tree, staging.finish()?)))
    }

    /// Carries a plan out. Returns what `lstat` said of each file just after it was written.
    fn run_plan(
        &self,
        store: &ObjectStore,
        plan: &CheckoutPlan,
        progress: &dyn Progress,
    ) -> Result<Vec<(usize, Metadata)>> {
        let worktree = &self.layout().worktree;
        // Removals first, deepest first: a file may give way to a directory, and a directory to a file.
        for path in plan.remove.iter().rev() {
            remove_with_parents(worktree, path);
        }
        for path in plan.write.iter().filter(|item| item.node.kind != EntryType::Directory).map(|item| &item.path) {
            clear_way(worktree, path)?;
        }
        for (path, executable) in &plan.chmod {
            let mode = worktree.metadata(path.as_str())?.mode;
            // Whoever may read may execute.
            let mode = if *executable { mode | (mode & 0o444) >> 2 } else { mode & !0o111 };
            worktree.set_mode(path.as_str(), mode)?;
        }
        let materializer = Materializer {
            store,
            root: worktree,
            temporaries: Some(&self.layout().tmp),
            threads: self.settings().threads,
            durability: Durability::Synced,
            progress,
        };
        if !plan.write.is_empty() {
            return materializer.run(&plan.write);
        }
        if !plan.remove.is_empty() || !plan.chmod.is_empty() {
            worktree.sync().map_err(crate::repository::sync_failure)?;
        }
        Ok(Vec::new())
    }

    /// Tells the stat cache what the files just written hold, where nobody has touched them since.
    fn remember_written(
        &self,
        store: &ObjectStore,
        tree: TreeId,
        plan: &CheckoutPlan,
        written: &[(usize, Metadata)],
    ) -> Result<()> {
        let cache = self.stat_cache();
        let mut scan = self.scan(store, &cache, tree, &Scope::All, false, false)?;
        let written: HashMap<&RepoPath, (&Item, &Metadata)> =
            written.iter().map(|(at, metadata)| (&plan.write[*at].path, (&plan.write[*at], metadata))).collect();
        let mut confirmed = Vec::new();
        for change in std::mem::take(&mut scan.changes) {
            let Some((item, then)) = written.get(&change.path) else { continue };
            if change.disk.as_ref() == Some(then) && same(Some(&item.node), change.base.as_ref()) {
                let Change { path, disk, base, .. } = change;
                confirmed.push(Gathered { path, node: Some(item.node.clone()), disk, base });
            }
        }
        let gathering = Gathering { scan, changes: Vec::new(), confirmed, skipped: Vec::new(), bytes: 0 };
        self.remember(&cache, &gathering, &HashMap::new(), false, &Scope::All);
        Ok(())
    }

    fn remove_temporaries(&self) {
        let tmp = &self.layout().tmp;
        for entry in tmp.list().unwrap_or_default() {
            if entry.name.to_string_lossy().starts_with(crate::repo_path::TEMPORARY_PREFIX) {
                let _ = tmp.unlink(&entry.name);
            }
        }
    }
}

fn tree_of(store: &ObjectStore, commit: Option<CommitId>) -> Result<TreeId> {
    match commit {
        Some(commit) => Ok(commit::read(store, commit)?.tree),
        None => Ok(Tree::empty_id()),
    }
}

fn same(node: Option<&Node>, entry: Option<&crate::tree::TreeEntry>) -> bool {
    match (node, entry) {
        (None, None) => true,
        (Some(node), Some(entry)) => {
            node.kind == entry.kind && node.size == entry.size && node.content == entry.content
        }
        _ => false,
    }
}

fn same_entry(a: Option<&crate::tree::TreeEntry>, b: Option<&crate::tree::TreeEntry>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.same_content(b),
        (None, None) => true,
        _ => false,
    }
}

/// Finds a change at a path, above it or beneath it.
fn related<'c>(paths: &BTreeMap<&RepoPath, &'c TreeChange>, path: &RepoPath) -> Option<&'c TreeChange> {
    if let Some(change) = paths.get(path) {
        return Some(change);
    }
    let mut above = path.parent();
    while let Some(parent) = above {
        if let Some(change) = paths.get(&parent) {
            return Some(change);
        }
        above = parent.parent();
    }
    let (next, change) = paths.range::<RepoPath, _>(path..).next()?;
    next.starts_with(path).then_some(*change)
}

/// Removes a file or link, or a directory that is empty, and the directories above that this leaves empty. What is not
/// there, or not empty, stays.
pub(super) fn remove_with_parents(worktree: &Dir, path: &RepoPath) {
    if worktree.unlink(path.as_str()).is_err() {
        let _ = worktree.remove_dir(path.as_str());
    }
    let mut parent = path.parent();
    while let Some(directory) = parent.filter(|directory| !directory.is_root()) {
        if worktree.remove_dir(directory.as_str()).is_err() {
            return;
        }
        parent = directory.parent();
    }
}

/// Removes what a file cannot be renamed over: an empty directory in its place, or a file where a directory must be.
fn clear_way(worktree: &Dir, path: &RepoPath) -> Result<()> {
    let kind = |path: &RepoPath| -> Result<Option<Metadata>> { Ok(worktree.metadata_optional(path.as_str())?) };
    let mut above = path.parent();
    let mut chain = Vec::new();
    while let Some(parent) = above.filter(|parent| !parent.is_root()) {
        above = parent.parent();
        chain.push(parent);
    }
    for parent in chain.iter().rev() {
        match kind(parent)? {
            Some(metadata) if metadata.kind != FileKind::Directory => {
                worktree.unlink(parent.as_str())?;
                break;
            }
            Some(_) => {}
            None => break,
        }
    }
    if kind(path)?.is_some_and(|metadata| metadata.kind == FileKind::Directory) {
        remove_tree(worktree, path)?;
    }
    Ok(())
}

/// Removes a directory of our own making, as far as that goes.
pub(super) fn remove_directory(parent: &Dir, name: &std::path::Path) {
    if let Ok(dir) = parent.open_dir(name) {
        for entry in dir.list().unwrap_or_default() {
            match entry.kind {
                FileKind::Directory => remove_directory(&dir, std::path::Path::new(&entry.name)),
                _ => drop(dir.unlink(&entry.name)),
            }
        }
    }
    let _ = parent.remove_dir(name);
}

/// Removes a directory and all in it: what mattered in it was saved or is tracked elsewhere.
fn remove_tree(worktree: &Dir, path: &RepoPath) -> Result<()> {
    let dir = worktree.open_dir(path.as_str())?;
    for entry in dir.list()? {
        match entry.kind {
            FileKind::Directory => {
                let name = entry.name.to_str().map(|name| path.join(name));
                match name {
                    Some(Ok(below)) => remove_tree(worktree, &below)?,
                    _ => continue,
                }
            }
            _ => dir.unlink(&entry.name)?,
        }
    }
    worktree.remove_dir(path.as_str())?;
    Ok(())
}

fn report_of(plan: &CheckoutPlan, head: Head, commit: Option<CommitId>) -> CheckoutReport {
    CheckoutReport {
        head,
        commit,
        written: (plan.write.len() + plan.chmod.len()) as u64,
        removed: plan.remove.len() as u64,
        kept: plan.kept,
        rescued: plan.overwritten.clone(),
        unsupported: plan.unsupported.clone(),
        bytes: plan.bytes,
    }
}
