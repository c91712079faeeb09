//! The repository of version 1 opens, says what it said, and goes on.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shard_core::history::commit::Trust;
use shard_core::progress::Silent;
use shard_core::repository::{Repository, Settings};
use shard_core::worktree::CommitOptions;
use shard_core::{Error, RepoPath};
use shard_crypto::Digest;
use shard_storage::backend::BackendKind;
use shard_storage::vfs::Real;

use super::fixture_file::{bless, path};
use super::repository::{describe, make, open, unpack};

const ARCHIVE: &str = "repository-v1.tar.zst";
const LISTING: &str = "repository-v1.txt";
/// A repository is small, so that a fixture of every version can be kept.
const MAX_ARCHIVE: usize = 300 << 10;

fn archive() -> Vec<u8> {
    bless(ARCHIVE, make);
    std::fs::read(path(ARCHIVE)).unwrap()
}

fn unpacked() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    unpack(&archive(), place.path());
    place
}

fn listing() -> String {
    let place = unpacked();
    bless(LISTING, || describe(&open(place.path()).unwrap()).into_bytes());
    std::fs::read_to_string(path(LISTING)).unwrap()
}

/// Hashes of all files, but for those that can be made anew and may change when somebody looks.
fn truth(root: &Path) -> BTreeMap<PathBuf, Digest> {
    fn visit(at: &Path, found: &mut BTreeMap<PathBuf, Digest>) {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, found);
            } else {
                found.insert(path.clone(), Digest::of(&std::fs::read(&path).unwrap()));
            }
        }
    }
    let mut found = BTreeMap::new();
    visit(root, &mut found);
    found.retain(|path, _| !path.starts_with(root.join(".shard/views")) && !path.ends_with("stat-cache"));
    found
}

/// Lets the next writer recover, as after a power cut: from then on the files themselves are read, not the log.
fn settle(root: &Path) {
    let repository = open(root).unwrap();
    let permit = repository.write_permit("settle").unwrap();
    drop(repository.transaction(&permit).unwrap());
}

#[test]
fn the_repository_of_version_1_says_what_it_said() {
    assert!(archive().len() <= MAX_ARCHIVE, "{} bytes", archive().len());
    let place = unpacked();
    let mode = std::fs::metadata(place.path().join(".shard/keys/secret.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = truth(place.path());
    let repository = open(place.path()).unwrap();
    assert_eq!(describe(&repository), listing());
    assert_eq!(truth(place.path()), before, "reading changes nothing");
}

#[test]
fn the_repository_of_version_1_verifies() {
    let place = unpacked();
    let repository = open(place.path()).unwrap();
    let state = repository.state().unwrap();
    let store = repository.store(&state).unwrap();
    let report = repository.verify(&store, &repository.tips(&state), &Silent).unwrap();
    assert!(report.is_sound(), "{:?}", report.failures);
    assert_eq!((report.commits, report.untrusted), (4, 0));
    assert!(report.trust.iter().all(|(_, trust)| *trust == Trust::Good));
}

#[test]
fn the_repository_of_version_1_goes_on() {
    for backend in [BackendKind::Sqlite, BackendKind::Flat] {
        let place = unpacked();
        let settings = Settings { backend, ..Settings::default() };
        let open = || Repository::open(Arc::new(Real), place.path(), settings.clone()).unwrap();
        let repository = open();
        repository.restore(&[RepoPath::root()], None, false, &Silent).unwrap();
        let read = |name: &str| std::fs::read(place.path().join(name)).unwrap();
        assert_eq!(read("staged.txt"), b"staged, not committed\n");
        assert!(listing().contains(&format!(" {} src/bottles.txt\n", Digest::of(&read("src/bottles.txt")))));
        assert!(std::fs::metadata(place.path().join("tool")).unwrap().permissions().mode() & 0o111 != 0);
        assert_eq!(std::fs::read_link(place.path().join("link")).unwrap(), Path::new("src/main.rs"));
        assert!(place.path().join("hollow/inner").is_dir());
        assert_eq!(std::fs::read_dir(place.path().join("many")).unwrap().count(), 1101);

        let options = CommitOptions { message: "fifth".into(), ..CommitOptions::default() };
        let fifth = repository.commit(&options, &Silent).unwrap();
        std::fs::write(place.path().join("new.txt"), "new\n").unwrap();
        let options = CommitOptions { message: "sixth".into(), all: true, ..CommitOptions::default() };
        let sixth = repository.commit(&options, &Silent).unwrap();
        assert_eq!((fifth.changes.added, sixth.changes.added), (1, 1));
        assert_eq!(sixth.parents, [fifth.id.unwrap()]);
        drop(repository);

        let repository = open();
        let now = describe(&repository);
        let commits = |text: &str| text.lines().filter(|line| line.starts_with("commit ")).count();
        assert_eq!(commits(&now), commits(&listing()) + 2);
        let kept =
            ["repository ", "creator ", "tag ", "upstream ", "commit ", "tree ", "by ", "entries ", "operation "];
        for line in listing().lines().filter(|line| kept.iter().any(|begin| line.starts_with(begin))) {
            assert!(now.contains(line), "{line} is gone");
        }
        let state = repository.state().unwrap();
        let store = repository.store(&state).unwrap();
        let short = sixth.id.unwrap().to_string()[..12].to_owned();
        assert_eq!(repository.find_prefix(&state, &store, &short).unwrap(), [sixth.id.unwrap()]);
    }
}

#[test]
fn a_file_of_a_later_version_is_refused_and_never_taken_for_empty() {
    // Where the version stands in each file, and what is said of 2.
    let later = [
        ("genesis", 8, "has format version 2, this program knows up to 1"),
        ("index", 2, "an index of a later version"),
        ("wal.log", 8, "the log has format version 2, this build reads up to 1"),
        ("refs/upstreams", 1, "a later version"),
        ("objects/catalog.log", 8, "the log has format version 2, this build reads up to 1"),
        ("objects/data/0000/00000000.pack", 8, "has format version 2, this program knows up to 1"),
        ("objects/data/0000/00000002.pack", 8, "has format version 2, this program knows up to 1"),
        ("keys/secret.key", 8, "key file has version 2, this release reads 1"),
    ];
    for (name, at, message) in later {
        let place = unpacked();
        settle(place.path());
        let file = place.path().join(".shard").join(name);
        let mut bytes = std::fs::read(&file).unwrap();
        assert_eq!(bytes[at], 1, "{name} has its version there");
        bytes[at] = 2;
        std::fs::write(&file, bytes).unwrap();
        let error = read_everything(place.path()).expect_err(name);
        assert!(chain(&error).contains(message), "{name}: {}", chain(&error));
        if name == "genesis" {
            assert!(matches!(error, Error::RepositoryFormat { found: 2, supported: 1, .. }));
        }
    }
}

#[test]
fn any_wrong_bit_of_the_genesis_is_noticed() {
    let place = unpacked();
    let file = place.path().join(".shard/genesis");
    let whole = std::fs::read(&file).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&file, bytes).unwrap();
        assert!(open(place.path()).is_err(), "bit {bit}");
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn read_everything(root: &Path) -> Result<(), Error> {
    let repository = open(root)?;
    let state = repository.state()?;
    let store = repository.store(&state)?;
    let report = repository.verify(&store, &repository.tips(&state), &Silent)?;
    match report.failures.into_iter().next() {
        None => Ok(()),
        Some(fault) => Err(Error::Unsupported { what: format!("{fault:?}") }),
    }
}
