//! What a checkout never does: overwrite or remove what nobody saved, ignored or not.

mod place;

use std::sync::Arc;

use place::{Place, parsed};
use shard_core::history::refs::Head;
use shard_core::progress::{Progress, Silent, Unit};
use shard_core::repository::{Repository, Settings, running};
use shard_core::worktree::checkout::{Obstacles, SwitchTarget};
use shard_core::worktree::{AddOptions, ImportOptions};
use shard_core::{Error, RepoPath};
use shard_storage::vfs::{Real, Vfs};

/// Two commits: in the first `d` is a directory, in the second a file.
fn directory_then_file() -> (Place, shard_core::ids::CommitId, shard_core::ids::CommitId) {
    let place = Place::new();
    place.write(".gitignore", "*.log\nbuild\n");
    place.write("d/a", "a");
    let first = place.commit_all().id.unwrap();
    std::fs::remove_dir_all(place.path("d")).unwrap();
    place.write("d", "file");
    let second = place.commit_all().id.unwrap();
    place.switch(Head::Detached(first), Some(first)).unwrap();
    (place, first, second)
}

fn blocked(result: Result<(), Error>) -> Vec<String> {
    match result {
        Err(Error::WorktreeDirty { blocked }) => blocked.into_iter().map(|blocked| blocked.path).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_ignored_file_in_a_directory_that_gives_way_stops_a_switch() {
    let (place, _, second) = directory_then_file();
    place.write("d/precious.log", "mine");
    assert_eq!(blocked(place.switch(Head::Detached(second), Some(second))), ["d/precious.log"]);
    assert_eq!(place.read("d/precious.log"), "mine");
    assert_eq!(place.read("d/a"), "a");
    let target = SwitchTarget { head: Head::Detached(second), commit: Some(second), create: false };
    let report = place.repository.switch(&target, Obstacles::Discard, &Silent).unwrap();
    assert_eq!(report.rescued, parsed(&["d/precious.log"]));
    assert_eq!(place.read("d"), "file");
    assert!(place.status().is_clean(), "{:?}", place.lines());
}

#[test]
fn a_repository_in_a_directory_that_gives_way_is_never_removed() {
    let (place, _, second) = directory_then_file();
    place.write("d/nested/.git/config", "theirs");
    place.write("d/other/.shard/genesis", "theirs");
    place.write("d/other/work", "theirs");
    for obstacles in [Obstacles::Refuse, Obstacles::Discard] {
        let target = SwitchTarget { head: Head::Detached(second), commit: Some(second), create: false };
        let refused = place.repository.switch(&target, obstacles, &Silent).map(drop);
        assert!(!blocked(refused).is_empty());
        assert_eq!(place.read("d/nested/.git/config"), "theirs");
        assert_eq!(place.read("d/other/work"), "theirs");
        assert_eq!(place.read("d/a"), "a");
    }
}

#[test]
fn an_ignored_file_where_a_directory_is_to_be_stops_a_switch() {
    let place = Place::new();
    place.write("kept", "k");
    place.write(".gitignore", "build\n");
    let first = place.commit_all().id.unwrap();
    place.write("build/x", "x");
    place.repository.add(&parsed(&["build/x"]), AddOptions { force: true, dry_run: false }, &Silent).unwrap();
    let second = place.commit_all().id.unwrap();
    place.switch(Head::Detached(first), Some(first)).unwrap();
    place.write("build", "ignored and mine");
    assert_eq!(blocked(place.switch(Head::Detached(second), Some(second))), ["build"]);
    assert_eq!(place.read("build"), "ignored and mine");
}

#[test]
fn a_switch_leaves_an_ignored_file_alone_that_is_no_longer_tracked() {
    let place = Place::new();
    place.write("kept", "k");
    let first = place.commit_all().id.unwrap();
    place.write("notes", "shared");
    let second = place.commit_all().id.unwrap();
    place.switch(Head::Detached(second), Some(second)).unwrap();
    place.repository.remove(&parsed(&["notes"]), true, false, false).unwrap();
    place.write(".shardignore", "notes\n.shardignore\n");
    place.write("notes", "private");
    place.switch(Head::Detached(first), Some(first)).unwrap();
    assert_eq!(place.read("notes"), "private");
}

#[test]
fn restoring_a_file_saves_the_directory_that_took_its_place() {
    let place = Place::new();
    place.write("d", "file");
    place.write("e/x", "x");
    place.commit_all();
    place.remove("d");
    place.write("d/mine", "unsaved");
    std::fs::remove_dir_all(place.path("e")).unwrap();
    place.write("e", "unsaved too");
    let report = place.repository.restore(&parsed(&["d", "e/x"]), None, false, &Silent).unwrap();
    assert_eq!(report.rescued, parsed(&["d/mine", "e"]));
    assert_eq!((place.read("d"), place.read("e/x")), ("file".to_owned(), "x".to_owned()));
    assert!(place.status().is_clean(), "{:?}", place.lines());
}

#[test]
fn a_fifo_where_a_file_is_recorded_is_never_replaced_unasked() {
    let place = Place::new();
    place.write("p", "1");
    let first = place.commit_all().id.unwrap();
    place.write("p", "2");
    let second = place.commit_all().id.unwrap();
    place.remove("p");
    let status = std::process::Command::new("mkfifo").arg(place.path("p")).status().unwrap();
    assert!(status.success());
    assert_eq!(blocked(place.switch(Head::Detached(first), Some(first))), ["p"]);
    let target = SwitchTarget { head: Head::Detached(first), commit: Some(first), create: false };
    let refused = place.repository.switch(&target, Obstacles::Discard, &Silent).map(drop);
    assert_eq!(blocked(refused), ["p"]);
    place.repository.restore(&parsed(&["p"]), Some(second), false, &Silent).unwrap();
    assert!(!std::fs::symlink_metadata(place.path("p")).unwrap().is_file());
    assert!(matches!(place.repository.remove(&parsed(&["p"]), false, false, false), Err(Error::WorktreeDirty { .. })));
}

#[test]
fn a_file_becomes_an_empty_directory() {
    let place = Place::new();
    place.write("p", "1");
    let first = place.commit_all().id.unwrap();
    place.remove("p");
    std::fs::create_dir(place.path("p")).unwrap();
    let second = place.commit_all().id.unwrap();
    place.switch(Head::Detached(first), Some(first)).unwrap();
    place.switch(Head::Detached(second), Some(second)).unwrap();
    assert!(place.path("p").is_dir());
    assert!(place.status().is_clean(), "{:?}", place.lines());
}

#[test]
fn an_empty_directory_is_in_nobodys_way() {
    let place = Place::new();
    place.write("kept", "k");
    let first = place.commit_all().id.unwrap();
    place.write("new/x", "x");
    place.write("file", "f");
    let second = place.commit_all().id.unwrap();
    place.switch(Head::Detached(first), Some(first)).unwrap();
    std::fs::create_dir_all(place.path("new/deeper")).unwrap();
    std::fs::create_dir_all(place.path("file/deeper")).unwrap();
    place.switch(Head::Detached(second), Some(second)).unwrap();
    assert_eq!(place.read("new/x"), "x");
    assert_eq!(place.read("file"), "f");
}

#[test]
fn a_file_edited_while_a_switch_waits_its_turn_stops_it() {
    let place = Place::new();
    place.write("p", "one");
    let first = place.commit_all().id.unwrap();
    place.write("p", "two");
    let second = place.commit_all().id.unwrap();
    let result = std::thread::scope(|scope| {
        let other =
            Repository::open(Arc::new(Real), place.dir.path(), Settings { threads: 1, ..Settings::default() }).unwrap();
        let permit = other.write_permit("other").unwrap();
        let switching = scope.spawn(|| place.switch(Head::Detached(first), Some(first)));
        // Once it waits, the plan is made.
        while !running(other.layout()).unwrap().iter().any(|running| !running.writing) {
            std::thread::yield_now();
        }
        place.write("p", "edited meanwhile");
        drop(permit);
        switching.join().unwrap()
    });
    assert_eq!(blocked(result), ["p"]);
    assert_eq!(place.read("p"), "edited meanwhile");
    let status = place.status();
    assert_eq!((status.checkout, status.commit), (None, Some(second)));
}

#[test]
fn a_branch_is_moved_forwards_only() {
    let place = Place::new();
    place.write("p", "one");
    let first = place.commit_all().id.unwrap();
    place.write("p", "two");
    let second = place.commit_all().id.unwrap();
    let target = SwitchTarget { head: Head::Branch("main".to_owned()), commit: Some(first), create: true };
    let refused = place.repository.switch(&target, Obstacles::Refuse, &Silent);
    assert!(matches!(refused, Err(Error::HeadMoved { .. })), "{refused:?}");
    assert_eq!(place.status().commit, Some(second));
}

#[test]
fn an_import_moves_the_branch_it_stands_on() {
    let place = Place::new();
    place.write("p", "one");
    place.commit_all();
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("q"), "two").unwrap();
    let options = ImportOptions { prefix: RepoPath::root(), message: "import".to_owned(), dry_run: false };
    let vfs: Arc<dyn Vfs> = Arc::new(Real);
    let report = place.repository.import_directory(&vfs, elsewhere.path(), &options, &Silent).unwrap();
    assert_eq!(place.status().commit, report.commit);
    assert!(place.status().is_clean(), "{:?}", place.lines());
}

/// Takes away where temporaries go, as soon as files are to be written.
struct Interrupt<'a>(&'a Place);

impl Progress for Interrupt<'_> {
    fn phase(&self, name: &'static str, _: Option<u64>, _: Unit) {
        if name == "writing" {
            std::fs::remove_dir_all(self.0.path(".shard/tmp")).unwrap();
        }
    }
}

/// A switch that was stopped after it removed and before it wrote anything, and the two commits.
fn interrupted() -> (Place, shard_core::ids::CommitId, shard_core::ids::CommitId) {
    let mut place = Place::new();
    place.write(".gitignore", "*.log\n");
    place.write("becomes-file/a", "a");
    place.write("becomes-directory", "b");
    place.write("changes", "1");
    place.write("edited", "1");
    place.write("goes/x", "x");
    place.write("tracked.log", "1");
    place.repository.add(&parsed(&["tracked.log"]), AddOptions { force: true, dry_run: false }, &Silent).unwrap();
    let first = place.commit_all().id.unwrap();
    std::fs::remove_dir_all(place.path("becomes-file")).unwrap();
    std::fs::remove_dir_all(place.path("goes")).unwrap();
    place.remove("becomes-directory");
    place.write("becomes-file", "a");
    place.write("becomes-directory/b", "b");
    place.write("changes", "2");
    place.write("edited", "2");
    place.write("comes/deep/y", "y");
    place.remove("tracked.log");
    let second = place.commit_all().id.unwrap();
    place.switch(Head::Detached(first), Some(first)).unwrap();
    let target = SwitchTarget { head: Head::Detached(second), commit: Some(second), create: false };
    let stopped = place.repository.switch(&target, Obstacles::Refuse, &Interrupt(&place));
    assert!(matches!(stopped, Err(Error::Disk(_))), "{stopped:?}");
    std::fs::create_dir(place.path(".shard/tmp")).unwrap();
    place.repository = Repository::open(Arc::new(Real), place.dir.path(), Settings::default()).unwrap();
    assert!(place.status().checkout.is_some());
    (place, first, second)
}

#[test]
fn an_interrupted_switch_is_continued_or_aborted_to_the_end() {
    for forward in [true, false] {
        let (place, first, second) = interrupted();
        place.repository.end_checkout(forward, &Silent).unwrap();
        let status = place.status();
        assert_eq!(status.commit, Some(if forward { second } else { first }));
        assert!(status.is_clean(), "{forward}: {:?}", place.lines());
        assert_eq!(place.path("tracked.log").exists(), !forward);
    }
}

#[test]
fn what_was_edited_after_an_interrupted_switch_stays() {
    for forward in [true, false] {
        let (place, ..) = interrupted();
        place.write("edited", "mine");
        // In the way of one side each: a directory where a file is to be, a file where a directory is to be.
        let _ = std::fs::remove_file(place.path("becomes-file"));
        place.write("becomes-file/mine.log", "mine");
        let _ = std::fs::remove_dir_all(place.path("becomes-directory"));
        place.write("becomes-directory", "mine");
        place.repository.end_checkout(forward, &Silent).unwrap();
        for path in ["edited", "becomes-file/mine.log", "becomes-directory"] {
            assert_eq!(place.read(path), "mine", "{forward}");
        }
        assert_eq!(place.path("comes/deep/y").exists(), forward);
        assert_eq!(place.path("goes/x").exists(), !forward);
        assert_eq!(place.read("changes"), if forward { "2" } else { "1" });
        assert!(place.status().checkout.is_none());
    }
}
