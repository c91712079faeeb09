//! Killed processes: at random times under load, and at each system call that changes something.

use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::subject::said;
use super::{Findings, Subject};
use crate::Sandbox;
use crate::corpus::Stream;

/// Calls at which a process is killed. A call no machine or version has is simply never met.
const CALLS: [&str; 15] = [
    "openat",
    "openat2",
    "write",
    "pwrite64",
    "pwritev",
    "writev",
    "fsync",
    "fdatasync",
    "renameat2,renameat,rename",
    "unlinkat,unlink",
    "mkdirat,mkdir",
    "fchmod,fchmodat",
    "ftruncate",
    "fallocate",
    "flock,fcntl",
];

/// Kills `kills` commits of `subject` at random times, with readers beside them, and judges after each.
///
/// # Errors
/// The repository could not be made, or a commit failed that nobody killed.
pub fn kill_at_random(subject: &dyn Subject, sandbox: &Sandbox, kills: u64, seed: u64) -> Result<Findings, String> {
    subject.init(sandbox)?;
    let mut findings = Findings::default();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| read_until(subject, sandbox, &stop));
        let result = kill_in_turn(subject, sandbox, kills, seed, &mut findings);
        stop.store(true, Ordering::Relaxed);
        let (reads, failed) = reader.join().expect("the reader returns its failures");
        findings.count("reads beside", reads);
        findings.violations.extend(failed);
        result
    })?;
    Ok(findings)
}

fn kill_in_turn(
    subject: &dyn Subject,
    sandbox: &Sandbox,
    kills: u64,
    seed: u64,
    findings: &mut Findings,
) -> Result<(), String> {
    let mut stream = Stream::new(seed, "kills");
    let mut acknowledged = Vec::new();
    let mut n = 0;
    let mut done = 0;
    // How long a commit takes is learnt from the unkilled ones, so that kills spread over all of it.
    let mut usual = Duration::from_millis(20);
    findings.count("kills", 0);
    while done < kills {
        n += 1;
        subject.edit(sandbox, n).map_err(|e| e.to_string())?;
        let begin = Instant::now();
        let child = subject.commit(sandbox, n).and_then(|mut c| c.stdout(Stdio::null()).stderr(Stdio::piped()).spawn());
        let mut child = child.map_err(|e| e.to_string())?;
        let spare = n.is_multiple_of(4);
        let after = if spare { Duration::from_secs(60) } else { usual.mul_f64(stream.below(1200) as f64 / 1000.0) };
        match end_by(&mut child, begin + after)? {
            Ended::Acknowledged => {
                acknowledged.push(n);
                if spare {
                    usual = usual.mul_f64(0.7) + begin.elapsed().mul_f64(0.3);
                }
            }
            Ended::Killed => {
                done += 1;
                findings.count("kills", 1);
                let thorough = done % 10 == 0 || done == kills;
                let verdict = subject.judge(sandbox, &acknowledged, thorough);
                if !verdict.is_clean() {
                    findings.violations.push(format!("after kill {done}, commit {n}: {verdict}"));
                    return Ok(());
                }
            }
            Ended::Failed(words) => return Err(format!("commit {n} failed though nobody killed it: {words}")),
        }
    }
    findings.count("acknowledged", acknowledged.len() as u64);
    Ok(())
}

enum Ended {
    Acknowledged,
    Killed,
    Failed(String),
}

fn end_by(child: &mut Child, deadline: Instant) -> Result<Ended, String> {
    use std::io::Read;
    use std::os::unix::process::ExitStatusExt;
    loop {
        let ended = child.try_wait().map_err(|e| e.to_string())?;
        let status = match ended {
            Some(status) => status,
            None if Instant::now() < deadline => {
                thread::sleep(Duration::from_micros(100));
                continue;
            }
            None => {
                child.kill().map_err(|e| e.to_string())?;
                child.wait().map_err(|e| e.to_string())?
            }
        };
        // It may have finished in the very moment it was killed: then it has acknowledged.
        if status.success() {
            return Ok(Ended::Acknowledged);
        }
        if status.signal().is_some() {
            return Ok(Ended::Killed);
        }
        let mut words = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            stderr.read_to_string(&mut words).map_err(|e| e.to_string())?;
        }
        return Ok(Ended::Failed(format!("{status}: {}", words.trim())));
    }
}

/// Reads the history again and again; a reader must never fail, whoever is killed beside it.
fn read_until(subject: &dyn Subject, sandbox: &Sandbox, stop: &AtomicBool) -> (u64, Vec<String>) {
    let (mut reads, mut failed) = (0, Vec::new());
    let mut was_there = false;
    while !stop.load(Ordering::Relaxed) && failed.is_empty() {
        match subject.history(sandbox) {
            Ok(history) => was_there |= !history.is_empty(),
            // Before the first commit there may be nothing to show.
            Err(_) if !was_there => {}
            Err(error) => failed.push(format!("a reader failed: {error}")),
        }
        reads += 1;
    }
    (reads, failed)
}

/// Kills commits of `subject` at the first, second, … `deepest` occurrence of each mutating system call, judging each time.
/// `step` leaves out points in between: 1 takes all.
///
/// # Errors
/// The repository could not be made, or strace could not be run.
pub fn kill_at_calls(subject: &dyn Subject, sandbox: &Sandbox, deepest: u32, step: u32) -> Result<Findings, String> {
    subject.init(sandbox)?;
    let mut findings = Findings::default();
    let mut acknowledged = Vec::new();
    let mut n = 0;
    for calls in CALLS {
        for when in (1..=deepest).step_by(step.max(1) as usize) {
            n += 1;
            subject.edit(sandbox, n).map_err(|e| e.to_string())?;
            let plain = subject.commit(sandbox, n).map_err(|e| e.to_string())?;
            let mut traced = std::process::Command::new("strace");
            // Calls of an architecture that lacks one are passed over by the question mark.
            let set = calls.split(',').map(|c| format!("?{c}")).collect::<Vec<_>>().join(",");
            traced
                .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={set}")])
                .args(["-e", &format!("inject={set}:signal=KILL:when={when}")])
                .arg(plain.get_program())
                .args(plain.get_args());
            if let Some(directory) = plain.get_current_dir() {
                traced.current_dir(directory);
            }
            for (name, value) in plain.get_envs() {
                match value {
                    Some(value) => traced.env(name, value),
                    None => traced.env_remove(name),
                };
            }
            // Occurrences are counted for each thread.
            traced.env("SHARD_THREADS", "1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut child = traced.spawn().map_err(|e| format!("strace: {e}"))?;
            let ended = end_by(&mut child, Instant::now() + Duration::from_secs(60))?;
            match ended {
                Ended::Acknowledged => {
                    acknowledged.push(n);
                    // There is no such occurrence, so none beyond it.
                    break;
                }
                Ended::Killed => {}
                Ended::Failed(words) => {
                    findings.violations.push(format!("{calls} {when}: failed instead of dying: {words}"));
                }
            }
            findings.count("kill points", 1);
            let verdict = subject.judge(sandbox, &acknowledged, true);
            if !verdict.is_clean() {
                findings.violations.push(format!("killed at {calls} {when}, commit {n}: {verdict}"));
                return Ok(findings);
            }
            // A writer must find its way without help.
            n += 1;
            subject.edit(sandbox, n).map_err(|e| e.to_string())?;
            match said(subject.commit(sandbox, n)) {
                Ok(_) => acknowledged.push(n),
                Err(error) => {
                    findings.violations.push(format!("after a kill at {calls} {when} the next commit failed: {error}"));
                    return Ok(findings);
                }
            }
        }
    }
    let verdict = subject.judge(sandbox, &acknowledged, true);
    if !verdict.is_clean() {
        findings.violations.push(format!("in the end: {verdict}"));
    }
    Ok(findings)
}
