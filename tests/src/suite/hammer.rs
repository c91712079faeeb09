//! Many processes at once: writers that commit their own files, readers that never pause.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Findings;
use super::subject::{said, worktree};
use crate::Sandbox;
use crate::corpus::Stream;

/// How many of each, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Processes that commit, at any moment.
    pub writers: u64,
    /// Processes that read, at any moment.
    pub readers: u64,
    /// How long.
    pub time: Duration,
}

/// Lets `load` loose on one repository. Every acknowledged commit has to be in the history at the end, and the only error
/// anybody may meet is that the repository stayed busy for longer than their patience.
///
/// # Errors
/// The repository could not be made.
pub fn hammer(sandbox: &Sandbox, load: Load) -> Result<Findings, String> {
    said(sandbox.shard("ana", ["init", "demo"]))?;
    let shared = Shared::default();
    let end = Instant::now() + load.time;
    thread::scope(|scope| {
        for writer in 0..load.writers {
            let shared = &shared;
            scope.spawn(move || write_until(sandbox, writer, end, shared));
        }
        for reader in 0..load.readers {
            let shared = &shared;
            scope.spawn(move || read_until(sandbox, reader, end, shared));
        }
    });
    let mut findings = shared.findings.into_inner().expect("no writer panics");
    let acknowledged = shared.acknowledged.into_inner().expect("no writer panics");
    findings.count("acknowledged", acknowledged.len() as u64);
    let log = said(sandbox.shard("ana", ["-C", "demo", "--json", "log", "-n", "1000000"]))?;
    let document: Value = serde_json::from_slice(&log.stdout).map_err(|e| e.to_string())?;
    let mut there = BTreeSet::new();
    ids(&document, &mut there);
    let lost = acknowledged.iter().filter(|id| !there.contains(*id)).count();
    findings.count("lost", lost as u64);
    if lost > 0 {
        findings.violations.push(format!("{lost} acknowledged commits are not reachable"));
    }
    if acknowledged.is_empty() {
        findings.violations.push("nobody could commit".into());
    }
    if let Err(error) = said(sandbox.shard("ana", ["-C", "demo", "fsck", "--full"])) {
        findings.violations.push(error);
    }
    Ok(findings)
}

#[derive(Default)]
struct Shared {
    acknowledged: Mutex<Vec<String>>,
    findings: Mutex<Findings>,
}

impl Shared {
    /// Judges a failure: busy is fair, anything else is not.
    fn failed(&self, who: &str, stdout: &[u8]) {
        let document: Value = serde_json::from_slice(stdout).unwrap_or_default();
        let code = document["error"]["code"].as_str().unwrap_or("no code");
        let mut findings = self.findings.lock().expect("no holder panics");
        if code == "repository.busy" {
            findings.count("busy", 1);
        } else if findings.violations.len() < 20 {
            let message = document["error"]["message"].as_str().unwrap_or_default();
            findings.violations.push(format!("{who}: {code}: {message}"));
        }
    }
}

fn write_until(sandbox: &Sandbox, writer: u64, end: Instant, shared: &Shared) {
    let mut stream = Stream::new(writer, "hammer");
    let name = format!("writer-{writer}");
    for n in 0_u64.. {
        if Instant::now() >= end {
            return;
        }
        let len = if stream.chance(100) { 100_000 + stream.below(200_000) } else { 1 + stream.below(2_000) };
        let mut bytes = vec![0; len as usize];
        stream.fill(&mut bytes);
        let message = format!("{name} {n}");
        let output = std::fs::write(worktree(sandbox).join(&name), &bytes)
            .and_then(|()| sandbox.shard("ana", ["-C", "demo", "--json", "commit", "-m", &message, &name]))
            .and_then(|mut c| c.output());
        match output {
            Ok(output) if output.status.success() => {
                let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
                let id = document["data"]["id"].as_str().unwrap_or_default().to_owned();
                shared.acknowledged.lock().expect("no holder panics").push(id);
            }
            Ok(output) => shared.failed(&name, &output.stdout),
            Err(error) => {
                shared.findings.lock().expect("no holder panics").violations.push(format!("{name}: {error}"));
                return;
            }
        }
    }
}

fn read_until(sandbox: &Sandbox, reader: u64, end: Instant, shared: &Shared) {
    while Instant::now() < end {
        for command in [["-C", "demo", "--json", "log"], ["-C", "demo", "--json", "status"]] {
            match sandbox.shard("ana", command).and_then(|mut c| c.output()) {
                Ok(output) if output.status.success() => {
                    shared.findings.lock().expect("no holder panics").count("reads", 1);
                }
                Ok(output) => shared.failed(&format!("reader {reader} {}", command[3]), &output.stdout),
                Err(error) => {
                    shared.findings.lock().expect("no holder panics").violations.push(format!("reader: {error}"));
                    return;
                }
            }
        }
    }
}

fn ids(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if name == "id" => {
                        found.insert(text.clone());
                    }
                    other => ids(other, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| ids(item, found)),
        _ => {}
    }
}
