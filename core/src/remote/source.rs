//! Another repository as a source: opened by its path, and only read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use shard_crypto::ActorId;
use shard_storage::vfs::{OpenOptions, Vfs};

use super::chain::{self, Chain};
use crate::ids::RepositoryId;
use crate::object::ObjectStore;
use crate::repository::{Genesis, Repository, Settings, State, layout};
use crate::{Error, Result};

/// A repository opened by its path, as one transaction left it. Nothing is written there, no lock is taken, and its
/// backend stays closed; read-only media will do.
///
/// It is the boundary to what will come from peers and buckets too: names as signed bytes, where objects lie, and frames
/// as they are stored.
#[derive(Debug)]
pub struct Source {
    repository: Repository,
    state: State,
    store: ObjectStore,
}

impl Source {
    /// Opens the repository whose worktree is `path`.
    ///
    /// # Errors
    /// Those of [`Repository::open`]: another user's repository is refused unless `settings` trust its directory.
    pub fn open(vfs: Arc<dyn Vfs>, path: &Path, settings: Settings) -> Result<Self> {
        let repository = Repository::open(vfs, path, settings)?;
        let state = repository.state()?;
        if !state.settled {
            settle(&repository);
        }
        let store = repository.store(&state)?;
        Ok(Self { repository, state, store })
    }

    /// Returns the repository it is a clone of.
    pub fn id(&self) -> RepositoryId {
        self.repository.id()
    }

    /// Returns what names the repository.
    pub fn genesis(&self) -> &Genesis {
        self.repository.genesis()
    }

    /// Returns whose clone it is.
    pub fn actor(&self) -> ActorId {
        self.repository.actor()
    }

    /// Returns its worktree.
    pub fn path(&self) -> &Path {
        self.repository.layout().worktree.path()
    }

    /// Returns the branch its HEAD stands on.
    pub fn head_branch(&self) -> Option<&str> {
        self.state.branch()
    }

    /// Returns the ref sets it holds, its own among them, by actor: bytes that nobody has verified.
    pub fn ref_sets(&self) -> &BTreeMap<ActorId, Vec<u8>> {
        &self.state.peers
    }

    /// Returns its objects. Frames are read from here as stored.
    pub fn store(&self) -> &ObjectStore {
        &self.store
    }

    /// Refuses to go on with a clone of another repository.
    pub(super) fn expect(&self, id: RepositoryId) -> Result<()> {
        if self.id() == id {
            return Ok(());
        }
        Err(Error::RepositoryMismatch {
            path: self.path().to_owned(),
            expected: id.digest(),
            found: self.id().digest(),
        })
    }

    /// Returns the headers it keeps of these actors' ref sets; their signatures were not checked.
    pub(super) fn headers(&self, actors: &BTreeSet<ActorId>) -> Result<BTreeMap<ActorId, Chain>> {
        chain::read(self.repository.layout(), &self.state, actors)
    }
}

/// A record beyond `applied` may have been written and not synced yet. Were its ref set taken over and the record then
/// lost with the power, its number would be signed twice; so it is made durable first. This writes nothing of ours.
fn settle(repository: &Repository) {
    let log = repository.layout().shard.open(layout::WAL, OpenOptions::READ);
    if let Err(error) = log.and_then(|log| log.sync_data()) {
        // Read-only media refuse, and lose nothing.
        tracing::debug!(%error, "the source's log cannot be synced");
    }
}
