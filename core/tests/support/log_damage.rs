//! Write-ahead logs that were cut or changed: a prefix of what happened, or told as damage, never anything else.

use shard_core::Error;
use shard_core::progress::Silent;
use shard_core::worktree::CommitOptions;
use shard_storage::vfs::{CrashMode, OpenOptions};

use super::matrix::Tally;
use super::scenario::{self, Step};
use super::world::{Snapshot, World};

const LOG: &str = ".shard/wal.log";

/// A log of twenty records and more, nothing of which has reached its place durably; what was said after each.
fn twenty_records() -> (World, Vec<Snapshot>) {
    let world = World::initialized(scenario::plain());
    world.write("a.txt", b"first\n");
    let see = |world: &World| {
        let repository = world.open().unwrap();
        Snapshot::of(&repository, &repository.state().unwrap()).unwrap()
    };
    let mut seen = vec![see(&world)];
    let names = ["b1", "b2", "b3", "b4", "b5", "b6"];
    let mut steps: Vec<Step> = vec![scenario::commit_all("first")];
    steps.extend(names.map(scenario::branch));
    steps.extend(names.map(scenario::tag));
    steps.extend(["c1", "c2", "c3", "c4", "c5", "c6", "c7"].map(scenario::branch));
    for step in steps {
        (step.run)(&world).unwrap();
        seen.push(see(&world));
    }
    (world, seen)
}

/// Cuts and flips at each byte; `applied` says whether the disk holds what the log says as well.
pub fn explore(applied: bool) -> Tally {
    let (world, seen) = twenty_records();
    let last = seen.last().unwrap().clone();
    let allowed = if applied { std::slice::from_ref(&last) } else { &seen };
    let image = if applied { world.crashed(CrashMode::Kept, 0) } else { world.crashed(CrashMode::Lost, 0) };
    let image = World { boot: world.boot + 1, ..image };
    let log = image.disk("/work").read(LOG, 1 << 20).unwrap();
    assert_eq!(judge_log(&image, &log, std::slice::from_ref(&last), false), Ok(()), "the log as it is");
    let mut tally = Tally::default();
    for at in 0..log.len() {
        let thorough = at % 101 == 0;
        tally.add(|| format!("cut at {at} of {}", log.len()), judge_log(&image, &log[..at], allowed, thorough));
        let mut flipped = log.clone();
        flipped[at] ^= 1 << (at % 8);
        tally.add(|| format!("flipped at {at} of {}", log.len()), judge_log(&image, &flipped, allowed, thorough));
    }
    tally
}

fn judge_log(image: &World, log: &[u8], allowed: &[Snapshot], thorough: bool) -> Result<(), String> {
    let file = image.disk("/work").open(LOG, OpenOptions { truncate: true, ..OpenOptions::WRITE }).unwrap();
    file.write_all_at(log, 0).unwrap();
    image.crash.settle();
    let read = image.open().and_then(|repository| Snapshot::of(&repository, &repository.state()?));
    let damaged = match read {
        Ok(snapshot) if allowed.contains(&snapshot) => false,
        Ok(snapshot) => return Err(format!("a state that never was: {snapshot:?}")),
        Err(Error::LogDamaged { .. } | Error::FileCorrupt { .. } | Error::RepositoryFormat { .. }) => true,
        Err(error) => return Err(format!("{error:?}")),
    };
    if !thorough {
        return Ok(());
    }
    let world = image.fork();
    world.write("after", b"after");
    let options = CommitOptions { message: "after".to_owned(), all: true, ..CommitOptions::default() };
    let written = world.open().and_then(|repository| repository.commit(&options, &Silent));
    match (written, damaged) {
        (Ok(_), false) => Ok(()),
        (Err(error), false) => Err(format!("it opens, and a commit fails: {error:?}")),
        (Ok(_), true) => Err("it is damaged, and a commit is taken".to_owned()),
        (Err(_), true) if world.disk("/work").read(LOG, 1 << 20).unwrap() == log => Ok(()),
        (Err(_), true) => Err("a damaged log was changed".to_owned()),
    }
}
