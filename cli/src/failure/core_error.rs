//! Errors of the repository as failures. There is no wildcard arm: a new error does not compile until it has a code.

use std::time::Duration;

use serde_json::{Value, json};
use shard_core::repository::config::KEYS;
use shard_core::{BlockedReason, Error, Holder, UnsafeReason};

use super::{Code, Failure, hint};
use crate::page::short;

/// Wait proposed to a caller who found the repository busy.
const BUSY_RETRY: Duration = Duration::from_secs(1);

/// Most blocked paths listed in the details; the count is always given.
const MAX_LISTED: usize = 100;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let failure = Self::new(code(&error), chained(&error));
        dress(failure, error)
    }
}

/// Joins an error's message with those of its sources.
fn chained(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

fn code(error: &Error) -> Code {
    match error {
        Error::Disk(disk) if disk.is_full() => Code::DiskFull,
        Error::Disk(disk) if disk.is_read_only() => Code::DiskReadOnly,
        Error::Disk(_) => Code::DiskError,
        Error::DurabilityUnknown { .. } => Code::DurabilityUnknown,
        Error::RepositoryNotFound { .. } => Code::RepositoryNotFound,
        Error::RepositoryExists { .. } => Code::RepositoryExists,
        Error::RepositoryUnsafe { .. } => Code::RepositoryUnsafe,
        Error::RepositoryFormat { .. } => Code::RepositoryFormat,
        Error::RepositoryBusy { .. } | Error::BackendBusy { .. } => Code::RepositoryBusy,
        Error::RepositoryInterrupted { .. } => Code::RepositoryInterrupted,
        Error::ConfigInvalid { .. } => Code::ConfigInvalid,
        Error::PathInvalid { .. } | Error::PathIgnored { .. } => Code::PathInvalid,
        Error::PathNotFound { .. } => Code::PathNotFound,
        Error::ValueInvalid { .. } => Code::ValueInvalid,
        Error::RevisionInvalid { .. } => Code::RevisionInvalid,
        Error::RevisionNotFound { .. } => Code::RevisionNotFound,
        Error::RevisionAmbiguous { .. } => Code::RevisionAmbiguous,
        Error::BranchNotFound { .. } => Code::BranchNotFound,
        Error::BranchExists { .. } => Code::BranchExists,
        Error::BranchCheckedOut { .. } => Code::BranchCheckedOut,
        Error::PathExists { .. } => Code::PathExists,
        Error::TagNotFound { .. } => Code::TagNotFound,
        Error::TagExists { .. } => Code::TagExists,
        Error::ObjectNotFound { .. } => Code::ObjectNotFound,
        Error::ObjectCorrupt { .. } | Error::FileCorrupt { .. } => Code::ObjectCorrupt,
        Error::PackForeign { .. } => Code::PackForeign,
        Error::LogDamaged { .. } | Error::ViewAhead { .. } => Code::LogDamaged,
        Error::CommitEmpty => Code::CommitEmpty,
        Error::HeadMoved { .. } => Code::HeadMoved,
        Error::RefDiverged { .. } => Code::RefDiverged,
        Error::WorktreeDirty { .. } => Code::WorktreeDirty,
        Error::SignatureInvalid { .. } => Code::SignatureInvalid,
        Error::AccessDenied { .. } => Code::AccessDenied,
        Error::RepositoryMismatch { .. } => Code::ValueInvalid,
        Error::HistoryRollback { .. } => Code::HistoryRollback,
        Error::ActorForked { .. } => Code::ActorForked,
        Error::KeyLocked => Code::KeyLocked,
        Error::KeyPassphrase => Code::KeyPassphrase,
        Error::FreeFloor { .. } => Code::DiskFull,
        Error::Backend(_) => Code::Internal,
        Error::Unsupported { .. } => Code::Unsupported,
        Error::Cancelled => Code::Interrupted,
    }
}

/// Adds the facts and the hints.
fn dress(failure: Failure, error: Error) -> Failure {
    match error {
        Error::Disk(disk) => {
            let full = disk.is_full();
            let failure = failure.detail("operation", disk.operation).detail("path", text(&disk.path));
            if full { failure.hint(hint::store_stats()) } else { failure }
        }
        Error::DurabilityUnknown { path, .. } => failure.detail("path", text(&path)).hint(hint::verify()),
        Error::RepositoryNotFound { from } => failure.detail("from", text(&from)).hint(hint::init()),
        Error::RepositoryExists { path } => failure.detail("path", text(&path)).hint(hint::status()),
        Error::RepositoryUnsafe { path, reason } => {
            let failure = failure.detail("path", text(&path));
            match reason {
                UnsafeReason::ForeignOwner { uid } => failure.detail("reason", "foreign_owner").detail("uid", uid),
                UnsafeReason::NetworkFilesystem => failure.detail("reason", "network_filesystem"),
            }
        }
        Error::RepositoryFormat { path, found, supported } => {
            failure.detail("path", text(&path)).detail("found", found).detail("supported", supported)
        }
        Error::RepositoryBusy { holder, waited } => failure
            .detail("holder", holder.as_ref().map_or(Value::Null, holder_value))
            .detail("waited_ms", millis(waited))
            .retry_after(BUSY_RETRY)
            .hint(hint::wait_longer()),
        Error::BackendBusy { pid } => failure.detail("pid", pid).retry_after(BUSY_RETRY).hint(hint::wait_longer()),
        Error::RepositoryInterrupted { from, to } => {
            failure.detail("from", from).detail("to", to).hint(hint::switch_continue()).hint(hint::switch_abort())
        }
        Error::ConfigInvalid { key, origin, reason, suggestion } => {
            let failure = failure
                .detail("key", key.clone())
                .detail("origin", origin.clone())
                .detail("reason", reason)
                .detail("suggestion", suggestion.clone());
            let known = KEYS.iter().any(|spec| spec.is_named(&key));
            let failure = match suggestion {
                Some(near) if known => failure.hint(hint::config_set(&key, &near)),
                Some(near) => failure.hint(hint::config_get(&near)),
                None => failure,
            };
            // What stands in no file cannot be mended in one.
            let in_file = std::path::Path::new(&origin).is_absolute();
            failure.hint(if in_file { hint::config_edit() } else { hint::config_list() })
        }
        Error::PathInvalid { path, reason } => failure.detail("path", path).detail("reason", reason),
        Error::PathNotFound { path } => failure.detail("path", path).hint(hint::status()),
        Error::PathIgnored { path, file, line, rule } => {
            let force = hint::add_force(&path);
            failure.detail("path", path).detail("file", file).detail("line", line).detail("rule", rule).hint(force)
        }
        Error::ValueInvalid { what, value, reason } => {
            failure.detail("what", what).detail("value", value).detail("reason", reason)
        }
        Error::RevisionInvalid { revision, reason } => {
            failure.detail("revision", revision).detail("reason", reason).hint(hint::log())
        }
        Error::RevisionNotFound { revision, reason, suggestions } => {
            let failure = suggestions.iter().fold(failure, |failure, near| failure.hint(hint::show(near)));
            failure
                .detail("revision", revision)
                .detail("reason", reason)
                .detail("suggestions", suggestions)
                .hint(hint::log())
        }
        Error::RevisionAmbiguous { revision, candidates } => {
            let failure = candidates.iter().take(3).fold(failure, |failure, one| failure.hint(hint::show(one)));
            failure.detail("revision", revision).detail("candidates", candidates)
        }
        Error::BranchNotFound { name, suggestions } => {
            let failure = suggestions.iter().fold(failure, |failure, near| failure.hint(hint::switch(near)));
            let failure = failure.detail("branch", name).detail("suggestions", suggestions);
            failure.hint(hint::branches())
        }
        Error::BranchExists { name } => {
            let switch = hint::switch(&name);
            failure.detail("branch", name).hint(switch)
        }
        Error::BranchCheckedOut { name } => failure.detail("branch", name).hint(hint::branches()),
        Error::PathExists { path, reason } => failure.detail("path", text(&path)).detail("reason", reason),
        Error::TagNotFound { name, suggestions } => {
            let failure = suggestions.iter().fold(failure, |failure, near| failure.hint(hint::show(near)));
            failure.detail("tag", name).detail("suggestions", suggestions).hint(hint::tags())
        }
        Error::TagExists { name } => {
            let force = hint::tag_force(&name);
            failure.detail("tag", name).hint(force)
        }
        Error::ObjectNotFound { id } => failure.detail("id", id.to_string()).hint(hint::fsck()),
        Error::ObjectCorrupt { id, reason } => {
            failure.detail("id", id.to_string()).detail("reason", reason).hint(hint::fsck())
        }
        Error::FileCorrupt { path, reason } => {
            failure.detail("path", text(&path)).detail("reason", reason).hint(hint::doctor())
        }
        Error::PackForeign { path } => failure.detail("path", text(&path)).hint(hint::fsck()),
        Error::LogDamaged { path, offset } => {
            failure.detail("path", text(&path)).detail("offset", offset).hint(hint::doctor())
        }
        Error::ViewAhead { writer } => failure.detail("writer", writer).hint(hint::doctor()),
        Error::CommitEmpty => failure.hint(hint::status()).hint(hint::commit_all()),
        Error::HeadMoved { path } => failure.detail("path", path).hint(hint::status()),
        Error::RefDiverged { branch, ours, theirs } => {
            let (ours, theirs) = (ours.to_string(), theirs.to_string());
            let (log, go) = (hint::log_of(short(&theirs)), hint::switch_create_at("theirs", short(&theirs)));
            failure.detail("branch", branch).detail("ours", ours).detail("theirs", theirs).hint(log).hint(go)
        }
        Error::WorktreeDirty { blocked } => {
            let rows: Vec<Value> = blocked
                .iter()
                .take(MAX_LISTED)
                .map(|one| json!({"path": one.path, "reason": blocked_reason(one.reason)}))
                .collect();
            failure.detail("count", blocked.len()).detail("blocked", rows).hint(hint::status())
        }
        Error::SignatureInvalid { what } => failure.detail("what", what).hint(hint::verify()),
        Error::AccessDenied { commit, trust } => {
            failure.detail("commit", commit.to_string()).detail("trust", trust.name())
        }
        Error::RepositoryMismatch { path, expected, found } => failure
            .detail("path", text(&path))
            .detail("expected", expected.to_string())
            .detail("found", found.to_string()),
        Error::HistoryRollback { actor } | Error::ActorForked { actor } => failure.detail("actor", actor.to_string()),
        Error::FreeFloor { free, wanted } => {
            failure.detail("free", free).detail("wanted", wanted).hint(hint::store_stats())
        }
        Error::Backend(_) => failure.hint(hint::rebuild()),
        Error::Unsupported { what } => failure.detail("what", what),
        Error::KeyLocked | Error::KeyPassphrase | Error::Cancelled => failure,
    }
}

/// Returns the stable word for why a path stops a checkout.
pub(crate) fn blocked_reason(reason: BlockedReason) -> &'static str {
    match reason {
        BlockedReason::Modified => "modified",
        BlockedReason::Untracked => "untracked",
        BlockedReason::Collision => "collision",
        BlockedReason::Unsafe => "unsafe",
    }
}

fn holder_value(holder: &Holder) -> Value {
    json!({"pid": holder.pid, "command": holder.command, "since_ms": holder.since_ms})
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn text(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shard_core::Blocked;
    use shard_core::history::commit::Trust;
    use shard_crypto::{ActorId, Digest};
    use shard_storage::vfs::VfsError;
    use std::io::{Error as IoError, ErrorKind};
    use std::path::PathBuf;

    fn disk(kind: ErrorKind) -> Error {
        Error::Disk(VfsError { operation: "write", path: "/r/x".into(), source: IoError::from(kind) })
    }

    fn samples() -> Vec<(Error, Code)> {
        let id = Digest([7; 32]);
        let path = || PathBuf::from("/r/.shard/x");
        let s = |text: &str| text.to_owned();
        vec![
            (disk(ErrorKind::StorageFull), Code::DiskFull),
            (disk(ErrorKind::QuotaExceeded), Code::DiskFull),
            (disk(ErrorKind::ReadOnlyFilesystem), Code::DiskReadOnly),
            (disk(ErrorKind::Other), Code::DiskError),
            (
                Error::DurabilityUnknown { path: path(), source: IoError::from(ErrorKind::Other) },
                Code::DurabilityUnknown,
            ),
            (Error::RepositoryNotFound { from: path() }, Code::RepositoryNotFound),
            (Error::RepositoryExists { path: path() }, Code::RepositoryExists),
            (
                Error::RepositoryUnsafe { path: path(), reason: UnsafeReason::ForeignOwner { uid: 7 } },
                Code::RepositoryUnsafe,
            ),
            (Error::RepositoryUnsafe { path: path(), reason: UnsafeReason::NetworkFilesystem }, Code::RepositoryUnsafe),
            (Error::RepositoryFormat { path: path(), found: 9, supported: 1 }, Code::RepositoryFormat),
            (
                Error::RepositoryBusy {
                    holder: Some(Holder { pid: 4, command: s("shard add"), since_ms: 5 }),
                    waited: Duration::from_secs(30),
                },
                Code::RepositoryBusy,
            ),
            (Error::BackendBusy { pid: None }, Code::RepositoryBusy),
            (Error::RepositoryInterrupted { from: s("a"), to: s("b") }, Code::RepositoryInterrupted),
            (
                Error::ConfigInvalid {
                    key: s("ui.colour"),
                    origin: s("config.json"),
                    reason: s("unknown"),
                    suggestion: Some(s("ui.color")),
                },
                Code::ConfigInvalid,
            ),
            (Error::PathInvalid { path: s("../x"), reason: s("outside") }, Code::PathInvalid),
            (Error::PathNotFound { path: s("x") }, Code::PathNotFound),
            (Error::PathIgnored { path: s("-a b"), file: s(".shardignore"), line: 3, rule: s("*") }, Code::PathInvalid),
            (Error::ValueInvalid { what: "branch", value: s("a..b"), reason: s("dots") }, Code::ValueInvalid),
            (Error::RevisionInvalid { revision: s("@~x"), reason: s("number") }, Code::RevisionInvalid),
            (
                Error::RevisionNotFound { revision: s("mian"), reason: None, suggestions: vec![s("main"), s("a'b")] },
                Code::RevisionNotFound,
            ),
            (Error::RevisionAmbiguous { revision: s("ab"), candidates: vec![s("abcd")] }, Code::RevisionAmbiguous),
            (Error::BranchNotFound { name: s("mian"), suggestions: vec![s("main")] }, Code::BranchNotFound),
            (Error::BranchExists { name: s("main") }, Code::BranchExists),
            (Error::BranchCheckedOut { name: s("main") }, Code::BranchCheckedOut),
            (Error::PathExists { path: path(), reason: s("exists") }, Code::PathExists),
            (Error::TagNotFound { name: s("v"), suggestions: vec![] }, Code::TagNotFound),
            (Error::TagExists { name: s("v1") }, Code::TagExists),
            (Error::ObjectNotFound { id }, Code::ObjectNotFound),
            (Error::ObjectCorrupt { id, reason: s("hash") }, Code::ObjectCorrupt),
            (Error::FileCorrupt { path: path(), reason: s("short") }, Code::ObjectCorrupt),
            (Error::PackForeign { path: path() }, Code::PackForeign),
            (Error::LogDamaged { path: path(), offset: 8 }, Code::LogDamaged),
            (Error::ViewAhead { writer: s("x") }, Code::LogDamaged),
            (Error::CommitEmpty, Code::CommitEmpty),
            (Error::HeadMoved { path: s("x") }, Code::HeadMoved),
            (Error::RefDiverged { branch: s("main"), ours: id, theirs: id }, Code::RefDiverged),
            (
                Error::WorktreeDirty { blocked: vec![Blocked { path: s("x"), reason: BlockedReason::Modified }] },
                Code::WorktreeDirty,
            ),
            (Error::SignatureInvalid { what: s("commit") }, Code::SignatureInvalid),
            (Error::AccessDenied { commit: id, trust: Trust::NotAllowed }, Code::AccessDenied),
            (Error::RepositoryMismatch { path: path(), expected: id, found: id }, Code::ValueInvalid),
            (Error::HistoryRollback { actor: ActorId::from_bytes([7; 32]) }, Code::HistoryRollback),
            (Error::ActorForked { actor: ActorId::from_bytes([7; 32]) }, Code::ActorForked),
            (Error::KeyLocked, Code::KeyLocked),
            (Error::KeyPassphrase, Code::KeyPassphrase),
            (Error::FreeFloor { free: 1, wanted: 2 }, Code::DiskFull),
            (Error::Backend(s("x")), Code::Internal),
            (Error::Unsupported { what: s("x") }, Code::Unsupported),
            (Error::Cancelled, Code::Interrupted),
        ]
    }

    #[test]
    fn every_error_has_its_code_and_one_line() {
        for (error, code) in samples() {
            let shown = error.to_string();
            let failure = Failure::from(error);
            assert_eq!(failure.code, code, "{shown}");
            assert!(failure.message.starts_with(&shown), "{} begins with {shown}", failure.message);
            assert!(!failure.message.contains('\n') && !failure.message.ends_with('.'), "{}", failure.message);
        }
    }

    #[test]
    fn disk_errors_name_their_path_and_reason() {
        let failure = Failure::from(disk(ErrorKind::StorageFull));
        assert!(failure.message.contains("/r/x"), "{}", failure.message);
        assert_eq!(failure.details["path"], "/r/x");
        assert_eq!(failure.exit(), 5);
    }

    #[test]
    fn hints_of_errors_parse_with_the_command_tree() {
        use clap::Parser;
        for (error, _) in samples() {
            for hint in Failure::from(error).hints {
                let words = hint.run.replace("\"", "").replace('\'', "");
                let parsed = crate::args::Cli::try_parse_from(words.split(' '));
                assert!(parsed.is_ok(), "`{}` does not parse: {:?}", hint.run, parsed.err());
            }
        }
    }

    #[test]
    fn busy_failures_may_be_tried_again_after_a_while() {
        let failure = Failure::from(Error::BackendBusy { pid: Some(3) });
        assert!(failure.code.retryable() && failure.retry_after.is_some());
    }
}
