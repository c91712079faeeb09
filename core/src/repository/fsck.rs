//! Fsck: holding everything on disk against what it says of itself and of the rest.
//!
//! Nothing is changed. What can be derived again (index runs, catalog, views) is reported as well, since `rebuild` makes
//! it anew; leftovers that a crash may leave are notes, not problems.

mod affected;
mod logs;
mod packs;
mod refs;

use std::collections::HashSet;

use shard_storage::vfs::VfsError;

use super::fault::{Fault, ObjectFault};
use super::verify::{ChunkCheck, Scope};
use super::{Repository, State, layout};
use crate::ids::{CommitId, ObjectId};
use crate::progress::{Progress, Unit};
use crate::{Error, Result};

pub use affected::Affected;

/// How thoroughly fsck looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum FsckLevel {
    /// Headers, footers, counts, refs and logs: what frames hold is not read.
    Quick,
    /// The check of every frame too: finds damage.
    #[default]
    Default,
    /// Every object is decompressed, hashed and held against what refers to it: finds lies.
    Full,
}

impl FsckLevel {
    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Default => "default",
            Self::Full => "full",
        }
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// In what way.
    pub fault: Fault,
    /// The file under `.shard/`, where one is to blame.
    pub file: Option<String>,
    /// Where in that file, in bytes.
    pub offset: Option<u64>,
    /// The object, where one can be named.
    pub object: Option<ObjectId>,
    /// A path of the worktree that needs it.
    pub path: Option<String>,
    /// What is wrong.
    pub why: String,
}

/// Something worth knowing that is no problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The file under `.shard/`.
    pub file: String,
    /// What was found.
    pub what: String,
}

/// What fsck found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FsckReport {
    /// How thoroughly it looked.
    pub level: FsckLevel,
    /// Packs looked at.
    pub packs: u64,
    /// Frames checked.
    pub frames: u64,
    /// Commits checked.
    pub commits: u64,
    /// Objects checked, or listed by footers at the quick level.
    pub objects: u64,
    /// Bytes of packs read.
    pub bytes: u64,
    /// What is wrong, by file and place. At most 100,000; `found` counts all.
    pub problems: Vec<Problem>,
    /// How many problems there are.
    pub found: u64,
    /// Leftovers and what is due.
    pub notes: Vec<Note>,
    /// Commits and paths that need what is damaged; at the full level only.
    pub affected: Vec<Affected>,
}

/// Most problems listed.
const MAX_PROBLEMS: usize = 100_000;

impl FsckReport {
    /// Says whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.found == 0
    }

    fn problem(&mut self, problem: Problem) {
        self.found += 1;
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }

    fn file(&mut self, fault: Fault, file: &str, offset: Option<u64>, why: impl Into<String>) {
        let file = Some(file.to_owned());
        self.problem(Problem { fault, file, offset, object: None, path: None, why: why.into() });
    }

    /// Records an error that names no file better than `file`.
    fn error(&mut self, file: &str, error: &Error) {
        let offset = match error {
            Error::LogDamaged { offset, .. } => Some(*offset),
            _ => None,
        };
        self.file(Fault::of(error), file, offset, describe(error));
    }

    fn object(&mut self, fault: ObjectFault) {
        let ObjectFault { id, fault, path, why } = fault;
        self.problem(Problem { fault, file: None, offset: None, object: Some(id), path, why });
    }

    fn note(&mut self, file: impl Into<String>, what: impl Into<String>) {
        self.notes.push(Note { file: file.into(), what: what.into() });
    }

    fn finish(&mut self) {
        let key = |problem: &Problem| (problem.file.clone(), problem.offset, problem.path.clone(), problem.object);
        self.problems.sort_by_cached_key(key);
        self.problems.dedup();
        self.notes.sort_by(|a, b| (&a.file, &a.what).cmp(&(&b.file, &b.what)));
    }
}

/// Says what an error is about, with what the operating system said of it.
fn describe(error: &Error) -> String {
    match error {
        Error::FileCorrupt { reason, .. } => reason.clone(),
        Error::Disk(VfsError { source, .. }) => format!("{error}: {source}"),
        other => other.to_string(),
    }
}

impl Repository {
    /// Looks for damage, as thoroughly as `level` says. Takes no lock and changes nothing; runs beside writers, whose
    /// newest packs it may not see.
    ///
    /// Reads packs on `settings.threads` threads with 5 MiB of memory each.
    ///
    /// # Errors
    /// [`Error::Cancelled`]. Damage is reported.
    pub fn fsck(&self, level: FsckLevel, progress: &dyn Progress) -> Result<FsckReport> {
        let mut report = FsckReport { level, ..FsckReport::default() };
        self.check_identity(&mut report);
        self.check_log(&mut report);
        let state = match self.state() {
            Ok(state) => Some(state),
            Err(error) => {
                report.error(&self.file_of(&error).unwrap_or_else(|| layout::WAL.to_owned()), &error);
                None
            }
        };
        let bad = self.check_packs(state.as_ref(), level, &mut report, progress)?;
        self.check_runs(level, &mut report);
        if let Some(state) = &state {
            self.check_growing(state, &mut report);
            self.check_view(state, &mut report);
            match self.store(state) {
                Ok(store) => {
                    self.check_refs(state, &store, &mut report);
                    if level == FsckLevel::Full {
                        self.check_closure(state, &store, &bad, &mut report, progress)?;
                    }
                }
                Err(error) => {
                    let file = self.file_of(&error).unwrap_or_else(|| layout::CATALOG.to_owned());
                    report.error(&file, &error);
                }
            }
        }
        self.note_leftovers(&mut report);
        report.finish();
        Ok(report)
    }

    /// Returns the file under `.shard/` that an error names.
    fn file_of(&self, error: &Error) -> Option<String> {
        let path = match error {
            Error::FileCorrupt { path, .. }
            | Error::LogDamaged { path, .. }
            | Error::PackForeign { path }
            | Error::RepositoryFormat { path, .. }
            | Error::Disk(VfsError { path, .. }) => path,
            _ => return None,
        };
        path.strip_prefix(self.layout.shard.path()).ok().map(|file| file.display().to_string())
    }

    fn check_closure(
        &self,
        state: &State,
        store: &crate::object::ObjectStore,
        bad: &HashSet<ObjectId>,
        report: &mut FsckReport,
        progress: &dyn Progress,
    ) -> Result<()> {
        progress.phase("history", None, Unit::Bytes);
        let commits: Vec<CommitId> = self.tips(state).into_iter().chain(state.index.base).collect();
        let pending = state.index.pending.iter().flat_map(|pending| [pending.from, pending.to]);
        let trees = std::iter::once(state.index.tree).chain(pending).collect();
        let scope = Scope { commits: &commits, trees, chunks: ChunkCheck::Presence(bad) };
        let found = self.verify_scope(store, scope, progress)?;
        report.commits = found.commits;
        let lost: HashSet<ObjectId> = found.failures.iter().map(|failure| failure.id).collect();
        if !lost.is_empty() {
            report.affected = affected::find(store, &commits, &lost);
        }
        found.failures.into_iter().for_each(|failure| report.object(failure));
        Ok(())
    }
}
