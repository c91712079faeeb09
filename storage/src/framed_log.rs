//! The one append-only record format: write-ahead log, pack catalog, events, operations, volumes, flat backend.
//!
//! A log is a 48-byte header and records numbered without gaps. Each record carries a check seeded with the log's
//! random id, so bytes of another log, or of the log this one replaced, are never taken for its own. The first bad
//! record ends the log: a writer cuts it off. Where a good record still follows the bad one, something that had been
//! written whole was damaged afterwards; that is reported and never repaired by guessing.
//!
//! This room writes and finds records. When a record is durable ([`FramedLog::sync`]), who may write (one writer at a
//! time, under a lock of the caller's), and what a body means are left to others.

mod header;
mod scan;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use crate::vfs::{Dir, File, OpenOptions, VfsError};

pub use header::{HEADER_SIZE, HeaderError, LogHeader, LogId, LogKind, VERSION};
pub use scan::Records;
use scan::Scanner;

/// Bytes before the body of each record: magic, length, sequence, check.
pub const RECORD_HEADER_SIZE: usize = 24;

/// Largest body unless [`LogOptions::max_body`] says otherwise: 1 MiB, the largest write-ahead record.
pub const MAX_BODY: u32 = 1 << 20;

/// First bytes of every record.
pub const RECORD_MAGIC: [u8; 4] = [0xA5, 0x52, 0x45, 0x43];

/// Why a log could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A disk operation failed.
    #[error(transparent)]
    Io(#[from] VfsError),
    /// The file is shorter than a header: its creation was interrupted, or it was emptied.
    #[error("{} holds {length} bytes, less than a log header", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        length: u64,
    },
    /// The header cannot be used.
    #[error("cannot use the log {}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: HeaderError,
    },
    /// A good record lies beyond a bad one: bytes that were written whole have changed since.
    #[error("log {} is damaged at byte {offset}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the first bad record begins.
        offset: u64,
    },
    /// A body longer than this log admits.
    #[error("record of {length} bytes for {}, which admits {limit}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Length of the body in bytes.
        length: usize,
        /// The longest body admitted.
        limit: u32,
    },
    /// The last sequence number has been used.
    #[error("log {} has no sequence number left", path.display())]
    Exhausted {
        /// The file.
        path: PathBuf,
    },
    /// An earlier sync of this log failed: what is durable is unknown until it is opened again.
    #[error("log {} is unusable since a failed sync", path.display())]
    Poisoned {
        /// The file.
        path: PathBuf,
    },
}

/// Result of a log operation.
pub type Result<T> = std::result::Result<T, LogError>;

/// Where a record begins, or where the next one will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Bytes from the start of the file.
    pub offset: u64,
    /// Number of the record that begins there.
    pub sequence: u64,
}

/// A record as read back: its check was right and its number the expected one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number: the previous one's plus one.
    pub sequence: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// What it says.
    pub body: Vec<u8>,
}

impl Record {
    /// Returns where the record after this one begins.
    pub fn next(&self) -> Position {
        Position {
            offset: self.offset + record_size(self.body.len()),
            sequence: self.sequence.wrapping_add(1), // a scan refuses to pass the last number
        }
    }
}

/// What lies behind the last good record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// Nothing.
    Clean,
    /// Bytes that are no record, from `offset` to the end of the file: an interrupted append. A writer cuts them off.
    Torn {
        /// Where they begin.
        offset: u64,
    },
    /// A bad record with a good one behind it. Nothing may be appended or cut.
    Damaged {
        /// Where the bad record begins.
        offset: u64,
        /// The first good record behind it.
        next_good: Position,
    },
}

/// How a log is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// Whether records will be appended; the file must then be writable.
    pub write: bool,
    /// Longest body admitted, in bytes; a longer one counts as a bad record.
    pub max_body: u32,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { write: false, max_body: MAX_BODY }
    }
}

impl LogOptions {
    /// Opens for reading, bodies up to [`MAX_BODY`].
    pub const READ: Self = Self { write: false, max_body: MAX_BODY };
    /// Opens for reading and appending, bodies up to [`MAX_BODY`].
    pub const WRITE: Self = Self { write: true, max_body: MAX_BODY };

    /// Sets the longest body admitted, in bytes.
    pub const fn max_body(self, max_body: u32) -> Self {
        Self { max_body, ..self }
    }
}

/// Returns the bytes a record with a body of `body` bytes takes in the file.
pub const fn record_size(body: usize) -> u64 {
    (RECORD_HEADER_SIZE + body) as u64
}

/// Appends the bytes of one record to `out`, so that one log can carry what is to be appended to another.
///
/// The body's length is the caller's to check against the limit of the log it is meant for.
///
/// # Panics
/// With a body of 4 GiB or more, which no log admits.
pub fn encode_record(log_id: LogId, sequence: u64, body: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(body.len()).expect("no log admits a body of 4 GiB");
    let mut head = [0; 16];
    head[..4].copy_from_slice(&RECORD_MAGIC);
    head[4..8].copy_from_slice(&length.to_le_bytes());
    head[8..].copy_from_slice(&sequence.to_le_bytes());
    out.reserve(RECORD_HEADER_SIZE + body.len());
    out.extend_from_slice(&head);
    out.extend_from_slice(&record_check(log_id.seed(), &head, body).to_le_bytes());
    out.extend_from_slice(body);
}

/// Computes the check of a record: XXH3-64 of its first 16 bytes and its body.
fn record_check(seed: u64, head: &[u8], body: &[u8]) -> u64 {
    let mut hash = Xxh3::with_seed(seed);
    hash.update(head);
    hash.update(body);
    hash.digest()
}

/// An open log and where it ends.
///
/// One process may append at a time; any number may read beside it, and [`refresh`](Self::refresh) shows them what was
/// appended since.
#[derive(Debug)]
pub struct FramedLog {
    file: File,
    header: LogHeader,
    writable: bool,
    max_body: u32,
    end: Position,
    tail: Tail,
    poisoned: bool,
    scratch: Vec<u8>,
}

impl FramedLog {
    /// Creates an empty log with a random id whose first record will be number `first_sequence`.
    ///
    /// The file must not exist. Neither the header nor the name is synced.
    pub fn create(dir: &Dir, name: impl AsRef<Path>, kind: LogKind, first_sequence: u64) -> Result<Self> {
        let name = name.as_ref();
        let log_id = LogId::random().map_err(|source| VfsError {
            operation: "draw random bytes for",
            path: dir.path().join(name),
            source,
        })?;
        Self::create_with(dir, name, LogHeader::new(kind, log_id, first_sequence), MAX_BODY)
    }

    /// Creates an empty log with a given header and longest body. Nothing is synced.
    pub fn create_with(dir: &Dir, name: impl AsRef<Path>, header: LogHeader, max_body: u32) -> Result<Self> {
        let file = dir.open(name, OpenOptions::CREATE_NEW)?;
        file.write_all_at(&header.encode(), 0)?;
        Ok(Self {
            file,
            header,
            writable: true,
            max_body,
            end: header.start(),
            tail: Tail::Clean,
            poisoned: false,
            scratch: Vec::new(),
        })
    }

    /// Opens a log and finds its end, checking every record. Reads the whole file once, in bounded memory (at most
    /// 256 KiB or the longest record).
    ///
    /// Changes nothing; what lies behind the last good record is told by [`tail`](Self::tail).
    pub fn open(dir: &Dir, name: impl AsRef<Path>, kind: LogKind, options: LogOptions) -> Result<Self> {
        Self::open_with(dir, name, kind, options, |_| Ok::<_, LogError>(()))
    }

    /// Opens a log as [`open`](Self::open) does, handing every good record to `visit` in order.
    pub fn open_with<E: From<LogError>>(
        dir: &Dir,
        name: impl AsRef<Path>,
        kind: LogKind,
        options: LogOptions,
        visit: impl FnMut(Record) -> std::result::Result<(), E>,
    ) -> std::result::Result<Self, E> {
        let mut log = Self::open_unscanned(dir, name, kind, options)?;
        log.refresh(visit)?;
        Ok(log)
    }

    /// Opens a log as [`open_with`](Self::open_with) does, but begins reading at `start`, where an earlier reading ended;
    /// a log that was replaced since begins elsewhere, which its id tells.
    pub fn open_from<E: From<LogError>>(
        dir: &Dir,
        name: impl AsRef<Path>,
        kind: LogKind,
        options: LogOptions,
        start: Position,
        visit: impl FnMut(Record) -> std::result::Result<(), E>,
    ) -> std::result::Result<Self, E> {
        let mut log = Self::open_unscanned(dir, name, kind, options)?;
        log.end = start;
        log.refresh(visit)?;
        Ok(log)
    }

    /// Opens a log, reads its header only and takes it to end at its start, until [`refresh`](Self::refresh).
    fn open_unscanned(dir: &Dir, name: impl AsRef<Path>, kind: LogKind, options: LogOptions) -> Result<Self> {
        let file = dir.open(name, if options.write { OpenOptions::WRITE } else { OpenOptions::READ })?;
        let header = header_of(&file, kind)?;
        Ok(Self {
            file,
            header,
            writable: options.write,
            max_body: options.max_body,
            end: header.start(),
            tail: Tail::Clean,
            poisoned: false,
            scratch: Vec::new(),
        })
    }

    /// Reads the header of a log without scanning it: which log is there now, after another process may have
    /// replaced it. One open and one read.
    pub fn read_header(dir: &Dir, name: impl AsRef<Path>, kind: LogKind) -> Result<LogHeader> {
        header_of(&dir.open(name, OpenOptions::READ)?, kind)
    }

    /// Returns the header.
    pub fn header(&self) -> &LogHeader {
        &self.header
    }

    /// Returns the random id that seeds the checks.
    pub fn log_id(&self) -> LogId {
        self.header.log_id
    }

    /// Says whether it was created or opened for appending.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Returns the file, for its length, metadata or lock.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Returns where the last good record ends and the number of the next, as far as this handle has read.
    pub fn end(&self) -> Position {
        self.end
    }

    /// Returns where the last good record ends, as far as this handle has read.
    pub fn end_offset(&self) -> u64 {
        self.end.offset
    }

    /// Returns the number the next record will have.
    pub fn next_sequence(&self) -> u64 {
        self.end.sequence
    }

    /// Says what lay behind the last good record when this handle last read the file.
    pub fn tail(&self) -> Tail {
        self.tail
    }

    /// Fails with [`LogError::Damaged`] where a good record follows a bad one.
    pub fn check_tail(&self) -> Result<()> {
        match self.tail {
            Tail::Damaged { offset, .. } => Err(LogError::Damaged { path: self.file.path().into(), offset }),
            Tail::Clean | Tail::Torn { .. } => Ok(()),
        }
    }

    /// Reads what was appended since this handle last looked, handing each new good record to `visit`; returns how
    /// many there were.
    ///
    /// Safe beside a writer in another process: a record it is still writing reads as a torn tail and is met whole by
    /// the next call. Where `visit` fails, the same record comes first next time. A file that has become shorter than
    /// what was read from it is [`LogError::Damaged`].
    pub fn refresh<E: From<LogError>>(
        &mut self,
        mut visit: impl FnMut(Record) -> std::result::Result<(), E>,
    ) -> std::result::Result<u64, E> {
        let size = self.file.size().map_err(LogError::Io)?;
        if size < self.end.offset {
            return Err(LogError::Damaged { path: self.file.path().into(), offset: size }.into());
        }
        if size == self.end.offset {
            self.tail = Tail::Clean;
            return Ok(0);
        }
        let mut scanner = Scanner::new(&self.file, self.header.log_id.seed(), self.max_body, size);
        let first = self.end.sequence;
        loop {
            while let Some(record) = scanner.record_at(self.end).map_err(LogError::Io)? {
                let next = record.next();
                visit(record)?;
                self.end = next;
            }
            self.tail = scanner.tail_at(self.end).map_err(LogError::Io)?;
            // Beside a writer that cut a torn tail and went on, the bad record may have been replaced by a good one
            // while the search ran.
            scanner.forget();
            let settled = !matches!(self.tail, Tail::Damaged { .. })
                || scanner.record_at(self.end).map_err(LogError::Io)?.is_none();
            if settled {
                return Ok(self.end.sequence - first);
            }
        }
    }

    /// Iterates over the records from the first to where this handle has read.
    pub fn records(&self) -> Records<'_> {
        self.records_from(self.header.start())
    }

    /// Iterates over the records from `position`, which must be where one begins, to where this handle has read.
    ///
    /// A record that has become bad since it was scanned ends the iteration with [`LogError::Damaged`].
    pub fn records_from(&self, position: Position) -> Records<'_> {
        let scanner = Scanner::new(&self.file, self.header.log_id.seed(), self.max_body, self.end.offset);
        Records::new(scanner, position, self.end)
    }

    /// Returns the record at `position`, behind where this handle has read too, or `None` where no good record with
    /// that number begins.
    pub fn record_at(&self, position: Position) -> Result<Option<Record>> {
        let size = self.file.size()?;
        Ok(Scanner::new(&self.file, self.header.log_id.seed(), self.max_body, size).record_at(position)?)
    }

    /// Iterates from the record numbered `sequence`. Skips the earlier ones by reading them.
    pub fn records_from_sequence(&self, sequence: u64) -> impl Iterator<Item = Result<Record>> + '_ {
        self.records().skip_while(move |record| record.as_ref().is_ok_and(|record| record.sequence < sequence))
    }

    /// Appends one record and returns its number. Not durable before [`sync`](Self::sync).
    ///
    /// A torn tail is cut off first; a damaged log is refused. The caller holds the lock that makes it the one writer
    /// and has [refreshed](Self::refresh) since taking it. After a failure the log ends where it did.
    pub fn append(&mut self, body: &[u8]) -> Result<u64> {
        self.check_writable()?;
        if body.len() > self.max_body as usize {
            let path = self.file.path().into();
            return Err(LogError::TooLarge { path, length: body.len(), limit: self.max_body });
        }
        if self.tail != Tail::Clean {
            self.truncate_tail()?;
        }
        let sequence = self.end.sequence;
        if sequence == u64::MAX {
            return Err(LogError::Exhausted { path: self.file.path().into() });
        }
        self.scratch.clear();
        encode_record(self.header.log_id, sequence, body, &mut self.scratch);
        let written = self.file.write_all_at(&self.scratch, self.end.offset);
        if self.scratch.capacity() > scan::WINDOW {
            self.scratch = Vec::new();
        }
        if let Err(error) = written {
            // Perhaps half of it is there; the next append or the next opener cuts it off.
            self.tail = Tail::Torn { offset: self.end.offset };
            return Err(error.into());
        }
        self.end = Position { offset: self.end.offset + record_size(body.len()), sequence: sequence + 1 };
        Ok(sequence)
    }

    /// Makes every appended record durable (`fdatasync`); the file's name is its directory's to sync.
    ///
    /// A failure is final: this handle refuses further appends and syncs, since what is durable is then unknown.
    pub fn sync(&mut self) -> Result<()> {
        if self.poisoned {
            return Err(LogError::Poisoned { path: self.file.path().into() });
        }
        self.file.sync_data().map_err(|error| {
            self.poisoned = true;
            error.into()
        })
    }

    /// Cuts off a torn tail; does nothing to a clean log and refuses a damaged one. Not synced.
    pub fn truncate_tail(&mut self) -> Result<()> {
        self.check_writable()?;
        if let Tail::Torn { .. } = self.tail {
            self.cut()?;
        }
        Ok(())
    }

    /// Cuts off everything behind the last good record, good records behind a bad one included. Not synced.
    ///
    /// Only for a log whose records are appended without syncing each, where a power cut may lose an earlier one and
    /// keep a later one, and only where the caller knows that nothing behind the bad record was ever synced.
    pub fn truncate_damaged_tail(&mut self) -> Result<()> {
        if self.poisoned {
            return Err(LogError::Poisoned { path: self.file.path().into() });
        }
        if self.tail != Tail::Clean {
            self.cut()?;
        }
        Ok(())
    }

    fn cut(&mut self) -> Result<()> {
        self.file.set_len(self.end.offset)?;
        self.tail = Tail::Clean;
        Ok(())
    }

    fn check_writable(&self) -> Result<()> {
        if self.poisoned {
            return Err(LogError::Poisoned { path: self.file.path().into() });
        }
        self.check_tail()
    }
}

/// Reads and checks the header of an open file.
fn header_of(file: &File, kind: LogKind) -> Result<LogHeader> {
    let mut bytes = [0; HEADER_SIZE];
    let length = file.read_full_at(&mut bytes, 0)?;
    if length < HEADER_SIZE {
        return Err(LogError::Empty { path: file.path().into(), length: length as u64 });
    }
    let failed = |source| LogError::Header { path: file.path().into(), source };
    let header = LogHeader::decode(&bytes).map_err(failed)?;
    if header.kind != kind {
        return Err(failed(HeaderError::WrongKind { expected: kind, found: header.kind }));
    }
    Ok(header)
}
