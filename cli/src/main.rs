//! The `shard` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    shard_cli::run(std::env::args_os().collect())
}
