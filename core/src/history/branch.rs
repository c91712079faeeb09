//! Branches: list, create, rename, delete, follow.

use super::History;
use super::ref_name::RefName;
use super::ref_report::{RefInfo, RefUpdate, check_room};
use super::refs::Head;
use super::revision::Revision;
use super::taken_names::check_free;
use crate::ids::CommitId;
use crate::repository::{Repository, State};
use crate::{Error, Result, near_names};

impl History<'_> {
    /// Lists the branches in order of their names, an unborn one that HEAD stands on included.
    ///
    /// Counting how far one is ahead of its upstream walks the commits that only one of both has.
    pub fn branches(&self) -> Vec<RefInfo> {
        let current = self.state.branch();
        let mut list = Vec::with_capacity(self.state.heads.len() + 1);
        for (name, target) in &self.state.heads {
            let mut info = self.ref_info(name, Some(*target));
            info.current = current == Some(name);
            if let Some((upstream, theirs)) = self.upstream(name) {
                info.upstream = Some(upstream);
                let here = |id: &CommitId| self.store.contains(id.0).unwrap_or(false);
                if let Some(theirs) = theirs.filter(here) {
                    info.ahead_behind = (self.dag().ahead_behind(*target, theirs))
                        .inspect_err(|error| tracing::warn!(name, %error, "a branch cannot be compared"))
                        .ok();
                }
            }
            list.push(info);
        }
        if let Some(unborn) = current.filter(|name| !self.state.heads.contains_key(*name)) {
            let at = list.partition_point(|info| info.name.as_str() < unborn);
            list.insert(at, RefInfo { current: true, ..self.ref_info(unborn, None) });
        }
        list
    }
}

impl Repository {
    /// Creates a branch at a revision.
    ///
    /// # Errors
    /// Those of [`check_branch_free`] and of [`History::resolve`].
    pub fn create_branch(&self, name: &RefName, at: &Revision) -> Result<RefUpdate> {
        self.change_refs("branch new", |transaction| {
            check_branch_free(&transaction.state, name, None)?;
            check_room(&transaction.state, "branch name", name)?;
            let store = self.store(&transaction.state)?;
            let target = self.history(&transaction.state, &store).resolve(at)?;
            transaction.set_branch(name.as_str(), Some(target));
            Ok(RefUpdate { name: name.to_string(), old: None, new: Some(target) })
        })
    }

    /// Renames a branch. HEAD goes with it where it stands there, born or not; so does what the branch follows.
    ///
    /// Returns what became of the new name and of the old one.
    ///
    /// # Errors
    /// [`Error::BranchNotFound`], and those of [`check_branch_free`].
    pub fn rename_branch(&self, name: &str, new: &RefName) -> Result<[RefUpdate; 2]> {
        self.change_refs("branch rename", |transaction| {
            let state = &transaction.state;
            let (target, current) = (state.heads.get(name).copied(), state.branch() == Some(name));
            if target.is_none() && !current {
                return Err(branch_not_found(state, name));
            }
            check_branch_free(state, new, Some(name))?;
            check_room(state, "branch name", new)?;
            if name != new.as_str() {
                let upstream = state.upstreams.get(name).cloned();
                if target.is_some() {
                    transaction.set_branch(name, None);
                    transaction.set_branch(new.as_str(), target);
                }
                if current {
                    transaction.set_head(Head::Branch(new.to_string()));
                }
                transaction.set_upstream(name, None);
                if let Some(upstream) = upstream {
                    transaction.set_upstream(new.as_str(), Some(&upstream));
                }
            }
            Ok([
                RefUpdate { name: new.to_string(), old: None, new: target },
                RefUpdate { name: name.to_owned(), old: target, new: None },
            ])
        })
    }

    /// Removes a branch; its commits stay until they are collected. The report says where it stood, so that it can be
    /// made again.
    ///
    /// # Errors
    /// [`Error::BranchNotFound`]; [`Error::BranchCheckedOut`] for the branch HEAD stands on.
    pub fn delete_branch(&self, name: &str) -> Result<RefUpdate> {
        self.change_refs("branch rm", |transaction| {
            let state = &transaction.state;
            if state.branch() == Some(name) {
                return Err(Error::BranchCheckedOut { name: name.to_owned() });
            }
            let old = *state.heads.get(name).ok_or_else(|| branch_not_found(state, name))?;
            transaction.set_branch(name, None);
            transaction.set_upstream(name, None);
            Ok(RefUpdate { name: name.to_owned(), old: Some(old), new: None })
        })
    }

    /// Lets a branch follow a peer's, `PEER/branch`, or nothing. Returns what is recorded: `ACTOR/branch`.
    ///
    /// # Errors
    /// [`Error::BranchNotFound`] for ours, [`Error::RevisionNotFound`] for the peer's.
    pub fn set_branch_upstream(&self, name: &str, upstream: Option<&str>) -> Result<Option<String>> {
        self.change_refs("branch upstream", |transaction| {
            let state = &transaction.state;
            if !state.heads.contains_key(name) && state.branch() != Some(name) {
                return Err(branch_not_found(state, name));
            }
            let recorded = match upstream {
                None => None,
                Some(upstream) => {
                    let store = self.store(state)?;
                    let history = self.history(state, &store);
                    let found = history.peer_branch(upstream)?.ok_or_else(|| {
                        let names: Vec<String> = history.all_names().into_iter().map(|(name, _)| name).collect();
                        let peers = names.iter().map(String::as_str).filter(|name| !state.heads.contains_key(*name));
                        Error::RevisionNotFound {
                            revision: upstream.to_owned(),
                            reason: Some("no peer has published such a branch".to_owned()),
                            suggestions: near_names(upstream, peers, 3).into_iter().map(str::to_owned).collect(),
                        }
                    })?;
                    Some(found.upstream())
                }
            };
            transaction.set_upstream(name, recorded.as_deref());
            Ok(recorded)
        })
    }
}

/// Says whether a branch of this name may be made, `but` one that is about to go. The one HEAD stands on counts, born or
/// not: its first commit would need the name.
///
/// # Errors
/// [`Error::BranchExists`] where the name is taken, in whatever case; [`Error::ValueInvalid`] where a branch `a` and a
/// branch `a/b` would stand beside each other.
pub fn check_branch_free(state: &State, name: &RefName, but: Option<&str>) -> Result<()> {
    let taken = state.heads.keys().map(String::as_str).chain(state.branch()).filter(|taken| but != Some(*taken));
    check_free(taken, "branch name", name, |name| Error::BranchExists { name })
}

/// Says that there is no such branch, and which are called nearly so.
pub fn branch_not_found(state: &State, name: &str) -> Error {
    let near = near_names(name, state.heads.keys().map(String::as_str), 3);
    Error::BranchNotFound { name: name.to_owned(), suggestions: near.into_iter().map(str::to_owned).collect() }
}
