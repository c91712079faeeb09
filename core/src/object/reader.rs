//! Reading a file's content back, and the runs of the pack index.

use shard_storage::pack::PackOrdinal;
use shard_storage::pack::index::{Run, run_number};
use shard_storage::vfs::Dir;

use super::{ObjectKind, ObjectStore};
use crate::ids::RepositoryId;
use crate::tree::Content;
use crate::tree::manifest::Extents;
use crate::{Error, Result};

/// Opens the runs that can be used. A run that is damaged or foreign is passed over: it can be rebuilt.
pub(super) fn open_runs(objects: &Dir, repository: RepositoryId) -> Vec<(Run, Vec<PackOrdinal>)> {
    let Ok(dir) = objects.open_dir("index") else { return Vec::new() };
    let Ok(entries) = dir.list() else { return Vec::new() };
    let mut runs = Vec::new();
    for entry in entries {
        let Some(number) = entry.name.to_str().and_then(run_number) else { continue };
        match Run::open(&dir, number, &repository.digest()).and_then(|run| Ok((run.packs()?, run))) {
            Ok((packs, run)) => runs.push((run, packs)),
            Err(error) => tracing::warn!(run = number, %error, "index run cannot be used"),
        }
    }
    runs
}

/// Takes a run of a file: its offset, its length, and its bytes or `None` for a hole.
pub type Take<'a> = dyn FnMut(u64, u64, Option<&[u8]>) -> Result<()> + 'a;

/// Gives the bytes from `offset` to `offset + length` of a file's content to `take`, in order, with their offset in the
/// file; a hole is given by its length and `None`.
pub fn read_range(
    store: &ObjectStore,
    content: &Content,
    size: u64,
    offset: u64,
    length: u64,
    take: &mut Take<'_>,
) -> Result<()> {
    let end = offset.saturating_add(length).min(size);
    let part = |at: u64, bytes: &[u8], take: &mut Take<'_>| {
        let from = offset.max(at);
        let to = end.min(at + bytes.len() as u64);
        if from < to { take(from, to - from, Some(&bytes[(from - at) as usize..(to - at) as usize])) } else { Ok(()) }
    };
    let wrong_size = |id: crate::ids::ObjectId, found: u64, expected: u64| Error::ObjectCorrupt {
        id: id.digest(),
        reason: format!("it has {found} bytes where {expected} are recorded"),
    };
    match content {
        Content::Inline(bytes) => part(0, bytes, take),
        Content::Chunk(id) => {
            let bytes = store.get(id.0, ObjectKind::Chunk)?;
            if bytes.len() as u64 != size {
                return Err(wrong_size(id.0, bytes.len() as u64, size));
            }
            part(0, &bytes, take)
        }
        Content::Manifest(id) => {
            let extents = Extents::open(store, *id, offset)?;
            if extents.size() != size {
                return Err(wrong_size(id.0, extents.size(), size));
            }
            for extent in extents {
                let (at, extent) = extent?;
                if at >= end {
                    return Ok(());
                }
                match extent.chunk {
                    None => {
                        let (from, to) = (offset.max(at), end.min(at + extent.length));
                        take(from, to - from, None)?;
                    }
                    Some(chunk) => {
                        let bytes = store.get(chunk.0, ObjectKind::Chunk)?;
                        if bytes.len() as u64 != extent.length {
                            return Err(wrong_size(chunk.0, bytes.len() as u64, extent.length));
                        }
                        part(at, &bytes, take)?;
                    }
                }
            }
            Ok(())
        }
        Content::Tree(_) | Content::Opaque(_) => {
            Err(Error::Unsupported { what: "reading the content of a directory or an unknown entry".to_owned() })
        }
    }
}

/// Reads a whole content of at most `limit` bytes into memory.
pub fn read_all(store: &ObjectStore, content: &Content, size: u64, limit: u64) -> Result<Vec<u8>> {
    if size > limit {
        return Err(Error::Unsupported { what: format!("holding {size} bytes in memory, more than {limit}") });
    }
    let mut bytes = vec![0; size as usize];
    read_range(store, content, size, 0, size, &mut |at, length, part| {
        if let Some(part) = part {
            bytes[at as usize..(at + length) as usize].copy_from_slice(part);
        }
        Ok(())
    })?;
    Ok(bytes)
}
