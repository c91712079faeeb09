use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::atomic_file::{AtomicFile, Sync, write_atomically};
use crate::vfs::{Dir, File, Real, Trace};

fn root(crash: &Crash) -> Dir {
    Dir::open_root(Arc::new(crash.clone()), Path::new("/")).unwrap()
}

fn write(dir: &Dir, path: &str, bytes: &[u8]) -> File {
    let file = dir.open(path, OpenOptions::CREATE).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

/// Every image a test should look at: the matrix, and many by chance.
fn images(crash: &Crash) -> impl Iterator<Item = (CrashMode, Dir)> {
    let chances = (10..60).flat_map(|seed| [(CrashMode::Torn, seed), (CrashMode::Random, seed)]);
    CrashMode::MATRIX.into_iter().chain(chances).map(|(mode, seed)| (mode, root(&crash.image(mode, seed))))
}

fn contents(crash: &Crash, path: &str) -> BTreeSet<Option<Vec<u8>>> {
    images(crash).map(|(_, dir)| dir.read_optional(path, 1 << 20).unwrap()).collect()
}

#[test]
fn what_is_synced_with_its_name_is_always_kept() {
    let crash = Crash::new();
    let dir = root(&crash);
    let file = write(&dir, "a", b"kept");
    file.sync_data().unwrap();
    dir.sync().unwrap();
    assert_eq!(contents(&crash, "a"), BTreeSet::from([Some(b"kept".to_vec())]));
    write(&dir, "b", b"other");
    dir.unlink("b").unwrap();
    assert_eq!(contents(&crash, "a"), BTreeSet::from([Some(b"kept".to_vec())]));
}

#[test]
fn a_synced_file_may_lose_its_name() {
    let crash = Crash::new();
    let dir = root(&crash);
    write(&dir, "a", b"content").sync_data().unwrap();
    assert_eq!(contents(&crash, "a"), BTreeSet::from([None, Some(b"content".to_vec())]));
}

#[test]
fn a_synced_name_may_lose_its_content() {
    let crash = Crash::new();
    let dir = root(&crash);
    write(&dir, "a", b"content");
    dir.sync().unwrap();
    let expected = [b"".to_vec(), vec![0; 7], b"content".to_vec()];
    assert_eq!(contents(&crash, "a"), expected.map(Some).into());
}

#[test]
fn unsynced_sectors_are_lost_one_by_one_and_never_parts_of_one() {
    let crash = Crash::new();
    let dir = root(&crash);
    let file = write(&dir, "a", &[1; 2048]);
    file.sync_data().unwrap();
    dir.sync().unwrap();
    file.write_all_at(&[2; 2000], 40).unwrap();
    let mut patterns = BTreeSet::new();
    for (mode, dir) in images(&crash) {
        let bytes = dir.read("a", 4096).unwrap();
        assert_eq!(bytes.len(), 2048);
        assert!(mode != CrashMode::Kept || bytes[40..2040] == [2; 2000]);
        let pattern: Vec<bool> = bytes
            .chunks(512)
            .enumerate()
            .map(|(sector, bytes)| {
                let written = &bytes[if sector == 0 { 40 } else { 0 }..if sector == 3 { 504 } else { 512 }];
                assert!(written.iter().all(|byte| *byte == written[0]), "a sector is never torn");
                written[0] == 2
            })
            .collect();
        patterns.insert(pattern);
    }
    assert!(patterns.len() > 8, "most of the 16 subsets turn up: {patterns:?}");
}

#[test]
fn of_two_writes_to_a_sector_the_second_never_survives_without_the_first() {
    let crash = Crash::new();
    let dir = root(&crash);
    let file = write(&dir, "a", b"....");
    file.sync_data().unwrap();
    dir.sync().unwrap();
    file.write_all_at(b"A", 0).unwrap();
    file.write_all_at(b"B", 1).unwrap();
    let expected = [&b"...."[..], b"A...", b"AB.."].map(|bytes| Some(bytes.to_vec()));
    assert_eq!(contents(&crash, "a"), expected.into());
}

#[test]
fn a_grown_file_is_filled_with_zeros_where_no_data_arrived() {
    let crash = Crash::new();
    let dir = root(&crash);
    let file = write(&dir, "a", b"head");
    file.sync_data().unwrap();
    dir.sync().unwrap();
    file.write_all_at(&[7; 600], 1000).unwrap();
    let mut lengths = BTreeSet::new();
    for (mode, dir) in images(&crash) {
        let bytes = dir.read("a", 4096).unwrap();
        lengths.insert(bytes.len());
        assert_eq!(&bytes[..4], b"head");
        assert!(bytes[4..].iter().all(|byte| matches!(byte, 0 | 7)));
        assert!(mode != CrashMode::DataLost || (bytes.len() == 1600 && bytes[4..].iter().all(|byte| *byte == 0)));
    }
    assert_eq!(lengths, BTreeSet::from([4, 1600]));
}

#[test]
fn a_cut_file_shows_old_content_only_where_the_cut_was_lost() {
    let crash = Crash::new();
    let dir = root(&crash);
    let file = write(&dir, "a", &[1; 1024]);
    file.sync_data().unwrap();
    dir.sync().unwrap();
    file.set_len(0).unwrap();
    file.write_all_at(&[2; 1024], 0).unwrap();
    let mut seen = BTreeSet::new();
    for (_, dir) in images(&crash) {
        let bytes = dir.read("a", 4096).unwrap();
        assert!(!(bytes.contains(&1) && bytes.contains(&2)), "old and new blocks never mix");
        seen.insert(bytes);
    }
    for expected in [vec![1; 1024], vec![], vec![0; 1024], vec![2; 1024]] {
        assert!(seen.contains(&expected), "{} bytes beginning with {:?}", expected.len(), expected.first());
    }
}

#[test]
fn a_rename_shows_old_or_new_and_never_a_mixture() {
    let crash = Crash::new();
    let dir = root(&crash);
    let tmp = dir.create_dir_all("tmp").unwrap();
    write_atomically(&tmp, &dir, "ref", b"old", 0o644, Sync::None).unwrap();
    crash.settle();
    write_atomically(&tmp, &dir, "ref", b"brand new", 0o644, Sync::Data).unwrap();
    let both = BTreeSet::from([Some(b"old".to_vec()), Some(b"brand new".to_vec())]);
    assert_eq!(contents(&crash, "ref"), both);
    for (_, dir) in images(&crash) {
        let left = dir.open_dir("tmp").unwrap().list().unwrap().len();
        assert!(left == 0 || dir.read("ref", 64).unwrap() == b"old", "the new file never has both names");
    }
    dir.sync().unwrap();
    assert_eq!(contents(&crash, "ref"), BTreeSet::from([Some(b"brand new".to_vec())]));
    write_atomically(&tmp, &dir, "ref", b"unsynced", 0o644, Sync::None).unwrap();
    dir.sync().unwrap();
    assert!(contents(&crash, "ref").contains(&Some(vec![0; 8])), "a rename makes no content durable");
}

#[test]
fn changes_of_one_name_survive_in_order() {
    let crash = Crash::new();
    let dir = root(&crash);
    write(&dir, "a", b"first");
    crash.settle();
    dir.unlink("a").unwrap();
    write(&dir, "a", b"second").sync_data().unwrap();
    let expected = [None, Some(b"first".to_vec()), Some(b"second".to_vec())];
    assert_eq!(contents(&crash, "a"), expected.into());
    dir.unlink("a").unwrap();
    dir.sync().unwrap();
    assert_eq!(contents(&crash, "a"), [None].into());
}

#[test]
fn different_names_survive_in_any_order() {
    let crash = Crash::new();
    let dir = root(&crash);
    write(&dir, "a", b"");
    write(&dir, "b", b"");
    let seen: BTreeSet<_> = images(&crash)
        .map(|(_, dir)| dir.list().unwrap().into_iter().map(|entry| entry.name).collect::<Vec<_>>())
        .collect();
    assert_eq!(seen.len(), 4, "neither, either or both: {seen:?}");
}

#[test]
fn a_directory_sync_keeps_its_own_names_and_no_others() {
    let crash = Crash::new();
    let dir = root(&crash);
    let (one, two) = (dir.create_dir_all("one").unwrap(), dir.create_dir_all("two").unwrap());
    crash.settle();
    write(&one, "a", b"").sync_data().unwrap();
    write(&two, "a", b"").sync_data().unwrap();
    one.sync().unwrap();
    assert_eq!(contents(&crash, "one/a").len(), 1);
    assert_eq!(contents(&crash, "two/a"), [None, Some(vec![])].into());
    let deep = dir.create_dir_all("new").unwrap();
    write(&deep, "a", b"").sync_data().unwrap();
    deep.sync().unwrap();
    assert!(contents(&crash, "new/a").contains(&None), "the new directory itself had no durable name");
}

#[test]
fn moving_durable_things_never_loses_them() {
    let crash = Crash::new();
    let dir = root(&crash);
    let old = dir.create_dir_all("old").unwrap();
    write(&old, "a", b"precious");
    crash.settle();
    // Into a directory whose own name is not durable, out of one that is then removed.
    let new = dir.create_dir_all("x/new").unwrap();
    old.rename("a", &new, "b").unwrap();
    dir.remove_dir("old").unwrap();
    let anywhere = |dir: &Dir| {
        ["old/a", "x/new/b"].into_iter().any(|path| dir.read(path, 64).is_ok_and(|bytes| bytes == b"precious"))
    };
    assert!(images(&crash).all(|(_, dir)| anywhere(&dir)));
    new.sync().unwrap();
    assert!(images(&crash).all(|(_, dir)| dir.read("x/new/b", 64).is_ok()), "the synced side is where it is");
    assert!(images(&crash).any(|(_, dir)| dir.metadata("old").is_ok()), "the removal was not synced");
    dir.sync().unwrap();
    assert!(images(&crash).all(|(_, dir)| dir.metadata_optional("old").unwrap().is_none()));
}

#[test]
fn a_machine_that_stops_fails_everything_from_there_on() {
    let scenario = |dir: &Dir| -> crate::vfs::Result<()> {
        let file = dir.open("a", OpenOptions::CREATE_NEW)?;
        file.write_all_at(b"record", 0)?;
        file.sync_data()?;
        dir.sync()?;
        dir.read("a", 64)?;
        Ok(())
    };
    let crash = Crash::new();
    scenario(&root(&crash)).unwrap();
    assert_eq!(crash.operations(), 4);
    for n in 1..=4 {
        let crash = Crash::new();
        let dir = root(&crash);
        crash.stop_at(n);
        scenario(&dir).unwrap_err();
        assert!(crash.stopped());
        assert!(dir.list().is_err() && dir.open("b", OpenOptions::CREATE).is_err());
        assert_eq!(crash.operations(), n, "nothing runs on a stopped machine");
        let seen = contents(&crash, "a");
        assert!(seen.contains(&None), "the directory was never synced, for its sync is what stopped at the latest");
        assert_eq!(seen.contains(&Some(b"record".to_vec())), n >= 2, "an unfinished write may still have arrived");
        let image = crash.image(CrashMode::Kept, 0);
        assert_eq!(image.operations(), 0);
        root(&image).create_dir("works", 0o777).unwrap();
    }
}

#[test]
fn an_image_is_the_same_for_the_same_seed_and_can_crash_again() {
    let crash = Crash::new();
    let dir = root(&crash);
    for number in 0..20 {
        write(&dir, &format!("{number}"), &[number; 3000]);
    }
    let seen = |crash: &Crash| -> Vec<_> {
        let dir = root(crash);
        dir.list().unwrap().into_iter().map(|entry| (dir.read(&entry.name, 4096).unwrap(), entry.name)).collect()
    };
    let image = crash.image(CrashMode::Random, 5);
    assert_eq!(seen(&image), seen(&crash.image(CrashMode::Random, 5)));
    assert_ne!(seen(&image), seen(&crash.image(CrashMode::Random, 6)));
    assert_eq!(seen(&image), seen(&image.image(CrashMode::Lost, 0)), "an image is wholly durable");
    assert_eq!(seen(&crash).len(), 20, "taking images changes nothing");
}

#[test]
fn locks_belong_to_handles_and_end_with_them_or_the_machine() {
    let crash = Crash::new();
    let dir = root(&crash);
    let open = || dir.open("lock", OpenOptions::CREATE).unwrap();
    let (one, two) = (open(), open());
    assert!(one.try_lock(LockKind::Shared).unwrap() && two.try_lock(LockKind::Shared).unwrap());
    assert!(!one.try_lock(LockKind::Exclusive).unwrap());
    two.unlock().unwrap();
    assert!(one.try_lock(LockKind::Exclusive).unwrap() && !two.try_lock(LockKind::Shared).unwrap());
    let image = root(&crash.image(CrashMode::Kept, 0));
    assert!(image.open("lock", OpenOptions::READ).unwrap().try_lock(LockKind::Exclusive).unwrap());
    drop(one);
    assert!(two.try_lock(LockKind::Exclusive).unwrap());
}

#[test]
fn an_unlinked_file_lives_as_long_as_it_is_open() {
    let crash = Crash::new();
    let dir = root(&crash);
    let file = write(&dir, "a", b"still here");
    let again = dir.open("a", OpenOptions::READ).unwrap();
    dir.unlink("a").unwrap();
    write(&dir, "a", b"another");
    file.write_all_at(b"STILL", 0).unwrap();
    assert_eq!(again.read_all(64).unwrap(), b"STILL here");
    assert!(again.write_all_at(b"x", 0).is_err(), "opened for reading");
    assert_ne!(again.metadata().unwrap().inode, dir.metadata("a").unwrap().inode);
}

#[test]
fn modes_and_links_survive_with_what_carries_them() {
    let crash = Crash::new();
    let dir = root(&crash);
    let file = dir.open("a", OpenOptions::CREATE.mode(0o600)).unwrap();
    dir.symlink(Path::new("a/../b"), "l").unwrap();
    crash.settle();
    file.set_mode(0o755).unwrap();
    let modes: BTreeSet<_> = images(&crash).map(|(_, dir)| dir.metadata("a").unwrap().mode).collect();
    assert_eq!(modes, BTreeSet::from([0o600, 0o755]));
    file.sync_data().unwrap();
    assert!(images(&crash).all(|(_, dir)| dir.metadata("a").unwrap().mode == 0o755));
    assert!(images(&crash).all(|(_, dir)| dir.read_link("l").unwrap() == Path::new("a/../b")));
}

#[test]
fn the_clock_moves_with_every_change() {
    let crash = Crash::new();
    let dir = root(&crash);
    let file = write(&dir, "a", b"1");
    let before = dir.metadata("a").unwrap();
    file.write_all_at(b"2", 0).unwrap();
    let after = dir.metadata("a").unwrap();
    assert!(after.mtime_ns > before.mtime_ns && after.ctime_ns > before.ctime_ns && after.inode == before.inode);
    dir.set_mode("a", 0o600).unwrap();
    let changed = dir.metadata("a").unwrap();
    assert!(changed.mtime_ns == after.mtime_ns && changed.ctime_ns > after.ctime_ns);
    assert_eq!(crash.image(CrashMode::Lost, 0).state().clock, crash.state().clock);
}

/// What the simulator is for: the replacement of a file, stopped everywhere, crashed in every way, shows old or new.
#[test]
fn a_durable_replacement_survives_every_crash_as_old_or_new() {
    let scenario = |dir: &Dir| write_atomically(&dir.open_dir("tmp")?, dir, "ref", &[9; 1500], 0o644, Sync::Full);
    let prepared = || {
        let crash = Crash::new();
        let dir = root(&crash);
        write_atomically(&dir.create_dir_all("tmp").unwrap(), &dir, "ref", b"old", 0o644, Sync::None).unwrap();
        crash.settle();
        (crash, dir)
    };
    let (crash, dir) = prepared();
    scenario(&dir).unwrap();
    let (old, new) = (Some(b"old".to_vec()), Some(vec![9; 1500]));
    assert_eq!(contents(&crash, "ref"), [new.clone()].into());
    for n in 1..=crash.operations() {
        let (crash, dir) = prepared();
        crash.stop_at(n);
        scenario(&dir).unwrap_err();
        assert!(contents(&crash, "ref").is_subset(&[old.clone(), new.clone()].into()), "at operation {n}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Write { path: usize, offset: u64, length: usize, byte: u8 },
    Truncate { path: usize, length: u64 },
    Create { path: usize },
    CreateDir { path: usize },
    Symlink { path: usize },
    Rename { from: usize, to: usize },
    Unlink { path: usize },
    RemoveDir { path: usize },
    SetMode { path: usize, mode: u32 },
    Sync { path: usize },
    SyncDir { path: usize },
}

/// Few names, so that they meet.
const PATHS: [&str; 9] = ["a", "b", "d", "d/a", "d/e", "d/e/a", "f", "f/a", "f/d"];

fn step() -> impl Strategy<Value = Step> {
    let path = || 0..PATHS.len();
    prop_oneof![
        3 => (path(), 0u64..1500, 1usize..1500, 1u8..).prop_map(|(path, offset, length, byte)| Step::Write { path, offset, length, byte }),
        1 => (path(), 0u64..2000).prop_map(|(path, length)| Step::Truncate { path, length }),
        2 => path().prop_map(|path| Step::Create { path }),
        2 => path().prop_map(|path| Step::CreateDir { path }),
        1 => path().prop_map(|path| Step::Symlink { path }),
        3 => (path(), path()).prop_map(|(from, to)| Step::Rename { from, to }),
        1 => path().prop_map(|path| Step::Unlink { path }),
        1 => path().prop_map(|path| Step::RemoveDir { path }),
        1 => (path(), prop_oneof![Just(0o600), Just(0o755)]).prop_map(|(path, mode)| Step::SetMode { path, mode }),
        2 => path().prop_map(|path| Step::Sync { path }),
        2 => path().prop_map(|path| Step::SyncDir { path }),
    ]
}

/// Takes one step; returns the error number where it failed.
fn take(dir: &Dir, step: &Step) -> Result<(), Option<i32>> {
    let parent = |path: usize| dir.open_dir(Path::new(PATHS[path]).parent().unwrap());
    match *step {
        Step::Write { path, offset, length, byte } => {
            dir.open(PATHS[path], OpenOptions::WRITE).and_then(|file| file.write_all_at(&vec![byte; length], offset))
        }
        Step::Truncate { path, length } => {
            dir.open(PATHS[path], OpenOptions::WRITE).and_then(|file| file.set_len(length))
        }
        Step::Create { path } => dir.open(PATHS[path], OpenOptions::CREATE_NEW).map(drop),
        Step::CreateDir { path } => dir.create_dir(PATHS[path], 0o755),
        Step::Symlink { path } => dir.symlink(Path::new("d"), PATHS[path]),
        Step::Rename { from, to } => dir.rename(PATHS[from], dir, PATHS[to]),
        Step::Unlink { path } => dir.unlink(PATHS[path]),
        Step::RemoveDir { path } => dir.remove_dir(PATHS[path]),
        Step::SetMode { path, mode } => dir.set_mode(PATHS[path], mode),
        Step::Sync { path } => dir.metadata(PATHS[path]).and_then(|metadata| match metadata.kind {
            FileKind::File => dir.open(PATHS[path], OpenOptions::READ)?.sync_data(),
            // The real one opens a directory for reading too, only to fail when it is read.
            _ => Ok(()),
        }),
        Step::SyncDir { path } => parent(path).and_then(|dir| dir.sync()),
    }
    .map_err(|error| error.source.raw_os_error())
}

/// Everything there is, by path: kind, mode and content.
fn snapshot(dir: &Dir) -> BTreeMap<PathBuf, (FileKind, u32, Vec<u8>)> {
    fn walk(dir: &Dir, at: &Path, found: &mut BTreeMap<PathBuf, (FileKind, u32, Vec<u8>)>) {
        for entry in dir.list().unwrap() {
            let metadata = dir.metadata(&entry.name).unwrap();
            assert_eq!(metadata.kind, entry.kind);
            let path = at.join(&entry.name);
            let content = match entry.kind {
                FileKind::File => dir.read(&entry.name, 1 << 20).unwrap(),
                FileKind::Symlink => dir.read_link(&entry.name).unwrap().into_os_string().into_encoded_bytes(),
                FileKind::Directory | FileKind::Other => Vec::new(),
            };
            found.insert(path.clone(), (entry.kind, metadata.mode, content));
            if entry.kind == FileKind::Directory {
                walk(&dir.open_dir(&entry.name).unwrap(), &path, found);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(dir, Path::new(""), &mut found);
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// The running system behaves as the real one does, down to the error numbers.
    #[test]
    fn the_simulator_answers_as_the_real_file_system_does(steps in prop::collection::vec(step(), 1..60)) {
        let place = tempfile::tempdir().unwrap();
        let real = Dir::open_root(Arc::new(Real), place.path()).unwrap();
        let crash = Crash::new();
        let simulated = Dir::open_root(Trace::default().over(Arc::new(crash)), Path::new("/")).unwrap();
        for step in &steps {
            prop_assert_eq!(take(&real, step), take(&simulated, step), "{:?}", step);
        }
        let (real, simulated) = (snapshot(&real), snapshot(&simulated));
        // The umask of whoever runs this is not ours to know.
        let without_modes = |(path, (kind, _, content))| (path, (kind, content));
        let real: BTreeMap<_, _> = real.into_iter().map(without_modes).collect();
        prop_assert_eq!(real, simulated.into_iter().map(without_modes).collect());
    }

    /// After a sync of everything nothing is lost; an image shows for each file a content it could have had.
    #[test]
    fn nothing_durable_is_lost_whatever_follows(
        before in prop::collection::vec(step(), 1..40),
        after in prop::collection::vec(step(), 0..20),
        seed in any::<u64>(),
    ) {
        let crash = Crash::new();
        let dir = root(&crash);
        for step in &before {
            let _ = take(&dir, step);
        }
        dir.sync_filesystem().unwrap();
        let durable = snapshot(&dir);
        for (mode, seed) in CrashMode::MATRIX.map(|(mode, _)| (mode, seed)) {
            prop_assert_eq!(&durable, &snapshot(&root(&crash.image(mode, seed))), "{:?}", mode);
        }
        for step in &after {
            let _ = take(&dir, step);
        }
        let current = snapshot(&dir);
        prop_assert_eq!(&current, &snapshot(&root(&crash.image(CrashMode::Kept, seed))));
        for (mode, seed) in CrashMode::MATRIX.map(|(mode, _)| (mode, seed)) {
            let image = crash.image(mode, seed);
            let left = snapshot(&root(&image));
            prop_assert_eq!(&left, &snapshot(&root(&image.image(CrashMode::Lost, 0))));
            // Files by inode: one that was durable and is not removed since is found somewhere.
            let (alive, image) = (crash.state(), image.state());
            let reachable = alive.names.volatile.reachable(ROOT, None);
            for inode in crash_inodes(&durable, &crash_at(&before)) {
                if reachable.contains(&inode) {
                    prop_assert!(image.nodes.contains_key(&inode), "{:?} lost inode {}", mode, inode);
                }
            }
        }
    }
}

fn crash_at(steps: &[Step]) -> Crash {
    let crash = Crash::new();
    let dir = root(&crash);
    for step in steps {
        let _ = take(&dir, step);
    }
    crash
}

/// Inode numbers are given in order, so the same steps give the same ones.
fn crash_inodes(durable: &BTreeMap<PathBuf, (FileKind, u32, Vec<u8>)>, crash: &Crash) -> Vec<Inode> {
    let dir = root(crash);
    durable.keys().map(|path| dir.metadata(path).unwrap().inode).collect()
}

#[test]
fn a_temporary_kept_for_later_survives_with_its_name() {
    let crash = Crash::new();
    let dir = root(&crash);
    let mut file = AtomicFile::create(&dir, 0o644).unwrap();
    file.write(b"index").unwrap();
    let name = file.keep(Sync::Full).unwrap();
    assert_eq!(contents(&crash, &name), [Some(b"index".to_vec())].into());
}
