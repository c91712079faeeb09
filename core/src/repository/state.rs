//! What a reader sees: one transaction's state, read without a lock.
//!
//! HEAD, refs and index are read as they lie on disk, what the write-ahead log holds beyond `applied` is laid over them
//! in memory, and `applied` and the log are looked at again: had anything changed meanwhile, the reading is repeated.
//! Values are whole, so nobody ever sees half a transaction, and no number of readers delays a writer.

use std::collections::BTreeMap;
use std::path::Path;

use shard_crypto::ActorId;
use shard_storage::framed_log::{FramedLog, LogKind, LogOptions, Position, Tail};
use shard_storage::vfs::{Dir, FileKind, VfsError};

use super::layout::{self, Layout};
use super::wal::{Append, Applied, End, Ends, FileContent, Record};
use crate::canonical::Canonical;
use crate::history::refs::{self, Head};
use crate::ids::CommitId;
use crate::worktree::index::Index;
use crate::{Error, Result};

/// Largest `applied` file: a few lines for each growing file.
const MAX_APPLIED: u64 = 1 << 20;
/// Largest ref, HEAD or index file.
const MAX_SMALL_FILE: u64 = 64 << 10;
/// Largest file replaced whole that is read into memory.
const MAX_FILE: u64 = 16 << 20;
/// How often a reader looks again before it asks for the lock.
const READER_RETRIES: usize = 8;

/// Changes that the write-ahead log holds and the files do not show yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overlay {
    pub(crate) appends: Vec<Append>,
    pub(crate) files: BTreeMap<String, FileContent>,
}

/// Where the write-ahead log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogState {
    pub(crate) log_id: [u8; 16],
    /// Number of the log's first record.
    pub(crate) first_sequence: u64,
    pub(crate) end: Position,
    /// Bytes behind the last good record.
    pub(crate) torn: bool,
}

/// The repository as one transaction left it.
#[derive(Debug, Clone)]
pub struct State {
    /// Number of the last transaction.
    pub sequence: u64,
    /// Where HEAD stands.
    pub head: Head,
    /// Branches.
    pub heads: BTreeMap<String, CommitId>,
    /// Tags.
    pub tags: BTreeMap<String, CommitId>,
    /// The staging area.
    pub index: Index,
    /// Which actors have published a ref set; see [`State::peer`].
    pub peers: BTreeMap<ActorId, Vec<u8>>,
    /// Which branch follows which: our branch to `ACTOR/branch`.
    pub upstreams: BTreeMap<String, String>,
    pub(crate) ends: Ends,
    pub(crate) log: LogState,
    pub(crate) overlay: Overlay,
    /// Says that `applied` covers the whole log, in this boot.
    pub(crate) settled: bool,
}

impl State {
    /// Returns the commit HEAD stands at; `None` on an unborn branch.
    pub fn head_commit(&self) -> Option<CommitId> {
        match &self.head {
            Head::Branch(name) => self.heads.get(name).copied(),
            Head::Detached(id) => Some(*id),
        }
    }

    /// Returns the branch HEAD stands on.
    pub fn branch(&self) -> Option<&str> {
        match &self.head {
            Head::Branch(name) => Some(name),
            Head::Detached(_) => None,
        }
    }

    /// Says whether all it shows is durable and in place. Otherwise it may be shown, and must not be published: what a
    /// power cut takes back and others have seen is a fork.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// Returns where a growing file ends.
    pub(crate) fn end(&self, file: &str) -> End {
        self.ends.get(file).copied().unwrap_or_default()
    }

    /// Reads the state, retrying while a writer is at work.
    pub(crate) fn read(layout: &Layout, boot_id: [u8; 16]) -> Result<Option<Self>> {
        for _ in 0..=READER_RETRIES {
            if let Some(state) = Self::read_once(layout, boot_id)? {
                return Ok(Some(state));
            }
            std::thread::yield_now();
        }
        Ok(None)
    }

    /// Reads the state once; `None` where a writer changed it meanwhile.
    pub(crate) fn read_once(layout: &Layout, boot_id: [u8; 16]) -> Result<Option<Self>> {
        let shard = &layout.shard;
        let applied = shard.read_optional(layout::APPLIED, MAX_APPLIED)?.unwrap_or_default();
        let mut log = None;
        let state = Self::read_beside_writers(layout, boot_id, &applied, &mut log);
        // The same `applied` and the same log mean that nothing moved while the files were read. Otherwise what could
        // not be read may only have been about to be replaced.
        let again = shard.read_optional(layout::APPLIED, MAX_APPLIED)?.unwrap_or_default();
        let unchanged = again == applied && (log.is_none() || log_identity(shard)? == log);
        if unchanged { state } else { Ok(None) }
    }

    /// Reads what lies there, and tells which log that was and how long.
    fn read_beside_writers(
        layout: &Layout,
        boot_id: [u8; 16],
        applied: &[u8],
        identity: &mut Option<([u8; 16], u64)>,
    ) -> Result<Option<Self>> {
        let shard = &layout.shard;
        let applied = Applied::from_file(applied);
        let Some((log, size, replay)) = read_log(shard, applied.as_ref(), boot_id)? else { return Ok(None) };
        *identity = Some((log.log_id, size));
        let mut overlay = Overlay::default();
        let mut ends = replay.ends;
        for append in replay.appends {
            ends.insert(append.file.clone(), append.end);
            overlay.appends.push(append);
        }
        overlay.files = replay.files;
        let files = Files { shard, overlay: &overlay };
        let head = match files.text(layout::HEAD)? {
            Some(text) => {
                Head::parse(&text).ok_or_else(|| damaged(layout, layout::HEAD, "it names no branch or commit"))?
            }
            None => return Err(damaged(layout, layout::HEAD, "it is missing")),
        };
        let index = match files.read(layout::INDEX, MAX_SMALL_FILE)? {
            Some(bytes) => {
                Index::from_bytes(&bytes).map_err(|error| damaged(layout, layout::INDEX, &error.to_string()))?
            }
            None => return Err(damaged(layout, layout::INDEX, "it is missing")),
        };
        Ok(Some(Self {
            sequence: replay.sequence,
            head,
            heads: files.refs(layout, layout::HEADS)?,
            tags: files.refs(layout, layout::TAGS)?,
            index,
            peers: files.peers()?,
            upstreams: files.upstreams(layout)?,
            ends,
            settled: replay.resumed && overlay.appends.is_empty() && overlay.files.is_empty() && !log.torn,
            log,
            overlay,
        }))
    }
}

pub(crate) fn damaged(layout: &Layout, name: &str, reason: &str) -> Error {
    Error::FileCorrupt { path: layout.path(name), reason: reason.to_owned() }
}

struct Replay {
    sequence: u64,
    ends: Ends,
    appends: Vec<Append>,
    files: BTreeMap<String, FileContent>,
    /// Whether `applied` spoke of this log and this boot, so that only later records were read.
    resumed: bool,
}

fn log_identity(shard: &Dir) -> Result<Option<([u8; 16], u64)>> {
    match FramedLog::read_header(shard, layout::WAL, LogKind::WAL) {
        Ok(header) => Ok(Some((header.log_id.0, shard.metadata(layout::WAL)?.size))),
        Err(_) => Ok(None),
    }
}

/// Reads what the log holds beyond `applied`, or all of it where `applied` does not speak of this log and boot. `None`
/// where the log was replaced while it was read.
fn read_log(shard: &Dir, applied: Option<&Applied>, boot_id: [u8; 16]) -> Result<Option<(LogState, u64, Replay)>> {
    let header = match FramedLog::read_header(shard, layout::WAL, LogKind::WAL) {
        Ok(header) => header,
        Err(error) => return Err(log_error(error)),
    };
    let same_log = applied.filter(|applied| applied.log_id == header.log_id.0);
    let applied = same_log.filter(|applied| applied.boot_id == boot_id);
    let start = match applied.and_then(|applied| Some((applied, applied.ends.get(layout::WAL)?))) {
        Some((_, end)) => Position { offset: end.offset, sequence: end.sequence },
        None => header.start(),
    };
    let mut replay = Replay {
        sequence: applied.map_or(0, |applied| applied.sequence),
        ends: applied.map(|applied| applied.ends.clone()).unwrap_or_default(),
        appends: Vec::new(),
        files: BTreeMap::new(),
        resumed: applied.is_some(),
    };
    let path = shard.path().join(layout::WAL);
    let mut visit = |record: shard_storage::framed_log::Record| -> Result<()> {
        let decoded = Record::from_bytes(&record.body)
            .map_err(|error| Error::FileCorrupt { path: path.clone(), reason: error.to_string() })?;
        replay.sequence = record.sequence;
        match decoded {
            Record::Checkpoint(ends) => replay.ends = ends,
            Record::Transaction { appends, files } => {
                replay.appends.extend(appends);
                replay.files.extend(files);
            }
        }
        Ok(())
    };
    let options = LogOptions::READ;
    let log = FramedLog::open_from(shard, layout::WAL, LogKind::WAL, options, start, &mut visit)?;
    if log.log_id() != header.log_id {
        return Ok(None);
    }
    log.check_tail().map_err(log_error)?;
    // `applied` speaks of records only once they are durable: one that is gone was lost afterwards.
    let durable = same_log.and_then(|applied| applied.ends.get(layout::WAL)).map_or(0, |end| end.sequence);
    if log.next_sequence() < durable {
        return Err(Error::LogDamaged { path: shard.path().join(layout::WAL), offset: log.end_offset() });
    }
    let size = log.file().size()?;
    let torn = log.tail() != Tail::Clean;
    Ok(Some((
        LogState { log_id: header.log_id.0, first_sequence: header.first_sequence, end: log.end(), torn },
        size,
        replay,
    )))
}

pub(crate) fn log_error(error: shard_storage::framed_log::LogError) -> Error {
    use shard_storage::framed_log::LogError;
    match error {
        LogError::Io(error) => Error::Disk(error),
        LogError::Damaged { path, offset } => Error::LogDamaged { path, offset },
        LogError::Empty { path, .. } => Error::LogDamaged { path, offset: 0 },
        LogError::Header { path, source } => Error::FileCorrupt { path, reason: source.to_string() },
        LogError::TooLarge { path, .. } | LogError::Exhausted { path } => {
            Error::FileCorrupt { path, reason: "a record does not fit".to_owned() }
        }
        LogError::Poisoned { path } => {
            Error::DurabilityUnknown { path, source: std::io::Error::other("an earlier sync failed") }
        }
    }
}

impl From<shard_storage::framed_log::LogError> for Error {
    fn from(error: shard_storage::framed_log::LogError) -> Self {
        log_error(error)
    }
}

/// The small files of the repository, with the log's newer contents in their place.
struct Files<'a> {
    shard: &'a Dir,
    overlay: &'a Overlay,
}

impl Files<'_> {
    fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        match self.overlay.files.get(name) {
            Some(FileContent::Bytes(bytes)) => Ok(Some(bytes.clone())),
            Some(FileContent::Absent) => Ok(None),
            Some(FileContent::Temporary { name: temporary, digest }) => {
                let waiting = self.shard.read_optional(Path::new(layout::TMP).join(temporary), MAX_FILE)?;
                // Once renamed it stands in its place.
                let bytes = match waiting {
                    Some(bytes) => Some(bytes),
                    None => self.shard.read_optional(name, MAX_FILE)?,
                };
                Ok(bytes.filter(|bytes| shard_crypto::Digest::of(bytes) == *digest))
            }
            None => Ok(self.shard.read_optional(name, limit)?),
        }
    }

    fn text(&self, name: &str) -> Result<Option<String>> {
        Ok(self.read(name, MAX_SMALL_FILE)?.and_then(|bytes| String::from_utf8(bytes).ok()))
    }

    /// Lists the files beneath a directory by their paths within it, those of the overlay included.
    fn names(&self, directory: &str) -> Result<Vec<String>> {
        let mut names = std::collections::BTreeSet::new();
        list_files(&self.shard.open_dir(directory)?, "", &mut names)?;
        for (file, content) in &self.overlay.files {
            if let Some(name) = file.strip_prefix(directory).and_then(|rest| rest.strip_prefix('/')) {
                match content {
                    FileContent::Absent => names.remove(name),
                    _ => names.insert(name.to_owned()),
                };
            }
        }
        Ok(names.into_iter().collect())
    }

    fn refs(&self, layout: &Layout, directory: &str) -> Result<BTreeMap<String, CommitId>> {
        let mut found = BTreeMap::new();
        for name in self.names(directory)? {
            let file = format!("{directory}/{name}");
            // A file that vanished since the listing is a writer's doing, which the second look notices.
            let Some(text) = self.text(&file)? else { continue };
            let id = refs::parse_id(&text).ok_or_else(|| damaged(layout, &file, "it holds no commit id"))?;
            found.insert(name, id);
        }
        Ok(found)
    }

    fn peers(&self) -> Result<BTreeMap<ActorId, Vec<u8>>> {
        let mut found = BTreeMap::new();
        for name in self.names(layout::PEERS)? {
            let Ok(actor) = name.parse::<ActorId>() else { continue };
            if let Some(bytes) = self.read(&format!("{}/{name}", layout::PEERS), refs::MAX_REF_SET as u64)? {
                found.insert(actor, bytes);
            }
        }
        Ok(found)
    }

    fn upstreams(&self, layout: &Layout) -> Result<BTreeMap<String, String>> {
        match self.read(layout::UPSTREAMS, MAX_FILE)? {
            Some(bytes) => {
                decode_upstreams(&bytes).map_err(|error| damaged(layout, layout::UPSTREAMS, &error.to_string()))
            }
            None => Ok(BTreeMap::new()),
        }
    }
}

/// Lists files beneath a directory. A branch whose name has a slash takes its directory along when it goes: what has
/// vanished since it was listed, or given way to a file, holds nothing.
fn list_files(dir: &Dir, prefix: &str, names: &mut std::collections::BTreeSet<String>) -> Result<()> {
    let gone = |error: &VfsError| error.is_not_found() || error.kind() == std::io::ErrorKind::NotADirectory;
    let entries = match dir.list() {
        Err(error) if gone(&error) && !prefix.is_empty() => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let Some(name) = entry.name.to_str() else { continue };
        let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        match entry.kind {
            FileKind::File => {
                names.insert(path);
            }
            FileKind::Directory => match dir.open_dir(name) {
                Ok(below) => list_files(&below, &path, names)?,
                Err(error) if gone(&error) => {}
                Err(error) => return Err(error.into()),
            },
            FileKind::Symlink | FileKind::Other => {}
        }
    }
    Ok(())
}

/// Encodes the map of upstreams.
pub(crate) fn encode_upstreams(upstreams: &BTreeMap<String, String>) -> Vec<u8> {
    let mut e = crate::canonical::Encoder::new();
    e.array(2).uint(1).array(upstreams.len());
    for (branch, upstream) in upstreams {
        e.array(2).text(branch).text(upstream);
    }
    e.into_bytes()
}

fn decode_upstreams(bytes: &[u8]) -> Result<BTreeMap<String, String>, crate::canonical::DecodeError> {
    let mut d = crate::canonical::Decoder::new(bytes);
    d.array_of(2)?;
    if d.uint()? != 1 {
        return Err(d.invalid("a later version"));
    }
    let count = d.array()?;
    let mut upstreams = BTreeMap::new();
    for _ in 0..count {
        d.array_of(2)?;
        let branch = d.text()?;
        if upstreams.last_key_value().is_some_and(|(last, _): (&String, _)| last.as_str() >= branch) {
            return Err(d.invalid("branches are not sorted"));
        }
        upstreams.insert(branch.to_owned(), d.text()?.to_owned());
    }
    d.finish()?;
    Ok(upstreams)
}
