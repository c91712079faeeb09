use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::vfs::{Dir, VfsError};

fn scratch() -> (tempfile::TempDir, Dir) {
    let place = tempfile::tempdir().unwrap();
    let dir = Dir::open_root(Arc::new(Real), place.path()).unwrap();
    (place, dir)
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, VfsError>, kind: io::ErrorKind) {
    assert_eq!(answer.unwrap_err().kind(), kind);
}

#[track_caller]
fn is_link_refusal<T: std::fmt::Debug>(answer: Result<T, VfsError>) {
    assert_eq!(answer.unwrap_err().source.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
}

#[test]
fn a_file_keeps_what_is_written_at_each_offset() {
    let (_place, dir) = scratch();
    let file = dir.open("a", OpenOptions::CREATE_NEW.mode(0o600)).unwrap();
    file.write_all_at(b"world", 6).unwrap();
    file.write_all_at(b"hello ", 0).unwrap();
    assert_eq!(dir.read("a", 64).unwrap(), b"hello world");
    file.set_len(14).unwrap();
    file.allocate(0, 1 << 16).unwrap();
    assert_eq!(file.size().unwrap(), 14, "reserving does not change the length");
    assert_eq!(dir.read("a", 14).unwrap(), b"hello world\0\0\0");
    refused(dir.read("a", 13), io::ErrorKind::InvalidData);
    file.sync_data().unwrap();
    dir.sync().unwrap();
    dir.sync_filesystem().unwrap();
    let metadata = dir.metadata("a").unwrap();
    assert_eq!((metadata.kind, metadata.size, metadata.mode), (FileKind::File, 14, 0o600));
    assert_eq!(metadata, file.metadata().unwrap());
    refused(dir.open("a", OpenOptions::CREATE_NEW), io::ErrorKind::AlreadyExists);
    let cut = dir.open("a", OpenOptions { truncate: true, ..OpenOptions::WRITE }).unwrap();
    assert_eq!(cut.size().unwrap(), 0);
    refused(dir.open("a", OpenOptions { truncate: true, ..OpenOptions::READ }), io::ErrorKind::InvalidInput);
}

#[test]
fn entries_are_made_listed_renamed_and_removed_at_any_depth() {
    let (_place, dir) = scratch();
    let deep = dir.create_dir_all("x/y/z").unwrap();
    assert_eq!(dir.create_dir_all("x/y/z").unwrap().path(), deep.path());
    deep.open("file", OpenOptions::CREATE).unwrap();
    dir.symlink(Path::new("../outside"), "x/y/z/link").unwrap();
    assert_eq!(dir.read_link("x/y/z/link").unwrap(), Path::new("../outside"));
    dir.create_dir("x/y/z/dir", 0o700).unwrap();
    let named: Vec<_> = deep.list().unwrap().into_iter().map(|entry| (entry.name, entry.kind)).collect();
    let expected = [("dir", FileKind::Directory), ("file", FileKind::File), ("link", FileKind::Symlink)];
    assert_eq!(named, expected.map(|(name, kind)| (OsString::from(name), kind)));
    assert_eq!(deep.list().unwrap().len(), 3, "listing twice starts anew");

    dir.rename("x/y/z/file", &deep, "moved").unwrap();
    deep.rename("link", &dir, "x/link").unwrap();
    assert!(deep.metadata_optional("file").unwrap().is_none());
    assert_eq!(dir.metadata("x/link").unwrap().kind, FileKind::Symlink);
    dir.unlink("x/link").unwrap();
    dir.unlink("x/y/z/moved").unwrap();
    refused(dir.remove_dir("x/y/z"), io::ErrorKind::DirectoryNotEmpty);
    dir.remove_dir("x/y/z/dir").unwrap();
    dir.remove_dir("x/y/z").unwrap();
    refused(dir.metadata("x/y/z"), io::ErrorKind::NotFound);
    assert!(dir.metadata_optional("x/y/z/deeper").unwrap().is_none());
    assert_eq!(dir.metadata("").unwrap().inode, dir.open_dir("").unwrap().metadata("").unwrap().inode);
}

#[test]
fn thousands_of_names_are_listed_once_each() {
    let (_place, dir) = scratch();
    for number in 0..3000 {
        dir.open(format!("a-rather-long-name-so-that-one-buffer-is-not-enough-{number:05}"), OpenOptions::CREATE_NEW)
            .unwrap();
    }
    let names: std::collections::BTreeSet<_> = dir.list().unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names.len(), 3000);
}

#[test]
fn paths_that_are_not_plain_are_refused_by_every_operation() {
    let (_place, dir) = scratch();
    dir.create_dir_all("a").unwrap();
    dir.open("f", OpenOptions::CREATE).unwrap();
    let hostile =
        ["/etc/passwd", "..", ".", "../x", "a/..", "a/../../x", "a/./b", "./a", "a//b", "a/", "/", "//", "a\0b", "\0"];
    for path in hostile {
        refused(dir.open(path, OpenOptions::CREATE), io::ErrorKind::InvalidInput);
        refused(dir.open_dir(path), io::ErrorKind::InvalidInput);
        refused(dir.create_dir(path, 0o777), io::ErrorKind::InvalidInput);
        refused(dir.symlink(Path::new("t"), path), io::ErrorKind::InvalidInput);
        refused(dir.read_link(path), io::ErrorKind::InvalidInput);
        refused(dir.rename(path, &dir, "b"), io::ErrorKind::InvalidInput);
        refused(dir.rename("f", &dir, path), io::ErrorKind::InvalidInput);
        refused(dir.unlink(path), io::ErrorKind::InvalidInput);
        refused(dir.remove_dir(path), io::ErrorKind::InvalidInput);
        refused(dir.metadata(path), io::ErrorKind::InvalidInput);
        refused(dir.set_mode(path, 0o600), io::ErrorKind::InvalidInput);
    }
    refused(dir.open("", OpenOptions::CREATE), io::ErrorKind::InvalidInput);
    let strange = OsString::from_vec(b"line\nbreak \\ \xff\x1b[31m".to_vec());
    dir.open(&strange, OpenOptions::CREATE_NEW).unwrap();
    assert!(dir.list().unwrap().iter().any(|entry| entry.name == strange));
    refused(dir.open("n".repeat(256), OpenOptions::CREATE), io::ErrorKind::InvalidFilename);
    let long = vec!["d"; 2500].join("/");
    assert!(dir.metadata(&long).is_err());
}

#[test]
fn no_operation_passes_a_symbolic_link() {
    let (place, dir) = scratch();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), b"secret").unwrap();
    std::fs::create_dir(outside.path().join("sub")).unwrap();
    symlink(outside.path(), place.path().join("door")).unwrap();
    symlink(outside.path().join("secret"), place.path().join("alias")).unwrap();
    std::fs::write(place.path().join("mine"), b"mine").unwrap();

    is_link_refusal(dir.open("alias", OpenOptions::READ));
    is_link_refusal(dir.open("alias", OpenOptions { truncate: true, ..OpenOptions::CREATE }));
    refused(dir.open("alias", OpenOptions::CREATE_NEW), io::ErrorKind::AlreadyExists);
    is_link_refusal(dir.set_mode("alias", 0o777));
    refused(dir.open_dir("door"), io::ErrorKind::NotADirectory);
    refused(dir.open_dir("door/sub"), io::ErrorKind::NotADirectory);
    refused(dir.open("door/secret", OpenOptions::READ), io::ErrorKind::NotADirectory);
    refused(dir.open("door/new", OpenOptions::CREATE_NEW), io::ErrorKind::NotADirectory);
    refused(dir.create_dir("door/new", 0o777), io::ErrorKind::NotADirectory);
    refused(dir.create_dir_all("door/new"), io::ErrorKind::NotADirectory);
    refused(dir.symlink(Path::new("t"), "door/new"), io::ErrorKind::NotADirectory);
    refused(dir.read_link("door/secret"), io::ErrorKind::NotADirectory);
    refused(dir.rename("mine", &dir, "door/mine"), io::ErrorKind::NotADirectory);
    refused(dir.rename("door/secret", &dir, "taken"), io::ErrorKind::NotADirectory);
    refused(dir.unlink("door/secret"), io::ErrorKind::NotADirectory);
    refused(dir.remove_dir("door/sub"), io::ErrorKind::NotADirectory);
    refused(dir.metadata("door/secret"), io::ErrorKind::NotADirectory);
    refused(dir.set_mode("door/secret", 0o777), io::ErrorKind::NotADirectory);
    assert_eq!(dir.metadata("alias").unwrap().kind, FileKind::Symlink, "a link itself can be described");
    dir.rename("alias", &dir, "renamed").unwrap();
    dir.unlink("renamed").unwrap();
    assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"secret");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 2, "nothing new outside");
}

#[test]
fn walking_by_component_refuses_the_same_links() {
    let (place, _dir) = scratch();
    let outside = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(place.path().join("a/b")).unwrap();
    std::fs::write(place.path().join("a/b/file"), b"x").unwrap();
    std::fs::write(outside.path().join("file"), b"x").unwrap();
    symlink(outside.path(), place.path().join("a/door")).unwrap();
    let here = fs::File::open(place.path()).unwrap();
    let walk = |path: &str, flags| open_by_component(here.as_fd(), Path::new(path), flags, Mode::empty());
    let file = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    walk("a/b/file", file).unwrap();
    walk("a/b", DIRECTORY).unwrap();
    assert_eq!(walk("a/door/file", file).unwrap_err(), Errno::NOTDIR);
    assert_eq!(walk("a/door", file).unwrap_err(), Errno::LOOP);
    assert_eq!(as_directory(walk("a/door", DIRECTORY).unwrap_err()), Errno::NOTDIR);
    assert_eq!(walk("a/none/file", file).unwrap_err(), Errno::NOENT);
}

/// A directory and a link to the outside change places without pause while another thread creates, reads and removes
/// files through the name: nothing outside is ever seen or touched.
#[test]
fn a_directory_swapped_for_a_link_never_leads_outside() {
    let (place, dir) = scratch();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("file"), b"outside").unwrap();
    std::fs::set_permissions(outside.path().join("file"), PermissionsExt::from_mode(0o640)).unwrap();
    std::fs::create_dir_all(place.path().join("real")).unwrap();
    std::fs::write(place.path().join("real/file"), b"inside").unwrap();
    symlink(outside.path(), place.path().join("fake")).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let at = |name: &str| place.path().join(name);
            while !done.load(Ordering::Relaxed) {
                let _ = std::fs::rename(at("real"), at("parent"));
                let _ = std::fs::rename(at("parent"), at("real"));
                let _ = std::fs::rename(at("fake"), at("parent"));
                let _ = std::fs::rename(at("parent"), at("fake"));
            }
        });
        let mut reached = 0;
        for _ in 0..20_000 {
            if let Ok(bytes) = dir.read("parent/file", 64) {
                assert_eq!(bytes, b"inside");
                reached += 1;
            }
            if let Ok(file) = dir.open("parent/new", OpenOptions::CREATE_NEW) {
                file.write_all_at(b"new", 0).unwrap();
            }
            let _ = dir.set_mode("parent/file", 0o600);
            let _ = dir.unlink("parent/new");
        }
        done.store(true, Ordering::Relaxed);
        assert!(reached > 0, "the race was run at all");
    });
    assert_eq!(std::fs::read(outside.path().join("file")).unwrap(), b"outside");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1, "nothing was created outside");
    assert_eq!(std::fs::metadata(outside.path().join("file")).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn a_fifo_does_not_hang_the_opener() {
    let (place, dir) = scratch();
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, place.path().join("fifo"), FileType::Fifo, mode, 0).unwrap();
    assert_eq!(dir.metadata("fifo").unwrap().kind, FileKind::Other);
    let fifo = dir.open("fifo", OpenOptions::READ).unwrap();
    assert_eq!(fifo.metadata().unwrap().kind, FileKind::Other);
    assert!(fifo.read_at(&mut [0; 8], 0).is_err());
}

#[test]
fn modes_are_set_even_where_reading_is_forbidden() {
    let (_place, dir) = scratch();
    let file = dir.open("f", OpenOptions::CREATE.mode(0o644)).unwrap();
    dir.set_mode("f", 0o000).unwrap();
    assert_eq!(dir.metadata("f").unwrap().mode, 0);
    dir.set_mode("f", 0o755).unwrap();
    assert_eq!(file.metadata().unwrap().mode, 0o755);
    file.set_mode(0o640).unwrap();
    assert_eq!(dir.metadata("f").unwrap().mode, 0o640);
    dir.create_dir_all("d/e").unwrap();
    dir.set_mode("d/e", 0o500).unwrap();
    assert_eq!(dir.open_dir("d/e").unwrap().metadata("").unwrap().mode, 0o500);
    dir.open_dir("d/e").unwrap().set_mode("", 0o700).unwrap();
    assert_eq!(dir.metadata("d/e").unwrap().mode, 0o700);
}

#[test]
#[cfg(target_os = "linux")]
fn the_unreadable_way_of_setting_modes_follows_no_link() {
    let (place, _dir) = scratch();
    std::fs::write(place.path().join("f"), b"").unwrap();
    symlink("f", place.path().join("l")).unwrap();
    let here = fs::File::open(place.path()).unwrap();
    chmod_unreadable(here.as_fd(), Path::new("f"), Mode::from_raw_mode(0o400)).unwrap();
    assert_eq!(std::fs::metadata(place.path().join("f")).unwrap().permissions().mode() & 0o777, 0o400);
    assert!(chmod_unreadable(here.as_fd(), Path::new("l"), Mode::from_raw_mode(0o777)).is_err());
}

#[test]
fn locks_exclude_between_handles_of_one_process() {
    let (_place, dir) = scratch();
    let open = || dir.open("lock", OpenOptions::CREATE).unwrap();
    let (first, second, third) = (open(), open(), open());
    assert!(first.try_lock(LockKind::Exclusive).unwrap());
    assert!(!second.try_lock(LockKind::Exclusive).unwrap());
    assert!(!second.try_lock(LockKind::Shared).unwrap());
    first.unlock().unwrap();
    assert!(second.try_lock(LockKind::Shared).unwrap());
    assert!(third.try_lock(LockKind::Shared).unwrap());
    assert!(!first.try_lock(LockKind::Exclusive).unwrap());
    drop((second, third));
    assert!(first.try_lock(LockKind::Exclusive).unwrap(), "closing a handle frees its lock");
}

#[test]
fn failures_name_the_operation_and_the_whole_path() {
    let (place, dir) = scratch();
    let error = dir.open_dir("none").unwrap_err();
    assert_eq!(error.to_string(), format!("cannot open {}", place.path().join("none").display()));
    assert!(error.is_not_found());
    assert_eq!(dir.unlink("gone").unwrap_err().operation, "remove");
}
