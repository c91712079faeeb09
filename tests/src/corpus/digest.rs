//! The name of a corpus: one hash over everything a version store has to keep.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Returns the hex BLAKE3 of a file or a tree: relative paths in byte order, kinds, executable bits, link targets, contents.
///
/// # Errors
/// Something cannot be read, or is neither file, directory nor symbolic link.
pub fn digest(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new_derive_key("shard v1 test corpus digest");
    visit(path, &mut hasher)?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn visit(path: &Path, hasher: &mut blake3::Hasher) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    let kind = metadata.file_type();
    if kind.is_symlink() {
        let target = fs::read_link(path)?;
        field(hasher, b'l', target.as_os_str().as_bytes());
    } else if kind.is_file() {
        let mark = if metadata.permissions().mode() & 0o100 == 0 { b'f' } else { b'x' };
        hasher.update(&[mark]);
        hasher.update(&metadata.len().to_le_bytes());
        hasher.update_reader(File::open(path)?)?;
    } else if kind.is_dir() {
        let mut names = fs::read_dir(path)?.map(|e| e.map(|e| e.file_name())).collect::<io::Result<Vec<_>>>()?;
        names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        hasher.update(b"d");
        hasher.update(&(names.len() as u64).to_le_bytes());
        for name in names {
            field(hasher, b'n', name.as_bytes());
            visit(&path.join(name), hasher)?;
        }
    } else {
        return Err(io::Error::other(format!("{}: neither file, directory nor link", path.display())));
    }
    Ok(())
}

fn field(hasher: &mut blake3::Hasher, mark: u8, bytes: &[u8]) {
    hasher.update(&[mark]);
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}
