//! Commands about files.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

/// `add`
#[derive(Debug, Args)]
pub struct AddArgs {
    /// Files and directories
    #[arg(value_name = "PATH", required_unless_present = "all", value_hint = ValueHint::AnyPath)]
    pub paths: Vec<PathBuf>,
    /// Everything in the worktree
    #[arg(short = 'A', long)]
    pub all: bool,
    /// Also what is ignored
    #[arg(short, long)]
    pub force: bool,
}

/// `rm`
#[derive(Debug, Args)]
pub struct RmArgs {
    /// Files and directories
    #[arg(value_name = "PATH", required = true, value_hint = ValueHint::AnyPath)]
    pub paths: Vec<PathBuf>,
    /// Keep them on disk
    #[arg(long)]
    pub cached: bool,
    /// Also what differs from what is staged
    #[arg(short, long)]
    pub force: bool,
}

/// `status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Only these
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub paths: Vec<PathBuf>,
    /// One tab-separated line each, stable
    #[arg(long)]
    pub porcelain: bool,
    /// With ignored files
    #[arg(long)]
    pub ignored: bool,
    /// End with 10 when anything differs
    #[arg(long)]
    pub exit_code: bool,
}

/// `ls`
#[derive(Debug, Args)]
pub struct LsArgs {
    /// What to list; HEAD when absent. What is no revision is taken for a path
    #[arg(value_name = "REV")]
    pub revision: Option<OsString>,
    /// Only beneath this
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub path: Option<PathBuf>,
    /// Into directories
    #[arg(short, long)]
    pub recursive: bool,
    /// What is staged
    #[arg(long)]
    pub staged: bool,
    /// What is on disk and not tracked
    #[arg(long, conflicts_with = "staged")]
    pub others: bool,
}

/// `restore`
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Files and directories
    #[arg(value_name = "PATH", required = true, value_hint = ValueHint::AnyPath)]
    pub paths: Vec<PathBuf>,
    /// From this revision; from what is staged when absent
    #[arg(long, value_name = "REV", visible_alias = "source")]
    pub from: Option<String>,
    /// What is staged instead of what is on disk
    #[arg(long)]
    pub staged: bool,
}

/// `export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// What to write
    #[arg(value_name = "REV")]
    pub revision: String,
    /// An empty or absent directory, or a file ending in .tar
    #[arg(value_name = "DIR/FILE.tar", value_hint = ValueHint::AnyPath)]
    pub target: PathBuf,
}

/// `import`
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Directory to take
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub source: PathBuf,
    /// Message of the commit
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Put everything beneath this path
    #[arg(long, value_name = "PATH")]
    pub prefix: Option<String>,
}

/// Verbs of `ignore`
#[derive(Debug, Subcommand)]
pub enum IgnoreVerb {
    /// List the files that hold rules
    #[command(visible_alias = "ls")]
    List,
    /// Say which rule ignores a path
    Check {
        /// Paths, existing or not
        #[arg(value_name = "PATH", required = true, value_hint = ValueHint::AnyPath)]
        paths: Vec<PathBuf>,
    },
}
