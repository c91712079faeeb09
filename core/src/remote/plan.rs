//! What a transfer will bring, decided before anything is moved.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use shard_storage::pack::{Location, PackOrdinal};

use super::Source;
use super::closure::{Closure, WantedFrame};
use crate::ids::{CommitId, ObjectId};
use crate::object::store::Place;
use crate::object::{ObjectKind, ObjectStore, StagedObjects, Staging, StagingWriter, VerifiedFrame};
use crate::progress::{Progress, Unit};
use crate::{Error, Result};

/// Most threads that verify: beyond, the disk and the pack writer are the limit.
const MAX_THREADS: usize = 8;

/// What a source has that is reached from its tips and is not here. `--dry-run` prints it; running it copies.
#[derive(Debug)]
pub struct TransferPlan {
    /// Commits that will come.
    pub commits: u64,
    /// Objects that will come, commits included.
    pub objects: u64,
    /// Bytes to read at the source, as stored; of frames that are not copied whole, their wanted share.
    pub bytes: u64,
    /// Where from.
    pub sources: Vec<String>,
    /// Frames in the order they lie.
    frames: Vec<(PackOrdinal, u32, WantedFrame)>,
}

impl TransferPlan {
    /// Walks from `tips` to what refs here reach, which start at `held`. Writes nothing.
    ///
    /// # Errors
    /// Metadata of the source that is absent or damaged, each with its id.
    pub fn compute(
        source: &Source,
        here: &ObjectStore,
        held: impl IntoIterator<Item = CommitId>,
        tips: impl IntoIterator<Item = CommitId>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        progress.phase("compare", None, Unit::Items);
        let mut closure = Closure::new(source.store(), here, held, source.id(), tips)?;
        let (mut commits, mut objects) = (0, 0);
        for reached in closure.by_ref() {
            let reached = reached?;
            objects += 1;
            commits += u64::from(reached.kind == ObjectKind::Commit);
            if progress.is_cancelled() {
                return Err(Error::Cancelled);
            }
            progress.advance(1);
        }
        let frames: Vec<_> = closure.into_frames().into_iter().map(|((pack, at), frame)| (pack, at, frame)).collect();
        let cost = |frame: &WantedFrame| -> u64 {
            let length = if frame.is_verbatim() { frame.length } else { frame.length.min(frame.wanted) };
            length.into()
        };
        let bytes = frames.iter().map(|(_, _, frame)| cost(frame)).sum();
        Ok(Self { commits, objects, bytes, sources: vec![source.path().display().to_string()], frames })
    }

    /// Says whether nothing is missing.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Copies what is wanted into `staging`, on `threads` threads, and ends it. Memory: two frames a thread.
    ///
    /// Nothing of a frame is stored before all of it was verified. After a failure only chunks are left that an instalment
    /// of a long transfer has registered, and the next transfer need not bring them again.
    ///
    /// # Errors
    /// [`Error::ObjectCorrupt`] naming an object that is not what its id says, or one lost with its frame;
    /// [`Error::Cancelled`].
    pub fn run(
        &self,
        source: &Source,
        staging: Staging<'_>,
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<StagedObjects> {
        progress.phase("transfer", Some(self.bytes), Unit::Bytes);
        let copy = Copy {
            plan: self,
            source: source.store(),
            staging: &staging,
            progress,
            next: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            failure: Mutex::new(None),
        };
        let threads = threads.clamp(1, MAX_THREADS).min(self.frames.len().div_ceil(4)).max(1);
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|| copy.work());
            }
            copy.work();
        });
        if let Some(error) = copy.failure.into_inner().unwrap_or_default() {
            return Err(error);
        }
        staging.finish()
    }
}

/// A copy under way, shared by its threads.
struct Copy<'a> {
    plan: &'a TransferPlan,
    source: &'a ObjectStore,
    staging: &'a Staging<'a>,
    progress: &'a dyn Progress,
    next: AtomicUsize,
    stopped: AtomicBool,
    failure: Mutex<Option<Error>>,
}

impl Copy<'_> {
    fn work(&self) {
        let mut writer = self.staging.writer();
        let result = self.work_with(&mut writer).and_then(|()| writer.finish());
        if let Err(error) = result {
            self.stopped.store(true, Ordering::Relaxed);
            if let Ok(mut failure) = self.failure.lock() {
                failure.get_or_insert(error);
            }
        }
    }

    fn work_with(&self, writer: &mut StagingWriter<'_>) -> Result<()> {
        while !self.stopped.load(Ordering::Relaxed) {
            if self.progress.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let Some((pack, offset, frame)) = self.plan.frames.get(self.next.fetch_add(1, Ordering::Relaxed)) else {
                return Ok(());
            };
            let location = Location { offset: *offset, reach: frame.length, slot: frame.first(), kind: 0 };
            let place = Place { pack: *pack, location };
            let verified = self.read(place)?;
            if frame.is_verbatim() {
                writer.put_frame(&verified)?;
            } else {
                for (slot, (id, kind, payload)) in (0..).zip(verified.objects()) {
                    if frame.wants(slot) {
                        writer.put_checked(id, kind, payload)?;
                    }
                }
            }
            self.progress.advance(frame.length.into());
        }
        Ok(())
    }

    fn read(&self, place: Place) -> Result<VerifiedFrame> {
        let verified = self.source.raw_frame(place).and_then(|frame| VerifiedFrame::verify(frame, place));
        match verified {
            // A frame that cannot be read takes its objects with it: name one that was wanted.
            Err(Error::FileCorrupt { path, reason }) => match self.claimed(place) {
                Some(id) => {
                    Err(Error::ObjectCorrupt { id: id.digest(), reason: format!("{}: {reason}", path.display()) })
                }
                None => Err(Error::FileCorrupt { path, reason }),
            },
            other => other,
        }
    }

    /// The first wanted object of a frame that cannot be read, as far as its table says.
    fn claimed(&self, place: Place) -> Option<ObjectId> {
        let table = self.source.frame_table(place).ok()?;
        Some(ObjectId(table.entries.get(usize::from(place.location.slot))?.id.0))
    }
}
