//! Making commits.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use shard_crypto::ActorId;
use shard_storage::lock_file::LockKind;

use super::gather::{Gathered, edits, write_tree};
use super::scan::{Scope, Skipped};
use super::stage::{Prepared, Untracked, head_tree, index_at, scope_of};
use crate::history::commit::{self, Commit, MAX_AUTHOR, MAX_MESSAGE};
use crate::ids::{CommitId, TreeId};
use crate::object::{ObjectKind, ObjectSink, ObjectStore, StagedObjects, Staging};
use crate::progress::Progress;
use crate::repository::{Repository, State};
use crate::tree::editor::{Node, TreeEditor};
use crate::tree::walk::{self, TreeChange};
use crate::tree::{Content, Tree};
use crate::{Error, RepoPath, Result};

/// What goes into a commit.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// What it says.
    pub message: String,
    /// Who, where it is not the configured name.
    pub author: Option<String>,
    /// Only these paths, leaving the rest staged as it is.
    pub paths: Vec<RepoPath>,
    /// New files too.
    pub all: bool,
    /// Take new files that look like secrets.
    pub secrets: bool,
    /// Replace the commit HEAD stands at.
    pub amend: bool,
    /// Only say what would be committed.
    pub dry_run: bool,
}

/// How many files a commit changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChangeCounts {
    /// New ones.
    pub added: u64,
    /// With other content.
    pub changed: u64,
    /// Gone.
    pub removed: u64,
    /// Bytes of the new ones and of those with other content, as they are now.
    pub bytes: u64,
}

impl ChangeCounts {
    /// Counts what a comparison lists.
    pub fn of(changes: &[TreeChange]) -> Self {
        let mut counts = Self::default();
        for change in changes {
            counts.bytes = counts.bytes.saturating_add(change.new.as_ref().map_or(0, |entry| entry.size));
            match (&change.old, &change.new) {
                (None, _) => counts.added += 1,
                (_, None) => counts.removed += 1,
                _ => counts.changed += 1,
            }
        }
        counts
    }
}

/// What was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitReport {
    /// The commit; `None` after a dry run.
    pub id: Option<CommitId>,
    /// The branch it is on.
    pub branch: Option<String>,
    /// What it follows.
    pub parents: Vec<CommitId>,
    /// What it changed.
    pub changes: ChangeCounts,
    /// Passed over, and why.
    pub skipped: Vec<Skipped>,
    /// Bytes of new objects, before compression.
    pub new_bytes: u64,
    /// The same, as stored.
    pub stored_bytes: u64,
}

impl Repository {
    /// Commits. With nothing staged, changed and deleted tracked files are taken; with `all`, new ones too.
    ///
    /// Files are read and stored before the write lock is taken. What could not be read keeps its recorded content and is
    /// named in the report.
    ///
    /// # Errors
    /// [`Error::CommitEmpty`], [`Error::HeadMoved`] where another process committed the same path meanwhile,
    /// [`Error::KeyLocked`], [`Error::ValueInvalid`] for a message that is too long.
    pub fn commit(&self, options: &CommitOptions, progress: &dyn Progress) -> Result<CommitReport> {
        let author = options.author.clone().unwrap_or_else(|| self.settings().user_name.clone());
        check_text("message", &options.message, MAX_MESSAGE)?;
        check_text("author", &author, MAX_AUTHOR)?;
        // Before gigabytes are read: without the key there is no commit.
        let key = if options.dry_run { None } else { Some(self.key()?) };
        // Files are not looked at while a checkout moves them.
        let _lock = self.worktree_lock(LockKind::Shared)?;
        let state = self.state()?;
        Self::check_not_interrupted(&state)?;
        let store = self.store(&state)?;
        let head = head_tree(&store, &state)?;
        let selection = Selection::of(options, &state, head);
        if selection == Selection::Paths {
            self.check_known(&store, head, &state, options)?;
        }
        let cache = self.stat_cache();
        let scope = selection.scope(options);
        let base = selection.base(&state, head);
        let prepared = match &scope {
            Some(scope) => Some(self.prepare(&store, &cache, base, scope, untracked(options), false, progress)?),
            None => None,
        };
        let tree = prepared.as_ref().map_or(base, |prepared| prepared.tree);
        let skipped = prepared.as_ref().map(|prepared| prepared.gathering.skipped.clone()).unwrap_or_default();
        if tree == head && !options.amend {
            if let (Some(prepared), Some(scope)) = (&prepared, &scope) {
                self.remember(&cache, &prepared.gathering, &prepared.written, true, scope);
            }
            return Err(Error::CommitEmpty);
        }
        let counts = prepared.as_ref().filter(|_| base == head).and_then(count);
        let Some(key) = key else {
            let changes = match counts.filter(|_| !options.amend) {
                Some(counts) => counts,
                None => {
                    let gathered = prepared.as_ref().map(|prepared| prepared.gathering.changes.as_slice());
                    let old = match (state.head_commit(), options.amend) {
                        (Some(head), true) => parent_tree(&store, head)?,
                        _ => Some(head),
                    };
                    count_from(&store, old, changes_since(&store, head, base, gathered.unwrap_or_default())?, head)?
                }
            };
            let parents = match (state.head_commit(), options.amend) {
                (Some(head), true) => commit::read(&store, head)?.parents,
                (head, _) => head.into_iter().collect(),
            };
            return Ok(CommitReport {
                id: None,
                branch: state.branch().map(str::to_owned),
                parents,
                changes,
                skipped,
                new_bytes: prepared.as_ref().map_or(0, |prepared| prepared.objects.new_bytes),
                stored_bytes: 0,
            });
        };
        let (gathering, written, mut objects) = match prepared {
            Some(Prepared { gathering, written, objects, .. }) => (Some(gathering), written, objects),
            None => (None, HashMap::new(), StagedObjects::default()),
        };
        let gathered = gathering.as_ref().map(|gathering| gathering.changes.as_slice()).unwrap_or_default();

        let permit = self.write_permit("commit")?;
        let mut transaction = self.transaction(&permit)?;
        Self::check_not_interrupted(&transaction.state)?;
        let since;
        let now = if transaction.state.sequence == state.sequence {
            &store
        } else {
            since = self.store(&transaction.state)?;
            &since
        };
        let staging = self.staging(now);
        let moved = transaction.state.head != state.head || transaction.state.head_commit() != state.head_commit();
        let restaged = transaction.state.index.tree != state.index.tree;
        let tree = if moved {
            let changes = changes_since(&store, head, base, gathered)?;
            self.rebase(now, head, changes, &transaction.state, &staging, options)?
        } else {
            tree
        };
        // What others staged meanwhile, or what was staged beside the paths named, stays staged.
        let index_tree = if selection == Selection::Paths {
            let editor = replacing_staged(&store, state.index.tree, head, options, &skipped, gathered)?;
            write_tree(now, &staging, transaction.state.index.tree, editor, &mut HashMap::new())?
        } else if restaged {
            write_tree(now, &staging, transaction.state.index.tree, edits(gathered), &mut HashMap::new())?
        } else {
            tree
        };
        let commit = self.compose(&transaction.state, tree, options, author, &key.actor())?;
        let parents = commit.parents.clone();
        let mut writer = staging.writer();
        let id = CommitId(writer.put(ObjectKind::Commit, &commit::sign(commit, &key))?);
        writer.finish()?;
        objects.absorb(staging.finish()?);
        let (new_bytes, stored_bytes) = (objects.new_bytes, objects.stored_bytes);
        transaction.add_objects(objects);
        transaction.set_head_commit(id);
        transaction.set_index(index_at(Some(id), index_tree));
        if options.amend {
            transaction.set_forced();
        }
        let after = transaction.commit()?;
        drop(permit);
        if let (Some(gathering), Some(scope)) = (&gathering, &scope)
            && !moved
            && !restaged
            && selection == Selection::Disk
        {
            self.remember(&cache, gathering, &written, true, scope);
        }
        let changes = match counts.filter(|_| !moved && !options.amend) {
            Some(counts) => counts,
            None => {
                // What was staged before is in `now` already.
                let committed;
                let known = if gathering.is_none() && !moved {
                    now
                } else {
                    committed = self.store(&after)?;
                    &committed
                };
                let old =
                    parents.first().map(|parent| Ok::<_, Error>(commit::read(known, *parent)?.tree)).transpose()?;
                ChangeCounts::of(&walk::compare(known, old, Some(tree))?)
            }
        };
        let branch = after.branch().map(str::to_owned);
        Ok(CommitReport { id: Some(id), branch, parents, changes, skipped, new_bytes, stored_bytes })
    }

    /// Another process moved HEAD while files were read: what was changed here is changed on its tree, path by path.
    fn rebase(
        &self,
        now: &ObjectStore,
        old_head: TreeId,
        changes: BTreeMap<RepoPath, Option<Node>>,
        state: &State,
        staging: &Staging<'_>,
        options: &CommitOptions,
    ) -> Result<TreeId> {
        let new_head = head_tree(now, state)?;
        for theirs in walk::compare(now, Some(old_head), Some(new_head))? {
            let path = &theirs.path;
            let theirs_now = theirs.new.map(Node::from);
            let differs = changes.get(path).is_some_and(|node| *node != theirs_now);
            let above = std::iter::successors(path.parent(), RepoPath::parent).any(|at| changes.contains_key(&at));
            // What lies beneath follows in the order of paths.
            let mut behind = changes.range::<RepoPath, _>((Bound::Excluded(path), Bound::Unbounded));
            let beneath = behind.next().is_some_and(|(at, _)| at.starts_with(path));
            if differs || above || beneath || options.amend {
                return Err(Error::HeadMoved { path: path.to_string() });
            }
        }
        let mut editor = TreeEditor::new();
        changes.into_iter().for_each(|(path, node)| editor.put(&path, node));
        let tree = write_tree(now, staging, new_head, editor, &mut HashMap::new())?;
        if tree == new_head { Err(Error::CommitEmpty) } else { Ok(tree) }
    }

    /// Refuses named paths that match nothing.
    fn check_known(&self, store: &ObjectStore, head: TreeId, state: &State, options: &CommitOptions) -> Result<()> {
        for path in options.paths.iter().filter(|path| !path.is_root()) {
            let known = walk::find(store, head, path)?.is_some()
                || walk::find(store, state.index.tree, path)?.is_some()
                || self.layout().worktree.metadata_optional(path.as_str())?.is_some();
            if !known {
                return Err(Error::PathNotFound { path: path.to_string() });
            }
        }
        Ok(())
    }

    pub(super) fn compose(
        &self,
        state: &State,
        tree: TreeId,
        options: &CommitOptions,
        author: String,
        actor: &ActorId,
    ) -> Result<Commit> {
        let store = self.store(state)?;
        let head = state.head_commit();
        let (parents, message) = match (head, options.amend) {
            (None, true) => {
                let suggestions = Vec::new();
                let reason = Some("there is no commit to amend".to_owned());
                return Err(Error::RevisionNotFound { revision: "HEAD".to_owned(), reason, suggestions });
            }
            (Some(head), true) => {
                let old = commit::read(&store, head)?;
                let message = if options.message.is_empty() { old.message } else { options.message.clone() };
                (old.parents, message)
            }
            (head, false) => (head.into_iter().collect::<Vec<_>>(), options.message.clone()),
        };
        let mut depth = 0;
        for parent in &parents {
            depth = depth.max(commit::read(&store, *parent)?.depth);
        }
        let now = self.clock().now();
        Ok(Commit {
            repository: self.id(),
            tree,
            parents,
            actor: *actor,
            access_heads: Vec::new(),
            depth: depth + 1,
            time_ms: now.ms,
            zone_minutes: now.zone_minutes.into(),
            author,
            message,
            extensions: None,
            event_head: None,
            unknown: Vec::new(),
        })
    }
}

fn check_text(what: &'static str, text: &str, limit: usize) -> Result<()> {
    if text.len() > limit {
        let reason = format!("it has {} bytes, {limit} are allowed", text.len());
        let shown: String = text.chars().take(40).collect();
        return Err(Error::ValueInvalid { what, value: format!("{shown}…"), reason });
    }
    Ok(())
}

/// Where the content of a commit comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Selection {
    /// The index as it is.
    Index,
    /// The index, and what changed on disk beneath everything.
    Disk,
    /// HEAD's tree, and some paths of the disk.
    Paths,
}

impl Selection {
    fn of(options: &CommitOptions, state: &State, head: TreeId) -> Self {
        if !options.paths.is_empty() {
            Self::Paths
        } else if options.all || state.index.tree == head && !options.amend {
            Self::Disk
        } else {
            Self::Index
        }
    }

    /// Returns the tree that the disk is compared with.
    fn base(self, state: &State, head: TreeId) -> TreeId {
        if self == Self::Paths { head } else { state.index.tree }
    }

    fn scope(self, options: &CommitOptions) -> Option<Scope> {
        match self {
            Self::Index => None,
            Self::Disk => Some(Scope::All),
            Self::Paths => Some(scope_of(&options.paths)),
        }
    }
}

/// Says which files that were not tracked are taken.
fn untracked(options: &CommitOptions) -> Untracked {
    match (options.paths.is_empty(), options.all, options.secrets) {
        // Naming a path is asking for it.
        (false, _, false) => Untracked::Take,
        (false, _, true) | (true, true, true) => Untracked::TakeAll,
        (true, true, false) => Untracked::TakeButSecrets,
        (true, false, _) => Untracked::Leave,
    }
}

/// Lists what a commit changes since `head`: what was staged, and over it what was gathered from the disk on `base`.
fn changes_since(
    store: &ObjectStore,
    head: TreeId,
    base: TreeId,
    gathered: &[Gathered],
) -> Result<BTreeMap<RepoPath, Option<Node>>> {
    let mut changes = BTreeMap::new();
    for change in walk::compare(store, Some(head), Some(base))? {
        changes.insert(change.path, change.new.map(Node::from));
    }
    for change in gathered {
        changes.retain(|path, _| !path.starts_with(&change.path));
        changes.insert(change.path.clone(), change.node.clone());
    }
    Ok(changes)
}

/// Returns the edits to the index that leave at the paths named what is committed there: HEAD's content, and over it what
/// was gathered from the disk.
fn replacing_staged(
    store: &ObjectStore,
    index: TreeId,
    head: TreeId,
    options: &CommitOptions,
    skipped: &[Skipped],
    gathered: &[Gathered],
) -> Result<TreeEditor> {
    let scope = scope_of(&options.paths);
    let unread: Vec<RepoPath> = skipped.iter().filter_map(|skipped| RepoPath::parse(&skipped.path).ok()).collect();
    let mut editor = TreeEditor::new();
    for change in walk::compare(store, Some(index), Some(head))? {
        // What could not be read stays as it was staged.
        let unread = unread.iter().any(|path| change.path.starts_with(path));
        if scope.covers(change.path.as_str()) && !unread {
            editor.put(&change.path, change.new.map(Node::from));
        }
    }
    gathered.iter().for_each(|change| editor.put(&change.path, change.node.clone()));
    Ok(editor)
}

fn count(prepared: &Prepared) -> Option<ChangeCounts> {
    let mut counts = ChangeCounts::default();
    for change in &prepared.gathering.changes {
        counts.bytes = counts.bytes.saturating_add(change.node.as_ref().map_or(0, |node| node.size));
        match (&change.base, &change.node) {
            // A directory that went is many files: counted by comparing trees.
            (Some(base), _) if base.tree().is_some() => return None,
            (_, None) => counts.removed += 1,
            (None, Some(_)) => counts.added += 1,
            (Some(_), Some(_)) => counts.changed += 1,
        }
    }
    Some(counts)
}

/// Returns the tree of a commit's first parent.
fn parent_tree(store: &ObjectStore, id: CommitId) -> Result<Option<TreeId>> {
    let parents = commit::read(store, id)?.parents;
    parents.first().map(|parent| Ok(commit::read(store, *parent)?.tree)).transpose()
}

/// Counts what differs between a tree and `head` with changes over it, which is not stored as a tree.
fn count_from(
    store: &ObjectStore,
    old: Option<TreeId>,
    mut changes: BTreeMap<RepoPath, Option<Node>>,
    head: TreeId,
) -> Result<ChangeCounts> {
    for change in walk::compare(store, old, Some(head))? {
        let mut above = std::iter::successors(Some(change.path.clone()), RepoPath::parent);
        if !above.any(|path| changes.contains_key(&path)) {
            changes.insert(change.path, change.new.map(Node::from));
        }
    }
    let mut counts = ChangeCounts::default();
    for (path, node) in changes {
        let before = match old {
            Some(old) => walk::find(store, old, &path)?.map(Node::from),
            None => None,
        };
        match (before, node) {
            (before, node) if before == node => {}
            (None, Some(node)) => (counts.added, counts.bytes) = (counts.added + 1, counts.bytes + node.size),
            (Some(Node { content: Content::Tree(tree), .. }), None) if tree != Tree::empty_id() => {
                walk::visit(store, tree, Some(&path), &mut |_, entry| {
                    counts.removed += u64::from(entry.tree().is_none_or(|tree| tree == Tree::empty_id()));
                    Ok(())
                })?;
            }
            (_, None) => counts.removed += 1,
            (Some(_), Some(node)) => (counts.changed, counts.bytes) = (counts.changed + 1, counts.bytes + node.size),
        }
    }
    Ok(counts)
}
