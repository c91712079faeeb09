//! Commands about commits and the names that point at them.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use super::Backend;

/// `init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Where; here when absent
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub directory: Option<PathBuf>,
    /// Name of the repository; the directory's when absent
    #[arg(long)]
    pub name: Option<String>,
    /// What holds the rebuildable views
    #[arg(long, visible_alias = "db")]
    pub backend: Option<Backend>,
    /// How files are cut: fastcdc, fastcdc:N, fixed:N
    #[arg(long, value_name = "PROFILE")]
    pub chunker: Option<String>,
    /// Cut at about this many bytes
    #[arg(long, value_name = "BYTES", hide = true)]
    pub chunk_size: Option<u64>,
    /// How content is compressed: zstd, zstd:LEVEL, zlib, none
    #[arg(long, value_name = "CODEC")]
    pub compression: Option<String>,
    /// Accept a network file system
    #[arg(long)]
    pub force: bool,
}

/// `clone`
#[derive(Debug, Args)]
pub struct CloneArgs {
    /// Directory of the repository to copy
    #[arg(value_name = "SOURCE", value_hint = ValueHint::DirPath)]
    pub source: PathBuf,
    /// Where to; the source's name when absent
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub directory: Option<PathBuf>,
    /// What holds the rebuildable views
    #[arg(long, visible_alias = "db")]
    pub backend: Option<Backend>,
    /// Accept a network file system
    #[arg(long)]
    pub force: bool,
    /// Check out a commit that is not trusted
    #[arg(long)]
    pub untrusted: bool,
}

/// `commit`
#[derive(Debug, Args)]
pub struct CommitArgs {
    /// Take these paths only and leave the rest staged
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub paths: Vec<PathBuf>,
    /// The message; an editor opens when absent
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Read the message from a file, `-` for stdin
    #[arg(short = 'F', long, value_name = "FILE", conflicts_with = "message", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// Take everything that changed, new files too
    #[arg(short, long, conflicts_with = "paths")]
    pub all: bool,
    /// Replace the last commit; its message stays where none is given
    #[arg(long)]
    pub amend: bool,
    /// Author as shown; `user.name` when absent
    #[arg(long, value_name = "NAME")]
    pub author: Option<String>,
}

/// `log`
#[derive(Debug, Args)]
pub struct LogArgs {
    /// Where to begin; HEAD when absent
    #[arg(value_name = "REV")]
    pub revision: Option<String>,
    /// Only commits that touch these
    #[arg(value_name = "PATH", last = true, value_hint = ValueHint::AnyPath)]
    pub paths: Vec<PathBuf>,
    /// At most this many
    #[arg(short = 'n', long = "limit", value_name = "COUNT")]
    pub limit: Option<usize>,
    /// Only commits whose author contains this
    #[arg(long, value_name = "TEXT")]
    pub author: Option<String>,
    /// Only commits made after this: a date, a time or an age such as 7d
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// With what each changed
    #[arg(long)]
    pub stat: bool,
    /// Continue where another page ended
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
}

/// `show`
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// A commit, or `REV:PATH` for a file or directory of one; HEAD when absent
    #[arg(value_name = "REV[:PATH]")]
    pub revision: Option<String>,
    /// With the paths it changed
    #[arg(long)]
    pub stat: bool,
}

/// `switch`
#[derive(Debug, Args)]
pub struct SwitchArgs {
    /// A branch, or with --detach any revision
    #[arg(value_name = "REF", required_unless_present_any = ["continue", "abort", "create", "detach"])]
    pub target: Option<String>,
    /// Create this branch (at REF when given) and go there
    #[arg(short, long, value_name = "NAME")]
    pub create: Option<String>,
    /// Go to a commit without a branch
    #[arg(long, conflicts_with = "create")]
    pub detach: bool,
    /// Overwrite local changes; they are kept in the store
    #[arg(long)]
    pub discard: bool,
    /// Accept a commit that is not trusted
    #[arg(long)]
    pub untrusted: bool,
    /// Finish an interrupted checkout
    #[arg(long, conflicts_with_all = ["target", "create", "abort"])]
    pub r#continue: bool,
    /// Return to before an interrupted checkout
    #[arg(long, conflicts_with_all = ["target", "create"])]
    pub abort: bool,
}

/// Verbs of `branch`
#[derive(Debug, Subcommand)]
pub enum BranchVerb {
    /// List branches
    #[command(visible_alias = "ls")]
    List,
    /// Create a branch
    #[command(visible_aliases = ["create", "add"])]
    New {
        /// Its name
        name: String,
        /// Where; HEAD when absent
        #[arg(value_name = "REV")]
        revision: Option<String>,
    },
    /// Rename a branch
    Rename {
        /// Its name now
        name: String,
        /// Its new name
        new: String,
    },
    /// Say which branch of another a branch follows
    Upstream {
        /// What to follow
        #[arg(value_name = "PEER/BRANCH", required_unless_present = "unset")]
        upstream: Option<String>,
        /// Which branch; the one checked out when absent
        #[arg(long, value_name = "NAME")]
        branch: Option<String>,
        /// Follow nothing
        #[arg(long, conflicts_with = "upstream")]
        unset: bool,
    },
    /// Remove a branch; its commits stay until collected
    #[command(visible_aliases = ["delete", "remove"])]
    Rm {
        /// Its name
        name: String,
    },
}

/// Verbs of `tag`
#[derive(Debug, Subcommand)]
pub enum TagVerb {
    /// List tags
    #[command(visible_alias = "ls")]
    List,
    /// Create a tag
    #[command(visible_aliases = ["create", "add"])]
    New {
        /// Its name
        name: String,
        /// What it names; HEAD when absent
        #[arg(value_name = "REV")]
        revision: Option<String>,
        /// Move it where it exists
        #[arg(long)]
        force: bool,
    },
    /// Take tags over from a tags.json
    Import {
        /// The file; `-` for stdin
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Move tags that exist
        #[arg(long)]
        force: bool,
    },
    /// Write the tags as tags.json
    Export {
        /// Write to this file
        #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        output: Option<PathBuf>,
    },
    /// Remove a tag
    #[command(visible_aliases = ["delete", "remove"])]
    Rm {
        /// Its name
        name: String,
    },
}

/// `pull`
#[derive(Debug, Args)]
pub struct PullArgs {
    /// Directory of the other repository; where it was cloned from when absent
    #[arg(value_name = "SOURCE", value_hint = ValueHint::DirPath)]
    pub source: Option<PathBuf>,
    /// What to take; the branch of the same name when absent
    #[arg(value_name = "REV")]
    pub revision: Option<String>,
    /// Only ever fast-forward
    #[arg(long)]
    pub ff_only: bool,
    /// Accept a commit that is not trusted
    #[arg(long)]
    pub untrusted: bool,
}

/// `verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// What to check, with all ancestors; HEAD when absent
    #[arg(value_name = "REV")]
    pub revisions: Vec<String>,
    /// Everything any branch or tag reaches
    #[arg(long, conflicts_with = "revisions")]
    pub all: bool,
}
