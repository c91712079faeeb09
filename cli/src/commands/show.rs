//! `shard show [REV[:PATH]]`

use std::io::Write;

use shard_core::history::History;
use shard_core::history::log::LogOptions;
use shard_core::history::revision::{Revision, RevisionRange};
use shard_core::history::show::{PathReport, ShowReport as Shown};
use shard_core::object::ObjectStore;
use shard_core::object::reader::read_range;
use shard_core::tree::EntryType;
use shard_core::tree::editor::Node;
use shard_core::{Error, RepoPath};

use super::{log, ls};
use crate::args::ShowArgs;
use crate::failure::{Code, Failure, Result};
use crate::invocation::Invocation;
use crate::page::{Page, Span, bad, bold, dim, good, id, plain, short};
use crate::quantity;
use crate::terminal::Terminal;
use crate::view::{Commit, FileReport, ShowReport, TreeEntryInfo, View};

/// Bytes of a hole written at once.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Shows a commit, or what lies at a path of one. Into a pipe a file is written byte for byte, as it is read.
pub(super) fn run(invocation: &Invocation, args: &ShowArgs, terminal: &mut dyn Terminal) -> Result<ShowReport> {
    let repository = invocation.open()?;
    let state = repository.state()?;
    let store = repository.store(&state)?;
    let history = repository.history(&state, &store);
    let revision = args.revision.as_deref().map_or(Ok(Revision::head()), str::parse)?;
    if revision.path.is_none() {
        let commit = Some(commit(&history, revision, args.stat)?);
        return Ok(ShowReport { commit, file: None });
    }
    if !invocation.is_json() && !terminal.shape().output {
        let found = history.resolve_path(&revision)?;
        if !matches!(found.node.kind, EntryType::Directory | EntryType::Unknown(_)) {
            write_content(&store, &found.node, terminal.raw_out())?;
            return Ok(ShowReport { commit: None, file: None });
        }
    }
    match history.show(&revision)? {
        Shown::Path(report) => Ok(ShowReport { commit: None, file: Some(file(&store, report)?) }),
        Shown::Commit(logged) => Ok(ShowReport { commit: Some((*logged).into()), file: None }),
    }
}

/// Tells of one commit.
fn commit(history: &History<'_>, revision: Revision, changes: bool) -> Result<Commit> {
    let text = revision.to_string();
    let options = LogOptions { range: Some(RevisionRange::Single(revision)), changes, ..LogOptions::default() };
    let first = history.log(&options)?.next().transpose()?;
    let missing = || Error::RevisionNotFound { revision: text, reason: None, suggestions: Vec::new() };
    Ok(first.ok_or_else(missing)?.into())
}

/// Writes a file's bytes, or where a link points.
fn write_content(store: &ObjectStore, node: &Node, out: &mut dyn Write) -> Result<()> {
    let mut failed = None;
    let read = read_range(store, &node.content, node.size, 0, node.size, &mut |_, length, bytes| {
        let written = match bytes {
            Some(bytes) => out.write_all(bytes),
            None => write_zeros(out, length),
        };
        written.map_err(|error| {
            failed = Some(error);
            Error::Cancelled
        })
    });
    match failed {
        Some(error) => Err(Failure::output(&error)),
        None => Ok(read?),
    }
}

fn write_zeros(out: &mut dyn Write, mut length: u64) -> std::io::Result<()> {
    while length > 0 {
        let part = length.min(ZEROS.len() as u64);
        out.write_all(&ZEROS[..part as usize])?;
        length -= part;
    }
    Ok(())
}

fn file(store: &ObjectStore, report: PathReport) -> Result<FileReport> {
    let at = report.at;
    let mut entries = Vec::with_capacity(report.entries.len());
    for entry in report.entries {
        let path = at.path.join(&entry.name).or_else(|_| RepoPath::parse(&entry.name))?;
        entries.push(TreeEntryInfo::new(store, &path, &entry.into())?);
    }
    let entry = TreeEntryInfo::new(store, &at.path, &at.node)?;
    if let EntryType::Unknown(_) = at.node.kind {
        let text = format!("`{}` is of a later version, which cannot be shown", at.path);
        return Err(Failure::new(Code::Unsupported, text));
    }
    Ok(FileReport { revision: at.commit.to_string(), entry, entries, text: report.text })
}

fn render_commit(page: &mut Page, commit: &Commit) {
    let trust = match commit.signer.trust.as_str() {
        "good" => good("good"),
        other => bad(other),
    };
    let mut rows: Vec<Vec<Span<'_>>> = vec![
        vec![dim("commit"), id(&*commit.id)],
        vec![dim("author"), bold(&*commit.author)],
        vec![dim("signer"), id(short(&commit.signer.actor))],
        vec![dim("trust"), trust],
        vec![dim("time"), plain(quantity::local_time(commit.time_ms, commit.zone_minutes))],
    ];
    if !commit.parents.is_empty() {
        let parents: Vec<&str> = commit.parents.iter().map(|parent| short(parent)).collect();
        rows.push(vec![dim(if parents.len() == 1 { "parent" } else { "parents" }), id(parents.join(" "))]);
    }
    if !commit.refs.is_empty() {
        rows.push(vec![dim("refs"), plain(commit.refs.join(", "))]);
    }
    page.table(&rows);
    if !commit.message.trim().is_empty() {
        page.gap();
        page.paragraph("    ", commit.message.trim_start_matches('\n'));
    }
    if let Some(changes) = &commit.changes
        && !changes.is_empty()
    {
        page.gap();
        log::changed(page, changes);
    }
}

fn render_file(page: &mut Page, file: &FileReport) {
    match &file.text {
        _ if file.entry.kind == "directory" => ls::table(page, &file.entries),
        Some(text) => page.paragraph("", text),
        None => page.line([
            plain(&*file.entry.path),
            dim(format!("   {}, not text: write it to a file to get its bytes", quantity::bytes(file.entry.size))),
        ]),
    }
}

impl View for ShowReport {
    fn render(&self, page: &mut Page) {
        if let Some(commit) = &self.commit {
            render_commit(page, commit);
        }
        if let Some(file) = &self.file {
            render_file(page, file);
        }
    }

    fn is_paged(&self) -> bool {
        true
    }
}
