//! A directory that pretends to be a repository, or a repository whose owner means harm: what is taken over from it does
//! not hurt, and what it costs is bounded.

mod place;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use place::{Place, bytes};
use shard_core::history::commit::{self, Commit};
use shard_core::history::refs::{Head, RefNames, RefSet};
use shard_core::ids::{ChunkId, CommitId, ManifestId, TreeId};
use shard_core::object::{ObjectKind, ObjectSink, ObjectStore};
use shard_core::progress::Silent;
use shard_core::remote::{CloneOptions, Source, clone, fetch};
use shard_core::repository::init::InitOptions;
use shard_core::repository::{FsckLevel, Repository, Settings};
use shard_core::tree::manifest::{Extent, ManifestNode, NodeEntries};
use shard_core::tree::{Content, EntryType, TreeEntry, TreeNode};
use shard_core::worktree::checkout::{Obstacles, SwitchTarget};
use shard_core::{Error, Result, canonical::Canonical};
use shard_crypto::SecretKey;
use shard_storage::vfs::{Real, Vfs};

fn vfs() -> Arc<dyn Vfs> {
    Arc::new(Real)
}

fn store(repository: &Repository) -> ObjectStore {
    repository.store(&repository.state().unwrap()).unwrap()
}

fn source(place: &Place) -> Source {
    Source::open(vfs(), place.dir.path(), Settings::default()).unwrap()
}

/// A repository of the same history that holds nothing yet.
fn follower(of: &Place) -> (tempfile::TempDir, Repository) {
    let dir = tempfile::tempdir().unwrap();
    let options = InitOptions { genesis: Some(of.repository.genesis().clone()), ..InitOptions::default() };
    let (repository, _) = Repository::init(vfs(), dir.path(), options, Settings::default()).unwrap();
    (dir, repository)
}

/// Stores objects and lets `main` stand at a commit of the tree that `make` returns.
fn publish(place: &Place, make: impl FnOnce(&mut dyn ObjectSink) -> TreeId) -> CommitId {
    let repository = &place.repository;
    let state = repository.state().unwrap();
    let parent = state.heads["main"];
    let store = repository.store(&state).unwrap();
    let staging = repository.staging(&store);
    let mut writer = staging.writer();
    let before = commit::read(&store, parent).unwrap();
    let commit = Commit { tree: make(&mut writer), parents: vec![parent], depth: before.depth + 1, ..before };
    let payload = commit::sign(commit, &repository.key().unwrap());
    let id = CommitId(writer.put(ObjectKind::Commit, &payload).unwrap());
    writer.finish().unwrap();
    let staged = staging.finish().unwrap();
    let permit = repository.write_permit("test").unwrap();
    let mut transaction = repository.transaction(&permit).unwrap();
    transaction.add_objects(staged);
    transaction.set_branch("main", Some(id));
    transaction.commit().unwrap();
    id
}

fn tree_of(sink: &mut dyn ObjectSink, name: &str, size: u64, content: Content) -> TreeId {
    let kind = if matches!(content, Content::Tree(_)) { EntryType::Directory } else { EntryType::File };
    let node = TreeNode::Leaf(vec![TreeEntry { name: name.into(), kind, size, content }]);
    TreeId(sink.put(ObjectKind::Tree, &node.to_bytes()).unwrap())
}

fn manifest(sink: &mut dyn ObjectSink, size: u64, entries: NodeEntries) -> ManifestId {
    ManifestId(sink.put(ObjectKind::Manifest, &ManifestNode { profile: 1, size, entries }.to_bytes()).unwrap())
}

fn started() -> Place {
    let place = Place::new();
    place.write("file", bytes(1, 500));
    place.commit_all();
    place
}

fn switch(repository: &Repository, commit: CommitId) -> Result<()> {
    let target = SwitchTarget { head: Head::Detached(commit), commit: Some(commit), create: false };
    repository.switch(&target, Obstacles::Refuse, &Silent).map(drop)
}

#[test]
fn invented_actors_are_taken_up_to_a_number_and_named_beyond() {
    let ana = started();
    let tip = ana.repository.state().unwrap().heads["main"];
    let invented = 4_300u32;
    for number in 0..invented {
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        let key = SecretKey::from_seed(&seed);
        let heads = (0..4).map(|branch| (format!("branch-{branch}-of-{number}"), tip)).collect();
        let names = RefNames { heads, tags: BTreeMap::new() };
        let set = RefSet::sign(ana.repository.id(), names, None, false, &key);
        std::fs::write(ana.path(&format!(".shard/refs/peers/{}", key.actor())), set.as_bytes()).unwrap();
    }
    let (dir, bo) = follower(&ana);
    let report = fetch(&bo, &source(&ana), &Silent).unwrap();
    let held = bo.state().unwrap().peers;
    assert!(held.contains_key(&ana.repository.actor()), "the one who is asked is heard in any case");
    assert!(held.len() <= 4_097, "{}", held.len());
    assert_eq!(held.len() + report.refused.len(), invented as usize + 1);
    let again = Repository::open(vfs(), dir.path(), Settings::default()).unwrap();
    assert_eq!(again.state().unwrap().peers, held);
    assert_eq!(again.fsck(FsckLevel::Full, &Silent).unwrap().problems, []);
    // Nothing of it is asked for again, and nothing is gained by asking.
    assert_eq!(fetch(&again, &source(&ana), &Silent).unwrap().refs, []);
}

#[test]
fn a_branch_whose_name_is_a_way_out_is_none() {
    for name in ["../../../evil", "a/../../b", "/etc/passwd", "", "a\nb", "HEAD", ".hidden", "a.lock"] {
        let ana = Place::new();
        std::fs::write(ana.path(".shard/HEAD"), format!("ref: refs/heads/{name}\n")).unwrap();
        let target = tempfile::tempdir().unwrap();
        let made = Source::open(vfs(), ana.dir.path(), Settings::default()).and_then(|source| {
            clone(vfs(), &source, &target.path().join("bo"), CloneOptions::default(), Settings::default(), &Silent)
        });
        assert!(matches!(made, Err(Error::FileCorrupt { .. })), "{name}: {:?}", made.map(|_| ()));
        assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_file_of_holes_larger_than_any_disk_ends_in_an_error() {
    let ana = started();
    let (_dir, bo) = follower(&ana);
    for size in [1u64 << 62, (1 << 63) - 1, u64::MAX] {
        let commit = publish(&ana, |sink| {
            let id = manifest(sink, size, NodeEntries::Leaf(vec![Extent { chunk: None, length: size }]));
            tree_of(sink, "holes", size, Content::Manifest(id))
        });
        // It is well formed, so it is history; only no disk can hold it.
        fetch(&bo, &source(&ana), &Silent).unwrap();
        assert!(switch(&bo, commit).is_err());
        assert!(bo.end_checkout(false, &Silent).is_ok() || bo.state().unwrap().index.pending.is_none());
    }
    assert_eq!(bo.fsck(FsckLevel::Full, &Silent).unwrap().problems, []);
}

#[test]
fn nodes_that_nest_to_the_limit_or_lie_about_it_are_walked_in_bounded_time() {
    let ana = started();
    let (_dir, bo) = follower(&ana);
    // A file of two bytes beneath as many levels as there may be, each naming the next many times over: what is named
    // twice is walked once.
    publish(&ana, |sink| {
        let chunk = ChunkId(sink.put(ObjectKind::Chunk, b"x").unwrap());
        let mut size = 4096u64;
        let mut id = manifest(sink, size, NodeEntries::Leaf(vec![Extent { chunk: Some(chunk), length: 1 }; 4096]));
        for level in 1..=4 {
            id = manifest(sink, size * 4096, NodeEntries::Upper(level, vec![(id, size); 4096]));
            size *= 4096;
        }
        tree_of(sink, "deep", size, Content::Manifest(id))
    });
    fetch(&bo, &source(&ana), &Silent).unwrap();
    // And directories beyond the depth of any path.
    publish(&ana, |sink| {
        let mut tree = tree_of(sink, "leaf", 1, Content::Inline(b"x"[..].into()));
        for _ in 0..300 {
            tree = tree_of(sink, "d", 1, Content::Tree(tree));
        }
        tree
    });
    let refused = fetch(&bo, &source(&ana), &Silent);
    assert!(matches!(refused, Err(Error::ObjectCorrupt { .. })), "{refused:?}");
}

#[test]
fn a_length_that_contradicts_what_lies_here_is_refused() {
    let ana = started();
    let (_dir, bo) = follower(&ana);
    let chunk = |sink: &mut dyn ObjectSink| ChunkId(sink.put(ObjectKind::Chunk, &bytes(7, 5000)).unwrap());
    publish(&ana, |sink| {
        let chunk = chunk(sink);
        tree_of(sink, "right", 5000, Content::Chunk(chunk))
    });
    fetch(&bo, &source(&ana), &Silent).unwrap();
    publish(&ana, |sink| {
        let chunk = chunk(sink);
        tree_of(sink, "wrong", 4999, Content::Chunk(chunk))
    });
    let refused = fetch(&bo, &source(&ana), &Silent);
    assert!(matches!(refused, Err(Error::ObjectCorrupt { .. })), "{refused:?}");
}

/// Runs something that must not hang.
fn ends<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, answer) = mpsc::channel();
    std::thread::spawn(move || done.send(run()));
    answer.recv_timeout(Duration::from_secs(60)).expect("it hangs")
}

fn files_beneath(at: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_beneath(&path, found) } else { found.push(path) }
    }
}

#[test]
fn pipes_links_and_directories_in_the_place_of_files_are_errors() {
    let ana = started();
    let mut files = Vec::new();
    files_beneath(&ana.path(".shard"), &mut files);
    let secret = tempfile::tempdir().unwrap();
    std::fs::write(secret.path().join("secret"), "not yours").unwrap();
    let mut tried = 0;
    let concerned = |path: &&PathBuf| !path.to_string_lossy().contains("/locks/") && !path.ends_with("secret.key");
    for file in files.iter().filter(concerned) {
        // What a backend keeps beside its file comes and goes.
        let Ok(kept) = std::fs::read(file) else { continue };
        for kind in 0..3 {
            std::fs::remove_file(file).unwrap();
            match kind {
                0 => assert!(Command::new("mkfifo").arg(file).status().unwrap().success()),
                1 => std::os::unix::fs::symlink(secret.path().join("secret"), file).unwrap(),
                _ => std::fs::create_dir(file).unwrap(),
            }
            let (from, target) = (ana.dir.path().to_owned(), tempfile::tempdir().unwrap());
            let to = target.path().join("bo");
            // Whether the file matters or not: it ends, and what was made is whole.
            let made = ends(move || {
                let source = Source::open(vfs(), &from, Settings::default())?;
                clone(vfs(), &source, &to, CloneOptions::default(), Settings::default(), &Silent)
            });
            match made {
                Ok((repository, _)) => {
                    assert_eq!(repository.fsck(FsckLevel::Full, &Silent).unwrap().problems, [], "{file:?} {kind}");
                }
                Err(_) => assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 0, "{file:?} {kind}"),
            }
            if kind == 2 {
                std::fs::remove_dir(file).unwrap()
            } else {
                std::fs::remove_file(file).unwrap()
            }
            std::fs::write(file, &kept).unwrap();
            tried += 1;
        }
    }
    assert!(tried > 30);
    eprintln!("hostile files: {tried} tried");
    assert!(Source::open(vfs(), ana.dir.path(), Settings::default()).is_ok());
    drop(store(&ana.repository));
}
