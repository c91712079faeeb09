//! `shard tag …`

use std::io::Read;
use std::path::Path;

use serde::Serialize;
use shard_core::history::ref_name::RefName;
use shard_core::history::revision::Revision;
use shard_core::history::tag::MAX_TAGS_FILE;

use super::branch::{Moved, cells};
use crate::args::TagVerb;
use crate::failure::{Failure, Result};
use crate::invocation::Invocation;
use crate::page::{Page, Span, bold, dim, plain};
use crate::quantity;
use crate::view::{Ref, RefList, RefUpdate, SkippedTag, TagExport, TagImport, View, Warning};

/// Lists, makes, moves and removes tags, and exchanges them as `tags.json`.
pub(super) fn run(invocation: &Invocation, verb: Option<TagVerb>) -> Result<Box<dyn View>> {
    let dry_run = invocation.global.dry_run;
    Ok(match verb.unwrap_or(TagVerb::List) {
        TagVerb::List => {
            let repository = invocation.open()?;
            let state = repository.state()?;
            let store = repository.store(&state)?;
            let items = repository.history(&state, &store).tags().into_iter().map(Ref::from).collect();
            Box::new(Tags { list: RefList { items, next_cursor: None } })
        }
        TagVerb::New { name, revision, force } => {
            let at = revision.as_deref().map_or(Ok(Revision::head()), str::parse)?;
            let update = invocation.open_to_change()?.create_tag(&RefName::tag(&name)?, &at, force)?;
            Box::new(Moved::new(update.into(), "tag", dry_run))
        }
        TagVerb::Rm { name } => {
            Box::new(Moved::new(invocation.open_to_change()?.delete_tag(&name)?.into(), "tag", dry_run))
        }
        TagVerb::Import { file, force } => {
            let repository = invocation.open_to_change()?;
            let report = repository.import_tags(&read(invocation, &file)?, force)?;
            let skipped = report.skipped.into_iter().map(|(name, reason)| SkippedTag { name, reason }).collect();
            let imported = report.imported.into_iter().map(RefUpdate::from).collect();
            let report = TagImport { imported, unchanged: report.unchanged as u64, skipped };
            Box::new(Imported { report, dry_run })
        }
        TagVerb::Export { output } => {
            let repository = invocation.open()?;
            let state = repository.state()?;
            let store = repository.store(&state)?;
            let text = repository.history(&state, &store).export_tags();
            if let Some(file) = output.as_deref().filter(|_| !dry_run) {
                let file = invocation.path(file);
                let failed = |error| Failure::io(format!("write {}", file.display()), &error);
                std::fs::write(&file, &text).map_err(failed)?;
            }
            let tags = state.tags.iter().map(|(name, id)| (name.clone(), id.to_string())).collect();
            let file = output.map(|file| file.display().to_string());
            Box::new(Exported { report: TagExport { file, tags }, text })
        }
    })
}

/// Reads a file of tags; one byte more than is allowed shows that it is too large.
fn read(invocation: &Invocation, file: &Path) -> Result<Vec<u8>> {
    let failed = |error| Failure::io(format!("read {}", file.display()), &error);
    let mut bytes = Vec::new();
    let limit = MAX_TAGS_FILE as u64 + 1;
    if file == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        let open = std::fs::File::open(invocation.path(file)).map_err(failed)?;
        open.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    }
    Ok(bytes)
}

/// Tags as a list.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Tags {
    list: RefList,
}

impl View for Tags {
    fn render(&self, page: &mut Page) {
        if self.list.items.is_empty() && page.is_aligned() {
            return page.aside([dim("no tags")]);
        }
        let rows: Vec<Vec<Span<'_>>> = self
            .list
            .items
            .iter()
            .map(|item| {
                let mut row = vec![plain(&*item.name)];
                cells(item, &mut row);
                row
            })
            .collect();
        page.table(&rows);
    }

    fn is_paged(&self) -> bool {
        true
    }
}

/// What an import of tags did, or would do.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Imported {
    report: TagImport,
    #[serde(skip)]
    dry_run: bool,
}

impl View for Imported {
    fn render(&self, page: &mut Page) {
        let count = quantity::of(self.report.imported.len() as u64, "tag");
        let unchanged = match self.report.unchanged {
            0 => String::new(),
            unchanged => format!("{} there already", quantity::count(unchanged)),
        };
        match self.dry_run {
            true => page.line([plain("would import "), bold(count)]),
            false => page.done([plain("imported "), bold(count)], &[unchanged]),
        }
    }

    fn warnings(&self) -> Vec<Warning> {
        let warning = |skipped: &SkippedTag| Warning {
            partly: true,
            ..Warning::notice("tag.skipped", format!("tag {}: {}", skipped.name, skipped.reason))
        };
        self.report.skipped.iter().map(warning).collect()
    }
}

/// Tags as a file, or as its text.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Exported {
    report: TagExport,
    #[serde(skip)]
    text: String,
}

impl View for Exported {
    fn render(&self, page: &mut Page) {
        match &self.report.file {
            None => self.text.lines().for_each(|line| page.line([plain(line)])),
            Some(file) => {
                let count = quantity::of(self.report.tags.len() as u64, "tag");
                page.done([plain("wrote "), bold(count)], &[format!("to {file}")]);
            }
        }
    }
}
