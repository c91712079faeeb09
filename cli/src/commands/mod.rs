//! One function for each command: from what was typed to the answer.

mod add;
mod branch;
mod clone;
mod commit;
mod completions;
mod config;
mod demo;
mod doctor;
mod export;
mod fsck;
mod ignore;
mod import;
mod init;
mod log;
mod ls;
mod man;
mod metrics;
mod pull;
mod queue;
mod rebuild;
mod restore;
mod rm;
mod schema;
mod show;
mod status;
mod store;
mod switch;
mod tag;
mod verify;
mod version;

use crate::args::{Command, StoreVerb};
use crate::failure::Result;
use crate::invocation::Invocation;
use crate::terminal::Terminal;
use crate::view::View;

/// Runs a command and returns its answer.
///
/// # Errors
/// Whatever the command fails with.
pub fn run(invocation: &Invocation, command: Command, terminal: &mut dyn Terminal) -> Result<Box<dyn View>> {
    Ok(match command {
        Command::Add(args) => Box::new(add::run(invocation, args)?),
        Command::Branch { verb } => branch::run(invocation, verb)?,
        Command::Commit(args) => Box::new(commit::run(invocation, args, terminal)?),
        Command::Log(args) => Box::new(log::run(invocation, args, terminal)?),
        Command::Ls(args) => Box::new(ls::run(invocation, args)?),
        Command::Restore(args) => Box::new(restore::run(invocation, &args)?),
        Command::Rm(args) => Box::new(rm::run(invocation, args)?),
        Command::Show(args) => Box::new(show::run(invocation, &args, terminal)?),
        Command::Switch(args) => Box::new(switch::run(invocation, &args)?),
        Command::Tag { verb } => tag::run(invocation, verb)?,
        Command::Status(args) => Box::new(status::run(invocation, args)?),
        Command::Clone(args) => Box::new(clone::run(invocation, &args)?),
        Command::Demo(args) => Box::new(demo::run(invocation, &args)?),
        Command::Export(args) => Box::new(export::run(invocation, &args)?),
        Command::Import(args) => Box::new(import::run(invocation, &args, terminal)?),
        Command::Pull(args) => Box::new(pull::run(invocation, &args, terminal)?),
        Command::Fsck(args) => Box::new(fsck::run(invocation, &args, terminal)?),
        Command::Rebuild(args) => Box::new(rebuild::run(invocation, &args)?),
        Command::Doctor(args) => Box::new(doctor::run(invocation, &args, terminal)?),
        Command::Store { verb: None | Some(StoreVerb::Stats) } => Box::new(store::stats(invocation)?),
        Command::Metrics { prometheus } => Box::new(metrics::run(invocation, prometheus)?),
        Command::Verify(args) => Box::new(verify::run(invocation, &args, terminal)?),
        Command::Completions(args) => Box::new(completions::run(args)?),
        Command::Config { verb } => config::run(invocation, verb, terminal)?,
        Command::Ignore { verb } => ignore::run(invocation, verb)?,
        Command::Init(args) => Box::new(init::run(invocation, args)?),
        Command::Queue => Box::new(queue::run(invocation)?),
        Command::Man(args) => Box::new(man::run(invocation, &args)?),
        Command::Schema(args) => Box::new(schema::run(&args)?),
        Command::Version => Box::new(version::run()),
    })
}
