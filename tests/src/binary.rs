//! The `shard` program under test.
//!
//! Cargo builds another package's binary for nobody, so the first test that wants one asks cargo for it, with the profile
//! and target directory of the running test executable. `SHARD_BIN` names a program to use as it is instead.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// The `shard` program, and what it can do.
#[derive(Debug)]
pub struct Shard {
    path: PathBuf,
    commands: Mutex<BTreeMap<String, bool>>,
}

impl Shard {
    /// Returns the program for this process, building it at the first call.
    ///
    /// # Panics
    /// When `SHARD_BIN` names no file, or the build fails: no test could say anything then.
    pub fn get() -> &'static Self {
        static SHARD: OnceLock<Shard> = OnceLock::new();
        SHARD.get_or_init(|| {
            let path = match env::var_os("SHARD_BIN") {
                Some(path) => {
                    let path = PathBuf::from(path);
                    path.canonicalize().unwrap_or_else(|e| panic!("SHARD_BIN={}: {e}", path.display()))
                }
                None => Build::of_running_executable().product_up_to_date(),
            };
            Self { path, commands: Mutex::new(BTreeMap::new()) }
        })
    }

    /// Returns where the program is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the program has the command `verb`: its help speaks of a usage, and where nothing is it fails with
    /// anything but `unsupported`.
    pub fn has_command(&self, verb: &str) -> bool {
        let mut commands = self.commands.lock().expect("no holder panics");
        *commands.entry(verb.to_owned()).or_insert_with(|| self.tries(verb))
    }

    fn tries(&self, verb: &str) -> bool {
        let Ok(empty) = tempfile::tempdir() else { return false };
        let run = |arguments: &[&str]| {
            Command::new(&self.path)
                .args(arguments)
                .current_dir(&empty)
                .env("HOME", empty.path())
                .env_remove("SHARD_DIR")
                .stdin(Stdio::null())
                .output()
        };
        if !run(&[verb, "--help"])
            .is_ok_and(|o| o.status.success() && String::from_utf8_lossy(&o.stdout).contains("Usage"))
        {
            return false;
        }
        // A demonstration is not begun just to see whether it would.
        verb == "demo"
            || run(&["--json", verb]).is_ok_and(|o| !String::from_utf8_lossy(&o.stdout).contains("\"unsupported\""))
    }
}

/// The build that yields a `shard` beside the running test executable.
#[derive(Debug, PartialEq, Eq)]
struct Build {
    profile: String,
    triple: Option<String>,
    target_dir: PathBuf,
}

impl Build {
    fn of_running_executable() -> Self {
        let executable = env::current_exe().expect("a running process has an executable");
        Self::of(&executable)
    }

    /// Reads profile and target directory off a path like `target/[TRIPLE/]debug/[deps/]name`.
    fn of(executable: &Path) -> Self {
        let mut directory = executable.parent().expect("an executable lies in a directory");
        if directory.file_name() == Some(OsStr::new("deps")) || directory.file_name() == Some(OsStr::new("examples")) {
            directory = directory.parent().expect("cargo puts `deps` beneath a profile");
        }
        let name = |d: &Path| d.file_name().and_then(OsStr::to_str).unwrap_or_default().to_owned();
        let profile = name(directory);
        let mut target_dir = directory.parent().unwrap_or(directory);
        let mut triple = None;
        if name(target_dir).matches('-').count() >= 2
            && target_dir.parent().is_some_and(|d| d.join("CACHEDIR.TAG").exists())
        {
            triple = Some(name(target_dir));
            target_dir = target_dir.parent().expect("checked just above");
        }
        Self { profile, triple, target_dir: target_dir.to_owned() }
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> =
            ["build", "--quiet", "--locked", "--package", "shard-cli", "--bin", "shard"].map(String::from).into();
        match self.profile.as_str() {
            "debug" => {}
            "release" => arguments.push("--release".into()),
            other => arguments.extend(["--profile".into(), other.into()]),
        }
        if let Some(triple) = &self.triple {
            arguments.extend(["--target".into(), triple.clone()]);
        }
        arguments.extend(["--target-dir".into(), self.target_dir.display().to_string()]);
        arguments
    }

    fn product(&self) -> PathBuf {
        let mut path = self.target_dir.clone();
        path.extend(self.triple.iter());
        path.join(&self.profile).join(format!("shard{}", env::consts::EXE_SUFFIX))
    }

    /// Returns the program, built anew only if a source it was made from is younger. Where cargo has just built the whole
    /// workspace it is fresh, and asking cargo for this one package could build everything again with fewer features.
    fn product_up_to_date(&self) -> PathBuf {
        let path = self.product();
        if is_fresh(&path) { path } else { self.run() }
    }

    /// Runs cargo and returns the program's path.
    fn run(&self) -> PathBuf {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(&cargo)
            .args(self.arguments())
            .current_dir(workspace())
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|e| panic!("cannot run {}: {e}", cargo.display()));
        let path = self.product();
        assert!(
            output.status.success() && path.is_file(),
            "building shard failed ({}):\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        path
    }
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

/// Returns whether `program` is no older than each source cargo's note beside it (`program.d`) names, and than the lock file.
fn is_fresh(program: &Path) -> bool {
    let changed = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
    let (Some(built), Ok(note)) = (changed(program), std::fs::read_to_string(program.with_extension("d"))) else {
        return false;
    };
    let Some((_, sources)) = note.split_once(": ") else { return false };
    // Spaces in names are escaped by a backslash.
    let sources = sources.replace("\\ ", "\u{0}");
    let sources: Vec<PathBuf> = sources.split_whitespace().map(|s| PathBuf::from(s.replace('\u{0}', " "))).collect();
    let lock = workspace().join("Cargo.lock");
    !sources.is_empty() && sources.iter().chain([&lock]).all(|source| changed(source).is_some_and(|time| time <= built))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_and_target_directory_are_read_off_the_executable() {
        let of = |p: &str| Build::of(Path::new(p));
        let debug = of("/w/target/debug/deps/cases-0123");
        assert_eq!((debug.profile.as_str(), debug.target_dir.as_path()), ("debug", Path::new("/w/target")));
        assert_eq!(debug.product(), Path::new("/w/target/debug/shard"));
        assert!(!debug.arguments().contains(&"--release".to_owned()));
        let release = of("/w/target/release/shard-tests");
        assert!(release.arguments().contains(&"--release".to_owned()));
        assert_eq!(release.product(), Path::new("/w/target/release/shard"));
        assert!(of("/w/target/ci/deps/x-1").arguments().join(" ").contains("--profile ci"));
    }

    #[test]
    fn a_target_triple_is_passed_on() {
        let target = tempfile::tempdir().unwrap();
        std::fs::write(target.path().join("CACHEDIR.TAG"), "").unwrap();
        let build = Build::of(&target.path().join("x86_64-unknown-linux-musl/debug/deps/cases-1"));
        assert_eq!(build.triple.as_deref(), Some("x86_64-unknown-linux-musl"));
        assert_eq!(build.target_dir, target.path());
        assert_eq!(build.product(), target.path().join("x86_64-unknown-linux-musl/debug/shard"));
    }

    #[test]
    fn a_program_older_than_a_source_is_not_fresh() {
        let directory = tempfile::tempdir().unwrap();
        let (source, program) = (directory.path().join("a b.rs"), directory.path().join("shard"));
        assert!(!is_fresh(&program));
        std::fs::write(&source, "").unwrap();
        std::fs::write(&program, "").unwrap();
        let note = format!("{}: {}\n", program.display(), source.display().to_string().replace(' ', "\\ "));
        std::fs::write(directory.path().join("shard.d"), note).unwrap();
        assert!(is_fresh(&program));
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
        std::fs::File::options().append(true).open(&source).unwrap().set_modified(later).unwrap();
        assert!(!is_fresh(&program));
        std::fs::remove_file(&source).unwrap();
        assert!(!is_fresh(&program));
    }
}
