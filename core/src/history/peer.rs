//! What others have published, under the names they are shown by.

use shard_crypto::ActorId;

use super::History;
use super::refs::RefSet;
use super::revision::MIN_PREFIX;
use crate::ids::CommitId;
use crate::{Error, Result};

/// A branch that another actor has published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerBranch {
    /// Whose it is.
    pub actor: ActorId,
    /// Its name there.
    pub branch: String,
    /// The commit it names, which may not be here yet.
    pub target: CommitId,
}

impl PeerBranch {
    /// Returns how it is kept as an upstream: `ACTOR/branch`.
    pub fn upstream(&self) -> String {
        format!("{}/{}", self.actor, self.branch)
    }
}

impl History<'_> {
    /// Returns the ref sets of all others, in order of their actors. One that is damaged is passed over.
    pub fn peers(&self) -> &[RefSet] {
        self.peers.get_or_init(|| {
            let others = self.state.peers.iter().filter(|(actor, _)| **actor != self.repository.actor());
            let verify = |(actor, bytes): (&ActorId, &Vec<u8>)| match RefSet::verify(bytes, self.repository.id()) {
                Ok(set) if set.header().actor == *actor => Some(set),
                Ok(_) => None,
                Err(error) => {
                    tracing::warn!(%actor, %error, "ref set cannot be used");
                    None
                }
            };
            others.filter_map(verify).collect()
        })
    }

    /// Returns the name an actor is shown by: eight digits of its id, or as many as tell it from other peers.
    pub fn peer_name(&self, actor: &ActorId) -> String {
        let whole = actor.to_string();
        let others: Vec<String> = (self.peers().iter().map(|set| set.header().actor))
            .filter(|other| other != actor)
            .map(|other| other.to_string())
            .collect();
        let unique = |length: &usize| !others.iter().any(|other| other[..*length] == whole[..*length]);
        whole[..(8..whole.len()).find(unique).unwrap_or(whole.len())].to_owned()
    }

    /// Finds `PEER/branch`, where PEER is an actor's id or its first four digits or more.
    ///
    /// # Errors
    /// [`Error::RevisionAmbiguous`] where several peers whose ids begin so have such a branch.
    pub fn peer_branch(&self, name: &str) -> Result<Option<PeerBranch>> {
        let Some((peer, branch)) = name.split_once('/') else { return Ok(None) };
        if peer.len() < MIN_PREFIX || !peer.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let prefix = peer.to_ascii_lowercase();
        let mut found: Vec<PeerBranch> = (self.peers().iter())
            .filter(|set| set.header().actor.to_string().starts_with(&prefix))
            .filter_map(|set| {
                let target = *set.names().heads.get(branch)?;
                Some(PeerBranch { actor: set.header().actor, branch: branch.to_owned(), target })
            })
            .collect();
        if found.len() > 1 {
            let candidates = found.iter().map(|found| format!("{}/{branch}", self.peer_name(&found.actor))).collect();
            return Err(Error::RevisionAmbiguous { revision: name.to_owned(), candidates });
        }
        Ok(found.pop())
    }

    /// Returns what a branch follows, as `ACTOR/branch` was recorded: its shown name, and the commit where it is known.
    pub(super) fn upstream(&self, branch: &str) -> Option<(String, Option<CommitId>)> {
        let (actor, theirs) = self.state.upstreams.get(branch)?.split_once('/')?;
        let actor: ActorId = actor.parse().ok()?;
        let set = self.peers().iter().find(|set| set.header().actor == actor);
        let target = set.and_then(|set| set.names().heads.get(theirs).copied());
        Some((format!("{}/{theirs}", self.peer_name(&actor)), target))
    }

    /// Returns every name that stands for a commit: branches, tags, peers' branches.
    pub(super) fn all_names(&self) -> Vec<(String, CommitId)> {
        let (heads, tags) = (&self.state.heads, &self.state.tags);
        // What is both branch and tag is written so that it can be typed.
        let shown = |kind: &str, name: &String, twice: bool| {
            if twice { format!("{kind}/{name}") } else { name.clone() }
        };
        let mut names: Vec<_> = heads.iter().map(|(n, id)| (shown("heads", n, tags.contains_key(n)), *id)).collect();
        names.extend(tags.iter().map(|(n, id)| (shown("tags", n, heads.contains_key(n)), *id)));
        for set in self.peers() {
            let peer = self.peer_name(&set.header().actor);
            names.extend(set.names().heads.iter().map(|(n, id)| (format!("{peer}/{n}"), *id)));
        }
        names
    }
}
