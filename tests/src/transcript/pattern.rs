//! Expected output, with wildcards for what differs from run to run.

use regex::Regex;

/// The wildcards and what each stands for.
const WILDCARDS: [(&str, &str); 9] = [
    ("[..]", ".*?"),
    ("[ID]", "[0-9a-f]{4,64}"),
    (
        "[TIME]",
        r"(?:\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?(?:Z|UTC|[+-]\d{2}:?\d{2}))?|\d+ ?(?:ms|s|min|h|d) ago|just now|now)",
    ),
    ("[SIZE]", r"\d+(?:\.\d+)? ?(?:bytes|byte|[KMGT]i?B|kB|B)"),
    ("[DURATION]", r"\d+(?:\.\d+)? ?(?:ns|µs|us|ms|s|min|h|d)"),
    ("[N]", r"\d+(?:\.\d+)?"),
    ("[KEY]", "[A-Za-z0-9+/=_-]{16,}"),
    ("[BACKEND]", "(?:sqlite|sled|flat|memory)"),
    ("[VERSION]", r"\d+\.\d+\.\d+(?:-[0-9A-Za-z.]+)?"),
];

/// One expected line, or `...`, which stands for any number of lines.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// Any number of lines, none included.
    AnyLines,
    /// Exactly one line of this form.
    Line(Box<Regex>),
}

impl Pattern {
    /// Reads an expected line.
    pub fn parse(line: &str) -> Self {
        if line == "..." {
            return Self::AnyLines;
        }
        let mut regex = String::from("^");
        let mut rest = line;
        while !rest.is_empty() {
            if let Some((name, form)) = WILDCARDS.iter().find(|(name, _)| rest.starts_with(name)) {
                regex.push_str(form);
                rest = &rest[name.len()..];
            } else {
                let next = rest.chars().next().expect("not empty");
                regex.push_str(&regex::escape(next.encode_utf8(&mut [0; 4])));
                rest = &rest[next.len_utf8()..];
            }
        }
        regex.push('$');
        Self::Line(Box::new(Regex::new(&regex).expect("escaped text and constant forms")))
    }

    /// Returns whether `line` has this form; always for [`Pattern::AnyLines`].
    pub fn matches(&self, line: &str) -> bool {
        match self {
            Self::AnyLines => true,
            Self::Line(regex) => regex.is_match(line),
        }
    }
}

/// Returns, for each actual line, the pattern it fell to in the best alignment, and whether all of both were used up.
///
/// The alignment is the longest common subsequence under "matches", with `...` taking any run of lines.
pub(super) fn align(patterns: &[Pattern], actual: &[String]) -> (Vec<Option<usize>>, bool) {
    let (rows, columns) = (patterns.len(), actual.len());
    // best[p][a]: (matched lines, whole?) of patterns[p..] against actual[a..], greedy on completeness first.
    let mut best = vec![vec![(false, 0_usize); columns + 1]; rows + 1];
    for p in (0..=rows).rev() {
        for a in (0..=columns).rev() {
            best[p][a] =
                step_options(patterns, actual, &best, p, a).into_iter().map(|o| o.score).max().unwrap_or((true, 0));
        }
    }
    let mut assigned = vec![None; columns];
    let (mut p, mut a) = (0, 0);
    while p < rows || a < columns {
        let options = step_options(patterns, actual, &best, p, a);
        let chosen = options.into_iter().max_by_key(|o| o.score).expect("something is left to consume");
        if let Some(taken) = chosen.takes {
            assigned[a] = Some(taken);
        }
        (p, a) = chosen.next;
    }
    (assigned, best[0][0].0)
}

struct Choice {
    score: (bool, usize),
    next: (usize, usize),
    takes: Option<usize>,
}

fn step_options(
    patterns: &[Pattern],
    actual: &[String],
    best: &[Vec<(bool, usize)>],
    p: usize,
    a: usize,
) -> Vec<Choice> {
    let mut options = Vec::new();
    let mut offer = |lossless: bool, gain: usize, next: (usize, usize), takes: Option<usize>| {
        let (whole, matched) = best[next.0][next.1];
        options.push(Choice { score: (whole && lossless, matched + gain), next, takes });
    };
    if p < patterns.len() {
        match &patterns[p] {
            Pattern::AnyLines => {
                offer(true, 0, (p + 1, a), None);
                if a < actual.len() {
                    offer(true, 1, (p, a + 1), Some(p));
                }
            }
            Pattern::Line(_) => {
                if a < actual.len() && patterns[p].matches(&actual[a]) {
                    offer(true, 1, (p + 1, a + 1), Some(p));
                }
                offer(false, 0, (p + 1, a), None);
            }
        }
    }
    if a < actual.len() {
        offer(false, 0, (p, a + 1), None);
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(expected: &[&str], actual: &[&str]) -> bool {
        let patterns: Vec<_> = expected.iter().map(|l| Pattern::parse(l)).collect();
        let actual: Vec<_> = actual.iter().map(|l| (*l).to_owned()).collect();
        align(&patterns, &actual).1
    }

    #[test]
    fn each_wildcard_takes_its_kind_only() {
        for (pattern, good, bad) in [
            ("commit [ID]", "commit 9b07", "commit 9b0"),
            ("commit [ID]", "commit 9b07aa11", "commit main"),
            ("at [TIME]", "at 2026-11-20T10:16:00Z", "at noon"),
            ("at [TIME]", "at 2026-11-20 10:16:00 +00:00", "at 2026"),
            ("[TIME]", "3 min ago", "3 min"),
            ("[SIZE] new", "2.1 GB new", "2.1 new"),
            ("[SIZE] new", "128 B new", "B new"),
            ("in [DURATION]", "in 1.25 s", "in 1.25"),
            ("[N] files", "12 files", "no files"),
            ("a [..] z", "a b z", "a b"),
            ("store [BACKEND]", "store flat", "store tape"),
            ("shard [VERSION]", "shard 0.1.0", "shard 1"),
            ("1 + 1 = (2)?", "1 + 1 = (2)?", "1 + 1 = 2"),
        ] {
            let pattern = Pattern::parse(pattern);
            assert!(pattern.matches(good), "{pattern:?} on {good}");
            assert!(!pattern.matches(bad), "{pattern:?} on {bad}");
        }
    }

    #[test]
    fn three_dots_take_any_number_of_lines() {
        assert!(fits(&["a", "...", "z"], &["a", "z"]));
        assert!(fits(&["a", "...", "z"], &["a", "z", "y", "z"]));
        assert!(fits(&["..."], &[]));
        assert!(!fits(&["a", "...", "z"], &["a", "b"]));
        assert!(!fits(&["a"], &["a", "b"]));
        assert!(!fits(&["a", "b"], &["a"]));
    }

    #[test]
    fn lines_that_still_match_keep_their_pattern() {
        let patterns: Vec<_> = ["x", "id [ID]", "gone"].iter().map(|l| Pattern::parse(l)).collect();
        let actual: Vec<_> = ["new", "id 0000"].iter().map(|l| (*l).to_owned()).collect();
        assert_eq!(align(&patterns, &actual), (vec![None, Some(1)], false));
    }
}
