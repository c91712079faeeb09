//! What a command costs: wall time, CPU seconds, peak memory.
//!
//! The kernel adds the cost of finished children to their parent, so each measured step runs beneath a fresh small process:
//! this executable, started anew with [`CHILD`] as its first argument.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

/// First argument of the process that measures.
pub(crate) const CHILD: &str = "__measure";

/// Commands that make one step, run one after the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Commands {
    /// Program and arguments of each.
    pub(crate) list: Vec<Vec<String>>,
    /// Where they run.
    pub(crate) directory: PathBuf,
    /// Added to the environment.
    pub(crate) variables: BTreeMap<String, String>,
    /// Exit codes besides 0 that mean the step is done.
    pub(crate) accepted: Vec<i32>,
}

/// What a step cost.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Seconds from start to end.
    pub(crate) wall: f64,
    /// CPU seconds in user mode, all threads and children together.
    pub(crate) user: f64,
    /// CPU seconds in the kernel.
    pub(crate) system: f64,
    /// Bytes of memory of the largest process at its peak.
    pub(crate) rss: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Outcome {
    cost: Cost,
    exit: Vec<i32>,
}

impl Commands {
    /// Runs the commands and returns what they cost together. Their output goes to `log`.
    pub(crate) fn measure(&self, log: &Path) -> Result<Cost, String> {
        let result = log.with_extension("cost");
        let executable = std::env::current_exe().map_err(|e| e.to_string())?;
        let output = File::create(log).map_err(|e| format!("{}: {e}", log.display()))?;
        let status = Command::new(executable)
            .arg(CHILD)
            .arg(&result)
            .arg(serde_json::to_string(&self.list).expect("strings are JSON"))
            .current_dir(&self.directory)
            .envs(&self.variables)
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(|e| e.to_string())?)
            .stderr(output)
            .status()
            .map_err(|e| e.to_string())?;
        let told = fs::read(&result).ok().and_then(|bytes| serde_json::from_slice::<Outcome>(&bytes).ok());
        let Some(outcome) = told else { return Err(format!("the measuring process ended with {status}")) };
        for (command, exit) in self.list.iter().zip(&outcome.exit) {
            if *exit != 0 && !self.accepted.contains(exit) {
                let said = fs::read_to_string(log).unwrap_or_default();
                let tail: Vec<_> = said.lines().rev().take(12).collect();
                let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
                return Err(format!("`{}` ended with {exit}:\n{tail}", command.join(" ")));
            }
        }
        Ok(outcome.cost)
    }

    /// Runs the commands without measuring.
    pub(crate) fn run(&self, log: &Path) -> Result<(), String> {
        self.measure(log).map(|_| ())
    }

    /// Runs the commands under `strace` and returns how many times they and their children synced.
    pub(crate) fn count_syncs(&self, log: &Path) -> Result<u64, String> {
        let trace = log.with_extension("strace");
        let mut traced = self.clone();
        for (number, command) in traced.list.iter_mut().enumerate() {
            let out = format!("{}.{number}", trace.display());
            let strace =
                ["strace", "-f", "-qq", "-e", "trace=fsync,fdatasync,syncfs,sync,sync_file_range,msync", "-o", &out];
            command.splice(..0, strace.map(str::to_owned));
        }
        traced.run(log)?;
        let mut count = 0;
        for number in 0..traced.list.len() {
            let text = fs::read_to_string(format!("{}.{number}", trace.display())).map_err(|e| e.to_string())?;
            // A call another thread interrupts takes two lines; the second does not name it again as a call.
            count += text
                .lines()
                .filter(|l| l.contains("sync(") || l.contains("syncfs(") || l.contains("sync_file_range("))
                .count();
        }
        Ok(count as u64)
    }
}

/// The measuring process: runs the commands it is given, tells what they cost, and does nothing else.
pub(crate) fn child(arguments: &[String]) -> ExitCode {
    let [result, commands] = arguments else { return ExitCode::from(2) };
    let Ok(commands) = serde_json::from_str::<Vec<Vec<String>>>(commands) else { return ExitCode::from(2) };
    let mut exit = Vec::new();
    let begin = Instant::now();
    for command in &commands {
        let Some((program, arguments)) = command.split_first() else { return ExitCode::from(2) };
        match Command::new(program).args(arguments).stdin(Stdio::null()).status() {
            Ok(status) => exit.push(status.code().unwrap_or(-1)),
            Err(error) => {
                eprintln!("{program}: {error}");
                exit.push(127);
            }
        }
        if exit.last() != Some(&0) {
            break;
        }
    }
    let wall = begin.elapsed().as_secs_f64();
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else { return ExitCode::from(3) };
    let seconds = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
    let cost = Cost {
        wall,
        user: seconds(usage.user_time()),
        system: seconds(usage.system_time()),
        // Linux counts kibibytes here.
        rss: usage.max_rss() as u64 * 1024,
    };
    let told = serde_json::to_vec(&Outcome { cost, exit }).expect("numbers are JSON");
    if fs::write(result, told).is_ok() { ExitCode::SUCCESS } else { ExitCode::from(3) }
}
