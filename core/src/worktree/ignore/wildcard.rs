//! The wildcards of gitignore(5), on bytes.
//!
//! `?`, `*` and `[…]` match no slash. `**` between slashes, or at an end, matches across them. A backslash takes what
//! follows as it is. The matcher goes back to the last star alone, so time is bounded by pattern times path, whatever is
//! written.

/// Returns whether all of `text` matches all of `pattern`.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when the last `*` takes one byte more, and when the last `**` takes one component more. Stars before
    // those need never be asked again: what lies between was matched as early as it can be, and a slash ends the reach of
    // every `*` before it.
    let mut star: Option<(usize, usize)> = None;
    let mut deep: Option<(usize, usize)> = None;
    loop {
        match pattern.get(p) {
            None if t == text.len() => return true,
            None => {}
            Some(b'*') => {
                let stars = Stars::read(pattern, p);
                match stars.kind {
                    StarsKind::Everything => return true,
                    StarsKind::Directories => (star, deep) = (None, Some((stars.end, t))),
                    StarsKind::SomeDirectories => (star, deep) = (None, Some((stars.end, t))),
                    StarsKind::Name => star = Some((stars.end, t)),
                }
                // One component at least: go on behind the next slash, as if the first try had failed.
                if !matches!(stars.kind, StarsKind::SomeDirectories) {
                    p = stars.end;
                    continue;
                }
            }
            Some(_) => match byte_fits(&pattern[p..], text.get(t).copied()) {
                Fit::Yes(length) => {
                    p += length;
                    t += 1;
                    continue;
                }
                Fit::No => {}
                Fit::Never => return false,
            },
        }
        if let Some((resume, from)) = star
            && text.get(from).is_some_and(|&byte| byte != b'/')
        {
            star = Some((resume, from + 1));
            (p, t) = (resume, from + 1);
        } else if let Some((resume, from)) = deep
            && let Some(slash) = text[from..].iter().position(|&byte| byte == b'/')
        {
            let from = from + slash + 1;
            (star, deep) = (None, Some((resume, from)));
            (p, t) = (resume, from);
        } else {
            return false;
        }
    }
}

/// Stars in a row.
struct Stars {
    kind: StarsKind,
    /// Where the pattern goes on.
    end: usize,
}

enum StarsKind {
    /// Any bytes but slashes.
    Name,
    /// `**/`: no component, or some, with their slashes.
    Directories,
    /// `**\/`: some components, with their slashes. git lets only the plain slash stand for none.
    SomeDirectories,
    /// `**` at the end.
    Everything,
}

impl Stars {
    fn read(pattern: &[u8], start: usize) -> Self {
        let count = pattern[start..].iter().take_while(|&&byte| byte == b'*').count();
        let end = start + count;
        let follows_slash = start == 0 || pattern[start - 1] == b'/';
        if count == 1 || !follows_slash {
            return Self { kind: StarsKind::Name, end };
        }
        match &pattern[end..] {
            [] => Self { kind: StarsKind::Everything, end },
            [b'/', ..] => Self { kind: StarsKind::Directories, end: end + 1 },
            [b'\\', b'/', ..] => Self { kind: StarsKind::SomeDirectories, end: end + 2 },
            _ => Self { kind: StarsKind::Name, end },
        }
    }
}

/// Whether one byte fits the part of a pattern that stands for one.
enum Fit {
    /// It does, and that part has this length.
    Yes(usize),
    No,
    /// The part is malformed: the pattern matches nothing.
    Never,
}

fn byte_fits(pattern: &[u8], byte: Option<u8>) -> Fit {
    let Some(byte) = byte else { return Fit::No };
    let (fits, length) = match pattern {
        [b'?', ..] => (byte != b'/', 1),
        [b'[', set @ ..] => match class(set, byte) {
            Some((is_in, length)) => (is_in && byte != b'/', 1 + length),
            None => return Fit::Never,
        },
        [b'\\', escaped, ..] => (byte == *escaped, 2),
        [b'\\'] => return Fit::Never,
        [literal, ..] => (byte == *literal, 1),
        [] => (false, 0),
    };
    if fits { Fit::Yes(length) } else { Fit::No }
}

/// Reads a set, given from behind its opening bracket: whether `byte` is in it, and its length with the closing bracket.
/// `None` when it has no end, or holds a class nobody knows.
fn class(set: &[u8], byte: u8) -> Option<(bool, usize)> {
    let negated = matches!(set.first(), Some(b'!' | b'^'));
    let mut at = usize::from(negated);
    let start = at;
    let mut found = false;
    // The byte a hyphen would make a range with.
    let mut previous = None;
    loop {
        match *set.get(at)? {
            // As the first one, the closing bracket stands for itself.
            b']' if at > start => return Some((found != negated, at + 1)),
            b'-' if previous.is_some() && !matches!(set.get(at + 1), None | Some(b']')) => {
                let (last, length) = member(&set[at + 1..])?;
                found |= previous.take().is_some_and(|first| (first..=last).contains(&byte));
                at += 1 + length;
            }
            b'[' if set.get(at + 1) == Some(&b':') => {
                let name = &set[at + 2..];
                let end = name.iter().position(|&byte| byte == b']')?;
                match name[..end].strip_suffix(b":") {
                    Some(name) => {
                        found |= is_in_class(name, byte)?;
                        previous = None;
                        at += 2 + end + 1;
                    }
                    None => {
                        found |= byte == b'[';
                        previous = Some(b'[');
                        at += 1;
                    }
                }
            }
            _ => {
                let (one, length) = member(&set[at..])?;
                found |= one == byte;
                previous = Some(one);
                at += length;
            }
        }
    }
}

/// Reads one byte of a set, escaped or not, and its length.
fn member(set: &[u8]) -> Option<(u8, usize)> {
    match set {
        [b'\\', escaped, ..] => Some((*escaped, 2)),
        [b'\\'] | [] => None,
        [byte, ..] => Some((*byte, 1)),
    }
}

fn is_in_class(name: &[u8], byte: u8) -> Option<bool> {
    Some(match name {
        b"alnum" => byte.is_ascii_alphanumeric(),
        b"alpha" => byte.is_ascii_alphabetic(),
        b"blank" => byte == b' ' || byte == b'\t',
        b"cntrl" => byte.is_ascii_control(),
        b"digit" => byte.is_ascii_digit(),
        b"graph" => byte.is_ascii_graphic(),
        b"lower" => byte.is_ascii_lowercase(),
        b"print" => byte.is_ascii_graphic() || byte == b' ',
        b"punct" => byte.is_ascii_punctuation(),
        b"space" => byte.is_ascii_whitespace() || byte == 0x0b,
        b"upper" => byte.is_ascii_uppercase(),
        b"xdigit" => byte.is_ascii_hexdigit(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn wildcards_match_what_gitignore_says() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("a", "a", true),
            ("a", "ab", false),
            ("?", "a", true),
            ("?", "/", false),
            ("??", "a", false),
            ("*", "", true),
            (r"**\/b", "b", false),
            (r"**\/b", "a/x/b", true),
            ("*", "abc", true),
            ("*", "a/b", false),
            ("*b", "ab", true),
            ("*b", "abab", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("*/b", "a/b", true),
            ("*/b", "a/x/b", false),
            ("*ab/c", "aab/c", true),
            ("**", "a/b/c", true),
            ("**/b", "b", true),
            ("**/b", "a/b", true),
            ("**/b", "a/x/b", true),
            ("**/b", "ab", false),
            ("**/b/c", "b/b/c", true),
            ("**/*b", "a/xb", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "a/xb", false),
            ("a/***/b", "a/x/y/b", true),
            ("a**/b", "ax/b", true),
            ("a**/b", "ax/y/b", false),
            ("x**y", "x/y", false),
            ("**/a/**/b/**", "x/a/y/b/z", true),
            ("**/a/**/b/**", "x/a/y/b", false),
            ("[ab]c", "bc", true),
            ("[!ab]", "c", true),
            ("[^ab]", "a", false),
            ("[!a]", "/", false),
            ("[a-c]", "b", true),
            ("[a-]", "-", true),
            ("[-a]", "-", true),
            ("[]a]", "]", true),
            ("[!]a]", "]", false),
            ("[a", "a", false),
            ("[\\]]", "]", true),
            ("[\\a-\\c]", "b", true),
            ("[[:digit:][:upper:]]", "7", true),
            ("[[:digit:][:upper:]]", "Q", true),
            ("[[:digit:]]", "x", false),
            ("[[:nonsense:]]", "x", false),
            ("[[:]", ":", true),
            ("[[:]", "[", true),
            ("[c-a]", "b", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("\\a", "a", true),
            ("a\\", "a", false),
            ("{a,b}", "a", false),
            ("{a,b}", "{a,b}", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn no_pattern_takes_long() {
        let text = "a/".repeat(2000) + &"a".repeat(96);
        let start = Instant::now();
        for pattern in
            ["*a".repeat(1000) + "b", "**/a*".repeat(500) + "b", "**/*".repeat(500) + "/b", "a*".repeat(90) + "b"]
        {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()));
            assert!(!matches(pattern.as_bytes(), &[b'a'; 4096]));
        }
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
}
