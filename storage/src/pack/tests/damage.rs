use super::*;

/// What a reader believes after opening: every object it can fetch, or the error that stopped it.
fn believed(objects: &Objects, ordinal: PackOrdinal) -> Result<Vec<u32>> {
    let reader = objects.reader(ordinal)?;
    let mut fetched = Vec::new();
    for n in 0..12 {
        if let Some(location) = reader.lookup(&object(n, 40).0.id)? {
            reader.read_frame(location.offset, location.reach)?;
            if let Some(bytes) = fetch(Some(location), n, |o, r| reader.read_frame(o, r)) {
                assert_eq!(bytes, object(n, 40).1, "a wrong object was served");
                fetched.push(n);
            }
        }
    }
    Ok(fetched)
}

#[test]
fn each_byte_of_a_pack_flipped_is_found() {
    let objects = Objects::new();
    let (ordinal, _) = small_pack(&objects);
    let good = objects.bytes(ordinal);
    assert_eq!(believed(&objects, ordinal).unwrap().len(), 12);
    for at in 0..good.len() {
        for mask in [1 << (at % 8), 0xff] {
            let mut bytes = good.clone();
            bytes[at] ^= mask;
            objects.replace(ordinal, &bytes);
            let error = match believed(&objects, ordinal) {
                Err(error) => error,
                Ok(fetched) => panic!("byte {at} ^ {mask:#x} went unnoticed, {} objects read", fetched.len()),
            };
            let typed = error.is_damage()
                || matches!(error, PackError::UnsupportedVersion { .. } | PackError::ForeignRepository { .. });
            assert!(typed, "byte {at}: {error}");
        }
    }
}

/// 64 KiB of pack, every length.
#[test]
fn a_pack_cut_at_any_length_is_refused_and_recovered_to_whole_frames() {
    let objects = Objects::new();
    let mut writer = objects.writer();
    let mut ends = vec![PACK_HEADER_LENGTH as u64];
    for n in 0..60 {
        writer.append_frame(&frame(5 * n..5 * n + 5, 150)).unwrap();
        ends.push(writer.length());
    }
    let ordinal = writer.ordinal();
    drop(writer.seal().unwrap());
    let size = objects.bytes(ordinal).len() as u64;
    assert!(size >= 65_536, "{size}");

    let file = objects.open(ordinal, OpenOptions::WRITE);
    for length in (0..size).rev() {
        file.set_len(length).unwrap();
        let error = objects.reader(ordinal).map(drop).expect_err("a cut pack has no trailer");
        assert!(error.is_damage(), "{length}: {error}");
        // Scanning is slower, so only lengths around frames' ends and some between.
        if length % 61 == 0 || ends.iter().any(|end| end.abs_diff(length) <= 1) {
            match objects.scanned(ordinal, length) {
                Err(error) => assert!(length < 64 && error.is_damage(), "{length}: {error}"),
                Ok((open, _)) => {
                    let whole = ends.iter().filter(|end| **end <= length).count() - 1;
                    assert_eq!(open.table().len(), whole * 5, "{length}");
                }
            }
        }
    }
}

#[test]
fn an_appended_byte_is_noticed() {
    let objects = Objects::new();
    let (ordinal, _) = small_pack(&objects);
    let mut bytes = objects.bytes(ordinal);
    bytes.push(0);
    objects.replace(ordinal, &bytes);
    assert!(matches!(objects.reader(ordinal), Err(PackError::BadFooter { .. })));
}
