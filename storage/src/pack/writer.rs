//! Writing a pack.

use std::io;

use shard_crypto::Digest;

use super::footer::{self, MAX_PACK_ENTRIES};
use super::frame::FrameView;
use super::header::{Completeness, MAX_PACK, PACK_HEADER_LENGTH};
use super::open_pack::{Damage, OpenPack, insert};
use super::scan::{FrameScan, OnDamage, ScanItem, frames};
use super::{EntryTable, FrameBuffer, PackError, PackHeader, PackOrdinal, PackReader, Result};
use crate::vfs::{Dir, File, LockKind, OpenOptions, VfsError};

/// Space reserved at a time, so that a full disk shows here and not when dirty pages are written back.
const RESERVE: u64 = 4 << 20;

/// Names tried before giving up: far more than packs that a crash can have left unregistered.
const MAX_ATTEMPTS: usize = 65_536;

/// A pack being written, under an OS lock that is held until the writer, or what sealing makes of it, is dropped.
/// Recovery and gc leave locked packs alone.
///
/// Nothing is durable before [`sync`](Self::sync) or [`seal`](Self::seal) returns. Dropping the writer leaves the file
/// for recovery.
#[derive(Debug)]
pub struct PackWriter {
    pack: OpenPack,
    /// Where reserved space ends, once space is reserved at all.
    reserved: Option<u64>,
    poisoned: bool,
}

impl PackWriter {
    /// Creates a pack below `objects`, named by the first free ordinal from `first` on.
    ///
    /// Directories made on the way are synced; the pack's own name is durable once the caller has synced
    /// `ordinal().directory()`.
    ///
    /// # Errors
    /// Failed disk operations; with a full disk, nothing stays behind.
    pub fn create(objects: &Dir, first: PackOrdinal, repository: Digest, completeness: Completeness) -> Result<Self> {
        let random =
            |source| VfsError { operation: "draw a serial for", path: objects.path().join(first.path()), source };
        let header = PackHeader::new(first.class(), completeness, repository).map_err(random)?;
        Self::create_with(objects, first, header)
    }

    pub(super) fn create_with(objects: &Dir, first: PackOrdinal, header: PackHeader) -> Result<Self> {
        let mut ordinal = first;
        for _ in 0..MAX_ATTEMPTS {
            make_directory(objects, ordinal)?;
            if let Some(file) = create_locked(objects, ordinal)? {
                let pack = OpenPack::empty(file, ordinal, header);
                let writer = Self { pack, reserved: None, poisoned: false };
                if let Err(error) = writer.pack.header.write(&writer.pack.file) {
                    // Best effort: a pack without its header is of no use, and recovery would remove it.
                    let _ = writer.discard(objects);
                    return Err(error.into());
                }
                return Ok(writer);
            }
            match ordinal.next() {
                Some(next) => ordinal = next,
                None => break,
            }
        }
        let source = io::Error::new(io::ErrorKind::AlreadyExists, "no free pack name");
        Err(VfsError { operation: "create", path: objects.path().join(first.path()), source }.into())
    }

    /// Opens the unsealed pack `file` (opened for writing) to append to it: the shared open pack of its class. Frames
    /// up to `length`, which the catalog says are registered, are scanned; whatever lies beyond is overwritten. Tells what
    /// was found damaged, too.
    ///
    /// # Errors
    /// `Locked` where another writer holds it, `Sealed` where it is complete, those of [`OpenPack::open`].
    pub fn resume(file: File, ordinal: PackOrdinal, repository: &Digest, length: u64) -> Result<(Self, Damage)> {
        lock(&file)?;
        let (pack, damage) = OpenPack::open(file, ordinal, repository, length)?;
        if pack.header.sealed {
            return Err(PackError::Sealed { path: pack.file.path().into() });
        }
        Ok((Self { pack, reserved: None, poisoned: false }, damage))
    }

    /// Opens the pack `file` (opened for writing) that a dead writer left, keeping `registered` bytes and every whole
    /// frame that directly follows; what lies behind the first bad byte is cut off. A footer, half-written or whole, is
    /// dropped: sealing writes it anew. Damage among the registered bytes is told, never cut. With nothing kept, [`is_empty`](Self::is_empty) holds and the pack is best
    /// [discarded](Self::discard).
    ///
    /// # Errors
    /// `Locked` where the writer lives, those of [`OpenPack::open`]; a pack whose very header is not whole fails with
    /// `Truncated`, `BadMagic` or `BadHeader` and holds nothing that was ever registered.
    pub fn recover(file: File, ordinal: PackOrdinal, repository: &Digest, registered: u64) -> Result<(Self, Damage)> {
        lock(&file)?;
        let (mut pack, damage) = OpenPack::open(file, ordinal, repository, registered)?;
        let mut scan = FrameScan::new(&pack.file, pack.length, u64::MAX, OnDamage::Stop)?;
        for item in &mut scan {
            if let ScanItem::Frame(frame) = item? {
                let length = frame.header.frame_length();
                if !has_room(pack.table.len(), frame.offset, frame.entries.len(), length) {
                    break;
                }
                insert(&mut pack.table, frame.offset, length, frame.entries.into_iter());
                pack.length = frame.offset + length as u64;
            }
        }
        pack.header.sealed = false;
        pack.header.write(&pack.file)?;
        pack.file.set_len(pack.length)?;
        Ok((Self { pack, reserved: None, poisoned: false }, damage))
    }

    /// Returns the pack's name.
    pub fn ordinal(&self) -> PackOrdinal {
        self.pack.ordinal
    }

    /// Returns the pack's header.
    pub fn header(&self) -> &PackHeader {
        &self.pack.header
    }

    /// Returns where the next frame goes, in bytes from the start of the file.
    pub fn length(&self) -> u64 {
        self.pack.length
    }

    /// Says whether the pack holds no frame.
    pub fn is_empty(&self) -> bool {
        self.pack.length <= PACK_HEADER_LENGTH as u64
    }

    /// Returns the objects written so far, registered or not.
    pub fn table(&self) -> &EntryTable {
        &self.pack.table
    }

    /// Says whether a frame of `length` bytes and `count` objects still fits.
    pub fn has_room(&self, count: usize, length: usize) -> bool {
        has_room(self.pack.table.len(), self.pack.length, count, length)
    }

    /// Reserves space 4 MiB at a time from now on, so that a full disk shows before bytes are written. For packs that
    /// are filled in one go: what is left over is given back by sealing or cutting, not before.
    ///
    /// # Errors
    /// Failed disk operations; the pack stands as before.
    pub fn reserve_ahead(&mut self) -> Result<()> {
        self.reserve(self.reserved.unwrap_or(self.pack.length), 1)
    }

    /// Reads back and verifies a frame of this pack.
    ///
    /// # Errors
    /// Those of [`OpenPack::read_frame`].
    pub fn read_frame(&self, offset: u32, reach: u32) -> Result<FrameBuffer> {
        self.pack.read_frame(offset, reach)
    }

    /// Appends one frame and returns where it begins. The frame's form is checked, its check is not: it comes from
    /// [`encode_frame`](super::encode_frame) or [`decode_frame`](super::decode_frame). One write, not durable yet.
    ///
    /// # Errors
    /// `Full` where the pack takes no more, `BadFrame` where `frame` is not exactly one frame, failed disk operations.
    /// After any of them the pack stands as before.
    pub fn append_frame(&mut self, frame: &[u8]) -> Result<u32> {
        self.check_poison()?;
        let offset = self.pack.length;
        let view = FrameView::parse(frame).map_err(|source| self.pack.bad_frame(offset, source))?;
        let bytes = view.as_bytes();
        if !self.has_room(view.header().count.into(), bytes.len()) {
            return Err(PackError::Full { path: self.pack.file.path().into() });
        }
        if let Some(reserved) = self.reserved {
            self.reserve(reserved, bytes.len() as u64)?;
        }
        self.pack.file.write_all_at(bytes, offset)?;
        insert(&mut self.pack.table, offset, bytes.len(), view.entries());
        self.pack.length += bytes.len() as u64;
        Ok(u32::try_from(offset).expect("has_room keeps packs below 64 MiB"))
    }

    /// Writes whole frames at `offset`, as a write-ahead record says: writing twice equals once. Not durable yet.
    ///
    /// # Errors
    /// `Gap` where `offset` lies beyond the end, `BadFrame` where `bytes` are not whole frames, `Full`, failed writes.
    pub fn append_at(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.check_poison()?;
        if offset > self.pack.length {
            return Err(PackError::Gap { path: self.pack.file.path().into(), offset, length: self.pack.length });
        }
        // Everything is known to be right before anything is written.
        let (mut at, mut count) = (offset, 0);
        for frame in frames(bytes) {
            let frame = frame.map_err(|source| self.pack.bad_frame(at, source))?;
            at += frame.as_bytes().len() as u64;
            count += usize::from(frame.header().count);
        }
        if self.pack.table.len() + count > MAX_PACK_ENTRIES || at > MAX_PACK {
            return Err(PackError::Full { path: self.pack.file.path().into() });
        }
        self.pack.file.write_all_at(bytes, offset)?;
        self.pack.learn(offset, bytes, |_, _, _| {})
    }

    /// Cuts the pack back to `length`, the end of some frame, giving up what follows.
    pub fn truncate_to(&mut self, length: u64) -> Result<()> {
        let length = length.clamp(PACK_HEADER_LENGTH as u64, self.pack.length);
        self.pack.file.set_len(length)?;
        self.pack.table.truncate(length);
        self.pack.length = length;
        // Cutting gave back what was reserved beyond.
        self.reserved = self.reserved.map(|reserved| reserved.min(length));
        Ok(())
    }

    /// Makes all frames written so far durable. A failure is final: the writer refuses everything from then on.
    pub fn sync(&mut self) -> Result<()> {
        self.check_poison()?;
        self.pack.file.sync_data().inspect_err(|_| self.poisoned = true)?;
        Ok(())
    }

    /// Writes the footer, gives back unused space and makes the whole pack durable with one sync. The lock stays held
    /// until what is returned is [released](SealedPack::release) or dropped.
    ///
    /// # Errors
    /// Failed disk operations; the frames stay where they are, for [`recover`](Self::recover).
    pub fn seal(self) -> Result<SealedPack> {
        self.check_poison()?;
        let OpenPack { file, ordinal, mut header, length, table, .. } = self.pack;
        header.sealed = true;
        let entries = table.into_sorted();
        let trailer = footer::write(&file, &header, length, &entries)?;
        file.set_len(length + trailer.footer_length() + footer::TRAILER_LENGTH as u64)?;
        header.write(&file)?;
        file.sync_data()?;
        Ok(SealedPack { reader: PackReader::of_parts(file, ordinal, header, trailer) })
    }

    /// Removes the pack, which must hold nothing registered.
    pub fn discard(self, objects: &Dir) -> Result<()> {
        objects.unlink(self.pack.ordinal.path())?;
        Ok(())
    }

    fn reserve(&mut self, from: u64, length: u64) -> Result<()> {
        let end = self.pack.length + length;
        if end > from {
            let target = end.next_multiple_of(RESERVE);
            self.pack.file.allocate(from, target - from)?;
            self.reserved = Some(target);
        }
        Ok(())
    }

    fn check_poison(&self) -> Result<()> {
        if self.poisoned { Err(PackError::Poisoned { path: self.pack.file.path().into() }) } else { Ok(()) }
    }
}

/// A pack just sealed and synced, still locked: it stays so until its registration is durable.
#[derive(Debug)]
pub struct SealedPack {
    reader: PackReader,
}

impl SealedPack {
    /// Returns the pack for reading.
    pub fn reader(&self) -> &PackReader {
        &self.reader
    }

    /// Gives the lock back, once the pack is registered.
    pub fn release(self) -> Result<PackReader> {
        self.reader.file().unlock()?;
        Ok(self.reader)
    }
}

fn has_room(entries: usize, end: u64, count: usize, length: usize) -> bool {
    entries + count <= MAX_PACK_ENTRIES && end + length as u64 <= MAX_PACK
}

fn lock(file: &File) -> Result<()> {
    if file.try_lock(LockKind::Exclusive)? { Ok(()) } else { Err(PackError::Locked { path: file.path().into() }) }
}

/// Creates and locks the file of a pack; `None` where the name is taken.
fn create_locked(objects: &Dir, ordinal: PackOrdinal) -> Result<Option<File>> {
    match objects.open(ordinal.path(), OpenOptions::CREATE_NEW) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error.into()),
        // Between the two calls recovery may have met the empty file and taken it for a dead writer's.
        Ok(file) => Ok(file.try_lock(LockKind::Exclusive)?.then_some(file)),
    }
}

/// Makes the directory of a pack where it is absent, and its name durable.
fn make_directory(objects: &Dir, ordinal: PackOrdinal) -> Result<()> {
    let directory = ordinal.directory();
    // Whoever made it a moment ago may not have synced it yet. The very first directories are as old as the repository.
    let first = PackOrdinal::first(ordinal.class());
    let may_be_fresh = ordinal.is_among_first_of_directory() && directory != first.directory();
    if !may_be_fresh && objects.metadata_optional(&directory)?.is_some() {
        return Ok(());
    }
    objects.create_dir_all(&directory)?;
    objects.open_dir(ordinal.class().directory())?.sync()?;
    objects.sync()?;
    Ok(())
}
