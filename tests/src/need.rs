//! What a test needs from the machine, and the account of what was skipped for want of it.
//!
//! A skip is never silent: it prints its reason, names the test that keeps the same promise without the need (its
//! *twin*), and adds a line to the file `SHARD_TEST_SKIPS` names, from which `.ci/run` counts. `SHARD_TEST_REQUIRE`, a
//! comma-separated list of needs or `all`, turns skips into failures.

use std::env;
use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Shard;

/// Something a test cannot do without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// The user is root of the machine, not of a user namespace.
    Root,
    /// Loop devices, and the programs that make and mount an ext4 image.
    Loop,
    /// An interpreter that can issue an ioctl: `python3` or `perl`.
    Ioctl,
    /// `strace`, allowed to trace.
    Strace,
    /// Unprivileged user and mount namespaces through `unshare`.
    Namespaces,
    /// A program on the path.
    Program(String),
    /// A command of `shard` that this build does not have yet.
    Command(String),
}

impl Need {
    /// Returns whether the machine, or the build, satisfies it.
    pub fn is_met(&self) -> bool {
        match self {
            Self::Root => rustix::process::geteuid().is_root() && maps_whole_machine(),
            Self::Loop => {
                Path::new("/dev/loop-control").exists() && ["mkfs.ext4", "mount", "umount"].into_iter().all(on_path)
            }
            Self::Ioctl => on_path("python3") || on_path("perl"),
            Self::Strace => succeeds("strace", &["-f", "-qq", "-o", "/dev/null", "true"]),
            Self::Namespaces => succeeds("unshare", &["-Urm", "mount", "-t", "tmpfs", "none", "/tmp"]),
            Self::Program(name) => on_path(name),
            Self::Command(verb) => Shard::get().has_command(verb),
        }
    }

    /// Returns the word `SHARD_TEST_REQUIRE` and the closing line of `.ci/run` use.
    pub fn word(&self) -> &str {
        match self {
            Self::Root => "root",
            Self::Loop => "loop",
            Self::Ioctl => "ioctl",
            Self::Strace => "strace",
            Self::Namespaces => "netns",
            Self::Program(name) => name,
            Self::Command(_) => "command",
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("needs root"),
            Self::Loop => f.write_str("needs loop devices and mkfs.ext4"),
            Self::Ioctl => f.write_str("needs python3 or perl"),
            Self::Strace => f.write_str("needs strace"),
            Self::Namespaces => f.write_str("needs user namespaces (unshare -Urm)"),
            Self::Program(name) => write!(f, "needs {name}"),
            Self::Command(verb) => write!(f, "needs `shard {verb}`, which this build does not have"),
        }
    }
}

/// Why a test did not run.
#[derive(Debug, Clone)]
pub struct Skip {
    /// What was missing.
    pub need: Need,
    /// The test that keeps the promise without it, or `-`.
    pub twin: String,
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.need)?;
        if self.twin != "-" {
            write!(f, "; its twin is {}", self.twin)?;
        }
        Ok(())
    }
}

/// Checks that all `needs` of `test` are met. The first that is not becomes a skip, which is written to the account.
///
/// # Errors
/// The outer error says that the missing need was required of this run; the test has to fail with it.
pub fn check(test: &str, needs: &[Need], twin: &str) -> Result<Option<Skip>, String> {
    let Some(need) = needs.iter().find(|n| !n.is_met()) else { return Ok(None) };
    let required = env::var("SHARD_TEST_REQUIRE").unwrap_or_default();
    if required.split(',').any(|r| r == need.word() || r == "all") {
        return Err(format!("{test} {need}, and SHARD_TEST_REQUIRE={required} forbids skipping it"));
    }
    if let Some(account) = env::var_os("SHARD_TEST_SKIPS") {
        // A missing command of our own has no twin: the test is ahead of the program.
        let twin = if matches!(need, Need::Command(_)) { "-" } else { twin };
        let line = format!("{}\t{test}\t{twin}\n", need.word());
        let opened = OpenOptions::new().append(true).create(true).open(&account);
        opened
            .and_then(|mut f| f.write_all(line.as_bytes()))
            .map_err(|e| format!("cannot account for a skip in {}: {e}", account.display()))?;
    }
    Ok(Some(Skip { need: need.clone(), twin: twin.to_owned() }))
}

/// Returns whether a program of that name is on the path or in the system's administration directories.
pub fn on_path(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).any(|d| d.join(name).is_file())
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// Root of a user namespace maps fewer ids than the machine has.
fn maps_whole_machine() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_nobody_has_is_a_skip_that_names_its_twin() {
        let need = Need::Program("surely-no-such-program".into());
        assert!(!need.is_met());
        let skip = Skip { need, twin: "the_other_test".into() };
        assert_eq!(skip.to_string(), "needs surely-no-such-program; its twin is the_other_test");
    }

    #[test]
    fn the_shell_is_on_the_path() {
        assert!(on_path("sh"));
    }
}
