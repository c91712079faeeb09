//! Import: a directory from elsewhere becomes part of the history.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use shard_storage::vfs::{Dir, Vfs};

use super::checkout::{Obstacles, SwitchTarget};
use super::commit::CommitOptions;
use super::gather::{Select, write_tree};
use super::scan::{Change, ScanRequest, Scope, Skipped};
use super::stage::head_tree;
use super::stat_cache::StatCache;
use crate::history::commit;
use crate::history::refs::Head;
use crate::ids::CommitId;
use crate::object::{ObjectKind, ObjectSink};
use crate::progress::Progress;
use crate::repository::Repository;
use crate::tree::Tree;
use crate::tree::editor::TreeEditor;
use crate::{Error, RepoPath, Result};

/// How a directory is imported.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// Where its files go within the worktree; the root where empty.
    pub prefix: RepoPath,
    /// What the commit says.
    pub message: String,
    /// Only say what would be imported.
    pub dry_run: bool,
}

/// What was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportReport {
    /// Files and links.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes of new objects, before compression.
    pub new_bytes: u64,
    /// Passed over, and why.
    pub skipped: Vec<Skipped>,
    /// The commit; `None` after a dry run.
    pub commit: Option<CommitId>,
}

impl Repository {
    /// Commits the files of `directory` on top of HEAD, at their paths relative to it beneath the prefix, and brings them
    /// into the worktree. What the worktree has there already must not be in the way.
    ///
    /// # Errors
    /// [`Error::CommitEmpty`] where everything is there already, [`Error::WorktreeDirty`] naming what is in the way.
    pub fn import_directory(
        &self,
        vfs: &Arc<dyn Vfs>,
        directory: &Path,
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<ImportReport> {
        let key = if options.dry_run { None } else { Some(self.key()?) };
        let root = Dir::open_root(vfs.clone(), directory)?;
        let state = self.state()?;
        Self::check_not_interrupted(&state)?;
        let store = self.store(&state)?;
        let scan = ScanRequest {
            worktree: &root,
            store: &store,
            cache: &StatCache::default(),
            base: Tree::empty_id(),
            scope: &Scope::All,
            ignore: self.user_rules(),
            gitignore: self.settings().gitignore,
            include_ignored: false,
            list_ignored: false,
            threads: self.settings().threads,
            now_ns: super::gather::now_ns(self.clock()),
        }
        .run()?;
        let staging = self.staging(&store);
        let all = |_: &Change| Ok(());
        let gathering = self.gather_from(&root, &store, scan, Select::Everything(&all), &staging, progress)?;
        let mut editor = TreeEditor::new();
        for change in &gathering.changes {
            if let Some(node) = &change.node {
                editor.set(&options.prefix.join_path(&change.path)?, node.clone());
            }
        }
        let mut report = ImportReport {
            files: gathering.changes.len() as u64,
            bytes: gathering.bytes,
            new_bytes: staging.new_bytes(),
            skipped: gathering.skipped,
            commit: None,
        };
        let head = head_tree(&store, &state)?;
        let tree = write_tree(&store, &staging, head, editor, &mut HashMap::new())?;
        if tree == head {
            return Err(Error::CommitEmpty);
        }
        let Some(key) = key else { return Ok(report) };
        let what = CommitOptions { message: options.message.clone(), ..CommitOptions::default() };
        let author = self.settings().user_name.clone();
        let composed = self.compose(&state, tree, &what, author, &key.actor())?;
        let mut writer = staging.writer();
        let id = CommitId(writer.put(ObjectKind::Commit, &commit::sign(composed, &key))?);
        writer.finish()?;
        let objects = staging.finish()?;
        let permit = self.write_permit("import")?;
        let mut transaction = self.transaction(&permit)?;
        if transaction.state.head_commit() != state.head_commit() {
            return Err(Error::HeadMoved { path: "HEAD".to_owned() });
        }
        transaction.add_objects(objects);
        transaction.commit()?;
        drop(permit);
        let head = match state.head {
            Head::Branch(name) => Head::Branch(name),
            Head::Detached(_) => Head::Detached(id),
        };
        let create = matches!(head, Head::Branch(_));
        let target = SwitchTarget { head, commit: Some(id), create };
        self.switch(&target, Obstacles::Refuse, progress)?;
        report.commit = Some(id);
        Ok(report)
    }
}
