//! `shard add PATH…`

use std::path::PathBuf;

use serde::Serialize;
use shard_core::{Error, RepoPath};

use crate::args::AddArgs;
use crate::failure::{Failure, Hint, Result, hint};
use crate::invocation::Invocation;
use crate::page::{Page, plain};
use crate::view::{self, AddReport, View, Warning};
use crate::{place, quantity};

/// Stages what the disk has at and beneath the paths, deletions included.
pub(super) fn run(invocation: &Invocation, args: AddArgs) -> Result<Staged> {
    let repository = invocation.open_to_change()?;
    let mut paths = place::resolve_all(repository.layout().worktree.path(), &invocation.directory, &args.paths)?;
    if args.all {
        paths = vec![RepoPath::root()];
    }
    let dry_run = invocation.global.dry_run;
    let options = shard_core::worktree::AddOptions { force: args.force, dry_run };
    let report =
        repository.add(&paths, options, &invocation.progress).map_err(|error| ignored(error, &paths, &args.paths))?;
    Ok(Staged { report: report.into(), dry_run })
}

/// Names an ignored path as it was typed, so that the hint can be pasted where it was.
fn ignored(error: Error, paths: &[RepoPath], typed: &[PathBuf]) -> Failure {
    let at = match &error {
        Error::PathIgnored { path, .. } => paths.iter().position(|one| one.as_str() == path),
        _ => None,
    };
    let mut failure = Failure::from(error);
    if let Some(typed) = at.and_then(|at| typed.get(at)).and_then(|typed| typed.to_str()) {
        failure.hints = vec![hint::add_force(typed), hint::ignore_check(typed)];
    }
    failure
}

/// What was staged, or would be.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Staged {
    report: AddReport,
    #[serde(skip)]
    dry_run: bool,
}

impl View for Staged {
    fn render(&self, page: &mut Page) {
        let AddReport { added, changed, removed, bytes, new_bytes, .. } = &self.report;
        let counts: Vec<String> = [(*added, "added"), (*changed, "changed"), (*removed, "removed")]
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{} {what}", quantity::count(count)))
            .collect();
        if counts.is_empty() {
            return page.aside([plain("nothing to stage")]);
        }
        let subject = format!("{} {}", if self.dry_run { "would stage" } else { "staged" }, counts.join(", "));
        if self.dry_run {
            return page.line([plain(subject)]);
        }
        let amount = |bytes: u64, what: &str| match bytes {
            0 => String::new(),
            bytes => format!("{}{what}", quantity::bytes(bytes)),
        };
        page.done([plain(subject)], &[amount(*bytes, ""), amount(*new_bytes, " new")]);
    }

    fn warnings(&self) -> Vec<Warning> {
        view::skipped_warnings(&self.report.skipped)
    }

    fn next(&self) -> Vec<Hint> {
        let AddReport { added, changed, removed, .. } = self.report;
        if self.dry_run || added + changed + removed == 0 { Vec::new() } else { vec![hint::commit_message()] }
    }
}
