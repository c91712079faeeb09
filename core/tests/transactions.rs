//! Transactions: what was acknowledged is there when the repository is opened again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shard_core::history::ref_name::RefName;
use shard_core::history::revision::Revision;
use shard_core::object::{ObjectKind, ObjectSink};
use shard_core::progress::Silent;
use shard_core::repository::init::InitOptions;
use shard_core::repository::{Repository, Settings};
use shard_core::worktree::{AddOptions, CommitOptions, StatusOptions};
use shard_core::{Error, RepoPath};
use shard_storage::backend::BackendKind;
use shard_storage::vfs::{Event, Operation, Real, Trace, Vfs};

fn repository() -> (tempfile::TempDir, Repository) {
    let place = tempfile::tempdir().unwrap();
    let vfs: Arc<dyn Vfs> = Arc::new(Real);
    let (repository, _) = Repository::init(vfs, place.path(), InitOptions::default(), Settings::default()).unwrap();
    (place, repository)
}

fn reopened(place: &tempfile::TempDir) -> Repository {
    Repository::open(Arc::new(Real), place.path(), Settings::default()).unwrap()
}

#[test]
fn objects_of_every_size_class_are_there_after_reopening() {
    for size in [100usize, 200 << 10, 6 << 20, 80 << 20] {
        let (place, repository) = repository();
        let state = repository.state().unwrap();
        let store = repository.store(&state).unwrap();
        let staging = repository.staging(&store);
        let mut writer = staging.writer();
        let mut payload = vec![0; size.min(100_000)];
        let mut ids = Vec::new();
        for number in 0..(size / payload.len()).max(1) as u64 {
            blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut payload);
            ids.push((writer.put(ObjectKind::Chunk, &payload).unwrap(), payload[..8].to_vec()));
        }
        writer.finish().unwrap();
        let staged = staging.finish().unwrap();
        let permit = repository.write_permit("test").unwrap();
        let mut transaction = repository.transaction(&permit).unwrap();
        transaction.add_objects(staged);
        let left = transaction.commit().unwrap();
        drop(permit);
        repository.tidy();
        let again = reopened(&place);
        let state = again.state().unwrap();
        assert!(state.sequence >= left.sequence);
        let store = again.store(&state).unwrap();
        for (id, head) in ids {
            assert_eq!(store.get(id, ObjectKind::Chunk).unwrap()[..8], head[..], "{size}");
        }
    }
}

#[test]
fn many_transactions_survive_checkpoints_and_lost_applied() {
    let (place, repository) = repository();
    for number in 0..600u64 {
        let state = repository.state().unwrap();
        let store = repository.store(&state).unwrap();
        let staging = repository.staging(&store);
        let mut writer = staging.writer();
        writer.put(ObjectKind::Chunk, &number.to_le_bytes()).unwrap();
        writer.finish().unwrap();
        let staged = staging.finish().unwrap();
        let permit = repository.write_permit("test").unwrap();
        let mut transaction = repository.transaction(&permit).unwrap();
        transaction.add_objects(staged);
        transaction.commit().unwrap();
        drop(permit);
        repository.tidy();
        if number % 97 == 0 {
            // As after a power loss: nothing says how far the log is applied.
            std::fs::write(place.path().join(".shard/applied"), b"").unwrap();
        }
    }
    let again = reopened(&place);
    let store = again.store(&again.state().unwrap()).unwrap();
    for number in 0..600u64 {
        let id = ObjectKind::Chunk.id(&number.to_le_bytes());
        assert_eq!(*store.get(id, ObjectKind::Chunk).unwrap(), number.to_le_bytes());
    }
}

/// What only waits for one record costs one flush of the log, whatever holds the views.
#[test]
fn small_operations_cost_one_sync() {
    for backend in [BackendKind::Sqlite, BackendKind::Flat, BackendKind::Sled, BackendKind::Memory] {
        let place = tempfile::tempdir().unwrap();
        let trace = Trace::default();
        let settings = Settings { backend, ..Settings::default() };
        let root = place.path();
        let (repository, _) =
            Repository::init(trace.over(Arc::new(Real)), root, InitOptions::default(), settings).unwrap();
        let syncs = |what: &str, operation: &dyn Fn() -> Result<(), Error>| {
            trace.clear();
            operation().unwrap();
            repository.tidy();
            let log = |event: &Event| event.operation == Operation::SyncData && event.path.ends_with("wal.log");
            assert_eq!((trace.syncs(), trace.count_where(log)), (1, 1), "{what} on {backend:?}");
        };
        let write = |name: &str, text: &str| std::fs::write(root.join(name), text).unwrap();
        let commit = |all| {
            let options = CommitOptions { message: "some".to_owned(), all, ..CommitOptions::default() };
            repository.commit(&options, &Silent).map(drop)
        };
        write("a", "first");
        syncs("the first commit", &|| commit(true));
        write("a", "second");
        write("b", "new");
        syncs("add", &|| repository.add(&[RepoPath::root()], AddOptions::default(), &Silent).map(drop));
        syncs("commit", &|| commit(false));
        let head = Revision::head();
        syncs("branch", &|| repository.create_branch(&RefName::branch("topic").unwrap(), &head).map(drop));
        syncs("tag", &|| repository.create_tag(&RefName::tag("v1").unwrap(), &head, false).map(drop));
        syncs("branch rm", &|| repository.delete_branch("topic").map(drop));
    }
}

/// Four readers read as fast as they can while a writer writes: it never waits for them, and they see whole transactions.
#[test]
fn readers_that_never_pause_delay_no_writer() {
    const COMMITS: u64 = 300;
    let (place, repository) = repository();
    let done = AtomicBool::new(false);
    let head = Revision::head();
    let options = CommitOptions { message: "first".to_owned(), all: true, ..CommitOptions::default() };
    std::fs::write(place.path().join("a"), "content").unwrap();
    repository.commit(&options, &Silent).unwrap();
    let reads: Vec<u64> = std::thread::scope(|scope| {
        let reader = || {
            // A handle of its own, as another process has.
            let repository = reopened(&place);
            let (mut reads, mut last) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                let state = repository.state().unwrap();
                assert!(state.sequence >= last, "what was seen stays seen");
                last = state.sequence;
                // One gives way to two and they to it, each time in one transaction.
                let names: Vec<&str> = state.heads.keys().map(String::as_str).filter(|name| *name != "main").collect();
                assert!(matches!(names[..], [] | ["pair"] | ["pair/one", "pair/two"]), "half of it: {names:?}");
                let store = repository.store(&state).unwrap();
                shard_core::history::commit::read(&store, state.head_commit().unwrap()).unwrap();
                reads += 1;
            }
            reads
        };
        let readers: Vec<_> = (0..4).map(|_| scope.spawn(reader)).collect();
        let commit = repository
            .history(&repository.state().unwrap(), &repository.store(&repository.state().unwrap()).unwrap())
            .resolve(&head)
            .unwrap();
        for number in 0..COMMITS {
            let permit = repository.write_permit("test").unwrap();
            let mut transaction = repository.transaction(&permit).unwrap();
            let present = number % 2 == 0;
            for (name, present) in [("pair/one", present), ("pair/two", present), ("pair", !present)] {
                transaction.set_branch(name, present.then_some(commit));
            }
            transaction.commit().unwrap();
            drop(permit);
            repository.tidy();
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    eprintln!("{COMMITS} transactions beside {reads:?} reads");
    assert!(reads.iter().all(|reads| *reads > 0), "{reads:?}");
    // While somebody writes for long, a reader asks for no lock at all.
    let trace = Trace::default();
    let reader = Repository::open(trace.over(Arc::new(Real)), place.path(), Settings::default()).unwrap();
    let _permit = repository.write_permit("test").unwrap();
    trace.clear();
    let state = reader.state().unwrap();
    reader.store(&state).unwrap();
    reader.status(&StatusOptions::default(), &Silent).unwrap();
    let waits = |event: &Event| event.operation == Operation::Lock && !event.path.ends_with("worktree.lock");
    assert_eq!(trace.count_where(waits), 0, "{:?}", trace.events().iter().filter(|e| waits(e)).collect::<Vec<_>>());
}

/// A record that no reader takes would end the log, and with it what was acknowledged.
#[test]
fn what_does_not_fit_a_record_is_refused_and_nothing_is_lost() {
    let (place, repository) = repository();
    std::fs::write(place.path().join("a"), "content").unwrap();
    let options = CommitOptions { message: "first".to_owned(), all: true, ..CommitOptions::default() };
    repository.commit(&options, &Silent).unwrap();
    let head = repository.state().unwrap().head_commit().unwrap();
    let tags = |count: usize| {
        let tags: Vec<_> = (0..count).map(|number| format!("\"{number:05}-{:t<84}\":\"{head}\"", "")).collect();
        format!("{{{}}}", tags.join(","))
    };
    let before = repository.state().unwrap();
    let imported = repository.import_tags(tags(4000).as_bytes(), false);
    assert!(matches!(imported, Err(Error::ValueInvalid { what: "transaction", .. })), "{imported:?}");
    let again = reopened(&place);
    let state = again.state().unwrap();
    assert_eq!((state.sequence, state.tags.len(), state.is_settled()), (before.sequence, 0, true));
    assert_eq!(std::fs::read_dir(place.path().join(".shard/tmp")).unwrap().count(), 0);
    again.import_tags(tags(2000).as_bytes(), false).unwrap();
    assert_eq!(reopened(&place).state().unwrap().tags.len(), 2000);
}
