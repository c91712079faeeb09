//! Cloning: a new repository, with a key of its own, of the same history.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shard_storage::vfs::{Dir, Vfs};

use super::Source;
use super::fetch::{FetchReport, fetch};
use super::pull::check_trust;
use crate::history::refs::{Head, LOCAL_PREFIX, RefSet};
use crate::ids::CommitId;
use crate::progress::Progress;
use crate::repository::init::{InitOptions, InitReport};
use crate::repository::{Repository, Settings, layout};
use crate::tree::Tree;
use crate::worktree::index::Index;
use crate::{Error, Result};

/// How to clone.
#[derive(Debug, Default)]
pub struct CloneOptions {
    /// How the new repository is made; its genesis is the source's, whatever stands here.
    pub init: InitOptions,
    /// Accepts a commit that is not trusted.
    pub untrusted: bool,
}

/// What was made.
#[derive(Debug)]
pub struct CloneReport {
    /// The new repository.
    pub init: InitReport,
    /// What came.
    pub fetch: FetchReport,
    /// The branch HEAD stands on.
    pub branch: String,
    /// Where it stands; `None` where the source has no commit.
    pub commit: Option<CommitId>,
}

/// Makes a clone of `source` in `target`, which is absent or an empty directory.
///
/// HEAD stands on the source's branch, which follows it. The index is empty yet: `checkout` is given the repository and
/// the commit HEAD stands at, and brings the files. Where anything fails, `checkout` included, what was made is removed.
///
/// # Errors
/// [`Error::RepositoryExists`]; [`Error::ValueInvalid`] where `target` holds anything; those of [`Repository::init`] and
/// [`fetch()`]; [`Error::AccessDenied`] where the commit to check out is not trusted.
pub fn clone(
    vfs: Arc<dyn Vfs>,
    source: &Source,
    target: &Path,
    options: CloneOptions,
    settings: Settings,
    progress: &dyn Progress,
    checkout: impl FnOnce(&Repository, CommitId) -> Result<()>,
) -> Result<(Repository, CloneReport)> {
    let mut place = Place::claim(vfs.clone(), target)?;
    let CloneOptions { mut init, untrusted } = options;
    init.genesis = Some(source.genesis().clone());
    let (repository, init) = Repository::init(vfs, target, init, settings)?;
    let fetch = fetch(&repository, source, progress)?;
    let own_set = source.ref_sets().get(&source.actor());
    let names = own_set.map(|bytes| RefSet::verify(bytes, source.id())).transpose()?.map(|set| set.names().clone());
    let heads = names.unwrap_or_default().heads;
    let standing = source.head_branch().filter(|name| !name.starts_with(LOCAL_PREFIX));
    let default = Some(crate::repository::init::DEFAULT_BRANCH);
    // The source's own branch; else the usual one, else any that it has published.
    let named = [standing, default].into_iter().flatten().find(|name| heads.contains_key(*name));
    let named = named.or(heads.keys().next().map(String::as_str)).or(standing).or(default);
    let branch = named.unwrap_or_default().to_owned();
    let commit = heads.get(&branch).copied();
    begin(&repository, source, &branch, commit, untrusted)?;
    if let Some(commit) = commit {
        checkout(&repository, commit)?;
    }
    place.keep();
    Ok((repository, CloneReport { init, fetch, branch, commit }))
}

/// Puts HEAD on its branch.
fn begin(
    repository: &Repository,
    source: &Source,
    branch: &str,
    commit: Option<CommitId>,
    untrusted: bool,
) -> Result<()> {
    if let Some(commit) = commit {
        let state = repository.state()?;
        check_trust(repository, &repository.store(&state)?, commit, untrusted)?;
    }
    let permit = repository.write_permit("clone")?;
    let mut transaction = repository.transaction(&permit)?;
    transaction.set_head(Head::Branch(branch.to_owned()));
    if let Some(commit) = commit {
        transaction.set_branch(branch, Some(commit));
        transaction.set_index(Index { base: Some(commit), tree: Tree::empty_id(), pending: None });
    }
    transaction.set_upstream(branch, Some(&format!("{}/{branch}", source.actor())));
    transaction.commit()?;
    Ok(())
}

/// The directory a clone is made in. Unless kept, what was made is removed again.
struct Place {
    vfs: Arc<dyn Vfs>,
    target: PathBuf,
    /// Directories made, outermost first.
    made: Vec<PathBuf>,
    kept: bool,
}

impl Place {
    /// Makes the directory and its parents, or takes an empty one.
    fn claim(vfs: Arc<dyn Vfs>, target: &Path) -> Result<Self> {
        let mut place = Self { vfs: vfs.clone(), target: target.to_owned(), made: Vec::new(), kept: false };
        match Dir::open_root(vfs.clone(), target) {
            Ok(dir) => {
                if dir.metadata_optional(layout::SHARD)?.is_some() {
                    place.kept = true;
                    return Err(Error::RepositoryExists { path: target.to_owned() });
                }
                if !dir.list()?.is_empty() {
                    place.kept = true;
                    let value = target.display().to_string();
                    let reason = "it is not empty".to_owned();
                    return Err(Error::ValueInvalid { what: "directory", value, reason });
                }
                return Ok(place);
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                place.kept = true;
                return Err(error.into());
            }
        }
        // From the innermost parent that exists inwards.
        let absent: Vec<&Path> = target
            .ancestors()
            .take_while(|at| !at.as_os_str().is_empty() && Dir::open_root(vfs.clone(), at).is_err())
            .collect();
        for path in absent.into_iter().rev() {
            let (parent, name) = (parent_of(path), path.file_name().unwrap_or(path.as_os_str()));
            Dir::open_root(vfs.clone(), parent)?.create_dir(name, 0o777)?;
            place.made.push(path.to_owned());
        }
        Ok(place)
    }

    fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Ok(dir) = Dir::open_root(self.vfs.clone(), &self.target) {
            crate::repository::init::remove_beneath(&dir);
        }
        for path in self.made.iter().rev() {
            if let (Ok(parent), Some(name)) = (Dir::open_root(self.vfs.clone(), parent_of(path)), path.file_name()) {
                // Whatever somebody else put there meanwhile stays, and so does its directory.
                let _ = parent.remove_dir(name);
            }
        }
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
