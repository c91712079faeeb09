//! What the figures were taken on.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Returns name and value of what matters about the machine and the place of the data.
pub(crate) fn describe(scratch: &Path) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: String| facts.push((name.to_owned(), value));
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        cpu.lines().find(|l| l.starts_with(name)).and_then(|l| l.split_once(": ")).map(|(_, v)| v.to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    fact("processor", format!("{}, {cores} cores", field("model name").unwrap_or_else(|| "unknown".into())));
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: u64 = memory.split_whitespace().nth(1).and_then(|w| w.parse().ok()).unwrap_or(0);
    fact("memory", format!("{:.1} GiB", kib as f64 / 1_048_576.0));
    fact("kernel", fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned());
    fact("file system", mount_of(scratch));
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    fact("load before", load.split_whitespace().next().unwrap_or("?").to_owned());
    facts
}

/// Returns type and options of the mount `path` lies on.
pub(crate) fn mount_of(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let holder = mounts
        .lines()
        .filter_map(|l| {
            let words: Vec<_> = l.split(' ').collect();
            (words.len() > 3 && path.starts_with(words[1]))
                .then(|| (words[1].len(), format!("{} ({})", words[2], words[3])))
        })
        .max_by_key(|(len, _)| *len);
    holder.map_or_else(|| "unknown".into(), |(_, text)| text)
}

/// Returns the first line `program` prints with `arguments`, or `None` if it cannot be run.
pub(crate) fn version(program: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&text).lines().next().map(|l| l.trim().to_owned())
}
