//! Verifying commits: their signatures, and every object they and their ancestors reach.
//!
//! One thread walks the metadata; chunks gather until they are worth sorting by where they lie, and are then read frame
//! by frame, in the order of the disk, by workers that check, decompress and hash them. Memory is bounded: chunks wait in
//! batches, and of those seen before only a bounded number is remembered.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use shard_crypto::{Signed, Unverified};

use super::closure::{Closure, Reached};
use super::fault::{self, Fault, ObjectFault, ObjectFaults};
use super::{Repository, State};
use crate::history::commit::{Commit, Trust};
use crate::history::refs::RefSet;
use crate::ids::{ChunkId, CommitId, ObjectId, TreeId};
use crate::object::frame_objects::for_each_object;
use crate::object::store::Place;
use crate::object::{ObjectKind, ObjectStore};
use crate::progress::{Progress, Unit};
use crate::{Error, Result};

/// Chunks that gather before they are read: some 8 MiB of memory, some gigabytes of content.
const BATCH: usize = 64 << 10;
/// Bytes of frames one worker takes at a time.
const JOB_BYTES: u32 = 4 << 20;
/// Chunks remembered as seen, 19 MB: 70 GB of content. Beyond, some may be read again.
const REMEMBERED: usize = 1_800_000;

/// What verifying found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// Commits checked.
    pub commits: u64,
    /// Objects checked, commits included.
    pub objects: u64,
    /// Bytes of those objects.
    pub bytes: u64,
    /// Commits whose signature holds and whose signer does not count here.
    pub untrusted: u64,
    /// How far each tip is to be believed, where it can be read.
    pub trust: Vec<(CommitId, Trust)>,
    /// What failed, by path. At most 100,000; `failed` counts all.
    pub failures: Vec<ObjectFault>,
    /// How many failures there are.
    pub failed: u64,
}

impl VerifyReport {
    /// Says whether nothing failed. Commits of signers who do not count are no failure.
    pub fn is_sound(&self) -> bool {
        self.failed == 0
    }
}

impl Repository {
    /// Returns every commit something of this repository stands at: HEAD, branches, tags, and what others have published,
    /// each once, in ascending order.
    pub fn tips(&self, state: &State) -> Vec<CommitId> {
        let mut tips: std::collections::BTreeSet<CommitId> = state.heads.values().copied().collect();
        tips.extend(state.tags.values());
        tips.extend(state.head_commit());
        for bytes in state.peers.values() {
            if let Ok(set) = RefSet::verify(bytes, self.id()) {
                tips.extend(set.names().heads.values());
                tips.extend(set.names().tags.values());
            }
        }
        tips.into_iter().collect()
    }

    /// Verifies these commits and all their ancestors: signature, repository and depth of each commit; hash, form and
    /// size of each object, once.
    ///
    /// Takes no lock; reads everything reached once, with `settings.threads` workers.
    ///
    /// # Errors
    /// [`Error::Cancelled`]. Damage is reported.
    pub fn verify(&self, store: &ObjectStore, tips: &[CommitId], progress: &dyn Progress) -> Result<VerifyReport> {
        progress.phase("verify", None, Unit::Bytes);
        let scope = Scope { commits: tips, trees: Vec::new(), chunks: ChunkCheck::Content };
        self.verify_scope(store, scope, progress)
    }

    /// Verifies what a scope says.
    pub(crate) fn verify_scope(
        &self,
        store: &ObjectStore,
        scope: Scope<'_>,
        progress: &dyn Progress,
    ) -> Result<VerifyReport> {
        let Scope { commits: tips, trees, chunks } = scope;
        let outcome = Mutex::new(Outcome::default());
        let (send, receive) = sync_channel(64);
        let receive = Mutex::new(receive);
        let standing: HashSet<CommitId> = tips.iter().copied().collect();
        let workers = self.settings.threads.max(1);
        let (objects, commits) = std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| work(self, store, &standing, &receive, &outcome, progress));
            }
            let checker = Checker::new(store, chunks, &outcome, send, progress);
            let mut closure = Closure::new(store, checker);
            closure.walk(tips.iter().copied())?;
            for tree in trees {
                closure.directory(tree, None)?;
            }
            let commits = closure.commits();
            let checker = closure.reached;
            Ok::<_, Error>((checker.finish()?, commits))
        })?;
        if progress.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let outcome = outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
        let trust: HashMap<CommitId, Trust> = outcome.judged.into_iter().collect();
        Ok(VerifyReport {
            commits,
            objects: outcome.objects + objects.0,
            bytes: outcome.bytes + objects.1,
            untrusted: trust.values().filter(|trust| **trust == Trust::NotAllowed).count() as u64,
            trust: tips.iter().filter_map(|tip| Some((*tip, *trust.get(tip)?))).collect(),
            failed: outcome.faults.count,
            failures: outcome.faults.into_sorted(),
        })
    }
}

/// What is verified.
pub(crate) struct Scope<'a> {
    /// Commits with all their ancestors.
    pub(crate) commits: &'a [CommitId],
    /// Trees beside.
    pub(crate) trees: Vec<TreeId>,
    /// How chunks are looked at.
    pub(crate) chunks: ChunkCheck<'a>,
}

/// How chunks are looked at.
#[derive(Clone, Copy)]
pub(crate) enum ChunkCheck<'a> {
    /// They are read and hashed.
    Content,
    /// They are here and not among those known to be damaged: all packs were read before.
    Presence(&'a HashSet<ObjectId>),
}

/// What the workers have found.
#[derive(Default)]
struct Outcome {
    objects: u64,
    bytes: u64,
    faults: ObjectFaults,
    /// Tips, and all that are not [`Trust::Good`].
    judged: Vec<(CommitId, Trust)>,
}

/// A chunk to be read and checked.
#[derive(Debug)]
struct Wanted {
    id: ChunkId,
    place: Place,
    length: u64,
    path: Arc<str>,
}

enum Job {
    Signature(CommitId, Box<Signed<Commit, Unverified>>),
    /// Chunks by place.
    Chunks(Vec<Wanted>),
}

/// Receives what the walk comes upon and keeps the workers busy.
struct Checker<'a> {
    store: &'a ObjectStore,
    check: ChunkCheck<'a>,
    outcome: &'a Mutex<Outcome>,
    jobs: SyncSender<Job>,
    progress: &'a dyn Progress,
    batch: Vec<Wanted>,
    seen: RecentIds,
    objects: u64,
    bytes: u64,
}

impl<'a> Checker<'a> {
    fn new(
        store: &'a ObjectStore,
        check: ChunkCheck<'a>,
        outcome: &'a Mutex<Outcome>,
        jobs: SyncSender<Job>,
        progress: &'a dyn Progress,
    ) -> Self {
        Self { store, check, outcome, jobs, progress, batch: Vec::new(), seen: RecentIds::new(), objects: 0, bytes: 0 }
    }

    fn send(&self, job: Job) -> Result<()> {
        if self.progress.is_cancelled() {
            return Err(Error::Cancelled);
        }
        // Workers end early only when one of them panicked.
        self.jobs.send(job).map_err(|_| Error::Cancelled)
    }

    fn flush(&mut self) -> Result<()> {
        let mut batch = std::mem::take(&mut self.batch);
        batch.sort_unstable_by_key(|wanted| place_key(&wanted.place));
        let mut job: Vec<Wanted> = Vec::new();
        let mut bytes = 0;
        for wanted in batch {
            let same_frame = job.last().is_some_and(|last| is_same_frame(&last.place, &wanted.place));
            if !same_frame {
                if bytes >= JOB_BYTES {
                    self.send(Job::Chunks(std::mem::take(&mut job)))?;
                    bytes = 0;
                }
                bytes += wanted.place.location.reach;
            }
            job.push(wanted);
        }
        if job.is_empty() { Ok(()) } else { self.send(Job::Chunks(job)) }
    }

    fn finish(mut self) -> Result<(u64, u64)> {
        self.flush()?;
        Ok((self.objects, self.bytes))
    }
}

fn place_key(place: &Place) -> (u32, u32, u16) {
    (place.pack.to_u32(), place.location.offset, place.location.slot)
}

fn is_same_frame(a: &Place, b: &Place) -> bool {
    (a.pack, a.location.offset) == (b.pack, b.location.offset)
}

impl Reached for Checker<'_> {
    fn commit(&mut self, id: CommitId, commit: Signed<Commit, Unverified>) -> Result<()> {
        self.send(Job::Signature(id, Box::new(commit)))
    }

    fn chunk(&mut self, id: ChunkId, length: u64, path: &Arc<str>) -> Result<()> {
        // Whoever states another length is looked at again.
        if !self.seen.insert(id.0, length) {
            return Ok(());
        }
        match (self.store.find_surely(id.0), self.check) {
            (Ok(Some(_)), ChunkCheck::Presence(bad)) => {
                // Another copy may be whole.
                if bad.contains(&id.0) && self.store.get(id.0, ObjectKind::Chunk).is_err() {
                    let (path, why) = (Some(path.to_string()), "it lies in a damaged frame".to_owned());
                    self.fault(ObjectFault { id: id.0, fault: Fault::Damaged, path, why });
                }
                Ok(())
            }
            (Ok(Some(place)), ChunkCheck::Content) => {
                self.batch.push(Wanted { id, place, length, path: path.clone() });
                if self.batch.len() >= BATCH { self.flush() } else { Ok(()) }
            }
            (other, _) => {
                let (fault, why) = match other {
                    Err(error) => (Fault::of(&error), fault::why(&error)),
                    _ => (Fault::Absent, "it is not here".to_owned()),
                };
                self.fault(ObjectFault { id: id.0, fault, path: Some(path.to_string()), why });
                Ok(())
            }
        }
    }

    fn object(&mut self, bytes: u64) -> Result<()> {
        self.objects += 1;
        self.bytes += bytes;
        self.progress.advance(bytes);
        if self.progress.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    fn fault(&mut self, fault: ObjectFault) {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.faults.push(fault);
    }
}

/// A bounded memory of ids. It may forget, and never takes a new id for an old one but by a chance nobody can bring
/// about: what is kept are 64 bits of a hash with a random key.
pub(super) struct RecentIds {
    hasher: RandomState,
    seen: HashSet<u64, std::hash::BuildHasherDefault<Identity>>,
}

/// Hashes what is a hash already.
#[derive(Default)]
pub(super) struct Identity(u64);

impl std::hash::Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

impl RecentIds {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), seen: HashSet::default() }
    }

    /// Says whether the id is new, or was forgotten.
    pub(super) fn insert(&mut self, id: ObjectId, length: u64) -> bool {
        if self.seen.len() >= REMEMBERED {
            self.seen.clear();
        }
        self.seen.insert(self.hasher.hash_one((id.0, length)))
    }
}

fn work(
    repository: &Repository,
    store: &ObjectStore,
    tips: &HashSet<CommitId>,
    jobs: &Mutex<Receiver<Job>>,
    outcome: &Mutex<Outcome>,
    progress: &dyn Progress,
) {
    let mut found = Outcome::default();
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { break };
        if progress.is_cancelled() {
            // What is left is taken and dropped, so that nobody waits for room.
            continue;
        }
        match job {
            Job::Signature(id, commit) => check_signature(repository, id, &commit, tips.contains(&id), &mut found),
            Job::Chunks(wanted) => {
                let mut rest = &wanted[..];
                while let Some(first) = rest.first() {
                    let count = rest.iter().take_while(|other| is_same_frame(&first.place, &other.place)).count();
                    let before = found.bytes;
                    check_frame(store, &rest[..count], &mut found);
                    progress.advance(found.bytes - before);
                    rest = &rest[count..];
                }
            }
        }
    }
    let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
    outcome.objects += found.objects;
    outcome.bytes += found.bytes;
    outcome.judged.append(&mut found.judged);
    found.faults.into_sorted().into_iter().for_each(|fault| outcome.faults.push(fault));
}

fn check_signature(
    repository: &Repository,
    id: CommitId,
    commit: &Signed<Commit, Unverified>,
    is_tip: bool,
    found: &mut Outcome,
) {
    let trust = Trust::of(commit, repository.id(), &repository.genesis().creator);
    if is_tip || trust != Trust::Good {
        found.judged.push((id, trust));
    }
    if trust == Trust::BadSignature {
        let (fault, why) = if commit.claimed().repository == repository.id() {
            (Fault::Signature, "its signature does not hold")
        } else {
            (Fault::Foreign, "it belongs to another repository")
        };
        found.faults.push(ObjectFault { id: id.0, fault, path: None, why: why.to_owned() });
    }
}

/// Checks chunks that lie in one frame.
fn check_frame(store: &ObjectStore, wanted: &[Wanted], found: &mut Outcome) {
    let mut left: BTreeMap<ObjectId, Vec<&Wanted>> = BTreeMap::new();
    for wanted in wanted {
        left.entry(wanted.id.0).or_default().push(wanted);
    }
    if let Ok(frame) = store.raw_frame(wanted[0].place) {
        let _ = for_each_object(&frame.view(), |id, kind, payload| {
            if kind == Some(ObjectKind::Chunk) && left.contains_key(&id) && ObjectKind::Chunk.id(payload) == id {
                let wanted = left.remove(&id).unwrap_or_default();
                check_length(id, payload.len() as u64, &wanted, found);
            }
        });
    }
    for (id, wanted) in left {
        // Another copy may be whole; if none is, this says what is wrong.
        match store.get(id, ObjectKind::Chunk) {
            Ok(payload) => check_length(id, payload.len() as u64, &wanted, found),
            Err(error) => {
                let why = fault::why(&error);
                for wanted in wanted {
                    let path = Some(wanted.path.to_string());
                    found.faults.push(ObjectFault { id, fault: Fault::of(&error), path, why: why.clone() });
                }
            }
        }
    }
}

/// Counts a chunk whose bytes are what its id says, and holds its length against those who need it.
fn check_length(id: ObjectId, length: u64, wanted: &[&Wanted], found: &mut Outcome) {
    found.objects += 1;
    found.bytes += length;
    for wanted in wanted.iter().filter(|wanted| wanted.length != length) {
        let why = format!("it has {length} bytes where {} are recorded", wanted.length);
        found.faults.push(ObjectFault { id, fault: Fault::Invalid, path: Some(wanted.path.to_string()), why });
    }
}
