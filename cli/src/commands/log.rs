//! `shard log`

use serde::Serialize;
use shard_core::history::log::LogOptions;

use super::status::kind_span;
use crate::args::LogArgs;
use crate::failure::{Failure, Hint, Result, hint};
use crate::invocation::Invocation;
use crate::page::{Page, Span, bold, dim, id, plain, short, warn};
use crate::terminal::Terminal;
use crate::view::{ChangedPath, Commit, LogPage, View};
use crate::{place, quantity};

/// Most commits shown on a screen where no number was given.
const MAX_SHOWN: usize = 10_000;

/// Commits written to a pipe at once.
const BATCH: usize = 256;

/// Lists commits, newest first. Into a pipe they are written as they are read.
pub(super) fn run(invocation: &Invocation, args: LogArgs, terminal: &mut dyn Terminal) -> Result<Shown> {
    let repository = invocation.open()?;
    let state = repository.state()?;
    let store = repository.store(&state)?;
    let history = repository.history(&state, &store);
    let paths = place::resolve_all(repository.layout().worktree.path(), &invocation.directory, &args.paths)?;
    let on_screen = terminal.shape().output && !invocation.is_json();
    let mut options = LogOptions {
        range: args.revision.as_deref().map(str::parse).transpose()?,
        paths,
        limit: args.limit.or(on_screen.then_some(MAX_SHOWN)),
        after: args.cursor.as_deref().map(str::parse).transpose()?,
        author: args.author,
        since_ms: args.since.as_deref().map(|when| since(when, repository.clock().now_ms())).transpose()?,
        changes: args.stat,
    };
    let unborn = state.head_commit().is_none() && options.range.is_none();
    if !invocation.is_json() && !on_screen {
        let mut left = options.limit.unwrap_or(usize::MAX);
        let mut log = history.log(&options)?;
        while left > 0 {
            let batch: Vec<Commit> = (log.by_ref().take(left.min(BATCH)).map(|logged| Ok(Commit::from(logged?))))
                .collect::<shard_core::Result<_>>()?;
            if batch.is_empty() {
                break;
            }
            left -= batch.len();
            let mut page = Page::new(false);
            batch.iter().for_each(|commit| line(&mut page, commit));
            terminal.out().write_all(page.text().as_bytes()).map_err(|error| Failure::output(&error))?;
        }
        return Ok(Shown { list: LogPage { items: Vec::new(), next_cursor: None }, unborn, more: None });
    }
    if options.limit == Some(0) {
        options.limit = None;
        history.log(&options)?;
        return Ok(Shown { list: LogPage { items: Vec::new(), next_cursor: None }, unborn, more: None });
    }
    let found = history.log_page(&options)?;
    let next_cursor = found.next.map(|cursor| cursor.to_string());
    let more = next_cursor.clone().filter(|_| on_screen && args.limit.is_none());
    let items = found.commits.into_iter().map(Commit::from).collect();
    Ok(Shown { list: LogPage { items, next_cursor }, unborn, more })
}

/// Reads a date, a time or an age, as milliseconds since 1970.
fn since(text: &str, now_ms: u64) -> Result<u64> {
    let reason = "it is no date (2026-05-04), time (2026-05-04T13:37Z) or age (7d, 12h)";
    let invalid = || Failure::value("time", text, reason);
    let positive = |ms: i64| u64::try_from(ms).unwrap_or(0);
    if let Ok(age) = shard_core::duration::parse(text) {
        return Ok(now_ms.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)));
    }
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Ok(positive(instant.as_millisecond()));
    }
    let local = text.parse::<jiff::civil::DateTime>().map_err(|_| invalid())?;
    let zoned = local.to_zoned(jiff::tz::TimeZone::system()).map_err(|_| invalid())?;
    Ok(positive(zoned.timestamp().as_millisecond()))
}

/// Returns the cells that tell of a commit.
fn cells(commit: &Commit) -> Vec<Span<'_>> {
    let subject = shard_core::history::ref_report::subject(&commit.message);
    let when = quantity::local_time(commit.time_ms, commit.zone_minutes);
    let mut cells = vec![id(short(&commit.id)), dim(when), plain(&*commit.author), bold(subject)];
    let refs = commit.refs.join(", ");
    let trusted = commit.signer.trust == "good";
    if !refs.is_empty() || !trusted {
        cells.push(dim(if refs.is_empty() { String::new() } else { format!("({refs})") }));
    }
    if !trusted {
        cells.push(warn(&*commit.signer.trust));
    }
    cells
}

fn line(page: &mut Page, commit: &Commit) {
    page.table(&[cells(commit)]);
    changed(page, commit.changes.as_deref().unwrap_or_default());
}

/// Lists what a commit changed.
pub(super) fn changed(page: &mut Page, changes: &[ChangedPath]) {
    let rows: Vec<Vec<Span<'_>>> = changes
        .iter()
        .map(|change| {
            let size = match (change.old_size, change.new_size) {
                (Some(old), Some(new)) if old != new => {
                    format!("{} → {}", quantity::bytes(old), quantity::bytes(new))
                }
                (_, Some(size)) | (Some(size), None) => quantity::bytes(size),
                (None, None) => String::new(),
            };
            vec![plain(""), kind_span(&change.kind), plain(&*change.path), dim(size)]
        })
        .collect();
    page.table(&rows);
}

/// Commits, and why there may be none.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Shown {
    list: LogPage,
    #[serde(skip)]
    unborn: bool,
    /// Where to go on, for a person who did not ask for a part.
    #[serde(skip)]
    more: Option<String>,
}

impl View for Shown {
    fn render(&self, page: &mut Page) {
        if self.unborn && page.is_aligned() {
            return page.aside([dim("no commit yet")]);
        }
        let stat = self.list.items.iter().any(|commit| commit.changes.is_some());
        if stat {
            return self.list.items.iter().for_each(|commit| line(page, commit));
        }
        let rows: Vec<Vec<Span<'_>>> = self.list.items.iter().map(cells).collect();
        page.table(&rows);
    }

    fn next(&self) -> Vec<Hint> {
        match &self.more {
            _ if self.unborn => vec![hint::first_commit()],
            Some(cursor) => vec![hint::log_more(cursor)],
            None => Vec::new(),
        }
    }

    fn is_paged(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_instants_or_ages() {
        assert_eq!(since("2d", 172_800_005).unwrap(), 5);
        assert_eq!(since("9999d", 5).unwrap(), 0);
        assert_eq!(since("1970-01-01T00:00:01Z", 0).unwrap(), 1000);
        assert!(since("2026-05-04", 0).unwrap() > 1_700_000_000_000);
        assert!(since("2026-05-04T13:37", 0).is_ok());
        for text in ["", "soon", "2026-13-01", "-1d"] {
            assert_eq!(since(text, 0).unwrap_err().exit(), 2, "{text}");
        }
    }
}
