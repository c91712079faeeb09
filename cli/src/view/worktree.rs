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

/// What HEAD's branch is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Upstream {
    /// Its name, such as `ana/main`.
    pub name: String,
    /// Commits it lacks.
    pub ahead: u64,
    /// Commits only it has.
    pub behind: u64,
}

/// A checkout that another process is running, or that was interrupted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CheckoutRunning {
    /// Commit it leaves.
    pub from: Option<String>,
    /// Commit it goes to.
    pub to: String,
    /// The process that runs it; null when it was interrupted.
    pub pid: Option<u32>,
}

/// A path that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct StatusEntry {
    /// Path within the worktree.
    pub path: String,
    /// `added`, `modified`, `deleted`, `type_changed` or `renamed`.
    pub kind: String,
    /// Its earlier path, where it was renamed.
    pub from: Option<String>,
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
        self.staged.is_empty() && self.unstaged.is_empty() && self.untracked.is_empty() && self.conflicts.is_empty()
    }
}
