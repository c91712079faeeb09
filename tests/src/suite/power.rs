//! Power cuts: a file system shut down beneath a program that commits.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::image::{Cut, Image};
use super::subject::said;
use super::{Findings, Subject, Verdict};
use crate::corpus::Stream;
use crate::{Sandbox, Shard};

/// Cuts the power `cuts` times while `subject` commits, each time on a new file system, and judges what is left. Takes about
/// a second and a half for each.
///
/// # Errors
/// The image could not be made, mounted or shut down: nothing was found out then.
pub fn cut_power(subject: &dyn Subject, shard: Option<&Shard>, cuts: u64, seed: u64) -> Result<Findings, String> {
    let directory = tempfile::Builder::new().prefix("shard-power-").tempdir().map_err(|e| e.to_string())?;
    let mut findings = Findings::default();
    findings.count("cuts", 0);
    for number in 0..cuts {
        let (acknowledged, verdict) = cut_once(subject, shard, directory.path(), seed.wrapping_add(number))?;
        findings.count("cuts", 1);
        findings.count("acknowledged", acknowledged);
        findings.count("lost", verdict.lost.len() as u64);
        findings.count("torn", verdict.torn.len() as u64);
        if !verdict.is_clean() {
            findings.violations.push(format!("seed {}: {verdict}", seed.wrapping_add(number)));
        }
    }
    Ok(findings)
}

fn cut_once(
    subject: &dyn Subject,
    shard: Option<&Shard>,
    directory: &Path,
    seed: u64,
) -> Result<(u64, Verdict), String> {
    let mut stream = Stream::new(seed, "power cut");
    let mut image = Image::new(directory, 96)?;
    let cut = if stream.chance(500) { Cut::JournalFlushed } else { Cut::JournalLost };
    // The key and its high-water mark lie on the same disk, as on a laptop.
    let mut sandbox = Sandbox::beneath(image.path(), shard.map(Shard::path)).map_err(|e| e.to_string())?;
    sandbox.keep();
    // What we have made ourselves is on the disk before the program is held to its word.
    said(sandbox.command("ana", "sync"))?;
    subject.init(&sandbox)?;
    let prepared = image.prepare_cut(cut)?;
    let deadline = Instant::now() + Duration::from_millis(100 + stream.below(700));
    let mut acknowledged = Vec::new();
    let mut prepared = Some(prepared);
    for n in 1.. {
        if prepared.is_none() || subject.edit(&sandbox, n).is_err() {
            break;
        }
        let Ok(mut command) = subject.commit(&sandbox, n) else { break };
        let Ok(mut child) = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() else { break };
        let ended = wait_until(&mut child, deadline).map_err(|e| e.to_string())?;
        match ended {
            Some(true) => acknowledged.push(n),
            Some(false) if Instant::now() < deadline => {
                return Err(format!("commit {n} failed before the power was cut"));
            }
            Some(false) => {}
            None => {
                prepared.take().expect("checked at the loop's head").cut()?;
                // Whether it ends by itself, fails, or hangs on the dead disk: nothing it says now counts.
                let _ = child.kill();
                child.wait().map_err(|e| e.to_string())?;
            }
        }
        if Instant::now() >= deadline
            && let Some(prepared) = prepared.take()
        {
            prepared.cut()?;
        }
    }
    drop(prepared);
    image.unmount()?;
    image.mount()?;
    let verdict = subject.judge(&sandbox, &acknowledged, true);
    drop(sandbox);
    image.unmount()?;
    Ok((acknowledged.len() as u64, verdict))
}

/// Waits for the child, at most until `deadline`. Returns whether it succeeded, or `None` if it still runs.
fn wait_until(child: &mut Child, deadline: Instant) -> std::io::Result<Option<bool>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}
