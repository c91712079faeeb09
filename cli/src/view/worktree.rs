//! What differs between HEAD, what is staged and the disk.

use serde::Serialize;
use utoipa::ToSchema;

use super::Skipped;

/// Where HEAD stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Head {
    /// The branch it follows; null when detached.
    pub branch: Option<String>,
    /// The commit it is at; null before the first.
    pub commit: Option<String>,
}

impl Head {
    /// Tells where HEAD stands, and at which commit.
    pub fn new(head: &shard_core::history::refs::Head, commit: Option<shard_core::ids::CommitId>) -> Self {
        let branch = match head {
            shard_core::history::refs::Head::Branch(name) => Some(name.clone()),
            shard_core::history::refs::Head::Detached(_) => None,
        };
        Self { branch, commit: commit.map(|id| id.to_string()) }
    }
}

/// What HEAD's branch is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Upstream {
    /// Its name, such as `ana/main`.
    pub name: String,
    /// Commits it lacks; null where its commit is not here.
    pub ahead: Option<u64>,
    /// Commits only it has; null where its commit is not here.
    pub behind: Option<u64>,
}

/// A checkout that another process is running, or that was interrupted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CheckoutRunning {
    /// Commit it leaves; null before the first.
    pub from: Option<String>,
    /// Commit it goes to; null where it only restores paths, or goes to a branch without commits.
    pub to: Option<String>,
    /// Another process is at it now; otherwise it was interrupted.
    pub running: bool,
}

/// A path that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct StatusEntry {
    /// Path within the worktree.
    pub path: String,
    /// `added`, `modified`, `mode_changed`, `deleted`, `type_changed` or `renamed`.
    pub kind: String,
    /// Its earlier path, where it was renamed.
    pub from: Option<String>,
}

impl From<shard_core::worktree::status::StatusEntry> for StatusEntry {
    fn from(entry: shard_core::worktree::status::StatusEntry) -> Self {
        use shard_core::worktree::status::Difference;
        let kind = match entry.difference {
            Difference::Added => "added",
            Difference::Modified => "modified",
            Difference::ModeChanged => "mode_changed",
            Difference::Deleted => "deleted",
            Difference::TypeChanged => "type_changed",
        };
        Self { path: entry.path.to_string(), kind: kind.to_owned(), from: None }
    }
}

/// A file that is elsewhere now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Rename {
    /// Its earlier path.
    pub from: String,
    /// Its path now.
    pub to: String,
    /// Both are staged; otherwise it happened on disk.
    pub staged: bool,
}

impl From<shard_core::worktree::Rename> for Rename {
    fn from(rename: shard_core::worktree::Rename) -> Self {
        Self { from: rename.from.to_string(), to: rename.to.to_string(), staged: rename.staged }
    }
}

/// Answer of `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Status {
    /// Where HEAD stands.
    pub head: Head,
    /// What its branch is compared with.
    pub upstream: Option<Upstream>,
    /// A checkout under way; the disk was then not compared.
    pub checkout: Option<CheckoutRunning>,
    /// HEAD against what is staged.
    pub staged: Vec<StatusEntry>,
    /// What is staged against the disk.
    pub unstaged: Vec<StatusEntry>,
    /// On disk and not tracked.
    pub untracked: Vec<String>,
    /// Files whose content is gone in one place and new in another; both stand in the lists above too.
    pub renames: Vec<Rename>,
    /// On disk and ignored, where asked for.
    pub ignored: Vec<String>,
    /// What could not be compared.
    pub skipped: Vec<Skipped>,
    /// Paths with unresolved conflicts.
    pub conflicts: Vec<String>,
}

impl Status {
    /// Says whether nothing differs.
    pub fn is_clean(&self) -> bool {
        let differs = !self.staged.is_empty() || !self.unstaged.is_empty() || !self.untracked.is_empty();
        !differs && self.conflicts.is_empty() && self.checkout.is_none()
    }
}
