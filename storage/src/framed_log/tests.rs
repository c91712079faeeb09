use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::vfs::{Crash, CrashMode, Failure, Fault, Injection, Real, Select};

struct Fixture {
    dir: Dir,
    _place: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let place = tempfile::tempdir().unwrap();
    let dir = Dir::open_root(Arc::new(Real), place.path()).unwrap();
    Fixture { dir, _place: place }
}

const ID: LogId = LogId([7; 16]);

fn log_bytes(id: LogId, first: u64, bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = LogHeader::new(LogKind::WAL, id, first).encode().to_vec();
    for (number, body) in bodies.iter().enumerate() {
        encode_record(id, first + number as u64, body, &mut bytes);
    }
    bytes
}

fn put(dir: &Dir, name: &str, bytes: &[u8]) {
    let file = dir.open(name, OpenOptions { truncate: true, ..OpenOptions::CREATE }).unwrap();
    file.write_all_at(bytes, 0).unwrap();
}

fn open(dir: &Dir, options: LogOptions) -> Result<(FramedLog, Vec<Vec<u8>>)> {
    let mut bodies = Vec::new();
    let log = FramedLog::open_with(dir, "log", LogKind::WAL, options, |record| {
        bodies.push(record.body);
        Ok::<_, LogError>(())
    })?;
    Ok((log, bodies))
}

fn twenty() -> Vec<Vec<u8>> {
    (0..20_u8).map(|n| vec![n; usize::from(n) * 3]).collect()
}

/// Offsets at which the records of `bodies` begin, and the end.
fn boundaries(bodies: &[Vec<u8>]) -> Vec<u64> {
    let mut at = vec![HEADER_SIZE as u64];
    for body in bodies {
        at.push(at.last().unwrap() + record_size(body.len()));
    }
    at
}

#[test]
fn layout_is_the_documented_one() {
    let header = LogHeader { flags: 0x0201, ..LogHeader::new(LogKind::FLAT, ID, 0x0A) }.encode();
    assert_eq!(&header[..8], b"SHRDLOG\0");
    assert_eq!(header[8..16], [1, 6, 1, 2, 0, 0, 0, 0]);
    assert_eq!(header[16..32], [7; 16]);
    assert_eq!(header[32..40], [0x0A, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(header[40..], xxhash_rust::xxh3::xxh3_64(&header[..40]).to_le_bytes());
    let mut record = Vec::new();
    encode_record(ID, 0x0B, b"body", &mut record);
    assert_eq!(record[..16], [0xA5, 0x52, 0x45, 0x43, 4, 0, 0, 0, 0x0B, 0, 0, 0, 0, 0, 0, 0]);
    let checked = [&record[..16], b"body"].concat();
    let seed = xxhash_rust::xxh3::xxh3_64(&ID.0);
    assert_eq!(record[16..24], xxhash_rust::xxh3::xxh3_64_with_seed(&checked, seed).to_le_bytes());
    assert_eq!(&record[24..], b"body");
    // Pinned: these bytes must read the same for ever.
    assert_eq!(header[40..], GOLDEN_HEADER_CHECK);
    assert_eq!(record[16..24], GOLDEN_RECORD_CHECK);
}

const GOLDEN_HEADER_CHECK: [u8; 8] = [102, 40, 148, 254, 104, 183, 218, 150];
const GOLDEN_RECORD_CHECK: [u8; 8] = [140, 141, 221, 200, 54, 205, 100, 199];

#[test]
fn header_reads_back_as_written() {
    let header = LogHeader { flags: 9, ..LogHeader::new(LogKind::EVENTS, ID, u64::MAX) };
    assert_eq!(LogHeader::decode(&header.encode()), Ok(header));
}

#[test]
fn records_read_back_in_order_and_after_reopening() {
    let f = fixture();
    let mut log = FramedLog::create(&f.dir, "log", LogKind::WAL, 5).unwrap();
    for (number, body) in twenty().iter().enumerate() {
        assert_eq!(log.append(body).unwrap(), 5 + number as u64);
    }
    log.sync().unwrap();
    let (reopened, bodies) = open(&f.dir, LogOptions::READ).unwrap();
    assert_eq!(bodies, twenty());
    assert_eq!(reopened.end(), log.end());
    assert_eq!((reopened.tail(), reopened.next_sequence()), (Tail::Clean, 25));
    let again: Vec<_> = reopened.records().map(|record| record.unwrap().body).collect();
    assert_eq!(again, twenty());
    let third = reopened.records().nth(2).unwrap().unwrap();
    let rest: Vec<_> = reopened.records_from(third.next()).map(|record| record.unwrap().sequence).collect();
    assert_eq!(rest, (8..25).collect::<Vec<_>>());
    assert_eq!(
        reopened.records_from_sequence(24).map(|record| record.unwrap().body).collect::<Vec<_>>(),
        [twenty().pop().unwrap()]
    );
}

#[test]
fn a_log_cut_at_any_byte_keeps_every_whole_record_before_the_cut() {
    let f = fixture();
    let (bodies, bytes) = (twenty(), log_bytes(ID, 1, &twenty()));
    let at = boundaries(&bodies);
    for cut in 0..bytes.len() {
        put(&f.dir, "log", &bytes[..cut]);
        if cut < HEADER_SIZE {
            let error = open(&f.dir, LogOptions::READ).unwrap_err();
            assert!(matches!(error, LogError::Empty { length, .. } if length == cut as u64), "cut {cut}: {error:?}");
            continue;
        }
        let whole = at.iter().filter(|end| **end <= cut as u64).count() - 1;
        let (mut log, read) = open(&f.dir, LogOptions::WRITE).unwrap();
        assert_eq!(read, bodies[..whole], "cut {cut}");
        let expected = if at[whole] == cut as u64 { Tail::Clean } else { Tail::Torn { offset: at[whole] } };
        assert_eq!(log.tail(), expected, "cut {cut}");
        // A writer goes on where the last whole record ended.
        assert_eq!(log.append(b"next").unwrap(), 1 + whole as u64);
        let (log, read) = open(&f.dir, LogOptions::READ).unwrap();
        assert_eq!((read.len(), log.tail()), (whole + 1, Tail::Clean), "cut {cut}");
    }
}

#[test]
fn a_flip_of_any_bit_ends_the_log_there_and_is_damage_when_a_good_record_follows() {
    let f = fixture();
    let (bodies, bytes) = (twenty(), log_bytes(ID, 1, &twenty()));
    let at = boundaries(&bodies);
    put(&f.dir, "log", &bytes);
    let file = f.dir.open("log", OpenOptions::WRITE).unwrap();
    for position in 0..bytes.len() {
        for bit in 0..8 {
            file.write_all_at(&[bytes[position] ^ (1 << bit)], position as u64).unwrap();
            let result = open(&f.dir, LogOptions::WRITE);
            if position < HEADER_SIZE {
                assert!(matches!(result, Err(LogError::Header { .. })), "byte {position} bit {bit}: {result:?}");
                continue;
            }
            let hit = at.iter().filter(|end| **end <= position as u64).count() - 1;
            let (mut log, read) = result.unwrap();
            assert_eq!(read, bodies[..hit], "byte {position} bit {bit}");
            if hit + 1 == bodies.len() {
                assert_eq!(log.tail(), Tail::Torn { offset: at[hit] });
            } else {
                let next_good = Position { offset: at[hit + 1], sequence: hit as u64 + 2 };
                assert_eq!(log.tail(), Tail::Damaged { offset: at[hit], next_good }, "byte {position} bit {bit}");
                let refused = [log.append(b"next").err(), log.truncate_tail().err(), log.check_tail().err()];
                for error in refused {
                    assert!(matches!(error, Some(LogError::Damaged { offset, .. }) if offset == at[hit]), "{error:?}");
                }
            }
        }
        file.write_all_at(&bytes[position..=position], position as u64).unwrap();
    }
    assert_eq!(f.dir.read("log", 1 << 20).unwrap(), bytes, "nothing was changed by looking");
}

#[test]
fn records_of_another_log_are_never_accepted() {
    let f = fixture();
    let mut bytes = log_bytes(ID, 1, &twenty()[..3]);
    let end = bytes.len() as u64;
    let foreign = log_bytes(LogId([8; 16]), 4, &twenty());
    bytes.extend_from_slice(&foreign[HEADER_SIZE..]);
    put(&f.dir, "log", &bytes);
    let (log, read) = open(&f.dir, LogOptions::READ).unwrap();
    assert_eq!((read.len(), log.tail()), (3, Tail::Torn { offset: end }));
}

#[test]
fn a_gap_or_a_repeat_in_the_sequence_is_refused() {
    let f = fixture();
    let mut gap = log_bytes(ID, 1, &twenty()[..3]);
    let end = gap.len() as u64;
    let mut repeat = gap.clone();
    encode_record(ID, 5, b"four is missing", &mut gap);
    put(&f.dir, "log", &gap);
    let (log, read) = open(&f.dir, LogOptions::READ).unwrap();
    assert_eq!(read.len(), 3);
    // A good record 5 proves that record 4 was there once.
    assert_eq!(log.tail(), Tail::Damaged { offset: end, next_good: Position { offset: end, sequence: 5 } });

    encode_record(ID, 3, b"again", &mut repeat);
    put(&f.dir, "log", &repeat);
    let (log, read) = open(&f.dir, LogOptions::READ).unwrap();
    assert_eq!((read.len(), log.tail()), (3, Tail::Torn { offset: end }));
}

#[test]
fn a_log_of_another_kind_or_a_newer_version_is_refused() {
    let f = fixture();
    put(&f.dir, "log", &LogHeader::new(LogKind::FLAT, ID, 1).encode());
    let error = open(&f.dir, LogOptions::READ).unwrap_err();
    assert!(matches!(
        error,
        LogError::Header { source: HeaderError::WrongKind { found: LogKind::FLAT, expected: LogKind::WAL }, .. }
    ));
    put(&f.dir, "log", &LogHeader { version: 2, ..LogHeader::new(LogKind::WAL, ID, 1) }.encode());
    let error = open(&f.dir, LogOptions::READ).unwrap_err();
    assert!(matches!(error, LogError::Header { source: HeaderError::UnsupportedVersion { found: 2 }, .. }));
    put(&f.dir, "log", &[b'x'; 100]);
    let error = open(&f.dir, LogOptions::READ).unwrap_err();
    assert!(matches!(error, LogError::Header { source: HeaderError::NotALog, .. }));
}

#[test]
fn a_body_beyond_the_limit_is_refused_and_read_as_a_bad_record() {
    let f = fixture();
    let mut log = FramedLog::create(&f.dir, "log", LogKind::WAL, 1).unwrap();
    assert_eq!(log.append(&vec![3; MAX_BODY as usize]).unwrap(), 1);
    let error = log.append(&vec![3; MAX_BODY as usize + 1]).unwrap_err();
    assert!(matches!(error, LogError::TooLarge { limit: MAX_BODY, .. }));
    assert_eq!(log.append(b"two").unwrap(), 2);
    let (log, read) = open(&f.dir, LogOptions::READ).unwrap();
    assert_eq!((read.len(), log.tail()), (2, Tail::Clean));
    let (log, read) = open(&f.dir, LogOptions::READ.max_body(1000)).unwrap();
    assert_eq!(read.len(), 0);
    assert!(matches!(log.tail(), Tail::Damaged { offset: 48, .. }), "the second record is within the limit");
}

#[test]
fn a_reader_meets_what_a_writer_appends_and_takes_half_a_record_for_a_torn_tail() {
    let f = fixture();
    let mut writer = FramedLog::create(&f.dir, "log", LogKind::WAL, 1).unwrap();
    writer.append(b"one").unwrap();
    let (mut reader, _) = open(&f.dir, LogOptions::READ).unwrap();
    let mut seen = Vec::new();
    let mut visit = |record: Record| {
        seen.push(record.sequence);
        Ok::<_, LogError>(())
    };
    assert_eq!(reader.refresh(&mut visit).unwrap(), 0);
    writer.append(b"two").unwrap();
    assert_eq!(reader.refresh(&mut visit).unwrap(), 1);
    let mut three = Vec::new();
    encode_record(writer.log_id(), 3, b"three", &mut three);
    let (half, rest) = three.split_at(20);
    let end = writer.end_offset();
    writer.file().write_all_at(half, end).unwrap();
    assert_eq!(reader.refresh(&mut visit).unwrap(), 0);
    assert_eq!(reader.tail(), Tail::Torn { offset: end });
    writer.file().write_all_at(rest, end + 20).unwrap();
    assert_eq!(reader.refresh(&mut visit).unwrap(), 1);
    assert_eq!((reader.tail(), seen), (Tail::Clean, vec![2, 3]));
}

#[test]
fn a_visitor_that_fails_meets_the_same_record_again() {
    let f = fixture();
    put(&f.dir, "log", &log_bytes(ID, 1, &twenty()));
    let mut log = FramedLog::open_unscanned(&f.dir, "log", LogKind::WAL, LogOptions::READ).unwrap();
    let stop = |record: Record| {
        if record.sequence == 7 { Err(LogError::Exhausted { path: PathBuf::new() }) } else { Ok(()) }
    };
    assert!(log.refresh(stop).is_err());
    assert_eq!(log.next_sequence(), 7);
    assert_eq!(log.refresh(|_| Ok::<_, LogError>(())).unwrap(), 14);
}

#[test]
fn a_file_that_shrank_below_what_was_read_is_damage() {
    let f = fixture();
    put(&f.dir, "log", &log_bytes(ID, 1, &twenty()));
    let (mut log, _) = open(&f.dir, LogOptions::READ).unwrap();
    f.dir.open("log", OpenOptions::WRITE).unwrap().set_len(100).unwrap();
    let error = log.refresh(|_| Ok::<_, LogError>(())).unwrap_err();
    assert!(matches!(error, LogError::Damaged { offset: 100, .. }));
    assert!(log.records().any(|record| record.is_err()));
}

#[test]
fn the_last_sequence_number_is_never_used() {
    let f = fixture();
    let mut log = FramedLog::create(&f.dir, "log", LogKind::WAL, u64::MAX - 1).unwrap();
    log.append(b"the last").unwrap();
    assert!(matches!(log.append(b"one more"), Err(LogError::Exhausted { .. })));
    let (log, read) = open(&f.dir, LogOptions::READ).unwrap();
    assert_eq!((read.len(), log.next_sequence()), (1, u64::MAX));
}

#[test]
fn creating_over_an_existing_log_fails() {
    let f = fixture();
    FramedLog::create(&f.dir, "log", LogKind::WAL, 1).unwrap();
    let error = FramedLog::create(&f.dir, "log", LogKind::WAL, 1).unwrap_err();
    assert!(matches!(error, LogError::Io(error) if error.kind() == std::io::ErrorKind::AlreadyExists));
}

#[test]
fn a_failed_append_leaves_the_log_where_it_was() {
    let fault = Fault::default();
    let dir = Dir::open_root(fault.over(Arc::new(Crash::new())), Path::new("/")).unwrap();
    let mut log = FramedLog::create(&dir, "log", LogKind::WAL, 1).unwrap();
    log.append(b"one").unwrap();
    fault.inject(Injection::once(Select::Mutating, 1, Failure::NoSpace));
    assert!(matches!(log.append(&[2; 5000]), Err(LogError::Io(error)) if error.is_full()));
    assert_eq!(log.next_sequence(), 2);
    assert_eq!(log.append(b"two").unwrap(), 2);
    let (log, read) = open(&dir, LogOptions::READ).unwrap();
    assert_eq!((read, log.tail()), (vec![b"one".to_vec(), b"two".to_vec()], Tail::Clean));
}

#[test]
fn after_a_failed_sync_the_handle_refuses_everything_but_reading() {
    let fault = Fault::default();
    let dir = Dir::open_root(fault.over(Arc::new(Crash::new())), Path::new("/")).unwrap();
    let mut log = FramedLog::create(&dir, "log", LogKind::WAL, 1).unwrap();
    log.append(b"one").unwrap();
    fault.inject(Injection::once(Select::Syncs, 1, Failure::Io));
    assert!(matches!(log.sync(), Err(LogError::Io(_))));
    for refused in [log.sync().err(), log.append(b"two").err(), log.truncate_tail().err()] {
        assert!(matches!(refused, Some(LogError::Poisoned { .. })), "{refused:?}");
    }
    assert_eq!(log.records().count(), 1);
}

#[test]
fn a_power_cut_loses_no_synced_record_and_leaves_no_half_of_another() {
    let bodies = twenty();
    let run = |crash: &Crash| -> Result<u64> {
        let dir = Dir::open_root(Arc::new(crash.clone()), Path::new("/"))?;
        let mut log = FramedLog::open(&dir, "log", LogKind::WAL, LogOptions::WRITE)?;
        let mut synced = 0;
        for body in &bodies {
            // Each is synced before the next is written, as in the write-ahead log.
            if log.append(body).and_then(|_| log.sync()).is_err() {
                break;
            }
            synced += 1;
        }
        Ok(synced)
    };
    let prepared = || {
        let crash = Crash::new();
        let dir = Dir::open_root(Arc::new(crash.clone()), Path::new("/")).unwrap();
        FramedLog::create(&dir, "log", LogKind::WAL, 1).unwrap();
        crash.settle();
        crash
    };
    let whole = prepared();
    assert_eq!(run(&whole).unwrap(), 20);
    for at in 1..=whole.operations() {
        let crash = prepared();
        crash.stop_at(at);
        let synced = run(&crash).unwrap() as usize;
        for (mode, seed) in CrashMode::MATRIX {
            let dir = Dir::open_root(Arc::new(crash.image(mode, seed)), Path::new("/")).unwrap();
            let (log, read) = open(&dir, LogOptions::WRITE).unwrap();
            assert!((synced..=synced + 1).contains(&read.len()), "at {at}, {mode:?}: {} of {synced}", read.len());
            assert_eq!(read, bodies[..read.len()], "at {at}, {mode:?}");
            assert!(log.check_tail().is_ok(), "at {at}, {mode:?}: an unsynced record looks like damage");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_a_power_cut_leaves_is_read_as_a_prefix(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 0..30),
        keep in 0.0..1.0_f64,
        junk in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let f = fixture();
        let bytes = log_bytes(ID, 1, &bodies);
        let kept = HEADER_SIZE + ((bytes.len() - HEADER_SIZE) as f64 * keep) as usize;
        put(&f.dir, "log", &[&bytes[..kept], &junk].concat());
        let whole = boundaries(&bodies).iter().filter(|end| **end <= kept as u64).count() - 1;
        let (mut log, read) = open(&f.dir, LogOptions::WRITE).unwrap();
        prop_assert!(read.len() >= whole, "a whole record was lost");
        prop_assert_eq!(&read[..], &bodies[..read.len()]);
        log.append(b"next").unwrap();
        let (log, again) = open(&f.dir, LogOptions::READ).unwrap();
        prop_assert_eq!(log.tail(), Tail::Clean);
        prop_assert_eq!(again.len(), read.len() + 1);
    }

    #[test]
    fn arbitrary_bytes_are_never_taken_for_records(junk in prop::collection::vec(any::<u8>(), 0..3000)) {
        let f = fixture();
        let mut bytes = LogHeader::new(LogKind::WAL, ID, 1).encode().to_vec();
        for (number, chunk) in junk.chunks(40).enumerate() {
            // Give the search something to look at.
            if number % 2 == 0 {
                bytes.extend_from_slice(&RECORD_MAGIC);
            }
            bytes.extend_from_slice(chunk);
        }
        put(&f.dir, "log", &bytes);
        let (log, read) = open(&f.dir, LogOptions::READ).unwrap();
        prop_assert_eq!(read.len(), 0);
        prop_assert!(log.check_tail().is_ok());
    }
}
