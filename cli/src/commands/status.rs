//! `shard status`

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use shard_core::RepoPath;
use shard_core::history::History;
use shard_core::repository::{Repository, State};
use shard_core::worktree::status::StatusOptions;
use shard_core::worktree::{Scope, Status as Compared};

use crate::args::StatusArgs;
use crate::failure::{EXIT_DIFFERENCES, EXIT_PARTLY, Hint, Result, hint};
use crate::invocation::Invocation;
use crate::page::{Page, Span, bad, bold, dim, good, id, plain, short, warn};
use crate::place;
use crate::view::{self, CheckoutRunning, Head, Rename, Skipped, Status, StatusEntry, Upstream, View, Warning};

/// Compares HEAD, what is staged and the disk. Takes no lock for long.
pub(super) fn run(invocation: &Invocation, args: StatusArgs) -> Result<Shown> {
    let repository = invocation.open()?;
    let paths = place::resolve_all(repository.layout().worktree.path(), &invocation.directory, &args.paths)?;
    let (status, moved) = compare(&repository, invocation, scope(paths), args.ignored)?;
    Ok(Shown { status, moved, porcelain: args.porcelain, exit_code: args.exit_code })
}

/// Returns what a list of paths stands for: everything where it is empty or names the worktree itself.
pub(super) fn scope(paths: Vec<RepoPath>) -> Scope {
    if paths.is_empty() || paths.iter().any(RepoPath::is_root) { Scope::All } else { Scope::Paths(paths) }
}

/// Compares, and tells of the branch's upstream and of a checkout under way. Returns beside it the directories
/// among the lists of which every file was renamed.
pub(super) fn compare(
    repository: &Repository,
    invocation: &Invocation,
    scope: Scope,
    ignored: bool,
) -> Result<(Status, Vec<String>)> {
    let mut compared = repository.status(&StatusOptions { scope, ignored }, &invocation.progress)?;
    let state = repository.state()?;
    let upstream = upstream(repository, &state)?;
    let moved = std::mem::take(&mut compared.moved);
    Ok((status(compared, &state, upstream), moved))
}

fn status(compared: Compared, state: &State, upstream: Option<Upstream>) -> Status {
    let entries = |entries: Vec<_>| entries.into_iter().map(StatusEntry::from).collect();
    Status {
        head: Head::new(&compared.head, compared.commit),
        upstream,
        checkout: compared.checkout.map(|checkout| CheckoutRunning {
            from: compared.commit.map(|id| id.to_string()),
            to: state.index.pending.as_ref().and_then(|pending| pending.commit).map(|id| id.to_string()),
            running: checkout.running,
        }),
        staged: entries(compared.staged),
        unstaged: entries(compared.unstaged),
        untracked: compared.untracked,
        renames: compared.renames.into_iter().map(Rename::from).collect(),
        ignored: compared.ignored,
        skipped: compared.skipped.into_iter().map(Skipped::from).collect(),
        conflicts: Vec::new(),
    }
}

/// Compares the branch HEAD stands on with the one it follows. Walks the commits that only one of both has.
fn upstream(repository: &Repository, state: &State) -> Result<Option<Upstream>> {
    let Some(recorded) = state.branch().and_then(|branch| state.upstreams.get(branch)) else { return Ok(None) };
    let store = repository.store(state)?;
    let history: History<'_> = repository.history(state, &store);
    let Some(found) = history.peer_branch(recorded)? else {
        let actor = recorded.split_once('/').and_then(|(actor, branch)| Some((actor.parse().ok()?, branch)));
        let name = actor.map(|(actor, branch)| format!("{}/{branch}", history.peer_name(&actor)));
        return Ok(Some(Upstream { name: name.unwrap_or_else(|| recorded.clone()), ahead: None, behind: None }));
    };
    let name = format!("{}/{}", history.peer_name(&found.actor), found.branch);
    let counted = match state.head_commit() {
        Some(ours) if store.contains(found.target.0)? => Some(history.dag().ahead_behind(ours, found.target)?),
        _ => None,
    };
    Ok(Some(Upstream { name, ahead: counted.map(|(ahead, _)| ahead), behind: counted.map(|(_, behind)| behind) }))
}

/// How the worktree stands, and how that was asked for.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Shown {
    status: Status,
    #[serde(skip)]
    moved: Vec<String>,
    #[serde(skip)]
    porcelain: bool,
    #[serde(skip)]
    exit_code: bool,
}

impl Shown {
    /// Writes one line for each path: where it differs, how, and the path.
    fn porcelain(&self, page: &mut Page) {
        let mut row = |area: &str, kind: &str, path: &str| {
            page.table_unaligned(&[plain(area), plain(kind), plain(path)]);
        };
        let status = &self.status;
        if let Some(checkout) = &status.checkout {
            let kind = if checkout.running { "running" } else { "interrupted" };
            row("checkout", kind, checkout.to.as_deref().unwrap_or_default());
        }
        for (area, entries) in [("staged", &status.staged), ("unstaged", &status.unstaged)] {
            entries.iter().for_each(|entry| row(area, &entry.kind, &entry.path));
        }
        for (area, paths) in [("untracked", &status.untracked), ("ignored", &status.ignored)] {
            for path in paths {
                row(area, if path.ends_with('/') { "directory" } else { "file" }, path);
            }
        }
        status.skipped.iter().for_each(|skipped| row("skipped", &skipped.code, &skipped.path));
    }

    fn head(&self, page: &mut Page) {
        let Head { branch, commit } = &self.status.head;
        let mut line = match branch {
            Some(branch) => vec![plain("on "), bold(&**branch)],
            None => vec![warn("on no branch")],
        };
        match commit {
            Some(commit) => line.extend([plain(", at "), id(short(commit))]),
            None => line.push(plain(", no commit yet")),
        }
        if let Some(Upstream { name, ahead, behind }) = &self.status.upstream {
            line.extend([plain(", "), dim(compared(name, *ahead, *behind))]);
        }
        page.aside(line);
    }
}

/// Says how a branch stands to the one it follows.
pub(super) fn compared(upstream: &str, ahead: Option<u64>, behind: Option<u64>) -> String {
    match (ahead.unwrap_or(0), behind.unwrap_or(0)) {
        _ if ahead.is_none() => format!("follows {upstream}"),
        (0, 0) => format!("equal to {upstream}"),
        (ahead, 0) => format!("{ahead} ahead of {upstream}"),
        (0, behind) => format!("{behind} behind {upstream}"),
        (ahead, behind) => format!("{ahead} ahead of {upstream}, {behind} behind"),
    }
}

/// Lists what differs by path, a rename once, at the path that is gone.
fn rows<'a>(entries: &'a [StatusEntry], renames: &[&'a Rename], moved: &[String]) -> Vec<Vec<Span<'a>>> {
    let from: BTreeSet<&str> = renames.iter().map(|rename| &*rename.from).collect();
    let to: BTreeSet<&str> = renames.iter().map(|rename| &*rename.to).collect();
    let told = |entry: &StatusEntry| match entry.kind.as_str() {
        "deleted" => from.contains(&*entry.path) || moved.contains(&entry.path),
        "added" => to.contains(&*entry.path),
        _ => false,
    };
    let mut rows: BTreeMap<&str, Vec<Span<'a>>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| !told(entry)) {
        rows.insert(&entry.path, vec![plain(""), kind_span(&entry.kind), plain(&*entry.path)]);
    }
    for Rename { from, to, .. } in renames {
        rows.insert(from, vec![plain(""), warn("renamed"), plain(format!("{from} -> {to}"))]);
    }
    rows.into_values().collect()
}

/// Returns how a kind of change is shown.
pub(super) fn kind_span(kind: &str) -> Span<'_> {
    match kind {
        "added" => good("added"),
        "deleted" => bad("deleted"),
        "type_changed" => warn("type changed"),
        "mode_changed" => warn("mode changed"),
        other => warn(other),
    }
}

impl View for Shown {
    fn render(&self, page: &mut Page) {
        if self.exit_code && page.is_quiet() {
            // The exit code is the answer.
            return;
        }
        if self.porcelain {
            return self.porcelain(page);
        }
        let status = &self.status;
        self.head(page);
        if let Some(checkout) = &status.checkout {
            let place = checkout.to.as_deref().map(short).unwrap_or("other content");
            page.line(match checkout.running {
                true => [warn("checkout in progress"), plain(format!(", to {place}; the files were not compared"))],
                false => [bad("a checkout was interrupted"), plain(format!(", to {place}"))],
            });
        }
        for (title, entries, staged) in [("staged", &status.staged, true), ("not staged", &status.unstaged, false)] {
            if !entries.is_empty() {
                page.line([bold(title)]);
                let renames: Vec<&Rename> = status.renames.iter().filter(|rename| rename.staged == staged).collect();
                page.table(&rows(entries, &renames, &self.moved));
            }
        }
        let untracked: Vec<&String> = status.untracked.iter().filter(|path| !self.moved.contains(path)).collect();
        for (title, paths) in [("not tracked", untracked), ("ignored", status.ignored.iter().collect())] {
            if !paths.is_empty() {
                page.line([bold(title)]);
                let rows: Vec<_> = paths.iter().map(|path| vec![plain(""), plain(&**path)]).collect();
                page.table(&rows);
            }
        }
        if status.is_clean() && status.head.commit.is_some() {
            page.aside([dim("nothing differs")]);
        }
    }

    fn warnings(&self) -> Vec<Warning> {
        view::skipped_warnings(&self.status.skipped)
    }

    fn next(&self) -> Vec<Hint> {
        let status = &self.status;
        match &status.checkout {
            _ if self.porcelain => Vec::new(),
            Some(checkout) if checkout.running => Vec::new(),
            Some(_) => vec![hint::switch_continue(), hint::switch_abort()],
            None if !status.staged.is_empty() => vec![hint::commit_message()],
            None if !status.unstaged.is_empty() || !status.untracked.is_empty() => vec![hint::commit_all_message()],
            None if status.head.commit.is_none() => vec![hint::first_commit()],
            None => Vec::new(),
        }
    }

    fn exit(&self) -> u8 {
        match self.exit_code && !self.status.is_clean() {
            true => EXIT_DIFFERENCES,
            false if self.status.skipped.is_empty() => 0,
            false => EXIT_PARTLY,
        }
    }

    fn is_paged(&self) -> bool {
        !self.porcelain
    }
}
