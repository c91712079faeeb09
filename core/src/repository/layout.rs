//! Every path under `.shard/`, and the open directories commands work in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shard_storage::vfs::{Dir, Vfs, effective_uid};

use crate::Result;

/// Name of the repository's own directory.
pub const SHARD: &str = ".shard";
/// Where HEAD stands.
pub const HEAD: &str = "HEAD";
/// The staging area.
pub const INDEX: &str = "index";
/// What names the repository, and the version of this layout.
pub const GENESIS: &str = "genesis";
/// The write-ahead log.
pub const WAL: &str = "wal.log";
/// How far the write-ahead log is applied.
pub const APPLIED: &str = "applied";
/// Branches.
pub const HEADS: &str = "refs/heads";
/// Tags.
pub const TAGS: &str = "refs/tags";
/// One signed ref set an actor.
pub const PEERS: &str = "refs/peers";
/// Which branch follows which.
pub const UPSTREAMS: &str = "refs/upstreams";
/// Signed headers of past ref sets.
pub const REF_CHAIN: &str = "refs/chain.log";
/// The undo log.
pub const OPERATIONS: &str = "operations.log";
/// Pack states.
pub const CATALOG: &str = "objects/catalog.log";
/// Runs of the pack index.
pub const RUNS: &str = "objects/index";
/// Files being written.
pub const TMP: &str = "tmp";
/// Views: what a backend holds.
pub const VIEWS: &str = "views";
/// The stat cache.
pub const STAT_CACHE: &str = "stat-cache";
/// What commands counted.
pub const COUNTERS: &str = "counters";
/// Damaged things set aside.
pub const QUARANTINE: &str = "quarantine";
/// What running transfers pin.
pub const PARTIAL: &str = "partial";
/// OS locks.
pub const LOCKS: &str = "locks";
/// Secrets.
pub const KEYS: &str = "keys";
/// The secret key, within [`KEYS`].
pub const SECRET_KEY: &str = "keys/secret.key";
/// The public key, within [`KEYS`].
pub const PUBLIC_KEY: &str = "keys/public.key";
/// Settings.
pub const CONFIG: &str = "config.json";
/// Where others were met.
pub const PEER_BOOK: &str = "peers.json";
/// Room kept for applying a transaction on a full disk.
pub const BALLAST: &str = "ballast";
/// Writers of the disk take this, then [`WRITE_LOCK`].
pub const QUEUE_LOCK: &str = "queue.lock";
/// Held while a transaction is written.
pub const WRITE_LOCK: &str = "write.lock";
/// Held by what moves files of the worktree.
pub const WORKTREE_LOCK: &str = "worktree.lock";
/// Held by garbage collection.
pub const GC_LOCK: &str = "gc.lock";
/// Held by a running node.
pub const NODE_LOCK: &str = "node.lock";
/// Slots of waiting writers.
pub const WAITERS: &str = "waiters";
/// Slots of running readers.
pub const LEASES: &str = "leases";
/// How many [`WAITERS`] there are.
pub const WAITER_SLOTS: usize = 64;
/// How many [`LEASES`] there are.
pub const LEASE_SLOTS: usize = 128;

/// Files of OS locks, within [`LOCKS`].
pub const LOCK_FILES: &[&str] = &[QUEUE_LOCK, WRITE_LOCK, WORKTREE_LOCK, GC_LOCK, NODE_LOCK];
/// Directories of slots, within [`LOCKS`], and how many each has.
pub const SLOTS: &[(&str, usize)] = &[(WAITERS, WAITER_SLOTS), (LEASES, LEASE_SLOTS)];

/// Directories that `init` makes, parents first.
pub const DIRECTORIES: &[&str] = &[
    "refs",
    HEADS,
    TAGS,
    PEERS,
    "objects",
    "objects/data",
    "objects/meta",
    RUNS,
    TMP,
    VIEWS,
    QUARANTINE,
    PARTIAL,
    LOCKS,
    "locks/waiters",
    "locks/leases",
    KEYS,
    "indexes",
];

/// The open directories of a repository.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The worktree's root.
    pub worktree: Dir,
    /// `.shard`.
    pub shard: Dir,
    /// `.shard/tmp`.
    pub tmp: Dir,
    /// `.shard/locks`.
    pub locks: Dir,
}

impl Layout {
    /// Opens the directories of an existing repository whose worktree is `root`. In one's own, `tmp` and `locks` are made
    /// again where they are missing: what copies a tree file by file leaves empty directories behind.
    pub fn open(vfs: Arc<dyn Vfs>, root: &Path) -> Result<Self> {
        let worktree = Dir::open_root(vfs, root)?;
        let shard = worktree.open_dir(SHARD)?;
        let standing = |name: &str| match shard.open_dir(name) {
            Err(error) if error.is_not_found() => {
                let own = shard.metadata("")?.uid == effective_uid() && shard.metadata_optional(GENESIS)?.is_some();
                if own { shard.create_dir_all(name) } else { Err(error) }
            }
            other => other,
        };
        let (tmp, locks) = (standing(TMP)?, standing(LOCKS)?);
        Ok(Self { worktree, shard, tmp, locks })
    }

    /// Returns the path of something under `.shard/`, for messages and for engines that open files themselves.
    pub fn path(&self, name: &str) -> PathBuf {
        self.shard.path().join(name)
    }
}
