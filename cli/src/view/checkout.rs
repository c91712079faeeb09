//! What a checkout did to the worktree, or would do.

use serde::Serialize;
use utoipa::ToSchema;

use super::Head;

/// A path that stops a checkout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BlockedPath {
    /// Path within the worktree.
    pub path: String,
    /// `modified`, `untracked`, `collision` or `unsafe`.
    pub reason: String,
}

/// A path a plan touches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PlannedPath {
    /// Path within the worktree.
    pub path: String,
    /// `write`, `remove`, `chmod`, `mkdir` or `rmdir`.
    pub action: String,
}

/// Answer of `switch` and `restore`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CheckoutReport {
    /// Where HEAD stands now.
    pub head: Head,
    /// Entries written.
    pub written: u64,
    /// Entries removed.
    pub removed: u64,
    /// Entries that were right already.
    pub kept: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Paths left as they were, and why.
    pub blocked: Vec<BlockedPath>,
    /// Tree that keeps what was overwritten.
    pub rescued: Option<String>,
    /// The plan, where nothing was to be changed.
    pub plan: Vec<PlannedPath>,
}
