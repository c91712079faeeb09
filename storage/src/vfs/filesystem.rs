//! What kind of file system a directory lies on: whether locks can be trusted there, and how coarse its clock is.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::StatVfsMountFlags;

use super::FilesystemInfo;

/// The step of the kernel's file clock at the slowest usual tick, 100 Hz: no local file system is finer for certain.
const TICK_NS: i64 = 10_000_000;
/// FAT counts modification times in steps of two seconds; servers may export one.
const TWO_SECONDS_NS: i64 = 2_000_000_000;
const SECOND_NS: i64 = 1_000_000_000;

/// Describes the file system `dir` lies on.
pub(super) fn describe(dir: BorrowedFd<'_>) -> io::Result<FilesystemInfo> {
    let volume = rustix::fs::fstatvfs(dir)?;
    let (network, granularity_ns) = kind(dir)?;
    Ok(FilesystemInfo {
        network,
        read_only: volume.f_flag.contains(StatVfsMountFlags::RDONLY),
        free: volume.f_bavail.saturating_mul(volume.f_frsize),
        total: volume.f_blocks.saturating_mul(volume.f_frsize),
        granularity_ns,
    })
}

/// Says whether the file system is a network one, and its timestamp step in nanoseconds.
#[cfg(target_os = "linux")]
#[allow(clippy::unnecessary_cast)]
fn kind(dir: BorrowedFd<'_>) -> io::Result<(bool, i64)> {
    // Magic numbers of linux/magic.h; the field is signed on some platforms, so only its low 32 bits count.
    let magic = rustix::fs::fstatfs(dir)?.f_type as u32;
    Ok(match magic {
        0x6969 => (true, SECOND_NS),                                  // NFS
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => (true, TWO_SECONDS_NS), // CIFS, SMB2, SMB
        0x0102_1997 => (true, SECOND_NS),                             // 9p
        0x00c3_6400 | 0x5346_414f | 0x7375_7245 | 0x0bd0_0bd0 | 0x0116_1970 | 0x564c => (true, SECOND_NS), // Ceph, AFS, Coda, Lustre, GFS2, NCP
        0x4d44 => (false, TWO_SECONDS_NS),                                                                 // FAT
        0x482b | 0x4244 => (false, SECOND_NS),                                                             // HFS+, HFS
        0x6573_5546 => (fuse_is_network(dir), TWO_SECONDS_NS), // FUSE: whatever lies behind it
        _ => (false, TICK_NS),
    })
}

#[cfg(not(target_os = "linux"))]
fn kind(_: BorrowedFd<'_>) -> io::Result<(bool, i64)> {
    Ok((false, SECOND_NS))
}

/// Says whether the FUSE mount `dir` lies on is one of those that reach over a network. Where the mount table cannot
/// be read the answer is yes: a needless warning costs less than a lock that excludes nobody.
#[cfg(target_os = "linux")]
fn fuse_is_network(dir: BorrowedFd<'_>) -> bool {
    let Ok(stat) = rustix::fs::fstat(dir) else { return true };
    let Ok(table) = std::fs::read_to_string("/proc/self/mountinfo") else { return true };
    let device = format!("{}:{}", rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
    mount_type(&table, &device).is_none_or(|name| !LOCAL_FUSE.contains(&name))
}

/// FUSE file systems whose bytes lie on this machine.
#[cfg(target_os = "linux")]
const LOCAL_FUSE: &[&str] = &[
    "fuseblk",
    "fuse.ntfs-3g",
    "fuse.exfat",
    "fuse.ext4",
    "fuse.fuse2fs",
    "fuse.bindfs",
    "fuse.mergerfs",
    "fuse.fuse-overlayfs",
    "fuse.gocryptfs",
    "fuse.encfs",
    "fuse.cryfs",
    "fuse.unionfs",
];

/// Finds the file system type of a device (`major:minor`) in the text of `/proc/self/mountinfo`.
#[cfg(target_os = "linux")]
fn mount_type<'a>(table: &'a str, device: &str) -> Option<&'a str> {
    table.lines().find_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let here = mount.split(' ').nth(2)? == device;
        if here { source.split(' ').next() } else { None }
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn mount_table_gives_the_type_of_a_device() {
        let table = "22 1 254:0 / / rw,relatime - ext4 /dev/root rw\n\
                     90 22 0:51 / /mnt/far rw,nosuid shared:3 - fuse.sshfs host:/ rw\n\
                     91 22 0:52 / /mnt/stick rw - fuseblk /dev/sdb1 rw\n";
        assert_eq!(mount_type(table, "0:51"), Some("fuse.sshfs"));
        assert_eq!(mount_type(table, "0:52"), Some("fuseblk"));
        assert_eq!(mount_type(table, "9:9"), None);
    }

    #[test]
    fn temporary_directory_is_described() {
        use std::os::fd::AsFd;
        let here = tempfile::tempdir().unwrap();
        let dir = std::fs::File::open(here.path()).unwrap();
        let info = describe(dir.as_fd()).unwrap();
        assert!(info.total > 0 && info.free <= info.total && info.granularity_ns >= TICK_NS, "{info:?}");
        assert!(!info.read_only);
    }
}
