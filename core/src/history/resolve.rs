//! Finding the commit a revision names.
//!
//! Order: whole id, keyword, branch, tag, peer's branch, beginning of an id. A name that is both branch and tag, and
//! digits that begin several ids, are refused with the candidates; a name that is not there comes with names like it.

use super::History;
use super::commit;
use super::revision::{Base, Revision, RevisionRange, Step};
use crate::ids::CommitId;
use crate::object::ObjectKind;
use crate::repo_path::RepoPath;
use crate::tree::editor::Node;
use crate::tree::{Content, EntryType, Tree, walk};
use crate::{Error, Result, near_names};

/// How many names are offered for one that is not there.
const SUGGESTIONS: usize = 3;
/// Most candidates listed for digits that begin several ids.
const MAX_CANDIDATES: usize = 20;

/// The commits of a range.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommitRange {
    /// What is reached from here is taken.
    pub ours: Vec<CommitId>,
    /// What is reached from here is left out.
    pub theirs: Vec<CommitId>,
    /// Takes also what only `theirs` reach.
    pub symmetric: bool,
}

/// What lies at a path of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathAtCommit {
    /// The commit.
    pub commit: CommitId,
    /// The path; the root of the tree where none was given.
    pub path: RepoPath,
    /// What is there.
    pub node: Node,
}

impl History<'_> {
    /// Finds the commit a revision names. A beginning of an id is looked up in the views; that no commit has it costs a walk
    /// through all of history.
    ///
    /// # Errors
    /// [`Error::RevisionNotFound`] with names like it, [`Error::RevisionAmbiguous`] with the candidates,
    /// [`Error::RevisionInvalid`] where the revision has a path, [`Error::Unsupported`] for `@{…}`.
    pub fn resolve(&self, revision: &Revision) -> Result<CommitId> {
        if revision.path.is_some() {
            let reason = "a commit is wanted here, not a path in one".to_owned();
            return Err(Error::RevisionInvalid { revision: revision.to_string(), reason });
        }
        self.resolve_commit(revision)
    }

    /// Finds the commits of a range.
    ///
    /// # Errors
    /// Those of [`History::resolve`].
    pub fn resolve_range(&self, range: &RevisionRange) -> Result<CommitRange> {
        Ok(match range {
            RevisionRange::Single(revision) => {
                CommitRange { ours: vec![self.resolve(revision)?], ..CommitRange::default() }
            }
            RevisionRange::Between { from, to } => {
                CommitRange { ours: vec![self.resolve(to)?], theirs: vec![self.resolve(from)?], symmetric: false }
            }
            RevisionRange::Symmetric { ours, theirs } => {
                CommitRange { ours: vec![self.resolve(ours)?], theirs: vec![self.resolve(theirs)?], symmetric: true }
            }
        })
    }

    /// Finds what lies at the path of a revision; without a path, the root of its tree.
    ///
    /// # Errors
    /// Those of [`History::resolve`]; [`Error::RevisionNotFound`] too where nothing lies at the path.
    pub fn resolve_path(&self, revision: &Revision) -> Result<PathAtCommit> {
        let commit = self.resolve_commit(revision)?;
        let tree = commit::read(self.store, commit)?.tree;
        let path = revision.path.clone().unwrap_or_else(RepoPath::root);
        let node = if path.is_root() {
            let root = crate::tree::decode_node(tree, &self.store.get(tree.0, ObjectKind::Tree)?)?;
            Node { kind: EntryType::Directory, size: root.size(), content: Content::Tree(tree) }
        } else {
            match walk::find(self.store, tree, &path)? {
                Some(entry) => entry.into(),
                None => return Err(self.no_such_path(revision, tree, &path)?),
            }
        };
        Ok(PathAtCommit { commit, path, node })
    }

    /// Says that nothing lies at a path, and what in the same directory is called nearly so.
    fn no_such_path(&self, revision: &Revision, root: crate::ids::TreeId, path: &RepoPath) -> Result<Error> {
        let parent = path.parent().unwrap_or_else(RepoPath::root);
        let directory = if parent.is_root() {
            Some(root)
        } else {
            walk::find(self.store, root, &parent)?.and_then(|entry| entry.tree())
        };
        let siblings = match directory {
            Some(tree) => Tree::read(self.store, tree)?,
            None => Tree::default(),
        };
        let names = siblings.entries().iter().map(|entry| &*entry.name);
        let mut suggestions = Vec::new();
        for name in near_names(path.name().unwrap_or_default(), names, SUGGESTIONS) {
            let near = Revision { path: Some(parent.join(name)?), ..revision.clone() };
            suggestions.push(near.to_string());
        }
        let reason = Some(format!("nothing lies at `{path}` in it"));
        Ok(Error::RevisionNotFound { revision: revision.to_string(), reason, suggestions })
    }

    fn resolve_commit(&self, revision: &Revision) -> Result<CommitId> {
        let mut id = self.resolve_base(&revision.base)?;
        for step in &revision.steps {
            id = self.take_step(revision, id, *step)?;
        }
        Ok(id)
    }

    fn take_step(&self, revision: &Revision, from: CommitId, step: Step) -> Result<CommitId> {
        let missing = |reason: String| {
            let revision = Revision { path: None, ..revision.clone() }.to_string();
            Error::RevisionNotFound { revision, reason: Some(reason), suggestions: Vec::new() }
        };
        match step {
            Step::Ancestor(count) => {
                let mut id = from;
                for passed in 0..count {
                    let parents = commit::read(self.store, id)?.parents;
                    id = *parents.first().ok_or_else(|| missing(format!("history has {}", passed + 1)))?;
                }
                Ok(id)
            }
            Step::Parent(0) => Ok(from),
            Step::Parent(number) => {
                let parents = commit::read(self.store, from)?.parents;
                let plural = if parents.len() == 1 { "" } else { "s" };
                let reason = || format!("commit {} has {} parent{plural}", &from.to_string()[..12], parents.len());
                parents.get(number as usize - 1).copied().ok_or_else(|| missing(reason()))
            }
        }
    }

    fn resolve_base(&self, base: &Base) -> Result<CommitId> {
        let (heads, tags) = (&self.state.heads, &self.state.tags);
        match base {
            Base::Head => self.state.head_commit().ok_or_else(|| self.unborn(base)),
            Base::Id(digest) => self.whole_id(CommitId::from_bytes(digest.0)),
            Base::Branch(name) => match heads.get(name.as_str()) {
                Some(id) => Ok(*id),
                None if self.state.branch() == Some(name.as_str()) => Err(self.unborn(base)),
                None => Err(not_found(base, name.as_str(), heads.keys(), "heads/")),
            },
            Base::Tag(name) => {
                let found = tags.get(name.as_str()).copied();
                found.ok_or_else(|| not_found(base, name.as_str(), tags.keys(), "tags/"))
            }
            Base::Name(name) => match (heads.get(name.as_str()), tags.get(name.as_str())) {
                (Some(_), Some(_)) => {
                    let candidates = vec![format!("heads/{name}"), format!("tags/{name}")];
                    Err(Error::RevisionAmbiguous { revision: name.to_string(), candidates })
                }
                (Some(id), None) | (None, Some(id)) => Ok(*id),
                (None, None) => self.resolve_word(base, name.as_str()),
            },
            Base::At { .. } => Err(Error::Unsupported { what: format!("naming a commit of the past (`{base}`)") }),
        }
    }

    /// Finds what is neither branch nor tag of ours.
    fn resolve_word(&self, base: &Base, word: &str) -> Result<CommitId> {
        if let Some(found) = self.peer_branch(word)? {
            return match self.store.contains(found.target.0)? {
                true => Ok(found.target),
                false => Err(Error::ObjectNotFound { id: found.target.digest() }),
            };
        }
        if let Some(prefix) = base.prefix() {
            let found = self.repository.find_prefix(self.state, self.store, &prefix)?;
            match found[..] {
                [] => {}
                [id] => return Ok(id),
                _ => {
                    let candidates = found.iter().take(MAX_CANDIDATES).map(|id| id.to_string()).collect();
                    return Err(Error::RevisionAmbiguous { revision: word.to_owned(), candidates });
                }
            }
        }
        if self.state.branch() == Some(word) {
            return Err(self.unborn(base));
        }
        let names: Vec<String> =
            self.all_names().into_iter().map(|(name, _)| name).chain(["HEAD".to_owned()]).collect();
        Err(not_found(base, word, &names, ""))
    }

    fn whole_id(&self, id: CommitId) -> Result<CommitId> {
        let missing = |reason: Option<String>| Error::RevisionNotFound {
            revision: id.to_string(),
            reason,
            suggestions: Vec::new(),
        };
        let place = self.store.find(id.0)?.ok_or_else(|| missing(None))?;
        match ObjectKind::from_number(place.location.kind) {
            Some(ObjectKind::Commit) => Ok(id),
            Some(kind) => Err(missing(Some(format!("it names a {kind}, not a commit")))),
            None => Err(missing(Some("it names an object of a later version".to_owned()))),
        }
    }

    fn unborn(&self, base: &Base) -> Error {
        let branch = self.state.branch().unwrap_or_default();
        let reason = Some(format!("branch `{branch}` has no commit yet"));
        Error::RevisionNotFound { revision: base.to_string(), reason, suggestions: Vec::new() }
    }
}

fn not_found<'n>(base: &Base, wanted: &str, names: impl IntoIterator<Item = &'n String>, kind: &str) -> Error {
    let near = near_names(wanted, names.into_iter().map(String::as_str), SUGGESTIONS);
    let suggestions = near.into_iter().map(|name| format!("{kind}{name}")).collect();
    Error::RevisionNotFound { revision: base.to_string(), reason: None, suggestions }
}
