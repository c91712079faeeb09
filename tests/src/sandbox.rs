//! A directory of one's own to run commands in.
//!
//! Nothing of the surrounding user leaks in: `HOME`, the XDG directories and the temporary directory lie inside, `SHARD_*`
//! and `GIT_*` variables are removed, language, zone and width are fixed, and `shard` is the first program on the path.
//! The directory disappears with the value unless `SHARD_TEST_KEEP` is set.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::Shard;

/// A scratch directory with an environment that depends on nothing outside.
#[derive(Debug)]
pub struct Sandbox {
    root: tempfile::TempDir,
    shard: Option<PathBuf>,
    variables: Vec<(String, String)>,
}

impl Sandbox {
    /// Makes a sandbox in which `shard` can be called.
    ///
    /// # Errors
    /// Whatever making directories there meets.
    pub fn new() -> io::Result<Self> {
        Self::beneath(&env::temp_dir(), Some(Shard::get().path()))
    }

    /// Makes a sandbox without `shard`, which is therefore not built.
    ///
    /// # Errors
    /// Whatever making directories there meets.
    pub fn without_shard() -> io::Result<Self> {
        Self::beneath(&env::temp_dir(), None)
    }

    /// Makes a sandbox in a new directory beneath `parent`, for tests that need a file system of their own.
    ///
    /// # Errors
    /// Whatever making directories there meets.
    pub fn beneath(parent: &Path, shard: Option<&Path>) -> io::Result<Self> {
        let mut root = tempfile::Builder::new().prefix("shard-test-").tempdir_in(parent)?;
        root.disable_cleanup(env::var_os("SHARD_TEST_KEEP").is_some());
        std::fs::create_dir(root.path().join(".bin"))?;
        std::fs::create_dir(root.path().join(".tmp"))?;
        if let Some(shard) = shard {
            std::os::unix::fs::symlink(shard, root.path().join(".bin/shard"))?;
        }
        Ok(Self { root, shard: shard.map(Path::to_owned), variables: Vec::new() })
    }

    /// Leaves the directory where it is when the value goes, for file systems that vanish as a whole.
    pub fn keep(&mut self) {
        self.root.disable_cleanup(true);
    }

    /// Sets a variable for every later command.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Returns the directory itself.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// Returns a command that runs `program` as `actor`, in that actor's directory, which is made if absent.
    ///
    /// # Errors
    /// Whatever making the directories meets.
    pub fn command(&self, actor: &str, program: impl AsRef<OsStr>) -> io::Result<Command> {
        let home = self.path().join(".homes").join(actor);
        let work = self.path().join(actor);
        std::fs::create_dir_all(&home)?;
        std::fs::create_dir_all(&work)?;
        let mut path = vec![self.path().join(".bin")];
        path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        let mut command = Command::new(program);
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy();
            let drop =
                ["SHARD_", "GIT_", "XDG_", "LC_", "BORG_", "RESTIC_", "CARGO"].iter().any(|p| name.starts_with(p));
            if drop || ["LANGUAGE", "PAGER", "EDITOR", "VISUAL", "NO_COLOR", "CLICOLOR_FORCE"].contains(&&*name) {
                command.env_remove(&*name);
            }
        }
        command
            .current_dir(work)
            .stdin(Stdio::null())
            .env("PATH", env::join_paths(path).expect("entries came out of a path"))
            .env("HOME", &home)
            .env("XDG_CONFIG_HOME", home.join(".config"))
            .env("XDG_STATE_HOME", home.join(".local/state"))
            .env("XDG_CACHE_HOME", home.join(".cache"))
            .env("XDG_DATA_HOME", home.join(".local/share"))
            .env("TMPDIR", self.path().join(".tmp"))
            .env("USER", actor)
            .env("LOGNAME", actor)
            .env("LANG", "C.UTF-8")
            .env("TZ", "UTC")
            .env("TERM", "dumb")
            .env("COLUMNS", "100")
            .env("SHARD_USER_NAME", format!("{actor}@laptop"));
        for (name, value) in &self.variables {
            command.env(name, value);
        }
        Ok(command)
    }

    /// Returns a command that runs `shard` with `arguments` as `actor`.
    ///
    /// # Errors
    /// Whatever making the directories meets.
    ///
    /// # Panics
    /// When the sandbox was made without `shard`.
    pub fn shard<S: AsRef<OsStr>>(&self, actor: &str, arguments: impl IntoIterator<Item = S>) -> io::Result<Command> {
        let mut command = self.command(actor, self.shard.as_ref().expect("the sandbox was made with shard"))?;
        command.args(arguments);
        Ok(command)
    }

    /// Runs `shard` as `ana` to its end.
    ///
    /// # Errors
    /// When the program cannot be started; its own failure is in the output.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> io::Result<Output> {
        self.shard("ana", arguments)?.output()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_run_in_the_actors_directory_with_a_home_inside() {
        let mut sandbox = Sandbox::without_shard().unwrap();
        sandbox.set("COLOUR", "blue");
        let mut command = sandbox.command("bo", "sh").unwrap();
        command.args(["-c", "pwd; echo $HOME; echo $SHARD_USER_NAME $COLOUR"]);
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let root = sandbox.path().canonicalize().unwrap();
        let home = sandbox.path().join(".homes/bo");
        assert_eq!(text, format!("{}\n{}\nbo@laptop blue\n", root.join("bo").display(), home.display()));
    }

    #[test]
    fn variables_of_the_surroundings_stay_outside() {
        let sandbox = Sandbox::without_shard().unwrap();
        let output = sandbox.command("ana", "env").unwrap().output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let leaked: Vec<_> = text.lines().filter(|l| l.starts_with("SHARD_") || l.starts_with("CARGO")).collect();
        assert_eq!(leaked, ["SHARD_USER_NAME=ana@laptop"]);
    }
}
