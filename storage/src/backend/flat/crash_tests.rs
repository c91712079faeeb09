//! Law 5 on simulated disks: whatever a power cut leaves, reopening finds a prefix of the batches with every flushed
//! one in it; and no failed operation leaves half a batch.

use std::path::Path;
use std::sync::Arc;

use super::super::{Backend, BackendError, Batch, Durability, KeyRange, OpenMode, Order, Result, Table};
use super::Flat;
use crate::vfs::{Crash, CrashMode, Dir, Failure, Fault, Injection, Sabotage, Select, Vfs};

/// Size of a value that every batch replaces, so that a few batches are worth compacting.
const LARGE: usize = 20_000;

fn dir(vfs: impl Vfs + 'static) -> Dir {
    Dir::open_root(Arc::new(vfs), Path::new("/")).unwrap()
}

/// What is known of the batches applied one after the other, across crashes.
#[derive(Debug, Clone, Default)]
struct History {
    /// The mark of each batch: which of the lives between crashes it was written in.
    marks: Vec<u8>,
    /// How many of them must survive, since a flush reported success.
    flushed: usize,
}

impl History {
    /// The batch after those there are: its number and mark, in two tables, and a large value in a third.
    fn next_batch(&self, mark: u8) -> Batch {
        let n = self.marks.len() as u64 + 1;
        let mut batch = Batch::new();
        batch.put(Table::Meta, *b"last", n.to_be_bytes()).put(Table::Commit, n.to_be_bytes(), [mark]).put(
            Table::Counter,
            *b"large",
            vec![n as u8; LARGE],
        );
        batch
    }

    /// Applies batches until `last` or the first failure; flushes after every third.
    fn extend(&mut self, dir: &Dir, mark: u8, count: usize) -> Result<()> {
        let flat = Flat::open(dir, OpenMode::ReadWrite)?;
        for n in 1..=count {
            let batch = self.next_batch(mark);
            // Whether a batch whose application failed is there afterwards, a crash may decide.
            self.marks.push(mark);
            flat.apply(batch, Durability::Unsynced)?;
            if n % 3 == 0 {
                flat.flush()?;
                self.flushed = self.marks.len();
            }
        }
        Ok(())
    }

    /// Checks that what `dir` holds is a prefix long enough, and forgets what is not there.
    fn settle(&mut self, dir: &Dir) -> std::result::Result<(), String> {
        let flat = match Flat::open(dir, OpenMode::ReadWrite) {
            Err(error) => return Err(format!("cannot be opened: {error}")),
            Ok(flat) => flat,
        };
        let last = flat.get(Table::Meta, b"last").unwrap();
        let last = last.map_or(0, |value| u64::from_be_bytes(value.try_into().unwrap())) as usize;
        if !(self.flushed..=self.marks.len()).contains(&last) {
            return Err(format!("{last} batches, of {} and {} flushed", self.marks.len(), self.flushed));
        }
        self.marks.truncate(last);
        let rows = flat.scan(Table::Commit, KeyRange::ALL, Order::Ascending).unwrap().map(Result::unwrap);
        let expected = (1_u64..).zip(&self.marks).map(|(n, mark)| (n.to_be_bytes().to_vec(), vec![*mark]));
        if !rows.eq(expected) {
            return Err(format!("the rows are not those of the first {last} batches"));
        }
        let large = (last > 0).then(|| vec![last as u8; LARGE]);
        if flat.get(Table::Counter, b"large").unwrap() != large {
            return Err(format!("the value of batch {last} is another's"));
        }
        Ok(())
    }
}

/// Crashes a scenario at every operation in every way, and once more while going on after that; returns how many
/// images were checked and what was wrong with any.
fn crash_everywhere(over: impl Fn(Crash) -> Arc<dyn Vfs>) -> (u64, Vec<String>) {
    let root = |crash: &Crash| Dir::open_root(over(crash.clone()), Path::new("/")).unwrap();
    let whole = Crash::new();
    History::default().extend(&root(&whole), 1, 13).unwrap();
    let (mut checked, mut wrong) = (0, Vec::new());
    for at in 1..=whole.operations() + 1 {
        let crash = Crash::new();
        crash.stop_at(at);
        let mut before = History::default();
        let _ = before.extend(&root(&crash), 1, 13);
        for (mode, seed) in CrashMode::MATRIX {
            let image = crash.image(mode, seed);
            let mut after = before.clone();
            checked += 1;
            if let Err(why) = after.settle(&root(&image)) {
                wrong.push(format!("at {at}, {mode:?} {seed}: {why}"));
                continue;
            }
            if mode != CrashMode::Random {
                continue;
            }
            // Go on from here, and crash again.
            for again in [1, 2, 3, 4, 6, 9, 14] {
                let image = crash.image(mode, seed);
                image.stop_at(again);
                let mut later = after.clone();
                let _ = later.extend(&root(&image), 2, 4);
                for seed in 0..4 {
                    checked += 1;
                    if let Err(why) = later.clone().settle(&root(&image.image(CrashMode::Random, seed))) {
                        wrong.push(format!("at {at}, {mode:?}, again at {again}, {seed}: {why}"));
                    }
                }
            }
        }
    }
    (checked, wrong)
}

#[test]
fn a_power_cut_anywhere_leaves_a_prefix_with_every_flushed_batch() {
    let (checked, wrong) = crash_everywhere(|crash| Arc::new(crash));
    assert!(checked > 2000, "only {checked} images");
    assert!(wrong.is_empty(), "{} of {checked}: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
}

#[test]
fn the_crash_test_notices_a_sync_left_out() {
    let (_, wrong) = crash_everywhere(|crash| Sabotage::no_file_sync("").over(Arc::new(crash)));
    assert!(!wrong.is_empty(), "no file was synced, and nobody noticed");
    let (_, wrong) = crash_everywhere(|crash| Sabotage::no_dir_sync("").over(Arc::new(crash)));
    assert!(!wrong.is_empty(), "no directory was synced, and nobody noticed");
}

#[test]
fn a_failed_operation_leaves_no_half_batch_and_the_next_goes_on() {
    for failure in [Failure::Io, Failure::NoSpace, Failure::Interrupted, Failure::ShortWrite] {
        for at in 1.. {
            let fault = Fault::default();
            let crash = Crash::new();
            let dir = Dir::open_root(fault.over(Arc::new(crash.clone())), Path::new("/")).unwrap();
            let mut history = History::default();
            history.extend(&dir, 1, 2).unwrap();
            let flat = Flat::open(&dir, OpenMode::ReadWrite).unwrap();
            fault.inject(Injection::once(Select::Mutating, at, failure));
            for n in 0..8 {
                let batch = history.next_batch(1);
                if flat.apply(batch, Durability::Unsynced).is_ok() {
                    history.marks.push(1);
                }
                if n % 4 == 3 && flat.flush().is_ok() {
                    history.flushed = history.marks.len();
                }
            }
            let done = fault.operations() < at;
            fault.disarm();
            drop(flat);
            // Nothing was lost that was reported as done, and nothing is there that was not.
            let applied = history.marks.len();
            history.settle(&dir).unwrap_or_else(|why| panic!("{failure:?} at {at}: {why}"));
            assert_eq!(history.marks.len(), applied, "{failure:?} at {at}");
            history.extend(&dir, 2, 3).unwrap();
            history.settle(&dir).unwrap_or_else(|why| panic!("{failure:?} at {at}, later: {why}"));
            if done {
                assert!(at > 10, "only {at} operations");
                break;
            }
        }
    }
}

#[test]
fn after_a_failed_sync_nothing_more_is_written_until_reopened() {
    let fault = Fault::default();
    let dir = Dir::open_root(fault.over(Arc::new(Crash::new())), Path::new("/")).unwrap();
    let mut history = History::default();
    history.extend(&dir, 1, 1).unwrap();
    let flat = Flat::open(&dir, OpenMode::ReadWrite).unwrap();
    flat.apply(history.next_batch(1), Durability::Unsynced).unwrap();
    fault.inject(Injection::once(Select::Syncs, 1, Failure::Io));
    assert!(matches!(flat.flush(), Err(BackendError::Io(_))));
    assert!(flat.apply(history.next_batch(1), Durability::Unsynced).is_err());
    assert!(flat.flush().is_err());
    assert_eq!(flat.get(Table::Counter, b"large").unwrap().unwrap()[0], 2, "reading goes on");
    drop(flat);
    let flat = Flat::open(&dir, OpenMode::ReadWrite).unwrap();
    flat.apply(history.next_batch(1), Durability::Synced).unwrap();
}

#[test]
fn rows_that_were_flushed_and_changed_later_are_damage_not_an_older_state() {
    let crash = Crash::new();
    let dir = dir(crash);
    let mut history = History::default();
    history.extend(&dir, 1, 2).unwrap();
    let flat = Flat::open(&dir, OpenMode::ReadWrite).unwrap();
    flat.flush().unwrap();
    flat.apply(history.next_batch(1), Durability::Unsynced).unwrap();
    drop(flat);
    let file = dir.open(super::NAME, crate::vfs::OpenOptions::WRITE).unwrap();
    file.write_all_at(b"changed", 500).unwrap();
    for mode in [OpenMode::ReadWrite, OpenMode::ReadOnly] {
        let error = Flat::open(&dir, mode).unwrap_err();
        assert!(error.wants_rebuild(), "{error:?}");
    }
}
