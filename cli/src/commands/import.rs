//! `shard import`

use std::sync::Arc;

use shard_core::RepoPath;
use shard_core::worktree::ImportOptions;
use shard_storage::vfs::Real;

use crate::args::ImportArgs;
use crate::failure::{Code, Failure, Result};
use crate::invocation::Invocation;
use crate::page::{Page, id, plain, short};
use crate::quantity;
use crate::terminal::Terminal;
use crate::view::{ImportReport, Skipped, View, Warning, skipped_warnings};

/// Commits a directory from elsewhere on top of HEAD and brings it into the worktree.
pub(super) fn run(invocation: &Invocation, args: &ImportArgs, terminal: &mut dyn Terminal) -> Result<ImportReport> {
    let repository = invocation.open_to_change()?;
    if !invocation.global.dry_run {
        invocation.unlock(&repository, terminal)?;
    }
    let source = invocation.path(&args.source);
    if !source.is_dir() {
        let reason = if source.exists() { "is no directory" } else { "does not exist" };
        let text = args.source.display().to_string();
        return Err(Failure::new(Code::PathNotFound, format!("{text} {reason}")).detail("path", text));
    }
    let prefix = match &args.prefix {
        Some(prefix) => RepoPath::parse(prefix.trim_end_matches('/'))?,
        None => RepoPath::root(),
    };
    let named = source.file_name().map_or_else(|| "/".to_owned(), |name| name.to_string_lossy().into_owned());
    let message = args.message.clone().unwrap_or_else(|| format!("import {named}"));
    let options = ImportOptions { prefix, message, dry_run: invocation.global.dry_run };
    let report = repository.import_directory(&(Arc::new(Real) as _), &source, &options, &invocation.progress)?;
    Ok(ImportReport {
        commit: report.commit.map(|commit| commit.to_string()),
        source: source.canonicalize().unwrap_or(source).display().to_string(),
        files: report.files,
        bytes: report.bytes,
        new_bytes: report.new_bytes,
        skipped: report.skipped.into_iter().map(Skipped::from).collect(),
    })
}

impl View for ImportReport {
    fn render(&self, page: &mut Page) {
        let details = [
            quantity::of(self.files, "file"),
            quantity::bytes(self.bytes),
            format!("{} new", quantity::bytes(self.new_bytes)),
        ];
        match &self.commit {
            Some(commit) => page.done([id(short(commit)), plain(" holds "), plain(&*self.source)], &details),
            None => {
                let what = format!(": {}", details.join(", "));
                page.line([plain("would import "), plain(&*self.source), plain(what)]);
            }
        }
    }

    fn warnings(&self) -> Vec<Warning> {
        skipped_warnings(&self.skipped)
    }
}
