//! Gathering: what a scan left open is read, and what is to be staged becomes edits to a tree.

use std::collections::{HashMap, HashSet};

use shard_storage::vfs::{Dir, Metadata};

use super::scan::{Change, ChangeKind, Entry, Resolved, Scan, ScanRequest, Scope, Skipped, block_of};
use super::stat_cache::{Identity, StatCache};
use crate::clock::Clock;
use crate::history::refs::Head;
use crate::ids::TreeId;
use crate::object::ObjectStore;
use crate::object::ingest::{IngestJob, IngestOutcome, SinkSource, SkipReason, ingest, ingest_link};
use crate::progress::{Progress, Unit};
use crate::repository::{Repository, State};
use crate::tree::editor::{Node, TreeEditor};
use crate::tree::{Content, manifest};
use crate::worktree::ignore::IgnoreStack;
use crate::{Error, RepoPath, Result};

/// A change whose content is known.
#[derive(Debug, Clone)]
pub(super) struct Gathered {
    pub(super) path: RepoPath,
    /// What the disk has; `None` where it has nothing.
    pub(super) node: Option<Node>,
    pub(super) disk: Option<Metadata>,
    /// What the tree had.
    pub(super) base: Option<crate::tree::TreeEntry>,
}

/// What a scan and the reading of open files gave.
#[derive(Debug)]
pub(super) struct Gathering {
    pub(super) scan: Scan,
    /// Real differences, in path order.
    pub(super) changes: Vec<Gathered>,
    /// Files read and found to be as the tree says.
    pub(super) confirmed: Vec<Gathered>,
    pub(super) skipped: Vec<Skipped>,
    pub(super) bytes: u64,
}

impl Gathering {
    /// Returns what `lstat` says of each tracked file and each difference that was looked at.
    pub(super) fn disk(&self) -> HashMap<String, Metadata> {
        let mut seen = HashMap::new();
        for directory in &self.scan.directories {
            for (name, entry) in &directory.entries {
                if let Entry::Known(_, disk) = entry {
                    let above = directory.path.as_str();
                    let path = if above.is_empty() { name.to_string() } else { format!("{above}/{name}") };
                    seen.insert(path, *disk);
                }
            }
        }
        let read = self.changes.iter().chain(&self.confirmed);
        seen.extend(read.filter_map(|gathered| Some((gathered.path.to_string(), gathered.disk?))));
        seen
    }
}

/// What of a scan is to be read.
pub(super) enum Select<'a> {
    /// What is tracked.
    Tracked,
    /// What is tracked, and untracked files that the function admits.
    Everything(&'a dyn Fn(&Change) -> Result<(), SkipReason>),
}

impl Repository {
    pub(super) fn user_rules(&self) -> IgnoreStack {
        IgnoreStack::new(self.settings().user_ignore.as_deref().map(|rules| ("user ignore file", rules)))
    }

    pub(super) fn scan(
        &self,
        store: &ObjectStore,
        cache: &StatCache,
        base: TreeId,
        scope: &Scope,
        include_ignored: bool,
        list_ignored: bool,
    ) -> Result<Scan> {
        ScanRequest {
            worktree: &self.layout().worktree,
            store,
            cache,
            base,
            scope,
            ignore: self.user_rules(),
            gitignore: self.settings().gitignore,
            include_ignored,
            list_ignored,
            threads: self.settings().threads,
            now_ns: now_ns(self.clock()),
        }
        .run()
    }

    /// Reads what a scan left open. Content goes to `source`; with [`Discard`](crate::object::Discard) nothing is kept.
    pub(super) fn gather<S: SinkSource>(
        &self,
        store: &ObjectStore,
        scan: Scan,
        select: Select<'_>,
        source: S,
        progress: &dyn Progress,
    ) -> Result<Gathering> {
        self.gather_from(&self.layout().worktree, store, scan, select, source, progress)
    }

    /// As [`gather`](Self::gather), from another directory than the worktree.
    pub(super) fn gather_from<S: SinkSource>(
        &self,
        root: &Dir,
        store: &ObjectStore,
        mut scan: Scan,
        select: Select<'_>,
        source: S,
        progress: &dyn Progress,
    ) -> Result<Gathering> {
        let mut skipped = std::mem::take(&mut scan.skipped);
        let mut changes = Vec::new();
        let mut confirmed = Vec::new();
        let (mut jobs, mut files) = (Vec::new(), Vec::new());
        let mut links = source.sink();
        for change in std::mem::take(&mut scan.changes) {
            if matches!(change.kind, ChangeKind::Untracked | ChangeKind::EmptyDirectory) {
                match select {
                    Select::Tracked => {
                        scan.changes.push(change);
                        continue;
                    }
                    Select::Everything(admit) => {
                        if let Err(reason) = admit(&change) {
                            skipped.push(Skipped { path: change.path.to_string(), reason });
                            scan.changes.push(change);
                            continue;
                        }
                    }
                }
            }
            let Change { path, kind, disk, base } = change;
            match (kind, disk) {
                (ChangeKind::EmptyDirectory, _) => {
                    changes.push(Gathered { path, node: Some(Node::empty_directory()), disk: None, base });
                }
                (ChangeKind::Deleted, _) | (_, None) => changes.push(Gathered { path, node: None, disk: None, base }),
                (_, Some(disk)) if disk.kind == shard_storage::vfs::FileKind::Symlink => {
                    match root.read_link(path.as_str()) {
                        Ok(target) => {
                            let target = std::os::unix::ffi::OsStrExt::as_bytes(target.as_os_str());
                            let node = ingest_link(target, &mut links)?;
                            let gathered = Gathered { path, node: Some(node), disk: Some(disk), base };
                            sort_out(gathered, &mut changes, &mut confirmed);
                        }
                        Err(_) => skipped.push(Skipped { path: path.to_string(), reason: SkipReason::Unreadable }),
                    }
                }
                (_, Some(disk)) => {
                    let recorded = match base.as_ref().map(|base| (&base.content, base.size)) {
                        // Were it absent or damaged, the file here may be the only copy: it is taken in as a new one.
                        Some((Content::Manifest(id), size)) if size == disk.size => {
                            match manifest::read_node(store, *id) {
                                Ok(node) => Some((node.profile, size)),
                                Err(Error::ObjectNotFound { .. } | Error::ObjectCorrupt { .. }) => None,
                                Err(error) => return Err(error),
                            }
                        }
                        _ => None,
                    };
                    jobs.push(IngestJob { path: path.clone(), size: disk.size, recorded });
                    files.push((path, base));
                }
            }
        }
        source.close(links)?;
        let bytes = jobs.iter().map(|job| job.size).fold(0, u64::saturating_add);
        progress.phase("reading", Some(bytes), Unit::Bytes);
        let outcomes = ingest(root, &jobs, self.ingest_options(), source, progress)?;
        for ((path, base), outcome) in files.into_iter().zip(outcomes) {
            match outcome {
                IngestOutcome::Stored(node, disk) => {
                    let gathered = Gathered { path, node: Some(node), disk: Some(disk), base };
                    sort_out(gathered, &mut changes, &mut confirmed);
                }
                IngestOutcome::Skipped(reason) => skipped.push(Skipped { path: path.to_string(), reason }),
                IngestOutcome::Vanished if base.is_some() => {
                    changes.push(Gathered { path, node: None, disk: None, base });
                }
                IngestOutcome::Vanished => {}
            }
        }
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        skipped.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Gathering { scan, changes, confirmed, skipped, bytes })
    }

    /// Remembers what was seen, as far as anything new was. Where it was `staged`, `trees` are the directories that were
    /// written with it: the scanned tree and the changes alone must have led to them.
    pub(super) fn remember(
        &self,
        cache: &StatCache,
        gathering: &Gathering,
        trees: &HashMap<String, TreeId>,
        staged: bool,
        scope: &Scope,
    ) {
        let mut resolved: HashMap<&str, Resolved> = HashMap::new();
        for (gathered, in_tree) in
            gathering.changes.iter().map(|change| (change, staged)).chain(gathering.confirmed.iter().map(|c| (c, true)))
        {
            let identity = gathered.node.as_ref().and_then(Identity::of_node);
            if let (Some(identity), Some(disk)) = (identity, gathered.disk) {
                resolved.insert(gathered.path.as_str(), Resolved { identity, disk, in_tree });
            }
        }
        let scan = &gathering.scan;
        let seen: HashMap<&str, Option<TreeId>> =
            scan.directories.iter().map(|directory| (directory.path.as_str(), directory.tree)).collect();
        // A directory that was left without entries has no tree any more, or that of an empty one.
        let mut rewritten: HashSet<String> = HashSet::new();
        for change in gathering.changes.iter().filter(|_| staged) {
            let mut at = Some(change.path.clone());
            while let Some(path) = at.filter(|path| rewritten.insert(path.to_string())) {
                at = path.parent();
            }
        }
        let now = |path: &str, scanned: Option<TreeId>| match trees.get(path) {
            Some(tree) => Some(*tree),
            None => scanned.filter(|_| !rewritten.contains(path)),
        };
        let mut fresh: Vec<Vec<u8>> = Vec::new();
        let mut reused: Vec<&[u8]> = Vec::new();
        for directory in &scan.directories {
            let path = directory.path.as_str();
            let tree = now(path, directory.tree);
            if directory.reusable
                && tree == directory.tree
                && let Some(block) = cache.block(path)
            {
                reused.push(block);
                continue;
            }
            let under = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
            let block = block_of(
                directory,
                tree,
                staged,
                &|name| resolved.get(under(name).as_str()).copied(),
                &|name, old| {
                    let path = under(name);
                    now(&path, old.or_else(|| seen.get(path.as_str()).copied().flatten()))
                },
                (scan.started_ns, scan.granularity_ns),
            );
            fresh.push(block);
        }
        let kept: Vec<&[u8]> = match scope {
            Scope::All => Vec::new(),
            // What is doubted after a reboot would be believed again.
            Scope::Paths(_) if cache.has_doubts() => Vec::new(),
            Scope::Paths(_) => {
                cache.paths().filter(|path| !seen.contains_key(path)).filter_map(|path| cache.block(path)).collect()
            }
        };
        let all = cache.paths().count();
        if fresh.is_empty() && reused.len() + kept.len() == all {
            return;
        }
        let blocks = fresh.iter().map(Vec::as_slice).chain(reused).chain(kept);
        StatCache::write(self.layout(), self.boot_id(), scan.started_ns, blocks);
    }

    /// Refuses to go on while a checkout is unfinished.
    pub(super) fn check_not_interrupted(state: &State) -> Result<()> {
        match &state.index.pending {
            None => Ok(()),
            Some(pending) => {
                let shown = |head: &Head| match head {
                    Head::Branch(name) => name.clone(),
                    Head::Detached(commit) => commit.to_string()[..8].to_owned(),
                };
                Err(Error::RepositoryInterrupted { from: shown(&state.head), to: shown(&pending.head) })
            }
        }
    }
}

fn sort_out(gathered: Gathered, changes: &mut Vec<Gathered>, confirmed: &mut Vec<Gathered>) {
    let same = match (&gathered.node, &gathered.base) {
        (Some(node), Some(base)) => node.kind == base.kind && node.size == base.size && node.content == base.content,
        _ => false,
    };
    if same { confirmed.push(gathered) } else { changes.push(gathered) }
}

/// Turns changes into edits.
pub(super) fn edits(changes: &[Gathered]) -> TreeEditor {
    let mut editor = TreeEditor::new();
    changes.iter().for_each(|change| editor.put(&change.path, change.node.clone()));
    editor
}

pub(super) fn now_ns(clock: &dyn Clock) -> i64 {
    i64::try_from(clock.now_ms()).unwrap_or(i64::MAX / 1_000_000).saturating_mul(1_000_000)
}

/// Says whether a file's name is one that keys and passwords are kept under.
pub fn looks_secret(path: &RepoPath) -> bool {
    let Some(name) = path.name() else { return false };
    let name = name.to_ascii_lowercase();
    let ends = [".pem", ".key", ".p12", ".pfx", ".keystore", ".jks", ".ppk"];
    let exact = [
        ".env",
        ".netrc",
        ".pgpass",
        ".npmrc",
        ".pypirc",
        ".htpasswd",
        "id_rsa",
        "id_dsa",
        "id_ecdsa",
        "id_ed25519",
        "credentials.json",
        "secrets.json",
        "secrets.yaml",
        "secrets.yml",
    ];
    let public = [".pub", ".example", ".sample", ".template", ".dist"];
    if public.iter().any(|end| name.ends_with(end)) {
        return false;
    }
    exact.contains(&name.as_str())
        || name.starts_with(".env.")
        || name.starts_with("id_") && !name.contains('.') && path.as_str().contains(".ssh/")
        || ends.iter().any(|end| name.ends_with(end))
}

/// Applies edits, writing the new trees to a staging.
pub(super) fn write_tree(
    store: &ObjectStore,
    staging: &crate::object::Staging<'_>,
    base: TreeId,
    editor: TreeEditor,
    written: &mut HashMap<String, TreeId>,
) -> Result<TreeId> {
    let mut writer = staging.writer();
    let tree = editor.apply_recording(store, base, &mut writer, written)?;
    writer.finish()?;
    Ok(tree)
}
