//! Pulling: the current branch follows another repository's, forwards only.

use std::collections::{BTreeSet, BinaryHeap, HashSet};

use shard_crypto::ActorId;

use super::Source;
use super::fetch::{FetchReport, RefUpdate, fetch};
use crate::history::commit::{self, Trust};
use crate::history::refs::{RefNames, RefSet};
use crate::ids::CommitId;
use crate::object::ObjectStore;
use crate::progress::Progress;
use crate::repository::{Repository, State};
use crate::{Error, Result, near_names};

/// How to pull.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// The source's branch; else the one the current branch follows, else the one of the same name.
    pub branch: Option<String>,
    /// Accepts a commit that is not trusted.
    pub untrusted: bool,
}

/// What became of the branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullOutcome {
    /// It has everything the source's has.
    UpToDate,
    /// It moved forwards, or came to be.
    FastForward,
}

impl PullOutcome {
    /// Returns the word shown to people and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::UpToDate => "up_to_date",
            Self::FastForward => "fast_forward",
        }
    }
}

/// What a pull did.
#[derive(Debug)]
pub struct PullReport {
    /// What came.
    pub fetch: FetchReport,
    /// The branch that follows, and what became of it; its own move stands in `update`.
    pub branch: String,
    /// What it follows: `ACTOR/branch`.
    pub upstream: String,
    /// Whether it moved.
    pub outcome: PullOutcome,
    /// How it moved.
    pub update: Option<RefUpdate>,
}

/// Fetches, then moves the current branch forwards to the source's. Refs of others are fetched even where the branch
/// cannot follow.
///
/// The worktree follows by way of `checkout`, which is given the commit HEAD stands at (`None` where unborn) and the one
/// it is to stand at, and moves worktree, index and the branch together: where it refuses, the branch stays.
///
/// # Errors
/// Those of [`fetch()`]; [`Error::BranchNotFound`]; [`Error::AccessDenied`] where the commit is not trusted;
/// [`Error::RefDiverged`] where the branch has commits the source's lacks; those of `checkout`.
pub fn pull(
    repository: &Repository,
    source: &Source,
    options: &PullOptions,
    progress: &dyn Progress,
    checkout: impl FnOnce(Option<CommitId>, CommitId) -> Result<()>,
) -> Result<PullReport> {
    let fetched = fetch(repository, source, progress)?;
    let state = repository.state()?;
    let branch = state.branch().ok_or_else(|| Error::RevisionInvalid {
        revision: "HEAD".to_owned(),
        reason: "it stands on no branch that could follow".to_owned(),
    })?;
    let actor = source.actor();
    let wanted = match &options.branch {
        Some(branch) => branch,
        None => followed(&state, branch, actor).unwrap_or(branch),
    };
    let upstream = format!("{actor}/{wanted}");
    let theirs = published(repository, &state, actor, wanted)?;
    let ours = state.head_commit();
    let store = repository.store(&state)?;
    let branch = branch.to_owned();
    let report = |outcome, update| PullReport { fetch: fetched, branch: branch.clone(), upstream, outcome, update };
    if let Some(ours) = ours {
        if is_ancestor(&store, theirs, ours)? {
            return Ok(report(PullOutcome::UpToDate, None));
        }
        if !is_ancestor(&store, ours, theirs)? {
            return Err(Error::RefDiverged { branch, ours: ours.digest(), theirs: theirs.digest() });
        }
    }
    check_trust(repository, &store, theirs, options.untrusted)?;
    checkout(ours, theirs)?;
    let update = RefUpdate { name: branch.clone(), old: ours, new: Some(theirs) };
    Ok(report(PullOutcome::FastForward, Some(update)))
}

/// Returns which branch of an actor one of ours follows, if it follows that actor.
fn followed<'s>(state: &'s State, branch: &str, actor: ActorId) -> Option<&'s str> {
    let (followed, name) = state.upstreams.get(branch)?.split_once('/')?;
    (followed.parse() == Ok(actor)).then_some(name)
}

/// Returns where an actor's branch stands, as far as this repository knows.
fn published(repository: &Repository, state: &State, actor: ActorId, branch: &str) -> Result<CommitId> {
    let names = match state.peers.get(&actor) {
        Some(bytes) => RefSet::verify(bytes, repository.id())?.names().clone(),
        None => RefNames::default(),
    };
    names.heads.get(branch).copied().ok_or_else(|| Error::BranchNotFound {
        name: format!("{actor}/{branch}"),
        suggestions: near_names(branch, names.heads.keys().map(String::as_str), 3)
            .into_iter()
            .map(str::to_owned)
            .collect(),
    })
}

/// Refuses a commit that others signed and nobody vouches for.
///
/// # Errors
/// [`Error::AccessDenied`].
pub(super) fn check_trust(
    repository: &Repository,
    store: &ObjectStore,
    commit: CommitId,
    untrusted: bool,
) -> Result<()> {
    let signed = commit::read_signed(store, commit)?;
    let trust = Trust::of(&signed, repository.id(), &repository.genesis().creator);
    let own = trust == Trust::NotAllowed && signed.claimed().actor == repository.actor();
    if trust == Trust::Good || own || untrusted {
        return Ok(());
    }
    Err(Error::AccessDenied { commit: commit.digest(), trust: trust.name().to_owned() })
}

/// Says whether `descendant` reaches `ancestor`, or is it. Reads only commits that are deeper than `ancestor`.
fn is_ancestor(store: &ObjectStore, ancestor: CommitId, descendant: CommitId) -> Result<bool> {
    let floor = commit::read(store, ancestor)?.depth;
    let mut seen = HashSet::from([descendant]);
    let mut queue = BinaryHeap::from([(u64::MAX, descendant)]);
    while let Some((_, id)) = queue.pop() {
        if id == ancestor {
            return Ok(true);
        }
        let commit = commit::read(store, id)?;
        if commit.depth <= floor {
            continue;
        }
        let parents: BTreeSet<CommitId> = commit.parents.into_iter().filter(|parent| seen.insert(*parent)).collect();
        queue.extend(parents.into_iter().map(|parent| (commit.depth - 1, parent)));
    }
    Ok(false)
}
