//! Files replaced whole.
//!
//! A file is written under a temporary name, checked, synced if asked, and renamed over the one it replaces. Whoever
//! opens the name sees the old content or the new, never half of one, and after [`Sync::Full`] a power cut does not
//! change that. What is not persisted is removed.

use std::path::Path;

use crate::vfs::{Dir, File, OpenOptions, Result, VfsError};

/// How every temporary file's name begins, so that leftovers of a killed process can be told from a user's files.
pub const TEMPORARY_PREFIX: &str = ".shard-tmp-";

/// Names tried before giving up: with 64 random bits the second attempt is already a curiosity.
const ATTEMPTS: usize = 8;

/// What a replacement waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Nothing: a power cut may leave the old file, or the new name with any content. For what can be rebuilt, and for
    /// what the write-ahead log will write again.
    None,
    /// The content, not the name: after a power cut the name holds the old file or the new one, whole.
    Data,
    /// Content and name: once this returns, the new file stays.
    Full,
}

/// A file being written under a temporary name. Dropping it removes it.
#[derive(Debug)]
pub struct AtomicFile {
    dir: Dir,
    name: String,
    mode: u32,
    length: u64,
    /// Whether the end lies in a hole, so that the length has yet to be set.
    ends_in_hole: bool,
    /// Present until the file is renamed or removed.
    file: Option<File>,
}

impl AtomicFile {
    /// Creates an empty temporary file in `dir`, which must lie on the file system of the final place. Nobody but its
    /// owner may open it while it is written; `mode` (exact, no umask applied) is set at the end.
    pub fn create(dir: &Dir, mode: u32) -> Result<Self> {
        for attempt in 1.. {
            let random = getrandom::u64().map_err(|error| VfsError {
                operation: "create",
                path: dir.path().into(),
                source: std::io::Error::other(error),
            })?;
            let name = format!("{TEMPORARY_PREFIX}{random:016x}");
            match dir.open(&name, OpenOptions::CREATE_NEW.mode(0o600)) {
                Ok(file) => {
                    return Ok(Self { dir: dir.clone(), name, mode, length: 0, ends_in_hole: false, file: Some(file) });
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && attempt < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
        unreachable!("the loop returns at its last attempt")
    }

    fn file(&self) -> &File {
        self.file.as_ref().expect("taken only by methods that consume self")
    }

    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.file().write_all_at(bytes, self.length)?;
        self.length += bytes.len() as u64;
        self.ends_in_hole = false;
        Ok(())
    }

    /// Appends a hole: zeros that take no room where the file system can do so.
    pub fn skip(&mut self, length: u64) {
        self.length += length;
        self.ends_in_hole |= length > 0;
    }

    /// Reserves room for a file of this length, so that a full disk shows before anything is written.
    pub fn reserve(&self, length: u64) -> Result<()> {
        self.file().allocate(0, length)
    }

    /// Returns how many bytes have been appended, holes included.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Completes length, mode and durability of the content.
    fn finish(&mut self, sync: Sync) -> Result<()> {
        if self.ends_in_hole {
            self.file().set_len(self.length)?;
            self.ends_in_hole = false;
        }
        let metadata = self.file().metadata()?;
        if metadata.size != self.length {
            let why = format!("{} bytes arrived of {} written", metadata.size, self.length);
            let source = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, why);
            return Err(VfsError { operation: "write", path: self.file().path().into(), source });
        }
        if metadata.mode != self.mode {
            self.file().set_mode(self.mode)?;
        }
        if sync != Sync::None {
            self.file().sync_data()?;
        }
        Ok(())
    }

    /// Renames the file to `name` in `to`, replacing what is there, after checking its length and making it as durable
    /// as asked.
    ///
    /// A failed sync is an error whose `operation` is `"sync"`; before the rename it leaves the old file, after it
    /// (`Sync::Full` on the directory) it is unknown which of the two a power cut would leave. It must not be retried.
    pub fn persist(mut self, to: &Dir, name: impl AsRef<Path>, sync: Sync) -> Result<()> {
        self.finish(sync)?;
        self.dir.rename(&self.name, to, name)?;
        self.file = None;
        if sync == Sync::Full {
            to.sync()?;
        }
        Ok(())
    }

    /// Leaves the file under its temporary name, which is returned, for a later rename by whoever is told of it. With
    /// [`Sync::Full`] the temporary directory is synced too.
    pub fn keep(mut self, sync: Sync) -> Result<String> {
        self.finish(sync)?;
        if sync == Sync::Full {
            self.dir.sync()?;
        }
        self.file = None;
        Ok(std::mem::take(&mut self.name))
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Best effort: what stays is swept by its prefix and age.
            let _ = self.dir.unlink(&self.name);
        }
    }
}

/// Replaces `name` in `dir` by these bytes, with the exact permission bits `mode`, through a temporary file in `tmp`
/// (on the same file system). See [`AtomicFile::persist`] for what its errors mean.
pub fn write_atomically(
    tmp: &Dir,
    dir: &Dir,
    name: impl AsRef<Path>,
    bytes: &[u8],
    mode: u32,
    sync: Sync,
) -> Result<()> {
    let mut file = AtomicFile::create(tmp, mode)?;
    file.write(bytes)?;
    file.persist(dir, name, sync)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::vfs::Real;

    fn scratch() -> (tempfile::TempDir, Dir, Dir) {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open_root(Arc::new(Real), place.path()).unwrap();
        let tmp = dir.create_dir_all("tmp").unwrap();
        (place, dir, tmp)
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_no_temporary_stays() {
        let (_place, dir, tmp) = scratch();
        write_atomically(&tmp, &dir, "config", b"old and longer", 0o600, Sync::Full).unwrap();
        write_atomically(&tmp, &dir, "config", b"new", 0o755, Sync::None).unwrap();
        assert_eq!(dir.read("config", 64).unwrap(), b"new");
        assert_eq!(dir.metadata("config").unwrap().mode, 0o755);
        assert!(tmp.list().unwrap().is_empty());
    }

    #[test]
    fn an_unfinished_file_is_hidden_from_others_and_removed() {
        let (_place, dir, tmp) = scratch();
        let mut file = AtomicFile::create(&tmp, 0o644).unwrap();
        file.write(b"half").unwrap();
        let entry = &tmp.list().unwrap()[0];
        assert!(entry.name.to_str().unwrap().starts_with(TEMPORARY_PREFIX));
        assert_eq!(tmp.metadata(&entry.name).unwrap().mode, 0o600);
        drop(file);
        assert!(tmp.list().unwrap().is_empty());
        assert!(dir.metadata_optional("config").unwrap().is_none());
    }

    #[test]
    fn holes_count_towards_the_length_and_read_as_zeros() {
        let (_place, dir, tmp) = scratch();
        let mut file = AtomicFile::create(&tmp, 0o644).unwrap();
        file.skip(1 << 20);
        file.write(b"middle").unwrap();
        file.skip(1 << 20);
        assert_eq!(file.length(), (2 << 20) + 6);
        file.persist(&dir, "sparse", Sync::None).unwrap();
        let metadata = dir.metadata("sparse").unwrap();
        assert_eq!(metadata.size, (2 << 20) + 6);
        let bytes = dir.read("sparse", 4 << 20).unwrap();
        assert_eq!(&bytes[1 << 20..(1 << 20) + 6], b"middle");
        assert_eq!(bytes.iter().filter(|&&byte| byte != 0).count(), 6);
    }

    #[test]
    fn a_kept_file_can_be_renamed_later() {
        let (_place, dir, tmp) = scratch();
        let mut file = AtomicFile::create(&tmp, 0o644).unwrap();
        file.write(b"later").unwrap();
        let name = file.keep(Sync::Full).unwrap();
        tmp.rename(&name, &dir, "index").unwrap();
        assert_eq!(dir.read("index", 64).unwrap(), b"later");
    }

    #[test]
    fn a_file_cut_behind_our_back_is_not_persisted() {
        let (_place, dir, tmp) = scratch();
        write_atomically(&tmp, &dir, "config", b"old", 0o644, Sync::None).unwrap();
        let mut file = AtomicFile::create(&tmp, 0o644).unwrap();
        file.write(b"new content").unwrap();
        tmp.open(&tmp.list().unwrap()[0].name, OpenOptions::WRITE).unwrap().set_len(3).unwrap();
        let error = file.persist(&dir, "config", Sync::Full).unwrap_err();
        assert_eq!((error.operation, error.kind()), ("write", std::io::ErrorKind::UnexpectedEof));
        assert_eq!(dir.read("config", 64).unwrap(), b"old");
        assert!(tmp.list().unwrap().is_empty());
    }

    #[test]
    fn a_directory_is_never_replaced_by_a_file() {
        let (_place, dir, tmp) = scratch();
        dir.create_dir_all("config").unwrap();
        assert_eq!(write_atomically(&tmp, &dir, "config", b"x", 0o644, Sync::None).unwrap_err().operation, "rename");
        assert!(tmp.list().unwrap().is_empty(), "the temporary is removed when the rename fails");
    }
}
