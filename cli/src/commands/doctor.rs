//! `shard doctor`

use shard_core::repository::{FsckLevel, Health, Remedy};

use super::fsck;
use super::verify::ended;
use crate::args::{DoctorArgs, DoctorRoom};
use crate::failure::{Code, Failure, Hint, Result, hint};
use crate::invocation::Invocation;
use crate::page::{Page, bad, bold, dim, good, plain, warn};
use crate::quantity;
use crate::terminal::Terminal;
use crate::view::{Check, DoctorReport, View};

/// Looks at everything commands rely on, and repairs what it can where that was asked for.
pub(super) fn run(invocation: &Invocation, args: &DoctorArgs, terminal: &mut dyn Terminal) -> Result<DoctorReport> {
    let wants = |room: DoctorRoom| args.rooms.is_empty() || args.rooms.contains(&room);
    // Only the store can be repaired: who looks elsewhere changes nothing.
    let fix = args.fix && wants(DoctorRoom::Store);
    let repository = if fix { invocation.open_to_change()? } else { invocation.open()?.into() };
    let report = repository.doctor(fix);
    let (mut checks, mut hints) = (Vec::new(), Vec::new());
    for check in report.checks.into_iter().filter(|check| room(check.room).is_none_or(wants)) {
        hints.extend(check.remedy.and_then(|remedy| help(remedy, args)).filter(|hint| !hints.contains(hint)));
        checks.push(Check {
            room: check.room.to_owned(),
            name: check.name.to_owned(),
            state: word(check.health).to_owned(),
            message: check.detail,
            fixed: check.fixed,
        });
    }
    if args.verify {
        if !wants(DoctorRoom::Store) && !wants(DoctorRoom::Trust) {
            let text = "--verify reads content and signatures: name `store` or `trust` too, or no part at all";
            return Err(Failure::usage(text));
        }
        let found = fsck::check(invocation, &repository, FsckLevel::Full)?;
        let (signatures, content): (Vec<_>, Vec<_>) =
            found.failures.iter().partition(|failure| failure.code == Code::SignatureInvalid.as_str());
        let looked = [
            (
                DoctorRoom::Store,
                "store",
                "content",
                content,
                quantity::of(found.objects, "object") + " read and hashed",
            ),
            (DoctorRoom::Trust, "trust", "signatures", signatures, quantity::of(found.commits, "commit") + " checked"),
        ];
        for (_, room, name, failures, well) in looked.into_iter().filter(|one| wants(one.0)) {
            let (health, message) = match failures.first() {
                None => (Health::Ok, well),
                Some(first) => {
                    if !hints.contains(&hint::fsck()) {
                        hints.push(hint::fsck());
                    }
                    let place = first.path.as_deref().or(first.file.as_deref()).or(first.id.as_deref()).unwrap_or("?");
                    let problems = quantity::of(failures.len() as u64, "problem");
                    (Health::Failed, format!("{problems}, the first: {place}: {}", first.why))
                }
            };
            let (room, name, state) = (room.to_owned(), name.to_owned(), word(health).to_owned());
            checks.push(Check { room, name, state, message, fixed: false });
        }
    }
    let failed: Vec<&Check> = checks.iter().filter(|check| check.state == word(Health::Failed)).collect();
    let Some(first) = failed.first() else { return Ok(DoctorReport { healthy: true, checks }) };
    let code = match (first.room.as_str(), first.name.as_str()) {
        (_, "log") => Code::LogDamaged,
        (_, "space") => Code::DiskFull,
        ("trust", _) => Code::SignatureInvalid,
        _ => Code::ObjectCorrupt,
    };
    let failure = Failure::new(code, format!("{} failed", quantity::of(failed.len() as u64, "check")));
    let view = DoctorReport { healthy: false, checks };
    let failure = ended(invocation, &view, failure, terminal)?;
    Err(hints.into_iter().fold(failure, Failure::hint))
}

/// Returns the room of this name.
fn room(name: &str) -> Option<DoctorRoom> {
    match name {
        "store" => Some(DoctorRoom::Store),
        "clock" => Some(DoctorRoom::Clock),
        "trust" => Some(DoctorRoom::Trust),
        _ => None,
    }
}

/// Returns the command that helps; none where this one was it.
fn help(remedy: Remedy, args: &DoctorArgs) -> Option<Hint> {
    match remedy {
        Remedy::Fix if args.fix => None,
        Remedy::Fix => Some(hint::doctor()),
        Remedy::Rebuild => Some(hint::rebuild()),
        Remedy::Fsck => Some(hint::fsck()),
        Remedy::ByHand => None,
    }
}

fn word(health: Health) -> &'static str {
    match health {
        Health::Ok => "ok",
        Health::Warning => "warning",
        Health::Failed => "failed",
    }
}

impl View for DoctorReport {
    fn render(&self, page: &mut Page) {
        let rows: Vec<_> = self
            .checks
            .iter()
            .filter(|check| !page.is_quiet() || check.state != "ok" || check.fixed)
            .map(|check| {
                let state = match check.state.as_str() {
                    "ok" if check.fixed => good("fixed"),
                    "ok" => good("ok"),
                    "warning" => warn("warning"),
                    _ => bad("failed"),
                };
                vec![state, dim(&*check.room), bold(&*check.name), plain(&*check.message)]
            })
            .collect();
        page.table(&rows);
        if self.healthy {
            page.aside([good("✓ "), plain("healthy")]);
        }
    }

    fn next(&self) -> Vec<Hint> {
        let wary = self.checks.iter().any(|check| check.state == "warning");
        if wary { vec![hint::doctor()] } else { Vec::new() }
    }
}
