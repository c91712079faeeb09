//! Paths inside a repository.
//!
//! A [`RepoPath`] is relative, separated by `/`, and safe to join beneath a root: it was parsed, and cannot leave the
//! worktree or name `.shard` or `.git` under any alias a file system knows. It is parsed where files are read and again
//! where objects from elsewhere are decoded ([`validate_component`]), so nothing hostile is stored or carried on.
//! Whether two safe names fall together on the file system at hand is the checkout's question; [`fold_key`] helps it.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use unicode_normalization::UnicodeNormalization;

use crate::canonical::{Canonical, DecodeError, Decoder, Encoder};
use crate::error::Error;

/// Longest component in bytes: what every common file system takes.
pub const MAX_COMPONENT: usize = 255;
/// Longest path in bytes: `PATH_MAX` on Linux.
pub const MAX_PATH: usize = 4096;
/// Most components of a path: deep enough for real trees, shallow enough to recurse over.
pub const MAX_COMPONENTS: usize = 256;

/// Names beginning so are a checkout's temporaries and never tracked.
pub const TEMPORARY_PREFIX: &str = ".shard-tmp-";

/// Names no component may have, in any spelling that some file system takes for them.
const RESERVED: [&str; 4] = [".shard", ".git", "shard~1", "git~1"];

/// Why a name or path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathProblem {
    /// The path, or a component of it, is empty; absolute paths and doubled slashes are too.
    #[error("it has an empty component")]
    Empty,
    /// A component is `.` or `..`.
    #[error("`.` and `..` are not names")]
    Dots,
    /// A component holds NUL or, alone, a slash.
    #[error("it holds a NUL or a slash")]
    Separator,
    /// It is not UTF-8.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// A component is an alias of `.shard` or `.git`.
    #[error("`.shard`, `.git` and their aliases are reserved")]
    Reserved,
    /// A component begins like the temporaries of a checkout.
    #[error("names beginning `.shard-tmp-` are reserved")]
    Temporary,
    /// A component exceeds [`MAX_COMPONENT`].
    #[error("a component is longer than {MAX_COMPONENT} bytes")]
    ComponentTooLong,
    /// The path exceeds [`MAX_PATH`].
    #[error("it is longer than {MAX_PATH} bytes")]
    TooLong,
    /// The path exceeds [`MAX_COMPONENTS`].
    #[error("it has more than {MAX_COMPONENTS} components")]
    TooDeep,
}

impl PathProblem {
    /// Returns the error that names `path` and this reason.
    #[must_use]
    pub fn of(self, path: impl Into<String>) -> Error {
        Error::PathInvalid { path: path.into(), reason: self.to_string() }
    }

    /// Returns what the gate says of a name in a decoded object.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "a name is empty",
            Self::Dots => "a name is `.` or `..`",
            Self::Separator => "a name holds a NUL or a slash",
            Self::NotUtf8 => "a name is not UTF-8",
            Self::Reserved => "a name is an alias of `.shard` or `.git`",
            Self::Temporary => "a name begins `.shard-tmp-`",
            Self::ComponentTooLong => "a name is too long",
            Self::TooLong => "a path is too long",
            Self::TooDeep => "a path is too deep",
        }
    }
}

/// Checks one name as it stands in a tree or a directory, and returns it as text.
///
/// # Errors
/// The first reason for which no path may hold this name.
pub fn validate_component(name: &[u8]) -> Result<&str, PathProblem> {
    if name.is_empty() {
        return Err(PathProblem::Empty);
    }
    if name.len() > MAX_COMPONENT {
        return Err(PathProblem::ComponentTooLong);
    }
    if name == b"." || name == b".." {
        return Err(PathProblem::Dots);
    }
    let traits = name.iter().fold(0, |traits, &byte| traits | TRAITS[usize::from(byte)]);
    if traits & SEPARATOR != 0 {
        return Err(PathProblem::Separator);
    }
    let text = std::str::from_utf8(name).map_err(|_| PathProblem::NotUtf8)?;
    // Nearly every name ends here: plain, and beginning like none of the reserved ones.
    let begins_reserved = matches!(name, [b'.', b's' | b'S' | b'g' | b'G', ..] | [b's' | b'S', b'h' | b'H', ..])
        || matches!(name, [b'g' | b'G', b'i' | b'I', ..]);
    if traits & NOT_PLAIN != 0 || begins_reserved {
        check_reserved(text)?;
    }
    Ok(text)
}

/// A byte that no name holds.
const SEPARATOR: u8 = 1;
/// A byte that may hide a reserved name: of a letter beyond ASCII, or a backslash.
const NOT_PLAIN: u8 = 2;

/// What each byte means for a name.
static TRAITS: [u8; 256] = {
    let mut traits = [0; 256];
    traits[0] = SEPARATOR;
    traits[b'/' as usize] = SEPARATOR;
    traits[b'\\' as usize] = NOT_PLAIN;
    let mut byte = 128;
    while byte < 256 {
        traits[byte] = NOT_PLAIN;
        byte += 1;
    }
    traits
};

/// Refuses what some file system takes for a reserved name: another case or Unicode form, code points it skips,
/// trailing dots and spaces, a stream after `:`, the short name of 8.3. A backslash separates, for this check alone.
fn check_reserved(name: &str) -> Result<(), PathProblem> {
    let folded = if name.is_ascii() { Cow::Borrowed(name) } else { Cow::Owned(fold_key(name)) };
    for part in folded.split('\\') {
        let part = part.split(':').next().unwrap_or_default();
        if part.get(..TEMPORARY_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(TEMPORARY_PREFIX)) {
            return Err(PathProblem::Temporary);
        }
        let part = part.trim_end_matches(['.', ' ']);
        if RESERVED.iter().any(|reserved| part.eq_ignore_ascii_case(reserved)) {
            return Err(PathProblem::Reserved);
        }
    }
    Ok(())
}

/// Returns what two names have in common when a file system that ignores case, Unicode form and ignorable code points
/// takes them for one. Equal keys mean: do not write both into one directory of such a file system.
#[must_use]
pub fn fold_key(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    // Upper before lower case folds what has several lower-case forms: the long s, the final sigma, the sharp s.
    let folded = name.nfd().filter(|&c| !is_ignorable(c)).flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    folded.nfd().collect()
}

/// The code points that HFS+ skips when it compares names.
fn is_ignorable(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

/// A path inside a repository; the root is the empty path.
///
/// Paths order by their components' bytes, as entries of trees do: `a/b` stands before `a.b`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct RepoPath(String);

impl RepoPath {
    /// Returns the root, which has no components.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// Parses a path of at least one component.
    ///
    /// # Errors
    /// [`Error::PathInvalid`] with the path and the reason.
    pub fn parse(path: &str) -> Result<Self, Error> {
        Self::parse_bytes(path.as_bytes())
    }

    /// Parses a path as a file system gives it.
    ///
    /// # Errors
    /// [`Error::PathInvalid`] with the path, its undecodable bytes replaced, and the reason.
    pub fn parse_bytes(path: &[u8]) -> Result<Self, Error> {
        Self::check(path).map(|path| Self(path.to_owned())).map_err(|problem| problem.of(String::from_utf8_lossy(path)))
    }

    /// Checks a path of at least one component.
    ///
    /// # Errors
    /// The first reason against it.
    pub fn check(path: &[u8]) -> Result<&str, PathProblem> {
        if path.len() > MAX_PATH {
            return Err(PathProblem::TooLong);
        }
        for (at, component) in path.split(|&byte| byte == b'/').enumerate() {
            if at == MAX_COMPONENTS {
                return Err(PathProblem::TooDeep);
            }
            validate_component(component)?;
        }
        // Only ASCII slashes were split off, so the whole is UTF-8 because the components are.
        std::str::from_utf8(path).map_err(|_| PathProblem::NotUtf8)
    }

    /// Appends one component.
    ///
    /// # Errors
    /// [`Error::PathInvalid`] when the name is not one, or the path becomes too long or too deep.
    pub fn join(&self, name: &str) -> Result<Self, Error> {
        self.join_bytes(name.as_bytes())
    }

    /// Appends one component as a directory gives it.
    ///
    /// # Errors
    /// As [`RepoPath::join`].
    pub fn join_bytes(&self, name: &[u8]) -> Result<Self, Error> {
        validate_component(name).and_then(|name| self.join_valid(name)).map_err(|problem| {
            let name = String::from_utf8_lossy(name);
            problem.of(if self.is_root() { name.into_owned() } else { format!("{self}/{name}") })
        })
    }

    /// Appends a whole path.
    ///
    /// # Errors
    /// [`Error::PathInvalid`] when the path becomes too long or too deep.
    pub fn join_path(&self, path: &RepoPath) -> Result<Self, Error> {
        if path.is_root() {
            return Ok(self.clone());
        }
        self.join_valid(&path.0).map_err(|problem| problem.of(format!("{self}/{path}")))
    }

    fn join_valid(&self, rest: &str) -> Result<Self, PathProblem> {
        if self.is_root() {
            return Ok(Self(rest.to_owned()));
        }
        if self.0.len() + 1 + rest.len() > MAX_PATH {
            return Err(PathProblem::TooLong);
        }
        let mut path = String::with_capacity(self.0.len() + 1 + rest.len());
        path.extend([&self.0, "/", rest]);
        let path = Self(path);
        if path.depth() > MAX_COMPONENTS { Err(PathProblem::TooDeep) } else { Ok(path) }
    }

    /// Returns whether this is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the path with slashes; empty for the root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the components from the outermost.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
        // An empty string would split into one empty component.
        let split = (!self.is_root()).then(|| self.0.split('/'));
        split.into_iter().flatten()
    }

    /// Returns the number of components.
    #[must_use]
    pub fn depth(&self) -> usize {
        if self.is_root() { 0 } else { 1 + self.0.bytes().filter(|&byte| byte == b'/').count() }
    }

    /// Returns the directory this lies in; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        Some(self.0.rsplit_once('/').map_or_else(Self::root, |(parent, _)| Self(parent.to_owned())))
    }

    /// Returns the last component; `None` for the root.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.components().next_back()
    }

    /// Returns whether this is `ancestor` or lies beneath it.
    #[must_use]
    pub fn starts_with(&self, ancestor: &RepoPath) -> bool {
        self.strip(ancestor).is_some()
    }

    /// Returns the path relative to `ancestor`, the root when they are the same, `None` when it lies elsewhere.
    #[must_use]
    pub fn strip_prefix(&self, ancestor: &RepoPath) -> Option<Self> {
        self.strip(ancestor).map(|rest| Self(rest.to_owned()))
    }

    fn strip(&self, ancestor: &RepoPath) -> Option<&str> {
        if ancestor.is_root() {
            return Some(&self.0);
        }
        let rest = self.0.strip_prefix(&ancestor.0)?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
    }
}

impl PartialOrd for RepoPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RepoPath {
    fn cmp(&self, other: &Self) -> Ordering {
        // No component holds NUL, so a slash that sorts as NUL ends a component before any byte that continues one.
        let key = |byte: u8| if byte == b'/' { 0 } else { byte };
        let (ours, theirs) = (self.0.as_bytes(), other.0.as_bytes());
        match ours.iter().zip(theirs).find(|(a, b)| a != b) {
            Some((&a, &b)) => key(a).cmp(&key(b)),
            None => ours.len().cmp(&theirs.len()),
        }
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RepoPath {
    type Err = Error;

    fn from_str(path: &str) -> Result<Self, Error> {
        Self::parse(path)
    }
}

impl AsRef<str> for RepoPath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl AsRef<Path> for RepoPath {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

/// A text; empty for the root.
impl Canonical for RepoPath {
    fn encode(&self, e: &mut Encoder) {
        e.text(&self.0);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let path = d.text()?;
        if path.is_empty() {
            return Ok(Self::root());
        }
        match Self::check(path.as_bytes()) {
            Ok(path) => Ok(Self(path.to_owned())),
            Err(problem) => Err(d.invalid(problem.as_str())),
        }
    }
}

#[cfg(test)]
mod tests;
