//! The `shard` command line.
//!
//! A command is one function in [`commands`] that takes an [`invocation::Invocation`] and a [`terminal::Terminal`] and
//! returns an answer; [`output`] prints it for a person or as JSON, and only [`failure`] gives an error its code, hints
//! and exit. Nothing is read or opened before the command line has been understood.

pub mod args;
pub mod commands;
pub mod escape;
pub mod failure;
mod interrupt;
pub mod invocation;
pub mod logging;
pub mod output;
pub mod page;
pub mod place;
pub mod progress;
pub mod quantity;
pub mod reference;
pub mod settings;
pub mod terminal;
pub mod view;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use shard_core::repository::config::{Config, key};

use args::{Cli, Command};
use failure::{Code, EXIT_USAGE, Failure, Result};
use invocation::{Environment, Invocation, terminal_settings};
use logging::TraceId;
use terminal::{Local, Terminal};

/// Runs one command line, beginning with the name of the program, and returns the exit code of the process.
///
/// A pipe that its reader closed ends the command quietly, as a success.
pub fn run(words: Vec<OsString>) -> ExitCode {
    // Answers and leaves where a shell asked for completions.
    clap_complete::CompleteEnv::with_factory(Cli::command).complete();

    interrupt::allow();
    let environment = Environment::of_process();
    let words = args::canonical(words);
    let outcome = match Cli::try_parse_from(&words) {
        Ok(cli) => run_parsed(cli, environment),
        Err(error) => answer_unparsed(&error, &words, &environment),
    };
    match outcome {
        Ok(exit) => ExitCode::from(exit),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let failure = Failure::io("write the answer", &error);
            eprintln!("error[{}]: {}", failure.code, failure.message);
            ExitCode::from(failure.exit())
        }
    }
}

fn run_parsed(cli: Cli, environment: Environment) -> io::Result<u8> {
    let mut terminal = Local::new(terminal_settings(&cli.global, &environment, &Config::default()));
    let command = cli.command.name();
    let json = cli.global.json.is_some() || cli.global.events;
    let ready = output::check_fields(cli.global.json.as_deref().unwrap_or_default(), command)
        .and_then(|()| Invocation::new(cli.global, environment, command, terminal.shape()));
    let mut invocation = match ready {
        Ok(invocation) => invocation,
        Err(failure) => return output::failure(&failure, command, TraceId::random(), json, &mut terminal),
    };
    match execute(&mut invocation, cli.command, &mut terminal) {
        Ok(answer) => {
            let written = output::success(&invocation, answer.as_ref(), &mut terminal);
            invocation.tidy();
            written
        }
        Err(failure) if failure.is_closed_pipe() => Err(io::ErrorKind::BrokenPipe.into()),
        Err(mut failure) => {
            invocation.progress.clear();
            if failure.code == Code::Interrupted {
                invocation.tell_interrupted(&mut failure);
            }
            if failure.hints.is_empty() && (failure.exit() == EXIT_USAGE || failure.code == Code::PathNotFound) {
                failure.hints.push(failure::hint::help(&command.replace('.', " ")));
            }
            if !json && !invocation.config.get(key::UI_HINTS) {
                failure.hints.clear();
            }
            output::failure(&failure, command, invocation.trace, json, &mut terminal)
        }
    }
}

fn execute(invocation: &mut Invocation, command: Command, terminal: &mut Local) -> Result<Box<dyn view::View>> {
    if let Some(config) = configuration(invocation, &command)? {
        terminal.configure(terminal_settings(&invocation.global, &invocation.environment, &config));
        invocation.configure(config, terminal.shape())?;
    }
    let span = tracing::info_span!("command", cmd = invocation.command);
    let _entered = span.enter();
    commands::run(invocation, command, terminal)
}

/// Reads the settings a command runs under; nothing for one that needs none, which then opens no file at all.
fn configuration(invocation: &Invocation, command: &Command) -> Result<Option<Config>> {
    let settings = match command {
        Command::Version | Command::Completions(_) | Command::Man(_) | Command::Schema(_) => return Ok(None),
        // A broken file is what these are called to mend.
        Command::Config { .. } => settings::load_lenient(invocation, invocation.find_repository().ok().as_deref())?,
        // These make a repository: whatever lies upward is not theirs.
        Command::Init(_) | Command::Clone(_) | Command::Demo(_) => settings::load(invocation, None)?,
        _ => settings::load(invocation, invocation.find_repository().ok().as_deref())?,
    };
    Ok(Some(settings.config))
}

/// Prints help, or the failure of a command line that means nothing.
fn answer_unparsed(error: &clap::Error, words: &[OsString], environment: &Environment) -> io::Result<u8> {
    use clap::error::ErrorKind;
    let before_dashes = words.iter().take_while(|word| *word != "--").filter_map(|word| word.to_str());
    let json = before_dashes.clone().any(|word| word == "--json" || word.starts_with("--json=") || word == "--events");
    let no_pager = before_dashes.clone().any(|word| word == "--no-pager");
    let global = args::Global { json: json.then(Vec::new), no_pager, ..args::Global::default() };
    let mut terminal = Local::new(terminal_settings(&global, environment, &Config::default()));
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            terminal.page(&error.render().ansi().to_string())?;
            terminal.flush()?;
            Ok(0)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if !json => {
            terminal.err().write_all(error.render().ansi().to_string().as_bytes())?;
            Ok(2)
        }
        _ => {
            let command = args::recognised(words);
            let failure = Failure::from_parse(error, command.as_deref());
            let name = command.unwrap_or_else(|| "shard".to_owned());
            output::failure(&failure, &name, TraceId::random(), json, &mut terminal)
        }
    }
}
