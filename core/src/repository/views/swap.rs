//! Building views anew, beside the old ones.

use std::time::Duration;

use shard_storage::backend::{self, BackendError, BackendKind, OpenMode};
use shard_storage::vfs::{Dir, FileKind};

use super::ViewError;
use crate::object::ObjectStore;
use crate::repository::{Repository, State, layout, random};
use crate::{Error, Result};

/// How long a reader that met a damaged view waits for writers before it does without.
const PATIENCE: Duration = Duration::from_millis(200);

impl Repository {
    /// Builds the views of the configured backend beside the old ones and swaps them; those of other backends go.
    ///
    /// Everyone who has the old ones open goes on with what they were. The write permit is held.
    pub(crate) fn rebuild_views(&self, state: &State, store: &ObjectStore) -> std::result::Result<(), ViewError> {
        let kind = self.settings.backend;
        self.close_backend();
        let old = self.views_dir(true)?.expect("made where it was absent");
        if kind == BackendKind::Sled && super::exists(&old, kind) {
            // Whoever has it open would go on writing to what nobody reads.
            if let Err(error @ BackendError::Busy { .. }) = backend::open(kind, &old, OpenMode::ReadWrite) {
                return Err(error.into());
            }
        }
        let tmp = &self.layout.tmp;
        let unique = u64::from_le_bytes(random()?);
        let (beside, aside) = (format!("views-{unique:016x}"), format!("views-old-{unique:016x}"));
        tmp.create_dir(&beside, 0o777).map_err(Error::from)?;
        let swapped = self.build_views(tmp, &beside, state, store).and_then(|()| {
            let shard = &self.layout.shard;
            let swap = || -> Result<()> {
                shard.rename(layout::VIEWS, tmp, &aside)?;
                // A crash in between leaves no views, which are then made again.
                tmp.rename(&beside, shard, layout::VIEWS)?;
                Ok(())
            };
            Ok(swap()?)
        });
        for leftover in [&beside, &aside] {
            remove_tree(tmp, leftover);
        }
        self.close_backend();
        swapped
    }

    fn build_views(
        &self,
        tmp: &Dir,
        beside: &str,
        state: &State,
        store: &ObjectStore,
    ) -> std::result::Result<(), ViewError> {
        let kind = self.settings.backend;
        if kind == BackendKind::Memory {
            return Ok(());
        }
        let dir = tmp.open_dir(beside).map_err(Error::from)?;
        let backend = backend::open(kind, &dir, OpenMode::ReadWrite)?;
        self.catch_up(&*backend, None, state, store)?;
        Ok(backend.flush()?)
    }

    /// Replaces views that cannot be read, unless somebody is writing.
    pub(super) fn replace_damaged_views(
        &self,
        state: &State,
        store: &ObjectStore,
    ) -> std::result::Result<(), ViewError> {
        let _permit = self.queue.acquire(&self.layout, "rebuild views", PATIENCE)?;
        if state.settled {
            return self.rebuild_views(state, store);
        }
        let state = self.settled_state()?;
        let store = self.store(&state)?;
        self.rebuild_views(&state, &store)
    }
}

/// Removes a directory and all it holds, as far as that goes.
pub(crate) fn remove_tree(parent: &Dir, name: &str) {
    let Ok(dir) = parent.open_dir(name) else { return };
    for entry in dir.list().unwrap_or_default() {
        let Some(name) = entry.name.to_str() else { continue };
        match entry.kind {
            FileKind::Directory => remove_tree(&dir, name),
            _ => drop(dir.unlink(name)),
        }
    }
    let _ = parent.remove_dir(name);
}

/// Adds up the sizes of the files beneath a directory, in bytes.
#[allow(dead_code)]
pub(super) fn size_of(dir: &Dir) -> u64 {
    let mut total = 0;
    for entry in dir.list().unwrap_or_default() {
        total += match entry.kind {
            FileKind::Directory => dir.open_dir(&entry.name).map_or(0, |below| size_of(&below)),
            _ => dir.metadata(&entry.name).map_or(0, |metadata| metadata.size),
        };
    }
    total
}
