//! One rule file and its lines.

use super::MAX_RULE_FILE;
use super::wildcard;

/// Longest rule: it may match a path of the greatest length, each letter written as a small set.
const MAX_RULE: usize = 32 << 10;

/// The rules of a file.
#[derive(Debug)]
pub(super) struct RuleFile {
    pub(super) name: String,
    pub(super) rules: Vec<Rule>,
}

/// One line that holds a rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) line: usize,
    pub(super) text: String,
    pub(super) negated: bool,
    directories_only: bool,
    matcher: Matcher,
}

/// How a rule is compared; common forms need no wildcards at all.
#[derive(Debug)]
enum Matcher {
    /// The last component is this.
    Name(Vec<u8>),
    /// The last component ends so: `*.o`.
    Suffix(Vec<u8>),
    /// The last component matches.
    NameWildcard(Vec<u8>),
    /// The path from the file's directory is `literal`, then what matches `wildcard`.
    Path { literal: Vec<u8>, wildcard: Vec<u8> },
}

impl RuleFile {
    /// Parses all lines. No line is an error: one that cannot match anything never does.
    pub(super) fn parse(name: String, content: &[u8]) -> Self {
        let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
        let content = match content.get(..MAX_RULE_FILE) {
            // Half a rule could mean anything.
            Some(start) if start.len() < content.len() => {
                &start[..start.iter().rposition(|&byte| byte == b'\n').unwrap_or(0)]
            }
            _ => content,
        };
        let lines = content.split(|&byte| byte == b'\n').zip(1..);
        let rules = lines.filter_map(|(line, number)| Rule::parse(line.strip_suffix(b"\r").unwrap_or(line), number));
        Self { name, rules: rules.collect() }
    }

    /// Returns the last rule that matches a path, given from the file's directory.
    pub(super) fn last_match(&self, path: &[u8], is_directory: bool) -> Option<&Rule> {
        let name = path.iter().rposition(|&byte| byte == b'/').map_or(path, |slash| &path[slash + 1..]);
        self.rules
            .iter()
            .rev()
            .find(|rule| (is_directory || !rule.directories_only) && rule.matcher.matches(path, name))
    }
}

impl Rule {
    fn parse(line: &[u8], number: usize) -> Option<Self> {
        if line.starts_with(b"#") || line.len() > MAX_RULE {
            return None;
        }
        let text = trim_spaces(line);
        let (negated, pattern) = match text.strip_prefix(b"!") {
            Some(pattern) => (true, pattern),
            None => (false, text),
        };
        let (directories_only, pattern) = match pattern.strip_suffix(b"/") {
            Some(pattern) => (true, pattern),
            None => (false, pattern),
        };
        if pattern.is_empty() {
            return None;
        }
        let text = String::from_utf8_lossy(text).into_owned();
        Some(Self { line: number, text, negated, directories_only, matcher: Matcher::new(pattern) })
    }
}

/// Cuts spaces off the end, but for one behind a backslash.
fn trim_spaces(line: &[u8]) -> &[u8] {
    let mut end = 0;
    let mut at = 0;
    while at < line.len() {
        // A backslash keeps what follows it.
        let step = if line[at] == b'\\' { 2 } else { 1 };
        if line[at] != b' ' {
            end = (at + step).min(line.len());
        }
        at += step;
    }
    &line[..end]
}

impl Matcher {
    fn new(pattern: &[u8]) -> Self {
        let special = |byte: &u8| b"*?[\\".contains(byte);
        if pattern.contains(&b'/') {
            let pattern = pattern.strip_prefix(b"/").unwrap_or(pattern);
            let (literal, wildcard) = pattern.split_at(pattern.iter().position(special).unwrap_or(pattern.len()));
            return Self::Path { literal: literal.to_vec(), wildcard: wildcard.to_vec() };
        }
        match pattern.split_first() {
            _ if !pattern.iter().any(special) => Self::Name(pattern.to_vec()),
            Some((b'*', suffix)) if !suffix.iter().any(special) => Self::Suffix(suffix.to_vec()),
            _ => Self::NameWildcard(pattern.to_vec()),
        }
    }

    fn matches(&self, path: &[u8], name: &[u8]) -> bool {
        match self {
            Self::Name(wanted) => name == wanted,
            Self::Suffix(suffix) => name.ends_with(suffix),
            Self::NameWildcard(pattern) => wildcard::matches(pattern, name),
            Self::Path { literal, wildcard } => match path.strip_prefix(literal.as_slice()) {
                Some(rest) if wildcard.is_empty() => rest.is_empty(),
                Some(rest) => wildcard::matches(wildcard, rest),
                None => false,
            },
        }
    }
}
