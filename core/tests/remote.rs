//! Another repository on the same machine: cloned, followed, and never believed.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shard_core::canonical::Encoder;
use shard_core::history::commit::{self, Commit, Trust};
use shard_core::history::refs::RefSet;
use shard_core::ids::{ChunkId, CommitId, TreeId};
use shard_core::object::{ObjectKind, ObjectSink, ObjectStore, reader};
use shard_core::progress::Silent;
use shard_core::remote::{
    CloneOptions, CloneReport, Closure, FetchReport, PeerBook, PullOptions, PullOutcome, PullReport, Reached, Source,
    clone, fetch, plan_fetch, pull,
};
use shard_core::repository::init::InitOptions;
use shard_core::repository::{Repository, Settings};
use shard_core::tree::editor::{Node, TreeEditor};
use shard_core::tree::manifest::{Extent, ManifestWriter};
use shard_core::tree::walk;
use shard_core::tree::{Content, EntryType, Tree};
use shard_core::worktree::StatusOptions;
use shard_core::{Error, RepoPath, Result};
use shard_crypto::{ActorId, SecretKey};
use shard_storage::vfs::{Failure, Fault, Injection, Operation, Real, Select, Trace, Vfs};

const PIECE: usize = 24 << 10;

fn vfs() -> Arc<dyn Vfs> {
    Arc::new(Real)
}

fn settings() -> Settings {
    Settings { threads: 3, ..Settings::default() }
}

/// Bytes that no two seeds share and nothing compresses.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

struct World {
    place: tempfile::TempDir,
    ana: Repository,
}

impl World {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("ana")).unwrap();
        let (ana, _) = Repository::init(vfs(), &place.path().join("ana"), InitOptions::default(), settings()).unwrap();
        Self { place, ana }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn source(&self, name: &str) -> Source {
        Source::open(vfs(), &self.path(name), settings()).unwrap()
    }

    fn clone_to(&self, name: &str) -> Result<(Repository, CloneReport)> {
        let options = CloneOptions::default();
        clone(vfs(), &self.source("ana"), &self.path(name), options, settings(), &Silent)
    }
}

fn pull_from(repository: &Repository, source: &Source, options: &PullOptions) -> Result<PullReport> {
    pull(repository, source, options, &Silent)
}

fn fetch_from(repository: &Repository, source: &Source) -> Result<FetchReport> {
    fetch(repository, source, &Silent)
}

fn store(repository: &Repository) -> ObjectStore {
    repository.store(&repository.state().unwrap()).unwrap()
}

/// Commits files on a branch as `repository`'s own actor would, without a worktree.
fn commit_on(repository: &Repository, branch: &str, files: &[(&str, Vec<u8>)]) -> CommitId {
    let state = repository.state().unwrap();
    let parent = state.heads.get(branch).copied();
    commit_after(repository, branch, parent, files)
}

fn commit_after(
    repository: &Repository,
    branch: &str,
    parent: Option<CommitId>,
    files: &[(&str, Vec<u8>)],
) -> CommitId {
    commit_together(repository, parent, &[(branch, files)])[0]
}

/// Paths and contents.
type Files<'a> = &'a [(&'a str, Vec<u8>)];

/// Makes a commit on each of some branches, all after one parent, their objects side by side in the same frames.
fn commit_together(repository: &Repository, parent: Option<CommitId>, branches: &[(&str, Files<'_>)]) -> Vec<CommitId> {
    let store = store(repository);
    let before = parent.map(|parent| commit::read(&store, parent).unwrap());
    let staging = repository.staging(&store);
    let mut writer = staging.writer();
    let mut ids = Vec::new();
    for (_, files) in branches {
        let mut editor = TreeEditor::new();
        for (path, bytes) in *files {
            editor.set(&RepoPath::parse(path).unwrap(), file(bytes, &mut writer));
        }
        let base = before.as_ref().map_or(Tree::empty_id(), |before| before.tree);
        let commit = Commit {
            repository: repository.id(),
            tree: editor.apply(&store, base, &mut writer).unwrap(),
            parents: parent.into_iter().collect(),
            actor: repository.actor(),
            access_heads: Vec::new(),
            depth: before.as_ref().map_or(0, |before| before.depth) + 1,
            time_ms: 1_700_000_000_000,
            zone_minutes: 0,
            author: "somebody".to_owned(),
            message: format!("{} files", files.len()),
            extensions: None,
            event_head: None,
            unknown: Vec::new(),
        };
        let payload = commit::sign(commit, &repository.key().unwrap());
        ids.push(CommitId(writer.put(ObjectKind::Commit, &payload).unwrap()));
    }
    writer.finish().unwrap();
    let staged = staging.finish().unwrap();
    let permit = repository.write_permit("test").unwrap();
    let mut transaction = repository.transaction(&permit).unwrap();
    transaction.add_objects(staged);
    for ((branch, _), id) in branches.iter().zip(&ids) {
        transaction.set_branch(branch, Some(*id));
    }
    transaction.commit().unwrap();
    ids
}

fn file(bytes: &[u8], writer: &mut dyn ObjectSink) -> Node {
    let size = bytes.len() as u64;
    let content = if bytes.len() <= 128 {
        Content::Inline(bytes.into())
    } else {
        let mut manifest = ManifestWriter::new(1);
        for piece in bytes.chunks(PIECE) {
            let chunk = Some(ChunkId(writer.put(ObjectKind::Chunk, piece).unwrap()));
            manifest.push(Extent { chunk, length: piece.len() as u64 }, writer).unwrap();
        }
        match manifest.single_chunk() {
            Some(chunk) => Content::Chunk(chunk),
            None => Content::Manifest(manifest.finish(writer).unwrap()),
        }
    };
    Node { kind: EntryType::File, size, content }
}

/// Reads every file of a commit and all its ancestors, each object checked.
fn files_of(repository: &Repository, commit: CommitId) -> BTreeMap<String, Vec<u8>> {
    let store = store(repository);
    let mut files = BTreeMap::new();
    let mut at = Some(commit);
    while let Some(id) = at {
        let commit = commit::read(&store, id).unwrap();
        walk::visit(&store, commit.tree, None, &mut |path, entry| {
            if entry.kind == EntryType::File {
                let bytes = reader::read_all(&store, &entry.content, entry.size, 1 << 30)?;
                files.entry(path.to_string()).or_insert(bytes);
            }
            Ok(())
        })
        .unwrap();
        at = commit.parents.first().copied();
    }
    files
}

/// A hash of names, contents, modes and times beneath a directory.
fn fingerprint(path: &Path) -> blake3::Hash {
    fn add(path: &Path, hasher: &mut blake3::Hasher) {
        let metadata = std::fs::symlink_metadata(path).unwrap();
        hasher.update(path.as_os_str().as_encoded_bytes());
        hasher.update(format!("{} {} {}", metadata.mode(), metadata.mtime(), metadata.mtime_nsec()).as_bytes());
        if metadata.is_dir() {
            let mut names: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
            names.sort();
            names.iter().for_each(|name| add(name, hasher));
        } else {
            hasher.update(&std::fs::read(path).unwrap());
        }
    }
    let mut hasher = blake3::Hasher::new();
    add(path, &mut hasher);
    hasher.finalize()
}

/// Copies a directory, as a backup would.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn packs(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for class in ["data", "meta"] {
        for directory in std::fs::read_dir(path.join(".shard/objects").join(class)).unwrap() {
            for pack in std::fs::read_dir(directory.unwrap().path()).unwrap() {
                found.push(pack.unwrap().path());
            }
        }
    }
    found.sort();
    found
}

/// Puts a ref set into a repository's `refs/peers`, as a hostile source would.
fn plant(path: &Path, actor: ActorId, bytes: &[u8]) {
    std::fs::write(path.join(".shard/refs/peers").join(actor.to_string()), bytes).unwrap();
}

fn peer_file(path: &Path, actor: ActorId) -> Vec<u8> {
    std::fs::read(path.join(".shard/refs/peers").join(actor.to_string())).unwrap()
}

#[test]
fn a_clone_has_the_same_files_and_follows_its_source() {
    let world = World::new();
    let mut files = vec![("a/small", b"hello".to_vec()), ("a/b/medium", noise(1, 9000)), ("large", noise(2, 7 << 20))];
    let first = commit_on(&world.ana, "main", &files);
    let before = fingerprint(&world.path("ana"));
    let (bo, report) = world.clone_to("bo").unwrap();
    assert_eq!((report.branch.as_str(), report.commit), ("main", Some(first)));
    assert_eq!(bo.id(), world.ana.id());
    assert_ne!(bo.actor(), world.ana.actor(), "a clone signs with a key of its own");
    assert!(report.fetch.objects > 300 && report.fetch.bytes > 7 << 20);
    assert_eq!(report.fetch.refs.len(), 1);
    let as_map = |files: &[(&str, Vec<u8>)]| -> BTreeMap<String, Vec<u8>> {
        files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect()
    };
    assert_eq!(files_of(&bo, first), as_map(&files));
    let state = bo.state().unwrap();
    assert_eq!(state.upstreams["main"], format!("{}/main", world.ana.actor()));

    files.push(("new", noise(3, 100_000)));
    assert_eq!(fingerprint(&world.path("ana")), before, "a source is only read");
    let second = commit_on(&world.ana, "main", &files[3..]);
    let before = fingerprint(&world.path("ana"));
    let source = world.source("ana");
    let plan = plan_fetch(&bo, &source, &Silent).unwrap();
    assert_eq!((plan.commits, plan.objects), (1, 1 + 1 + 1 + 5));
    let report = pull_from(&bo, &source, &PullOptions::default()).unwrap();
    assert_eq!(report.outcome, PullOutcome::FastForward);
    assert_eq!(report.fetch.objects, plan.objects, "only what is new comes");
    assert_eq!(bo.state().unwrap().heads["main"], second);
    assert_eq!(files_of(&bo, second), as_map(&files));
    assert_eq!(fingerprint(&world.path("ana")), before, "a source is only read");

    let again = pull_from(&bo, &source, &PullOptions::default()).unwrap();
    assert_eq!((again.outcome, again.fetch.objects), (PullOutcome::UpToDate, 0));
}

#[test]
fn an_unborn_source_is_cloned_and_followed_from_its_first_commit() {
    let world = World::new();
    let (bo, report) = world.clone_to("bo").unwrap();
    assert_eq!((report.branch.as_str(), report.commit), ("main", None));
    let first = commit_on(&world.ana, "main", &[("a", noise(1, 500))]);
    let report = pull_from(&bo, &world.source("ana"), &PullOptions::default()).unwrap();
    assert_eq!(report.outcome, PullOutcome::FastForward);
    assert_eq!(bo.state().unwrap().heads["main"], first);
}

#[test]
fn diverged_branches_stay_and_refs_are_fetched_all_the_same() {
    let world = World::new();
    commit_on(&world.ana, "main", &[("a", noise(1, 500))]);
    let (bo, _) = world.clone_to("bo").unwrap();
    let ours = commit_on(&bo, "main", &[("b", noise(2, 500))]);
    let theirs = commit_on(&world.ana, "main", &[("c", noise(3, 500))]);
    let source = world.source("ana");
    match pull_from(&bo, &source, &PullOptions::default()) {
        Err(Error::RefDiverged { branch, ours: a, theirs: b }) => {
            assert_eq!((branch.as_str(), a, b), ("main", ours.digest(), theirs.digest()));
        }
        other => panic!("{other:?}"),
    }
    let state = bo.state().unwrap();
    assert_eq!(state.heads["main"], ours);
    let set = RefSet::verify(&state.peers[&world.ana.actor()], bo.id()).unwrap();
    assert_eq!(set.names().heads["main"], theirs, "the source's names came");
    assert_eq!(files_of(&bo, theirs).len(), 2, "and what they reach");
}

#[test]
fn commits_of_others_than_the_creator_need_leave() {
    let world = World::new();
    commit_on(&world.ana, "main", &[("a", noise(1, 500))]);
    let (bo, _) = world.clone_to("bo").unwrap();
    let theirs = commit_on(&bo, "main", &[("b", noise(2, 500))]);
    let source = world.source("bo");
    let refused = pull_from(&world.ana, &source, &PullOptions::default());
    assert!(
        matches!(&refused, Err(Error::AccessDenied { commit, trust })
        if *commit == theirs.digest() && *trust == Trust::NotAllowed),
        "{refused:?}"
    );
    let options = PullOptions { untrusted: true, ..PullOptions::default() };
    assert_eq!(pull_from(&world.ana, &source, &options).unwrap().outcome, PullOutcome::FastForward);
    assert_eq!(world.ana.state().unwrap().heads["main"], theirs);

    let refused = clone(vfs(), &source, &world.path("cy/deep"), CloneOptions::default(), settings(), &Silent);
    assert!(matches!(refused, Err(Error::AccessDenied { .. })), "{refused:?}");
    assert!(!world.path("cy").exists(), "a failed clone leaves no directory it made");
    let options = CloneOptions { untrusted: true, ..CloneOptions::default() };
    clone(vfs(), &source, &world.path("cy/deep"), options, settings(), &Silent).unwrap();
}

#[test]
fn names_of_a_third_actor_travel_through_a_clone() {
    let world = World::new();
    let first = commit_on(&world.ana, "main", &[("a", noise(1, 500))]);
    let (bo, _) = world.clone_to("bo").unwrap();
    let (cy, _) = world.clone_to("cy").unwrap();
    let second = commit_on(&world.ana, "main", &[("b", noise(2, 500))]);
    fetch_from(&bo, &world.source("ana")).unwrap();
    let report = fetch_from(&cy, &world.source("bo")).unwrap();
    assert!(report.refs.iter().any(|moved| moved.name == format!("{}/main", world.ana.actor())
        && (moved.old, moved.new) == (Some(first), Some(second))));
    assert_eq!(files_of(&cy, second).len(), 2);
}

#[test]
fn an_older_ref_set_moves_nothing() {
    let world = World::new();
    let first = commit_on(&world.ana, "main", &[("a", noise(1, 500))]);
    let old = peer_file(&world.path("ana"), world.ana.actor());
    let second = commit_on(&world.ana, "main", &[("b", noise(2, 500))]);
    let (bo, _) = world.clone_to("bo").unwrap();
    plant(&world.path("ana"), world.ana.actor(), &old);
    let source = world.source("ana");
    let replayed = RefSet::verify(&source.ref_sets()[&world.ana.actor()], bo.id()).unwrap();
    assert_eq!(replayed.names().heads["main"], first, "the source does offer the old one");
    let report = fetch_from(&bo, &source).unwrap();
    assert!(report.refs.is_empty() && report.refused.is_empty());
    let report = pull_from(&bo, &source, &PullOptions::default()).unwrap();
    assert_eq!(report.outcome, PullOutcome::UpToDate);
    assert_eq!(bo.state().unwrap().heads["main"], second);
}

#[test]
fn a_forged_ref_set_is_refused_and_nothing_moves() {
    let world = World::new();
    commit_on(&world.ana, "main", &[("a", noise(1, 500))]);
    let (bo, _) = world.clone_to("bo").unwrap();
    commit_on(&world.ana, "main", &[("b", noise(2, 500))]);
    let good = peer_file(&world.path("ana"), world.ana.actor());
    let before = bo.state().unwrap();
    for at in 0..good.len() {
        let mut forged = good.clone();
        forged[at] ^= 1;
        plant(&world.path("ana"), world.ana.actor(), &forged);
        let refused = fetch_from(&bo, &world.source("ana"));
        assert!(matches!(refused, Err(Error::SignatureInvalid { .. })), "{at}: {refused:?}");
    }
    let after = bo.state().unwrap();
    assert_eq!((after.sequence, after.peers), (before.sequence, before.peers));
}

#[test]
fn a_third_actors_forged_set_is_named_and_the_rest_comes() {
    let world = World::new();
    commit_on(&world.ana, "main", &[("a", noise(1, 500))]);
    let stranger = SecretKey::from_seed(&[9; 32]);
    let ours = RefSet::verify(&peer_file(&world.path("ana"), world.ana.actor()), world.ana.id()).unwrap();
    plant(&world.path("ana"), stranger.actor(), ours.as_bytes());
    let (bo, report) = world.clone_to("bo").unwrap();
    assert_eq!(report.fetch.refused.len(), 1);
    assert_eq!(report.fetch.refused[0].actor, stranger.actor());
    assert_eq!(bo.state().unwrap().peers.len(), 1 + usize::from(bo.state().unwrap().peers.contains_key(&bo.actor())));
}

#[test]
fn other_bytes_under_a_known_number_are_a_fork() {
    let world = World::new();
    commit_on(&world.ana, "main", &[("a", noise(1, 500))]);
    copy(&world.path("ana"), &world.path("twin"));
    let twin = Repository::open(vfs(), &world.path("twin"), settings()).unwrap();
    let (bo, _) = world.clone_to("bo").unwrap();
    let ours = commit_on(&world.ana, "main", &[("b", noise(2, 500))]);
    commit_on(&twin, "main", &[("c", noise(3, 500))]);
    fetch_from(&bo, &world.source("ana")).unwrap();
    let forked = fetch_from(&bo, &world.source("twin"));
    assert!(matches!(forked, Err(Error::ActorForked { actor }) if actor == world.ana.actor()), "{forked:?}");
    commit_on(&twin, "main", &[("d", noise(4, 500))]);
    let rolled = fetch_from(&bo, &world.source("twin"));
    assert!(matches!(rolled, Err(Error::HistoryRollback { actor }) if actor == world.ana.actor()), "{rolled:?}");
    // The creator itself learns that its key is used elsewhere.
    let report = fetch_from(&world.ana, &world.source("twin")).unwrap();
    assert!(matches!(report.refused[0].error, Error::HistoryRollback { .. }), "{report:?}");
    let set = RefSet::verify(&bo.state().unwrap().peers[&world.ana.actor()], bo.id()).unwrap();
    assert_eq!(set.names().heads["main"], ours);
}

#[test]
fn a_gap_is_filled_from_the_headers_the_source_keeps() {
    let world = World::new();
    commit_on(&world.ana, "main", &[("a", noise(1, 500))]);
    let (bo, _) = world.clone_to("bo").unwrap();
    for number in 0..5 {
        commit_on(&world.ana, "main", &[("a", noise(10 + number, 500))]);
    }
    let report = fetch_from(&bo, &world.source("ana")).unwrap();
    assert!(report.unproven.is_empty());
    // Another source cannot show what was between, and does not contradict it.
    for number in 0..5 {
        commit_on(&world.ana, "main", &[("a", noise(20 + number, 500))]);
    }
    let (cy, _) = world.clone_to("cy").unwrap();
    drop(cy);
    let chain = world.path("cy/.shard/refs/chain.log");
    let length = std::fs::metadata(&chain).unwrap().len();
    assert!(length > 11 * 100, "a clone keeps the headers too: {length} bytes");
}

#[test]
fn unpublished_branches_are_not_transferred() {
    let world = World::new();
    let first = commit_on(&world.ana, "main", &[("a", noise(1, 5000))]);
    let mut published: Vec<_> = ["c", "d", "e", "f", "g", "h", "i", "j"].map(|name| (name, vec![b'x'; 100])).into();
    published.push(("b/b", noise(2, 5000)));
    let draft: Vec<_> = ["x", "y", "z"].map(|name| (name, noise(3 + u64::from(name.as_bytes()[0]), 9000))).into();
    let ids = commit_together(&world.ana, Some(first), &[("main", &published), ("local/draft", &draft)]);
    let (published, secret) = (ids[0], ids[1]);
    let (bo, report) = world.clone_to("bo").unwrap();
    assert_eq!(files_of(&bo, published).len(), 10);
    assert!(report.fetch.refs.iter().all(|moved| !moved.name.contains("local/")));
    let set = RefSet::verify(&bo.state().unwrap().peers[&world.ana.actor()], bo.id()).unwrap();
    assert_eq!(set.names().heads.keys().collect::<Vec<_>>(), ["main"]);
    // They lie in a frame of which more than half is wanted. Here they would look as if all they reach had come too.
    let (ours, theirs) = (store(&bo), store(&world.ana));
    let tree = commit::read(&theirs, secret).unwrap().tree;
    assert!(!ours.contains(secret.0).unwrap() && !ours.contains(tree.0).unwrap());
    // Their chunks are most of a frame, so that of it only what is wanted was taken.
    for (_, bytes) in &draft {
        assert!(!ours.contains(ObjectKind::Chunk.id(bytes)).unwrap());
    }
    assert_eq!(
        report.fetch.objects,
        Closure::new(&theirs, &store(&empty_clone(&world, 0)), [], bo.id(), [published]).unwrap().count() as u64
    );
}

#[test]
fn every_flipped_byte_of_a_source_is_found_and_nothing_of_it_is_stored() {
    let world = World::new();
    commit_on(&world.ana, "main", &[("a/b", noise(1, 60_000)), ("c", vec![b'x'; 9000])]);
    let (good, report) = world.clone_to("good").unwrap();
    let tip = report.commit.unwrap();
    let expected = files_of(&good, tip);
    let mut refused = 0;
    for pack in packs(&world.path("ana")) {
        let bytes = std::fs::read(&pack).unwrap();
        let step = (bytes.len() / 20).max(1);
        for at in (0..bytes.len()).step_by(step) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            std::fs::write(&pack, &damaged).unwrap();
            let cloned = Source::open(vfs(), &world.path("ana"), settings()).and_then(|source| {
                let target = world.path("bad");
                clone(vfs(), &source, &target, CloneOptions::default(), settings(), &Silent)
            });
            match cloned {
                // A byte that nothing reads.
                Ok((bad, _)) => {
                    assert_eq!(files_of(&bad, tip), expected, "byte {at} of {}", pack.display());
                    drop(bad);
                    std::fs::remove_dir_all(world.path("bad")).unwrap();
                }
                Err(Error::ObjectCorrupt { .. } | Error::ObjectNotFound { .. } | Error::FileCorrupt { .. }) => {
                    refused += 1;
                    assert!(!world.path("bad").exists());
                }
                Err(other) => panic!("byte {at} of {}: {other:?}", pack.display()),
            }
        }
        std::fs::write(&pack, &bytes).unwrap();
    }
    assert!(refused > 15, "{refused}");
}

#[test]
fn a_damaged_frame_names_its_object_and_leaves_the_target_as_it_was() {
    let world = World::new();
    commit_on(&world.ana, "main", &[("a", noise(1, 500))]);
    let (bo, _) = world.clone_to("bo").unwrap();
    let large = noise(5, 12 << 20);
    commit_on(&world.ana, "main", &[("large", large.clone())]);
    let pack = packs(&world.path("ana")).into_iter().max_by_key(|pack| std::fs::metadata(pack).unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x80;
    std::fs::write(&pack, &bytes).unwrap();
    let (before, listed) = (bo.state().unwrap(), packs(&world.path("bo")));
    match fetch_from(&bo, &world.source("ana")) {
        Err(Error::ObjectCorrupt { id, .. }) => {
            let chunks: Vec<_> = large.chunks(PIECE).map(|piece| ObjectKind::Chunk.id(piece).digest()).collect();
            assert!(chunks.contains(&id), "{id} is a chunk of the damaged file");
        }
        other => panic!("{other:?}"),
    }
    let after = bo.state().unwrap();
    assert_eq!((after.sequence, &after.peers), (before.sequence, &before.peers), "no ref moved");
    assert_eq!(packs(&world.path("bo")), listed, "no pack stays");
    // Mended, the same fetch goes through.
    bytes[middle] ^= 0x80;
    std::fs::write(&pack, &bytes).unwrap();
    fetch_from(&bo, &world.source("ana")).unwrap();
}

#[test]
fn a_lying_source_is_refused_object_by_object() {
    let world = World::new();
    let first = commit_on(&world.ana, "main", &[("a", noise(1, 500))]);
    let (bo, _) = world.clone_to("bo").unwrap();
    let base = commit::read(&store(&world.ana), first).unwrap();
    let publish = |kind: ObjectKind, payload: &[u8], make: &dyn Fn(&mut Commit, shard_core::ids::ObjectId)| {
        let state = world.ana.state().unwrap();
        let store = world.ana.store(&state).unwrap();
        let staging = world.ana.staging(&store);
        let mut writer = staging.writer();
        let object = writer.put(kind, payload).unwrap();
        let mut commit = Commit { parents: vec![first], depth: 2, ..base.clone() };
        make(&mut commit, object);
        let id = writer.put(ObjectKind::Commit, &commit::sign(commit, &world.ana.key().unwrap())).unwrap();
        writer.finish().unwrap();
        let staged = staging.finish().unwrap();
        let permit = world.ana.write_permit("test").unwrap();
        let mut transaction = world.ana.transaction(&permit).unwrap();
        transaction.add_objects(staged);
        transaction.set_branch("main", Some(CommitId(id)));
        transaction.commit().unwrap();
    };
    let tree_of = |entry: &dyn Fn(&mut Encoder)| {
        let mut e = Encoder::new();
        e.array(3).uint(1).uint(0).array(1);
        entry(&mut e);
        e.into_bytes()
    };
    let absent = [3; 32];
    let escaping = tree_of(&|e| {
        e.array(4).text("..").uint(0).uint(1).bytes(b"x");
    });
    let hollow = tree_of(&|e| {
        e.array(4).text("gone").uint(0).uint(9000).array(2).uint(0).bytes(&absent);
    });
    let oversized = tree_of(&|e| {
        e.array(4).text("dir").uint(3).uint(77).bytes(base.tree.as_bytes());
    });
    type Make = Box<dyn Fn(&mut Commit, shard_core::ids::ObjectId)>;
    let as_tree = || -> Make { Box::new(|commit, object| commit.tree = TreeId(object)) };
    let cases: Vec<(&str, ObjectKind, Vec<u8>, Make)> = vec![
        ("a hostile name", ObjectKind::Tree, escaping, as_tree()),
        ("a chunk nobody has", ObjectKind::Tree, hollow, as_tree()),
        ("a tree that is none", ObjectKind::Tree, b"\x83\x01\x00".to_vec(), as_tree()),
        ("a chunk named as a tree", ObjectKind::Chunk, noise(4, 300), as_tree()),
        ("a false depth", ObjectKind::Chunk, noise(5, 300), Box::new(|commit, _| commit.depth = 9)),
        (
            "another repository's commit",
            ObjectKind::Chunk,
            noise(6, 300),
            Box::new(|commit, _| commit.repository = shard_core::ids::RepositoryId::from_bytes([1; 32])),
        ),
    ];
    for (what, kind, payload, make) in cases {
        publish(kind, &payload, &make);
        let sequence = bo.state().unwrap().sequence;
        let refused = fetch_from(&bo, &world.source("ana"));
        assert!(
            matches!(refused, Err(Error::ObjectCorrupt { .. } | Error::ObjectNotFound { .. })),
            "{what}: {refused:?}"
        );
        assert_eq!(bo.state().unwrap().sequence, sequence, "{what}");
    }
    // The known tree is not entered again, so a false size of it does no harm and is found when it is new.
    let (cy_path, before) = (world.path("cy"), fingerprint(&world.path("ana")));
    publish(ObjectKind::Tree, &oversized, &*as_tree());
    assert_ne!(fingerprint(&world.path("ana")), before);
    let source = world.source("ana");
    let refused = clone(vfs(), &source, &cy_path, CloneOptions::default(), settings(), &Silent);
    assert!(matches!(refused, Err(Error::ObjectCorrupt { .. })), "{refused:?}");
    assert!(!cy_path.exists());
}

#[test]
fn another_repository_is_no_source() {
    let (world, other) = (World::new(), World::new());
    commit_on(&world.ana, "main", &[("a", noise(1, 500))]);
    let foreign = fetch_from(&world.ana, &other.source("ana"));
    assert!(matches!(foreign, Err(Error::RepositoryMismatch { .. })), "{foreign:?}");
}

#[test]
fn a_clone_takes_no_directory_that_holds_anything() {
    let world = World::new();
    commit_on(&world.ana, "main", &[("a", noise(1, 500))]);
    std::fs::create_dir(world.path("full")).unwrap();
    std::fs::write(world.path("full/mine"), b"x").unwrap();
    let before = fingerprint(&world.path("full"));
    assert!(matches!(world.clone_to("full"), Err(Error::PathExists { .. })));
    assert_eq!(fingerprint(&world.path("full")), before);
    assert!(matches!(world.clone_to("ana"), Err(Error::RepositoryExists { .. })));
    std::fs::create_dir(world.path("empty")).unwrap();
    world.clone_to("empty").unwrap();
    std::fs::write(world.path("file"), b"x").unwrap();
    assert!(world.clone_to("file").is_err());
    assert_eq!(std::fs::read(world.path("file")).unwrap(), b"x");
}

#[test]
fn a_clone_that_fails_anywhere_leaves_nothing_it_made() {
    let world = World::new();
    let tip = commit_on(&world.ana, "main", &[("a/b", noise(1, 500)), ("c", noise(2, 200_000))]);
    let before = fingerprint(&world.path("ana"));
    let fault = Fault::default();
    let faulty = fault.over(vfs());
    let attempt = |target: &Path| {
        let source = Source::open(faulty.clone(), &world.path("ana"), settings())?;
        clone(faulty.clone(), &source, target, CloneOptions::default(), Settings { threads: 1, ..settings() }, &Silent)
    };
    fault.count(Select::Mutating);
    attempt(&world.path("counted")).unwrap();
    let operations = fault.operations();
    assert!(operations > 50);
    let (mut failed, step) = (0, (operations / 24).max(1));
    for at in (1..=operations).step_by(step as usize) {
        for existing in [false, true] {
            let target = world.path("bo");
            if existing {
                std::fs::create_dir(&target).unwrap();
            }
            fault.inject(Injection::once(Select::Mutating, at, Failure::Io));
            match attempt(&target) {
                Ok((bo, _)) => {
                    fault.disarm();
                    assert_eq!(bo.state().unwrap().heads["main"], tip, "{at}");
                    assert_eq!(std::fs::read(target.join("a/b")).unwrap(), noise(1, 500), "{at}");
                    std::fs::remove_dir_all(&target).unwrap();
                }
                Err(_) => {
                    failed += 1;
                    assert_eq!(target.exists(), existing, "{at}");
                    if existing {
                        assert_eq!(std::fs::read_dir(&target).unwrap().count(), 0, "{at}");
                        std::fs::remove_dir(&target).unwrap();
                    }
                }
            }
        }
    }
    assert!(failed > 20, "{failed}");
    assert_eq!(fingerprint(&world.path("ana")), before);
}

#[test]
fn a_change_in_the_way_stops_the_pull_and_keeps_what_was_fetched() {
    let world = World::new();
    let first = commit_on(&world.ana, "main", &[("a", noise(1, 500)), ("kept", noise(9, 500))]);
    let (bo, _) = world.clone_to("bo").unwrap();
    let second = commit_on(&world.ana, "main", &[("a", noise(2, 500)), ("new", noise(3, 500))]);
    std::fs::write(world.path("bo/a"), b"edited").unwrap();
    let source = world.source("ana");
    match pull_from(&bo, &source, &PullOptions::default()) {
        Err(Error::WorktreeDirty { blocked }) => {
            assert_eq!(blocked.iter().map(|one| one.path.as_str()).collect::<Vec<_>>(), ["a"]);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(std::fs::read(world.path("bo/a")).unwrap(), b"edited");
    assert!(!world.path("bo/new").exists());
    let state = bo.state().unwrap();
    assert_eq!((state.heads["main"], state.index.pending), (first, None));
    assert!(store(&bo).contains(second.0).unwrap());
    // Out of the way, it is an edit like any other, and the pull goes through.
    std::fs::remove_file(world.path("bo/a")).unwrap();
    std::fs::write(world.path("bo/kept"), b"mine").unwrap();
    let report = pull_from(&bo, &source, &PullOptions::default()).unwrap();
    assert_eq!((report.outcome, report.fetch.objects), (PullOutcome::FastForward, 0));
    assert_eq!(std::fs::read(world.path("bo/a")).unwrap(), noise(2, 500));
    assert_eq!(std::fs::read(world.path("bo/kept")).unwrap(), b"mine");
    assert_eq!(std::fs::read(world.path("bo/new")).unwrap(), noise(3, 500));
}

#[test]
fn an_interrupted_pull_is_continued_or_taken_back() {
    for forward in [true, false] {
        let world = World::new();
        let first = commit_on(&world.ana, "main", &[("a", noise(1, 500))]);
        let (bo, _) = world.clone_to("bo").unwrap();
        let second = commit_on(&world.ana, "main", &[("a", noise(2, 500)), ("dir/b", noise(3, 500))]);
        let fault = Fault::default();
        let faulty = Repository::open(fault.over(vfs()), &world.path("bo"), settings()).unwrap();
        // The first thing done to the new directory is to make it.
        fault.inject(Injection::once(Select::Mutating, 1, Failure::Io).on("bo/dir"));
        let failed = pull_from(&faulty, &world.source("ana"), &PullOptions::default());
        assert!(matches!(failed, Err(Error::Disk(_))), "{failed:?}");
        assert!(bo.state().unwrap().index.pending.is_some());
        bo.end_checkout(forward, &Silent).unwrap();
        let state = bo.state().unwrap();
        let (tip, content) = if forward { (second, noise(2, 500)) } else { (first, noise(1, 500)) };
        assert_eq!((state.heads["main"], state.index.base), (tip, Some(tip)));
        assert_eq!(std::fs::read(world.path("bo/a")).unwrap(), content);
        let status = bo.status(&StatusOptions::default(), &Silent).unwrap();
        assert!(status.is_clean(), "{forward} {status:?}");
        pull_from(&bo, &world.source("ana"), &PullOptions::default()).unwrap();
        assert_eq!(bo.state().unwrap().heads["main"], second);
        let status = bo.status(&StatusOptions::default(), &Silent).unwrap();
        assert!(status.is_clean(), "{forward} {status:?}");
    }
}

#[test]
fn the_path_of_the_source_is_noted_for_the_branch_that_follows() {
    let world = World::new();
    commit_on(&world.ana, "main", &[("a", noise(1, 500))]);
    let (bo, report) = world.clone_to("bo").unwrap();
    assert_eq!(report.checkout.unwrap().written, 1);
    let mut book = PeerBook::read(&bo).unwrap();
    assert_eq!(book.followed(&bo.state().unwrap()), Some(world.path("ana").as_path()));
    assert_eq!(PeerBook::read(&world.ana).unwrap(), PeerBook::default());
    let text = std::fs::read_to_string(world.path("bo/.shard/peers.json")).unwrap();
    std::fs::write(world.path("bo/.shard/peers.json"), text.replacen("{", "{\"later\": [1],", 1)).unwrap();
    book = PeerBook::read(&bo).unwrap();
    book.set_path(bo.actor(), Path::new("/elsewhere"));
    book.write(bo.layout()).unwrap();
    let text = std::fs::read_to_string(world.path("bo/.shard/peers.json")).unwrap();
    assert!(text.contains("later") && text.contains("/elsewhere") && text.contains("ana"), "{text}");
}

#[test]
fn a_source_that_cannot_be_written_is_read_all_the_same() {
    let world = World::new();
    let tip = commit_on(&world.ana, "main", &[("a", noise(1, 500)), ("b", noise(2, 300_000))]);
    // As after a crash: nothing says how far the log is applied, and nobody may put it right.
    std::fs::remove_file(world.path("ana/.shard/applied")).unwrap();
    let before = fingerprint(&world.path("ana"));
    let fault = Fault::default();
    fault.inject(Injection::forever(Select::Mutating, 1, Failure::ReadOnly));
    let source = Source::open(fault.over(vfs()), &world.path("ana"), settings()).unwrap();
    let options = CloneOptions::default();
    let (bo, _) = clone(vfs(), &source, &world.path("bo"), options, settings(), &Silent).unwrap();
    assert_eq!(files_of(&bo, tip).len(), 2);
    assert!(fault.operations() <= 3, "nothing but the log and its name is asked to be synced");
    assert_eq!(fingerprint(&world.path("ana")), before);
}

#[test]
fn clones_of_a_source_that_is_written_to_are_whole() {
    let world = World::new();
    commit_on(&world.ana, "main", &[("a", noise(0, 500))]);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for number in 1..60 {
                commit_on(&world.ana, "main", &[("a", noise(number, 500)), ("b/c", noise(100 + number, 150_000))]);
                world.ana.tidy();
            }
        });
        let mut number = 0;
        while !writing.is_finished() || number < 3 {
            number += 1;
            let (bo, report) = world.clone_to(&format!("bo-{number}")).unwrap();
            let here = store(&bo);
            let tip = report.commit.unwrap();
            // Everything the clone reaches, read and hashed.
            let nothing = store(&empty_clone(&world, number));
            let reached = Closure::new(&here, &nothing, [], bo.id(), [tip]).unwrap();
            for object in reached {
                let object = object.unwrap();
                assert_eq!(here.get(object.id, object.kind).unwrap().len(), object.length as usize);
            }
        }
    });
}

/// A clone that has nothing yet.
fn empty_clone(world: &World, number: usize) -> Repository {
    let path = world.path(&format!("empty-{number}"));
    std::fs::create_dir(&path).unwrap();
    let options = InitOptions { genesis: Some(world.ana.genesis().clone()), ..InitOptions::default() };
    Repository::init(vfs(), &path, options, settings()).unwrap().0
}

#[test]
fn large_directories_and_long_manifests_arrive_whole() {
    let world = World::new();
    let names: Vec<String> = (0..3000).map(|number| format!("dir/file-{number:05}")).collect();
    let mut files: Vec<(&str, Vec<u8>)> =
        names.iter().enumerate().map(|(at, name)| (name.as_str(), noise(at as u64, 150 + at % 700))).collect();
    files.push(("huge", (0..600).flat_map(|at| noise(1_000_000 + at, PIECE)).collect()));
    let tip = commit_on(&world.ana, "main", &files);
    let (bo, _) = world.clone_to("bo").unwrap();
    let found = files_of(&bo, tip);
    assert_eq!(found.len(), files.len());
    assert!(files.iter().all(|(name, bytes)| found[*name] == *bytes));
    let everything = Closure::new(&store(&world.ana), &store(&bo), [], bo.id(), [tip]).unwrap().count();
    assert_eq!(everything, 0, "nothing that is reached is missing");
}

/// Puts objects of a source where they count, and names none of them.
fn plant_objects(from: &ObjectStore, to: &Repository, objects: impl Iterator<Item = Reached>) {
    let store = store(to);
    let staging = to.staging(&store);
    let mut writer = staging.writer();
    for object in objects {
        writer.put(object.kind, &from.get(object.id, object.kind).unwrap()).unwrap();
    }
    writer.finish().unwrap();
    let staged = staging.finish().unwrap();
    let permit = to.write_permit("test").unwrap();
    let mut transaction = to.transaction(&permit).unwrap();
    transaction.add_objects(staged);
    transaction.commit().unwrap();
}

fn assert_whole(repository: &Repository, tip: CommitId) {
    let report = repository.verify(&store(repository), &[tip], &Silent).unwrap();
    assert!(report.is_sound(), "{:?}", report.failures);
}

/// What a cut transfer or lost packs leave behind: any part of what is reached, with no regard for what names what.
#[test]
fn objects_that_lie_here_without_what_they_name_are_completed() {
    let world = World::new();
    let names: Vec<String> = (0..1300).map(|number| format!("wide/file-{number:04}")).collect();
    let mut files: Vec<(&str, Vec<u8>)> =
        names.iter().enumerate().map(|(at, name)| (name.as_str(), noise(at as u64, 150))).collect();
    files.push(("deep/er/still/a", noise(5000, 400)));
    files.push(("deep/er/b", noise(5001, 5 * PIECE)));
    let first = commit_on(&world.ana, "main", &files);
    let everything = |here: &ObjectStore, held: Vec<CommitId>, tip| -> Vec<Reached> {
        Closure::new(&store(&world.ana), here, held, world.ana.id(), [tip]).unwrap().collect::<Result<_>>().unwrap()
    };
    let theirs = store(&world.ana);
    for number in 0..24usize {
        let bo = empty_clone(&world, number);
        let missing = everything(&store(&bo), Vec::new(), first);
        let mut dice = noise(9000 + number as u64, missing.len()).into_iter();
        // All of the metadata first, then anything, more or less of it.
        let chosen = |object: &&Reached| match number {
            0 => object.kind != ObjectKind::Chunk,
            1 => object.kind == ObjectKind::Commit,
            2 => object.kind == ObjectKind::Tree,
            3 => object.kind != ObjectKind::Commit,
            _ => usize::from(dice.next().unwrap()) < number * 10,
        };
        plant_objects(&theirs, &bo, missing.iter().filter(chosen).copied());
        fetch_from(&bo, &world.source("ana")).unwrap();
        assert_whole(&bo, first);
    }
    // The same beside what is held already.
    let changed =
        [("wide/file-0700", noise(6000, 900)), ("deep/er/b", noise(5001, 7 * PIECE)), ("new/a", noise(7, 300))];
    let (bo, _) = world.clone_to("bo").unwrap();
    let second = commit_on(&world.ana, "main", &changed);
    let theirs = store(&world.ana);
    let missing = everything(&store(&bo), vec![first], second);
    for (number, left_out) in missing.iter().enumerate() {
        let path = world.path(&format!("bo-{number}"));
        copy(&world.path("bo"), &path);
        let bo = Repository::open(vfs(), &path, settings()).unwrap();
        plant_objects(&theirs, &bo, missing.iter().filter(|object| object.id != left_out.id).copied());
        fetch_from(&bo, &world.source("ana")).unwrap();
        assert_whole(&bo, second);
    }
    eprintln!("{} objects left out, one at a time", missing.len());
}

#[test]
fn a_pull_of_one_change_reads_little_of_what_is_held() {
    let world = World::new();
    let names: Vec<String> = (0..400).map(|number| format!("d{number:03}/e/file")).collect();
    let files: Vec<(&str, Vec<u8>)> =
        names.iter().enumerate().map(|(at, name)| (name.as_str(), noise(at as u64, 2 * PIECE))).collect();
    commit_on(&world.ana, "main", &files);
    world.clone_to("bo").unwrap();
    // Several commits, so that the nearest one that is held is not the parent.
    for number in 0..5 {
        commit_on(&world.ana, "main", &[("d007/e/file", noise(1000 + number, 2 * PIECE))]);
    }
    let trace = Trace::default();
    let bo = Repository::open(trace.over(vfs()), &world.path("bo"), settings()).unwrap();
    trace.clear();
    fetch_from(&bo, &world.source("ana")).unwrap();
    let reads = trace.count(Operation::Read);
    assert!(reads < 150, "{reads} reads, and 800 directories are held");
}

#[test]
fn an_unknown_branch_is_named_with_those_there_are() {
    let world = World::new();
    commit_on(&world.ana, "main", &[("a", noise(1, 500))]);
    let (bo, _) = world.clone_to("bo").unwrap();
    let options = PullOptions { branch: Some("mian".to_owned()), ..PullOptions::default() };
    match pull_from(&bo, &world.source("ana"), &options) {
        Err(Error::BranchNotFound { suggestions, .. }) => assert_eq!(suggestions, ["main"]),
        other => panic!("{other:?}"),
    }
}
