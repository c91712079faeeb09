//! OS locks, and slots that name their owner.
//!
//! A lock lives on a file that is made once and never deleted, so neither a full disk nor a read-only medium keeps
//! anyone from taking it; the operating system frees it when its holder ends, however it ends. Every acquisition has an
//! open file of its own, so two threads of one process exclude each other just as two processes do.
//!
//! [`Slots`] are a directory of such files. A slot is occupied while locked; what its holder wrote into it tells others
//! who that is.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64;

pub use crate::vfs::LockKind;
use crate::vfs::{Dir, File, OpenOptions, Result};

/// First and longest pause between two attempts: short enough that a lock of one small commit is seen free, long enough
/// that 64 waiters cost nothing.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// Largest content of a slot: a lease's 64 pinned ids of 32 bytes, and as much again.
pub const MAX_SLOT_CONTENTS: usize = 4096 - SLOT_HEADER;

/// Length 4, check 8.
const SLOT_HEADER: usize = 12;

/// How often a slot that looks half-written is read again before it counts as illegible.
const SLOT_READS: usize = 3;

/// A file that is locked. Nothing is held by opening it.
#[derive(Debug, Clone)]
pub struct LockFile {
    dir: Dir,
    name: PathBuf,
}

impl LockFile {
    /// Names the lock `name` in `dir`, creating its file where absent (at `init`).
    pub fn open(dir: &Dir, name: impl AsRef<Path>) -> Result<Self> {
        let lock = Self { dir: dir.clone(), name: name.as_ref().into() };
        lock.file()?;
        Ok(lock)
    }

    fn file(&self) -> Result<File> {
        open_lockable(&self.dir, &self.name)
    }

    /// Takes the lock without waiting; `None` where somebody else, in this process or another, holds it.
    pub fn try_lock(&self, kind: LockKind) -> Result<Option<Guard>> {
        let file = self.file()?;
        Ok(file.try_lock(kind)?.then_some(Guard { file }))
    }

    /// Takes the lock, trying every 1 to 10 ms until `timeout` has passed; then `None`. `on_wait` is told before each
    /// pause how long the wait has been, so it is never called where the lock was free.
    ///
    /// There is no order among waiters, and an exclusive one may wait for as long as shared ones overlap: a fair queue
    /// takes two locks.
    pub fn lock(&self, kind: LockKind, timeout: Duration, mut on_wait: impl FnMut(Duration)) -> Result<Option<Guard>> {
        let file = self.file()?;
        let start = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            if file.try_lock(kind)? {
                return Ok(Some(Guard { file }));
            }
            let waited = start.elapsed();
            if waited >= timeout {
                return Ok(None);
            }
            on_wait(waited);
            std::thread::sleep(pause.min(timeout - waited));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Opens a file for locking: writable, since some file systems refuse an exclusive lock otherwise, or only readable
/// where it cannot be written.
fn open_lockable(dir: &Dir, name: &Path) -> Result<File> {
    match dir.open(name, OpenOptions::CREATE) {
        Err(error) if error.is_read_only() => dir.open(name, OpenOptions::READ),
        other => other,
    }
}

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct Guard {
    file: File,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Closing would do, unless a child between fork and exec still shares the open file.
        let _ = self.file.unlock();
    }
}

/// A fixed number of files that are locked while in use, and say who uses them.
#[derive(Debug, Clone)]
pub struct Slots {
    dir: Dir,
    count: usize,
}

/// A slot somebody holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occupied {
    /// Which one.
    pub index: usize,
    /// What its holder wrote; `None` where it is illegible, because the disk was full or the write is under way. The
    /// reader must then assume the worst.
    pub contents: Option<Vec<u8>>,
}

impl Slots {
    /// Creates directory `name` in `dir` with its `count` empty files (at `init`), or what of them is missing.
    pub fn create(dir: &Dir, name: impl AsRef<Path>, count: usize) -> Result<Self> {
        let slots = Self { dir: dir.create_dir_all(name)?, count };
        for index in 0..count {
            slots.dir.open(slot_name(index), OpenOptions::CREATE)?;
        }
        Ok(slots)
    }

    /// Opens the `count` slots in directory `name` of `dir`.
    pub fn open(dir: &Dir, name: impl AsRef<Path>, count: usize) -> Result<Self> {
        Ok(Self { dir: dir.open_dir(name)?, count })
    }

    /// Takes the first free slot and writes `contents` into it; `None` where all are taken.
    ///
    /// Contents that cannot be written (a full disk) or exceed [`MAX_SLOT_CONTENTS`] leave the slot held but illegible.
    /// Until this returns, others may still read what the slot's last holder left when it was killed.
    pub fn claim(&self, contents: &[u8]) -> Result<Option<Slot>> {
        for index in 0..self.count {
            let file = self.dir.open(slot_name(index), OpenOptions::CREATE)?;
            if file.try_lock(LockKind::Exclusive)? {
                let slot = Slot { guard: Guard { file }, index };
                slot.rewrite(contents)?;
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    /// Lists the slots in use, in order. Costs three system calls for each slot, free or not.
    pub fn occupied(&self) -> Result<Vec<Occupied>> {
        let mut occupied = Vec::new();
        for index in 0..self.count {
            let file = match self.dir.open(slot_name(index), OpenOptions::READ) {
                Ok(file) => file,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            };
            // A shared lock, so that several readers do not take each other for holders.
            if !file.try_lock(LockKind::Shared)? {
                occupied.push(Occupied { index, contents: slot_contents(&file)? });
            }
        }
        Ok(occupied)
    }
}

fn slot_name(index: usize) -> String {
    format!("{index:02}")
}

/// A slot that is held until this is dropped.
#[derive(Debug)]
pub struct Slot {
    guard: Guard,
    index: usize,
}

impl Slot {
    /// Returns which slot this is.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Replaces what the slot says, in place and unsynced. Where that fails for want of room, or the contents are too
    /// large, the slot becomes illegible; an error means that not even that was possible.
    pub fn rewrite(&self, contents: &[u8]) -> Result<()> {
        let file = &self.guard.file;
        if contents.len() <= MAX_SLOT_CONTENTS {
            let mut record = Vec::with_capacity(SLOT_HEADER + contents.len());
            record.extend_from_slice(&(contents.len() as u32).to_le_bytes());
            record.extend_from_slice(&xxh3_64(contents).to_le_bytes());
            record.extend_from_slice(contents);
            match file.write_all_at(&record, 0) {
                Err(error) if error.is_full() => {}
                other => return other,
            }
        }
        file.set_len(0)
    }
}

/// Reads a slot, again if it looks half-written.
fn slot_contents(file: &File) -> Result<Option<Vec<u8>>> {
    for _ in 0..SLOT_READS {
        let mut record = vec![0; SLOT_HEADER + MAX_SLOT_CONTENTS];
        let filled = file.read_full_at(&mut record, 0)?;
        record.truncate(filled);
        if let Some(contents) = legible(&record) {
            return Ok(Some(contents.to_vec()));
        }
    }
    Ok(None)
}

fn legible(record: &[u8]) -> Option<&[u8]> {
    let (length, rest) = record.split_first_chunk::<4>()?;
    let (check, rest) = rest.split_first_chunk::<8>()?;
    let contents = rest.get(..u32::from_le_bytes(*length) as usize)?;
    (xxh3_64(contents) == u64::from_le_bytes(*check)).then_some(contents)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::vfs::Real;

    fn scratch() -> (tempfile::TempDir, Dir) {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open_root(Arc::new(Real), place.path()).unwrap();
        (place, dir)
    }

    #[test]
    fn one_lock_file_excludes_itself() {
        let (_place, dir) = scratch();
        let lock = LockFile::open(&dir, "write.lock").unwrap();
        let held = lock.try_lock(LockKind::Exclusive).unwrap().unwrap();
        assert!(lock.try_lock(LockKind::Exclusive).unwrap().is_none());
        assert!(LockFile::open(&dir, "write.lock").unwrap().try_lock(LockKind::Shared).unwrap().is_none());
        drop(held);
        let shared = lock.try_lock(LockKind::Shared).unwrap().unwrap();
        let _also = lock.try_lock(LockKind::Shared).unwrap().unwrap();
        drop(shared);
        assert!(lock.try_lock(LockKind::Exclusive).unwrap().is_none());
    }

    #[test]
    fn waiting_ends_at_the_timeout_and_tells_of_itself() {
        let (_place, dir) = scratch();
        let lock = LockFile::open(&dir, "write.lock").unwrap();
        let free = lock.lock(LockKind::Exclusive, Duration::ZERO, |_| panic!("nothing to wait for")).unwrap();
        let mut waits = Vec::new();
        let timeout = Duration::from_millis(20);
        assert!(lock.lock(LockKind::Shared, timeout, |waited| waits.push(waited)).unwrap().is_none());
        assert!(!waits.is_empty() && waits.is_sorted() && waits.iter().all(|&waited| waited < timeout));
        drop(free);
        assert!(lock.lock(LockKind::Shared, Duration::ZERO, |_| ()).unwrap().is_some());
    }

    #[test]
    fn a_waiter_gets_the_lock_when_its_holder_lets_go() {
        let (_place, dir) = scratch();
        let lock = LockFile::open(&dir, "write.lock").unwrap();
        let mut held = lock.try_lock(LockKind::Exclusive).unwrap();
        let got = lock.lock(LockKind::Exclusive, Duration::from_secs(60), |_| drop(held.take())).unwrap();
        assert!(got.is_some());
    }

    #[test]
    fn many_threads_never_hold_the_lock_together() {
        let (_place, dir) = scratch();
        let lock = LockFile::open(&dir, "write.lock").unwrap();
        let inside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let guard = lock.lock(LockKind::Exclusive, Duration::from_secs(60), |_| ()).unwrap().unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(guard);
                    }
                });
            }
        });
    }

    #[test]
    fn slots_tell_who_holds_them_until_dropped() {
        let (_place, dir) = scratch();
        Slots::create(&dir, "waiters", 3).unwrap();
        let slots = Slots::open(&dir, "waiters", 3).unwrap();
        assert!(slots.occupied().unwrap().is_empty());
        let first = slots.claim(b"first").unwrap().unwrap();
        let second = slots.claim(b"").unwrap().unwrap();
        let third = slots.claim(b"third").unwrap().unwrap();
        assert_eq!([first.index(), second.index(), third.index()], [0, 1, 2]);
        assert!(slots.claim(b"fourth").unwrap().is_none());
        first.rewrite(b"a longer story").unwrap();
        third.rewrite(b"3").unwrap();
        let seen: Vec<_> = slots.occupied().unwrap().into_iter().map(|slot| slot.contents.unwrap()).collect();
        assert_eq!(seen, [b"a longer story".to_vec(), b"".to_vec(), b"3".to_vec()]);
        drop(second);
        assert_eq!(slots.occupied().unwrap().iter().map(|slot| slot.index).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(slots.claim(b"again").unwrap().unwrap().index(), 1);
        assert_eq!(dir.open_dir("waiters").unwrap().list().unwrap().len(), 3, "slots are never deleted");
    }

    #[test]
    fn an_overfull_or_damaged_slot_is_occupied_and_illegible() {
        let (_place, dir) = scratch();
        let slots = Slots::create(&dir, "leases", 2).unwrap();
        let slot = slots.claim(&[7; MAX_SLOT_CONTENTS]).unwrap().unwrap();
        assert_eq!(slots.occupied().unwrap()[0].contents.as_deref(), Some(&[7; MAX_SLOT_CONTENTS][..]));
        slot.rewrite(&[7; MAX_SLOT_CONTENTS + 1]).unwrap();
        assert_eq!(slots.occupied().unwrap(), [Occupied { index: 0, contents: None }]);
        slot.rewrite(b"legible").unwrap();
        dir.open("leases/00", OpenOptions::WRITE).unwrap().write_all_at(b"L", SLOT_HEADER as u64).unwrap();
        assert_eq!(slots.occupied().unwrap(), [Occupied { index: 0, contents: None }]);
    }
}
