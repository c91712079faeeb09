//! Bytes that unfold to 1 GiB are refused quickly and without the memory. A process of its own, so that its peak
//! memory is that of the decompressor alone.

use std::time::{Duration, Instant};

use shard_core::object::compression::{Codec, Decompressor, MAX_RAW};

const GIB: u64 = 1 << 30;

/// A zstd frame (RFC 8878) of run-length blocks: 4 bytes unfold to 128 KiB.
struct ZstdBomb {
    /// Content size the header states; none when absent.
    states: Option<u64>,
    /// Window descriptor; a single segment when absent.
    window: Option<u8>,
    /// Bytes it really unfolds to.
    unfolds: u64,
}

impl ZstdBomb {
    fn build(&self) -> Vec<u8> {
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd];
        let size_flag = if self.states.is_some() { 0xc0 } else { 0 };
        let segment_flag = if self.window.is_none() { 0x20 } else { 0 };
        frame.push(size_flag | segment_flag);
        frame.extend(self.window);
        match self.states {
            Some(size) => frame.extend(size.to_le_bytes()),
            // A single segment without a size flag has a size of one byte.
            None if self.window.is_none() => frame.push(255),
            None => {}
        }
        let block = 128 << 10;
        let blocks = self.unfolds / block;
        for n in 1..=blocks {
            let header = u32::from(n == blocks) | 1 << 1 | (block as u32) << 3;
            frame.extend(&header.to_le_bytes()[..3]);
            frame.push(b'A');
        }
        frame
    }
}

/// A zlib stream (RFC 1950) of zeros, made by repeating one flushed mebibyte.
fn zlib_bomb(mebibytes: usize, end: &[u8]) -> Vec<u8> {
    let mut one = Vec::with_capacity(64 << 10);
    let mut context = flate2::Compress::new(flate2::Compression::best(), false);
    context.compress_vec(&vec![0; 1 << 20], &mut one, flate2::FlushCompress::Full).unwrap();
    [&[0x78, 0xda][..], &one.repeat(mebibytes), end].concat()
}

fn bombs() -> Vec<(&'static str, Codec, Vec<u8>)> {
    let zstd = |states, window, unfolds| ZstdBomb { states, window, unfolds }.build();
    let honest = zstd(Some(GIB), None, GIB);
    let small = zstd(Some(MAX_RAW as u64), Some(10 << 3), MAX_RAW as u64);
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4][..], &honest].concat();
    let raw_end = [1, 0, 0, 0xff, 0xff];
    vec![
        ("states its size", Codec::Zstd, honest.clone()),
        ("states its size and a window", Codec::Zstd, zstd(Some(GIB), Some(10 << 3), GIB)),
        ("states 1 MiB", Codec::Zstd, zstd(Some(MAX_RAW as u64), None, GIB)),
        ("states 1 MiB and a window", Codec::Zstd, zstd(Some(MAX_RAW as u64), Some(10 << 3), GIB)),
        ("states 0", Codec::Zstd, zstd(Some(0), None, GIB)),
        ("states 2^63", Codec::Zstd, zstd(Some(1 << 63), None, GIB)),
        ("states nothing, least window", Codec::Zstd, zstd(None, Some(0), GIB)),
        ("states nothing, allowed window", Codec::Zstd, zstd(None, Some(10 << 3), GIB)),
        ("states 255 in one byte", Codec::Zstd, zstd(None, None, GIB)),
        ("window just beyond", Codec::Zstd, zstd(Some(MAX_RAW as u64), Some(10 << 3 | 1), MAX_RAW as u64)),
        ("window of 128 MiB", Codec::Zstd, zstd(Some(MAX_RAW as u64), Some(17 << 3), MAX_RAW as u64)),
        ("window of 3.75 TiB", Codec::Zstd, zstd(Some(MAX_RAW as u64), Some(31 << 3 | 7), MAX_RAW as u64)),
        ("a bomb behind a good frame", Codec::Zstd, [&small[..], &honest].concat()),
        ("a thousand good frames", Codec::Zstd, small.repeat(1024)),
        ("a bomb behind a skippable frame", Codec::Zstd, skippable),
        ("nothing but skippable frames", Codec::Zstd, [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0].repeat(100_000)),
        ("zlib without an end", Codec::Zlib, zlib_bomb(1024, &[])),
        ("zlib with an end", Codec::Zlib, zlib_bomb(1024, &[&raw_end[..], &[0; 4]].concat())),
        ("zlib one byte too long", Codec::Zlib, zlib_bomb(1, &[&[0, 1, 0, 0xfe, 0xff, 0][..], &raw_end].concat())),
        ("zlib given as zstd", Codec::Zstd, zlib_bomb(1024, &[])),
    ]
}

/// Peak resident memory so far, in KiB; none off Linux.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}

#[test]
fn twenty_bombs_are_refused_at_once_and_cost_no_memory() {
    let bombs = bombs();
    assert_eq!(bombs.len(), 20);
    let mut decompressor = Decompressor::new();
    let mut out = Vec::new();
    let before = peak_kib();
    for (name, codec, stored) in &bombs {
        for declared in [MAX_RAW, GIB as usize] {
            let start = Instant::now();
            let refused = decompressor.decompress(*codec, stored, declared, &mut out);
            let took = start.elapsed();
            assert!(refused.is_err(), "{name}, declared as {declared}");
            assert!(took < Duration::from_millis(100), "{name} took {took:?}");
            assert!(out.capacity() <= MAX_RAW, "{name} made {} bytes of room", out.capacity());
        }
    }
    if let (Some(before), Some(after)) = (before, peak_kib()) {
        assert!(after - before <= 16 << 10, "peak memory grew by {} KiB", after - before);
    }
    // The context is sound after all that.
    let small = ZstdBomb { states: Some(MAX_RAW as u64), window: None, unfolds: MAX_RAW as u64 }.build();
    decompressor.decompress(Codec::Zstd, &small, MAX_RAW, &mut out).unwrap();
    assert_eq!(out, vec![b'A'; MAX_RAW]);
}
