//! Reading what frames say they hold, without their payloads.

use super::frame::{FRAME_HEADER_LENGTH, FrameEntry, FrameHeader, table_entries};
use super::header::PACK_HEADER_LENGTH;
use super::{PackError, Result};
use crate::vfs::File;

/// Read at once: the tables of most frames, and no payload to speak of.
const USUAL: usize = 1024;

/// Iterates over the tables of a pack's frames: one small read a frame. **Nothing is verified**, so this is for counting
/// and never for finding objects. Ends at the end of the range or at the first frame that makes no sense.
#[derive(Debug)]
pub struct TableScan<'a> {
    file: &'a File,
    at: u64,
    end: u64,
    bytes: Vec<u8>,
}

impl<'a> TableScan<'a> {
    /// Starts at the first frame; frames end at `end`.
    pub fn new(file: &'a File, end: u64) -> Self {
        Self { file, at: PACK_HEADER_LENGTH as u64, end, bytes: Vec::new() }
    }

    fn step(&mut self) -> Result<(u64, FrameHeader, Vec<FrameEntry>)> {
        let offset = self.at;
        let bad = |source| PackError::BadFrame { path: self.file.path().into(), offset, source };
        let left = usize::try_from(self.end - offset).unwrap_or(usize::MAX);
        self.bytes.resize(USUAL.min(left), 0);
        let filled = self.file.read_full_at(&mut self.bytes, offset)?;
        let header = FrameHeader::parse(&self.bytes[..filled]).map_err(bad)?;
        let table = header.payload_start();
        if table > left {
            return Err(bad(super::FrameError::Truncated { needed: table, found: left }));
        }
        if table > filled {
            self.bytes.resize(table, 0);
            self.file.read_exact_at(&mut self.bytes, offset)?;
        }
        self.at += header.frame_length() as u64;
        Ok((offset, header, table_entries(&self.bytes[FRAME_HEADER_LENGTH..table]).collect()))
    }
}

impl Iterator for TableScan<'_> {
    /// Where the frame begins, its fixed part, its table.
    type Item = Result<(u64, FrameHeader, Vec<FrameEntry>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let item = self.step();
        if item.is_err() {
            self.at = self.end;
        }
        Some(item)
    }
}
