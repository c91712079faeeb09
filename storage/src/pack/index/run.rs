//! A run: the sorted entries of many packs in one file.

use std::io;
use std::sync::OnceLock;

use shard_crypto::Digest;
use xxhash_rust::xxh3::xxh3_64;

use super::filter::{self, BLOCK, block_count, part_of};
use super::section::{PIECE, Section};
use crate::pack::entry::{ENTRY_LENGTH, search};
use crate::pack::little_endian::{array_at, u16_at, u32_at, u64_at};
use crate::pack::{Location, MAX_FRAME, PackError, PackOrdinal, Result};
use crate::vfs::{Dir, File, OpenOptions, VfsError};

/// Length of a run's header in bytes.
pub(super) const HEADER_LENGTH: u64 = 128;

/// Entries of a usual bucket: 2.8 KiB, read at once.
const BUCKET: u64 = 64;

/// Most entries of a run, as the fanout counts in 32 bits.
pub(super) const MAX_ENTRIES: u64 = u32::MAX as u64;

/// Step in which an entry's last byte tells its frame's length: the largest frame is 148 steps.
const REACH_STEP: u32 = 8192;

const MAGIC: &[u8; 8] = b"SHRDRUN\0";
const VERSION: u8 = 1;

/// Returns the name of a run's file below `objects/index/`: `7.run`.
pub fn run_file_name(number: u64) -> String {
    format!("{number}.run")
}

/// Name of the one run that is being written, under the caller's lock; what a crash leaves of it is overwritten.
pub(super) const RUN_IN_PROGRESS: &str = ".shard-tmp-run";

/// Reads a run's number from its file name; `None` when it is not one.
pub fn run_number(file_name: &str) -> Option<u64> {
    let number = file_name.strip_suffix(".run")?.parse().ok()?;
    (run_file_name(number) == file_name).then_some(number)
}

/// What planning needs to know of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunInfo {
    /// The number that names it.
    pub number: u64,
    /// How many entries it has.
    pub entries: u64,
}

/// One object in one pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunEntry {
    /// The object's id.
    pub id: Digest,
    /// The pack it lies in.
    pub pack: PackOrdinal,
    /// Where in that pack; `reach` is the frame's length rounded up to 8 KiB.
    pub location: Location,
}

impl RunEntry {
    /// Returns what runs are ordered by: an object may lie in several packs.
    pub(super) fn key(&self) -> (Digest, PackOrdinal, u32, u16) {
        (self.id, self.pack, self.location.offset, self.location.slot)
    }

    pub(super) fn encode(&self) -> [u8; ENTRY_LENGTH] {
        let mut bytes = [0; ENTRY_LENGTH];
        bytes[..32].copy_from_slice(&self.id.0);
        bytes[32..36].copy_from_slice(&self.pack.to_u32().to_le_bytes());
        bytes[36..40].copy_from_slice(&self.location.offset.to_le_bytes());
        bytes[40..42].copy_from_slice(&self.location.slot.to_le_bytes());
        bytes[42] = self.location.kind;
        bytes[43] = self.location.reach.div_ceil(REACH_STEP).min(u8::MAX.into()) as u8;
        bytes
    }

    pub(super) fn decode(bytes: &[u8; ENTRY_LENGTH]) -> Self {
        Self {
            id: Digest(array_at(bytes, 0)),
            pack: PackOrdinal::from_u32(u32_at(bytes, 32)),
            location: Location {
                offset: u32_at(bytes, 36),
                reach: (u32::from(bytes[43]) * REACH_STEP).min(MAX_FRAME as u32),
                slot: u16_at(bytes, 40),
                kind: bytes[42],
            },
        }
    }
}

/// The sizes a run is made of, from which every offset follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) packs: u32,
    pub(super) entries: u64,
    pub(super) buckets: u32,
    pub(super) blocks: u32,
}

impl Layout {
    /// Returns the layout of a run with at most `entries` entries of `packs` packs.
    pub(super) fn for_entries(packs: u32, entries: u64) -> Self {
        let buckets = entries.div_ceil(BUCKET).max(1);
        Self { packs, entries, buckets: buckets as u32, blocks: block_count(entries) as u32 }
    }

    /// Pack list and fanout, padded so that the filter's blocks lie in one cache line or page.
    pub(super) fn prefix(&self) -> Section {
        let length =
            (self.fanout_offset() - HEADER_LENGTH + 4 * u64::from(self.buckets)).next_multiple_of(BLOCK as u64);
        Section { start: HEADER_LENGTH, length, first_check: 0 }
    }

    pub(super) fn filter(&self) -> Section {
        self.prefix().followed_by(u64::from(self.blocks) * BLOCK as u64)
    }

    pub(super) fn entries(&self) -> Section {
        self.filter().followed_by(self.entries * ENTRY_LENGTH as u64)
    }

    /// The checks of all sections, 8 bytes each; the file ends with them.
    pub(super) fn checks(&self) -> Section {
        let entries = self.entries();
        entries.followed_by((entries.first_check + entries.pieces()) * 8)
    }

    fn fanout_offset(&self) -> u64 {
        HEADER_LENGTH + 4 * u64::from(self.packs)
    }

    pub(super) fn encode(&self, repository: &Digest, check_of_checks: u64) -> [u8; HEADER_LENGTH as usize] {
        let mut bytes = [0; HEADER_LENGTH as usize];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8] = VERSION;
        bytes[12..16].copy_from_slice(&self.packs.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.entries.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.buckets.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.blocks.to_le_bytes());
        bytes[32..64].copy_from_slice(&repository.0);
        bytes[64..72].copy_from_slice(&check_of_checks.to_le_bytes());
        let check = xxh3_64(&bytes[..120]);
        bytes[120..128].copy_from_slice(&check.to_le_bytes());
        bytes
    }
}

/// An open run. Opening reads the header and the table of checks (8 bytes for each MiB). Threads may share it.
#[derive(Debug)]
pub struct Run {
    file: File,
    number: u64,
    layout: Layout,
    checks: Vec<u64>,
    filter: OnceLock<Vec<[u8; BLOCK]>>,
}

impl Run {
    /// Opens run `number` in `index`, the directory `objects/index`; it must belong to `repository`.
    ///
    /// # Errors
    /// `Truncated`, `BadMagic`, `UnsupportedVersion`, `ForeignRepository`, `BadRun` or `Io`.
    pub fn open(index: &Dir, number: u64, repository: &Digest) -> Result<Self> {
        let file = index.open(run_file_name(number), OpenOptions::READ)?;
        let size = file.size()?;
        let path = || file.path().to_path_buf();
        let bad = |what| PackError::BadRun { path: path(), what };
        let mut bytes = [0; HEADER_LENGTH as usize];
        if (file.read_full_at(&mut bytes, 0)? as u64) < HEADER_LENGTH {
            return Err(PackError::Truncated { path: path(), length: size });
        }
        if &bytes[0..8] != MAGIC {
            return Err(PackError::BadMagic { path: path() });
        }
        if bytes[8] != VERSION {
            return Err(PackError::UnsupportedVersion { path: path(), found: bytes[8] });
        }
        if u64_at(&bytes, 120) != xxh3_64(&bytes[..120]) {
            return Err(bad("its header does not match its check"));
        }
        if bytes[9..12] != [0; 3] || bytes[72..120] != [0; 48] {
            return Err(bad("its header has fields this program does not know"));
        }
        let repository_found = Digest(array_at(&bytes, 32));
        if repository_found != *repository {
            return Err(PackError::ForeignRepository { path: path(), found: repository_found });
        }
        let layout = Layout {
            packs: u32_at(&bytes, 12),
            entries: u64_at(&bytes, 16),
            buckets: u32_at(&bytes, 24),
            blocks: u32_at(&bytes, 28),
        };
        if layout.entries > MAX_ENTRIES || layout.buckets == 0 || layout.blocks == 0 {
            return Err(bad("its counts are impossible"));
        }
        if layout.checks().end() > size {
            return Err(PackError::Truncated { path: path(), length: size });
        }
        if layout.checks().end() < size {
            return Err(bad("its counts do not fit its length"));
        }
        let mut table = vec![0; layout.checks().length as usize];
        file.read_exact_at(&mut table, layout.checks().start)?;
        if xxh3_64(&table) != u64_at(&bytes, 64) {
            return Err(bad("its table of checks is damaged"));
        }
        let checks = table.chunks_exact(8).map(|check| u64_at(check, 0)).collect();
        Ok(Self { file, number, layout, checks, filter: OnceLock::new() })
    }

    /// Returns what planning needs to know.
    pub fn info(&self) -> RunInfo {
        RunInfo { number: self.number, entries: self.layout.entries }
    }

    /// Returns the packs whose footers are merged in it, ascending. Reads and verifies 4 bytes for each.
    ///
    /// # Errors
    /// `BadCheck` or `BadRun` where they are damaged, and failed reads.
    pub fn packs(&self) -> Result<Vec<PackOrdinal>> {
        let length = 4 * u64::from(self.layout.packs);
        let prefix = self.layout.prefix();
        let (mut packs, mut piece) = (Vec::with_capacity(self.layout.packs as usize), Vec::new());
        // A piece is a whole number of ordinals, so none straddles two.
        for n in 0..length.div_ceil(PIECE) {
            prefix.read_piece(&self.file, &self.checks, n, &mut piece)?;
            let here = (length - n * PIECE).min(PIECE) as usize;
            packs.extend(piece[..here].chunks_exact(4).map(|bytes| PackOrdinal::from_u32(u32_at(bytes, 0))));
        }
        if !packs.is_sorted_by(|a, b| a < b) {
            return Err(self.bad("its packs are not ascending"));
        }
        Ok(packs)
    }

    /// Returns the size of the filter in bytes: what [`load_filter`](Self::load_filter) costs in memory.
    pub fn filter_size(&self) -> u64 {
        self.layout.filter().length
    }

    /// Reads and verifies the filter and keeps it in memory, so that looking up an absent object costs no read.
    ///
    /// # Errors
    /// `BadCheck`, and failed reads.
    pub fn load_filter(&self) -> Result<()> {
        if self.filter.get().is_some() {
            return Ok(());
        }
        let section = self.layout.filter();
        let (mut blocks, mut piece) = (Vec::with_capacity(self.layout.blocks as usize), Vec::new());
        for n in 0..section.pieces() {
            section.read_piece(&self.file, &self.checks, n, &mut piece)?;
            blocks.extend_from_slice(piece.as_chunks().0);
        }
        self.filter.get_or_init(|| blocks);
        Ok(())
    }

    /// Says whether the object may be in this run; `false` is certain. One read of 64 bytes unless the filter is loaded.
    ///
    /// # Errors
    /// Failed reads.
    pub fn may_contain(&self, id: &Digest) -> Result<bool> {
        let number = part_of(id, self.layout.blocks.into());
        if let Some(filter) = self.filter.get() {
            return Ok(filter::may_contain(&filter[number as usize], id));
        }
        let mut block = [0; BLOCK];
        self.file.read_exact_at(&mut block, self.layout.filter().start + number * BLOCK as u64)?;
        Ok(filter::may_contain(&block, id))
    }

    /// Finds the first place of an object that `accept` agrees to, such as one in a registered, uncondemned pack. Two
    /// reads, or none where a loaded filter rules the object out.
    ///
    /// What is found may be a lie, so the frame's own table must confirm it. What is not found may be damage, as
    /// nothing but the filter is verified here: before an object is called missing, see [`verify_around`](Self::verify_around).
    ///
    /// # Errors
    /// `BadRun` where the fanout is impossible, and failed reads.
    pub fn lookup(&self, id: &Digest, mut accept: impl FnMut(&RunEntry) -> bool) -> Result<Option<RunEntry>> {
        if self.filter.get().is_some() && !self.may_contain(id)? {
            return Ok(None);
        }
        let (low, high) = self.bucket(id)?;
        let start = self.layout.entries().start;
        let read = |n: u64, buffer: &mut [u8]| -> Result<()> {
            Ok(self.file.read_exact_at(buffer, start + n * ENTRY_LENGTH as u64)?)
        };
        search(low, high, id, read, |entry| Some(RunEntry::decode(entry)).filter(&mut accept))
    }

    /// Returns the range of entry numbers among which `id` must lie.
    fn bucket(&self, id: &Digest) -> Result<(u64, u64)> {
        let number = part_of(id, self.layout.buckets.into());
        let mut ends = [0; 8];
        let (low, high) = if number == 0 {
            self.file.read_exact_at(&mut ends[4..], self.layout.fanout_offset())?;
            (0, u32_at(&ends, 4).into())
        } else {
            self.file.read_exact_at(&mut ends, self.layout.fanout_offset() + 4 * (number - 1))?;
            (u32_at(&ends, 0).into(), u32_at(&ends, 4).into())
        };
        if low > high || high > self.layout.entries {
            return Err(self.bad("its fanout is impossible"));
        }
        Ok((low, high))
    }

    /// Verifies those stretches of the run on which the answer for `id` rests, some 3 MiB at most in an honest run: what
    /// tells an absent object from a damaged index.
    ///
    /// # Errors
    /// `BadCheck` or `BadRun` where the run is damaged there, and failed reads.
    pub fn verify_around(&self, id: &Digest) -> Result<()> {
        let (prefix, mut buffer) = (self.layout.prefix(), Vec::new());
        let end = self.layout.fanout_offset() - prefix.start + 4 * (part_of(id, self.layout.buckets.into()) + 1);
        prefix.verify(&self.file, &self.checks, end.saturating_sub(8), end, &mut buffer)?;
        let block = part_of(id, self.layout.blocks.into()) * BLOCK as u64;
        self.layout.filter().verify(&self.file, &self.checks, block, block + BLOCK as u64, &mut buffer)?;
        let (low, high) = self.bucket(id)?;
        let (low, high) = (low * ENTRY_LENGTH as u64, high * ENTRY_LENGTH as u64);
        self.layout.entries().verify(&self.file, &self.checks, low, high, &mut buffer)
    }

    /// Verifies the whole run: every check, the order of entries, fanout and filter. Reads all of it.
    ///
    /// # Errors
    /// `BadCheck` or `BadRun` naming the first fault, and failed reads.
    pub fn verify(&self) -> Result<()> {
        let (prefix, mut buffer) = (self.layout.prefix(), Vec::new());
        prefix.verify(&self.file, &self.checks, 0, prefix.length, &mut buffer)?;
        let packs = self.packs()?;
        let filter = self.layout.filter();
        filter.verify(&self.file, &self.checks, 0, filter.length, &mut buffer)?;
        drop(buffer);
        let mut bucket = None;
        for (entry, n) in self.entries().zip(0..) {
            let entry = entry?;
            let number = part_of(&entry.id, self.layout.buckets.into());
            let range = match bucket {
                Some((known, range)) if known == number => range,
                _ => self.bucket(&entry.id)?,
            };
            bucket = Some((number, range));
            if !(range.0..range.1).contains(&n) {
                return Err(self.bad("its fanout does not match its ids"));
            }
            if packs.binary_search(&entry.pack).is_err() {
                return Err(self.bad("an entry names a pack it does not cover"));
            }
            if !self.may_contain(&entry.id)? {
                return Err(self.bad("its filter denies an object it has"));
            }
        }
        Ok(())
    }

    /// Iterates over all entries by id and pack, verifying checks and order. Keeps 1 MiB in memory.
    pub fn entries(&self) -> RunEntries<'_> {
        RunEntries { run: self, piece: Vec::new(), at: 0, next_piece: 0, left: self.layout.entries, previous: None }
    }

    fn bad(&self, what: &'static str) -> PackError {
        PackError::BadRun { path: self.file.path().into(), what }
    }
}

/// The entries of a run by id and pack.
#[derive(Debug)]
pub struct RunEntries<'a> {
    run: &'a Run,
    piece: Vec<u8>,
    at: usize,
    next_piece: u64,
    left: u64,
    previous: Option<RunEntry>,
}

impl RunEntries<'_> {
    fn step(&mut self) -> Result<RunEntry> {
        let mut bytes = [0; ENTRY_LENGTH];
        let mut filled = 0;
        // An entry may straddle two pieces.
        while filled < ENTRY_LENGTH {
            if self.at == self.piece.len() {
                let section = self.run.layout.entries();
                section.read_piece(&self.run.file, &self.run.checks, self.next_piece, &mut self.piece)?;
                self.next_piece += 1;
                self.at = 0;
            }
            let here = (ENTRY_LENGTH - filled).min(self.piece.len() - self.at);
            bytes[filled..filled + here].copy_from_slice(&self.piece[self.at..self.at + here]);
            filled += here;
            self.at += here;
        }
        let entry = RunEntry::decode(&bytes);
        if self.previous.is_some_and(|previous| previous.key() >= entry.key()) {
            return Err(self.run.bad("its entries are not ascending"));
        }
        self.previous = Some(entry);
        Ok(entry)
    }
}

impl Iterator for RunEntries<'_> {
    type Item = Result<RunEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let entry = self.step();
        if entry.is_err() {
            self.left = 0;
        }
        Some(entry)
    }
}

/// Creates the file of run `number`, which must not exist.
pub(super) fn create(index: &Dir, number: u64) -> Result<File> {
    if index.metadata_optional(run_file_name(number))?.is_some() {
        tracing::debug!(number, "a run of this number exists already");
        let source = io::ErrorKind::AlreadyExists.into();
        return Err(VfsError { operation: "create", path: index.path().join(run_file_name(number)), source }.into());
    }
    Ok(index.open(RUN_IN_PROGRESS, OpenOptions { truncate: true, ..OpenOptions::CREATE })?)
}
