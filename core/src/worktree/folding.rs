//! File systems that take different names for one.
//!
//! What they ignore differs: case, Unicode form, some code points, any of these together. Which names may be one is a
//! matter of [`fold_key`]; whether two of them are is asked of the file system itself, in a directory of ours.

use std::collections::HashMap;

use shard_storage::vfs::{Dir, OpenOptions};

use crate::repo_path::fold_key;
use crate::repository::{Layout, layout};
use crate::{RepoPath, Result};

/// A letter in its two forms.
const FORMS: [&str; 2] = ["\u{e9}", "e\u{301}"];

/// How the file system of a worktree takes names.
#[derive(Debug)]
pub(super) struct Folding<'a> {
    layout: &'a Layout,
    folds: bool,
    /// Pairs that were tried.
    known: HashMap<(String, String), bool>,
}

impl<'a> Folding<'a> {
    /// Finds out whether different names can be one here, as far as `paths` may have such. Nearly free where they cannot.
    pub(super) fn of<'p>(layout: &'a Layout, mut paths: impl Iterator<Item = &'p RepoPath>) -> Self {
        let worktree = &layout.worktree;
        let ignores_case = matches!(
            (worktree.metadata_optional(".SHARD"), worktree.metadata(layout::SHARD)),
            (Ok(Some(folded)), Ok(own)) if (folded.inode, folded.device) == (own.inode, own.device)
        );
        let mut folding = Self { layout, folds: ignores_case, known: HashMap::new() };
        if !ignores_case && paths.any(|path| !path.as_str().is_ascii()) {
            folding.folds = folding.are_one(FORMS[0], FORMS[1]);
        }
        folding
    }

    /// Says whether different names can be one here.
    pub(super) fn folds(&self) -> bool {
        self.folds
    }

    /// Says whether two paths lead to one place.
    pub(super) fn same(&mut self, one: &RepoPath, other: &RepoPath) -> bool {
        let (mut ones, mut others) = (one.components(), other.components());
        loop {
            match (ones.next(), others.next()) {
                (None, None) => return true,
                (Some(one), Some(other)) if one == other || self.folds && self.are_one(one, other) => {}
                _ => return false,
            }
        }
    }

    /// Tries two names.
    fn are_one(&mut self, one: &str, other: &str) -> bool {
        if fold_key(one) != fold_key(other) {
            return false;
        }
        let pair = if one < other { (one.to_owned(), other.to_owned()) } else { (other.to_owned(), one.to_owned()) };
        if let Some(known) = self.known.get(&pair) {
            return *known;
        }
        // Where nobody can tell they had better be one: nothing is then written over anything.
        let answer = try_names(self.layout, one, other).unwrap_or(true);
        self.known.insert(pair, answer);
        answer
    }

    /// Returns those of these paths, which are in order, that lead where an earlier one does, or through a directory that
    /// does.
    pub(super) fn collisions(&mut self, paths: impl IntoIterator<Item = RepoPath>) -> Vec<RepoPath> {
        let mut seen: HashMap<String, Vec<RepoPath>> = HashMap::new();
        let mut found = Vec::new();
        if !self.folds {
            return found;
        }
        for path in paths {
            let key = path.components().map(fold_key).collect::<Vec<_>>().join("/");
            let earlier = seen.entry(key).or_default();
            if earlier.contains(&path) {
                continue;
            }
            if earlier.iter().any(|earlier| self.same(earlier, &path)) {
                found.push(path.clone());
            }
            earlier.push(path);
        }
        found
    }
}

/// Makes a file of one name and looks for it under the other, in a directory made for it and removed again.
fn try_names(layout: &Layout, one: &str, other: &str) -> Result<bool> {
    let name = format!("names-{:016x}", u64::from_le_bytes(crate::repository::random()?));
    layout.tmp.create_dir(&name, 0o700)?;
    let tried = layout.tmp.open_dir(&name).map_err(Into::into).and_then(|dir: Dir| {
        dir.open(one, OpenOptions::CREATE_NEW)?;
        let found = dir.metadata_optional(other)?.is_some();
        dir.unlink(one)?;
        Ok(found)
    });
    let _ = layout.tmp.remove_dir(&name);
    tried
}
