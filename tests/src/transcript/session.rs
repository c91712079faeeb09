//! Playing the steps of a page, one shell per command, with directory and variables carried over.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;

use super::page::Step;
use super::pattern::{Pattern, align};
use crate::Sandbox;

/// What a step printed and how it ended.
#[derive(Debug, Clone)]
pub struct StepOutcome {
    /// Standard output and standard error, in the order of writing, with the sandbox's path shown as `[ROOT]`.
    pub lines: Vec<String>,
    /// Exit code; 128 and the signal's number for a command that was killed.
    pub exit: i32,
}

impl StepOutcome {
    /// Compares with what the page says.
    pub fn mismatch(&self, step: &Step) -> Option<Mismatch> {
        let patterns: Vec<_> = step.expected.iter().map(|l| Pattern::parse(l)).collect();
        let (_, whole) = align(&patterns, &self.lines);
        (!whole || self.exit != step.exit).then(|| Mismatch {
            line: step.line,
            command: step.command.clone(),
            expected: step.expected.clone(),
            actual: self.lines.clone(),
            expected_exit: step.exit,
            exit: self.exit,
        })
    }
}

/// A step that came out otherwise than the page says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Line of the prompt in the page, counted from 1.
    pub line: usize,
    /// The command.
    pub command: String,
    /// Lines of the page.
    pub expected: Vec<String>,
    /// Lines that came out.
    pub actual: Vec<String>,
    /// Exit code of the page.
    pub expected_exit: i32,
    /// Exit code that came out.
    pub exit: i32,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "line {}: $ {}", self.line, self.command.replace('\n', "\n> "))?;
        let patterns: Vec<_> = self.expected.iter().map(|l| Pattern::parse(l)).collect();
        let (assigned, _) = align(&patterns, &self.actual);
        let mut next = 0;
        for (line, pattern) in self.actual.iter().zip(&assigned) {
            match pattern {
                Some(p) => {
                    for missing in self.expected.iter().take(*p).skip(next).filter(|l| *l != "...") {
                        writeln!(f, "-{missing}")?;
                    }
                    next = p + 1;
                    writeln!(f, " {line}")?;
                }
                None => {
                    // An unassigned line usually replaces the next expected one: show them together.
                    let used = assigned.iter().flatten().any(|p| *p == next);
                    if next < self.expected.len() && !used && self.expected[next] != "..." {
                        writeln!(f, "-{}", self.expected[next])?;
                        next += 1;
                    }
                    writeln!(f, "+{line}")?;
                }
            }
        }
        for missing in self.expected.iter().skip(next).filter(|l| *l != "...") {
            writeln!(f, "-{missing}")?;
        }
        if self.exit != self.expected_exit {
            writeln!(f, "-(exit {})\n+(exit {})", self.expected_exit, self.exit)?;
        }
        Ok(())
    }
}

/// A session under way: where each actor stands.
#[derive(Debug)]
pub struct Session<'a> {
    sandbox: &'a Sandbox,
    directories: BTreeMap<String, PathBuf>,
}

impl<'a> Session<'a> {
    /// Begins a session in which every actor stands in a directory of their own name.
    pub fn new(sandbox: &'a Sandbox) -> Self {
        Self { sandbox, directories: BTreeMap::new() }
    }

    /// Runs one step to its end. Directory and variables are carried to the actor's next step.
    ///
    /// # Errors
    /// The shell cannot be started.
    pub fn play(&mut self, step: &Step) -> io::Result<StepOutcome> {
        let state = self.sandbox.path().join(".homes").join(format!(".{}", step.actor));
        let (where_file, variables) = (state.with_extension("directory"), state.with_extension("variables"));
        let script = format!(
            "exec 2>&1\n[ ! -f '{vars}' ] || . '{vars}'\nset -a\ntrap '{{ pwd > '\\''{dir}'\\''; export -p > '\\''{vars}'\\''; }} 2>/dev/null' EXIT\n{command}\n",
            vars = variables.display(),
            dir = where_file.display(),
            command = step.command
        );
        let mut command = self.sandbox.command(&step.actor, "sh")?;
        command.args(["-e", "-c", &script]).stderr(Stdio::null());
        if let Some(directory) = self.directories.get(&step.actor) {
            command.current_dir(directory);
        }
        let output = command.output()?;
        if let Ok(directory) = std::fs::read_to_string(&where_file) {
            self.directories.insert(step.actor.clone(), PathBuf::from(directory.trim_end_matches('\n')));
        }
        let exit = output.status.code().unwrap_or_else(|| {
            use std::os::unix::process::ExitStatusExt;
            128 + output.status.signal().unwrap_or(0)
        });
        Ok(StepOutcome { lines: self.readable(&output.stdout), exit })
    }

    fn readable(&self, bytes: &[u8]) -> Vec<String> {
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        if let Ok(canonical) = self.sandbox.path().canonicalize() {
            text = text.replace(&canonical.display().to_string(), "[ROOT]");
        }
        text = text.replace(&self.sandbox.path().display().to_string(), "[ROOT]");
        // Trailing blanks do not survive editors, so they count on neither side.
        let mut lines: Vec<String> = text.lines().map(|l| l.trim_end().to_owned()).collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }
}
