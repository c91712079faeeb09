//! `shard verify`

use shard_core::history::revision::Revision;
use shard_core::repository::Fault;

use crate::args::VerifyArgs;
use crate::failure::{Code, Failure, Hint, Result, hint};
use crate::invocation::Invocation;
use crate::page::{Page, bad, dim, plain, short};
use crate::quantity;
use crate::terminal::Terminal;
use crate::view::{ObjectFailure, VerifyReport, View, Warning};

/// Most lines of failures shown to a person.
const MAX_LISTED: usize = 50;

/// Lines that a failure may still join: they come sorted by path.
const MAX_OPEN_GROUPS: usize = 2;

/// Checks signatures and content of commits and all their ancestors.
pub(super) fn run(invocation: &Invocation, args: &VerifyArgs, terminal: &mut dyn Terminal) -> Result<VerifyReport> {
    let repository = invocation.open()?;
    let state = repository.state()?;
    let store = repository.store(&state)?;
    let mut tips = Vec::new();
    if args.all {
        tips = repository.tips(&state);
    } else if args.revisions.is_empty() {
        tips.extend(state.head_commit());
    }
    for revision in &args.revisions {
        let revision: Revision = revision.parse()?;
        tips.push(repository.history(&state, &store).resolve(&revision)?);
    }
    let report = repository.verify(&store, &tips, &invocation.progress)?;
    let view = VerifyReport {
        commits: report.commits,
        objects: report.objects,
        bytes: report.bytes,
        untrusted: report.untrusted,
        failures: report.failures.into_iter().map(ObjectFailure::from).collect(),
    };
    if report.failed == 0 {
        return Ok(view);
    }
    Err(failed(invocation, &view, &view.failures, report.failed, terminal)?.hint(hint::fsck()))
}

/// Shows a report that lists damage, and returns the failure the command ends with; programs find the report in its
/// details.
pub(super) fn failed(
    invocation: &Invocation,
    view: &dyn View,
    failures: &[ObjectFailure],
    count: u64,
    terminal: &mut dyn Terminal,
) -> Result<Failure> {
    let code = failures.first().map_or(Code::ObjectCorrupt, |first| code_of(&first.code));
    let message = format!("{} failed: {}", quantity::of(count, "check"), tally(failures));
    ended(invocation, view, Failure::new(code, message), terminal)
}

/// Shows a report to a person, and puts it in the details of the failure for programs.
pub(super) fn ended(
    invocation: &Invocation,
    view: &dyn View,
    failure: Failure,
    terminal: &mut dyn Terminal,
) -> Result<Failure> {
    if !invocation.is_json() {
        invocation.progress.clear();
        let mut page = Page::new(terminal.shape().output);
        view.render(&mut page);
        terminal.out().write_all(page.text().as_bytes()).map_err(|error| Failure::output(&error))?;
    }
    Ok(failure.detail("report", view.to_json().unwrap_or_default()))
}

impl View for VerifyReport {
    fn render(&self, page: &mut Page) {
        let details = [quantity::of(self.objects, "object"), quantity::bytes(self.bytes)];
        let checked = quantity::of(self.commits, "commit");
        if self.failures.is_empty() {
            page.done([plain(format!("{checked} verified"))], &details);
        } else {
            page.line([
                bad(format!("✗ {} failed", quantity::of(self.failures.len() as u64, "object"))),
                plain(format!(" of {checked}: {}", tally(&self.failures))),
            ]);
            render_failures(&self.failures, page);
        }
    }

    fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if self.untrusted > 0 {
            let text = format!("{} signed by somebody who may not commit here", quantity::of(self.untrusted, "commit"));
            warnings.push(Warning::notice(Code::AccessDenied.as_str(), text));
        }
        warnings
    }
}

/// Returns the code a failure is listed under.
fn code_of(text: &str) -> Code {
    let known = [Code::ObjectCorrupt, Code::PackForeign, Code::LogDamaged, Code::SignatureInvalid];
    known.into_iter().find(|code| code.as_str() == text).unwrap_or(Code::ObjectCorrupt)
}

impl From<shard_core::repository::ObjectFault> for ObjectFailure {
    fn from(fault: shard_core::repository::ObjectFault) -> Self {
        Self {
            id: Some(fault.id.to_string()),
            path: fault.path,
            file: None,
            offset: None,
            code: code_for(fault.fault).as_str().to_owned(),
            why: fault.why,
        }
    }
}

/// Returns the code for what is wrong with something stored.
pub(super) fn code_for(fault: Fault) -> Code {
    match fault {
        Fault::Signature => Code::SignatureInvalid,
        Fault::Foreign => Code::PackForeign,
        Fault::Absent => Code::ObjectNotFound,
        Fault::Damaged | Fault::Invalid | Fault::Unreadable => Code::ObjectCorrupt,
    }
}

/// Says how many of what failed are missing, and how many are not what they should be.
fn tally(failures: &[ObjectFailure]) -> String {
    let missing = failures.iter().filter(|failure| is_missing(failure)).count();
    let counted = [(missing, "missing"), (failures.len() - missing, "damaged")];
    let counted = counted.into_iter().filter(|(count, _)| *count > 0);
    counted.map(|(count, word)| format!("{} {word}", quantity::count(count as u64))).collect::<Vec<_>>().join(", ")
}

fn is_missing(failure: &ObjectFailure) -> bool {
    failure.code == Code::ObjectNotFound.as_str()
}

/// Lists what failed, a line for each path, object or place in a file; programs get everything.
pub(super) fn render_failures(failures: &[ObjectFailure], page: &mut Page) {
    let mut groups: Vec<(&ObjectFailure, usize)> = Vec::new();
    for failure in failures {
        match groups.iter_mut().rev().take(MAX_OPEN_GROUPS).find(|(first, _)| belong_together(first, failure)) {
            Some((_, count)) => *count += 1,
            None => groups.push((failure, 1)),
        }
    }
    for (failure, count) in groups.iter().take(MAX_LISTED) {
        let object = failure.id.as_deref().map(|id| format!("object {}", short(id)));
        let place = match (&failure.path, &failure.file, failure.offset) {
            (Some(path), _, _) => Some(path.clone()),
            (None, Some(file), Some(offset)) => Some(format!("{file} at byte {offset}")),
            (None, file, _) => file.clone(),
        };
        let why = if is_missing(failure) { "is missing" } else { &failure.why };
        let what = match (&place, &object) {
            (Some(_), Some(object)) if is_missing(failure) => format!("{object} {why}"),
            (Some(_), Some(object)) => format!("{object}: {why}"),
            _ => why.to_owned(),
        };
        let more =
            if *count > 1 { format!(", and {} more", quantity::count(*count as u64 - 1)) } else { String::new() };
        let place = place.or(object).unwrap_or_else(|| "?".to_owned());
        page.line([plain("  "), bad(place), plain(": "), plain(what), plain(more)]);
    }
    if groups.len() > MAX_LISTED {
        let more = quantity::count((groups.len() - MAX_LISTED) as u64);
        page.line([dim(format!("  and {more} more; --json names them all"))]);
    }
}

/// Says whether two failures are told in one line: objects of one path, missing both or damaged both.
fn belong_together(a: &ObjectFailure, b: &ObjectFailure) -> bool {
    a.path.is_some() && a.path == b.path && is_missing(a) == is_missing(b)
}

/// Returns the commands that help against what failed, none where nothing does.
pub(super) fn remedies(failures: &[ObjectFailure]) -> Vec<Hint> {
    let in_pack = |file: &str| file.starts_with("objects/") && file.ends_with(".pack");
    let files = || failures.iter().filter_map(|failure| failure.file.as_deref());
    let mut hints = Vec::new();
    if files().any(in_pack) {
        hints.push(hint::rebuild_from_frames());
    }
    if files().any(|file| !in_pack(file)) {
        hints.push(hint::doctor());
    }
    hints
}
