//! A program that commits, and the judge of what it kept.
//!
//! Commit `n` changes one file of seven to a content that follows from `n`, so the right content of every file at every commit
//! is known without asking the program. Sizes differ widely: small commits and large ones take different ways to the disk.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::Sandbox;
use crate::corpus::Stream;

/// How many files commits take turns with.
const FILES: u64 = 7;

/// What was found after an accident.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Acknowledged commits that are not in the history.
    pub lost: Vec<u64>,
    /// What is half done, damaged, or contradicts the history.
    pub torn: Vec<String>,
    /// The newest commit there.
    pub newest: Option<u64>,
}

impl Verdict {
    /// Returns whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.torn.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lost {:?}, torn {:?}, newest {:?}", self.lost, self.torn, self.newest)
    }
}

/// A version store, as a suite sees it.
pub trait Subject: fmt::Debug + Sync {
    /// Makes the repository.
    ///
    /// # Errors
    /// With what the program said.
    fn init(&self, sandbox: &Sandbox) -> Result<(), String>;

    /// Changes the worktree for commit `n`.
    ///
    /// # Errors
    /// When the file cannot be written, which after a power cut is expected.
    fn edit(&self, sandbox: &Sandbox, n: u64) -> io::Result<()> {
        fs::write(worktree(sandbox).join(file_of(n)), content(n))
    }

    /// Returns the command that commits it; exit code 0 acknowledges.
    ///
    /// # Errors
    /// Whatever preparing the command meets.
    fn commit(&self, sandbox: &Sandbox, n: u64) -> io::Result<Command>;

    /// Returns messages of the history, newest first.
    ///
    /// # Errors
    /// With what the program said.
    fn history(&self, sandbox: &Sandbox) -> Result<Vec<String>, String>;

    /// Checks the store itself, as thoroughly as the program can.
    ///
    /// # Errors
    /// With what the program said.
    fn check(&self, sandbox: &Sandbox) -> Result<(), String>;

    /// Writes the newest commit's files to the new directory `to`.
    ///
    /// # Errors
    /// With what the program said.
    fn export(&self, sandbox: &Sandbox, to: &Path) -> Result<(), String>;

    /// Judges what is there against what was acknowledged. `thorough` also checks the store and every file.
    fn judge(&self, sandbox: &Sandbox, acknowledged: &[u64], thorough: bool) -> Verdict {
        let mut verdict = Verdict::default();
        let history = match self.history(sandbox) {
            Ok(history) => history,
            // A repository without a commit may say so by failing.
            Err(_) if acknowledged.is_empty() => return verdict,
            Err(error) => {
                verdict.torn.push(format!("history: {error}"));
                verdict.lost = acknowledged.to_vec();
                return verdict;
            }
        };
        let there: BTreeSet<u64> = history.iter().filter_map(|m| number_of(m)).collect();
        verdict.lost = acknowledged.iter().copied().filter(|n| !there.contains(n)).collect();
        verdict.newest = there.last().copied();
        if !thorough {
            return verdict;
        }
        if let Err(error) = self.check(sandbox) {
            verdict.torn.push(format!("check: {error}"));
        }
        if verdict.newest.is_some() {
            let to = sandbox.path().join(".exported");
            let compared = self.export(sandbox, &to).and_then(|()| compare(&to, &there));
            if let Err(error) = compared {
                verdict.torn.push(format!("content: {error}"));
            }
            if let Err(error) = fs::remove_dir_all(&to) {
                verdict.torn.push(format!("{}: {error}", to.display()));
            }
        }
        verdict
    }
}

/// Our own program, by its command line.
#[derive(Debug)]
pub struct Program;

impl Subject for Program {
    fn init(&self, sandbox: &Sandbox) -> Result<(), String> {
        said(sandbox.shard("ana", ["init", "demo"]))?;
        Ok(())
    }

    fn commit(&self, sandbox: &Sandbox, n: u64) -> io::Result<Command> {
        sandbox.shard("ana", ["-C", "demo", "commit", "-a", "-m", &message_of(n)])
    }

    fn history(&self, sandbox: &Sandbox) -> Result<Vec<String>, String> {
        let output = said(sandbox.shard("ana", ["-C", "demo", "--json", "log", "-n", "1000000"]))?;
        let document: Value = serde_json::from_slice(&output.stdout).map_err(|e| format!("log --json: {e}"))?;
        let mut messages = Vec::new();
        collect_messages(&document, &mut messages);
        Ok(messages)
    }

    fn check(&self, sandbox: &Sandbox) -> Result<(), String> {
        said(sandbox.shard("ana", ["-C", "demo", "fsck", "--full"])).map(|_| ())
    }

    fn export(&self, sandbox: &Sandbox, to: &Path) -> Result<(), String> {
        let to = to.display().to_string();
        said(sandbox.shard("ana", ["-C", "demo", "export", "@", &to])).map(|_| ())
    }
}

/// git, with all it can flush or with its defaults: what a suite is compared with, and the proof that it can see a loss.
#[derive(Debug)]
pub struct Git {
    /// Flush everything, which is not its default.
    pub all_synced: bool,
}

impl Git {
    fn command(&self, sandbox: &Sandbox, arguments: &[&str]) -> io::Result<Command> {
        let mut command = sandbox.command("ana", "git")?;
        command
            .args(["-C", "demo"])
            .args(arguments)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_AUTHOR_NAME", "ana")
            .env("GIT_AUTHOR_EMAIL", "ana@laptop")
            .env("GIT_COMMITTER_NAME", "ana")
            .env("GIT_COMMITTER_EMAIL", "ana@laptop");
        Ok(command)
    }
}

impl Subject for Git {
    fn init(&self, sandbox: &Sandbox) -> Result<(), String> {
        let mut init = sandbox.command("ana", "git").map_err(|e| e.to_string())?;
        init.args(["init", "-q", "demo"]);
        said(Ok(init))?;
        said(self.command(sandbox, &["config", "gc.auto", "0"]))?;
        if self.all_synced {
            said(self.command(sandbox, &["config", "core.fsync", "all"]))?;
        }
        // Whatever it is told, it does not flush what `init` makes.
        said(sandbox.command("ana", "sync"))?;
        Ok(())
    }

    fn commit(&self, sandbox: &Sandbox, n: u64) -> io::Result<Command> {
        let message = message_of(n);
        let mut command = self.command(sandbox, &[])?;
        let script = format!("git add -A && exec git commit -q -m '{message}'");
        command = {
            let mut shell = sandbox.command("ana", "sh")?;
            shell.current_dir(worktree(sandbox)).args(["-ec", &script]);
            for (name, value) in command.get_envs() {
                if let Some(value) = value {
                    shell.env(name, value);
                }
            }
            shell
        };
        Ok(command)
    }

    fn history(&self, sandbox: &Sandbox) -> Result<Vec<String>, String> {
        let output = said(self.command(sandbox, &["log", "--format=%s"]))?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }

    fn check(&self, sandbox: &Sandbox) -> Result<(), String> {
        said(self.command(sandbox, &["fsck", "--full", "--strict", "--no-dangling"])).map(|_| ())
    }

    fn export(&self, sandbox: &Sandbox, to: &Path) -> Result<(), String> {
        fs::create_dir(to).map_err(|e| e.to_string())?;
        let tree = format!("--work-tree={}", to.display());
        let mut command =
            self.command(sandbox, &[&tree, "checkout", "-q", "-f", "HEAD", "--", ":/"]).map_err(|e| e.to_string())?;
        command.env("GIT_INDEX_FILE", sandbox.path().join(".index"));
        said(Ok(command)).map(|_| ())
    }
}

/// A store of a dozen shell lines, right by inspection or wrong on purpose: it shows that a suite finds nothing where nothing is,
/// and something where something is. It copies the worktree for each commit and appends the message to a log.
#[derive(Debug)]
pub struct Shell {
    /// Flush copies, their directory and the log, in this order.
    pub synced: bool,
}

impl Subject for Shell {
    fn init(&self, sandbox: &Sandbox) -> Result<(), String> {
        let script = "mkdir -p demo && mkdir ../store && : > ../store/log && sync";
        said(self.script(sandbox, script)).map(|_| ())
    }

    fn commit(&self, sandbox: &Sandbox, n: u64) -> io::Result<Command> {
        let sync = if self.synced { "sync" } else { "true" };
        self.script(
            sandbox,
            &format!(
                "cp -r demo ../store/{n} && {sync} ../store/{n}/* ../store/{n} ../store \
                 && echo '{}' >> ../store/log && {sync} ../store/log",
                message_of(n)
            ),
        )
    }

    fn history(&self, sandbox: &Sandbox) -> Result<Vec<String>, String> {
        let log = fs::read_to_string(sandbox.path().join("store/log")).map_err(|e| e.to_string())?;
        Ok(log.lines().rev().map(str::to_owned).collect())
    }

    fn check(&self, sandbox: &Sandbox) -> Result<(), String> {
        for message in self.history(sandbox)? {
            let n = number_of(&message).ok_or_else(|| format!("the log says `{message}`"))?;
            let kept = fs::read(sandbox.path().join(format!("store/{n}/{}", file_of(n)))).map_err(|e| e.to_string())?;
            if kept != content(n) {
                return Err(format!("commit {n} holds something else"));
            }
        }
        Ok(())
    }

    fn export(&self, sandbox: &Sandbox, to: &Path) -> Result<(), String> {
        let newest = self.history(sandbox)?.first().and_then(|m| number_of(m)).ok_or("the log has no end")?;
        said(self.script(sandbox, &format!("cp -r ../store/{newest} '{}'", to.display()))).map(|_| ())
    }
}

impl Shell {
    fn script(&self, sandbox: &Sandbox, script: &str) -> io::Result<Command> {
        let mut command = sandbox.command("ana", "sh")?;
        command.args(["-ec", script]);
        Ok(command)
    }
}

/// Returns the worktree of the repository a suite works in.
pub(super) fn worktree(sandbox: &Sandbox) -> PathBuf {
    sandbox.path().join("ana/demo")
}

/// Runs a command to its end and returns its output.
///
/// # Errors
/// The exit code is not 0: the program's last words.
pub(super) fn said(command: io::Result<Command>) -> Result<Output, String> {
    let mut command = command.map_err(|e| e.to_string())?;
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(output);
    }
    let words = [output.stderr, output.stdout].concat();
    let words = String::from_utf8_lossy(&words);
    let tail: Vec<_> = words.trim().lines().rev().take(3).collect();
    let tail = tail.into_iter().rev().collect::<Vec<_>>().join(" / ");
    Err(format!("{:?} ended with {}: {tail}", command.get_args().collect::<Vec<_>>(), output.status))
}

fn message_of(n: u64) -> String {
    format!("commit {n}")
}

fn number_of(message: &str) -> Option<u64> {
    message.trim().strip_prefix("commit ")?.parse().ok()
}

fn file_of(n: u64) -> String {
    format!("f{}", n % FILES)
}

/// Most commits are small; one in five is too large to ride in a log record.
fn content(n: u64) -> Vec<u8> {
    let mut stream = Stream::new(n, "commit content");
    let len = if n.is_multiple_of(5) { 70_000 + stream.below(400_000) } else { 1 + stream.below(3_000) };
    let mut bytes = vec![0; len as usize];
    stream.fill(&mut bytes);
    bytes
}

/// Compares the exported files with what the newest commit must hold, given all numbers in the history: a killed commit may
/// have happened or not, so a file holds what the newest commit that is there gave it.
fn compare(exported: &Path, there: &BTreeSet<u64>) -> Result<(), String> {
    for file in 0..FILES {
        let expected = there.iter().rev().find(|n| **n % FILES == file);
        let path = exported.join(file_of(file));
        match (expected, fs::read(&path)) {
            (None, Err(_)) => {}
            (Some(n), Ok(bytes)) if bytes == content(*n) => {}
            // The edit of a commit that never happened stays in the worktree, and the next commit takes it along.
            (_, Ok(bytes)) if is_content_of_unfinished(&bytes, file, there) => {}
            (Some(n), _) => return Err(format!("{} is not what commit {n} made it", file_of(file))),
            (None, Ok(_)) => return Err(format!("{} is there, and nobody committed it", file_of(file))),
        }
    }
    Ok(())
}

fn is_content_of_unfinished(bytes: &[u8], file: u64, there: &BTreeSet<u64>) -> bool {
    let newest = there.last().copied().unwrap_or(0);
    (0..=newest).rev().filter(|n| n % FILES == file && !there.contains(n)).take(8).any(|n| content(n) == bytes)
}

fn collect_messages(value: &Value, messages: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if name == "message" => messages.push(text.clone()),
                    other => collect_messages(other, messages),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_messages(item, messages)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::need::on_path;

    /// The judge, tried on a program whose behaviour is known.
    #[test]
    fn the_judge_misses_what_is_not_there_and_nothing_else() {
        if !on_path("git") {
            return;
        }
        let (sandbox, git) = (Sandbox::without_shard().unwrap(), Git { all_synced: false });
        git.init(&sandbox).unwrap();
        for n in 1..=9 {
            git.edit(&sandbox, n).unwrap();
            said(git.commit(&sandbox, n)).unwrap();
        }
        let all: Vec<u64> = (1..=9).collect();
        let verdict = git.judge(&sandbox, &all, true);
        assert!(verdict.is_clean() && verdict.newest == Some(9), "{verdict}");
        assert_eq!(git.judge(&sandbox, &[3, 10, 11], true).lost, [10, 11]);
        // An object overwritten with nothing, as a power cut leaves it.
        let objects = worktree(&sandbox).join(".git/objects");
        let some = fs::read_dir(&objects).unwrap().flatten().find(|d| d.file_name().len() == 2).unwrap();
        let object = fs::read_dir(some.path()).unwrap().flatten().next().unwrap().path();
        fs::remove_file(&object).unwrap();
        fs::write(&object, "").unwrap();
        assert!(!git.judge(&sandbox, &all, true).is_clean());
    }

    #[test]
    fn an_unfinished_edit_may_ride_along_with_the_next_commit() {
        let directory = tempfile::tempdir().unwrap();
        let there: BTreeSet<u64> = [1, 3].into();
        for n in [1, 2, 3] {
            fs::write(directory.path().join(file_of(n)), content(n)).unwrap();
        }
        assert_eq!(compare(directory.path(), &there), Ok(()));
        fs::write(directory.path().join("f1"), "torn").unwrap();
        assert!(compare(directory.path(), &there).is_err());
    }
}
