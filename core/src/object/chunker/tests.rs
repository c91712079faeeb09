use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// Bytes nobody can compress, the same on every machine.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn lengths(profile: Profile, data: &[u8]) -> Vec<usize> {
    profile.cutter().cuts(data, true).collect()
}

/// Cuts as an ingest does that gets `read(n)` bytes at its n-th read into a buffer of `capacity`.
fn lengths_read_by(cutter: &Cutter, mut data: &[u8], capacity: usize, mut read: impl FnMut() -> usize) -> Vec<usize> {
    let mut cuts = Vec::new();
    let mut buffer = Vec::new();
    loop {
        let got = read().max(1).min(data.len()).min(capacity - buffer.len());
        buffer.extend_from_slice(&data[..got]);
        data = &data[got..];
        let before = cuts.len();
        cuts.extend(cutter.cuts(&buffer, data.is_empty()));
        buffer.drain(..cuts[before..].iter().sum::<usize>());
        if data.is_empty() {
            assert!(buffer.is_empty());
            return cuts;
        }
    }
}

fn profiles() -> impl Strategy<Value = Profile> {
    prop_oneof![
        (10..=18u32).prop_map(|log| Profile::Cdc { average: 1 << log }),
        (9..=16u32).prop_map(|log| Profile::Page(1 << log)),
        (4 << 10..=1u32 << 20).prop_map(Profile::Fixed),
        Just(Profile::Whole),
    ]
}

/// Noise with stretches that repeat, so that forced cuts happen as well.
fn contents() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec((any::<u64>(), 0..100_000usize, any::<bool>()), 0..6).prop_map(|parts| {
        parts.into_iter().flat_map(|(seed, n, dull)| if dull { vec![seed as u8; n] } else { noise(seed, n) }).collect()
    })
}

#[test]
fn golden_cut_points_have_not_moved() {
    let data = noise(1, 4 << 20);
    for (profile, first, count, digest) in GOLDEN {
        let cuts = lengths(*profile, &data);
        let mut hasher = blake3::Hasher::new();
        for &cut in &cuts {
            hasher.update(&(cut as u64).to_le_bytes());
        }
        let found = hasher.finalize().to_hex();
        assert_eq!((&cuts[..4], cuts.len(), &found[..16]), (&first[..], *count, *digest), "{profile}");
    }
    let seeded: Vec<_> = Cutter::seeded(Profile::CDC16, 1).cuts(&data, true).collect();
    assert_eq!(seeded[..4], GOLDEN_SEEDED);
}

/// Profile, its first four cuts, their number, the start of the digest of all.
type Golden = (Profile, [usize; 4], usize, &'static str);
const GOLDEN: &[Golden] = &[
    (Profile::Cdc { average: 1 << 10 }, [502, 703, 1476, 1047], 3294, "5c873c8bd0f9a7ff"),
    (Profile::CDC16, [27178, 7652, 41830, 6744], 203, "0ac9b3b93ef43f1d"),
    (Profile::CDC32, [34830, 48574, 68346, 39685], 107, "968eedb85b1b0bed"),
    (Profile::CDC64, [76660, 159933, 188476, 66903], 51, "5732ba6a11792bdf"),
    (Profile::CDC256, [491952, 274245, 519854, 255535], 11, "4611131a85b24e2b"),
];
const GOLDEN_SEEDED: [usize; 4] = [26437, 19722, 17632, 22065];

#[test]
fn a_profile_follows_from_setting_length_and_header() {
    use ChunkerSetting::*;
    const K: u64 = 1 << 10;
    for (setting, length, profile) in [
        (FastCdc, 0, Profile::Whole),
        (FastCdc, 4 * K, Profile::Whole),
        (FastCdc, 4 * K + 1, Profile::CDC16),
        (FastCdc, 64 * K * K, Profile::CDC16),
        (FastCdc, 64 * K * K + 1, Profile::CDC32),
        (FastCdc, 4 * K * K * K, Profile::CDC32),
        (FastCdc, 4 * K * K * K + 1, Profile::CDC64),
        (FastCdc, 256 * K * K * K, Profile::CDC64),
        (FastCdc, 256 * K * K * K + 1, Profile::CDC256),
        (FastCdc, u64::MAX, Profile::CDC256),
        (Average(1 << 10), 4 * K, Profile::Whole),
        (Average(1 << 10), u64::MAX, Profile::Cdc { average: 1 << 10 }),
        (Fixed(5000), 4 * K, Profile::Whole),
        (Fixed(5000), u64::MAX, Profile::Fixed(5000)),
    ] {
        assert_eq!(Profile::select(setting, length, b"anything at all, and more"), profile, "{setting} {length}");
    }
}

#[test]
fn a_plain_sqlite_file_is_cut_by_its_pages() {
    let header = |page: u16| [b"SQLite format 3\0", &page.to_be_bytes()[..], &[0; 82]].concat();
    let select = |length, header: &[u8]| Profile::select(ChunkerSetting::FastCdc, length, header);
    assert_eq!(select(8192, &header(4096)), Profile::Page(4096));
    assert_eq!(select(8192, &header(4096)[..HEADER_LENGTH]), Profile::Page(4096));
    assert_eq!(select(1 << 40, &header(1)), Profile::Page(65536));
    assert_eq!(select(5120, &header(512)), Profile::Page(512));
    assert_eq!(select(8193, &header(4096)), Profile::CDC16, "half a page is no database");
    for page in [0, 2, 256, 4095, 65535] {
        assert_eq!(select(65536, &header(page)), Profile::CDC16, "{page} is no page size");
    }
    assert_eq!(select(8192, &header(4096)[..17]), Profile::CDC16, "a cut header states nothing");
    assert_eq!(Profile::select(ChunkerSetting::Fixed(8192), 16384, &header(4096)), Profile::Fixed(8192));
    assert_eq!(Profile::select(ChunkerSetting::Average(4096), 16384, &header(4096)), Profile::Page(4096));
}

#[test]
fn settings_are_read_within_their_limits_and_refused_beyond() {
    for (text, setting, shown) in [
        ("fastcdc", ChunkerSetting::FastCdc, "fastcdc"),
        ("rabin", ChunkerSetting::FastCdc, "fastcdc"),
        ("fastcdc:1KiB", ChunkerSetting::Average(1 << 10), "fastcdc:1KiB"),
        ("fastcdc:65536", ChunkerSetting::Average(64 << 10), "fastcdc:64KiB"),
        ("fastcdc:256K", ChunkerSetting::Average(256 << 10), "fastcdc:256KiB"),
        ("fixed:4KiB", ChunkerSetting::Fixed(4 << 10), "fixed:4KiB"),
        ("fixed:5000", ChunkerSetting::Fixed(5000), "fixed:5000B"),
        ("fixed:1MiB", ChunkerSetting::Fixed(1 << 20), "fixed:1MiB"),
    ] {
        assert_eq!(text.parse::<ChunkerSetting>().unwrap(), setting, "{text}");
        assert_eq!(setting.to_string(), shown);
        assert_eq!(shown.parse::<ChunkerSetting>().unwrap(), setting);
    }
    for text in [
        "",
        "cdc",
        "FastCDC",
        "fastcdc:",
        "fastcdc:512",
        "fastcdc:48KiB",
        "fastcdc:512KiB",
        "fastcdc:64",
        "fastcdc:18446744073709551615",
        "fixed",
        "fixed:4095",
        "fixed:1048577",
        "fixed:4294967296",
        "whole",
    ] {
        let refused = text.parse::<ChunkerSetting>().unwrap_err();
        assert!(matches!(refused, Error::ValueInvalid { .. }), "{text}: {refused}");
    }
}

#[test]
fn codes_outside_the_limits_name_no_profile() {
    for code in [4, 1, 2, 3, 512 << 2 | 1, 3000 << 2 | 1, 512 << 12 | 1, 256 << 2 | 2, 128 << 12 | 2, 4095 << 2 | 3] {
        assert_eq!(Profile::from_code(code), None, "{code}");
    }
    assert_eq!(Profile::from_code(u64::MAX), None);
    assert_eq!(Profile::CDC32.code(), 131_073);
}

/// Inserting a few bytes changes the chunks around them and no others.
#[test]
fn an_edit_leaves_all_but_its_neighbourhood() {
    for seed in 0..64 {
        let data = noise(seed, 1 << 20);
        let cut = |data: &[u8]| -> HashSet<Vec<u8>> {
            let mut rest = data;
            lengths(Profile::CDC16, data).iter().map(|&length| rest.split_off(..length).unwrap().to_vec()).collect()
        };
        let before = cut(&data);
        let mut edited = data.clone();
        let at = 1000 + seed as usize * 15_000;
        edited.splice(at..at, noise(seed + 1000, 17));
        let added: usize = cut(&edited).difference(&before).map(Vec::len).sum();
        assert!(added <= 4 * Profile::CDC16.max(), "17 bytes inserted at {at} cost {added} new bytes");
    }
}

#[test]
fn a_single_byte_in_any_place_is_no_hole() {
    assert!(is_zero(&[]));
    for length in [1, 63, 64, 65, 1000] {
        let mut bytes = vec![0; length];
        assert!(is_zero(&bytes));
        for at in 0..length {
            bytes[at] = 1;
            assert!(!is_zero(&bytes), "{at} of {length}");
            bytes[at] = 0;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn chunks_concatenate_to_the_file_and_keep_their_bounds(profile in profiles(), data in contents()) {
        let cuts = lengths(profile, &data);
        prop_assert_eq!(cuts.iter().sum::<usize>(), data.len());
        prop_assert!(cuts.iter().all(|&cut| (1..=profile.max()).contains(&cut)));
        if let Some((_, full)) = cuts.split_last() {
            prop_assert!(full.iter().all(|&cut| cut >= profile.min()));
        }
    }

    #[test]
    fn any_read_size_gives_the_same_cuts(
        profile in profiles(), data in contents(), reads in prop::collection::vec(1..200_000usize, 1..8)
    ) {
        let mut sizes = reads.iter().cycle();
        let cuts = lengths_read_by(&profile.cutter(), &data, 4 << 20, || *sizes.next().unwrap());
        prop_assert_eq!(cuts, lengths(profile, &data));
    }

    #[test]
    fn cuts_before_a_change_stay(data in contents(), at in any::<prop::sample::Index>(), log in 10..=18u32) {
        let profile = Profile::Cdc { average: 1 << log };
        prop_assume!(data.len() > profile.max());
        let at = at.index(data.len() - profile.max());
        let mut changed = data.clone();
        changed[at] ^= 0x55;
        let ends = |data: &[u8]| {
            let mut end = 0;
            lengths(profile, data).into_iter().map(|cut| { end += cut; end }).filter(|&end| end < at).collect::<Vec<_>>()
        };
        prop_assert_eq!(ends(&data), ends(&changed));
    }

    #[test]
    fn codes_round_trip(profile in profiles()) {
        prop_assert_eq!(Profile::from_code(profile.code()), Some(profile));
    }
}
