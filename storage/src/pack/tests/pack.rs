use proptest::prelude::*;

use super::*;
use crate::pack::footer::FOOTER_CACHE_LIMIT;
use crate::vfs::LockKind;

fn groups() -> impl Strategy<Value = Vec<Vec<(u32, usize)>>> {
    prop::collection::vec(prop::collection::vec((0..60u32, 0..300usize), 1..8), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_object_written_is_read_back_sealed_and_unsealed(groups in groups()) {
        let objects = Objects::new();
        let mut writer = objects.writer();
        let mut numbers = std::collections::BTreeMap::new();
        for group in &groups {
            let (entries, payloads): (Vec<_>, Vec<_>) = group.iter().map(|(n, _)| object(*n, *n as usize)).unzip();
            let mut bytes = Vec::new();
            encode_frame(Codec::RAW, &entries, &payloads.concat(), &mut bytes).unwrap();
            writer.append_frame(&bytes).unwrap();
            entries.iter().zip(group).for_each(|(entry, (n, _))| { numbers.insert(entry.id, *n); });
        }
        writer.sync().unwrap();
        let (ordinal, length) = (writer.ordinal(), writer.length());
        let (open, damage) = objects.scanned(ordinal, length).unwrap();
        prop_assert!(damage.is_none());
        prop_assert_eq!(open.table().len(), numbers.len());
        for (id, n) in &numbers {
            prop_assert_eq!(writer.table().get(id), open.lookup(id));
            let bytes = fetch(open.lookup(id), *n, |o, r| open.read_frame(o, r));
            prop_assert_eq!(bytes, Some(object(*n, *n as usize).1));
        }

        let sealed = writer.seal().unwrap();
        let reader = objects.reader(ordinal).unwrap();
        reader.verify_footer().unwrap();
        prop_assert_eq!(reader.pack_id(), sealed.reader().pack_id());
        prop_assert_eq!(reader.object_count() as usize, numbers.len());
        prop_assert_eq!(reader.frames_end(), length);
        let listed: Vec<_> = reader.entries().unwrap().map(|entry| entry.unwrap().id).collect();
        prop_assert_eq!(listed, numbers.keys().copied().collect::<Vec<_>>());
        for (id, n) in &numbers {
            let bytes = fetch(reader.lookup(id).unwrap(), *n, |o, r| reader.read_frame(o, r));
            prop_assert_eq!(bytes, Some(object(*n, *n as usize).1));
        }
        prop_assert_eq!(reader.lookup(&object(1000, 5).0.id).unwrap(), None);
    }

    #[test]
    fn a_frame_decodes_to_what_was_encoded(
        numbers in prop::collection::vec((any::<u32>(), 0..500usize), 1..40),
        codec in 0..4u8,
        payload in prop::collection::vec(any::<u8>(), 0..2000),
        rest in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let (entries, payloads): (Vec<_>, Vec<_>) = numbers.iter().map(|(n, length)| object(*n, *length)).unzip();
        let payload = if codec == 0 { payloads.concat() } else { payload };
        let mut bytes = b"before".to_vec();
        encode_frame(Codec(codec), &entries, &payload, &mut bytes).unwrap();
        let length = bytes.len() - 6;
        bytes.extend_from_slice(&rest);
        let view = decode_frame(&bytes[6..]).unwrap();
        prop_assert_eq!(view.as_bytes().len(), length);
        prop_assert_eq!(view.header().codec, Codec(codec));
        prop_assert_eq!(view.entries().collect::<Vec<_>>(), entries);
        prop_assert_eq!(view.payload(), &payload[..]);
        if codec == 0 {
            for (slot, expected) in (0..).zip(&payloads) {
                prop_assert_eq!(&payload[view.raw_range(slot).unwrap()], &expected[..]);
            }
        }
        prop_assert_eq!(view.raw_range(numbers.len() as u16), None);
    }

    #[test]
    fn a_frame_decoder_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = bytes;
        let _ = decode_frame(&bytes);
        bytes.splice(0..0, [0xF5, 0x53, 0x46, 1, 1, 0]);
        let _ = decode_frame(&bytes);
    }
}

#[test]
fn a_frame_of_the_largest_size_fits_and_one_byte_more_is_refused() {
    let (entry, payload) = object(1, MAX_FRAME_RAW as usize);
    let mut bytes = Vec::new();
    encode_frame(Codec::RAW, &[entry], &payload, &mut bytes).unwrap();
    assert!(decode_frame(&bytes).is_ok() && bytes.len() <= MAX_FRAME);

    let (entry, payload) = object(1, MAX_FRAME_RAW as usize + 1);
    let mut bytes = Vec::new();
    let refused = encode_frame(Codec::RAW, &[entry], &payload, &mut bytes);
    assert!(matches!(refused, Err(FrameError::TooLarge { .. })), "{refused:?}");
    assert!(bytes.is_empty(), "nothing is left behind");
    let refused = encode_frame(Codec::ZSTD, &[entry], b"tiny", &mut bytes);
    assert!(matches!(refused, Err(FrameError::TooLarge { what: "raw length", .. })), "{refused:?}");
}

#[test]
fn a_frame_of_the_most_objects_fits_and_one_more_is_refused() {
    let entries: Vec<_> = (0..MAX_FRAME_ENTRIES as u32 + 1).map(|n| object(n, 0).0).collect();
    let mut bytes = Vec::new();
    encode_frame(Codec::RAW, &entries[1..], &[], &mut bytes).unwrap();
    assert_eq!(decode_frame(&bytes).unwrap().entries().len(), MAX_FRAME_ENTRIES);
    let refused = encode_frame(Codec::RAW, &entries, &[], &mut Vec::new());
    assert!(matches!(refused, Err(FrameError::TooLarge { what: "objects", .. })), "{refused:?}");
    let refused = encode_frame(Codec::RAW, &[], &[], &mut Vec::new());
    assert!(matches!(refused, Err(FrameError::Inconsistent { .. })), "{refused:?}");
}

#[test]
fn declared_lengths_are_refused_before_the_bytes_are_there() {
    let good = frame(0..2, 30);
    for (at, value, limit) in
        [(6, 4097u32, "objects"), (8, MAX_FRAME_RAW + 1, "raw length"), (12, u32::MAX, "stored length")]
    {
        let mut bytes = good.clone();
        let width = if at == 6 { 2 } else { 4 };
        bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        match decode_frame(&bytes) {
            Err(FrameError::TooLarge { what, .. }) => assert_eq!(what, limit),
            other => panic!("{limit}: {other:?}"),
        }
    }
    let mut newer = good.clone();
    newer[3] = 2;
    assert_eq!(decode_frame(&newer).unwrap_err(), FrameError::UnsupportedVersion { found: 2 });
    let mut sealed = good;
    sealed[5] = 1;
    assert_eq!(decode_frame(&sealed).unwrap_err(), FrameError::UnsupportedFlags { found: 1 });
}

#[test]
fn a_footer_too_large_to_keep_answers_alike() {
    let objects = Objects::new();
    let mut writer = objects.writer();
    let count = FOOTER_CACHE_LIMIT as u32 / 44 + 5000;
    for first in (0..count).step_by(1000) {
        writer.append_frame(&frame(first..first + 1000, 0)).unwrap();
    }
    let ordinal = writer.ordinal();
    let sealed = writer.seal().unwrap();
    assert!(u64::from(sealed.reader().object_count()) * 44 > FOOTER_CACHE_LIMIT);
    let reader = objects.reader(ordinal).unwrap();
    for n in (0..count).step_by(97) {
        let found = fetch(reader.lookup(&object(n, 0).0.id).unwrap(), n, |o, r| reader.read_frame(o, r));
        assert_eq!(found, Some(Vec::new()), "object {n}");
        assert_eq!(reader.lookup(&object(n, 1).0.id).unwrap(), None);
    }
    assert!(reader.entries().unwrap().map(|entry| entry.unwrap().id).is_sorted());
}

#[test]
fn a_pack_takes_no_frame_beyond_its_limits() {
    let objects = Objects::new();
    let mut writer = objects.writer();
    let full = frame(0..4096, 0);
    for _ in 0..MAX_PACK_ENTRIES / 4096 {
        // Of duplicates the first counts, so numbers must differ.
        assert!(writer.has_room(4096, full.len()));
        let first = writer.table().len() as u32;
        writer.append_frame(&frame(first..first + 4096, 0)).unwrap();
    }
    let length = writer.length();
    let refused = writer.append_frame(&frame(1..2, 0));
    assert!(matches!(refused, Err(PackError::Full { .. })), "{refused:?}");
    assert_eq!(writer.length(), length);

    let mut writer = objects.writer();
    let large = frame(0..1, MAX_FRAME_RAW as usize);
    while writer.has_room(1, large.len()) {
        writer.append_frame(&large).unwrap();
    }
    assert!(writer.length() <= MAX_PACK && writer.length() + large.len() as u64 > MAX_PACK);
    assert!(matches!(writer.append_frame(&large), Err(PackError::Full { .. })));
    let sealed = writer.seal().unwrap();
    assert_eq!((sealed.reader().object_count(), sealed.reader().frame_count()), (1, 1));
}

#[test]
fn a_taken_name_is_passed_over_and_classes_never_share_a_number() {
    let objects = Objects::new();
    let first = objects.writer();
    let second = objects.writer();
    let meta =
        PackWriter::create(&objects.dir, PackOrdinal::first(Class::Meta), REPOSITORY, Completeness::Filtered).unwrap();
    assert_eq!(first.ordinal().to_u32(), 0);
    assert_eq!(second.ordinal().to_u32(), 2);
    assert_eq!(meta.ordinal().to_u32(), 1);
    assert_eq!(meta.header().completeness, Completeness::Filtered);
    assert_eq!(objects.bytes(meta.ordinal())[10], 2);
}

#[test]
fn a_pack_stays_locked_until_it_is_released() {
    let objects = Objects::new();
    let mut writer = objects.writer();
    writer.append_frame(&frame(0..3, 10)).unwrap();
    let ordinal = writer.ordinal();
    let refused = objects.recovered(ordinal, 0);
    assert!(matches!(refused, Err(PackError::Locked { .. })), "{refused:?}");
    let sealed = writer.seal().unwrap();
    assert!(!objects.open(ordinal, OpenOptions::WRITE).try_lock(LockKind::Exclusive).unwrap());
    let reader = sealed.release().unwrap();
    assert!(objects.open(ordinal, OpenOptions::WRITE).try_lock(LockKind::Exclusive).unwrap());
    assert_eq!(reader.object_count(), 3);
}

#[test]
fn reserved_space_is_given_back_on_sealing() {
    let objects = Objects::new();
    let mut writer = objects.writer();
    writer.reserve_ahead().unwrap();
    writer.append_frame(&frame(0..3, 1000)).unwrap();
    let allocated = |ordinal| objects.open(ordinal, OpenOptions::READ).metadata().unwrap().allocated;
    let before = allocated(writer.ordinal());
    let reader = writer.seal().unwrap().release().unwrap();
    let after = allocated(reader.ordinal());
    assert!(after <= 16384, "{after} of {before} bytes are still allocated");

    let mut writer = objects.writer();
    writer.reserve_ahead().unwrap();
    let large = frame(0..1, MAX_FRAME_RAW as usize);
    for _ in 0..6 {
        writer.append_frame(&large).unwrap();
    }
    writer.truncate_to(0).unwrap();
    assert!(writer.is_empty() && allocated(writer.ordinal()) <= 8192);
    writer.append_frame(&large).unwrap();
    writer.seal().unwrap().reader().verify_footer().unwrap();
}

#[test]
fn frames_replayed_from_a_log_twice_equal_once() {
    let objects = Objects::new();
    let mut writer = objects.writer();
    let start = writer.length();
    let batch = [frame(0..2, 20), frame(2..5, 30)].concat();
    writer.append_at(start, &batch).unwrap();
    let (once, length) = (objects.bytes(writer.ordinal()), writer.length());
    writer.append_at(start, &batch).unwrap();
    writer.append_at(start + frame(0..2, 20).len() as u64, &frame(2..5, 30)).unwrap();
    assert_eq!((writer.length(), writer.table().len()), (length, 5));
    assert_eq!(objects.bytes(writer.ordinal()), once);

    assert!(matches!(writer.append_at(length + 1, &batch), Err(PackError::Gap { .. })));
    assert!(matches!(writer.append_at(length, &batch[..50]), Err(PackError::BadFrame { .. })));
    assert_eq!(objects.bytes(writer.ordinal()), once, "what is refused is not written");
}

#[test]
fn an_overlay_is_read_like_the_file_and_leaves_it_alone() {
    let objects = Objects::new();
    let mut writer = objects.writer();
    writer.append_frame(&frame(0..2, 20)).unwrap();
    let (mut open, _) = objects.scanned(writer.ordinal(), writer.length()).unwrap();
    let before = objects.bytes(writer.ordinal());
    open.overlay(writer.length(), &[frame(2..4, 50), frame(4..5, 60)].concat()).unwrap();
    open.overlay(writer.length(), &frame(2..4, 50)).unwrap();
    for (n, length) in [(0, 20), (3, 50), (4, 60)] {
        let (entry, bytes) = object(n, length);
        assert_eq!(fetch(open.lookup(&entry.id), n, |o, r| open.read_frame(o, r)), Some(bytes));
    }
    assert_eq!(objects.bytes(writer.ordinal()), before);
    assert!(matches!(open.overlay(1 << 20, &frame(9..10, 1)), Err(PackError::Gap { .. })));
}

#[test]
fn a_shared_pack_is_resumed_where_the_catalog_says() {
    let objects = Objects::new();
    let mut writer = objects.writer();
    writer.append_frame(&frame(0..3, 20)).unwrap();
    let (ordinal, registered) = (writer.ordinal(), writer.length());
    writer.append_frame(&frame(3..6, 20)).unwrap();
    drop(writer);

    let file = objects.open(ordinal, OpenOptions::WRITE);
    let (mut writer, damage) = PackWriter::resume(file, ordinal, &REPOSITORY, registered).unwrap();
    assert!(damage.is_none());
    assert_eq!((writer.length(), writer.table().len()), (registered, 3));
    writer.append_frame(&frame(6..8, 10)).unwrap();
    let reader = writer.seal().unwrap().release().unwrap();
    reader.verify_footer().unwrap();
    assert_eq!(reader.object_count(), 5);
    let resumed = PackWriter::resume(objects.open(ordinal, OpenOptions::WRITE), ordinal, &REPOSITORY, registered);
    drop(reader);
    assert!(matches!(resumed, Err(PackError::Sealed { .. })), "{resumed:?}");
}

#[test]
fn a_pack_cut_back_forgets_what_was_cut() {
    let objects = Objects::new();
    let mut writer = objects.writer();
    writer.append_frame(&frame(0..3, 20)).unwrap();
    let length = writer.length();
    writer.append_frame(&frame(3..200, 20)).unwrap();
    writer.truncate_to(length).unwrap();
    assert_eq!((writer.length(), writer.table().len()), (length, 3));
    assert!(writer.table().get(&object(1, 20).0.id).is_some());
    assert!(writer.table().get(&object(4, 20).0.id).is_none());
    writer.append_frame(&frame(4..5, 20)).unwrap();
    let reader = writer.seal().unwrap().release().unwrap();
    reader.verify_footer().unwrap();
    assert_eq!(reader.object_count(), 4);
}

#[test]
fn another_repositorys_pack_is_refused() {
    let objects = Objects::new();
    let (ordinal, _) = small_pack(&objects);
    let opened = PackReader::open(objects.open(ordinal, OpenOptions::READ), ordinal, &Digest([8; 32]));
    assert!(matches!(opened, Err(PackError::ForeignRepository { found: REPOSITORY, .. })), "{opened:?}");
}

#[test]
fn a_newer_version_is_refused_by_its_number() {
    let objects = Objects::new();
    let (ordinal, _) = small_pack(&objects);
    let mut bytes = objects.bytes(ordinal);
    bytes[8] = 9;
    objects.replace(ordinal, &bytes);
    assert!(matches!(objects.reader(ordinal), Err(PackError::UnsupportedVersion { found: 9, .. })));
    assert!(matches!(objects.scanned(ordinal, 500), Err(PackError::UnsupportedVersion { found: 9, .. })));
}

#[test]
fn a_discarded_pack_leaves_no_file() {
    let objects = Objects::new();
    let writer = objects.writer();
    let ordinal = writer.ordinal();
    writer.discard(&objects.dir).unwrap();
    assert_eq!(objects.dir.metadata_optional(ordinal.path()).unwrap(), None);
}
