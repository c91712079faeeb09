//! Doctor: is everything as it should be, and what can be put right without asking?
//!
//! Each check looks at one thing. A repair changes only what can be derived or was never registered, and is believed
//! only once its check has been run again.

mod repairs;

use shard_storage::backend::BackendError;
use shard_storage::lock_file::Slots;
use shard_storage::pack::OpenPack;
use shard_storage::pack::index::{Run, run_number};
use shard_storage::vfs::{OpenOptions, effective_uid};

use super::fsck::FsckReport;
use super::init::BALLAST;
use super::pack_files::list_packs;
use super::{Repository, State, layout};
use crate::history::commit::{self, Trust};
use crate::object::catalog::PackState;
use crate::object::store::{pack_error, pack_file};
use crate::{Error, Result};

/// Least room that is worth no warning: 1 GiB, or 2 % of the file system.
const FREE_FLOOR: u64 = 1 << 30;
/// A temporary this old belongs to no command that still runs, in nanoseconds: a week.
const OLD_TEMPORARY: i64 = 7 * 24 * 3600 * 1_000_000_000;
/// A commit this far ahead of the clock means that one of both is wrong, in milliseconds: a day.
const CLOCK_SLACK: u64 = 24 * 3600 * 1000;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// As it should be.
    Ok,
    /// Nothing is lost, but somebody should look.
    Warning,
    /// It is broken.
    Failed,
}

/// What helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Letting the doctor fix it.
    Fix,
    /// Rebuilding what can be derived.
    Rebuild,
    /// Looking for all damage.
    Fsck,
    /// Something only people can do: the message says what.
    ByHand,
}

/// What was looked at, and found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// `store`, `clock` or `trust`.
    pub room: &'static str,
    /// What was looked at.
    pub name: &'static str,
    /// How it is now.
    pub health: Health,
    /// What was found.
    pub detail: String,
    /// It was repaired just now, and looked at again.
    pub fixed: bool,
    /// What helps, where it is not well.
    pub remedy: Option<Remedy>,
}

/// What the doctor found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DoctorReport {
    /// In a fixed order.
    pub checks: Vec<Check>,
}

impl DoctorReport {
    /// Says whether nothing is broken.
    pub fn is_healthy(&self) -> bool {
        self.checks.iter().all(|check| check.health != Health::Failed)
    }
}

/// How one thing is.
struct Finding {
    health: Health,
    detail: String,
    remedy: Option<Remedy>,
}

impl Finding {
    fn ok(detail: impl Into<String>) -> Self {
        Self { health: Health::Ok, detail: detail.into(), remedy: None }
    }

    fn warning(remedy: Remedy, detail: impl Into<String>) -> Self {
        Self { health: Health::Warning, detail: detail.into(), remedy: Some(remedy) }
    }

    fn failed(remedy: Remedy, detail: impl Into<String>) -> Self {
        Self { health: Health::Failed, detail: detail.into(), remedy: Some(remedy) }
    }
}

type Look = fn(&Repository) -> Result<Finding>;
type Repair = fn(&Repository) -> Result<()>;

/// What is looked at: room, name, check, and the repair where there is one. Repairs come in an order in which later ones
/// can rely on earlier ones.
const CHECKS: &[(&str, &str, Look, Option<Repair>)] = &[
    ("store", "layout", Repository::look_at_layout, Some(Repository::make_layout)),
    ("store", "owner", Repository::look_at_owner, None),
    ("store", "keys", Repository::look_at_keys, Some(Repository::protect_keys)),
    ("store", "space", Repository::look_at_space, None),
    ("store", "ballast", Repository::look_at_ballast, Some(Repository::make_ballast)),
    ("store", "refs", Repository::look_at_refs, Some(Repository::restore_slots)),
    ("store", "log", Repository::look_at_log, Some(Repository::settle)),
    ("store", "catalog", Repository::look_at_catalog, Some(Repository::repair_catalog)),
    ("store", "open packs", Repository::look_at_open_packs, None),
    ("store", "packs", Repository::look_at_orphans, Some(Repository::adopt_orphans)),
    ("store", "index", Repository::look_at_runs, Some(Repository::repair_runs)),
    ("store", "views", Repository::look_at_views, Some(Repository::repair_views)),
    ("store", "temporaries", Repository::look_at_temporaries, Some(Repository::sweep_old_temporaries)),
    ("store", "quarantine", Repository::look_at_quarantine, None),
    ("store", "queue", Repository::look_at_queue, None),
    ("clock", "time", Repository::look_at_clock, None),
    ("trust", "head", Repository::look_at_trust, None),
];

impl Repository {
    /// Looks at everything a command relies on; repairs what can be repaired where `fix` is set.
    ///
    /// A repair waits for its turn to write. Frames are not read: that is [`fsck`](Self::fsck)'s.
    pub fn doctor(&self, fix: bool) -> DoctorReport {
        let mut report = DoctorReport::default();
        for &(room, name, look, repair) in CHECKS {
            let look = || look(self).unwrap_or_else(|error| Finding::failed(Remedy::Fsck, tell(&error)));
            let mut finding = look();
            let mut fixed = false;
            if let Some(repair) = repair.filter(|_| fix && finding.health != Health::Ok) {
                let before = finding.detail;
                let tried = repair(self);
                finding = look();
                fixed = finding.health == Health::Ok;
                if fixed {
                    finding.detail = before;
                } else if let Err(error) = tried {
                    finding.detail = format!("{}; the repair failed: {}", finding.detail, tell(&error));
                }
            }
            let Finding { health, detail, remedy } = finding;
            report.checks.push(Check { room, name, health, detail, fixed, remedy });
        }
        report
    }

    fn look_at_layout(&self) -> Result<Finding> {
        let mut missing: Vec<String> = Vec::new();
        for directory in layout::DIRECTORIES {
            if self.layout.shard.open_dir(directory).is_err() {
                missing.push((*directory).to_owned());
            }
        }
        for lock in layout::LOCK_FILES {
            if self.layout.locks.metadata_optional(lock)?.is_none() {
                missing.push(format!("{}/{lock}", layout::LOCKS));
            }
        }
        for (slots, count) in layout::SLOTS {
            let held = self.layout.locks.open_dir(slots).and_then(|dir| dir.list()).map_or(0, |list| list.len());
            if held < *count {
                missing.push(format!("{} of {}/{slots}", count - held, layout::LOCKS));
            }
        }
        Ok(match &missing[..] {
            [] => Finding::ok("every directory and lock is there"),
            [first] => Finding::failed(Remedy::Fix, format!("{first} is missing")),
            [first, ..] => Finding::failed(Remedy::Fix, format!("{first} and {} more are missing", missing.len() - 1)),
        })
    }

    fn look_at_owner(&self) -> Result<Finding> {
        let owner = self.layout.shard.metadata("")?.uid;
        Ok(if owner == effective_uid() {
            Finding::ok("the repository is yours")
        } else {
            Finding::warning(Remedy::ByHand, format!("it belongs to user {owner}, whom the settings trust"))
        })
    }

    fn look_at_keys(&self) -> Result<Finding> {
        let shard = &self.layout.shard;
        let public = shard.read_optional(layout::PUBLIC_KEY, 1024)?;
        if public.as_deref() != Some(format!("{}\n", self.actor()).as_bytes()) {
            return Ok(Finding::failed(Remedy::Fix, "the public key file is not that of the secret key"));
        }
        for file in [layout::KEYS, layout::SECRET_KEY] {
            let mode = shard.metadata(file)?.mode;
            if mode & 0o077 != 0 {
                return Ok(Finding::failed(Remedy::Fix, format!("others may use {file}: its mode is {mode:o}")));
            }
        }
        Ok(Finding::ok("only you can read them"))
    }

    fn look_at_space(&self) -> Result<Finding> {
        let disk = self.layout.shard.filesystem()?;
        let wanted = FREE_FLOOR.min(disk.total / 2).max(disk.total / 50);
        Ok(if disk.read_only {
            Finding::warning(Remedy::ByHand, "the file system is mounted read-only")
        } else if disk.network {
            Finding::warning(Remedy::ByHand, "it lies on a network file system, where locks cannot be trusted")
        } else if disk.free < wanted {
            Finding::warning(Remedy::ByHand, format!("{} are free, less than {}", size(disk.free), size(wanted)))
        } else {
            Finding::ok(format!("{} are free", size(disk.free)))
        })
    }

    fn look_at_ballast(&self) -> Result<Finding> {
        Ok(match self.layout.shard.metadata_optional(layout::BALLAST)? {
            // Not every file system reserves; then there is nothing to keep either.
            Some(file) if file.allocated >= BALLAST || file.size == 0 && file.allocated == 0 => {
                Finding::ok("room is kept for finishing on a full disk")
            }
            _ => Finding::warning(Remedy::Fix, "no room is kept for finishing on a full disk"),
        })
    }

    fn look_at_refs(&self) -> Result<Finding> {
        let wrong = self.wrong_slots()?;
        Ok(match &wrong[..] {
            [] => Finding::ok("HEAD, refs and index are what the last operation left"),
            [(first, _), ..] => {
                Finding::failed(Remedy::Fix, format!("{first} is not what the last operation left ({})", wrong.len()))
            }
        })
    }

    fn look_at_log(&self) -> Result<Finding> {
        let state = match self.state() {
            Ok(state) => state,
            Err(error) => return Ok(Finding::failed(Remedy::Fsck, tell(&error))),
        };
        match self.view_sequence() {
            Ok(Some(seen)) if seen > state.sequence && seen > self.state()?.sequence => {
                let lost = format!("a view has seen transaction {seen}, the log ends at {}", state.sequence);
                Ok(Finding::failed(Remedy::Rebuild, lost))
            }
            _ if !state.settled => Ok(Finding::warning(Remedy::Fix, "the last command was cut short; nothing is lost")),
            _ => Ok(Finding::ok(format!("transaction {} is in place", state.sequence))),
        }
    }

    fn look_at_catalog(&self) -> Result<Finding> {
        let state = self.state()?;
        let catalog = match self.catalog(&state) {
            Ok(catalog) => catalog,
            Err(error) => return Ok(Finding::failed(Remedy::Fix, tell(&error))),
        };
        let (files, _) = list_packs(&self.layout.shard)?;
        let mut count = 0;
        for (ordinal, is, length) in catalog.packs() {
            count += 1;
            let file = pack_file(ordinal);
            let wanted = if is == PackState::Open { registered(&state, &file) } else { length };
            match files.get(&ordinal) {
                None => return Ok(Finding::failed(Remedy::Fsck, format!("{file} is missing"))),
                Some(size) if *size < wanted => {
                    let why = format!("{file} has {size} of {wanted} bytes");
                    return Ok(Finding::failed(Remedy::Fsck, why));
                }
                Some(_) => {}
            }
        }
        Ok(Finding::ok(format!("{count} packs are where it says")))
    }

    fn look_at_open_packs(&self) -> Result<Finding> {
        let state = self.state()?;
        let catalog = self.catalog(&state)?;
        for (ordinal, is, _) in catalog.packs() {
            let file = pack_file(ordinal);
            if is != PackState::Open || self.layout.shard.metadata_optional(&file)?.is_none() {
                continue;
            }
            let opened = self.layout.shard.open(&file, OpenOptions::READ)?;
            let (_, damage) =
                OpenPack::open(opened, ordinal, &self.id().digest(), registered(&state, &file)).map_err(pack_error)?;
            if let Some(range) = damage.ranges.first() {
                let length = range.end - range.start;
                let why = format!("{length} bytes of {file}, from byte {}, cannot be read", range.start);
                return Ok(Finding::failed(Remedy::Fsck, why));
            }
        }
        Ok(Finding::ok("every frame of the packs being written is whole"))
    }

    fn look_at_orphans(&self) -> Result<Finding> {
        let orphans = self.orphans(&self.state()?)?;
        Ok(match &orphans[..] {
            [] => Finding::ok("every pack is registered or being written"),
            _ => Finding::warning(
                Remedy::Fix,
                format!("{} packs were left by commands that were cut short", orphans.len()),
            ),
        })
    }

    fn look_at_runs(&self) -> Result<Finding> {
        let dir = self.layout.shard.open_dir(layout::RUNS)?;
        let mut count = 0;
        for entry in dir.list()? {
            let Some(number) = entry.name.to_str().and_then(run_number) else { continue };
            count += 1;
            if let Err(error) = Run::open(&dir, number, &self.id().digest()).and_then(|run| run.packs()) {
                return Ok(Finding::warning(Remedy::Fix, error.to_string()));
            }
        }
        Ok(Finding::ok(format!("{count} runs")))
    }

    fn look_at_views(&self) -> Result<Finding> {
        Ok(match self.view_sequence() {
            Ok(Some(seen)) => Finding::ok(format!("{} has seen transaction {seen}", self.settings.backend)),
            Ok(None) => Finding::ok(format!("{} has nothing yet", self.settings.backend)),
            Err(BackendError::Busy { pid }) => Finding::ok(match pid {
                Some(pid) => format!("process {pid} holds them"),
                None => "another process holds them".to_owned(),
            }),
            Err(error) => Finding::warning(Remedy::Fix, error.to_string()),
        })
    }

    fn look_at_temporaries(&self) -> Result<Finding> {
        let old = self.old_temporaries()?;
        Ok(match &old[..] {
            [] => Finding::ok("none is old"),
            _ => Finding::warning(Remedy::Fix, format!("{} are older than a week", old.len())),
        })
    }

    fn look_at_quarantine(&self) -> Result<Finding> {
        let held = self.layout.shard.open_dir(layout::QUARANTINE)?.list()?.len();
        Ok(match held {
            0 => Finding::ok("nothing is set aside"),
            _ => Finding::warning(Remedy::ByHand, format!("{held} damaged files are set aside, for you to look at")),
        })
    }

    fn look_at_queue(&self) -> Result<Finding> {
        let slots = Slots::open(&self.layout.locks, layout::WAITERS, layout::WAITER_SLOTS)?;
        let occupied = slots.occupied()?;
        let illegible = occupied.iter().filter(|slot| slot.contents.is_none()).count();
        Ok(match illegible {
            0 => Finding::ok(format!("{} commands write or wait", occupied.len())),
            _ => Finding::warning(
                Remedy::ByHand,
                format!("{illegible} commands write or wait and do not say who they are"),
            ),
        })
    }

    fn look_at_clock(&self) -> Result<Finding> {
        let state = self.state()?;
        let store = self.store(&state)?;
        let now = self.clock.now_ms();
        let newest = match state.head_commit().map(|id| commit::read(&store, id)) {
            Some(Ok(commit)) => commit.time_ms,
            _ => 0,
        };
        Ok(if newest > now.saturating_add(CLOCK_SLACK) {
            Finding::warning(Remedy::ByHand, "the last commit is more than a day ahead of this clock")
        } else {
            Finding::ok("no commit is ahead of it; order never depends on it")
        })
    }

    fn look_at_trust(&self) -> Result<Finding> {
        let state = self.state()?;
        let Some(head) = state.head_commit() else { return Ok(Finding::ok("there is no commit yet")) };
        let store = self.store(&state)?;
        let trust = Trust::of(&commit::read_signed(&store, head)?, self.id(), &self.genesis().creator);
        Ok(match trust {
            Trust::Good => Finding::ok("the last commit is signed by the repository's creator"),
            Trust::NotAllowed if self.actor() != self.genesis().creator => {
                Finding::ok("the last commit is signed, by somebody who is not the repository's creator")
            }
            Trust::NotAllowed => {
                Finding::warning(Remedy::ByHand, "the last commit is not signed by the repository's creator")
            }
            Trust::BadSignature => Finding::failed(Remedy::Fsck, "the signature of the last commit does not hold"),
        })
    }

    /// Says what is wrong with HEAD, refs and index, with the recorded values.
    fn wrong_slots(&self) -> Result<Vec<(String, Option<Vec<u8>>)>> {
        // A value that cannot even be parsed keeps the state from being read.
        let state = match self.state() {
            Ok(state) => Some(state),
            Err(Error::FileCorrupt { path, .. }) if path.starts_with(self.layout.shard.path()) => None,
            Err(error) => return Err(error),
        };
        match state {
            Some(state) => Ok(self.check_slots(&state, &mut FsckReport::default())),
            None => self.wrong_slots_on_disk(),
        }
    }
}

/// Says how many bytes of an open pack are in the file for certain.
fn registered(state: &State, file: &str) -> u64 {
    let added = state.overlay.appends.iter().find(|append| append.file == file && !append.bytes.is_empty());
    added.map_or(state.end(file).offset, |append| append.offset)
}

/// Writes a size of a disk: to a tenth of a gigabyte, below one of a megabyte.
fn size(bytes: u64) -> String {
    match bytes as f64 {
        bytes if bytes < 1e9 => format!("{:.1} MB", bytes / 1e6),
        bytes => format!("{:.1} GB", bytes / 1e9),
    }
}

fn tell(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
