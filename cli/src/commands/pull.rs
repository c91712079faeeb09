//! `shard pull`

use std::path::PathBuf;
use std::sync::Arc;

use shard_core::remote::{self, PeerBook, PullOptions, Source};
use shard_core::repository::Repository;
use shard_storage::vfs::Real;

use crate::args::PullArgs;
use crate::failure::{Failure, Result};
use crate::invocation::Invocation;
use crate::settings;
use crate::terminal::Terminal;
use crate::view::{CheckoutReport, FetchReport, RefUpdate};

/// Fetches from another repository by path and moves the current branch forwards.
pub(super) fn run(invocation: &Invocation, args: &PullArgs, terminal: &mut dyn Terminal) -> Result<FetchReport> {
    let repository = invocation.open_to_change()?;
    let path = source_of(invocation, args, &repository)?;
    let source = Source::open(Arc::new(Real), &path, settings::for_repository(invocation)?)?;
    let here = repository.layout().worktree.path().display().to_string();
    if invocation.global.dry_run {
        let plan = remote::plan_fetch(&repository, &source, &invocation.progress)?;
        return Ok(FetchReport {
            source: path.display().to_string(),
            path: here,
            refs: Vec::new(),
            objects: plan.objects,
            bytes: plan.bytes,
            outcome: "would_fetch".to_owned(),
            checkout: None,
        });
    }
    invocation.unlock(&repository, terminal)?;
    let options = PullOptions { branch: args.revision.clone(), untrusted: args.untrusted };
    let report = remote::pull(&repository, &source, &options, &invocation.progress)?;
    let followed = report.update.map(RefUpdate::from);
    Ok(FetchReport {
        source: path.display().to_string(),
        path: here,
        refs: report.fetch.refs.into_iter().map(RefUpdate::from).chain(followed).collect(),
        objects: report.fetch.objects,
        bytes: report.fetch.bytes,
        outcome: report.outcome.name().to_owned(),
        checkout: report.checkout.map(CheckoutReport::from),
    })
}

fn source_of(invocation: &Invocation, args: &PullArgs, repository: &Repository) -> Result<PathBuf> {
    if let Some(source) = &args.source {
        let given = invocation.path(source);
        return given.canonicalize().map_err(|error| Failure::io(format!("open {}", given.display()), &error));
    }
    let state = repository.state()?;
    let book = PeerBook::read(repository)?;
    match book.followed(&state) {
        Some(path) => Ok(path.to_owned()),
        None => Err(Failure::usage("the current branch follows nothing: name the directory to pull from")),
    }
}
