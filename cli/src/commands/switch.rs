//! `shard switch REF`

use serde::Serialize;
use shard_core::Error;
use shard_core::history::History;
use shard_core::history::branch::{branch_not_found, check_branch_free};
use shard_core::history::commit::{self, Trust};
use shard_core::history::peer::PeerBranch;
use shard_core::history::ref_name::RefName;
use shard_core::history::refs::Head;
use shard_core::history::revision::{Base, Revision};
use shard_core::ids::CommitId;
use shard_core::repository::Repository;
use shard_core::worktree::checkout::{Obstacles, SwitchTarget};

use super::branch::is_named;
use crate::args::SwitchArgs;
use crate::failure::{Code, Failure, Hint, Result, hint};
use crate::invocation::Invocation;
use crate::page::{Page, bold, dim, id, plain, short, warn};
use crate::quantity;
use crate::view::{self, CheckoutReport, View, Warning};

/// Where a command line leads.
struct Goal {
    target: SwitchTarget,
    /// The branch of a peer that a new branch is to follow.
    follows: Option<PeerBranch>,
}

/// Goes to a branch or commit, or ends a checkout that was interrupted.
pub(super) fn run(invocation: &Invocation, args: &SwitchArgs) -> Result<Switched> {
    let repository = invocation.open_to_change()?;
    let dry_run = invocation.global.dry_run;
    if args.r#continue || args.abort {
        return end(invocation, &repository, args.r#continue);
    }
    let state = repository.state()?;
    let store = repository.store(&state)?;
    let history = repository.history(&state, &store);
    let goal = goal(&history, args)?;
    if let (Some(id), false) = (goal.target.commit, args.untrusted) {
        check_trust(&repository, &history, id, args)?;
    }
    let obstacles = if args.discard { Obstacles::Discard } else { Obstacles::Refuse };
    let before = state.head.clone();
    let blocked = |error: Error| match (error, &args.target) {
        (error @ Error::WorktreeDirty { .. }, Some(target)) => Failure::from(error).hint(hint::switch_discard(target)),
        (error, _) => error.into(),
    };
    let report = if dry_run {
        let plan = repository.plan_switch(&goal.target, obstacles)?;
        if !plan.blocked.is_empty() {
            return Err(blocked(Error::WorktreeDirty { blocked: plan.blocked }));
        }
        CheckoutReport::planned(&plan, view::Head::new(&goal.target.head, goal.target.commit))
    } else {
        let report = repository.switch(&goal.target, obstacles, &invocation.progress).map_err(blocked)?;
        if let (Some(peer), Head::Branch(name)) = (&goal.follows, &goal.target.head) {
            repository.set_branch_upstream(name, Some(&peer.upstream()))?;
        }
        report.into()
    };
    let left = match before {
        Head::Detached(id) if !is_named(&history, id, None)? && goal.target.commit != Some(id) => Some(id.to_string()),
        _ => None,
    };
    let follows = goal.follows.map(|peer| format!("{}/{}", history.peer_name(&peer.actor), peer.branch));
    let stayed = before == goal.target.head;
    Ok(Switched { report, created: goal.target.create, stayed, follows, left, dry_run })
}

/// Ends an interrupted checkout. A dry run only says whether there is one.
fn end(invocation: &Invocation, repository: &Repository, forward: bool) -> Result<Switched> {
    let dry_run = invocation.global.dry_run;
    let report = if dry_run {
        let state = repository.state()?;
        let Some(pending) = &state.index.pending else {
            return Err(Failure::usage("no checkout was interrupted").hint(hint::status()));
        };
        let head = match forward {
            true => view::Head::new(&pending.head, pending.commit),
            false => view::Head::new(&state.head, state.head_commit()),
        };
        CheckoutReport::planned(&shard_core::worktree::CheckoutPlan::default(), head)
    } else {
        let ended = repository.end_checkout(forward, &invocation.progress);
        ended.map_err(|error| Failure::from(error).hint(hint::status()))?.into()
    };
    Ok(Switched { report, created: false, stayed: false, follows: None, left: None, dry_run })
}

/// Finds what the command line names.
fn goal(history: &History<'_>, args: &SwitchArgs) -> Result<Goal> {
    let state = history.state();
    if let Some(name) = &args.create {
        let name = RefName::branch(name)?;
        check_branch_free(state, &name, None).or_else(|error| match error {
            // The branch HEAD stands on without a commit is not there yet: beginning it anew changes nothing.
            Error::BranchExists { name: taken }
                if state.branch() == Some(&taken) && !state.heads.contains_key(&taken) =>
            {
                Ok(())
            }
            other => Err(other),
        })?;
        let follows = args.target.as_deref().map(|target| history.peer_branch(target)).transpose()?.flatten();
        let commit = match &args.target {
            Some(revision) => Some(history.resolve(&revision.parse()?)?),
            None => state.head_commit(),
        };
        let target = SwitchTarget { head: Head::Branch(name.to_string()), commit, create: commit.is_some() };
        return Ok(Goal { target, follows });
    }
    let text = args.target.as_deref().unwrap_or("HEAD");
    let revision: Revision = text.parse()?;
    if args.detach {
        let commit = history.resolve(&revision)?;
        return Ok(Goal { target: detached(commit), follows: None });
    }
    let branch = match &revision {
        Revision { base: Base::Branch(name) | Base::Name(name), steps, path: None } if steps.is_empty() => {
            Some(name.to_string())
        }
        _ => None,
    };
    if let Some(name) = &branch {
        if let Some(commit) = state.heads.get(name) {
            let target = SwitchTarget { head: Head::Branch(name.clone()), commit: Some(*commit), create: false };
            return Ok(Goal { target, follows: None });
        }
        if state.branch() == Some(name) {
            let target = SwitchTarget { head: Head::Branch(name.clone()), commit: None, create: false };
            return Ok(Goal { target, follows: None });
        }
    }
    match history.resolve(&revision) {
        // A tag, an id or a branch of another: going there leaves no branch, so that is to be asked for.
        Ok(_) => Err(Failure::new(Code::BranchNotFound, format!("`{text}` is a commit, not a branch of yours"))
            .detail("branch", text)
            .hint(hint::switch_detach(text))
            .hint(hint::branches())),
        Err(error @ Error::RevisionNotFound { .. }) => match branch {
            Some(name) => theirs(history, &name),
            None => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

fn detached(commit: CommitId) -> SwitchTarget {
    SwitchTarget { head: Head::Detached(commit), commit: Some(commit), create: false }
}

/// Finds a branch that only another has: it is made here, and follows theirs.
fn theirs(history: &History<'_>, name: &str) -> Result<Goal> {
    let mut found: Vec<PeerBranch> = Vec::new();
    for set in history.peers() {
        if let Some(target) = set.names().heads.get(name) {
            found.push(PeerBranch { actor: set.header().actor, branch: name.to_owned(), target: *target });
        }
    }
    match found.len() {
        0 => Err(branch_not_found(history.state(), name).into()),
        1 => {
            check_branch_free(history.state(), &RefName::branch(name)?, None)?;
            let peer = found.remove(0);
            if !history.store().contains(peer.target.0)? {
                return Err(Error::ObjectNotFound { id: peer.target.digest() }.into());
            }
            let head = Head::Branch(name.to_owned());
            let target = SwitchTarget { head, commit: Some(peer.target), create: true };
            Ok(Goal { target, follows: Some(peer) })
        }
        _ => {
            let candidates = found.iter().map(|one| format!("{}/{name}", history.peer_name(&one.actor))).collect();
            Err(Error::RevisionAmbiguous { revision: name.to_owned(), candidates }.into())
        }
    }
}

/// Refuses a commit whose signer does not count here. One's own is let through: it is only marked.
fn check_trust(repository: &Repository, history: &History<'_>, id: CommitId, args: &SwitchArgs) -> Result<()> {
    let signed = commit::read_signed(history.store(), id)?;
    let trust = history.trust(&signed);
    let own = trust == Trust::NotAllowed && signed.claimed().actor == repository.actor();
    if trust == Trust::Good || own {
        return Ok(());
    }
    let failure = Failure::from(Error::AccessDenied { commit: id.digest(), trust });
    Err(match &args.target {
        Some(target) => failure.hint(hint::switch_untrusted(target)),
        None => failure,
    })
}

/// Where HEAD went, or would go.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Switched {
    report: CheckoutReport,
    #[serde(skip)]
    created: bool,
    #[serde(skip)]
    stayed: bool,
    #[serde(skip)]
    follows: Option<String>,
    /// The commit HEAD stood at, where nothing names it any more.
    #[serde(skip)]
    left: Option<String>,
    #[serde(skip)]
    dry_run: bool,
}

/// Lists what would be done to the worktree.
pub(super) fn render_plan(page: &mut Page, report: &CheckoutReport) {
    if report.plan.is_empty() {
        return page.aside([dim("would change no file")]);
    }
    let rows: Vec<_> = report
        .plan
        .iter()
        .map(|planned| vec![plain(""), warn(format!("would {}", planned.action)), plain(&*planned.path)])
        .collect();
    page.table(&rows);
}

impl View for Switched {
    fn render(&self, page: &mut Page) {
        let CheckoutReport { head, written, removed, bytes, rescued, .. } = &self.report;
        let mut subject = match &head.branch {
            Some(branch) if self.created => vec![plain("new branch "), bold(&**branch)],
            Some(branch) => vec![plain("on "), bold(&**branch)],
            None => vec![plain("on no branch")],
        };
        match &head.commit {
            Some(commit) => subject.extend([plain(", at "), id(short(commit))]),
            None => subject.push(plain(", no commit yet")),
        }
        if self.dry_run {
            subject.insert(0, plain("would be "));
            page.line(subject);
            return render_plan(page, &self.report);
        }
        if self.stayed && written + removed == 0 {
            subject.insert(0, plain("already "));
            return page.aside(subject);
        }
        let amount = |count: u64, what: &str| match count {
            0 => String::new(),
            count => format!("{} {what}", quantity::count(count)),
        };
        let size = if *bytes == 0 { String::new() } else { quantity::bytes(*bytes) };
        let follows = self.follows.as_ref().map(|name| format!("follows {name}")).unwrap_or_default();
        let over = amount(rescued.len() as u64, "overwritten");
        page.done(subject, &[amount(*written, "written"), size, amount(*removed, "removed"), over, follows]);
    }

    fn warnings(&self) -> Vec<Warning> {
        let mut warnings = self.report.warnings();
        if let Some(left) = &self.left {
            let text = format!("commit {} is on no branch and has no tag", short(left));
            warnings.push(Warning::notice("head.unnamed", text));
        }
        warnings
    }

    fn next(&self) -> Vec<Hint> {
        match (&self.left, &self.report.head.branch) {
            (Some(left), _) => vec![hint::branch_new_at("kept", left)],
            (None, None) if !self.dry_run => vec![hint::switch_create("topic")],
            _ => Vec::new(),
        }
    }
}
