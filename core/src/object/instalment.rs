//! Instalments: of a long ingest, chunks count before it ends.
//!
//! What was stored so far is registered every so often, so that an ingest that is killed is taken up again by
//! deduplication instead of beginning anew. Only packs of chunks are: chunks name nothing, whereas a tree or manifest
//! that counts stands for everything it reaches, which may not be here yet.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use shard_storage::pack::SealedPack;

use crate::Result;

/// How much later than the one before an instalment comes at most, while chunks are stored.
const INTERVAL: Duration = Duration::from_secs(10);

/// Makes packs count.
pub(crate) trait Registrar: Sync + Debug {
    /// Registers packs of chunks, whose names are durable, in a transaction of their own. Gives them back where others
    /// keep the right to write to themselves.
    ///
    /// # Errors
    /// Whatever a transaction meets; the packs are gone then.
    fn register(&self, packs: Vec<SealedPack>) -> Result<Vec<SealedPack>>;
}

/// When a staging's instalments come, and where they go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instalments<'s> {
    pub(crate) registrar: &'s dyn Registrar,
    /// Bytes of new objects, before compression, between two of them at most.
    pub(crate) every: u64,
    /// A pack of at least so many bytes is ended for one.
    pub(crate) least: u64,
}

/// When the last one was.
#[derive(Debug)]
pub(super) struct LastInstalment {
    at: Instant,
    new_bytes: u64,
    /// One is being registered.
    running: bool,
}

impl Default for LastInstalment {
    fn default() -> Self {
        Self { at: Instant::now(), new_bytes: 0, running: false }
    }
}

impl LastInstalment {
    /// Says whether the next one is due, and that it begins now.
    pub(super) fn begin_next(&mut self, every: u64, new_bytes: u64) -> bool {
        let due = !self.running && (new_bytes - self.new_bytes >= every || self.at.elapsed() >= INTERVAL);
        if due {
            *self = Self { at: Instant::now(), new_bytes, running: true };
        }
        due
    }

    /// Says that it has ended.
    pub(super) fn end(&mut self) {
        self.running = false;
    }
}
