//! Where others were met: `peers.json`, a setting of this clone alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shard_crypto::ActorId;
use shard_storage::atomic_file::{self, Sync};

use crate::repository::{Layout, Repository, State, layout};
use crate::{Error, Result};

/// Largest book that is read.
const MAX_BOOK: u64 = 1 << 20;

/// What is noted of one actor. Keys of a later version are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// Where its repository lies on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<PathBuf>,
    #[serde(flatten)]
    other: BTreeMap<String, serde_json::Value>,
}

/// Where the repositories of other actors lie.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerBook {
    #[serde(default)]
    peers: BTreeMap<String, Entry>,
    #[serde(flatten)]
    other: BTreeMap<String, serde_json::Value>,
}

impl PeerBook {
    /// Reads the book of a repository; an absent one is empty.
    ///
    /// # Errors
    /// [`Error::FileCorrupt`] where it is not what we write.
    pub fn read(repository: &Repository) -> Result<Self> {
        let layout = repository.layout();
        let Some(bytes) = layout.shard.read_optional(layout::PEER_BOOK, MAX_BOOK)? else { return Ok(Self::default()) };
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::FileCorrupt { path: layout.path(layout::PEER_BOOK), reason: error.to_string() })
    }

    /// Returns where an actor's repository lies.
    pub fn path(&self, actor: ActorId) -> Option<&Path> {
        self.peers.get(&actor.to_string())?.path.as_deref()
    }

    /// Returns where the repository lies that the current branch follows: what `pull` means when none is named.
    pub fn followed(&self, state: &State) -> Option<&Path> {
        let (actor, _) = state.upstreams.get(state.branch()?)?.split_once('/')?;
        self.path(actor.parse().ok()?)
    }

    /// Notes where an actor's repository lies. A path that is not Unicode cannot be noted.
    pub fn set_path(&mut self, actor: ActorId, path: &Path) {
        if path.to_str().is_some() {
            self.peers.entry(actor.to_string()).or_default().path = Some(path.to_owned());
        }
    }

    /// Writes the book, durable on return.
    pub fn write(&self, layout: &Layout) -> Result<()> {
        let mut bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::FileCorrupt { path: layout.path(layout::PEER_BOOK), reason: error.to_string() })?;
        bytes.push(b'\n');
        atomic_file::write_atomically(&layout.tmp, &layout.shard, layout::PEER_BOOK, &bytes, 0o600, Sync::Full)
            .map_err(crate::repository::sync_failure)
    }
}
