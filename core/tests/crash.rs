//! Power cuts, kills, failing disks: what was acknowledged is there, the rest happened wholly or not at all.

mod support;

use std::sync::Arc;

use shard_storage::vfs::{CrashMode, Operation, Sabotage};
use support::matrix::{self, Density, Tally};
use support::scenario::{self, Scenario};
use support::world::{Layer, World};

/// States that are judged at least, so that no scenario silently shrinks.
const FLOOR: usize = 14_000;

#[test]
fn what_was_acknowledged_survives_a_crash_at_any_operation() {
    let only = std::env::var("SHARD_CRASH_ONLY").ok();
    let wanted = |scenario: &Scenario| only.as_ref().is_none_or(|only| scenario.name.contains(only));
    let points = if matrix::full() { 40 } else { 6 };
    let mut total = Tally::default();
    if only.is_none() {
        total.absorb(interrupted_init());
    }
    let scenarios: Vec<_> = scenario::all().into_iter().filter(wanted).collect();
    let density = if matrix::full() { Density::ALL } else { Density::EVERY_OTHER };
    total.absorb(matrix::explore(&scenarios, None, density));
    let recoveries: Vec<_> = scenario::recoveries(points).into_iter().filter(wanted).collect();
    let density = if matrix::full() { Density::ALL } else { Density { points: 2, uses: 2 } };
    total.absorb(matrix::explore(&recoveries, None, density));
    eprintln!("crash: {total}");
    assert_eq!(total.violations, 0, "{total}");
    assert!(only.is_some() || total.states >= FLOOR, "{total}");
}

/// A crash while a repository is made leaves one or none, and `init` can be run again.
fn interrupted_init() -> Tally {
    let world = World::bare(scenario::plain());
    let counted = world.fork();
    counted.init().unwrap();
    let mut tally = Tally::default();
    for at in 1..=counted.crash.operations() {
        let world = world.fork();
        world.crash.stop_at(at);
        let made = world.init().is_ok();
        for (mode, seed) in CrashMode::MATRIX {
            let image = world.crashed(mode, seed);
            let judge = || -> Result<(), String> {
                match image.open() {
                    Ok(_) => {}
                    Err(shard_core::Error::RepositoryNotFound { .. }) if !made => {
                        image.init().map_err(|error| format!("init again: {error:?}"))?;
                    }
                    Err(error) => return Err(format!("open: {error:?}")),
                }
                image.write("file", b"content");
                let first = scenario::commit_all("first");
                (first.run)(&image).map_err(|error| format!("commit: {error:?}"))?;
                let left = image.crashed(CrashMode::Lost, 0);
                let state = left.open().and_then(|repository| repository.state());
                match state.map(|state| state.head_commit()) {
                    Ok(Some(_)) => Ok(()),
                    other => Err(format!("the first commit is lost: {other:?}")),
                }
            };
            tally.add(|| format!("init, operation {at}, {mode:?} {seed}"), judge());
        }
    }
    tally
}

/// Scenarios in which a defect shows, if it shows at all.
fn telling() -> Vec<Scenario> {
    let names = ["small commits", "objects into", "branches", "checkpoints", "sealing"];
    scenario::all().into_iter().filter(|scenario| names.iter().any(|name| scenario.name.starts_with(name))).collect()
}

fn violations(scenarios: &[Scenario], sabotage: Option<Sabotage>, density: Density) -> Tally {
    let layer: Option<Layer> = sabotage.map(|sabotage| -> Layer { Arc::new(move |disk| sabotage.over(disk)) });
    let undisturbed = matrix::undisturbed(scenarios, layer.as_ref());
    assert_eq!(undisturbed.violations, 0, "without a crash: {undisturbed}");
    matrix::explore(scenarios, layer.as_ref(), density)
}

const SAMPLE: Density = Density { points: 5, uses: 4 };

fn must_fail(what: &str, tally: &Tally) {
    eprintln!("sabotage, {what}: {} states, {} violations", tally.states, tally.violations);
    tally.shown.iter().take(3).for_each(|line| eprintln!("  {line}"));
    assert!(tally.violations > 0, "{what} goes unnoticed");
}

#[test]
fn a_build_that_does_not_sync_its_log_is_found_out() {
    must_fail("no log sync", &violations(&telling(), Some(Sabotage::no_file_sync("wal.log")), SAMPLE));
}

#[test]
fn a_build_that_does_not_sync_its_packs_is_found_out() {
    must_fail("no pack sync", &violations(&telling(), Some(Sabotage::no_file_sync(".pack")), SAMPLE));
}

#[test]
fn a_build_that_does_not_sync_directories_is_found_out() {
    must_fail("no directory sync", &violations(&telling(), Some(Sabotage::no_dir_sync("")), SAMPLE));
}

/// As if the log were replaced before what it speaks of is synced: nothing but logs, packs and temporaries ever is.
#[test]
fn a_build_that_replaces_its_log_early_is_found_out() {
    let sabotage = Sabotage::skipping(|call| {
        let path = call.path.to_string_lossy();
        let early =
            ["refs/heads", "refs/tags", "refs/peers", "HEAD", "index", "operations.log", "catalog.log", "chain.log"];
        matches!(call.operation, Operation::SyncData | Operation::SyncDir)
            && early.iter().any(|name| path.ends_with(name) || path.contains("refs/peers/"))
            || call.operation == Operation::SyncData && path.contains("refs/")
    });
    must_fail("early log replacement", &violations(&telling(), Some(sabotage), SAMPLE));
}

#[test]
fn a_build_that_writes_refs_in_place_is_found_out() {
    let mut scenarios = telling();
    scenarios.iter_mut().for_each(|scenario| scenario.base.trial.refs_in_place = true);
    must_fail("refs in place", &violations(&scenarios, None, SAMPLE));
}
