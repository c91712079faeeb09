//! Registering the chunks of an ingest that has not ended.

use std::time::Duration;

use shard_storage::pack::SealedPack;

use super::{Repository, Transaction};
use crate::object::StagedObjects;
use crate::object::instalment::{Instalments, Registrar};
use crate::{Error, Result};

/// How long an instalment waits for its turn to write: the ingest loses little by trying again with the next.
const PATIENCE: Duration = Duration::from_secs(1);

impl Repository {
    pub(super) fn instalments(&self) -> Instalments<'_> {
        let trial = &self.settings.trial;
        Instalments { registrar: self, every: trial.instalment_bytes, least: trial.instalment_least }
    }
}

impl Registrar for Repository {
    fn register(&self, packs: Vec<SealedPack>) -> Result<Vec<SealedPack>> {
        if self.settings.dry_run {
            return Ok(packs);
        }
        let staged = StagedObjects::of_packs(&self.layout.shard.open_dir("objects")?, packs);
        self.check_writable()?;
        let permit = match self.queue.acquire(&self.layout, &self.settings.command, PATIENCE) {
            Err(Error::RepositoryBusy { .. }) => return Ok(staged.into_packs()),
            other => other?,
        };
        tracing::debug!(packs = staged.packs.len(), "what was stored so far is registered");
        let mut transaction = Transaction::begin(self, &permit, &self.settings.command)?;
        transaction.without_ref_set();
        transaction.add_objects(staged);
        transaction.commit()?;
        Ok(Vec::new())
    }
}
