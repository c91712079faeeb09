//! Reading what frames say they hold, without their payloads.

use super::frame::{FRAME_HEADER_LENGTH, FrameEntry, FrameError, FrameHeader, table_entries};
use super::header::PACK_HEADER_LENGTH;
use super::{PackError, Result};
use crate::vfs::File;

/// Read at once where frames are large: the tables of most, and little payload.
const TABLE_WINDOW: usize = 1024;
/// Read at once where frames are small: many of them.
const FRAMES_WINDOW: usize = 16 * 1024;

/// Iterates over the tables of a pack's frames: one small read a frame, fewer where frames are small. **No check is
/// verified**: what it lists is as good as a footer's, and whoever reads a frame verifies that. Ends at the end of the
/// range or at the first frame that makes no sense.
#[derive(Debug)]
pub struct TableScan<'a> {
    file: &'a File,
    at: u64,
    end: u64,
    /// Bytes of the file from `start`.
    window: Vec<u8>,
    start: u64,
    /// Least read at once.
    ahead: usize,
}

impl<'a> TableScan<'a> {
    /// Starts at the first frame; frames end at `end`.
    pub fn new(file: &'a File, end: u64) -> Self {
        Self { file, at: PACK_HEADER_LENGTH as u64, end, window: Vec::new(), start: 0, ahead: TABLE_WINDOW }
    }

    /// Returns where the scan stands: after its end, where the last frame ended.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Returns at least `length` bytes at `self.at`, fewer at the end of the range or of the file.
    fn bytes(&mut self, length: usize) -> Result<&[u8]> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let length = length.min(left);
        let begin = usize::try_from(self.at - self.start).unwrap_or(usize::MAX);
        if begin.saturating_add(length) <= self.window.len() {
            return Ok(&self.window[begin..]);
        }
        self.window.resize(length.max(self.ahead).min(left), 0);
        self.start = self.at;
        let filled = self.file.read_full_at(&mut self.window, self.at);
        self.window.truncate(filled.as_ref().copied().unwrap_or(0));
        filled?;
        Ok(&self.window)
    }

    fn step(&mut self) -> Result<(u64, FrameHeader, Vec<FrameEntry>)> {
        let offset = self.at;
        let path = self.file.path();
        let bad = |source| PackError::BadFrame { path: path.into(), offset, source };
        let header = FrameHeader::parse(self.bytes(FRAME_HEADER_LENGTH)?).map_err(bad)?;
        let needed = header.payload_start();
        let left = self.end - offset;
        let bytes = self.bytes(needed)?;
        if bytes.len() < needed || header.frame_length() as u64 > left {
            return Err(bad(FrameError::Truncated { needed: header.frame_length(), found: left as usize }));
        }
        let entries: Vec<FrameEntry> = table_entries(&bytes[FRAME_HEADER_LENGTH..needed]).collect();
        if entries.iter().map(|entry| u64::from(entry.length)).sum::<u64>() != u64::from(header.raw_length) {
            return Err(bad(FrameError::Inconsistent { what: "its objects are not as long as it says" }));
        }
        self.ahead = if header.frame_length() > 2 * TABLE_WINDOW { TABLE_WINDOW } else { FRAMES_WINDOW };
        self.at += header.frame_length() as u64;
        Ok((offset, header, entries))
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
            self.end = self.at;
        }
        Some(item)
    }
}
