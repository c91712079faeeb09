//! The catalog: which packs count, and in what state.
//!
//! It is a framed log whose records each say what a transaction changed about packs. It can be rebuilt from the packs.

use std::collections::BTreeMap;

use shard_storage::framed_log::{
    FramedLog, HEADER_SIZE, LogHeader, LogId, LogKind, LogOptions, RECORD_HEADER_SIZE, encode_record,
};
use shard_storage::pack::{Class, PackOrdinal};
use shard_storage::vfs::Dir;

use crate::canonical::{Canonical, DecodeError, Decoder, Encoder};
use crate::repository::layout;
use crate::repository::state::State;
use crate::repository::wal::{End, FileContent};
use crate::{Error, Result};

/// Largest catalog that replaces another: 10 TB of packs take 3 MB.
const MAX_REPLACED: u64 = 16 << 20;
/// Changes in one record of a catalog that is written anew: some 700 KiB.
const CHANGES_PER_RECORD: usize = 1 << 15;

/// State of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackState {
    /// The shared open pack of its class: small transactions append to it. Its length is an end in the log.
    Open,
    /// Complete, with a footer.
    Sealed,
    /// Replaced: readable, no target for deduplication, to be removed.
    Condemned,
    /// Removed.
    Gone,
}

/// One change a record makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackChange {
    /// Which pack.
    pub ordinal: PackOrdinal,
    /// Its state from now on.
    pub state: PackState,
    /// Length of its file in bytes; 0 for an open pack.
    pub length: u64,
}

/// What one record of the catalog says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogRecord(pub Vec<PackChange>);

impl Canonical for CatalogRecord {
    fn encode(&self, e: &mut Encoder) {
        e.array(2).uint(1).array(self.0.len());
        for change in &self.0 {
            let state = match change.state {
                PackState::Open => 0,
                PackState::Sealed => 1,
                PackState::Condemned => 2,
                PackState::Gone => 3,
            };
            e.array(3).uint(change.ordinal.to_u32().into()).uint(state).uint(change.length);
        }
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        d.array_of(2)?;
        if d.uint()? != 1 {
            return Err(d.invalid("a catalog of a later version"));
        }
        let count = d.array()?;
        let mut changes = Vec::new();
        for _ in 0..count {
            d.array_of(3)?;
            let ordinal = PackOrdinal::from_u32(d.uint_as()?);
            let state = match d.uint_to(3)? {
                0 => PackState::Open,
                1 => PackState::Sealed,
                2 => PackState::Condemned,
                _ => PackState::Gone,
            };
            changes.push(PackChange { ordinal, state, length: d.uint()? });
        }
        Ok(Self(changes))
    }
}

/// Which packs count at one instant.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    packs: BTreeMap<PackOrdinal, (PackState, u64)>,
    greatest: [Option<PackOrdinal>; 2],
}

impl Catalog {
    /// Reads the catalog of a state, `.shard` being open.
    pub(crate) fn read(shard: &Dir, state: &State) -> Result<Self> {
        let (file, overlay) = (layout::CATALOG, &state.overlay);
        let mut catalog = Self::default();
        let path = shard.path().join(file);
        let mut learn = |body: &[u8]| -> Result<()> {
            let record = CatalogRecord::from_bytes(body)
                .map_err(|error| Error::FileCorrupt { path: path.clone(), reason: error.to_string() })?;
            catalog.apply(&record);
            Ok(())
        };
        // An append without bytes says where a catalog ends that replaced the one before.
        let appends: Vec<_> = overlay.appends.iter().filter(|append| append.file == file).collect();
        let begins = appends.iter().rposition(|append| append.bytes.is_empty()).map_or(0, |at| at + 1);
        let added = &appends[begins..];
        let replaced = match overlay.files.get(file) {
            Some(FileContent::Bytes(bytes)) => Some(bytes.clone()),
            // Once renamed it stands in its place.
            Some(FileContent::Temporary { name, .. }) => {
                shard.read_optional(std::path::Path::new(layout::TMP).join(name), MAX_REPLACED)?
            }
            Some(FileContent::Absent) | None => None,
        };
        if let Some(bytes) = replaced {
            for_each_body(&bytes, &mut learn)?;
        } else {
            let end = state.end(file);
            let first_added = added.first().map_or(end.sequence, |append| append.end.sequence - 1);
            let log = FramedLog::open_with(shard, file, LogKind::CATALOG, LogOptions::READ, |record| {
                if record.sequence < first_added { learn(&record.body) } else { Ok(()) }
            })?;
            if log.next_sequence() < first_added {
                return Err(Error::LogDamaged { path: path.clone(), offset: log.end_offset() });
            }
        }
        for append in added {
            learn(append.bytes.get(RECORD_HEADER_SIZE..).unwrap_or_default())?;
        }
        Ok(catalog)
    }

    /// Encodes a log that says of each pack what `changes` do, and where it ends.
    pub(crate) fn encode_log(log_id: LogId, changes: &[PackChange]) -> (Vec<u8>, End) {
        let mut bytes = LogHeader::new(LogKind::CATALOG, log_id, 1).encode().to_vec();
        let mut sequence = 1;
        for changes in changes.chunks(CHANGES_PER_RECORD) {
            encode_record(log_id, sequence, &CatalogRecord(changes.to_vec()).to_bytes(), &mut bytes);
            sequence += 1;
        }
        let end = End { offset: bytes.len() as u64, sequence };
        (bytes, end)
    }

    /// Takes over what one record says.
    pub fn apply(&mut self, record: &CatalogRecord) {
        for change in &record.0 {
            let greatest = &mut self.greatest[change.ordinal.class() as usize];
            *greatest = (*greatest).max(Some(change.ordinal));
            match change.state {
                PackState::Gone => {
                    self.packs.remove(&change.ordinal);
                }
                state => {
                    self.packs.insert(change.ordinal, (state, change.length));
                }
            }
        }
    }

    /// Returns the packs that may be read, in order of their ordinals.
    pub fn packs(&self) -> impl Iterator<Item = (PackOrdinal, PackState, u64)> + '_ {
        self.packs.iter().map(|(ordinal, (state, length))| (*ordinal, *state, *length))
    }

    /// Returns the state of a pack that is registered.
    pub fn state(&self, ordinal: PackOrdinal) -> Option<PackState> {
        Some(self.packs.get(&ordinal)?.0)
    }

    /// Returns the shared open pack of a class.
    pub fn open_pack(&self, class: Class) -> Option<PackOrdinal> {
        let open =
            |(ordinal, state, _): &(PackOrdinal, PackState, u64)| *state == PackState::Open && ordinal.class() == class;
        self.packs().find(open).map(|(ordinal, _, _)| ordinal)
    }

    /// Returns the least ordinal of a class that no registered pack has or had.
    pub fn next_ordinal(&self, class: Class) -> PackOrdinal {
        self.greatest[class as usize].and_then(PackOrdinal::next).unwrap_or(PackOrdinal::first(class))
    }
}

/// Gives the body of each record of a whole log to `learn`. The bytes were checked as part of what holds them.
fn for_each_body(bytes: &[u8], learn: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut rest = bytes.get(HEADER_SIZE..).unwrap_or_default();
    while let Some((head, after)) = rest.split_at_checked(RECORD_HEADER_SIZE) {
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let Some((body, next)) = after.split_at_checked(length) else { break };
        learn(body)?;
        rest = next;
    }
    Ok(())
}
