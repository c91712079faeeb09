//! The command line: what can be typed, and nothing about what it does.

mod alias;
mod files;
mod history;
mod maintenance;
mod program;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum, ValueHint};

pub use alias::canonical;
pub(crate) use alias::recognised;
pub use files::{AddArgs, ExportArgs, IgnoreVerb, ImportArgs, LsArgs, RestoreArgs, RmArgs, StatusArgs};
pub use history::{
    BranchVerb, CloneArgs, CommitArgs, InitArgs, LogArgs, PullArgs, ShowArgs, SwitchArgs, TagVerb, VerifyArgs,
};
pub use maintenance::{Backend, ConfigVerb, DoctorArgs, DoctorRoom, FsckArgs, RebuildArgs, StoreVerb, View};
pub use program::{CompletionsArgs, DemoArgs, ManArgs, SchemaArgs};

/// A whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "shard",
    version,
    about = "Versions files of any size: content-addressed, signed, durable, without a server",
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "The repository is found upward from the current directory. `shard COMMAND --help` says more."
)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ColorWhen {
    /// On terminals.
    #[default]
    Auto,
    /// Also into files and pipes.
    Always,
    /// Never.
    Never,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// One line of text each.
    #[default]
    Plain,
    /// One JSON object each.
    Json,
}

/// Options every command takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Work as if started in DIR
    #[arg(short = 'C', value_name = "DIR", global = true, value_hint = ValueHint::DirPath, display_order = 900)]
    pub work_directory: Option<PathBuf>,
    /// Answer with one JSON document; with FIELDS keep only those
    #[arg(
        long,
        value_name = "FIELDS",
        global = true,
        num_args = 0..=1,
        require_equals = true,
        value_delimiter = ',',
        default_missing_value = "",
        display_order = 901
    )]
    pub json: Option<Vec<String>>,
    /// Write progress as JSON Lines before the answer; implies --json
    #[arg(long, global = true, display_order = 902)]
    pub events: bool,
    /// Print nothing but answers: neither what was done nor remarks
    #[arg(short, long, global = true, display_order = 903)]
    pub quiet: bool,
    /// Log more: -v choices, -vv details, -vvv everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, display_order = 904)]
    pub verbose: u8,
    /// How log lines look: plain or json
    #[arg(long, value_name = "FORMAT", global = true, hide_possible_values = true, display_order = 905)]
    pub log_format: Option<LogFormat>,
    /// When to colour: auto, always or never
    #[arg(long, value_name = "WHEN", global = true, hide_possible_values = true, display_order = 906)]
    pub color: Option<ColorWhen>,
    /// Never start a pager
    #[arg(long, global = true, display_order = 907)]
    pub no_pager: bool,
    /// Never show progress
    #[arg(long, global = true, display_order = 908)]
    pub no_progress: bool,
    /// Say what would be done and change nothing
    #[arg(long, global = true, display_order = 909)]
    pub dry_run: bool,
    /// Answer every question with yes
    #[arg(short, long, global = true, display_order = 910)]
    pub yes: bool,
    /// Talk to nobody
    #[arg(long, global = true, display_order = 911)]
    pub offline: bool,
    /// Run here even where a node could
    #[arg(long, global = true, display_order = 912)]
    pub no_daemon: bool,
    /// Longest wait for others, such as 30s or 5m
    #[arg(long, value_name = "TIME", global = true, value_parser = duration, display_order = 913)]
    pub timeout: Option<Duration>,
    /// Read the key's passphrase from this open file descriptor
    #[arg(long, value_name = "N", global = true, display_order = 914)]
    pub passphrase_fd: Option<u32>,
}

fn duration(text: &str) -> Result<Duration, String> {
    shard_core::duration::parse(text).map_err(|error| match error {
        shard_core::Error::ValueInvalid { reason, .. } => reason,
        other => other.to_string(),
    })
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Begin a repository
    Init(InitArgs),
    /// Copy a repository, its history and its files
    #[command(visible_alias = "join")]
    Clone(CloneArgs),
    /// Stage files: content, new names and deletions
    Add(AddArgs),
    /// Remove files from the next commit and from disk
    Rm(RmArgs),
    /// Show what differs from the last commit
    Status(StatusArgs),
    /// Record a signed snapshot of the whole tree
    Commit(CommitArgs),
    /// List commits
    Log(LogArgs),
    /// Show a commit, or a file of one
    Show(ShowArgs),
    /// List files of a revision
    #[command(visible_alias = "ls-files")]
    Ls(LsArgs),
    /// Take files back from a revision
    Restore(RestoreArgs),
    /// Go to a branch, tag or commit
    #[command(visible_alias = "checkout")]
    Switch(SwitchArgs),
    /// Work with branches
    #[command(args_conflicts_with_subcommands = true)]
    Branch {
        /// What to do; lists when absent.
        #[command(subcommand)]
        verb: Option<BranchVerb>,
    },
    /// Work with tags
    Tag {
        /// What to do; lists when absent.
        #[command(subcommand)]
        verb: Option<TagVerb>,
    },
    /// Bring over another repository's commits and fast-forward
    Pull(PullArgs),
    /// Check signatures and content of commits
    Verify(VerifyArgs),
    /// Check everything stored
    #[command(visible_alias = "audit")]
    Fsck(FsckArgs),
    /// Recreate views from the truth
    Rebuild(RebuildArgs),
    /// Find what is wrong with this repository and its surroundings
    #[command(visible_alias = "health")]
    Doctor(DoctorArgs),
    /// Look into the store
    Store {
        /// What to do; shows figures when absent.
        #[command(subcommand)]
        verb: Option<StoreVerb>,
    },
    /// List operations running and waiting
    Queue,
    /// Show counters
    Metrics {
        /// As Prometheus text
        #[arg(long)]
        prometheus: bool,
    },
    /// Write a revision's files to a directory or tar file
    Export(ExportArgs),
    /// Record a directory's files as a commit
    Import(ImportArgs),
    /// Read and change configuration
    Config {
        /// What to do; lists when absent.
        #[command(subcommand)]
        verb: Option<ConfigVerb>,
    },
    /// Explain which files are ignored
    Ignore {
        /// What to do; lists when absent.
        #[command(subcommand)]
        verb: Option<IgnoreVerb>,
    },
    /// Show everything working, on this machine, with real data
    Demo(DemoArgs),
    /// Print JSON Schemas of the answers
    Schema(SchemaArgs),
    /// Write manual pages
    Man(ManArgs),
    /// Print a completion script
    Completions(CompletionsArgs),
    /// Print the version
    Version,
}

impl Command {
    /// Returns the stable name of the command in envelopes, traces and schemas: `branch.new`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Init(_) => "init",
            Self::Clone(_) => "clone",
            Self::Add(_) => "add",
            Self::Rm(_) => "rm",
            Self::Status(_) => "status",
            Self::Commit(_) => "commit",
            Self::Log(_) => "log",
            Self::Show(_) => "show",
            Self::Ls(_) => "ls",
            Self::Restore(_) => "restore",
            Self::Switch(_) => "switch",
            Self::Branch { verb: None | Some(BranchVerb::List) } => "branch.list",
            Self::Branch { verb: Some(BranchVerb::New { .. }) } => "branch.new",
            Self::Branch { verb: Some(BranchVerb::Rename { .. }) } => "branch.rename",
            Self::Branch { verb: Some(BranchVerb::Upstream { .. }) } => "branch.upstream",
            Self::Branch { verb: Some(BranchVerb::Rm { .. }) } => "branch.rm",
            Self::Tag { verb: None | Some(TagVerb::List) } => "tag.list",
            Self::Tag { verb: Some(TagVerb::New { .. }) } => "tag.new",
            Self::Tag { verb: Some(TagVerb::Import { .. }) } => "tag.import",
            Self::Tag { verb: Some(TagVerb::Export { .. }) } => "tag.export",
            Self::Tag { verb: Some(TagVerb::Rm { .. }) } => "tag.rm",
            Self::Pull(_) => "pull",
            Self::Verify(_) => "verify",
            Self::Fsck(_) => "fsck",
            Self::Rebuild(_) => "rebuild",
            Self::Doctor(_) => "doctor",
            Self::Store { verb: None | Some(StoreVerb::Stats) } => "store.stats",
            Self::Queue => "queue",
            Self::Metrics { .. } => "metrics",
            Self::Export(_) => "export",
            Self::Import(_) => "import",
            Self::Config { verb: None | Some(ConfigVerb::List { .. }) } => "config.list",
            Self::Config { verb: Some(ConfigVerb::Get { .. }) } => "config.get",
            Self::Config { verb: Some(ConfigVerb::Set { .. }) } => "config.set",
            Self::Config { verb: Some(ConfigVerb::Unset { .. }) } => "config.unset",
            Self::Config { verb: Some(ConfigVerb::Edit { .. }) } => "config.edit",
            Self::Ignore { verb: None | Some(IgnoreVerb::List) } => "ignore.list",
            Self::Ignore { verb: Some(IgnoreVerb::Check { .. }) } => "ignore.check",
            Self::Demo(_) => "demo",
            Self::Schema(_) => "schema",
            Self::Man(_) => "man",
            Self::Completions(_) => "completions",
            Self::Version => "version",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(canonical(line.split(' ').map(Into::into).collect()))
    }

    fn name(line: &str) -> &'static str {
        parse(line).unwrap_or_else(|error| panic!("`{line}`: {error}")).command.name()
    }

    #[test]
    fn the_command_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn published_spellings_mean_our_commands() {
        for (line, meant) in [
            ("shard init --db sled", "init"),
            ("shard init --chunk-size 4096", "init"),
            ("shard join /a b", "clone"),
            ("shard ls-files", "ls"),
            ("shard checkout main", "switch"),
            ("shard checkout -b topic", "switch"),
            ("shard checkout -- a.txt", "restore"),
            ("shard checkout main~1 -- a.txt", "restore"),
            ("shard -C /x checkout -- a.txt", "restore"),
            ("shard audit", "fsck"),
            ("shard health", "doctor"),
            ("shard recover", "doctor"),
            ("shard commit --message x", "commit"),
            ("shard branch create x", "branch.new"),
            ("shard branch add x", "branch.new"),
            ("shard branch delete x", "branch.rm"),
            ("shard branch ls", "branch.list"),
            ("shard branch", "branch.list"),
            ("shard tag create v1", "tag.new"),
            ("shard tag remove v1", "tag.rm"),
        ] {
            assert_eq!(name(line), meant, "{line}");
        }
    }

    #[test]
    fn recover_is_doctor_with_fix() {
        let Command::Doctor(args) = parse("shard recover").unwrap().command else { panic!("not doctor") };
        assert!(args.fix);
    }

    #[test]
    fn checkout_of_paths_restores_them_from_the_revision() {
        let Command::Restore(args) = parse("shard checkout main~1 -- a b").unwrap().command else {
            panic!("not restore")
        };
        assert_eq!(args.from.as_deref(), Some("main~1"));
        assert_eq!(args.paths, ["a", "b"].map(PathBuf::from));
    }

    #[test]
    fn no_argument_of_a_command_is_taken_for_a_global_option() {
        let globals: Vec<String> = Cli::command()
            .get_arguments()
            .filter(|arg| arg.is_global_set())
            .map(|arg| arg.get_id().to_string())
            .collect();
        let mut commands: Vec<clap::Command> = Cli::command().get_subcommands().cloned().collect();
        while let Some(command) = commands.pop() {
            for arg in command.get_arguments() {
                let name = arg.get_id().as_str();
                assert!(!globals.iter().any(|global| global == name), "{}: {name}", command.get_name());
            }
            commands.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn an_unknown_value_is_an_error_never_a_default() {
        for line in [
            "shard --color sometimes version",
            "shard --log-format xml version",
            "shard init --backend oracle",
            "shard doctor garden",
            "shard completions tcsh",
            "shard --timeout soon version",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn global_options_stand_before_and_after_the_verb() {
        for line in
            ["shard --json version", "shard version --json", "shard version --json=a,b -q", "shard -y -v version"]
        {
            assert_eq!(name(line), "version", "{line}");
        }
        let cli = parse("shard version --json=a,b").unwrap();
        assert_eq!(cli.global.json, Some(vec!["a".into(), "b".into()]));
    }
}
