//! Promises of the feature list that need a whole repository to be shown.

mod place;

use std::sync::Arc;

use place::{Place, snapshot};
use shard_core::RepoPath;
use shard_core::object::reader::read_range;
use shard_core::progress::Silent;
use shard_core::repository::init::InitOptions;
use shard_core::repository::{Repository, Settings};
use shard_core::tree::walk;
use shard_core::worktree::{AddOptions, CommitOptions, StatusOptions};
use shard_storage::vfs::{Real, Trace, Vfs};

fn incompressible(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn all(message: &str) -> CommitOptions {
    CommitOptions { message: message.to_owned(), all: true, ..CommitOptions::default() }
}

fn with(settings: Settings) -> (tempfile::TempDir, Repository) {
    let dir = tempfile::tempdir().unwrap();
    let (repository, _) = Repository::init(Arc::new(Real), dir.path(), InitOptions::default(), settings).unwrap();
    (dir, repository)
}

#[test]
fn ten_thousand_files_fill_under_twenty_store_files() {
    let (dir, repository) = with(Settings::default());
    for number in 0..10_000 {
        let folder = dir.path().join(format!("d{}", number / 500));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(number.to_string()), format!("file {number} {}", "x".repeat(number % 300))).unwrap();
    }
    let report = repository.commit(&all("many"), &Silent).unwrap();
    assert_eq!(report.changes.added, 10_000);
    repository.tidy();
    let mut files = 0;
    let mut waiting = vec![dir.path().join(".shard/objects")];
    while let Some(at) = waiting.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() { waiting.push(entry.path()) } else { files += 1 }
        }
    }
    assert!(files < 20, "{files} files");
}

#[test]
fn five_bytes_inserted_into_128_mib_reuse_99_percent() {
    let (dir, repository) = with(Settings::default());
    let path = dir.path().join("big");
    let mut bytes = incompressible(1, 128 << 20);
    std::fs::write(&path, &bytes).unwrap();
    repository.commit(&all("one"), &Silent).unwrap();
    bytes.splice(40_000_000..40_000_000, *b"five!");
    std::fs::write(&path, &bytes).unwrap();
    let report = repository.commit(&all("two"), &Silent).unwrap();
    assert!(report.new_bytes * 100 <= bytes.len() as u64, "{} bytes stored anew", report.new_bytes);
}

#[test]
fn one_store_mixes_chunkers_and_codecs_and_gives_everything_back() {
    let dir = tempfile::tempdir().unwrap();
    let vfs: Arc<dyn Vfs> = Arc::new(Real);
    Repository::init(vfs.clone(), dir.path(), InitOptions::default(), Settings::default()).unwrap();
    let choices = [("zstd:3", "fastcdc"), ("zlib", "fixed:64KiB"), ("none", "fastcdc:16KiB"), ("zstd:1", "fixed:4KiB")];
    for (at, (compression, chunker)) in choices.into_iter().enumerate() {
        let settings = Settings {
            compression: compression.parse().unwrap(),
            chunker: chunker.parse().unwrap(),
            ..Settings::default()
        };
        let repository = Repository::open(vfs.clone(), dir.path(), settings).unwrap();
        std::fs::write(dir.path().join(format!("text{at}")), format!("line {at} of a text\n").repeat(20_000)).unwrap();
        std::fs::write(dir.path().join(format!("noise{at}")), incompressible(at as u64, 300_001)).unwrap();
        repository.commit(&all(compression), &Silent).unwrap();
    }
    let expected = snapshot(dir.path());
    let repository = Repository::open(vfs, dir.path(), Settings::default()).unwrap();
    for name in expected.keys() {
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
    repository.restore(&[RepoPath::root()], None, false, &Silent).unwrap();
    assert_eq!(snapshot(dir.path()), expected);
}

#[test]
fn what_does_not_compress_takes_one_percent_more_at_most() {
    let (dir, repository) = with(Settings::default());
    std::fs::write(dir.path().join("noise"), incompressible(9, 8 << 20)).unwrap();
    let report = repository.commit(&all("noise"), &Silent).unwrap();
    assert!(report.stored_bytes * 100 <= (8 << 20) * 101, "{} bytes stored", report.stored_bytes);
}

#[test]
fn a_kibibyte_of_a_large_file_reads_little_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let trace = Arc::new(Trace::default());
    let vfs: Arc<dyn Vfs> = trace.over(Arc::new(Real));
    let (repository, _) = Repository::init(vfs, dir.path(), InitOptions::default(), Settings::default()).unwrap();
    let bytes = incompressible(3, 96 << 20);
    std::fs::write(dir.path().join("big"), &bytes).unwrap();
    repository.commit(&all("big"), &Silent).unwrap();
    let state = repository.state().unwrap();
    let store = repository.store(&state).unwrap();
    let tree = shard_core::history::commit::read(&store, state.head_commit().unwrap()).unwrap().tree;
    let entry = walk::find(&store, tree, &RepoPath::parse("big").unwrap()).unwrap().unwrap();
    trace.clear();
    let mut found = Vec::new();
    read_range(&store, &entry.content, entry.size, 70_000_000, 1024, &mut |_, _, part| {
        found.extend_from_slice(part.unwrap());
        Ok(())
    })
    .unwrap();
    assert_eq!(found, bytes[70_000_000..70_001_024]);
    let read: u64 = trace
        .events()
        .iter()
        .filter(|event| event.operation == shard_storage::vfs::Operation::Read)
        .map(|event| event.length)
        .sum();
    assert!(read < 2 << 20, "{read} bytes read for one KiB");
}

#[test]
fn twenty_adds_at_once_stage_twenty_files() {
    let place = Place::new();
    for number in 0..20 {
        place.write(&format!("f{number:02}"), format!("content {number}"));
    }
    std::thread::scope(|scope| {
        for number in 0..20 {
            let root = place.dir.path();
            // Each its own handle, as each process would have.
            scope.spawn(move || {
                let repository = Repository::open(Arc::new(Real), root, Settings::default()).unwrap();
                let paths = [RepoPath::parse(&format!("f{number:02}")).unwrap()];
                repository.add(&paths, AddOptions::default(), &Silent).unwrap();
            });
        }
    });
    let status = place.repository.status(&StatusOptions::default(), &Silent).unwrap();
    assert_eq!((status.staged.len(), status.untracked.len()), (20, 0));
}

#[test]
fn two_repositories_write_at_once_and_one_serializes_its_writers() {
    let (one, two) = (Place::new(), Place::new());
    let held = one.repository.write_permit("test").unwrap();
    // Somebody holds the one: the other does not care.
    two.write("a", "a");
    two.commit_all();
    let impatient = Settings { queue_timeout: std::time::Duration::from_millis(50), ..Settings::default() };
    let waiting = Repository::open(Arc::new(Real), one.dir.path(), impatient).unwrap();
    let refused = waiting.write_permit("second");
    assert!(matches!(refused, Err(shard_core::Error::RepositoryBusy { .. })), "{refused:?}");
    // Readers stand in no queue.
    assert!(waiting.status(&StatusOptions::default(), &Silent).unwrap().is_clean());
    drop(held);
    waiting.write_permit("second").unwrap();
}
