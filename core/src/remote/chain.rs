//! Chains of ref sets: each names the one before, so that nobody is shown an older or another history.
//!
//! The headers of past sets are kept in `refs/chain.log`. A set under a number that is known with other bytes is a fork;
//! one whose `prev` is not what is known of its predecessor is a rollback.

use std::collections::{BTreeMap, BTreeSet};

use shard_crypto::{ActorId, Digest, Signature, SignatureDomain, Signed};
use shard_storage::framed_log::{FramedLog, LogKind, LogOptions, RECORD_HEADER_SIZE};

use crate::canonical::{Canonical, DecodeError, Decoder, Encoder};
use crate::history::refs::{RefSet, RefSetHeader};
use crate::repository::{Layout, State, layout};
use crate::{Error, Result};

/// Headers kept of each actor.
pub(super) const MAX_HEADERS: usize = 256;

/// A header as the log holds it.
#[derive(Debug, Clone)]
pub(super) struct KeptHeader {
    pub(super) header: RefSetHeader,
    /// `[header, signature]`.
    pub(super) record: Vec<u8>,
}

impl KeptHeader {
    fn parse(record: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(record);
        d.array_of(2)?;
        let header = RefSetHeader::from_bytes(d.bytes()?)?;
        d.bytes_of::<64>()?;
        d.finish()?;
        Ok(Self { header, record: record.to_vec() })
    }

    /// Says whether its actor signed it.
    fn is_signed(&self) -> bool {
        let check = || -> Result<bool, DecodeError> {
            let mut d = Decoder::new(&self.record);
            d.array_of(2)?;
            let header = Digest::of(d.bytes()?);
            let signed = Signed::new((), header, Signature::from_bytes(d.bytes_of()?));
            Ok(signed.verify_actor(SignatureDomain::REF_SET, &self.header.actor).is_ok())
        };
        check().unwrap_or(false)
    }
}

/// One actor's headers by their numbers.
pub(super) type Chain = BTreeMap<u64, KeptHeader>;

/// Returns a verified set's header as the log holds it.
pub(super) fn record_of(set: &RefSet) -> Vec<u8> {
    let mut e = Encoder::new();
    e.array(2).bytes(&set.header().to_bytes()).bytes(set.signature().as_bytes());
    e.into_bytes()
}

/// Reads the newest [`MAX_HEADERS`] headers of each of these actors. Reads the whole log.
pub(super) fn read(layout: &Layout, state: &State, actors: &BTreeSet<ActorId>) -> Result<BTreeMap<ActorId, Chain>> {
    let mut chains: BTreeMap<ActorId, Chain> = BTreeMap::new();
    let mut learn = |record: &[u8]| {
        let Ok(kept) = KeptHeader::parse(record) else {
            tracing::warn!("a record of the ref chain is no header");
            return;
        };
        if actors.contains(&kept.header.actor) {
            let chain = chains.entry(kept.header.actor).or_default();
            chain.entry(kept.header.seq).or_insert(kept);
            if chain.len() > MAX_HEADERS {
                chain.pop_first();
            }
        }
    };
    let file = layout::REF_CHAIN;
    let added: Vec<_> = state.overlay.appends.iter().filter(|append| append.file == file).collect();
    let first_added = added.first().map_or(state.end(file).sequence, |append| append.end.sequence - 1);
    FramedLog::open_with(&layout.shard, file, LogKind::REF_CHAIN, LogOptions::READ, |record| {
        if record.sequence < first_added {
            learn(&record.body);
        }
        Ok::<_, Error>(())
    })?;
    for append in added {
        learn(append.bytes.get(RECORD_HEADER_SIZE..).unwrap_or_default());
    }
    Ok(chains)
}

/// What a verified set that is offered means beside what is held.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is the one held, or an older one: nothing moves.
    Held,
    /// It continues what is held.
    Newer {
        /// Headers to keep from now on, its own last.
        learned: Vec<Vec<u8>>,
        /// Nobody could show the headers between it and what is held.
        unproven: bool,
    },
}

/// Judges a set by what is known of its actor: the set held, headers kept here, and headers the source shows.
///
/// # Errors
/// [`Error::ActorForked`] and [`Error::HistoryRollback`].
pub(super) fn judge(offered: &RefSet, held: Option<&RefSet>, known: &Chain, theirs: &Chain) -> Result<Verdict> {
    let actor = offered.header().actor;
    let digest_of = |seq: u64| match held {
        Some(held) if held.header().seq == seq => Some(held.header().digest()),
        _ => known.get(&seq).map(|kept| kept.header.digest()),
    };
    let offered_seq = offered.header().seq;
    if digest_of(offered_seq).is_some_and(|digest| digest != offered.header().digest()) {
        return Err(Error::ActorForked { actor });
    }
    let held_seq = held.map_or(0, |held| held.header().seq);
    if offered_seq <= held_seq {
        return Ok(Verdict::Held);
    }
    let mut learned = vec![record_of(offered)];
    let mut expected = offered.header().prev;
    let mut unproven = false;
    for seq in (1..offered_seq).rev() {
        if let Some(digest) = digest_of(seq) {
            if expected != Some(digest) {
                return Err(Error::HistoryRollback { actor });
            }
            break;
        }
        let shown = theirs.get(&seq).filter(|kept| kept.is_signed());
        let Some(shown) = shown.filter(|_| learned.len() < MAX_HEADERS) else {
            // Before the first meeting there is nothing to prove.
            unproven = held.is_some();
            break;
        };
        if expected != Some(shown.header.digest()) {
            return Err(Error::HistoryRollback { actor });
        }
        expected = shown.header.prev;
        learned.push(shown.record.clone());
    }
    learned.reverse();
    Ok(Verdict::Newer { learned, unproven })
}

#[cfg(test)]
mod tests {
    use shard_crypto::SecretKey;

    use super::*;
    use crate::history::refs::RefNames;
    use crate::ids::{CommitId, RepositoryId};

    fn key() -> SecretKey {
        SecretKey::from_seed(&[7; 32])
    }

    fn names(number: u8) -> RefNames {
        RefNames { heads: [("main".to_owned(), CommitId::from_bytes([number; 32]))].into(), ..RefNames::default() }
    }

    fn sets(count: u8, salt: u8) -> Vec<RefSet> {
        let mut sets: Vec<RefSet> = Vec::new();
        for number in 0..count {
            let repository = RepositoryId::from_bytes([1; 32]);
            sets.push(RefSet::sign(repository, names(number ^ salt), sets.last(), false, &key()));
        }
        sets
    }

    fn chain(sets: &[RefSet]) -> Chain {
        sets.iter().map(|set| (set.header().seq, KeptHeader::parse(&record_of(set)).unwrap())).collect()
    }

    #[test]
    fn the_next_set_is_newer_and_the_one_before_moves_nothing() {
        let sets = sets(3, 0);
        let none = Chain::new();
        let newer = judge(&sets[2], Some(&sets[1]), &none, &none).unwrap();
        assert!(matches!(newer, Verdict::Newer { unproven: false, ref learned } if learned.len() == 1));
        assert!(matches!(judge(&sets[1], Some(&sets[2]), &none, &none), Ok(Verdict::Held)));
        assert!(matches!(judge(&sets[2], Some(&sets[2]), &none, &none), Ok(Verdict::Held)));
    }

    #[test]
    fn other_bytes_under_a_known_number_are_a_fork_however_old() {
        let (ours, theirs) = (sets(4, 0), sets(4, 9));
        let none = Chain::new();
        let known = chain(&ours);
        for (number, offered) in theirs.iter().enumerate() {
            let forked = judge(offered, Some(&ours[3]), &known, &none);
            assert!(matches!(forked, Err(Error::ActorForked { .. })), "{number}");
        }
        assert!(matches!(judge(&theirs[3], Some(&ours[3]), &none, &none), Err(Error::ActorForked { .. })));
    }

    #[test]
    fn a_gap_is_filled_by_headers_or_stays_unproven() {
        let sets = sets(9, 0);
        let none = Chain::new();
        let gap = judge(&sets[8], Some(&sets[3]), &none, &none).unwrap();
        assert!(matches!(gap, Verdict::Newer { unproven: true, .. }));
        let filled = judge(&sets[8], Some(&sets[3]), &none, &chain(&sets)).unwrap();
        assert!(matches!(filled, Verdict::Newer { unproven: false, ref learned } if learned.len() == 5));
        let first = judge(&sets[8], None, &none, &none).unwrap();
        assert!(matches!(first, Verdict::Newer { unproven: false, .. }), "nothing is known that a gap could hide");
    }

    #[test]
    fn a_forged_chain_over_a_gap_is_a_rollback() {
        let (ours, theirs) = (sets(9, 0), sets(9, 9));
        let rolled = judge(&theirs[8], Some(&ours[3]), &Chain::new(), &chain(&theirs));
        assert!(matches!(rolled, Err(Error::HistoryRollback { .. })));
        let next = judge(&theirs[4], Some(&ours[3]), &Chain::new(), &Chain::new());
        assert!(matches!(next, Err(Error::HistoryRollback { .. })));
    }
}
