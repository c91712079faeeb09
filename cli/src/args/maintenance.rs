//! Commands that look after a repository.

use clap::{Args, Subcommand, ValueEnum};

/// What holds the rebuildable views.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// One SQLite file; many processes at once
    Sqlite,
    /// sled; one process at a time
    Sled,
    /// One append-only file, for portable media
    Flat,
}

impl Backend {
    /// Returns its name in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Sled => "sled",
            Self::Flat => "flat",
        }
    }
}

/// `fsck`
#[derive(Debug, Args)]
pub struct FsckArgs {
    /// Headers, footers, counts, refs and logs only
    #[arg(long)]
    pub quick: bool,
    /// Decompress and hash every object, follow every reference
    #[arg(long, conflicts_with = "quick")]
    pub full: bool,
}

/// A view that can be recreated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum View {
    /// Where each object lies
    Index,
    /// What the backend holds
    Backend,
    /// What is known of files on disk
    StatCache,
}

/// `rebuild`
#[derive(Debug, Args)]
pub struct RebuildArgs {
    /// Which; all when absent
    #[arg(value_name = "VIEW")]
    pub views: Vec<View>,
    /// Read every pack frame instead of its footer
    #[arg(long)]
    pub from_frames: bool,
}

/// A part of what `doctor` looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DoctorRoom {
    /// Packs, logs, refs, views, free space
    Store,
    /// The system clock against recorded times
    Clock,
    /// Keys and who may sign
    Trust,
}

/// `doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Look only here; everywhere when absent
    #[arg(value_name = "ROOM")]
    pub rooms: Vec<DoctorRoom>,
    /// Repair what can be repaired
    #[arg(long)]
    pub fix: bool,
    /// Read and hash everything, and check every signature, too
    #[arg(long)]
    pub verify: bool,
}

/// Verbs of `store`
#[derive(Debug, Subcommand)]
pub enum StoreVerb {
    /// Show what is stored and how well
    Stats,
}

/// Verbs of `config`
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// List keys and values
    #[command(visible_alias = "ls")]
    List {
        /// With where each comes from
        #[arg(long)]
        origin: bool,
    },
    /// Print one value
    Get {
        /// Its key, such as `storage.compression`
        key: String,
    },
    /// Set a value for this repository
    #[command(visible_alias = "update")]
    Set {
        /// Its key
        key: String,
        /// Its value
        value: String,
        /// For this user, in every repository
        #[arg(long)]
        user: bool,
    },
    /// Forget a value
    #[command(visible_aliases = ["rm", "delete", "remove"])]
    Unset {
        /// Its key
        key: String,
        /// For this user, in every repository
        #[arg(long)]
        user: bool,
    },
    /// Open the file in an editor
    Edit {
        /// The user's file
        #[arg(long)]
        user: bool,
    },
}
