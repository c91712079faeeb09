//! A machine: a simulated disk, which boot of it this is, and the repository on it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use shard_core::Result;
use shard_core::clock::{BootId, FixedClock};
use shard_core::history::refs::{Head, RefSet};
use shard_core::ids::CommitId;
use shard_core::remote::Source;
use shard_core::repository::init::InitOptions;
use shard_core::repository::{Repository, Settings, State, Trial};
use shard_core::worktree::index::Index;
use shard_storage::backend::BackendKind;
use shard_storage::vfs::{Crash, CrashMode, Dir, FileKind, OpenOptions, Vfs};

/// Where the worktree lies on the simulated disk.
pub const ROOT: &str = "/work";
/// Twenty seconds after the simulator's own clock begins: files are settled for the stat cache, and doubted by it after
/// a restart.
const NOW_MS: u64 = 1_700_000_020_000;

/// What lies over the disk while a scenario runs: nothing, or something that lies or fails.
pub type Layer = Arc<dyn Fn(Arc<dyn Vfs>) -> Arc<dyn Vfs> + Send + Sync>;

/// A machine. Cloning shares the disk.
#[derive(Clone)]
pub struct World {
    pub crash: Crash,
    pub boot: u128,
    pub trial: Trial,
    pub layer: Option<Layer>,
}

impl World {
    /// A machine with an empty directory for a worktree.
    pub fn bare(trial: Trial) -> Self {
        let world = Self { crash: Crash::new(), boot: 1, trial, layer: None };
        world.disk("/").create_dir("work", 0o755).unwrap();
        world.crash.settle();
        world
    }

    /// A machine with an empty repository.
    pub fn initialized(trial: Trial) -> Self {
        let world = Self::bare(trial);
        world.init().unwrap();
        world.crash.settle();
        world
    }

    /// The disk without what lies over it.
    pub fn disk(&self, path: &str) -> Dir {
        Dir::open_root(Arc::new(self.crash.clone()), Path::new(path)).unwrap()
    }

    fn vfs(&self) -> Arc<dyn Vfs> {
        let disk: Arc<dyn Vfs> = Arc::new(self.crash.clone());
        match &self.layer {
            Some(layer) => layer(disk),
            None => disk,
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            threads: 1,
            backend: BackendKind::Flat,
            queue_timeout: Duration::from_millis(500),
            user_name: "tester".to_owned(),
            trial: Trial { boot_id: Some(BootId(self.boot.to_be_bytes())), ..self.trial.clone() },
            ..Settings::default()
        }
    }

    pub fn init(&self) -> Result<()> {
        Repository::init(self.vfs(), Path::new(ROOT), InitOptions::default(), self.settings()).map(drop)
    }

    /// Opens the repository as a new process does.
    pub fn open(&self) -> Result<Repository> {
        Repository::open_with(self.vfs(), Path::new(ROOT), self.settings(), Arc::new(FixedClock::at(NOW_MS)))
    }

    /// Opens the repository as another one's process does, to take over what it has.
    pub fn source(&self) -> Result<Source> {
        Source::open(self.vfs(), Path::new(ROOT), self.settings())
    }

    /// A copy of this machine whose disk is another, all of it durable.
    pub fn fork(&self) -> Self {
        Self { crash: self.crash.image(CrashMode::Kept, 0), ..self.clone() }
    }

    /// What a crash now leaves. Where only the process was killed, the machine runs on.
    pub fn crashed(&self, mode: CrashMode, seed: u64) -> Self {
        let boot = if mode == CrashMode::Kept { self.boot } else { self.boot + 1 };
        Self { crash: self.crash.image(mode, seed), boot, trial: self.trial.clone(), layer: None }
    }

    /// Writes a file of the user's, durable.
    pub fn write(&self, path: &str, content: &[u8]) {
        self.write_unsynced(path, content);
        self.crash.settle();
    }

    /// Writes a file of the user's. Nothing is synced.
    pub fn write_unsynced(&self, path: &str, content: &[u8]) {
        let root = self.disk(ROOT);
        if let Some((parent, _)) = path.rsplit_once('/') {
            root.create_dir_all(parent).unwrap();
        }
        let options = OpenOptions { truncate: true, ..OpenOptions::CREATE };
        let _ = root.open(path, options).and_then(|file| file.write_all_at(content, 0));
    }

    pub fn set_executable(&self, path: &str) {
        self.disk(ROOT).set_mode(path, 0o755).unwrap();
        self.crash.settle();
    }

    pub fn link(&self, target: &str, path: &str) {
        self.disk(ROOT).symlink(Path::new(target), path).unwrap();
        self.crash.settle();
    }

    pub fn delete(&self, path: &str) {
        self.disk(ROOT).unlink(path).unwrap();
        self.crash.settle();
    }

    /// What the worktree holds.
    pub fn files(&self) -> Files {
        let mut found = Files::new();
        walk(&self.disk(ROOT), "", &mut found);
        found
    }
}

/// What lies at a path: its kind, whether it may be run, its bytes.
pub type Entry = (FileKind, bool, Vec<u8>);
/// Files and links by path.
pub type Files = BTreeMap<String, Entry>;

fn walk(dir: &Dir, at: &str, found: &mut Files) {
    for entry in dir.list().unwrap() {
        let name = entry.name.to_str().unwrap();
        if at.is_empty() && name.starts_with(".shard") {
            continue;
        }
        let path = if at.is_empty() { name.to_owned() } else { format!("{at}/{name}") };
        match entry.kind {
            FileKind::Directory => walk(&dir.open_dir(name).unwrap(), &path, found),
            FileKind::Symlink => {
                let target = dir.read_link(name).unwrap().into_os_string().into_encoded_bytes();
                found.insert(path, (entry.kind, false, target));
            }
            FileKind::File | FileKind::Other => {
                let mode = dir.metadata(name).unwrap().mode;
                found.insert(path, (entry.kind, mode & 0o100 != 0, dir.read(name, 1 << 30).unwrap()));
            }
        }
    }
}

/// What a repository says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub head: Head,
    pub heads: BTreeMap<String, CommitId>,
    pub tags: BTreeMap<String, CommitId>,
    pub index: Index,
    pub upstreams: BTreeMap<String, String>,
    /// Number of the ref set this clone has signed last, and the set itself.
    pub published: (u64, Vec<u8>),
}

impl Snapshot {
    pub fn of(repository: &Repository, state: &State) -> Result<Self> {
        let published = match state.peers.get(&repository.actor()) {
            Some(bytes) => (RefSet::verify(bytes, repository.id())?.header().seq, bytes.clone()),
            None => (0, Vec::new()),
        };
        Ok(Self {
            head: state.head.clone(),
            heads: state.heads.clone(),
            tags: state.tags.clone(),
            index: state.index.clone(),
            upstreams: state.upstreams.clone(),
            published,
        })
    }

    /// Describes where another differs, for messages.
    pub fn difference(&self, other: &Self) -> String {
        let mut parts = Vec::new();
        if self.head != other.head {
            parts.push(format!("HEAD {} for {}", other.head, self.head));
        }
        if self.heads != other.heads {
            parts.push(format!("branches {:?} for {:?}", other.heads, self.heads));
        }
        if self.tags != other.tags {
            parts.push(format!("tags {:?} for {:?}", other.tags, self.tags));
        }
        if self.index != other.index {
            parts.push(format!("index {:?} for {:?}", other.index, self.index));
        }
        if self.upstreams != other.upstreams {
            parts.push("upstreams".to_owned());
        }
        if self.published != other.published {
            parts.push(format!("ref set {} for {}", other.published.0, self.published.0));
        }
        parts.join("; ")
    }
}
