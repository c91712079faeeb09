//! `shard ignore`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shard_core::repository::config::key;
use shard_core::worktree::ignore::{GITIGNORE, IgnoreStack, MAX_RULE_FILE, SHARDIGNORE};
use shard_core::{Error, RepoPath};
use shard_storage::vfs::{Dir, FileKind, Real};

use crate::args::IgnoreVerb;
use crate::failure::Result;
use crate::invocation::Invocation;
use crate::page::{Page, Span, dim, plain};
use crate::view::{IgnoreFile, IgnoreList, IgnoreMatch, IgnoreMatches, View};
use crate::{place, settings};

/// Most directories looked into for rule files.
const MAX_DIRECTORIES: usize = 100_000;

/// Explains ignore rules.
pub(super) fn run(invocation: &Invocation, verb: Option<IgnoreVerb>) -> Result<Box<dyn View>> {
    let rules = Rules::open(invocation)?;
    Ok(match verb.unwrap_or(IgnoreVerb::List) {
        IgnoreVerb::List => Box::new(rules.list()?),
        IgnoreVerb::Check { paths } => Box::new(rules.check(invocation, &paths)?),
    })
}

/// Where rules are read from.
struct Rules {
    root: PathBuf,
    worktree: Dir,
    user: Option<(String, Vec<u8>)>,
    gitignore: bool,
}

impl Rules {
    fn open(invocation: &Invocation) -> Result<Self> {
        let root = invocation.find_repository()?;
        let worktree = Dir::open_root(Arc::new(Real), &root).map_err(Error::from)?;
        let user = settings::user_ignore(invocation)?;
        Ok(Self { root, worktree, user, gitignore: invocation.config.get(key::FILES_GITIGNORE) })
    }

    fn stack(&self) -> IgnoreStack {
        IgnoreStack::new(self.user.as_ref().map(|(name, bytes)| (name.as_str(), bytes.as_slice())))
    }

    /// Reads a rule file of a directory; what is no ordinary file, or is not there, holds no rules.
    fn read(&self, directory: &str, name: &str) -> Option<Vec<u8>> {
        let path = if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
        let file = self.worktree.open(path, shard_storage::vfs::OpenOptions::READ).ok()?;
        let mut bytes = vec![0; MAX_RULE_FILE];
        let length = file.read_full_at(&mut bytes, 0).ok()?;
        bytes.truncate(length);
        Some(bytes)
    }

    fn of_directory(&self, directory: &str) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let gitignore = if self.gitignore { self.read(directory, GITIGNORE) } else { None };
        (self.read(directory, SHARDIGNORE), gitignore)
    }

    fn check(&self, invocation: &Invocation, paths: &[PathBuf]) -> Result<IgnoreMatches> {
        let mut items = Vec::with_capacity(paths.len());
        for typed in paths {
            let path = place::resolve(&self.root, &invocation.directory, typed)?;
            items.push(self.verdict(&path, typed));
        }
        Ok(IgnoreMatches { items, next_cursor: None })
    }

    fn verdict(&self, path: &RepoPath, typed: &Path) -> IgnoreMatch {
        let mut stack = self.stack();
        let mut above: Vec<RepoPath> = std::iter::successors(path.parent(), RepoPath::parent).collect();
        above.reverse();
        for directory in above {
            let (shardignore, gitignore) = self.of_directory(directory.as_str());
            stack = stack.push_directory(directory.as_str(), shardignore.as_deref(), gitignore.as_deref());
        }
        let on_disk = self.worktree.metadata_optional(path.as_str()).ok().flatten();
        let slash = typed.as_os_str().as_encoded_bytes().ends_with(b"/");
        let is_directory = on_disk.map_or(slash, |metadata| metadata.kind == FileKind::Directory);
        let verdict = stack.check_path(path.as_str(), is_directory);
        let rule = verdict.rule();
        IgnoreMatch {
            path: path.as_str().to_owned(),
            ignored: verdict.is_ignored(),
            file: rule.map(|rule| rule.file.to_owned()),
            line: rule.map(|rule| rule.line as u64),
            rule: rule.map(|rule| rule.rule.to_owned()),
        }
    }

    /// Lists rule files, the user's first, then from the root downward. Ignored directories are not looked into.
    fn list(&self) -> Result<IgnoreList> {
        let mut items = Vec::new();
        if let Some((name, bytes)) = &self.user {
            items.push(IgnoreFile { path: name.clone(), rules: rules_in(bytes) });
        }
        let mut left = MAX_DIRECTORIES;
        let mut open = vec![(String::new(), self.stack())];
        while let Some((directory, outer)) = open.pop() {
            let (shardignore, gitignore) = self.of_directory(&directory);
            for (name, bytes) in [(GITIGNORE, &gitignore), (SHARDIGNORE, &shardignore)] {
                if let Some(bytes) = bytes {
                    items.push(IgnoreFile { path: joined(&directory, name), rules: rules_in(bytes) });
                }
            }
            let stack = outer.push_directory(&directory, shardignore.as_deref(), gitignore.as_deref());
            let listed =
                if directory.is_empty() { Ok(self.worktree.clone()) } else { self.worktree.open_dir(&directory) };
            // A directory that cannot be read has no rules that count.
            let mut entries = listed.and_then(|dir| dir.list()).unwrap_or_default();
            entries.sort_by(|a, b| b.name.cmp(&a.name));
            for entry in entries.iter().filter(|entry| entry.kind == FileKind::Directory) {
                let Some(name) = entry.name.to_str() else { continue };
                let path = joined(&directory, name);
                // This leaves out `.shard` and `.git` too, which are never entered.
                if RepoPath::parse(&path).is_err() || stack.check(&path, true).is_ignored() {
                    continue;
                }
                left = left.saturating_sub(1);
                if left > 0 {
                    open.push((path, stack.clone()));
                }
            }
        }
        Ok(IgnoreList { items, next_cursor: None })
    }
}

fn joined(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

/// Counts the lines that are rules.
fn rules_in(bytes: &[u8]) -> u64 {
    let rule = |line: &&[u8]| !line.trim_ascii().is_empty() && !line.starts_with(b"#");
    bytes.split(|&byte| byte == b'\n').filter(rule).count() as u64
}

impl View for IgnoreMatches {
    fn render(&self, page: &mut Page) {
        let rows: Vec<Vec<Span<'_>>> = self
            .items
            .iter()
            .map(|item| {
                let verdict = if item.ignored { "ignored" } else { "tracked" };
                let mut row = vec![plain(&*item.path), plain(verdict)];
                if let (Some(file), Some(line), Some(rule)) = (&item.file, item.line, &item.rule) {
                    row.push(dim(format!("{file}:{line}")));
                    row.push(plain(&**rule));
                }
                row
            })
            .collect();
        page.table(&rows);
    }
}

impl View for IgnoreList {
    fn render(&self, page: &mut Page) {
        let rows: Vec<Vec<Span<'_>>> = self
            .items
            .iter()
            .map(|item| vec![plain(&*item.path), dim(crate::quantity::of(item.rules, "rule"))])
            .collect();
        page.table(&rows);
    }

    fn is_paged(&self) -> bool {
        true
    }
}
