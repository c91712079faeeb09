//! A tree shaped like a directory of unpacked source packages.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::stream::Stream;
use super::text::{Dialect, Project, Vocabulary};

/// Files of about so many bytes together, in projects of some sixty files.
///
/// Sizes are log-normal with a long tail; most files are code, some prose, data and tables, and a few hold bytes that do not
/// compress. A tenth of the projects is a later version of an earlier one, with most files unchanged. There are
/// executables, empty files and symbolic links, dangling ones included.
#[derive(Debug, Clone, Copy)]
pub struct SourceTree {
    /// What everything follows from.
    pub seed: u64,
    /// How many regular files.
    pub files: u64,
    /// How many bytes they hold together, to within a few percent.
    pub bytes: u64,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TreeCensus {
    /// Regular files, executables included.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Files with the executable bit.
    pub executables: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Files of length zero.
    pub empty: u64,
}

/// A file of a project, kept so that a later version can take it over.
#[derive(Debug, Clone)]
struct Member {
    path: PathBuf,
    content: Vec<u8>,
    executable: bool,
}

/// Median size of a file before scaling, and how wide the sizes spread: in doublings either way.
const SPREAD: f64 = 2.6;
/// Largest single file, as many times the median.
const TALLEST: f64 = 300.0;

impl SourceTree {
    /// The tree of B1: 10,161 files, 156 MB.
    pub const B1: Self = Self { seed: super::SEED, files: 10_161, bytes: 156_000_000 };
    /// As large as a machine's package cache: 48,000 files, 1.3 GB.
    pub const LARGE: Self = Self { seed: super::SEED, files: 48_000, bytes: 1_300_000_000 };

    /// Writes the tree as the new directory `root`.
    ///
    /// # Errors
    /// `root` exists, or something in it cannot be written.
    pub fn write(&self, root: &Path) -> io::Result<TreeCensus> {
        fs::create_dir(root)?;
        let mut stream = Stream::new(self.seed, "source tree");
        let vocabulary = Vocabulary::new(&mut stream);
        // The mean of the log-normal, and of what clamping it at `TALLEST` leaves, is about this many medians.
        let median = self.bytes as f64 / self.files.max(1) as f64 / 4.62;
        let mut census = TreeCensus::default();
        let mut earlier: Vec<Member> = Vec::new();
        let mut number = 0;
        while census.files < self.files {
            number += 1;
            let left = self.files - census.files;
            let project = Project::new(&vocabulary, &mut stream);
            let name = format!("{}-{}.{}", project.name(&mut stream), stream.below(4), stream.below(20));
            let directory = root.join(format!("{name}.{number}"));
            let members = if stream.chance(100) && !earlier.is_empty() {
                later_version(&earlier, &project, &mut stream)
            } else {
                new_project(&project, &mut stream, median)
            };
            let members: Vec<Member> = members.into_iter().take(usize::try_from(left).unwrap_or(usize::MAX)).collect();
            self.write_members(&directory, &members, &mut stream, &mut census)?;
            earlier = members;
        }
        Ok(census)
    }

    fn write_members(
        &self,
        directory: &Path,
        members: &[Member],
        stream: &mut Stream,
        census: &mut TreeCensus,
    ) -> io::Result<()> {
        let mut made = BTreeSet::new();
        for member in members {
            let path = directory.join(&member.path);
            let parent = path.parent().expect("a member lies in its project");
            if made.insert(parent.to_owned()) {
                fs::create_dir_all(parent)?;
            }
            fs::write(&path, &member.content)?;
            fs::set_permissions(&path, Permissions::from_mode(if member.executable { 0o755 } else { 0o644 }))?;
            census.files += 1;
            census.bytes += member.content.len() as u64;
            census.executables += u64::from(member.executable);
            census.empty += u64::from(member.content.is_empty());
            if stream.chance(8) {
                let file_name = member.path.file_name().expect("a member has a name");
                let target = if stream.chance(100) { "nowhere/at-all".into() } else { PathBuf::from(file_name) };
                symlink(target, parent.join(format!("link-{}", census.symlinks)))?;
                census.symlinks += 1;
            }
        }
        Ok(())
    }
}

fn new_project(project: &Project<'_>, stream: &mut Stream, median: f64) -> Vec<Member> {
    let count = 8 + stream.skewed(220);
    let mut directories = vec![PathBuf::new(), PathBuf::from("src")];
    for _ in 0..count / 12 {
        let parent = directories[stream.index(directories.len())].clone();
        if parent.components().count() < 5 {
            directories.push(parent.join(project.name(stream)));
        }
    }
    let mut members = Vec::with_capacity(count);
    let mut taken = BTreeSet::new();
    for number in 0..count {
        let scale = stream.log_normal(SPREAD).min(TALLEST);
        let len = if stream.chance(12) { 0 } else { (median * scale) as usize };
        let kind = stream.below(1000);
        let mut content = Vec::with_capacity(len + 256);
        let extension = match kind {
            0..770 => {
                fill(project, stream, Dialect::Code, len, &mut content);
                "rs"
            }
            770..860 => {
                fill(project, stream, Dialect::Prose, len, &mut content);
                "md"
            }
            860..950 => {
                fill(project, stream, Dialect::Data, len, &mut content);
                "json"
            }
            950..985 => {
                fill(project, stream, Dialect::Table, len, &mut content);
                "inc"
            }
            _ => {
                content.resize(len, 0);
                stream.fill(&mut content);
                "bin"
            }
        };
        let directory = &directories[stream.skewed(directories.len())];
        let mut path = directory.join(format!("{}.{extension}", project.name(stream)));
        if !taken.insert(path.clone()) {
            path = directory.join(format!("{}_{number}.{extension}", project.name(stream)));
            taken.insert(path.clone());
        }
        members.push(Member { path, content, executable: stream.chance(15) });
    }
    // A file may not stand where a directory is wanted.
    members.retain(|m| !directories.contains(&m.path));
    members
}

fn fill(project: &Project<'_>, stream: &mut Stream, dialect: Dialect, len: usize, out: &mut Vec<u8>) {
    if len > 0 {
        project.write(stream, dialect, len, out);
    }
}

fn later_version(earlier: &[Member], project: &Project<'_>, stream: &mut Stream) -> Vec<Member> {
    let mut members = earlier.to_vec();
    for member in &mut members {
        if stream.chance(250) && !member.content.is_empty() {
            let at = stream.index(member.content.len());
            let mut addition = Vec::new();
            project.write(stream, Dialect::Code, 40, &mut addition);
            let cut = (at + stream.index(120)).min(member.content.len());
            member.content.splice(at..cut, addition);
        }
    }
    members
}
