//! The catalog: which packs count, and in what state.
//!
//! It is a framed log whose records each say what a transaction changed about packs. It can be rebuilt from the packs.

use std::collections::BTreeMap;

use shard_storage::framed_log::{FramedLog, LogKind, LogOptions};
use shard_storage::pack::{Class, PackOrdinal};
use shard_storage::vfs::Dir;

use crate::canonical::{Canonical, DecodeError, Decoder, Encoder};
use crate::repository::wal::{Append, End};
use crate::{Error, Result};

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
    /// Reads the catalog as it was when the log ended at `end`, with what the write-ahead log adds.
    pub(crate) fn read(objects: &Dir, end: End, added: &[Append]) -> Result<Self> {
        let mut catalog = Self::default();
        let path = objects.path().join("catalog.log");
        let mut learn = |body: &[u8]| -> Result<()> {
            let record = CatalogRecord::from_bytes(body)
                .map_err(|error| Error::FileCorrupt { path: path.clone(), reason: error.to_string() })?;
            catalog.apply(&record);
            Ok(())
        };
        let first_added = added.first().map_or(end.sequence, |append| append.end.sequence - 1);
        let log = FramedLog::open_with(objects, "catalog.log", LogKind::CATALOG, LogOptions::READ, |record| {
            if record.sequence < first_added { learn(&record.body) } else { Ok(()) }
        })?;
        if log.next_sequence() < first_added {
            return Err(Error::LogDamaged { path: path.clone(), offset: log.end_offset() });
        }
        for append in added {
            // A record's body follows its head of 24 bytes.
            learn(append.bytes.get(shard_storage::framed_log::RECORD_HEADER_SIZE..).unwrap_or_default())?;
        }
        Ok(catalog)
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
