//! What the worktree never does: report a change as none, or take for deleted what it did not see.

mod place;

use std::os::unix::fs::symlink;

use place::{Place, parsed};
use shard_core::progress::{Progress, Silent, Unit};
use shard_core::worktree::{AddOptions, CommitOptions, Scope, StatusOptions};

/// Writes files that are old enough for the stat cache to trust what it sees of them.
fn settle() {
    // Longer than the step of any local file system's clock; nothing else waits on it.
    std::thread::sleep(std::time::Duration::from_millis(30));
}

/// Does something when a phase begins, as another process might.
struct At<'a>(&'static str, &'a (dyn Fn() + Sync));

impl Progress for At<'_> {
    fn phase(&self, name: &'static str, _: Option<u64>, _: Unit) {
        if name == self.0 {
            (self.1)();
        }
    }
}

fn status_of(place: &Place, path: &str) {
    let options = StatusOptions { scope: Scope::Paths(parsed(&[path])), ignored: false };
    place.repository.status(&options, &Silent).unwrap();
}

#[test]
fn status_of_one_path_hides_no_deletion_beside_it() {
    let place = Place::new();
    place.write("src/a", "a");
    place.write("src/b", "b");
    place.write("gone/x", "x");
    place.write("gone/y", "y");
    place.commit_all();
    place.remove("src/b");
    std::fs::remove_dir_all(place.path("gone")).unwrap();
    settle();
    status_of(&place, "src/a");
    assert_eq!(place.lines(), ["unstaged Deleted gone", "unstaged Deleted src/b"]);
    place.add(&["gone/x"]);
    assert_eq!(place.lines(), ["staged Deleted gone/x", "unstaged Deleted gone", "unstaged Deleted src/b"]);
}

#[test]
fn what_was_removed_with_its_directory_is_still_missing_from_an_older_tree() {
    let place = Place::new();
    place.write("d/f", "f");
    place.write("kept", "k");
    let first = place.commit_all().id.unwrap();
    place.remove("d/f");
    settle();
    place.commit_all();
    place.repository.unstage(&parsed(&[""]), Some(first)).unwrap();
    let expected = ["staged Deleted d", "staged Added d/f", "unstaged Deleted d/f", "untracked d/"];
    assert_eq!(place.lines(), expected);
}

#[test]
fn a_directory_emptied_and_committed_is_recorded_empty() {
    let place = Place::new();
    place.write("d/f", "f");
    place.commit_all();
    place.remove("d/f");
    settle();
    place.commit_all();
    assert!(place.status().is_clean(), "{:?}", place.lines());
    assert!(place.status().is_clean(), "{:?}", place.lines());
}

#[test]
fn what_another_process_stages_during_an_add_is_compared_with_the_disk() {
    let place = Place::new();
    place.write("d/one", "1");
    place.write("d/two", "1");
    let first = place.commit_all().id.unwrap();
    place.write("d/one", "2");
    settle();
    place.commit_all();
    place.write("d/two", "2");
    settle();
    // While `d` is read, somebody stages the first version of `d/one` without touching the disk.
    let meddle = || assert_eq!(place.repository.unstage(&parsed(&["d/one"]), Some(first)).unwrap(), 1);
    let options = AddOptions::default();
    place.repository.add(&parsed(&["d"]), options, &At("syncing", &meddle)).unwrap();
    let expected = ["staged Modified d/one", "staged Modified d/two", "unstaged Modified d/one"];
    assert_eq!(place.lines(), expected);
}

#[test]
fn adding_a_path_beneath_what_is_no_directory_any_more_stages_its_deletion() {
    let place = Place::new();
    place.write("d/x", "x");
    place.write("d/y", "y");
    place.write("real/x", "other");
    place.commit_all();
    std::fs::remove_dir_all(place.path("d")).unwrap();
    symlink("real", place.path("d")).unwrap();
    place.add(&["d/x"]);
    assert_eq!(place.lines(), ["staged Deleted d/x", "unstaged TypeChanged d"]);
}

#[test]
fn adding_a_path_where_a_file_was_stages_it() {
    for _ in 0..5 {
        let place = Place::new();
        place.write("d", "file");
        place.commit_all();
        place.remove("d");
        place.write("d/x", "x");
        place.add(&["d/x"]);
        assert_eq!(place.lines(), ["staged Deleted d", "staged Added d/x"]);
    }
}

#[test]
fn paths_too_deep_to_record_are_named_and_the_rest_goes_on() {
    let place = Place::new();
    place.write("ordinary", "o");
    let mut deep = place.path("deep");
    for _ in 0..300 {
        deep.push("d");
    }
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("leaf"), "x").unwrap();
    assert_eq!(place.status().skipped.len(), 1);
    let report = place.commit_all();
    assert_eq!((report.changes.added, report.skipped.len()), (1, 1), "{:?}", report.skipped);
}
#[test]
fn committing_a_path_leaves_nothing_older_staged_at_it() {
    let place = Place::new();
    place.write("p", "A");
    place.write("q", "A");
    place.commit_all();
    place.write("p", "B");
    place.add(&["p"]);
    place.write("p", "A");
    place.write("q", "C");
    let options = CommitOptions { message: "m".to_owned(), paths: parsed(&["p", "q"]), ..CommitOptions::default() };
    place.repository.commit(&options, &Silent).unwrap();
    assert!(place.status().is_clean(), "{:?}", place.lines());
}
