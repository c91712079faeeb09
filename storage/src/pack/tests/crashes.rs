//! A pack's writer stopped at every operation, and every operation failing.

use std::path::Path;

use super::*;
use crate::pack::index::{Run, Source, merge};
use crate::vfs::{Crash, CrashMode, Failure, Fault, Injection, Sabotage, Select, Vfs};

const ORDINAL: PackOrdinal = PackOrdinal::first(Class::Data);

/// What the writer was told is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Acknowledged {
    Nothing,
    /// The pack up to here.
    Frames(u64),
    /// All of it, with its footer.
    Sealed,
    /// And a run that covers it.
    Indexed,
}

fn root(vfs: impl Vfs + 'static) -> Dir {
    Dir::open_root(Arc::new(vfs), Path::new("/")).unwrap()
}

/// Frames of 3 objects each: one synced, another synced, a third only sealed; then a run.
fn write(objects: &Dir, acknowledged: &mut Acknowledged) -> Result<()> {
    let mut writer = PackWriter::create(objects, ORDINAL, REPOSITORY, Completeness::Complete)?;
    for n in 0..2 {
        writer.append_frame(&frame(3 * n..3 * n + 3, 400))?;
        writer.sync()?;
        objects.open_dir(ORDINAL.directory())?.sync()?;
        *acknowledged = Acknowledged::Frames(writer.length());
    }
    writer.append_frame(&frame(6..9, 400))?;
    let pack = writer.seal()?.release()?;
    *acknowledged = Acknowledged::Sealed;
    merge(objects, 1, &REPOSITORY, &[Source::Footer(&pack)], &|_| true)?;
    *acknowledged = Acknowledged::Indexed;
    Ok(())
}

/// Opens what is left as recovery would, and checks that nothing acknowledged is missing.
fn check(objects: &Dir, acknowledged: Acknowledged, case: &str) {
    let open = |options| objects.open(ORDINAL.path(), options);
    let (registered, least) = match acknowledged {
        Acknowledged::Nothing => (0, 0),
        Acknowledged::Frames(length) => (length, if length < 2000 { 3 } else { 6 }),
        Acknowledged::Sealed | Acknowledged::Indexed => (0, 9),
    };
    if acknowledged < Acknowledged::Sealed {
        let recovered = match open(OpenOptions::WRITE) {
            Ok(file) => PackWriter::recover(file, ORDINAL, &REPOSITORY, registered),
            Err(error) => Err(error.into()),
        };
        match recovered {
            Ok((writer, damage)) => {
                assert!(damage.is_none(), "{case}: {damage:?}");
                drop(writer.seal().unwrap());
            }
            Err(error) if least == 0 => {
                let nothing_there = matches!(&error, PackError::Io(error) if error.is_not_found());
                return assert!(nothing_there || error.is_damage(), "{case}: {error}");
            }
            Err(error) => panic!("{case}: {error}"),
        }
    }
    let reader = PackReader::open(open(OpenOptions::READ).unwrap(), ORDINAL, &REPOSITORY).unwrap();
    reader.verify_footer().unwrap();
    assert!(reader.object_count() >= least, "{case}: {} of {least} objects", reader.object_count());
    for n in 0..reader.object_count() {
        let (entry, bytes) = object(n, 400);
        let found = fetch(reader.lookup(&entry.id).unwrap(), n, |o, r| reader.read_frame(o, r));
        assert_eq!(found, Some(bytes), "{case}: object {n}");
    }
    if acknowledged == Acknowledged::Indexed {
        Run::open(objects, 1, &REPOSITORY).unwrap().verify().unwrap();
    }
}

#[test]
fn a_crash_at_any_operation_loses_nothing_acknowledged() {
    let whole = Crash::new();
    write(&root(whole.clone()), &mut Acknowledged::Nothing).unwrap();
    let operations = whole.operations();
    assert!(operations > 15, "{operations}");
    for n in 1..=operations + 1 {
        let disk = Crash::new();
        disk.stop_at(n);
        let mut acknowledged = Acknowledged::Nothing;
        let written = write(&root(disk.clone()), &mut acknowledged);
        assert_eq!(written.is_ok(), n > operations, "operation {n}");
        for (mode, seed) in CrashMode::MATRIX {
            let case = format!("operation {n} of {operations}, {mode:?} {seed}, {acknowledged:?}");
            check(&root(disk.image(mode, seed)), acknowledged, &case);
        }
    }
}

#[test]
fn a_failing_operation_loses_nothing_acknowledged() {
    for failure in [Failure::Io, Failure::NoSpace, Failure::ShortWrite, Failure::Interrupted] {
        let fault = Fault::default();
        fault.count(Select::Mutating);
        let objects = Dir::open_root(fault.over(Arc::new(Crash::new())), Path::new("/")).unwrap();
        write(&objects, &mut Acknowledged::Nothing).unwrap();
        for n in 1..=fault.operations() {
            let fault = Fault::default();
            let disk = Crash::new();
            let objects = Dir::open_root(fault.over(Arc::new(disk.clone())), Path::new("/")).unwrap();
            fault.inject(Injection::once(Select::Mutating, n, failure));
            let mut acknowledged = Acknowledged::Nothing;
            let written = write(&objects, &mut acknowledged);
            if failure == Failure::ShortWrite {
                written.unwrap();
            }
            for mode in [CrashMode::Kept, CrashMode::Lost] {
                check(&root(disk.image(mode, 0)), acknowledged, &format!("{failure:?} at {n}, {mode:?}"));
            }
        }
    }
}

#[test]
fn a_full_disk_leaves_the_writer_as_it_was() {
    let fault = Fault::default();
    let objects = Dir::open_root(fault.over(Arc::new(Crash::new())), Path::new("/")).unwrap();
    let mut writer = PackWriter::create(&objects, ORDINAL, REPOSITORY, Completeness::Complete).unwrap();
    writer.reserve_ahead().unwrap();
    writer.append_frame(&frame(0..3, 400)).unwrap();
    let length = writer.length();
    fault.inject(Injection::forever(Select::Mutating, 1, Failure::NoSpace));
    let refused = writer.append_frame(&frame(3..6, 400));
    assert!(matches!(&refused, Err(PackError::Io(error)) if error.is_full()), "{refused:?}");
    assert_eq!((writer.length(), writer.table().len()), (length, 3));
    fault.disarm();
    writer.append_frame(&frame(6..9, 400)).unwrap();
    let reader = writer.seal().unwrap().release().unwrap();
    reader.verify_footer().unwrap();
    assert_eq!(reader.object_count(), 6);
}

#[test]
fn a_writer_whose_sync_failed_never_syncs_again() {
    let fault = Fault::default();
    let objects = Dir::open_root(fault.over(Arc::new(Crash::new())), Path::new("/")).unwrap();
    let mut writer = PackWriter::create(&objects, ORDINAL, REPOSITORY, Completeness::Complete).unwrap();
    writer.append_frame(&frame(0..3, 400)).unwrap();
    fault.inject(Injection::once(Select::Syncs, 1, Failure::Io));
    assert!(matches!(writer.sync(), Err(PackError::Io(_))));
    assert!(matches!(writer.sync(), Err(PackError::Poisoned { .. })));
    assert!(matches!(writer.append_frame(&frame(3..6, 400)), Err(PackError::Poisoned { .. })));
    assert!(matches!(writer.seal(), Err(PackError::Poisoned { .. })));
}

/// Writes the whole scenario on a disk that lies, then cuts the power.
fn write_and_lose(sabotage: Sabotage) {
    let disk = Crash::new();
    let mut acknowledged = Acknowledged::Nothing;
    let objects = Dir::open_root(sabotage.over(Arc::new(disk.clone())), Path::new("/")).unwrap();
    write(&objects, &mut acknowledged).unwrap();
    check(&root(disk.image(CrashMode::Lost, 0)), acknowledged, "sabotaged");
}

#[test]
#[should_panic(expected = "Truncated")]
fn these_tests_notice_a_pack_that_is_not_synced() {
    write_and_lose(Sabotage::no_file_sync("pack"));
}

#[test]
#[should_panic(expected = "NotFound")]
fn these_tests_notice_a_directory_that_is_not_synced() {
    write_and_lose(Sabotage::no_dir_sync(""));
}

#[test]
#[should_panic(expected = "1.run")]
fn these_tests_notice_a_run_that_is_not_synced() {
    write_and_lose(Sabotage::no_file_sync("run"));
}
