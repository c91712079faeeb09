//! The connections of one process: the first kept here, the others in a pool that is only made when it is needed.
//!
//! A command that opens the backend, reads a row and ends should pay for one connection and no thread; the pool starts
//! threads and lets them open each connection.

use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use r2d2::{NopErrorHandler, Pool, PooledConnection};
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::{Connection, OpenFlags};

use super::super::{BackendError, OpenMode, Result};
use super::{BUSY_TIMEOUT, configure};

/// Connections of one process, the one outside the pool included.
const CONNECTIONS: u32 = 8;

/// The connections of one process to one file.
pub(super) struct Connections {
    path: PathBuf,
    target: Target,
    first: Mutex<Option<Connection>>,
    pool: OnceLock<Pool<SqliteConnectionManager>>,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connections").field(&self.path).finish()
    }
}

/// What to open, and how.
struct Target {
    name: PathBuf,
    flags: OpenFlags,
}

impl Connections {
    /// Opens the first connection. `immutable` promises that nobody writes the file and that its log is empty.
    pub(super) fn open(path: &Path, mode: OpenMode, immutable: bool) -> rusqlite::Result<Self> {
        let access = match mode {
            OpenMode::ReadOnly => OpenFlags::SQLITE_OPEN_READ_ONLY,
            OpenMode::ReadWrite => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        };
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let target = if immutable {
            Target { name: immutable_uri(path), flags: flags | OpenFlags::SQLITE_OPEN_URI }
        } else {
            Target { name: path.into(), flags }
        };
        let first = Connection::open_with_flags(&target.name, target.flags)?;
        configure(&first)?;
        Ok(Self { path: path.into(), target, first: Mutex::new(Some(first)), pool: OnceLock::new() })
    }

    /// Returns the path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Lends a connection: the first, or one of the pool's while that is out. Waits while all eight are.
    pub(super) fn lease(&self) -> Result<Lease<'_>> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(connection) = first {
            return Ok(Lease::First { home: &self.first, connection: Some(connection) });
        }
        let pool = self.pool.get_or_init(|| {
            let manager = SqliteConnectionManager::file(&self.target.name)
                .with_flags(self.target.flags)
                .with_init(|connection| configure(connection));
            Pool::builder()
                .max_size(CONNECTIONS - 1)
                .min_idle(Some(0))
                .max_lifetime(None)
                .idle_timeout(None)
                .test_on_check_out(false)
                .connection_timeout(BUSY_TIMEOUT)
                .error_handler(Box::new(NopErrorHandler))
                .build_unchecked(manager)
        });
        // The pool only says that it waited in vain.
        pool.get().map(Lease::Pooled).map_err(|_| BackendError::Busy { pid: None })
    }
}

/// A connection that is given back when dropped.
pub(super) enum Lease<'c> {
    First { home: &'c Mutex<Option<Connection>>, connection: Option<Connection> },
    Pooled(PooledConnection<SqliteConnectionManager>),
}

impl Deref for Lease<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match self {
            Self::First { connection, .. } => connection.as_ref().expect("taken out only when dropped"),
            Self::Pooled(connection) => connection,
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Self::First { home, connection } = self {
            *home.lock().unwrap_or_else(PoisonError::into_inner) = connection.take();
        }
    }
}

/// Names a file that nobody changes. Only what has a meaning in such a name is escaped; other bytes stand as they are.
fn immutable_uri(path: &Path) -> PathBuf {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    let mut name = b"file:".to_vec();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'%' | b'?' | b'#' => name.extend_from_slice(format!("%{byte:02x}").as_bytes()),
            other => name.push(*other),
        }
    }
    name.extend_from_slice(b"?immutable=1");
    std::ffi::OsString::from_vec(name).into()
}
