//! Suites: faults of the real machine met by the real program, too long or too demanding for every test run.
//!
//! `cargo run -r -p shard-tests -- NAME` runs one alone and at length; a short form of each is an ordinary test. All of them
//! judge in the same way: a process outside of the repository notes what was acknowledged, and afterwards all of it must be
//! there and nothing may be half done. The closing line gives the counts.

pub mod full;
pub mod hammer;
mod image;
pub mod kill;
pub mod long_add;
pub mod power;
mod subject;
pub mod syncs;

pub use image::Image;
pub use subject::{Git, Program, Shell, Subject, Verdict};

use std::fmt;

use crate::need::{Need, Skip};

/// A suite by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// Power cuts beneath a running program.
    Power,
    /// Processes killed at random times and at each system call.
    Kill,
    /// Many processes at once.
    Hammer,
    /// Full and read-only file systems.
    Full,
}

impl Suite {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Power, Self::Kill, Self::Hammer, Self::Full];

    /// Returns the name used on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Power => "power",
            Self::Kill => "kill",
            Self::Hammer => "hammer",
            Self::Full => "full",
        }
    }

    /// Returns one line on what it does, with its options.
    pub fn about(self) -> &'static str {
        match self {
            Self::Power => "--cuts 2000 [--seed N] [--beside-git]: an ext4 image shut down beneath commits",
            Self::Kill => "--kills 2500 [--seed N]: kill -9 under load, and at each mutating system call",
            Self::Hammer => "--seconds 1200 [--processes 16] [--readers 4]: commits and reads at once",
            Self::Full => "--sizes 24: small file systems filled up, then read only",
        }
    }

    /// Returns what the machine must have.
    pub fn needs(self) -> Vec<Need> {
        let commands = ["init", "commit", "log", "fsck", "export", "status"].map(|v| Need::Command(v.to_owned()));
        let own: &[Need] = match self {
            Self::Power => &[Need::Root, Need::Loop, Need::Ioctl],
            Self::Kill | Self::Hammer => &[],
            Self::Full => &[Need::Namespaces],
        };
        own.iter().cloned().chain(commands).collect()
    }

    /// Returns the test that keeps the promise where the needs are not met.
    pub fn twin(self) -> &'static str {
        match self {
            Self::Power | Self::Kill => "what_was_acknowledged_survives_a_crash_at_any_operation",
            Self::Hammer => "readers_that_never_pause_delay_no_writer",
            Self::Full => "an_operation_that_fails_is_told_and_leaves_nothing_half_done",
        }
    }
}

/// What a suite found.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// What was counted, in the order to print: how many, of what.
    pub counts: Vec<(u64, &'static str)>,
    /// What must not be; empty when the suite passed.
    pub violations: Vec<String>,
    /// Parts left out.
    pub skips: Vec<Skip>,
}

impl Findings {
    /// Adds to a count.
    pub fn count(&mut self, what: &'static str, how_many: u64) {
        match self.counts.iter_mut().find(|(_, w)| *w == what) {
            Some((count, _)) => *count += how_many,
            None => self.counts.push((how_many, what)),
        }
    }

    /// Takes over what another part found.
    pub fn add(&mut self, other: Self) {
        for (how_many, what) in other.counts {
            self.count(what, how_many);
        }
        self.violations.extend(other.violations);
        self.skips.extend(other.skips);
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (how_many, what) in &self.counts {
            write!(f, "{how_many} {what}, ")?;
        }
        write!(f, "{} violations, {} skipped", self.violations.len(), self.skips.len())?;
        for skip in &self.skips {
            write!(f, " ({skip})")?;
        }
        for violation in &self.violations {
            write!(f, "\n  {violation}")?;
        }
        Ok(())
    }
}
