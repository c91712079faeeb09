//! shard beside restic, borg, casync and git: the same data, the same machine, in turn.
//!
//! `cargo bench -p shard-tests --bench side_by_side -- --help` tells the options. Every workload runs its steps for each tool
//! in a fresh directory, tool after tool, run after run, so that a slow minute of the machine meets all of them. Printed are
//! median, least and greatest wall time, CPU seconds, peak memory, bytes stored, and the ratio to the best other tool.
//! Writing the data, copying it into place and syncing it are not measured. In the first run everything restored is compared
//! with what was stored.

mod ground;
mod machine;
mod measure;
mod options;
mod report;
mod tool;
mod workload;

use std::process::ExitCode;

use ground::Ground;
use options::Options;
use report::Report;
use tool::Tool;
use workload::Workload;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|a| a == measure::CHILD) {
        return measure::child(&arguments[1..]);
    }
    let options = match Options::parse(&arguments) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("{message}\n{}", options::HELP);
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let (tools, absent) = Tool::choose(options)?;
    let mut ground = Ground::new(options)?;
    let mut report = Report::new(options, &tools, absent, &ground);
    for workload in Workload::choose(options)? {
        eprintln!("{}: {}", workload.name(), workload.title(options));
        workload.run(options, &tools, &mut ground, &mut report).map_err(|e| format!("{}: {e}", workload.name()))?;
        // What is measured so far survives an interruption of the rest.
        report.write(options)?;
    }
    ground.clean()?;
    println!("{}", report.markdown());
    Ok(())
}
