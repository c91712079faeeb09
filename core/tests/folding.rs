//! File systems that take different names for one: case, Unicode form, code points that are skipped.
//!
//! A real one needs root and a kernel that has one; the layer here folds as they do and needs neither.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use shard_core::history::refs::Head;
use shard_core::ids::CommitId;
use shard_core::progress::Silent;
use shard_core::remote::{CloneOptions, Source, clone};
use shard_core::repo_path::fold_key;
use shard_core::repository::init::InitOptions;
use shard_core::repository::{Repository, Settings};
use shard_core::worktree::checkout::{Obstacles, SwitchTarget};
use shard_core::worktree::{CommitOptions, StatusOptions};
use shard_core::{Error, RepoPath};
use shard_storage::vfs::{DirEntry, DirHandle, FileHandle, FilesystemInfo, LockKind, Metadata, OpenOptions, Real, Vfs};

type Fold = fn(&str) -> String;

/// The disk of this machine, with names folded: an entry is found under any name of its key, and keeps the name it was
/// made with.
#[derive(Debug)]
struct Folding {
    fold: Fold,
}

impl Folding {
    /// Returns the path as it is spelled on disk, as far as it exists.
    fn spelled(&self, dir: &DirHandle, path: &Path) -> PathBuf {
        let mut spelled = PathBuf::new();
        for component in path.components() {
            let Component::Normal(name) = component else { return path.to_owned() };
            let above = if spelled.as_os_str().is_empty() { None } else { Real.open_dir(dir, &spelled).ok() };
            let listed = Real.list(above.as_ref().unwrap_or(dir)).unwrap_or_default();
            let key = name.to_str().map(self.fold);
            let same =
                |entry: &&DirEntry| entry.name == name || (key.is_some() && entry.name.to_str().map(self.fold) == key);
            let exact = listed.iter().find(|entry| entry.name == name);
            let found = exact.or_else(|| listed.iter().find(same));
            spelled.push(found.map_or(name, |entry| entry.name.as_os_str()));
        }
        spelled
    }
}

impl Vfs for Folding {
    fn open_root(&self, path: &Path) -> io::Result<DirHandle> {
        Real.open_root(path)
    }
    fn open_dir(&self, dir: &DirHandle, path: &Path) -> io::Result<DirHandle> {
        Real.open_dir(dir, &self.spelled(dir, path))
    }
    fn open(&self, dir: &DirHandle, path: &Path, options: OpenOptions) -> io::Result<FileHandle> {
        Real.open(dir, &self.spelled(dir, path), options)
    }
    fn create_dir(&self, dir: &DirHandle, path: &Path, mode: u32) -> io::Result<()> {
        Real.create_dir(dir, &self.spelled(dir, path), mode)
    }
    fn symlink(&self, dir: &DirHandle, target: &Path, path: &Path) -> io::Result<()> {
        Real.symlink(dir, target, &self.spelled(dir, path))
    }
    fn read_link(&self, dir: &DirHandle, path: &Path) -> io::Result<PathBuf> {
        Real.read_link(dir, &self.spelled(dir, path))
    }
    fn rename(&self, from: &DirHandle, old: &Path, to: &DirHandle, new: &Path) -> io::Result<()> {
        Real.rename(from, &self.spelled(from, old), to, &self.spelled(to, new))
    }
    fn unlink(&self, dir: &DirHandle, path: &Path) -> io::Result<()> {
        Real.unlink(dir, &self.spelled(dir, path))
    }
    fn remove_dir(&self, dir: &DirHandle, path: &Path) -> io::Result<()> {
        Real.remove_dir(dir, &self.spelled(dir, path))
    }
    fn list(&self, dir: &DirHandle) -> io::Result<Vec<DirEntry>> {
        Real.list(dir)
    }
    fn metadata(&self, dir: &DirHandle, path: &Path) -> io::Result<Metadata> {
        Real.metadata(dir, &self.spelled(dir, path))
    }
    fn set_mode(&self, dir: &DirHandle, path: &Path, mode: u32) -> io::Result<()> {
        Real.set_mode(dir, &self.spelled(dir, path), mode)
    }
    fn sync_dir(&self, dir: &DirHandle) -> io::Result<()> {
        Real.sync_dir(dir)
    }
    fn sync_filesystem(&self, dir: &DirHandle) -> io::Result<()> {
        Real.sync_filesystem(dir)
    }
    fn filesystem(&self, dir: &DirHandle) -> io::Result<FilesystemInfo> {
        Real.filesystem(dir)
    }
    fn read_at(&self, file: &FileHandle, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Real.read_at(file, buffer, offset)
    }
    fn write_at(&self, file: &FileHandle, bytes: &[u8], offset: u64) -> io::Result<usize> {
        Real.write_at(file, bytes, offset)
    }
    fn set_len(&self, file: &FileHandle, length: u64) -> io::Result<()> {
        Real.set_len(file, length)
    }
    fn allocate(&self, file: &FileHandle, offset: u64, length: u64) -> io::Result<()> {
        Real.allocate(file, offset, length)
    }
    fn sync_data(&self, file: &FileHandle) -> io::Result<()> {
        Real.sync_data(file)
    }
    fn file_metadata(&self, file: &FileHandle) -> io::Result<Metadata> {
        Real.file_metadata(file)
    }
    fn set_file_mode(&self, file: &FileHandle, mode: u32) -> io::Result<()> {
        Real.set_file_mode(file, mode)
    }
    fn try_lock(&self, file: &FileHandle, kind: LockKind) -> io::Result<bool> {
        Real.try_lock(file, kind)
    }
    fn unlock(&self, file: &FileHandle) -> io::Result<()> {
        Real.unlock(file)
    }
}

/// Case alone, as FAT does for ASCII.
fn case(name: &str) -> String {
    name.to_lowercase()
}

/// The Unicode form alone, as some take names that differ in case apart.
fn form(name: &str) -> String {
    // Enough for the names used here: the precomposed letters are taken apart.
    name.replace('\u{e9}', "e\u{301}").replace('\u{c5}', "A\u{30a}")
}

/// Everything at once, as HFS+ does.
fn everything(name: &str) -> String {
    fold_key(name)
}

/// Makes a repository whose commits hold these files; returns the commits.
fn history(root: &Path, commits: &[&[(&str, &str)]]) -> Vec<CommitId> {
    std::fs::create_dir_all(root).unwrap();
    let (repository, _) = Repository::init(Arc::new(Real), root, InitOptions::default(), Settings::default()).unwrap();
    let mut ids = Vec::new();
    for files in commits {
        for entry in std::fs::read_dir(root).unwrap() {
            let path = entry.unwrap().path();
            match path.file_name().unwrap().to_str() {
                Some(".shard") => {}
                _ if path.is_dir() => std::fs::remove_dir_all(path).unwrap(),
                _ => std::fs::remove_file(path).unwrap(),
            }
        }
        for (name, content) in *files {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let options = CommitOptions { message: "all".to_owned(), all: true, ..CommitOptions::default() };
        ids.push(repository.commit(&options, &Silent).unwrap().id.unwrap());
    }
    ids
}

fn files(at: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            if name != ".shard" {
                files(&path, &format!("{name}/"), found);
            }
        } else {
            found.insert(name, std::fs::read_to_string(path).unwrap());
        }
    }
}

fn on_disk(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    files(root, "", &mut found);
    found
}

fn switch(repository: &Repository, commit: CommitId, obstacles: Obstacles) -> Result<(), Error> {
    let target = SwitchTarget { head: Head::Detached(commit), commit: Some(commit), create: false };
    repository.switch(&target, obstacles, &Silent).map(drop)
}

/// Two names, and the file systems that take them for one.
const TWINS: &[(&str, &str, &[Fold])] = &[
    ("README", "readme", &[case, everything]),
    ("dir/README", "dir/ReadMe", &[case, everything]),
    ("Dir/a", "dir/b", &[case, everything]),
    ("a/Deep/er/x", "a/deep/er/y", &[case, everything]),
    ("\u{e9}", "e\u{301}", &[form, everything]),
    ("caf\u{e9}/one", "cafe\u{301}/two", &[form, everything]),
    ("\u{c5}ngstr\u{f6}m", "A\u{30a}ngstr\u{f6}m", &[form, everything]),
    ("stra\u{df}e", "STRASSE", &[everything]),
    ("name", "na\u{200c}me", &[everything]),
    ("\u{3a3}\u{3c2}", "\u{3c3}\u{3c3}", &[everything]),
];

#[test]
fn of_names_that_fold_together_none_overwrites_the_other() {
    let mut tried = 0;
    for (number, (one, other, folds)) in TWINS.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let both = [(*one, "one\n"), (*other, "other\n"), ("beside", "beside\n")];
        let commits = history(&dir.path().join("ana"), &[&[("beside", "before\n")], &both]);
        for fold in [case, form, everything] as [Fold; 3] {
            let root = dir.path().join(format!("bo-{tried}"));
            tried += 1;
            let vfs: Arc<dyn Vfs> = Arc::new(Folding { fold });
            let source = Source::open(Arc::new(Real), &dir.path().join("ana"), Settings::default()).unwrap();
            let options = CloneOptions::default();
            let made = clone(vfs.clone(), &source, &root, options, Settings::default(), &Silent);
            let collides = folds.iter().any(|theirs| std::ptr::fn_addr_eq(*theirs, fold));
            if !collides {
                let (repository, _) = made.unwrap_or_else(|error| panic!("{one} {other} {number}: {error:?}"));
                assert_eq!(on_disk(&root).len(), 3, "{one} and {other} are two here");
                assert!(repository.status(&StatusOptions::default(), &Silent).unwrap().is_clean());
                continue;
            }
            let refused = made.map(|(repository, _)| repository.status(&StatusOptions::default(), &Silent));
            assert!(
                matches!(refused, Err(Error::WorktreeDirty { .. })),
                "{one} {other}: {refused:?} {:?}",
                on_disk(&root)
            );
            // A repository that has the commit refuses it too, whatever is to be discarded, and stays as it was.
            std::fs::create_dir_all(&root).unwrap();
            let init = InitOptions { genesis: Some(source.genesis().clone()), ..InitOptions::default() };
            let (bo, _) = Repository::init(vfs, &root, init, Settings::default()).unwrap();
            shard_core::remote::fetch(&bo, &source, &Silent).unwrap();
            switch(&bo, commits[0], Obstacles::Refuse).unwrap();
            for obstacles in [Obstacles::Refuse, Obstacles::Discard] {
                let blocked = match switch(&bo, commits[1], obstacles) {
                    Err(Error::WorktreeDirty { blocked }) => blocked,
                    other => panic!("{one} {other:?}"),
                };
                assert!(!blocked.is_empty());
                assert_eq!(on_disk(&root), BTreeMap::from([("beside".to_owned(), "before\n".to_owned())]));
            }
            assert!(bo.status(&StatusOptions::default(), &Silent).unwrap().is_clean());
            // Nor does putting single paths back, however it is asked for.
            let both = [RepoPath::parse(one).unwrap(), RepoPath::parse(other).unwrap()];
            let restored = bo.restore(&both, Some(commits[1]), false, &Silent);
            assert!(matches!(restored, Err(Error::WorktreeDirty { .. })), "{one}: {restored:?}");
            bo.restore(&both[..1], Some(commits[1]), false, &Silent).unwrap();
            let over = bo.restore(&both[1..], Some(commits[1]), false, &Silent);
            assert!(one.contains('/') || matches!(over, Err(Error::WorktreeDirty { .. })), "{one}: {over:?}");
            assert_eq!(on_disk(&root)[*one], "one\n");
            let exported = root.join("exported");
            let vfs: Arc<dyn Vfs> = Arc::new(Folding { fold });
            let _ = bo.export_directory(&vfs, commits[1], &exported, &Silent);
            assert!(!exported.exists() || on_disk(&exported).len() == 3, "all of it or nothing");
        }
    }
    eprintln!("folding: {} pairs on three file systems", TWINS.len());
}

#[test]
fn a_file_whose_name_changes_case_follows_a_switch() {
    for content in ["same\n", "changed\n"] {
        let dir = tempfile::tempdir().unwrap();
        let commits = history(
            &dir.path().join("ana"),
            &[&[("README", "same\n"), ("Dir/a", "a\n")], &[("readme", content), ("dir/a", "a\n")]],
        );
        let root = dir.path().join("bo");
        let vfs: Arc<dyn Vfs> = Arc::new(Folding { fold: case });
        let source = Source::open(Arc::new(Real), &dir.path().join("ana"), Settings::default()).unwrap();
        let (bo, _) = clone(vfs, &source, &root, CloneOptions::default(), Settings::default(), &Silent).unwrap();
        for (commit, expected) in [(commits[0], "same\n"), (commits[1], content), (commits[0], "same\n")] {
            switch(&bo, commit, Obstacles::Refuse).unwrap();
            let found = on_disk(&root);
            assert_eq!(found.len(), 2, "{found:?}");
            assert!(found.iter().any(|(name, text)| case(name) == "readme" && text == expected), "{found:?}");
        }
    }
}

#[test]
fn no_spelling_of_the_repositorys_own_directory_is_a_path() {
    let aliases = [
        ".shard",
        ".SHARD",
        ".Shard",
        ".sh\u{200c}ard",
        ".shard\u{feff}",
        ".shard.",
        ".shard ",
        "SHARD~1",
        "shard~1",
        ".\u{17f}hard",
        ".git",
        ".GIT",
        ".g\u{200d}it",
        ".git.",
        "GIT~1",
        "git~1",
    ];
    for alias in aliases {
        for path in [alias.to_owned(), format!("a/{alias}"), format!("{alias}/HEAD")] {
            assert!(RepoPath::parse(&path).is_err(), "{path:?}");
        }
    }
}
