//! How people name a commit, and what lies in it.
//!
//! ```text
//! rev   = base { "~" [n] | "^" [n] } [ ":" path ]        range = [A] ".." [B] | [A] "..." [B]
//! base  = HEAD | @ | branch | tag | peer/branch | heads/x | tags/x | hex | [branch] "@{" op or date "}"
//! ```
//!
//! Only the form is parsed here. A word may turn out to be a branch, a tag, a peer's branch or the beginning of an id;
//! finding out takes a repository.

use std::fmt;
use std::str::FromStr;

use shard_crypto::Digest;

use crate::error::Error;
use crate::history::ref_name::{RefName, RefNameProblem};
use crate::repo_path::RepoPath;

/// Longest revision in bytes: a name, a path and some steps.
pub const MAX_REVISION: usize = 8 << 10;
/// Fewest digits that may abbreviate an id.
pub const MIN_PREFIX: usize = 4;

/// Where a revision starts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Base {
    /// `HEAD` or `@`: what is checked out.
    Head,
    /// A whole id.
    Id(Digest),
    /// `heads/x`: a branch and nothing else.
    Branch(RefName),
    /// `tags/x`: a tag and nothing else.
    Tag(RefName),
    /// A branch, a tag, a peer's branch or, if [`Base::prefix`] says so, the beginning of an id: in this order.
    Name(RefName),
    /// `branch@{when}`: where a branch, or `HEAD`, stood after an operation or at a date.
    At {
        /// The branch; `HEAD` when none is named.
        branch: Option<RefName>,
        /// The operation or date, as written.
        when: String,
    },
}

impl Base {
    /// Returns the digits, in lower case, if the base may be the beginning of an id.
    #[must_use]
    pub fn prefix(&self) -> Option<String> {
        match self {
            Self::Name(name)
                if (MIN_PREFIX..64).contains(&name.as_str().len())
                    && name.as_str().bytes().all(|byte| byte.is_ascii_hexdigit()) =>
            {
                Some(name.as_str().to_ascii_lowercase())
            }
            _ => None,
        }
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("HEAD"),
            Self::Id(id) => write!(f, "{id}"),
            Self::Branch(name) => write!(f, "heads/{name}"),
            Self::Tag(name) => write!(f, "tags/{name}"),
            Self::Name(name) => write!(f, "{name}"),
            Self::At { branch: Some(branch), when } => write!(f, "{branch}@{{{when}}}"),
            Self::At { branch: None, when } => write!(f, "@{{{when}}}"),
        }
    }
}

/// One step towards older commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// `~n`: the n-th ancestor along first parents; 0 stays.
    Ancestor(u32),
    /// `^n`: the n-th parent, counted from 1; 0 stays.
    Parent(u32),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ancestor(1) => f.write_str("~"),
            Self::Ancestor(n) => write!(f, "~{n}"),
            Self::Parent(1) => f.write_str("^"),
            Self::Parent(n) => write!(f, "^{n}"),
        }
    }
}

/// A commit, or what lies at a path in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Revision {
    /// Where it starts.
    pub base: Base,
    /// Steps from there, in order.
    pub steps: Vec<Step>,
    /// A path in the commit's tree; the root for `main:`.
    pub path: Option<RepoPath>,
}

impl Revision {
    /// Returns what is checked out.
    #[must_use]
    pub fn head() -> Self {
        Self { base: Base::Head, steps: Vec::new(), path: None }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.base)?;
        for step in &self.steps {
            write!(f, "{step}")?;
        }
        match &self.path {
            Some(path) => write!(f, ":{path}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Revision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text, text)
    }
}

/// One revision, or the commits between two.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RevisionRange {
    /// A revision alone.
    Single(Revision),
    /// `A..B`: what B reaches and A does not.
    Between {
        /// What is left out.
        from: Revision,
        /// What is taken.
        to: Revision,
    },
    /// `A...B`: what exactly one of both reaches.
    Symmetric {
        /// One side.
        ours: Revision,
        /// The other.
        theirs: Revision,
    },
}

impl fmt::Display for RevisionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(revision) => write!(f, "{revision}"),
            Self::Between { from, to } => write!(f, "{from}..{to}"),
            Self::Symmetric { ours, theirs } => write!(f, "{ours}...{theirs}"),
        }
    }
}

impl FromStr for RevisionRange {
    type Err = Error;

    /// Reads a revision or a range; a side left out is `HEAD`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let Some(dots) = find_dots(text) else {
            return text.parse().map(Self::Single);
        };
        let (left, right) = (&text[..dots], &text[dots + 2..]);
        let (symmetric, right) = match right.strip_prefix('.') {
            Some(right) => (true, right),
            None => (false, right),
        };
        let side = |side: &str| {
            let revision = if side.is_empty() { Ok(Revision::head()) } else { parse(side, text) }?;
            match revision.path {
                Some(_) => Err(invalid(text, "a range is of commits, without paths")),
                None => Ok(revision),
            }
        };
        let (left, right) = (side(left)?, side(right)?);
        Ok(if symmetric {
            Self::Symmetric { ours: left, theirs: right }
        } else {
            Self::Between { from: left, to: right }
        })
    }
}

/// Finds the dots of a range: two, neither in `@{…}` nor behind the colon of a path.
fn find_dots(text: &str) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let mark = rest.find([':', '{', '.'])?;
        at += mark;
        match &rest[mark..] {
            rest if rest.starts_with("..") => return Some(at),
            rest if rest.starts_with(':') => return None,
            rest if rest.starts_with('{') && text[..at].ends_with('@') => at += rest.find('}')?,
            _ => at += 1,
        }
    }
}

fn invalid(revision: &str, reason: impl Into<String>) -> Error {
    Error::RevisionInvalid { revision: revision.to_owned(), reason: reason.into() }
}

/// Parses one revision; errors name the `whole` text that was given.
fn parse(text: &str, whole: &str) -> Result<Revision, Error> {
    if text.len() > MAX_REVISION {
        let start: String = text.chars().take(40).collect();
        return Err(invalid(&format!("{start}…"), format!("it is longer than {MAX_REVISION} bytes")));
    }
    let (base, rest) = parse_base(text).map_err(|reason| invalid(whole, reason))?;
    let (steps, rest) = parse_steps(rest).map_err(|reason| invalid(whole, reason))?;
    let path = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        None => return Err(invalid(whole, format!("`{rest}` is no step: those are ~, ~2, ^ and ^2"))),
        Some("") => Some(RepoPath::root()),
        // Whoever completes the name of a directory leaves a slash behind it.
        Some(path) => Some(RepoPath::parse(path.strip_suffix('/').unwrap_or(path))?),
    };
    Ok(Revision { base, steps, path })
}

fn parse_base(text: &str) -> Result<(Base, &str), String> {
    let at = text.find("@{").filter(|&at| !text[..at].contains(['~', '^', ':']));
    if let Some(at) = at {
        let (when, rest) = text[at + 2..].split_once('}').ok_or("`@{` is not closed")?;
        if when.trim().is_empty() {
            return Err("`@{}` names no operation and no date".to_owned());
        }
        let branch = match &text[..at] {
            "" | "HEAD" => None,
            name => Some(ref_name(name.strip_prefix("heads/").unwrap_or(name))?),
        };
        return Ok((Base::At { branch, when: when.to_owned() }, rest));
    }
    let end = text.find(['~', '^', ':']).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let base = match word {
        "" => return Err("it names no commit, branch or tag".to_owned()),
        "HEAD" | "@" => Base::Head,
        word if word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Base::Id(word.to_ascii_lowercase().parse().map_err(|_| "it is no id".to_owned())?)
        }
        word => {
            let short = word.strip_prefix("refs/").unwrap_or(word);
            if let Some(branch) = short.strip_prefix("heads/") {
                Base::Branch(ref_name(branch)?)
            } else if let Some(tag) = short.strip_prefix("tags/") {
                Base::Tag(ref_name(tag)?)
            } else {
                Base::Name(ref_name(word)?)
            }
        }
    };
    Ok((base, rest))
}

fn ref_name(word: &str) -> Result<RefName, String> {
    match RefName::check(word) {
        Ok(()) => Ok(word.parse().expect("the name was just checked")),
        Err(RefNameProblem::Dots) if word.contains("..") => {
            Err("a range stands where one revision is wanted".to_owned())
        }
        Err(problem) => Err(problem.to_string()),
    }
}

fn parse_steps(mut rest: &str) -> Result<(Vec<Step>, &str), String> {
    let mut steps = Vec::new();
    while let Some(mark) = rest.chars().next().filter(|mark| ['~', '^'].contains(mark)) {
        let digits = &rest[1..];
        let (digits, after) = digits.split_at(digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len()));
        let count = match digits {
            "" => 1,
            digits => digits.parse().map_err(|_| format!("`{mark}{digits}` goes further back than commits can"))?,
        };
        steps.push(if mark == '~' { Step::Ancestor(count) } else { Step::Parent(count) });
        rest = after;
    }
    Ok((steps, rest))
}

#[cfg(test)]
mod tests;
