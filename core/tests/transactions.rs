//! Transactions: what was acknowledged is there when the repository is opened again.

use std::sync::Arc;

use shard_core::object::{ObjectKind, ObjectSink};
use shard_core::repository::init::InitOptions;
use shard_core::repository::{Repository, Settings};
use shard_storage::vfs::{Real, Vfs};

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
