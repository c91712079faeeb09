//! sled: for a node that lives long and owns its repository.
//!
//! One tree; a key is preceded by its table's number. sled admits one process, which is found out by an OS lock of our
//! own on `sled.lock`, so that the holder can be named. sled neither isolates a batch from readers nor a scan from
//! batches; a gate does: readers of one step pass together, a batch passes alone.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use super::rows::Watched;
use super::{
    Backend, BackendError, BackendKind, BackendStats, Batch, Durability, KeyRange, Op, OpenMode, Order, Result, SCHEMA,
    Scan, Sharing, Table, check_key,
};
use crate::vfs::{Dir, File, LockKind, OpenOptions, VfsError};

const NAME: &str = "sled";
const LOCK: &str = "sled.lock";

/// Where the schema stands: in front of it a byte that is no table's number.
const SCHEMA_KEY: &[u8] = b"\xFFschema";

const CACHE: u64 = 64 << 20;

/// How long sled's own lock is waited for once ours is held: an earlier database of this process may still be closing
/// on a thread of sled's.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(5);

/// The sled backend.
#[derive(Debug)]
pub struct Sled {
    db: ::sled::Db,
    dir: Dir,
    path: PathBuf,
    mode: OpenMode,
    /// Counts the batches applied.
    gate: RwLock<u64>,
    /// Held until the database above it is dropped.
    _owner: Owner,
}

impl Sled {
    /// Opens the backend in `dir`, alone. Fails with [`BackendError::Busy`] at once where another process has it.
    ///
    /// sled writes when it opens, in [`OpenMode::ReadOnly`] too.
    pub fn open(dir: &Dir, mode: OpenMode) -> Result<Self> {
        if mode == OpenMode::ReadOnly {
            dir.metadata(NAME)?;
        }
        let owner = Owner::claim(dir)?;
        let path = absolute(dir.path(), NAME)?;
        let config = ::sled::Config::new().path(&path).cache_capacity(CACHE).flush_every_ms(None);
        let begun = Instant::now();
        let db = loop {
            // What a damaged file makes sled do is not always to return an error.
            let opened = catch_unwind(AssertUnwindSafe(|| config.open()))
                .map_err(|_| BackendError::Damaged { reason: "sled cannot open its files".into() })?;
            match opened {
                Err(error) if is_lock(&error) && begun.elapsed() < CLOSING_TIMEOUT => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(error) if is_lock(&error) => return Err(BackendError::Busy { pid: None }),
                other => break other.map_err(|error| failed(error, &path))?,
            }
        };
        let backend = Self { db, dir: dir.clone(), path, mode, gate: RwLock::new(0), _owner: owner };
        backend.check_schema()?;
        Ok(backend)
    }

    fn check_schema(&self) -> Result<()> {
        match self.db.get(SCHEMA_KEY).map_err(|error| self.failed(error))? {
            Some(bytes) => match <[u8; 4]>::try_from(&*bytes).map(u32::from_le_bytes) {
                Ok(found) if found > SCHEMA => Err(BackendError::NewerSchema { found, supported: SCHEMA }),
                Ok(1..) => Ok(()),
                _ => Err(BackendError::Damaged { reason: "the sled database states no schema".into() }),
            },
            None if self.db.is_empty() => {
                self.db.insert(SCHEMA_KEY, &SCHEMA.to_le_bytes()).map_err(|error| self.failed(error))?;
                self.sync()?;
                Ok(self.dir.sync()?)
            }
            None => Err(BackendError::Damaged { reason: "the sled database states no schema".into() }),
        }
    }

    fn failed(&self, error: ::sled::Error) -> BackendError {
        failed(error, &self.path)
    }

    /// Makes everything durable. sled's own flush hands its pages to the disk but on Linux neither waits for the disk's
    /// cache nor for the file's new length (`sync_file_range`), so the files are synced after it.
    fn sync(&self) -> Result<()> {
        self.db.flush().map_err(|error| self.failed(error))?;
        let place = self.dir.open_dir(NAME)?;
        // Another descriptor does no harm: sled's lock belongs to its own.
        place.open("db", OpenOptions::READ)?.sync_data()?;
        place.open_dir("blobs")?.sync()?;
        Ok(place.sync()?)
    }

    /// Works out what a batch does to each key, in order.
    fn resolve(&self, ops: Vec<Op>) -> Result<BTreeMap<Vec<u8>, Option<Vec<u8>>>> {
        let mut changes = BTreeMap::new();
        for op in ops {
            match op {
                Op::Put { table, key, value } => changes.insert(prefixed(table, &key), Some(value)),
                Op::Delete { table, key } => changes.insert(prefixed(table, &key), None),
                Op::DeleteRange { range, .. } if range.is_empty() => None,
                Op::DeleteRange { table, range } => {
                    let bounds = prefixed_bounds(table, &range);
                    for change in changes.range_mut(bounds.clone()) {
                        *change.1 = None;
                    }
                    for key in self.db.range(bounds).keys() {
                        changes.insert(key.map_err(|error| self.failed(error))?.to_vec(), None);
                    }
                    None
                }
            };
        }
        Ok(changes)
    }
}

impl Backend for Sled {
    fn kind(&self) -> BackendKind {
        BackendKind::Sled
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        check_key(key)?;
        let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let value = self.db.get(prefixed(table, key)).map_err(|error| self.failed(error))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, table: Table, range: KeyRange<'_>, order: Order) -> Result<Scan<'_>> {
        let source = Watched::new(move |range: &KeyRange<'_>, order, step: &mut super::scan::Step| {
            let generation = self.gate.read().unwrap_or_else(PoisonError::into_inner);
            if range.is_empty() {
                return Ok(*generation);
            }
            let mut rows = self.db.range(prefixed_bounds(table, range));
            while let Some(row) = match order {
                Order::Ascending => rows.next(),
                Order::Descending => rows.next_back(),
            } {
                let (key, value) = row.map_err(|error| self.failed(error))?;
                if !step.push(key[1..].to_vec(), value.to_vec()) {
                    break;
                }
            }
            Ok(*generation)
        });
        Scan::start(source, range, order)
    }

    fn apply(&self, batch: Batch, durability: Durability) -> Result<()> {
        batch.check()?;
        if self.mode == OpenMode::ReadOnly {
            return Err(BackendError::ReadOnly);
        }
        let mut generation = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let mut changes = ::sled::Batch::default();
        for (key, value) in self.resolve(batch.into_ops())? {
            match value {
                Some(value) => changes.insert(key, value),
                None => changes.remove(key),
            }
        }
        *generation += 1;
        self.db.apply_batch(changes).map_err(|error| self.failed(error))?;
        drop(generation);
        if durability == Durability::Synced { self.sync() } else { Ok(()) }
    }

    fn flush(&self) -> Result<()> {
        if self.mode == OpenMode::ReadOnly {
            return Err(BackendError::ReadOnly);
        }
        self.sync()
    }

    fn sharing(&self) -> Sharing {
        Sharing::SingleProcess
    }

    fn stats(&self) -> BackendStats {
        BackendStats { disk_bytes: self.db.size_on_disk().unwrap_or(0), memory_bytes: 0 }
    }
}

/// The lock that makes this process the one that has the database open.
#[derive(Debug)]
struct Owner(File);

impl Owner {
    /// Takes the lock, and leaves the number of this process for others to read.
    fn claim(dir: &Dir) -> Result<Self> {
        let file = dir.open(LOCK, OpenOptions::CREATE)?;
        if !file.try_lock(LockKind::Exclusive)? {
            let mut text = [0; 10];
            let length = file.read_full_at(&mut text, 0)?;
            let pid = std::str::from_utf8(&text[..length]).ok().and_then(|text| text.trim().parse().ok());
            return Err(BackendError::Busy { pid });
        }
        let owner = Self(file);
        owner.0.set_len(0)?;
        owner.0.write_all_at(std::process::id().to_string().as_bytes(), 0)?;
        Ok(owner)
    }
}

impl Drop for Owner {
    /// Gives the lock back at once: closing would leave it to a process just being started, until that has closed its
    /// copy of the descriptor.
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "the lock of the sled backend could not be given back");
        }
    }
}

/// Returns a path that stays right when the process changes its directory.
fn absolute(dir: &Path, name: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    std::path::absolute(&path).map_err(|source| VfsError { operation: "open", path, source }.into())
}

fn is_lock(error: &::sled::Error) -> bool {
    matches!(error, ::sled::Error::Io(error) if error.to_string().starts_with("could not acquire lock"))
}

fn failed(error: ::sled::Error, path: &Path) -> BackendError {
    match error {
        ::sled::Error::Io(source) => VfsError { operation: "use", path: path.into(), source }.into(),
        ::sled::Error::Corruption { .. } => BackendError::Damaged { reason: error.to_string() },
        other => BackendError::Engine { engine: BackendKind::Sled, source: Box::new(other) },
    }
}

fn prefixed(table: Table, key: &[u8]) -> Vec<u8> {
    let mut prefixed = Vec::with_capacity(1 + key.len());
    prefixed.push(table.number());
    prefixed.extend_from_slice(key);
    prefixed
}

fn prefixed_bounds(table: Table, range: &KeyRange<'_>) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let prefix = |key: &[u8]| prefixed(table, key);
    let (start, end) = range.bounds();
    let start = match start {
        Bound::Unbounded => Bound::Included(vec![table.number()]),
        bound => bound.map(prefix),
    };
    let end = match end {
        Bound::Unbounded => Bound::Excluded(vec![table.number() + 1]),
        bound => bound.map(prefix),
    };
    (start, end)
}
