//! What checks find wrong with objects.

use crate::Error;
use crate::ids::ObjectId;

/// In what way something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// It is not here.
    Absent,
    /// Its bytes are not what they were.
    Damaged,
    /// It contradicts what refers to it, or is not in the one form its content has.
    Invalid,
    /// Its signature does not hold.
    Signature,
    /// It belongs to another repository.
    Foreign,
    /// The disk does not give it.
    Unreadable,
}

impl Fault {
    /// Judges why something could not be read.
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::ObjectNotFound { .. } => Self::Absent,
            Error::Disk(error) if error.is_not_found() => Self::Absent,
            Error::Disk(_) => Self::Unreadable,
            Error::PackForeign { .. } => Self::Foreign,
            Error::SignatureInvalid { .. } => Self::Signature,
            _ => Self::Damaged,
        }
    }
}

/// Says why an object could not be read, without naming it again.
pub(crate) fn why(error: &Error) -> String {
    match error {
        Error::ObjectCorrupt { reason, .. } => reason.clone(),
        Error::ObjectNotFound { .. } => "it is not here".to_owned(),
        Error::FileCorrupt { path, reason } => {
            let name = path.file_name().unwrap_or(path.as_os_str());
            format!("{} is damaged: {reason}", name.to_string_lossy())
        }
        Error::Disk(error) => format!("{error}: {}", error.source),
        other => other.to_string(),
    }
}

/// An object that failed a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectFault {
    /// The object.
    pub id: ObjectId,
    /// In what way it failed.
    pub fault: Fault,
    /// The first path found that needs it; of the worktree, `None` for what has none.
    pub path: Option<String>,
    /// What is wrong with it.
    pub why: String,
}

/// Faults found so far, as many as are worth telling.
#[derive(Debug, Default)]
pub(crate) struct ObjectFaults {
    listed: Vec<ObjectFault>,
    /// How many there are, those not listed included.
    pub(crate) count: u64,
}

/// Most faults listed: a lost pack has thousands, a lost disk has more than anybody reads.
const MAX_LISTED: usize = 100_000;

impl ObjectFaults {
    pub(crate) fn push(&mut self, fault: ObjectFault) {
        self.count += 1;
        if self.listed.len() < MAX_LISTED {
            self.listed.push(fault);
        }
    }

    /// Returns them in an order that does not depend on threads.
    pub(crate) fn into_sorted(mut self) -> Vec<ObjectFault> {
        self.listed.sort_by(|a, b| (&a.path, a.id, a.fault).cmp(&(&b.path, b.id, b.fault)));
        self.listed
    }
}
