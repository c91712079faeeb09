//! Integrity: what is stored can be proven whole, what is damaged is found and never served, and what can be derived is
//! derived again.

use std::path::PathBuf;
use std::sync::Arc;

use shard_core::history::commit::{self, Commit, Trust};
use shard_core::ids::CommitId;
use shard_core::object::ingest::{IngestJob, IngestOutcome, ingest};
use shard_core::object::{ObjectKind, ObjectSink, StagedObjects};
use shard_core::progress::Silent;
use shard_core::repository::init::InitOptions;
use shard_core::repository::{
    Fault, FsckLevel, FsckReport, Health, RebuildOptions, RebuildReport, Remedy, Repository, Settings, Transaction,
    VerifyReport, Views,
};
use shard_core::tree::Tree;
use shard_core::tree::editor::TreeEditor;
use shard_core::worktree::index::Index;
use shard_core::{Error, RepoPath};
use shard_crypto::SecretKey;
use shard_storage::backend::{BackendKind, Table};
use shard_storage::vfs::Real;

struct Fixture {
    place: tempfile::TempDir,
    repository: Repository,
}

fn settings() -> Settings {
    Settings { threads: 2, ..Settings::default() }
}

fn fixture() -> Fixture {
    fixture_with(settings())
}

fn fixture_with(settings: Settings) -> Fixture {
    let place = tempfile::tempdir().unwrap();
    let (repository, _) = Repository::init(Arc::new(Real), place.path(), InitOptions::default(), settings).unwrap();
    let fixture = Fixture { place, repository };
    // What the first commit is an edit of.
    fixture.store(|sink| Tree::default().write(sink).unwrap(), |_| ());
    fixture
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

impl Fixture {
    fn shard(&self) -> PathBuf {
        self.place.path().join(".shard")
    }

    fn reopen_with(&mut self, settings: Settings) {
        self.repository = Repository::open(Arc::new(Real), self.place.path(), settings).unwrap();
    }

    /// Commits these files on top of the branch's last commit.
    fn commit(&self, files: &[(&str, &[u8])]) -> CommitId {
        self.commit_by(&self.repository.key().unwrap(), files)
    }

    fn commit_by(&self, key: &SecretKey, files: &[(&str, &[u8])]) -> CommitId {
        let repository = &self.repository;
        let mut jobs = Vec::new();
        for (path, bytes) in files {
            let file = self.place.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, bytes).unwrap();
            let path = RepoPath::parse(path).unwrap();
            jobs.push(IngestJob { path, size: bytes.len() as u64, recorded: None });
        }
        let state = repository.state().unwrap();
        let store = repository.store(&state).unwrap();
        let staging = repository.staging(&store);
        let outcomes =
            ingest(&repository.layout().worktree, &jobs, repository.ingest_options(), &staging, &Silent).unwrap();
        let mut editor = TreeEditor::new();
        for (job, outcome) in jobs.iter().zip(outcomes) {
            let IngestOutcome::Stored(node, _) = outcome else { panic!("{} was not stored", job.path) };
            editor.set(&job.path, node);
        }
        let mut writer = staging.writer();
        let parent = state.head_commit().map(|id| (id, commit::read(&store, id).unwrap()));
        let base = parent.as_ref().map_or(Tree::empty_id(), |(_, commit)| commit.tree);
        let tree = editor.apply(&store, base, &mut writer).unwrap();
        let body = Commit {
            repository: repository.id(),
            tree,
            parents: parent.iter().map(|(id, _)| *id).collect(),
            actor: key.actor(),
            access_heads: Vec::new(),
            depth: parent.as_ref().map_or(1, |(_, commit)| commit.depth + 1),
            time_ms: 1_700_000_000_000,
            zone_minutes: 60,
            author: "ana".to_owned(),
            message: format!("{} files", files.len()),
            extensions: None,
            event_head: None,
            unknown: Vec::new(),
        };
        let id = CommitId(writer.put(ObjectKind::Commit, &commit::sign(body, key)).unwrap());
        writer.finish().unwrap();
        let staged = staging.finish().unwrap();
        self.register(staged, |transaction| {
            transaction.set_head_commit(id);
            transaction.set_index(Index { base: Some(id), tree, pending: None });
        });
        id
    }

    fn register(&self, staged: StagedObjects, change: impl FnOnce(&mut Transaction<'_>)) {
        let permit = self.repository.write_permit("test").unwrap();
        let mut transaction = self.repository.transaction(&permit).unwrap();
        transaction.add_objects(staged);
        change(&mut transaction);
        transaction.commit().unwrap();
        drop(permit);
        self.repository.tidy();
    }

    /// Stores objects and moves refs.
    fn store<T>(&self, put: impl FnOnce(&mut dyn ObjectSink) -> T, change: impl FnOnce(&mut Transaction<'_>)) -> T {
        let state = self.repository.state().unwrap();
        let store = self.repository.store(&state).unwrap();
        let staging = self.repository.staging(&store);
        let mut writer = staging.writer();
        let put = put(&mut writer);
        writer.finish().unwrap();
        self.register(staging.finish().unwrap(), change);
        put
    }

    fn verify(&self) -> VerifyReport {
        let state = self.repository.state().unwrap();
        let store = self.repository.store(&state).unwrap();
        self.repository.verify(&store, &self.repository.tips(&state), &Silent).unwrap()
    }

    fn views(&self) -> Views {
        let state = self.repository.state().unwrap();
        let store = self.repository.store(&state).unwrap();
        self.repository.views(&state, &store).unwrap()
    }
}

const VIEW_TABLES: [Table; 3] = [Table::Commit, Table::CommitOrder, Table::Ref];

fn contents(views: &Views) -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
    VIEW_TABLES.map(|table| views.rows(table).unwrap()).to_vec()
}

const PERSISTENT: [BackendKind; 3] = [BackendKind::Sqlite, BackendKind::Sled, BackendKind::Flat];

#[test]
fn verify_counts_what_commits_reach_once() {
    let fixture = fixture();
    let large = noise(1, 3 << 20);
    let first = fixture.commit(&[("a.bin", &noise(2, 50_000)), ("dir/large", &large), ("dir/small", b"small")]);
    let again = fixture.commit(&[("copy", &large), ("a.bin", &noise(3, 50_000))]);
    let report = fixture.verify();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.commits, report.untrusted), (2, 0));
    assert_eq!(report.trust, [(again, Trust::Good)]);
    let once = 3 << 20 | 100_000;
    assert!(report.bytes > once && report.bytes < once + 50_000, "{} bytes", report.bytes);
    let state = fixture.repository.state().unwrap();
    let store = fixture.repository.store(&state).unwrap();
    let of_first = fixture.repository.verify(&store, &[first], &Silent).unwrap();
    assert!(of_first.commits == 1 && of_first.objects < report.objects);
}

#[test]
fn verify_names_the_path_a_damaged_or_absent_object_belongs_to() {
    let fixture = fixture();
    fixture.commit(&[("dir/a.bin", &noise(1, 300_000)), ("b.bin", &noise(2, 300_000))]);
    // Some byte of the content of one of them, in the middle of the data pack.
    let pack = fixture.shard().join("objects/data/0000/00000000.pack");
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 4;
    bytes[middle] ^= 1;
    std::fs::write(&pack, &bytes).unwrap();
    let report = fixture.verify();
    // What shares a frame with the byte is lost, and nothing else.
    assert!((1..16).contains(&report.failed), "{report:?}");
    assert!(["dir/a.bin", "b.bin"].contains(&report.failures[0].path.as_deref().unwrap()));
    std::fs::write(&pack, &bytes[..100]).unwrap();
    let report = fixture.verify();
    let mut paths: Vec<_> = report.failures.iter().filter_map(|failure| failure.path.as_deref()).collect();
    paths.dedup();
    assert_eq!(paths, ["b.bin", "dir/a.bin"]);
    assert!(report.failures.iter().all(|failure| failure.fault == Fault::Absent), "{report:?}");
}

#[test]
fn commits_of_strangers_are_counted_and_forged_ones_fail() {
    let fixture = fixture();
    fixture.commit(&[("a", b"1")]);
    let stranger = SecretKey::generate().unwrap();
    let foreign = fixture.commit_by(&stranger, &[("a", b"2")]);
    let report = fixture.verify();
    assert!(report.is_sound(), "a well-signed commit of somebody else is no damage: {report:?}");
    assert_eq!(report.untrusted, 1);
    assert_eq!(report.trust, [(foreign, Trust::NotAllowed)]);
    // Signed by one key in the name of another.
    let state = fixture.repository.state().unwrap();
    let store = fixture.repository.store(&state).unwrap();
    let mut body = commit::read(&store, foreign).unwrap();
    body.actor = fixture.repository.actor();
    let forged =
        fixture.store(|sink| CommitId(sink.put(ObjectKind::Commit, &commit::sign(body, &stranger)).unwrap()), |_| ());
    let state = fixture.repository.state().unwrap();
    let store = fixture.repository.store(&state).unwrap();
    let report = fixture.repository.verify(&store, &[forged], &Silent).unwrap();
    assert_eq!((report.failed, report.failures[0].fault), (1, Fault::Signature));
    assert_eq!(report.trust, [(forged, Trust::BadSignature)]);
}

#[test]
fn a_commit_whose_depth_or_tree_does_not_fit_fails() {
    let fixture = fixture();
    let first = fixture.commit(&[("a", &noise(1, 1000))]);
    let state = fixture.repository.state().unwrap();
    let store = fixture.repository.store(&state).unwrap();
    let key = fixture.repository.key().unwrap();
    let mut deep = commit::read(&store, first).unwrap();
    (deep.parents, deep.depth) = (vec![first], 7);
    let mut treeless = commit::read(&store, first).unwrap();
    treeless.tree = shard_core::ids::TreeId::from_bytes([7; 32]);
    let (deep, treeless) = fixture.store(
        |sink| {
            let mut put = |commit| CommitId(sink.put(ObjectKind::Commit, &commit::sign(commit, &key)).unwrap());
            (put(deep), put(treeless))
        },
        |_| (),
    );
    let state = fixture.repository.state().unwrap();
    let store = fixture.repository.store(&state).unwrap();
    let report = fixture.repository.verify(&store, &[deep, treeless], &Silent).unwrap();
    let faults: Vec<_> = report.failures.iter().map(|failure| (failure.id, failure.fault)).collect();
    assert_eq!(report.failed, 2, "{report:?}");
    assert!(faults.contains(&(deep.0, Fault::Invalid)), "{faults:?}");
    assert!(faults.contains(&(shard_core::ids::ObjectId([7; 32]), Fault::Absent)), "{faults:?}");
}

#[test]
fn the_beginning_of_an_id_finds_commits_on_every_backend() {
    for backend in BackendKind::ALL {
        let mut fixture = fixture_with(Settings { backend, ..settings() });
        let ids: Vec<_> = (0..20u64).map(|n| fixture.commit(&[("a", &n.to_le_bytes())])).collect();
        for round in 0..2 {
            for id in &ids {
                let text = id.to_string();
                let found = fixture.views().find_prefix(&text[..12]).unwrap();
                assert_eq!(found, [*id], "{backend}, round {round}");
                assert_eq!(fixture.views().find_prefix(&text).unwrap(), [*id]);
            }
            let all: usize = (0..16).map(|n| fixture.views().find_prefix(&format!("{n:x}")).unwrap().len()).sum();
            assert_eq!(all, ids.len());
            assert!(fixture.views().find_prefix("xyz").unwrap().is_empty());
            fixture.reopen_with(Settings { backend, ..settings() });
        }
    }
}

#[test]
fn a_view_caught_up_step_by_step_equals_one_made_at_once() {
    for backend in PERSISTENT {
        let mut fixture = fixture_with(Settings { backend, ..settings() });
        for n in 0..12u64 {
            let id = fixture.commit(&[("a", &n.to_le_bytes())]);
            match n % 4 {
                0 => fixture.store(|_| (), |transaction| transaction.set_tag(&format!("v{n}"), Some(id))),
                1 => fixture.store(|_| (), |transaction| transaction.set_tag(&format!("v{}", n - 1), None)),
                2 => {
                    // What is reset away is still found by its id.
                    let parent = fixture.views().commit(id).unwrap().unwrap().parents[0];
                    fixture.store(|_| (), |transaction| transaction.set_head_commit(parent));
                }
                _ => drop(fixture.views()),
            }
        }
        let stepwise = contents(&fixture.views());
        assert!(fixture.views().is_kept());
        assert_eq!(stepwise[0].len(), 12);
        fixture.reopen_with(Settings { backend, ..settings() });
        assert_eq!(contents(&fixture.views()), stepwise, "{backend}");
        fixture.reopen_with(Settings { backend: BackendKind::Memory, ..settings() });
        std::fs::remove_dir_all(fixture.shard().join("views")).unwrap();
        fixture.reopen_with(Settings { backend, ..settings() });
        assert_eq!(contents(&fixture.views()), stepwise, "{backend}: deleted");
    }
}

#[test]
fn a_damaged_view_is_made_again() {
    for (backend, file) in [(BackendKind::Sqlite, "sqlite.db"), (BackendKind::Flat, "flat.log")] {
        let mut fixture = fixture_with(Settings { backend, ..settings() });
        let id = fixture.commit(&[("a", b"1")]);
        let before = contents(&fixture.views());
        drop(std::mem::replace(&mut fixture.repository, fixture_with(settings()).repository));
        let file = fixture.shard().join("views").join(file);
        std::fs::write(&file, noise(7, 20_000)).unwrap();
        let _ = std::fs::remove_file(fixture.shard().join("views/sqlite.db-wal"));
        fixture.reopen_with(Settings { backend, ..settings() });
        let views = fixture.views();
        assert!(views.is_kept(), "{backend}");
        assert_eq!(contents(&views), before, "{backend}");
        assert_eq!(views.find_prefix(&id.to_string()[..8]).unwrap(), [id]);
        let left: Vec<_> = std::fs::read_dir(fixture.shard().join("tmp")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_view_cut_or_flipped_anywhere_never_answers_wrongly() {
    for (backend, files) in [
        (BackendKind::Sqlite, &["views/sqlite.db", "views/sqlite.db-wal"][..]),
        (BackendKind::Flat, &["views/flat.log"]),
    ] {
        let settings = || Settings { backend, ..settings() };
        let mut fixture = fixture_with(settings());
        let ids: Vec<_> = (0..40u64).map(|n| fixture.commit(&[("a", &n.to_le_bytes())])).collect();
        drop(fixture.views());
        drop(std::mem::replace(&mut fixture.repository, fixture_with(settings()).repository));
        let pristine: Vec<_> = files.iter().map(|file| std::fs::read(fixture.shard().join(file)).unwrap()).collect();
        for (file, bytes) in files.iter().zip(&pristine) {
            for number in 0..13 {
                let _ = std::fs::remove_dir_all(fixture.shard().join("views"));
                std::fs::create_dir(fixture.shard().join("views")).unwrap();
                for (file, bytes) in files.iter().zip(&pristine) {
                    std::fs::write(fixture.shard().join(file), bytes).unwrap();
                }
                let at = (bytes.len() - 1) * number / 12;
                let mut damaged = bytes.clone();
                match number % 3 {
                    0 => damaged.truncate(at),
                    1 => damaged[at] ^= 0x40,
                    _ => damaged[at..].iter_mut().take(64).for_each(|byte| *byte = 0),
                }
                std::fs::write(fixture.shard().join(file), &damaged).unwrap();
                fixture.reopen_with(settings());
                let state = fixture.repository.state().unwrap();
                let store = fixture.repository.store(&state).unwrap();
                for id in &ids {
                    let found = fixture.repository.find_prefix(&state, &store, &id.to_string()[..16]).unwrap();
                    assert_eq!(found, [*id], "{file}, change {number} at {at}");
                }
                // Writing goes on as if nothing had happened.
                std::fs::write(fixture.shard().join("applied"), b"").unwrap();
                fixture.store(|_| (), |transaction| transaction.set_tag("t", Some(ids[number])));
            }
        }
    }
}

#[test]
fn a_view_that_another_process_holds_or_that_cannot_be_written_is_done_without() {
    let fixture = fixture_with(Settings { backend: BackendKind::Sled, ..settings() });
    let id = fixture.commit(&[("a", b"1")]);
    let held = fixture.views();
    let other =
        Repository::open(Arc::new(Real), fixture.place.path(), Settings { backend: BackendKind::Sled, ..settings() });
    let other = other.unwrap();
    let state = other.state().unwrap();
    let views = other.views(&state, &other.store(&state).unwrap()).unwrap();
    assert!(!views.is_kept() && held.is_kept());
    assert_eq!(views.find_prefix(&id.to_string()[..6]).unwrap(), [id]);
    assert_eq!(contents(&views), contents(&held));
}

#[test]
fn a_view_that_saw_what_the_log_lost_is_damage_of_the_log() {
    for backend in PERSISTENT {
        let mut fixture = fixture_with(Settings { backend, ..settings() });
        fixture.commit(&[("a", b"1")]);
        let wal = std::fs::read(fixture.shard().join("wal.log")).unwrap();
        let id = fixture.commit(&[("a", b"2")]);
        assert_eq!(fixture.views().find_prefix(&id.to_string()).unwrap(), [id]);
        drop(std::mem::replace(&mut fixture.repository, fixture_with(settings()).repository));
        // A disk that lied about its syncs loses the last record, and whatever told of it.
        std::fs::write(fixture.shard().join("wal.log"), &wal).unwrap();
        std::fs::write(fixture.shard().join("applied"), b"").unwrap();
        fixture.reopen_with(Settings { backend, ..settings() });
        let permit = fixture.repository.write_permit("test").unwrap();
        let error = fixture.repository.transaction(&permit).unwrap_err();
        assert!(matches!(error, shard_core::Error::LogDamaged { .. }), "{backend}: {error}");
        drop(permit);
        assert_eq!(std::fs::read(fixture.shard().join("wal.log")).unwrap(), wal, "nothing is repaired by guessing");
    }
}

#[test]
fn counters_of_all_commands_add_up() {
    for backend in PERSISTENT {
        let mut fixture = fixture_with(Settings { backend, ..settings() });
        drop(fixture.views());
        fixture.repository.record_counters();
        let before = fixture.repository.counters()["transactions"];
        for n in 0..20u64 {
            fixture.commit(&[("a", &n.to_le_bytes())]);
            fixture.repository.record_counters();
        }
        fixture.reopen_with(Settings { backend, ..settings() });
        // Other tests of this process count too.
        assert!(fixture.repository.counters()["transactions"] >= before + 20, "{backend}");
    }
}

/// A repository with something of everything: sealed and open packs, a run or two of history, tags.
fn varied() -> Fixture {
    varied_with(LARGE)
}

const LARGE: usize = 5_000_000;

fn varied_with(large: usize) -> Fixture {
    let fixture = fixture();
    let first =
        fixture.commit(&[("a.bin", &noise(1, 9_000)), ("dir/b.txt", "text ".repeat(900).as_bytes()), ("c", b"c")]);
    fixture.store(|_| (), |transaction| transaction.set_tag("v1", Some(first)));
    fixture.commit(&[("dir/sub/d.bin", &noise(2, large)), ("e", &noise(3, 300))]);
    fixture.commit(&[("a.bin", &noise(4, 9_000))]);
    fixture
}

fn fsck(repository: &Repository, level: FsckLevel) -> FsckReport {
    repository.fsck(level, &Silent).unwrap()
}

#[test]
fn a_whole_repository_has_no_problems_at_any_level() {
    let fixture = varied();
    for level in [FsckLevel::Quick, FsckLevel::Default, FsckLevel::Full] {
        let report = fsck(&fixture.repository, level);
        assert!(report.is_sound(), "{report:#?}");
        assert!(report.notes.is_empty(), "{report:#?}");
        assert!(report.packs >= 4 && report.objects > 100, "{report:?}");
        assert_eq!(report.commits, if level == FsckLevel::Full { 3 } else { 0 });
    }
}

#[test]
fn what_two_processes_stored_at_the_same_time_is_no_problem() {
    let mut options = settings();
    options.trial.seal_open_pack = 1;
    let fixture = fixture_with(options);
    let state = fixture.repository.state().unwrap();
    let store = fixture.repository.store(&state).unwrap();
    // Neither knows of the other's.
    let staged = [(); 2].map(|()| {
        let staging = fixture.repository.staging(&store);
        let mut writer = staging.writer();
        writer.put(ObjectKind::Chunk, b"the same").unwrap();
        writer.finish().unwrap();
        staging.finish().unwrap()
    });
    for objects in staged {
        let permit = fixture.repository.write_permit("test").unwrap();
        let mut transaction = fixture.repository.transaction(&permit).unwrap();
        transaction.add_objects(objects);
        transaction.commit().unwrap();
    }
    fixture.repository.tidy();
    for level in [FsckLevel::Quick, FsckLevel::Default, FsckLevel::Full] {
        let report = fsck(&fixture.repository, level);
        assert!(report.is_sound() && report.notes.is_empty(), "{report:#?}");
    }
    rebuild(&fixture.repository, RebuildOptions { from_frames: true, ..RebuildOptions::default() });
    assert!(fsck(&fixture.repository, FsckLevel::Full).is_sound());
}

/// Every file that holds truth, with how densely its bytes are flipped.
fn files_of_truth(shard: &std::path::Path) -> Vec<PathBuf> {
    fn list(dir: &std::path::Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { list(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    for name in ["HEAD", "index", "genesis", "wal.log", "operations.log", "keys/public.key"] {
        found.push(shard.join(name));
    }
    list(&shard.join("objects"), &mut found);
    list(&shard.join("refs"), &mut found);
    found.sort();
    found
}

#[test]
fn every_flipped_byte_is_found_and_none_is_served() {
    // With a pack of its own for the large file, sampled more thinly, and with shared packs alone.
    flip_bytes(LARGE, |name| name.ends_with("0002.pack") || name.ends_with("0003.pack"), 30);
    flip_bytes(20_000, |_| true, 150);
}

fn flip_bytes(large: usize, chosen: impl Fn(&str) -> bool, samples: usize) {
    let fixture = varied_with(large);
    let state = fixture.repository.state().unwrap();
    let store = fixture.repository.store(&state).unwrap();
    let pristine = fsck(&fixture.repository, FsckLevel::Full);
    assert!(pristine.is_sound());
    drop((state, store));
    let shard = fixture.shard();
    let mut tried = 0;
    for file in files_of_truth(&shard) {
        let bytes = std::fs::read(&file).unwrap();
        let name = file.strip_prefix(&shard).unwrap().display().to_string();
        if !chosen(&name) {
            continue;
        }
        // Small files byte by byte; of large ones the ends, where formats live, and a sample of the rest.
        let step = (bytes.len() / samples).max(1);
        let dense = |at: usize| bytes.len() <= 400 || at < 80 || at + 80 > bytes.len() || at.is_multiple_of(step);
        for at in (0..bytes.len()).filter(|at| dense(*at)) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            std::fs::write(&file, &flipped).unwrap();
            tried += 1;
            let Ok(repository) = Repository::open(Arc::new(Real), fixture.place.path(), settings()) else { continue };
            let report = fsck(&repository, FsckLevel::Full);
            assert!(!report.is_sound(), "byte {at} of {name}: nothing was found, notes {:?}", report.notes);
            if name.ends_with(".pack") && at % 5 == 0 {
                assert_serves_only_what_ids_say(&repository, large);
            }
        }
        std::fs::write(&file, &bytes).unwrap();
    }
    assert!(tried > 200, "{tried}");
    assert!(fsck(&fixture.repository, FsckLevel::Full).is_sound(), "put back, all is well");
}

/// Whatever can be read hashes to what it was asked for.
fn assert_serves_only_what_ids_say(repository: &Repository, large: usize) {
    let Ok(state) = repository.state() else { return };
    let Ok(store) = repository.store(&state) else { return };
    let mut reached = Vec::new();
    let Some(head) = state.head_commit() else { return };
    let Ok(head) = commit::read(&store, head) else { return };
    let _ = shard_core::tree::walk::visit(&store, head.tree, None, &mut |path, entry| {
        reached.push((path, entry.clone()));
        Ok(())
    });
    for (path, entry) in reached.into_iter().filter(|(_, entry)| entry.kind.is_file()) {
        let Ok(bytes) = shard_core::object::reader::read_all(&store, &entry.content, entry.size, 1 << 30) else {
            continue;
        };
        let expected = match path.as_str() {
            "a.bin" => noise(4, 9_000),
            "dir/b.txt" => "text ".repeat(900).into_bytes(),
            "c" => b"c".to_vec(),
            "dir/sub/d.bin" => noise(2, large),
            "e" => noise(3, 300),
            other => panic!("{other}"),
        };
        assert!(bytes == expected, "{path} was served damaged");
    }
}

#[test]
fn damage_is_traced_to_commits_and_paths() {
    let fixture = varied();
    let pack = fixture.shard().join("objects/data/0000/00000002.pack");
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&pack, &bytes).unwrap();
    assert!(fsck(&fixture.repository, FsckLevel::Quick).is_sound(), "frames are not read at this level");
    let report = fsck(&fixture.repository, FsckLevel::Default);
    assert_eq!(report.found, 1, "{report:?}");
    let problem = &report.problems[0];
    assert_eq!(problem.file.as_deref(), Some("objects/data/0000/00000002.pack"));
    assert!(problem.offset.is_some_and(|offset| offset <= middle as u64 && offset + 1_200_000 > middle as u64));
    let report = fsck(&fixture.repository, FsckLevel::Full);
    let needs: Vec<_> = report.affected.iter().map(|affected| affected.path.as_deref()).collect();
    assert_eq!(needs, [Some("dir/sub/d.bin"); 2], "the second and the third commit have it: {report:?}");
    let of_file = report.problems.iter().filter(|problem| problem.path.as_deref() == Some("dir/sub/d.bin")).count();
    assert!(of_file > 0, "{report:?}");
}

#[test]
fn leftovers_are_notes() {
    let fixture = varied();
    let shard = fixture.shard();
    let pack = |number| shard.join(format!("objects/data/0000/{number:08x}.pack"));
    std::fs::copy(pack(2), pack(200)).unwrap();
    std::fs::write(pack(202), b"SHRDPACK and no more").unwrap();
    std::fs::write(shard.join("tmp/.shard-tmp-1"), b"half").unwrap();
    // What follows the registered end of an open pack, and a record that was never completed.
    let append = |file: &str, bytes: &[u8]| {
        let file = shard.join(file);
        let mut held = std::fs::read(&file).unwrap();
        held.extend_from_slice(bytes);
        std::fs::write(file, held).unwrap();
    };
    append("objects/meta/0000/00000001.pack", b"\xf5SF\x01 torn");
    append("wal.log", b"\xa5REC torn");
    let report = fsck(&fixture.repository, FsckLevel::Full);
    assert!(report.is_sound(), "{report:#?}");
    assert_eq!(report.notes.len(), 4, "{:#?}", report.notes);
}

/// What people see of a repository: its history, its refs, every file's bytes.
fn visible(repository: &Repository) -> Vec<(String, Vec<u8>)> {
    let state = repository.state().unwrap();
    let store = repository.store(&state).unwrap();
    let mut seen = vec![("HEAD".to_owned(), state.head.to_string().into_bytes())];
    seen.extend(state.heads.iter().chain(&state.tags).map(|(name, id)| (name.clone(), id.as_bytes().to_vec())));
    let mut next = state.head_commit();
    while let Some(id) = next {
        let body = commit::read(&store, id).unwrap();
        shard_core::tree::walk::visit(&store, body.tree, None, &mut |path, entry| {
            if entry.kind.is_file() {
                let bytes = shard_core::object::reader::read_all(&store, &entry.content, entry.size, 1 << 30)?;
                seen.push((format!("{id}:{path}"), bytes));
            }
            Ok(())
        })
        .unwrap();
        next = body.parents.first().copied();
    }
    seen
}

fn rebuild(repository: &Repository, options: RebuildOptions) -> RebuildReport {
    repository.rebuild(options, &Silent).unwrap()
}

#[test]
fn what_can_be_derived_is_made_again_on_every_backend() {
    for backend in PERSISTENT {
        let settings = || Settings { backend, ..settings() };
        let mut fixture = fixture_with(settings());
        for n in 0..3u64 {
            let id = fixture.commit(&[("a.bin", &noise(n, 4_500_000)), ("b", &n.to_le_bytes())]);
            fixture.store(|_| (), |transaction| transaction.set_tag(&format!("v{n}"), Some(id)));
        }
        let (before, views) = (visible(&fixture.repository), contents(&fixture.views()));
        drop(std::mem::replace(&mut fixture.repository, fixture_with(self::settings()).repository));
        let shard = fixture.shard();
        std::fs::remove_dir_all(shard.join("views")).unwrap();
        std::fs::remove_dir_all(shard.join("objects/index")).unwrap();
        std::fs::remove_file(shard.join("objects/catalog.log")).unwrap();
        let _ = std::fs::remove_file(shard.join("stat-cache"));
        fixture.reopen_with(settings());
        assert!(fixture.repository.state().and_then(|state| fixture.repository.store(&state)).is_err());
        let report = rebuild(&fixture.repository, RebuildOptions::default());
        assert!(report.left_out.is_empty() && report.salvaged.is_empty(), "{report:?}");
        assert!(report.packs >= 5 && report.objects > 300, "{report:?}");
        for _ in 0..2 {
            assert_eq!(visible(&fixture.repository), before, "{backend}");
            assert_eq!(contents(&fixture.views()), views, "{backend}");
            assert!(fixture.views().is_kept());
            let report = fsck(&fixture.repository, FsckLevel::Full);
            assert!(report.is_sound(), "{report:#?}");
            fixture.reopen_with(settings());
        }
        // And it goes on.
        fixture.commit(&[("c", b"more"), ("d.bin", &noise(9, 4_500_000))]);
        std::fs::write(shard.join("applied"), b"").unwrap();
        fixture.reopen_with(settings());
        fixture.commit(&[("c", b"even more")]);
        let report = fsck(&fixture.repository, FsckLevel::Full);
        assert!(report.is_sound(), "{report:#?}");
    }
}

#[test]
fn changing_the_backend_is_a_rebuild() {
    let mut fixture = fixture_with(Settings { backend: BackendKind::Sqlite, ..settings() });
    for n in 0..5u64 {
        fixture.commit(&[("a", &n.to_le_bytes())]);
    }
    let before = contents(&fixture.views());
    let names = |fixture: &Fixture| -> Vec<String> {
        let list = std::fs::read_dir(fixture.shard().join("views")).unwrap();
        list.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    for backend in [BackendKind::Sled, BackendKind::Flat, BackendKind::Memory, BackendKind::Sqlite] {
        fixture.reopen_with(Settings { backend, ..settings() });
        let report = rebuild(&fixture.repository, RebuildOptions { views: true, ..RebuildOptions::NOTHING });
        assert_eq!((report.backend, &report.views[..]), (backend, &["views"][..]));
        assert_eq!(contents(&fixture.views()), before, "{backend}");
        let left = names(&fixture);
        assert!(left.iter().all(|name| name.starts_with(backend.name())), "{backend}: {left:?}");
        assert_eq!(left.is_empty(), backend == BackendKind::Memory);
    }
}

#[test]
fn a_pack_without_a_footer_is_salvaged_from_its_frames() {
    let mut fixture = varied();
    let before = visible(&fixture.repository);
    let pack = fixture.shard().join("objects/data/0000/00000002.pack");
    let mut bytes = std::fs::read(&pack).unwrap();
    let length = bytes.len();
    bytes[length - 200] ^= 1;
    std::fs::write(&pack, &bytes).unwrap();
    fixture.reopen_with(settings());
    let report = rebuild(&fixture.repository, RebuildOptions::default());
    assert_eq!(report.left_out[0].file, "objects/data/0000/00000002.pack", "{report:?}");
    assert!(!fsck(&fixture.repository, FsckLevel::Quick).is_sound(), "it still counts, and is still damaged");
    let report = rebuild(&fixture.repository, RebuildOptions { from_frames: true, ..RebuildOptions::default() });
    assert_eq!(report.salvaged, ["objects/data/0000/00000002.pack"]);
    assert!(report.left_out.is_empty(), "{report:?}");
    let found = fsck(&fixture.repository, FsckLevel::Full);
    assert!(found.is_sound(), "{found:#?}");
    assert_eq!(visible(&fixture.repository), before);
    assert_eq!(std::fs::read(fixture.shard().join("quarantine/00000002.pack")).unwrap(), bytes);
}

#[test]
fn a_rebuild_accepts_what_the_log_lost_and_keeps_a_copy() {
    let mut fixture = fixture();
    fixture.commit(&[("a", b"1")]);
    let wal = std::fs::read(fixture.shard().join("wal.log")).unwrap();
    fixture.commit(&[("a", b"2")]);
    drop(fixture.views());
    std::fs::write(fixture.shard().join("wal.log"), &wal).unwrap();
    std::fs::write(fixture.shard().join("applied"), b"").unwrap();
    fixture.reopen_with(settings());
    assert!(!fsck(&fixture.repository, FsckLevel::Quick).is_sound());
    let report = rebuild(&fixture.repository, RebuildOptions::default());
    assert_eq!(report.notes.len(), 1, "{report:?}");
    assert_eq!(std::fs::read_dir(fixture.shard().join("quarantine")).unwrap().count(), 1);
    fixture.commit(&[("a", b"3")]);
}

#[test]
fn a_damaged_object_is_read_from_its_other_copy() {
    let mut fixture = varied();
    let before = visible(&fixture.repository);
    // The same pack once more, as a copy that was fetched would be.
    let packs = fixture.shard().join("objects/data/0000");
    let bytes = std::fs::read(packs.join("00000002.pack")).unwrap();
    std::fs::write(packs.join("00000064.pack"), &bytes).unwrap();
    rebuild(&fixture.repository, RebuildOptions::default());
    for pack in ["00000002.pack", "00000064.pack"] {
        let mut damaged = bytes.clone();
        damaged[bytes.len() / 2] ^= 1;
        std::fs::write(packs.join(pack), &damaged).unwrap();
        fixture.reopen_with(settings());
        assert_eq!(visible(&fixture.repository), before, "{pack}");
        assert!(fixture.verify().is_sound(), "{pack}");
        let report = fsck(&fixture.repository, FsckLevel::Full);
        assert_eq!(report.found, 1, "the pack is damaged, nothing is lost: {report:#?}");
        assert!(report.affected.is_empty(), "{report:#?}");
        std::fs::write(packs.join(pack), &bytes).unwrap();
    }
}

#[test]
fn runs_of_the_pack_index_are_checked_and_made_again() {
    let mut fixture = fixture();
    for n in 0..18u64 {
        fixture.commit(&[("a.bin", &noise(n, 4_300_000))]);
    }
    let shard = fixture.shard();
    let runs = || -> Vec<PathBuf> {
        std::fs::read_dir(shard.join("objects/index")).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let run = runs().pop().expect("that many packs are merged into a run");
    let bytes = std::fs::read(&run).unwrap();
    assert!(fsck(&fixture.repository, FsckLevel::Default).is_sound());
    for at in (0..bytes.len()).step_by(bytes.len() / 40).chain(0..20) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        std::fs::write(&run, &flipped).unwrap();
        fixture.reopen_with(settings());
        let report = fixture.repository.fsck(FsckLevel::Default, &Silent).unwrap();
        assert!(!report.is_sound(), "byte {at}");
        assert!(report.problems[0].file.as_deref().unwrap().starts_with("objects/index/"), "{report:?}");
        assert!(fixture.verify().is_sound(), "a lying index hides nothing for good: byte {at}");
    }
    let report = fixture.repository.doctor(true);
    assert!(report.checks.iter().any(|check| check.name == "index"), "{report:?}");
    rebuild(&fixture.repository, RebuildOptions { index: true, ..RebuildOptions::NOTHING });
    assert!(fsck(&fixture.repository, FsckLevel::Default).is_sound());
    assert_eq!(runs().len(), 1);
    assert_ne!(runs()[0], run, "made anew beside the old one");
}

#[test]
fn the_doctor_repairs_each_injected_fault() {
    type Break = fn(&std::path::Path);
    let faults: &[(&str, Break)] = &[
        ("layout", |shard| std::fs::remove_dir(shard.join("quarantine")).unwrap()),
        ("layout", |shard| std::fs::remove_file(shard.join("locks/gc.lock")).unwrap()),
        ("layout", |shard| std::fs::remove_file(shard.join("locks/leases/17")).unwrap()),
        ("keys", |shard| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(shard.join("keys/secret.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
        }),
        ("keys", |shard| std::fs::write(shard.join("keys/public.key"), b"not a key\n").unwrap()),
        ("ballast", |shard| std::fs::remove_file(shard.join("ballast")).unwrap()),
        ("refs", |shard| std::fs::write(shard.join("HEAD"), b"ref: refs/heads/mbin\n").unwrap()),
        ("refs", |shard| std::fs::write(shard.join("HEAD"), b"garbage").unwrap()),
        ("refs", |shard| std::fs::remove_file(shard.join("index")).unwrap()),
        ("refs", |shard| std::fs::write(shard.join("refs/heads/main"), [b'0'; 64]).unwrap()),
        ("refs", |shard| std::fs::remove_file(shard.join("refs/tags/v1")).unwrap()),
        ("refs", |shard| std::fs::copy(shard.join("refs/heads/main"), shard.join("refs/heads/x")).map(drop).unwrap()),
        ("log", |shard| std::fs::write(shard.join("applied"), b"").unwrap()),
        ("catalog", |shard| std::fs::remove_file(shard.join("objects/catalog.log")).unwrap()),
        ("catalog", |shard| std::fs::write(shard.join("objects/catalog.log"), noise(1, 500)).unwrap()),
        ("packs", |shard| {
            let packs = shard.join("objects/data/0000");
            let sealed = std::fs::read(packs.join("00000002.pack")).unwrap();
            // Complete; cut in the middle; with nothing in it; not even begun.
            std::fs::write(packs.join("00000064.pack"), &sealed).unwrap();
            std::fs::write(packs.join("00000066.pack"), &sealed[..sealed.len() / 2]).unwrap();
            std::fs::write(packs.join("00000068.pack"), &sealed[..64]).unwrap();
            std::fs::write(packs.join("0000006a.pack"), b"").unwrap();
        }),
        ("views", |shard| {
            std::fs::write(shard.join("views/sqlite.db"), noise(1, 9_000)).unwrap();
            let _ = std::fs::remove_file(shard.join("views/sqlite.db-wal"));
        }),
        ("temporaries", |shard| {
            std::fs::create_dir(shard.join("tmp/views-1")).unwrap();
            std::fs::write(shard.join("tmp/views-1/flat.log"), b"x").unwrap();
            for name in ["tmp/.shard-tmp-1", "tmp/views-1"] {
                let path = shard.join(name);
                if !path.exists() {
                    std::fs::write(&path, b"half").unwrap();
                }
                let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(30 * 24 * 3600);
                std::fs::File::open(&path).unwrap().set_modified(long_ago).unwrap();
            }
        }),
    ];
    for (number, (name, inject)) in faults.iter().enumerate() {
        // Only packs of commands that were cut short take a sealed one to copy.
        let mut fixture = varied_with(if *name == "packs" { LARGE } else { 20_000 });
        drop(fixture.views());
        let healthy = fixture.repository.doctor(false);
        assert!(healthy.checks.iter().all(|check| check.health == Health::Ok), "{healthy:#?}");
        let before = visible(&fixture.repository);
        drop(std::mem::replace(&mut fixture.repository, fixture_with(settings()).repository));
        inject(&fixture.shard());
        fixture.reopen_with(settings());
        let found = fixture.repository.doctor(false);
        let check = found.checks.iter().find(|check| check.name == *name).unwrap();
        assert!(check.health != Health::Ok && check.remedy == Some(Remedy::Fix), "{number} {name}: {found:#?}");
        let report = fixture.repository.doctor(true);
        let check = report.checks.iter().find(|check| check.name == *name).unwrap();
        assert!(check.fixed && check.health == Health::Ok, "{number} {name}: {report:#?}");
        fixture.reopen_with(settings());
        let again = fixture.repository.doctor(false);
        // What was set aside stays for people to look at.
        let well = |check: &&shard_core::repository::Check| check.health == Health::Ok || check.name == "quarantine";
        assert!(again.checks.iter().all(|check| well(&check)), "{number} {name}: {again:#?}");
        assert_eq!(visible(&fixture.repository), before, "{number} {name}");
        let report = fsck(&fixture.repository, FsckLevel::Full);
        assert!(report.is_sound(), "{number} {name}: {report:#?}");
    }
}

#[test]
fn a_repository_without_its_empty_directories_is_opened_and_completed() {
    let mut fixture = varied();
    let seen = visible(&fixture.repository);
    let shard = fixture.shard();
    for empty in ["tmp", "locks", "quarantine", "partial", "views"] {
        std::fs::remove_dir_all(shard.join(empty)).unwrap();
    }
    fixture.reopen_with(settings());
    assert_eq!(visible(&fixture.repository), seen);
    fixture.commit(&[("after", b"it is used as before")]);
    let before = fixture.repository.doctor(false);
    let layout = before.checks.iter().find(|check| check.name == "layout").unwrap();
    assert_eq!((layout.health, layout.remedy), (Health::Failed, Some(Remedy::Fix)), "{layout:?}");
    assert!(fixture.repository.doctor(true).is_healthy());
    assert_eq!(fsck(&fixture.repository, FsckLevel::Full).problems, []);
    // A directory that only bears the name is not filled.
    let other = tempfile::tempdir().unwrap();
    std::fs::create_dir(other.path().join(".shard")).unwrap();
    let opened = Repository::open(Arc::new(Real), other.path(), settings());
    assert!(matches!(opened, Err(Error::RepositoryNotFound { .. })));
    assert_eq!(std::fs::read_dir(other.path().join(".shard")).unwrap().count(), 0);
}

#[test]
fn stats_add_up() {
    let fixture = varied();
    let stats = fixture.repository.stats().unwrap();
    let full = fsck(&fixture.repository, FsckLevel::Full);
    assert_eq!(stats.objects, full.objects);
    assert_eq!(stats.classes.iter().map(|class| class.packs).sum::<u64>(), full.packs);
    assert_eq!(stats.kinds.iter().find(|kind| kind.kind == ObjectKind::Commit).unwrap().objects, 3);
    assert!(stats.logical_bytes > 5_000_000 && stats.stored_bytes > 5_000_000, "{stats:?}");
    assert!(stats.wal_bytes > 0 && stats.view_bytes > 0 && stats.free_bytes > 0);
    assert!(stats.counters["transactions"] > 0);
}

/// Commits small files without a worktree, so that any disk will do.
fn commit_inline(repository: &Repository, files: &[(&str, &[u8])]) -> CommitId {
    use shard_core::tree::editor::Node;
    use shard_core::tree::{Content, EntryType};
    let state = repository.state().unwrap();
    let store = repository.store(&state).unwrap();
    let staging = repository.staging(&store);
    let mut writer = staging.writer();
    let mut editor = TreeEditor::new();
    for (path, bytes) in files {
        let content = Content::Chunk(shard_core::ids::ChunkId(writer.put(ObjectKind::Chunk, bytes).unwrap()));
        let node = Node { kind: EntryType::File, size: bytes.len() as u64, content };
        editor.set(&RepoPath::parse(path).unwrap(), node);
    }
    let parent = state.head_commit().map(|id| (id, commit::read(&store, id).unwrap()));
    let base = parent.as_ref().map_or(Tree::empty_id(), |(_, commit)| commit.tree);
    let tree = editor.apply(&store, base, &mut writer).unwrap();
    let key = repository.key().unwrap();
    let body = Commit {
        repository: repository.id(),
        tree,
        parents: parent.iter().map(|(id, _)| *id).collect(),
        actor: key.actor(),
        access_heads: Vec::new(),
        depth: parent.as_ref().map_or(1, |(_, commit)| commit.depth + 1),
        time_ms: 1,
        zone_minutes: 0,
        author: String::new(),
        message: String::new(),
        extensions: None,
        event_head: None,
        unknown: Vec::new(),
    };
    let id = CommitId(writer.put(ObjectKind::Commit, &commit::sign(body, &key)).unwrap());
    writer.finish().unwrap();
    let staged = staging.finish().unwrap();
    let permit = repository.write_permit("test").unwrap();
    let mut transaction = repository.transaction(&permit).unwrap();
    transaction.add_objects(staged);
    transaction.set_head_commit(id);
    transaction.commit().unwrap();
    drop(permit);
    repository.tidy();
    id
}

#[test]
fn a_rebuild_cut_short_anywhere_can_be_done_again() {
    use shard_storage::vfs::{Crash, CrashMode, Dir, OpenOptions, Vfs};
    let settings = || Settings { threads: 1, backend: BackendKind::Flat, ..settings() };
    let root = std::path::Path::new("/");
    let open = |disk: &Crash| Repository::open(Arc::new(disk.clone()), root, settings()).unwrap();
    let disk = Crash::new();
    let (repository, _) = Repository::init(Arc::new(disk.clone()), root, InitOptions::default(), settings()).unwrap();
    // Some 4 MB, so that there are sealed packs beside the shared ones.
    let files: Vec<_> = (0..5).map(|part| (format!("f{part}"), noise(part, 900_000))).collect();
    let files: Vec<_> = files.iter().map(|(path, bytes)| (path.as_str(), &bytes[..])).collect();
    commit_inline(&repository, &files);
    for n in 0..3u64 {
        commit_inline(&repository, &[("small", &n.to_le_bytes())]);
    }
    let before = visible(&repository);
    drop(repository);
    // The footer of one pack is damaged, the catalog is gone.
    let shard = Dir::open_root(Arc::new(disk.clone()) as Arc<dyn Vfs>, root).unwrap().open_dir(".shard").unwrap();
    let pack = shard.open("objects/data/0000/00000002.pack", OpenOptions::WRITE).unwrap();
    pack.write_all_at(b"?", pack.size().unwrap() - 100).unwrap();
    shard.unlink("objects/catalog.log").unwrap();
    disk.settle();
    let options = RebuildOptions { from_frames: true, ..RebuildOptions::default() };
    let counted = disk.image(CrashMode::Kept, 0);
    let start = counted.operations();
    rebuild(&open(&counted), options);
    let operations = counted.operations() - start;
    assert!(operations > 40, "{operations}");
    let modes = [
        CrashMode::Kept,
        CrashMode::Lost,
        CrashMode::NamesLost,
        CrashMode::DataLost,
        CrashMode::Torn,
        CrashMode::Random,
    ];
    for n in 0..operations {
        // Every mode at every place would take minutes; each in turn does not.
        let mode = modes[n as usize % modes.len()];
        let running = disk.image(CrashMode::Kept, 0);
        let repository = open(&running);
        running.stop_at(running.operations() + n);
        let _ = repository.rebuild(options, &Silent);
        drop(repository);
        let left = running.image(mode, n);
        let repository = open(&left);
        let report = repository.rebuild(options, &Silent).unwrap();
        assert!(report.left_out.is_empty(), "{n} {mode:?}: {report:?}");
        drop(repository);
        let repository = open(&left);
        assert_eq!(visible(&repository), before, "{n} {mode:?}");
        let report = fsck(&repository, FsckLevel::Full);
        assert!(report.is_sound(), "{n} {mode:?}: {report:#?}");
    }
}
