//! How far a command is: one sink for the bar on a terminal and for JSON Lines.
//!
//! Reporting is cheap enough for inner loops: a counter and a look at the clock. Nothing is drawn in the first quarter of
//! a second, nor more often than ten times a second, and no thread is started.

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use shard_core::progress::{Progress, Unit};

use crate::{escape, interrupt, quantity};

/// Nothing is drawn before a command has run this long.
const DRAW_AFTER: Duration = Duration::from_millis(250);

/// Shortest time between two drawings of the bar: 10 Hz.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Shortest time between two events of the same phase: 4 Hz.
const EVENT_EVERY: Duration = Duration::from_millis(250);

/// Columns of the bar itself.
const BAR: usize = 20;

/// Writes an amount for a person.
fn show(unit: Unit, count: u64) -> String {
    match unit {
        Unit::Bytes => quantity::bytes(count),
        Unit::Items => quantity::count(count),
    }
}

/// Returns the stable word for a unit.
fn word(unit: Unit) -> &'static str {
    match unit {
        Unit::Bytes => "bytes",
        Unit::Items => "items",
    }
}

/// Where progress goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nowhere.
    Silent,
    /// A line on standard error, redrawn; its columns are given.
    Bar {
        /// Columns of the terminal.
        width: usize,
    },
    /// JSON Lines on standard output.
    Events,
}

/// The phase under way.
#[derive(Debug)]
struct Phase {
    name: &'static str,
    total: Option<u64>,
    unit: Unit,
    began: Instant,
    path: String,
    drawn: bool,
}

/// Takes what is reported, from any thread.
#[derive(Debug)]
pub struct Sink {
    mode: Mode,
    began: Instant,
    done: AtomicU64,
    /// Microseconds since `began` before which nothing is shown.
    next: AtomicU64,
    cancelled: AtomicBool,
    phase: Mutex<Option<Phase>>,
}

/// One line of `--events`.
#[derive(Debug, Serialize)]
struct Event<'a> {
    v: u32,
    event: &'static str,
    phase: &'a str,
    done: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    eta_s: Option<u64>,
}

impl Sink {
    /// Makes a sink; the first quarter of a second counts from here.
    pub fn new(mode: Mode) -> Self {
        let first = if mode == Mode::Events { Duration::ZERO } else { DRAW_AFTER };
        Self {
            mode,
            began: Instant::now(),
            done: AtomicU64::new(0),
            next: AtomicU64::new(micros(first)),
            cancelled: AtomicBool::new(false),
            phase: Mutex::new(None),
        }
    }

    /// Says whether the person gave up; long work asks this now and then and stops with an error.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) || interrupt::is_requested()
    }

    /// Makes [`Self::is_cancelled`] true.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Clears the line of the bar, before something else is written. Progress may go on afterwards.
    pub fn clear(&self) {
        if let Some(phase) = self.lock().as_mut()
            && std::mem::take(&mut phase.drawn)
            && matches!(self.mode, Mode::Bar { .. })
        {
            put(&mut std::io::stderr(), "\r\x1b[K");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Phase>> {
        self.phase.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn is_due(&self) -> bool {
        micros(self.began.elapsed()) >= self.next.load(Ordering::Relaxed)
    }

    fn show_if_due(&self) {
        let now = micros(self.began.elapsed());
        let due = self.next.load(Ordering::Relaxed);
        let every = micros(if self.mode == Mode::Events { EVENT_EVERY } else { DRAW_EVERY });
        // Of several threads that see the moment come, one shows.
        let mine = || self.next.compare_exchange(due, now + every, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if now >= due
            && mine()
            && let Some(phase) = self.lock().as_mut()
        {
            self.show(phase);
        }
    }

    fn show(&self, phase: &mut Phase) {
        let done = self.done.load(Ordering::Relaxed);
        match self.mode {
            Mode::Silent => {}
            Mode::Events => {
                if let Ok(line) = event_line(phase, done) {
                    put(&mut std::io::stdout(), &line);
                }
            }
            Mode::Bar { width } => {
                phase.drawn = true;
                put(&mut std::io::stderr(), &format!("\r{}\x1b[K", bar_line(phase, done, width)));
            }
        }
    }
}

/// [`Progress::path`] takes a lock only when something is due to be shown.
impl Progress for Sink {
    fn is_cancelled(&self) -> bool {
        Self::is_cancelled(self)
    }

    fn phase(&self, name: &'static str, total: Option<u64>, unit: Unit) {
        interrupt::listen();
        if self.mode == Mode::Silent {
            return;
        }
        let mut phase = self.lock();
        self.done.store(0, Ordering::Relaxed);
        let drawn = phase.as_ref().is_some_and(|phase| phase.drawn);
        let began = Instant::now();
        let now = phase.insert(Phase { name, total, unit, began, path: String::new(), drawn });
        if self.mode == Mode::Events {
            self.next.store(micros(self.began.elapsed() + EVENT_EVERY), Ordering::Relaxed);
            self.show(now);
        }
    }

    fn advance(&self, more: u64) {
        if self.mode == Mode::Silent {
            return;
        }
        self.done.fetch_add(more, Ordering::Relaxed);
        self.show_if_due();
    }

    fn path(&self, path: &str) {
        if self.mode == Mode::Silent || !self.is_due() {
            return;
        }
        if let Some(phase) = self.lock().as_mut() {
            path.clone_into(&mut phase.path);
        }
        self.show_if_due();
    }
}

/// Writes, where a closed stream is no reason to stop working.
fn put(stream: &mut dyn Write, text: &str) {
    let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Returns how long the rest takes at the pace so far.
fn eta(phase: &Phase, done: u64) -> Option<Duration> {
    let left = phase.total?.checked_sub(done)?;
    let elapsed = phase.began.elapsed().as_secs_f64();
    (done > 0 && elapsed > 0.2).then(|| Duration::from_secs_f64((left as f64 * elapsed / done as f64).min(1e9)))
}

fn event_line(phase: &Phase, done: u64) -> serde_json::Result<String> {
    let event = Event {
        v: 1,
        event: "progress",
        phase: phase.name,
        done,
        total: phase.total,
        unit: word(phase.unit),
        eta_s: eta(phase, done).map(|eta| eta.as_secs()),
    };
    let mut bytes = Vec::new();
    escape::write_json(&mut bytes, &event)?;
    bytes.push(b'\n');
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn bar_line(phase: &Phase, done: u64, width: usize) -> String {
    let mut line = format!("{:<12} ", phase.name);
    match phase.total {
        Some(total) => {
            let share = if total == 0 { 1.0 } else { (done as f64 / total as f64).min(1.0) };
            let filled = (share * BAR as f64).round() as usize;
            line.push_str(&format!("{}{} {:>3.0} %  ", "█".repeat(filled), "░".repeat(BAR - filled), share * 100.0));
            line.push_str(&format!("{} of {}", show(phase.unit, done.min(total)), show(phase.unit, total)));
        }
        None => line.push_str(&show(phase.unit, done)),
    }
    let elapsed = phase.began.elapsed().as_secs_f64();
    if phase.unit == Unit::Bytes && elapsed > 0.2 {
        line.push_str(&format!("  {}/s", quantity::bytes((done as f64 / elapsed) as u64)));
    }
    if let Some(eta) = eta(phase, done) {
        line.push_str(&format!("  {} left", quantity::span(eta)));
    }
    if !phase.path.is_empty() {
        line.push_str("  ");
        line.push_str(&escape::line(&phase.path));
    }
    fit(&line, width)
}

/// Cuts a line to the columns of the terminal, so that redrawing it never leaves a piece behind.
fn fit(line: &str, width: usize) -> String {
    use unicode_width::UnicodeWidthChar;
    let mut left = width.saturating_sub(1);
    line.chars()
        .take_while(|c| {
            let columns = c.width().unwrap_or(0);
            let fits = columns <= left;
            left = left.saturating_sub(columns);
            fits
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(total: Option<u64>, unit: Unit) -> Phase {
        let began = Instant::now().checked_sub(Duration::from_secs(2)).unwrap();
        Phase { name: "chunking", total, unit, began, path: String::new(), drawn: false }
    }

    #[test]
    fn a_bar_shows_phase_share_bytes_rate_and_time_left() {
        let line = bar_line(&phase(Some(4_000_000), Unit::Bytes), 2_000_000, 120);
        assert!(line.starts_with("chunking"), "{line}");
        for part in ["██████████░░░░░░░░░░", " 50 %", "2.0 MB of 4.0 MB", "/s", "left"]
        {
            assert!(line.contains(part), "`{part}` in `{line}`");
        }
    }

    #[test]
    fn without_a_total_there_is_a_counter_and_no_guess() {
        let line = bar_line(&phase(None, Unit::Items), 12_345, 120);
        assert!(line.contains("12,345") && !line.contains('%') && !line.contains("left"), "{line}");
    }

    #[test]
    fn a_bar_never_wraps_and_never_obeys_a_path() {
        let mut phase = phase(Some(0), Unit::Bytes);
        phase.path = "日本\x1b[2J".repeat(50);
        let line = bar_line(&phase, 0, 40);
        assert!(unicode_width::UnicodeWidthStr::width(line.as_str()) < 40, "{line}");
        assert!(!line.contains('\x1b'));
    }

    #[test]
    fn an_event_is_one_json_line() {
        let line = event_line(&phase(Some(9), Unit::Bytes), 1).unwrap();
        let value: serde_json::Value = serde_json::from_str(line.trim_end()).unwrap();
        assert_eq!(value["v"], 1);
        assert_eq!(value["event"], "progress");
        assert_eq!(value["phase"], "chunking");
        assert_eq!((&value["done"], &value["total"], &value["unit"]), (&1.into(), &9.into(), &"bytes".into()));
        assert!(value["eta_s"].as_u64().unwrap() >= 15, "{value}");
    }

    #[test]
    fn a_silent_sink_counts_nothing_and_can_be_cancelled() {
        let sink = Sink::new(Mode::Silent);
        sink.phase("chunking", None, Unit::Bytes);
        sink.advance(5);
        assert_eq!(sink.done.load(Ordering::Relaxed), 0);
        assert!(!sink.is_cancelled());
        sink.cancel();
        assert!(sink.is_cancelled());
    }
}
