//! The laws that take a second process: what a killed writer leaves, and what others see meanwhile.
//!
//! The second process is this test program again, asked for the one test that acts as told by its environment.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use super::conformance::{Place, put, rows};
use super::*;
use crate::vfs::Real;

const TASK: &str = "SHARD_TEST_BACKEND_TASK";

/// Starts another process in `place`. Its answers are the lines it prints that begin with `@`.
fn start(place: &Place, task: &str) -> (Child, impl Iterator<Item = String> + use<>) {
    let task = format!("{task} {} {}", place.kind, place.dir.path().display());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "backend::processes::another_process", "--nocapture"])
        .env(TASK, task)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let answers = lines.map_while(|line| line.ok()).filter_map(|line| Some(line.split_once('@')?.1.to_string()));
    (child, answers)
}

/// Does what the environment asks for; nothing in an ordinary run of the tests.
#[test]
fn another_process() {
    let Ok(task) = std::env::var(TASK) else { return };
    let [task, kind, path] = task.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
    let dir = Dir::open_root(Arc::new(Real), path.as_ref()).unwrap();
    let opened = open(kind.parse().unwrap(), &dir, OpenMode::ReadWrite);
    match task {
        "write-for-ever" => write_for_ever(&*opened.unwrap()),
        "read" => match opened {
            Ok(backend) => println!("@{}", rows(&*backend, Table::Ref).len()),
            Err(BackendError::Busy { pid }) => println!("@busy {}", pid.unwrap()),
            Err(error) => panic!("{error:?}"),
        },
        task => {
            let backend = opened.unwrap();
            for n in 0..150_u8 {
                let key = [task.as_bytes(), &[n]].concat();
                backend.apply(put(Table::Ref, &key, &[n; 2000]), Durability::Unsynced).unwrap();
                // The same few keys from everybody, so that there is something to compact.
                backend.apply(put(Table::Counter, &[n % 4], &[n; 2000]), Durability::Unsynced).unwrap();
                if n % 40 == 0 {
                    backend.flush().unwrap();
                }
            }
        }
    }
}

/// What batch `n` does: a row in one table, its mirror in a second, the number in a third, and an old row gone.
fn batch_number(n: u64) -> Batch {
    let mut batch = Batch::new();
    batch.put(Table::Commit, n.to_be_bytes(), vec![n as u8; 500]).put(Table::CommitOrder, n.to_be_bytes(), *b"").put(
        Table::Meta,
        *b"last",
        n.to_be_bytes(),
    );
    if let Some(old) = n.checked_sub(30) {
        batch.delete(Table::Commit, old.to_be_bytes());
    }
    batch
}

fn last(backend: &dyn Backend) -> u64 {
    let value = backend.get(Table::Meta, b"last").unwrap();
    value.map_or(0, |value| u64::from_be_bytes(value.try_into().unwrap()))
}

fn write_for_ever(backend: &dyn Backend) {
    for n in last(backend) + 1.. {
        backend.apply(batch_number(n), Durability::Unsynced).unwrap();
        println!("@applied {n}");
        if n % 16 == 0 {
            backend.flush().unwrap();
            println!("@flushed {n}");
        }
    }
}

fn a_killed_writer_leaves_a_prefix_of_its_batches(kind: BackendKind) {
    let place = Place::new(kind);
    for round in 0..6 {
        let (mut child, answers) = start(&place, "write-for-ever");
        let (mut applied, mut flushed) = (0, 0);
        for answer in answers {
            match answer.split_once(' ').unwrap() {
                ("applied", n) => applied = n.parse().unwrap(),
                (_, n) => flushed = n.parse().unwrap(),
            }
            // Stop at another place each time, also right behind a flush.
            if applied % 50 == 20 + round * 3 {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let backend = place.open();
        let last = last(&*backend);
        // sled keeps what was not flushed in the process that died.
        let promised = if kind == BackendKind::Sled { flushed } else { applied };
        assert!(applied > 0 && last >= promised, "round {round}: {promised} batches were promised, {last} are there");
        let commits: Vec<_> = rows(&*backend, Table::Commit).into_iter().map(|row| row.0).collect();
        let expected: Vec<_> = (last.saturating_sub(29).max(1)..=last).map(|n| n.to_be_bytes().to_vec()).collect();
        assert_eq!(commits, expected, "round {round}");
        assert_eq!(rows(&*backend, Table::CommitOrder).len() as u64, last, "round {round}");
    }
}

#[test]
fn a_killed_writer_leaves_a_prefix_sqlite() {
    a_killed_writer_leaves_a_prefix_of_its_batches(BackendKind::Sqlite);
}

#[cfg(feature = "sled")]
#[test]
fn a_killed_writer_leaves_a_prefix_sled() {
    a_killed_writer_leaves_a_prefix_of_its_batches(BackendKind::Sled);
}

#[test]
fn a_killed_writer_leaves_a_prefix_flat() {
    a_killed_writer_leaves_a_prefix_of_its_batches(BackendKind::Flat);
}

#[test]
fn a_second_process_sees_every_batch_or_is_told_who_is_busy() {
    for kind in BackendKind::ALL {
        if kind == BackendKind::Memory || (kind == BackendKind::Sled && cfg!(not(feature = "sled"))) {
            continue;
        }
        let place = Place::new(kind);
        let backend = place.open();
        for n in 0..5_u8 {
            backend.apply(put(Table::Ref, &[n], b"v"), Durability::Unsynced).unwrap();
        }
        let (mut child, mut answers) = start(&place, "read");
        let expected = match backend.sharing() {
            Sharing::MultiProcess => "5".to_string(),
            Sharing::SingleProcess => format!("busy {}", std::process::id()),
        };
        assert_eq!(answers.next(), Some(expected), "{kind}");
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn processes_that_write_at_once_lose_nothing() {
    for kind in [BackendKind::Sqlite, BackendKind::Flat] {
        let place = Place::new(kind);
        let children = ["a", "b"].map(|name| start(&place, name));
        let backend = place.open();
        for n in 0..150_u8 {
            backend.apply(put(Table::Ref, &[b'c', n], &[n; 2000]), Durability::Unsynced).unwrap();
            let mine = KeyRange::prefix(b"c");
            let seen = backend.scan(Table::Ref, mine, Order::Ascending).unwrap().map(Result::unwrap).count();
            assert_eq!(seen, usize::from(n) + 1, "{kind}");
        }
        for (mut child, answers) in children {
            answers.for_each(drop);
            assert!(child.wait().unwrap().success(), "{kind}");
        }
        assert_eq!(rows(&*backend, Table::Ref).len(), 450, "{kind}");
        assert_eq!(rows(&*backend, Table::Counter).len(), 4, "{kind}");
        drop(backend);
        assert_eq!(rows(&*place.open(), Table::Ref).len(), 450, "{kind}");
    }
}
