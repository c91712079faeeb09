//! `shard rm PATH…`

use serde::Serialize;
use shard_core::Error;

use crate::args::RmArgs;
use crate::failure::{Failure, Hint, Result, hint};
use crate::invocation::Invocation;
use crate::page::{Page, bold, plain};
use crate::view::{AddReport, View};
use crate::{place, quantity};

/// Takes paths out of the next commit, and off the disk unless they are to be kept there.
pub(super) fn run(invocation: &Invocation, args: RmArgs) -> Result<Removed> {
    let repository = invocation.open_to_change()?;
    let paths = place::resolve_all(repository.layout().worktree.path(), &invocation.directory, &args.paths)?;
    let dry_run = invocation.global.dry_run;
    let report = repository.remove(&paths, args.cached, args.force, dry_run).map_err(|error| match error {
        Error::WorktreeDirty { blocked } => {
            let verb = if blocked.len() == 1 { "differs" } else { "differ" };
            let count = quantity::of(blocked.len() as u64, "file");
            let mut failure = Failure::from(Error::WorktreeDirty { blocked });
            failure.message = format!("{count} to be removed {verb} from what is staged");
            match args.paths.first().and_then(|path| path.to_str()) {
                Some(path) => failure.hint(hint::rm_force(path)),
                None => failure,
            }
        }
        other => other.into(),
    })?;
    let listed = report.removed.iter().map(ToString::to_string).collect();
    Ok(Removed { report: report.into(), listed, cached: args.cached, dry_run })
}

/// What was removed, or would be.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Removed {
    report: AddReport,
    #[serde(skip)]
    listed: Vec<String>,
    #[serde(skip)]
    cached: bool,
    #[serde(skip)]
    dry_run: bool,
}

impl View for Removed {
    fn render(&self, page: &mut Page) {
        let files = quantity::of(self.report.removed, "file");
        if self.dry_run {
            page.line([plain(format!("would remove {files}"))]);
            return self.listed.iter().for_each(|path| page.line([plain("  "), plain(&**path)]));
        }
        if self.report.removed == 0 {
            return page.aside([plain("nothing to remove")]);
        }
        let kept = if self.cached { "kept on disk" } else { "" };
        page.done([plain("removed "), bold(files)], &[kept.to_owned()]);
    }

    fn next(&self) -> Vec<Hint> {
        if self.dry_run || self.report.removed == 0 { Vec::new() } else { vec![hint::commit_message()] }
    }
}
