//! Status: what is staged, what differs, what is not tracked.

use std::collections::HashSet;

use shard_storage::lock_file::{LockFile, LockKind};

use super::gather::Select;
use super::rename::{self, Rename};
use super::scan::{Change, ChangeKind, Scope, Skipped};
use super::stage::head_tree;
use crate::history::refs::Head;
use crate::ids::{CommitId, TreeId};
use crate::object::Discard;
use crate::progress::Progress;
use crate::repository::{Repository, layout};
use crate::tree::{Content, EntryType, TreeEntry, walk};
use crate::{RepoPath, Result};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct StatusOptions {
    /// Which paths.
    pub scope: Scope,
    /// List ignored paths too.
    pub ignored: bool,
}

impl Default for StatusOptions {
    fn default() -> Self {
        Self { scope: Scope::All, ignored: false }
    }
}

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// Not there before.
    Added,
    /// Other content.
    Modified,
    /// The same content; it became executable, or is so no more.
    ModeChanged,
    /// Gone.
    Deleted,
    /// A file became a link, a directory a file, or the like.
    TypeChanged,
}

/// A path that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusEntry {
    /// Where.
    pub path: RepoPath,
    /// How.
    pub difference: Difference,
}

/// A checkout that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnfinishedCheckout {
    /// The tree it began from.
    pub from: TreeId,
    /// The tree it leads to.
    pub to: TreeId,
    /// Whether it is still running; otherwise it was interrupted.
    pub running: bool,
}

/// How the worktree stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Where HEAD stands.
    pub head: Head,
    /// The commit HEAD stands at.
    pub commit: Option<CommitId>,
    /// The branch that HEAD's follows, as `ACTOR/branch`.
    pub upstream: Option<String>,
    /// What the next commit changes.
    pub staged: Vec<StatusEntry>,
    /// What differs from what is staged.
    pub unstaged: Vec<StatusEntry>,
    /// What is not tracked; a directory that is not tracked at all by itself.
    pub untracked: Vec<String>,
    /// What was renamed; it stands among the lists above too.
    pub renames: Vec<Rename>,
    /// Directories among the lists above, as they stand there, of which every file was renamed.
    pub moved: Vec<String>,
    /// What is ignored, where it was asked for.
    pub ignored: Vec<String>,
    /// What could not be told.
    pub skipped: Vec<Skipped>,
    /// A checkout under way or interrupted; the disk was not compared while it runs.
    pub checkout: Option<UnfinishedCheckout>,
}

impl Status {
    /// Says whether nothing differs.
    pub fn is_clean(&self) -> bool {
        self.staged.is_empty() && self.unstaged.is_empty() && self.untracked.is_empty() && self.checkout.is_none()
    }
}

impl Repository {
    /// Lists every file, link and empty directory that is neither tracked nor ignored, in path order. Reads no content
    /// and takes no lock.
    pub fn untracked(&self, scope: &Scope) -> Result<Vec<Change>> {
        let state = self.state()?;
        let store = self.store(&state)?;
        let mut scan = self.scan(&store, &self.stat_cache(), state.index.tree, scope, false, false)?;
        scan.changes.retain(|change| matches!(change.kind, ChangeKind::Untracked | ChangeKind::EmptyDirectory));
        Ok(scan.changes)
    }

    /// Compares HEAD, index and disk. Takes no lock for long and never waits for a checkout.
    pub fn status(&self, options: &StatusOptions, progress: &dyn Progress) -> Result<Status> {
        let state = self.state()?;
        let store = self.store(&state)?;
        let head = head_tree(&store, &state)?;
        let upstream = state.branch().and_then(|branch| state.upstreams.get(branch)).cloned();
        let mut status = Status {
            head: state.head.clone(),
            commit: state.head_commit(),
            upstream,
            staged: Vec::new(),
            unstaged: Vec::new(),
            untracked: Vec::new(),
            renames: Vec::new(),
            moved: Vec::new(),
            ignored: Vec::new(),
            skipped: Vec::new(),
            checkout: None,
        };
        let mut staged = walk::compare(&store, Some(head), Some(state.index.tree))?;
        staged.retain(|change| options.scope.covers(change.path.as_str()));
        status.renames = rename::staged(&staged);
        for change in staged {
            let seen = |entry: &Option<TreeEntry>| entry.as_ref().map(|entry| (entry.kind, entry.content.clone()));
            let difference = difference(seen(&change.old), seen(&change.new));
            status.staged.push(StatusEntry { path: change.path, difference });
        }
        // One try: while files are being written, comparing them would tell nothing.
        let lock = LockFile::open(&self.layout().locks, layout::WORKTREE_LOCK)
            .and_then(|lock| lock.try_lock(LockKind::Shared));
        let running = matches!(lock, Ok(None));
        if let Some(pending) = &state.index.pending {
            status.checkout = Some(UnfinishedCheckout { from: pending.from, to: pending.to, running });
        }
        if running {
            let tree = state.index.tree;
            status.checkout.get_or_insert(UnfinishedCheckout { from: tree, to: tree, running });
            return Ok(status);
        }
        let cache = self.stat_cache();
        let scan = self.scan(&store, &cache, state.index.tree, &options.scope, false, options.ignored)?;
        let mut gathering = self.gather(&store, scan, Select::Tracked, Discard, progress)?;
        status.ignored = std::mem::take(&mut gathering.scan.ignored);
        status.skipped = gathering.skipped.clone();
        let tracked_directories: HashSet<&str> = gathering
            .scan
            .directories
            .iter()
            .filter(|directory| directory.tree.is_some())
            .map(|directory| directory.path.as_str())
            .collect();
        let renames = self.renames_on_disk(&store, &gathering, progress)?;
        let renamed: HashSet<&RepoPath> = renames.iter().map(|rename| &rename.to).collect();
        let mut stays: HashSet<String> = HashSet::new();
        for change in &gathering.scan.changes {
            if matches!(change.kind, ChangeKind::Untracked | ChangeKind::EmptyDirectory) {
                let shown = outermost_untracked(&change.path, change.kind, &tracked_directories);
                if !renamed.contains(&change.path) {
                    stays.insert(shown.clone());
                }
                if status.untracked.last() != Some(&shown) {
                    status.untracked.push(shown);
                }
            }
        }
        status.moved = status.untracked.iter().filter(|shown| !stays.contains(*shown)).cloned().collect();
        let left: HashSet<&RepoPath> = renames.iter().map(|rename| &rename.from).collect();
        for change in gathering.changes.iter().filter(|change| change.node.is_none() && !left.is_empty()) {
            let Some(base) = change.base.as_ref().filter(|base| base.tree().is_some()) else { continue };
            let files = rename::files_of(&store, &change.path, base)?;
            if !files.is_empty() && files.iter().all(|(path, _)| left.contains(path)) {
                status.moved.push(change.path.to_string());
            }
        }
        status.renames.extend(renames);
        for change in &gathering.changes {
            let old = change.base.as_ref().map(|base| (base.kind, base.content.clone()));
            let new = change.node.as_ref().map(|node| (node.kind, node.content.clone()));
            status.unstaged.push(StatusEntry { path: change.path.clone(), difference: difference(old, new) });
        }
        self.remember(&cache, &gathering, &std::collections::HashMap::new(), false, &options.scope);
        Ok(status)
    }
}

fn difference(old: Option<(EntryType, Content)>, new: Option<(EntryType, Content)>) -> Difference {
    match (old, new) {
        (None, _) => Difference::Added,
        (_, None) => Difference::Deleted,
        (Some((old, before)), Some((new, after))) if old.is_file() && new.is_file() => {
            if old != new && before == after { Difference::ModeChanged } else { Difference::Modified }
        }
        (Some((old, _)), Some((new, _))) if old == new => Difference::Modified,
        _ => Difference::TypeChanged,
    }
}

/// A directory of which nothing is tracked is shown once, with a slash.
fn outermost_untracked(path: &RepoPath, kind: ChangeKind, tracked: &HashSet<&str>) -> String {
    let text = path.as_str();
    for (slash, _) in text.match_indices('/') {
        if !tracked.contains(&text[..slash]) {
            return format!("{}/", &text[..slash]);
        }
    }
    if kind == ChangeKind::EmptyDirectory { format!("{text}/") } else { text.to_owned() }
}
