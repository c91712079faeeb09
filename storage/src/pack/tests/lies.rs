//! Footers and runs whose checks are right and whose contents are not: made by a stranger, not by rot.

use proptest::prelude::*;

use super::*;
use crate::pack::footer::{HEAD_LENGTH, TRAILER_LENGTH};

/// Makes the pack id right again.
fn reseal(bytes: &mut [u8]) {
    let end = bytes.len() - TRAILER_LENGTH;
    let start = u64::from_le_bytes(bytes[end..end + 8].try_into().unwrap());
    let Some(footer) = usize::try_from(start).ok().and_then(|start| bytes.get(start..end)) else { return };
    let mut hasher = blake3::Hasher::new_derive_key("shard v1 pack");
    hasher.update(&bytes[..64]).update(footer);
    bytes[end + 24..end + 56].copy_from_slice(hasher.finalize().as_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_lying_footer_never_panics_nor_serves_a_wrong_object(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        trailer in prop::option::of((0..24usize, any::<u8>())),
    ) {
        let objects = Objects::new();
        let (ordinal, _) = small_pack(&objects);
        let mut bytes = objects.bytes(ordinal);
        let end = bytes.len() - TRAILER_LENGTH;
        let footer = objects.reader(ordinal).unwrap().frames_end() as usize..end;
        // Half of the changes among the entries, as most of a small footer is fanout.
        for (n, (index, value)) in changes.iter().enumerate() {
            let range = if n % 2 == 0 { footer.start + HEAD_LENGTH..end } else { footer.clone() };
            bytes[range.start + index.index(range.len())] = *value;
        }
        if let Some((at, value)) = trailer {
            bytes[end + at] = value;
        }
        reseal(&mut bytes);
        objects.replace(ordinal, &bytes);
        let Ok(reader) = objects.reader(ordinal) else { return Ok(()) };
        let _ = reader.verify_footer();
        for n in 0..12 {
            let (entry, expected) = object(n, 40);
            let Ok(found) = reader.lookup(&entry.id) else { continue };
            if let Some(served) = fetch(found, n, |o, r| reader.read_frame(o, r)) {
                prop_assert_eq!(served, expected);
            }
        }
        if let Ok(entries) = reader.entries() {
            prop_assert!(entries.count() <= 12);
        }
    }
}

#[test]
fn counts_and_offsets_beyond_the_file_are_refused_before_allocating() {
    let objects = Objects::new();
    let (ordinal, _) = small_pack(&objects);
    let good = objects.bytes(ordinal);
    let end = good.len() - TRAILER_LENGTH;
    let lies: [(usize, &[u8]); 7] = [
        (0, &u64::MAX.to_le_bytes()),
        (0, &0u64.to_le_bytes()),
        (0, &(MAX_PACK + 1).to_le_bytes()),
        (8, &u32::MAX.to_le_bytes()),
        (12, &u32::MAX.to_le_bytes()),
        (12, &(MAX_PACK_ENTRIES as u32).to_le_bytes()),
        (16, &u32::MAX.to_le_bytes()),
    ];
    for (at, value) in lies {
        let mut bytes = good.clone();
        bytes[end + at..end + at + value.len()].copy_from_slice(value);
        reseal(&mut bytes);
        objects.replace(ordinal, &bytes);
        let opened = objects.reader(ordinal);
        assert!(matches!(opened, Err(PackError::BadFooter { .. })), "trailer {at}: {opened:?}");
    }
}

#[test]
fn a_frame_asked_for_at_a_wrong_place_is_an_error() {
    let objects = Objects::new();
    let (ordinal, offsets) = small_pack(&objects);
    let reader = objects.reader(ordinal).unwrap();
    let first = offsets[0] as u32;
    for (offset, reach) in [(0, 100), (first + 1, 1000), (first, 20), (first, 0), (u32::MAX, 100), (first, u32::MAX)] {
        let read = reader.read_frame(offset, reach);
        assert!(matches!(read, Err(PackError::BadFrame { .. })), "{offset} {reach}: {read:?}");
    }
    let view = reader.read_frame(first, MAX_FRAME as u32).unwrap();
    assert_eq!(view.view().as_bytes().len() as u64, offsets[1] - offsets[0], "more than the frame is cut off");
}
