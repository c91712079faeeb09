//! Writing the answer that came out.

use std::sync::OnceLock;

use regex::{Captures, Regex};

use super::page::Step;
use super::pattern::{Pattern, align};
use super::session::StepOutcome;

/// Returns the lines that should stand beneath the step's command.
pub(super) fn answer(step: &Step, outcome: &StepOutcome) -> Vec<String> {
    let mut lines = if outcome.mismatch(step).is_none() {
        step.expected.clone()
    } else {
        let patterns: Vec<_> = step.expected.iter().map(|l| Pattern::parse(l)).collect();
        let (assigned, _) = align(&patterns, &outcome.lines);
        let mut lines: Vec<String> = Vec::new();
        let mut last = None;
        for (line, pattern) in outcome.lines.iter().zip(assigned) {
            match pattern {
                // `...` may have taken many lines: it is written once.
                Some(p) if last == Some(p) => {}
                Some(p) => lines.push(step.expected[p].clone()),
                None => lines.push(redact(line)),
            }
            last = pattern;
        }
        lines
    };
    if outcome.exit != 0 {
        lines.push(format!("(exit {})", outcome.exit));
    }
    lines
}

/// Replaces what differs from run to run by its wildcard. Sizes stay: most are the same every time, and teach.
fn redact(line: &str) -> String {
    static FORMS: OnceLock<[(Regex, &str); 3]> = OnceLock::new();
    static HEX: OnceLock<Regex> = OnceLock::new();
    let form = |f: &str| Regex::new(f).expect("a constant form");
    let forms = FORMS.get_or_init(|| {
        [
            (form(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?( ?(Z|UTC|[+-]\d{2}:?\d{2}))?"), "[TIME]"),
            (form(r"\b\d+(?:\.\d+)? (?:ns|µs|ms|s|min) ago\b"), "[TIME]"),
            (form(r"\b\d+(?:\.\d+)? (?:ns|µs|ms|s)\b"), "[DURATION]"),
        ]
    });
    let mut line = line.to_owned();
    for (form, wildcard) in forms {
        line = form.replace_all(&line, *wildcard).into_owned();
    }
    // Digits alone are a count and letters alone a word; only a mixture is surely an id.
    let hex = HEX.get_or_init(|| form(r"\b[0-9a-f]{7,64}\b"));
    let id = |found: &Captures<'_>| {
        let mixed =
            found[0].contains(|c: char| c.is_ascii_digit()) && found[0].contains(|c: char| c.is_ascii_alphabetic());
        if mixed { "[ID]".to_owned() } else { found[0].to_owned() }
    };
    hex.replace_all(&line, id).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_times_and_durations_become_wildcards_and_words_stay() {
        let line = "9b07c2d1 deadbeef99 at 2026-11-20T10:16:00Z in 1.2 s, 12 B, decade, 20261120, 4 s ago";
        assert_eq!(redact(line), "[ID] [ID] at [TIME] in [DURATION], 12 B, decade, 20261120, [TIME]");
    }
}
