//! The laws of [`Backend`], tried on every engine.
//!
//! Each law is a function over a [`Place`]; the macro at the end makes it a test of each engine. What takes a second
//! process is in `processes.rs`.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::vfs::{OpenOptions, Real};

/// A directory of its own for one engine.
pub(super) struct Place {
    pub(super) kind: BackendKind,
    pub(super) dir: Dir,
    _directory: tempfile::TempDir,
}

impl Place {
    pub(super) fn new(kind: BackendKind) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let dir = Dir::open_root(Arc::new(Real), directory.path()).unwrap();
        Self { kind, dir, _directory: directory }
    }

    pub(super) fn open(&self) -> Box<dyn Backend> {
        open(self.kind, &self.dir, OpenMode::ReadWrite).unwrap()
    }

    pub(super) fn is_persistent(&self) -> bool {
        self.kind != BackendKind::Memory
    }
}

pub(super) fn put(table: Table, key: &[u8], value: &[u8]) -> Batch {
    let mut batch = Batch::new();
    batch.put(table, key, value);
    batch
}

pub(super) fn rows(backend: &dyn Backend, table: Table) -> Vec<Row> {
    backend.scan(table, KeyRange::ALL, Order::Ascending).unwrap().map(Result::unwrap).collect()
}

fn a_row_reads_back_and_tables_are_apart(place: &Place) {
    let backend = place.open();
    assert_eq!(backend.kind(), place.kind);
    backend.apply(put(Table::Commit, b"k", b"commit"), Durability::Unsynced).unwrap();
    backend.apply(put(Table::Ref, b"k", b""), Durability::Synced).unwrap();
    assert_eq!(backend.get(Table::Commit, b"k").unwrap().as_deref(), Some(&b"commit"[..]));
    assert_eq!(backend.get(Table::Ref, b"k").unwrap().as_deref(), Some(&b""[..]));
    assert_eq!(backend.get(Table::Meta, b"k").unwrap(), None);
    assert_eq!(backend.get(Table::Commit, b"other").unwrap(), None);
    backend.apply(Batch::new(), Durability::Unsynced).unwrap();
    backend.apply(Batch::new(), Durability::Synced).unwrap();
}

fn readers_never_see_half_a_batch(place: &Place) {
    let backend = place.open();
    let batch_of = |n: u32| {
        let mut batch = Batch::new();
        for key in 0..20_u8 {
            batch.put(Table::Counter, vec![key], n.to_le_bytes());
        }
        batch
    };
    backend.apply(batch_of(0), Durability::Unsynced).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for order in [Order::Ascending, Order::Descending] {
            let (backend, done) = (&*backend, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let scan = backend.scan(Table::Counter, KeyRange::ALL, order).unwrap();
                    let values: Vec<_> = scan.map(|row| row.unwrap().1).collect();
                    assert_eq!(values.len(), 20);
                    assert!(values.iter().all(|value| *value == values[0]), "half a batch: {values:?}");
                }
            });
        }
        for n in 1..100 {
            backend.apply(batch_of(n), Durability::Unsynced).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

fn the_last_write_of_a_batch_wins(place: &Place) {
    let backend = place.open();
    backend.apply(put(Table::Ref, b"kept-out", b"old"), Durability::Unsynced).unwrap();
    let mut batch = Batch::new();
    batch
        .put(Table::Ref, *b"a", *b"1")
        .put(Table::Ref, *b"a", *b"2")
        .put(Table::Ref, *b"b", *b"1")
        .delete(Table::Ref, *b"b")
        .delete(Table::Ref, *b"c")
        .put(Table::Ref, *b"c", *b"3")
        .put(Table::Ref, *b"k1", *b"gone")
        .delete_range(Table::Ref, KeyRange::prefix(b"k"))
        .put(Table::Ref, *b"k2", *b"back")
        .delete(Table::Ref, *b"never there");
    backend.apply(batch, Durability::Unsynced).unwrap();
    let expected: Vec<Row> = [("a", "2"), ("c", "3"), ("k2", "back")].map(|(k, v)| (k.into(), v.into())).into();
    assert_eq!(rows(&*backend, Table::Ref), expected);
}

fn keys_are_ordered_bytewise(place: &Place) {
    let backend = place.open();
    let keys: [&[u8]; 8] = [&[0], &[0, 0], &[0, 255], &[1], b"a", b"a\0", &[127], &[255, 255]];
    let mut batch = Batch::new();
    for key in keys.iter().rev() {
        batch.put(Table::CommitOrder, *key, *key);
        // Neighbours in other tables must not show.
        batch.put(Table::Commit, *key, *key).put(Table::Ref, *key, *key);
    }
    backend.apply(batch, Durability::Unsynced).unwrap();
    let model: BTreeMap<&[u8], ()> = keys.iter().map(|key| (*key, ())).collect();
    let bounds: Vec<Bound<&[u8]>> = [Bound::Unbounded]
        .into_iter()
        .chain(keys.iter().flat_map(|key| [Bound::Included(*key), Bound::Excluded(*key)]))
        .chain([Bound::Included(&[][..]), Bound::Excluded(&[][..]), Bound::Included(&[5]), Bound::Excluded(&[5])])
        .collect();
    for start in &bounds {
        for end in &bounds {
            let range = KeyRange::new(*start, *end);
            let mut expected: Vec<&[u8]> = model.keys().copied().filter(|key| range.contains(key)).collect();
            for order in [Order::Ascending, Order::Descending] {
                let scan = backend.scan(Table::CommitOrder, range.clone(), order).unwrap();
                let found: Vec<_> = scan.map(|row| row.unwrap().0).collect();
                assert_eq!(found, expected, "{range:?} {order:?}");
                expected.reverse();
            }
        }
    }
}

fn a_scan_shows_one_instant_whole_or_fails_moved(place: &Place) {
    let backend = place.open();
    let value = |n: u8| vec![n; 100 << 10];
    for key in 0..60_u8 {
        backend.apply(put(Table::Commit, &[key], &value(key)), Durability::Unsynced).unwrap();
    }
    // Undisturbed, a scan of many steps is whole, both ways.
    for order in [Order::Ascending, Order::Descending] {
        let mut found: Vec<_> =
            backend.scan(Table::Commit, KeyRange::ALL, order).unwrap().map(Result::unwrap).collect();
        if order == Order::Descending {
            found.reverse();
        }
        assert_eq!(found.len(), 60);
        for (n, row) in (0..).zip(found) {
            assert_eq!(row, (vec![n], value(n)));
        }
    }
    // Disturbed, it still shows what was there when it began, or says that it cannot.
    let mut scan = backend.scan(Table::Commit, KeyRange::ALL, Order::Ascending).unwrap();
    assert_eq!(scan.next().unwrap().unwrap().0, [0]);
    let mut batch = Batch::new();
    batch.delete(Table::Commit, [59]).put(Table::Commit, [58], *b"new").put(Table::Commit, [200], *b"new");
    backend.apply(batch, Durability::Unsynced).unwrap();
    let mut seen = 1;
    let mut moved = false;
    for row in scan {
        match row {
            Ok((key, found)) => {
                assert_eq!((key, found), (vec![seen], value(seen)));
                seen += 1;
            }
            Err(BackendError::Moved) => moved = true,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(moved || seen == 60, "{seen} rows and no complaint");
    assert_eq!(moved, place.kind != BackendKind::Sqlite, "the documentation says which engine cannot");
    // A scan that is begun again is whole.
    assert_eq!(backend.scan(Table::Commit, KeyRange::ALL, Order::Ascending).unwrap().count(), 60);
}

fn unfinished_scans_do_not_hold_up_writers(place: &Place) {
    let backend = place.open();
    for key in 0..3_u8 {
        backend.apply(put(Table::Commit, &[key], &vec![key; SCAN_STEP]), Durability::Unsynced).unwrap();
    }
    let scans: Vec<_> =
        (0..5).map(|_| backend.scan(Table::Commit, KeyRange::ALL, Order::Descending).unwrap()).collect();
    for n in 0..20_u8 {
        backend.apply(put(Table::Ref, &[n], &[n]), Durability::Unsynced).unwrap();
        backend.flush().unwrap();
    }
    drop(scans);
    assert_eq!(rows(&*backend, Table::Ref).len(), 20);
}

fn limits_are_kept_and_what_is_beyond_changes_nothing(place: &Place) {
    let backend = place.open();
    let longest = vec![7; MAX_KEY];
    backend.apply(put(Table::Ref, &longest, &vec![1; MAX_VALUE]), Durability::Unsynced).unwrap();
    assert_eq!(backend.get(Table::Ref, &longest).unwrap().unwrap().len(), MAX_VALUE);
    assert_eq!(rows(&*backend, Table::Ref).len(), 1);

    let too_large = |batch: Batch| {
        let error = backend.apply(batch, Durability::Unsynced).unwrap_err();
        assert!(matches!(error, BackendError::TooLarge { .. }), "{error:?}");
    };
    let good = || put(Table::Ref, b"good", b"");
    let beyond = vec![7; MAX_KEY + 1];
    let mut batch = good();
    batch.put(Table::Ref, beyond.clone(), *b"");
    too_large(batch);
    let mut batch = good();
    batch.put(Table::Ref, *b"", *b"");
    too_large(batch);
    let mut batch = good();
    batch.put(Table::Ref, *b"k", vec![0; MAX_VALUE + 1]);
    too_large(batch);
    let mut batch = good();
    batch.delete(Table::Ref, beyond.clone());
    too_large(batch);
    let mut batch = good();
    batch.delete_range(Table::Ref, KeyRange::from(&beyond));
    too_large(batch);
    let mut batch = good();
    for key in 0..4_u8 {
        batch.put(Table::Ref, [key], vec![0; MAX_VALUE]);
    }
    too_large(batch);
    assert!(matches!(backend.get(Table::Ref, &beyond), Err(BackendError::TooLarge { part: "key", .. })));
    assert!(matches!(backend.get(Table::Ref, b""), Err(BackendError::TooLarge { part: "key", length: 0, .. })));
    assert_eq!(rows(&*backend, Table::Ref).len(), 1, "a refused batch was applied in part");
}

fn rows_survive_reopening_with_and_without_a_flush(place: &Place) {
    if !place.is_persistent() {
        return;
    }
    for round in 0..4_u8 {
        let backend = place.open();
        assert_eq!(rows(&*backend, Table::Ref).len(), usize::from(round));
        backend.apply(put(Table::Ref, &[round], &[round; 40]), Durability::Unsynced).unwrap();
        if round % 2 == 0 {
            backend.flush().unwrap();
        }
        assert!(backend.stats().disk_bytes > 0);
    }
}

fn a_newer_schema_is_refused_and_left_alone(place: &Place) {
    if !place.is_persistent() {
        return;
    }
    let backend = place.open();
    backend.apply(put(Table::Ref, b"k", b"v"), Durability::Synced).unwrap();
    drop(backend);
    make_newer(place);
    for mode in [OpenMode::ReadWrite, OpenMode::ReadOnly] {
        let error = open(place.kind, &place.dir, mode).unwrap_err();
        let newer = matches!(error, BackendError::NewerSchema { found, supported: SCHEMA } if found == SCHEMA + 1);
        assert!(newer, "{error:?}");
    }
}

/// Turns what is on disk into the work of the next build.
fn make_newer(place: &Place) {
    match place.kind {
        BackendKind::Sqlite => {
            let connection = rusqlite::Connection::open(place.dir.path().join("sqlite.db")).unwrap();
            connection.pragma_update(None, "user_version", SCHEMA + 1).unwrap();
        }
        #[cfg(feature = "sled")]
        BackendKind::Sled => {
            let path = place.dir.path().join("sled");
            let db = loop {
                // The database just dropped may still be closing.
                match ::sled::open(&path) {
                    Ok(db) => break db,
                    Err(_) => thread::yield_now(),
                }
            };
            db.insert(b"\xFFschema", &(SCHEMA + 1).to_le_bytes()).unwrap();
            db.flush().unwrap();
        }
        BackendKind::Flat => {
            use crate::framed_log::{FramedLog, LogHeader, LogKind};
            let header = FramedLog::read_header(&place.dir, "flat.log", LogKind::FLAT).unwrap();
            let header = LogHeader { flags: header.flags + 1, ..header };
            place.dir.open("flat.log", OpenOptions::WRITE).unwrap().write_all_at(&header.encode(), 0).unwrap();
        }
        _ => unreachable!("nothing on disk"),
    }
}

fn reading_creates_nothing_and_changes_nothing(place: &Place) {
    if !place.is_persistent() {
        return;
    }
    let error = open(place.kind, &place.dir, OpenMode::ReadOnly).unwrap_err();
    assert!(error.is_absent(), "{error:?}");
    assert_eq!(place.dir.list().unwrap(), []);
    let backend = place.open();
    backend.apply(put(Table::Ref, b"k", b"v"), Durability::Unsynced).unwrap();
    drop(backend);
    let backend = open(place.kind, &place.dir, OpenMode::ReadOnly).unwrap();
    assert_eq!(backend.get(Table::Ref, b"k").unwrap().as_deref(), Some(&b"v"[..]));
    assert!(matches!(backend.apply(put(Table::Ref, b"k", b"w"), Durability::Unsynced), Err(BackendError::ReadOnly)));
    assert!(matches!(backend.flush(), Err(BackendError::ReadOnly)));
    assert_eq!(rows(&*backend, Table::Ref), [(b"k".to_vec(), b"v".to_vec())]);
}

fn two_handles_share_or_the_second_is_refused(place: &Place) {
    if !place.is_persistent() {
        return;
    }
    let first = place.open();
    if first.sharing() == Sharing::SingleProcess {
        let error = open(place.kind, &place.dir, OpenMode::ReadWrite).unwrap_err();
        let holder = std::process::id();
        assert!(matches!(error, BackendError::Busy { pid: Some(pid) } if pid == holder), "{error:?}");
        return;
    }
    let second = place.open();
    for n in 0..50_u8 {
        let (writer, reader) = if n % 2 == 0 { (&first, &second) } else { (&second, &first) };
        writer.apply(put(Table::Counter, &[n % 7], &[n; 3000]), Durability::Unsynced).unwrap();
        assert_eq!(reader.get(Table::Counter, &[n % 7]).unwrap().unwrap()[0], n);
        if n % 10 == 9 {
            writer.flush().unwrap();
        }
        assert_eq!(rows(&**writer, Table::Counter), rows(&**reader, Table::Counter));
    }
}

fn damage_is_told_and_never_read_as_empty(place: &Place) {
    let file = match place.kind {
        BackendKind::Sqlite => "sqlite.db",
        BackendKind::Flat => "flat.log",
        _ => return,
    };
    let backend = place.open();
    for n in 0..50_u8 {
        backend.apply(put(Table::Ref, &[n], &[n; 1000]), Durability::Unsynced).unwrap();
    }
    backend.flush().unwrap();
    // Flat learns from what follows that these rows had been flushed.
    backend.apply(put(Table::Ref, &[99], b"after"), Durability::Unsynced).unwrap();
    drop(backend);
    let file = place.dir.open(file, OpenOptions::WRITE).unwrap();
    // Neither the header of a log nor the first page of a database, of which SQLite's own log has a copy.
    file.write_all_at(&vec![0x55; file.size().unwrap() as usize - 20_000], 5000).unwrap();
    let outcome = open(place.kind, &place.dir, OpenMode::ReadWrite).and_then(|backend| {
        let scan = backend.scan(Table::Ref, KeyRange::ALL, Order::Ascending)?;
        scan.map(|row| row.map(drop)).collect::<Result<Vec<_>>>()
    });
    let error = outcome.unwrap_err();
    assert!(error.wants_rebuild(), "{error:?}");
}

/// One step of the comparison with a `BTreeMap`.
#[derive(Debug, Clone)]
enum Act {
    Apply(Batch, bool),
    Flush,
    Reopen,
}

fn table() -> impl Strategy<Value = Table> {
    prop::sample::select(Table::ALL.to_vec())
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(prop::sample::select(vec![0, 1, 97, 255]), 1..4),
        prop::collection::vec(0_u8.., 1..40)
    ]
}

fn range() -> impl Strategy<Value = KeyRange<'static>> {
    let bound = || {
        prop_oneof![
            key().prop_map(|key| Bound::Included(key.into())),
            key().prop_map(|key| Bound::Excluded(key.into())),
            Just(Bound::Unbounded),
        ]
    };
    (bound(), bound()).prop_map(|(start, end)| KeyRange { start, end })
}

fn batch() -> impl Strategy<Value = Batch> {
    let op = prop_oneof![
        6 => (table(), key(), prop::collection::vec(0_u8.., 0..300))
            .prop_map(|(table, key, value)| Op::Put { table, key, value }),
        2 => (table(), key()).prop_map(|(table, key)| Op::Delete { table, key }),
        1 => (table(), range()).prop_map(|(table, range)| Op::DeleteRange { table, range }),
    ];
    prop::collection::vec(op, 0..20).prop_map(|ops| {
        let mut batch = Batch::new();
        for op in ops {
            match op {
                Op::Put { table, key, value } => batch.put(table, key, value),
                Op::Delete { table, key } => batch.delete(table, key),
                Op::DeleteRange { table, range } => batch.delete_range(table, range),
            };
        }
        batch
    })
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => (batch(), prop::bool::weighted(0.1)).prop_map(|(batch, synced)| Act::Apply(batch, synced)),
        1 => Just(Act::Flush),
        1 => Just(Act::Reopen),
    ]
}

type Model = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

fn apply_to_model(model: &mut Model, batch: &Batch) {
    for op in batch.ops() {
        match op.clone() {
            Op::Put { table, key, value } => drop(model.insert((table, key), value)),
            Op::Delete { table, key } => drop(model.remove(&(table, key))),
            Op::DeleteRange { table, range } => model.retain(|(t, key), _| *t != table || !range.contains(key)),
        }
    }
}

fn equals_a_btree_map(place: &Place) {
    let kind = place.kind;
    let strategy = (prop::collection::vec(act(), 1..12), prop::collection::vec((table(), range()), 3));
    let mut runner = TestRunner::new(Config { cases: 128, source_file: Some(file!()), ..Config::default() });
    let outcome = runner.run(&strategy, |(acts, ranges)| {
        let place = Place::new(kind);
        let mut backend = place.open();
        let mut model = Model::new();
        for act in acts {
            match act {
                Act::Apply(batch, synced) => {
                    apply_to_model(&mut model, &batch);
                    let durability = if synced { Durability::Synced } else { Durability::Unsynced };
                    backend.apply(batch, durability).unwrap();
                }
                Act::Flush => backend.flush().unwrap(),
                Act::Reopen if place.is_persistent() => {
                    drop(backend);
                    backend = place.open();
                }
                Act::Reopen => {}
            }
        }
        for table in Table::ALL {
            let expected: Vec<Row> = model
                .iter()
                .filter(|((t, _), _)| *t == table)
                .map(|((_, key), value)| (key.clone(), value.clone()))
                .collect();
            prop_assert_eq!(rows(&*backend, table), expected);
        }
        for ((table, key), value) in &model {
            prop_assert_eq!(&backend.get(*table, key).unwrap(), &Some(value.clone()));
        }
        for (table, range) in ranges {
            let mut expected: Vec<_> = model
                .keys()
                .filter(|(t, key)| *t == table && range.contains(key))
                .map(|(_, key)| key.clone())
                .collect();
            for order in [Order::Ascending, Order::Descending] {
                let scan = backend.scan(table, range.clone(), order).unwrap();
                let found: Vec<_> = scan.map(|row| row.unwrap().0).collect();
                prop_assert_eq!(&found, &expected);
                expected.reverse();
            }
        }
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

macro_rules! every_engine {
    ($($law:ident)*) => {
        every_engine!(@engine sqlite Sqlite $($law)*);
        #[cfg(feature = "sled")]
        every_engine!(@engine sled Sled $($law)*);
        every_engine!(@engine flat Flat $($law)*);
        every_engine!(@engine memory Memory $($law)*);
    };
    (@engine $module:ident $kind:ident $($law:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $law() {
                    super::$law(&super::Place::new(super::BackendKind::$kind));
                }
            )*
        }
    };
}

every_engine! {
    a_row_reads_back_and_tables_are_apart
    readers_never_see_half_a_batch
    the_last_write_of_a_batch_wins
    keys_are_ordered_bytewise
    a_scan_shows_one_instant_whole_or_fails_moved
    unfinished_scans_do_not_hold_up_writers
    limits_are_kept_and_what_is_beyond_changes_nothing
    rows_survive_reopening_with_and_without_a_flush
    a_newer_schema_is_refused_and_left_alone
    reading_creates_nothing_and_changes_nothing
    two_handles_share_or_the_second_is_refused
    damage_is_told_and_never_read_as_empty
    equals_a_btree_map
}
