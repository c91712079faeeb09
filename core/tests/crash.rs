//! Power cuts, kills, failing disks: what was acknowledged is there, the rest happened wholly or not at all.

mod support;

use std::sync::{Arc, Mutex};

use shard_core::Error;
use shard_core::history::ref_name::RefName;
use shard_core::history::refs::RefSet;
use shard_core::history::revision::Revision;
use shard_storage::vfs::{Call, CrashMode, Failure, Fault, Injection, Operation, Sabotage, Select};
use support::matrix::{self, Density, Tally};
use support::scenario::{self, Scenario};
use support::world::{Layer, World};
use support::{faults, log_damage};

/// States that are judged at least, so that no scenario silently shrinks.
const FLOOR: usize = 14_000;

#[test]
fn what_was_acknowledged_survives_a_crash_at_any_operation() {
    let only = std::env::var("SHARD_CRASH_ONLY").ok();
    let wanted = |scenario: &Scenario| only.as_ref().is_none_or(|only| scenario.name.contains(only));
    let points = if matrix::full() { 40 } else { 3 };
    let mut total = Tally::default();
    if only.is_none() {
        total.absorb(interrupted_init());
    }
    let scenarios: Vec<_> = scenario::all().into_iter().filter(wanted).collect();
    let density = if matrix::full() { Density::ALL } else { Density::SOME_USED };
    total.absorb(matrix::explore(&scenarios, None, density));
    let recoveries: Vec<_> = scenario::recoveries(points).into_iter().filter(wanted).collect();
    let density = if matrix::full() { Density::ALL } else { Density { points: 2, uses: 4 } };
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

#[test]
fn an_operation_that_fails_is_told_and_leaves_nothing_half_done() {
    let names = ["small commits", "objects into packs", "switch over edits"];
    let chosen = |scenario: &Scenario| matrix::full() || names.iter().any(|name| scenario.name.starts_with(name));
    let scenarios: Vec<_> = scenario::all().into_iter().filter(chosen).collect();
    let tally = faults::explore(&scenarios);
    eprintln!("errors: {tally}");
    assert_eq!(tally.violations, 0, "{tally}");
}

#[test]
fn after_a_failed_sync_a_process_writes_no_more_and_the_next_one_recovers() {
    for (path, mode) in [("wal.log", CrashMode::Lost), ("wal.log", CrashMode::Kept)] {
        let fault = Fault::default();
        let over = fault.clone();
        let layer: Layer = Arc::new(move |disk| over.over(disk));
        let world = World { layer: Some(layer), ..scenario::with_history(scenario::plain()) };
        let repository = world.open().unwrap();
        let branch = |name: &str| repository.create_branch(&RefName::branch(name).unwrap(), &Revision::head());
        fault.inject(Injection::once(Select::Only(Operation::SyncData), 1, Failure::Io).on(path));
        assert!(matches!(branch("one"), Err(Error::DurabilityUnknown { .. })));
        assert!(matches!(branch("two"), Err(Error::DurabilityUnknown { .. })), "the process is told every time");
        repository.state().unwrap();
        let next = world.crashed(mode, 0);
        let branch = scenario::branch("three");
        (branch.run)(&next).unwrap();
        let state = next.crashed(CrashMode::Lost, 0).open().and_then(|repository| repository.state()).unwrap();
        assert!(state.heads.contains_key("three") && !state.heads.contains_key("two"));
    }
}

/// At each operation another process opens the repository as a source, and then the power goes.
#[test]
fn what_a_source_shows_is_durable_at_any_operation() {
    let shown = Arc::new(Mutex::new((Tally::default(), 0)));
    for scenario in telling() {
        let (name, base) = (scenario.name.clone(), scenario.base.fork());
        let (seen, disk) = (shown.clone(), World { layer: None, ..base.clone() });
        let look = Sabotage::skipping(move |call: &Call<'_>| {
            if call.mutates && !call.path.ends_with("tmp") {
                let (tally, unsettled) = &mut *seen.lock().unwrap();
                let settled = disk.open().and_then(|repository| repository.state()).unwrap().is_settled();
                *unsettled += u32::from(!settled);
                let source = disk.source().unwrap();
                let Some(shown) = source.ref_sets().get(&source.actor()) else { return false };
                let number = |bytes: &[u8]| RefSet::verify(bytes, source.id()).unwrap().header().seq;
                for (mode, seed) in [(CrashMode::Lost, 0), (CrashMode::NamesLost, 0), (CrashMode::Random, 1)] {
                    let left = disk.crashed(mode, seed).open().and_then(|repository| repository.state()).unwrap();
                    let held = left.peers.get(&source.actor()).map_or(&[][..], Vec::as_slice);
                    let kept = held == shown || number(held) > number(shown);
                    let verdict = if kept { Ok(()) } else { Err(format!("{} was shown and is gone", number(shown))) };
                    tally.add(|| format!("{name}, {:?} of {}, {mode:?}", call.operation, call.path.display()), verdict);
                }
            }
            false
        });
        let world = World { layer: Some(Arc::new(move |disk| look.over(disk))), ..base };
        assert_eq!(scenario.run(&world).done, scenario.steps.len());
    }
    let (tally, unsettled) = &*shown.lock().unwrap();
    eprintln!("published: {tally}, {unsettled} times ahead of what was applied");
    assert_eq!(tally.violations, 0, "{tally}");
    assert!(*unsettled > 50, "{unsettled}");
}

#[test]
fn a_source_whose_last_sync_failed_shows_nothing() {
    let fault = Fault::default();
    let over = fault.clone();
    let layer: Layer = Arc::new(move |disk| over.over(disk));
    let world = World { layer: Some(layer), ..scenario::with_history(scenario::plain()) };
    fault.inject(Injection::once(Select::Only(Operation::SyncData), 1, Failure::Io).on("wal.log"));
    assert!((scenario::branch("one").run)(&world).is_err());
    assert!(matches!(world.source(), Err(Error::DurabilityUnknown { .. })));
    // The next command that writes finds out what is there.
    (scenario::branch("two").run)(&world).unwrap();
    world.source().unwrap();
    // A sync that fails when the source is opened is no better.
    let ahead = World { boot: 2, ..world.clone() };
    fault.inject(Injection::once(Select::Only(Operation::SyncData), 1, Failure::Io).on("wal.log"));
    assert!(matches!(ahead.source(), Err(Error::DurabilityUnknown { .. })));
    fault.disarm();
    ahead.source().unwrap();
}

#[test]
fn a_log_cut_or_flipped_anywhere_gives_a_prefix_or_is_told() {
    let (fresh, applied) = (log_damage::explore(false), log_damage::explore(true));
    eprintln!("log: {fresh}\nlog, applied: {applied}");
    assert_eq!((fresh.violations, applied.violations), (0, 0), "{fresh}\n{applied}");
}
