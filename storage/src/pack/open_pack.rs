//! Reading a pack that has no footer yet.

use std::collections::BTreeMap;
use std::ops::Range;

use shard_crypto::Digest;

use super::entry_table::EntryTable;
use super::frame::{FrameBuffer, FrameEntry, FrameView};
use super::header::PACK_HEADER_LENGTH;
use super::reader::read_frame;
use super::scan::{FrameScan, OnDamage, ScanItem, ScannedFrame, frames};
use super::table_scan::TableScan;
use super::{FooterEntry, FrameError, Location, PackError, PackHeader, PackOrdinal, Result};
use crate::vfs::File;

/// What a scan of a pack could not take for good.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Damage {
    /// Stretches without any whole frame.
    pub ranges: Vec<Range<u64>>,
    /// Whole frames behind such a stretch, not listed yet: see [`ScannedFrame::after_damage`] and [`OpenPack::admit`].
    pub unproven: Vec<ScannedFrame>,
}

impl Damage {
    /// Says whether nothing was damaged.
    pub fn is_none(&self) -> bool {
        self.ranges.is_empty()
    }
}

/// A pack without a footer, such as the shared open one of its class: its objects are known by scanning it.
///
/// Takes no lock and writes nothing. It sees what the pack held up to the length it was opened with, and what was
/// [overlaid](Self::overlay) since.
#[derive(Debug)]
pub struct OpenPack {
    pub(super) file: File,
    pub(super) ordinal: PackOrdinal,
    pub(super) header: PackHeader,
    pub(super) length: u64,
    pub(super) table: EntryTable,
    /// Frames that are in the write-ahead log but not yet, for certain, in the file.
    overlay: BTreeMap<u64, Vec<u8>>,
}

impl OpenPack {
    /// Reads the pack named `ordinal` up to `length` bytes, which the catalog says are registered, and tells what was
    /// found damaged. A file shorter than `length` has its missing end reported so. Costs one sequential read.
    ///
    /// # Errors
    /// Those of [`PackHeader::read`], and failed reads.
    pub fn open(file: File, ordinal: PackOrdinal, repository: &Digest, length: u64) -> Result<(Self, Damage)> {
        let header = PackHeader::read(&file, ordinal, repository)?;
        let mut pack = Self::empty(file, ordinal, header);
        let damage = pack.extend_to(length)?;
        Ok((pack, damage))
    }

    /// Reads what the pack says it holds, as far as `length` bytes, without its payloads: a small part of what
    /// [`open`](Self::open) reads. Frames are verified when they are read, as those of a sealed pack are. Where one frame
    /// does not lead to the next and the last one to the end, this is `open`.
    ///
    /// # Errors
    /// Those of [`PackHeader::read`], and failed reads.
    pub fn list(file: File, ordinal: PackOrdinal, repository: &Digest, length: u64) -> Result<(Self, Damage)> {
        let header = PackHeader::read(&file, ordinal, repository)?;
        let mut table = EntryTable::default();
        let mut scan = TableScan::new(&file, length.min(file.size()?));
        for frame in &mut scan {
            match frame {
                Ok((offset, header, entries)) => {
                    insert(&mut table, offset, header.frame_length(), entries.into_iter());
                }
                Err(PackError::BadFrame { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        let reached = scan.position();
        let mut pack = Self::empty(file, ordinal, header);
        if reached == length {
            pack.table = table;
            pack.length = length;
            return Ok((pack, Damage::default()));
        }
        let damage = pack.extend_to(length)?;
        Ok((pack, damage))
    }

    /// Returns a pack of which only the header is known yet.
    pub(super) fn empty(file: File, ordinal: PackOrdinal, header: PackHeader) -> Self {
        let length = PACK_HEADER_LENGTH as u64;
        Self { file, ordinal, header, length, table: EntryTable::default(), overlay: BTreeMap::new() }
    }

    /// Scans on from where the pack was known to end to `length`, after another process appended to it, and tells what
    /// was found damaged.
    ///
    /// # Errors
    /// Failed reads.
    pub fn extend_to(&mut self, length: u64) -> Result<Damage> {
        let mut damage = Damage::default();
        let mut scan = FrameScan::new(&self.file, self.length, length, OnDamage::Search)?;
        for item in &mut scan {
            match item? {
                ScanItem::Damaged(range) => damage.ranges.push(range),
                ScanItem::Frame(frame) if frame.after_damage => damage.unproven.push(frame),
                ScanItem::Frame(frame) => {
                    insert(&mut self.table, frame.offset, frame.header.frame_length(), frame.entries.into_iter());
                }
            }
        }
        let reached = scan.position();
        if reached < length {
            damage.ranges.push(reached..length);
        }
        self.length = self.length.max(length);
        Ok(damage)
    }

    /// Lists the objects of a frame found after damage, once the caller has decoded it and compared their ids.
    pub fn admit(&mut self, frame: &ScannedFrame) {
        insert(&mut self.table, frame.offset, frame.header.frame_length(), frame.entries.iter().copied());
    }

    /// Adds frames that a write-ahead record appends at `offset`, without touching the file. What is already known is
    /// passed over, so overlaying twice equals once.
    ///
    /// # Errors
    /// `Gap` where `offset` lies beyond the end of the pack, `BadFrame` where `bytes` are not whole frames.
    pub fn overlay(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.learn(offset, bytes, |pack, at, frame| {
            pack.overlay.insert(at, frame.as_bytes().to_vec());
        })
    }

    /// Lists the objects of frames in `bytes`, which lie at `offset`, as far as they are beyond the known end.
    pub(super) fn learn(
        &mut self,
        offset: u64,
        bytes: &[u8],
        mut on_new: impl FnMut(&mut Self, u64, &FrameView<'_>),
    ) -> Result<()> {
        if offset > self.length {
            return Err(PackError::Gap { path: self.file.path().into(), offset, length: self.length });
        }
        let mut at = offset;
        for frame in frames(bytes) {
            let frame = frame.map_err(|source| self.bad_frame(at, source))?;
            if at >= self.length {
                on_new(self, at, &frame);
                insert(&mut self.table, at, frame.as_bytes().len(), frame.entries());
                self.length = at + frame.as_bytes().len() as u64;
            }
            at += frame.as_bytes().len() as u64;
        }
        Ok(())
    }

    /// Returns the pack's name.
    pub fn ordinal(&self) -> PackOrdinal {
        self.ordinal
    }

    /// Returns the pack's header.
    pub fn header(&self) -> &PackHeader {
        &self.header
    }

    /// Returns where the next frame goes, in bytes from the start of the file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Returns the objects known so far.
    pub fn table(&self) -> &EntryTable {
        &self.table
    }

    /// Finds an object. Costs no disk access.
    pub fn lookup(&self, id: &Digest) -> Option<Location> {
        self.table.get(id)
    }

    /// Reads and verifies the frame at `offset`, of at most `reach` bytes: one read, or none for an overlaid frame.
    ///
    /// # Errors
    /// `BadFrame` where it is damaged or absent, and failed reads.
    pub fn read_frame(&self, offset: u32, reach: u32) -> Result<FrameBuffer> {
        if let Some(frame) = self.overlay.get(&offset.into()) {
            return FrameBuffer::decode(frame.clone()).map_err(|source| self.bad_frame(offset.into(), source));
        }
        read_frame(&self.file, self.length, offset, reach)
    }

    pub(super) fn bad_frame(&self, offset: u64, source: FrameError) -> PackError {
        PackError::BadFrame { path: self.file.path().into(), offset, source }
    }
}

pub(super) fn insert(table: &mut EntryTable, offset: u64, length: usize, entries: impl Iterator<Item = FrameEntry>) {
    for (entry, slot) in entries.zip(0..) {
        let location = Location { offset: offset as u32, reach: length as u32, slot, kind: entry.kind };
        table.insert(FooterEntry { id: entry.id, location });
    }
}
