//! Checkout: moving the worktree from one tree to another, planned first.
//!
//! A plan says what would be written and removed, and what stands in the way; anything in the way stops everything. Where
//! it runs, the index says so first, so that whoever comes after a crash knows; it bars commits until it is continued or
//! aborted.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use shard_storage::lock_file::{LockFile, LockKind};
use shard_storage::vfs::{Dir, FileKind, Metadata};

use super::folding::Folding;
use super::gather::{Gathered, Gathering, Select, write_tree};
use super::index::{Index, Pending};
use super::materialize::{Durability, Item, Materializer};
use super::obstruction::{Ground, untouched};
use super::scan::{Change, Scope};
use super::stage::{head_tree, index_at, scope_of};
use super::stat_cache::StatCache;
use crate::error::{Blocked, BlockedReason};
use crate::history::commit;
use crate::history::dag::Dag;
use crate::history::refs::Head;
use crate::ids::{CommitId, TreeId};
use crate::object::ingest::{IngestJob, IngestOutcome, ingest};
use crate::object::{Discard, ObjectStore};
use crate::progress::{Progress, Silent};
use crate::repository::{Repository, State, layout};
use crate::tree::editor::{Node, TreeEditor};
use crate::tree::walk::{self, TreeChange};
use crate::tree::{EntryType, Tree, TreeEntry};
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
    /// What stood where something is to be written or removed when that was decided.
    expected: Vec<(RepoPath, Option<Metadata>)>,
}

impl CheckoutPlan {
    fn write(&mut self, path: RepoPath, entry: &TreeEntry) {
        if !matches!(entry.kind, EntryType::Unknown(_)) {
            self.write.push(Item { path, node: Node::from(entry.clone()) });
        }
    }

    /// Puts everything in order, each path once, and counts what is to be written.
    fn arrange(&mut self) {
        self.write.sort_by(|a, b| a.path.cmp(&b.path));
        self.write.dedup_by(|a, b| a.path == b.path);
        self.bytes = self.write.iter().fold(0, |bytes, item| bytes.saturating_add(item.node.size));
        self.overwritten.sort();
        self.overwritten.dedup();
        self.remove.sort();
        self.remove.dedup();
    }
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
    /// The branch is to be made at that commit, or, where HEAD stands on it, moved forwards to it.
    pub create: bool,
}

/// Up to so many directories that lost names are synced one by one; beyond, the file system as a whole.
const SYNC_EACH_DIRECTORIES: usize = 256;

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
        let _lock = self.worktree_lock(LockKind::Exclusive)?;
        let state = self.state()?;
        Self::check_not_interrupted(&state)?;
        let store = self.store(&state)?;
        let tree = tree_of(&store, target.commit)?;
        let (mut plan, index_tree) = self.plan(&state, &store, &tree, obstacles)?;
        if !plan.blocked.is_empty() {
            return Err(Error::WorktreeDirty { blocked: plan.blocked });
        }
        let rescue = self.rescue(&store, &mut plan)?;
        // What stays staged on the new tree.
        let permit = self.write_permit("switch")?;
        let mut transaction = self.transaction(&permit)?;
        if transaction.state.index != state.index || transaction.state.head != state.head {
            return Err(Error::HeadMoved { path: "HEAD".to_owned() });
        }
        check_branch(&store, &transaction.state, target)?;
        // Waiting for the permit may have taken long.
        self.check_untouched(&plan)?;
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
        let _lock = self.worktree_lock(LockKind::Exclusive)?;
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
        let plan = self.plan_end(&store, from, to)?;
        self.check_untouched(&plan)?;
        self.run_plan(&store, &plan, progress)?;
        // What the interrupted one wrote was not synced, and is not written again.
        self.layout().worktree.sync_filesystem().map_err(crate::repository::sync_failure)?;
        let permit = self.write_permit("switch")?;
        let mut transaction = self.transaction(&permit)?;
        // Nobody writes but us, and what records wait for has just been put in place: what is left is left over.
        self.remove_temporaries();
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

    /// Plans what is left of a checkout: whatever still is as the other side has it.
    fn plan_end(&self, store: &ObjectStore, from: TreeId, to: TreeId) -> Result<CheckoutPlan> {
        let changes = walk::compare(store, Some(from), Some(to))?;
        let by_path: BTreeMap<&RepoPath, &TreeChange> = changes.iter().map(|change| (&change.path, change)).collect();
        // By name, so that what is ignored is looked at too.
        let scope = Scope::Paths(changes.iter().map(|change| change.path.clone()).collect());
        let dirty = self.differences(store, to, &scope, true)?;
        let dirty: BTreeMap<&RepoPath, &Gathered> = dirty.iter().map(|gathered| (&gathered.path, gathered)).collect();
        let mut plan = CheckoutPlan::default();
        let mut ground = Ground::new(&self.layout().worktree);
        // What was edited stays, and what would have to stand beneath it stays away.
        let mut edited: BTreeSet<&RepoPath> = BTreeSet::new();
        for change in &changes {
            let above = || std::iter::successors(change.path.parent(), RepoPath::parent);
            let standing = match dirty.get(&change.path) {
                Some(gathered) => gathered.node.as_ref(),
                None => match above().find_map(|parent| dirty.get_key_value(&parent)) {
                    // Nothing stands beneath what is no directory; if that was put there since, nothing is to.
                    Some((parent, gathered)) if gathered.node.is_some() && !by_path.contains_key(*parent) => continue,
                    Some(_) => None,
                    // Gone as it is to be: directories that were made for it may stand.
                    None if change.new.is_none() && ground.at(&change.path)?.is_none() => None,
                    // As it is to be already, or it cannot be read.
                    None => continue,
                },
            };
            // An empty directory may be the checkout's own, and holds nothing in any case.
            let is_old = |node: &&Node| same(Some(node), change.old.as_ref());
            let standing = standing.filter(|node| node.kind != EntryType::Directory || is_old(node));
            if standing.is_some_and(|node| !is_old(&node)) {
                edited.insert(&change.path);
                continue;
            }
            if above().any(|above| edited.contains(&above)) {
                continue;
            }
            match &change.new {
                Some(entry) => plan.write(change.path.clone(), entry),
                None => {
                    plan.remove.push(change.path.clone());
                    // Directories above go with the last they held, and one may have to stand, empty.
                    for above in above() {
                        let new = by_path.get(&above).and_then(|change| change.new.as_ref());
                        if let Some(directory) = new.filter(|new| new.tree().is_some()) {
                            plan.write(above, directory);
                        }
                    }
                }
            }
            let disk = dirty.get(&change.path).and_then(|gathered| gathered.disk);
            plan.expected.push((change.path.clone(), disk));
        }
        let remove: BTreeSet<RepoPath> = plan.remove.iter().cloned().collect();
        for item in std::mem::take(&mut plan.write) {
            let above = ground.above(&item.path)?;
            let within = if item.node.kind == EntryType::Directory { Vec::new() } else { ground.within(&item.path)? };
            let mut standing = above.into_iter().chain(within.into_iter().map(|(path, _)| path));
            if standing.all(|path| remove.contains(&path)) {
                plan.write.push(item);
            }
        }
        plan.arrange();
        Ok(plan)
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
    /// [`Error::PathNotFound`] for a path that neither that tree nor the index has, [`Error::WorktreeDirty`] naming what
    /// cannot be saved.
    pub fn restore(
        &self,
        paths: &[RepoPath],
        from: Option<CommitId>,
        dry_run: bool,
        progress: &dyn Progress,
    ) -> Result<CheckoutReport> {
        let _lock = if dry_run { None } else { Some(self.worktree_lock(LockKind::Exclusive)?) };
        let state = self.state()?;
        Self::check_not_interrupted(&state)?;
        let store = self.store(&state)?;
        let mut plan = self.restoration(&state, &store, paths, from)?;
        if !plan.blocked.is_empty() {
            return Err(Error::WorktreeDirty { blocked: plan.blocked });
        }
        if dry_run {
            return Ok(report_of(&plan, state.head.clone(), state.head_commit()));
        }
        if let Some((rescue, objects)) = self.rescue(&store, &mut plan)? {
            let permit = self.write_permit("restore")?;
            let mut transaction = self.transaction(&permit)?;
            transaction.add_objects(objects);
            transaction.set_rescue(rescue);
            transaction.commit()?;
        }
        self.check_untouched(&plan)?;
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
        for gathered in self.differences(store, tree, &scope, false)? {
            match walk::find(store, tree, &gathered.path)? {
                Some(entry) if entry.tree().is_some_and(|tree| tree != Tree::empty_id()) => {
                    if gathered.node.as_ref().is_some_and(|node| node.kind == EntryType::Directory) {
                        // Empty: what it lacks is listed by itself.
                        continue;
                    }
                    plan_beneath(store, &gathered.path, &entry, &mut plan)?;
                }
                Some(entry) => plan.write(gathered.path.clone(), &entry),
                // Files nobody tracks are nobody's to remove.
                None if walk::find(store, state.index.tree, &gathered.path)?.is_some() => {
                    plan.remove.push(gathered.path.clone());
                }
                None => continue,
            }
            if gathered.node.is_some_and(|node| node.kind != EntryType::Directory) {
                plan.overwritten.push(gathered.path);
            }
        }
        // What stands in the way is saved too, tracked or not.
        let mut ground = Ground::new(&self.layout().worktree);
        let mut blocked = BTreeMap::new();
        let mut folding = Folding::of(self.layout(), plan.write.iter().map(|item| &item.path));
        let mut written: BTreeSet<RepoPath> = BTreeSet::new();
        for item in plan.write.iter().filter(|_| folding.folds()) {
            // The directories above too, of which one may have to stand for two.
            let above = std::iter::successors(Some(item.path.clone()), RepoPath::parent);
            written.extend(above.filter(|path| !path.is_root()));
        }
        blocked.extend(folding.collisions(written).into_iter().map(|path| (path, BlockedReason::Collision)));
        let standing: BTreeSet<RepoPath> = plan.overwritten.iter().cloned().collect();
        for item in &plan.write {
            let is_new = item.node.kind != EntryType::Directory && !standing.contains(&item.path);
            if folding.folds() && is_new && ground.at(&item.path)?.is_some() {
                // It stands there under another name, and is not what was asked for.
                blocked.insert(item.path.clone(), BlockedReason::Collision);
            }
            plan.overwritten.extend(ground.above(&item.path)?);
            if item.node.kind != EntryType::Directory {
                for (path, reason) in ground.within(&item.path)? {
                    match reason {
                        BlockedReason::Untracked => plan.overwritten.push(path),
                        _ => drop(blocked.insert(path, reason)),
                    }
                }
            }
        }
        plan.blocked = listed(blocked);
        plan.arrange();
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

    /// Waits for nobody to move files of the worktree, or, [exclusively](LockKind::Exclusive), to look at them either.
    pub(crate) fn worktree_lock(&self, kind: LockKind) -> Result<shard_storage::lock_file::Guard> {
        let lock = LockFile::open(&self.layout().locks, layout::WORKTREE_LOCK)?;
        let timeout = self.settings().queue_timeout;
        lock.lock(kind, timeout, |_| {})?.ok_or(Error::RepositoryBusy { holder: None, waited: timeout })
    }

    /// Lists what on disk differs from a tree, contents read. Untracked files count only where they are asked about.
    fn differences(
        &self,
        store: &ObjectStore,
        tree: TreeId,
        scope: &Scope,
        include_ignored: bool,
    ) -> Result<Vec<Gathered>> {
        let cache = self.stat_cache();
        let scan = self.scan(store, &cache, tree, scope, include_ignored, false)?;
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
        // What HEAD has and the index has not is nobody's but the user's, if it is on disk at all.
        let mut forgotten: BTreeSet<RepoPath> = BTreeSet::new();
        for staged in walk::compare(store, Some(head), Some(state.index.tree))? {
            if staged.new.is_none() {
                forgotten.insert(staged.path.clone());
            }
            match related(&paths, &staged.path) {
                None => editor.put(&staged.path, staged.new.map(Node::from)),
                // Staged as it is to be: it simply is no longer a change.
                Some(change) if change.path == staged.path && same_entry(change.new.as_ref(), staged.new.as_ref()) => {}
                Some(_) => {
                    blocked.insert(staged.path, BlockedReason::Modified);
                }
            }
        }
        let tracked = |change: &TreeChange| change.old.is_some() && !forgotten.contains(&change.path);
        let cache = self.stat_cache();
        let mut scan = self.scan(store, &cache, state.index.tree, &Scope::All, false, false)?;
        scan.changes.retain(|change| related(&paths, &change.path).is_some());
        let dirty = self.gather(store, scan, Select::Everything(&|_: &Change| Ok(())), Discard, &Silent)?;
        let mut on_disk: BTreeMap<&RepoPath, &Gathered> = BTreeMap::new();
        for gathered in &dirty.changes {
            on_disk.insert(&gathered.path, gathered);
            let exact = paths.get(&gathered.path);
            let as_wanted = exact.is_some_and(|change| same(gathered.node.as_ref(), change.new.as_ref()));
            let left_alone = exact.is_some_and(|change| change.new.is_none() && !tracked(change));
            // A file that is gone is in nobody's way, and neither is an empty directory.
            let holds = gathered.node.as_ref().is_some_and(|node| node.kind != EntryType::Directory);
            if !holds || as_wanted || left_alone {
                continue;
            }
            let reason = if gathered.base.is_some() { BlockedReason::Modified } else { BlockedReason::Untracked };
            blocked.insert(gathered.path.clone(), reason);
        }
        for skipped in &dirty.skipped {
            // Nobody knows what it is, so it cannot be saved either.
            if let Ok(path) = RepoPath::parse(&skipped.path)
                && related(&paths, &path).is_some()
            {
                blocked.insert(path, BlockedReason::Unsafe);
            }
        }
        let seen = dirty.disk();
        let mut ground = Ground::new(&self.layout().worktree);
        let mut folding = Folding::of(self.layout(), changes.iter().map(|change| &change.path));
        let leaving: Vec<&RepoPath> = changes
            .iter()
            .filter(|change| folding.folds() && change.new.is_none() && tracked(change))
            .map(|change| &change.path)
            .collect();
        // A file that is tracked and leaves, or gives way to a directory, is in nobody's way.
        let leaves = |path: &RepoPath| {
            paths.get(path).is_some_and(|change| {
                tracked(change) && change.new.as_ref().is_none_or(|entry| entry.kind == EntryType::Directory)
            })
        };
        for change in &changes {
            let path = &change.path;
            if let Some(gathered) = on_disk.get(path)
                && same(gathered.node.as_ref(), change.new.as_ref())
            {
                plan.kept += 1;
                continue;
            }
            let disk = seen.get(path.as_str()).copied();
            let Some(entry) = &change.new else {
                if tracked(change) {
                    plan.remove.push(path.clone());
                    plan.expected.push((path.clone(), disk));
                }
                continue;
            };
            if matches!(entry.kind, EntryType::Unknown(_)) {
                plan.unsupported.push(path.clone());
                continue;
            }
            if let Some(above) = ground.above(path)?.filter(|above| !leaves(above)) {
                blocked.entry(above).or_insert(BlockedReason::Untracked);
            }
            if entry.kind != EntryType::Directory && disk.is_none() {
                for (occupant, reason) in ground.within(path)?.into_iter().filter(|(path, _)| !leaves(path)) {
                    let known = blocked.entry(occupant).or_insert(reason);
                    *known = if reason == BlockedReason::Unsafe { reason } else { *known };
                }
            }
            let alias = if folding.folds() && disk.is_none() && entry.kind != EntryType::Directory {
                ground.at(path)?.filter(|found| found.kind != FileKind::Directory)
            } else {
                None
            };
            if alias.is_some() {
                // It stands there under another name, which leaves or is somebody's.
                if !leaving.iter().any(|left| folding.same(left, path)) {
                    blocked.entry(path.clone()).or_insert(BlockedReason::Untracked);
                }
            } else if !tracked(change) && !blocked.contains_key(path) && !on_disk.contains_key(path) {
                match self.check_free(&ground, path, entry)? {
                    Free::Nothing => {}
                    Free::Same => {
                        plan.kept += 1;
                        continue;
                    }
                    Free::Taken(reason) => drop(blocked.insert(path.clone(), reason)),
                }
            }
            plan.expected.push((path.clone(), disk.or(alias)));
            let only_mode = tracked(change)
                && change
                    .old
                    .as_ref()
                    .is_some_and(|old| old.content == entry.content && old.kind.is_file() && entry.kind.is_file());
            if only_mode && !on_disk.contains_key(path) {
                plan.chmod.push((path.clone(), entry.kind == EntryType::Executable));
                continue;
            }
            if entry.kind == EntryType::Directory && tracked(change) {
                // The file that was there gives way.
                plan.remove.push(path.clone());
            }
            plan.write(path.clone(), entry);
        }
        if folding.folds() {
            let mut all = Vec::new();
            walk::visit(store, *tree, None, &mut |path, _| {
                all.push(path);
                Ok(())
            })?;
            // The second of two is not written.
            blocked.extend(folding.collisions(all).into_iter().map(|path| (path, BlockedReason::Collision)));
        }
        if obstacles == Obstacles::Discard {
            let (stop, over): (BTreeMap<_, _>, BTreeMap<_, _>) = blocked
                .into_iter()
                .partition(|(_, reason)| matches!(reason, BlockedReason::Collision | BlockedReason::Unsafe));
            blocked = stop;
            // Staged changes in the way go too.
            for path in over.keys() {
                match walk::find(store, *tree, path)? {
                    Some(entry) if entry.tree().is_some_and(|tree| tree != Tree::empty_id()) => {
                        plan_beneath(store, path, &entry, &mut plan)?;
                    }
                    Some(entry) => plan.write(path.clone(), &entry),
                    None => {}
                }
            }
            plan.expected.retain(|(path, _)| !over.contains_key(path));
            plan.overwritten = over.into_keys().collect();
        }
        plan.arrange();
        plan.blocked = listed(blocked);
        Ok((plan, Some(editor).filter(|editor| !editor.is_empty())))
    }

    /// A path that is not tracked and is to be written must be free: what is ignored there is still somebody's.
    fn check_free(&self, ground: &Ground<'_>, path: &RepoPath, entry: &TreeEntry) -> Result<Free> {
        let Some(disk) = ground.at(path)? else { return Ok(Free::Nothing) };
        match disk.kind {
            // What a directory holds was looked at by itself.
            FileKind::Directory => return Ok(Free::Nothing),
            FileKind::Other => return Ok(Free::Taken(BlockedReason::Unsafe)),
            FileKind::Symlink => return Ok(Free::Taken(BlockedReason::Untracked)),
            FileKind::File => {}
        }
        let job = IngestJob { path: path.clone(), size: disk.size, recorded: None };
        let read = ingest(&self.layout().worktree, &[job], self.ingest_options(), Discard, &Silent)?;
        Ok(match &read[..] {
            [IngestOutcome::Stored(node, _)] if same(Some(node), Some(entry)) => Free::Same,
            [IngestOutcome::Stored(..)] => Free::Taken(BlockedReason::Untracked),
            _ => Free::Taken(BlockedReason::Unsafe),
        })
    }

    /// Refuses to go on where a file was touched since the plan was made.
    fn check_untouched(&self, plan: &CheckoutPlan) -> Result<()> {
        let ground = Ground::new(&self.layout().worktree);
        let mut blocked = BTreeMap::new();
        for (path, before) in &plan.expected {
            let now = ground.at(path)?;
            let same = match (&before, &now) {
                (Some(before), Some(now)) => untouched(before, now),
                // What went is in nobody's way, and what a directory holds is looked at by itself.
                (_, None) => true,
                (None, Some(now)) => now.kind == FileKind::Directory,
            };
            if !same {
                blocked.insert(path.clone(), BlockedReason::Modified);
            }
        }
        if blocked.is_empty() { Ok(()) } else { Err(Error::WorktreeDirty { blocked: listed(blocked) }) }
    }

    /// Saves what is about to be overwritten as a tree of its own, and plans to remove what nothing is renamed over.
    ///
    /// # Errors
    /// [`Error::WorktreeDirty`] naming what cannot be read, and so not be saved.
    fn rescue(
        &self,
        store: &ObjectStore,
        plan: &mut CheckoutPlan,
    ) -> Result<Option<(TreeId, crate::object::StagedObjects)>> {
        if plan.overwritten.is_empty() {
            return Ok(None);
        }
        let staging = self.staging(store);
        let scope = Scope::Paths(plan.overwritten.clone());
        let scan = self.scan(store, &StatCache::default(), Tree::empty_id(), &scope, true, false)?;
        let gathering = self.gather(store, scan, Select::Everything(&|_: &Change| Ok(())), &staging, &Silent)?;
        if !gathering.skipped.is_empty() {
            let unsaved =
                |skipped: &super::Skipped| Blocked { path: skipped.path.clone(), reason: BlockedReason::Unsafe };
            return Err(Error::WorktreeDirty { blocked: gathering.skipped.iter().map(unsaved).collect() });
        }
        for saved in &gathering.changes {
            plan.expected.push((saved.path.clone(), saved.disk));
            if plan.write.binary_search_by(|item| item.path.cmp(&saved.path)).is_err() {
                plan.remove.push(saved.path.clone());
            }
        }
        plan.arrange();
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
            remove_file(worktree, path)?;
        }
        for path in plan.write.iter().filter(|item| item.node.kind != EntryType::Directory).map(|item| &item.path) {
            if worktree.metadata_optional(path.as_str())?.is_some_and(|metadata| metadata.kind == FileKind::Directory) {
                remove_hollow(worktree, path)?;
            }
        }
        for (path, executable) in &plan.chmod {
            let mode = worktree.metadata(path.as_str())?.mode;
            // Whoever may read may execute.
            let mode = if *executable { mode | (mode & 0o444) >> 2 } else { mode & !0o111 };
            worktree.set_mode(path.as_str(), mode)?;
        }
        // Where files went, and where only modes changed, nothing is synced by writing. Content is, whatever follows: no
        // name may stand for a torn file.
        let left: BTreeSet<RepoPath> = plan.remove.iter().filter_map(RepoPath::parent).collect();
        let whole = !plan.chmod.is_empty() || left.len() > SYNC_EACH_DIRECTORIES;
        let materializer = Materializer {
            store,
            root: worktree,
            temporaries: Some(&self.layout().tmp),
            threads: self.settings().threads,
            durability: Durability::Synced,
            progress,
        };
        let written = if plan.write.is_empty() { Vec::new() } else { materializer.run(&plan.write)? };
        if whole {
            worktree.sync_filesystem().map_err(crate::repository::sync_failure)?;
            return Ok(written);
        }
        if !plan.remove.is_empty() {
            sync_directories(worktree, left)?;
        }
        Ok(written)
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
            if change.disk.as_ref().is_some_and(|disk| untouched(disk, then))
                && same(Some(&item.node), change.base.as_ref())
            {
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

/// Makes the loss of names durable: each directory that lost one is synced, or where it went too, the next above; the
/// root in any case. Many cost one sync of the file system.
pub(super) fn sync_directories(worktree: &Dir, lost_names: BTreeSet<RepoPath>) -> Result<()> {
    let failed = crate::repository::sync_failure;
    if lost_names.len() > SYNC_EACH_DIRECTORIES {
        return worktree.sync_filesystem().map_err(failed);
    }
    for directory in lost_names {
        let mut standing = Some(directory);
        while let Some(directory) = standing.filter(|directory| !directory.is_root()) {
            match worktree.open_dir(directory.as_str()) {
                Ok(dir) => {
                    dir.sync().map_err(failed)?;
                    break;
                }
                // It went with what it held: the one above lost a name.
                Err(error) if error.is_not_found() => standing = directory.parent(),
                Err(error) => return Err(error.into()),
            }
        }
    }
    worktree.sync().map_err(failed)
}

/// Removes a file or link, or a directory that is empty, and the directories above that this leaves empty. What is not
/// there, or not empty, stays.
pub(super) fn remove_file(worktree: &Dir, path: &RepoPath) -> Result<()> {
    match worktree.unlink(path.as_str()) {
        Err(error) if error.is_not_found() => {}
        Err(error) => {
            let is_directory = |metadata: Metadata| metadata.kind == FileKind::Directory;
            if !worktree.metadata_optional(path.as_str())?.is_some_and(is_directory) {
                return Err(error.into());
            }
            let _ = worktree.remove_dir(path.as_str());
        }
        Ok(()) => {}
    }
    let mut parent = path.parent();
    while let Some(directory) = parent.filter(|directory| !directory.is_root()) {
        if worktree.remove_dir(directory.as_str()).is_err() {
            break;
        }
        parent = directory.parent();
    }
    Ok(())
}

/// Removes a directory that holds nothing but directories.
fn remove_hollow(worktree: &Dir, path: &RepoPath) -> Result<()> {
    for entry in worktree.open_dir(path.as_str())?.list()? {
        if entry.kind == FileKind::Directory
            && let Some(Ok(below)) = entry.name.to_str().map(|name| path.join(name))
        {
            remove_hollow(worktree, &below)?;
        }
    }
    Ok(worktree.remove_dir(path.as_str())?)
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

/// What stands where something that is not tracked is to be written.
enum Free {
    /// Nothing that matters.
    Nothing,
    /// What is to be written.
    Same,
    /// Something of the user's.
    Taken(BlockedReason),
}

/// Refuses to make a branch that is there, and to move one to where it loses commits: others may have been at work.
fn check_branch(store: &ObjectStore, state: &State, target: &SwitchTarget) -> Result<()> {
    let (true, Head::Branch(name), Some(to)) = (target.create, &target.head, target.commit) else { return Ok(()) };
    match state.heads.get(name) {
        None => Ok(()),
        Some(at) if state.branch() != Some(name) || *at == to => Err(Error::BranchExists { name: name.clone() }),
        Some(at) if Dag::new(store).is_ancestor(*at, to)? => Ok(()),
        Some(_) => Err(Error::HeadMoved { path: "HEAD".to_owned() }),
    }
}

/// Plans to write all that a directory of a tree holds.
fn plan_beneath(store: &ObjectStore, path: &RepoPath, entry: &TreeEntry, plan: &mut CheckoutPlan) -> Result<()> {
    let tree = entry.tree().unwrap_or_else(Tree::empty_id);
    walk::visit(store, tree, Some(path), &mut |path, entry| {
        if entry.tree().is_none_or(|tree| tree == Tree::empty_id()) {
            plan.write(path, entry);
        }
        Ok(())
    })
}

fn listed(blocked: BTreeMap<RepoPath, BlockedReason>) -> Vec<Blocked> {
    blocked.into_iter().map(|(path, reason)| Blocked { path: path.to_string(), reason }).collect()
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
