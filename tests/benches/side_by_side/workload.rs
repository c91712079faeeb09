//! The workloads: which data, and which steps.

use std::fs;
use std::path::{Path, PathBuf};

use shard_tests::corpus::{self, Edits, PageFile, SEED, SourceTree};
use shard_tests::need::Need;

use crate::ground::{Ground, command, remove, size_of};
use crate::measure::Cost;
use crate::options::Options;
use crate::report::{Report, Sample};
use crate::tool::{Place, Task, Tool};

const MIB: u64 = 1 << 20;

/// A workload, by the name `--workloads` uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    B1,
    B3,
    B5,
    B6,
    B9,
    B11,
    B12,
    Tree,
    Rss20,
}

/// Something to store, under a name of its own in the data directory.
#[derive(Debug, Clone)]
enum Source {
    Tree(SourceTree),
    Real(PathBuf),
    Random(u64),
    /// The random file of that length with 400 small edits.
    Edited(u64),
    /// The random file of that length with 5 % inserted in 50 places.
    Inserted(u64),
    Pages(u32),
    Small(u64),
}

/// One version of the data: name in the data directory, and content.
type Version = Vec<(&'static str, Source)>;

/// One measured step.
#[derive(Debug, Clone, Copy)]
struct Step {
    task: Task,
    row: &'static str,
}

impl Workload {
    const ALL: [Self; 9] =
        [Self::B1, Self::B3, Self::B5, Self::B6, Self::B9, Self::B11, Self::B12, Self::Tree, Self::Rss20];

    /// Returns the workloads asked for.
    pub(crate) fn choose(options: &Options) -> Result<Vec<Self>, String> {
        if options.workloads.is_empty() {
            return Ok(Self::ALL.into_iter().filter(|w| !matches!(w, Self::B6 | Self::Rss20)).collect());
        }
        let find = |name: &String| {
            Self::ALL.into_iter().find(|w| w.name() == name).ok_or_else(|| match name.as_str() {
                "B2" => "B2 is a step of B1".to_owned(),
                "B4" => "B4 is a step of B3".to_owned(),
                "B7" => "B7 is a step of B1 and of B3".to_owned(),
                "B8" => "B8 needs `shard gc`, which this build does not have".to_owned(),
                "B10" => "B10 is the suite `power`: cargo run -r -p shard-tests -- power".to_owned(),
                other => format!("no workload is called {other}"),
            })
        };
        options.workloads.iter().map(find).collect()
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::B1 => "B1",
            Self::B3 => "B3",
            Self::B5 => "B5",
            Self::B6 => "B6",
            Self::B9 => "B9",
            Self::B11 => "B11",
            Self::B12 => "B12",
            Self::Tree => "tree",
            Self::Rss20 => "rss20",
        }
    }

    /// Says what the data is.
    pub(crate) fn title(self, options: &Options) -> String {
        let mib = |bytes: u64| format!("{} MiB", bytes / MIB);
        match self {
            Self::B1 => format!("a source tree of {} files, {} MB", b1(options).files, b1(options).bytes / 1_000_000),
            Self::B3 => format!("{} that do not compress; then 5 % inserted in 50 places", mib(b3(options))),
            Self::B5 => "60 MB in pages, 1,150 of them changed from version to version".into(),
            Self::B6 => format!("{} files of 1 KiB", small_files(options)),
            Self::B9 => "the data of B1 and B3 together, read back and checked".into(),
            Self::B11 => "one line changed in one of 1,000 files, and committed".into(),
            Self::B12 => format!(
                "{} that do not compress; then 200 inserts and 200 overwrites of at most 4 KiB",
                mib(b12(options))
            ),
            Self::Tree => match &options.tree {
                Some(path) => format!("the real tree {}", path.display()),
                None => {
                    format!("a source tree of {} files, {} MB", large(options).files, large(options).bytes / 1_000_000)
                }
            },
            Self::Rss20 => format!("{} that do not compress", mib(20 * 1024 * MIB)),
        }
    }

    fn versions(self, options: &Options) -> Vec<Version> {
        let file = |source| vec![("big.bin", source)];
        match self {
            Self::B1 => vec![vec![("tree", Source::Tree(b1(options)))]],
            Self::B3 => vec![file(Source::Random(b3(options))), file(Source::Inserted(b3(options)))],
            Self::B5 => (0..=if options.quick { 2 } else { 5 }).map(|v| vec![("data.db", Source::Pages(v))]).collect(),
            Self::B6 => vec![vec![("small", Source::Small(small_files(options)))]],
            Self::B9 => vec![vec![("tree", Source::Tree(b1(options))), ("big.bin", Source::Random(b3(options)))]],
            Self::B11 => {
                vec![vec![("tree", Source::Tree(SourceTree { seed: SEED, files: 1000, bytes: 15_000_000 }))]]
            }
            Self::B12 => vec![file(Source::Random(b12(options))), file(Source::Edited(b12(options)))],
            Self::Tree => vec![vec![match &options.tree {
                Some(path) => ("tree", Source::Real(path.clone())),
                None => ("tree", Source::Tree(large(options))),
            }]],
            Self::Rss20 => vec![file(Source::Random(20 * 1024 * MIB))],
        }
    }

    fn steps(self, options: &Options) -> Vec<Step> {
        let step = |task, row| Step { task, row };
        match self {
            Self::B1 => vec![
                step(Task::Store(1), "B1 first commit"),
                step(Task::Store(2), "B2 nothing changed"),
                step(Task::Status, "B2 status, nothing changed"),
                step(Task::Restore(2), "B7 restore B1"),
            ],
            Self::B3 => vec![
                step(Task::Store(1), "B3 first commit"),
                step(Task::Restore(1), "B7 restore B3"),
                step(Task::Store(2), "B4 commit of 5 % inserted"),
            ],
            Self::B5 => {
                let versions = if options.quick { 2 } else { 5 };
                let mut steps = vec![step(Task::Store(1), "B5 first commit")];
                steps.extend((2..=versions + 1).map(|n| step(Task::Store(n), "B5 each next version")));
                steps
            }
            Self::B6 => vec![step(Task::Store(1), "B6 first commit")],
            Self::B9 => vec![step(Task::Store(1), "B9 first commit"), step(Task::Check, "B9 full check")],
            Self::B11 => {
                let count = if options.quick { 3 } else { 20 };
                let mut steps = vec![step(Task::Store(1), "B11 first commit of 1,000 files")];
                steps.extend((1..=count).map(|n| step(Task::Small(n), "B11 small commit")));
                steps
            }
            Self::B12 => vec![
                step(Task::Store(1), "B12 first commit"),
                step(Task::Restore(1), "B12 restore"),
                step(Task::Store(2), "B12 commit of 400 edits"),
            ],
            Self::Tree => vec![
                step(Task::Store(1), "tree first commit"),
                step(Task::Store(2), "tree nothing changed"),
                step(Task::Status, "tree status, nothing changed"),
                step(Task::Restore(2), "tree restore"),
            ],
            Self::Rss20 => vec![step(Task::Store(1), "20 GiB first commit")],
        }
    }

    /// Runs the workload for every tool and enters what came out into `report`.
    pub(crate) fn run(
        self,
        options: &Options,
        tools: &[Tool],
        ground: &mut Ground,
        report: &mut Report,
    ) -> Result<(), String> {
        let versions = self.versions(options);
        fs::create_dir_all(ground.corpus()).map_err(|e| e.to_string())?;
        for version in &versions {
            for (name, source) in version {
                let digest = source.prepare(&ground.corpus())?;
                report.corpus(self.name(), name, digest);
            }
        }
        let last = options.runs + usize::from(options.syncs && Need::Strace.is_met());
        for run in 0..last {
            for tool in tools {
                let turn = Turn { workload: self, options, versions: &versions, tool, first: run == 0 };
                let result = if run == options.runs {
                    turn.count_syncs(ground, report)
                } else {
                    eprintln!("  run {} of {}: {}", run + 1, options.runs, tool.name());
                    turn.measure(ground, report)
                };
                if let Err(error) = result {
                    eprintln!("  {}: {error}", tool.name());
                    report.failure(self.name(), tool, &error);
                }
            }
        }
        if self == Self::B11 {
            report.sync_time(ground.fresh()?.as_path())?;
        }
        ground.leave()?;
        ground.forget_corpus()
    }
}

/// One tool's go at a workload.
struct Turn<'a> {
    workload: Workload,
    options: &'a Options,
    versions: &'a [Version],
    tool: &'a Tool,
    first: bool,
}

impl Turn<'_> {
    fn measure(&self, ground: &mut Ground, report: &mut Report) -> Result<(), String> {
        let (place, log) = (self.begin(ground)?, ground.log());
        for step in self.workload.steps(self.options) {
            self.change(&place, &ground.corpus(), step.task)?;
            let Some(commands) = self.tool.commands(step.task, &place) else { continue };
            ground.settle()?;
            let before = size_of(&self.tool.stored_at(&place)).0;
            let cost = commands.measure(&log)?;
            report.add(step.row, self.tool, self.sample(step.task, &place, cost, before));
            if let Task::Restore(n) = step.task {
                if self.first {
                    self.compare(&place, &ground.corpus(), n)?;
                }
                remove(&place.restored)?;
            }
        }
        Ok(())
    }

    fn count_syncs(&self, ground: &mut Ground, report: &mut Report) -> Result<(), String> {
        let (place, log) = (self.begin(ground)?, ground.log());
        let mut counted = Vec::new();
        for step in self.workload.steps(self.options) {
            if !matches!(step.task, Task::Store(_) | Task::Small(_)) {
                continue;
            }
            self.change(&place, &ground.corpus(), step.task)?;
            let Some(commands) = self.tool.commands(step.task, &place) else { continue };
            let repeated = counted.contains(&step.row);
            if repeated {
                commands.run(&log)?;
            } else {
                report.syncs(step.row, self.tool, commands.count_syncs(&log)?);
                counted.push(step.row);
            }
        }
        Ok(())
    }

    /// Puts the first version in place and makes the store.
    fn begin(&self, ground: &mut Ground) -> Result<Place, String> {
        let mut place = Place::within(&ground.fresh()?);
        fs::create_dir(&place.data).map_err(|e| e.to_string())?;
        fs::create_dir(&place.home).map_err(|e| e.to_string())?;
        for (name, source) in &self.versions[0] {
            source.place(&ground.corpus(), &place.data.join(name))?;
        }
        if *self.tool == Tool::Dd {
            match self.versions[0].as_slice() {
                [(name, source)] if source.is_file() => place.flat = place.data.join(name),
                _ => concatenate(&place.data, &place.flat)?,
            }
        }
        let init = self.tool.commands(Task::Init, &place).ok_or("cannot begin")?;
        init.run(&ground.log())?;
        Ok(place)
    }

    /// Changes the data as the task expects it.
    fn change(&self, place: &Place, corpus: &Path, task: Task) -> Result<(), String> {
        match task {
            Task::Store(n) if n > 1 => {
                let Some(version) = self.versions.get(n as usize - 1) else { return Ok(()) };
                for (name, source) in version {
                    let (fresh, target) = (place.data.with_file_name("fresh"), place.data.join(name));
                    source.place(corpus, &fresh)?;
                    fs::rename(&fresh, &target).map_err(|e| e.to_string())?;
                }
                Ok(())
            }
            Task::Small(n) => {
                use std::io::Write;
                let path = first_file(&place.data.join("tree")).ok_or("the tree has no file")?;
                let mut file = fs::OpenOptions::new().append(true).open(&path).map_err(|e| e.to_string())?;
                writeln!(file, "// edit {n}").map_err(|e| e.to_string())
            }
            _ => Ok(()),
        }
    }

    fn sample(&self, task: Task, place: &Place, cost: Cost, before: u64) -> Sample {
        let stores = matches!(task, Task::Store(_));
        let (apparent, allocated) = if stores { size_of(&self.tool.stored_at(place)) } else { (0, 0) };
        Sample {
            cost,
            stored: stores.then_some(apparent),
            allocated: stores.then_some(allocated),
            new: stores.then(|| apparent.saturating_sub(before)),
        }
    }

    fn compare(&self, place: &Place, corpus: &Path, version: u32) -> Result<(), String> {
        let version = self.versions.get(version as usize - 1).unwrap_or(&self.versions[0]);
        for (name, source) in version {
            let restored = corpus::digest(&place.restored.join(name)).map_err(|e| format!("restored {name}: {e}"))?;
            let stored = source.digest(corpus)?;
            if restored != stored {
                return Err(format!("restored {name} differs from what was stored"));
            }
        }
        Ok(())
    }
}

impl Source {
    fn key(&self) -> String {
        match self {
            Self::Tree(tree) => format!("tree-{}-{}", tree.files, tree.bytes),
            Self::Real(_) => "real".into(),
            Self::Random(len) => format!("random-{len}"),
            Self::Edited(len) => format!("edited-{len}"),
            Self::Inserted(len) => format!("inserted-{len}"),
            Self::Pages(version) => format!("pages-{version}"),
            Self::Small(count) => format!("small-{count}"),
        }
    }

    fn is_file(&self) -> bool {
        matches!(self, Self::Random(_) | Self::Edited(_) | Self::Inserted(_) | Self::Pages(_))
    }

    /// Too large to keep two of: written straight into each turn.
    fn is_written_in_place(&self) -> bool {
        matches!(self, Self::Small(_)) || matches!(self, Self::Random(len) if *len > 4096 * MIB)
    }

    /// Writes it into the corpus directory unless it is there, and returns its digest.
    fn prepare(&self, corpus: &Path) -> Result<String, String> {
        let path = self.kept_at(corpus);
        if self.is_written_in_place() {
            return Ok("written in place".into());
        }
        if !path.exists() {
            self.write(corpus, &path)?;
        }
        let digest = corpus::digest(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        fs::write(corpus.join(format!("{}.digest", self.key())), &digest).map_err(|e| e.to_string())?;
        Ok(digest)
    }

    fn kept_at(&self, corpus: &Path) -> PathBuf {
        if let Self::Real(path) = self { path.clone() } else { corpus.join(self.key()) }
    }

    fn digest(&self, corpus: &Path) -> Result<String, String> {
        let path = corpus.join(format!("{}.digest", self.key()));
        fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))
    }

    fn write(&self, corpus: &Path, path: &Path) -> Result<(), String> {
        let written = match self {
            Self::Tree(tree) => tree.write(path).map(|_| ()),
            Self::Real(_) => return Err(format!("{} is not there", path.display())),
            Self::Random(len) => corpus::incompressible(path, SEED, *len),
            Self::Edited(len) => Edits::small(SEED, *len).apply(&Self::Random(*len).kept_at(corpus), path),
            Self::Inserted(len) => Edits::inserted(SEED, *len, 5, 50).apply(&Self::Random(*len).kept_at(corpus), path),
            Self::Pages(version) => PageFile::B5.write(path, *version, PageFile::CHANGED),
            Self::Small(count) => corpus::many_small(path, SEED, *count),
        };
        written.map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Puts a copy at `target`.
    fn place(&self, corpus: &Path, target: &Path) -> Result<(), String> {
        if self.is_written_in_place() {
            return self.write(corpus, target);
        }
        let (from, to) = (self.kept_at(corpus).display().to_string(), target.display().to_string());
        command(&["cp", "-a", "--reflink=never", &from, &to])
    }
}

fn b1(options: &Options) -> SourceTree {
    if options.quick { SourceTree { files: 2000, bytes: 30_000_000, ..SourceTree::B1 } } else { SourceTree::B1 }
}

fn large(options: &Options) -> SourceTree {
    if options.quick { SourceTree { files: 5000, bytes: 135_000_000, ..SourceTree::LARGE } } else { SourceTree::LARGE }
}

fn b3(options: &Options) -> u64 {
    if options.quick { 64 * MIB } else { 512 * MIB }
}

fn b12(options: &Options) -> u64 {
    if options.quick { 128 * MIB } else { 1024 * MIB }
}

fn small_files(options: &Options) -> u64 {
    if options.quick { 20_000 } else { 1_000_000 }
}

/// Returns the first regular file, by name, that is not empty.
fn first_file(directory: &Path) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(directory).ok()?.flatten().map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        let metadata = fs::symlink_metadata(&path).ok()?;
        if metadata.is_file() && metadata.len() > 0 {
            return Some(path);
        }
        if metadata.is_dir()
            && let Some(found) = first_file(&path)
        {
            return Some(found);
        }
    }
    None
}

/// Writes all regular files beneath `directory` one after the other into `target`.
fn concatenate(directory: &Path, target: &Path) -> Result<(), String> {
    let mut out = std::io::BufWriter::with_capacity(1 << 20, fs::File::create(target).map_err(|e| e.to_string())?);
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).map_err(|e| e.to_string())?;
        if metadata.is_dir() {
            for entry in fs::read_dir(&path).map_err(|e| e.to_string())? {
                left.push(entry.map_err(|e| e.to_string())?.path());
            }
        } else if metadata.is_file() {
            let mut file = fs::File::open(&path).map_err(|e| e.to_string())?;
            std::io::copy(&mut file, &mut out).map_err(|e| e.to_string())?;
        }
    }
    use std::io::Write;
    out.flush().map_err(|e| e.to_string())
}
