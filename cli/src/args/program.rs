//! Commands about the program itself.

use std::path::PathBuf;

use clap::{Args, ValueHint};

/// `demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Keep the directory it worked in
    #[arg(long)]
    pub keep: bool,
    /// Size of the generated file, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub size: u32,
}

/// `schema`
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// A command, such as `commit` or `branch.list`; all when absent
    #[arg(value_name = "CMD", num_args = 0..=2)]
    pub command: Vec<String>,
}

/// `man`
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Where to write them
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,
}

/// `completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// For which shell
    pub shell: clap_complete::Shell,
}
