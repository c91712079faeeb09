//! `shard rebuild`

use shard_core::Error;
use shard_core::repository::{FsckLevel, RebuildOptions, Repository, layout};

use super::fsck;
use super::verify::render_failures;
use crate::args::{self, RebuildArgs};
use crate::failure::{Code, Result, hint};
use crate::invocation::Invocation;
use crate::page::{Page, dim, plain};
use crate::quantity;
use crate::view::{FileNote, RebuildReport, View, Warning};

/// Recreates what can be derived. Works where it is damaged or gone.
pub(super) fn run(invocation: &Invocation, args: &RebuildArgs) -> Result<RebuildReport> {
    let repository = invocation.open_to_change()?;
    let wants = |view| args.views.is_empty() || args.views.contains(&view);
    let options = RebuildOptions {
        views: wants(args::View::Backend),
        catalog: wants(args::View::Index),
        index: wants(args::View::Index),
        from_frames: args.from_frames,
    };
    let mut views = Vec::new();
    if wants(args::View::StatCache) {
        forget_stat_cache(&repository)?;
        views.push("stat-cache".to_owned());
    }
    let report = repository.rebuild(options, &invocation.progress)?;
    let lost =
        if args.from_frames { fsck::check(invocation, &repository, FsckLevel::Full)?.failures } else { Vec::new() };
    views.splice(..0, report.views.into_iter().map(str::to_owned));
    Ok(RebuildReport {
        views,
        backend: report.backend.name().to_owned(),
        packs: report.packs,
        objects: report.objects,
        salvaged: report.salvaged,
        left_out: report.left_out.into_iter().map(|left| FileNote { file: left.file, message: left.why }).collect(),
        notes: report.notes,
        lost,
    })
}

/// Drops what is known of files on disk; the next comparison reads them and remembers them anew.
fn forget_stat_cache(repository: &Repository) -> Result<()> {
    match repository.layout().shard.unlink(layout::STAT_CACHE) {
        Err(error) if !error.is_not_found() => Err(Error::Disk(error).into()),
        _ => Ok(()),
    }
}

impl View for RebuildReport {
    fn render(&self, page: &mut Page) {
        let listed = self.packs > 0;
        let details = [
            if listed { quantity::of(self.packs, "pack") } else { String::new() },
            if self.objects > 0 { quantity::of(self.objects, "object") } else { String::new() },
            format!("views in {}", self.backend),
        ];
        let subject = format!("{} rebuilt", self.views.join(", "));
        if self.lost.is_empty() && self.left_out.is_empty() {
            page.done([plain(subject)], &details);
        } else {
            page.line([plain(format!("{subject}, but not everything is there"))]);
            render_failures(&self.lost, page);
        }
        for pack in &self.salvaged {
            page.line([plain("  "), plain(pack), plain(": its good frames were copied, the rest is in quarantine")]);
        }
        for note in &self.notes {
            page.aside([dim(format!("note: {note}"))]);
        }
    }

    fn warnings(&self) -> Vec<Warning> {
        let left = self.left_out.iter().map(|left| Warning {
            code: Code::ObjectCorrupt.as_str().to_owned(),
            message: format!("{}: not listed: {}", left.file, left.message),
            path: None,
            partly: true,
        });
        let lost = (!self.lost.is_empty()).then(|| Warning {
            code: Code::ObjectCorrupt.as_str().to_owned(),
            message: format!("{} cannot be brought back from here", quantity::of(self.lost.len() as u64, "thing")),
            path: None,
            partly: true,
        });
        left.chain(lost).collect()
    }

    fn next(&self) -> Vec<crate::failure::Hint> {
        let mut next = Vec::new();
        if !self.left_out.is_empty() {
            next.push(hint::rebuild_from_frames());
        }
        if !self.salvaged.is_empty() {
            next.push(hint::fsck());
        }
        next
    }
}
