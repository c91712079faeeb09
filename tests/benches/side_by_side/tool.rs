//! The programs compared, and how each is told to do the same thing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use shard_tests::Shard;
use shard_tests::need::on_path;

use crate::machine;
use crate::measure::Commands;
use crate::options::Options;

/// One of the programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tool {
    /// Ours, with a backend.
    Shard(String),
    Restic,
    Borg,
    Casync,
    Git,
    /// The disk itself: the same bytes, copied and synced.
    Dd,
}

/// What is asked of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Make the store.
    Init,
    /// Store the data as version N, counted from 1.
    Store(u32),
    /// Tell what changed since.
    Status,
    /// Commit a small change of a tracked file.
    Small(u32),
    /// Write version N, the newest, elsewhere.
    Restore(u32),
    /// Read and check everything stored.
    Check,
}

/// Where a turn keeps its things.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The data; of shard and git also the worktree.
    pub(crate) data: PathBuf,
    /// The store of the others.
    pub(crate) store: PathBuf,
    /// Where things are restored to.
    pub(crate) restored: PathBuf,
    /// Home of the tool, with its caches.
    pub(crate) home: PathBuf,
    /// All the data in one file, for `dd`.
    pub(crate) flat: PathBuf,
}

impl Place {
    pub(crate) fn within(turn: &Path) -> Self {
        let at = |name: &str| turn.join(name);
        Self { data: at("data"), store: at("store"), restored: at("restored"), home: at("home"), flat: at("flat") }
    }
}

impl Tool {
    /// Returns the tools asked for, and the names of those that are not installed.
    pub(crate) fn choose(options: &Options) -> Result<(Vec<Self>, Vec<String>), String> {
        let all = ["shard", "restic", "borg", "casync", "git", "dd"].map(str::to_owned).to_vec();
        let names = if options.tools.is_empty() { &all } else { &options.tools };
        let (mut tools, mut absent) = (Vec::new(), Vec::new());
        for name in names {
            let tool = match name.as_str() {
                "shard" => {
                    if Shard::get().has_command("commit") {
                        tools.extend(options.backends.iter().cloned().map(Self::Shard));
                    } else {
                        absent.push("shard (this build has no `commit`)".to_owned());
                    }
                    continue;
                }
                "restic" => Self::Restic,
                "borg" => Self::Borg,
                "casync" => Self::Casync,
                "git" => Self::Git,
                "dd" => Self::Dd,
                other => return Err(format!("no tool is called {other}")),
            };
            if on_path(name) {
                tools.push(tool);
            } else {
                absent.push(name.clone());
            }
        }
        Ok((tools, absent))
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Shard(backend) if backend == "sqlite" => "shard".into(),
            Self::Shard(backend) => format!("shard ({backend})"),
            Self::Restic => "restic".into(),
            Self::Borg => "borg".into(),
            Self::Casync => "casync".into(),
            Self::Git => "git".into(),
            Self::Dd => "dd".into(),
        }
    }

    /// Ours and the bare disk are not what ours is compared with.
    pub(crate) fn is_peer(&self) -> bool {
        !matches!(self, Self::Shard(_) | Self::Dd)
    }

    pub(crate) fn version(&self) -> String {
        let of = |program: &str, flag: &str| machine::version(Path::new(program), &[flag]);
        match self {
            Self::Shard(_) => machine::version(Shard::get().path(), &["version"]),
            Self::Restic => of("restic", "version"),
            Self::Borg => of("borg", "--version").map(|v| format!("{v}, -e none")),
            Self::Casync => of("casync", "--version"),
            Self::Git => of("git", "--version"),
            Self::Dd => of("dd", "--version").map(|v| format!("{v}, bs=1M conv=fdatasync")),
        }
        .unwrap_or_else(|| "unknown".into())
    }

    /// Returns where the bytes stored lie.
    pub(crate) fn stored_at(&self, place: &Place) -> PathBuf {
        match self {
            Self::Shard(_) => place.data.join(".shard"),
            Self::Git => place.data.join(".git"),
            _ => place.store.clone(),
        }
    }

    /// Returns the commands for `task`, or `None` where the tool has no such thing.
    pub(crate) fn commands(&self, task: Task, place: &Place) -> Option<Commands> {
        let text = |path: &Path| path.display().to_string();
        let (data, store, restored) = (text(&place.data), text(&place.store), text(&place.restored));
        let mut commands = Commands { directory: place.data.clone(), ..Commands::default() };
        commands.variables = BTreeMap::from(
            [
                ("HOME", text(&place.home)),
                ("XDG_CONFIG_HOME", text(&place.home.join("config"))),
                ("XDG_CACHE_HOME", text(&place.home.join("cache"))),
                ("XDG_STATE_HOME", text(&place.home.join("state"))),
                ("LC_ALL", "C.UTF-8".into()),
                ("RESTIC_PASSWORD", "bench".into()),
                ("BORG_BASE_DIR", text(&place.home)),
                ("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes".into()),
                ("SHARD_USER_NAME", "bench@laptop".into()),
                ("GIT_CONFIG_NOSYSTEM", "1".into()),
                ("GIT_AUTHOR_NAME", "bench".into()),
                ("GIT_AUTHOR_EMAIL", "bench@laptop".into()),
                ("GIT_COMMITTER_NAME", "bench".into()),
                ("GIT_COMMITTER_EMAIL", "bench@laptop".into()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        let mut one = |line: &[&str]| commands.list.push(line.iter().map(|w| (*w).to_owned()).collect());
        match (self, task) {
            (Self::Shard(backend), _) => {
                let shard = text(Shard::get().path());
                let verb: Vec<String> = match task {
                    Task::Init => vec!["init".into(), data, "--backend".into(), backend.clone()],
                    Task::Store(n) => {
                        ["-C", &data, "commit", "-a", "-y", "-m", &format!("v{n}")].map(String::from).into()
                    }
                    Task::Status => ["-C", &data, "status"].map(String::from).into(),
                    Task::Small(n) => ["-C", &data, "commit", "-m", &format!("small {n}")].map(String::from).into(),
                    Task::Restore(_) => ["-C", &data, "export", "@", &restored].map(String::from).into(),
                    Task::Check => ["-C", &data, "fsck", "--full"].map(String::from).into(),
                };
                commands.list.push([vec![shard], verb].concat());
                // Nothing changed: `commit.empty`.
                commands.accepted = vec![4];
            }
            (Self::Restic, Task::Init) => one(&["restic", "init", "-q", "-r", &store]),
            (Self::Restic, Task::Store(_)) => one(&["restic", "backup", "-q", "-r", &store, "."]),
            (Self::Restic, Task::Restore(_)) => {
                one(&["restic", "restore", "-q", "-r", &store, "latest", "--target", &restored])
            }
            (Self::Restic, Task::Check) => one(&["restic", "check", "-q", "--read-data", "-r", &store]),
            (Self::Borg, Task::Init) => one(&["borg", "init", "-e", "none", &store]),
            (Self::Borg, Task::Store(n)) => one(&["borg", "create", &format!("{store}::v{n}"), "."]),
            (Self::Borg, Task::Restore(n)) => {
                // It extracts into the directory it stands in.
                one(&["sh", "-ec", &format!("mkdir {restored}; cd {restored}; exec borg extract {store}::v{n}")]);
            }
            (Self::Borg, Task::Check) => one(&["borg", "check", "--verify-data", &store]),
            (Self::Casync, Task::Init) => one(&["mkdir", &store]),
            (Self::Casync, Task::Store(_)) => {
                let (chunks, list) = (format!("--store={store}/chunks"), format!("{store}/data.caidx"));
                one(&["casync", "make", &chunks, &list, &data]);
            }
            (Self::Casync, Task::Restore(_)) => {
                let (chunks, list) = (format!("--store={store}/chunks"), format!("{store}/data.caidx"));
                one(&["casync", "extract", &chunks, &list, &restored]);
            }
            (Self::Git, Task::Init) => {
                one(&["git", "init", "-q", "."]);
                one(&["git", "config", "gc.auto", "0"]);
            }
            (Self::Git, Task::Store(n)) => {
                one(&["git", "add", "-A"]);
                one(&["git", "commit", "-q", "-m", &format!("v{n}")]);
                commands.accepted = vec![1];
            }
            (Self::Git, Task::Status) => one(&["git", "status", "--short"]),
            (Self::Git, Task::Small(n)) => one(&["git", "commit", "-q", "-a", "-m", &format!("small {n}")]),
            (Self::Git, Task::Restore(_)) => {
                one(&["mkdir", &restored]);
                commands.variables.insert("GIT_INDEX_FILE".into(), text(&place.home.join("index")));
                one(&[
                    "git",
                    &format!("--git-dir={data}/.git"),
                    &format!("--work-tree={restored}"),
                    "checkout",
                    "-q",
                    "-f",
                    "HEAD",
                    "--",
                    ":/",
                ]);
            }
            (Self::Git, Task::Check) => one(&["git", "fsck", "--full", "--no-progress"]),
            (Self::Dd, Task::Init) => one(&["mkdir", &store]),
            (Self::Dd, Task::Store(1)) => {
                let (from, to) = (format!("if={}", place.flat.display()), format!("of={store}/copy"));
                one(&["dd", &from, &to, "bs=1M", "conv=fdatasync", "status=none"]);
            }
            (Self::Restic | Self::Borg | Self::Casync, Task::Status | Task::Small(_))
            | (Self::Casync, Task::Check)
            | (Self::Dd, _) => return None,
        }
        Some(commands)
    }
}
