//! `shard commit`

use std::io::Read;
use std::path::Path;

use serde::Serialize;
use serde_json::json;
use shard_core::history::commit::MAX_MESSAGE;
use shard_core::history::ref_report::subject;
use shard_core::repository::{Repository, layout};
use shard_core::worktree::{CommitOptions, Scope, looks_secret};
use shard_core::{Error, RepoPath};

use super::status;
use crate::args::CommitArgs;
use crate::failure::{Code, Failure, Hint, Result, hint};
use crate::invocation::{Invocation, REPOSITORY_DIRECTORY};
use crate::page::{Page, bold, dim, id, plain, short};
use crate::terminal::Terminal;
use crate::view::{self, CommitReport, Skipped, Status, View, Warning};
use crate::{place, quantity};

/// Most paths listed before a question, and in the text an editor opens with.
const MAX_LISTED: usize = 20;

/// Records a commit.
pub(super) fn run(invocation: &Invocation, args: CommitArgs, terminal: &mut dyn Terminal) -> Result<Committed> {
    let repository = invocation.open_to_change()?;
    let paths = place::resolve_all(repository.layout().worktree.path(), &invocation.directory, &args.paths)?;
    let mut options = CommitOptions {
        message: String::new(),
        author: args.author.clone(),
        paths,
        all: args.all,
        secrets: invocation.global.yes,
        amend: args.amend,
        dry_run: invocation.global.dry_run,
    };
    let given = given_message(invocation, &args)?;
    if given.is_none() && !options.dry_run && !args.amend && !invocation.may_ask(terminal) {
        return Err(Failure::usage("a commit needs a message: give it with -m or -F").hint(hint::commit_message()));
    }
    if !options.dry_run {
        invocation.unlock(&repository, terminal)?;
        ask_for_secrets(&repository, invocation, &mut options, terminal)?;
    }
    options.message = match given {
        Some(message) => message,
        None if options.dry_run || !invocation.may_ask(terminal) => String::new(),
        None => edited_message(&repository, invocation, &options, terminal)?,
    };
    let report = match repository.commit(&options, &invocation.progress) {
        Err(Error::CommitEmpty) => return Err(empty(&repository, invocation, &options)),
        other => other?,
    };
    let said = if options.message.is_empty() && args.amend {
        let state = repository.state()?;
        match report.id.or_else(|| state.head_commit()) {
            Some(id) => shard_core::history::commit::read(&repository.store(&state)?, id)?.message,
            None => String::new(),
        }
    } else {
        options.message
    };
    let report = CommitReport {
        id: report.id.map(|id| id.to_string()),
        branch: report.branch,
        parents: report.parents.iter().map(ToString::to_string).collect(),
        subject: subject(&said).to_owned(),
        changes: report.changes.into(),
        skipped: report.skipped.into_iter().map(Skipped::from).collect(),
        bytes: report.changes.bytes,
        new_bytes: report.new_bytes,
    };
    Ok(Committed { report })
}

/// Returns the message the command line gives, if it gives one.
fn given_message(invocation: &Invocation, args: &CommitArgs) -> Result<Option<String>> {
    let text = match (&args.message, &args.file) {
        (Some(message), _) => message.clone(),
        (None, Some(file)) => read_message(invocation, file)?,
        (None, None) => return Ok(None),
    };
    let message = tidied(&text, false);
    if message.is_empty() {
        return Err(Failure::new(Code::ValueInvalid, "the message is empty").hint(hint::commit_message()));
    }
    Ok(Some(message))
}

fn read_message(invocation: &Invocation, file: &Path) -> Result<String> {
    let failed = |error| Failure::io(format!("read the message from {}", file.display()), &error);
    let mut bytes = Vec::new();
    // One more than is allowed: the repository then says how many are.
    let limit = MAX_MESSAGE as u64 + 1;
    if file == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        let open = std::fs::File::open(invocation.path(file)).map_err(failed)?;
        open.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    }
    String::from_utf8(bytes).map_err(|_| Failure::value("message", &file.to_string_lossy(), "it is not UTF-8"))
}

/// Takes empty lines around a message and spaces at the ends of its lines out of it, and comments of an editor's.
fn tidied(text: &str, comments: bool) -> String {
    let lines: Vec<&str> =
        text.lines().filter(|line| !(comments && line.starts_with('#'))).map(str::trim_end).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

/// Asks whether new files that look like secrets are to be taken, where `-a` would take all and a person is there.
fn ask_for_secrets(
    repository: &Repository,
    invocation: &Invocation,
    options: &mut CommitOptions,
    terminal: &mut dyn Terminal,
) -> Result<()> {
    if !options.all || options.secrets || !invocation.may_ask(terminal) {
        return Ok(());
    }
    let found = secrets(repository)?;
    if found.is_empty() {
        return Ok(());
    }
    let mut page = Page::new(true);
    found.iter().take(MAX_LISTED).for_each(|path| page.line([plain("  "), plain(path.as_str())]));
    if found.len() > MAX_LISTED {
        page.line([dim(format!("  and {} more", found.len() - MAX_LISTED))]);
    }
    invocation.progress.clear();
    let asked = terminal.err().write_all(page.text().as_bytes()).and_then(|()| {
        let what = if found.len() == 1 { "this file, which looks" } else { "these files, which look" };
        terminal.confirm(&format!("commit {what} like a secret, too?"))
    });
    options.secrets = asked.map_err(|error| Failure::io("read the answer", &error))?;
    Ok(())
}

/// Lists the files that are new and look like secrets.
fn secrets(repository: &Repository) -> Result<Vec<RepoPath>> {
    let untracked = repository.untracked(&Scope::All)?;
    Ok(untracked.into_iter().map(|change| change.path).filter(looks_secret).collect())
}

/// Lets a person write the message, with what is going to be committed beneath it.
fn edited_message(
    repository: &Repository,
    invocation: &Invocation,
    options: &CommitOptions,
    terminal: &mut dyn Terminal,
) -> Result<String> {
    let scope = status::scope(options.paths.clone());
    let (status, _) = status::compare(repository, invocation, scope, false)?;
    let takes_new = options.all || !options.paths.is_empty();
    let no_new = status.untracked.is_empty() || !takes_new;
    if status.staged.is_empty() && status.unstaged.is_empty() && no_new && !options.amend {
        return Err(empty(repository, invocation, options));
    }
    let before = match repository.state()?.head_commit().filter(|_| options.amend) {
        Some(head) => {
            let state = repository.state()?;
            shard_core::history::commit::read(&repository.store(&state)?, head)?.message
        }
        None => String::new(),
    };
    let text = format!("{before}\n\n{}", comments(&status, options));
    let directory = repository.layout().worktree.path().join(REPOSITORY_DIRECTORY).join(layout::TMP);
    invocation.progress.clear();
    let edited = terminal.edit(&directory, &text).map_err(|error| Failure::io("edit the message", &error))?;
    let message = tidied(&edited.unwrap_or_default(), true);
    if message.is_empty() {
        return Err(Failure::new(Code::Cancelled, "the message was empty: nothing was committed"));
    }
    Ok(message)
}

/// Says in comments what a commit is going to take.
fn comments(status: &Status, options: &CommitOptions) -> String {
    let mut lines = vec!["# What is written above is the message. Lines beginning with # are left out;".to_owned()];
    lines.push("# an empty message cancels.".to_owned());
    if let Some(branch) = &status.head.branch {
        lines.push(format!("#\n# on {branch}"));
    }
    let from_disk = options.all || !options.paths.is_empty() || status.staged.is_empty();
    let mut paths: Vec<String> =
        status.staged.iter().map(|entry| format!("{:<12} {}", entry.kind, entry.path)).collect();
    if from_disk {
        paths.extend(status.unstaged.iter().map(|entry| format!("{:<12} {}", entry.kind, entry.path)));
    }
    if options.all || !options.paths.is_empty() {
        paths.extend(status.untracked.iter().map(|path| format!("{:<12} {path}", "added")));
    }
    lines.push("#".to_owned());
    lines.extend(paths.iter().take(MAX_LISTED).map(|path| format!("#   {}", crate::escape::line(path))));
    if paths.len() > MAX_LISTED {
        lines.push(format!("#   and {} more", paths.len() - MAX_LISTED));
    }
    lines.join("\n") + "\n"
}

/// Says that there is nothing to commit, and what was left out where something was.
fn empty(repository: &Repository, invocation: &Invocation, options: &CommitOptions) -> Failure {
    let mut failure = Failure::from(Error::CommitEmpty);
    if options.all {
        failure.hints.retain(|one| *one != hint::commit_all());
    }
    let scope = status::scope(options.paths.clone());
    let Ok((status, _)) = status::compare(repository, invocation, scope, false) else { return failure };
    let mut skipped = status.skipped;
    if options.all && !options.secrets {
        let secrets = secrets(repository).unwrap_or_default();
        skipped.extend(secrets.iter().map(|path| Skipped { path: path.to_string(), code: "file.secret".to_owned() }));
    }
    if skipped.is_empty() {
        return failure;
    }
    skipped.sort();
    let secret = skipped.iter().any(|one| one.code == "file.secret");
    let rows: Vec<_> = skipped.iter().map(|one| json!({"path": one.path, "code": one.code})).collect();
    let mut failure = failure.detail("skipped", rows);
    failure.message =
        format!("nothing to commit but what was left out: {}", quantity::of(skipped.len() as u64, "path"));
    if secret { failure.hint(hint::commit_all_yes()) } else { failure }
}

/// What was committed, or would be.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Committed {
    report: CommitReport,
}

impl View for Committed {
    fn render(&self, page: &mut Page) {
        let CommitReport { id: commit, branch, subject, changes, bytes, new_bytes, .. } = &self.report;
        let amount = |bytes: u64, what: &str| match bytes {
            0 => String::new(),
            bytes => format!("{}{what}", quantity::bytes(bytes)),
        };
        let mut details = vec![quantity::of(changes.sum(), "file"), amount(*bytes, ""), amount(*new_bytes, " new")];
        let Some(commit) = commit else {
            details.retain(|detail| !detail.is_empty());
            return page.line([plain("would commit "), plain(details.join(", "))]);
        };
        if branch.is_none() {
            details.push("on no branch".to_owned());
        }
        page.done([id(short(commit)), plain(" "), bold(&**subject)], &details);
    }

    fn warnings(&self) -> Vec<Warning> {
        view::skipped_warnings(&self.report.skipped)
    }

    fn next(&self) -> Vec<Hint> {
        let secret = self.report.skipped.iter().any(|one| one.code == "file.secret");
        match (&self.report.id, &self.report.branch) {
            (Some(_), None) => vec![hint::switch_create("topic")],
            (Some(_), Some(_)) if secret => vec![hint::commit_all_yes()],
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_loses_what_surrounds_it_and_an_editors_comments() {
        assert_eq!(tidied("\n\n subject  \n\nbody\t\n\n", false), " subject\n\nbody");
        assert_eq!(tidied("a\n# b\nc\n", false), "a\n# b\nc");
        assert_eq!(tidied("a\n# b\n\n# c\n", true), "a");
    }
}
