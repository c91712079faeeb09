//! Answers of commands as data: the contract of `--json`.
//!
//! Each answer is a struct here. Ids are full hex, sizes bytes, times RFC 3339 in UTC, names snake_case; fields are added,
//! never removed or renamed. Lists answer `{items, next_cursor}`. How an answer looks to a person stands with its command.

mod checkout;
mod history;
mod maintenance;
mod program;
mod schema;
mod transfer;
mod worktree;

use std::io;

use serde::Serialize;
use utoipa::ToSchema;

use crate::failure::{EXIT_PARTLY, Hint};
use crate::page::Page;

pub use checkout::{BlockedPath, CheckoutReport, PlannedPath};
pub use history::{
    AddReport, BranchRenamed, BranchUpstream, ChangeTotals, ChangedPath, Commit, CommitReport, FileReport, LogPage,
    Ref, RefList, RefUpdate, ShowReport, Signer, SkippedTag, TagExport, TagImport, TreeEntryInfo, TreeListing,
};
pub use maintenance::{
    AffectedPath, Check, ConfigChange, ConfigList, ConfigValue, DoctorReport, FileNote, FsckReport, IgnoreFile,
    IgnoreList, IgnoreMatch, IgnoreMatches, Metric, MetricsReport, ObjectFailure, QueueReport, RebuildReport, Running,
    StorageClass, StorageKind, StorageStats, VerifyReport,
};
pub use program::{Completions, DemoReport, DemoStep, ManPages, SchemaDocument, Version};
pub use schema::{commands, document, fields};
pub use transfer::{ExportReport, FetchReport, ImportReport, InitReport, RefusedPeer};
pub use worktree::{CheckoutRunning, Head, Rename, Status, StatusEntry, Upstream};

/// An answer: what programs get, and how people see it.
pub trait View: Json {
    /// Writes the answer for a person.
    fn render(&self, page: &mut Page);

    /// Returns what was not done, or wants attention.
    fn warnings(&self) -> Vec<Warning> {
        Vec::new()
    }

    /// Returns what may be worth running next.
    fn next(&self) -> Vec<Hint> {
        Vec::new()
    }

    /// Returns the exit code of the process: 0, or 9 where something was skipped.
    fn exit(&self) -> u8 {
        if self.warnings().iter().any(|warning| warning.partly) { EXIT_PARTLY } else { 0 }
    }

    /// Says whether a long answer goes through the pager.
    fn is_paged(&self) -> bool {
        false
    }
}

/// What can be written as JSON through a reference to a trait.
pub trait Json {
    /// Writes compact JSON, hostile characters escaped.
    ///
    /// # Errors
    /// When the writer fails.
    fn write_json(&self, writer: &mut dyn io::Write) -> serde_json::Result<()>;

    /// Returns the JSON value.
    ///
    /// # Errors
    /// Never for the structs of this folder: their keys are strings.
    fn to_json(&self) -> serde_json::Result<serde_json::Value>;
}

impl<T: Serialize> Json for T {
    fn write_json(&self, writer: &mut dyn io::Write) -> serde_json::Result<()> {
        crate::escape::write_json(writer, self)
    }

    fn to_json(&self) -> serde_json::Result<serde_json::Value> {
        serde_json::to_value(self)
    }
}

/// Something that was not done, or wants attention, in a command that otherwise succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Warning {
    /// Why, for programs: `file.unreadable`.
    pub code: String,
    /// Why, for people.
    pub message: String,
    /// What it is about, a path within the worktree.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub path: Option<String>,
    /// The work is incomplete because of it, so the command ends with 9.
    #[serde(skip)]
    pub partly: bool,
}

impl Warning {
    /// Makes a warning that leaves the work complete.
    pub fn notice(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), path: None, partly: false }
    }
}

/// A path that was left out, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
pub struct Skipped {
    /// Path within the worktree; bytes that are not UTF-8 are replaced.
    pub path: String,
    /// `file.unreadable`, `file.unstable`, `file.name`, `file.special` or `file.secret`.
    pub code: String,
}

impl From<shard_core::worktree::Skipped> for Skipped {
    fn from(skipped: shard_core::worktree::Skipped) -> Self {
        Self { path: skipped.path, code: skipped.reason.code().to_owned() }
    }
}

impl Skipped {
    /// Returns the warning that names this path.
    pub fn warning(&self) -> Warning {
        let message = match self.code.as_str() {
            "file.unreadable" => "cannot be read; what is recorded of it was kept",
            "file.unstable" => "would not hold still; what is recorded of it was kept",
            "file.name" => "has a name that cannot be recorded",
            "file.special" => "is a device, socket or pipe, which cannot be recorded",
            "file.secret" => "looks like a secret; add it by name or say -y",
            "file.large" => "is larger than files.ask_above; add it with --force or say -y",
            _ => "was left out",
        };
        Warning { code: self.code.clone(), message: message.to_owned(), path: Some(self.path.clone()), partly: true }
    }
}

/// Returns one warning for each path left out.
pub fn skipped_warnings(skipped: &[Skipped]) -> Vec<Warning> {
    skipped.iter().map(Skipped::warning).collect()
}
