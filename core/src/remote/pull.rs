//! Pulling: the current branch follows another repository's, forwards only.

use shard_crypto::ActorId;

use super::Source;
use super::fetch::{FetchReport, fetch};
use crate::history::commit::{self, Trust};
use crate::history::dag::Dag;
use crate::history::ref_report::RefUpdate;
use crate::history::refs::{Head, RefNames, RefSet};
use crate::ids::CommitId;
use crate::object::ObjectStore;
use crate::progress::Progress;
use crate::repository::{Repository, State};
use crate::worktree::CheckoutReport;
use crate::worktree::checkout::{Obstacles, SwitchTarget};
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
    /// The branch that follows.
    pub branch: String,
    /// What it follows: `ACTOR/branch`.
    pub upstream: String,
    /// What became of it.
    pub outcome: PullOutcome,
    /// How it moved.
    pub update: Option<RefUpdate>,
    /// What was done to the worktree.
    pub checkout: Option<CheckoutReport>,
}

/// Fetches, then moves the current branch, index and worktree forwards to the source's branch. Refs of others are
/// fetched even where the branch cannot follow; the branch moves only once the worktree has.
///
/// # Errors
/// Those of [`fetch()`]; [`Error::BranchNotFound`]; [`Error::AccessDenied`] where the commit is not trusted;
/// [`Error::RefDiverged`] where the branch has commits the source's lacks; [`Error::WorktreeDirty`] where changes are in
/// the way, which stay as they are.
pub fn pull(
    repository: &Repository,
    source: &Source,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<PullReport> {
    let fetch = fetch(repository, source, progress)?;
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
    let theirs = published(repository, &state, actor, wanted)?;
    let ours = state.head_commit();
    let mut report = PullReport {
        fetch,
        branch: branch.to_owned(),
        upstream: format!("{actor}/{wanted}"),
        outcome: PullOutcome::UpToDate,
        update: None,
        checkout: None,
    };
    let store = repository.store(&state)?;
    if let Some(ours) = ours {
        let dag = Dag::new(&store);
        if dag.is_ancestor(theirs, ours)? {
            return Ok(report);
        }
        if !dag.is_ancestor(ours, theirs)? {
            return Err(Error::RefDiverged { branch: report.branch, ours: ours.digest(), theirs: theirs.digest() });
        }
    }
    check_trust(repository, &store, theirs, options.untrusted)?;
    let target = SwitchTarget { head: Head::Branch(branch.to_owned()), commit: Some(theirs), create: true };
    report.checkout = Some(repository.switch(&target, Obstacles::Refuse, progress)?);
    report.outcome = PullOutcome::FastForward;
    report.update = Some(RefUpdate { name: branch.to_owned(), old: ours, new: Some(theirs) });
    repository.tidy();
    Ok(report)
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
    Err(Error::AccessDenied { commit: commit.digest(), trust })
}
