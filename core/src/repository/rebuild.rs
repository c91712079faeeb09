//! Rebuilding what can be derived: views from history, the pack index from footers, the catalog from pack files.
//!
//! Each is written beside what is there and put in its place at once. The catalog is replaced by a transaction, since the
//! write-ahead log knows where it ends. Packs themselves are never changed: of one whose footer is of no use the good
//! frames are copied, and it is set aside.

use std::collections::BTreeMap;

use shard_storage::backend::BackendKind;
use shard_storage::framed_log::{FramedLog, LogId, LogKind, LogOptions};
use shard_storage::pack::index::{self, RunInfo, Source, run_file_name, run_number};
use shard_storage::pack::{
    Class, Completeness, FrameView, PackHeader, PackOrdinal, PackReader, PackWriter, SealedPack,
};
use shard_storage::vfs::{Dir, File, LockKind, OpenOptions};

use super::pack_files::{list_packs, walk_frames};
use super::transaction::{create_open_pack, sync_failure};
use super::views::swap;
use super::{Repository, State, Transaction, WritePermit, layout};
use crate::ids::ObjectId;
use crate::object::catalog::{Catalog, PackChange, PackState};
use crate::object::frame_objects::for_each_object;
use crate::object::store::{pack_error, pack_file};
use crate::progress::{Progress, Unit};
use crate::{Error, Result};

/// Largest write-ahead log that is kept a copy of.
const MAX_LOG: u64 = 64 << 20;

/// What is rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RebuildOptions {
    /// The views, in the configured backend; those of other backends go.
    pub views: bool,
    /// The catalog, from the packs' footers.
    pub catalog: bool,
    /// The runs of the pack index.
    pub index: bool,
    /// Trusts no footer: each is held against the frames, and written anew where it does not fit.
    pub from_frames: bool,
}

impl Default for RebuildOptions {
    fn default() -> Self {
        Self { views: true, catalog: true, index: true, from_frames: false }
    }
}

impl RebuildOptions {
    /// Nothing yet, for those who want one thing.
    pub const NOTHING: Self = Self { views: false, catalog: false, index: false, from_frames: false };
}

/// A file that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The file under `.shard/`.
    pub file: String,
    /// Why.
    pub why: String,
}

/// What was rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RebuildReport {
    /// `views`, `catalog`, `index`: what was made anew.
    pub views: Vec<&'static str>,
    /// The backend that holds the views.
    pub backend: BackendKind,
    /// Packs listed.
    pub packs: u64,
    /// Objects in them; one that lies in two packs counts twice.
    pub objects: u64,
    /// Packs whose good frames were copied to new ones; what was left of them lies in `quarantine/`.
    pub salvaged: Vec<String>,
    /// Packs whose objects cannot be listed. Nothing was done to them; `from_frames` may save what they hold.
    pub left_out: Vec<LeftOut>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

/// What became of a pack file of which nothing was known.
#[derive(Debug)]
pub(super) enum Adopted {
    /// It is complete: its objects.
    Sealed(PackChange, u32),
    /// Its good frames are in this new pack.
    Salvaged(SealedPack),
    /// It grows no more and holds nothing.
    Empty,
    /// A living process writes it.
    Locked,
    /// It is the shared pack of its class, or was, up to this length.
    Unsealed,
}

impl Repository {
    /// Makes what can be derived anew, while nobody writes; readers go on with what they have open.
    ///
    /// Works where catalog, index and views are damaged or gone. Reads every footer, with `from_frames` every frame.
    ///
    /// # Errors
    /// [`Error::RepositoryBusy`]; damage of the truth, which nothing here can repair; [`Error::BackendBusy`] where another
    /// process holds the views; [`Error::Cancelled`] before anything was replaced.
    pub fn rebuild(&self, options: RebuildOptions, progress: &dyn Progress) -> Result<RebuildReport> {
        let permit = self.write_permit("rebuild")?;
        let mut report = RebuildReport { backend: self.settings.backend, ..RebuildReport::default() };
        if options.views {
            self.forget_views_ahead(&mut report)?;
        }
        let mut state = self.settled_state()?;
        if options.catalog || options.from_frames {
            self.rebuild_catalog(&permit, options.from_frames, &mut report, progress)?;
            // The record that replaced the catalog is not kept longer than needed.
            self.checkpoint(&permit)?;
            state = self.settled_state()?;
            report.views.push("catalog");
        }
        if options.index || options.from_frames {
            self.rebuild_index(&state, &mut report, progress)?;
            report.views.push("index");
        }
        let store = self.store(&state)?;
        if options.catalog || options.from_frames {
            report.objects += store.open_objects();
        }
        if options.views {
            self.rebuild_views(&state, &store)?;
            report.views.push("views");
        }
        Ok(report)
    }

    /// Gives up views that have seen more than the log holds, which nobody could write beside; says so, and keeps a copy
    /// of the log. Rebuilding views is how people accept the loss.
    fn forget_views_ahead(&self, report: &mut RebuildReport) -> Result<()> {
        let Ok(Some(seen)) = self.view_sequence() else { return Ok(()) };
        let log = FramedLog::open(&self.layout.shard, layout::WAL, LogKind::WAL, LogOptions::READ)?;
        let last = log.next_sequence() - 1;
        if seen <= last {
            return Ok(());
        }
        let bytes = self.layout.shard.read(layout::WAL, MAX_LOG)?;
        let quarantine = self.layout.shard.create_dir_all(layout::QUARANTINE)?;
        let copy = format!("wal-{last}-{seen}.log");
        if quarantine.metadata_optional(&copy)?.is_none() {
            let file = quarantine.open(&copy, OpenOptions::CREATE_NEW)?;
            file.write_all_at(&bytes, 0)?;
            file.sync_data().map_err(sync_failure)?;
        }
        report.notes.push(format!("transactions {} to {seen} were lost; the log is kept as {copy}", last + 1));
        self.drop_views()
    }

    fn rebuild_catalog(
        &self,
        permit: &WritePermit<'_>,
        from_frames: bool,
        report: &mut RebuildReport,
        progress: &dyn Progress,
    ) -> Result<()> {
        let layout = &self.layout;
        let mut transaction = Transaction::begin(self, permit, "rebuild")?;
        transaction.without_ref_set();
        for class in Class::ALL {
            layout.shard.create_dir_all(format!("objects/{}", class.directory()))?;
        }
        let (packs, _) = list_packs(&layout.shard)?;
        let before = self.catalog(&transaction.state).ok();
        progress.phase("catalog", Some(packs.len() as u64), Unit::Items);
        let objects = layout.shard.open_dir("objects")?;
        let (mut changes, mut new, mut aside) = (Vec::new(), Vec::new(), Vec::new());
        let mut open: BTreeMap<Class, PackOrdinal> = BTreeMap::new();
        let mut greatest: BTreeMap<Class, PackOrdinal> = BTreeMap::new();
        for ordinal in packs.keys().rev() {
            greatest.entry(ordinal.class()).or_insert(*ordinal);
        }
        for &ordinal in packs.keys().rev() {
            if progress.is_cancelled() {
                return Err(Error::Cancelled);
            }
            progress.advance(1);
            let file = pack_file(ordinal);
            let first = next_ordinal(&greatest, ordinal.class());
            // The newest pack that is registered and unsealed is the shared one.
            let registered = transaction.state.ends.contains_key(&file);
            let may_be_open = registered && !open.contains_key(&ordinal.class());
            match self.adopt(&objects, ordinal, first, may_be_open, from_frames) {
                Ok(Adopted::Sealed(change, count)) => {
                    report.objects += u64::from(count);
                    changes.push(change);
                }
                Ok(Adopted::Unsealed) => {
                    open.insert(ordinal.class(), ordinal);
                    changes.push(PackChange { ordinal, state: PackState::Open, length: 0 });
                }
                Ok(Adopted::Salvaged(pack)) => {
                    greatest.insert(ordinal.class(), pack.reader().ordinal());
                    report.objects += u64::from(pack.reader().object_count());
                    changes.push(sealed_change(pack.reader())?);
                    new.push(pack);
                    report.salvaged.push(file);
                    aside.push(ordinal);
                }
                Ok(Adopted::Locked) => report.notes.push(format!("{file} is being written and is not listed")),
                Ok(Adopted::Empty) => {}
                Err(error @ (Error::DurabilityUnknown { .. } | Error::Disk(_))) => return Err(error),
                Err(error) => {
                    // What counted goes on counting, so that what it held is not forgotten. Where nobody knows what
                    // counted, whatever has a header does: the rest may never have been written.
                    let counted = match &before {
                        Some(before) => before.state(ordinal).is_some(),
                        None => PackHeader::read(
                            &objects.open(ordinal.path(), OpenOptions::READ)?,
                            ordinal,
                            &self.id().digest(),
                        )
                        .is_ok(),
                    };
                    if counted {
                        changes.push(PackChange { ordinal, state: PackState::Sealed, length: packs[&ordinal] });
                    }
                    report.left_out.push(LeftOut { file, why: error.to_string() });
                }
            }
        }
        for class in Class::ALL {
            if !open.contains_key(&class) {
                let ordinal = create_open_pack(layout, self.id(), next_ordinal(&greatest, class))?;
                transaction.begin_pack(ordinal);
                changes.push(PackChange { ordinal, state: PackState::Open, length: 0 });
            }
        }
        changes.sort_unstable_by_key(|change| change.ordinal);
        report.packs = changes.len() as u64;
        let random = |source| {
            let path = layout.path(layout::CATALOG);
            Error::Disk(shard_storage::vfs::VfsError { operation: "draw random bytes for", path, source })
        };
        let (log, end) = Catalog::encode_log(LogId::random().map_err(random)?, &changes);
        transaction.replace_catalog(log, end);
        transaction.commit()?;
        for pack in new {
            let _ = pack.release();
        }
        aside.into_iter().for_each(|ordinal| self.quarantine_pack(ordinal));
        Ok(())
    }

    /// Sees what can be made of a pack file. `first` is where names for a new pack begin.
    pub(super) fn adopt(
        &self,
        objects: &Dir,
        ordinal: PackOrdinal,
        first: PackOrdinal,
        may_be_open: bool,
        from_frames: bool,
    ) -> Result<Adopted> {
        let repository = self.id().digest();
        let file = objects.open(ordinal.path(), OpenOptions::READ)?;
        // Its writer, if it lives, holds an exclusive lock until the pack is registered.
        if !file.try_lock(LockKind::Shared)? {
            return Ok(Adopted::Locked);
        }
        let header = match PackHeader::read(&file, ordinal, &repository) {
            Ok(header) => header,
            // Nothing is written before the header is.
            Err(_) if file.size()? <= shard_storage::pack::PACK_HEADER_LENGTH as u64 => return Ok(Adopted::Empty),
            // A header that never reached the disk, or was damaged since: frames speak for themselves.
            Err(error) if error.is_damage() && from_frames => return self.salvage(objects, &file, first),
            Err(error) => return Err(pack_error(error)),
        };
        if !header.sealed {
            return if may_be_open { Ok(Adopted::Unsealed) } else { self.salvage(objects, &file, first) };
        }
        let reader = PackReader::open(file, ordinal, &repository).and_then(|pack| pack.verify_footer().map(|()| pack));
        match reader {
            // Sealing was interrupted before it was registered: the pack is still the shared one.
            Err(_) if may_be_open => Ok(Adopted::Unsealed),
            Ok(pack) if !from_frames || frames_are_listed(&pack)? => {
                Ok(Adopted::Sealed(sealed_change(&pack)?, pack.object_count()))
            }
            Err(error) if !from_frames => Err(pack_error(error)),
            _ => self.salvage(objects, &objects.open(ordinal.path(), OpenOptions::READ)?, first),
        }
    }

    /// Copies the frames of a pack that decode and whose objects hash to their ids into a new pack.
    fn salvage(&self, objects: &Dir, file: &File, first: PackOrdinal) -> Result<Adopted> {
        let end = file.size()?;
        let repository = self.id().digest();
        let mut writer = PackWriter::create(objects, first, repository, Completeness::Complete).map_err(pack_error)?;
        let mut failure = None;
        let walked = walk_frames(file, end, &mut Vec::new(), |_, frame| {
            let Ok(frame) = frame else { return };
            if failure.is_none() && is_proven(&frame) {
                failure = writer.append_frame(frame.as_bytes()).err();
            }
        });
        if let Some(error) = walked.err().or(failure) {
            let _ = writer.discard(objects);
            return Err(pack_error(error));
        }
        if writer.is_empty() {
            writer.discard(objects).map_err(pack_error)?;
            return Ok(Adopted::Empty);
        }
        let sealed = writer.seal().map_err(pack_error)?;
        objects.open_dir(sealed.reader().ordinal().directory())?.sync().map_err(sync_failure)?;
        Ok(Adopted::Salvaged(sealed))
    }

    /// Sets a pack aside that nothing registers any more.
    pub(super) fn quarantine_pack(&self, ordinal: PackOrdinal) {
        let shard = &self.layout.shard;
        let moved = shard
            .create_dir_all(layout::QUARANTINE)
            .and_then(|quarantine| shard.rename(pack_file(ordinal), &quarantine, format!("{ordinal}.pack")));
        if let Err(error) = moved {
            tracing::warn!(%error, "the old pack stays where it is");
        }
    }

    /// Makes new runs from footers, then removes the old ones. The write permit is held.
    fn rebuild_index(&self, state: &State, report: &mut RebuildReport, progress: &dyn Progress) -> Result<()> {
        let repository = self.id().digest();
        let catalog = self.catalog(state)?;
        let objects = self.layout.shard.open_dir("objects")?;
        let dir = objects.create_dir_all("index")?;
        let old: Vec<u64> = dir.list()?.iter().filter_map(|entry| entry.name.to_str().and_then(run_number)).collect();
        let mut number = old.iter().copied().max().unwrap_or(0);
        let open = |ordinal: PackOrdinal| -> Result<PackReader> {
            let file = objects.open(ordinal.path(), OpenOptions::READ)?;
            PackReader::open(file, ordinal, &repository).map_err(pack_error)
        };
        let mut uncovered = Vec::new();
        for (ordinal, is, _) in catalog.packs() {
            if is != PackState::Sealed {
                continue;
            }
            match open(ordinal).and_then(|pack| pack.verify_footer().map_err(pack_error).map(|()| pack)) {
                Ok(pack) => uncovered.push((ordinal, pack.object_count())),
                Err(error) => report.left_out.push(LeftOut { file: pack_file(ordinal), why: error.to_string() }),
            }
        }
        if report.packs == 0 {
            report.packs = uncovered.len() as u64;
            report.objects = uncovered.iter().map(|(_, count)| u64::from(*count)).sum();
        }
        progress.phase("index", Some(uncovered.len() as u64), Unit::Items);
        let mut runs: Vec<RunInfo> = Vec::new();
        loop {
            let counts: Vec<u32> = uncovered.iter().map(|(_, count)| *count).collect();
            let Some(plan) = index::plan_merge(&runs, &counts) else { break };
            let footers = uncovered[..plan.footers].iter().map(|(ordinal, _)| open(*ordinal));
            let footers = footers.collect::<Result<Vec<_>>>()?;
            let merged = plan.runs.iter().map(|number| index::Run::open(&dir, *number, &repository));
            let merged = merged.collect::<Result<Vec<_>, _>>().map_err(pack_error)?;
            let sources: Vec<_> = footers.iter().map(Source::Footer).chain(merged.iter().map(Source::Run)).collect();
            number += 1;
            let made = index::merge(&dir, number, &repository, &sources, &|_| true).map_err(pack_error)?;
            for run in &plan.runs {
                dir.unlink(run_file_name(*run))?;
            }
            runs.retain(|run| !plan.runs.contains(&run.number));
            runs.push(made);
            progress.advance(plan.footers as u64);
            uncovered.drain(..plan.footers);
        }
        for run in old {
            dir.unlink(run_file_name(run))?;
        }
        Ok(())
    }

    /// Removes every view.
    fn drop_views(&self) -> Result<()> {
        self.close_backend();
        swap::remove_tree(&self.layout.shard, layout::VIEWS);
        self.layout.shard.create_dir_all(layout::VIEWS)?;
        Ok(())
    }
}

fn next_ordinal(greatest: &BTreeMap<Class, PackOrdinal>, class: Class) -> PackOrdinal {
    greatest.get(&class).and_then(|ordinal| ordinal.next()).unwrap_or(PackOrdinal::first(class))
}

pub(super) fn sealed_change(pack: &PackReader) -> Result<PackChange> {
    Ok(PackChange { ordinal: pack.ordinal(), state: PackState::Sealed, length: pack.file().size()? })
}

/// Says whether the footer lists what the frames hold, and nothing else.
fn frames_are_listed(pack: &PackReader) -> Result<bool> {
    let (mut frames, mut listed, mut fits, mut damaged) = (0u32, 0u32, true, false);
    walk_frames(pack.file(), pack.frames_end(), &mut Vec::new(), |offset, frame| {
        let Ok(frame) = frame else {
            damaged = true;
            return;
        };
        // Of an object that two processes stored at the same time the first copy is listed; a frame may hold no other.
        let before = listed;
        for (entry, slot) in frame.entries().zip(0u16..) {
            match pack.lookup(&entry.id) {
                Ok(Some(location)) => {
                    listed += u32::from(u64::from(location.offset) == offset && location.slot == slot);
                }
                _ => fits = false,
            }
        }
        frames += u32::from(listed > before);
    })
    .map_err(pack_error)?;
    // Damaged frames are listed and not found, which is for `fsck` to report.
    Ok(fits && (damaged || frames == pack.frame_count() && listed == pack.object_count()))
}

fn is_proven(frame: &FrameView<'_>) -> bool {
    let mut proven = true;
    let decoded = for_each_object(frame, |id: ObjectId, kind, payload| {
        proven &= kind.is_some_and(|kind| kind.id(payload) == id);
    });
    proven && decoded.is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shard_storage::vfs::Real;

    use super::*;
    use crate::object::{ObjectKind, ObjectSink};
    use crate::progress::Silent;
    use crate::repository::Settings;
    use crate::repository::init::InitOptions;

    fn put(repository: &Repository, payload: &[u8]) -> ObjectId {
        let state = repository.state().unwrap();
        let store = repository.store(&state).unwrap();
        let staging = repository.staging(&store);
        let mut writer = staging.writer();
        let id = writer.put(ObjectKind::Chunk, payload).unwrap();
        // Enough for packs of its own, so that the catalog grows.
        for number in 0..payload.len() as u64 / 100 {
            let mut filler = vec![0; 60_000];
            blake3::Hasher::new().update(&number.to_le_bytes()).update(payload).finalize_xof().fill(&mut filler);
            writer.put(ObjectKind::Chunk, &filler).unwrap();
        }
        writer.finish().unwrap();
        let staged = staging.finish().unwrap();
        let permit = repository.write_permit("test").unwrap();
        let mut transaction = repository.transaction(&permit).unwrap();
        transaction.add_objects(staged);
        transaction.commit().unwrap();
        id
    }

    #[test]
    fn a_replaced_catalog_grows_and_is_recovered() {
        let place = tempfile::tempdir().unwrap();
        let open = || Repository::open(Arc::new(Real), place.path(), Settings::default()).unwrap();
        let (repository, _) =
            Repository::init(Arc::new(Real), place.path(), InitOptions::default(), Settings::default()).unwrap();
        let shard = place.path().join(".shard");
        let mut ids = vec![put(&repository, &[1; 10_000]), put(&repository, b"small")];
        let replace = |repository: &Repository| {
            let permit = repository.write_permit("test").unwrap();
            let mut report = RebuildReport::default();
            repository.rebuild_catalog(&permit, false, &mut report, &Silent).unwrap();
            assert!(report.left_out.is_empty(), "{report:?}");
        };
        std::fs::write(shard.join("objects/catalog.log"), b"nothing").unwrap();
        replace(&repository);
        ids.push(put(&repository, &[2; 10_000]));
        let replaced = std::fs::read(shard.join("objects/catalog.log")).unwrap();
        // As after a power cut: what was put in place is gone, and the log holds old appends, a new catalog and new ones.
        for catalog in [&b""[..], b"SHRD", &replaced[..replaced.len() - 9], &replaced] {
            std::fs::write(shard.join("applied"), b"").unwrap();
            std::fs::write(shard.join("objects/catalog.log"), catalog).unwrap();
            let reader = open();
            let state = reader.state().unwrap();
            let store = reader.store(&state).unwrap();
            for id in &ids {
                store.get(*id, ObjectKind::Chunk).unwrap();
            }
            let writer = open();
            ids.push(put(&writer, &(ids.len() as u64).to_le_bytes()));
            let store = writer.store(&writer.state().unwrap()).unwrap();
            for id in &ids {
                store.get(*id, ObjectKind::Chunk).unwrap();
            }
            // A pack of its own after recovery, so that the new catalog grows again.
            ids.push(put(&writer, &[ids.len() as u8; 10_000]));
        }
        let report = open().fsck(crate::repository::FsckLevel::Full, &Silent).unwrap();
        assert!(report.is_sound(), "{report:#?}");
    }
}
