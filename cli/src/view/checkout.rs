//! What a checkout did to the worktree, or would do.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Head, Warning};

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
    /// `write`, `remove` or `chmod`.
    pub action: String,
}

impl PlannedPath {
    /// Lists what a plan touches, in path order.
    pub fn of(plan: &shard_core::worktree::CheckoutPlan) -> Vec<Self> {
        let planned =
            |path: &shard_core::RepoPath, action: &str| Self { path: path.to_string(), action: action.to_owned() };
        let mut paths: Vec<Self> = plan.write.iter().map(|item| planned(&item.path, "write")).collect();
        paths.extend(plan.chmod.iter().map(|(path, _)| planned(path, "chmod")));
        paths.extend(plan.remove.iter().map(|path| planned(path, "remove")));
        paths.sort_by(|a, b| a.path.cmp(&b.path));
        paths
    }
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
    /// Paths that were overwritten on request; what they held is kept in the store.
    pub rescued: Vec<String>,
    /// Entries of a later version, which cannot be put on disk.
    pub unsupported: Vec<String>,
    /// The plan, where nothing was to be changed.
    pub plan: Vec<PlannedPath>,
}

impl From<shard_core::worktree::CheckoutReport> for CheckoutReport {
    fn from(report: shard_core::worktree::CheckoutReport) -> Self {
        let texts = |paths: Vec<shard_core::RepoPath>| paths.iter().map(ToString::to_string).collect();
        Self {
            head: Head::new(&report.head, report.commit),
            written: report.written,
            removed: report.removed,
            kept: report.kept,
            bytes: report.bytes,
            blocked: Vec::new(),
            rescued: texts(report.rescued),
            unsupported: texts(report.unsupported),
            plan: Vec::new(),
        }
    }
}

impl CheckoutReport {
    /// Tells what a plan would do, with HEAD where it would stand.
    pub fn planned(plan: &shard_core::worktree::CheckoutPlan, head: Head) -> Self {
        let texts = |paths: &[shard_core::RepoPath]| paths.iter().map(ToString::to_string).collect();
        Self {
            head,
            written: (plan.write.len() + plan.chmod.len()) as u64,
            removed: plan.remove.len() as u64,
            kept: plan.kept,
            bytes: plan.bytes,
            blocked: Vec::new(),
            rescued: texts(&plan.overwritten),
            unsupported: texts(&plan.unsupported),
            plan: PlannedPath::of(plan),
        }
    }

    /// Returns a warning for each entry that could not be put on disk.
    pub fn warnings(&self) -> Vec<Warning> {
        let warning = |path: &String| Warning {
            code: "unsupported".to_owned(),
            message: "is of a later version, which cannot be put on disk".to_owned(),
            path: Some(path.clone()),
            partly: true,
        };
        self.unsupported.iter().map(warning).collect()
    }
}
