//! The state of a repository and of its settings.

use serde::Serialize;
use utoipa::ToSchema;

/// An object that failed a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ObjectFailure {
    /// The object, where one can be named.
    pub id: Option<String>,
    /// The path within the worktree that needs it.
    pub path: Option<String>,
    /// The file under `.shard/` that is to blame, where one is known.
    pub file: Option<String>,
    /// Where in that file, in bytes.
    pub offset: Option<u64>,
    /// Stable code, such as `object.corrupt`.
    pub code: String,
    /// What is wrong with it.
    pub why: String,
}

/// Answer of `verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct VerifyReport {
    /// Commits checked.
    pub commits: u64,
    /// Objects checked.
    pub objects: u64,
    /// Bytes of content checked.
    pub bytes: u64,
    /// Commits whose signature holds and whose signer does not count here.
    pub untrusted: u64,
    /// What failed.
    pub failures: Vec<ObjectFailure>,
}

/// Answer of `fsck`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FsckReport {
    /// `quick`, `default` or `full`.
    pub level: String,
    /// Pack files read.
    pub packs: u64,
    /// Frames of packs checked.
    pub frames: u64,
    /// Commits checked.
    pub commits: u64,
    /// Objects checked; at the quick level those that footers list.
    pub objects: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What failed; at most 100,000.
    pub failures: Vec<ObjectFailure>,
    /// How many failed, those not listed included.
    pub failed: u64,
    /// Commits and paths that need what is damaged; at the full level only.
    pub affected: Vec<AffectedPath>,
    /// Leftovers and what is due, which is no damage.
    pub notes: Vec<FileNote>,
}

/// A path that needs something damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct AffectedPath {
    /// The commit that holds it.
    pub commit: String,
    /// The path in its tree; null where the commit itself or its root cannot be read.
    pub path: Option<String>,
}

/// Something worth knowing of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FileNote {
    /// The file under `.shard/`.
    pub file: String,
    /// What was found.
    pub message: String,
}

/// Answer of `rebuild`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RebuildReport {
    /// Views recreated.
    pub views: Vec<String>,
    /// The backend that holds them now.
    pub backend: String,
    /// Pack files read.
    pub packs: u64,
    /// Objects listed.
    pub objects: u64,
    /// Damaged packs whose good frames were copied to new ones.
    pub salvaged: Vec<String>,
    /// Packs whose objects cannot be listed.
    pub left_out: Vec<FileNote>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
    /// What is damaged or missing all the same; looked for with `--from-frames` only.
    pub lost: Vec<ObjectFailure>,
}

/// Objects of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct StorageKind {
    /// `chunk`, `manifest`, `tree`, `commit`, `tag`, …
    pub kind: String,
    /// How many.
    pub objects: u64,
    /// Bytes before compression.
    pub bytes: u64,
}

/// Packs of one class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct StorageClass {
    /// `data` or `meta`.
    pub class: String,
    /// Pack files.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Answer of `store stats`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct StorageStats {
    /// The backend that holds the views.
    pub backend: String,
    /// Objects stored.
    pub objects: u64,
    /// Bytes of objects before compression.
    pub logical_bytes: u64,
    /// Bytes of packs.
    pub stored_bytes: u64,
    /// Pack files.
    pub packs: u64,
    /// Bytes of the index of packs.
    pub index_bytes: u64,
    /// Bytes of the write-ahead log.
    pub wal_bytes: u64,
    /// Bytes of views, which can be rebuilt.
    pub view_bytes: u64,
    /// Bytes free on the file system.
    pub free_bytes: u64,
    /// Packs by class.
    pub classes: Vec<StorageClass>,
    /// Objects by kind.
    pub kinds: Vec<StorageKind>,
}

/// One thing `doctor` looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Check {
    /// `store`, `clock` or `trust`.
    pub room: String,
    /// What was looked at.
    pub name: String,
    /// `ok`, `warning` or `failed`.
    pub state: String,
    /// What was found.
    pub message: String,
    /// It was repaired.
    pub fixed: bool,
}

/// Answer of `doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DoctorReport {
    /// Nothing failed, or what failed was repaired.
    pub healthy: bool,
    /// What was looked at.
    pub checks: Vec<Check>,
}

/// An operation that runs or waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Running {
    /// Its process.
    pub pid: u32,
    /// What it runs, without secrets.
    pub command: String,
    /// Since when.
    pub since: String,
    /// `running` or `waiting`.
    pub state: String,
}

/// Answer of `queue`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct QueueReport {
    /// In the order they will run.
    pub items: Vec<Running>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

/// A counter.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Metric {
    /// Its name: `shard_transactions_total`.
    pub name: String,
    /// Its labels, such as `command="commit"`.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// Answer of `metrics`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct MetricsReport {
    /// In order of their names.
    pub items: Vec<Metric>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

/// A configured value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConfigValue {
    /// Its key.
    pub key: String,
    /// Its value as text; null where it has none.
    pub value: Option<String>,
    /// Where it comes from: `default`, `user`, `repository`, `environment` or `flag`.
    pub origin: String,
    /// The file or variable it comes from.
    pub source: Option<String>,
    /// The variable that overrides it.
    pub variable: String,
}

/// Answer of `config list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConfigList {
    /// In order of their keys.
    pub items: Vec<ConfigValue>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

/// Answer of `config set`, `unset` and `edit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConfigChange {
    /// The file that was written.
    pub file: String,
    /// The key; null after an edit of the whole file.
    pub key: Option<String>,
    /// Its value in that file before.
    pub old: Option<String>,
    /// Its value in that file now.
    pub new: Option<String>,
}

/// A path and the rule that decides whether it is ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct IgnoreMatch {
    /// Path within the worktree.
    pub path: String,
    /// It is ignored.
    pub ignored: bool,
    /// The file that holds the deciding rule; null where none matches.
    pub file: Option<String>,
    /// The line of that file, from 1.
    pub line: Option<u64>,
    /// The rule.
    pub rule: Option<String>,
}

/// Answer of `ignore check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct IgnoreMatches {
    /// In the order they were asked.
    pub items: Vec<IgnoreMatch>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

/// A file of ignore rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct IgnoreFile {
    /// Where it lies.
    pub path: String,
    /// How many rules it holds.
    pub rules: u64,
}

/// Answer of `ignore list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct IgnoreList {
    /// From the weakest to the strongest.
    pub items: Vec<IgnoreFile>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}
