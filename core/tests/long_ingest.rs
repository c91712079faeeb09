//! A long ingest that does not come to its end: what it registered on the way is not stored again.

mod place;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use place::bytes;
use shard_core::progress::{Progress, Silent, Unit};
use shard_core::remote::{Source, fetch};
use shard_core::repository::init::InitOptions;
use shard_core::repository::{FsckLevel, Repository, Settings, Trial};
use shard_core::worktree::{AddOptions, CommitOptions, StatusOptions};
use shard_core::{Error, RepoPath, Result};
use shard_storage::vfs::{Failure, Fault, Injection, Operation, Real, Select, Vfs};

const FILES: u64 = 24;
const SIZE: usize = 1 << 20;
const ALL: u64 = FILES * SIZE as u64;

/// As ever, with megabytes for gigabytes.
fn settings() -> Settings {
    let trial = Trial { instalment_bytes: 2 << 20, instalment_least: 256 << 10, ..Trial::default() };
    Settings { threads: 2, trial, ..Settings::default() }
}

fn init(vfs: Arc<dyn Vfs>, root: &Path) -> Repository {
    std::fs::create_dir_all(root).unwrap();
    Repository::init(vfs, root, InitOptions::default(), settings()).unwrap().0
}

fn open(root: &Path) -> Repository {
    Repository::open(Arc::new(Real), root, settings()).unwrap()
}

fn fill(root: &Path) {
    for number in 0..FILES {
        std::fs::write(root.join(format!("f{number:02}")), bytes(number, SIZE)).unwrap();
    }
}

fn add(repository: &Repository, progress: &dyn Progress) -> Result<u64> {
    repository.add(&[RepoPath::root()], AddOptions::default(), progress).map(|report| report.new_bytes)
}

fn commit(repository: &Repository) {
    let options = CommitOptions { message: "all".to_owned(), all: true, ..CommitOptions::default() };
    repository.commit(&options, &Silent).unwrap();
}

fn check(repository: &Repository) {
    assert_eq!(repository.fsck(FsckLevel::Full, &Silent).unwrap().problems, []);
}

/// Wants it to end once so many bytes have passed.
struct Until(u64, AtomicU64);

impl Until {
    fn new(bytes: u64) -> Self {
        Self(bytes, AtomicU64::new(0))
    }
}

impl Progress for Until {
    fn advance(&self, amount: u64) {
        self.1.fetch_add(amount, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.1.load(Ordering::Relaxed) >= self.0
    }
}

#[test]
fn an_add_that_was_cancelled_is_taken_up_again() {
    let dir = tempfile::tempdir().unwrap();
    let repository = init(Arc::new(Real), dir.path());
    fill(dir.path());
    let before = repository.state().unwrap();
    assert!(matches!(add(&repository, &Until::new(ALL / 2)), Err(Error::Cancelled)));
    let state = repository.state().unwrap();
    assert_eq!((state.index.clone(), state.head.clone()), (before.index, before.head), "nothing shows of it");
    assert!(repository.status(&StatusOptions::default(), &Silent).unwrap().staged.is_empty());
    check(&repository);
    let again = add(&open(dir.path()), &Silent).unwrap();
    assert!(again < ALL * 3 / 4 && again > 0, "{again} of {ALL} bytes stored anew");
    commit(&repository);
    check(&repository);
    let tips = repository.tips(&repository.state().unwrap());
    let store = repository.store(&repository.state().unwrap()).unwrap();
    assert!(repository.verify(&store, &tips, &Silent).unwrap().is_sound());
}

#[test]
fn an_add_that_met_a_full_disk_is_taken_up_again() {
    let dir = tempfile::tempdir().unwrap();
    let fault = Fault::default();
    let repository = init(fault.over(Arc::new(Real)), dir.path());
    fill(dir.path());
    let writes = |at| Injection::forever(Select::Only(Operation::Write), at, Failure::NoSpace).on("/data/");
    fault.inject(writes(150));
    assert!(add(&repository, &Silent).is_err());
    fault.disarm();
    check(&repository);
    let again = add(&repository, &Silent).unwrap();
    assert!(again < ALL, "{again} of {ALL} bytes stored anew");
    check(&repository);
}

#[test]
fn a_transfer_that_was_cancelled_is_taken_up_again() {
    let dir = tempfile::tempdir().unwrap();
    let ana = init(Arc::new(Real), &dir.path().join("ana"));
    fill(&dir.path().join("ana"));
    commit(&ana);
    let source = Source::open(Arc::new(Real), &dir.path().join("ana"), settings()).unwrap();
    let options = InitOptions { genesis: Some(source.genesis().clone()), ..InitOptions::default() };
    std::fs::create_dir(dir.path().join("bo")).unwrap();
    let (bo, _) = Repository::init(Arc::new(Real), &dir.path().join("bo"), options, settings()).unwrap();
    assert!(matches!(fetch(&bo, &source, &Until::new(ALL / 2)), Err(Error::Cancelled)));
    assert!(bo.state().unwrap().peers.is_empty());
    check(&bo);
    let report = fetch(&open(&dir.path().join("bo")), &source, &Silent).unwrap();
    assert!(report.bytes < ALL * 3 / 4 && report.bytes > 0, "{} of {ALL} bytes came again", report.bytes);
    check(&bo);
    let state = bo.state().unwrap();
    let store = bo.store(&state).unwrap();
    assert!(bo.verify(&store, &bo.tips(&state), &Silent).unwrap().is_sound());
}

#[test]
fn a_dry_run_registers_nothing() {
    let dir = tempfile::tempdir().unwrap();
    init(Arc::new(Real), dir.path());
    fill(dir.path());
    let dry = Settings { dry_run: true, ..settings() };
    let repository = Repository::open(Arc::new(Real), dir.path(), dry).unwrap();
    let before = repository.state().unwrap().sequence;
    add(&repository, &Silent).unwrap();
    commit(&repository);
    assert_eq!(repository.state().unwrap().sequence, before);
    assert!(add(&open(dir.path()), &Silent).unwrap() >= ALL);
}

/// Lets go of the right to write when reading is over.
struct Holder<'r>(std::sync::Mutex<Option<shard_core::repository::WritePermit<'r>>>);

impl Progress for Holder<'_> {
    fn phase(&self, name: &'static str, _: Option<u64>, _: Unit) {
        if name == "syncing" {
            self.0.lock().unwrap().take();
        }
    }
}

#[test]
fn an_add_goes_on_while_others_write() {
    let dir = tempfile::tempdir().unwrap();
    let repository = init(Arc::new(Real), dir.path());
    for number in 0..4 {
        std::fs::write(dir.path().join(format!("f{number}")), bytes(number, 2 * SIZE)).unwrap();
    }
    let other = open(dir.path());
    let holder = Holder(std::sync::Mutex::new(Some(other.write_permit("held").unwrap())));
    assert!(add(&repository, &holder).unwrap() >= 8 << 20);
    commit(&repository);
    check(&repository);
}
