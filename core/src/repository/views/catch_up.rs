//! Bringing a view up to date with the truth.

use std::collections::{BTreeMap, HashSet};

use shard_storage::backend::{Backend, Batch, Durability, KeyRange, Memory, Order, Table};
use shard_storage::framed_log::{FramedLog, LogKind, LogOptions, Position, RECORD_HEADER_SIZE};

use super::{CommitRow, ViewError};
use crate::canonical::{Canonical, DecodeError, Decoder, Encoder};
use crate::history::commit;
use crate::history::operation::Operation;
use crate::history::refs::{self, Head, RefSet};
use crate::ids::{CommitId, ObjectId, RepositoryId};
use crate::object::{ObjectKind, ObjectStore};
use crate::repository::{Repository, State, layout};
use crate::{Error, Result};

/// Key of the row that says what the view has seen.
const SEEN: &[u8] = b"seen";
/// What rows mean. Another version is another view.
const VERSION: u64 = 1;
/// Bytes of rows gathered before they are applied.
const BATCH_TARGET: usize = 4 << 20;

type Outcome<T> = std::result::Result<T, ViewError>;

/// Up to where a view has seen the truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    repository: RepositoryId,
    actor: [u8; 32],
    /// The last transaction.
    pub(super) sequence: u64,
    /// Where reading the operation log goes on.
    operations: Position,
}

impl Canonical for Seen {
    fn encode(&self, e: &mut Encoder) {
        e.array(6).uint(VERSION).bytes(self.repository.as_bytes()).bytes(&self.actor).uint(self.sequence);
        e.uint(self.operations.offset).uint(self.operations.sequence);
    }

    fn decode(d: &mut Decoder<'_>) -> std::result::Result<Self, DecodeError> {
        d.array_of(6)?;
        if d.uint()? != VERSION {
            return Err(d.invalid("another version"));
        }
        Ok(Self {
            repository: RepositoryId::from_bytes(d.bytes_of()?),
            actor: d.bytes_of()?,
            sequence: d.uint()?,
            operations: Position { offset: d.uint()?, sequence: d.uint()? },
        })
    }
}

impl Seen {
    /// Reads what a view has seen; `None` where it is new or of another version.
    pub(super) fn read(backend: &dyn Backend) -> Outcome<Option<Self>> {
        let Some(value) = backend.get(Table::Meta, SEEN)? else { return Ok(None) };
        let bytes = super::checked(SEEN, &value).ok_or_else(super::damaged_row)?;
        Ok(Self::from_bytes(bytes).ok())
    }

    /// Says whether it is a view of this clone.
    pub(super) fn is_of(&self, repository: &Repository) -> bool {
        self.repository == repository.id() && self.actor == *repository.actor().as_bytes()
    }
}

impl Repository {
    /// Brings `target` from what it has `seen`, or from nothing, to `state`.
    pub(super) fn catch_up(
        &self,
        target: &dyn Backend,
        seen: Option<&Seen>,
        state: &State,
        store: &ObjectStore,
    ) -> Outcome<()> {
        let mut batch = Batch::new();
        if seen.is_none() {
            // What is there belongs to another clone or version.
            for table in [Table::Meta, Table::Commit, Table::CommitOrder, Table::Ref] {
                batch.delete_range(table, KeyRange::ALL);
            }
        }
        self.advance(target, seen.map(|seen| (target, seen)), batch, state, store)
    }

    /// Gathers in `target` what `state` has beyond what `kept` has seen.
    pub(super) fn catch_up_beyond(
        &self,
        target: &Memory,
        kept: &dyn Backend,
        seen: &Seen,
        state: &State,
        store: &ObjectStore,
    ) -> Outcome<()> {
        self.advance(target, Some((kept, seen)), Batch::new(), state, store)
    }

    fn advance(
        &self,
        target: &dyn Backend,
        known: Option<(&dyn Backend, &Seen)>,
        mut batch: Batch,
        state: &State,
        store: &ObjectStore,
    ) -> Outcome<()> {
        let (mut tips, operations) = self.operation_tips(state, known.map(|(_, seen)| seen.operations))?;
        let refs = all_refs(self, state)?;
        tips.extend(refs.values());
        tips.extend(state.head_commit());
        let is_known = |id: CommitId| -> Outcome<bool> {
            match known {
                Some((backend, _)) => match backend.get(Table::Commit, id.as_bytes())? {
                    Some(value) => Ok(CommitRow::decode(id, &value).map(|_| true)?),
                    None => Ok(false),
                },
                None => Ok(false),
            }
        };
        let mut commits = new_commits(store, tips, is_known)?;
        // Ancestors first: should only some of the batches survive, a known commit's ancestors are known too.
        commits.sort_unstable_by_key(|(id, row)| (row.depth, *id));
        for (id, row) in commits {
            let order = [&row.depth.to_be_bytes()[..], id.as_bytes()].concat();
            batch.put(Table::Commit, id.as_bytes(), row.encode(id)).put(Table::CommitOrder, order, []);
            if batch.size() >= BATCH_TARGET {
                target.apply(std::mem::take(&mut batch), Durability::Unsynced)?;
            }
        }
        if known.is_some() {
            for row in target.scan(Table::Ref, KeyRange::ALL, Order::Ascending)? {
                let (name, _) = row?;
                if std::str::from_utf8(&name).map_or(true, |name| !refs.contains_key(name)) {
                    batch.delete(Table::Ref, name);
                }
            }
        }
        for (name, id) in refs {
            batch.put(Table::Ref, name, id.as_bytes());
        }
        let seen =
            Seen { repository: self.id(), actor: *self.actor().as_bytes(), sequence: state.sequence, operations };
        batch.put(Table::Meta, SEEN, super::with_check(SEEN, seen.to_bytes()));
        Ok(target.apply(batch, Durability::Unsynced)?)
    }

    /// Returns every commit that operations from `from` on put a branch, a tag or HEAD at, and where the log ends: what
    /// was undone or reset away is still found by its id.
    fn operation_tips(&self, state: &State, from: Option<Position>) -> Result<(Vec<CommitId>, Position)> {
        let end = state.end(layout::OPERATIONS);
        let mut tips = Vec::new();
        let mut learn = |body: &[u8]| {
            // A record of a later version hides nothing but what was reset away.
            let Ok(operation) = Operation::from_bytes(body) else { return };
            tips.extend(operation.changes.iter().filter_map(slot_commit));
        };
        let added: Vec<_> = state.overlay.appends.iter().filter(|append| append.file == layout::OPERATIONS).collect();
        let first_added = added.first().map_or(end.sequence, |append| append.end.sequence - 1);
        let shard = &self.layout.shard;
        let mut visit = |record: shard_storage::framed_log::Record| -> Result<()> {
            if record.sequence < first_added {
                learn(&record.body);
            }
            Ok(())
        };
        let open = (layout::OPERATIONS, LogKind::OPERATIONS, LogOptions::READ);
        let resumed = from.filter(|from| from.offset <= end.offset && from.sequence <= end.sequence);
        match resumed {
            Some(from) => FramedLog::open_from(shard, open.0, open.1, open.2, from, &mut visit)?,
            None => FramedLog::open_with(shard, open.0, open.1, open.2, &mut visit)?,
        };
        for append in added {
            learn(append.bytes.get(RECORD_HEADER_SIZE..).unwrap_or_default());
        }
        Ok((tips, Position { offset: end.offset, sequence: end.sequence }))
    }
}

fn slot_commit(change: &crate::history::operation::SlotChange) -> Option<CommitId> {
    let text = std::str::from_utf8(change.new.as_ref()?).ok()?;
    let is_ref = |directory: &str| change.slot.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'));
    if change.slot == layout::HEAD {
        match Head::parse(text)? {
            Head::Detached(id) => Some(id),
            Head::Branch(_) => None,
        }
    } else if is_ref(layout::HEADS) || is_ref(layout::TAGS) {
        refs::parse_id(text)
    } else {
        None
    }
}

/// Returns every ref under the name people know it by.
pub(super) fn all_refs(repository: &Repository, state: &State) -> Result<BTreeMap<String, CommitId>> {
    let mut refs = BTreeMap::new();
    refs.extend(state.heads.iter().map(|(name, id)| (format!("heads/{name}"), *id)));
    refs.extend(state.tags.iter().map(|(name, id)| (format!("tags/{name}"), *id)));
    for (actor, bytes) in &state.peers {
        // A set that does not verify is for `fsck` to report.
        let Ok(set) = RefSet::verify(bytes, repository.id()) else { continue };
        let names = set.names();
        refs.extend(names.heads.iter().map(|(name, id)| (format!("peers/{actor}/heads/{name}"), *id)));
        refs.extend(names.tags.iter().map(|(name, id)| (format!("peers/{actor}/tags/{name}"), *id)));
    }
    Ok(refs)
}

/// Walks from `tips` to commits that are known. What is not here, or is no commit, is passed over: whether it ought to be
/// here is not for a view to say.
fn new_commits(
    store: &ObjectStore,
    tips: impl IntoIterator<Item = CommitId>,
    is_known: impl Fn(CommitId) -> Outcome<bool>,
) -> Outcome<Vec<(CommitId, CommitRow)>> {
    let mut commits = Vec::new();
    let mut met = HashSet::new();
    let mut pending: Vec<CommitId> = tips.into_iter().collect();
    while let Some(id) = pending.pop() {
        if !met.insert(id) || is_known(id)? || !is_commit(store, id.0)? {
            continue;
        }
        let commit = match commit::read(store, id) {
            Ok(commit) => commit,
            Err(error @ (Error::ObjectNotFound { .. } | Error::ObjectCorrupt { .. } | Error::FileCorrupt { .. })) => {
                tracing::warn!(commit = %id, %error, "commit cannot be listed");
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        pending.extend(&commit.parents);
        let row = CommitRow { depth: commit.depth, time_ms: commit.time_ms, parents: commit.parents };
        commits.push((id, row));
    }
    Ok(commits)
}

fn is_commit(store: &ObjectStore, id: ObjectId) -> Result<bool> {
    Ok(store.find(id)?.is_some_and(|place| place.location.kind == ObjectKind::Commit as u8))
}
