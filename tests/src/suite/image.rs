//! A file system in a file, that can be shut down beneath whoever uses it.
//!
//! The shutdown call of ext4 stops all writing at once: what the journal has not taken is gone, as after a power cut. It is
//! only ever issued on a file system whose device is a loop device backed by the image made here.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::need::on_path;

/// Opens the mount, says so, waits for a line, and shuts the file system down. 0x8004587d is `EXT4_IOC_SHUTDOWN`.
const PYTHON: &str = "import fcntl,os,struct,sys
d=os.open(sys.argv[1],os.O_RDONLY)
print('ready',flush=True)
sys.stdin.readline()
fcntl.ioctl(d,0x8004587d,struct.pack('I',int(sys.argv[2])))
print('down',flush=True)
";
const PERL: &str = "$|=1; opendir(my $d,$ARGV[0]) or die; print \"ready\\n\"; <STDIN>; my $f=pack('I',$ARGV[1]);
open(my $h,'<',$ARGV[0]) or die; ioctl($h,0x8004587d,$f) or die \"$!\"; print \"down\\n\";
";

/// How the journal fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The journal reaches the disk first.
    JournalFlushed = 1,
    /// It does not.
    JournalLost = 2,
}

/// An ext4 file system in a file, mounted.
#[derive(Debug)]
pub struct Image {
    file: PathBuf,
    mount: PathBuf,
    mounted: bool,
}

impl Image {
    /// Makes and mounts one of `mebibytes` beneath `directory`.
    ///
    /// # Errors
    /// With what `mkfs.ext4` or `mount` said.
    pub fn new(directory: &Path, mebibytes: u64) -> Result<Self, String> {
        let (file, mount) = (directory.join("image"), directory.join("mount"));
        fs::create_dir_all(&mount).map_err(|e| e.to_string())?;
        run("truncate", &["-s", "0", &file.display().to_string()])?;
        run("truncate", &["-s", &format!("{mebibytes}M"), &file.display().to_string()])?;
        run("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", &file.display().to_string()])?;
        let mut image = Self { file, mount, mounted: false };
        image.mount()?;
        Ok(image)
    }

    /// Returns where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Mounts it again, which replays the journal.
    ///
    /// # Errors
    /// With what `mount` said.
    pub fn mount(&mut self) -> Result<(), String> {
        run("mount", &["-o", "loop", &self.file.display().to_string(), &self.mount.display().to_string()])?;
        self.mounted = true;
        Ok(())
    }

    /// Unmounts it, waiting a little for processes that are just ending.
    ///
    /// # Errors
    /// With what `umount` said last.
    pub fn unmount(&mut self) -> Result<(), String> {
        let mut last = String::new();
        for _ in 0..200 {
            match run("umount", &[&self.mount.display().to_string()]) {
                Ok(()) => {
                    self.mounted = false;
                    return Ok(());
                }
                Err(error) => last = error,
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(last)
    }

    /// Prepares a shutdown, so that it can happen within a millisecond of being asked for.
    ///
    /// # Errors
    /// The mount is not ours, or no interpreter can be started.
    pub fn prepare_cut(&self, cut: Cut) -> Result<PreparedCut, String> {
        self.refuse_other_devices()?;
        let (program, script) = if on_path("python3") { ("python3", ["-c", PYTHON]) } else { ("perl", ["-e", PERL]) };
        let mut child = Command::new(program)
            .args(script)
            .arg(&self.mount)
            .arg((cut as u32).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{program}: {e}"))?;
        let mut told = BufReader::new(child.stdout.take().expect("piped just above"));
        expect(&mut told, "ready")?;
        Ok(PreparedCut { child, told })
    }

    /// Checks that the mount's device is a loop device backed by this very image.
    fn refuse_other_devices(&self) -> Result<(), String> {
        let mount = self.mount.canonicalize().map_err(|e| e.to_string())?;
        let mounts = fs::read_to_string("/proc/self/mounts").map_err(|e| e.to_string())?;
        let device = mounts
            .lines()
            .rev()
            .find_map(|l| l.split_once(' ').filter(|(_, rest)| rest.split(' ').next() == mount.to_str()))
            .map(|(device, _)| device.to_owned());
        let name = device.as_deref().and_then(|d| d.strip_prefix("/dev/loop")).unwrap_or_default();
        let backing = fs::read_to_string(format!("/sys/block/loop{name}/loop/backing_file")).unwrap_or_default();
        let own = self.file.canonicalize().map_err(|e| e.to_string())?;
        if Path::new(backing.trim()) == own {
            return Ok(());
        }
        Err(format!("{} lies on {device:?}, not on our image: refused", mount.display()))
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.mounted
            && let Err(error) = self.unmount()
        {
            eprintln!("{} stays mounted: {error}", self.mount.display());
        }
    }
}

/// A shutdown that waits for its moment.
#[derive(Debug)]
pub struct PreparedCut {
    child: Child,
    told: BufReader<std::process::ChildStdout>,
}

impl PreparedCut {
    /// Shuts the file system down and returns when it is.
    ///
    /// # Errors
    /// The call was refused.
    pub fn cut(mut self) -> Result<(), String> {
        let mut line = self.child.stdin.take().expect("piped when it was started");
        line.write_all(b"now\n").map_err(|e| e.to_string())?;
        drop(line);
        expect(&mut self.told, "down")?;
        self.child.wait().map_err(|e| e.to_string())?;
        Ok(())
    }
}

fn expect(told: &mut impl BufRead, word: &str) -> Result<(), String> {
    let mut line = String::new();
    told.read_line(&mut line).map_err(|e| e.to_string())?;
    if line.trim() == word { Ok(()) } else { Err(format!("the shutdown helper said `{}`", line.trim())) }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .output()
        .map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
