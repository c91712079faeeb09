//! How frames are stored smaller.
//!
//! A [`Compressor`] chooses per frame whether compressing pays; a [`Decompressor`] gives the bytes back and trusts
//! nothing it is told: the declared length is bounded before memory is taken, and no byte beyond it is produced. Each
//! keeps its context, so a worker makes one and uses it for all its frames.

use std::fmt;
use std::io::Cursor;
use std::str::FromStr;

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};
use zstd::zstd_safe::{self, CParameter};

use crate::error::Error;

/// Greatest decompressed length of a frame: an object is at most 1 MiB, and a frame of several is smaller.
pub const MAX_RAW: usize = 1 << 20;
/// Greatest zstd window, as a power of two: no frame is longer, so a greater one is an attack on memory.
pub const MAX_WINDOW_LOG: u32 = 20;

/// Length of each sample, three of which decide whether a frame looks compressible.
const SAMPLE: usize = 1 << 10;
/// Frames below this are not sampled: the samples would be most of them.
const SAMPLED_FROM: usize = 8 << 10;
/// Sum of squared byte counts below which 3 KiB look random. Uniform bytes give 39,900; text gives more than 150,000.
const RANDOM_BELOW: u32 = 45_000;
/// Frames of one file compressed in vain before it is given up on.
const PATIENCE: u32 = 4;
/// Of a file given up on, one frame in so many is tried again.
const PROBE_EVERY: u32 = 32;

/// How a frame's payload is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    /// As it is.
    Raw = 0,
    /// One zstd frame that states its content size.
    Zstd = 1,
    /// One zlib stream (RFC 1950).
    Zlib = 2,
}

impl Codec {
    /// Returns the codec a frame header's number names, if there is one.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            2 => Some(Self::Zlib),
            _ => None,
        }
    }

    /// Returns the number a frame header records.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// The setting `storage.compression`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// `zstd:N`, a level from 1 to 19.
    Zstd(u8),
    /// `zlib`.
    Zlib,
    /// `none`.
    None,
}

impl Default for Compression {
    fn default() -> Self {
        Self::Zstd(3)
    }
}

impl FromStr for Compression {
    type Err = Error;

    /// Reads `zstd:N`, `zstd` for `zstd:3`, `zlib` and `none`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |reason: &str| Error::ValueInvalid {
            what: "compression",
            value: text.to_owned(),
            reason: reason.to_owned(),
        };
        match text.split_once(':') {
            None => match text {
                "zstd" => Ok(Self::default()),
                "zlib" => Ok(Self::Zlib),
                "none" => Ok(Self::None),
                _ => Err(invalid("it is zstd:1 to zstd:19, zlib or none")),
            },
            // Parsing a number would take a sign too.
            Some(("zstd", level)) => match level.parse() {
                Ok(number @ 1..=19) if !level.starts_with('+') => Ok(Self::Zstd(number)),
                _ => Err(invalid("zstd has levels 1 to 19")),
            },
            Some(_) => Err(invalid("it is zstd:1 to zstd:19, zlib or none")),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zstd(level) => write!(f, "zstd:{level}"),
            Self::Zlib => f.write_str("zlib"),
            Self::None => f.write_str("none"),
        }
    }
}

enum Encoder {
    Zstd(zstd::bulk::Compressor<'static>),
    Zlib(Compress),
    None,
}

/// Compresses frames, or finds that it does not pay.
///
/// It keeps a context, larger at higher levels, and remembers how the current file went.
pub struct Compressor {
    encoder: Encoder,
    /// Frames in a row that were compressed in vain, in the current file.
    in_vain: u32,
    /// Frames stored raw unseen since the last attempt.
    unseen: u32,
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").field("in_vain", &self.in_vain).finish_non_exhaustive()
    }
}

impl Compressor {
    /// Makes the context for a setting.
    #[must_use]
    pub fn new(setting: Compression) -> Self {
        let encoder = match setting {
            Compression::None => Encoder::None,
            Compression::Zlib => Encoder::Zlib(Compress::new(flate2::Compression::default(), true)),
            Compression::Zstd(level) => {
                let mut context = zstd::bulk::Compressor::new(i32::from(level.clamp(1, 19)))
                    .expect("every level from 1 to 19 exists");
                context
                    .set_parameter(CParameter::WindowLog(MAX_WINDOW_LOG))
                    .expect("a window of 1 MiB is within zstd's bounds");
                Encoder::Zstd(context)
            }
        };
        Self { encoder, in_vain: 0, unseen: 0 }
    }

    /// Forgets how the last file went.
    pub fn begin_file(&mut self) {
        self.in_vain = 0;
        self.unseen = 0;
    }

    /// Compresses one frame's payload and appends the result to `out`.
    ///
    /// [`Codec::Raw`] means that it does not pay, and leaves `out` as it was: `raw` itself is to be stored. That is so
    /// when samples of `raw` look random, when less than a sixteenth would be saved, and, once four frames of a file in
    /// a row were compressed in vain, for all but every 32nd.
    pub fn compress(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Codec {
        if raw.is_empty() || matches!(self.encoder, Encoder::None) || looks_random(raw) {
            return Codec::Raw;
        }
        if self.in_vain >= PATIENCE {
            self.unseen += 1;
            if self.unseen < PROBE_EVERY {
                return Codec::Raw;
            }
            self.unseen = 0;
        }
        let start = out.len();
        let codec = match &mut self.encoder {
            Encoder::None => Codec::Raw,
            Encoder::Zstd(context) => compress_zstd(context, raw, out),
            Encoder::Zlib(context) => compress_zlib(context, raw, out),
        };
        if codec != Codec::Raw && out.len() - start <= raw.len() - raw.len().div_ceil(16) {
            self.begin_file();
            return codec;
        }
        out.truncate(start);
        self.in_vain = self.in_vain.saturating_add(1);
        Codec::Raw
    }
}

fn compress_zstd(context: &mut zstd::bulk::Compressor<'static>, raw: &[u8], out: &mut Vec<u8>) -> Codec {
    let start = out.len();
    out.reserve(zstd_safe::compress_bound(raw.len()));
    let mut behind = Cursor::new(out);
    behind.set_position(start as u64);
    match context.compress_to_buffer(raw, &mut behind) {
        Ok(_) => Codec::Zstd,
        Err(_) => Codec::Raw,
    }
}

fn compress_zlib(context: &mut Compress, raw: &[u8], out: &mut Vec<u8>) -> Codec {
    context.reset();
    // What does not fit into as much would be stored raw anyway.
    out.reserve(raw.len());
    match context.compress_vec(raw, out, FlushCompress::Finish) {
        Ok(Status::StreamEnd) => Codec::Zlib,
        _ => Codec::Raw,
    }
}

/// Returns whether three samples, near the start, in the middle and near the end, have nearly uniform byte counts.
fn looks_random(raw: &[u8]) -> bool {
    if raw.len() < SAMPLED_FROM {
        return false;
    }
    let mut counts = [0u32; 256];
    for start in [raw.len() / 8, raw.len() / 2, raw.len() / 8 * 7 - SAMPLE] {
        for &byte in &raw[start..start + SAMPLE] {
            counts[usize::from(byte)] += 1;
        }
    }
    counts.iter().map(|count| count * count).sum::<u32>() < RANDOM_BELOW
}

/// Why stored bytes do not give what they should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecompressError {
    /// The declared length exceeds [`MAX_RAW`].
    #[error("{length} bytes are declared, {MAX_RAW} are the limit")]
    TooLong {
        /// What was declared.
        length: usize,
    },
    /// The bytes do not decompress to exactly the declared length.
    #[error("the content is not {length} bytes long, as declared")]
    Length {
        /// What was declared.
        length: usize,
    },
    /// The bytes are not one well-formed stream of the codec.
    #[error("the compressed bytes are malformed")]
    Malformed,
    /// A zstd frame asks for a window above 2^[`MAX_WINDOW_LOG`].
    #[error("the compressed bytes ask for too large a window")]
    Window,
}

/// Gives frames' payloads back, with contexts that it keeps.
pub struct Decompressor {
    zstd: zstd::bulk::Decompressor<'static>,
    zlib: Option<Decompress>,
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

impl Default for Decompressor {
    fn default() -> Self {
        Self::new()
    }
}

impl Decompressor {
    /// Makes the contexts.
    #[must_use]
    pub fn new() -> Self {
        let zstd = zstd::bulk::Decompressor::new().expect("a context without a dictionary needs nothing but memory");
        Self { zstd, zlib: None }
    }

    /// Replaces the content of `out` with the payload that `stored` holds, which has exactly `raw_length` bytes.
    ///
    /// At most `raw_length` bytes of memory are taken, however much `stored` would unfold to.
    ///
    /// # Errors
    /// When `raw_length` exceeds [`MAX_RAW`], or `stored` is not exactly one stream of that length; `out` is then empty.
    pub fn decompress(
        &mut self,
        codec: Codec,
        stored: &[u8],
        raw_length: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecompressError> {
        out.clear();
        if raw_length > MAX_RAW {
            return Err(DecompressError::TooLong { length: raw_length });
        }
        let done = match codec {
            Codec::Raw if stored.len() != raw_length => Err(DecompressError::Length { length: raw_length }),
            Codec::Raw => {
                out.extend_from_slice(stored);
                Ok(())
            }
            Codec::Zstd => self.decompress_zstd(stored, raw_length, out),
            Codec::Zlib => self.decompress_zlib(stored, raw_length, out),
        };
        if done.is_err() {
            out.clear();
        }
        done
    }

    fn decompress_zstd(&mut self, stored: &[u8], raw_length: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
        check_zstd_header(stored)?;
        match zstd_safe::get_frame_content_size(stored) {
            Ok(Some(size)) if size == raw_length as u64 => {}
            Ok(_) => return Err(DecompressError::Length { length: raw_length }),
            Err(_) => return Err(DecompressError::Malformed),
        }
        // One frame and nothing behind it: frames may be chained, and skipped ones hold anything.
        if zstd_safe::find_frame_compressed_size(stored) != Ok(stored.len()) {
            return Err(DecompressError::Malformed);
        }
        out.reserve_exact(raw_length);
        match self.zstd.decompress_to_buffer(stored, out) {
            Ok(length) if length == raw_length => Ok(()),
            Ok(_) => Err(DecompressError::Length { length: raw_length }),
            Err(_) => Err(DecompressError::Malformed),
        }
    }

    fn decompress_zlib(&mut self, stored: &[u8], raw_length: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
        let context = self.zlib.get_or_insert_with(|| Decompress::new(true));
        context.reset(true);
        out.resize(raw_length, 0);
        match context.decompress(stored, out, FlushDecompress::Finish) {
            Ok(Status::StreamEnd) if context.total_in() != stored.len() as u64 => Err(DecompressError::Malformed),
            Ok(Status::StreamEnd) if context.total_out() == raw_length as u64 => Ok(()),
            // Either the content is longer than its place, or the stream is cut short.
            Ok(_) => Err(DecompressError::Length { length: raw_length }),
            Err(_) => Err(DecompressError::Malformed),
        }
    }
}

/// Checks what a zstd frame header (RFC 8878, section 3.1.1.1) asks for, before the library acts on it.
fn check_zstd_header(stored: &[u8]) -> Result<(), DecompressError> {
    let [0x28, 0xb5, 0x2f, 0xfd, descriptor, window, ..] = *stored else {
        return Err(DecompressError::Malformed);
    };
    // A single segment states no window: its content is the window, and that is bounded by the declared length.
    let single_segment = descriptor & 0x20 != 0;
    let (exponent, mantissa) = (10 + u32::from(window >> 3), window & 7);
    if !single_segment && (exponent > MAX_WINDOW_LOG || (exponent == MAX_WINDOW_LOG && mantissa > 0)) {
        return Err(DecompressError::Window);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
