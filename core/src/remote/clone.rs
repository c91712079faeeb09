//! Cloning: a new repository, with a key of its own, of the same history.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shard_storage::vfs::{Dir, Vfs};

use super::fetch::{FetchReport, fetch};
use super::pull::check_trust;
use super::{PeerBook, Source};
use crate::history::refs::{Head, LOCAL_PREFIX, RefSet};
use crate::ids::CommitId;
use crate::progress::Progress;
use crate::repository::init::{DEFAULT_BRANCH, InitOptions, InitReport};
use crate::repository::{Repository, Settings, layout};
use crate::worktree::CheckoutReport;
use crate::worktree::checkout::{Obstacles, SwitchTarget};
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
    /// What was written.
    pub checkout: Option<CheckoutReport>,
}

/// Makes a clone of `source` in `target`, which is absent or an empty directory, and checks out the source's branch,
/// which the new one follows. The source's path, absolute as it was opened, is noted in the [`PeerBook`].
///
/// Where anything fails, what was made is removed again.
///
/// # Errors
/// [`Error::RepositoryExists`]; [`Error::PathExists`] where `target` holds anything; those of [`Repository::init`] and
/// [`fetch()`]; [`Error::AccessDenied`] where the commit to check out is not trusted.
pub fn clone(
    vfs: Arc<dyn Vfs>,
    source: &Source,
    target: &Path,
    options: CloneOptions,
    settings: Settings,
    progress: &dyn Progress,
) -> Result<(Repository, CloneReport)> {
    let mut place = Place::claim(vfs.clone(), target)?;
    let CloneOptions { mut init, untrusted } = options;
    init.genesis = Some(source.genesis().clone());
    let (repository, init) = Repository::init(vfs, target, init, settings)?;
    let fetch = fetch(&repository, source, progress)?;
    let heads = match source.ref_sets().get(&source.actor()) {
        Some(bytes) => RefSet::verify(bytes, source.id())?.names().heads.clone(),
        None => BTreeMap::new(),
    };
    let standing = source.head_branch().filter(|name| !name.starts_with(LOCAL_PREFIX));
    let (branch, commit) = first_branch(standing, &heads);
    if let Some(commit) = commit {
        check_trust(&repository, &repository.store(&repository.state()?)?, commit, untrusted)?;
    }
    begin(&repository, source, &branch)?;
    let checkout = match commit {
        Some(_) => {
            let target = SwitchTarget { head: Head::Branch(branch.clone()), commit, create: true };
            Some(repository.switch(&target, Obstacles::Refuse, progress)?)
        }
        None => None,
    };
    repository.tidy();
    place.keep();
    Ok((repository, CloneReport { init, fetch, branch, commit, checkout }))
}

/// Chooses the branch to stand on: the source's own; else the usual one, else any that it has published.
fn first_branch(standing: Option<&str>, heads: &BTreeMap<String, CommitId>) -> (String, Option<CommitId>) {
    let likely = [standing, Some(DEFAULT_BRANCH)].into_iter().flatten();
    let published = likely.filter_map(|name| heads.get_key_value(name)).chain(heads.iter()).next();
    match published {
        Some((name, commit)) => (name.clone(), Some(*commit)),
        None => (standing.unwrap_or(DEFAULT_BRANCH).to_owned(), None),
    }
}

/// Puts HEAD on its branch, which is unborn yet, and lets it follow the source's.
fn begin(repository: &Repository, source: &Source, branch: &str) -> Result<()> {
    let mut book = PeerBook::default();
    book.set_path(source.actor(), source.path());
    book.write(repository.layout())?;
    let permit = repository.write_permit("clone")?;
    let mut transaction = repository.transaction(&permit)?;
    transaction.set_head(Head::Branch(branch.to_owned()));
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
                    let reason = "exists and is not an empty directory".to_owned();
                    return Err(Error::PathExists { path: target.to_owned(), reason });
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
