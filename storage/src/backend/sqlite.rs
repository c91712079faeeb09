//! SQLite in write-ahead mode: the default.
//!
//! A `WITHOUT ROWID` table per [`Table`], migrated by the numbered files in `migrations/`, whose number stands in
//! `user_version`. Commits are not synced (`synchronous=NORMAL`) and nothing checkpoints of itself, neither after so
//! many pages nor when the last connection closes: only [`Backend::flush`] does, and it also begins SQLite's next log,
//! whose first page would otherwise cost some later batch a sync.
//!
//! A scan holds a read transaction, so it never fails with `Moved`; readers and the one writer do not wait for each
//! other. Statements work on the file by its path, beside the [`vfs`](crate::vfs).

mod connections;
mod statements;

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, ffi};

use super::scan::{Source, Step};
use super::{
    Backend, BackendError, BackendKind, BackendStats, Batch, Durability, KeyRange, Op, OpenMode, Order, Result, SCHEMA,
    Scan, Sharing, Table, check_key,
};
use crate::vfs::{Dir, FileKind, OpenOptions, VfsError};
use connections::{Connections, Lease};

const NAME: &str = "sqlite.db";
const LOG: &str = "sqlite.db-wal";
const SHARED_MEMORY: &str = "sqlite.db-shm";

/// How long a connection waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Statements kept prepared by each connection: three for each table, and the usual scans.
const STATEMENTS: usize = 32;

/// Bytes SQLite's log is cut to when it begins anew: about what is written between two flushes.
const LOG_SIZE: u32 = 8 << 20;

/// Each step of the schema, in order; the first brings `user_version` from 0 to 1.
const MIGRATIONS: [&str; SCHEMA as usize] = [include_str!("migrations/0001_views.sql")];

/// The SQLite backend.
#[derive(Debug)]
pub struct Sqlite {
    dir: Dir,
    mode: OpenMode,
    connections: Connections,
    /// Puts the writers of this process in line, so that they do not poll for SQLite's lock.
    writer: Mutex<()>,
}

impl Sqlite {
    /// Opens the backend in `dir`, creating or migrating it where it may be written.
    ///
    /// Opens one connection and starts no thread; further connections, up to eight, come when threads compete.
    pub fn open(dir: &Dir, mode: OpenMode) -> Result<Self> {
        match dir.metadata_optional(NAME)? {
            Some(metadata) if metadata.kind != FileKind::File => {
                let reason = format!("{} is not a regular file", dir.path().join(NAME).display());
                return Err(BackendError::Damaged { reason });
            }
            None if mode == OpenMode::ReadOnly => {
                dir.metadata(NAME)?;
            }
            _ => {}
        }
        let path = dir.path().join(NAME);
        let path = std::path::absolute(&path).map_err(|source| VfsError { operation: "open", path, source })?;
        let (connections, found) = match Self::connect(&path, mode, false) {
            // On media that cannot be written SQLite misses a place for its shared memory. With nothing in its log
            // it can do without.
            Err(error) if mode == OpenMode::ReadOnly && log_is_empty(dir)? => {
                Self::connect(&path, mode, true).map_err(|_| error)?
            }
            other => other?,
        };
        let backend = Self { dir: dir.clone(), mode, connections, writer: Mutex::new(()) };
        if found > SCHEMA {
            return Err(BackendError::NewerSchema { found, supported: SCHEMA });
        }
        if found < SCHEMA {
            match mode {
                OpenMode::ReadWrite => backend.migrate()?,
                OpenMode::ReadOnly => {
                    return Err(BackendError::Damaged { reason: format!("its schema {found} was never migrated") });
                }
            }
        }
        Ok(backend)
    }

    fn connect(path: &Path, mode: OpenMode, immutable: bool) -> Result<(Connections, u32)> {
        let connections = Connections::open(path, mode, immutable).map_err(|error| failed(error, path))?;
        let found = connections.lease()?.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
        let found = found.map_err(|error| failed(error, path))?;
        let found =
            u32::try_from(found).map_err(|_| BackendError::Damaged { reason: format!("its schema is {found}") })?;
        Ok((connections, found))
    }

    /// Brings the schema up to date, as the one process that does.
    fn migrate(&self) -> Result<()> {
        let connection = self.connections.lease()?;
        self.checked((|| {
            // Stays in the file; has no effect on one that is in this mode already.
            connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))?;
            let transaction = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate)?;
            // Another process may have been faster.
            let found: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
            for (number, migration) in (1_u32..).zip(MIGRATIONS) {
                if number > found {
                    transaction.execute_batch(migration)?;
                    transaction.pragma_update(None, "user_version", number)?;
                }
            }
            transaction.commit()
        })())
    }

    fn checked<T>(&self, result: rusqlite::Result<T>) -> Result<T> {
        result.map_err(|error| failed(error, self.connections.path()))
    }

    /// Makes everything in SQLite's log durable. Closing another descriptor of that file loosens no lock of SQLite's,
    /// which are all on the two other files.
    fn sync_log(&self) -> Result<()> {
        match self.dir.open(LOG, OpenOptions::READ) {
            Ok(log) => Ok(log.sync_data()?),
            // Without a log everything is in the database, which was synced when it got there.
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Backend for Sqlite {
    fn kind(&self) -> BackendKind {
        BackendKind::Sqlite
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        check_key(key)?;
        let connection = self.connections.lease()?;
        self.checked((|| {
            connection.prepare_cached(statements::get(table))?.query_row([key], |row| row.get(0)).optional()
        })())
    }

    fn scan(&self, table: Table, range: KeyRange<'_>, order: Order) -> Result<Scan<'_>> {
        let connection = self.connections.lease()?;
        self.checked(connection.execute_batch("BEGIN"))?;
        Scan::start(Snapshot { backend: self, connection, table }, range, order)
    }

    fn apply(&self, batch: Batch, durability: Durability) -> Result<()> {
        batch.check()?;
        if self.mode == OpenMode::ReadOnly {
            return Err(BackendError::ReadOnly);
        }
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if !batch.is_empty() {
            let connection = self.connections.lease()?;
            self.checked(write(&connection, &batch))?;
        }
        if durability == Durability::Synced { self.sync_log() } else { Ok(()) }
    }

    fn flush(&self) -> Result<()> {
        if self.mode == OpenMode::ReadOnly {
            return Err(BackendError::ReadOnly);
        }
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // Readers may keep part of the log from being copied into the database; durable it is all the same.
        self.sync_log()?;
        let connection = self.connections.lease()?;
        self.checked((|| {
            let (busy, logged, copied) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
            })?;
            if busy == 0 && logged > 0 && logged == copied {
                // The next transaction begins the log anew, and syncs to say so: let it be this one.
                let transaction = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate)?;
                transaction.pragma_update(None, "user_version", SCHEMA)?;
                transaction.commit()?;
            }
            Ok(())
        })())
    }

    fn sharing(&self) -> Sharing {
        Sharing::MultiProcess
    }

    fn stats(&self) -> BackendStats {
        let size = |name| self.dir.metadata(name).map_or(0, |file| file.size);
        BackendStats { disk_bytes: size(NAME) + size(LOG) + size(SHARED_MEMORY), memory_bytes: 0 }
    }
}

/// Applies a batch in one transaction, which is rolled back when it fails.
fn write(connection: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    for op in batch.ops() {
        match op {
            Op::Put { table, key, value } => {
                transaction.prepare_cached(statements::put(*table))?.execute([key, value])?;
            }
            Op::Delete { table, key } => {
                transaction.prepare_cached(statements::delete(*table))?.execute([key])?;
            }
            Op::DeleteRange { table, range } => {
                let (condition, bounds) = statements::within(range);
                let sql = format!("DELETE FROM {}{condition}", statements::name(*table));
                transaction.prepare_cached(&sql)?.execute(rusqlite::params_from_iter(bounds))?;
            }
        }
    }
    transaction.commit()
}

/// A read transaction that shows one instant for as long as it lives.
struct Snapshot<'b> {
    backend: &'b Sqlite,
    connection: Lease<'b>,
    table: Table,
}

impl Source for Snapshot<'_> {
    fn read(&mut self, range: &KeyRange<'_>, order: Order, step: &mut Step) -> Result<()> {
        let (condition, bounds) = statements::within(range);
        let direction = match order {
            Order::Ascending => "ASC",
            Order::Descending => "DESC",
        };
        let table = statements::name(self.table);
        let sql = format!("SELECT key, value FROM {table}{condition} ORDER BY key {direction}");
        self.backend.checked((|| {
            let mut statement = self.connection.prepare_cached(&sql)?;
            let mut rows = statement.query(rusqlite::params_from_iter(bounds))?;
            while let Some(row) = rows.next()? {
                if !step.push(row.get(0)?, row.get(1)?) {
                    break;
                }
            }
            Ok(())
        })())
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.connection.execute_batch("ROLLBACK") {
            tracing::warn!(%error, "a scan could not end its read transaction");
        }
    }
}

/// Sets what each connection needs.
fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_SIZE, |_| Ok(()))
}

fn log_is_empty(dir: &Dir) -> Result<bool> {
    Ok(dir.metadata_optional(LOG)?.is_none_or(|log| log.size == 0))
}

/// Tells a damaged file, a full disk and a busy database from other failures.
fn failed(error: rusqlite::Error, path: &Path) -> BackendError {
    let io =
        |operation, kind: std::io::ErrorKind| VfsError { operation, path: path.into(), source: kind.into() }.into();
    let Some(code) = error.sqlite_error().map(|error| error.extended_code) else {
        return BackendError::Engine { engine: BackendKind::Sqlite, source: Box::new(error) };
    };
    match code & 0xFF {
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => BackendError::Busy { pid: None },
        ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB | ffi::SQLITE_SCHEMA => {
            BackendError::Damaged { reason: error.to_string() }
        }
        // A statement that does not fit the file: somebody changed the tables.
        ffi::SQLITE_ERROR => BackendError::Damaged { reason: error.to_string() },
        ffi::SQLITE_FULL => io("write", std::io::ErrorKind::StorageFull),
        ffi::SQLITE_READONLY => io("write", std::io::ErrorKind::ReadOnlyFilesystem),
        ffi::SQLITE_PERM | ffi::SQLITE_CANTOPEN => io("open", std::io::ErrorKind::PermissionDenied),
        _ => BackendError::Engine { engine: BackendKind::Sqlite, source: Box::new(error) },
    }
}
