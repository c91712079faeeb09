//! What the doctor does about what it finds.

use std::collections::BTreeMap;
use std::path::Path;

use shard_storage::atomic_file::{Sync, write_atomically};
use shard_storage::framed_log::{FramedLog, LogKind, LogOptions};
use shard_storage::lock_file::{LockFile, Slots};
use shard_storage::pack::{Class, PackOrdinal};
use shard_storage::vfs::{LockKind, OpenOptions};

use super::OLD_TEMPORARY;
use crate::canonical::Canonical;
use crate::history::operation::Operation;
use crate::object::store::pack_file;
use crate::progress::Silent;
use crate::repository::init::BALLAST;
use crate::repository::pack_files::list_packs;
use crate::repository::rebuild::{Adopted, RebuildOptions, sealed_change};
use crate::repository::transaction::sync_failure;
use crate::repository::views::swap::remove_tree;
use crate::repository::{Repository, State, Transaction, layout};
use crate::{Error, Result};

/// Largest ref, HEAD or index file.
const MAX_SLOT: u64 = 16 << 20;

impl Repository {
    pub(super) fn make_layout(&self) -> Result<()> {
        let shard = &self.layout.shard;
        for directory in layout::DIRECTORIES {
            if shard.metadata_optional(directory)?.is_none() {
                shard.create_dir(directory, if *directory == layout::KEYS { 0o700 } else { 0o777 })?;
            }
        }
        for lock in layout::LOCK_FILES {
            LockFile::open(&self.layout.locks, lock)?;
        }
        for (slots, count) in layout::SLOTS {
            Slots::create(&self.layout.locks, slots, *count)?;
        }
        shard.sync().map_err(sync_failure)
    }

    pub(super) fn protect_keys(&self) -> Result<()> {
        let shard = &self.layout.shard;
        shard.set_mode(layout::KEYS, 0o700)?;
        shard.set_mode(layout::SECRET_KEY, 0o600)?;
        let public = format!("{}\n", self.actor());
        if shard.read_optional(layout::PUBLIC_KEY, 1024)?.as_deref() != Some(public.as_bytes()) {
            write_atomically(&self.layout.tmp, shard, layout::PUBLIC_KEY, public.as_bytes(), 0o644, Sync::Full)
                .map_err(sync_failure)?;
        }
        Ok(())
    }

    pub(super) fn make_ballast(&self) -> Result<()> {
        let ballast = self.layout.shard.open(layout::BALLAST, OpenOptions::CREATE)?;
        Ok(ballast.allocate(0, BALLAST)?)
    }

    /// Brings the log in place.
    pub(super) fn settle(&self) -> Result<()> {
        let _permit = self.write_permit("doctor")?;
        self.settled_state().map(drop)
    }

    /// Returns the slots whose files are not what the operation log says, where the state cannot be read: only the log
    /// and the files are looked at.
    pub(super) fn wrong_slots_on_disk(&self) -> Result<Vec<(String, Option<Vec<u8>>)>> {
        let mut slots: BTreeMap<String, Option<Vec<u8>>> = Repository::first_slots();
        let shard = &self.layout.shard;
        FramedLog::open_with(shard, layout::OPERATIONS, LogKind::OPERATIONS, LogOptions::READ, |record| {
            if let Ok(operation) = Operation::from_bytes(&record.body) {
                slots.extend(operation.changes.into_iter().map(|change| (change.slot, change.new)));
            }
            Ok::<_, Error>(())
        })?
        .check_tail()?;
        let mut wrong = Vec::new();
        for (slot, recorded) in slots {
            if shard.read_optional(&slot, MAX_SLOT)? != recorded {
                wrong.push((slot, recorded));
            }
        }
        Ok(wrong)
    }

    /// Puts HEAD, refs and index back to what the last operation left.
    pub(super) fn restore_slots(&self) -> Result<()> {
        let _permit = self.write_permit("doctor")?;
        // What the log has beyond `applied` is put in place first; that the result cannot be read is what is repaired.
        let settled = self.settled_state();
        if let Err(error @ (Error::LogDamaged { .. } | Error::DurabilityUnknown { .. })) = settled {
            return Err(error);
        }
        let shard = &self.layout.shard;
        let quarantine = shard.create_dir_all(layout::QUARANTINE)?;
        for (slot, recorded) in self.wrong_slots()? {
            // What stands there is kept, where nobody takes it for a ref.
            let aside = format!("{}-{}", slot.replace('/', "-"), self.clock.now_ms());
            match shard.rename(&slot, &quarantine, aside) {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
            let Some(bytes) = recorded else { continue };
            if let Some(parent) = Path::new(&slot).parent().filter(|parent| !parent.as_os_str().is_empty()) {
                shard.create_dir_all(parent)?;
            }
            write_atomically(&self.layout.tmp, shard, &slot, &bytes, 0o644, Sync::Full).map_err(sync_failure)?;
        }
        Ok(())
    }

    pub(super) fn repair_catalog(&self) -> Result<()> {
        if self.state().and_then(|state| self.catalog(&state)).is_ok() {
            // It can be read; what it names is missing, which a rebuild would only hide.
            return Ok(());
        }
        let options = RebuildOptions { catalog: true, index: true, ..RebuildOptions::NOTHING };
        self.rebuild(options, &Silent).map(drop)
    }

    pub(super) fn repair_runs(&self) -> Result<()> {
        self.rebuild(RebuildOptions { index: true, ..RebuildOptions::NOTHING }, &Silent).map(drop)
    }

    pub(super) fn repair_views(&self) -> Result<()> {
        self.rebuild(RebuildOptions { views: true, ..RebuildOptions::NOTHING }, &Silent).map(drop)
    }

    /// Lists packs that nobody has registered and nobody writes.
    pub(super) fn orphans(&self, state: &State) -> Result<Vec<PackOrdinal>> {
        let catalog = self.catalog(state)?;
        let (files, _) = list_packs(&self.layout.shard)?;
        let mut orphans = Vec::new();
        for ordinal in files.into_keys().filter(|ordinal| catalog.state(*ordinal).is_none()) {
            let file = match self.layout.shard.open(pack_file(ordinal), OpenOptions::READ) {
                Ok(file) => file,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error.into()),
            };
            if file.try_lock(LockKind::Shared)? {
                orphans.push(ordinal);
            }
        }
        Ok(orphans)
    }

    /// Registers what packs of commands that were cut short hold, and removes those that hold nothing.
    pub(super) fn adopt_orphans(&self) -> Result<()> {
        let permit = self.write_permit("doctor")?;
        let mut transaction = Transaction::begin(self, &permit, "doctor")?;
        transaction.without_ref_set();
        let orphans = self.orphans(&transaction.state)?;
        let objects = self.layout.shard.open_dir("objects")?;
        let (files, _) = list_packs(&self.layout.shard)?;
        let next = |class: Class| {
            let last = files.keys().rev().find(|ordinal| ordinal.class() == class);
            last.and_then(|ordinal| ordinal.next()).unwrap_or(PackOrdinal::first(class))
        };
        let (mut changes, mut new, mut aside, mut failure) = (Vec::new(), Vec::new(), Vec::new(), None);
        for ordinal in orphans {
            let adopted = match self.adopt(&objects, ordinal, next(ordinal.class()), false, false) {
                // Of a pack whose footer is of no use, what its frames hold.
                Err(Error::FileCorrupt { .. }) => self.adopt(&objects, ordinal, next(ordinal.class()), false, true),
                other => other,
            };
            match adopted {
                Ok(Adopted::Sealed(change, _)) => changes.push(change),
                Ok(Adopted::Salvaged(pack)) => {
                    changes.push(sealed_change(pack.reader())?);
                    new.push(pack);
                    aside.push(ordinal);
                }
                Ok(Adopted::Empty) => objects.unlink(ordinal.path())?,
                Ok(Adopted::Locked | Adopted::Unsealed) => {}
                Err(error) => failure = Some(error),
            }
        }
        transaction.change_packs(changes);
        transaction.commit()?;
        for pack in new {
            let _ = pack.release();
        }
        // What was never registered, and whose good frames are elsewhere now.
        for ordinal in aside {
            self.quarantine_pack(ordinal);
        }
        failure.map_or(Ok(()), Err)
    }

    pub(super) fn old_temporaries(&self) -> Result<Vec<String>> {
        let now = i64::try_from(self.clock.now_ms()).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        let mut old = Vec::new();
        for entry in self.layout.tmp.list()? {
            let Some(name) = entry.name.to_str() else { continue };
            if self.layout.tmp.metadata(name).is_ok_and(|file| file.mtime_ns < now - OLD_TEMPORARY) {
                old.push(name.to_owned());
            }
        }
        Ok(old)
    }

    pub(super) fn sweep_old_temporaries(&self) -> Result<()> {
        for name in self.old_temporaries()? {
            if self.layout.tmp.unlink(&name).is_err() {
                remove_tree(&self.layout.tmp, &name);
            }
        }
        Ok(())
    }
}
