//! Writing files out of the store: many, large, hostile, and across file systems.

mod place;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use place::{Place, bytes};
use shard_core::canonical::Canonical;
use shard_core::ids::ManifestId;
use shard_core::object::{ObjectKind, ObjectSink, ObjectStore};
use shard_core::progress::Silent;
use shard_core::tree::editor::Node;
use shard_core::tree::manifest::{Extent, ManifestNode, NodeEntries};
use shard_core::tree::{Content, EntryType, walk};
use shard_core::worktree::materialize::{Durability, Item, Materializer};
use shard_core::{Error, RepoPath};
use shard_storage::vfs::{Dir, Real};

fn open(path: &Path) -> Dir {
    Dir::open_root(Arc::new(Real), path).unwrap()
}

fn store_of(place: &Place) -> ObjectStore {
    place.repository.store(&place.repository.state().unwrap()).unwrap()
}

fn write(store: &ObjectStore, items: &[Item], temporaries: &Path, root: &Path) -> Result<(), Error> {
    let (root, temporaries) = (open(root), open(temporaries));
    let materializer = Materializer {
        store,
        root: &root,
        temporaries: Some(&temporaries),
        threads: 4,
        durability: Durability::Unsynced,
        progress: &Silent,
    };
    materializer.run(items).map(drop)
}

fn count(directory: &Path) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

/// Stores the manifest of a hole and returns a file of it.
fn hole(place: &Place, size: u64) -> Node {
    let store = store_of(place);
    let staging = place.repository.staging(&store);
    let mut writer = staging.writer();
    let node =
        ManifestNode { profile: 0, size, entries: NodeEntries::Leaf(vec![Extent { chunk: None, length: size }]) };
    let id = ManifestId(writer.put(ObjectKind::Manifest, &node.to_bytes()).unwrap());
    writer.finish().unwrap();
    let objects = staging.finish().unwrap();
    let permit = place.repository.write_permit("test").unwrap();
    let mut transaction = place.repository.transaction(&permit).unwrap();
    transaction.add_objects(objects);
    transaction.commit().unwrap();
    Node { kind: EntryType::File, size, content: Content::Manifest(id) }
}

#[test]
fn more_large_files_are_written_than_a_process_may_open() {
    const LIMITED: &str = "SHARD_TEST_FEW_FILES";
    if std::env::var_os(LIMITED).is_none() {
        let test = "more_large_files_are_written_than_a_process_may_open";
        let status = std::process::Command::new("sh")
            .args(["-c", "ulimit -n 100 && exec \"$0\" --exact \"$1\""])
            .arg(std::env::current_exe().unwrap())
            .arg(test)
            .env(LIMITED, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let place = Place::new();
    let node = hole(&place, 33 << 20);
    let target = tempfile::tempdir().unwrap();
    let name = |number| RepoPath::parse(&format!("{number:03}")).unwrap();
    let items: Vec<_> = (0..200).map(|number| Item { path: name(number), node: node.clone() }).collect();
    write(&store_of(&place), &items, &place.path(".shard/tmp"), target.path()).unwrap();
    assert_eq!(count(target.path()), 200);
}

#[test]
fn a_file_that_claims_an_impossible_size_is_an_error_and_leaves_nothing() {
    let place = Place::new();
    let node = hole(&place, (1 << 63) - 1);
    let target = tempfile::tempdir().unwrap();
    let item = |name: &str| Item { path: RepoPath::parse(name).unwrap(), node: node.clone() };
    let items = ["a", "b", "c"].map(item);
    let result = write(&store_of(&place), &items, &place.path(".shard/tmp"), target.path());
    // Some file systems take it: it is all hole.
    assert!(matches!(result, Ok(()) | Err(Error::Disk(_))), "{result:?}");
    assert_eq!(count(&place.path(".shard/tmp")), 0);
}

#[test]
fn what_cannot_be_put_in_place_leaves_no_temporary() {
    let place = Place::new();
    place.write("small", bytes(1, 5_000));
    let commit = place.commit_all().id.unwrap();
    let store = store_of(&place);
    let tree = shard_core::history::commit::read(&store, commit).unwrap().tree;
    let entry = walk::find(&store, tree, &RepoPath::parse("small").unwrap()).unwrap().unwrap();
    let large = hole(&place, 40 << 20);
    let store = store_of(&place);
    for node in [Node::from(entry), large] {
        let target = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(target.path().join("taken/inside")).unwrap();
        let items = [Item { path: RepoPath::parse("taken").unwrap(), node }];
        assert!(write(&store, &items, &place.path(".shard/tmp"), target.path()).is_err());
        assert_eq!(count(&place.path(".shard/tmp")), 0);
    }
}

#[test]
fn files_reach_another_file_system_with_their_modes_holes_and_links() {
    let place = Place::new();
    place::populate(&place);
    let commit = place.commit_all().id.unwrap();
    let store = store_of(&place);
    let tree = shard_core::history::commit::read(&store, commit).unwrap().tree;
    let (items, _) = shard_core::worktree::materialize::items_of(&store, tree).unwrap();
    let target = tempfile::tempdir().unwrap();
    let shared_memory = Path::new("/dev/shm");
    let elsewhere = if shared_memory.is_dir() { shared_memory } else { target.path() };
    let temporaries = tempfile::tempdir_in(elsewhere).unwrap();
    let root = tempfile::tempdir().unwrap();
    write(&store, &items, temporaries.path(), root.path()).unwrap();
    assert_eq!(place::snapshot(root.path()), place::snapshot(place.dir.path()));
    assert_eq!(count(temporaries.path()), 0);
    let sparse = std::fs::metadata(root.path().join("sparse")).unwrap();
    assert!(sparse.blocks() * 512 < sparse.len() / 2, "{} blocks", sparse.blocks());
    let mode = std::fs::metadata(root.path().join("tool")).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0o111);
}
