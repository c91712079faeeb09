//! Reading a sealed pack.

use std::sync::OnceLock;

use shard_crypto::Digest;

use super::entry::{ENTRY_LENGTH, FooterEntry, Location, search};
use super::footer::{ENTRIES_PER_PIECE, FOOTER_CACHE_LIMIT, Footer, Trailer};
use super::frame::{FrameBuffer, FrameError, MAX_FRAME};
use super::{PackError, PackHeader, PackOrdinal, Result};
use crate::vfs::File;

/// A sealed pack. Opening reads 128 bytes; the footer is read and verified at the first lookup. Threads may share it.
#[derive(Debug)]
pub struct PackReader {
    file: File,
    ordinal: PackOrdinal,
    header: PackHeader,
    trailer: Trailer,
    footer: OnceLock<Footer>,
}

impl PackReader {
    /// Opens the pack named `ordinal`, which must belong to `repository`.
    ///
    /// # Errors
    /// `Unsealed` where it has no footer yet, `BadFooter` where the footer is absent or does not fit the file, those
    /// of [`PackHeader::read`], and failed reads.
    pub fn open(file: File, ordinal: PackOrdinal, repository: &Digest) -> Result<Self> {
        let header = PackHeader::read(&file, ordinal, repository)?;
        if !header.sealed {
            return Err(PackError::Unsealed { path: file.path().into() });
        }
        let trailer = Trailer::read(&file, file.size()?)?;
        Ok(Self::of_parts(file, ordinal, header, trailer))
    }

    pub(super) fn of_parts(file: File, ordinal: PackOrdinal, header: PackHeader, trailer: Trailer) -> Self {
        Self { file, ordinal, header, trailer, footer: OnceLock::new() }
    }

    /// Returns the file it reads.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Returns the pack's name.
    pub fn ordinal(&self) -> PackOrdinal {
        self.ordinal
    }

    /// Returns the pack's header.
    pub fn header(&self) -> &PackHeader {
        &self.header
    }

    /// Returns the digest of header and footer that the trailer claims; [`verify_footer`](Self::verify_footer) proves it.
    pub fn pack_id(&self) -> Digest {
        self.trailer.pack_id
    }

    /// Returns how many objects the footer lists.
    pub fn object_count(&self) -> u32 {
        self.trailer.count
    }

    /// Returns how many frames hold them.
    pub fn frame_count(&self) -> u32 {
        self.trailer.frames
    }

    /// Returns where the frames end.
    pub fn frames_end(&self) -> u64 {
        self.trailer.footer_offset
    }

    /// Reads the whole footer again and verifies order, bounds, counts and the pack id.
    ///
    /// # Errors
    /// `BadFooter` or `UnsupportedVersion`, and failed reads.
    pub fn verify_footer(&self) -> Result<()> {
        Footer::verify(&self.file, &self.header, &self.trailer, 0).map(drop)
    }

    fn footer(&self) -> Result<&Footer> {
        if let Some(footer) = self.footer.get() {
            return Ok(footer);
        }
        let footer = Footer::verify(&self.file, &self.header, &self.trailer, FOOTER_CACHE_LIMIT)?;
        Ok(self.footer.get_or_init(|| footer))
    }

    /// Finds an object. The first call verifies the footer; afterwards a lookup costs no disk access while the footer
    /// is at most [`FOOTER_CACHE_LIMIT`], else one or two reads.
    ///
    /// The footer may still *lie*: an object is here only once its frame's own table names it.
    ///
    /// # Errors
    /// Those of [`verify_footer`](Self::verify_footer).
    pub fn lookup(&self, id: &Digest) -> Result<Option<Location>> {
        let footer = self.footer()?;
        let (low, high) = footer.bucket(id);
        let accept = |entry: &[u8; ENTRY_LENGTH]| Some(FooterEntry::decode(entry).location);
        match footer.cached_entries() {
            Some(entries) => {
                let read = |n: u64, buffer: &mut [u8]| -> Result<()> {
                    let start = n as usize * ENTRY_LENGTH;
                    buffer.copy_from_slice(&entries[start..start + buffer.len()]);
                    Ok(())
                };
                search(low, high, id, read, accept)
            }
            None => {
                let read = |n: u64, buffer: &mut [u8]| -> Result<()> {
                    Ok(self.file.read_exact_at(buffer, self.trailer.entry_offset(n))?)
                };
                let found = search(low, high, id, read, accept)?;
                // The file may have changed since the footer was verified.
                Ok(found.filter(|location| location.is_within(self.trailer.footer_offset)))
            }
        }
    }

    /// Reads and verifies the frame at `offset`, of at most `reach` bytes: one read of that length.
    ///
    /// # Errors
    /// `BadFrame` where it is damaged or no frame begins there, and failed reads.
    pub fn read_frame(&self, offset: u32, reach: u32) -> Result<FrameBuffer> {
        read_frame(&self.file, self.trailer.footer_offset, offset, reach)
    }

    /// Reads raw bytes of the frames' part from `offset` into `buffer`, for callers that read several neighbouring
    /// frames at once; returns how many there were. Nothing is verified: see [`decode_frame`](super::decode_frame).
    pub fn read_raw(&self, offset: u32, buffer: &mut [u8]) -> Result<usize> {
        let length = self.trailer.footer_offset.saturating_sub(offset.into()).min(buffer.len() as u64);
        Ok(self.file.read_full_at(&mut buffer[..length as usize], offset.into())?)
    }

    /// Iterates over the objects in the order of their ids, verifying the footer first unless a lookup did. Keeps 64 KiB
    /// in memory, and nothing once dropped: hundreds of packs may be merged at once.
    ///
    /// # Errors
    /// Those of [`verify_footer`](Self::verify_footer).
    pub fn entries(&self) -> Result<Entries<'_>> {
        if self.footer.get().is_none() {
            self.verify_footer()?;
        }
        Ok(Entries { pack: self, next: 0, piece: Vec::new().into_iter() })
    }
}

/// The objects of a sealed pack, in the order of their ids.
#[derive(Debug)]
pub struct Entries<'a> {
    pack: &'a PackReader,
    next: u32,
    piece: std::vec::IntoIter<FooterEntry>,
}

impl Entries<'_> {
    fn fill(&mut self) -> Result<()> {
        let trailer = &self.pack.trailer;
        let count = ((trailer.count - self.next) as usize).min(ENTRIES_PER_PIECE);
        let mut bytes = vec![0; count * ENTRY_LENGTH];
        self.pack.file.read_exact_at(&mut bytes, trailer.entry_offset(self.next.into()))?;
        let (entries, _) = bytes.as_chunks::<ENTRY_LENGTH>();
        let entries: Vec<_> = entries.iter().map(FooterEntry::decode).collect();
        if entries.iter().any(|entry| !entry.location.is_within(trailer.footer_offset)) {
            let what = "an entry points outside the frames";
            return Err(PackError::BadFooter { path: self.pack.file.path().into(), what });
        }
        self.piece = entries.into_iter();
        self.next += count as u32;
        Ok(())
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<FooterEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.piece.len() == 0
            && self.next < self.pack.trailer.count
            && let Err(error) = self.fill()
        {
            self.next = self.pack.trailer.count;
            return Some(Err(error));
        }
        self.piece.next().map(Ok)
    }
}

/// Reads the frame at `offset` of a pack whose frames end at `end`.
pub(super) fn read_frame(file: &File, end: u64, offset: u32, reach: u32) -> Result<FrameBuffer> {
    let bad = |source| PackError::BadFrame { path: file.path().into(), offset: offset.into(), source };
    if reach as usize > MAX_FRAME {
        return Err(bad(FrameError::TooLarge { what: "length", found: reach as usize, limit: MAX_FRAME }));
    }
    // A run rounds lengths up, so the last frame's may pass the end.
    let length = end.saturating_sub(offset.into()).min(reach.into()) as usize;
    let mut bytes = vec![0; length];
    let filled = file.read_full_at(&mut bytes, offset.into())?;
    bytes.truncate(filled);
    FrameBuffer::decode(bytes).map_err(bad)
}
