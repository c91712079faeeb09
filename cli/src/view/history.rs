//! Commits, the names that point at them, and what lies in them.

use serde::Serialize;
use shard_core::tree::TreeEntry;
use utoipa::ToSchema;

use super::Skipped;
use crate::quantity;

/// Answer of `add` and `rm`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct AddReport {
    /// Paths that were not tracked.
    pub added: u64,
    /// Paths with other content.
    pub changed: u64,
    /// Paths no longer tracked.
    pub removed: u64,
    /// Paths that were staged so already.
    pub unchanged: u64,
    /// What was left out.
    pub skipped: Vec<Skipped>,
    /// Bytes of the files added and changed.
    pub bytes: u64,
    /// Bytes of content that was not stored before.
    pub new_bytes: u64,
}

impl From<shard_core::worktree::AddReport> for AddReport {
    fn from(report: shard_core::worktree::AddReport) -> Self {
        Self {
            added: report.added.len() as u64,
            changed: report.changed.len() as u64,
            removed: report.removed.len() as u64,
            unchanged: report.unchanged,
            skipped: report.skipped.into_iter().map(Skipped::from).collect(),
            bytes: report.bytes,
            new_bytes: report.new_bytes,
        }
    }
}

/// How many paths changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct ChangeTotals {
    /// New paths.
    pub added: u64,
    /// Paths with other content, type or mode.
    pub changed: u64,
    /// Paths that are gone.
    pub removed: u64,
}

impl ChangeTotals {
    /// Returns how many paths changed in all.
    pub fn sum(&self) -> u64 {
        self.added + self.changed + self.removed
    }
}

impl From<shard_core::worktree::ChangeCounts> for ChangeTotals {
    fn from(counts: shard_core::worktree::ChangeCounts) -> Self {
        Self { added: counts.added, changed: counts.changed, removed: counts.removed }
    }
}

/// Answer of `commit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CommitReport {
    /// The commit; null where nothing was to be changed.
    pub id: Option<String>,
    /// The branch that moved; null when detached.
    pub branch: Option<String>,
    /// Its parents.
    pub parents: Vec<String>,
    /// First line of its message.
    pub subject: String,
    /// What it changed.
    pub changes: ChangeTotals,
    /// What was left out.
    pub skipped: Vec<Skipped>,
    /// Bytes of the files added and changed.
    pub bytes: u64,
    /// Bytes of content that was not stored before.
    pub new_bytes: u64,
}

/// Who signed, and whether that counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Signer {
    /// The key.
    pub actor: String,
    /// `good`, `unknown_actor`, `not_allowed`, `revoked`, `bad_signature` or `unsigned`.
    pub trust: String,
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Commit {
    /// Its id.
    pub id: String,
    /// Its tree.
    pub tree: String,
    /// Its parents, in order.
    pub parents: Vec<String>,
    /// One more than the greatest depth of its parents.
    pub depth: u64,
    /// Who signed.
    pub signer: Signer,
    /// The author as shown.
    pub author: String,
    /// When it says it was made.
    pub time: String,
    /// Minutes east of UTC where it was made.
    pub zone_minutes: i16,
    /// The whole message.
    pub message: String,
    /// Branches and tags that name it.
    pub refs: Vec<String>,
    /// What it changed, where asked for.
    pub changes: Option<Vec<ChangedPath>>,
    /// When it says it was made, in milliseconds since 1970.
    #[serde(skip)]
    pub time_ms: i64,
}

impl From<shard_core::history::log::LoggedCommit> for Commit {
    fn from(logged: shard_core::history::log::LoggedCommit) -> Self {
        let commit = logged.commit;
        Self {
            id: logged.id.to_string(),
            tree: commit.tree.to_string(),
            parents: commit.parents.iter().map(ToString::to_string).collect(),
            depth: commit.depth,
            signer: Signer { actor: commit.actor.to_string(), trust: logged.trust.name().to_owned() },
            author: commit.author,
            time: quantity::rfc3339(i64::try_from(commit.time_ms).unwrap_or(i64::MAX)),
            zone_minutes: i16::try_from(commit.zone_minutes).unwrap_or_default(),
            message: commit.message,
            refs: logged.refs,
            changes: logged.changes.map(|changes| changes.into_iter().map(ChangedPath::from).collect()),
            time_ms: i64::try_from(commit.time_ms).unwrap_or(i64::MAX),
        }
    }
}

/// A path a commit changed against its first parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ChangedPath {
    /// Path within the worktree.
    pub path: String,
    /// `added`, `modified`, `deleted` or `type_changed`.
    pub kind: String,
    /// Size before.
    pub old_size: Option<u64>,
    /// Size after.
    pub new_size: Option<u64>,
}

impl From<shard_core::tree::walk::TreeChange> for ChangedPath {
    fn from(change: shard_core::tree::walk::TreeChange) -> Self {
        let size = |entry: &Option<TreeEntry>| entry.as_ref().map(|entry| entry.size);
        let kind = match (&change.old, &change.new) {
            (None, _) => "added",
            (_, None) => "deleted",
            (Some(old), Some(new)) if old.kind == new.kind || old.kind.is_file() && new.kind.is_file() => "modified",
            _ => "type_changed",
        };
        Self {
            old_size: size(&change.old),
            new_size: size(&change.new),
            path: change.path.to_string(),
            kind: kind.to_owned(),
        }
    }
}

/// Answer of `log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LogPage {
    /// Commits, newest first.
    pub items: Vec<Commit>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

/// Answer of `show`: a commit, or what lies at a path of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ShowReport {
    /// The commit.
    pub commit: Option<Commit>,
    /// The file or directory.
    pub file: Option<FileReport>,
}

/// What lies at a path of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FileReport {
    /// The commit it was taken from.
    pub revision: String,
    /// The entry itself.
    pub entry: TreeEntryInfo,
    /// What lies in it, where it is a directory.
    pub entries: Vec<TreeEntryInfo>,
    /// Its text, where it is one of at most a mebibyte.
    pub text: Option<String>,
}

/// An entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TreeEntryInfo {
    /// Path within the worktree.
    pub path: String,
    /// `file`, `executable`, `symlink`, `directory`, or `unknown` for a type of a later version.
    #[serde(rename = "type")]
    pub kind: String,
    /// Bytes; of a directory all beneath it.
    pub size: u64,
    /// Id of its content; null where the content is so small that the tree holds it.
    pub id: Option<String>,
    /// Its content is here.
    pub local: bool,
}

impl TreeEntryInfo {
    /// Tells of what lies at a path. Looks up whether its content is here.
    ///
    /// # Errors
    /// A disk error of the store.
    pub fn new(
        store: &shard_core::object::ObjectStore,
        path: &shard_core::RepoPath,
        node: &shard_core::tree::editor::Node,
    ) -> shard_core::Result<Self> {
        let object = node.content.object();
        Ok(Self {
            path: path.to_string(),
            kind: node.kind.name().to_owned(),
            size: node.size,
            id: object.map(|id| id.to_string()),
            local: object.map_or(Ok(true), |id| store.contains(id))?,
        })
    }
}

/// Answer of `ls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TreeListing {
    /// Entries in order of their paths.
    pub items: Vec<TreeEntryInfo>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

/// A branch or tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Ref {
    /// Its name.
    pub name: String,
    /// The commit it names; null for a branch without one.
    pub target: Option<String>,
    /// HEAD follows it.
    pub current: bool,
    /// First line of the commit's or the tag's message.
    pub subject: String,
    /// When the commit says it was made.
    pub time: Option<String>,
    /// What it is compared with.
    pub upstream: Option<String>,
    /// Commits the upstream lacks.
    pub ahead: Option<u64>,
    /// Commits only the upstream has.
    pub behind: Option<u64>,
    /// Whether the commit's signer counts.
    pub trust: Option<String>,
}

/// Answer of `branch list` and `tag list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RefList {
    /// In order of their names.
    pub items: Vec<Ref>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

/// A name that moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RefUpdate {
    /// Its name.
    pub name: String,
    /// What it named before; null when it is new.
    pub old: Option<String>,
    /// What it names now; null when it is gone.
    pub new: Option<String>,
}

impl From<shard_core::history::ref_report::RefInfo> for Ref {
    fn from(info: shard_core::history::ref_report::RefInfo) -> Self {
        Self {
            name: info.name,
            target: info.target.map(|id| id.to_string()),
            current: info.current,
            subject: info.subject,
            time: info.time.map(|(ms, _)| quantity::rfc3339(i64::try_from(ms).unwrap_or(i64::MAX))),
            upstream: info.upstream,
            ahead: info.ahead_behind.map(|(ahead, _)| ahead),
            behind: info.ahead_behind.map(|(_, behind)| behind),
            trust: info.trust.map(|trust| trust.name().to_owned()),
        }
    }
}

impl From<shard_core::history::ref_report::RefUpdate> for RefUpdate {
    fn from(update: shard_core::history::ref_report::RefUpdate) -> Self {
        let text = |id: Option<shard_core::ids::CommitId>| id.map(|id| id.to_string());
        Self { name: update.name, old: text(update.old), new: text(update.new) }
    }
}

/// Answer of `branch rename`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BranchRenamed {
    /// Its name before.
    pub old_name: String,
    /// Its name now.
    pub name: String,
    /// The commit it names; null for a branch without one.
    pub target: Option<String>,
}

/// Answer of `branch upstream`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BranchUpstream {
    /// The branch.
    pub name: String,
    /// What it follows, as `ACTOR/branch`; null when nothing.
    pub upstream: Option<String>,
}

/// A tag that was left out of an import, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SkippedTag {
    /// Its name.
    pub name: String,
    /// Why it was left out, for people.
    pub reason: String,
}

/// Answer of `tag import`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TagImport {
    /// Tags that are new or moved.
    pub imported: Vec<RefUpdate>,
    /// Tags that stood there already.
    pub unchanged: u64,
    /// What was left out.
    pub skipped: Vec<SkippedTag>,
}

/// Answer of `tag export`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TagExport {
    /// The file that was written; null where there was none.
    pub file: Option<String>,
    /// Names, and the commits they name.
    pub tags: std::collections::BTreeMap<String, String>,
}
