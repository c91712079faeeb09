//! Checking packs and the runs of their index.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use shard_storage::pack::index::{Run, run_number};
use shard_storage::pack::{FrameEntry, FrameView, Location, OpenPack, PackHeader, PackOrdinal, PackReader};
use shard_storage::vfs::{Dir, File, LockKind, OpenOptions};

use super::{FsckLevel, FsckReport, Note, Problem, describe};
use crate::ids::ObjectId;
use crate::object::ObjectKind;
use crate::object::catalog::{Catalog, PackState};
use crate::object::frame_objects::{for_each_object, form_fault};
use crate::object::store::{pack_error, pack_file};
use crate::progress::{Progress, Unit};
use crate::repository::fault::Fault;
use crate::repository::pack_files::{list_packs, walk_frames};
use crate::repository::{Repository, State, layout};
use crate::{Error, Result};

/// What is known of a pack before it is looked at.
#[derive(Debug, Clone, Copy)]
enum Registered {
    /// Complete, so many bytes long.
    Sealed(u64),
    /// The shared open pack: so many bytes count and are in the file.
    Open(u64),
    /// Nobody knows: the catalog cannot be read.
    Unknown,
}

/// What checking packs found.
#[derive(Debug, Default)]
struct Found {
    packs: u64,
    frames: u64,
    objects: u64,
    bytes: u64,
    problems: Vec<Problem>,
    notes: Vec<Note>,
    /// Objects that lie in damaged frames.
    bad: HashSet<ObjectId>,
}

impl Found {
    fn problem(&mut self, fault: Fault, file: &str, offset: Option<u64>, why: impl Into<String>) {
        let file = Some(file.to_owned());
        self.problems.push(Problem { fault, file, offset, object: None, path: None, why: why.into() });
    }

    fn error(&mut self, file: &str, error: &Error) {
        self.problem(Fault::of(error), file, None, describe(error));
    }

    fn object(&mut self, fault: Fault, place: (&str, u64), id: ObjectId, why: String) {
        let (file, offset) = (Some(place.0.to_owned()), Some(place.1));
        self.problems.push(Problem { fault, file, offset, object: Some(id), path: None, why });
    }
}

impl Repository {
    /// Checks every pack that counts, several at once. Returns the objects that lie in damaged frames.
    pub(super) fn check_packs(
        &self,
        state: Option<&State>,
        level: FsckLevel,
        report: &mut FsckReport,
        progress: &dyn Progress,
    ) -> Result<HashSet<ObjectId>> {
        let on_disk = self.pack_files(report);
        let catalog = state.map(|state| self.catalog(state)).transpose();
        let tasks: Vec<(PackOrdinal, Registered)> = match (&catalog, state) {
            (Ok(Some(catalog)), Some(state)) => {
                self.note_unregistered(catalog, &on_disk, report);
                catalog.packs().map(|(ordinal, is, length)| (ordinal, registered(state, ordinal, is, length))).collect()
            }
            _ => on_disk.keys().map(|ordinal| (*ordinal, Registered::Unknown)).collect(),
        };
        if let Err(error) = &catalog {
            report.error(layout::CATALOG, error);
        }
        let total = tasks.iter().map(|(ordinal, _)| on_disk.get(ordinal).copied().unwrap_or(0)).sum();
        progress.phase("packs", Some(total), Unit::Bytes);
        let objects = match self.layout.shard.open_dir("objects") {
            Ok(objects) => objects,
            Err(error) => {
                report.error("objects", &error.into());
                return Ok(HashSet::new());
            }
        };
        let (next, all) = (AtomicUsize::new(0), Mutex::new(Found::default()));
        std::thread::scope(|scope| {
            for _ in 0..self.settings.threads.clamp(1, tasks.len().max(1)) {
                scope.spawn(|| {
                    let mut found = Found::default();
                    let mut buffer = Vec::new();
                    while let Some(&(ordinal, registered)) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if progress.is_cancelled() {
                            break;
                        }
                        let check = PackCheck { repository: self, ordinal, level, progress };
                        check.run(&objects, registered, &mut buffer, &mut found);
                    }
                    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                    all.packs += found.packs;
                    all.frames += found.frames;
                    all.objects += found.objects;
                    all.bytes += found.bytes;
                    all.problems.append(&mut found.problems);
                    all.notes.append(&mut found.notes);
                    all.bad.extend(found.bad);
                });
            }
        });
        if progress.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let found = all.into_inner().unwrap_or_else(PoisonError::into_inner);
        (report.packs, report.frames) = (found.packs, found.frames);
        (report.objects, report.bytes) = (found.objects, found.bytes);
        found.problems.into_iter().for_each(|problem| report.problem(problem));
        report.notes.extend(found.notes);
        Ok(found.bad)
    }

    /// Lists the pack files on disk with their sizes.
    fn pack_files(&self, report: &mut FsckReport) -> BTreeMap<PackOrdinal, u64> {
        match list_packs(&self.layout.shard) {
            Ok((packs, others)) => {
                others.into_iter().for_each(|file| report.note(file, "it is no pack"));
                packs
            }
            Err(error) => {
                report.error("objects", &error);
                BTreeMap::new()
            }
        }
    }

    fn note_unregistered(&self, catalog: &Catalog, on_disk: &BTreeMap<PackOrdinal, u64>, report: &mut FsckReport) {
        for (ordinal, size) in on_disk {
            if catalog.state(*ordinal).is_none() {
                let file = pack_file(*ordinal);
                let locked = self.layout.shard.open(&file, OpenOptions::READ).is_ok_and(|file| {
                    // A shared lock, which a writer's excludes; it goes when the file is closed.
                    file.try_lock(LockKind::Shared).is_ok_and(|free| !free)
                });
                let what = if locked { "it is being written" } else { "it was never registered" };
                report.note(file, format!("{what}, {size} bytes"));
            }
        }
    }

    /// Checks the runs of the pack index; they can be rebuilt.
    pub(super) fn check_runs(&self, level: FsckLevel, report: &mut FsckReport) {
        let dir = match self.layout.shard.open_dir(layout::RUNS) {
            Ok(dir) => dir,
            Err(error) if error.is_not_found() => return report.note(layout::RUNS, "it is missing"),
            Err(error) => return report.error(layout::RUNS, &error.into()),
        };
        for entry in dir.list().unwrap_or_default() {
            let name = entry.name.to_string_lossy();
            let file = format!("{}/{name}", layout::RUNS);
            let Some(number) = run_number(&name) else {
                report.note(file, "it is no run of the index");
                continue;
            };
            let checked = Run::open(&dir, number, &self.id().digest()).and_then(|run| match level {
                FsckLevel::Quick => run.packs().map(drop),
                _ => run.verify(),
            });
            if let Err(error) = checked {
                report.error(&file, &pack_error(error));
            }
        }
    }

    /// Notes what killed commands have left.
    pub(super) fn note_leftovers(&self, report: &mut FsckReport) {
        for entry in self.layout.tmp.list().unwrap_or_default() {
            let file = format!("{}/{}", layout::TMP, entry.name.to_string_lossy());
            report.note(file, "a temporary that nobody took away");
        }
    }
}

fn registered(state: &State, ordinal: PackOrdinal, is: PackState, length: u64) -> Registered {
    if is != PackState::Open {
        return Registered::Sealed(length);
    }
    let file = pack_file(ordinal);
    let added = state.overlay.appends.iter().find(|append| append.file == file && !append.bytes.is_empty());
    Registered::Open(added.map_or(state.end(&file).offset, |append| append.offset))
}

/// Checks one pack.
struct PackCheck<'a> {
    repository: &'a Repository,
    ordinal: PackOrdinal,
    level: FsckLevel,
    progress: &'a dyn Progress,
}

impl PackCheck<'_> {
    fn run(&self, objects: &Dir, registered: Registered, buffer: &mut Vec<u8>, found: &mut Found) {
        let file_name = pack_file(self.ordinal);
        found.packs += 1;
        let opened = objects.open(self.ordinal.path(), OpenOptions::READ).map_err(Error::from).and_then(|file| {
            let size = file.size()?;
            Ok((file, size))
        });
        let (file, size) = match opened {
            Ok(opened) => opened,
            Err(error) => return found.error(&file_name, &error),
        };
        let end = match registered {
            Registered::Sealed(length) => {
                if size != length {
                    let why = format!("it is {size} bytes long where {length} are registered");
                    found.problem(Fault::Damaged, &file_name, Some(size.min(length)), why);
                }
                None
            }
            Registered::Open(end) => Some(end),
            Registered::Unknown => match self.header(&file) {
                Ok(header) => (!header.sealed).then_some(size),
                Err(error) => return found.error(&file_name, &error),
            },
        };
        match end {
            None => self.sealed(file, &file_name, buffer, found),
            Some(end) => self.open(&file, &file_name, end, size, buffer, found),
        }
    }

    fn header(&self, file: &File) -> Result<PackHeader> {
        PackHeader::read(file, self.ordinal, &self.repository.id().digest()).map_err(pack_error)
    }

    fn sealed(&self, file: File, file_name: &str, buffer: &mut Vec<u8>, found: &mut Found) {
        let repository = self.repository.id().digest();
        let pack = match PackReader::open(file, self.ordinal, &repository) {
            Ok(pack) => pack,
            Err(error) => {
                found.error(file_name, &pack_error(error));
                return self.without_footer(file_name, buffer, found);
            }
        };
        if let Err(error) = pack.verify_footer() {
            found.error(file_name, &pack_error(error));
            return self.without_footer(file_name, buffer, found);
        }
        if self.level == FsckLevel::Quick {
            found.objects += u64::from(pack.object_count());
            found.frames += u64::from(pack.frame_count());
            return;
        }
        let before = found.objects;
        let here = |location: Location, offset: u64, slot: usize| {
            u64::from(location.offset) == offset && usize::from(location.slot) == slot
        };
        let (mut listed_frames, mut listed) = (0u32, 0u32);
        // Of an object that two processes stored at the same time the first copy is listed; a frame may hold no other.
        let count_frame = |frame: &FrameView<'_>, offset: u64| {
            let is_listed = |(entry, slot): (FrameEntry, usize)| {
                pack.lookup(&entry.id).ok().flatten().is_some_and(|location| here(location, offset, slot))
            };
            listed_frames += u32::from(frame.entries().zip(0..).any(is_listed));
        };
        let count_object = |id: ObjectId, offset: u64, slot: usize| match pack.lookup(&id.digest()) {
            Ok(Some(location)) => {
                listed += u32::from(here(location, offset, slot));
                true
            }
            _ => false,
        };
        let damaged = self.frames(pack.file(), file_name, pack.frames_end(), buffer, found, count_frame, count_object);
        if damaged.is_empty() {
            let contradiction = |what: &str| format!("its footer does not list the {what} it holds");
            if listed_frames != pack.frame_count() {
                found.problem(Fault::Invalid, file_name, Some(pack.frames_end()), contradiction("frames"));
            } else if self.level == FsckLevel::Full && listed != pack.object_count() {
                found.problem(Fault::Invalid, file_name, Some(pack.frames_end()), contradiction("objects"));
            }
            if self.level == FsckLevel::Default {
                found.objects = before + u64::from(pack.object_count());
            }
            return;
        }
        let lies_in = |offset: u64| damaged.iter().any(|range| range.contains(&offset));
        if let Ok(entries) = pack.entries() {
            let lost = entries.flatten().filter(|entry| lies_in(entry.location.offset.into()));
            found.bad.extend(lost.map(|entry| ObjectId(entry.id.0)));
        }
    }

    /// Looks at the frames of a pack whose footer is of no use.
    fn without_footer(&self, file_name: &str, buffer: &mut Vec<u8>, found: &mut Found) {
        if self.level == FsckLevel::Quick {
            return;
        }
        let Ok(file) = self.repository.layout.shard.open(file_name, OpenOptions::READ) else { return };
        if self.header(&file).is_ok()
            && let Ok(size) = file.size()
        {
            let _ = self.frames(&file, file_name, size, buffer, found, |_, _| (), |_, _, _| true);
        }
    }

    fn open(&self, file: &File, file_name: &str, end: u64, size: u64, buffer: &mut Vec<u8>, found: &mut Found) {
        if let Err(error) = self.header(file) {
            return found.error(file_name, &error);
        }
        if size < end {
            let why = format!("it is {size} bytes long where {end} are registered");
            found.problem(Fault::Damaged, file_name, Some(size), why);
        }
        if self.level > FsckLevel::Quick {
            let damaged = self.frames(file, file_name, end.min(size), buffer, found, |_, _| (), |_, _, _| true);
            if damaged.is_empty() {
                return;
            }
            // Heads and tables may be whole where payloads are not: they name what lay there.
            let again = self.repository.layout.shard.open(file_name, OpenOptions::READ).ok();
            let listed = again.and_then(|file| {
                OpenPack::list(file, self.ordinal, &self.repository.id().digest(), end.min(size)).ok()
            });
            if let Some((pack, _)) = listed {
                let lies_in = |offset: u64| damaged.iter().any(|range| range.contains(&offset));
                let lost = pack.table().entries().iter().filter(|entry| lies_in(entry.location.offset.into()));
                found.bad.extend(lost.map(|entry| ObjectId(entry.id.0)));
            }
        }
    }

    /// Checks the frames up to `end`; `on_frame` is told of each that is whole and where it begins, `is_listed` is asked for
    /// each object at the full level. Returns what is damaged.
    #[allow(clippy::too_many_arguments, reason = "a file, what is found in it, and two listeners")]
    fn frames(
        &self,
        file: &File,
        file_name: &str,
        end: u64,
        buffer: &mut Vec<u8>,
        found: &mut Found,
        mut on_frame: impl FnMut(&FrameView<'_>, u64),
        mut is_listed: impl FnMut(ObjectId, u64, usize) -> bool,
    ) -> Vec<std::ops::Range<u64>> {
        let mut damaged = Vec::new();
        let walked = walk_frames(file, end, buffer, |offset, frame| {
            let frame = match frame {
                Ok(frame) => frame,
                Err(range) => {
                    let why = format!("{} bytes hold no whole frame", range.end - range.start);
                    found.problem(Fault::Damaged, file_name, Some(offset), why);
                    damaged.push(range);
                    return;
                }
            };
            found.frames += 1;
            on_frame(&frame, offset);
            found.bytes += frame.as_bytes().len() as u64;
            self.progress.advance(frame.as_bytes().len() as u64);
            if self.level == FsckLevel::Full {
                self.objects(&frame, (file_name, offset), found, &mut is_listed);
            } else {
                found.objects += u64::from(frame.header().count);
            }
        });
        if let Err(error) = walked {
            found.error(file_name, &pack_error(error));
        }
        damaged
    }

    fn objects(
        &self,
        frame: &FrameView<'_>,
        place: (&str, u64),
        found: &mut Found,
        is_listed: &mut dyn FnMut(ObjectId, u64, usize) -> bool,
    ) {
        let mut slot = 0;
        let decoded = for_each_object(frame, |id, kind, payload| {
            found.objects += 1;
            let at = slot;
            slot += 1;
            let Some(kind) = kind else {
                return found.object(Fault::Invalid, place, id, "it is of an unknown kind".to_owned());
            };
            if kind.id(payload) != id {
                found.bad.insert(id);
                return found.object(Fault::Damaged, place, id, "its bytes hash to another id".to_owned());
            }
            if kind.is_data() != (self.ordinal.class() == shard_storage::pack::Class::Data) {
                found.object(Fault::Invalid, place, id, format!("a {kind} lies in a pack of the other class"));
            }
            if kind != ObjectKind::Chunk
                && let Some(why) = form_fault(id, kind, payload)
            {
                found.object(Fault::Invalid, place, id, why);
            }
            if !is_listed(id, place.1, at) {
                found.object(Fault::Invalid, place, id, "the footer does not list it".to_owned());
            }
        });
        if let Err(why) = decoded {
            found.bad.extend(frame.entries().map(|entry| ObjectId(entry.id.0)));
            found.problem(Fault::Damaged, place.0, Some(place.1), why);
        }
    }
}
