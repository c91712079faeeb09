//! The command reference as Markdown, generated from the command tree.

use std::fmt::Write as _;

use clap::{Arg, Command};

/// Returns the reference of a command tree. It is the same for the same tree, whatever the terminal or environment.
pub fn markdown(tree: &Command) -> String {
    let mut tree = tree.clone();
    tree.build();
    let mut text = String::from(
        "# Command reference\n\nGenerated from the program; a test fails where the two differ.\n\n## Global options\n\n\
         Every command takes these, before or after its name.\n\n",
    );
    options(&mut text, tree.get_arguments().filter(|arg| arg.is_global_set()));
    for command in subcommands(&tree) {
        section(&mut text, command, command.get_name(), 2);
    }
    text
}

fn subcommands(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
}

fn section(text: &mut String, command: &Command, name: &str, level: usize) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    put(text, format_args!("{} {name}\n\n{about}.\n\n```\n{}\n```\n\n", "#".repeat(level), usage(command, name)));
    let aliases: Vec<String> = command.get_visible_aliases().map(|alias| format!("`{alias}`")).collect();
    if !aliases.is_empty() {
        put(text, format_args!("Also spelt {}.\n\n", aliases.join(", ")));
    }
    options(text, command.get_arguments().filter(|arg| !arg.is_global_set() && !arg.is_hide_set()));
    for inner in subcommands(command) {
        section(text, inner, &format!("{name} {}", inner.get_name()), level + 1);
    }
}

fn usage(command: &Command, name: &str) -> String {
    let mut line = format!("shard {name}");
    let arguments = || command.get_arguments().filter(|arg| !arg.is_global_set() && !arg.is_hide_set());
    if arguments().any(|arg| !arg.is_positional() && arg.get_id() != "help") {
        line.push_str(" [OPTIONS]");
    }
    for arg in arguments().filter(|arg| arg.is_positional()) {
        let dashes = if arg.is_last_set() { "-- " } else { "" };
        let shown = format!("{dashes}{}", value(arg).unwrap_or_default());
        line.push_str(&if arg.is_required_set() { format!(" {shown}") } else { format!(" [{shown}]") });
    }
    if subcommands(command).next().is_some() {
        line.push_str(if command.is_subcommand_required_set() { " VERB" } else { " [VERB]" });
    }
    line
}

/// Returns how an argument's value is written: `PATH…`.
fn value(arg: &Arg) -> Option<String> {
    let takes = arg.get_num_args().is_some_and(|count| count.takes_values());
    let names: Vec<String> = arg.get_value_names()?.iter().map(ToString::to_string).collect();
    let many = arg.is_positional() && arg.get_num_args().is_some_and(|count| count.max_values() > 1);
    takes.then(|| names.join(" ").to_uppercase() + if many { "…" } else { "" })
}

fn options<'a>(text: &mut String, args: impl Iterator<Item = &'a Arg>) {
    let mut rows = String::new();
    for arg in args.filter(|arg| !["help", "version"].contains(&arg.get_id().as_str())) {
        let mut spellings: Vec<String> = Vec::new();
        spellings.extend(arg.get_short().map(|short| format!("-{short}")));
        spellings.extend(arg.get_long().map(|long| format!("--{long}")));
        spellings.extend(arg.get_visible_aliases().into_iter().flatten().map(|alias| format!("--{alias}")));
        let optional = arg.get_num_args().is_some_and(|count| count.min_values() == 0);
        let value = value(arg).unwrap_or_default();
        let spelt = match (spellings.is_empty(), value.is_empty(), optional) {
            (true, ..) => value,
            (false, true, _) => spellings.join(", "),
            (false, false, true) => format!("{}[={value}]", spellings.join(", ")),
            (false, false, false) => format!("{} {value}", spellings.join(", ")),
        };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let values: Vec<String> = arg
            .get_possible_values()
            .iter()
            .filter(|_| {
                !arg.is_hide_possible_values_set() && arg.get_num_args().is_some_and(|count| count.takes_values())
            })
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        let values = if values.is_empty() { String::new() } else { format!(": {}", values.join(", ")) };
        put(&mut rows, format_args!("|`{}`|{}{values}|\n", spelt.replace('|', "\\|"), help.replace('|', "\\|")));
    }
    if !rows.is_empty() {
        put(text, format_args!("|||\n|-|-|\n{rows}\n"));
    }
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a string cannot fail");
}
