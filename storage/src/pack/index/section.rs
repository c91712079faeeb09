//! The parts of a run, each with a check for every MiB.

use xxhash_rust::xxh3::xxh3_64;

use crate::pack::{PackError, Result};
use crate::vfs::File;

/// Bytes that share a check.
pub(super) const PIECE: u64 = 1 << 20;

/// One part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Section {
    /// Where it begins in the file.
    pub(super) start: u64,
    /// Its length in bytes.
    pub(super) length: u64,
    /// The number of its first check in the table of checks.
    pub(super) first_check: u64,
}

impl Section {
    /// Returns the section of `length` bytes that follows this one.
    pub(super) fn followed_by(&self, length: u64) -> Self {
        Self { start: self.end(), length, first_check: self.first_check + self.pieces() }
    }

    pub(super) fn end(&self) -> u64 {
        self.start + self.length
    }

    pub(super) fn pieces(&self) -> u64 {
        self.length.div_ceil(PIECE)
    }

    /// Reads piece number `n` into `buffer` and compares its check.
    pub(super) fn read_piece(&self, file: &File, checks: &[u64], n: u64, buffer: &mut Vec<u8>) -> Result<()> {
        let offset = self.start + n * PIECE;
        buffer.resize((self.end() - offset).min(PIECE) as usize, 0);
        file.read_exact_at(buffer, offset)?;
        if checks.get((self.first_check + n) as usize) != Some(&xxh3_64(buffer)) {
            return Err(PackError::BadCheck { path: file.path().into(), offset });
        }
        Ok(())
    }

    /// Verifies the pieces in which bytes `from..to` of the section lie.
    pub(super) fn verify(&self, file: &File, checks: &[u64], from: u64, to: u64, buffer: &mut Vec<u8>) -> Result<()> {
        for n in from / PIECE..to.min(self.length).div_ceil(PIECE) {
            self.read_piece(file, checks, n, buffer)?;
        }
        Ok(())
    }
}

/// Writes one section front to back through a buffer of one piece.
#[derive(Debug)]
pub(super) struct SectionWriter<'a> {
    file: &'a File,
    at: u64,
    buffer: Vec<u8>,
    checks: Vec<u64>,
}

impl<'a> SectionWriter<'a> {
    pub(super) fn new(file: &'a File, start: u64) -> Self {
        Self { file, at: start, buffer: Vec::new(), checks: Vec::new() }
    }

    pub(super) fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE as usize - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() as u64 == PIECE {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write_all_at(&self.buffer, self.at)?;
        self.checks.push(xxh3_64(&self.buffer));
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is buffered and returns the checks and where the section ends.
    pub(super) fn finish(mut self) -> Result<(Vec<u64>, u64)> {
        if !self.buffer.is_empty() {
            self.flush()?;
        }
        Ok((self.checks, self.at))
    }
}
