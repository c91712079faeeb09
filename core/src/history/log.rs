//! The log: commits newest first, a page at a time.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use super::History;
use super::commit::{Commit, Trust};
use super::dag::{Walk, WalkedCommit};
use super::revision::RevisionRange;
use crate::ids::{CommitId, TreeId};
use crate::object::ObjectStore;
use crate::repo_path::RepoPath;
use crate::tree::walk::{self, TreeChange};
use crate::tree::{Content, EntryType};
use crate::{Error, Result};

/// Most trees whose entries at the paths of a log are remembered.
const MAX_REMEMBERED: usize = 4096;

/// Which commits, and what of them.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Where to begin, or which range; what HEAD reaches where absent.
    pub range: Option<RevisionRange>,
    /// Only commits that changed something at or beneath one of these. A merge counts if it differs from every parent.
    pub paths: Vec<RepoPath>,
    /// Most commits of a page; no limit where absent.
    pub limit: Option<usize>,
    /// Continues after this commit; see [`LogPage::next`].
    pub after: Option<LogCursor>,
    /// Only commits whose author contains this, in upper or lower case.
    pub author: Option<String>,
    /// Only commits that say they were made at this time or later: milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// With what each commit changed against its first parent, of `paths` where they are given.
    pub changes: bool,
}

/// A place between two commits of a log. Commits made meanwhile are older or newer, and move no other over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogCursor {
    depth: u64,
    id: CommitId,
}

impl fmt::Display for LogCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.depth, self.id)
    }
}

impl FromStr for LogCursor {
    type Err = Error;

    /// Reads what [`Display`](fmt::Display) wrote.
    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (depth, id) = text.split_once('-')?;
            let id: shard_crypto::Digest = id.parse().ok()?;
            Some(Self { depth: depth.parse().ok()?, id: CommitId::from_bytes(id.0) })
        };
        let reason = "it is not one that a page of the log ended with".to_owned();
        parse().ok_or_else(|| Error::ValueInvalid { what: "cursor", value: text.to_owned(), reason })
    }
}

/// A commit as the log tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedCommit {
    /// Its id.
    pub id: CommitId,
    /// The commit.
    pub commit: Commit,
    /// Whether its signer counts.
    pub trust: Trust,
    /// Branches, tags and peers' branches that name it.
    pub refs: Vec<String>,
    /// What it changed against its first parent, where that was asked for.
    pub changes: Option<Vec<TreeChange>>,
}

/// A part of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// Commits, newest first.
    pub commits: Vec<LoggedCommit>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<LogCursor>,
}

impl<'a> History<'a> {
    /// Returns a page of the log. Pages together are the whole log. Each costs the walk to where it ends.
    ///
    /// # Errors
    /// Those of [`History::resolve`], and of reading commits and trees.
    pub fn log_page(&self, options: &LogOptions) -> Result<LogPage> {
        let mut log = self.log(options)?;
        let limit = options.limit.unwrap_or(usize::MAX);
        let mut commits = Vec::new();
        let mut next = None;
        while commits.len() < limit {
            let Some(logged) = log.next().transpose()? else { break };
            commits.push(logged);
        }
        // Only looking further tells whether this is the last page.
        if let Some(last) = commits.last()
            && commits.len() == limit
            && log.next_walked()?.is_some()
        {
            next = Some(LogCursor { depth: last.commit.depth, id: last.id });
        }
        Ok(LogPage { commits, next })
    }

    /// Begins a log that reads as it goes; `limit` is left to whoever takes from it.
    pub fn log(&self, options: &LogOptions) -> Result<Log<'_, 'a>> {
        let walk = match &options.range {
            None => self.dag().walk(self.state.head_commit())?,
            Some(range) => {
                let range = self.resolve_range(range)?;
                match range.symmetric {
                    true => self.dag().walk_difference(range.ours, range.theirs)?,
                    false => self.dag().walk_without(range.ours, range.theirs)?,
                }
            }
        };
        Ok(Log {
            history: self,
            walk,
            names: self.names_by_commit(),
            at_paths: AtPaths { store: self.store, paths: options.paths.clone(), found: HashMap::new() },
            after: options.after,
            author: options.author.as_ref().map(|author| author.to_lowercase()),
            since_ms: options.since_ms.unwrap_or(0),
            changes: options.changes,
        })
    }

    /// Tells of one commit.
    pub(super) fn logged(&self, id: CommitId, changes: bool) -> Result<LoggedCommit> {
        let commit = super::commit::read_signed(self.store, id)?;
        let first_parent = commit.claimed().parents.first();
        let before = first_parent.map(|&parent| super::commit::read(self.store, parent)).transpose()?;
        let changes = match changes {
            true => Some(walk::compare(self.store, before.map(|commit| commit.tree), Some(commit.claimed().tree))?),
            false => None,
        };
        let trust = self.trust(&commit);
        let refs = self.names_by_commit().remove(&id).unwrap_or_default();
        Ok(LoggedCommit { id, commit: commit.into_claimed(), trust, refs, changes })
    }

    fn names_by_commit(&self) -> HashMap<CommitId, Vec<String>> {
        let mut names = HashMap::<_, Vec<_>>::new();
        for (name, id) in self.all_names() {
            names.entry(id).or_default().push(name);
        }
        names
    }
}

/// A log being read.
#[derive(Debug)]
pub struct Log<'h, 'a> {
    history: &'h History<'a>,
    walk: Walk<'a>,
    names: HashMap<CommitId, Vec<String>>,
    at_paths: AtPaths<'a>,
    after: Option<LogCursor>,
    author: Option<String>,
    since_ms: u64,
    changes: bool,
}

impl Log<'_, '_> {
    fn next_walked(&mut self) -> Result<Option<WalkedCommit>> {
        while let Some(walked) = self.walk.next().transpose()? {
            if self.is_wanted(&walked)? {
                return Ok(Some(walked));
            }
        }
        Ok(None)
    }

    fn is_wanted(&mut self, walked: &WalkedCommit) -> Result<bool> {
        let commit = walked.commit.claimed();
        // Deeper comes first, then the lesser id.
        let shown =
            |after: LogCursor| commit.depth > after.depth || commit.depth == after.depth && walked.id <= after.id;
        let by_author = |author: &String| commit.author.to_lowercase().contains(author);
        Ok(!self.after.is_some_and(shown)
            && self.author.as_ref().is_none_or(by_author)
            && commit.time_ms >= self.since_ms
            && self.at_paths.changed(commit.tree, &walked.parent_trees)?)
    }

    fn tell(&mut self, walked: WalkedCommit) -> Result<LoggedCommit> {
        let changes = match self.changes {
            true => {
                let before = walked.parent_trees.first().copied();
                let mut changes = walk::compare(self.history.store, before, Some(walked.commit.claimed().tree))?;
                let paths = &self.at_paths.paths;
                changes.retain(|change| paths.is_empty() || paths.iter().any(|path| change.path.starts_with(path)));
                Some(changes)
            }
            false => None,
        };
        Ok(LoggedCommit {
            id: walked.id,
            trust: self.history.trust(&walked.commit),
            refs: self.names.get(&walked.id).cloned().unwrap_or_default(),
            commit: walked.commit.into_claimed(),
            changes,
        })
    }
}

impl Iterator for Log<'_, '_> {
    type Item = Result<LoggedCommit>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_walked().transpose()?;
        Some(next.and_then(|walked| self.tell(walked)))
    }
}

/// What stands at some paths of a tree; `None` where nothing does.
type AtEachPath = Vec<Option<(EntryType, Content)>>;

/// Compares trees at some paths.
#[derive(Debug)]
struct AtPaths<'a> {
    store: &'a ObjectStore,
    paths: Vec<RepoPath>,
    /// What was found for commits that are still to come: a commit's parents are looked at with it, and again in turn.
    found: HashMap<TreeId, AtEachPath>,
}

impl AtPaths<'_> {
    /// Says whether a commit of this tree differs at the paths from every parent; without parents, whether it has any.
    fn changed(&mut self, tree: TreeId, parents: &[TreeId]) -> Result<bool> {
        if self.paths.is_empty() {
            return Ok(true);
        }
        let here = match self.found.remove(&tree) {
            Some(found) => found,
            None => self.look(tree)?,
        };
        if parents.is_empty() {
            return Ok(here.iter().any(Option::is_some));
        }
        let mut differs = true;
        for &parent in parents {
            if parent == tree {
                differs = false;
            } else if let Some(there) = self.found.get(&parent) {
                differs &= *there != here;
            } else {
                let there = self.look(parent)?;
                differs &= there != here;
                if self.found.len() >= MAX_REMEMBERED {
                    self.found.clear();
                }
                self.found.insert(parent, there);
            }
        }
        if parents.contains(&tree) {
            self.found.insert(tree, here);
        }
        Ok(differs)
    }

    fn look(&self, tree: TreeId) -> Result<AtEachPath> {
        let at = |path: &RepoPath| {
            if path.is_root() {
                return Ok(Some((EntryType::Directory, Content::Tree(tree))));
            }
            Ok(walk::find(self.store, tree, path)?.map(|entry| (entry.kind, entry.content)))
        };
        self.paths.iter().map(at).collect()
    }
}
