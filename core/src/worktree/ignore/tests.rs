use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

fn rules(content: &str) -> IgnoreStack {
    IgnoreStack::default().push_directory("", None, Some(content.as_bytes()))
}

fn decided(verdict: Verdict<'_>) -> Option<(String, usize, String)> {
    verdict.rule().map(|found| (found.file.to_owned(), found.line, found.rule.to_owned()))
}

#[test]
fn the_nearest_file_decides_and_ours_before_gits() {
    let user = IgnoreStack::new(Some(("~/.config/shard/ignore", b"*.log\n*.tmp\n")));
    let root = user.push_directory("", Some(b"!keep.tmp\n"), Some(b"*.o\nkeep.*\n!b.log\n"));
    let inner = root.push_directory("a", None, Some(b"!x.o\n"));
    for (path, ignored, file, line) in [
        ("x.log", true, "~/.config/shard/ignore", 1),
        ("b.log", false, ".gitignore", 3),
        ("keep.tmp", false, ".shardignore", 1),
        ("keep.txt", true, ".gitignore", 2),
        ("a/x.o", false, "a/.gitignore", 1),
        ("a/y.o", true, ".gitignore", 1),
        ("ab/x.o", true, ".gitignore", 1),
    ] {
        let verdict = inner.check(path, false);
        let found = verdict.rule().unwrap_or_else(|| panic!("{path} is unmentioned"));
        assert_eq!((verdict.is_ignored(), found.file, found.line), (ignored, file, line), "{path}");
    }
    assert_eq!(inner.check("README", false), Verdict::Unmentioned);
    assert_eq!(inner.check("a", true), Verdict::Unmentioned, "a directory's own rules say nothing of it");
}

#[test]
fn a_directory_without_rules_costs_nothing() {
    let root = rules("*.o\n");
    for (shardignore, gitignore) in [(None, None), (Some(&b""[..]), None), (None, Some(&b"# nothing\n\n"[..]))] {
        let inner = root.push_directory("a", shardignore, gitignore);
        assert!(Arc::ptr_eq(inner.innermost.as_ref().unwrap(), root.innermost.as_ref().unwrap()));
    }
    assert!(IgnoreStack::new(None).is_empty() && IgnoreStack::new(Some(("x", b"\n"))).is_empty());
}

#[test]
fn what_lies_in_an_ignored_directory_is_ignored() {
    let stack = rules("/build/\n!build/keep\nlogs/*\n!logs/keep\n");
    assert!(stack.check_path("build", true).is_ignored());
    assert!(!stack.check_path("build", false).is_ignored(), "a file of that name is none");
    let verdict = stack.check_path("build/keep", false);
    assert_eq!(decided(verdict), Some((".gitignore".into(), 1, "/build/".into())), "nothing is taken back out");
    assert!(!stack.check("build/keep", false).is_ignored(), "the rules themselves would");
    assert!(stack.check_path("logs/x", false).is_ignored());
    assert!(!stack.check_path("logs/keep", false).is_ignored());
    assert!(stack.check_path("logs/x/y/z", false).is_ignored());
}

#[test]
fn bytes_that_are_no_rules_do_no_harm() {
    let binary: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let stack = IgnoreStack::default().push_directory("", Some(&binary), Some(b"\xff*\n\0\n*.o"));
    assert!(stack.check("a.o", false).is_ignored());
    let long = ["*.o\n".repeat(MAX_RULE_FILE / 4 - 1).as_bytes(), b"a\n*.late\n"].concat();
    let stack = IgnoreStack::default().push_directory("", None, Some(&long));
    assert!(stack.check("x.o", false).is_ignored());
    assert!(!stack.check("x.late", false).is_ignored(), "beyond 1 MiB nothing counts");
    assert!(!stack.check("*.late", false).is_ignored());
}

/// A directory in which git answers, set up without the machine's settings.
struct Git {
    dir: tempfile::TempDir,
}

/// Files, and by a slash directories, that rules are tried on.
const TREE: &[&str] = &[
    "a/",
    "a/b/",
    "a/b/c/",
    "a/b/c/d",
    "a/b/x.o",
    "a/b/b",
    "a/x.o",
    "a/a",
    "a/ab",
    "b/",
    "b/a/",
    "b/a/b",
    "b/x",
    "ab",
    "x.o",
    "x o",
    "c",
    "[a]",
    "a-b",
    "#c",
    "!c",
    "{a,b}",
    "é",
    "c ",
    ".hidden",
    "d/",
    "d/.hidden",
    "d/e/",
    "d/e/f/",
    "d/e/f/a",
];

impl Git {
    fn new() -> Option<Self> {
        let git = Self { dir: tempfile::tempdir().unwrap() };
        let made = git.command(&["init", "-q"]).status();
        if !made.is_ok_and(|status| status.success()) {
            println!("SKIPPED: git is not installed, so nothing was compared with it");
            return None;
        }
        for path in TREE {
            let whole = git.dir.path().join(path);
            if path.ends_with('/') { fs::create_dir(whole).unwrap() } else { fs::write(whole, "").unwrap() }
        }
        Some(git)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(self.dir.path()).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        for (name, value) in
            [("HOME", "/nonexistent"), ("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null")]
        {
            command.env(name, value);
        }
        command
    }

    /// Asks git for file and line of the rule that decides on each path; none where no rule does.
    fn answers(&self, files: &[(&str, &[u8])]) -> Vec<Option<(String, usize)>> {
        for (name, content) in files {
            fs::write(self.dir.path().join(name), content).unwrap();
        }
        let mut child = self
            .command(&["check-ignore", "--verbose", "--non-matching", "--no-index", "-z", "--stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let asked: String = TREE.iter().map(|path| format!("{}\0", path.trim_end_matches('/'))).collect();
        child.stdin.take().unwrap().write_all(asked.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap().stdout;
        for (name, _) in files {
            fs::remove_file(self.dir.path().join(name)).unwrap();
        }
        let fields: Vec<String> =
            output.split(|&byte| byte == 0).map(|field| String::from_utf8_lossy(field).into()).collect();
        let answers: Vec<_> =
            fields.chunks_exact(4).map(|answer| Some((answer[0].clone(), answer[1].parse().ok()?))).collect();
        assert_eq!(answers.len(), TREE.len(), "git answered {output:?}");
        answers
    }

    /// Compares our decision on every path with git's.
    fn compare(&self, files: &[(&str, &[u8])]) {
        let stack_of = |path: &str| {
            let mut stack = IgnoreStack::default();
            let ancestors: Vec<_> = Path::new(path).ancestors().skip(1).collect();
            for directory in ancestors.iter().rev().map(|directory| directory.to_str().unwrap()) {
                let name = if directory.is_empty() { GITIGNORE.into() } else { format!("{directory}/{GITIGNORE}") };
                let content = files.iter().find(|(file, _)| *file == name).map(|(_, content)| *content);
                stack = stack.push_directory(directory, None, content);
            }
            stack
        };
        for (path, expected) in TREE.iter().zip(self.answers(files)) {
            let bare = path.trim_end_matches('/');
            let stack = stack_of(bare);
            let verdict = stack.check_path(bare, path.ends_with('/'));
            let found = verdict.rule().map(|found| (found.file.to_owned(), found.line));
            let shown: Vec<_> = files.iter().map(|(name, content)| (name, String::from_utf8_lossy(content))).collect();
            assert_eq!(found, expected, "{path} under {shown:?}");
        }
    }
}

#[test]
fn git_decides_alike_on_a_table_of_rules() {
    let Some(git) = Git::new() else { return };
    for content in [
        "x.o",
        "*.o",
        "/x.o",
        "a",
        "a/",
        "/a",
        "/a/",
        "a/b",
        "/a/b",
        "a/*",
        "a/**",
        "**/a",
        "**/a/",
        "a/**/d",
        "**/b/**",
        "*",
        "*\n!a\n!a/b\n!a/**",
        "/*\n!/a",
        "a/*\n!a/b",
        "a/\n!a/ab",
        "!a",
        "*.o\n!x.o",
        "!x.o\n*.o",
        "[a]",
        "\\[a]",
        "[[]a]",
        "[!a]",
        "a[-/]b",
        "a?b",
        "a*b",
        "?",
        "??",
        "*b*",
        "\\#c",
        "#c",
        "\\!c",
        "!c",
        "{a,b}",
        "é",
        "[é]",
        "c ",
        "c\\ ",
        "c   ",
        "x o",
        "a\t",
        " a",
        "a\r\nb\r\n",
        "a\n\n\n   \nb",
        "\u{feff}a",
        "b\n\u{feff}a",
        "/",
        "//",
        "a//",
        "//a",
        "a//b",
        "./a",
        "a/.",
        "..",
        "a\\",
        "\\a",
        "a/b/c/d",
        "b/c",
        "**",
        "**/",
        "/**",
        "/**/",
        "**/*",
        "***",
        "a**",
        "**b",
        "a**/b",
        "a/**b",
        "a/***/d",
        "*/b",
        "*/*/b",
        "d/**/f",
        "d/**/a",
        "**/e/**/a",
        ".*",
        ".hidden",
        "!.hidden\n.*",
        "d/e/",
        "e/f",
        "**/e/f",
        "f/",
        "x.*",
        "[x].[o]",
        "[a-c]",
        "[!a-c]",
        "[]-]",
        "[[:alpha:]]",
        "[[:punct:]c]",
        "a\\/b",
        "a/\\b",
        "\\a/b",
        "a/b\\",
        "[a",
        "a[",
        "[[:bad:]]",
        "[[:alpha]",
        "*[",
        "!",
        "!/",
        "!!c",
        "!#c",
        "# a\n#b\na#",
    ] {
        git.compare(&[(GITIGNORE, content.as_bytes())]);
        git.compare(&[("a/.gitignore", content.as_bytes()), (GITIGNORE, b"*.o\n!ab\n")]);
    }
}

fn rule_lines() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "c", "x", ".o", "d", "e", ".hidden"]),
        3 => prop::sample::select(vec!["*", "**", "?", "/", "/**/", "**/", "/**"]),
        1 => prop::sample::select(vec!["[ab]", "[!a]", "[a-c]", "[^x]", "[", "]", "\\", "\\*", " ", "!", "#", "-", "[[:alpha:]]"]),
    ];
    let line = prop::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat());
    prop::collection::vec((prop::bool::weighted(0.2), line), 1..5).prop_map(|lines| {
        lines.iter().map(|(negated, line)| format!("{}{line}\n", if *negated { "!" } else { "" })).collect()
    })
}

#[test]
fn git_decides_alike_on_rules_at_random() {
    let Some(git) = Git::new() else { return };
    proptest!(ProptestConfig::with_cases(128), |(outer in rule_lines(), inner in rule_lines())| {
        git.compare(&[(GITIGNORE, outer.as_bytes()), ("a/.gitignore", inner.as_bytes())]);
    });
}
