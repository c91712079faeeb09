//! Scanning: the disk compared with a tree.
//!
//! Directories are taken by all threads. A directory whose every name and `lstat` is as remembered, and whose tree is
//! the one it was compared with, costs a listing and an `lstat` each and reads no tree. Nothing here reads a file: what
//! cannot be told from `lstat` alone is left [`ChangeKind::Unclear`].

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{Condvar, Mutex};

use shard_storage::vfs::{Dir, FileKind, Metadata};

use super::ignore::IgnoreStack;
use super::stat_cache::{Block, CachedDirectory, Identity, Remembered, StatCache};
use crate::ids::TreeId;
use crate::object::ObjectStore;
use crate::object::ingest::SkipReason;
use crate::repo_path::{MAX_COMPONENTS, MAX_PATH, PathProblem, validate_component};
use crate::repository::layout::SHARD;
use crate::tree::{EntryType, Tree, TreeEntry};
use crate::{RepoPath, Result};

/// Largest ignore file that is read.
const MAX_IGNORE: u64 = 1 << 20;

/// Which paths are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All of the worktree.
    All,
    /// These and what is beneath them.
    Paths(Vec<RepoPath>),
}

impl Scope {
    /// Says whether a path is in scope.
    pub fn covers(&self, path: &str) -> bool {
        match self {
            Self::All => true,
            Self::Paths(paths) => paths.iter().any(|scope| is_beneath(path, scope.as_str())),
        }
    }
}

fn is_beneath(path: &str, ancestor: &str) -> bool {
    ancestor.is_empty() || path.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A scope that answers quickly however many paths were named.
struct Reach {
    /// The paths named; `None` for everything.
    named: Option<BTreeSet<Box<str>>>,
}

impl Reach {
    fn of(scope: &Scope) -> Self {
        let named = match scope {
            Scope::All => None,
            Scope::Paths(paths) if paths.iter().any(RepoPath::is_root) => None,
            Scope::Paths(paths) => Some(paths.iter().map(|path| path.as_str().into()).collect()),
        };
        Self { named }
    }

    /// Says whether a path is in scope.
    fn covers(&self, path: &str) -> bool {
        let Some(named) = &self.named else { return true };
        let mut above = path.match_indices('/').map(|(slash, _)| &path[..slash]);
        named.contains(path) || above.any(|above| named.contains(above))
    }

    /// Says whether a directory or something beneath it may be in scope.
    fn reaches(&self, directory: &str) -> bool {
        self.covers(directory) || self.beneath(directory).next().is_some()
    }

    /// Lists the paths named beneath a directory.
    fn beneath<'s>(&'s self, directory: &str) -> impl Iterator<Item = &'s str> {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
        let range = self.named.as_ref().map(|named| named.range::<str, _>(from));
        range.into_iter().flatten().map(AsRef::as_ref).take_while(move |path| path.starts_with(&prefix))
    }
}

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// On disk, not in the tree, not ignored.
    Untracked,
    /// A directory on disk that is empty, and is not so in the tree.
    EmptyDirectory,
    /// In the tree, not on disk.
    Deleted,
    /// The disk has something else there, and it is known what.
    Modified(Identity),
    /// In both, and only reading it tells whether it differs.
    Unclear,
}

/// A path that differs, or may.
#[derive(Debug, Clone)]
pub struct Change {
    /// Where.
    pub path: RepoPath,
    /// How.
    pub kind: ChangeKind,
    /// What is on disk.
    pub disk: Option<Metadata>,
    /// What the tree has.
    pub base: Option<TreeEntry>,
}

/// Something that was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Where; as well as it can be shown.
    pub path: String,
    /// Why.
    pub reason: SkipReason,
}

/// A directory as it was found.
#[derive(Debug)]
pub(super) struct ScannedDirectory {
    pub(super) path: String,
    pub(super) tree: Option<TreeId>,
    /// Whether the tree has names that the disk has not.
    pub(super) missing: bool,
    /// Whether something in it could not be told or was not looked at.
    pub(super) passed_over: bool,
    /// Whether what is remembered of it is still exactly right.
    pub(super) reusable: bool,
    pub(super) entries: Vec<(Box<str>, Entry)>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Entry {
    /// A file that is what the tree says, as `lstat` and the cache show.
    Known(Identity, Metadata),
    /// A file whose content is not known yet, or that is not tracked.
    Open,
    /// A directory, with its tree where it is tracked.
    Directory(Option<TreeId>),
}

/// What a scan found.
#[derive(Debug)]
pub struct Scan {
    /// What differs, or may, in path order.
    pub changes: Vec<Change>,
    /// What was passed over.
    pub skipped: Vec<Skipped>,
    /// Ignored paths, where they were asked for; ignored directories by themselves.
    pub ignored: Vec<String>,
    /// Files that are as the tree says.
    pub unchanged: u64,
    pub(super) directories: Vec<ScannedDirectory>,
    pub(super) started_ns: i64,
    pub(super) granularity_ns: i64,
}

/// What to compare.
pub struct ScanRequest<'a> {
    /// The worktree.
    pub worktree: &'a Dir,
    /// Where trees are read from.
    pub store: &'a ObjectStore,
    /// What is remembered.
    pub cache: &'a StatCache,
    /// The tree to compare with.
    pub base: TreeId,
    /// Which paths.
    pub scope: &'a Scope,
    /// The user's own rules.
    pub ignore: IgnoreStack,
    /// Whether `.gitignore` counts.
    pub gitignore: bool,
    /// Whether ignored paths are taken for untracked ones: they were named, and forced.
    pub include_ignored: bool,
    /// Whether to list what is ignored.
    pub list_ignored: bool,
    /// Threads.
    pub threads: usize,
    /// The time, nanoseconds since 1970.
    pub now_ns: i64,
}

struct Task {
    path: String,
    tree: Option<TreeId>,
    ignore: IgnoreStack,
    ignored: bool,
}

#[derive(Default)]
struct Tasks {
    waiting: Vec<Task>,
    running: usize,
    failed: bool,
}

/// Tells the other workers to stop where one panics: they would wait for its directory for ever.
struct StopOnPanic<'a>(&'a Mutex<Tasks>, &'a Condvar);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).failed = true;
            self.1.notify_all();
        }
    }
}

#[derive(Default)]
struct Found {
    changes: Vec<Change>,
    skipped: Vec<Skipped>,
    ignored: Vec<String>,
    unchanged: u64,
    directories: Vec<ScannedDirectory>,
}

impl ScanRequest<'_> {
    /// Compares. Costs a listing for each directory and an `lstat` for each file.
    pub fn run(self) -> Result<Scan> {
        let granularity_ns = self.worktree.filesystem().map_or(2_000_000_000, |info| info.granularity_ns);
        let first = Task { path: String::new(), tree: Some(self.base), ignore: self.ignore.clone(), ignored: false };
        let tasks = Mutex::new(Tasks { waiting: vec![first], running: 0, failed: false });
        let changed = Condvar::new();
        let reach = Reach::of(self.scope);
        let work = || -> Result<Found> {
            let _stop = StopOnPanic(&tasks, &changed);
            let mut found = Found::default();
            loop {
                let task = {
                    let mut tasks = tasks.lock().expect("nothing panics while holding the tasks");
                    loop {
                        if tasks.failed {
                            return Ok(found);
                        }
                        if let Some(task) = tasks.waiting.pop() {
                            tasks.running += 1;
                            break task;
                        }
                        if tasks.running == 0 {
                            return Ok(found);
                        }
                        tasks = changed.wait(tasks).expect("nothing panics while holding the tasks");
                    }
                };
                let result = self.directory(task, &reach, &mut found);
                let mut tasks = tasks.lock().expect("nothing panics while holding the tasks");
                tasks.running -= 1;
                match result {
                    Ok(below) => {
                        let many = below.len() > 1;
                        tasks.waiting.extend(below);
                        if many || tasks.running == 0 {
                            changed.notify_all();
                        }
                    }
                    Err(error) => {
                        tasks.failed = true;
                        changed.notify_all();
                        return Err(error);
                    }
                }
            }
        };
        let results = std::thread::scope(|scope| {
            let others: Vec<_> = (1..self.threads.clamp(1, 8)).map(|_| scope.spawn(work)).collect();
            let mut results = vec![work()];
            results.extend(others.into_iter().map(|other| match other.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }));
            results
        });
        let mut all = Found::default();
        for result in results {
            let mut found = result?;
            all.changes.append(&mut found.changes);
            all.skipped.append(&mut found.skipped);
            all.ignored.append(&mut found.ignored);
            all.directories.append(&mut found.directories);
            all.unchanged += found.unchanged;
        }
        all.changes.sort_by(|a, b| a.path.cmp(&b.path));
        all.skipped.sort_by(|a, b| a.path.cmp(&b.path));
        all.ignored.sort();
        Ok(Scan {
            changes: all.changes,
            skipped: all.skipped,
            ignored: all.ignored,
            unchanged: all.unchanged,
            directories: all.directories,
            started_ns: self.now_ns,
            granularity_ns,
        })
    }

    fn directory(&self, task: Task, reach: &Reach, found: &mut Found) -> Result<Vec<Task>> {
        let skip = |path: &str, reason: SkipReason| Skipped { path: path.to_owned(), reason };
        let opened = if task.path.is_empty() { Ok(self.worktree.clone()) } else { self.worktree.open_dir(&task.path) };
        let listed = opened.and_then(|dir| Ok((dir.list()?, dir)));
        let (listing, dir) = match listed {
            Ok(listed) => listed,
            // What cannot be read keeps its recorded entries, all of them.
            Err(error) => {
                tracing::debug!(path = task.path, %error, "directory cannot be read");
                if reach.covers(&task.path) || task.tree.is_some() {
                    found.skipped.push(skip(&task.path, SkipReason::Unreadable));
                }
                return Ok(Vec::new());
            }
        };
        // A directory that is a repository of its own is never entered; the listing tells at no cost.
        if !task.path.is_empty() && listing.iter().any(|entry| entry.name.as_os_str() == SHARD) {
            return Ok(Vec::new());
        }
        let ignore = self.rules(&task, &dir, &listing);
        let cached = self.cache.directory(&task.path);
        let known_clean = cached.as_ref().is_some_and(|cached| cached.clean && cached.tree == task.tree);
        let mut base = Base { request: self, tree: task.tree, read: None };
        let mut scan = ScannedDirectory {
            path: task.path.clone(),
            tree: task.tree,
            missing: false,
            passed_over: false,
            reusable: known_clean,
            entries: Vec::with_capacity(listing.len()),
        };
        let mut below = Vec::new();
        let mut names: Vec<&str> = Vec::with_capacity(listing.len());
        let path_of = |name: &str| {
            if task.path.is_empty() { name.to_owned() } else { format!("{}/{name}", task.path) }
        };
        // Names are checked one by one; only here may a path be too long or too deep as a whole.
        let near_limit = task.path.len() + 256 > MAX_PATH || task.path.matches('/').count() + 2 > MAX_COMPONENTS;
        let mut meaningful = 0;
        for item in &listing {
            let name = match validate_component(std::os::unix::ffi::OsStrExt::as_bytes(item.name.as_os_str())) {
                Ok(name) => name,
                // Never looked at; but a directory that holds it is not empty.
                Err(PathProblem::Reserved | PathProblem::Temporary) => {
                    meaningful += 1;
                    continue;
                }
                Err(_) => {
                    meaningful += 1;
                    let path = path_of(&item.name.to_string_lossy());
                    if reach.covers(&path) {
                        found.skipped.push(skip(&path, SkipReason::Name));
                    }
                    scan.passed_over = true;
                    scan.reusable = false;
                    continue;
                }
            };
            meaningful += 1;
            names.push(name);
            let remembered = cached.as_ref().and_then(|cached| cached.get(name));
            let path = path_of(name);
            if item.kind == FileKind::Directory {
                let tree = match remembered.filter(|_| known_clean).and_then(|remembered| remembered.identity.tree()) {
                    Some(tree) => Some(tree),
                    None => base.get(name)?.and_then(TreeEntry::tree),
                };
                let ignored = tree.is_none() && (task.ignored || ignore.check(&path, true).is_ignored());
                if tree.is_none() {
                    // A directory that is not tracked matters by what is in it.
                    scan.reusable = false;
                    match base.get(name)? {
                        Some(entry) if matches!(entry.kind, EntryType::Unknown(_)) => {
                            // Of a later version: it is left alone.
                            scan.passed_over = true;
                            continue;
                        }
                        Some(entry) => found.delete(&path, entry, reach)?,
                        None => {}
                    }
                }
                if !ignored {
                    scan.entries.push((name.into(), Entry::Directory(tree)));
                }
                if ignored && !(self.include_ignored && reach.reaches(&path)) {
                    if self.list_ignored && reach.covers(&path) {
                        found.ignored.push(path);
                    }
                    continue;
                }
                if reach.reaches(&path) {
                    if RepoPath::check(path.as_bytes()).is_err() {
                        // Deeper or longer than a path may be: nothing beneath it can be recorded.
                        found.skipped.push(skip(&path, SkipReason::Name));
                        scan.passed_over = true;
                        continue;
                    }
                    let ignored = task.ignored || ignored || tree.is_some() && ignore.check(&path, true).is_ignored();
                    below.push(Task { path, tree, ignore: ignore.clone(), ignored });
                }
                continue;
            }
            if !reach.covers(&path) {
                // It stays as it is recorded.
                scan.reusable = false;
                scan.passed_over = true;
                if reach.reaches(&path)
                    && let Some(entry) = base.get(name)?
                {
                    // What was named beneath it went with the directory that stood here.
                    found.delete(&path, entry, reach)?;
                }
                continue;
            }
            if near_limit && RepoPath::check(path.as_bytes()).is_err() {
                found.skipped.push(skip(&path, SkipReason::Name));
                scan.passed_over = true;
                scan.reusable = false;
                continue;
            }
            let disk = match dir.metadata(name) {
                Ok(disk) => disk,
                // Gone between listing and looking: as if it had not been listed.
                Err(error) if error.is_not_found() => {
                    names.pop();
                    continue;
                }
                Err(_) => {
                    found.skipped.push(skip(&path, SkipReason::Unreadable));
                    scan.passed_over = true;
                    scan.reusable = false;
                    continue;
                }
            };
            let matching = remembered.filter(|remembered| remembered.matches(&disk));
            if let Some(remembered) = matching.filter(|_| known_clean) {
                found.unchanged += 1;
                scan.entries.push((name.into(), Entry::Known(remembered.identity, disk)));
                continue;
            }
            scan.reusable = false;
            self.compare_file(name, path, disk, matching, base.get(name)?, (&task, &ignore), &mut scan, found)?;
        }
        self.missing(&task, known_clean.then_some(cached).flatten(), &names, &mut base, reach, &mut scan, found)?;
        let empty = task.tree.is_none_or(|tree| tree != Tree::empty_id());
        if meaningful == 0 && empty && !task.path.is_empty() && !task.ignored && reach.covers(&task.path) {
            scan.reusable = false;
            found.changes.push(Change {
                path: RepoPath::parse(&task.path)?,
                kind: ChangeKind::EmptyDirectory,
                disk: None,
                base: None,
            });
        }
        found.directories.push(scan);
        Ok(below)
    }

    fn rules(&self, task: &Task, dir: &Dir, listing: &[shard_storage::vfs::DirEntry]) -> IgnoreStack {
        let read = |name: &str| {
            let listed = listing.binary_search_by(|entry| entry.name.as_os_str().cmp(name.as_ref())).is_ok();
            if listed { dir.read(name, MAX_IGNORE).ok() } else { None }
        };
        let shardignore = read(".shardignore");
        let gitignore = if self.gitignore { read(".gitignore") } else { None };
        task.ignore.push_directory(&task.path, shardignore.as_deref(), gitignore.as_deref())
    }

    #[allow(clippy::too_many_arguments, reason = "one file's facts, gathered in one place only")]
    fn compare_file(
        &self,
        name: &str,
        path: String,
        disk: Metadata,
        matching: Option<&Remembered<'_>>,
        base: Option<&TreeEntry>,
        (task, ignore): (&Task, &IgnoreStack),
        scan: &mut ScannedDirectory,
        found: &mut Found,
    ) -> Result<()> {
        if disk.kind == FileKind::Other {
            let ignored = task.ignored || ignore.check(&path, false).is_ignored();
            if !ignored || base.is_some() {
                scan.passed_over = true;
                found.skipped.push(Skipped { path, reason: SkipReason::Special });
            }
            return Ok(());
        }
        let Some(base) = base else {
            if (task.ignored || ignore.check(&path, false).is_ignored()) && !self.include_ignored {
                if self.list_ignored {
                    found.ignored.push(path);
                }
                return Ok(());
            }
            scan.entries.push((name.into(), Entry::Open));
            let path = RepoPath::parse(&path)?;
            found.changes.push(Change { path, kind: ChangeKind::Untracked, disk: Some(disk), base: None });
            return Ok(());
        };
        if matches!(base.kind, EntryType::Unknown(_)) {
            // Of a later version: it is left alone.
            scan.passed_over = true;
            return Ok(());
        }
        let recorded = Identity::of(base.kind, &base.content);
        let kind = match matching {
            Some(remembered) if Some(remembered.identity) == recorded => {
                found.unchanged += 1;
                scan.entries.push((name.into(), Entry::Known(remembered.identity, disk)));
                return Ok(());
            }
            Some(remembered) => ChangeKind::Modified(remembered.identity),
            None => ChangeKind::Unclear,
        };
        scan.entries.push((name.into(), Entry::Open));
        let path = RepoPath::parse(&path)?;
        found.changes.push(Change { path, kind, disk: Some(disk), base: Some(base.clone()) });
        Ok(())
    }

    /// Finds what the tree has and the disk has not.
    #[allow(clippy::too_many_arguments, reason = "one directory's facts, gathered in one place only")]
    fn missing(
        &self,
        task: &Task,
        clean: Option<CachedDirectory<'_>>,
        names: &[&str],
        base: &mut Base<'_, '_>,
        reach: &Reach,
        scan: &mut ScannedDirectory,
        found: &mut Found,
    ) -> Result<()> {
        if let Some(cached) = &clean {
            // Everything the tree has was remembered: were a name missing, the counts would differ.
            let present = cached
                .entries
                .iter()
                .all(|entry| names.binary_search_by(|name| name.as_bytes().cmp(entry.name.as_bytes())).is_ok());
            if present {
                return Ok(());
            }
        }
        scan.reusable = false;
        let Some(tree) = base.tree()? else { return Ok(()) };
        for entry in tree.entries() {
            if names.binary_search_by(|name| name.as_bytes().cmp(entry.name.as_bytes())).is_ok() {
                continue;
            }
            let path =
                if task.path.is_empty() { entry.name.to_string() } else { format!("{}/{}", task.path, entry.name) };
            if matches!(entry.kind, EntryType::Unknown(_)) {
                continue;
            }
            scan.missing = true;
            // Where only some of what is missing was asked for, the rest stays a difference that somebody has to find.
            scan.passed_over |= !reach.covers(&path);
            found.delete(&path, entry, reach)?;
        }
        Ok(())
    }
}

impl Found {
    /// Notes that what the tree has at `path` is gone, as far as it is in scope.
    fn delete(&mut self, path: &str, entry: &TreeEntry, reach: &Reach) -> Result<()> {
        let deleted = |path: &str, base: Option<&TreeEntry>| {
            Ok::<_, crate::Error>(Change {
                path: RepoPath::parse(path)?,
                kind: ChangeKind::Deleted,
                disk: None,
                base: base.cloned(),
            })
        };
        if reach.covers(path) {
            self.changes.push(deleted(path, Some(entry))?);
        } else if entry.tree().is_some() {
            // The directory is gone, and only some of what was beneath it was named.
            for named in reach.beneath(path) {
                self.changes.push(deleted(named, None)?);
            }
        }
        Ok(())
    }
}

/// A directory's tree, read when it is first asked for.
struct Base<'r, 's> {
    request: &'r ScanRequest<'s>,
    tree: Option<TreeId>,
    read: Option<Tree>,
}

impl Base<'_, '_> {
    fn tree(&mut self) -> Result<Option<&Tree>> {
        let Some(id) = self.tree else { return Ok(None) };
        if self.read.is_none() {
            self.read = Some(Tree::read(self.request.store, id)?);
        }
        Ok(self.read.as_ref())
    }

    fn get(&mut self, name: &str) -> Result<Option<&TreeEntry>> {
        Ok(self.tree()?.and_then(|tree| tree.get(name)))
    }
}

/// What became of a file whose content was not known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resolved {
    pub(super) identity: Identity,
    pub(super) disk: Metadata,
    /// Whether the directory's tree, as it is to be remembered, holds this content.
    pub(super) in_tree: bool,
}

/// Encodes what is now known of a directory that is to be remembered with `tree`. `resolved` gives the content of files
/// that had to be read, `subtree` the trees of subdirectories.
pub(super) fn block_of(
    scan: &ScannedDirectory,
    tree: Option<TreeId>,
    deletions_applied: bool,
    resolved: &dyn Fn(&str) -> Option<Resolved>,
    subtree: &dyn Fn(&str, Option<TreeId>) -> Option<TreeId>,
    times: (i64, i64),
) -> Vec<u8> {
    let mut clean = tree.is_some() && !scan.passed_over && (deletions_applied || !scan.missing);
    let mut remembered = Vec::with_capacity(scan.entries.len());
    for (name, entry) in &scan.entries {
        match entry {
            Entry::Known(identity, disk) => remembered.push(Remembered::new(name, *identity, disk, times.0, times.1)),
            Entry::Open => match resolved(name) {
                Some(resolved) => {
                    clean &= resolved.in_tree;
                    remembered.push(Remembered::new(name, resolved.identity, &resolved.disk, times.0, times.1));
                }
                None => clean = false,
            },
            Entry::Directory(tree) => match subtree(name, *tree) {
                Some(tree) => remembered.push(Remembered::directory(name, tree)),
                None => clean = false,
            },
        }
    }
    let mut block = Block::new(&scan.path, tree, clean);
    remembered.iter().for_each(|remembered| block.push(remembered));
    block.finish()
}
