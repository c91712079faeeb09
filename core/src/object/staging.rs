//! New objects on their way into the store.
//!
//! Workers hash, look up, and compress into frames of their own; frames gather in memory up to 4 MiB and then in packs
//! that this staging alone writes, each under its lock. Nothing counts until a transaction registers it, and what is
//! dropped before leaves no trace; except that of a long ingest chunks are registered in [`instalment`](super::instalment)s.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread::JoinHandle;

use shard_storage::pack::{
    Class, Codec, Completeness, FrameEntry, MAX_FRAME_ENTRIES, PACK_TARGET, PackOrdinal, PackWriter, SealedPack,
    encode_frame,
};
use shard_storage::vfs::Dir;

use super::compression::{Compression, Compressor};
use super::instalment::{Instalments, LastInstalment};
use super::store::{pack_error, pack_id};
use super::{MAX_OBJECT, ObjectKind, ObjectSink, ObjectStore, VerifiedFrame};
use crate::ids::ObjectId;
use crate::{Error, Result, metrics};

/// Payload a frame gathers before it is compressed.
const FRAME_TARGET: usize = 128 << 10;
/// An object from this size on has a frame of its own.
const STANDS_ALONE: usize = 64 << 10;
/// Packs being sealed at once: while they are synced the next one fills.
const MAX_SEALING: usize = 3;
/// Sets of ids seen, so that workers seldom wait for each other.
const SHARDS: usize = 64;

/// A frame ready to be written.
#[derive(Debug)]
pub(crate) struct EncodedFrame(pub(crate) Vec<u8>);

/// A pack on its way to being complete, synced and named.
type Sealing = JoinHandle<Result<SealedPack, shard_storage::pack::PackError>>;

/// New objects that are complete and wait for a transaction.
#[derive(Debug, Default)]
pub struct StagedObjects {
    /// Small ones, by class.
    pub(crate) memory: [Vec<EncodedFrame>; 2],
    /// Complete packs, synced and locked.
    pub(crate) packs: Vec<SealedPack>,
    /// Where to remove packs that no transaction took.
    objects: Option<Dir>,
    /// Objects that were new.
    pub new_objects: u64,
    /// Their bytes before compression.
    pub new_bytes: u64,
    /// Their bytes as stored, frames included.
    pub stored_bytes: u64,
}

impl StagedObjects {
    /// Says whether there is nothing new.
    pub fn is_empty(&self) -> bool {
        self.memory.iter().all(Vec::is_empty) && self.packs.is_empty()
    }

    /// Packs that a transaction is to take in, and that are removed from `objects` where it does not.
    pub(crate) fn of_packs(objects: &Dir, packs: Vec<SealedPack>) -> Self {
        let mut staged = Self::default();
        (staged.packs, staged.objects) = (packs, Some(objects.clone()));
        staged
    }

    /// Takes another staging's objects in.
    pub fn absorb(&mut self, mut other: StagedObjects) {
        for (mine, theirs) in self.memory.iter_mut().zip(&mut other.memory) {
            mine.append(theirs);
        }
        self.packs.append(&mut other.packs);
        self.objects = self.objects.take().or(other.objects.take());
        self.new_objects += other.new_objects;
        self.new_bytes += other.new_bytes;
        self.stored_bytes += other.stored_bytes;
    }

    /// Bytes of the frames in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory.iter().flatten().map(|frame| frame.0.len()).sum()
    }

    /// Gives back the packs it was made [of](Self::of_packs).
    pub(crate) fn into_packs(mut self) -> Vec<SealedPack> {
        self.take_packs()
    }

    /// Takes the packs, whose fate is the caller's from then on.
    pub(crate) fn take_packs(&mut self) -> Vec<SealedPack> {
        std::mem::take(&mut self.packs)
    }
}

impl Drop for StagedObjects {
    fn drop(&mut self) {
        let Some(objects) = &self.objects else { return };
        for pack in &self.packs {
            // Best effort: recovery finds what stays, unregistered and unlocked.
            let _ = objects.unlink(pack.reader().ordinal().path());
        }
    }
}

#[derive(Debug, Default)]
struct Output {
    memory: [Vec<EncodedFrame>; 2],
    memory_bytes: usize,
    spilled: bool,
    writers: [Option<PackWriter>; 2],
    next: [Option<PackOrdinal>; 2],
    sealing: Vec<Sealing>,
    sealed: Vec<SealedPack>,
    last_instalment: LastInstalment,
}

/// Prepares new objects. Shared by any number of threads, each with a [`StagingWriter`] of its own.
#[derive(Debug)]
pub struct Staging<'s> {
    store: &'s ObjectStore,
    objects: Dir,
    compression: Compression,
    /// Bytes of frames kept in memory before they go to packs of their own.
    memory_limit: usize,
    instalments: Option<Instalments<'s>>,
    seen: Vec<Mutex<HashSet<ObjectId>>>,
    output: Mutex<Output>,
    new_objects: AtomicU64,
    new_bytes: AtomicU64,
    stored_bytes: AtomicU64,
}

impl<'s> Staging<'s> {
    /// Starts with nothing, deduplicating against `store`.
    pub fn new(store: &'s ObjectStore, compression: Compression) -> Self {
        Self {
            store,
            objects: store.objects().clone(),
            compression,
            memory_limit: 4 << 20,
            instalments: None,
            seen: (0..SHARDS).map(|_| Mutex::default()).collect(),
            output: Mutex::default(),
            new_objects: AtomicU64::new(0),
            new_bytes: AtomicU64::new(0),
            stored_bytes: AtomicU64::new(0),
        }
    }

    /// Keeps so many bytes of frames in memory before it writes packs.
    pub(crate) fn with_memory(mut self, memory_limit: usize) -> Self {
        self.memory_limit = memory_limit;
        self
    }

    /// Registers chunks before the end, where that is far.
    pub(crate) fn with_instalments(mut self, instalments: Instalments<'s>) -> Self {
        self.instalments = Some(instalments);
        self
    }

    /// Returns a writer for one thread. What it holds counts only once it is [finished](StagingWriter::finish).
    pub fn writer(&self) -> StagingWriter<'_> {
        StagingWriter {
            staging: self,
            compressor: Compressor::new(self.compression),
            frames: Default::default(),
            stored: Vec::new(),
        }
    }

    /// Bytes of new objects so far, before compression.
    pub fn new_bytes(&self) -> u64 {
        self.new_bytes.load(Ordering::Relaxed)
    }

    /// Claims an id: false where this staging or the store has it already.
    fn claim(&self, id: ObjectId) -> Result<bool> {
        let shard = &self.seen[usize::from(id.0[0]) % SHARDS];
        if !shard.lock().expect("nothing panics while holding the set").insert(id) || self.store.contains(id)? {
            metrics::COUNTERS.objects_reused.add(1);
            return Ok(false);
        }
        Ok(true)
    }

    fn append(&self, class: Class, frame: Vec<u8>) -> Result<()> {
        self.stored_bytes.fetch_add(frame.len() as u64, Ordering::Relaxed);
        let mut output = self.output.lock().map_err(|_| Error::Cancelled)?;
        if !output.spilled {
            output.memory_bytes += frame.len();
            output.memory[class as usize].push(EncodedFrame(frame));
            if output.memory_bytes > self.memory_limit {
                output.spilled = true;
                let memory = std::mem::take(&mut output.memory);
                for (class, frames) in Class::ALL.into_iter().zip(memory) {
                    for frame in frames {
                        self.append_to_pack(&mut output, class, &frame.0)?;
                    }
                }
            }
            return Ok(());
        }
        self.append_to_pack(&mut output, class, &frame)?;
        match &self.instalments {
            Some(instalments) if output.last_instalment.begin_next(instalments.every, self.new_bytes()) => {
                self.pay_instalment(output, instalments)
            }
            _ => Ok(()),
        }
    }

    /// Registers the chunks of packs that are complete, or nearly. Other threads go on meanwhile.
    fn pay_instalment<'o>(&'o self, mut output: MutexGuard<'o, Output>, instalments: &Instalments<'_>) -> Result<()> {
        let large = |writer: &mut PackWriter| writer.length() >= instalments.least;
        if let Some(writer) = output.writers[Class::Data as usize].take_if(large) {
            self.seal(&mut output, writer)?;
        }
        let (mut packs, sealing) = (std::mem::take(&mut output.sealed), std::mem::take(&mut output.sealing));
        drop(output);
        let mut result = Ok(());
        for sealing in sealing {
            match join(sealing) {
                Ok(pack) => packs.push(pack),
                Err(error) => result = result.and(Err(error)),
            }
        }
        let of_chunks = |pack: &SealedPack| pack.reader().ordinal().class() == Class::Data;
        let (chunks, mut kept): (Vec<_>, Vec<_>) = packs.into_iter().partition(of_chunks);
        let registered = result.and_then(|()| self.sync_names(&chunks));
        let result = match registered {
            Ok(()) if !chunks.is_empty() => instalments.registrar.register(chunks).map(|back| kept.extend(back)),
            other => {
                kept.extend(chunks);
                other
            }
        };
        let mut output = self.output.lock().map_err(|_| Error::Cancelled)?;
        output.sealed.append(&mut kept);
        output.last_instalment.end();
        result
    }

    /// Makes the names of packs durable.
    fn sync_names(&self, packs: &[SealedPack]) -> Result<()> {
        let directories: HashSet<_> = packs.iter().map(|pack| pack.reader().ordinal().directory()).collect();
        for directory in directories {
            self.objects.open_dir(directory)?.sync().map_err(crate::repository::sync_failure)?;
        }
        Ok(())
    }

    fn append_to_pack(&self, output: &mut Output, class: Class, frame: &[u8]) -> Result<()> {
        let at = class as usize;
        // Of very small objects a pack takes no more long before it is large.
        let is_full = |writer: &mut PackWriter| {
            writer.length() + frame.len() as u64 > PACK_TARGET || !writer.has_room(MAX_FRAME_ENTRIES, frame.len())
        };
        if let Some(writer) = output.writers[at].take_if(is_full) {
            self.seal(output, writer)?;
        }
        let writer = match &mut output.writers[at] {
            Some(writer) => writer,
            slot => {
                let first = output.next[at].unwrap_or_else(|| self.store.catalog().next_ordinal(class));
                let repository = self.store.repository().digest();
                let writer =
                    PackWriter::create(&self.objects, first, repository, Completeness::Complete).map_err(pack_error)?;
                output.next[at] = writer.ordinal().next();
                slot.insert(writer)
            }
        };
        writer.append_frame(frame).map_err(pack_error)?;
        Ok(())
    }

    /// Seals a full pack on a thread of its own, since that waits for the disk.
    fn seal(&self, output: &mut Output, writer: PackWriter) -> Result<()> {
        if output.sealing.len() >= MAX_SEALING {
            let oldest = output.sealing.remove(0);
            match join(oldest) {
                Ok(pack) => output.sealed.push(pack),
                Err(error) => {
                    let _ = writer.discard(&self.objects);
                    return Err(error);
                }
            }
        }
        output.sealing.push(std::thread::spawn(move || writer.seal()));
        Ok(())
    }

    /// Ends the staging, after every writer has finished: packs are sealed, synced, and their names made durable.
    pub fn finish(self) -> Result<StagedObjects> {
        let mut output = std::mem::take(&mut *self.output.lock().map_err(|_| Error::Cancelled)?);
        let mut staged = StagedObjects {
            memory: std::mem::take(&mut output.memory),
            packs: std::mem::take(&mut output.sealed),
            objects: Some(self.objects.clone()),
            new_objects: self.new_objects.load(Ordering::Relaxed),
            new_bytes: self.new_bytes.load(Ordering::Relaxed),
            stored_bytes: self.stored_bytes.load(Ordering::Relaxed),
        };
        let mut failure = None;
        for writer in std::mem::take(&mut output.writers).into_iter().flatten() {
            if let Err(error) = self.seal(&mut output, writer) {
                failure = failure.or(Some(error));
            }
        }
        staged.packs.append(&mut output.sealed);
        for sealing in output.sealing.drain(..) {
            match join(sealing) {
                Ok(pack) => staged.packs.push(pack),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
        self.sync_names(&staged.packs)?;
        Ok(staged)
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        let Ok(output) = self.output.get_mut() else { return };
        // Best effort, as for what was staged and not taken.
        for writer in output.writers.iter_mut().filter_map(Option::take) {
            let _ = writer.discard(&self.objects);
        }
        for sealing in output.sealing.drain(..) {
            if let Ok(pack) = join(sealing) {
                output.sealed.push(pack);
            }
        }
        for pack in output.sealed.drain(..) {
            let _ = self.objects.unlink(pack.reader().ordinal().path());
        }
    }
}

fn join(sealing: Sealing) -> Result<SealedPack> {
    match sealing.join() {
        Ok(result) => result.map_err(pack_error),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

#[derive(Debug, Default)]
struct FrameBuilder {
    raw: Vec<u8>,
    entries: Vec<FrameEntry>,
}

/// One thread's way into a [`Staging`].
#[derive(Debug)]
pub struct StagingWriter<'a> {
    staging: &'a Staging<'a>,
    compressor: Compressor,
    frames: [FrameBuilder; 2],
    stored: Vec<u8>,
}

impl StagingWriter<'_> {
    fn flush(&mut self, class: Class) -> Result<()> {
        let builder = &mut self.frames[class as usize];
        if builder.entries.is_empty() {
            return Ok(());
        }
        let raw = std::mem::take(&mut builder.raw);
        let entries = std::mem::take(&mut builder.entries);
        self.write_frame(class, &raw, &entries)?;
        let builder = &mut self.frames[class as usize];
        (builder.raw, builder.entries) = (raw, entries);
        builder.raw.clear();
        builder.entries.clear();
        Ok(())
    }

    fn write_frame(&mut self, class: Class, raw: &[u8], entries: &[FrameEntry]) -> Result<()> {
        self.stored.clear();
        let codec = self.compressor.compress(raw, &mut self.stored);
        let payload = if codec == super::compression::Codec::Raw { raw } else { &self.stored };
        let mut frame = Vec::with_capacity(payload.len() + entries.len() * 37 + 32);
        encode_frame(Codec(codec.code()), entries, payload, &mut frame)
            .expect("frames are built within their limits, whatever the objects hold");
        self.staging.append(class, frame)
    }

    /// Hands over what is still gathered.
    pub fn finish(mut self) -> Result<()> {
        Class::ALL.into_iter().try_for_each(|class| self.flush(class))
    }

    /// Stores an object whose id was computed and checked by the caller.
    ///
    /// # Errors
    /// [`Error::ObjectCorrupt`] where it is larger than an object may be.
    pub fn put_checked(&mut self, id: ObjectId, kind: ObjectKind, payload: &[u8]) -> Result<()> {
        if payload.len() > MAX_OBJECT {
            return Err(Error::ObjectCorrupt { id: id.digest(), reason: "it is above 1 MiB".to_owned() });
        }
        if !self.staging.claim(id)? {
            return Ok(());
        }
        metrics::COUNTERS.objects_new.add(1);
        metrics::COUNTERS.new_bytes.add(payload.len() as u64);
        self.staging.new_objects.fetch_add(1, Ordering::Relaxed);
        self.staging.new_bytes.fetch_add(payload.len() as u64, Ordering::Relaxed);
        let class = if kind.is_data() { Class::Data } else { Class::Meta };
        let entry = FrameEntry { id: pack_id(id), kind: kind as u8, length: payload.len() as u32 };
        let full = |builder: &FrameBuilder| {
            builder.raw.len() + payload.len() > FRAME_TARGET || builder.entries.len() >= MAX_FRAME_ENTRIES
        };
        if payload.len() >= STANDS_ALONE {
            self.flush(class)?;
            return self.write_frame(class, payload, &[entry]);
        }
        if full(&self.frames[class as usize]) {
            self.flush(class)?;
        }
        let builder = &mut self.frames[class as usize];
        builder.raw.extend_from_slice(payload);
        builder.entries.push(entry);
        Ok(())
    }

    /// Stores a frame from elsewhere byte for byte, unless everything in it is here already. What it holds beside the
    /// objects that were asked for is stored with it.
    pub fn put_frame(&mut self, frame: &VerifiedFrame) -> Result<()> {
        let (mut objects, mut bytes) = (0, 0);
        for (id, _, payload) in frame.objects() {
            if self.staging.claim(id)? {
                objects += 1;
                bytes += payload.len() as u64;
            }
        }
        if objects == 0 {
            return Ok(());
        }
        metrics::COUNTERS.objects_new.add(objects);
        metrics::COUNTERS.new_bytes.add(bytes);
        self.staging.new_objects.fetch_add(objects, Ordering::Relaxed);
        self.staging.new_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.staging.append(frame.class(), frame.as_bytes().to_vec())
    }
}

impl ObjectSink for StagingWriter<'_> {
    fn put(&mut self, kind: ObjectKind, payload: &[u8]) -> Result<ObjectId> {
        let id = kind.id(payload);
        self.put_checked(id, kind, payload)?;
        Ok(id)
    }

    fn begin_file(&mut self) {
        self.compressor.begin_file();
    }
}
