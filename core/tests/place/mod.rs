//! A worktree with a repository in it, as tests of the worktree need one.
#![allow(dead_code, reason = "no test file uses all of it")]

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use shard_core::Error;
use shard_core::RepoPath;
use shard_core::history::refs::Head;
use shard_core::progress::Silent;
use shard_core::repository::init::InitOptions;
use shard_core::repository::{Repository, Settings};
use shard_core::worktree::checkout::{Obstacles, SwitchTarget};
use shard_core::worktree::{AddOptions, AddReport, CommitOptions, CommitReport, Status, StatusOptions};
use shard_storage::vfs::Real;

pub struct Place {
    pub dir: tempfile::TempDir,
    pub repository: Repository,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (repository, _) =
            Repository::init(Arc::new(Real), dir.path(), InitOptions::default(), Settings::default()).unwrap();
        Self { dir, repository }
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub fn commit_all(&self) -> CommitReport {
        let options = CommitOptions { message: "all".to_owned(), all: true, ..CommitOptions::default() };
        self.repository.commit(&options, &Silent).unwrap()
    }

    pub fn add(&self, paths: &[&str]) -> AddReport {
        self.repository.add(&parsed(paths), AddOptions::default(), &Silent).unwrap()
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        String::from_utf8(std::fs::read(self.path(name)).unwrap()).unwrap()
    }

    pub fn status(&self) -> Status {
        self.repository.status(&StatusOptions::default(), &Silent).unwrap()
    }

    pub fn lines(&self) -> Vec<String> {
        let status = self.status();
        let entries = |mark: &str, list: &[shard_core::worktree::status::StatusEntry]| {
            list.iter().map(|e| format!("{mark} {:?} {}", e.difference, e.path)).collect::<Vec<_>>()
        };
        let mut lines = entries("staged", &status.staged);
        lines.extend(entries("unstaged", &status.unstaged));
        lines.extend(status.untracked.iter().map(|path| format!("untracked {path}")));
        lines
    }

    pub fn switch(&self, head: Head, commit: Option<shard_core::ids::CommitId>) -> Result<(), Error> {
        let target = SwitchTarget { head, commit, create: false };
        self.repository.switch(&target, Obstacles::Refuse, &Silent).map(drop)
    }
}

pub fn parsed(paths: &[&str]) -> Vec<RepoPath> {
    let parse = |path: &&str| if path.is_empty() { RepoPath::root() } else { RepoPath::parse(path).unwrap() };
    paths.iter().map(parse).collect()
}

/// Everything in a directory but `.shard`: path to mode and content.
pub fn snapshot(root: &Path) -> BTreeMap<String, (u32, String)> {
    fn visit(root: &Path, at: &Path, found: &mut BTreeMap<String, (u32, String)>) {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            if name == ".shard" {
                continue;
            }
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                found.insert(name, (0, String::new()));
                visit(root, &path, found);
            } else if metadata.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                found.insert(name, (1, target.to_string_lossy().into_owned()));
            } else {
                found.insert(
                    name,
                    (metadata.permissions().mode() & 0o111, blake3::hash(&std::fs::read(&path).unwrap()).to_string()),
                );
            }
        }
    }
    let mut found = BTreeMap::new();
    visit(root, root, &mut found);
    found
}

pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

pub fn populate(place: &Place) {
    place.write("README.md", "hello\n");
    place.write("empty", "");
    place.write("src/main.rs", "fn main() {}\n".repeat(100));
    place.write("src/deep/er/lib.rs", bytes(1, 70_000));
    place.write("big.bin", bytes(2, 9 << 20));
    place.write("tool", "#!/bin/sh\n");
    std::fs::set_permissions(place.path("tool"), std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink("src/main.rs", place.path("link")).unwrap();
    symlink("x".repeat(300), place.path("dangling")).unwrap();
    std::fs::create_dir_all(place.path("hollow/inner")).unwrap();
    let sparse = std::fs::File::create(place.path("sparse")).unwrap();
    sparse.set_len(40 << 20).unwrap();
}
