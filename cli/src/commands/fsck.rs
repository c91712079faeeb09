//! `shard fsck`

use shard_core::repository::fsck::Problem;
use shard_core::repository::{Fault, FsckLevel, Repository, layout};

use super::verify::{code_for, failed, remedies, render_failures};
use crate::args::FsckArgs;
use crate::failure::{Code, Failure, Result, hint};
use crate::invocation::Invocation;
use crate::page::{Page, bad, dim, id, plain, short};
use crate::quantity;
use crate::terminal::Terminal;
use crate::view::{AffectedPath, FileNote, FsckReport, ObjectFailure, View};

/// Most affected paths shown to a person; programs get all of them.
const MAX_AFFECTED: usize = 50;

/// Looks for damage. Takes no lock and changes nothing.
pub(super) fn run(invocation: &Invocation, args: &FsckArgs, terminal: &mut dyn Terminal) -> Result<FsckReport> {
    let level = match (args.quick, args.full) {
        (true, _) => FsckLevel::Quick,
        (_, true) => FsckLevel::Full,
        _ => FsckLevel::Default,
    };
    let view = check(invocation, &invocation.open()?, level)?;
    if view.failed == 0 {
        return Ok(view);
    }
    let failure = failed(invocation, &view, &view.failures, view.failed, terminal)?;
    let failure = if level == FsckLevel::Full { failure } else { failure.hint(hint::fsck()) };
    Err(remedies(&view.failures).into_iter().fold(failure, Failure::hint))
}

/// Runs fsck and returns what it found as an answer.
pub(super) fn check(invocation: &Invocation, repository: &Repository, level: FsckLevel) -> Result<FsckReport> {
    let report = repository.fsck(level, &invocation.progress)?;
    let affected =
        |one: shard_core::repository::fsck::Affected| AffectedPath { commit: one.commit.to_string(), path: one.path };
    Ok(FsckReport {
        level: report.level.name().to_owned(),
        packs: report.packs,
        frames: report.frames,
        commits: report.commits,
        objects: report.objects,
        bytes: report.bytes,
        failures: report.problems.into_iter().map(ObjectFailure::from).collect(),
        failed: report.found,
        affected: report.affected.into_iter().map(affected).collect(),
        notes: report.notes.into_iter().map(|note| FileNote { file: note.file, message: note.what }).collect(),
    })
}

impl From<Problem> for ObjectFailure {
    fn from(problem: Problem) -> Self {
        let of_log = problem.file.as_deref() == Some(layout::WAL) && problem.fault != Fault::Foreign;
        let code = if of_log { Code::LogDamaged } else { code_for(problem.fault) };
        Self {
            id: problem.object.map(|id| id.to_string()),
            path: problem.path,
            file: problem.file,
            offset: problem.offset,
            code: code.as_str().to_owned(),
            why: problem.why,
        }
    }
}

impl View for FsckReport {
    fn render(&self, page: &mut Page) {
        let details = [
            quantity::of(self.objects, "object"),
            quantity::of(self.commits, "commit"),
            quantity::bytes(self.bytes),
            format!("{} level", self.level),
        ];
        let packs = quantity::of(self.packs, "pack");
        if self.failed == 0 {
            page.done([plain(format!("{packs} sound"))], &details);
        } else {
            let failed = quantity::of(self.failed, "problem");
            page.line([bad(format!("✗ {failed}")), plain(format!(" in {packs} ({})", details.join(", ")))]);
            render_failures(&self.failures, page);
        }
        if !self.affected.is_empty() {
            page.line([plain("needed by:")]);
        }
        for one in self.affected.iter().take(MAX_AFFECTED) {
            let path = one.path.as_deref().unwrap_or("the commit itself");
            page.line([plain("  "), id(short(&one.commit)), plain(" "), plain(path)]);
        }
        if self.affected.len() > MAX_AFFECTED {
            let more = quantity::count((self.affected.len() - MAX_AFFECTED) as u64);
            page.line([dim(format!("  and {more} more; --json names them all"))]);
        }
        for note in &self.notes {
            page.aside([dim(format!("note: {}: {}", note.file, note.message))]);
        }
    }
}
