//! A recorder of disk operations, to prove how many syncs an operation costs and in which order they come.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::Vfs;
use super::interpose::{Call, Interposed, Observer, Operation, Verdict};

/// One recorded operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What was asked for.
    pub operation: Operation,
    /// The path from the root on (a rename's old one).
    pub path: PathBuf,
    /// A rename's new path.
    pub target: Option<PathBuf>,
    /// Where in the file; 0 where that means nothing.
    pub offset: u64,
    /// How many bytes were asked for, or the new length.
    pub length: u64,
    /// Whether the disk may have been changed, or made durable.
    pub mutates: bool,
    /// Whether it succeeded.
    pub succeeded: bool,
}

/// Records every operation of the file systems it is laid over. Clones share one record.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    events: Arc<Mutex<Vec<Event>>>,
}

impl Trace {
    /// Returns `inner` with every operation recorded here.
    pub fn over(&self, inner: Arc<dyn Vfs>) -> Arc<dyn Vfs> {
        Arc::new(Interposed::new(inner, self.clone()))
    }

    fn with<T>(&self, see: impl FnOnce(&mut Vec<Event>) -> T) -> T {
        see(&mut self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns everything recorded since the beginning or the last [`clear`](Self::clear), in order.
    pub fn events(&self) -> Vec<Event> {
        self.with(|events| events.clone())
    }

    /// Forgets what was recorded.
    pub fn clear(&self) {
        self.with(Vec::clear);
    }

    /// Counts one operation.
    pub fn count(&self, operation: Operation) -> usize {
        self.count_where(|event| event.operation == operation)
    }

    /// Counts the operations that satisfy a condition.
    pub fn count_where(&self, condition: impl Fn(&Event) -> bool) -> usize {
        self.with(|events| events.iter().filter(|event| condition(event)).count())
    }

    /// Counts the calls that made something durable: of files, directories and whole file systems.
    pub fn syncs(&self) -> usize {
        self.count_where(|event| event.operation.is_sync())
    }

    /// Sums the bytes that were asked to be written.
    pub fn bytes_written(&self) -> u64 {
        self.with(|events| {
            events.iter().filter(|event| event.operation == Operation::Write).map(|event| event.length).sum()
        })
    }
}

impl Observer for Trace {
    fn before(&self, _call: &Call<'_>) -> Verdict {
        Verdict::Proceed
    }

    fn after(&self, call: &Call<'_>, succeeded: bool) {
        let event = Event {
            operation: call.operation,
            path: call.path.into(),
            target: call.target.map(Into::into),
            offset: call.offset,
            length: call.length,
            mutates: call.mutates,
            succeeded,
        };
        self.with(|events| events.push(event));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::atomic_file::{Sync, write_atomically};
    use crate::vfs::{Crash, Dir};

    #[test]
    fn a_durable_replacement_syncs_file_then_directory_in_this_order() {
        let trace = Trace::default();
        let root = Dir::open_root(trace.over(Arc::new(Crash::new())), Path::new("/")).unwrap();
        let tmp = root.create_dir_all("tmp").unwrap();
        let refs = root.create_dir_all("refs").unwrap();
        trace.clear();
        write_atomically(&tmp, &refs, "main", b"id", 0o644, Sync::Full).unwrap();
        let changes: Vec<_> =
            trace.events().into_iter().filter(|event| event.mutates).map(|event| event.operation).collect();
        assert_eq!(changes, {
            use Operation::*;
            [Open, Write, SetMode, SyncData, Rename, SyncDir]
        });
        assert_eq!((trace.syncs(), trace.bytes_written(), trace.count(Operation::Rename)), (2, 2, 1));
        let rename = trace.events().into_iter().find(|event| event.operation == Operation::Rename).unwrap();
        assert_eq!(rename.target.as_deref(), Some(Path::new("/refs/main")));
        assert!(rename.path.starts_with("/tmp") && rename.succeeded);
    }

    #[test]
    fn failures_are_recorded_as_such() {
        let trace = Trace::default();
        let root = Dir::open_root(trace.over(Arc::new(Crash::new())), Path::new("/")).unwrap();
        root.unlink("none").unwrap_err();
        assert_eq!(trace.count_where(|event| event.operation == Operation::Unlink && !event.succeeded), 1);
    }
}
