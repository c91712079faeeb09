//! Merging footers and runs into one run.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use shard_crypto::Digest;
use xxhash_rust::xxh3::xxh3_64;

use super::Run;
use super::filter::{self, BLOCK, part_of};
use super::run::{HEADER_LENGTH, Layout, MAX_ENTRIES, RUN_IN_PROGRESS, RunEntry, RunInfo, create, run_file_name};
use super::section::SectionWriter;
use crate::pack::{Location, PackError, PackOrdinal, PackReader, Result};
use crate::vfs::{Dir, File};

/// Something sorted that goes into a run.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// The footer of a sealed pack.
    Footer(&'a PackReader),
    /// A run.
    Run(&'a Run),
}

impl<'a> Source<'a> {
    fn entry_count(&self) -> u64 {
        match self {
            Self::Footer(pack) => pack.object_count().into(),
            Self::Run(run) => run.info().entries,
        }
    }

    fn packs(&self) -> Result<Vec<PackOrdinal>> {
        match self {
            Self::Footer(pack) => Ok(vec![pack.ordinal()]),
            Self::Run(run) => run.packs(),
        }
    }

    fn entries(&self) -> Result<Box<dyn Iterator<Item = Result<RunEntry>> + 'a>> {
        Ok(match self {
            Self::Footer(pack) => {
                let ordinal = pack.ordinal();
                Box::new(pack.entries()?.map(move |entry| {
                    entry.map(|entry| RunEntry { id: entry.id, pack: ordinal, location: entry.location })
                }))
            }
            Self::Run(run) => Box::new(run.entries()),
        })
    }
}

/// Merges `sources` into run `number` of `index`, the directory `objects/index`, leaving out packs that `keep` denies,
/// and makes the new run and its name durable.
///
/// Streams: 3 MiB for the new run, 1 MiB for each run and 64 KiB for each footer merged, however many entries they have.
/// Until the caller records that the new run replaces its sources, it is only a file nobody reads.
///
/// # Errors
/// Damage found in a source, which is to be left out then or rebuilt; failed disk operations, `AlreadyExists` among
/// them. A failed merge leaves no file behind, unless that cannot be removed either.
pub fn merge(
    index: &Dir,
    number: u64,
    repository: &Digest,
    sources: &[Source<'_>],
    keep: &dyn Fn(PackOrdinal) -> bool,
) -> Result<RunInfo> {
    let file = create(index, number)?;
    // A run has its name only once it is whole: a torn one would be taken for damage.
    let merged = write_run(&file, repository, sources, keep).and_then(|entries| {
        index.rename(RUN_IN_PROGRESS, index, run_file_name(number))?;
        index.sync()?;
        Ok(RunInfo { number, entries })
    });
    if merged.is_err() {
        // Best effort: what remains is a file nobody reads.
        let _ = index.unlink(RUN_IN_PROGRESS);
    }
    merged
}

fn write_run(
    file: &File,
    repository: &Digest,
    sources: &[Source<'_>],
    keep: &dyn Fn(PackOrdinal) -> bool,
) -> Result<u64> {
    let mut packs = Vec::new();
    for source in sources {
        packs.extend(source.packs()?.into_iter().filter(|pack| keep(*pack)));
    }
    packs.sort_unstable();
    packs.dedup();
    let most = sources.iter().map(Source::entry_count).sum::<u64>();
    if most > MAX_ENTRIES {
        return Err(PackError::BadRun { path: file.path().into(), what: "it would have too many entries" });
    }

    let mut writer = RunWriter::new(file, &packs, most)?;
    for entry in Merged::new(sources)? {
        let entry = entry?;
        if keep(entry.pack) {
            writer.put(&entry)?;
        }
    }
    writer.finish(repository)
}

/// The entries of several sources as one sorted stream, without exact duplicates.
struct Merged<'a> {
    sources: Vec<Box<dyn Iterator<Item = Result<RunEntry>> + 'a>>,
    heads: BinaryHeap<Reverse<Head>>,
    previous: Option<RunEntry>,
}

/// The next entry of a source: its key, then the source's number and the rest of the entry.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    key: (Digest, PackOrdinal, u32, u16),
    source: usize,
    reach: u32,
    kind: u8,
}

impl<'a> Merged<'a> {
    fn new(sources: &[Source<'a>]) -> Result<Self> {
        let sources = sources.iter().map(Source::entries).collect::<Result<Vec<_>>>()?;
        let mut merged = Self { heads: BinaryHeap::with_capacity(sources.len()), sources, previous: None };
        for source in 0..merged.sources.len() {
            merged.refill(source)?;
        }
        Ok(merged)
    }

    fn refill(&mut self, source: usize) -> Result<()> {
        if let Some(entry) = self.sources[source].next() {
            let entry = entry?;
            let Location { reach, kind, .. } = entry.location;
            self.heads.push(Reverse(Head { key: entry.key(), source, reach, kind }));
        }
        Ok(())
    }

    fn step(&mut self) -> Result<Option<RunEntry>> {
        while let Some(Reverse(Head { key: (id, pack, offset, slot), source, reach, kind })) = self.heads.pop() {
            self.refill(source)?;
            let entry = RunEntry { id, pack, location: Location { offset, reach, slot, kind } };
            // A footer and a run that covers its pack say the same thing.
            if self.previous.replace(entry).is_none_or(|previous| previous.key() != entry.key()) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}

impl Iterator for Merged<'_> {
    type Item = Result<RunEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// Writes a run in one pass over sorted entries. Fanout and filter lie before the entries and are sized for the most
/// there can be; both follow the order of ids, so three streams grow side by side.
struct RunWriter<'a> {
    file: &'a File,
    layout: Layout,
    prefix: SectionWriter<'a>,
    filter: SectionWriter<'a>,
    entries: SectionWriter<'a>,
    count: u64,
    bucket: u64,
    block: (u64, [u8; BLOCK]),
}

impl<'a> RunWriter<'a> {
    fn new(file: &'a File, packs: &[PackOrdinal], most: u64) -> Result<Self> {
        let layout = Layout::for_entries(packs.len() as u32, most);
        let mut prefix = SectionWriter::new(file, layout.prefix().start);
        for pack in packs {
            prefix.put(&pack.to_u32().to_le_bytes())?;
        }
        Ok(Self {
            file,
            layout,
            prefix,
            filter: SectionWriter::new(file, layout.filter().start),
            entries: SectionWriter::new(file, layout.entries().start),
            count: 0,
            bucket: 0,
            block: (0, [0; BLOCK]),
        })
    }

    fn put(&mut self, entry: &RunEntry) -> Result<()> {
        self.advance_bucket(part_of(&entry.id, self.layout.buckets.into()))?;
        self.advance_block(part_of(&entry.id, self.layout.blocks.into()))?;
        filter::set(&mut self.block.1, &entry.id);
        self.count += 1;
        self.entries.put(&entry.encode())
    }

    fn advance_bucket(&mut self, to: u64) -> Result<()> {
        while self.bucket < to {
            self.prefix.put(&(self.count as u32).to_le_bytes())?;
            self.bucket += 1;
        }
        Ok(())
    }

    fn advance_block(&mut self, to: u64) -> Result<()> {
        while self.block.0 < to {
            self.filter.put(&self.block.1)?;
            self.block = (self.block.0 + 1, [0; BLOCK]);
        }
        Ok(())
    }

    /// Ends all sections, writes the checks, then the header, and syncs. Returns the number of entries.
    fn finish(mut self, repository: &Digest) -> Result<u64> {
        self.advance_bucket(self.layout.buckets.into())?;
        self.advance_block(self.layout.blocks.into())?;
        let padding = (HEADER_LENGTH as usize + self.layout.packs as usize * 4 + self.layout.buckets as usize * 4)
            .wrapping_neg()
            % BLOCK;
        self.prefix.put(&[0; BLOCK][..padding])?;
        self.layout.entries = self.count;
        let mut checks = self.prefix.finish()?.0;
        checks.extend(self.filter.finish()?.0);
        let (of_entries, end) = self.entries.finish()?;
        checks.extend(of_entries);
        debug_assert_eq!(end, self.layout.checks().start);
        let table: Vec<u8> = checks.iter().flat_map(|check| check.to_le_bytes()).collect();
        self.file.write_all_at(&table, end)?;
        self.file.write_all_at(&self.layout.encode(repository, xxh3_64(&table)), 0)?;
        self.file.sync_data()?;
        Ok(self.count)
    }
}
