//! History: commits, the refs that name them, and how people name both.
//!
//! [`History`] reads: it joins one transaction's [`State`] with its objects, so that everything it answers belongs
//! together. What moves branches and tags are methods of [`Repository`], each a transaction of its own.

pub mod branch;
pub mod commit;
pub mod dag;
pub mod log;
pub mod operation;
pub mod peer;
pub mod ref_name;
pub mod ref_report;
pub mod refs;
pub mod resolve;
pub mod revision;
pub mod show;
pub mod tag;
mod taken_names;

use std::cell::OnceCell;

use shard_crypto::{Signed, Unverified};

use crate::Result;
use crate::object::ObjectStore;
use crate::repository::{Repository, State, Transaction};
use commit::{Commit, Trust};
use dag::Dag;
use refs::RefSet;

/// The history of one state: its refs and the commits behind them. Reading it takes no lock.
pub struct History<'a> {
    repository: &'a Repository,
    state: &'a State,
    store: &'a ObjectStore,
    /// Ref sets of others, read when first asked for.
    peers: OnceCell<Vec<RefSet>>,
}

impl std::fmt::Debug for History<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("sequence", &self.state.sequence).finish_non_exhaustive()
    }
}

impl<'a> History<'a> {
    /// Returns the state it speaks of.
    pub fn state(&self) -> &'a State {
        self.state
    }

    /// Returns the objects of that state.
    pub fn store(&self) -> &'a ObjectStore {
        self.store
    }

    /// Returns the graph of commits.
    pub fn dag(&self) -> Dag<'a> {
        Dag::new(self.store)
    }

    /// Judges a commit by who signed it. Costs the check of one signature.
    pub fn trust(&self, commit: &Signed<Commit, Unverified>) -> Trust {
        Trust::of(commit, self.repository.id(), &self.repository.genesis().creator)
    }
}

impl Repository {
    /// Joins a state with its objects, to read history.
    pub fn history<'a>(&'a self, state: &'a State, store: &'a ObjectStore) -> History<'a> {
        History { repository: self, state, store, peers: OnceCell::new() }
    }

    /// Runs `change` in a transaction of its own and commits it; an error changes nothing. Waits for the right to write.
    pub(crate) fn change_refs<T>(
        &self,
        command: &str,
        change: impl FnOnce(&mut Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        let permit = self.write_permit(command)?;
        let mut transaction = self.transaction(&permit)?;
        let report = change(&mut transaction)?;
        transaction.commit()?;
        drop(permit);
        self.tidy();
        Ok(report)
    }
}
