//! A page: prose, and the steps found in its `console` blocks.

use std::fmt::Write as _;
use std::path::Path;

use super::session::{Mismatch, Session};
use crate::Sandbox;
use crate::need::Need;

/// One command of a page, with what it should print and how it should end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Line of the prompt in the page, counted from 1.
    pub line: usize,
    /// Who types it; a bare `$` is `ana`.
    pub actor: String,
    /// The command; continuation lines (`> `) are joined with line ends.
    pub command: String,
    /// Expected lines, as patterns, standard output and standard error in the order of writing.
    pub expected: Vec<String>,
    /// Expected exit code.
    pub exit: i32,
    /// Lines of the page, counted from 0 and end exclusive, that hold expected output and exit code.
    pub(super) answer: std::ops::Range<usize>,
}

/// Why a page cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub struct PageError {
    /// Line in the page, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

impl std::fmt::Display for PageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// A Markdown page with sessions in it.
#[derive(Debug, Clone)]
pub struct Page {
    pub(super) lines: Vec<String>,
    /// The commands, in order.
    pub steps: Vec<Step>,
    /// Backends the page is about; empty means every one.
    pub backends: Vec<String>,
    /// What the machine must have, besides every `shard` command the page uses.
    pub needs: Vec<Need>,
}

impl Page {
    /// Reads a page from its text.
    ///
    /// # Errors
    /// A block that does not end, output before the first prompt, an unreadable exit code, or an unknown setting.
    pub fn parse(text: &str) -> Result<Self, PageError> {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut page = Self { lines, steps: Vec::new(), backends: Vec::new(), needs: Vec::new() };
        let mut at = 0;
        while at < page.lines.len() {
            let line = page.lines[at].trim_end().to_owned();
            if let Some(setting) = line.strip_prefix("<!-- ").and_then(|l| l.strip_suffix(" -->")) {
                page.read_setting(setting, at)?;
            }
            let fence: String = line.chars().take_while(|c| *c == '`').collect();
            if fence.len() < 3 {
                at += 1;
                continue;
            }
            let is_session = line[fence.len()..].trim() == "console";
            let body = at + 1;
            let Some(end) = (body..page.lines.len()).find(|n| page.lines[*n].trim_end() == fence) else {
                return Err(PageError { line: at + 1, what: "the block does not end".into() });
            };
            if is_session {
                page.read_block(body, end)?;
            }
            at = end + 1;
        }
        Ok(page)
    }

    fn read_setting(&mut self, setting: &str, at: usize) -> Result<(), PageError> {
        if let Some(backends) = setting.strip_prefix("backends: ") {
            self.backends = backends.split_whitespace().map(str::to_owned).collect();
        } else if let Some(needs) = setting.strip_prefix("needs: ") {
            for need in needs.split_whitespace() {
                self.needs.push(match need {
                    "root" => Need::Root,
                    "loop" => Need::Loop,
                    "strace" => Need::Strace,
                    "namespaces" => Need::Namespaces,
                    program => Need::Program(program.to_owned()),
                });
            }
        } else if setting.starts_with("backend") || setting.starts_with("need") {
            return Err(PageError { line: at + 1, what: format!("unknown setting `{setting}`") });
        }
        Ok(())
    }

    fn read_block(&mut self, body: usize, end: usize) -> Result<(), PageError> {
        let mut at = body;
        while at < end {
            let Some((actor, command)) = prompt(&self.lines[at]) else {
                return Err(PageError { line: at + 1, what: "output before the first prompt of the block".into() });
            };
            let (line, actor, mut command) = (at + 1, actor.to_owned(), command.to_owned());
            at += 1;
            while at < end && (self.lines[at].starts_with("> ") || self.lines[at] == ">") {
                write!(command, "\n{}", self.lines[at].get(2..).unwrap_or_default()).expect("strings take everything");
                at += 1;
            }
            let first = at;
            while at < end && prompt(&self.lines[at]).is_none() {
                at += 1;
            }
            let mut expected = self.lines[first..at].to_vec();
            let mut exit = 0;
            if let Some(code) = expected.last().and_then(|l| l.strip_prefix("(exit ")) {
                let code = code.strip_suffix(')').and_then(|c| c.parse().ok());
                exit = code.ok_or(PageError { line: at, what: "an exit code reads `(exit 3)`".into() })?;
                expected.pop();
            }
            self.steps.push(Step { line, actor, command, expected, exit, answer: first..at });
        }
        Ok(())
    }

    /// Returns the `shard` commands the page types, such as `commit`, each once.
    pub fn verbs(&self) -> Vec<String> {
        let pattern = regex::Regex::new(
            r"(?m)(?:^|[|;&(]\s*|\s)shard((?:\s+-C\s+\S+|\s+-{1,2}[a-z][\w-]*(?:=\S+)?)*)\s+([a-z][a-z-]*)",
        );
        let pattern = pattern.expect("a constant pattern");
        let mut verbs = Vec::new();
        for step in &self.steps {
            for found in pattern.captures_iter(&step.command) {
                let verb = found[2].to_owned();
                if !verbs.contains(&verb) {
                    verbs.push(verb);
                }
            }
        }
        verbs
    }

    /// Plays the page in `sandbox` and returns what came out otherwise than written. Stops after a step that ended with
    /// another exit code: what follows would only echo it.
    ///
    /// # Errors
    /// The sandbox could not start a shell.
    pub fn run(&self, sandbox: &Sandbox) -> std::io::Result<Vec<Mismatch>> {
        let mut session = Session::new(sandbox);
        let mut mismatches = Vec::new();
        for step in &self.steps {
            let outcome = session.play(step)?;
            let stop = outcome.exit != step.exit;
            mismatches.extend(outcome.mismatch(step));
            if stop {
                break;
            }
        }
        Ok(mismatches)
    }

    /// Plays the page and returns its text with every answer that did not match replaced by what came out. Lines that
    /// still match keep their wildcards; in new ones, ids, times and durations become wildcards.
    ///
    /// # Errors
    /// The sandbox could not start a shell.
    pub fn bless(&self, sandbox: &Sandbox) -> std::io::Result<String> {
        let mut session = Session::new(sandbox);
        let mut text = String::new();
        let mut copied = 0;
        for step in &self.steps {
            let outcome = session.play(step)?;
            for line in &self.lines[copied..step.answer.start] {
                text.push_str(line);
                text.push('\n');
            }
            for line in super::bless::answer(step, &outcome) {
                text.push_str(&line);
                text.push('\n');
            }
            copied = step.answer.end;
        }
        for line in &self.lines[copied..] {
            text.push_str(line);
            text.push('\n');
        }
        Ok(text)
    }

    /// Reads the page at `path`.
    ///
    /// # Errors
    /// As [`Page::parse`], or the file cannot be read; both as text that names the file.
    pub fn open(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Self::parse(&text).map_err(|e| format!("{}: {e}", path.display()))
    }
}

/// Splits `$ command` or `bo$ command`.
fn prompt(line: &str) -> Option<(&str, &str)> {
    let (actor, command) = line.split_once("$ ")?;
    if !actor.chars().all(|c| c.is_ascii_lowercase()) {
        return None;
    }
    Some((if actor.is_empty() { "ana" } else { actor }, command))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Title\n\n```sh\n$ not run\n```\n\n```console\n$ echo a\na\nbo$ cat <<X\n> one\n> X\none\n$ false\n(exit 1)\n```\n";

    #[test]
    fn only_console_blocks_are_sessions() {
        let page = Page::parse(PAGE).unwrap();
        let commands: Vec<_> = page.steps.iter().map(|s| (s.actor.as_str(), s.command.as_str(), s.exit)).collect();
        assert_eq!(commands, [("ana", "echo a", 0), ("bo", "cat <<X\none\nX", 0), ("ana", "false", 1)]);
        assert_eq!(page.steps[0].line, 8);
        assert_eq!(page.steps[1].expected, ["one"]);
        assert!(page.steps[2].expected.is_empty());
    }

    #[test]
    fn a_block_without_end_or_prompt_is_refused() {
        assert_eq!(Page::parse("```console\n$ a\n").unwrap_err().line, 1);
        assert_eq!(Page::parse("```console\nout\n```\n").unwrap_err().line, 2);
        assert_eq!(Page::parse("```console\n$ a\n(exit x)\n```\n").unwrap_err().line, 3);
    }

    #[test]
    fn settings_choose_backends_and_needs() {
        let page = Page::parse("<!-- backends: flat sled -->\n<!-- needs: root jq -->\n").unwrap();
        assert_eq!(page.backends, ["flat", "sled"]);
        assert_eq!(page.needs, [Need::Root, Need::Program("jq".into())]);
        assert!(Page::parse("<!-- backend: flat -->\n").is_err());
    }

    #[test]
    fn verbs_are_found_behind_global_flags_and_pipes() {
        let text = "```console\n$ shard -C x --json commit -a\n$ cat f | shard add f; (shard log --json)\n$ echo shards are\n```\n";
        assert_eq!(Page::parse(text).unwrap().verbs(), ["commit", "add", "log"]);
    }

    #[test]
    fn a_page_runs_in_one_sandbox_in_order() {
        let text = "```console\n$ mkdir d && cd d\n$ printf 'x\\n' > f\n$ cat f\nx\nbo$ cat ../ana/d/f\nx\n$ word=kept\n$ echo $word\nkept\n```\n";
        let sandbox = Sandbox::without_shard().unwrap();
        assert_eq!(Page::parse(text).unwrap().run(&sandbox).unwrap(), []);
    }

    #[test]
    fn what_came_out_otherwise_is_told_with_its_line() {
        let text = "```console\n$ echo one; echo two >&2\none\nthree\n```\n";
        let sandbox = Sandbox::without_shard().unwrap();
        let wrong = Page::parse(text).unwrap().run(&sandbox).unwrap();
        assert_eq!(wrong.len(), 1);
        assert_eq!((wrong[0].line, wrong[0].actual.as_slice()), (2, ["one".to_owned(), "two".to_owned()].as_slice()));
        assert!(wrong[0].to_string().contains("-three\n+two"), "{}", wrong[0]);
    }

    #[test]
    fn another_exit_code_stops_the_page() {
        let text = "```console\n$ sh -c 'exit 3'\n$ echo never\n```\n";
        let sandbox = Sandbox::without_shard().unwrap();
        let wrong = Page::parse(text).unwrap().run(&sandbox).unwrap();
        assert_eq!(wrong.len(), 1);
        assert_eq!((wrong[0].exit, wrong[0].expected_exit), (3, 0));
    }

    #[test]
    fn blessing_keeps_what_matches_and_writes_what_came_out() {
        let text = "# T\n\n```console\n$ echo id 9b07aa; echo size 12; false\nid [ID]\nsize 11\n```\nend\n";
        let sandbox = Sandbox::without_shard().unwrap();
        let blessed = Page::parse(text).unwrap().bless(&sandbox).unwrap();
        let wanted = "# T\n\n```console\n$ echo id 9b07aa; echo size 12; false\nid [ID]\nsize 12\n(exit 1)\n```\nend\n";
        assert_eq!(blessed, wanted);
        assert_eq!(Page::parse(&blessed).unwrap().run(&Sandbox::without_shard().unwrap()).unwrap(), []);
    }
}
