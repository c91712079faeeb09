//! One append-only file of whole batches, read into memory: for portable and read-only media, up to about 1 GB.
//!
//! `flat.log` is a [framed log](crate::framed_log) with one record per batch and the schema in its header's flags.
//! Every process holds all rows and, before each read, asks the file's length and inode whether others have appended or
//! replaced it: one `stat`. Writers take turns by an OS lock on `flat.lock`. [`Backend::flush`] syncs the log, or, once
//! it is twice the size of what it says, writes the rows beside it and renames.
//!
//! Batches are appended without a sync, so a power cut may lose one and keep a later one. Each record therefore names
//! the last record known to be synced before it: a bad record that none behind it claims as synced is an ordinary end
//! of the log; one that was synced is damage.

mod body;
#[cfg(test)]
mod crash_tests;

use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::rows::{Rows, Watched};
use super::{
    Backend, BackendError, BackendKind, BackendStats, Batch, Durability, KeyRange, Op, OpenMode, Order, Result, SCHEMA,
    Scan, Sharing, Table, check_key,
};
use crate::framed_log::{FramedLog, LogError, LogHeader, LogId, LogKind, LogOptions, Tail};
use crate::vfs::{Dir, File, LockKind, Metadata, OpenOptions, VfsError};

const NAME: &str = "flat.log";
const TEMPORARY: &str = "flat.tmp";
const LOCK: &str = "flat.lock";

/// Longest record body: a batch of the largest size, and what encoding adds.
const MAX_BODY: u32 = 64 << 20;

/// Files smaller than this are not worth compacting.
const COMPACT_FROM: u64 = 64 << 10;

/// Bytes of rows in each record of a compacted file.
const COMPACT_STEP: usize = 1 << 20;

/// How long a writer waits for another process's.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// The flat backend.
#[derive(Debug)]
pub struct Flat {
    dir: Dir,
    /// The lock file, in turn among the threads of this process; `None` where nothing may be written.
    writer: Option<Mutex<File>>,
    state: RwLock<State>,
}

/// What this process has read of the file.
#[derive(Debug)]
struct State {
    log: FramedLog,
    /// Device and inode of the file, since another process may rename a new one over it.
    identity: (u64, u64),
    rows: Rows,
    /// Number of the last record known to be synced; 0 for none.
    synced: u64,
    /// Set when the directory could not be synced after a new file was renamed into place.
    unusable: bool,
}

impl Flat {
    /// Opens the backend in `dir` and reads all of it.
    pub fn open(dir: &Dir, mode: OpenMode) -> Result<Self> {
        let writer = match mode {
            OpenMode::ReadOnly => None,
            OpenMode::ReadWrite => {
                let file = dir.open(LOCK, OpenOptions::CREATE)?;
                if dir.metadata_optional(NAME)?.is_none() {
                    let _turn = Turn::take(&file)?;
                    if dir.metadata_optional(NAME)?.is_none() {
                        write_whole(dir, &Rows::default())?;
                        dir.sync()?;
                    }
                }
                Some(Mutex::new(file))
            }
        };
        let state = State::load(dir, mode)?;
        Ok(Self { dir: dir.clone(), writer, state: RwLock::new(state) })
    }

    /// Returns the state, caught up with what other processes have written.
    fn current(&self) -> Result<RwLockReadGuard<'_, State>> {
        let seen = self.dir.metadata(NAME)?;
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if state.reflects(&seen) {
            return Ok(state);
        }
        drop(state);
        self.writable_state().catch_up(&self.dir)?;
        Ok(self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn writable_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `write` as the one writer of all processes, on a state that is caught up and whose log has no torn tail.
    fn as_writer<T>(&self, write: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let file = self.writer.as_ref().ok_or(BackendError::ReadOnly)?;
        let file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let _turn = Turn::take(&file)?;
        let mut state = self.writable_state();
        state.catch_up(&self.dir)?;
        if state.unusable {
            return Err(LogError::Poisoned { path: state.log.file().path().into() }.into());
        }
        if state.log.tail() != Tail::Clean {
            // Catching up has made sure that nothing behind the end was ever synced. The cut must be durable before
            // anything is written there: good records behind a lost one must not come back to follow its successor.
            state.log.truncate_damaged_tail()?;
            state.log.sync()?;
        }
        write(&mut state)
    }
}

impl State {
    fn load(dir: &Dir, mode: OpenMode) -> Result<Self> {
        let options = LogOptions { write: mode == OpenMode::ReadWrite, max_body: MAX_BODY };
        let mut rows = Rows::default();
        let mut synced = 0;
        let log = FramedLog::open_with(dir, NAME, LogKind::FLAT, options, |record| {
            replay(&mut rows, &mut synced, &record.body)
        })?;
        check_schema(log.header())?;
        let metadata = log.file().metadata()?;
        let identity = (metadata.device, metadata.inode);
        let state = Self { log, identity, rows, synced, unusable: false };
        state.check_tail()?;
        Ok(state)
    }

    /// Says whether a file so described holds what this state has read, and nothing else.
    fn reflects(&self, file: &Metadata) -> bool {
        self.identity == (file.device, file.inode) && file.size == self.log.end_offset()
    }

    /// Reads what was appended since, or everything where the file was replaced.
    fn catch_up(&mut self, dir: &Dir) -> Result<()> {
        let seen = dir.metadata(NAME)?;
        if self.reflects(&seen) {
            return Ok(());
        }
        if self.identity != (seen.device, seen.inode) {
            let mode = if self.log.is_writable() { OpenMode::ReadWrite } else { OpenMode::ReadOnly };
            let mut new = Self::load(dir, mode)?;
            new.rows.supersede(&self.rows);
            new.unusable = self.unusable;
            *self = new;
            return Ok(());
        }
        let Self { log, rows, synced, .. } = self;
        log.refresh(|record| replay(rows, synced, &record.body))?;
        self.check_tail()
    }

    /// Fails where a record that had been synced has gone bad.
    fn check_tail(&self) -> Result<()> {
        let Tail::Damaged { offset, mut next_good } = self.log.tail() else { return Ok(()) };
        let lost = self.log.next_sequence();
        while let Some(record) = self.log.record_at(next_good)? {
            if body::synced(&record.body)? >= lost {
                let reason = format!("{} has changed at byte {offset}", self.log.file().path().display());
                return Err(BackendError::Damaged { reason });
            }
            next_good = record.next();
        }
        Ok(())
    }

    fn append(&mut self, mut encoded: Vec<u8>, ops: Vec<Op>) -> Result<()> {
        body::set_synced(&mut encoded, self.synced);
        if let Err(error) = self.log.append(&encoded) {
            // Whoever opens the log next ends it at the same place if even this fails.
            let _ = self.log.truncate_tail();
            return Err(error.into());
        }
        self.rows.apply(ops);
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let last = self.log.next_sequence() - 1;
        if last > self.synced {
            self.log.sync()?;
            self.synced = last;
        }
        Ok(())
    }

    /// Replaces the file by one that holds only the rows, synced. On failure the old one stays.
    fn compact(&mut self, dir: &Dir) -> Result<()> {
        write_whole(dir, &self.rows)?;
        if let Err(error) = dir.sync() {
            // A power cut could bring the old file back, without what is appended to the new one from now on.
            self.unusable = true;
            return Err(error.into());
        }
        self.catch_up(dir)?;
        self.synced = self.log.next_sequence() - 1;
        Ok(())
    }
}

impl Backend for Flat {
    fn kind(&self) -> BackendKind {
        BackendKind::Flat
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        check_key(key)?;
        Ok(self.current()?.rows.get(table, key).cloned())
    }

    fn scan(&self, table: Table, range: KeyRange<'_>, order: Order) -> Result<Scan<'_>> {
        let source = Watched::new(move |range: &KeyRange<'_>, order, step: &mut _| {
            let state = self.current()?;
            state.rows.read(table, range, order, step);
            Ok(state.rows.generation())
        });
        Scan::start(source, range, order)
    }

    fn apply(&self, batch: Batch, durability: Durability) -> Result<()> {
        batch.check()?;
        if batch.is_empty() && durability == Durability::Unsynced {
            return Ok(());
        }
        let encoded = body::encode(batch.ops());
        self.as_writer(|state| {
            state.append(encoded, batch.into_ops())?;
            if durability == Durability::Synced { state.sync() } else { Ok(()) }
        })
    }

    fn flush(&self) -> Result<()> {
        self.as_writer(|state| {
            let live = body::whole_size(&state.rows);
            if state.log.end_offset() > COMPACT_FROM.max(2 * live) {
                match state.compact(&self.dir) {
                    Ok(()) => return Ok(()),
                    Err(error) if state.unusable => return Err(error),
                    Err(error) => tracing::warn!(%error, "the flat backend could not be compacted"),
                }
            }
            state.sync()
        })
    }

    fn sharing(&self) -> Sharing {
        Sharing::MultiProcess
    }

    fn stats(&self) -> BackendStats {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let disk_bytes = self.dir.metadata(NAME).map_or(0, |file| file.size);
        BackendStats { disk_bytes, memory_bytes: state.rows.bytes() }
    }
}

/// Applies one record of the log.
fn replay(rows: &mut Rows, synced: &mut u64, bytes: &[u8]) -> Result<()> {
    let (before, ops) = body::decode(bytes)?;
    *synced = (*synced).max(before);
    rows.apply(ops);
    Ok(())
}

fn check_schema(header: &LogHeader) -> Result<()> {
    match u32::from(header.flags) {
        0 => Err(BackendError::Damaged { reason: "the flat file states no schema".into() }),
        found if found > SCHEMA => Err(BackendError::NewerSchema { found, supported: SCHEMA }),
        _ => Ok(()),
    }
}

/// Writes a file that holds `rows`, syncs it and renames it into place. The directory is the caller's to sync.
fn write_whole(dir: &Dir, rows: &Rows) -> Result<()> {
    let result = write_beside(dir, rows).and_then(|()| Ok(dir.rename(TEMPORARY, dir, NAME)?));
    if result.is_err() {
        let _ = dir.unlink(TEMPORARY);
    }
    result
}

fn write_beside(dir: &Dir, rows: &Rows) -> Result<()> {
    if dir.metadata_optional(TEMPORARY)?.is_some() {
        dir.unlink(TEMPORARY)?;
    }
    let log_id = LogId::random().map_err(|source| VfsError {
        operation: "draw random bytes for",
        path: dir.path().join(NAME),
        source,
    })?;
    let flags = u16::try_from(SCHEMA).expect("schemas are numbered from 1 by ones");
    let header = LogHeader { flags, ..LogHeader::new(LogKind::FLAT, log_id, 1) };
    let mut log = FramedLog::create_with(dir, TEMPORARY, header, MAX_BODY)?;
    let mut record = body::encode(&[]);
    for (table, key, value) in rows.iter() {
        body::push_put(&mut record, table, key, value);
        if record.len() >= COMPACT_STEP {
            log.append(&record)?;
            record = body::encode(&[]);
        }
    }
    log.append(&record)?;
    log.sync()?;
    Ok(())
}

/// The turn of one writer among all processes, given back when dropped.
struct Turn<'f>(&'f File);

impl<'f> Turn<'f> {
    fn take(file: &'f File) -> Result<Self> {
        let begun = Instant::now();
        let mut pause = Duration::from_micros(100);
        while !file.try_lock(LockKind::Exclusive)? {
            if begun.elapsed() >= LOCK_TIMEOUT {
                return Err(BackendError::Busy { pid: None });
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
        Ok(Self(file))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "the lock of the flat backend could not be given back");
        }
    }
}
