//! Fetching: what others published is taken over, with everything it reaches.

use std::collections::{BTreeMap, BTreeSet};

use shard_crypto::ActorId;

use super::chain::{self, Chain, Verdict};
use super::{Source, TransferPlan};
use crate::history::ref_report::RefUpdate;
use crate::history::refs::RefSet;
use crate::ids::CommitId;
use crate::progress::Progress;
use crate::repository::{Repository, State};
use crate::{Error, Result};

/// Headers of others' ref sets one transaction keeps: their record stays well below a megabyte.
const MAX_LEARNED: usize = 2048;

/// Actors whose ref sets are held at most, and bytes of them, those of the creator and of a source aside: every command
/// reads them, and anybody can make up actors.
const MAX_ACTORS: usize = 4096;
/// See [`MAX_ACTORS`].
const MAX_HELD: usize = 64 << 20;
/// Bytes of ref sets and headers that one transaction takes: its record must hold them beside their names.
const TAKEN_AT_ONCE: usize = 512 << 10;

/// An actor whose ref set was not taken over, while those of others were.
#[derive(Debug)]
pub struct RefusedActor {
    /// Whose.
    pub actor: ActorId,
    /// Why.
    pub error: Error,
}

/// What a fetch brought.
#[derive(Debug, Default)]
pub struct FetchReport {
    /// Where from.
    pub source: String,
    /// Names of others that moved: `ACTOR/branch`, `ACTOR/tags/tag`.
    pub refs: Vec<RefUpdate>,
    /// Objects that came.
    pub objects: u64,
    /// Events that came.
    pub events: u64,
    /// Bytes that came, as stored.
    pub bytes: u64,
    /// Actors of whom sets between the last one seen and this one are not shown by anybody: what they moved meanwhile
    /// cannot be told.
    pub unproven: Vec<ActorId>,
    /// Actors, others than the source's own, whose ref sets were refused.
    pub refused: Vec<RefusedActor>,
}

/// Ref sets of a source that say something new.
#[derive(Debug, Default)]
struct Offer {
    newer: Vec<(RefSet, Vec<Vec<u8>>)>,
    unproven: Vec<ActorId>,
    refused: Vec<RefusedActor>,
}

impl Offer {
    fn tips(&self) -> BTreeSet<CommitId> {
        let names = self.newer.iter().map(|(set, _)| set.names());
        names.flat_map(|names| names.heads.values().chain(names.tags.values())).copied().collect()
    }
}

/// Judges everything the source offers by what is held here.
fn examine(repository: &Repository, state: &State, source: &Source) -> Result<Offer> {
    source.expect(repository.id())?;
    let mut offer = Offer::default();
    let mut offered = Vec::new();
    let refuse = |offer: &mut Offer, actor: ActorId, error: Error| {
        // A source that cannot be believed about itself is not believed at all.
        if actor == source.actor() && actor != repository.actor() {
            return Err(error);
        }
        tracing::warn!(%actor, %error, "ref set refused");
        offer.refused.push(RefusedActor { actor, error });
        Ok(())
    };
    for (actor, bytes) in source.ref_sets() {
        if state.peers.get(actor) == Some(bytes) {
            continue;
        }
        match RefSet::verify(bytes, repository.id()) {
            Ok(set) if set.header().actor == *actor => offered.push(set),
            Ok(_) => {
                let what = format!("the ref set of {actor}");
                refuse(&mut offer, *actor, Error::SignatureInvalid { what })?;
            }
            Err(error) => refuse(&mut offer, *actor, error)?,
        }
    }
    if offered.is_empty() {
        return Ok(offer);
    }
    let actors: BTreeSet<ActorId> = offered.iter().map(|set| set.header().actor).collect();
    let known = chain::read(repository.layout(), state, &actors)?;
    let shown = source.headers(&actors)?;
    let none = Chain::new();
    let most = (MAX_LEARNED / actors.len()).max(1);
    let (mut held_actors, mut held_bytes) = (state.peers.len(), state.peers.values().map(Vec::len).sum::<usize>());
    for set in offered {
        let actor = set.header().actor;
        let held = match state.peers.get(&actor) {
            Some(bytes) => Some(RefSet::verify(bytes, repository.id())?),
            None => None,
        };
        let chain_of = |chains: &BTreeMap<ActorId, Chain>| chains.get(&actor).cloned().unwrap_or_else(|| none.clone());
        match chain::judge(&set, held.as_ref(), &chain_of(&known), &chain_of(&shown)) {
            Ok(Verdict::Held) => {}
            // Somebody holds a later set of ours than we do: this clone was set back to an earlier state.
            Ok(Verdict::Newer { .. }) if actor == repository.actor() => {
                refuse(&mut offer, actor, Error::HistoryRollback { actor })?;
            }
            Ok(Verdict::Newer { mut learned, unproven }) => {
                let before = state.peers.get(&actor).map_or(0, Vec::len);
                let (actors_then, bytes_then) =
                    (held_actors + usize::from(before == 0), held_bytes - before + set.as_bytes().len());
                let welcome = [source.actor(), repository.genesis().creator].contains(&actor);
                if !welcome && (actors_then > MAX_ACTORS || bytes_then > MAX_HELD) {
                    let what =
                        format!("holding what more than {MAX_ACTORS} actors publish, or {MAX_HELD} bytes of it,");
                    refuse(&mut offer, actor, Error::Unsupported { what })?;
                    continue;
                }
                (held_actors, held_bytes) = (actors_then, bytes_then);
                learned.drain(..learned.len().saturating_sub(most));
                if unproven {
                    offer.unproven.push(actor);
                }
                offer.newer.push((set, learned));
            }
            Err(error) => refuse(&mut offer, actor, error)?,
        }
    }
    Ok(offer)
}

/// Says what a [`fetch()`] would bring. Writes nothing.
///
/// # Errors
/// Those of [`fetch()`].
pub fn plan_fetch(repository: &Repository, source: &Source, progress: &dyn Progress) -> Result<TransferPlan> {
    let state = repository.state()?;
    let offer = examine(repository, &state, source)?;
    TransferPlan::compute(source, &repository.store(&state)?, repository.tips(&state), offer.tips(), progress)
}

/// Takes over every ref set the source holds that is newer than the one held here, with all it reaches.
///
/// Objects are copied without the write permit; refs move once everything they reach is durable, each actor's in one
/// transaction. A set that is older than the one held moves nothing. `local/` branches are in no ref set and never travel.
///
/// # Errors
/// [`Error::RepositoryMismatch`]; [`Error::SignatureInvalid`], [`Error::ActorForked`] or [`Error::HistoryRollback`] where
/// the source's own ref set is forged or contradicts what its actor published before; [`Error::ObjectNotFound`] and
/// [`Error::ObjectCorrupt`] where the source lacks or damaged what it names; [`Error::Cancelled`]. No ref moves then, and
/// nothing is stored but chunks that a long transfer had registered before.
pub fn fetch(repository: &Repository, source: &Source, progress: &dyn Progress) -> Result<FetchReport> {
    let state = repository.state()?;
    let mut offer = examine(repository, &state, source)?;
    let mut report = FetchReport { source: source.path().display().to_string(), ..FetchReport::default() };
    if offer.newer.is_empty() {
        report.refused = offer.refused;
        return Ok(report);
    }
    let store = repository.store(&state)?;
    let plan = TransferPlan::compute(source, &store, repository.tips(&state), offer.tips(), progress)?;
    tracing::debug!(commits = plan.commits, objects = plan.objects, bytes = plan.bytes, "transfer planned");
    let staged = plan.run(source, repository.staging(&store), repository.settings().threads, progress)?;
    (report.objects, report.bytes) = (staged.new_objects, staged.stored_bytes);
    let permit = repository.write_permit("fetch")?;
    let mut transaction = repository.transaction(&permit)?;
    if transaction.state.peers != state.peers {
        // Somebody else fetched meanwhile: what was newer may be old by now, or contradict what they brought.
        offer = examine(repository, &transaction.state, source)?;
    }
    transaction.add_objects(staged);
    let mut room = TAKEN_AT_ONCE;
    for (set, learned) in std::mem::take(&mut offer.newer) {
        // A large set waits in a file of its own.
        let size = set.as_bytes().len().min(1 << 10) + learned.iter().map(Vec::len).sum::<usize>();
        if size > room && room < TAKEN_AT_ONCE {
            transaction.commit()?;
            transaction = repository.transaction(&permit)?;
            room = TAKEN_AT_ONCE;
        }
        room = room.saturating_sub(size);
        let before = match transaction.state.peers.get(&set.header().actor) {
            Some(bytes) => Some(RefSet::verify(bytes, repository.id())?),
            None => None,
        };
        report.refs.extend(updates(before.as_ref(), &set));
        transaction.keep_ref_headers(learned);
        transaction.set_peer(&set);
    }
    transaction.commit()?;
    drop(permit);
    repository.tidy();
    (report.unproven, report.refused) = (offer.unproven, offer.refused);
    Ok(report)
}

/// Lists the names that differ between two sets of one actor.
fn updates(before: Option<&RefSet>, after: &RefSet) -> Vec<RefUpdate> {
    let actor = after.header().actor;
    let none = BTreeMap::new();
    let mut updates = Vec::new();
    let names = after.names();
    let old = before.map(RefSet::names);
    for (prefix, old, new) in [
        ("", old.map_or(&none, |names| &names.heads), &names.heads),
        ("tags/", old.map_or(&none, |names| &names.tags), &names.tags),
    ] {
        let all: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in all {
            let (old, new) = (old.get(name).copied(), new.get(name).copied());
            if old != new {
                updates.push(RefUpdate { name: format!("{actor}/{prefix}{name}"), old, new });
            }
        }
    }
    updates
}
