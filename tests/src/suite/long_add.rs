//! A long `add` killed on its way: what it had registered by then is not stored again.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Findings;
use super::subject::{said, worktree};
use crate::Sandbox;

/// More than a gigabyte, after which the first part is registered.
const SIZE: u64 = 1600 << 20;
/// How much of it a block is.
const BLOCK: usize = 4096;

/// Kills an `add` as soon as the first part of what it read is registered, and adds again.
///
/// # Errors
/// A command failed that nobody killed, or the `add` ended without having registered a part.
pub fn kill_a_long_add(sandbox: &Sandbox) -> Result<Findings, String> {
    let mut findings = Findings::default();
    said(sandbox.shard("ana", ["init", "demo"]))?;
    let root = worktree(sandbox);
    fill(&root.join("large")).map_err(|error| error.to_string())?;
    let in_demo = |arguments: &[&str]| {
        let mut command = sandbox.shard("ana", arguments)?;
        command.current_dir(&root);
        Ok(command)
    };
    let catalog = || std::fs::metadata(root.join(".shard/objects/catalog.log")).map_or(0, |metadata| metadata.len());
    let before = catalog();
    let mut adding: std::process::Command = in_demo(&["add", "large"]).map_err(|e: std::io::Error| e.to_string())?;
    let mut child =
        adding.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(|error| format!("add: {error}"))?;
    let begin = Instant::now();
    while catalog() == before {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Err(format!("add ended with {status} and nothing was registered before"));
        }
        if begin.elapsed() > Duration::from_secs(300) {
            let _ = child.kill();
            return Err("add registered nothing for five minutes".to_owned());
        }
        thread::sleep(Duration::from_millis(1));
    }
    child.kill().map_err(|error| error.to_string())?;
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.success() {
        return Err("add ended before it could be killed".to_owned());
    }
    findings.count("kills", 1);
    let shown = said(in_demo(&["--json", "status"]))?;
    if json(&shown.stdout)?["data"]["staged"].as_array().is_some_and(|staged| !staged.is_empty()) {
        findings.violations.push("something is staged of an add that was killed".to_owned());
    }
    let again = json(&said(in_demo(&["--json", "add", "large"]))?.stdout)?;
    let stored = again["data"]["new_bytes"].as_u64().ok_or_else(|| format!("add said {again}"))?;
    findings.count("MiB added", SIZE >> 20);
    findings.count("MiB stored anew", stored >> 20);
    // A gigabyte but for what lay in a pack that had not ended.
    if stored > SIZE - (1 << 30) + (64 << 20) {
        findings.violations.push(format!("{stored} of {SIZE} bytes were stored anew"));
    }
    said(in_demo(&["commit", "-m", "large"]))?;
    if let Err(error) = said(in_demo(&["fsck", "--full"])) {
        findings.violations.push(error);
    }
    Ok(findings)
}

/// Writes blocks of which no two are the same and each is mostly repetition, so that storing them takes little room.
fn fill(path: &Path) -> std::io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut block = [0; BLOCK];
    for number in 0..SIZE / BLOCK as u64 {
        let digest = blake3::hash(&number.to_le_bytes());
        for part in block.chunks_exact_mut(32) {
            part.copy_from_slice(digest.as_bytes());
        }
        file.write_all(&block)?;
    }
    file.into_inner()?.set_len(SIZE)
}

fn json(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("not JSON: {error}"))
}
