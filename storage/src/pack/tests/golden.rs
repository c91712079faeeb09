//! Bytes that every later version must open, and that this one still writes.

use super::*;
use crate::pack::index::{Run, Source, merge};

const FRAME: &[u8] = include_bytes!("../../../tests/fixtures/frame-v1.bin");
const PACK: &[u8] = include_bytes!("../../../tests/fixtures/00000000-v1.pack");
const RUN: &[u8] = include_bytes!("../../../tests/fixtures/run-v1.run");

fn header() -> PackHeader {
    PackHeader {
        class: Class::Data,
        sealed: false,
        completeness: Completeness::Complete,
        serial: *b"0123456789abcdef",
        repository: REPOSITORY,
    }
}

fn write_pack(objects: &Objects) -> PackReader {
    let mut writer = PackWriter::create_with(&objects.dir, PackOrdinal::first(Class::Data), header()).unwrap();
    writer.append_frame(&frame(0..3, 40)).unwrap();
    writer.append_frame(FRAME).unwrap();
    writer.seal().unwrap().release().unwrap()
}

#[test]
fn a_frame_of_version_1_opens_and_is_still_written() {
    let view = decode_frame(FRAME).unwrap();
    assert_eq!(view.header().codec, Codec::RAW);
    assert_eq!(view.header().check, 0x897c_9a59_96f4_8c55);
    assert_eq!(view.entries().collect::<Vec<_>>(), [object(3, 5).0, object(4, 5).0]);
    assert_eq!(view.payload(), [object(3, 5).1, object(4, 5).1].concat());
    assert_eq!(frame(3..5, 5), FRAME);
}

#[test]
fn a_pack_of_version_1_opens_and_is_still_written() {
    let objects = Objects::new();
    assert!(write_pack(&objects).file().size().unwrap() == PACK.len() as u64);
    assert_eq!(objects.bytes(PackOrdinal::first(Class::Data)), PACK);

    objects.replace(PackOrdinal::first(Class::Data), PACK);
    let reader = objects.reader(PackOrdinal::first(Class::Data)).unwrap();
    reader.verify_footer().unwrap();
    let id = "70e6df91a662efd3dfe4d72bd97cd4895eea6f55b9e7ef37398efcbb941818a5";
    assert_eq!(reader.pack_id().to_string(), id);
    assert_eq!((reader.object_count(), reader.frame_count()), (5, 2));
    for (n, length) in [(0, 40), (1, 40), (2, 40), (3, 5), (4, 5)] {
        let (entry, bytes) = object(n, length);
        let found = reader.lookup(&entry.id).unwrap();
        assert_eq!(fetch(found, n, |o, r| reader.read_frame(o, r)), Some(bytes), "object {n}");
    }
}

#[test]
fn a_run_of_version_1_opens_and_is_still_written() {
    let objects = Objects::new();
    let pack = write_pack(&objects);
    merge(&objects.dir, 1, &REPOSITORY, &[Source::Footer(&pack)], &|_| true).unwrap();
    assert_eq!(std::fs::read(objects.directory.path().join("1.run")).unwrap(), RUN);

    std::fs::write(objects.directory.path().join("2.run"), RUN).unwrap();
    let run = Run::open(&objects.dir, 2, &REPOSITORY).unwrap();
    run.verify().unwrap();
    assert_eq!(run.packs().unwrap(), [PackOrdinal::first(Class::Data)]);
    for (n, length) in [(0, 40), (4, 5)] {
        assert!(run.lookup(&object(n, length).0.id, |_| true).unwrap().is_some());
    }
}
