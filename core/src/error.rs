//! What can go wrong, with which input. Codes, hints and exit codes are given by the command line alone.

use std::path::PathBuf;
use std::time::Duration;

use shard_crypto::{ActorId, Digest};
use shard_storage::vfs::VfsError;

use crate::history::commit::Trust;

/// Result of an operation on a repository.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a directory is refused as a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnsafeReason {
    /// It belongs to another user.
    ForeignOwner {
        /// The owner's user id.
        uid: u32,
    },
    /// It lies on a network file system, where locks cannot be trusted.
    NetworkFilesystem,
}

/// Who holds the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// What it runs, without secrets.
    pub command: String,
    /// Since when, milliseconds since 1970.
    pub since_ms: u64,
}

/// Why a path stops a checkout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockedReason {
    /// Its content differs from what is recorded.
    Modified,
    /// It is not tracked and stands where something must be written.
    Untracked,
    /// Its name folds together with another on this file system.
    Collision,
    /// Writing there is not safe: this platform gives the name a meaning, or what is there cannot be saved first.
    Unsafe,
}

/// A path that stops a checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// Path within the worktree.
    pub path: String,
    /// Why it stops.
    pub reason: BlockedReason,
}

/// A failed operation. Variants carry data; messages are lower case, without a final stop.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum Error {
    #[error(transparent)]
    Disk(#[from] VfsError),
    #[error("a sync of {} failed: what was just written may or may not survive a power loss", path.display())]
    DurabilityUnknown {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("no repository in {} or any directory above it", from.display())]
    RepositoryNotFound { from: PathBuf },
    #[error("{} is a repository already", path.display())]
    RepositoryExists { path: PathBuf },
    #[error("{} is not safe to use as a repository: {}", path.display(), match reason {
        UnsafeReason::ForeignOwner { uid } => format!("it belongs to user {uid}"),
        UnsafeReason::NetworkFilesystem => "it lies on a network file system".to_owned(),
    })]
    RepositoryUnsafe { path: PathBuf, reason: UnsafeReason },
    #[error("{} has format version {found}, this program knows up to {supported}", path.display())]
    RepositoryFormat { path: PathBuf, found: u64, supported: u64 },
    #[error("the repository is busy{}", match holder {
        Some(holder) => format!(": `{}` (pid {}) holds it", holder.command, holder.pid),
        None => String::new(),
    })]
    RepositoryBusy { holder: Option<Holder>, waited: Duration },
    #[error("{}", if from == to { format!("a checkout on {to} was interrupted") } else {
        format!("a switch from {from} to {to} was interrupted")
    })]
    RepositoryInterrupted { from: String, to: String },
    #[error("config {key} in {origin}: {reason}")]
    ConfigInvalid { key: String, origin: String, reason: String, suggestion: Option<String> },
    #[error("path `{path}`: {reason}")]
    PathInvalid { path: String, reason: String },
    #[error("{} {reason}", path.display())]
    PathExists { path: PathBuf, reason: String },
    #[error("`{path}` matches nothing, neither tracked nor on disk")]
    PathNotFound { path: String },
    #[error("`{path}` is ignored by {file}:{line}: {rule}")]
    PathIgnored { path: String, file: String, line: usize, rule: String },
    #[error("{what} `{value}`: {reason}")]
    ValueInvalid { what: &'static str, value: String, reason: String },
    #[error("revision `{revision}`: {reason}")]
    RevisionInvalid { revision: String, reason: String },
    #[error("no revision `{revision}`{}", reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    RevisionNotFound { revision: String, reason: Option<String>, suggestions: Vec<String> },
    #[error("revision `{revision}` is ambiguous")]
    RevisionAmbiguous { revision: String, candidates: Vec<String> },
    #[error("branch `{name}` not found")]
    BranchNotFound { name: String, suggestions: Vec<String> },
    #[error("branch `{name}` exists already")]
    BranchExists { name: String },
    #[error("branch `{name}` is checked out: HEAD stands on it")]
    BranchCheckedOut { name: String },
    #[error("tag `{name}` not found")]
    TagNotFound { name: String, suggestions: Vec<String> },
    #[error("tag `{name}` exists already")]
    TagExists { name: String },
    #[error("object {id} is not here")]
    ObjectNotFound { id: Digest },
    #[error("object {id} is damaged: {reason}")]
    ObjectCorrupt { id: Digest, reason: String },
    #[error("{} is damaged: {reason}", path.display())]
    FileCorrupt { path: PathBuf, reason: String },
    #[error("pack {} belongs to another repository", path.display())]
    PackForeign { path: PathBuf },
    #[error("log {} is damaged at byte {offset}", path.display())]
    LogDamaged { path: PathBuf, offset: u64 },
    #[error("the log written by {writer} is newer than this view")]
    ViewAhead { writer: String },
    #[error("nothing to commit")]
    CommitEmpty,
    #[error("HEAD moved while this ran, and both changed `{path}`")]
    HeadMoved { path: String },
    #[error("branch `{branch}` and its source have diverged")]
    RefDiverged { branch: String, ours: Digest, theirs: Digest },
    #[error("{} path{} would be overwritten", blocked.len(), if blocked.len() == 1 { "" } else { "s" })]
    WorktreeDirty { blocked: Vec<Blocked> },
    #[error("the signature of {what} is not valid")]
    SignatureInvalid { what: String },
    #[error("commit {commit} is not trusted: {}", trust.reason())]
    AccessDenied { commit: Digest, trust: Trust },
    #[error("{} is a clone of repository {found}, not of {expected}", path.display())]
    RepositoryMismatch { path: PathBuf, expected: Digest, found: Digest },
    #[error("the ref set of {actor} contradicts what it published before")]
    HistoryRollback { actor: ActorId },
    #[error("{actor} has published two ref sets under one number: its key is used in two places")]
    ActorForked { actor: ActorId },
    #[error("the signing key is sealed with a passphrase")]
    KeyLocked,
    #[error("that is not the passphrase of this key")]
    KeyPassphrase,
    #[error("no space left: {} bytes free, {} wanted", free, wanted)]
    FreeFloor { free: u64, wanted: u64 },
    #[error("the view is in use by process {pid:?}")]
    BackendBusy { pid: Option<u32> },
    #[error("the view failed: {0}")]
    Backend(String),
    #[error("{what} is not supported here")]
    Unsupported { what: String },
    #[error("cancelled")]
    Cancelled,
}
