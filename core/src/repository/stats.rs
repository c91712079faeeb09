//! What the repository takes up.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use shard_storage::backend::BackendKind;
use shard_storage::pack::{Class, PackHeader, PackOrdinal, PackReader, TableScan};
use shard_storage::vfs::{File, OpenOptions};

use super::{Repository, layout};
use crate::Result;
use crate::object::ObjectKind;
use crate::object::catalog::PackState;
use crate::object::store::{pack_error, pack_file};

/// Packs of one class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassStats {
    /// `data` or `meta`.
    pub class: &'static str,
    /// Packs.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Objects of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindStats {
    /// The kind.
    pub kind: ObjectKind,
    /// How many; one that lies in two packs counts twice.
    pub objects: u64,
    /// Their bytes before compression.
    pub bytes: u64,
}

/// What the repository takes up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageStats {
    /// The backend that holds the views.
    pub backend: BackendKind,
    /// Packs that count, data first.
    pub classes: Vec<ClassStats>,
    /// Bytes of those packs.
    pub stored_bytes: u64,
    /// Objects in them.
    pub objects: u64,
    /// Their bytes before compression.
    pub logical_bytes: u64,
    /// By kind, those there are none of left out.
    pub kinds: Vec<KindStats>,
    /// Runs of the pack index.
    pub runs: u64,
    /// Bytes of the pack index.
    pub index_bytes: u64,
    /// Bytes of the write-ahead log.
    pub wal_bytes: u64,
    /// Bytes of views on disk.
    pub view_bytes: u64,
    /// Bytes an unprivileged user may still write.
    pub free_bytes: u64,
    /// What commands have counted, by name.
    pub counters: BTreeMap<String, u64>,
}

type Kinds = [(u64, u64); ObjectKind::ALL.len()];

impl Repository {
    /// Adds up what is stored. Takes no lock. Reads the head of every frame, some 3 KB for each 128 KiB of content, on
    /// `settings.threads` threads.
    ///
    /// # Errors
    /// Damage that keeps the packs from being listed. A pack that cannot be read counts by its bytes alone.
    pub fn stats(&self) -> Result<StorageStats> {
        let state = self.state()?;
        let catalog = self.catalog(&state)?;
        let packs: Vec<(PackOrdinal, u64)> = catalog
            .packs()
            .map(|(ordinal, is, length)| match is {
                PackState::Open => (ordinal, state.end(&pack_file(ordinal)).offset),
                _ => (ordinal, length),
            })
            .collect();
        let kinds = self.count_kinds(&packs);
        let classes: Vec<ClassStats> = Class::ALL
            .into_iter()
            .map(|class| {
                let of_class = packs.iter().filter(|(ordinal, _)| ordinal.class() == class);
                let (packs, bytes) = of_class.fold((0, 0), |(packs, bytes), (_, length)| (packs + 1, bytes + length));
                ClassStats { class: class.directory(), packs, bytes }
            })
            .collect();
        let shard = &self.layout.shard;
        let runs = shard.open_dir(layout::RUNS).and_then(|dir| {
            let entries = dir.list()?;
            Ok(entries.iter().filter_map(|entry| Some(dir.metadata(&entry.name).ok()?.size)).collect::<Vec<u64>>())
        });
        let runs = runs.unwrap_or_default();
        let kinds: Vec<KindStats> = ObjectKind::ALL
            .into_iter()
            .zip(kinds)
            .filter(|(_, (objects, _))| *objects > 0)
            .map(|(kind, (objects, bytes))| KindStats { kind, objects, bytes })
            .collect();
        Ok(StorageStats {
            backend: self.settings.backend,
            stored_bytes: classes.iter().map(|class| class.bytes).sum(),
            classes,
            objects: kinds.iter().map(|kind| kind.objects).sum(),
            logical_bytes: kinds.iter().map(|kind| kind.bytes).sum(),
            kinds,
            runs: runs.len() as u64,
            index_bytes: runs.iter().sum(),
            wal_bytes: shard.metadata(layout::WAL)?.size,
            view_bytes: self.view_bytes(),
            free_bytes: shard.filesystem()?.free,
            counters: self.counters(),
        })
    }

    fn count_kinds(&self, packs: &[(PackOrdinal, u64)]) -> Kinds {
        let (next, total) = (AtomicUsize::new(0), Mutex::new(Kinds::default()));
        std::thread::scope(|scope| {
            for _ in 0..self.settings.threads.clamp(1, packs.len().max(1)) {
                scope.spawn(|| {
                    let mut counted = Kinds::default();
                    while let Some((ordinal, length)) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let walked = self.count_pack(*ordinal, *length, &mut counted);
                        if let Err(error) = walked {
                            tracing::warn!(pack = %ordinal, %error, "pack is not counted");
                        }
                    }
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    for (total, counted) in total.iter_mut().zip(counted) {
                        *total = (total.0 + counted.0, total.1 + counted.1);
                    }
                });
            }
        });
        total.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_pack(&self, ordinal: PackOrdinal, length: u64, kinds: &mut Kinds) -> Result<()> {
        let file = self.layout.shard.open(pack_file(ordinal), OpenOptions::READ)?;
        let repository = self.id().digest();
        let header = PackHeader::read(&file, ordinal, &repository).map_err(pack_error)?;
        if !header.sealed {
            return count(&file, length, kinds);
        }
        let pack = PackReader::open(file, ordinal, &repository).map_err(pack_error)?;
        count(pack.file(), pack.frames_end(), kinds)
    }
}

fn count(file: &File, end: u64, kinds: &mut Kinds) -> Result<()> {
    for table in TableScan::new(file, end) {
        let (_, _, entries) = table.map_err(pack_error)?;
        for entry in entries {
            if let Some((objects, bytes)) = kinds.get_mut(usize::from(entry.kind)) {
                *objects += 1;
                *bytes += u64::from(entry.length);
            }
        }
    }
    Ok(())
}
