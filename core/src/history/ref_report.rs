//! What is told of branches and tags.

use super::History;
use super::commit::{Trust, read_signed};
use super::ref_name::RefName;
use super::refs::{LOCAL_PREFIX, MAX_NAMES, MAX_REF_SET};
use crate::ids::CommitId;
use crate::repository::State;
use crate::{Error, Result};

/// A branch or tag, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefInfo {
    /// Its name.
    pub name: String,
    /// The commit it names; `None` for a branch without one.
    pub target: Option<CommitId>,
    /// HEAD follows it.
    pub current: bool,
    /// First line of the commit's message; empty where the commit cannot be read.
    pub subject: String,
    /// When the commit says it was made: milliseconds since 1970, and minutes east of UTC.
    pub time: Option<(u64, i64)>,
    /// What it follows, as shown: `PEER/branch`.
    pub upstream: Option<String>,
    /// Commits the upstream lacks, and commits only the upstream has; `None` where the upstream's commit is not here.
    pub ahead_behind: Option<(u64, u64)>,
    /// Whether the commit's signer counts; `None` where the commit cannot be read.
    pub trust: Option<Trust>,
}

/// A name that moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefUpdate {
    /// Its name.
    pub name: String,
    /// What it named before; `None` when it is new.
    pub old: Option<CommitId>,
    /// What it names now; `None` when it is gone.
    pub new: Option<CommitId>,
}

impl History<'_> {
    /// Tells of a name. A commit that cannot be read makes it tell less, not fail: a list is where one looks then.
    pub(super) fn ref_info(&self, name: &str, target: Option<CommitId>) -> RefInfo {
        let commit = target.and_then(|id| {
            read_signed(self.store, id)
                .inspect_err(|error| tracing::warn!(name, commit = %id, %error, "the commit of a name cannot be read"))
                .ok()
        });
        let claimed = commit.as_ref().map(|commit| commit.claimed());
        RefInfo {
            name: name.to_owned(),
            target,
            current: false,
            subject: claimed.map(|commit| subject(&commit.message).to_owned()).unwrap_or_default(),
            time: claimed.map(|commit| (commit.time_ms, commit.zone_minutes)),
            upstream: None,
            ahead_behind: None,
            trust: commit.as_ref().map(|commit| self.trust(commit)),
        }
    }
}

/// Returns the first line of a message that says something.
pub fn subject(message: &str) -> &str {
    message.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default()
}

/// Says whether one more public name fits the ref set that names are published in.
///
/// # Errors
/// [`Error::ValueInvalid`] where it does not.
pub(super) fn check_room(state: &State, what: &'static str, name: &RefName) -> Result<()> {
    if name.is_local() {
        return Ok(());
    }
    let public = || state.heads.keys().chain(state.tags.keys()).filter(|name| !name.starts_with(LOCAL_PREFIX));
    // An id and what encodes it take 37 bytes; the header, its signature and the rest less than 1,024.
    let bytes: usize = public().map(|name| name.len() + 40).sum::<usize>() + name.as_str().len() + 40 + 1024;
    let reason = if public().count() >= MAX_NAMES {
        format!("there are {MAX_NAMES} public branches and tags already")
    } else if bytes > MAX_REF_SET {
        format!("the public branches and tags would exceed {MAX_REF_SET} bytes")
    } else {
        return Ok(());
    };
    Err(Error::ValueInvalid { what, value: name.to_string(), reason })
}
