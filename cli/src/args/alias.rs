//! Spellings of older programs that are more than another name: rewritten before parsing.

use std::ffi::OsString;

/// Global options that take their value as the next word.
const WITH_VALUE: [&str; 5] = ["-C", "--log-format", "--color", "--timeout", "--passphrase-fd"];

/// Returns the position of the verb: the first word that is neither an option nor an option's value.
pub(crate) fn verb_position(words: &[OsString]) -> Option<usize> {
    let mut at = 1;
    while let Some(word) = words.get(at) {
        let word = word.to_str().unwrap_or("");
        if WITH_VALUE.contains(&word) {
            at += 2;
        } else if word.starts_with('-') {
            at += 1;
        } else {
            return Some(at);
        }
    }
    None
}

/// Rewrites `recover` to `doctor --fix`, `checkout [REV] -- PATH…` to `restore [--from REV] PATH…` and `checkout -b` to
/// `switch -c`. Everything else stays as it is. `words` begins with the program.
pub fn canonical(mut words: Vec<OsString>) -> Vec<OsString> {
    let Some(verb) = verb_position(&words) else { return words };
    match words[verb].to_str() {
        Some("recover") => {
            words.splice(verb..=verb, ["doctor".into(), "--fix".into()]);
        }
        Some("checkout") => checkout(&mut words, verb),
        _ => {}
    }
    words
}

fn checkout(words: &mut Vec<OsString>, verb: usize) {
    if let Some(dashes) = words[verb..].iter().position(|word| word == "--").map(|at| at + verb) {
        let before: Vec<OsString> = words.drain(verb + 1..dashes).collect();
        words[verb] = "restore".into();
        let (options, revisions): (Vec<_>, Vec<_>) =
            before.into_iter().partition(|word| word.to_str().is_some_and(|word| word.starts_with('-')));
        let from = revisions.into_iter().flat_map(|revision| ["--from".into(), revision]);
        words.splice(verb + 1..=verb, options.into_iter().chain(from));
    } else {
        for word in &mut words[verb + 1..] {
            if word == "-b" {
                *word = "-c".into();
            }
        }
    }
}

/// Returns the stable name of the command a line was meant for, as far as its words are known: `branch.new`.
pub(crate) fn recognised(words: &[OsString]) -> Option<String> {
    use clap::CommandFactory;
    let verb = verb_position(words)?;
    let tree = super::Cli::command();
    let command = tree.find_subcommand(&words[verb])?;
    let inner = words.get(verb + 1).and_then(|word| command.find_subcommand(word));
    Some(match inner {
        Some(inner) => format!("{}.{}", command.get_name(), inner.get_name()),
        None => command.get_name().to_owned(),
    })
}
