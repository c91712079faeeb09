//! Keeping the pack index small: footers are merged into runs.

use std::sync::Arc;

use shard_storage::pack::PackOrdinal;
use shard_storage::pack::index::{self, Source};

use super::{Repository, State};
use crate::Result;
use crate::object::catalog::{Catalog, PackState};
use crate::object::store::pack_error;

impl Repository {
    /// Says whether so many packs are in no run that searching them all would cost more than merging them.
    pub(crate) fn wants_index_merge(&self, state: &State, catalog: &Catalog) -> Result<bool> {
        let sealed = catalog.packs().filter(|(_, state, _)| *state == PackState::Sealed).count();
        if sealed <= index::MAX_UNCOVERED {
            return Ok(false);
        }
        Ok(self.store(state)?.uncovered().len() > index::MAX_UNCOVERED)
    }

    /// Merges the footers of packs that no run covers, and small runs with them. The write permit is held.
    pub(crate) fn merge_index(&self, state: &State) -> Result<()> {
        let store = self.store(state)?;
        let uncovered = store.uncovered();
        if uncovered.len() <= index::MAX_UNCOVERED {
            return Ok(());
        }
        let packs: Vec<_> = uncovered.iter().map(|ordinal| store.pack(*ordinal)).collect::<Result<_>>()?;
        let counts: Vec<u32> = packs.iter().map(|pack| pack.object_count()).collect();
        let infos: Vec<_> = store.runs().iter().map(|run| run.info()).collect();
        let Some(plan) = index::plan_merge(&infos, &counts) else { return Ok(()) };
        let merged: Vec<_> = store.runs().iter().filter(|run| plan.runs.contains(&run.info().number)).collect();
        let sources: Vec<_> = packs
            .iter()
            .map(|pack| Source::Footer(Arc::as_ref(pack)))
            .chain(merged.iter().map(|run| Source::Run(run)))
            .collect();
        let dir = store.objects().open_dir("index")?;
        // Those that cannot be read keep their numbers.
        let taken = dir.list()?.iter().filter_map(|entry| index::run_number(entry.name.to_str()?)).max();
        let number = taken.unwrap_or(0) + 1;
        let catalog = store.catalog();
        let keep = |ordinal: PackOrdinal| catalog.state(ordinal) == Some(PackState::Sealed);
        index::merge(&dir, number, &self.id().digest(), &sources, &keep).map_err(pack_error)?;
        for run in plan.runs {
            // What stays is covered twice, which costs a search and nothing else.
            let _ = dir.unlink(index::run_file_name(run));
        }
        Ok(())
    }
}
