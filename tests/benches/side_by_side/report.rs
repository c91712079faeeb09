//! What came out: every sample as JSON, medians and ratios as Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::ground::Ground;
use crate::machine;
use crate::measure::Cost;
use crate::options::Options;
use crate::tool::Tool;

/// One run of one step.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Sample {
    #[serde(flatten)]
    pub(crate) cost: Cost,
    /// Bytes in the store afterwards, by file length.
    pub(crate) stored: Option<u64>,
    /// Bytes in the store afterwards, by blocks.
    pub(crate) allocated: Option<u64>,
    /// Bytes the step added.
    pub(crate) new: Option<u64>,
}

/// What a goal speaks of.
#[derive(Debug, Clone, Copy)]
enum Measure {
    Wall,
    New,
    Rss,
}

/// What a goal compares with.
#[derive(Debug, Clone, Copy)]
enum Against {
    BestPeer,
    Named(&'static str),
    /// Nothing: bytes.
    Absolute,
}

/// A number to reach.
struct Goal {
    row: &'static str,
    measure: Measure,
    against: Against,
    at_most: f64,
}

const fn goal(row: &'static str, measure: Measure, against: Against, at_most: f64) -> Goal {
    Goal { row, measure, against, at_most }
}

use Against::{Absolute, BestPeer, Named};
use Measure::{New, Rss, Wall};

const RSS: f64 = 96.0 * 1_048_576.0;

/// The goals that a table of this kind can answer.
const GOALS: [Goal; 29] = [
    goal("B12 first commit", Wall, BestPeer, 0.45),
    goal("B12 first commit", Wall, Named("dd"), 1.3),
    goal("B12 first commit", Rss, Absolute, RSS),
    goal("B12 commit of 400 edits", New, Absolute, 25e6),
    goal("B12 commit of 400 edits", New, BestPeer, 0.05),
    goal("B12 commit of 400 edits", Wall, Named("borg"), 0.5),
    goal("B12 restore", Wall, BestPeer, 0.6),
    goal("tree first commit", Wall, BestPeer, 0.4),
    goal("tree first commit", New, BestPeer, 0.95),
    goal("tree first commit", Rss, Absolute, RSS),
    goal("tree nothing changed", Wall, Named("borg"), 0.15),
    goal("tree status, nothing changed", Wall, Named("git"), 1.0),
    goal("tree restore", Wall, BestPeer, 0.4),
    goal("B1 first commit", Wall, BestPeer, 0.3),
    goal("B1 first commit", New, BestPeer, 0.9),
    goal("B2 nothing changed", Wall, BestPeer, 1.0),
    goal("B2 status, nothing changed", Wall, Named("git"), 1.0),
    goal("B3 first commit", Wall, BestPeer, 0.4),
    goal("B3 first commit", Wall, Named("dd"), 1.3),
    goal("B3 first commit", Rss, Absolute, RSS),
    goal("B4 commit of 5 % inserted", New, BestPeer, 0.95),
    goal("B4 commit of 5 % inserted", Wall, BestPeer, 0.3),
    goal("B5 each next version", New, BestPeer, 0.02),
    goal("B6 first commit", Wall, Named("restic"), 1.0 / 7.0),
    goal("B6 first commit", Rss, Absolute, RSS),
    goal("B7 restore B1", Wall, BestPeer, 0.4),
    goal("B7 restore B3", Wall, BestPeer, 0.4),
    goal("B9 full check", Wall, BestPeer, 0.2),
    goal("20 GiB first commit", Rss, Absolute, RSS),
];

/// Everything measured so far.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Vec<(String, String)>,
    versions: Vec<(String, String)>,
    absent: Vec<String>,
    conditions: String,
    corpora: Vec<(String, String, String)>,
    /// Row, then tool, to samples; rows in the order they were first met.
    rows: Vec<(String, BTreeMap<String, Vec<Sample>>)>,
    syncs: BTreeMap<String, BTreeMap<String, u64>>,
    /// Seconds of one fdatasync after appending 4 KiB.
    sync_time: Option<f64>,
    failures: Vec<String>,
    #[serde(skip)]
    order: Vec<String>,
    #[serde(skip)]
    peers: Vec<String>,
    #[serde(skip)]
    ours: Vec<String>,
}

impl Report {
    pub(crate) fn new(options: &Options, tools: &[Tool], absent: Vec<String>, ground: &Ground) -> Self {
        let scratch = ground.corpus().parent().map(Path::to_owned).unwrap_or_default();
        let mut conditions = format!("{} run{}", options.runs, if options.runs == 1 { "" } else { "s" });
        conditions.push_str(if options.cold { ", cold cache" } else { ", warm cache" });
        conditions.push_str(match options.file_system {
            crate::options::FileSystem::Directory => ", a fresh directory for each turn",
            crate::options::FileSystem::Loop => ", a fresh loop-mounted ext4 for each turn",
            crate::options::FileSystem::Tmpfs => ", a fresh tmpfs for each turn",
        });
        if options.quick {
            conditions.push_str(", small data (--quick): shows that it works, not how fast it is");
        }
        Self {
            machine: machine::describe(&scratch),
            versions: tools.iter().map(|t| (t.name(), t.version())).collect(),
            absent,
            conditions,
            corpora: Vec::new(),
            rows: Vec::new(),
            syncs: BTreeMap::new(),
            sync_time: None,
            failures: Vec::new(),
            order: tools.iter().map(Tool::name).collect(),
            peers: tools.iter().filter(|t| t.is_peer()).map(Tool::name).collect(),
            ours: tools.iter().filter(|t| matches!(t, Tool::Shard(_))).map(Tool::name).collect(),
        }
    }

    pub(crate) fn corpus(&mut self, workload: &str, name: &str, digest: String) {
        self.corpora.push((workload.to_owned(), name.to_owned(), digest));
    }

    pub(crate) fn add(&mut self, row: &str, tool: &Tool, sample: Sample) {
        let at = self.rows.iter().position(|(r, _)| r == row).unwrap_or_else(|| {
            self.rows.push((row.to_owned(), BTreeMap::new()));
            self.rows.len() - 1
        });
        self.rows[at].1.entry(tool.name()).or_default().push(sample);
    }

    pub(crate) fn syncs(&mut self, row: &str, tool: &Tool, count: u64) {
        self.syncs.entry(row.to_owned()).or_default().insert(tool.name(), count);
    }

    pub(crate) fn failure(&mut self, workload: &str, tool: &Tool, error: &str) {
        self.failures.push(format!("{workload}, {}: {error}", tool.name()));
    }

    /// Measures one fdatasync in `directory`: what no durable commit can do without.
    pub(crate) fn sync_time(&mut self, directory: &Path) -> Result<(), String> {
        let fail = |e: std::io::Error| e.to_string();
        let mut file = fs::File::create(directory.join("log")).map_err(fail)?;
        let mut times = Vec::new();
        for _ in 0..50 {
            file.write_all(&[7; 4096]).map_err(fail)?;
            let begin = Instant::now();
            file.sync_data().map_err(fail)?;
            times.push(begin.elapsed().as_secs_f64());
        }
        self.sync_time = Some(median(&times));
        Ok(())
    }

    /// Writes the files asked for.
    pub(crate) fn write(&self, options: &Options) -> Result<(), String> {
        let save = |path: &Option<std::path::PathBuf>, text: &dyn Fn() -> String| match path {
            Some(path) => fs::write(path, text()).map_err(|e| format!("{}: {e}", path.display())),
            None => Ok(()),
        };
        save(&options.out, &|| self.markdown())?;
        save(&options.json, &|| serde_json::to_string_pretty(self).expect("plain data"))
    }

    /// Returns the tables.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        let mut line = |words: String| {
            text.push_str(&words);
            text.push('\n');
        };
        for (name, value) in &self.machine {
            line(format!("- {name}: {value}"));
        }
        line(format!("- conditions: {}", self.conditions));
        for (name, version) in &self.versions {
            line(format!("- {name}: {version}"));
        }
        if !self.absent.is_empty() {
            line(format!("- absent: {}", self.absent.join(", ")));
        }
        line(String::new());
        line("Ratios are of wall times, to the fastest of the other version stores in the same row: neither ours nor `dd` is counted.".into());
        line(String::new());
        line("| workload | tool | wall s (least–greatest) | ratio | CPU s | peak RSS | stored (allocated) | new bytes | syncs |".into());
        line("|---|---|---:|---:|---:|---:|---:|---:|---:|".into());
        for (row, tools) in &self.rows {
            for tool in self.order.iter().filter(|t| tools.contains_key(*t)) {
                line(self.table_line(row, tool, &tools[tool]));
            }
        }
        if let Some(seconds) = self.sync_time {
            line(String::new());
            line(format!("One fdatasync after appending 4 KiB takes {} here.", milliseconds(seconds)));
            for tool in &self.ours {
                if let Some(wall) = self.value("B11 small commit", tool, Wall) {
                    let beside = milliseconds((wall - seconds).max(0.0));
                    line(format!("A small commit of {tool}: {} whole, {beside} beside one sync.", milliseconds(wall)));
                }
            }
        }
        if !self.ours.is_empty() {
            line(String::new());
            self.goals(&mut line);
        }
        line(String::new());
        line("Corpora, by seed and digest:".into());
        line(String::new());
        for (workload, name, digest) in &self.corpora {
            line(format!("- {workload} {name}: `{digest}`"));
        }
        for failure in &self.failures {
            line(format!("- FAILED: {}", failure.replace('\n', "; ")));
        }
        text
    }

    fn table_line(&self, row: &str, tool: &str, samples: &[Sample]) -> String {
        let of = |f: &dyn Fn(&Sample) -> f64| samples.iter().map(f).collect::<Vec<_>>();
        let walls = of(&|s| s.cost.wall);
        let least = walls.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = walls.iter().copied().fold(0.0, f64::max);
        let ratio =
            self.best_peer(row, Wall).map(|(best, _)| format!("{:.2}", median(&walls) / best)).unwrap_or_default();
        let bytes = |f: &dyn Fn(&Sample) -> Option<u64>| {
            let values: Vec<f64> = samples.iter().filter_map(f).map(|b| b as f64).collect();
            if values.is_empty() { String::new() } else { megabytes(median(&values)) }
        };
        let stored = bytes(&|s| s.stored);
        let stored = if stored.is_empty() { stored } else { format!("{stored} ({})", bytes(&|s| s.allocated)) };
        let syncs = self.syncs.get(row).and_then(|t| t.get(tool)).map(u64::to_string).unwrap_or_default();
        format!(
            "| {row} | {tool} | {:.3} ({least:.3}–{greatest:.3}) | {ratio} | {:.2} | {} | {stored} | {} | {syncs} |",
            median(&walls),
            median(&of(&|s| s.cost.user + s.cost.system)),
            megabytes(median(&of(&|s| s.cost.rss as f64))),
            bytes(&|s| s.new),
        )
    }

    fn goals(&self, line: &mut dyn FnMut(String)) {
        line("| workload | goal | measured | |".into());
        line("|---|---|---|---|".into());
        for goal in &GOALS {
            for tool in &self.ours {
                let Some(ours) = self.value(goal.row, tool, goal.measure) else { continue };
                let other = match goal.against {
                    Absolute => Some((1.0, String::new())),
                    Named(name) => self.value(goal.row, name, goal.measure).map(|v| (v, name.to_owned())),
                    BestPeer => self.best_peer(goal.row, goal.measure),
                };
                let what = match goal.measure {
                    Wall => "time",
                    New => "bytes stored",
                    Rss => "peak RSS",
                };
                let Some((other, name)) = other else { continue };
                let (asked, got) = if name.is_empty() {
                    (megabytes(goal.at_most), megabytes(ours))
                } else {
                    (format!("{:.2} × {name}", goal.at_most), format!("{:.2} ×", ours / other))
                };
                let mut row = String::new();
                write!(row, "| {} ({tool}) | {what} at most {asked} | {got} | ", goal.row)
                    .expect("strings take everything");
                row.push_str(if ours / other <= goal.at_most { "reached |" } else { "**missed** |" });
                line(row);
            }
        }
    }

    fn value(&self, row: &str, tool: &str, measure: Measure) -> Option<f64> {
        let samples = self.rows.iter().find(|(r, _)| r == row)?.1.get(tool)?;
        let values: Vec<f64> = samples
            .iter()
            .filter_map(|s| match measure {
                Wall => Some(s.cost.wall),
                New => s.new.map(|b| b as f64),
                Rss => Some(s.cost.rss as f64),
            })
            .collect();
        (!values.is_empty()).then(|| median(&values))
    }

    fn best_peer(&self, row: &str, measure: Measure) -> Option<(f64, String)> {
        let values = self.peers.iter().filter_map(|p| self.value(row, p, measure).map(|v| (v, p.clone())));
        values.min_by(|a, b| a.0.total_cmp(&b.0))
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

fn megabytes(bytes: f64) -> String {
    if bytes < 1e6 { format!("{:.1} KB", bytes / 1e3) } else { format!("{:.1} MB", bytes / 1e6) }
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.2} ms", seconds * 1e3)
}
