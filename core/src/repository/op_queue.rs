//! The operation queue: who may write, and who waits.
//!
//! Readers take no lock and never stand here. Writers are served in order within a process; across processes the first
//! of each stands at a turnstile, [`QUEUE_LOCK`](super::layout::QUEUE_LOCK), until it has
//! [`WRITE_LOCK`](super::layout::WRITE_LOCK). The operating system frees both when a process ends, however it ends.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use shard_storage::lock_file::{Guard, LockFile, LockKind, Slot, Slots};

use super::layout::{self, Layout};
use crate::canonical::{Decoder, Encoder};
use crate::clock::{Clock, SystemClock};
use crate::error::Holder;
use crate::{Error, Result, metrics};

/// Most writers waiting in one process.
const MAX_WAITING: u64 = 256;

/// Writers of this process, first come first served.
#[derive(Debug, Default)]
pub(crate) struct OpQueue {
    state: Mutex<Tickets>,
    served: Condvar,
}

#[derive(Debug, Default)]
struct Tickets {
    next: u64,
    serving: u64,
    /// Tickets whose owners gave up waiting.
    abandoned: std::collections::BTreeSet<u64>,
}

/// The right to write, held until dropped. There is one in all processes.
#[derive(Debug)]
pub struct WritePermit<'r> {
    queue: &'r OpQueue,
    _write: Option<Guard>,
    _slot: Option<Slot>,
}

impl Drop for WritePermit<'_> {
    fn drop(&mut self) {
        self._write = None;
        self.queue.serve_next();
    }
}

/// What runs or waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Who.
    pub holder: Holder,
    /// Says that it writes; otherwise it waits.
    pub writing: bool,
}

impl OpQueue {
    fn serve_next(&self) {
        let mut tickets = self.state.lock().expect("nothing panics while holding the tickets");
        tickets.serving += 1;
        loop {
            let serving = tickets.serving;
            if !tickets.abandoned.remove(&serving) {
                break;
            }
            tickets.serving += 1;
        }
        self.served.notify_all();
    }

    /// Waits for the right to write.
    ///
    /// # Errors
    /// [`Error::RepositoryBusy`] after `timeout`, naming who holds it.
    pub(crate) fn acquire(&self, layout: &Layout, command: &str, timeout: Duration) -> Result<WritePermit<'_>> {
        let start = Instant::now();
        let busy = || Error::RepositoryBusy { holder: holder(layout), waited: start.elapsed() };
        {
            let mut tickets = self.state.lock().expect("nothing panics while holding the tickets");
            let mine = tickets.next;
            if mine - tickets.serving >= MAX_WAITING {
                return Err(busy());
            }
            tickets.next += 1;
            while tickets.serving != mine {
                let left = timeout.saturating_sub(start.elapsed());
                if left.is_zero() {
                    tickets.abandoned.insert(mine);
                    drop(tickets);
                    return Err(busy());
                }
                tickets = self.served.wait_timeout(tickets, left).expect("nothing panics while holding the tickets").0;
            }
        }
        // From here on, dropping the permit serves the next.
        let mut permit = WritePermit { queue: self, _write: None, _slot: None };
        let slots = Slots::open(&layout.locks, layout::WAITERS, layout::WAITER_SLOTS);
        let since_ms = SystemClock.now_ms();
        let slot = slots.ok().and_then(|slots| slots.claim(&describe(command, since_ms, false)).ok().flatten());
        let turnstile = LockFile::open(&layout.locks, layout::QUEUE_LOCK)?;
        let left = || timeout.saturating_sub(start.elapsed());
        let Some(turn) = turnstile.lock(LockKind::Exclusive, left(), |_| {})? else { return Err(busy()) };
        let lock = LockFile::open(&layout.locks, layout::WRITE_LOCK)?;
        let Some(write) = lock.lock(LockKind::Exclusive, left(), |_| {})? else { return Err(busy()) };
        drop(turn);
        if let Some(slot) = &slot {
            // What the slot says serves messages only.
            let _ = slot.rewrite(&describe(command, since_ms, true));
        }
        metrics::COUNTERS.queue_wait_ms.add(start.elapsed().as_millis() as u64);
        permit._write = Some(write);
        permit._slot = slot;
        Ok(permit)
    }
}

fn describe(command: &str, since_ms: u64, writing: bool) -> Vec<u8> {
    let mut e = Encoder::new();
    let end = command.char_indices().map(|(at, _)| at).take_while(|at| *at <= 1000).last().unwrap_or(0);
    let command = if command.len() <= 1000 { command } else { &command[..end] };
    e.array(4).uint(std::process::id().into()).text(command).uint(since_ms).bool(writing);
    e.into_bytes()
}

/// Lists what runs and waits, those that write first.
pub fn running(layout: &Layout) -> Result<Vec<Running>> {
    let slots = Slots::open(&layout.locks, layout::WAITERS, layout::WAITER_SLOTS)?;
    let mut found: Vec<Running> = slots
        .occupied()?
        .into_iter()
        .filter_map(|occupied| {
            let contents = occupied.contents?;
            let mut d = Decoder::new(&contents);
            d.array_of(4).ok()?;
            let pid = d.uint_as().ok()?;
            let command = d.text().ok()?.to_owned();
            let since_ms = d.uint().ok()?;
            Some(Running { holder: Holder { pid, command, since_ms }, writing: d.bool().ok()? })
        })
        .collect();
    found.sort_by_key(|running| (!running.writing, running.holder.since_ms));
    Ok(found)
}

fn holder(layout: &Layout) -> Option<Holder> {
    running(layout).ok()?.into_iter().find(|running| running.writing).map(|running| running.holder)
}
