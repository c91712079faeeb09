//! Reading records off a file through one window, and looking for good ones behind a bad one.

use super::{LogError, Position, RECORD_HEADER_SIZE, RECORD_MAGIC, Record, Result, Tail, record_check, record_size};
use crate::vfs::{self, File};

/// Bytes read at once: large enough that a scan costs few system calls, small enough to stay in a core's cache.
pub(super) const WINDOW: usize = 256 << 10;

/// Reads a little-endian number.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a range of 8 bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a range of 4 bytes"))
}

/// Reads records of one log from a file taken to be `size` bytes long.
#[derive(Debug)]
pub(super) struct Scanner<'f> {
    file: &'f File,
    seed: u64,
    max_body: u32,
    size: u64,
    window: Vec<u8>,
    window_offset: u64,
}

impl<'f> Scanner<'f> {
    pub(super) fn new(file: &'f File, seed: u64, max_body: u32, size: u64) -> Self {
        Self { file, seed, max_body, size, window: Vec::new(), window_offset: 0 }
    }

    /// Forgets what was read, so that the next look sees what the file holds by then.
    pub(super) fn forget(&mut self) {
        self.window.clear();
    }

    /// Returns `length` bytes at `offset`, or `None` where the file ends before. Lengths are checked against the
    /// file's size before anything is allocated.
    fn bytes(&mut self, offset: u64, length: usize) -> vfs::Result<Option<&[u8]>> {
        if offset.checked_add(length as u64).is_none_or(|end| end > self.size) {
            return Ok(None);
        }
        let held = offset.checked_sub(self.window_offset).and_then(|skip| usize::try_from(skip).ok());
        let start = match held {
            Some(start) if start.checked_add(length).is_some_and(|end| end <= self.window.len()) => start,
            _ => {
                let left = usize::try_from(self.size - offset).unwrap_or(usize::MAX);
                // A window that one large record made large is not kept for the rest of the scan.
                if self.window.capacity() > WINDOW.max(length) {
                    self.window = Vec::new();
                }
                self.window.resize(WINDOW.min(left).max(length), 0);
                let filled = self.file.read_full_at(&mut self.window, offset)?;
                self.window.truncate(filled);
                self.window_offset = offset;
                if filled < length {
                    return Ok(None);
                }
                0
            }
        };
        Ok(Some(&self.window[start..start + length]))
    }

    /// Returns the number and body length of whatever good record begins at `offset`.
    fn good_record(&mut self, offset: u64) -> vfs::Result<Option<(u64, usize)>> {
        let (max_body, seed) = (self.max_body, self.seed);
        let Some(head) = self.bytes(offset, RECORD_HEADER_SIZE)? else { return Ok(None) };
        let (length, sequence) = (u32_at(head, 4), u64_at(head, 8));
        if head[..4] != RECORD_MAGIC || length > max_body {
            return Ok(None);
        }
        let Some(bytes) = self.bytes(offset, RECORD_HEADER_SIZE + length as usize)? else { return Ok(None) };
        let good = u64_at(bytes, 16) == record_check(seed, &bytes[..16], &bytes[RECORD_HEADER_SIZE..]);
        Ok(good.then_some((sequence, length as usize)))
    }

    /// Returns the record at `position`, or `None` where none that is good and has that number begins there.
    pub(super) fn record_at(&mut self, position: Position) -> vfs::Result<Option<Record>> {
        let Position { offset, sequence } = position;
        // The last number is never used, so that the next one can always be told.
        if sequence == u64::MAX {
            return Ok(None);
        }
        match self.good_record(offset)? {
            Some((found, length)) if found == sequence => {
                let bytes = self.bytes(offset, RECORD_HEADER_SIZE + length)?;
                Ok(bytes.map(|bytes| Record { sequence, offset, body: bytes[RECORD_HEADER_SIZE..].to_vec() }))
            }
            _ => Ok(None),
        }
    }

    /// Says what lies at `end`, where no expected record begins.
    pub(super) fn tail_at(&mut self, end: Position) -> vfs::Result<Tail> {
        if end.offset >= self.size {
            return Ok(Tail::Clean);
        }
        let mut offset = end.offset;
        while let Some(candidate) = self.find_magic(offset)? {
            if let Some((sequence, _)) = self.good_record(candidate)?
                && sequence >= end.sequence
            {
                let next_good = Position { offset: candidate, sequence };
                return Ok(Tail::Damaged { offset: end.offset, next_good });
            }
            offset = candidate + 1;
        }
        Ok(Tail::Torn { offset: end.offset })
    }

    /// Returns where the record magic next stands at or after `offset`.
    fn find_magic(&mut self, mut offset: u64) -> vfs::Result<Option<u64>> {
        while self.size.saturating_sub(offset) >= record_size(0) {
            let left = usize::try_from(self.size - offset).unwrap_or(usize::MAX);
            let Some(bytes) = self.bytes(offset, left.min(WINDOW / 4))? else { return Ok(None) };
            let length = bytes.len();
            if let Some(found) = bytes.windows(RECORD_MAGIC.len()).position(|four| four == RECORD_MAGIC) {
                return Ok(Some(offset + found as u64));
            }
            offset += (length - RECORD_MAGIC.len() + 1) as u64;
        }
        Ok(None)
    }
}

/// Iterator over the records of a log; see [`FramedLog::records`](super::FramedLog::records).
#[derive(Debug)]
pub struct Records<'f> {
    scanner: Scanner<'f>,
    next: Position,
    end: Position,
}

impl<'f> Records<'f> {
    pub(super) fn new(scanner: Scanner<'f>, next: Position, end: Position) -> Self {
        Self { scanner, next, end }
    }

    /// Returns where the next record begins.
    pub fn position(&self) -> Position {
        self.next
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next.offset >= self.end.offset {
            return None;
        }
        let item = match self.scanner.record_at(self.next) {
            Ok(Some(record)) => {
                self.next = record.next();
                return Some(Ok(record));
            }
            Ok(None) => LogError::Damaged { path: self.scanner.file.path().into(), offset: self.next.offset },
            Err(error) => error.into(),
        };
        self.next = self.end;
        Some(Err(item))
    }
}
