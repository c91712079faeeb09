//! Pack files as they lie on disk, whatever the catalog says of them.

use std::collections::BTreeMap;

use shard_storage::pack::{
    Class, FrameScan, FrameView, MAX_FRAME, OnDamage, PACK_HEADER_LENGTH, PackError, PackOrdinal, ScanItem,
    decode_frame,
};
use shard_storage::vfs::{Dir, File, FileKind};

use crate::Result;
use crate::object::store::pack_file;

/// Bytes of a pack read at once.
const WINDOW: usize = 4 << 20;

/// Lists the packs under `.shard/` with their sizes, and files that are none.
pub(super) fn list_packs(shard: &Dir) -> Result<(BTreeMap<PackOrdinal, u64>, Vec<String>)> {
    let (mut packs, mut others) = (BTreeMap::new(), Vec::new());
    for class in Class::ALL {
        let class_dir = shard.open_dir("objects")?.open_dir(class.directory())?;
        for group in class_dir.list()? {
            let group_path = format!("objects/{}/{}", class.directory(), group.name.to_string_lossy());
            if group.kind != FileKind::Directory {
                others.push(group_path);
                continue;
            }
            let dir = class_dir.open_dir(&group.name)?;
            for entry in dir.list()? {
                let file = format!("{group_path}/{}", entry.name.to_string_lossy());
                let ordinal = entry.name.to_str().and_then(PackOrdinal::from_file_name);
                match ordinal.filter(|ordinal| entry.kind == FileKind::File && pack_file(*ordinal) == file) {
                    Some(ordinal) => drop(packs.insert(ordinal, dir.metadata(&entry.name)?.size)),
                    None => others.push(file),
                }
            }
        }
    }
    Ok((packs, others))
}

/// Reads the frames of a pack up to `end` and gives each, or the stretch that holds none, to `take` with its offset.
pub(super) fn walk_frames(
    file: &File,
    end: u64,
    buffer: &mut Vec<u8>,
    mut take: impl FnMut(u64, Result<FrameView<'_>, std::ops::Range<u64>>),
) -> Result<(), PackError> {
    let mut at = PACK_HEADER_LENGTH as u64;
    // The buffer holds the file from `at - begin` on.
    buffer.clear();
    let mut begin = 0;
    while at < end {
        let left = end - at;
        if ((buffer.len() - begin) as u64) < left.min(MAX_FRAME as u64) {
            buffer.drain(..begin);
            begin = 0;
            let held = buffer.len();
            let want = left.min(WINDOW as u64) as usize;
            buffer.resize(want.max(held), 0);
            let filled = file.read_full_at(&mut buffer[held..], at + held as u64)?;
            buffer.truncate(held + filled);
        }
        let held = &buffer[begin..];
        let held = &held[..held.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        match decode_frame(held) {
            Ok(frame) => {
                let length = frame.as_bytes().len();
                take(at, Ok(frame));
                begin += length;
                at += length as u64;
            }
            Err(_) => {
                let next = FrameScan::new(file, at, end, OnDamage::Search)?.next().transpose()?;
                let (resumes, good) = match next {
                    Some(ScanItem::Damaged(range)) => (range.end.max(at + 1), false),
                    // Read again, it is good: another process has just written it.
                    Some(ScanItem::Frame(frame)) => (frame.range().end, true),
                    None => (end, false),
                };
                if !good {
                    take(at, Err(at..resumes));
                }
                at = resumes;
                buffer.clear();
                begin = 0;
            }
        }
    }
    Ok(())
}
