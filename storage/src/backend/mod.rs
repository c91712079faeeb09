//! Key-value stores for views: whatever can be rebuilt from packs, refs and logs.
//!
//! A [`Backend`] keeps rows in tables and changes them in atomic batches. Four engines keep its laws: SQLite (the
//! default), sled (one long-lived process), flat (one append-only file, for portable media) and memory (tests). Nothing
//! here is the truth: a lost or damaged backend costs a rebuild, never data, which is why batches are applied without
//! a sync and only [`Backend::flush`] pays for one.
//!
//! SQLite and sled do their own disk I/O, beside the [`vfs`](crate::vfs); flat goes through it.

mod batch;
mod error;
mod flat;
mod key_range;
mod memory;
mod rows;
mod scan;
#[cfg(feature = "sled")]
mod sled;
mod sqlite;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod processes;

use std::fmt;
use std::str::FromStr;

use crate::vfs::Dir;

pub use batch::{Batch, Op};
pub use error::BackendError;
pub use flat::Flat;
pub use key_range::KeyRange;
pub use memory::Memory;
pub use scan::{Order, Row, Scan};
#[cfg(feature = "sled")]
pub use sled::Sled;
pub use sqlite::Sqlite;

/// Result of a backend operation.
pub type Result<T> = std::result::Result<T, BackendError>;

/// Longest key in bytes; the shortest has 1. Keys are names and ids with a few numbers: a path is the longest part.
pub const MAX_KEY: usize = 1024;

/// Longest value in bytes: 16 MiB. Larger things are objects and belong in packs.
pub const MAX_VALUE: usize = 16 << 20;

/// Largest batch in bytes ([`Batch::size`]): one record of the flat engine, 64 MiB, less room for its own fields.
pub const MAX_BATCH: usize = 63 << 20;

/// Rows a scan reads ahead, in bytes of keys and values: 1 MiB, or a single larger row.
pub const SCAN_STEP: usize = 1 << 20;

/// The schema this build writes and the newest it reads. Each step of it has a file in `migrations/`.
pub const SCHEMA: u32 = 1;

/// A family of rows with keys of its own.
///
/// The numbers are on disk; a new table takes the next number, a migration and a higher [`SCHEMA`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// What the view itself is: the sequence it reflects.
    Meta = 0,
    /// Commits by id.
    Commit = 1,
    /// Commits in an order for listing.
    CommitOrder = 2,
    /// Refs by name.
    Ref = 3,
    /// Numbers by name.
    Counter = 4,
}

impl Table {
    /// Every table, in the order of the numbers.
    pub const ALL: [Self; 5] = [Self::Meta, Self::Commit, Self::CommitOrder, Self::Ref, Self::Counter];

    /// Returns the number that stands for the table on disk.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Returns the table a number stands for.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// How sure a batch is when [`Backend::apply`] returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Every process sees it and it survives this one's death, sled excepted; a power cut may take it and whatever
    /// followed. Costs no sync.
    Unsynced,
    /// It and all before it survive a power cut.
    Synced,
}

/// How many processes may have the backend open at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Any number; each sees what the others applied.
    MultiProcess,
    /// One; others get [`BackendError::Busy`].
    SingleProcess,
}

/// What a backend takes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BackendStats {
    /// Bytes on disk, those that a flush or compaction would free included.
    pub disk_bytes: u64,
    /// Bytes of rows held in memory, for the engines that hold all of them; 0 for the others.
    pub memory_bytes: u64,
}

/// A key-value store for views.
///
/// The laws, which `conformance.rs` tries on every engine:
/// 1. A batch is atomic across tables, also when the process is killed.
/// 2. A batch's last write to a key wins.
/// 3. Keys are ordered bytewise.
/// 4. A scan streams in steps of at most [`SCAN_STEP`] and shows one instant, whole, or fails with
///    [`BackendError::Moved`].
/// 5. A crash leaves a prefix of the batches, every flushed one included.
/// 6. Keys have 1 to [`MAX_KEY`] bytes, values 0 to [`MAX_VALUE`], batches at most [`MAX_BATCH`]; beyond is
///    [`BackendError::TooLarge`] and changes nothing.
/// 7. A newer schema is [`BackendError::NewerSchema`], never "empty".
/// 8. A second process sees what was applied, or gets [`BackendError::Busy`].
pub trait Backend: Send + Sync + fmt::Debug {
    /// Says which engine this is.
    fn kind(&self) -> BackendKind;

    /// Returns the value of a key, or `None`. Never shows half a batch.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Iterates over the rows of a range as they were when this was called.
    ///
    /// Rows of the first [`SCAN_STEP`] are read at once. Where the engine cannot hold on to that instant beyond them
    /// (sled, flat and memory), a batch applied meanwhile makes the scan fail with [`BackendError::Moved`]: begin
    /// again, or collect before applying. SQLite never fails so, but lends one of its eight connections to each
    /// unfinished scan.
    fn scan(&self, table: Table, range: KeyRange<'_>, order: Order) -> Result<Scan<'_>>;

    /// Applies a batch wholly or not at all. One batch at a time is applied; others wait, for at most 5 s where
    /// another process is the one applying.
    fn apply(&self, batch: Batch, durability: Durability) -> Result<()>;

    /// Makes every applied batch durable and tidies up: checkpoints SQLite's log, compacts a flat file.
    ///
    /// Costs a few syncs and time in proportion to what was applied since the last flush (flat: up to all rows).
    fn flush(&self) -> Result<()>;

    /// Says how many processes may have it open.
    fn sharing(&self) -> Sharing;

    /// Says what it takes up, as far as can be found out.
    fn stats(&self) -> BackendStats;
}

/// Which engine keeps the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BackendKind {
    /// SQLite in write-ahead mode: the default.
    #[default]
    Sqlite,
    /// sled: one process at a time.
    Sled,
    /// One append-only file, read into memory.
    Flat,
    /// Nothing on disk.
    Memory,
}

impl BackendKind {
    /// Every engine, compiled in or not.
    pub const ALL: [Self; 4] = [Self::Sqlite, Self::Sled, Self::Flat, Self::Memory];

    /// Returns the name used in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Sled => "sled",
            Self::Flat => "flat",
            Self::Memory => "memory",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no backend is called `{0}`")]
pub struct UnknownBackend(pub String);

impl FromStr for BackendKind {
    type Err = UnknownBackend;

    fn from_str(name: &str) -> std::result::Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| UnknownBackend(name.into()))
    }
}

/// How a backend is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Reads only and creates nothing, so that read-only media will do (but for sled, which always writes); an absent
    /// backend is an error for which [`BackendError::is_absent`] holds.
    ReadOnly,
    /// Reads and writes; an absent backend is created.
    ReadWrite,
}

/// Opens the backend of one kind in `dir`, where it uses names beginning with the kind's own.
///
/// SQLite and sled reach the directory by its path, so it must be of the real file system.
pub fn open(kind: BackendKind, dir: &Dir, mode: OpenMode) -> Result<Box<dyn Backend>> {
    Ok(match kind {
        BackendKind::Sqlite => Box::new(Sqlite::open(dir, mode)?),
        #[cfg(feature = "sled")]
        BackendKind::Sled => Box::new(Sled::open(dir, mode)?),
        #[cfg(not(feature = "sled"))]
        BackendKind::Sled => return Err(BackendError::NotBuilt { kind }),
        BackendKind::Flat => Box::new(Flat::open(dir, mode)?),
        BackendKind::Memory => Box::new(Memory::default()),
    })
}

/// Refuses a key that no table admits.
fn check_key(key: &[u8]) -> Result<()> {
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(BackendError::TooLarge { part: "key", length: key.len(), limit: MAX_KEY });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_the_numbers_they_are_listed_by() {
        for (number, table) in Table::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(table.number()), number);
            assert_eq!(Table::from_number(table.number()), Some(table));
        }
        assert_eq!(Table::from_number(Table::ALL.len() as u8), None);
    }

    #[test]
    fn kinds_read_back_as_printed() {
        for kind in BackendKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert_eq!("rocks".parse::<BackendKind>(), Err(UnknownBackend("rocks".into())));
    }
}
