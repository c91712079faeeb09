//! Making a repository.
//!
//! Everything is made under a temporary name, synced, and renamed to `.shard`: a crash leaves a repository or none.

use std::path::Path;
use std::sync::Arc;

use shard_crypto::{ActorId, KeyFile, Passphrase, SealCost, SecretKey};
use shard_storage::framed_log::{FramedLog, LogKind};
use shard_storage::lock_file::{LockFile, Slots};
use shard_storage::pack::{Class, PACK_HEADER_LENGTH, PackOrdinal};
use shard_storage::vfs::{Dir, FileKind, OpenOptions, Vfs};

use super::layout::{self, Layout};
use super::transaction::{create_open_pack, replace_log, sync_failure};
use super::wal::{Applied, End, Ends, Record};
use super::{Genesis, Repository, Settings, genesis_file, random};
use crate::canonical::Canonical;
use crate::error::UnsafeReason;
use crate::history::refs::Head;
use crate::object::catalog::{CatalogRecord, PackChange, PackState};
use crate::object::store::pack_file;
use crate::tree::Tree;
use crate::worktree::index::Index;
use crate::{Error, Result};

/// Room kept for applying a transaction on a full disk.
pub(crate) const BALLAST: u64 = 1 << 20;
/// Name of the branch a new repository stands on.
pub const DEFAULT_BRANCH: &str = "main";

/// How a repository is made.
#[derive(Debug, Default)]
pub struct InitOptions {
    /// The name shown for it; the directory's where empty.
    pub name: String,
    /// A public key that may replace the creator's; see [`Genesis::recovery_key`].
    pub recovery_key: Option<ActorId>,
    /// Seals the secret key.
    pub passphrase: Option<Passphrase>,
    /// Makes it even on a network file system.
    pub force: bool,
    /// Content of `config.json`, where settings are to be kept.
    pub config: Option<Vec<u8>>,
    /// Begins from another clone's genesis instead of a new one.
    pub genesis: Option<Genesis>,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitReport {
    /// The repository's id.
    pub repository: crate::ids::RepositoryId,
    /// Its name.
    pub name: String,
    /// Whose clone it is.
    pub actor: ActorId,
}

impl Repository {
    /// Makes a repository in `root`, which exists, and opens it.
    ///
    /// # Errors
    /// [`Error::RepositoryExists`], [`Error::RepositoryUnsafe`] on a network file system without `force`.
    pub fn init(
        vfs: Arc<dyn Vfs>,
        root: &Path,
        options: InitOptions,
        settings: Settings,
    ) -> Result<(Self, InitReport)> {
        let worktree = Dir::open_root(vfs.clone(), root)?;
        if worktree.metadata_optional(layout::SHARD)?.is_some() {
            return Err(Error::RepositoryExists { path: root.to_owned() });
        }
        if worktree.filesystem()?.network && !options.force {
            let reason = UnsafeReason::NetworkFilesystem;
            return Err(Error::RepositoryUnsafe { path: root.to_owned(), reason });
        }
        let key = SecretKey::generate().map_err(|error| Error::Unsupported { what: error.to_string() })?;
        let genesis = match options.genesis {
            Some(genesis) => genesis,
            None => {
                let named = root.file_name().map(|name| name.to_string_lossy().into_owned());
                let mut name = if options.name.is_empty() { named.unwrap_or_default() } else { options.name };
                while name.len() > super::genesis::MAX_NAME {
                    name.pop();
                }
                let (nonce, creator) = (random()?, key.actor());
                Genesis { nonce, creator, name, private: false, recovery_key: options.recovery_key }
            }
        };
        let report = InitReport { repository: genesis.id(), name: genesis.name.clone(), actor: key.actor() };
        let key_file = match &options.passphrase {
            Some(passphrase) => KeyFile::seal(&key, passphrase, SealCost::DEFAULT)
                .map_err(|error| Error::Unsupported { what: error.to_string() })?,
            None => KeyFile::plain(&key),
        };
        let unique = u64::from_le_bytes(random()?);
        let temporary = format!("{}-tmp-init-{unique:016x}", layout::SHARD);
        worktree.create_dir(&temporary, 0o700)?;
        let made =
            make(&worktree, &temporary, &genesis, &key_file, options.config.as_deref(), settings.trial.boot_id());
        let named = made.and_then(|()| {
            worktree.rename(&temporary, &worktree, layout::SHARD)?;
            worktree.sync().map_err(sync_failure)
        });
        if let Err(error) = named {
            remove_all(&worktree, &temporary);
            // Somebody else was quicker: a directory that is not empty is never replaced.
            if worktree.metadata_optional(layout::SHARD)?.is_some() && matches!(error, Error::Disk(_)) {
                return Err(Error::RepositoryExists { path: root.to_owned() });
            }
            return Err(error);
        }
        let repository = Self::open(vfs, root, settings)?;
        repository.make_views();
        Ok((repository, report))
    }
}

fn make(
    worktree: &Dir,
    name: &str,
    genesis: &Genesis,
    key: &KeyFile,
    config: Option<&[u8]>,
    boot_id: [u8; 16],
) -> Result<()> {
    let shard = worktree.open_dir(name)?;
    for directory in layout::DIRECTORIES {
        shard.create_dir(directory, if *directory == layout::KEYS { 0o700 } else { 0o777 })?;
    }
    let layout = Layout {
        worktree: worktree.clone(),
        tmp: shard.open_dir(layout::TMP)?,
        locks: shard.open_dir(layout::LOCKS)?,
        shard: shard.clone(),
    };
    for lock in layout::LOCK_FILES {
        LockFile::open(&layout.locks, lock)?;
    }
    for (slots, count) in layout::SLOTS {
        Slots::create(&layout.locks, slots, *count)?;
    }
    let put = |file: &str, bytes: &[u8], mode: u32| -> Result<()> {
        let file = shard.open(file, OpenOptions::CREATE_NEW.mode(mode))?;
        file.set_mode(mode)?;
        file.write_all_at(bytes, 0)?;
        file.sync_data().map_err(sync_failure)
    };
    put(layout::GENESIS, &genesis_file(genesis), 0o644)?;
    put(layout::SECRET_KEY, key.as_bytes(), 0o600)?;
    put(layout::PUBLIC_KEY, format!("{}\n", key.actor()).as_bytes(), 0o644)?;
    put(layout::HEAD, Head::Branch(DEFAULT_BRANCH.to_owned()).to_string().as_bytes(), 0o644)?;
    let index = Index { base: None, tree: Tree::empty_id(), pending: None };
    put(layout::INDEX, &index.to_bytes(), 0o644)?;
    put(layout::CONFIG, config.unwrap_or(b"{}\n"), 0o644)?;
    if worktree.metadata_optional(".git")?.is_some() {
        // So that `git status` stays as it was.
        put(".gitignore", b"*\n", 0o644)?;
    }
    let ballast = shard.open(layout::BALLAST, OpenOptions::CREATE_NEW)?;
    ballast.allocate(0, BALLAST)?;
    let mut ends = Ends::new();
    let mut grow = |file: &str, kind: LogKind, records: &[Vec<u8>]| -> Result<()> {
        let mut log = FramedLog::create(&shard, file, kind, 1)?;
        for record in records {
            log.append(record)?;
        }
        log.sync()?;
        let end = log.end();
        ends.insert(file.to_owned(), End { offset: end.offset, sequence: end.sequence });
        Ok(())
    };
    grow(layout::OPERATIONS, LogKind::OPERATIONS, &[])?;
    grow(layout::REF_CHAIN, LogKind::REF_CHAIN, &[])?;
    let mut opened = Vec::new();
    for class in Class::ALL {
        let ordinal = create_open_pack(&layout, genesis.id(), PackOrdinal::first(class))?;
        opened.push(PackChange { ordinal, state: PackState::Open, length: 0 });
    }
    grow(layout::CATALOG, LogKind::CATALOG, &[CatalogRecord(opened.clone()).to_bytes()])?;
    for change in &opened {
        let end = End { offset: PACK_HEADER_LENGTH as u64, sequence: 0 };
        ends.insert(pack_file(change.ordinal), end);
    }
    let (log_id, end) = replace_log(&layout, 1, &[Record::Checkpoint(ends.clone()).to_bytes()])?;
    ends.insert(layout::WAL.to_owned(), End { offset: end.offset, sequence: end.sequence });
    put(layout::APPLIED, &Applied { log_id, sequence: 1, boot_id, ends }.to_file(), 0o644)?;
    for directory in layout::DIRECTORIES {
        shard.open_dir(directory)?.sync().map_err(sync_failure)?;
    }
    shard.sync().map_err(sync_failure)
}

/// Removes a directory that nobody else knows of, as far as that goes.
fn remove_all(parent: &Dir, name: &str) {
    let Ok(dir) = parent.open_dir(name) else { return };
    remove_beneath(&dir);
    let _ = parent.remove_dir(name);
}

/// Removes everything in a directory, as far as that goes. Links are removed and never followed.
pub(crate) fn remove_beneath(dir: &Dir) {
    for entry in dir.list().unwrap_or_default() {
        match entry.kind {
            FileKind::Directory => {
                if let Ok(beneath) = dir.open_dir(&entry.name) {
                    remove_beneath(&beneath);
                }
                let _ = dir.remove_dir(&entry.name);
            }
            _ => drop(dir.unlink(&entry.name)),
        }
    }
}
