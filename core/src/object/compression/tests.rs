use proptest::prelude::*;

use super::*;

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn text(length: usize) -> Vec<u8> {
    let line = |n: usize| format!("fn part_{n}(input: &[u8]) -> Option<usize> {{ input.get({n}) }}\n").into_bytes();
    (0..).flat_map(line).take(length).collect()
}

fn restore(codec: Codec, stored: &[u8], raw_length: usize) -> Result<Vec<u8>, DecompressError> {
    let mut out = b"left over".to_vec();
    let done = Decompressor::new().decompress(codec, stored, raw_length, &mut out);
    assert!(done.is_ok() || out.is_empty(), "a failure leaves nothing behind");
    done.map(|()| out)
}

const SETTINGS: [Compression; 5] =
    [Compression::Zstd(1), Compression::Zstd(9), Compression::Zstd(19), Compression::Zlib, Compression::None];

#[test]
fn settings_are_read_and_written() {
    for (written, setting) in [
        ("zstd", Compression::Zstd(3)),
        ("zstd:1", Compression::Zstd(1)),
        ("zstd:19", Compression::Zstd(19)),
        ("zlib", Compression::Zlib),
        ("none", Compression::None),
    ] {
        assert_eq!(written.parse::<Compression>().unwrap(), setting);
        assert_eq!(setting.to_string().parse::<Compression>().unwrap(), setting);
    }
    for written in
        ["", "zstd:", "zstd:0", "zstd:20", "zstd:-1", "zstd:+1", "zstd:1x", "zlib:6", "lz4", "ZSTD", "none:1"]
    {
        assert!(matches!(written.parse::<Compression>(), Err(Error::ValueInvalid { .. })), "{written}");
    }
}

#[test]
fn text_shrinks_and_random_bytes_are_left_alone() {
    for setting in SETTINGS {
        let mut compressor = Compressor::new(setting);
        let mut out = b"before".to_vec();
        assert_eq!(compressor.compress(&noise(1, 128 << 10), &mut out), Codec::Raw);
        assert_eq!(out, b"before", "raw leaves the output as it was");
        let raw = text(128 << 10);
        let codec = compressor.compress(&raw, &mut out);
        if setting == Compression::None {
            assert_eq!(codec, Codec::Raw);
            continue;
        }
        assert!(codec != Codec::Raw && out.len() < raw.len() / 4 && out.starts_with(b"before"), "{setting}");
        assert_eq!(restore(codec, &out[6..], raw.len()).unwrap(), raw);
    }
}

#[test]
fn what_saves_less_than_a_sixteenth_is_stored_raw() {
    // One part in `n` is zeros, the rest random, in small frames that are not sampled.
    for (zeros, pays) in [(4, true), (8, true), (32, false), (64, false)] {
        let mut raw = noise(1, 7 << 10);
        let keep = raw.len() - raw.len() / zeros;
        raw[keep..].fill(0);
        let codec = Compressor::new(Compression::Zstd(1)).compress(&raw, &mut Vec::new());
        assert_eq!(codec != Codec::Raw, pays, "1/{zeros} zeros");
    }
}

#[test]
fn a_file_compressed_in_vain_is_tried_every_32nd_frame_only() {
    let mut compressor = Compressor::new(Compression::Zstd(1));
    let (vain, good) = (noise(1, 4 << 10), text(4 << 10));
    let mut out = Vec::new();
    for _ in 0..PATIENCE {
        assert_eq!(compressor.compress(&vain, &mut out), Codec::Raw);
    }
    let codecs: Vec<_> = (0..PROBE_EVERY + 2).map(|_| compressor.compress(&good, &mut out)).collect();
    assert!(codecs[..31].iter().all(|&codec| codec == Codec::Raw), "31 frames pass unseen");
    assert!(codecs[31..].iter().all(|&codec| codec == Codec::Zstd), "the 32nd is tried, pays, and ends the rule");

    for _ in 0..PATIENCE {
        compressor.compress(&vain, &mut out);
    }
    assert_eq!(compressor.compress(&good, &mut out), Codec::Raw);
    compressor.begin_file();
    assert_eq!(compressor.compress(&good, &mut out), Codec::Zstd, "another file starts afresh");
}

#[test]
fn samples_tell_random_from_text() {
    assert!(looks_random(&noise(1, 8 << 10)));
    assert!(looks_random(&noise(2, 1 << 20)));
    assert!(!looks_random(&text(8 << 10)));
    assert!(!looks_random(&vec![0; 1 << 20]));
    assert!(!looks_random(&noise(1, (8 << 10) - 1)), "small frames are not sampled");
    // A file whose sampled places are random and whose rest is not would be misjudged; one of three is enough to try.
    let mut mixed = noise(3, 128 << 10);
    mixed[60 << 10..70 << 10].fill(b' ');
    assert!(!looks_random(&mixed));
}

#[test]
fn lengths_are_exact_and_bounded() {
    let raw = text(100_000);
    for setting in [Compression::Zstd(1), Compression::Zlib] {
        let mut stored = Vec::new();
        let codec = Compressor::new(setting).compress(&raw, &mut stored);
        assert_eq!(restore(codec, &stored, raw.len()).unwrap(), raw);
        for wrong in [0, 1, raw.len() - 1, raw.len() + 1, MAX_RAW] {
            assert!(restore(codec, &stored, wrong).is_err(), "{codec:?} as {wrong}");
        }
        for beyond in [MAX_RAW + 1, usize::MAX] {
            assert_eq!(restore(codec, &stored, beyond), Err(DecompressError::TooLong { length: beyond }));
        }
        for cut in [0, 1, 5, stored.len() / 2, stored.len() - 1] {
            assert!(restore(codec, &stored[..cut], raw.len()).is_err(), "{codec:?} cut at {cut}");
        }
        let twice = [&stored[..], &stored].concat();
        assert!(restore(codec, &twice, raw.len()).is_err(), "a second stream follows");
        assert!(restore(codec, &[&stored[..], b"x"].concat(), raw.len()).is_err());
    }
    assert_eq!(restore(Codec::Raw, b"abc", 3).unwrap(), b"abc");
    assert!(restore(Codec::Raw, b"abc", 2).is_err() && restore(Codec::Raw, b"abc", 4).is_err());
    let largest = text(MAX_RAW);
    let mut stored = Vec::new();
    let codec = Compressor::new(Compression::Zstd(1)).compress(&largest, &mut stored);
    assert_eq!(restore(codec, &stored, MAX_RAW).unwrap(), largest);
}

#[test]
fn our_own_frames_ask_for_no_more_than_the_window_allowed() {
    for level in 1..=19 {
        let mut stored = Vec::new();
        assert_eq!(Compressor::new(Compression::Zstd(level)).compress(&text(MAX_RAW), &mut stored), Codec::Zstd);
        assert_eq!(check_zstd_header(&stored), Ok(()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_compressed_comes_back(
        setting in prop::sample::select(&SETTINGS[..]),
        frames in prop::collection::vec((any::<u64>(), 0..60_000usize, 0..3u8), 1..6),
    ) {
        let mut compressor = Compressor::new(setting);
        let mut decompressor = Decompressor::new();
        let mut out = Vec::new();
        for (seed, length, kind) in frames {
            let raw = match kind { 0 => noise(seed, length), 1 => text(length), _ => vec![seed as u8; length] };
            let mut stored = Vec::new();
            let codec = compressor.compress(&raw, &mut stored);
            let stored = if codec == Codec::Raw { &raw } else { &stored };
            prop_assert!(stored.len() <= raw.len());
            decompressor.decompress(codec, stored, raw.len(), &mut out).unwrap();
            prop_assert_eq!(&out, &raw);
        }
    }

    #[test]
    fn damaged_bytes_never_yield_more_than_declared(
        zlib: bool, at in any::<prop::sample::Index>(), with in 1u8.., length in 1..20_000usize
    ) {
        let raw = text(length);
        let mut stored = Vec::new();
        let setting = if zlib { Compression::Zlib } else { Compression::Zstd(1) };
        let codec = Compressor::new(setting).compress(&raw, &mut stored);
        prop_assume!(codec != Codec::Raw);
        let at = at.index(stored.len());
        stored[at] ^= with;
        if let Ok(out) = restore(codec, &stored, raw.len()) {
            prop_assert_eq!(out.len(), raw.len());
        }
    }
}
