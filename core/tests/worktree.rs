//! The worktree: what is added, committed, compared, switched and restored.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use shard_core::history::refs::Head;
use shard_core::progress::Silent;
use shard_core::repository::init::InitOptions;
use shard_core::repository::{Repository, Settings};
use shard_core::worktree::checkout::{Obstacles, SwitchTarget};
use shard_core::worktree::{AddOptions, CommitOptions, CommitReport, Status, StatusOptions};
use shard_core::{Error, RepoPath};
use shard_storage::vfs::Real;

struct Place {
    dir: tempfile::TempDir,
    repository: Repository,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (repository, _) =
            Repository::init(Arc::new(Real), dir.path(), InitOptions::default(), Settings::default()).unwrap();
        Self { dir, repository }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn commit_all(&self) -> CommitReport {
        let options = CommitOptions { message: "all".to_owned(), all: true, ..CommitOptions::default() };
        self.repository.commit(&options, &Silent).unwrap()
    }

    fn status(&self) -> Status {
        self.repository.status(&StatusOptions::default(), &Silent).unwrap()
    }

    fn lines(&self) -> Vec<String> {
        let status = self.status();
        let entries = |mark: &str, list: &[shard_core::worktree::status::StatusEntry]| {
            list.iter().map(|e| format!("{mark} {:?} {}", e.difference, e.path)).collect::<Vec<_>>()
        };
        let mut lines = entries("staged", &status.staged);
        lines.extend(entries("unstaged", &status.unstaged));
        lines.extend(status.untracked.iter().map(|path| format!("untracked {path}")));
        lines
    }

    fn switch(&self, head: Head, commit: Option<shard_core::ids::CommitId>) -> Result<(), Error> {
        let target = SwitchTarget { head, commit, create: false };
        self.repository.switch(&target, Obstacles::Refuse, &Silent).map(drop)
    }
}

/// Everything in a directory but `.shard`: path to mode and content.
fn snapshot(root: &Path) -> BTreeMap<String, (u32, String)> {
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

fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

fn populate(place: &Place) {
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

#[test]
fn a_commit_restores_to_the_same_bytes_modes_and_links() {
    let place = Place::new();
    populate(&place);
    let before = snapshot(place.dir.path());
    let report = place.commit_all();
    assert!(place.status().is_clean(), "{:?}", place.lines());
    let first = report.id.unwrap();
    for entry in std::fs::read_dir(place.dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap() != ".shard" {
            if path.is_dir() && !path.is_symlink() {
                std::fs::remove_dir_all(path).unwrap();
            } else {
                std::fs::remove_file(path).unwrap();
            }
        }
    }
    place.repository.restore(&[RepoPath::root()], Some(first), false, &Silent).unwrap();
    assert_eq!(snapshot(place.dir.path()), before);
    assert!(place.status().is_clean(), "{:?}", place.lines());
}

#[test]
fn status_names_each_state() {
    let place = Place::new();
    populate(&place);
    place.commit_all();
    place.write("README.md", "changed\n");
    place.write("new/file", "x");
    place.write("new/other", "x");
    std::fs::remove_file(place.path("tool")).unwrap();
    std::fs::remove_file(place.path("link")).unwrap();
    place.write("link", "now a file");
    place.write("staged.txt", "s");
    let staged = RepoPath::parse("staged.txt").unwrap();
    place.repository.add(&[staged], AddOptions::default(), &Silent).unwrap();
    let expected = [
        "staged Added staged.txt",
        "unstaged Modified README.md",
        "unstaged TypeChanged link",
        "unstaged Deleted tool",
        "untracked new/",
    ];
    assert_eq!(place.lines(), expected);
    // The same again, from what was remembered.
    assert_eq!(place.lines(), expected);
}

#[test]
fn a_second_commit_keeps_what_was_not_staged() {
    let place = Place::new();
    populate(&place);
    place.commit_all();
    place.write("README.md", "two\n");
    place.write("tool", "changed\n");
    let paths = vec![RepoPath::parse("README.md").unwrap()];
    let options = CommitOptions { message: "one path".to_owned(), paths, ..CommitOptions::default() };
    let report = place.repository.commit(&options, &Silent).unwrap();
    assert_eq!((report.changes.added, report.changes.changed, report.changes.removed), (0, 1, 0));
    assert_eq!(place.lines(), ["unstaged Modified tool"]);
    let empty = place.repository.commit(&options, &Silent);
    assert!(matches!(empty, Err(Error::CommitEmpty)), "{empty:?}");
}

#[test]
fn switching_moves_files_and_refuses_to_overwrite() {
    let place = Place::new();
    populate(&place);
    let first = place.commit_all().id.unwrap();
    let one = snapshot(place.dir.path());
    place.write("src/main.rs", "other\n");
    std::fs::remove_dir_all(place.path("src/deep")).unwrap();
    place.write("src/deep", "a file where a directory was");
    place.write("added", "a");
    std::fs::set_permissions(place.path("tool"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let second = place.commit_all().id.unwrap();
    let two = snapshot(place.dir.path());
    place.switch(Head::Detached(first), Some(first)).unwrap();
    assert_eq!(snapshot(place.dir.path()), one);
    assert!(place.status().is_clean(), "{:?}", place.lines());
    place.write("added", "in the way");
    let refused = place.switch(Head::Branch("main".to_owned()), Some(second));
    assert!(matches!(&refused, Err(Error::WorktreeDirty { blocked }) if blocked.len() == 1), "{refused:?}");
    assert_eq!(std::fs::read(place.path("added")).unwrap(), b"in the way");
    std::fs::remove_file(place.path("added")).unwrap();
    place.switch(Head::Branch("main".to_owned()), Some(second)).unwrap();
    assert_eq!(snapshot(place.dir.path()), two);
    assert!(place.status().is_clean(), "{:?}", place.lines());
}

#[test]
fn ignored_and_hostile_names_are_left_alone() {
    let place = Place::new();
    place.write(".gitignore", "*.log\n/target/\n");
    place.write("a.log", "ignored");
    place.write("target/x/y", "ignored");
    place.write("kept", "k");
    place.write(".git/config", "never");
    use std::os::unix::ffi::OsStrExt;
    std::fs::write(place.dir.path().join(std::ffi::OsStr::from_bytes(b"bad\xff")), "x").unwrap();
    let report = place.commit_all();
    assert_eq!(report.changes.added, 2);
    assert_eq!(report.skipped.len(), 1, "{:?}", report.skipped);
    assert!(place.lines().is_empty(), "{:?}", place.lines());
}
