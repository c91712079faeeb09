//! The stable codes, with their exit and HTTP status.

/// Why a command failed, for programs. The text form, the exit and the status are stable: codes are added, never
/// removed or renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the text forms below say what each is")]
pub enum Code {
    Internal,
    Unsupported,
    Cancelled,
    Usage,
    ConfigInvalid,
    RevisionInvalid,
    RevisionAmbiguous,
    PathInvalid,
    ValueInvalid,
    ObjectNotFound,
    RevisionNotFound,
    PathNotFound,
    BranchNotFound,
    TagNotFound,
    WorktreeDirty,
    CommitEmpty,
    RefDiverged,
    HeadMoved,
    BranchExists,
    BranchCheckedOut,
    TagExists,
    PathExists,
    RepositoryExists,
    RepositoryNotFound,
    RepositoryBusy,
    RepositoryUnsafe,
    RepositoryFormat,
    RepositoryInterrupted,
    DiskReadOnly,
    DiskFull,
    DiskError,
    DurabilityUnknown,
    ObjectUnavailable,
    Timeout,
    AccessDenied,
    KeyLocked,
    KeyPassphrase,
    ObjectCorrupt,
    PackForeign,
    LogDamaged,
    SignatureInvalid,
    HistoryRollback,
    ActorForked,
    ArchiveInvalid,
    Interrupted,
}

impl Code {
    /// Every code, in the order of the table of exits.
    pub const ALL: [Self; 45] = [
        Self::Internal,
        Self::Unsupported,
        Self::Cancelled,
        Self::Usage,
        Self::ConfigInvalid,
        Self::RevisionInvalid,
        Self::RevisionAmbiguous,
        Self::PathInvalid,
        Self::ValueInvalid,
        Self::ObjectNotFound,
        Self::RevisionNotFound,
        Self::PathNotFound,
        Self::BranchNotFound,
        Self::TagNotFound,
        Self::WorktreeDirty,
        Self::CommitEmpty,
        Self::RefDiverged,
        Self::HeadMoved,
        Self::BranchExists,
        Self::BranchCheckedOut,
        Self::TagExists,
        Self::PathExists,
        Self::RepositoryExists,
        Self::RepositoryNotFound,
        Self::RepositoryBusy,
        Self::RepositoryUnsafe,
        Self::RepositoryFormat,
        Self::RepositoryInterrupted,
        Self::DiskReadOnly,
        Self::DiskFull,
        Self::DiskError,
        Self::DurabilityUnknown,
        Self::ObjectUnavailable,
        Self::Timeout,
        Self::AccessDenied,
        Self::KeyLocked,
        Self::KeyPassphrase,
        Self::ObjectCorrupt,
        Self::PackForeign,
        Self::LogDamaged,
        Self::SignatureInvalid,
        Self::HistoryRollback,
        Self::ActorForked,
        Self::ArchiveInvalid,
        Self::Interrupted,
    ];

    /// Returns the text form: `branch.not_found`.
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// Returns the exit code of the process.
    pub fn exit(self) -> u8 {
        self.row().1
    }

    /// Returns the HTTP status of the same failure.
    pub fn http_status(self) -> u16 {
        self.row().2
    }

    /// Says whether the same command may succeed later with nothing changed by its caller.
    pub fn retryable(self) -> bool {
        matches!(self, Self::RepositoryBusy | Self::HeadMoved | Self::Timeout | Self::ObjectUnavailable)
    }

    fn row(self) -> (&'static str, u8, u16) {
        match self {
            Self::Internal => ("internal", 1, 500),
            Self::Unsupported => ("unsupported", 1, 501),
            Self::Cancelled => ("cancelled", 1, 409),
            Self::Usage => ("usage", 2, 400),
            Self::ConfigInvalid => ("config.invalid", 2, 400),
            Self::RevisionInvalid => ("revision.invalid", 2, 400),
            Self::RevisionAmbiguous => ("revision.ambiguous", 2, 400),
            Self::PathInvalid => ("path.invalid", 2, 400),
            Self::ValueInvalid => ("value.invalid", 2, 400),
            Self::ObjectNotFound => ("object.not_found", 3, 404),
            Self::RevisionNotFound => ("revision.not_found", 3, 404),
            Self::PathNotFound => ("path.not_found", 3, 404),
            Self::BranchNotFound => ("branch.not_found", 3, 404),
            Self::TagNotFound => ("tag.not_found", 3, 404),
            Self::WorktreeDirty => ("worktree.dirty", 4, 409),
            Self::CommitEmpty => ("commit.empty", 4, 409),
            Self::RefDiverged => ("ref.diverged", 4, 409),
            Self::HeadMoved => ("head.moved", 4, 412),
            Self::BranchExists => ("branch.exists", 4, 409),
            Self::BranchCheckedOut => ("branch.checked_out", 4, 409),
            Self::PathExists => ("path.exists", 4, 409),
            Self::TagExists => ("tag.exists", 4, 409),
            Self::RepositoryExists => ("repository.exists", 4, 409),
            Self::RepositoryNotFound => ("repository.not_found", 5, 503),
            Self::RepositoryBusy => ("repository.busy", 5, 503),
            Self::RepositoryUnsafe => ("repository.unsafe", 5, 503),
            Self::RepositoryFormat => ("repository.format", 5, 503),
            Self::RepositoryInterrupted => ("repository.interrupted", 5, 503),
            Self::DiskReadOnly => ("disk.read_only", 5, 503),
            Self::DiskFull => ("disk.full", 5, 507),
            Self::DiskError => ("disk.error", 5, 500),
            Self::DurabilityUnknown => ("durability.unknown", 5, 500),
            Self::ObjectUnavailable => ("object.unavailable", 6, 504),
            Self::Timeout => ("timeout", 6, 504),
            Self::AccessDenied => ("access.denied", 7, 403),
            Self::KeyLocked => ("key.locked", 7, 403),
            Self::KeyPassphrase => ("key.passphrase", 7, 403),
            Self::ObjectCorrupt => ("object.corrupt", 8, 500),
            Self::PackForeign => ("pack.foreign", 8, 500),
            Self::LogDamaged => ("log.damaged", 8, 500),
            Self::SignatureInvalid => ("signature.invalid", 8, 500),
            Self::HistoryRollback => ("history.rollback", 8, 500),
            Self::ActorForked => ("actor.forked", 8, 500),
            Self::ArchiveInvalid => ("archive.invalid", 8, 500),
            Self::Interrupted => ("interrupted", 130, 409),
        }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Exit of a command line that cannot mean anything.
pub const EXIT_USAGE: u8 = 2;

/// Exit of a command that did most of its work; its warnings name what was left out.
pub const EXIT_PARTLY: u8 = 9;

/// Exit of a comparison that found differences, where `--exit-code` asked for it.
pub const EXIT_DIFFERENCES: u8 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_is_listed_once_with_a_distinct_text() {
        let texts: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
        assert_eq!(Code::Interrupted as usize + 1, Code::ALL.len(), "a new code belongs to ALL too");
    }

    #[test]
    fn exits_and_statuses_stay_within_their_tables() {
        for code in Code::ALL {
            assert!(matches!(code.exit(), 1..=8 | 130), "{code}: {}", code.exit());
            assert!((400..=599).contains(&code.http_status()), "{code}: {}", code.http_status());
        }
    }
}
