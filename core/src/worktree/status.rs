//! Status: what is staged, what differs, what is not tracked.

use shard_storage::lock_file::{LockFile, LockKind};

use super::gather::Select;
use super::scan::{Change, ChangeKind, Scope, Skipped};
use super::stage::head_tree;
use crate::history::refs::Head;
use crate::ids::{CommitId, TreeId};
use crate::object::Discard;
use crate::progress::Progress;
use crate::repository::{Repository, layout};
use crate::tree::walk;
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
    /// Other content or mode.
    Modified,
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
            ignored: Vec::new(),
            skipped: Vec::new(),
            checkout: None,
        };
        for change in walk::compare(&store, Some(head), Some(state.index.tree))? {
            if !options.scope.covers(change.path.as_str()) {
                continue;
            }
            let kind = |entry: &Option<crate::tree::TreeEntry>| entry.as_ref().map(|entry| entry.kind);
            let difference = difference(kind(&change.old), kind(&change.new));
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
        let tracked_directories: std::collections::HashSet<&str> = gathering
            .scan
            .directories
            .iter()
            .filter(|directory| directory.tree.is_some())
            .map(|directory| directory.path.as_str())
            .collect();
        for change in &gathering.scan.changes {
            if matches!(change.kind, ChangeKind::Untracked | ChangeKind::EmptyDirectory) {
                let shown = outermost_untracked(&change.path, change.kind, &tracked_directories);
                if status.untracked.last() != Some(&shown) {
                    status.untracked.push(shown);
                }
            }
        }
        for change in &gathering.changes {
            let old = change.base.as_ref().map(|base| base.kind);
            let new = change.node.as_ref().map(|node| node.kind);
            status.unstaged.push(StatusEntry { path: change.path.clone(), difference: difference(old, new) });
        }
        self.remember(&cache, &gathering, &std::collections::HashMap::new(), false, &options.scope);
        Ok(status)
    }
}

fn difference(old: Option<crate::tree::EntryType>, new: Option<crate::tree::EntryType>) -> Difference {
    match (old, new) {
        (None, _) => Difference::Added,
        (_, None) => Difference::Deleted,
        (Some(old), Some(new)) if old.is_file() == new.is_file() && (old.is_file() || old == new) => {
            Difference::Modified
        }
        _ => Difference::TypeChanged,
    }
}

/// A directory of which nothing is tracked is shown once, with a slash.
fn outermost_untracked(path: &RepoPath, kind: ChangeKind, tracked: &std::collections::HashSet<&str>) -> String {
    let text = path.as_str();
    for (slash, _) in text.match_indices('/') {
        if !tracked.contains(&text[..slash]) {
            return format!("{}/", &text[..slash]);
        }
    }
    if kind == ChangeKind::EmptyDirectory { format!("{text}/") } else { text.to_owned() }
}
