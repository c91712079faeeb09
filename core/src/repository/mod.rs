//! The repository: what ties objects, history and worktree together.
//!
//! Opening takes no lock and writes nothing. Readers ask for a [`State`] and an [`ObjectStore`]; writers ask for a
//! [`WritePermit`] and make a [`Transaction`]. What printed success survives power loss; all else happened wholly or not
//! at all.

mod closure;
pub mod config;
mod counters;
mod doctor;
mod fault;
pub mod fsck;
pub mod genesis;
pub mod init;
mod instalment;
pub mod layout;
mod op_queue;
mod pack_files;
mod pack_index;
mod rebuild;
pub(crate) mod state;
mod stats;
mod transaction;
mod trial;
mod verify;
pub mod views;
#[doc(hidden)]
pub mod wal;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shard_crypto::{ActorId, KeyFile, KeyFileError, Passphrase, SecretKey};
use shard_storage::backend::BackendKind;
use shard_storage::vfs::{OpenOptions, Vfs, VfsError, effective_uid};

use crate::clock::{Clock, SystemClock};
use crate::error::UnsafeReason;
use crate::ids::RepositoryId;
use crate::object::chunker::ChunkerSetting;
use crate::object::compression::Compression;
use crate::object::ingest::IngestOptions;
use crate::object::{ObjectStore, Staging};
use crate::{Error, Result};

pub use doctor::{Check, DoctorReport, Health, Remedy};
pub use fault::{Fault, ObjectFault};
pub use fsck::{FsckLevel, FsckReport};
pub use genesis::Genesis;
pub use layout::Layout;
pub use op_queue::{Running, WritePermit, running};
pub use rebuild::{LeftOut, RebuildOptions, RebuildReport};
pub use state::State;
pub use stats::{ClassStats, KindStats, StorageStats};
pub use transaction::Transaction;
pub(crate) use transaction::sync_failure;
#[doc(hidden)]
pub use trial::Trial;
pub use verify::VerifyReport;
pub use views::Views;

/// Largest genesis file.
const MAX_GENESIS: u64 = 4096;
/// First bytes of the genesis file.
const GENESIS_MAGIC: &[u8; 8] = b"SHRDREPO";
/// Version of the layout under `.shard/`.
pub const LAYOUT_VERSION: u32 = 1;

/// How a repository is used, as configuration, environment and flags say.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name commits show.
    pub user_name: String,
    /// Workers.
    pub threads: usize,
    /// How new frames are compressed.
    pub compression: Compression,
    /// How new files are cut.
    pub chunker: ChunkerSetting,
    /// What holds the views.
    pub backend: BackendKind,
    /// Bytes of decoded frames kept in memory.
    pub cache_size: usize,
    /// How long a writer waits for its turn.
    pub queue_timeout: Duration,
    /// Whether `.gitignore` counts too.
    pub gitignore: bool,
    /// The user's own ignore rules.
    pub user_ignore: Option<Vec<u8>>,
    /// A file larger than this is not added without being asked for.
    pub ask_above: Option<u64>,
    /// Directories whose repositories are used whoever owns them.
    pub trusted_directories: Vec<PathBuf>,
    /// What runs, for those who wait and for the operation log; without secrets.
    pub command: String,
    /// Transactions are prepared and checked, and then dropped: nothing is committed.
    pub dry_run: bool,
    /// What tests change.
    #[doc(hidden)]
    pub trial: Trial,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            user_name: "somebody".to_owned(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            compression: Compression::default(),
            chunker: ChunkerSetting::default(),
            backend: BackendKind::Sqlite,
            cache_size: 32 << 20,
            queue_timeout: Duration::from_secs(30),
            gitignore: true,
            user_ignore: None,
            ask_above: None,
            trusted_directories: Vec::new(),
            command: "library".to_owned(),
            dry_run: false,
            trial: Trial::default(),
        }
    }
}

/// An open repository. Threads may share it.
pub struct Repository {
    layout: Layout,
    genesis: Genesis,
    id: RepositoryId,
    key_file: KeyFile,
    key: Mutex<Option<Arc<SecretKey>>>,
    settings: Settings,
    clock: Arc<dyn Clock>,
    boot_id: [u8; 16],
    queue: op_queue::OpQueue,
    views: Mutex<Option<views::OpenBackend>>,
    poisoned: AtomicBool,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository")
            .field("worktree", &self.layout.worktree)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Repository {
    /// Finds the worktree that `start` lies in: the nearest directory upward that holds `.shard`.
    pub fn discover(vfs: &Arc<dyn Vfs>, start: &Path) -> Result<PathBuf> {
        let mut at = Some(start);
        while let Some(dir) = at {
            let held = shard_storage::vfs::Dir::open_root(vfs.clone(), dir)
                .and_then(|dir| dir.metadata_optional(Path::new(layout::SHARD).join(layout::GENESIS)));
            if matches!(held, Ok(Some(_))) {
                return Ok(dir.to_owned());
            }
            at = dir.parent();
        }
        Err(Error::RepositoryNotFound { from: start.to_owned() })
    }

    /// Opens the repository whose worktree is `root`. Takes no lock and writes nothing.
    ///
    /// # Errors
    /// [`Error::RepositoryNotFound`], [`Error::RepositoryUnsafe`] where it belongs to another user,
    /// [`Error::RepositoryFormat`] where a later version made it.
    pub fn open(vfs: Arc<dyn Vfs>, root: &Path, settings: Settings) -> Result<Self> {
        Self::open_with(vfs, root, settings, Arc::new(SystemClock))
    }

    /// Opens a repository with a clock of one's own.
    pub fn open_with(vfs: Arc<dyn Vfs>, root: &Path, settings: Settings, clock: Arc<dyn Clock>) -> Result<Self> {
        let layout = match Layout::open(vfs, root) {
            Err(Error::Disk(error)) if error.is_not_found() => {
                return Err(Error::RepositoryNotFound { from: root.to_owned() });
            }
            other => other?,
        };
        let owner = layout.shard.metadata("")?.uid;
        let trusted = settings.trusted_directories.iter().any(|trusted| root.starts_with(trusted));
        if owner != effective_uid() && !trusted {
            let reason = UnsafeReason::ForeignOwner { uid: owner };
            return Err(Error::RepositoryUnsafe { path: root.to_owned(), reason });
        }
        let genesis = read_genesis(&layout)?;
        let key_bytes = layout.shard.read(layout::SECRET_KEY, KeyFile::SEALED_LEN as u64 + 1)?;
        let key_file = KeyFile::parse(&key_bytes)
            .map_err(|error| state::damaged(&layout, layout::SECRET_KEY, &error.to_string()))?;
        let boot_id = settings.trial.boot_id();
        Ok(Self {
            id: genesis.id(),
            layout,
            genesis,
            key_file,
            key: Mutex::new(None),
            settings,
            clock,
            boot_id,
            queue: op_queue::OpQueue::default(),
            views: Mutex::default(),
            poisoned: AtomicBool::new(false),
        })
    }

    /// Returns the open directories.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns what names the repository.
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Returns the repository's id.
    pub fn id(&self) -> RepositoryId {
        self.id
    }

    /// Returns whose clone this is.
    pub fn actor(&self) -> ActorId {
        self.key_file.actor()
    }

    /// Returns how it is used.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the clock.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Returns which boot of the machine this is.
    pub(crate) fn boot_id(&self) -> [u8; 16] {
        self.boot_id
    }

    /// Says whether signing needs a passphrase that was not given yet.
    pub fn is_locked(&self) -> bool {
        self.key_file.is_sealed() && self.key.lock().expect("nothing panics while holding the key").is_none()
    }

    /// Opens a sealed key for the life of this handle.
    ///
    /// # Errors
    /// [`Error::KeyPassphrase`] where the passphrase is not the key's.
    pub fn unlock(&self, passphrase: &Passphrase) -> Result<()> {
        let key = self.key_file.open(Some(passphrase)).map_err(key_error)?;
        *self.key.lock().expect("nothing panics while holding the key") = Some(Arc::new(key));
        Ok(())
    }

    /// Returns the signing key.
    ///
    /// # Errors
    /// [`Error::KeyLocked`] where it is sealed and was not [unlocked](Self::unlock).
    pub fn key(&self) -> Result<Arc<SecretKey>> {
        let mut key = self.key.lock().expect("nothing panics while holding the key");
        if let Some(key) = &*key {
            return Ok(key.clone());
        }
        let opened = Arc::new(self.key_file.open(None).map_err(key_error)?);
        *key = Some(opened.clone());
        Ok(opened)
    }

    fn unlocked_key(&self) -> Option<Arc<SecretKey>> {
        self.key().ok()
    }

    /// Reads the state as the last transaction left it. Takes no lock, unless writers never pause.
    pub fn state(&self) -> Result<State> {
        if let Some(state) = State::read(&self.layout, self.boot_id)? {
            return Ok(state);
        }
        let _permit = self.write_permit("read")?;
        State::read(&self.layout, self.boot_id)?
            .ok_or_else(|| state::damaged(&self.layout, layout::WAL, "it keeps changing although nobody writes"))
    }

    /// Opens the objects of a state.
    pub fn store(&self, state: &State) -> Result<ObjectStore> {
        ObjectStore::open(&self.layout, self.id, state, self.settings.cache_size)
    }

    /// Reads which packs count in a state.
    pub(crate) fn catalog(&self, state: &State) -> Result<crate::object::catalog::Catalog> {
        crate::object::catalog::Catalog::read(&self.layout.shard, state)
    }

    /// Starts preparing new objects. Where they are many, transactions of their own register chunks from time to time.
    pub fn staging<'s>(&'s self, store: &'s ObjectStore) -> Staging<'s> {
        let staging = Staging::new(store, self.settings.compression);
        staging.with_memory(self.settings.trial.staged_in_memory).with_instalments(self.instalments())
    }

    /// Returns how files are taken in.
    pub fn ingest_options(&self) -> IngestOptions {
        IngestOptions { chunker: self.settings.chunker, threads: self.settings.threads }
    }

    /// Waits for the right to write.
    ///
    /// # Errors
    /// [`Error::RepositoryBusy`] after `queue.timeout`, naming who holds it.
    pub fn write_permit(&self, command: &str) -> Result<WritePermit<'_>> {
        self.check_writable()?;
        self.queue.acquire(&self.layout, command, self.settings.queue_timeout)
    }

    /// Begins a transaction under a permit.
    pub fn transaction<'p>(&'p self, permit: &'p WritePermit<'p>) -> Result<Transaction<'p>> {
        Transaction::begin(self, permit, &self.settings.command)
    }

    fn check_writable(&self) -> Result<()> {
        if self.poisoned.load(Ordering::Relaxed) {
            let source = std::io::Error::other("an earlier sync failed");
            return Err(Error::DurabilityUnknown { path: self.layout.path(layout::WAL), source });
        }
        Ok(())
    }

    /// After a failed sync: this process writes no more, and whoever writes next recovers first, since the system takes
    /// what it could not write for written, and no later sync would tell.
    fn poison(&self) {
        self.poisoned.store(true, Ordering::Relaxed);
        let forgotten = self.layout.shard.open(layout::APPLIED, OpenOptions::WRITE).and_then(|file| file.set_len(0));
        if let Err(error) = forgotten {
            tracing::warn!(%error, "the next command may not notice that a sync failed");
        }
    }

    /// Passes a result on, after [poisoning](Self::poison) where it tells of a failed sync.
    fn checked<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| {
            if matches!(error, Error::DurabilityUnknown { .. }) {
                self.poison();
            }
        })
    }
}

fn key_error(error: KeyFileError) -> Error {
    match error {
        KeyFileError::NeedsPassphrase => Error::KeyLocked,
        KeyFileError::WrongPassphrase | KeyFileError::EmptyPassphrase => Error::KeyPassphrase,
        other => Error::FileCorrupt { path: layout::SECRET_KEY.into(), reason: other.to_string() },
    }
}

/// Reads what names the repository, and with it the version of the layout.
fn read_genesis(layout: &Layout) -> Result<Genesis> {
    use crate::canonical::Canonical;
    let bytes = layout.shard.read(layout::GENESIS, MAX_GENESIS)?;
    let damaged = |reason: &str| state::damaged(layout, layout::GENESIS, reason);
    let rest = bytes.strip_prefix(GENESIS_MAGIC).ok_or_else(|| damaged("it does not begin as it should"))?;
    let (version, rest) = rest.split_first_chunk::<4>().ok_or_else(|| damaged("it is cut short"))?;
    let version = u32::from_le_bytes(*version);
    if version != LAYOUT_VERSION {
        return Err(Error::RepositoryFormat {
            path: layout.worktree.path().to_owned(),
            found: version.into(),
            supported: LAYOUT_VERSION.into(),
        });
    }
    let (check, body) = rest.split_first_chunk::<8>().ok_or_else(|| damaged("it is cut short"))?;
    if blake3::hash(body).as_bytes()[..8] != check[..] {
        return Err(damaged("its check does not hold"));
    }
    Genesis::from_bytes(body).map_err(|error| damaged(&error.to_string()))
}

/// Encodes the genesis file.
fn genesis_file(genesis: &Genesis) -> Vec<u8> {
    use crate::canonical::Canonical;
    let body = genesis.to_bytes();
    let mut bytes = GENESIS_MAGIC.to_vec();
    bytes.extend_from_slice(&LAYOUT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&blake3::hash(&body).as_bytes()[..8]);
    bytes.extend_from_slice(&body);
    bytes
}

/// Draws random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        let source = std::io::Error::other(error.to_string());
        Error::Disk(VfsError { operation: "draw random bytes from", path: "the operating system".into(), source })
    })?;
    Ok(bytes)
}
