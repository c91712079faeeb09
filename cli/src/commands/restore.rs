//! `shard restore PATH…`

use serde::Serialize;
use shard_core::history::commit;
use shard_core::ids::CommitId;
use shard_core::repository::Repository;
use shard_core::tree::{Tree, walk};
use shard_core::{Error, RepoPath};

use super::switch;
use crate::args::RestoreArgs;
use crate::failure::Result;
use crate::invocation::Invocation;
use crate::page::{Page, bold, plain};
use crate::view::{CheckoutReport, Head, PlannedPath, View, Warning};
use crate::{place, quantity};

/// Takes files back, on disk or in what is staged. What is overwritten on disk is kept in the store.
pub(super) fn run(invocation: &Invocation, args: &RestoreArgs) -> Result<Restored> {
    let repository = invocation.open_to_change()?;
    let paths = place::resolve_all(repository.layout().worktree.path(), &invocation.directory, &args.paths)?;
    let state = repository.state()?;
    let store = repository.store(&state)?;
    let from = match &args.from {
        Some(revision) => Some(repository.history(&state, &store).resolve(&revision.parse()?)?),
        None => None,
    };
    let dry_run = invocation.global.dry_run;
    let head = Head::new(&state.head, state.head_commit());
    let report = match (args.staged, dry_run) {
        (true, _) => unstage(&repository, &paths, from, dry_run, head)?,
        (false, true) => CheckoutReport::planned(&repository.plan_restore(&paths, from)?, head),
        (false, false) => repository.restore(&paths, from, false, &invocation.progress)?.into(),
    };
    Ok(Restored { report, staged: args.staged, dry_run })
}

fn unstage(
    repository: &Repository,
    paths: &[RepoPath],
    from: Option<CommitId>,
    dry_run: bool,
    head: Head,
) -> Result<CheckoutReport> {
    let mut plan = Vec::new();
    let written = if dry_run {
        plan = staged_at(repository, paths, from)?;
        plan.len() as u64
    } else {
        repository.unstage(paths, from)?
    };
    let nothing = shard_core::worktree::CheckoutPlan::default();
    Ok(CheckoutReport { written, plan, ..CheckoutReport::planned(&nothing, head) })
}

/// Lists what is staged at and beneath the paths and differs from the commit.
fn staged_at(repository: &Repository, paths: &[RepoPath], from: Option<CommitId>) -> Result<Vec<PlannedPath>> {
    let state = repository.state()?;
    let store = repository.store(&state)?;
    let tree = match from.or_else(|| state.head_commit()) {
        Some(id) => commit::read(&store, id)?.tree,
        None => Tree::empty_id(),
    };
    for path in paths.iter().filter(|path| !path.is_root()) {
        if walk::find(&store, tree, path)?.is_none() && walk::find(&store, state.index.tree, path)?.is_none() {
            return Err(Error::PathNotFound { path: path.to_string() }.into());
        }
    }
    let changes = walk::compare(&store, Some(state.index.tree), Some(tree))?;
    let within = |path: &RepoPath| paths.iter().any(|above| path.starts_with(above));
    Ok(changes
        .into_iter()
        .filter(|change| within(&change.path))
        .map(|change| {
            let action = if change.new.is_some() { "write" } else { "remove" };
            PlannedPath { path: change.path.to_string(), action: action.to_owned() }
        })
        .collect())
}

/// What was taken back, or would be.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Restored {
    report: CheckoutReport,
    #[serde(skip)]
    staged: bool,
    #[serde(skip)]
    dry_run: bool,
}

impl View for Restored {
    fn render(&self, page: &mut Page) {
        let CheckoutReport { written, removed, bytes, rescued, .. } = &self.report;
        if self.dry_run {
            return switch::render_plan(page, &self.report);
        }
        if written + removed == 0 {
            return page.aside([plain("nothing to restore")]);
        }
        if self.staged {
            return page.done([plain("unstaged "), bold(quantity::of(*written, "path"))], &[]);
        }
        let gone = if *removed == 0 { String::new() } else { format!("{} removed", quantity::count(*removed)) };
        let over = if rescued.is_empty() { String::new() } else { format!("{} overwritten", rescued.len()) };
        let size = if *bytes == 0 { String::new() } else { quantity::bytes(*bytes) };
        page.done([plain("restored "), bold(quantity::of(*written, "file"))], &[size, gone, over]);
    }

    fn warnings(&self) -> Vec<Warning> {
        self.report.warnings()
    }
}
