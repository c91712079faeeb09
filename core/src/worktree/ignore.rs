//! Which untracked paths are passed over.
//!
//! Rules stand in `.shardignore` and `.gitignore` files of any directory and in the user's own file, in gitignore
//! syntax. The nearest directory decides first; within one, `.shardignore` before `.gitignore`; the user's file last; and
//! in a file its last rule that matches. An [`IgnoreStack`] holds the rules along one branch of a walk. It reads no
//! files, and a directory without rule files costs nothing. That nothing beneath an ignored directory is looked at is
//! left to the walk; [`IgnoreStack::check_path`] asks for all directories on the way.

use std::sync::Arc;

mod rule;
mod wildcard;

use rule::RuleFile;

/// Largest rule file of which all is read: what lies beyond does not count. Git's longest known ones have some 100 KiB.
pub const MAX_RULE_FILE: usize = 1 << 20;

/// The name of our own rule files.
pub const SHARDIGNORE: &str = ".shardignore";
/// The name of git's rule files.
pub const GITIGNORE: &str = ".gitignore";

/// What the rules say of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Nothing.
    Unmentioned,
    /// It is passed over.
    Ignored(RuleRef<'a>),
    /// A rule beginning `!` takes it back in.
    Included(RuleRef<'a>),
}

impl<'a> Verdict<'a> {
    /// Returns whether the path is passed over.
    #[must_use]
    pub fn is_ignored(&self) -> bool {
        matches!(self, Self::Ignored(_))
    }

    /// Returns the rule that decided, if one did.
    #[must_use]
    pub fn rule(&self) -> Option<RuleRef<'a>> {
        match self {
            Self::Unmentioned => None,
            Self::Ignored(rule) | Self::Included(rule) => Some(*rule),
        }
    }
}

/// Where a rule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleRef<'a> {
    /// Its file: a path within the worktree, or the name the user's file was given.
    pub file: &'a str,
    /// Its line, from 1.
    pub line: usize,
    /// The rule as written, without trailing spaces.
    pub rule: &'a str,
}

/// The rules that hold in one directory. Cloning it copies a pointer.
#[derive(Debug, Clone, Default)]
pub struct IgnoreStack {
    innermost: Option<Arc<Level>>,
}

/// The rule files of one directory.
#[derive(Debug)]
struct Level {
    outer: Option<Arc<Level>>,
    /// The directory with a slash behind it; empty for the root.
    base: String,
    /// In the order they decide.
    files: Vec<RuleFile>,
}

impl IgnoreStack {
    /// Starts with the user's rules: the file's name, for answers, and its content. Nothing else holds yet.
    #[must_use]
    pub fn new(user_rules: Option<(&str, &[u8])>) -> Self {
        Self::default().push(String::new(), user_rules.into_iter().map(|(file, content)| (file.to_owned(), content)))
    }

    /// Returns the rules within `directory`, which lies in the one this stack holds for; the root is the empty path. Call
    /// it for the root too.
    #[must_use]
    pub fn push_directory(&self, directory: &str, shardignore: Option<&[u8]>, gitignore: Option<&[u8]>) -> Self {
        if shardignore.is_none() && gitignore.is_none() {
            return self.clone();
        }
        let base = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let files = [(SHARDIGNORE, shardignore), (GITIGNORE, gitignore)];
        let files = files.map(|(name, content)| content.map(|content| (format!("{base}{name}"), content)));
        self.push(base, files.into_iter().flatten())
    }

    fn push<'a>(&self, base: String, files: impl Iterator<Item = (String, &'a [u8])>) -> Self {
        let files = files.map(|(name, content)| RuleFile::parse(name, content));
        let files: Vec<_> = files.filter(|file| !file.rules.is_empty()).collect();
        if files.is_empty() {
            return self.clone();
        }
        Self { innermost: Some(Arc::new(Level { outer: self.innermost.clone(), base, files })) }
    }

    /// Returns whether no rule holds here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.innermost.is_none()
    }

    /// Says what the rules say of `path`, a whole path within the worktree, itself. An ignored directory above it counts
    /// only in [`check_path`](Self::check_path). Costs some twenty nanoseconds a rule that stands on the way.
    #[must_use]
    pub fn check(&self, path: &str, is_directory: bool) -> Verdict<'_> {
        let mut next = &self.innermost;
        while let Some(level) = next {
            // Rules of a directory say nothing of the directory itself, nor of what lies outside.
            if let Some(beneath) = path.strip_prefix(&level.base).filter(|beneath| !beneath.is_empty()) {
                for file in &level.files {
                    if let Some(rule) = file.last_match(beneath.as_bytes(), is_directory) {
                        let found = RuleRef { file: &file.name, line: rule.line, rule: &rule.text };
                        return if rule.negated { Verdict::Included(found) } else { Verdict::Ignored(found) };
                    }
                }
            }
            next = &level.outer;
        }
        Verdict::Unmentioned
    }

    /// Says what becomes of `path` in a walk: if a directory above it is ignored, so is it, and no rule takes it back.
    /// The stack holds the rules of all directories above.
    #[must_use]
    pub fn check_path(&self, path: &str, is_directory: bool) -> Verdict<'_> {
        for (slash, _) in path.match_indices('/') {
            let verdict = self.check(&path[..slash], true);
            if verdict.is_ignored() {
                return verdict;
            }
        }
        self.check(path, is_directory)
    }
}

#[cfg(test)]
mod tests;
