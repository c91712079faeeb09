//! What is wrong with what a crash left.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use shard_core::history::commit;
use shard_core::history::refs::RefSet;
use shard_core::ids::TreeId;
use shard_core::object::{ObjectStore, reader};
use shard_core::progress::Silent;
use shard_core::repository::{FsckLevel, Repository};
use shard_core::tree::{EntryType, walk};
use shard_core::worktree::{CommitOptions, StatusOptions};
use shard_core::{Error, Result};
use shard_storage::vfs::{CrashMode, FileKind};

use super::scenario::{Expected, Kind, Run, Scenario};
use super::world::{Files, Snapshot, World};

/// Which of its possible states a crash left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Before,
    After,
    /// A checkout has begun and not ended.
    Pending,
}

/// How thoroughly an image is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Care {
    /// Read without a lock, every object.
    Look,
    /// Then write, cut the power, and look again.
    Use,
}

/// A verdict: what is wrong.
pub type Verdict = std::result::Result<(), String>;

trait Or<T> {
    fn or_say(self, what: &str) -> std::result::Result<T, String>;
}

impl<T> Or<T> for Result<T> {
    fn or_say(self, what: &str) -> std::result::Result<T, String> {
        self.map_err(|error| format!("{what}: {error}: {error:?}"))
    }
}

/// Judges an image by what its machine had acknowledged, and what it might have published.
pub fn judge(image: &World, scenario: &Scenario, run: Run, published: Option<&Snapshot>, care: Care) -> Verdict {
    catch_unwind(AssertUnwindSafe(|| judge_image(image, scenario, run, published, care))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(format!("panic: {}", text.or(panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default()))
    })
}

fn judge_image(image: &World, scenario: &Scenario, run: Run, published: Option<&Snapshot>, care: Care) -> Verdict {
    let before = &scenario.expected[run.done];
    let step = run.in_flight.then(|| &scenario.steps[run.done]);
    let after = step.map(|_| &scenario.expected[run.done + 1]);
    let repository = image.open().or_say("open")?;
    let state = repository.state().or_say("read the state")?;
    let snapshot = Snapshot::of(&repository, &state).or_say("verify the ref set")?;
    let found = find(&snapshot, before, after, step.map(|step| step.kind))?;
    if let Some(published) = published
        && published.published.0 > snapshot.published.0
    {
        return Err(format!("ref set {} was published, {} is left", published.published.0, snapshot.published.0));
    }
    check_objects(&repository, &snapshot)?;
    let files = image.files();
    let sides = match (&scenario.sides, found) {
        (Some([from, to]), Found::Pending) => Some((from, to)),
        (_, Found::Pending) => after.map(|after| (before, after)),
        _ => None,
    };
    match sides {
        Some((from, to)) => check_files(&files, scenario, run, from, Some(to), found)?,
        None => check_files(&files, scenario, run, before, after, found)?,
    }
    // A user's file that a power cut took or tore is no concern of ours; that it is told is.
    repository.status(&StatusOptions::default(), &Silent).or_say("status")?;
    if care == Care::Look {
        return Ok(());
    }
    match sides {
        Some((from, to)) => {
            end(image, true, from, to)?;
            end(image, false, from, to)
        }
        None => carry_on(image, &snapshot),
    }
}

fn find(
    snapshot: &Snapshot,
    before: &Expected,
    after: Option<&Expected>,
    kind: Option<Kind>,
) -> std::result::Result<Found, String> {
    if *snapshot == before.snapshot {
        return Ok(if before.snapshot.index.pending.is_some() { Found::Pending } else { Found::Before });
    }
    let Some(after) = after else {
        return Err(format!("acknowledged and gone: {}", before.snapshot.difference(snapshot)));
    };
    if *snapshot == after.snapshot {
        return Ok(Found::After);
    }
    if let (Some(Kind::Checkout), Some(pending)) = (kind, &snapshot.index.pending) {
        let mut settled = snapshot.clone();
        settled.index.pending = None;
        let leads = pending.from == before.snapshot.index.tree
            && pending.to == after.snapshot.index.tree
            && pending.head == after.snapshot.head;
        if settled == before.snapshot && leads {
            return Ok(Found::Pending);
        }
    }
    Err(format!(
        "neither before ({}) nor after ({})",
        before.snapshot.difference(snapshot),
        after.snapshot.difference(snapshot)
    ))
}

/// Reads every object the repository stands at.
fn check_objects(repository: &Repository, snapshot: &Snapshot) -> Verdict {
    let state = repository.state().or_say("read the state again")?;
    let store = repository.store(&state).or_say("open the objects")?;
    let report = repository.verify(&store, &repository.tips(&state), &Silent).or_say("verify")?;
    if !report.is_sound() || report.untrusted > 0 {
        return Err(format!("verify: {:?}, {} untrusted", report.failures, report.untrusted));
    }
    let mut trees = vec![snapshot.index.tree];
    trees.extend(snapshot.index.pending.iter().flat_map(|pending| [pending.from, pending.to]));
    for tree in trees {
        content_of(&store, tree).or_say("read what is staged")?;
    }
    Ok(())
}

/// What a tree holds, as it would lie on disk.
pub fn content_of(store: &ObjectStore, tree: TreeId) -> Result<Files> {
    let mut files = Files::new();
    walk::visit(store, tree, None, &mut |path, entry| {
        let kind = match entry.kind {
            EntryType::Directory | EntryType::Unknown(_) => return Ok(()),
            EntryType::Symlink => FileKind::Symlink,
            EntryType::File | EntryType::Executable => FileKind::File,
        };
        let bytes = reader::read_all(store, &entry.content, entry.size, 1 << 30)?;
        files.insert(path.to_string(), (kind, entry.kind == EntryType::Executable, bytes));
        Ok(())
    })?;
    Ok(files)
}

fn check_files(
    files: &Files,
    scenario: &Scenario,
    run: Run,
    before: &Expected,
    after: Option<&Expected>,
    found: Found,
) -> Verdict {
    let mut loose = BTreeSet::new();
    let begun = run.done + usize::from(run.in_flight);
    for (at, step) in scenario.steps[..begun].iter().enumerate() {
        match step.kind {
            Kind::Edit(path) => _ = loose.insert(path.to_owned()),
            // One that had not ended leaves some of the files, no longer tracked; one that had leaves none.
            Kind::Removal if at == run.done => {
                let (old, new) = (&scenario.expected[at].files, &scenario.expected[at + 1].files);
                loose.extend(old.keys().filter(|path| !new.contains_key(*path)).cloned());
            }
            _ => {}
        }
    }
    let kind = after.map(|_| scenario.steps[run.done].kind);
    let exact = match (found, kind) {
        (Found::Pending, _) | (_, Some(Kind::Restore)) => None,
        (Found::Before, _) => Some(&before.files),
        (Found::After, _) => after.map(|after| &after.files),
    };
    let empty = Files::new();
    let (old, new) = match exact {
        Some(exact) => (exact, exact),
        None => (&before.files, after.map_or(&empty, |after| &after.files)),
    };
    let paths: BTreeSet<&String> = files.keys().chain(old.keys()).chain(new.keys()).collect();
    for path in paths.into_iter().filter(|path| !loose.contains(*path)) {
        let (there, old, new) = (files.get(path), old.get(path), new.get(path));
        if there != old && there != new {
            let show = |entry: Option<&(FileKind, bool, Vec<u8>)>| {
                entry.map(|(kind, executable, bytes)| {
                    let zeros = bytes.iter().filter(|&&byte| byte == 0).count();
                    format!("{kind:?} x={executable} {} bytes, {zeros} zero", bytes.len())
                })
            };
            let (there, old, new) = (show(there), show(old), show(new));
            return Err(format!("{found:?}: file {path} is {there:?}, was {old:?}, would be {new:?}"));
        }
    }
    Ok(())
}

fn check_fsck(repository: &Repository) -> Verdict {
    let report = repository.fsck(FsckLevel::Full, &Silent).or_say("fsck")?;
    if report.is_sound() { Ok(()) } else { Err(format!("fsck: {:?}", report.problems)) }
}

/// Ends an interrupted checkout, cuts the power, and holds what is left against what was to be reached.
fn end(image: &World, forward: bool, before: &Expected, after: &Expected) -> Verdict {
    let wanted = if forward { after } else { before };
    let direction = if forward { "--continue" } else { "--abort" };
    let world = image.fork();
    let repository = world.open().or_say(direction)?;
    // What differed from what is recorded is the user's: it stays, or it was saved and either side may be there.
    let state = repository.state().or_say(direction)?;
    let recorded = repository
        .store(&state)
        .and_then(|store| content_of(&store, before.snapshot.index.tree))
        .or_say("read what was staged")?;
    repository.end_checkout(forward, &Silent).or_say(direction)?;
    drop(repository);
    let edited = |path: &String| {
        let sides = [before.files.get(path), after.files.get(path), recorded.get(path)];
        (before.files.get(path) != recorded.get(path)).then_some(sides)
    };
    for (mode, seed) in [(CrashMode::Kept, 0), (CrashMode::Lost, 0), (CrashMode::Random, 11)] {
        let left = world.crashed(mode, seed);
        let repository = left.open().or_say(direction)?;
        let snapshot = Snapshot::of(&repository, &repository.state().or_say(direction)?).or_say(direction)?;
        let mut expected = wanted.snapshot.clone();
        expected.index.pending = None;
        if snapshot != expected {
            return Err(format!("{direction}, then {mode:?}: {}", expected.difference(&snapshot)));
        }
        let (files, wanted) = (left.files(), &wanted.files);
        let allowed = |path: &String| {
            let there = files.get(path);
            edited(path).is_some_and(|sides| sides.contains(&there)) || there == wanted.get(path)
        };
        let differ: Vec<_> = files.keys().chain(wanted.keys()).filter(|path| !allowed(path)).collect();
        if !differ.is_empty() {
            return Err(format!("{direction}, then {mode:?}: these files differ: {differ:?}"));
        }
        let status = repository.status(&StatusOptions::default(), &Silent).or_say(direction)?;
        let edits = before.files.iter().any(|(path, _)| edited(path).is_some());
        if !edits && !status.is_clean() {
            return Err(format!("{direction}, then {mode:?}: {status:?}"));
        }
        check_fsck(&repository)?;
    }
    Ok(())
}

/// Commits once more, cuts the power, and looks for the commit.
fn carry_on(image: &World, found: &Snapshot) -> Verdict {
    let world = image.fork();
    world.write("after the crash", b"life goes on\n");
    let repository = world.open().or_say("open again")?;
    let options = CommitOptions { message: "after the crash".to_owned(), all: true, ..CommitOptions::default() };
    let report = repository.commit(&options, &Silent).or_say("commit again")?;
    let Some(id) = report.id else { return Err("no commit was made".to_owned()) };
    drop(repository);
    let files = world.files();
    for (mode, seed) in [(CrashMode::Lost, 0), (CrashMode::Random, 7)] {
        let left = world.crashed(mode, seed);
        let again = |what: &str| format!("after another crash ({mode:?}): {what}");
        let repository = left.open().or_say(&again("open"))?;
        let state = repository.state().or_say(&again("read the state"))?;
        if state.head_commit() != Some(id) {
            return Err(again("the acknowledged commit is gone"));
        }
        let snapshot = Snapshot::of(&repository, &state).or_say(&again("verify the ref set"))?;
        check_chain(&repository, found, &snapshot).map_err(|why| again(&why))?;
        check_objects(&repository, &snapshot).map_err(|why| again(&why))?;
        let store = repository.store(&state).or_say(&again("open the objects"))?;
        let tree = commit::read(&store, id).or_say(&again("read the commit"))?.tree;
        let committed = content_of(&store, tree).or_say(&again("read the tree"))?;
        if committed != files {
            let differ: Vec<_> =
                files.keys().chain(committed.keys()).filter(|path| files.get(*path) != committed.get(*path)).collect();
            return Err(again(&format!("the commit does not hold what lay on disk: {differ:?}")));
        }
        check_fsck(&repository).map_err(|why| again(&why))?;
    }
    Ok(())
}

/// A ref set follows the one before it: a number used twice is a fork.
fn check_chain(repository: &Repository, old: &Snapshot, new: &Snapshot) -> Verdict {
    if new.published == old.published {
        return Ok(());
    }
    let header = |bytes: &[u8]| -> Result<Option<_>, Error> {
        match bytes {
            [] => Ok(None),
            bytes => Ok(Some(RefSet::verify(bytes, repository.id())?.header().clone())),
        }
    };
    let (before, after) = (header(&old.published.1).or_say("ref set")?, header(&new.published.1).or_say("ref set")?);
    let follows = after.is_some_and(|after| {
        after.prev == before.as_ref().map(|before| before.digest())
            && after.seq == before.as_ref().map_or(0, |before| before.seq) + 1
    });
    if follows { Ok(()) } else { Err("the new ref set does not follow the one before".to_owned()) }
}
