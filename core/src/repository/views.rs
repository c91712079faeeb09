//! Views: what is kept in a backend so that it need not be computed again, and can be thrown away at any time.
//!
//! The view lists commits (by id, so that the beginning of an id finds them, and by depth), refs and counters. It
//! remembers in the same batch up to which transaction it has seen the truth; every use first brings it up to date.
//! Where the backend cannot be had (another process holds it, the medium is read-only) or the truth is ahead of what
//! `applied` covers, what is missing is added in memory. A view never costs a commit a sync: only a checkpoint flushes.
//!
//! A view that has seen a later transaction than the write-ahead log holds proves that the log has lost something
//! durable: that is [`Error::LogDamaged`], not a stale view.

mod catch_up;
pub(super) mod swap;

use std::sync::{Arc, PoisonError};

use shard_storage::backend::{self, Backend, BackendError, BackendKind, KeyRange, Memory, OpenMode, Order, Row, Table};
use shard_storage::vfs::Dir;

use super::{Repository, State, layout};
use crate::ids::CommitId;
use crate::object::ObjectStore;
use crate::{Error, Result};

/// Most ids one prefix is answered with: enough to tell people that more digits are needed.
const MAX_FOUND: usize = 64;

/// Why a view cannot be used: the backend, which can be done without, or the truth.
#[derive(Debug)]
pub(crate) enum ViewError {
    Backend(BackendError),
    Truth(Error),
}

impl From<BackendError> for ViewError {
    fn from(error: BackendError) -> Self {
        Self::Backend(error)
    }
}

impl From<Error> for ViewError {
    fn from(error: Error) -> Self {
        Self::Truth(error)
    }
}

impl From<ViewError> for Error {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Truth(error) => error,
            ViewError::Backend(BackendError::Busy { pid }) => Self::BackendBusy { pid },
            ViewError::Backend(BackendError::Io(error)) => Self::Disk(error),
            ViewError::Backend(error) => Self::Backend(error.to_string()),
        }
    }
}

/// An open backend and whether it may be written.
#[derive(Debug, Clone)]
pub(crate) struct OpenBackend {
    backend: Arc<dyn Backend>,
    writable: bool,
}

/// What the view says of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitRow {
    /// Its depth.
    pub depth: u64,
    /// When, in milliseconds since 1970, as its actor says.
    pub time_ms: u64,
    /// Its parents.
    pub parents: Vec<CommitId>,
}

impl CommitRow {
    fn encode(&self, id: CommitId) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(CHECK + 16 + self.parents.len() * 32);
        bytes.extend_from_slice(&self.depth.to_be_bytes());
        bytes.extend_from_slice(&self.time_ms.to_be_bytes());
        self.parents.iter().for_each(|parent| bytes.extend_from_slice(parent.as_bytes()));
        with_check(id.as_bytes(), bytes)
    }

    fn decode(id: CommitId, value: &[u8]) -> std::result::Result<Self, BackendError> {
        let parse = || {
            let (depth, rest) = checked(id.as_bytes(), value)?.split_first_chunk::<8>()?;
            let (time_ms, rest) = rest.split_first_chunk::<8>()?;
            let (parents, rest) = rest.as_chunks::<32>();
            rest.is_empty().then(|| Self {
                depth: u64::from_be_bytes(*depth),
                time_ms: u64::from_be_bytes(*time_ms),
                parents: parents.iter().map(|id| CommitId::from_bytes(*id)).collect(),
            })
        };
        parse().ok_or_else(damaged_row)
    }
}

/// Bytes of the check behind the value of a row. Engines need not notice a flipped bit; a wrong answer is worse than a
/// slow one.
const CHECK: usize = 8;

fn check_of(key: &[u8], value: &[u8]) -> [u8; CHECK] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u64).to_le_bytes()).update(key).update(value);
    let mut check = [0; CHECK];
    hasher.finalize_xof().fill(&mut check);
    check
}

/// Appends the check of a row to its value.
fn with_check(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let check = check_of(key, &value);
    value.extend_from_slice(&check);
    value
}

/// Returns the value of a row without its check, if that holds.
fn checked<'v>(key: &[u8], value: &'v [u8]) -> Option<&'v [u8]> {
    let (value, check) = value.split_last_chunk::<CHECK>()?;
    (*check == check_of(key, value)).then_some(value)
}

fn damaged_row() -> BackendError {
    BackendError::Damaged { reason: "a row of the view does not match its check".to_owned() }
}

/// The views as of one state.
#[derive(Debug)]
pub struct Views {
    /// What is kept, where it can be had.
    kept: Option<Arc<dyn Backend>>,
    /// What the state has beyond it.
    beyond: Option<Memory>,
}

impl Views {
    fn layers(&self) -> impl Iterator<Item = &dyn Backend> {
        let beyond = self.beyond.as_ref().map(|memory| memory as &dyn Backend);
        beyond.into_iter().chain(self.kept.as_deref())
    }

    /// Says whether everything is in the backend, so that the next command need not compute it again.
    pub fn is_kept(&self) -> bool {
        self.beyond.is_none()
    }

    /// Finds the commits whose ids begin with these hexadecimal digits, ascending, 64 at most.
    pub fn find_prefix(&self, digits: &str) -> Result<Vec<CommitId>> {
        Ok(self.try_find_prefix(digits)?)
    }

    fn try_find_prefix(&self, digits: &str) -> std::result::Result<Vec<CommitId>, ViewError> {
        let Some((low, high)) = bounds(digits) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for layer in self.layers() {
            let range = KeyRange::new(std::ops::Bound::Included(&low[..]), std::ops::Bound::Included(&high[..]));
            for row in layer.scan(Table::Commit, range, Order::Ascending)?.take(MAX_FOUND) {
                let (key, value) = row?;
                let id = CommitId::from_bytes(<[u8; 32]>::try_from(&key[..]).map_err(|_| damaged_row())?);
                CommitRow::decode(id, &value)?;
                found.push(id);
            }
        }
        found.sort_unstable();
        found.dedup();
        found.truncate(MAX_FOUND);
        Ok(found)
    }

    /// Returns what is known of a commit.
    pub fn commit(&self, id: CommitId) -> Result<Option<CommitRow>> {
        for layer in self.layers() {
            if let Some(value) = layer.get(Table::Commit, id.as_bytes()).map_err(ViewError::from)? {
                return Ok(Some(CommitRow::decode(id, &value).map_err(ViewError::from)?));
            }
        }
        Ok(None)
    }

    /// Returns every row of a table, for comparisons. Only complete where [`is_kept`](Self::is_kept) holds.
    pub fn rows(&self, table: Table) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for layer in self.layers() {
            for row in layer.scan(table, KeyRange::ALL, Order::Ascending).map_err(ViewError::from)? {
                rows.push(row.map_err(ViewError::from)?);
            }
        }
        rows.sort_unstable();
        rows.dedup();
        Ok(rows)
    }
}

/// Returns the least and the greatest id that begin with these digits; `None` where they are none.
fn bounds(digits: &str) -> Option<([u8; 32], [u8; 32])> {
    if digits.is_empty() || digits.len() > 64 {
        return None;
    }
    let (mut low, mut high) = ([0; 32], [0xff; 32]);
    for (at, digit) in digits.bytes().enumerate() {
        let value = char::from(digit).to_digit(16)? as u8;
        let (shift, mask) = if at % 2 == 0 { (4, 0x0f) } else { (0, 0xf0) };
        low[at / 2] = low[at / 2] & mask | value << shift;
        high[at / 2] = high[at / 2] & mask | value << shift;
    }
    Some((low, high))
}

impl Repository {
    /// Returns the views, brought up to date with a state of this repository.
    ///
    /// Opens the backend at the first call, some milliseconds, and creates it where it is absent. A backend that is
    /// damaged is built anew beside and swapped; one that cannot be had is done without.
    ///
    /// # Errors
    /// [`Error::LogDamaged`] where a view has seen a transaction that the log has lost; damage of the truth.
    pub fn views(&self, state: &State, store: &ObjectStore) -> Result<Views> {
        for attempt in 0..2 {
            let kept = match self.open_backend(true) {
                Ok(kept) => kept,
                Err(error) => {
                    self.damaged_view(&error, state, store, attempt);
                    continue;
                }
            };
            match self.caught_up(kept, state, store) {
                Err(ViewError::Backend(error)) => self.damaged_view(&error, state, store, attempt),
                Err(ViewError::Truth(error)) => return Err(error),
                Ok(views) => return Ok(views),
            }
        }
        Ok(self.caught_up(None, state, store)?)
    }

    /// Finds the commits whose ids begin with these hexadecimal digits, ascending, 64 at most: those that a ref reaches
    /// or ever reached. That there are none is said only after a walk through history.
    ///
    /// # Errors
    /// Those of [`views`](Self::views).
    pub fn find_prefix(&self, state: &State, store: &ObjectStore, digits: &str) -> Result<Vec<CommitId>> {
        let views = self.views(state, store)?;
        let found = match views.try_find_prefix(digits) {
            Err(ViewError::Backend(error)) => {
                self.damaged_view(&error, state, store, 0);
                Vec::new()
            }
            other => other?,
        };
        if !found.is_empty() || !views.is_kept() {
            return Ok(found);
        }
        self.caught_up(None, state, store)?.find_prefix(digits)
    }

    /// Builds a damaged view anew, if nobody writes; else it is done without this once.
    fn damaged_view(&self, error: &BackendError, state: &State, store: &ObjectStore, attempt: usize) {
        self.close_backend();
        if attempt > 0 || !error.wants_rebuild() {
            tracing::warn!(%error, "the view cannot be used");
            return;
        }
        tracing::warn!(%error, "the view is built anew");
        if let Err(error) = self.replace_damaged_views(state, store) {
            tracing::warn!(error = %Error::from(error), "the view could not be built anew");
        }
    }

    fn caught_up(
        &self,
        kept: Option<OpenBackend>,
        state: &State,
        store: &ObjectStore,
    ) -> std::result::Result<Views, ViewError> {
        let Some(kept) = kept else {
            let memory = Memory::default();
            self.catch_up(&memory, None, state, store)?;
            return Ok(Views { kept: None, beyond: Some(memory) });
        };
        let seen = catch_up::Seen::read(&*kept.backend)?.filter(|seen| seen.is_of(self));
        if let Some(seen) = &seen {
            self.check_not_ahead(seen, state)?;
            if seen.sequence >= state.sequence {
                return Ok(Views { kept: Some(kept.backend), beyond: None });
            }
        }
        // What `applied` does not cover may be lost in a power cut: it is shown and never kept.
        if kept.writable && state.settled {
            match self.catch_up(&*kept.backend, seen.as_ref(), state, store) {
                Err(ViewError::Backend(error)) if !error.wants_rebuild() => {
                    tracing::debug!(%error, "the view is not brought up to date");
                }
                other => {
                    other?;
                    return Ok(Views { kept: Some(kept.backend), beyond: None });
                }
            }
        }
        let memory = Memory::default();
        let Some(seen) = seen else {
            self.catch_up(&memory, None, state, store)?;
            return Ok(Views { kept: None, beyond: Some(memory) });
        };
        self.catch_up_beyond(&memory, &*kept.backend, &seen, state, store)?;
        Ok(Views { kept: Some(kept.backend), beyond: Some(memory) })
    }

    /// Says whether the log has lost what a view has seen.
    fn check_not_ahead(&self, seen: &catch_up::Seen, state: &State) -> Result<()> {
        // Another process may have moved on since `state` was read.
        if seen.sequence <= state.sequence || seen.sequence <= self.state()?.sequence {
            return Ok(());
        }
        Err(Error::LogDamaged { path: self.layout.path(layout::WAL), offset: state.log.end.offset })
    }

    /// Fails where a view has seen a transaction beyond `sequence`, the last one the log holds. Creates nothing; a view
    /// that cannot be read says nothing.
    pub(crate) fn check_views_not_ahead(&self, sequence: u64, log_end: u64) -> Result<()> {
        let Ok(Some(kept)) = self.open_backend(false) else { return Ok(()) };
        match catch_up::Seen::read(&*kept.backend) {
            Ok(Some(seen)) if seen.is_of(self) && seen.sequence > sequence => {
                Err(Error::LogDamaged { path: self.layout.path(layout::WAL), offset: log_end })
            }
            _ => Ok(()),
        }
    }

    /// Returns the last transaction the kept view has seen, where there is one. Creates nothing.
    pub(crate) fn view_sequence(&self) -> std::result::Result<Option<u64>, BackendError> {
        let Some(kept) = self.open_backend(false)? else { return Ok(None) };
        match catch_up::Seen::read(&*kept.backend) {
            Ok(seen) => Ok(seen.filter(|seen| seen.is_of(self)).map(|seen| seen.sequence)),
            Err(ViewError::Backend(error)) => Err(error),
            Err(ViewError::Truth(_)) => Ok(None),
        }
    }

    /// Opens the backend, or returns it where it is open; `None` where it cannot be had now. Makes it where `create`.
    fn open_backend(&self, create: bool) -> std::result::Result<Option<OpenBackend>, BackendError> {
        let mut slot = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*slot {
            return Ok(Some(open.clone()));
        }
        let kind = self.settings.backend;
        let dir = match self.views_dir(create) {
            Ok(Some(dir)) => dir,
            Ok(None) => return Ok(None),
            Err(error) => {
                tracing::debug!(%error, "there is no place for views");
                return Ok(None);
            }
        };
        if !create && !exists(&dir, kind) {
            return Ok(None);
        }
        let open = |mode| backend::open(kind, &dir, mode);
        let opened = match open(OpenMode::ReadWrite) {
            Ok(backend) => OpenBackend { backend: Arc::from(backend), writable: true },
            Err(error) if error.wants_rebuild() => return Err(error),
            Err(BackendError::Io(error)) if error.is_read_only() => match open(OpenMode::ReadOnly) {
                Ok(backend) => OpenBackend { backend: Arc::from(backend), writable: false },
                Err(error) if error.wants_rebuild() => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, "the view is done without");
                    return Ok(None);
                }
            },
            Err(error) => {
                tracing::debug!(%error, "the view is done without");
                return Ok(None);
            }
        };
        *slot = Some(opened.clone());
        Ok(Some(opened))
    }

    /// Returns the directory of the views, made where it is absent and `create` is set.
    fn views_dir(&self, create: bool) -> Result<Option<Dir>> {
        match self.layout.shard.open_dir(layout::VIEWS) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if error.is_not_found() && create => Ok(Some(self.layout.shard.create_dir_all(layout::VIEWS)?)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the backend where it is absent, so that no later command pays for that. Failures are for later.
    pub(crate) fn make_views(&self) {
        if let Err(error) = self.open_backend(true) {
            tracing::debug!(%error, "the view is not made");
        }
        self.close_backend();
    }

    pub(super) fn close_backend(&self) {
        *self.views.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Makes what was applied to the views durable. A checkpoint does this after the report; failures cost a rebuild.
    pub(crate) fn flush_views(&self) {
        let kept = match self.open_backend(false) {
            Ok(Some(kept)) if kept.writable => kept,
            Ok(_) => return,
            Err(error) => return tracing::debug!(%error, "the view is not flushed"),
        };
        if let Err(error) = kept.backend.flush() {
            tracing::debug!(%error, "the view is not flushed");
        }
    }

    /// Returns the bytes the views take on disk, all engines' together.
    #[allow(dead_code)]
    pub(crate) fn view_bytes(&self) -> u64 {
        self.views_dir(false).ok().flatten().map_or(0, |dir| swap::size_of(&dir))
    }
}

/// Says whether an engine has something in `dir`.
fn exists(dir: &Dir, kind: BackendKind) -> bool {
    let name = match kind {
        BackendKind::Sqlite => "sqlite.db",
        BackendKind::Sled => "sled",
        BackendKind::Flat => "flat.log",
        BackendKind::Memory => return false,
    };
    matches!(dir.metadata_optional(name), Ok(Some(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_bound_the_ids_that_begin_with_them() {
        let (low, high) = bounds("abc").unwrap();
        assert_eq!((low[0], low[1], low[2]), (0xab, 0xc0, 0));
        assert_eq!((high[0], high[1], high[2]), (0xab, 0xcf, 0xff));
        assert_eq!(bounds(&"f".repeat(64)).unwrap().0, [0xff; 32]);
        assert_eq!(bounds("xy"), None);
        assert_eq!(bounds(""), None);
        assert_eq!(bounds(&"0".repeat(65)), None);
    }

    #[test]
    fn a_commit_row_reads_back_and_knows_when_it_was_changed() {
        let (id, other) = (CommitId::from_bytes([1; 32]), CommitId::from_bytes([2; 32]));
        let row = CommitRow { depth: 7, time_ms: 1 << 40, parents: vec![CommitId::from_bytes([3; 32])] };
        let mut bytes = row.encode(id);
        assert_eq!(CommitRow::decode(id, &bytes).unwrap(), row);
        assert!(CommitRow::decode(other, &bytes).is_err(), "a row belongs to its key");
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert!(CommitRow::decode(id, &bytes).is_err(), "byte {at}");
            bytes[at] ^= 1;
        }
        assert!(CommitRow::decode(id, &bytes[..3]).is_err());
    }
}
