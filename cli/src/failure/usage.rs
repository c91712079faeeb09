//! Command lines that do not parse, as failures.

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use shard_core::near_names;

use super::{Code, Failure, hint};

/// Most similar spellings offered.
const MAX_SIMILAR: usize = 3;

impl Failure {
    /// Turns a parse error into a failure; `command` is the verb it was for, where one was recognised.
    pub(crate) fn from_parse(error: &clap::Error, command: Option<&str>) -> Self {
        let code = match error.kind() {
            ErrorKind::InvalidValue | ErrorKind::ValueValidation => Code::ValueInvalid,
            _ => Code::Usage,
        };
        let mut failure = Self::new(code, summary(error));
        for (kind, value) in error.context() {
            let key = match kind {
                ContextKind::InvalidSubcommand => {
                    for near in strings(value).iter().flat_map(|typed| near_commands(typed, command)) {
                        failure = failure.hint(hint::similar(&near));
                    }
                    "command"
                }
                ContextKind::InvalidArg => "argument",
                ContextKind::InvalidValue => "value",
                ContextKind::ValidValue => "expected",
                // Its parser takes another name of a command for as good as the command itself.
                ContextKind::SuggestedSubcommand => continue,
                ContextKind::SuggestedArg | ContextKind::SuggestedValue => {
                    // The parser lists the nearest last.
                    for near in strings(value).into_iter().rev().take(MAX_SIMILAR) {
                        failure = failure.hint(hint::similar(&similar_line(kind, &near, command, error)));
                    }
                    continue;
                }
                _ => continue,
            };
            let texts = strings(value);
            failure = match (kind, texts.as_slice()) {
                (ContextKind::ValidValue, _) => failure.detail(key, texts),
                (_, [one]) => failure.detail(key, one.as_str()),
                _ => failure.detail(key, texts),
            };
        }
        match command {
            Some(command) => failure.hint(hint::help(&command.replace('.', " "))),
            None => failure.hint(hint::overview()),
        }
    }
}

/// Returns the first paragraph of the parser's message in one line.
fn summary(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let paragraph: Vec<&str> = text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
    paragraph.join(" ").trim_end_matches('.').to_owned()
}

fn similar_line(kind: ContextKind, near: &str, command: Option<&str>, error: &clap::Error) -> String {
    let verb = command.unwrap_or_default().replace('.', " ");
    let line = match kind {
        ContextKind::SuggestedValue => {
            match error.get(ContextKind::InvalidArg).map(strings).unwrap_or_default().first() {
                Some(argument) if argument.starts_with('-') => {
                    let option = argument.split([' ', '=']).next().unwrap_or_default();
                    format!("shard {verb} {option} {near}")
                }
                _ => format!("shard {verb} {near}"),
            }
        }
        _ => format!("shard {verb} {near}"),
    };
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the commands spelt nearly like a word, as lines: of the noun that was recognised, or of the program. Other
/// names of commands count only where no command is near.
fn near_commands(typed: &str, command: Option<&str>) -> Vec<String> {
    let program = crate::args::Cli::command();
    let noun = command.and_then(|command| command.split('.').next());
    let (tree, before) = match noun.and_then(|noun| program.find_subcommand(noun)) {
        Some(noun) => (noun, format!("shard {}", noun.get_name())),
        None => (&program, "shard".to_owned()),
    };
    let names = tree.get_subcommands().map(clap::Command::get_name);
    let others = tree.get_subcommands().flat_map(clap::Command::get_all_aliases);
    let mut near = near_names(typed, names, MAX_SIMILAR);
    if near.is_empty() {
        near = near_names(typed, others, MAX_SIMILAR);
    }
    near.into_iter().map(|name| format!("{before} {name}")).collect()
}

fn strings(value: &ContextValue) -> Vec<String> {
    match value {
        ContextValue::String(text) => vec![text.clone()],
        ContextValue::Strings(texts) => texts.clone(),
        ContextValue::StyledStr(text) => vec![text.to_string()],
        ContextValue::StyledStrs(texts) => texts.iter().map(ToString::to_string).collect(),
        ContextValue::Number(number) => vec![number.to_string()],
        ContextValue::Bool(truth) => vec![truth.to_string()],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn failure(line: &str, command: Option<&str>) -> Failure {
        let error = crate::args::Cli::try_parse_from(line.split(' ')).expect_err(line);
        Failure::from_parse(&error, command)
    }

    #[test]
    fn a_misspelt_command_offers_the_nearest() {
        let failure = failure("shard comit", None);
        assert_eq!(failure.code, Code::Usage);
        assert_eq!(failure.details["command"], "comit");
        assert_eq!(failure.hints[0].run, "shard commit");
    }

    #[test]
    fn other_names_of_commands_are_offered_only_where_no_command_is_near() {
        let runs = |line| failure(line, None).hints.into_iter().map(|hint| hint.run).collect::<Vec<_>>();
        assert_eq!(runs("shard stauts"), ["shard status", "shard --help"]);
        assert_eq!(runs("shard chekcout main"), ["shard checkout", "shard --help"]);
    }

    #[test]
    fn a_misspelt_verb_of_a_noun_offers_the_nearest() {
        let failure = failure("shard branch lsit", Some("branch"));
        assert_eq!(failure.hints[0].run, "shard branch list");
    }

    #[test]
    fn a_misspelt_option_offers_the_nearest() {
        let failure = failure("shard commit --mesage x", Some("commit"));
        assert_eq!(failure.hints[0].run, "shard commit --message");
        assert_eq!(failure.details["argument"], "--mesage");
    }

    #[test]
    fn a_value_outside_its_enumeration_lists_what_is_known() {
        let failure = failure("shard init --backend sqlit", Some("init"));
        assert_eq!(failure.code, Code::ValueInvalid);
        assert_eq!(failure.details["expected"], serde_json::json!(["sqlite", "sled", "flat"]));
        assert_eq!(failure.hints[0].run, "shard init --backend sqlite");
    }

    #[test]
    fn messages_are_one_line() {
        for line in ["shard commit -m", "shard rm", "shard switch", "shard -C", "shard log -n x"] {
            let failure = failure(line, None);
            assert!(!failure.message.contains('\n'), "{}", failure.message);
            assert_eq!(failure.exit(), 2);
        }
    }
}
