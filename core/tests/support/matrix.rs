//! Stopping a scenario at every operation and crashing it in every way.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use shard_storage::vfs::CrashMode;

use super::judge::{Care, judge};
use super::scenario::Scenario;
use super::world::{Layer, Snapshot, World};

/// Violations shown; there may be thousands of the same kind.
const SHOWN: usize = 12;

/// What a matrix found.
#[derive(Debug, Default)]
pub struct Tally {
    pub states: usize,
    pub violations: usize,
    pub shown: Vec<String>,
}

impl Tally {
    pub fn add(&mut self, place: impl FnOnce() -> String, verdict: Result<(), String>) {
        self.states += 1;
        if let Err(why) = verdict {
            self.violations += 1;
            if self.shown.len() < SHOWN {
                self.shown.push(format!("{}: {why}", place()));
            }
        }
    }

    pub fn absorb(&mut self, other: Tally) {
        self.states += other.states;
        self.violations += other.violations;
        self.shown.extend(other.shown);
        self.shown.truncate(SHOWN);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} states, {} violations", self.states, self.violations)?;
        self.shown.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// Says whether everything is to be tried, not only what CI has time for.
pub fn full() -> bool {
    std::env::var_os("SHARD_CRASH_FULL").is_some_and(|value| value == "1")
}

/// Which points and images are tried.
#[derive(Debug, Clone, Copy)]
pub struct Density {
    /// Every so many operations the machine is stopped.
    pub points: u64,
    /// Every so many images the repository is used after the crash, not only read.
    pub uses: usize,
}

impl Density {
    pub const ALL: Self = Self { points: 1, uses: 1 };
    /// What CI has time for.
    pub const SOME_USED: Self = Self { points: 1, uses: 4 };
}

/// The ways to crash.
fn cases() -> Vec<(CrashMode, u64)> {
    let mut cases = CrashMode::MATRIX.to_vec();
    if full() {
        cases.extend((4..12).map(|seed| (CrashMode::Random, seed)));
        cases.extend((2..6).map(|seed| (CrashMode::Torn, seed)));
    }
    cases
}

/// Runs scenarios to their end, with what lies over the disk: a defect that shows without a crash proves nothing.
pub fn undisturbed(scenarios: &[Scenario], layer: Option<&Layer>) -> Tally {
    let mut tally = Tally::default();
    for scenario in scenarios {
        let world = World { layer: layer.cloned(), ..scenario.base.fork() };
        let run = scenario.run(&world);
        let repository = World { layer: None, ..world.clone() }.open().unwrap();
        let end = repository.state().and_then(|state| Snapshot::of(&repository, &state)).unwrap();
        let expected = &scenario.expected[scenario.steps.len()].snapshot;
        let right = run.done == scenario.steps.len() && end == *expected;
        tally.add(|| scenario.name.clone(), if right { Ok(()) } else { Err(expected.difference(&end)) });
    }
    tally
}

/// Stops a scenario at every operation, a thread for each core sharing the points.
pub fn explore(scenarios: &[Scenario], layer: Option<&Layer>, density: Density) -> Tally {
    let points: Vec<(&Scenario, u64)> = scenarios
        .iter()
        // Names and numbers are random, so that a run may take some operations more than the one counted.
        .flat_map(|scenario| (1..=scenario.operations + 2).map(move |at| (scenario, at)))
        .filter(|(_, at)| at % density.points == 0)
        .collect();
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Tally::default());
    let work = || {
        let mut tally = Tally::default();
        while let Some((scenario, at)) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
            crash_at(scenario, *at, layer, density, &mut tally);
        }
        total.lock().unwrap().absorb(tally);
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    total.into_inner().unwrap()
}

/// Stops a scenario at one operation and judges every image.
fn crash_at(scenario: &Scenario, at: u64, layer: Option<&Layer>, density: Density, tally: &mut Tally) {
    let world = World { layer: layer.cloned(), ..scenario.base.fork() };
    world.crash.stop_at(at);
    let run = scenario.run(&world);
    if !world.crash.stopped() {
        return;
    }
    let published = publishable(&world);
    for (number, (mode, seed)) in cases().into_iter().enumerate() {
        let image = world.crashed(mode, seed);
        let uses = (at as usize + number).is_multiple_of(density.uses);
        let care = if uses { Care::Use } else { Care::Look };
        let verdict = judge(&image, scenario, run, published.as_ref(), care);
        let place = || {
            let step = scenario.steps.get(run.done).map_or("the end", |step| &step.name);
            let step = if run.in_flight { step.to_owned() } else { format!("before {step}") };
            format!("{}, operation {at} ({step}), {mode:?} {seed}", scenario.name)
        };
        tally.add(place, verdict);
    }
}

/// What another process might have published just before the power went: what a reader took for durable.
fn publishable(world: &World) -> Option<Snapshot> {
    let seen = world.crashed(CrashMode::Kept, 0);
    let repository = seen.open().ok()?;
    let state = repository.state().ok().filter(|state| state.is_settled())?;
    Snapshot::of(&repository, &state).ok()
}
