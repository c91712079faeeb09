//! What a machine does until it stops, and what is expected of each step.

use shard_core::history::ref_name::RefName;
use shard_core::history::refs::Head;
use shard_core::history::revision::Revision;
use shard_core::progress::Silent;
use shard_core::repository::{Repository, Trial};
use shard_core::worktree::checkout::{Obstacles, SwitchTarget};
use shard_core::worktree::{AddOptions, CommitOptions};
use shard_core::{Error, RepoPath, Result};
use shard_storage::vfs::CrashMode;

use super::world::{Files, Snapshot, World};

/// What a step may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What the repository says, in one transaction. The worktree stays.
    Transaction,
    /// Nothing that shows.
    Upkeep,
    /// The index, then files are removed.
    Removal,
    /// Files, from what is stored.
    Restore,
    /// The index says where from and where to, files follow, then HEAD and index.
    Checkout,
    /// A file of the user's, unsynced: after a crash it holds anything.
    Edit(&'static str),
}

type Action = Box<dyn Fn(&World) -> Result<()> + Send + Sync>;

/// One command.
pub struct Step {
    pub name: String,
    pub kind: Kind,
    pub run: Action,
}

/// What a repository says and its worktree holds between two steps.
#[derive(Debug, Clone)]
pub struct Expected {
    pub snapshot: Snapshot,
    pub files: Files,
}

/// Commands, run one after another by processes of their own.
pub struct Scenario {
    pub name: String,
    pub base: World,
    pub steps: Vec<Step>,
    /// Before the first step, and after each.
    pub expected: Vec<Expected>,
    /// Where the checkout began and was to lead that the first step finds unfinished.
    pub sides: Option<[Expected; 2]>,
    /// Mutating operations of all steps.
    pub operations: u64,
}

/// How far a run came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Steps that said they succeeded.
    pub done: usize,
    /// Whether the next one had begun.
    pub in_flight: bool,
}

impl Scenario {
    /// Runs the steps once, unhindered, to learn what to expect after each.
    pub fn new(name: &str, base: World, steps: Vec<Step>) -> Self {
        base.crash.settle();
        let world = base.fork();
        let see = || {
            let repository = world.open().unwrap();
            let snapshot = Snapshot::of(&repository, &repository.state().unwrap()).unwrap();
            Expected { snapshot, files: world.files() }
        };
        let mut expected = vec![see()];
        for step in &steps {
            (step.run)(&world).unwrap_or_else(|error| panic!("{name}: {}: {error:?}", step.name));
            expected.push(see());
        }
        let operations = world.crash.operations();
        Self { name: name.to_owned(), base, steps, expected, sides: None, operations }
    }

    /// Runs on a machine that stops at an operation.
    fn stopped_at(&self, at: u64) -> (World, Run) {
        let world = self.base.fork();
        world.crash.stop_at(at);
        let run = self.run(&world);
        (world, run)
    }

    /// Runs the steps until one fails or the machine stops.
    pub fn run(&self, world: &World) -> Run {
        self.run_telling(world).0
    }

    /// Runs the steps until one fails or the machine stops, and tells why it failed.
    pub fn run_telling(&self, world: &World) -> (Run, Option<Error>) {
        for (done, step) in self.steps.iter().enumerate() {
            if let Err(error) = (step.run)(world) {
                return (Run { done, in_flight: true }, Some(error));
            }
            if world.crash.stopped() {
                return (Run { done: done + 1, in_flight: false }, None);
            }
        }
        (Run { done: self.steps.len(), in_flight: false }, None)
    }
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

pub fn path(text: &str) -> RepoPath {
    RepoPath::parse(text).unwrap()
}

fn step(name: impl Into<String>, kind: Kind, run: impl Fn(&Repository) -> Result<()> + Send + Sync + 'static) -> Step {
    Step { name: name.into(), kind, run: Box::new(move |world| run(&world.open()?)) }
}

fn transaction(name: impl Into<String>, run: impl Fn(&Repository) -> Result<()> + Send + Sync + 'static) -> Step {
    step(name, Kind::Transaction, run)
}

pub fn add(paths: &'static [&'static str]) -> Step {
    transaction(format!("add {paths:?}"), move |repository| {
        let paths: Vec<_> = paths.iter().map(|text| path(text)).collect();
        repository.add(&paths, AddOptions::default(), &Silent).map(drop)
    })
}

/// Commits what is staged or, with `paths`, these.
pub fn commit(message: &'static str, paths: &'static [&'static str]) -> Step {
    transaction(format!("commit {message}"), move |repository| {
        let paths = paths.iter().map(|text| path(text)).collect();
        let options = CommitOptions { message: message.to_owned(), paths, ..CommitOptions::default() };
        repository.commit(&options, &Silent).map(drop)
    })
}

pub fn commit_all(message: &'static str) -> Step {
    transaction(format!("commit -a {message}"), move |repository| {
        let options = CommitOptions { message: message.to_owned(), all: true, ..CommitOptions::default() };
        repository.commit(&options, &Silent).map(drop)
    })
}

fn amend(message: &'static str) -> Step {
    transaction("commit --amend", move |repository| {
        let options = CommitOptions { message: message.to_owned(), amend: true, ..CommitOptions::default() };
        repository.commit(&options, &Silent).map(drop)
    })
}

pub fn branch(name: &'static str) -> Step {
    transaction(format!("branch new {name}"), move |repository| {
        repository.create_branch(&RefName::branch(name)?, &Revision::head()).map(drop)
    })
}

fn delete_branch(name: &'static str) -> Step {
    transaction(format!("branch rm {name}"), move |repository| repository.delete_branch(name).map(drop))
}

fn rename_branch(old: &'static str, new: &'static str) -> Step {
    transaction(format!("branch rename {old} {new}"), move |repository| {
        repository.rename_branch(old, &RefName::branch(new)?).map(drop)
    })
}

pub fn tag(name: &'static str) -> Step {
    transaction(format!("tag new {name}"), move |repository| {
        repository.create_tag(&RefName::tag(name)?, &Revision::head(), true).map(drop)
    })
}

fn delete_tag(name: &'static str) -> Step {
    transaction(format!("tag rm {name}"), move |repository| repository.delete_tag(name).map(drop))
}

fn remove(name: &'static str, cached: bool) -> Step {
    let kind = if cached { Kind::Transaction } else { Kind::Removal };
    step(format!("rm {name}"), kind, move |repository| repository.remove(&[path(name)], cached, false, false).map(drop))
}

pub fn switch(revision: &'static str) -> Step {
    step(format!("switch {revision}"), Kind::Checkout, move |repository| {
        let state = repository.state()?;
        let store = repository.store(&state)?;
        let commit = repository.history(&state, &store).resolve(&revision.parse::<Revision>()?)?;
        let known = state.heads.contains_key(revision);
        let head = if known { Head::Branch(revision.to_owned()) } else { Head::Detached(commit) };
        let target = SwitchTarget { head, commit: Some(commit), create: false };
        repository.switch(&target, Obstacles::Refuse, &Silent).map(drop)
    })
}

fn switch_discarding(revision: &'static str) -> Step {
    step(format!("switch --discard {revision}"), Kind::Checkout, move |repository| {
        let state = repository.state()?;
        let commit = state.heads[revision];
        let target = SwitchTarget { head: Head::Branch(revision.to_owned()), commit: Some(commit), create: false };
        repository.switch(&target, Obstacles::Discard, &Silent).map(drop)
    })
}

pub fn end_checkout(forward: bool) -> Step {
    let name = if forward { "switch --continue" } else { "switch --abort" };
    step(name, Kind::Checkout, move |repository| repository.end_checkout(forward, &Silent).map(drop))
}

fn restore(paths: &'static [&'static str]) -> Step {
    step(format!("restore {paths:?}"), Kind::Restore, move |repository| {
        let paths: Vec<_> = paths.iter().map(|text| path(text)).collect();
        repository.restore(&paths, None, false, &Silent).map(drop)
    })
}

fn unstage(name: &'static str) -> Step {
    transaction(format!("restore --staged {name}"), move |repository| repository.unstage(&[path(name)], None).map(drop))
}

pub fn tidy() -> Step {
    step("tidy", Kind::Upkeep, |repository| {
        repository.tidy();
        Ok(())
    })
}

/// Asks what only the views tell, which brings them up to date.
fn look_up() -> Step {
    step("look up a prefix", Kind::Upkeep, |repository| {
        let state = repository.state()?;
        let store = repository.store(&state)?;
        repository.find_prefix(&state, &store, "00").map(drop)
    })
}

/// The user writes a file and does not sync it.
fn edit(name: &'static str, seed: u64, length: usize) -> Step {
    let run = move |world: &World| {
        world.write_unsynced(name, &noise(seed, length));
        // A machine that stops here has not even told the editor.
        if world.crash.stopped() { Err(shard_core::Error::Cancelled) } else { Ok(()) }
    };
    Step { name: format!("edit {name}"), kind: Kind::Edit(name), run: Box::new(run) }
}

fn run_all(world: &World, steps: &[Step]) {
    for step in steps {
        (step.run)(world).unwrap_or_else(|error| panic!("{}: {error:?}", step.name));
    }
    world.crash.settle();
}

/// A repository with two commits and some branches on them.
pub fn with_history(trial: Trial) -> World {
    let world = World::initialized(trial);
    world.write("a.txt", b"first\n");
    world.write("dir/b.bin", &noise(1, 3000));
    world.write("dir/sub/c.txt", b"deep\n");
    world.write("tool", b"#!/bin/sh\n");
    world.link("a.txt", "link");
    run_all(&world, &[commit_all("one"), branch("old")]);
    world.write("a.txt", b"second\n");
    world.write("d.txt", b"added\n");
    world.set_executable("tool");
    world.delete("dir/sub/c.txt");
    world.write("dir/b.bin", &noise(2, 3000));
    run_all(&world, &[commit_all("two"), branch("side")]);
    world
}

/// As it is configured for everybody.
pub fn plain() -> Trial {
    Trial::default()
}

/// Two trees that differ in every way.
pub fn two_trees() -> World {
    let world = with_history(plain());
    world.delete("link");
    world.write("link/now/a/directory", b"x");
    world.delete("d.txt");
    world.link("nowhere", "d.txt");
    world.write("big", &noise(3, 70_000));
    for number in 0..6 {
        world.write(&format!("many/{number}"), &noise(10 + number, 600));
    }
    world.delete("dir/b.bin");
    world.write("empty", b"");
    run_all(&world, &[commit_all("three")]);
    world
}

fn first_commit() -> Scenario {
    let world = World::initialized(plain());
    world.write("a.txt", b"first\n");
    world.write("dir/b.bin", &noise(1, 3000));
    world.write("dir/c.bin", &noise(2, 9000));
    world.link("a.txt", "link");
    let steps = vec![add(&["dir"]), commit("first", &[]), add(&["a.txt", "link"]), commit("second", &[]), tag("v1")];
    Scenario::new("first commit", world, steps)
}

fn small_commits() -> Scenario {
    let world = with_history(plain());
    world.write("a.txt", b"third\n");
    world.write("e.txt", b"new\n");
    world.write("f.txt", &noise(9, 5000));
    let steps = vec![
        commit("a path", &["a.txt"]),
        add(&["e.txt"]),
        unstage("e.txt"),
        add(&["e.txt"]),
        commit("staged", &[]),
        amend("said better"),
        commit_all("the rest"),
    ];
    Scenario::new("small commits", world, steps)
}

fn edits() -> Scenario {
    let world = with_history(plain());
    let steps = vec![
        edit("dir/b.bin", 21, 3000),
        commit_all("edited"),
        edit("dir/b.bin", 22, 3000),
        add(&["dir/b.bin"]),
        edit("new.bin", 23, 6000),
        commit_all("edited again"),
    ];
    Scenario::new("edits nobody synced", world, steps)
}

fn refs() -> Scenario {
    let steps = vec![
        branch("topic"),
        tag("v1"),
        rename_branch("topic", "topics/one"),
        branch("topics/two"),
        delete_branch("topics/one"),
        delete_branch("topics/two"),
        branch("topics"),
        delete_tag("v1"),
        branch("local/private"),
        rename_branch("main", "trunk"),
    ];
    Scenario::new("branches and tags", with_history(plain()), steps)
}

fn shared_packs() -> Scenario {
    let world = with_history(Trial { inline_objects: 2 << 10, ..plain() });
    world.write("one", &noise(31, 12_000));
    world.write("two", &noise(32, 600));
    world.write("three", &noise(33, 20_000));
    let steps = vec![
        commit("large", &["one"]),
        commit("small between", &["two"]),
        add(&["three"]),
        commit("large again", &[]),
        branch("large"),
    ];
    Scenario::new("objects into shared packs", world, steps)
}

fn own_packs() -> Scenario {
    let world = with_history(Trial { inline_objects: 2 << 10, staged_in_memory: 30_000, ..plain() });
    world.write("one", &noise(41, 100_000));
    world.write("two", &noise(42, 600));
    world.write("three", &noise(43, 90_000));
    let steps =
        vec![commit("huge", &["one"]), commit("small between", &["two"]), add(&["three"]), commit("again", &[])];
    Scenario::new("objects into packs of their own", world, steps)
}

fn instalments() -> Scenario {
    let trial = Trial {
        inline_objects: 2 << 10,
        staged_in_memory: 30_000,
        instalment_bytes: 60_000,
        instalment_least: 20_000,
        ..plain()
    };
    let world = with_history(trial);
    world.write("one", &noise(44, 300_000));
    world.write("two", &noise(45, 200_000));
    let steps = vec![commit("long", &["one"]), add(&["two"]), commit("after", &[])];
    Scenario::new("objects registered on the way", world, steps)
}

fn waiting_files() -> Scenario {
    let world = with_history(Trial { inline_file: 40, ..plain() });
    world.write("a.txt", b"third\n");
    let steps = vec![branch("topic"), commit("content waits in tmp", &["a.txt"]), tag("v1"), delete_branch("topic")];
    Scenario::new("files too large for the record", world, steps)
}

fn removals() -> Scenario {
    let steps = vec![
        remove("dir/b.bin", false),
        commit("without it", &[]),
        remove("d.txt", true),
        remove("tool", false),
        commit("nor these", &[]),
    ];
    Scenario::new("rm", with_history(plain()), steps)
}

fn switches() -> Scenario {
    let steps = vec![switch("old"), switch("side"), switch("main")];
    Scenario::new("switch", two_trees(), steps)
}

fn rescues() -> Scenario {
    let world = two_trees();
    world.write("a.txt", b"an edit in the way\n");
    world.write("d.txt.new", b"untracked\n");
    Scenario::new("switch over edits", world, vec![switch_discarding("old")])
}

fn restores() -> Scenario {
    let world = two_trees();
    world.write("a.txt", b"an edit nobody wants\n");
    world.delete("many/1");
    world.write("many/2", b"another");
    world.write("big", b"cut short");
    world.set_executable("empty");
    let steps = vec![restore(&["a.txt", "many"]), restore(&["big"]), restore(&["empty"])];
    Scenario::new("restore", world, steps)
}

fn checkpoints() -> Scenario {
    let world = with_history(Trial { checkpoint_records: 3, inline_objects: 2 << 10, ..plain() });
    world.write("a.txt", b"third\n");
    world.write("e.bin", &noise(51, 5000));
    let steps = vec![
        tidy(),
        branch("topics/one"),
        tidy(),
        commit("third", &["a.txt"]),
        tidy(),
        add(&["e.bin"]),
        delete_branch("topics/one"),
        tidy(),
        commit("fourth", &[]),
        tidy(),
    ];
    Scenario::new("checkpoints", world, steps)
}

fn seals() -> Scenario {
    let trial = Trial { checkpoint_records: 6, inline_objects: 2 << 10, seal_open_pack: 6_000, ..plain() };
    let world = with_history(trial);
    world.write("a.bin", &noise(61, 4_000));
    world.write("b.bin", &noise(62, 7_000));
    let steps = vec![commit("some", &["a.bin"]), tidy(), commit("more", &["b.bin"]), tidy(), branch("after"), tidy()];
    Scenario::new("sealing the shared packs", world, steps)
}

fn merges_of_the_index() -> Scenario {
    let world = World::initialized(Trial { staged_in_memory: 100, inline_objects: 50, ..plain() });
    for number in 0..9 {
        world.write("file", &noise(70 + number, 6_000));
        run_all(&world, &[commit_all("another pack")]);
    }
    world.write("file", &noise(80, 6_000));
    Scenario::new("merging the pack index", world, vec![tidy(), commit_all("after"), tidy()])
}

fn views() -> Scenario {
    let world = with_history(Trial { checkpoint_records: 4, ..plain() });
    world.write("a.txt", b"third\n");
    let steps = vec![look_up(), commit("third", &["a.txt"]), look_up(), tidy(), branch("b"), look_up(), tidy()];
    Scenario::new("views", world, steps)
}

/// Commands that find what a crash left: some points of other scenarios, stopped and crashed.
pub fn recoveries(points: u64) -> Vec<Scenario> {
    let mut found = Vec::new();
    for scenario in [small_commits(), shared_packs(), checkpoints()] {
        for at in (1..=scenario.operations).step_by((scenario.operations / points).max(1) as usize) {
            let (mode, seed) = CrashMode::MATRIX[at as usize % CrashMode::MATRIX.len()];
            let image = scenario.stopped_at(at).0.crashed(mode, seed);
            let name = format!("recovery of {} at {at}, {mode:?}", scenario.name);
            found.push(Scenario::new(&name, image, vec![branch("recovered"), tag("recovered"), tidy()]));
        }
    }
    let scenario = switches();
    for at in (1..=scenario.operations).step_by((scenario.operations / (2 * points)).max(1) as usize) {
        let (world, run) = scenario.stopped_at(at);
        for (mode, seed) in [(CrashMode::Kept, 0), (CrashMode::Random, 5)] {
            let image = world.crashed(mode, seed);
            let pending = image.open().and_then(|repository| repository.state()).unwrap().index.pending.is_some();
            for forward in [true, false].into_iter().filter(|_| pending) {
                let name = format!("an unfinished switch at {at}, {mode:?}");
                let sides = [scenario.expected[run.done].clone(), scenario.expected[run.done + 1].clone()];
                let ended = Scenario::new(&name, image.fork(), vec![end_checkout(forward)]);
                found.push(Scenario { sides: Some(sides), ..ended });
            }
        }
    }
    found
}

/// Every scenario that begins in good order; `init` and recovery are apart.
pub fn all() -> Vec<Scenario> {
    vec![
        first_commit(),
        small_commits(),
        edits(),
        refs(),
        shared_packs(),
        own_packs(),
        instalments(),
        waiting_files(),
        removals(),
        switches(),
        rescues(),
        restores(),
        checkpoints(),
        seals(),
        merges_of_the_index(),
        views(),
    ]
}
