use super::*;

fn scan(objects: &Objects, ordinal: PackOrdinal, on_damage: OnDamage) -> Vec<ScanItem> {
    let file = objects.open(ordinal, OpenOptions::READ);
    FrameScan::new(&file, PACK_HEADER_LENGTH as u64, u64::MAX, on_damage).unwrap().map(Result::unwrap).collect()
}

fn offsets(items: &[ScanItem]) -> Vec<u64> {
    items.iter().filter_map(|item| if let ScanItem::Frame(frame) = item { Some(frame.offset) } else { None }).collect()
}

#[test]
fn a_scan_finds_what_the_footer_lists_and_ends_before_it() {
    let objects = Objects::new();
    let (ordinal, expected) = small_pack(&objects);
    let items = scan(&objects, ordinal, OnDamage::Search);
    assert_eq!(offsets(&items), expected);
    assert_eq!(items.len(), expected.len(), "the footer is not damage");
}

#[test]
fn a_scan_goes_on_behind_damage_and_says_so() {
    let objects = Objects::new();
    let (ordinal, expected) = small_pack(&objects);
    let good = objects.bytes(ordinal);
    // In the second frame: its magic, its lengths, its table, its payload.
    for at in [0, 8, 12, 40, 200] {
        let mut bytes = good.clone();
        bytes[expected[1] as usize + at] ^= 0x10;
        objects.replace(ordinal, &bytes);
        let items = scan(&objects, ordinal, OnDamage::Search);
        assert_eq!(items[1], ScanItem::Damaged(expected[1]..expected[2]), "byte {at}");
        assert_eq!(offsets(&items), [expected[0], expected[2], expected[3]], "byte {at}");
        let doubted: Vec<_> = items
            .iter()
            .filter_map(|item| if let ScanItem::Frame(frame) = item { Some(frame.after_damage) } else { None })
            .collect();
        assert_eq!(doubted, [false, true, true], "byte {at}");
        let stopped = scan(&objects, ordinal, OnDamage::Stop);
        assert_eq!(offsets(&stopped), [expected[0]], "byte {at}");
        assert!(matches!(&stopped[1..], [ScanItem::Damaged(range)] if range.start == expected[1]));
    }
}

#[test]
fn bytes_put_in_or_taken_out_do_not_hide_later_frames() {
    let objects = Objects::new();
    let (ordinal, expected) = small_pack(&objects);
    let good = objects.bytes(ordinal);
    let middle = expected[1] as usize + 50;
    let mut longer = good.clone();
    longer.splice(middle..middle, [0xF5, 0x53, 0x46, 1, 0xF5]);
    objects.replace(ordinal, &longer);
    assert_eq!(offsets(&scan(&objects, ordinal, OnDamage::Search)), [expected[0], expected[2] + 5, expected[3] + 5]);
    let mut shorter = good;
    shorter.drain(middle..middle + 3);
    objects.replace(ordinal, &shorter);
    assert_eq!(offsets(&scan(&objects, ordinal, OnDamage::Search)), [expected[0], expected[2] - 3, expected[3] - 3]);
}

#[test]
fn a_frame_inside_a_payload_is_never_believed_unproven() {
    let objects = Objects::new();
    let mut writer = objects.writer();
    let inner = frame(50..52, 10);
    let entry = FrameEntry { length: inner.len() as u32, ..object(1, 0).0 };
    let mut outer = Vec::new();
    encode_frame(Codec::RAW, &[entry], &inner, &mut outer).unwrap();
    let at = writer.append_frame(&outer).unwrap() as usize;
    writer.append_frame(&frame(2..4, 10)).unwrap();
    let (ordinal, length) = (writer.ordinal(), writer.length());
    drop(writer);
    let good = objects.bytes(ordinal);

    // While the outer length is right, what is inside is not even looked at.
    let mut bytes = good.clone();
    bytes[at + 40] ^= 1;
    objects.replace(ordinal, &bytes);
    let (mut open, damage) = objects.scanned(ordinal, length).unwrap();
    assert_eq!(damage.unproven.len(), 1);
    assert!(open.lookup(&object(2, 10).0.id).is_none(), "nothing behind damage is listed by itself");
    open.admit(&damage.unproven[0]);
    assert!(open.lookup(&object(2, 10).0.id).is_some());

    bytes[at] ^= 1;
    objects.replace(ordinal, &bytes);
    let (open, damage) = objects.scanned(ordinal, length).unwrap();
    assert_eq!(damage.unproven.len(), 2, "the inner frame is found, but only as unproven");
    assert!(open.table().is_empty());
}

#[test]
fn a_pack_of_false_beginnings_is_searched_in_bounded_time() {
    let objects = Objects::new();
    let mut writer = objects.writer();
    // Each 32 bytes declare a frame of a MiB whose check fails: hashing them all would take 32 GiB.
    let mut head = frame(0..1, 0)[..32].to_vec();
    head[4] = 1;
    head[8..12].copy_from_slice(&0u32.to_le_bytes());
    head[12..16].copy_from_slice(&MAX_FRAME_RAW.to_le_bytes());
    let payload = head.repeat(MAX_FRAME_RAW as usize / 32);
    let entry = FrameEntry { length: payload.len() as u32, ..object(1, 0).0 };
    let mut bytes = Vec::new();
    encode_frame(Codec::RAW, &[entry], &payload, &mut bytes).unwrap();
    for _ in 0..4 {
        writer.append_frame(&bytes).unwrap();
    }
    let (ordinal, length) = (writer.ordinal(), writer.length());
    drop(writer);
    let mut bytes = objects.bytes(ordinal);
    bytes[64] ^= 1;
    objects.replace(ordinal, &bytes);
    let (_, damage) = objects.scanned(ordinal, length).unwrap();
    let covered: u64 = damage.ranges.iter().map(|range| range.end - range.start).sum::<u64>()
        + damage.unproven.iter().map(|frame| frame.header.frame_length() as u64).sum::<u64>();
    assert_eq!(covered, length - PACK_HEADER_LENGTH as u64, "each byte is accounted for");
}

#[test]
fn a_dead_writers_pack_keeps_whole_frames_and_loses_the_torn_one() {
    let objects = Objects::new();
    let mut writer = objects.writer();
    writer.append_frame(&frame(0..3, 30)).unwrap();
    let whole = writer.length();
    writer.append_frame(&frame(3..6, 30)).unwrap();
    let ordinal = writer.ordinal();
    drop(writer);
    let mut bytes = objects.bytes(ordinal);
    let torn = bytes.len() - 10;
    bytes[torn..].fill(0);
    bytes.extend_from_slice(&[0; 5000]);
    objects.replace(ordinal, &bytes);

    let (writer, damage) = objects.recovered(ordinal, 0).unwrap();
    assert!(damage.is_none());
    assert_eq!((writer.length(), writer.table().len()), (whole, 3));
    drop(writer.seal().unwrap());
    let reader = objects.reader(ordinal).unwrap();
    reader.verify_footer().unwrap();
    assert!(reader.lookup(&object(2, 30).0.id).unwrap().is_some());
}

#[test]
fn a_half_written_footer_is_written_anew() {
    let objects = Objects::new();
    let (ordinal, _) = small_pack(&objects);
    let (good, id) = (objects.bytes(ordinal), objects.reader(ordinal).unwrap().pack_id());
    for cut in [1, 40, 64, 65, 500, 1500] {
        objects.replace(ordinal, &good[..good.len() - cut]);
        assert!(objects.reader(ordinal).is_err(), "cut by {cut}");
        drop(objects.recovered(ordinal, 0).unwrap().0.seal().unwrap());
        assert_eq!(objects.bytes(ordinal), good, "cut by {cut}");
    }
    assert_eq!(objects.reader(ordinal).unwrap().pack_id(), id);
}
