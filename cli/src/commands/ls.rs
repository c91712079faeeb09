//! `shard ls [REV] [PATH]`

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Serialize;
use shard_core::history::resolve::PathAtCommit;
use shard_core::history::revision::Revision;
use shard_core::history::{History, commit};
use shard_core::ids::TreeId;
use shard_core::object::ObjectStore;
use shard_core::repository::Repository;
use shard_core::tree::editor::Node;
use shard_core::tree::{Content, EntryType, Tree, TreeEntry, walk};
use shard_core::{Error, RepoPath};
use shard_storage::vfs::FileKind;

use super::status::scope;
use crate::args::LsArgs;
use crate::failure::{Failure, Hint, Result, hint};
use crate::invocation::Invocation;
use crate::page::{Page, Span, dim, plain};
use crate::view::{TreeEntryInfo, TreeListing, View};
use crate::{place, quantity};

/// Lists a revision, what is staged, or what is not tracked.
pub(super) fn run(invocation: &Invocation, args: LsArgs) -> Result<Listed> {
    let repository = invocation.open()?;
    let root = repository.layout().worktree.path().to_owned();
    let state = repository.state()?;
    let store = repository.store(&state)?;
    let typed = |path: &Path| place::resolve(&root, &invocation.directory, path);
    if args.staged || args.others {
        let path = match (args.revision, args.path) {
            (Some(_), Some(_)) => return Err(Failure::usage("--staged and --others list no revision: give one path")),
            (Some(path), None) => typed(Path::new(&path))?,
            (None, path) => path.map_or_else(|| Ok(RepoPath::root()), |path| typed(&path))?,
        };
        let items = match args.staged {
            true => list(&store, &at(&store, state.index.tree, path)?, args.recursive)?,
            false => others(&repository, path, args.recursive)?,
        };
        return Ok(Listed::new(items, false));
    }
    let history = repository.history(&state, &store);
    let Some(found) = find(&history, args.revision, args.path, &typed)? else {
        return Ok(Listed::new(Vec::new(), true));
    };
    Ok(Listed::new(list(&store, &found, args.recursive)?, false))
}

/// Something in a tree, and where it lies.
struct Found {
    path: RepoPath,
    node: Node,
}

/// Finds what the words of the command line mean; nothing where HEAD has no commit and was not asked for by name.
fn find(
    history: &History<'_>,
    first: Option<OsString>,
    second: Option<PathBuf>,
    typed: &dyn Fn(&Path) -> Result<RepoPath>,
) -> Result<Option<Found>> {
    let head = || history.state().head_commit();
    let Some(first) = first else {
        return match head() {
            None => Ok(None),
            Some(id) => Ok(Some(at(history.store(), commit::read(history.store(), id)?.tree, RepoPath::root())?)),
        };
    };
    let text = first.to_string_lossy();
    let resolved = text.parse::<Revision>().and_then(|revision| history.resolve_path(&revision));
    let PathAtCommit { commit: id, path, node } = match resolved {
        Ok(found) => found,
        // One word that is no revision, but a path of the last commit.
        Err(error @ (Error::RevisionNotFound { .. } | Error::RevisionInvalid { .. })) => {
            let path = if second.is_none() { typed(Path::new(&first)).ok() } else { None };
            let (Some(path), Some(id)) = (path, head()) else { return Err(error.into()) };
            let found = at(history.store(), commit::read(history.store(), id)?.tree, path);
            return found.map(Some).map_err(|_| error.into());
        }
        Err(error) => return Err(error.into()),
    };
    match second {
        None => Ok(Some(Found { path, node })),
        Some(_) if !path.is_root() => {
            Err(Failure::usage("a path stands behind the revision or as an argument, not both"))
        }
        Some(second) => Ok(Some(at(history.store(), commit::read(history.store(), id)?.tree, typed(&second)?)?)),
    }
}

/// Finds a path in a tree.
fn at(store: &ObjectStore, tree: TreeId, path: RepoPath) -> Result<Found> {
    if path.is_root() {
        return Ok(Found { path, node: Node { kind: EntryType::Directory, size: 0, content: Content::Tree(tree) } });
    }
    match walk::find(store, tree, &path)? {
        Some(entry) => Ok(Found { path, node: entry.into() }),
        None => Err(Error::PathNotFound { path: path.to_string() }.into()),
    }
}

/// Lists what lies in a directory, or a file by itself. Recursively, only what is no directory, and empty ones.
fn list(store: &ObjectStore, found: &Found, recursive: bool) -> Result<Vec<TreeEntryInfo>> {
    let Content::Tree(tree) = found.node.content else {
        return Ok(vec![TreeEntryInfo::new(store, &found.path, &found.node)?]);
    };
    let mut items = Vec::new();
    let within = Some(&found.path).filter(|path| !path.is_root());
    let mut take = |path: RepoPath, entry: &TreeEntry| {
        items.push(TreeEntryInfo::new(store, &path, &entry.clone().into())?);
        Ok(())
    };
    if recursive {
        walk::visit(store, tree, within, &mut |path, entry| match entry.tree() {
            Some(tree) if tree != Tree::empty_id() => Ok(()),
            _ => take(path, entry),
        })?;
    } else {
        for entry in Tree::read(store, tree)?.entries() {
            take(walk::join(within, &entry.name)?, entry)?;
        }
    }
    Ok(items)
}

/// Lists what is not tracked; a directory of which nothing is tracked once, unless recursively.
fn others(repository: &Repository, path: RepoPath, recursive: bool) -> Result<Vec<TreeEntryInfo>> {
    let scope = scope(vec![path]);
    if !recursive {
        let options = shard_core::worktree::StatusOptions { scope, ignored: false };
        let status = repository.status(&options, &shard_core::progress::Silent)?;
        return Ok(status.untracked.iter().map(|path| on_disk(repository, path)).collect());
    }
    let untracked = repository.untracked(&scope)?;
    Ok(untracked.iter().map(|change| on_disk(repository, change.path.as_str())).collect())
}

/// Tells of a file on disk; one that is gone meanwhile has no bytes.
fn on_disk(repository: &Repository, path: &str) -> TreeEntryInfo {
    let path = path.trim_end_matches('/');
    let metadata = repository.layout().worktree.metadata_optional(path).ok().flatten();
    let (kind, size) = match metadata {
        Some(metadata) => match metadata.kind {
            FileKind::Directory => ("directory", 0),
            FileKind::Symlink => ("symlink", metadata.size),
            _ if metadata.mode & 0o111 != 0 => ("executable", metadata.size),
            _ => ("file", metadata.size),
        },
        None => ("file", 0),
    };
    TreeEntryInfo { path: path.to_owned(), kind: kind.to_owned(), size, id: None, local: true }
}

/// Entries, and why there may be none.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Listed {
    list: TreeListing,
    #[serde(skip)]
    unborn: bool,
}

impl Listed {
    fn new(items: Vec<TreeEntryInfo>, unborn: bool) -> Self {
        Self { list: TreeListing { items, next_cursor: None }, unborn }
    }
}

/// Writes entries in columns: type, size, path.
pub(super) fn table(page: &mut Page, entries: &[TreeEntryInfo]) {
    if page.is_quiet() {
        return entries.iter().for_each(|entry| page.line([plain(&*entry.path)]));
    }
    let rows: Vec<Vec<Span<'_>>> = entries
        .iter()
        .map(|entry| {
            let size = if page.is_aligned() { quantity::bytes(entry.size) } else { entry.size.to_string() };
            let slash = if entry.kind == "directory" { "/" } else { "" };
            let absent = if entry.local { "" } else { "not here" };
            let mut row = vec![dim(&*entry.kind), dim(size), plain(format!("{}{slash}", entry.path))];
            if !absent.is_empty() {
                row.push(dim(absent));
            }
            row
        })
        .collect();
    page.table(&rows);
}

impl View for Listed {
    fn render(&self, page: &mut Page) {
        if self.list.items.is_empty() && page.is_aligned() {
            return page.aside([dim(if self.unborn { "no commit yet" } else { "nothing here" })]);
        }
        table(page, &self.list.items);
    }

    fn next(&self) -> Vec<Hint> {
        if self.unborn { vec![hint::first_commit()] } else { Vec::new() }
    }

    fn is_paged(&self) -> bool {
        true
    }
}
