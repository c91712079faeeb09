//! Repositories that begin, and content that comes in or goes out.

use serde::Serialize;
use utoipa::ToSchema;

use super::{CheckoutReport, RefUpdate, Skipped};

/// Answer of `init`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct InitReport {
    /// Id of the repository.
    pub repository: String,
    /// Its name.
    pub name: String,
    /// Its worktree.
    pub path: String,
    /// The key that signs here.
    pub actor: String,
    /// Who that is, as shown.
    pub actor_name: String,
    /// What holds the views.
    pub backend: String,
    /// How files are cut.
    pub chunker: String,
    /// How content is compressed.
    pub compression: String,
    /// Ids are keyed and content is sealed.
    pub private: bool,
}

/// Answer of `clone` and `pull`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FetchReport {
    /// Where from.
    pub source: String,
    /// The worktree it went to.
    pub path: String,
    /// Names that moved.
    pub refs: Vec<RefUpdate>,
    /// Objects that came.
    pub objects: u64,
    /// Bytes that came, as stored.
    pub bytes: u64,
    /// `cloned`, `up_to_date` or `fast_forward`.
    pub outcome: String,
    /// What was done to the worktree.
    pub checkout: Option<CheckoutReport>,
}

/// Answer of `export`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ExportReport {
    /// The commit that was written.
    pub commit: String,
    /// Where to.
    pub target: String,
    /// Files and symbolic links written.
    pub files: u64,
    /// Bytes written.
    pub bytes: u64,
    /// What was left out.
    pub skipped: Vec<Skipped>,
}

/// Answer of `import`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ImportReport {
    /// The commit that records it; null where nothing was to be changed.
    pub commit: Option<String>,
    /// Where from.
    pub source: String,
    /// Files and symbolic links taken.
    pub files: u64,
    /// Bytes taken.
    pub bytes: u64,
    /// Bytes of content that was not stored before.
    pub new_bytes: u64,
    /// What was left out.
    pub skipped: Vec<Skipped>,
}
