//! Finding frames without a footer.

use std::ops::Range;

use super::Result;
use super::footer;
use super::frame::{self, FRAME_HEADER_LENGTH, FrameEntry, FrameError, FrameHeader, FrameView, MAX_FRAME};
use super::header::MAX_PACK;
use crate::vfs::File;

/// Least read at once.
const READ_AHEAD: usize = 256 * 1024;

/// Most bytes that a search for the next frame hashes: sixteen whole packs. A pack made of false beginnings would else
/// cost the square of its length.
const MAX_SEARCH: u64 = 16 * MAX_PACK;

/// What a scan does where no good frame follows the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDamage {
    /// Ends: what was never registered is cut there.
    Stop,
    /// Goes on at the next frame whose check is right.
    Search,
}

/// A frame met by a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedFrame {
    /// Where it begins.
    pub offset: u64,
    /// Its fixed part.
    pub header: FrameHeader,
    /// Its table.
    pub entries: Vec<FrameEntry>,
    /// Whether damage lies before it. It may then be bytes *inside* another frame's payload, which strangers choose:
    /// its objects must be decoded and their ids compared before any index lists them.
    pub after_damage: bool,
}

impl ScannedFrame {
    /// Returns the bytes of the pack it takes.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.header.frame_length() as u64
    }
}

/// What a scan meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScanItem {
    /// A frame that matches its check.
    Frame(ScannedFrame),
    /// A stretch in which there is none.
    Damaged(Range<u64>),
}

/// Iterates over the frames in a range of a pack, sealed or not, verifying each check. Ends at a footer, at the end of
/// the range, or at a failed read. Keeps at most 1.5 MiB in memory.
#[derive(Debug)]
pub struct FrameScan<'a> {
    file: &'a File,
    at: u64,
    end: u64,
    on_damage: OnDamage,
    after_damage: bool,
    search_left: u64,
    /// Bytes of the file from `start`.
    window: Vec<u8>,
    start: u64,
}

/// What stands at one place of a pack.
enum Found {
    Frame(FrameHeader),
    Footer,
    Nothing,
}

impl<'a> FrameScan<'a> {
    /// Starts at `from`, where a frame is expected, and ends at `to` or the end of the file if that comes first.
    pub fn new(file: &'a File, from: u64, to: u64, on_damage: OnDamage) -> Result<Self> {
        let end = to.min(file.size()?);
        Ok(Self {
            file,
            at: from,
            end,
            on_damage,
            after_damage: false,
            search_left: MAX_SEARCH,
            window: Vec::new(),
            start: from,
        })
    }

    /// Returns where the scan stands: after its end, where the last good frame or damaged stretch ended.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Returns up to `length` bytes at `at`, fewer at the end of the range.
    fn bytes(&mut self, at: u64, length: usize) -> Result<&[u8]> {
        let length = length.min(self.end.saturating_sub(at) as usize);
        let begin = at.checked_sub(self.start).filter(|begin| *begin <= self.window.len() as u64);
        let begin = match begin {
            Some(begin) => begin as usize,
            None => {
                self.window.clear();
                self.start = at;
                0
            }
        };
        if self.window.len() - begin >= length {
            return Ok(&self.window[begin..begin + length]);
        }
        self.window.drain(..begin);
        self.start = at;
        let have = self.window.len();
        let want = length.max(READ_AHEAD).min(self.end.saturating_sub(at) as usize);
        self.window.resize(want, 0);
        let filled = self.file.read_full_at(&mut self.window[have..], at + have as u64);
        self.window.truncate(have + filled.as_ref().copied().unwrap_or(0));
        filled?;
        Ok(&self.window[..length.min(self.window.len())])
    }

    fn look(&mut self, at: u64) -> Result<Found> {
        let head = self.bytes(at, FRAME_HEADER_LENGTH)?;
        if head.starts_with(&footer::MAGIC) {
            return Ok(Found::Footer);
        }
        let Ok(header) = FrameHeader::parse(head) else { return Ok(Found::Nothing) };
        match FrameView::parse(self.bytes(at, header.frame_length())?) {
            Ok(view) if view.is_intact() => Ok(Found::Frame(header)),
            _ => Ok(Found::Nothing),
        }
    }

    /// Returns where the scan can go on after damage at `self.at`.
    fn resume(&mut self) -> Result<u64> {
        if self.on_damage == OnDamage::Stop {
            return Ok(self.end);
        }
        // If the damaged frame's own length still leads to something good, its payload need not be searched.
        let head = self.bytes(self.at, FRAME_HEADER_LENGTH)?;
        if let Ok(header) = FrameHeader::parse(head) {
            let next = self.at + header.frame_length() as u64;
            if next == self.end || next < self.end && !matches!(self.look(next)?, Found::Nothing) {
                return Ok(next);
            }
        }
        let mut at = self.at + 1;
        while at < self.end {
            let window = self.bytes(at, READ_AHEAD)?;
            let Some(begin) = window.windows(4).position(|bytes| bytes == frame::MAGIC || *bytes == footer::MAGIC[..4])
            else {
                if window.len() < READ_AHEAD {
                    break;
                }
                at += (READ_AHEAD - 3) as u64;
                continue;
            };
            at += begin as u64;
            let cost =
                FrameHeader::parse(self.bytes(at, FRAME_HEADER_LENGTH)?).map_or(0, |header| header.frame_length());
            if self.search_left < cost as u64 {
                break;
            }
            self.search_left -= cost as u64;
            if !matches!(self.look(at)?, Found::Nothing) {
                return Ok(at);
            }
            at += 1;
        }
        Ok(self.end)
    }

    fn step(&mut self) -> Result<Option<ScanItem>> {
        if self.at >= self.end {
            return Ok(None);
        }
        match self.look(self.at)? {
            Found::Footer => {
                self.end = self.at;
                Ok(None)
            }
            Found::Frame(header) => {
                let offset = self.at;
                let bytes = self.bytes(offset, header.frame_length())?;
                let entries = FrameView::parse(bytes).map(|view| view.entries().collect()).unwrap_or_default();
                self.at += header.frame_length() as u64;
                Ok(Some(ScanItem::Frame(ScannedFrame { offset, header, entries, after_damage: self.after_damage })))
            }
            Found::Nothing => {
                let damaged = self.at..self.resume()?;
                self.after_damage = true;
                match self.on_damage {
                    OnDamage::Stop => self.end = self.at,
                    OnDamage::Search => self.at = damaged.end,
                }
                Ok(Some(ScanItem::Damaged(damaged)))
            }
        }
    }
}

impl Iterator for FrameScan<'_> {
    type Item = Result<ScanItem>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.step().transpose();
        if matches!(item, Some(Err(_))) {
            self.end = self.at;
        }
        item
    }
}

// A frame and the read-ahead together are the bound the documentation gives.
const _: () = assert!(MAX_FRAME + READ_AHEAD <= 3 << 19);

/// Takes concatenated frames apart, each verified: what a write-ahead record appends to a pack.
pub(super) fn frames(mut bytes: &[u8]) -> impl Iterator<Item = std::result::Result<FrameView<'_>, FrameError>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let frame = frame::decode_frame(bytes);
        bytes = frame.as_ref().map_or(&[][..], |frame| &bytes[frame.as_bytes().len()..]);
        Some(frame)
    })
}
