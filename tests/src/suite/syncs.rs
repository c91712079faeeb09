//! What small operations wait for: flushes, counted by strace.

use std::fs;
use std::process::{Command, Stdio};

use super::Findings;
use super::subject::{said, worktree};
use crate::Sandbox;

/// Whatever makes a program wait for the disk.
const CALLS: &str = "fsync,fdatasync,syncfs,sync,sync_file_range,msync";

/// Counts the flushes of small operations on a backend: each has to cost one, an `fdatasync` of the write-ahead log.
///
/// # Errors
/// A command failed, or strace could not be run.
pub fn of_small_operations(sandbox: &Sandbox) -> Result<Findings, String> {
    said(sandbox.shard("ana", ["init", "demo"]))?;
    let root = worktree(sandbox);
    let write = |name: &str, text: &str| fs::write(root.join(name), text).map_err(|error| error.to_string());
    let mut findings = Findings::default();
    let mut operate = |arguments: &[&str]| -> Result<(), String> {
        let log = sandbox.path().join("syncs.log");
        let plain = sandbox.shard("ana", arguments).map_err(|error| error.to_string())?;
        let mut traced = Command::new("strace");
        traced.args(["-f", "-qq", "-y", "-e", &format!("trace={CALLS}"), "-o"]).arg(&log);
        traced.arg(plain.get_program()).args(plain.get_args()).current_dir(&root).stdin(Stdio::null());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => traced.env(name, value),
                None => traced.env_remove(name),
            };
        }
        said(Ok(traced))?;
        let log = fs::read_to_string(&log).map_err(|error| error.to_string())?;
        let syncs: Vec<&str> = log.lines().filter(|line| line.contains('(') && !line.contains("+++")).collect();
        findings.count("small operations", 1);
        if syncs.len() != 1 || !syncs[0].contains("fdatasync(") || !syncs[0].contains("wal.log") {
            findings.violations.push(format!("{arguments:?}: {}", syncs.join(" / ")));
        }
        Ok(())
    };
    write("a.txt", "first\n")?;
    operate(&["commit", "-a", "-m", "first"])?;
    write("a.txt", "second\n")?;
    write("b.txt", "new\n")?;
    operate(&["commit", "-a", "-m", "second"])?;
    write("a.txt", "third\n")?;
    operate(&["add", "a.txt"])?;
    operate(&["commit", "-m", "third"])?;
    operate(&["branch", "new", "topic"])?;
    operate(&["tag", "new", "v1"])?;
    Ok(findings)
}
