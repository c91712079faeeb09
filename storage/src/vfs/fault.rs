//! Disks that fail and disks that lie.
//!
//! [`Fault`] lets the N-th operation of a kind fail, once or from then on; a test runs its scenario once to count the
//! operations and then once for each. [`Sabotage`] answers chosen syncs without doing them: a build whose recovery
//! tests still pass under it tests nothing.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;

use super::Vfs;
use super::interpose::{Call, Interposed, Observer, Operation, Verdict};

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// EIO: the device failed.
    Io,
    /// ENOSPC: the disk is full.
    NoSpace,
    /// EROFS: the disk cannot be written.
    ReadOnly,
    /// EINTR: a signal came. Never repeats, or no caller would ever return.
    Interrupted,
    /// Half of the bytes are written, successfully. Other operations, and writes of a single byte, pass.
    ShortWrite,
}

/// Which operations count, and fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Select {
    /// Every operation.
    Any,
    /// Those that change the disk or make something durable.
    Mutating,
    /// Those that make something durable.
    Syncs,
    /// One kind.
    Only(Operation),
}

/// What goes wrong, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injection {
    /// Which operations count.
    pub select: Select,
    /// Only those whose path contains this text.
    pub path: Option<String>,
    /// Which of them fails: 1 is the next.
    pub at: u64,
    /// How it fails.
    pub failure: Failure,
    /// Whether all later ones fail as well.
    pub forever: bool,
}

impl Injection {
    /// Lets the `at`-th operation of `select` fail once.
    pub fn once(select: Select, at: u64, failure: Failure) -> Self {
        Self { select, path: None, at, failure, forever: false }
    }

    /// Lets the `at`-th operation of `select` and all later ones fail.
    pub fn forever(select: Select, at: u64, failure: Failure) -> Self {
        Self { forever: true, ..Self::once(select, at, failure) }
    }

    /// Counts only operations whose path contains `text`.
    pub fn on(self, text: impl Into<String>) -> Self {
        Self { path: Some(text.into()), ..self }
    }
}

#[derive(Debug, Default)]
struct FaultState {
    injection: Option<Injection>,
    counted: u64,
    injected: u64,
}

/// Makes operations of the file systems it is laid over fail. Clones share one plan; without one all passes.
#[derive(Debug, Clone, Default)]
pub struct Fault {
    state: Arc<Mutex<FaultState>>,
}

impl Fault {
    /// Returns `inner` with the faults of this plan.
    pub fn over(&self, inner: Arc<dyn Vfs>) -> Arc<dyn Vfs> {
        Arc::new(Interposed::new(inner, self.clone()))
    }

    fn with<T>(&self, see: impl FnOnce(&mut FaultState) -> T) -> T {
        see(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins counting anew, with this fault to come.
    pub fn inject(&self, injection: Injection) {
        self.with(|state| *state = FaultState { injection: Some(injection), ..FaultState::default() });
    }

    /// Begins counting anew, without a fault: `operations` then tells how many points there are to fail at.
    pub fn count(&self, select: Select) {
        self.inject(Injection::once(select, u64::MAX, Failure::Io));
    }

    /// Lets everything pass again.
    pub fn disarm(&self) {
        self.with(|state| state.injection = None);
    }

    /// Returns how many selected operations there were since [`inject`](Self::inject) or [`count`](Self::count).
    pub fn operations(&self) -> u64 {
        self.with(|state| state.counted)
    }

    /// Returns how many operations were made to fail.
    pub fn injected(&self) -> u64 {
        self.with(|state| state.injected)
    }
}

impl Select {
    fn includes(self, call: &Call<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Mutating => call.mutates,
            Self::Syncs => call.operation.is_sync(),
            Self::Only(operation) => call.operation == operation,
        }
    }
}

impl Observer for Fault {
    fn before(&self, call: &Call<'_>) -> Verdict {
        self.with(|state| {
            let Some(injection) = &state.injection else { return Verdict::Proceed };
            let in_path = |text: &String| call.path.as_os_str().to_string_lossy().contains(text.as_str());
            if !injection.select.includes(call) || !injection.path.as_ref().is_none_or(in_path) {
                return Verdict::Proceed;
            }
            state.counted += 1;
            let again = injection.forever && injection.failure != Failure::Interrupted;
            if state.counted != injection.at && !(again && state.counted > injection.at) {
                return Verdict::Proceed;
            }
            let verdict = match injection.failure {
                Failure::Io => Verdict::Fail(Errno::IO.into()),
                Failure::NoSpace => Verdict::Fail(Errno::NOSPC.into()),
                Failure::ReadOnly => Verdict::Fail(Errno::ROFS.into()),
                Failure::Interrupted => Verdict::Fail(Errno::INTR.into()),
                Failure::ShortWrite if call.operation == Operation::Write && call.length > 1 => {
                    Verdict::Shorten((call.length / 2) as usize)
                }
                Failure::ShortWrite => return Verdict::Proceed,
            };
            state.injected += 1;
            verdict
        })
    }
}

type Chosen = dyn Fn(&Call<'_>) -> bool + Send + Sync;

/// Pretends that chosen operations were done. For proving that crash tests notice.
#[derive(Clone)]
pub struct Sabotage {
    chosen: Arc<Chosen>,
}

impl fmt::Debug for Sabotage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sabotage")
    }
}

impl Sabotage {
    /// Skips the calls for which `chosen` says so, where their success can be pretended (syncs, and all that answer
    /// nothing).
    pub fn skipping(chosen: impl Fn(&Call<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self { chosen: Arc::new(chosen) }
    }

    /// Skips `sync_data` of files whose path contains `text` (all, if it is empty).
    pub fn no_file_sync(text: impl Into<String>) -> Self {
        Self::no_sync(Operation::SyncData, text.into())
    }

    /// Skips `sync_dir` of directories whose path contains `text` (all, if it is empty).
    pub fn no_dir_sync(text: impl Into<String>) -> Self {
        Self::no_sync(Operation::SyncDir, text.into())
    }

    fn no_sync(operation: Operation, text: String) -> Self {
        Self::skipping(move |call| {
            call.operation == operation && call.path.as_os_str().to_string_lossy().contains(text.as_str())
        })
    }

    /// Returns `inner` with the chosen operations skipped.
    pub fn over(&self, inner: Arc<dyn Vfs>) -> Arc<dyn Vfs> {
        Arc::new(Interposed::new(inner, self.clone()))
    }
}

impl Observer for Sabotage {
    fn before(&self, call: &Call<'_>) -> Verdict {
        if (self.chosen)(call) { Verdict::Pretend } else { Verdict::Proceed }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::atomic_file::{Sync, write_atomically};
    use crate::lock_file::{Occupied, Slots};
    use crate::vfs::{Crash, CrashMode, Dir, OpenOptions, VfsError};

    fn replace(root: &Dir) -> Result<(), VfsError> {
        write_atomically(&root.open_dir("tmp")?, root, "ref", b"new value", 0o644, Sync::Full)
    }

    fn prepared(fault: &Fault) -> (Crash, Dir) {
        let crash = Crash::new();
        let root = Dir::open_root(fault.over(Arc::new(crash.clone())), Path::new("/")).unwrap();
        let tmp = root.create_dir_all("tmp").unwrap();
        write_atomically(&tmp, &root, "ref", b"old", 0o644, Sync::Full).unwrap();
        (crash, root)
    }

    #[test]
    fn a_replacement_that_fails_anywhere_leaves_old_or_new_and_no_temporary() {
        let fault = Fault::default();
        let (_, root) = prepared(&fault);
        fault.count(Select::Mutating);
        replace(&root).unwrap();
        let points = fault.operations();
        assert_eq!(points, 6);
        for failure in [Failure::Io, Failure::NoSpace] {
            for at in 1..=points {
                let (_, root) = prepared(&fault);
                fault.inject(Injection::once(Select::Mutating, at, failure));
                let error = replace(&root).unwrap_err();
                assert_eq!(fault.injected(), 1);
                assert_eq!(error.is_full(), failure == Failure::NoSpace);
                assert_eq!(error.operation == "sync", at == 4 || at == 6, "a failed sync is told as one");
                let expected: &[u8] = if at == 6 { b"new value" } else { b"old" };
                assert_eq!(root.read("ref", 64).unwrap(), expected);
                assert!(root.open_dir("tmp").unwrap().list().unwrap().is_empty());
            }
        }
    }

    #[test]
    fn short_and_interrupted_writes_are_continued() {
        for failure in [Failure::ShortWrite, Failure::Interrupted] {
            let fault = Fault::default();
            let (_, root) = prepared(&fault);
            fault.inject(Injection::forever(Select::Only(Operation::Write), 1, failure));
            replace(&root).unwrap();
            assert!(fault.injected() >= 1);
            assert_eq!(root.read("ref", 64).unwrap(), b"new value");
            fault.inject(Injection::once(Select::Only(Operation::Read), 1, Failure::Interrupted));
            assert_eq!(root.read("ref", 64).unwrap(), b"new value");
        }
    }

    #[test]
    fn faults_last_for_ever_until_disarmed_and_keep_to_their_path() {
        let fault = Fault::default();
        let (_, root) = prepared(&fault);
        fault.inject(Injection::forever(Select::Any, 1, Failure::Io).on("ref"));
        root.read("ref", 64).unwrap_err();
        root.read("ref", 64).unwrap_err();
        root.open_dir("tmp").unwrap();
        fault.disarm();
        root.read("ref", 64).unwrap();
    }

    #[test]
    fn a_slot_on_a_full_disk_is_held_and_illegible() {
        let fault = Fault::default();
        let (_, root) = prepared(&fault);
        let slots = Slots::create(&root, "leases", 1).unwrap();
        drop(slots.claim(b"a stale owner").unwrap());
        fault.inject(Injection::forever(Select::Only(Operation::Write), 1, Failure::NoSpace));
        let _slot = slots.claim(b"me").unwrap().unwrap();
        assert_eq!(slots.occupied().unwrap(), [Occupied { index: 0, contents: None }]);
        assert!(slots.claim(b"another").unwrap().is_none());
    }

    #[test]
    fn sabotaged_syncs_lose_what_honest_ones_keep() {
        let lost = |sabotage: Sabotage| {
            let crash = Crash::new();
            let root = Dir::open_root(sabotage.over(Arc::new(crash.clone())), Path::new("/")).unwrap();
            let file = root.open("wal.log", OpenOptions::CREATE).unwrap();
            file.write_all_at(b"record", 0).unwrap();
            file.sync_data().unwrap();
            root.sync().unwrap();
            let image = crash.image(CrashMode::Lost, 0);
            let root = Dir::open_root(Arc::new(image), Path::new("/")).unwrap();
            root.read_optional("wal.log", 64).unwrap()
        };
        assert_eq!(lost(Sabotage::skipping(|_| false)).as_deref(), Some(&b"record"[..]));
        assert_eq!(lost(Sabotage::no_file_sync("other")).as_deref(), Some(&b"record"[..]));
        assert_eq!(lost(Sabotage::no_file_sync("wal")).as_deref(), Some(&b""[..]));
        assert_eq!(lost(Sabotage::no_dir_sync("")), None);
    }
}
