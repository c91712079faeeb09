use std::collections::BTreeMap;

use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::*;
use crate::pack::index::*;

/// Seals one pack for each list of object numbers.
fn packs(objects: &Objects, lists: &[Vec<u32>]) -> Vec<PackReader> {
    let seal = |numbers: &Vec<u32>| {
        let mut writer = objects.writer();
        for numbers in numbers.chunks(50) {
            let (entries, payloads): (Vec<_>, Vec<_>) = numbers.iter().map(|n| object(*n, 20)).unzip();
            let mut bytes = Vec::new();
            encode_frame(Codec::RAW, &entries, &payloads.concat(), &mut bytes).unwrap();
            writer.append_frame(&bytes).unwrap();
        }
        writer.seal().unwrap().release().unwrap()
    };
    lists.iter().map(seal).collect()
}

fn sources(packs: &[PackReader]) -> Vec<Source<'_>> {
    packs.iter().map(Source::Footer).collect()
}

fn run_path(objects: &Objects, number: u64) -> std::path::PathBuf {
    objects.directory.path().join(run_file_name(number))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_run_holds_exactly_what_its_packs_do(
        lists in prop::collection::vec(prop::collection::vec(0..400u32, 0..150), 1..5),
        second in prop::collection::vec(0..600u32, 0..100),
    ) {
        let objects = Objects::new();
        let first = packs(&objects, &lists);
        merge(&objects.dir, 1, &REPOSITORY, &sources(&first), &|_| true).unwrap();
        let one = Run::open(&objects.dir, 1, &REPOSITORY).unwrap();
        let more = packs(&objects, &[second]);
        // One pack is given both as a footer and through the run.
        let all = [Source::Run(&one), Source::Footer(&more[0]), Source::Footer(&first[0])];
        let info = merge(&objects.dir, 2, &REPOSITORY, &all, &|_| true).unwrap();

        let mut expected = BTreeMap::new();
        for pack in first.iter().chain(&more) {
            for entry in pack.entries().unwrap() {
                let entry = entry.unwrap();
                expected.insert((entry.id, pack.ordinal()), entry.location);
            }
        }
        let run = Run::open(&objects.dir, 2, &REPOSITORY).unwrap();
        run.verify().unwrap();
        prop_assert_eq!(run.info(), info);
        prop_assert_eq!(run.packs().unwrap(), first.iter().chain(&more).map(PackReader::ordinal).collect::<Vec<_>>());
        let listed: Vec<_> = run.entries().map(|entry| entry.unwrap()).collect();
        prop_assert_eq!(listed.len(), expected.len());
        for (entry, (key, location)) in listed.iter().zip(&expected) {
            prop_assert_eq!((entry.id, entry.pack), *key);
            prop_assert_eq!((entry.location.offset, entry.location.slot, entry.location.kind), (location.offset, location.slot, location.kind));
            prop_assert!((location.reach..location.reach + 8192).contains(&entry.location.reach));
        }
        for loaded in [false, true] {
            if loaded {
                run.load_filter().unwrap();
            }
            for (id, pack) in expected.keys() {
                prop_assert!(run.may_contain(id).unwrap());
                let found = run.lookup(id, |entry| entry.pack == *pack).unwrap().unwrap();
                prop_assert_eq!((found.id, found.pack), (*id, *pack));
                run.verify_around(id).unwrap();
            }
            for n in 5000..5050 {
                let id = object(n, 20).0.id;
                prop_assert_eq!(run.lookup(&id, |_| true).unwrap(), None);
                run.verify_around(&id).unwrap();
            }
        }
    }
}

#[test]
fn a_location_from_a_run_reads_the_frame() {
    let objects = Objects::new();
    let packs = packs(&objects, &[(0..300).collect(), (300..500).collect()]);
    merge(&objects.dir, 1, &REPOSITORY, &sources(&packs), &|_| true).unwrap();
    let run = Run::open(&objects.dir, 1, &REPOSITORY).unwrap();
    for n in 0..500 {
        let (entry, bytes) = object(n, 20);
        let found = run.lookup(&entry.id, |_| true).unwrap().unwrap();
        let pack = packs.iter().find(|pack| pack.ordinal() == found.pack).unwrap();
        assert_eq!(fetch(Some(found.location), n, |o, r| pack.read_frame(o, r)), Some(bytes));
    }
}

#[test]
fn packs_that_are_gone_are_left_out() {
    let objects = Objects::new();
    let packs = packs(&objects, &[(0..100).collect(), (50..150).collect()]);
    let kept = packs[1].ordinal();
    merge(&objects.dir, 1, &REPOSITORY, &sources(&packs), &|_| true).unwrap();
    let run = Run::open(&objects.dir, 1, &REPOSITORY).unwrap();
    assert_eq!(run.info().entries, 200, "an object in two packs is listed twice");
    let info = merge(&objects.dir, 2, &REPOSITORY, &[Source::Run(&run)], &|pack| pack == kept).unwrap();
    assert_eq!(info.entries, 100);
    let run = Run::open(&objects.dir, 2, &REPOSITORY).unwrap();
    run.verify().unwrap();
    assert_eq!(run.packs().unwrap(), [kept]);
    assert_eq!(run.lookup(&object(3, 20).0.id, |_| true).unwrap(), None);
}

#[test]
fn a_number_in_use_is_refused_and_the_run_that_has_it_stays() {
    let objects = Objects::new();
    let packs = packs(&objects, &[vec![1, 2, 3]]);
    merge(&objects.dir, 1, &REPOSITORY, &sources(&packs), &|_| true).unwrap();
    assert!(matches!(merge(&objects.dir, 1, &REPOSITORY, &sources(&packs), &|_| true), Err(PackError::Io(_))));
    Run::open(&objects.dir, 1, &REPOSITORY).unwrap().verify().unwrap();
}

#[test]
fn a_damaged_source_leaves_no_half_run() {
    let objects = Objects::new();
    let packs = packs(&objects, &[(0..100).collect()]);
    let ordinal = packs[0].ordinal();
    let mut bytes = objects.bytes(ordinal);
    let at = bytes.len() - 100;
    bytes[at] ^= 1;
    objects.replace(ordinal, &bytes);
    let pack = objects.reader(ordinal).unwrap();
    let merged = merge(&objects.dir, 1, &REPOSITORY, &[Source::Footer(&pack)], &|_| true);
    assert!(matches!(merged, Err(PackError::BadFooter { .. })), "{merged:?}");
    assert_eq!(objects.dir.metadata_optional("1.run").unwrap(), None);
}

#[test]
fn each_byte_of_a_run_flipped_is_found() {
    let objects = Objects::new();
    let packs = packs(&objects, &[(0..20).collect(), (10..30).collect()]);
    merge(&objects.dir, 1, &REPOSITORY, &sources(&packs), &|_| true).unwrap();
    let path = run_path(&objects, 1);
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bytes).unwrap();
        let found = Run::open(&objects.dir, 1, &REPOSITORY).and_then(|run| run.verify());
        assert!(found.is_err(), "byte {at} went unnoticed");
    }
    for length in 0..good.len() {
        std::fs::write(&path, &good[..length]).unwrap();
        let opened = Run::open(&objects.dir, 1, &REPOSITORY);
        assert!(matches!(opened, Err(PackError::Truncated { .. } | PackError::BadRun { .. })), "{length}: {opened:?}");
    }
}

#[test]
fn damage_behind_a_miss_is_told_from_absence() {
    let objects = Objects::new();
    let packs = packs(&objects, &[(0..500).collect()]);
    merge(&objects.dir, 1, &REPOSITORY, &sources(&packs), &|_| true).unwrap();
    let path = run_path(&objects, 1);
    let mut bytes = std::fs::read(&path).unwrap();
    let id = object(77, 20).0.id;
    let at = bytes.windows(32).position(|window| window == id.0).unwrap();
    bytes[at + 31] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let run = Run::open(&objects.dir, 1, &REPOSITORY).unwrap();
    assert_eq!(run.lookup(&id, |_| true).unwrap(), None);
    assert!(matches!(run.verify_around(&id), Err(PackError::BadCheck { .. })));
}

/// Makes every check of a run of less than a MiB a section right again.
fn recheck(bytes: &mut [u8]) {
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let prefix = (128 + 4 * word(bytes, 12) + 4 * word(bytes, 24)).next_multiple_of(64);
    let filter = prefix + 64 * word(bytes, 28);
    let entries = filter + 44 * word(bytes, 16);
    for (n, range) in [128..prefix, prefix..filter, filter..entries].into_iter().enumerate() {
        let check = xxh3_64(&bytes[range]);
        bytes[entries + 8 * n..entries + 8 * n + 8].copy_from_slice(&check.to_le_bytes());
    }
    let check = xxh3_64(&bytes[entries..]);
    bytes[64..72].copy_from_slice(&check.to_le_bytes());
    let check = xxh3_64(&bytes[..120]);
    bytes[120..128].copy_from_slice(&check.to_le_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_lying_run_never_panics_and_only_names_what_was_asked(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let objects = Objects::new();
        let packs = packs(&objects, &[(0..40).collect(), (20..90).collect()]);
        merge(&objects.dir, 1, &REPOSITORY, &sources(&packs), &|_| true).unwrap();
        let path = run_path(&objects, 1);
        let mut bytes = std::fs::read(&path).unwrap();
        let size = bytes.len();
        for (index, value) in &changes {
            let at = 128 + index.index(size - 128);
            bytes[at] = *value;
        }
        recheck(&mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        let run = Run::open(&objects.dir, 1, &REPOSITORY).unwrap();
        let _ = (run.verify(), run.packs(), run.entries().count());
        for n in 0..100 {
            let id = object(n, 20).0.id;
            let _ = run.verify_around(&id);
            if let Ok(Some(entry)) = run.lookup(&id, |_| true) {
                prop_assert_eq!(entry.id, id);
                for pack in &packs {
                    let served = fetch(Some(entry.location), n, |o, r| pack.read_frame(o, r));
                    prop_assert!(served.is_none_or(|bytes| bytes == object(n, 20).1));
                }
            }
        }
    }

    #[test]
    fn a_run_with_any_header_never_panics(at in 8..128usize, value in any::<u8>(), wide in any::<bool>()) {
        let objects = Objects::new();
        let packs = packs(&objects, &[(0..5).collect()]);
        merge(&objects.dir, 1, &REPOSITORY, &sources(&packs), &|_| true).unwrap();
        let path = run_path(&objects, 1);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] = value;
        if wide {
            bytes[16..32].fill(value);
        }
        let check = xxh3_64(&bytes[..120]);
        bytes[120..128].copy_from_slice(&check.to_le_bytes());
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(run) = Run::open(&objects.dir, 1, &REPOSITORY) {
            let _ = (run.verify(), run.load_filter());
        }
    }
}

#[test]
fn a_run_of_several_pieces_is_read_back_whole() {
    let objects = Objects::new();
    let lists: Vec<Vec<u32>> = (0..3).map(|n| (n * 20_000..(n + 1) * 20_000).collect()).collect();
    let packs = packs(&objects, &lists);
    merge(&objects.dir, 1, &REPOSITORY, &sources(&packs), &|_| true).unwrap();
    let run = Run::open(&objects.dir, 1, &REPOSITORY).unwrap();
    run.verify().unwrap();
    run.load_filter().unwrap();
    assert!(run.filter_size() >= 60_000 * 12 / 8);
    for n in (0..60_000).step_by(37) {
        assert!(run.lookup(&object(n, 20).0.id, |_| true).unwrap().is_some(), "object {n}");
    }
}

#[test]
fn run_names_are_plain_numbers() {
    assert_eq!(run_number(&run_file_name(7)), Some(7));
    for name in ["07.run", "+7.run", "7", "7.run.tmp", ".run", "99999999999999999999.run"] {
        assert_eq!(run_number(name), None, "{name}");
    }
}
