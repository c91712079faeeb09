//! Where a typed path lies within the worktree.

use std::path::{Component, Path, PathBuf};

use shard_core::{Error, RepoPath};

use crate::failure::Result;

/// Resolves a path typed in `directory` to one within the worktree `root`; the worktree itself is the root path. The last
/// component is never followed when it is a link, and nothing of the path needs to exist.
///
/// # Errors
/// `path.invalid` for what lies outside, is not UTF-8 or can never be recorded.
pub fn resolve(root: &Path, directory: &Path, typed: &Path) -> Result<RepoPath> {
    let whole = normal(&directory.join(typed));
    let root = normal(root);
    let beneath = match whole.strip_prefix(&root) {
        Ok(beneath) => beneath.to_owned(),
        Err(_) => through_links(&root, &whole).ok_or_else(|| outside(typed))?,
    };
    if beneath.as_os_str().is_empty() {
        return Ok(RepoPath::root());
    }
    let text = beneath.to_str().ok_or_else(|| invalid(typed, "it is not UTF-8"))?;
    Ok(RepoPath::parse(text)?)
}

/// Resolves every path typed on a command line, in order; see [`resolve`].
///
/// # Errors
/// `path.invalid` for the first that lies outside, is not UTF-8 or can never be recorded.
pub fn resolve_all(root: &Path, directory: &Path, typed: &[PathBuf]) -> Result<Vec<RepoPath>> {
    typed.iter().map(|typed| resolve(root, directory, typed)).collect()
}

/// Takes `.` and `..` out of a path, without looking at the disk.
pub(crate) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            // Above the root is the root.
            Component::ParentDir => drop(normal.pop()),
            other => normal.push(other),
        }
    }
    normal
}

/// Tries again with links followed in the root and in what exists of the path's directories.
fn through_links(root: &Path, path: &Path) -> Option<PathBuf> {
    let root = root.canonicalize().ok()?;
    let mut rest = PathBuf::from(path.file_name()?);
    let mut parent = path.parent()?;
    let real = loop {
        match parent.canonicalize() {
            Ok(real) => break real,
            Err(_) => {
                rest = Path::new(parent.file_name()?).join(rest);
                parent = parent.parent()?;
            }
        }
    };
    real.join(rest).strip_prefix(root).ok().map(Path::to_owned)
}

fn outside(path: &Path) -> Error {
    invalid(path, "it lies outside the worktree")
}

fn invalid(path: &Path, reason: &str) -> Error {
    Error::PathInvalid { path: path.to_string_lossy().into_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Code;

    fn resolved(directory: &str, typed: &str) -> Result<String> {
        resolve(Path::new("/w"), Path::new(directory), Path::new(typed)).map(|path| path.as_str().to_owned())
    }

    #[test]
    fn typed_paths_mean_the_current_directory() {
        for (directory, typed, meant) in [
            ("/w", "a", "a"),
            ("/w/sub", "a", "sub/a"),
            ("/w/sub", "../a", "a"),
            ("/w/sub", "./b/../a/", "sub/a"),
            ("/w/sub", "..", ""),
            ("/w", ".", ""),
            ("/w/sub", "/w/x/y", "x/y"),
            ("/", "w/a", "a"),
        ] {
            assert_eq!(resolved(directory, typed).unwrap(), meant, "{directory} {typed}");
        }
    }

    #[test]
    fn what_lies_outside_is_refused() {
        for (directory, typed) in [("/w", "../a"), ("/w/sub", "../../wide/a"), ("/w", "/etc/passwd"), ("/w", "/")] {
            assert_eq!(resolved(directory, typed).unwrap_err().code, Code::PathInvalid, "{directory} {typed}");
        }
        assert_eq!(resolved("/w", ".shard/keys").unwrap_err().code, Code::PathInvalid);
    }

    #[test]
    fn a_worktree_reached_through_a_link_is_the_same() {
        let place = tempfile::tempdir().unwrap();
        let real = place.path().join("real");
        std::fs::create_dir_all(real.join("sub")).unwrap();
        let link = place.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let path = resolve(&real, &link.join("sub"), Path::new("new/a")).unwrap();
        assert_eq!(path.as_str(), "sub/new/a");
        std::os::unix::fs::symlink("/etc/passwd", real.join("out")).unwrap();
        let path = resolve(&real, &real, Path::new("out")).unwrap();
        assert_eq!(path.as_str(), "out", "a link is itself, not what it points at");
    }
}
