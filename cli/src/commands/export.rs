//! `shard export`

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use shard_core::Error;
use shard_core::history::revision::Revision;
use shard_storage::vfs::Real;

use crate::args::ExportArgs;
use crate::failure::{Failure, Result};
use crate::invocation::Invocation;
use crate::page::{Page, id, plain, short};
use crate::quantity;
use crate::view::{ExportReport, Skipped, View, Warning, skipped_warnings};

/// Writes a commit's files to a directory that is absent or empty, or to a new tar file.
pub(super) fn run(invocation: &Invocation, args: &ExportArgs) -> Result<ExportReport> {
    let repository = invocation.open()?;
    let state = repository.state()?;
    let store = repository.store(&state)?;
    let revision: Revision = args.revision.parse()?;
    let commit = repository.history(&state, &store).resolve(&revision)?;
    let target = invocation.path(&args.target);
    let is_tar = target.extension().is_some_and(|extension| extension == "tar");
    let report = match (invocation.global.dry_run, is_tar) {
        (true, _) => repository.export_tar(commit, &mut std::io::sink(), &invocation.progress)?,
        (false, true) => to_tar(&repository, commit, &target, invocation)?,
        (false, false) => repository.export_directory(&(Arc::new(Real) as _), commit, &target, &invocation.progress)?,
    };
    let skipped = report.skipped.iter().map(|path| Skipped { path: path.to_string(), code: "unsupported".to_owned() });
    Ok(ExportReport {
        commit: report.commit.to_string(),
        target: target.canonicalize().unwrap_or(target).display().to_string(),
        files: report.files,
        bytes: report.bytes,
        skipped: skipped.collect(),
    })
}

/// Writes beside the target first, so that a tar file of this name is whole.
fn to_tar(
    repository: &shard_core::repository::Repository,
    commit: shard_core::ids::CommitId,
    target: &Path,
    invocation: &Invocation,
) -> Result<shard_core::worktree::ExportReport> {
    let failed = |verb: &str, error: &std::io::Error| Failure::io(format!("{verb} {}", target.display()), error);
    if target.exists() {
        let reason = "exists already".to_owned();
        return Err(Error::PathExists { path: target.to_owned(), reason }.into());
    }
    let beside = target.with_extension(format!("tar.tmp-{}", std::process::id()));
    let file = File::create_new(&beside).map_err(|error| failed("create", &error))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let written =
        repository.export_tar(commit, &mut out, &invocation.progress).map_err(Failure::from).and_then(|report| {
            out.flush().and_then(|()| out.get_ref().sync_all()).map_err(|error| failed("write", &error))?;
            std::fs::rename(&beside, target).map_err(|error| failed("rename to", &error))?;
            Ok(report)
        });
    if written.is_err() {
        // Half an archive is of no use to anybody.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

impl View for ExportReport {
    fn render(&self, page: &mut Page) {
        let details = [quantity::of(self.files, "file"), quantity::bytes(self.bytes)];
        page.done([id(short(&self.commit)), plain(" written to "), plain(&*self.target)], &details);
    }

    fn warnings(&self) -> Vec<Warning> {
        skipped_warnings(&self.skipped)
    }
}
