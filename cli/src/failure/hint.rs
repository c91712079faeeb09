//! Commands worth running next, after an error or after success. No other file names a command to its reader.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;

/// A command worth running, and what it is good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Hint {
    /// A whole command line that can be pasted.
    pub run: String,
    /// What it does for the reader.
    pub why: String,
}

impl Hint {
    fn new(run: impl Into<String>, why: impl Into<String>) -> Self {
        Self { run: run.into(), why: why.into() }
    }
}

/// Quotes a word for a POSIX shell where it needs quoting; control characters stay inside the quotes.
pub(crate) fn quote(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@=+,%~^".contains(c);
    if !word.is_empty() && !word.starts_with('~') && word.chars().all(plain) {
        Cow::Borrowed(word)
    } else {
        Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
    }
}

/// Returns a path argument that cannot be taken for an option.
fn path_argument(path: &str) -> String {
    if path.starts_with('-') { format!("-- {}", quote(path)) } else { quote(path).into_owned() }
}

macro_rules! hints {
    ($($(#[$doc:meta])* $name:ident($($arg:ident),*) => $run:expr, $why:expr;)*) => {
        $($(#[$doc])* pub fn $name($($arg: &str),*) -> Hint { Hint::new($run, $why) })*
        #[cfg(test)]
        pub(crate) fn every_hint() -> Vec<Hint> {
            vec![$({ $(let $arg = tests::AWKWARD;)* $name($($arg),*) }),*]
        }
    };
}

hints! {
    /// Begins a repository here.
    init() => "shard init", "begins a repository here";
    /// After init.
    first_commit() => "shard commit -a -m \"first\"", "records everything here";
    /// Lists commits.
    log() => "shard log", "lists the commits";
    /// Lists branches.
    branches() => "shard branch list", "lists the branches";
    /// Lists tags.
    tags() => "shard tag list", "lists the tags";
    /// What differs.
    status() => "shard status", "shows what differs and what is under way";
    /// Every tracked file.
    ls() => "shard ls -r", "lists the tracked files";
    /// Checks signatures and content.
    verify() => "shard verify --all", "checks every commit and object";
    /// Checks the store.
    fsck() => "shard fsck --full", "reads everything stored and names what is damaged";
    /// Recreates views.
    rebuild() => "shard rebuild", "recreates every view from the truth";
    /// Recreates views where footers cannot be trusted.
    rebuild_from_frames() => "shard rebuild --from-frames", "copies what can be read out of damaged packs, and says what is lost";
    /// Looks for damage and repairs what can be.
    doctor() => "shard doctor --fix", "makes anew what follows from the rest, such as index, views and refs; lost content stays lost";
    /// Where the space went.
    store_stats() => "shard store stats", "shows what takes the space";
    /// All keys and their values.
    config_list() => "shard config list --origin", "shows every key, its value and where it comes from";
    /// Opens the configuration in an editor.
    config_edit() => "shard config edit", "opens the file in an editor";
    /// Goes on with an interrupted checkout.
    switch_continue() => "shard switch --continue", "finishes the interrupted checkout";
    /// Goes back to before an interrupted checkout.
    switch_abort() => "shard switch --abort", "returns to where it began";
    /// After staging.
    commit_message() => "shard commit -m \"what changed\"", "records what is staged";
    /// After editing.
    commit_all_message() => "shard commit -a -m \"what changed\"", "records everything that differs";
    /// Goes on with a list.
    log_more(cursor) => format!("shard log --cursor {}", quote(cursor)), "lists the commits before these";
    /// Goes to a commit.
    switch_detach(revision) => format!("shard switch --detach {}", quote(revision)), "goes there without a branch";
    /// Begins a branch.
    switch_create(name) => format!("shard switch -c {}", quote(name)), "begins a branch here";
    /// Lists commits from one on.
    log_of(revision) => format!("shard log {}", quote(revision)), "lists the commits that lead there";
    /// Begins a branch at a commit.
    switch_create_at(name, revision) => format!("shard switch -c {} {}", quote(name), quote(revision)), "goes there on a branch of its own";
    /// Copies a repository whose commits were signed by others.
    clone_untrusted(source) => format!("shard clone --untrusted {}", path_argument(source)), "copies it all the same";
    /// Follows a commit whose signer does not count.
    pull_untrusted(source) => match source {
        "" => "shard pull --untrusted".to_owned(),
        _ => format!("shard pull --untrusted {}", path_argument(source)),
    }, "takes it all the same";
    /// Goes to a commit whose signer does not count.
    switch_untrusted(name) => format!("shard switch --untrusted {}", quote(name)), "goes there all the same";
    /// Overwrites what is in the way.
    switch_discard(name) => format!("shard switch --discard {}", quote(name)), "overwrites them; what they hold is kept in the store";
    /// Keeps a commit.
    branch_new_at(name, revision) => format!("shard branch new {} {}", quote(name), quote(revision)), "gives it a name again";
    /// Takes new files too.
    commit_all() => "shard commit -a", "takes new files too";
    /// Takes secret-like files too.
    commit_all_yes() => "shard commit -a -y", "takes what looks like a secret too";
    /// Waits longer for others.
    wait_longer() => "shard --timeout 5m status", "`--timeout` sets how long a command waits for others";
    /// Lists what a command takes.
    help(command) => format!("shard {command} --help"), "lists what it takes";
    /// Lists every command.
    overview() => "shard --help", "lists the commands";
    /// What fields an answer has.
    schema(verb) => format!("shard schema {verb}"), "prints the fields of the answer";
    /// A command spelt like it.
    similar(line) => line.to_owned(), "did you mean this?";
    /// Switches to a branch.
    switch(name) => format!("shard switch {}", quote(name)), "switches to it";
    /// Shows a revision.
    show(revision) => format!("shard show {}", quote(revision)), "shows it";
    /// Creates a branch.
    branch_new(name) => format!("shard branch new {}", quote(name)), "creates it here";
    /// Moves a tag.
    tag_force(name) => format!("shard tag new {} --force", quote(name)), "moves the tag here";
    /// Adds an ignored path.
    add_force(path) => format!("shard add --force {}", path_argument(path)), "adds it all the same";
    /// Removes what differs.
    rm_force(path) => format!("shard rm --force {}", path_argument(path)), "removes it all the same";
    /// Which rule ignores a path.
    ignore_check(path) => format!("shard ignore check {}", path_argument(path)), "names the rule that ignores it";
    /// Adds one path by name.
    add(path) => format!("shard add {}", path_argument(path)), "tries it again";
    /// Takes recorded content back.
    restore(path) => format!("shard restore {}", path_argument(path)), "takes back what is recorded";
    /// Sets a key to what was perhaps meant.
    config_set(key, value) => format!("shard config set {} {}", quote(key), quote(value)), "sets it so";
    /// Shows a key.
    config_get(key) => format!("shard config get {}", quote(key)), "shows the key so spelt";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::Parser;

    /// A name every quoting mistake would break on.
    pub(crate) const AWKWARD: &str = "status";

    /// Splits a command line as a POSIX shell does, for the quotes the hints use.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quoted, mut begun, mut escaped) = (Vec::new(), String::new(), None, false, false);
        for c in line.chars() {
            if escaped {
                word.push(c);
                escaped = false;
                continue;
            }
            match (quoted, c) {
                (None, '\\') => (escaped, begun) = (true, true),
                (None, '\'' | '"') => (quoted, begun) = (Some(c), true),
                (Some(q), c) if q == c => quoted = None,
                (None, ' ') => {
                    if std::mem::take(&mut begun) {
                        words.push(std::mem::take(&mut word));
                    }
                }
                _ => {
                    word.push(c);
                    begun = true;
                }
            }
        }
        if begun {
            words.push(word);
        }
        words
    }

    fn parses(line: &str) {
        match Cli::try_parse_from(words(line)) {
            Ok(_) => {}
            Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelp => {}
            Err(error) => panic!("hint `{line}` does not parse: {error}"),
        }
    }

    #[test]
    fn every_hint_parses_with_the_command_tree() {
        for hint in every_hint() {
            let line = if hint.run == AWKWARD { format!("shard {}", hint.run) } else { hint.run };
            parses(&line);
            assert!(!hint.why.is_empty() && !hint.why.ends_with('.'), "{line}: {}", hint.why);
        }
    }

    #[test]
    fn hints_quote_names_that_a_shell_would_take_apart() {
        for name in ["a b", "it's", "$(reboot)", "-rf", "a;b", "*", "~root", "a\nb"] {
            for hint in [add_force(name), add(name), restore(name), ignore_check(name)] {
                let words = words(&hint.run);
                assert_eq!(words.last().map(String::as_str), Some(name), "{}", hint.run);
                parses(&hint.run);
            }
        }
    }
}
