//! Failing disks: each operation that changes the disk fails, once or from then on.

use std::sync::Arc;

use shard_core::Error;
use shard_core::progress::Silent;
use shard_core::worktree::StatusOptions;
use shard_storage::vfs::{CrashMode, Failure, Fault, Injection, Operation, Select};

use super::judge::{Care, judge};
use super::matrix::{Tally, full};
use super::scenario::{Kind, Run, Scenario};
use super::world::{Layer, Snapshot, World};

/// Lets each operation of each scenario fail in every way.
pub fn explore(scenarios: &[Scenario]) -> Tally {
    let mut total = Tally::default();
    std::thread::scope(|scope| {
        let running: Vec<_> = scenarios.iter().map(|scenario| scope.spawn(|| explore_one(scenario))).collect();
        running.into_iter().for_each(|thread| total.absorb(thread.join().unwrap()));
    });
    total
}

fn explore_one(scenario: &Scenario) -> Tally {
    let mut tally = Tally::default();
    for (kind, failure) in [Failure::Io, Failure::NoSpace, Failure::ShortWrite].into_iter().enumerate() {
        for forever in [false, true] {
            let count = count(scenario, Select::Mutating);
            // In CI each kind of failure meets other operations.
            let (first, stride) = if full() { (1, 1) } else { (1 + kind as u64, 3) };
            for at in (first..=count).step_by(stride) {
                let injection = Injection { forever, ..Injection::once(Select::Mutating, at, failure) };
                fail(scenario, injection, &mut tally);
            }
        }
    }
    for operation in [Operation::Read, Operation::Write] {
        let select = Select::Only(operation);
        let stride = if full() { 1 } else { 29 };
        for at in (1..=count(scenario, select)).step_by(stride) {
            interrupt(scenario, Injection::once(select, at, Failure::Interrupted), &mut tally);
        }
    }
    tally
}

fn count(scenario: &Scenario, select: Select) -> u64 {
    let (world, fault) = faulty(scenario, Injection::once(select, u64::MAX, Failure::Io));
    scenario.run(&world);
    fault.operations()
}

fn faulty(scenario: &Scenario, injection: Injection) -> (World, Fault) {
    let fault = Fault::default();
    fault.inject(injection);
    let over = fault.clone();
    let layer: Layer = Arc::new(move |disk| over.over(disk));
    (World { layer: Some(layer), ..scenario.base.fork() }, fault)
}

/// Runs with one fault and judges what it leaves.
fn fail(scenario: &Scenario, injection: Injection, tally: &mut Tally) {
    let (world, fault) = faulty(scenario, injection.clone());
    let (run, error) = scenario.run_telling(&world);
    if fault.injected() == 0 {
        return;
    }
    let place = || {
        let step = scenario.steps.get(run.done).map_or("the end", |step| &step.name);
        let Injection { at, failure, forever, .. } = injection;
        format!("{}, operation {at} fails ({step}), {failure:?}, for ever: {forever}", scenario.name)
    };
    tally.add(place, told(&world, scenario, run, error.as_ref()));
    fault.disarm();
    let world = World { layer: None, ..world };
    for (mode, seed) in [(CrashMode::Kept, 0), (CrashMode::Lost, 0), (CrashMode::Random, 1)] {
        let uses = injection.at.is_multiple_of(3) || mode == CrashMode::Kept;
        let care = if uses { Care::Use } else { Care::Look };
        let verdict = judge(&world.crashed(mode, seed), scenario, run, None, care);
        tally.add(|| format!("{}, then {mode:?}", place()), verdict);
    }
}

/// What failed says so, and nothing of it is done; what reads still works, though the disk still fails.
fn told(world: &World, scenario: &Scenario, run: Run, error: Option<&Error>) -> Result<(), String> {
    let unknown = match error {
        Some(Error::DurabilityUnknown { .. }) => true,
        // Packs of its own, which nothing refers to, go again: there is nothing that would be unknown.
        Some(Error::Disk(error)) if error.operation == "sync" && !error.path.starts_with("/work/.shard/objects") => {
            return Err(format!("a failed sync is told as {error:?}"));
        }
        None | Some(Error::Disk(_)) => false,
        Some(other) => return Err(format!("told as {other:?}")),
    };
    let said = |error: Error| format!("reading beside a failing disk: {error:?}");
    let repository = world.open().map_err(said)?;
    let state = repository.state().map_err(said)?;
    repository.status(&StatusOptions::default(), &Silent).map_err(said)?;
    let snapshot = Snapshot::of(&repository, &state).map_err(said)?;
    let whole = scenario.steps.get(run.done).is_none_or(|step| step.kind == Kind::Transaction);
    let expected = &scenario.expected[run.done].snapshot;
    if whole && !unknown && snapshot != *expected {
        return Err(format!("it failed and yet: {}", expected.difference(&snapshot)));
    }
    Ok(())
}

/// A signal that interrupts a call is nobody's concern.
fn interrupt(scenario: &Scenario, injection: Injection, tally: &mut Tally) {
    let (world, fault) = faulty(scenario, injection.clone());
    let (run, error) = scenario.run_telling(&world);
    if fault.injected() == 0 {
        return;
    }
    let verdict = match error {
        Some(error) => Err(format!("{error:?}")),
        None => judge(&World { layer: None, ..world }.crashed(CrashMode::Lost, 0), scenario, run, None, Care::Look),
    };
    tally.add(|| format!("{}, interrupted: {injection:?}", scenario.name), verdict);
}
