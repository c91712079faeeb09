//! One commit with what it changed, or what lies at a path of it.

use super::History;
use super::log::LoggedCommit;
use super::resolve::PathAtCommit;
use super::revision::Revision;
use crate::object::reader;
use crate::tree::{EntryType, Tree, TreeEntry};
use crate::{Result, tree::Content};

/// Text up to this many bytes is shown: more fills no screen.
const MAX_TEXT: u64 = 1 << 20;

/// What a revision shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShowReport {
    /// A commit, with what it changed against its first parent.
    Commit(Box<LoggedCommit>),
    /// What lies at a path of one.
    Path(PathReport),
}

/// What lies at a path of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathReport {
    /// Where it lies, and what it is.
    pub at: PathAtCommit,
    /// What lies in it, where it is a directory.
    pub entries: Vec<TreeEntry>,
    /// Its text where it is one of at most a mebibyte, or the target of a link.
    pub text: Option<String>,
}

impl History<'_> {
    /// Shows what a revision names: what lies at its path, or without one the commit itself.
    ///
    /// # Errors
    /// Those of [`History::resolve_path`], and of reading what is there.
    pub fn show(&self, revision: &Revision) -> Result<ShowReport> {
        if revision.path.is_none() {
            return Ok(ShowReport::Commit(Box::new(self.logged(self.resolve(revision)?, true)?)));
        }
        let at = self.resolve_path(revision)?;
        let node = &at.node;
        let (mut entries, mut text) = (Vec::new(), None);
        match (&node.content, node.kind) {
            (Content::Tree(tree), _) => entries = Tree::read(self.store, *tree)?.into_entries(),
            (_, EntryType::File | EntryType::Executable | EntryType::Symlink) if node.size <= MAX_TEXT => {
                let bytes = reader::read_all(self.store, &node.content, node.size, MAX_TEXT)?;
                text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
            }
            _ => {}
        }
        Ok(ShowReport::Path(PathReport { at, entries, text }))
    }
}
