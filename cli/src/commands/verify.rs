//! `shard verify`

use shard_core::history::revision::Revision;
use shard_core::repository::Fault;

use crate::args::VerifyArgs;
use crate::failure::{Code, Failure, Result, hint};
use crate::invocation::Invocation;
use crate::page::{Page, bad, plain};
use crate::quantity;
use crate::terminal::Terminal;
use crate::view::{ObjectFailure, VerifyReport, View, Warning};

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
    let message = format!("{} failed", quantity::of(count, "check"));
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
                plain(format!(" of {checked}")),
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
        Fault::Absent | Fault::Damaged | Fault::Invalid | Fault::Unreadable => Code::ObjectCorrupt,
    }
}

/// Lists what failed, a line each.
pub(super) fn render_failures(failures: &[ObjectFailure], page: &mut Page) {
    for failure in failures {
        let file = match (&failure.file, failure.offset) {
            (Some(file), Some(offset)) => Some(format!("{file} at byte {offset}")),
            (file, _) => file.clone(),
        };
        let place = failure.path.as_deref().or(file.as_deref()).or(failure.id.as_deref()).unwrap_or("?");
        page.line([plain("  "), bad(place), plain(": "), plain(&*failure.why)]);
    }
}
