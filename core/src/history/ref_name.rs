//! Names of branches and tags.
//!
//! They follow git's rules, so that they mean the same through the bridge, and a few of ours: at most 200 bytes, never
//! 64 hexadecimal digits, which would hide behind an id. A name becomes a file name beneath `refs/`; these rules keep it
//! there. Whether a name is free beside others ([`RefName::collides_with`]) is asked where refs are moved.

use std::fmt;
use std::str::FromStr;

use crate::canonical::{Canonical, DecodeError, Decoder, Encoder};
use crate::error::Error;
use crate::repo_path::fold_key;

/// Longest name in bytes: with `refs/heads/` and a suffix it fits every file system's limit.
pub const MAX_REF_NAME: usize = 200;

/// Why a text names no ref.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefNameProblem {
    /// Nothing is there, or nothing between two slashes.
    #[error("it has an empty component")]
    Empty,
    /// It exceeds [`MAX_REF_NAME`].
    #[error("it is longer than {MAX_REF_NAME} bytes")]
    TooLong,
    /// It holds a character that separates something elsewhere.
    #[error("it holds a space, a control character or one of ~ ^ : ? * [ \\")]
    Character,
    /// It holds two dots in a row, or begins or ends a component with one.
    #[error("`..`, a component beginning with a dot, and a final dot are not allowed")]
    Dots,
    /// It holds `@{` or is `@`.
    #[error("`@` alone and `@{{` mean something else")]
    At,
    /// A component ends in `.lock`.
    #[error("a component ends in `.lock`")]
    Lock,
    /// It begins with a hyphen, like an option.
    #[error("it begins with a hyphen")]
    Hyphen,
    /// It is `HEAD`.
    #[error("`HEAD` is a keyword")]
    Head,
    /// It is 64 hexadecimal digits.
    #[error("64 hexadecimal digits are an id")]
    Id,
}

/// The name of a branch or tag, without `refs/heads/` or `refs/tags/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefName(String);

impl RefName {
    /// Parses the name of a branch.
    ///
    /// # Errors
    /// [`Error::ValueInvalid`] with the reason.
    pub fn branch(name: &str) -> Result<Self, Error> {
        Self::parse("branch name", name)
    }

    /// Parses the name of a tag.
    ///
    /// # Errors
    /// [`Error::ValueInvalid`] with the reason.
    pub fn tag(name: &str) -> Result<Self, Error> {
        Self::parse("tag name", name)
    }

    fn parse(what: &'static str, name: &str) -> Result<Self, Error> {
        match Self::check(name) {
            Ok(()) => Ok(Self(name.to_owned())),
            Err(problem) => Err(Error::ValueInvalid { what, value: name.to_owned(), reason: problem.to_string() }),
        }
    }

    /// Checks a name.
    ///
    /// # Errors
    /// The first rule it breaks.
    pub fn check(name: &str) -> Result<(), RefNameProblem> {
        if name.len() > MAX_REF_NAME {
            return Err(RefNameProblem::TooLong);
        }
        let separates = |c: char| c.is_ascii_control() || " ~^:?*[\\".contains(c);
        if name.contains(separates) {
            return Err(RefNameProblem::Character);
        }
        if name == "@" || name.contains("@{") {
            return Err(RefNameProblem::At);
        }
        if name.contains("..") || name.ends_with('.') {
            return Err(RefNameProblem::Dots);
        }
        for component in name.split('/') {
            if component.is_empty() {
                return Err(RefNameProblem::Empty);
            }
            if component.starts_with('.') {
                return Err(RefNameProblem::Dots);
            }
            if component.ends_with(".lock") {
                return Err(RefNameProblem::Lock);
            }
        }
        if name.starts_with('-') {
            return Err(RefNameProblem::Hyphen);
        }
        if name == "HEAD" {
            return Err(RefNameProblem::Head);
        }
        if name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(RefNameProblem::Id);
        }
        Ok(())
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the name begins `local/`: such refs are never published.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.0.starts_with("local/")
    }

    /// Returns whether the two cannot stand beside each other: they are one after case folding, or one would be the
    /// directory the other lies in. A name collides with itself.
    #[must_use]
    pub fn collides_with(&self, other: &RefName) -> bool {
        let (ours, theirs) = (fold_key(&self.0), fold_key(&other.0));
        let lies_in = |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
        ours == theirs || lies_in(&ours, &theirs) || lies_in(&theirs, &ours)
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RefName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::parse("ref name", name)
    }
}

impl AsRef<str> for RefName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// A text.
impl Canonical for RefName {
    fn encode(&self, e: &mut Encoder) {
        e.text(&self.0);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let name = d.text()?;
        match Self::check(name) {
            Ok(()) => Ok(Self(name.to_owned())),
            Err(_) => Err(d.invalid("a ref name breaks the rules")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> RefName {
        RefName::branch(text).unwrap()
    }

    #[test]
    fn names_follow_gits_rules_and_ours() {
        use RefNameProblem::*;
        let longest = "x".repeat(MAX_REF_NAME);
        for good in
            ["main", "a/b/c", "v1.0", "issue-7", "@x", "x@", "é", "水", "a.b", "HEADS", "head", "deadbeef", &longest]
        {
            assert_eq!(RefName::check(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", Empty),
            ("/", Empty),
            ("/a", Empty),
            ("a/", Empty),
            ("a//b", Empty),
            (".", Dots),
            ("..", Dots),
            (".a", Dots),
            ("a/.b", Dots),
            ("a..b", Dots),
            ("a.", Dots),
            ("../../etc/passwd", Dots),
            ("a.lock", Lock),
            ("a.lock/b", Lock),
            ("a b", Character),
            ("a\nb", Character),
            ("a\0b", Character),
            ("a\x7fb", Character),
            ("a~1", Character),
            ("a^", Character),
            ("a:b", Character),
            ("a?", Character),
            ("a*", Character),
            ("a[1]", Character),
            ("a\\b", Character),
            ("@", At),
            ("a@{1}", At),
            ("-a", Hyphen),
            ("HEAD", Head),
            (&"0aF9".repeat(16), Id),
            (&format!("{longest}x"), TooLong),
        ] {
            assert_eq!(RefName::check(bad), Err(why), "{bad:?}");
        }
        assert_eq!(
            RefName::tag("a b").unwrap_err().to_string(),
            "tag name `a b`: it holds a space, a control character or one of ~ ^ : ? * [ \\"
        );
        assert_eq!(RefName::check(&"a".repeat(63)), Ok(()), "63 digits are no id");
    }

    #[test]
    fn names_that_one_directory_cannot_hold_collide() {
        for (one, other) in [("main", "main"), ("main", "MAIN"), ("a", "a/b"), ("A/x", "a"), ("é", "e\u{301}")] {
            assert!(name(one).collides_with(&name(other)) && name(other).collides_with(&name(one)), "{one} {other}");
        }
        for (one, other) in [("a", "ab"), ("a/b", "a/c"), ("a-b", "a/b")] {
            assert!(!name(one).collides_with(&name(other)), "{one} {other}");
        }
    }

    #[test]
    fn only_the_directory_local_is_local() {
        assert!(name("local/x").is_local());
        assert!(!name("local").is_local() && !name("locale/x").is_local() && !name("x/local/y").is_local());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn an_accepted_name_is_a_path_below_its_directory(text in r"[a./\\@{~ \-]{0,6}[a-z]?") {
            if let Ok(name) = RefName::branch(&text) {
                let path = std::path::Path::new(name.as_str());
                prop_assert!(path.components().all(|part| matches!(part, std::path::Component::Normal(_))));
                prop_assert_eq!(path.components().count(), text.split('/').count());
                prop_assert_eq!(RefName::from_bytes(&name.to_bytes()), Ok(name));
            }
        }
    }
}
