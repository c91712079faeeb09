//! Checking HEAD, refs, ref sets and the staging index.

use shard_crypto::ActorId;

use super::FsckReport;
use super::logs::Slots;
use crate::canonical::Canonical;
use crate::history::refs::{Head, RefSet};
use crate::ids::{CommitId, ObjectId};
use crate::object::{ObjectKind, ObjectStore};
use crate::repository::fault::Fault;
use crate::repository::wal::FileContent;
use crate::repository::{Repository, State, layout};
use crate::tree::Tree;
use crate::worktree::index::Index;
use crate::{Error, Result};

/// Largest ref, HEAD or index file.
const MAX_SLOT: u64 = 16 << 20;

impl Repository {
    /// Checks that each ref, HEAD and the index hold what the last operation put there, and that it is here.
    pub(super) fn check_refs(&self, state: &State, store: &ObjectStore, report: &mut FsckReport) {
        self.check_slots(state, report);
        let file = |directory: &str, name: &str| format!("{directory}/{name}");
        for (name, id) in &state.heads {
            self.check_target(store, id.0, ObjectKind::Commit, &file(layout::HEADS, name), report);
        }
        for (name, id) in &state.tags {
            self.check_target(store, id.0, ObjectKind::Commit, &file(layout::TAGS, name), report);
        }
        if let Head::Detached(id) = &state.head {
            self.check_target(store, id.0, ObjectKind::Commit, layout::HEAD, report);
        }
        let index = &state.index;
        if let Some(base) = index.base {
            self.check_target(store, base.0, ObjectKind::Commit, layout::INDEX, report);
        }
        let pending = index.pending.iter().flat_map(|pending| [pending.from, pending.to]);
        for tree in std::iter::once(index.tree).chain(pending) {
            self.check_target(store, tree.0, ObjectKind::Tree, layout::INDEX, report);
        }
        for (actor, bytes) in &state.peers {
            self.check_ref_set(state, store, actor, bytes, report);
        }
        self.note_unknown_peers(report);
    }

    fn check_target(&self, store: &ObjectStore, id: ObjectId, kind: ObjectKind, file: &str, report: &mut FsckReport) {
        // The empty directory needs no object.
        if id == Tree::empty_id().0 {
            return;
        }
        match store.find(id) {
            Ok(Some(place)) if place.location.kind == kind as u8 => {}
            Ok(Some(_)) => report.file(Fault::Invalid, file, None, format!("{id} is no {kind}")),
            Ok(None) => report.file(Fault::Absent, file, None, format!("{kind} {id} is not here")),
            Err(error) => report.error(file, &error),
        }
    }

    /// Returns what HEAD and index hold before the first operation.
    pub(in crate::repository) fn first_slots() -> Slots {
        let branch = Head::Branch(crate::repository::init::DEFAULT_BRANCH.to_owned());
        let index = Index { base: None, tree: Tree::empty_id(), pending: None };
        Slots::from([
            (layout::HEAD.to_owned(), Some(branch.to_string().into_bytes())),
            (layout::INDEX.to_owned(), Some(index.to_bytes())),
        ])
    }

    /// Returns the slots that are not what the last operation left, with what it left.
    pub(in crate::repository) fn check_slots(
        &self,
        state: &State,
        report: &mut FsckReport,
    ) -> Vec<(String, Option<Vec<u8>>)> {
        // Damage of the operation log itself is reported where logs are checked.
        let Some(recorded) = self.recorded_slots(state) else { return Vec::new() };
        let mut slots = Self::first_slots();
        slots.extend(recorded);
        let mut wrong = Vec::new();
        for (directory, names) in [(layout::HEADS, &state.heads), (layout::TAGS, &state.tags)] {
            for name in names.keys() {
                slots.entry(format!("{directory}/{name}")).or_insert(None);
            }
        }
        for (slot, recorded) in slots {
            match self.slot(state, &slot) {
                Ok(found) if found == recorded => continue,
                Ok(None) => report.file(Fault::Absent, &slot, None, "it is missing"),
                Ok(Some(_)) if recorded.is_none() => {
                    report.file(Fault::Invalid, &slot, None, "no operation put it there");
                }
                Ok(Some(_)) => report.file(Fault::Damaged, &slot, None, "it is not what the last operation left"),
                Err(error) => report.error(&slot, &error),
            }
            wrong.push((slot, recorded));
        }
        wrong
    }

    /// Reads a slot as the state has it.
    fn slot(&self, state: &State, slot: &str) -> Result<Option<Vec<u8>>> {
        match state.overlay.files.get(slot) {
            Some(FileContent::Bytes(bytes)) => Ok(Some(bytes.clone())),
            Some(FileContent::Absent) => Ok(None),
            Some(FileContent::Temporary { name, .. }) => match self.layout.tmp.read_optional(name, MAX_SLOT)? {
                Some(bytes) => Ok(Some(bytes)),
                // Once renamed it stands in its place.
                None => Ok(self.layout.shard.read_optional(slot, MAX_SLOT)?),
            },
            None => Ok(self.layout.shard.read_optional(slot, MAX_SLOT)?),
        }
    }

    fn check_ref_set(
        &self,
        state: &State,
        store: &ObjectStore,
        actor: &ActorId,
        bytes: &[u8],
        report: &mut FsckReport,
    ) {
        let file = format!("{}/{actor}", layout::PEERS);
        let set = match RefSet::verify(bytes, self.id()) {
            Ok(set) => set,
            Err(Error::SignatureInvalid { .. }) => {
                return report.file(Fault::Signature, &file, None, "it is not what its actor signed");
            }
            Err(error) => return report.error(&file, &error),
        };
        if set.header().actor != *actor {
            return report.file(Fault::Invalid, &file, None, "it is another actor's");
        }
        let names = set.names();
        if *actor == self.actor() {
            // What this clone published is what its refs say, unless the key was sealed when they moved.
            let published = |held: &std::collections::BTreeMap<String, CommitId>, set: &_| {
                held.iter()
                    .filter(|(name, _)| !name.starts_with(crate::history::refs::LOCAL_PREFIX))
                    .eq::<&std::collections::BTreeMap<String, CommitId>>(set)
            };
            if !published(&state.heads, &names.heads) || !published(&state.tags, &names.tags) {
                report.note(file, "refs have moved since they were last published");
            }
            return;
        }
        for (name, id) in names.heads.iter().chain(&names.tags) {
            if !store.find(id.0).is_ok_and(|place| place.is_some()) {
                report.note(&*file, format!("`{name}` names commit {id}, which is not here"));
            }
        }
    }

    fn note_unknown_peers(&self, report: &mut FsckReport) {
        let Ok(dir) = self.layout.shard.open_dir(layout::PEERS) else { return };
        for entry in dir.list().unwrap_or_default() {
            let name = entry.name.to_string_lossy();
            if name.parse::<ActorId>().is_err() {
                report.note(format!("{}/{name}", layout::PEERS), "its name is no actor");
            }
        }
    }
}
