//! Another repository as a source: opened by its path, and only read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use shard_crypto::ActorId;
use shard_storage::vfs::{OpenOptions, Vfs, VfsError};

use super::chain::{self, Chain};
use crate::ids::RepositoryId;
use crate::object::ObjectStore;
use crate::repository::{Genesis, Repository, Settings, State, layout, sync_failure};
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
    /// Opens the repository whose worktree is `path`. What it shows is durable there.
    ///
    /// # Errors
    /// Those of [`Repository::open`]: another user's repository is refused unless `settings` trust its directory.
    /// [`Error::DurabilityUnknown`] where a sync failed, now or in the command that wrote there last.
    pub fn open(vfs: Arc<dyn Vfs>, path: &Path, settings: Settings) -> Result<Self> {
        let repository = Repository::open(vfs, path, settings)?;
        let state = durable_state(&repository)?;
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

/// Reads a state all of which is durable.
///
/// A record beyond `applied` may have been written and not synced yet. Were its ref set taken over and the record then
/// lost with the power, its number would be signed twice; so it is made durable first. This writes nothing of ours.
fn durable_state(repository: &Repository) -> Result<State> {
    let shard = &repository.layout().shard;
    // Opened before anything is read: a sync that fails from here on fails for this handle too, whoever asked for it.
    let log = shard.open(layout::WAL, OpenOptions::READ)?;
    let state = repository.state()?;
    if state.is_settled() {
        return Ok(state);
    }
    let synced = |result: Result<(), VfsError>| match result {
        // Nothing is written there, so nothing is lost.
        Err(error) if error.is_read_only() => Ok(()),
        other => other.map_err(sync_failure),
    };
    synced(log.sync_data())?;
    // Meanwhile another log may have come in its place, whose name is not durable either.
    synced(shard.open(layout::WAL, OpenOptions::READ)?.sync_data())?;
    synced(shard.sync())?;
    // So a process leaves it whose sync failed: what it wrote may be in memory alone, and no later sync would tell.
    if shard.metadata_optional(layout::APPLIED)?.is_some_and(|applied| applied.size == 0) {
        let source = std::io::Error::other("a sync failed there, and no command that writes has followed");
        return Err(Error::DurabilityUnknown { path: repository.layout().path(layout::WAL), source });
    }
    Ok(state)
}
