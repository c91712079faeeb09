//! What the command line asks for.

use std::path::PathBuf;

/// Printed by `--help`.
pub(crate) const HELP: &str = "\
cargo bench -p shard-tests --bench side_by_side -- [OPTIONS]

  --workloads A,B   B1 (with B2, B7), B3 (with B4, B7), B5, B6, B9, B11, B12, tree, rss20; default: all but B6 and rss20
  --tools A,B       shard, restic, borg, casync, git, dd; default: shard and every one installed
  --backends A,B    of shard: sqlite, flat, sled; default: sqlite
  --runs N          default 5; 1 with --quick
  --quick           small data, one run: shows that everything works, not how fast it is
  --tree PATH       a real tree in place of the generated one in workload `tree`
  --scratch DIR     where data and stores go; default: target/side_by_side; up to 15 GB
  --fs KIND         dir (default), or as root loop or tmpfs: a fresh file system for each turn
  --cold            as root: drop the page cache before each measured step
  --syncs           one more turn for each tool under strace, counting its syncs
  --out FILE        write the Markdown table
  --json FILE       write every sample
";

/// What each turn stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileSystem {
    /// A fresh directory.
    Directory,
    /// A fresh ext4 in a loop-mounted image.
    Loop,
    /// A fresh tmpfs.
    Tmpfs,
}

/// The options, with defaults filled in.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) workloads: Vec<String>,
    pub(crate) tools: Vec<String>,
    pub(crate) backends: Vec<String>,
    pub(crate) runs: usize,
    pub(crate) quick: bool,
    pub(crate) tree: Option<PathBuf>,
    pub(crate) scratch: PathBuf,
    pub(crate) file_system: FileSystem,
    pub(crate) cold: bool,
    pub(crate) syncs: bool,
    pub(crate) out: Option<PathBuf>,
    pub(crate) json: Option<PathBuf>,
}

impl Options {
    /// Reads the arguments; `None` asks for the help text.
    pub(crate) fn parse(arguments: &[String]) -> Result<Option<Self>, String> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace member").join("target"),
            PathBuf::from,
        );
        let mut options = Self {
            workloads: Vec::new(),
            tools: Vec::new(),
            backends: vec!["sqlite".into()],
            runs: 0,
            quick: false,
            tree: None,
            scratch: target.join("side_by_side"),
            file_system: FileSystem::Directory,
            cold: false,
            syncs: false,
            out: None,
            json: None,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().cloned().ok_or_else(|| format!("{argument} needs a value"));
            let list = |v: String| v.split(',').map(str::to_owned).collect::<Vec<_>>();
            match argument.as_str() {
                "--help" | "-h" => return Ok(None),
                // What cargo itself passes to every benchmark.
                "--bench" => {}
                "--workloads" => options.workloads = list(value()?),
                "--tools" => options.tools = list(value()?),
                "--backends" => options.backends = list(value()?),
                "--runs" => options.runs = value()?.parse().map_err(|_| "--runs needs a number".to_owned())?,
                "--quick" => options.quick = true,
                "--tree" => options.tree = Some(PathBuf::from(value()?)),
                "--scratch" => options.scratch = PathBuf::from(value()?),
                "--fs" => {
                    options.file_system = match value()?.as_str() {
                        "dir" => FileSystem::Directory,
                        "loop" => FileSystem::Loop,
                        "tmpfs" => FileSystem::Tmpfs,
                        other => return Err(format!("--fs {other}: dir, loop or tmpfs")),
                    }
                }
                "--cold" => options.cold = true,
                "--syncs" => options.syncs = true,
                "--out" => options.out = Some(PathBuf::from(value()?)),
                "--json" => options.json = Some(PathBuf::from(value()?)),
                other => return Err(format!("unknown option {other}")),
            }
        }
        if options.runs == 0 {
            options.runs = if options.quick { 1 } else { 5 };
        }
        Ok(Some(options))
    }
}
