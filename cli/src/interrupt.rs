//! Ctrl-C: the first asks what runs to stop, a second ends the process at once.
//!
//! Nothing is installed before a long operation reports its first phase: until then the system's own answer, to end the
//! process, is the right one. What asks to be told polls [`is_requested`] through
//! [`Progress::is_cancelled`](shard_core::progress::Progress::is_cancelled).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use signal_hook::SigId;
use signal_hook::consts::SIGINT;

use crate::failure::Code;

/// What was asked for, and what the system calls when it is.
struct Listener {
    requested: Arc<AtomicBool>,
    installed: Mutex<Vec<SigId>>,
}

/// Set by [`allow`] alone, so that programs that use this crate keep their own Ctrl-C.
static LISTENER: OnceLock<Listener> = OnceLock::new();

/// Lets [`listen`] answer Ctrl-C in this process.
pub(crate) fn allow() {
    LISTENER.get_or_init(|| Listener { requested: Arc::default(), installed: Mutex::default() });
}

/// Begins to listen, where that is allowed and not done yet. Costs a lock, so it is for the beginnings of phases.
pub(crate) fn listen() {
    let Some(listener) = LISTENER.get() else { return };
    let mut installed = listener.installed.lock().unwrap_or_else(PoisonError::into_inner);
    if !installed.is_empty() {
        return;
    }
    // In this order: whether to end at once is decided by what was asked for before this signal.
    let exit = i32::from(Code::Interrupted.exit());
    let flag = || listener.requested.clone();
    let at_once = signal_hook::flag::register_conditional_shutdown(SIGINT, exit, flag());
    let request = signal_hook::flag::register(SIGINT, flag());
    // Where the system refuses, it goes on ending the process.
    installed.extend(at_once.into_iter().chain(request));
}

/// Says whether a person wants what runs to stop.
pub(crate) fn is_requested() -> bool {
    LISTENER.get().is_some_and(|listener| listener.requested.load(Ordering::Relaxed))
}

/// Leaves Ctrl-C to another program while it has the terminal. Dropped, listening goes on, and what was typed to the other
/// is forgotten.
pub(crate) struct Elsewhere {
    listened: bool,
}

impl Elsewhere {
    /// Stops listening, if that had begun.
    pub(crate) fn begin() -> Self {
        let Some(listener) = LISTENER.get() else { return Self { listened: false } };
        let mut installed = listener.installed.lock().unwrap_or_else(PoisonError::into_inner);
        let listened = !installed.is_empty();
        // The signal is then ignored here, as a shell ignores it while a program runs.
        for id in installed.drain(..) {
            signal_hook::low_level::unregister(id);
        }
        Self { listened }
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        if self.listened {
            listen();
        }
    }
}
