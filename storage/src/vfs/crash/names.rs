//! The names in directories: as the running system sees them, as the disk is sure to hold them, and the changes that
//! lead from the second to the first.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};

use super::CrashMode;
use super::chance::Chance;

/// Inode number.
pub(super) type Inode = u64;

/// The inode of the root directory.
pub(super) const ROOT: Inode = 1;

/// Directories and what their names stand for.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree(BTreeMap<Inode, BTreeMap<OsString, Inode>>);

impl Tree {
    pub(super) fn get(&self, dir: Inode, name: &OsStr) -> Option<Inode> {
        self.0.get(&dir)?.get(name).copied()
    }

    pub(super) fn entries(&self, dir: Inode) -> impl Iterator<Item = (&OsString, Inode)> {
        self.0.get(&dir).into_iter().flatten().map(|(name, &inode)| (name, inode))
    }

    pub(super) fn is_empty(&self, dir: Inode) -> bool {
        self.0.get(&dir).is_none_or(BTreeMap::is_empty)
    }

    fn apply(&mut self, change: &Change) {
        for step in &change.steps {
            let names = self.0.entry(step.dir).or_default();
            match step.inode {
                Some(inode) => names.insert(step.name.clone(), inode),
                None => names.remove(&step.name),
            };
        }
    }

    /// Returns everything that can be reached from `start`, itself included, without passing `around`.
    pub(super) fn reachable(&self, start: Inode, around: Option<Inode>) -> HashSet<Inode> {
        let mut found = HashSet::from([start]);
        let mut open = vec![start];
        while let Some(dir) = open.pop() {
            for (_, inode) in self.entries(dir) {
                if Some(inode) != around && found.insert(inode) {
                    open.push(inode);
                }
            }
        }
        found
    }
}

/// One name comes to stand for something, or for nothing.
#[derive(Debug, Clone)]
struct Step {
    dir: Inode,
    name: OsString,
    inode: Option<Inode>,
}

/// What happens to names wholly or not at all.
#[derive(Debug, Clone)]
pub(super) struct Change {
    /// One step, or a rename's two: the old name first.
    steps: Vec<Step>,
    /// A directory that is gone afterwards, so that it must be empty before.
    removed_dir: Option<Inode>,
}

impl Change {
    pub(super) fn add(dir: Inode, name: &OsStr, inode: Inode) -> Self {
        Self { steps: vec![Step { dir, name: name.into(), inode: Some(inode) }], removed_dir: None }
    }

    pub(super) fn remove(dir: Inode, name: &OsStr, removed_dir: Option<Inode>) -> Self {
        Self { steps: vec![Step { dir, name: name.into(), inode: None }], removed_dir }
    }

    pub(super) fn rename(
        inode: Inode,
        (from, old): (Inode, &OsStr),
        (to, new): (Inode, &OsStr),
        removed_dir: Option<Inode>,
    ) -> Self {
        let steps = vec![
            Step { dir: from, name: old.into(), inode: None },
            Step { dir: to, name: new.into(), inode: Some(inode) },
        ];
        Self { steps, removed_dir }
    }

    fn names(&self) -> impl Iterator<Item = (Inode, &OsStr)> {
        self.steps.iter().map(|step| (step.dir, step.name.as_os_str()))
    }

    /// Returns what a rename moves, and its new directory.
    fn as_rename(&self) -> Option<(Inode, Inode)> {
        match self.steps.as_slice() {
            [_, Step { dir, inode: Some(moved), .. }] => Some((*moved, *dir)),
            _ => None,
        }
    }
}

/// The names of a file system.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    pub(super) volatile: Tree,
    durable: Tree,
    changes: Vec<Change>,
}

impl Names {
    pub(super) fn durable(tree: Tree) -> Self {
        Self { volatile: tree.clone(), durable: tree, changes: Vec::new() }
    }

    pub(super) fn change(&mut self, change: Change) {
        self.volatile.apply(&change);
        self.changes.push(change);
    }

    pub(super) fn sync_all(&mut self) {
        self.durable.clone_from(&self.volatile);
        self.changes.clear();
    }

    /// Makes the names in `dir` durable, and what cannot be left out without a durable name being lost: earlier changes
    /// of the same names, the other half of a rename, the way to where something durable was moved, and what left a
    /// directory before it was removed.
    pub(super) fn sync_dir(&mut self, dir: Inode) {
        let mut names: HashSet<(Inode, &OsStr)> = HashSet::new();
        let mut attached: HashSet<Inode> = HashSet::new();
        let mut emptied: HashSet<Inode> = HashSet::new();
        let durable = self.durable.reachable(ROOT, None);
        let mut chosen = vec![false; self.changes.len()];
        for (change, chosen) in self.changes.iter().zip(&mut chosen).rev() {
            let attaches = |step: &Step| step.inode.is_some_and(|inode| attached.contains(&inode));
            let on_the_way = change.steps.iter().any(attaches);
            *chosen = on_the_way
                || change.names().any(|name| name.0 == dir || emptied.contains(&name.0) || names.contains(&name));
            if !*chosen {
                continue;
            }
            if on_the_way {
                attached.extend(change.steps.iter().filter(|step| step.inode.is_some()).map(|step| step.dir));
            }
            if let Some((moved, to)) = change.as_rename()
                && durable.contains(&moved)
            {
                attached.insert(to);
            }
            emptied.extend(change.removed_dir);
            names.extend(change.names());
        }
        let mut chosen = chosen.into_iter();
        let durable = &mut self.durable;
        self.changes.retain(|change| {
            let synced = chosen.next().expect("one for each change");
            if synced {
                durable.apply(change);
            }
            !synced
        });
    }

    /// Returns the names on the disk after a crash: of each name's changes the first few, renames whole, and no
    /// directory removed or moved in a way that loses what was in it.
    pub(super) fn after_crash(&self, mode: CrashMode, chance: &mut Chance) -> Tree {
        let density = match mode {
            CrashMode::Kept | CrashMode::DataLost | CrashMode::Torn => 8,
            CrashMode::Lost | CrashMode::NamesLost => 0,
            CrashMode::Random => chance.density(),
        };
        let mut tree = self.durable.clone();
        let mut missed: HashSet<(Inode, &OsStr)> = HashSet::new();
        for change in &self.changes {
            if change.names().all(|name| !missed.contains(&name))
                && chance.eighths(density)
                && loses_nothing(&tree, change)
            {
                tree.apply(change);
            } else {
                missed.extend(change.names());
            }
        }
        tree
    }
}

fn loses_nothing(tree: &Tree, change: &Change) -> bool {
    if change.removed_dir.is_some_and(|dir| !tree.is_empty(dir)) {
        return false;
    }
    // That the old name is there is certain: its changes survive in order.
    change.as_rename().is_none_or(|(moved, to)| tree.reachable(ROOT, Some(moved)).contains(&to))
}
