//! The worktree: what is added, committed, compared, switched and restored.

mod place;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use place::{Place, populate, snapshot};
use shard_core::history::refs::Head;
use shard_core::progress::Silent;
use shard_core::repository::init::InitOptions;
use shard_core::repository::{Repository, Settings};
use shard_core::worktree::{AddOptions, CommitOptions};
use shard_core::{Error, RepoPath};
use shard_storage::vfs::Real;

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

#[test]
fn files_above_the_limit_are_named_and_left_until_forced() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { ask_above: Some(1000), ..Settings::default() };
    let (repository, _) = Repository::init(Arc::new(Real), dir.path(), InitOptions::default(), settings).unwrap();
    std::fs::write(dir.path().join("large"), [1; 2000]).unwrap();
    std::fs::write(dir.path().join("small"), [1; 20]).unwrap();
    let large = [RepoPath::parse("large").unwrap()];
    let refused = repository.add(&large, AddOptions::default(), &Silent).unwrap();
    assert_eq!((refused.added.len(), refused.skipped[0].reason.code()), (0, "file.large"));
    let options = CommitOptions { message: "all".to_owned(), all: true, ..CommitOptions::default() };
    let report = repository.commit(&options, &Silent).unwrap();
    assert_eq!((report.changes.added, report.skipped.len()), (1, 1));
    let forced = repository.add(&large, AddOptions { force: true, dry_run: false }, &Silent).unwrap();
    assert_eq!(forced.added, large);
}

#[test]
fn a_directory_left_empty_is_committed_as_one_and_filled_again() {
    let place = Place::new();
    place.write("dir/sub/file", "x");
    place.write("other", "x");
    let first = place.commit_all().id.unwrap();
    std::fs::remove_file(place.path("dir/sub/file")).unwrap();
    let second = place.commit_all().id.unwrap();
    assert!(place.status().is_clean(), "{:?}", place.lines());
    place.switch(Head::Detached(first), Some(first)).unwrap();
    assert!(place.path("dir/sub/file").exists());
    assert!(place.status().is_clean(), "{:?}", place.lines());
    place.switch(Head::Detached(second), Some(second)).unwrap();
    assert!(place.path("dir/sub").is_dir() && !place.path("dir/sub/file").exists());
    assert!(place.status().is_clean(), "{:?}", place.lines());
}

#[test]
fn an_empty_directory_nobody_tracks_is_not_in_the_way() {
    let place = Place::new();
    place.write("dir/file", "x");
    place.write("other", "x");
    let first = place.commit_all().id.unwrap();
    place.repository.remove(&[RepoPath::parse("dir/file").unwrap()], false, false, false).unwrap();
    let second = place.commit_all().id.unwrap();
    for empty in ["dir", "dir/file"] {
        std::fs::create_dir_all(place.path(empty)).unwrap();
        place.switch(Head::Detached(first), Some(first)).unwrap();
        assert_eq!(std::fs::read(place.path("dir/file")).unwrap(), b"x");
        place.switch(Head::Detached(second), Some(second)).unwrap();
    }
}

#[test]
fn head_survives_reopening_wherever_it_stands() {
    let mut place = Place::new();
    let reopened = |place: &mut Place| {
        let opened = Repository::open(Arc::new(Real), place.dir.path(), Settings::default()).unwrap();
        place.repository = opened;
        let state = place.repository.state().unwrap();
        (state.head.clone(), state.head_commit())
    };
    assert_eq!(reopened(&mut place), (Head::Branch("main".to_owned()), None), "unborn");
    populate(&place);
    let first = place.commit_all().id.unwrap();
    assert_eq!(reopened(&mut place), (Head::Branch("main".to_owned()), Some(first)), "on a branch");
    place.switch(Head::Detached(first), Some(first)).unwrap();
    assert_eq!(reopened(&mut place), (Head::Detached(first), Some(first)), "detached");
    place.write("more", "of it");
    let second = place.commit_all().id.unwrap();
    assert_eq!(reopened(&mut place), (Head::Detached(second), Some(second)), "a commit while detached");
    assert_eq!(place.repository.state().unwrap().heads["main"], first, "no branch moved");
}
