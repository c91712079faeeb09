//! Ingest: files on disk become objects, on every core, in bounded memory.
//!
//! A worker takes one file from open to frame through one buffer, so that chunks stay in cache. A large file is cut by
//! one worker, since cuts are sequential by nature, and its slabs are hashed and compressed by all. What changes while
//! it is read is read again, and after three times given up on, never stored half.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, mpsc};

use shard_storage::vfs::{Dir, File, FileKind, Metadata, OpenOptions};

use super::chunker::{self, ChunkerSetting, Profile};
use super::{ObjectKind, ObjectSink};
use crate::ids::{ChunkId, ManifestId};
use crate::progress::Progress;
use crate::tree::editor::Node;
use crate::tree::manifest::{Extent, ManifestWriter};
use crate::tree::{Content, EntryType, MAX_INLINE};
use crate::{Error, RepoPath, Result, metrics};

/// Bytes read at a time: chunks of it are hashed while they are in cache.
const SLAB: usize = 4 << 20;
/// From this size on, the slabs of one file are shared among the workers.
const SHARED_FROM: u64 = 64 << 20;
/// How often a file that changes while it is read is read again.
const ATTEMPTS: usize = 3;
/// Most workers: beyond, the disk and the pack writer are the limit.
pub const MAX_THREADS: usize = 8;

/// A file to take in.
#[derive(Debug, Clone)]
pub struct IngestJob {
    /// Where it is, within the worktree.
    pub path: RepoPath,
    /// Its size when it was listed: only to tell large files from small ones, and for progress.
    pub size: u64,
    /// The profile it was cut by before, to compare it like with like; used while the size is the same.
    pub recorded: Option<(u64, u64)>,
}

/// Why a file was not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// It cannot be read.
    Unreadable,
    /// It would not hold still.
    Unstable,
    /// It is a device, socket or fifo.
    Special,
    /// Its name is not UTF-8, or not allowed.
    Name,
    /// It looks like a secret, and nobody could be asked.
    Secret,
    /// It is larger than what is taken without asking.
    Large,
}

impl SkipReason {
    /// Returns the stable code of the warning.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unreadable => "file.unreadable",
            Self::Unstable => "file.unstable",
            Self::Special => "file.special",
            Self::Name => "file.name",
            Self::Secret => "file.secret",
            Self::Large => "file.large",
        }
    }
}

/// What became of a file.
#[derive(Debug, Clone)]
pub enum IngestOutcome {
    /// What it holds, and what `lstat` said before and after.
    Stored(Node, Metadata),
    /// It is left as it was recorded.
    Skipped(SkipReason),
    /// It is gone.
    Vanished,
}

/// How files are taken in.
#[derive(Debug, Clone, Copy)]
pub struct IngestOptions {
    /// How they are cut.
    pub chunker: ChunkerSetting,
    /// Workers, at most [`MAX_THREADS`].
    pub threads: usize,
}

/// Gives each worker a sink of its own, and closes it.
pub trait SinkSource: Sync {
    /// A sink.
    type Sink: ObjectSink;
    /// Returns one for a worker.
    fn sink(&self) -> Self::Sink;
    /// Takes it back when the worker is done.
    fn close(&self, sink: Self::Sink) -> Result<()>;
}

impl<'s> SinkSource for &'s super::Staging<'_> {
    type Sink = super::staging::StagingWriter<'s>;

    fn sink(&self) -> Self::Sink {
        self.writer()
    }

    fn close(&self, sink: Self::Sink) -> Result<()> {
        sink.finish()
    }
}

impl SinkSource for super::Discard {
    type Sink = Self;

    fn sink(&self) -> Self {
        *self
    }

    fn close(&self, _: Self) -> Result<()> {
        Ok(())
    }
}

/// A piece of a large file, cut and ready to be hashed.
struct SlabJob {
    data: Vec<u8>,
    cuts: Vec<u32>,
    number: usize,
    reply: mpsc::Sender<(usize, Result<Vec<Extent>>)>,
}

#[derive(Default)]
struct Queue {
    slabs: VecDeque<SlabJob>,
    /// Files of which slabs may still come.
    cutting: usize,
}

/// A large file being cut. However that ends, those who wait for its slabs are told.
struct Cutting<'a> {
    queue: &'a Mutex<Queue>,
    changed: &'a Condvar,
}

impl Drop for Cutting<'_> {
    fn drop(&mut self) {
        self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).cutting -= 1;
        self.changed.notify_all();
    }
}

struct Pool<'a, S> {
    worktree: &'a Dir,
    jobs: &'a [IngestJob],
    options: IngestOptions,
    source: S,
    progress: &'a dyn Progress,
    next: AtomicUsize,
    queue: Mutex<Queue>,
    changed: Condvar,
    failed: AtomicBool,
    spare: Mutex<Vec<Vec<u8>>>,
}

/// Takes files in. Outcomes stand in the order of `jobs`.
///
/// Memory: two slabs a worker and as many queued, whatever the files' sizes.
///
/// # Errors
/// Only what concerns the store; what concerns one file is its outcome.
pub fn ingest<S: SinkSource>(
    worktree: &Dir,
    jobs: &[IngestJob],
    options: IngestOptions,
    source: S,
    progress: &dyn Progress,
) -> Result<Vec<IngestOutcome>> {
    let bytes = jobs.iter().map(|job| job.size).fold(0, u64::saturating_add);
    // One worker a file, except for what is large enough to be shared; a thread costs as much as a small file.
    let shared = bytes >= SHARED_FROM;
    let useful = if shared { usize::MAX } else { jobs.len().div_ceil(4) };
    let threads = options.threads.clamp(1, MAX_THREADS).min(useful).max(1);
    let pool = Pool {
        worktree,
        jobs,
        options,
        source,
        progress,
        next: AtomicUsize::new(0),
        queue: Mutex::default(),
        changed: Condvar::new(),
        failed: AtomicBool::new(false),
        spare: Mutex::default(),
    };
    let results = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| pool.work())).collect();
        let mut results = vec![pool.work()];
        for other in others {
            results.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        results
    });
    let mut outcomes: Vec<Option<IngestOutcome>> = jobs.iter().map(|_| None).collect();
    for result in results {
        for (at, outcome) in result? {
            outcomes[at] = Some(outcome);
        }
    }
    Ok(outcomes.into_iter().map(|outcome| outcome.expect("every job was taken by some worker")).collect())
}

impl<S: SinkSource> Pool<'_, S> {
    fn work(&self) -> Result<Vec<(usize, IngestOutcome)>> {
        let mut sink = self.source.sink();
        let mut outcomes = Vec::new();
        let result = self.work_with(&mut sink, &mut outcomes);
        if result.is_err() {
            self.failed.store(true, Ordering::Relaxed);
            self.changed.notify_all();
        }
        result?;
        self.source.close(sink)?;
        Ok(outcomes)
    }

    fn work_with(&self, sink: &mut S::Sink, outcomes: &mut Vec<(usize, IngestOutcome)>) -> Result<()> {
        let mut buffer = Vec::new();
        loop {
            if self.failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            if self.progress.is_cancelled() {
                return Err(Error::Cancelled);
            }
            if let Some(slab) = self.take_slab() {
                self.hash_slab(slab, sink);
                continue;
            }
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            if let Some(job) = self.jobs.get(at) {
                self.progress.path(job.path.as_str());
                outcomes.push((at, self.ingest_file(job, sink, &mut buffer)?));
                continue;
            }
            let queue = self.queue.lock().expect("nothing panics while holding the queue");
            if queue.cutting == 0 && queue.slabs.is_empty() {
                return Ok(());
            }
            if queue.slabs.is_empty() {
                // Woken by every slab and by the end of every large file.
                drop(self.changed.wait(queue).expect("nothing panics while holding the queue"));
            }
        }
    }

    fn take_slab(&self) -> Option<SlabJob> {
        self.queue.lock().expect("nothing panics while holding the queue").slabs.pop_front()
    }

    fn hash_slab(&self, slab: SlabJob, sink: &mut S::Sink) {
        let extents = put_chunks(&slab.data, &slab.cuts, sink);
        let SlabJob { mut data, number, reply, .. } = slab;
        data.clear();
        self.spare.lock().expect("nothing panics while holding the buffers").push(data);
        // The cutter is gone only when it failed, and then nobody wants the answer.
        let _ = reply.send((number, extents));
    }

    fn ingest_file(&self, job: &IngestJob, sink: &mut S::Sink, buffer: &mut Vec<u8>) -> Result<IngestOutcome> {
        for _ in 0..ATTEMPTS {
            match self.try_file(job, sink, buffer)? {
                Some(outcome) => return Ok(outcome),
                None => tracing::debug!(path = %job.path, "changed while it was read"),
            }
        }
        Ok(IngestOutcome::Skipped(SkipReason::Unstable))
    }

    /// Reads a file once; `None` where it changed meanwhile.
    fn try_file(&self, job: &IngestJob, sink: &mut S::Sink, buffer: &mut Vec<u8>) -> Result<Option<IngestOutcome>> {
        let file = match self.worktree.open(job.path.as_str(), OpenOptions::READ) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => return Ok(Some(IngestOutcome::Vanished)),
            Err(error) => {
                tracing::debug!(path = %job.path, %error, "cannot be opened");
                return Ok(Some(IngestOutcome::Skipped(SkipReason::Unreadable)));
            }
        };
        let Ok(before) = file.metadata() else {
            return Ok(Some(IngestOutcome::Skipped(SkipReason::Unreadable)));
        };
        if before.kind != FileKind::File {
            return Ok(Some(IngestOutcome::Skipped(SkipReason::Special)));
        }
        sink.begin_file();
        let kind = if before.mode & 0o100 != 0 { EntryType::Executable } else { EntryType::File };
        let content = match self.read_content(&file, before.size, job.recorded, sink, buffer)? {
            Ok(content) => content,
            Err(Unread::Changed) => return Ok(None),
            Err(Unread::Unreadable) => return Ok(Some(IngestOutcome::Skipped(SkipReason::Unreadable))),
        };
        let Ok(after) = file.metadata() else {
            return Ok(Some(IngestOutcome::Skipped(SkipReason::Unreadable)));
        };
        let same = |a: &Metadata, b: &Metadata| (a.size, a.mtime_ns, a.ctime_ns) == (b.size, b.mtime_ns, b.ctime_ns);
        if !same(&before, &after) {
            return Ok(None);
        }
        metrics::COUNTERS.ingest_bytes.add(before.size);
        Ok(Some(IngestOutcome::Stored(Node { kind, size: before.size, content }, after)))
    }

    fn read_content(
        &self,
        file: &File,
        size: u64,
        recorded: Option<(u64, u64)>,
        sink: &mut S::Sink,
        buffer: &mut Vec<u8>,
    ) -> Result<Result<Content, Unread>> {
        if size <= MAX_INLINE as u64 {
            let mut bytes = [0; MAX_INLINE + 1];
            let Ok(read) = file.read_full_at(&mut bytes, 0) else { return Ok(Err(Unread::Unreadable)) };
            self.progress.advance(read as u64);
            return Ok(if read as u64 == size {
                Ok(Content::Inline(bytes[..read].into()))
            } else {
                Err(Unread::Changed)
            });
        }
        let mut header = [0; chunker::HEADER_LENGTH];
        if file.read_full_at(&mut header, 0).is_err() {
            return Ok(Err(Unread::Unreadable));
        }
        let recorded = recorded.filter(|(_, recorded_size)| *recorded_size == size);
        let recorded = recorded.and_then(|(code, _)| Profile::from_code(code));
        let profile = recorded.unwrap_or_else(|| Profile::select(self.options.chunker, size, &header));
        if size >= SHARED_FROM {
            return self.read_shared(file, size, profile, sink);
        }
        let cutter = profile.cutter();
        let mut manifest = ManifestWriter::new(profile.code());
        let (mut offset, mut filled) = (0u64, 0usize);
        buffer.resize(SLAB.min(usize::try_from(size).unwrap_or(SLAB).max(profile.max())), 0);
        loop {
            let wanted = buffer.len() - filled;
            let Ok(read) = file.read_full_at(&mut buffer[filled..], offset) else {
                return Ok(Err(Unread::Unreadable));
            };
            offset += read as u64;
            filled += read;
            let at_end = read < wanted || offset >= size;
            let mut used = 0;
            for length in cutter.cuts(&buffer[..filled], at_end) {
                manifest.push(put_chunk(&buffer[used..used + length], sink)?, sink)?;
                used += length;
            }
            self.progress.advance(read as u64);
            if at_end {
                break;
            }
            buffer.copy_within(used..filled, 0);
            filled -= used;
        }
        Ok(if offset == size { Ok(finish_content(manifest, sink)?) } else { Err(Unread::Changed) })
    }

    /// Cuts a large file; its slabs are hashed by whoever is free, this worker included.
    fn read_shared(
        &self,
        file: &File,
        size: u64,
        profile: Profile,
        sink: &mut S::Sink,
    ) -> Result<Result<Content, Unread>> {
        self.queue.lock().expect("nothing panics while holding the queue").cutting += 1;
        let _cutting = Cutting { queue: &self.queue, changed: &self.changed };
        self.cut_shared(file, size, profile, sink)
    }

    fn cut_shared(
        &self,
        file: &File,
        size: u64,
        profile: Profile,
        sink: &mut S::Sink,
    ) -> Result<Result<Content, Unread>> {
        let cutter = profile.cutter();
        let mut manifest = ManifestWriter::new(profile.code());
        let (reply, replies) = mpsc::channel();
        let mut answers = Answers { replies, waiting: BTreeMap::new(), next: 0 };
        let (mut offset, mut sent) = (0u64, 0usize);
        let mut carried: Vec<u8> = Vec::new();
        let most_queued = self.options.threads.clamp(1, MAX_THREADS);
        loop {
            let mut data =
                self.spare.lock().expect("nothing panics while holding the buffers").pop().unwrap_or_default();
            data.clear();
            data.extend_from_slice(&carried);
            let start = data.len();
            data.resize(SLAB, 0);
            let Ok(read) = file.read_full_at(&mut data[start..], offset) else {
                return Ok(Err(Unread::Unreadable));
            };
            offset += read as u64;
            data.truncate(start + read);
            let at_end = start + read < SLAB || offset >= size;
            let mut used = 0;
            let mut cuts = Vec::with_capacity(SLAB / profile.min().max(1) + 1);
            for length in cutter.cuts(&data, at_end) {
                cuts.push(length as u32);
                used += length;
            }
            carried.clear();
            carried.extend_from_slice(&data[used..]);
            self.progress.advance(read as u64);
            let slab = SlabJob { data, cuts, number: sent, reply: reply.clone() };
            sent += 1;
            let mut slab = Some(slab);
            {
                let mut queue = self.queue.lock().expect("nothing panics while holding the queue");
                if most_queued > 1 && queue.slabs.len() < most_queued {
                    queue.slabs.extend(slab.take());
                    self.changed.notify_one();
                }
            }
            // The others have enough to do: lend a hand.
            if let Some(slab) = slab {
                self.hash_slab(slab, sink);
            }
            answers.take_ready(&mut manifest, sink)?;
            if self.progress.is_cancelled() {
                return Err(Error::Cancelled);
            }
            if at_end || self.failed.load(Ordering::Relaxed) {
                break;
            }
        }
        drop(reply);
        while answers.next < sent {
            match self.take_slab() {
                Some(slab) => self.hash_slab(slab, sink),
                None => {
                    if !answers.wait_one(&mut manifest, sink)? {
                        // Only a worker that failed leaves slabs unanswered; its error is the one reported.
                        return Ok(Err(Unread::Unreadable));
                    }
                }
            }
        }
        Ok(if offset == size { Ok(finish_content(manifest, sink)?) } else { Err(Unread::Changed) })
    }
}

enum Unread {
    Changed,
    Unreadable,
}

/// Slabs come back in any order and are put into the manifest in theirs.
struct Answers {
    replies: mpsc::Receiver<(usize, Result<Vec<Extent>>)>,
    waiting: BTreeMap<usize, Vec<Extent>>,
    next: usize,
}

impl Answers {
    fn take(
        &mut self,
        number: usize,
        extents: Result<Vec<Extent>>,
        manifest: &mut ManifestWriter,
        sink: &mut dyn ObjectSink,
    ) -> Result<()> {
        self.waiting.insert(number, extents?);
        while let Some(extents) = self.waiting.remove(&self.next) {
            self.next += 1;
            for extent in extents {
                manifest.push(extent, sink)?;
            }
        }
        Ok(())
    }

    fn take_ready(&mut self, manifest: &mut ManifestWriter, sink: &mut dyn ObjectSink) -> Result<()> {
        while let Ok((number, extents)) = self.replies.try_recv() {
            self.take(number, extents, manifest, sink)?;
        }
        Ok(())
    }

    fn wait_one(&mut self, manifest: &mut ManifestWriter, sink: &mut dyn ObjectSink) -> Result<bool> {
        match self.replies.recv() {
            Ok((number, extents)) => self.take(number, extents, manifest, sink).map(|()| true),
            Err(_) => Ok(false),
        }
    }
}

fn put_chunks(data: &[u8], cuts: &[u32], sink: &mut dyn ObjectSink) -> Result<Vec<Extent>> {
    let mut at = 0;
    cuts.iter()
        .map(|&length| {
            let chunk = &data[at..at + length as usize];
            at += length as usize;
            put_chunk(chunk, sink)
        })
        .collect()
}

fn put_chunk(chunk: &[u8], sink: &mut dyn ObjectSink) -> Result<Extent> {
    let length = chunk.len() as u64;
    if chunker::is_zero(chunk) {
        return Ok(Extent { chunk: None, length });
    }
    Ok(Extent { chunk: Some(ChunkId(sink.put(ObjectKind::Chunk, chunk)?)), length })
}

fn finish_content(manifest: ManifestWriter, sink: &mut dyn ObjectSink) -> Result<Content> {
    match manifest.single_chunk() {
        Some(chunk) => Ok(Content::Chunk(chunk)),
        None => Ok(Content::Manifest(ManifestId(manifest.finish(sink)?.0))),
    }
}

/// Takes a symbolic link in; its target may be any bytes.
pub fn ingest_link(target: &[u8], sink: &mut dyn ObjectSink) -> Result<Node> {
    let content = if target.len() <= MAX_INLINE {
        Content::Inline(target.into())
    } else {
        Content::Chunk(ChunkId(sink.put(ObjectKind::Chunk, target)?))
    };
    Ok(Node { kind: EntryType::Symlink, size: target.len() as u64, content })
}
