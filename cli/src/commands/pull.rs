//! `shard pull`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shard_core::Error;
use shard_core::remote::{self, PeerBook, PullOptions, Source};
use shard_core::repository::Repository;
use shard_storage::vfs::Real;

use super::clone::untrusted;
use crate::args::PullArgs;
use crate::failure::{Failure, Result, hint};
use crate::invocation::Invocation;
use crate::page::short;
use crate::settings;
use crate::terminal::Terminal;
use crate::view::{CheckoutReport, FetchReport, RefUpdate};

/// Fetches from another repository by path and moves the current branch forwards.
pub(super) fn run(invocation: &Invocation, args: &PullArgs, terminal: &mut dyn Terminal) -> Result<FetchReport> {
    let repository = invocation.open_to_change()?;
    let path = source_of(invocation, args, &repository)?;
    let source = Source::open(Arc::new(Real), &path, settings::for_repository(invocation)?)?;
    let here = repository.layout().worktree.path();
    if invocation.global.dry_run {
        let plan = remote::plan_fetch(&repository, &source, &invocation.progress)?;
        let report = FetchReport::new(&path, here, "would_fetch");
        return Ok(FetchReport { objects: plan.objects, bytes: plan.bytes, ..report });
    }
    invocation.unlock(&repository, terminal)?;
    let options = PullOptions { branch: args.revision.clone(), untrusted: args.untrusted };
    let pulled = remote::pull(&repository, &source, &options, &invocation.progress);
    let report = pulled.map_err(|error| refused(error, &path, args))?;
    let mut view = FetchReport::new(&path, here, report.outcome.name()).with(report.fetch);
    view.refs.extend(report.update.map(RefUpdate::from));
    view.checkout = report.checkout.map(CheckoutReport::from);
    Ok(view)
}

/// Says where a branch that cannot follow and its source stand, and what of a source is not trusted.
fn refused(error: Error, source: &Path, args: &PullArgs) -> Failure {
    let Error::RefDiverged { branch, ours, theirs } = &error else {
        return untrusted(error, source, args.source.as_deref().unwrap_or(Path::new("")), hint::pull_untrusted);
    };
    let (ours, theirs) = (ours.to_string(), theirs.to_string());
    let (ours, theirs, shown) = (short(&ours), short(&theirs), source.display());
    let message = format!("branch `{branch}` and {shown} have diverged: yours is at {ours}, theirs at {theirs}");
    let mut failure = Failure::from(error);
    failure.message = message;
    failure.detail("source", source.display().to_string())
}

fn source_of(invocation: &Invocation, args: &PullArgs, repository: &Repository) -> Result<PathBuf> {
    if let Some(source) = &args.source {
        let given = invocation.path(source);
        return given.canonicalize().map_err(|error| Failure::io(format!("open {}", source.display()), &error));
    }
    let state = repository.state()?;
    let book = PeerBook::read(repository)?;
    match book.followed(&state) {
        Some(path) => Ok(path.to_owned()),
        None => Err(Failure::usage("the current branch follows nothing: name the directory to pull from")),
    }
}
