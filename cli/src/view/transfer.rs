//! Repositories that begin, and content that comes in or goes out.

use std::path::Path;

use serde::Serialize;
use utoipa::ToSchema;

use super::{CheckoutReport, RefUpdate, Skipped};
use crate::failure::Failure;

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
    /// Others of whom nothing was taken over, and why.
    pub refused: Vec<RefusedPeer>,
    /// Others of whom nobody shows what they published between what is known here and what came.
    pub unproven: Vec<String>,
}

/// Somebody whose published names were not taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RefusedPeer {
    /// Whose names.
    pub actor: String,
    /// Stable code, such as `actor.forked`.
    pub code: String,
    /// Why.
    pub why: String,
}

impl FetchReport {
    /// Makes the report of something that was brought over, or would be.
    pub(crate) fn new(source: &Path, path: &Path, outcome: &str) -> Self {
        Self {
            source: source.display().to_string(),
            path: path.display().to_string(),
            refs: Vec::new(),
            objects: 0,
            bytes: 0,
            outcome: outcome.to_owned(),
            checkout: None,
            refused: Vec::new(),
            unproven: Vec::new(),
        }
    }

    /// Tells what came.
    pub(crate) fn with(self, fetched: shard_core::remote::FetchReport) -> Self {
        let refused = |one: shard_core::remote::RefusedActor| {
            let failure = Failure::from(one.error);
            let code = failure.code.as_str().to_owned();
            RefusedPeer { actor: one.actor.to_string(), code, why: failure.message }
        };
        Self {
            refs: fetched.refs.into_iter().map(RefUpdate::from).collect(),
            objects: fetched.objects,
            bytes: fetched.bytes,
            refused: fetched.refused.into_iter().map(refused).collect(),
            unproven: fetched.unproven.iter().map(ToString::to_string).collect(),
            ..self
        }
    }
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
