//! The place of each turn: fresh every time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::options::{FileSystem, Options};

/// Size of the image and of the tmpfs; sparse, so only what is used costs.
const SIZE: &str = "24G";

/// The scratch directory, and the turn's directory in it.
#[derive(Debug)]
pub(crate) struct Ground {
    scratch: PathBuf,
    kind: FileSystem,
    mounted: bool,
    cold: bool,
}

impl Ground {
    pub(crate) fn new(options: &Options) -> Result<Self, String> {
        let scratch = options.scratch.join(format!("run-{}", std::process::id()));
        fs::create_dir_all(&scratch).map_err(|e| format!("{}: {e}", scratch.display()))?;
        let scratch = scratch.canonicalize().map_err(|e| e.to_string())?;
        Ok(Self { scratch, kind: options.file_system, mounted: false, cold: options.cold })
    }

    /// Returns where data is kept between turns.
    pub(crate) fn corpus(&self) -> PathBuf {
        self.scratch.join("corpus")
    }

    /// Returns where the output of measured commands goes: outside of the turn.
    pub(crate) fn log(&self) -> PathBuf {
        self.scratch.join("last.log")
    }

    /// Clears the turn's directory away and returns a fresh one.
    pub(crate) fn fresh(&mut self) -> Result<PathBuf, String> {
        self.leave()?;
        let turn = self.scratch.join("turn");
        fs::create_dir_all(&turn).map_err(|e| e.to_string())?;
        let (image, mount) = (self.scratch.join("image"), turn.display().to_string());
        match self.kind {
            FileSystem::Directory => {}
            FileSystem::Tmpfs => {
                command(&["mount", "-t", "tmpfs", "-o", &format!("size={SIZE}"), "none", &mount])?;
                self.mounted = true;
            }
            FileSystem::Loop => {
                let image = image.display().to_string();
                command(&["truncate", "-s", SIZE, &image])?;
                command(&["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", &image])?;
                command(&["mount", "-o", "loop", &image, &mount])?;
                self.mounted = true;
            }
        }
        Ok(turn)
    }

    /// Lets everything written so far reach the disk, so that no measured sync pays for it; drops the cache if asked to.
    pub(crate) fn settle(&self) -> Result<(), String> {
        command(&["sync"])?;
        if self.cold {
            fs::write("/proc/sys/vm/drop_caches", "3").map_err(|e| format!("--cold needs root: {e}"))?;
        }
        Ok(())
    }

    /// Removes the turn.
    pub(crate) fn leave(&mut self) -> Result<(), String> {
        let turn = self.scratch.join("turn");
        if self.mounted {
            command(&["umount", &turn.display().to_string()])?;
            self.mounted = false;
        }
        remove(&turn)?;
        remove(&self.scratch.join("image"))
    }

    /// Removes the data of a workload.
    pub(crate) fn forget_corpus(&self) -> Result<(), String> {
        remove(&self.corpus())
    }

    /// Removes everything.
    pub(crate) fn clean(&mut self) -> Result<(), String> {
        self.leave()?;
        remove(&self.scratch)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Err(error) = self.clean() {
            eprintln!("could not clean {}: {error}", self.scratch.display());
        }
    }
}

/// Removes a file or a directory, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), String> {
    let result = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    };
    result.map_err(|e| format!("{}: {e}", path.display()))
}

/// Runs a command that only prepares.
pub(crate) fn command(words: &[&str]) -> Result<(), String> {
    let output = Command::new(words[0]).args(&words[1..]).output().map_err(|e| format!("{}: {e}", words[0]))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("`{}` failed: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

/// Returns apparent and allocated bytes of everything beneath `path`.
pub(crate) fn size_of(path: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = fs::symlink_metadata(path) else { return (0, 0) };
    if !metadata.is_dir() {
        return (metadata.len(), metadata.blocks() * 512);
    }
    let mut total = (0, metadata.blocks() * 512);
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let (apparent, allocated) = size_of(&entry.path());
        total = (total.0 + apparent, total.1 + allocated);
    }
    total
}
