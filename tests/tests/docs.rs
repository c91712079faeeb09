//! The book, the README and the changelog: complete, linked, and true to the program.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use shard_tests::Shard;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All Markdown files of the workspace's documentation, with their text.
fn pages() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for place in ["docs", "tests/cases"] {
        collect(&root().join(place), &mut found);
    }
    found.push(root().join("README.md"));
    found.push(root().join("CHANGELOG.md"));
    found.sort();
    found.into_iter().map(|p| (p.clone(), std::fs::read_to_string(&p).unwrap())).collect()
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|e| e == "md") {
            found.push(path);
        }
    }
}

/// Text outside of code blocks and code spans, where links are links.
fn prose(text: &str) -> String {
    let mut out = String::new();
    let mut fence = None;
    for line in text.lines() {
        let ticks = line.trim_start().chars().take_while(|c| *c == '`').count();
        match fence {
            Some(length) if ticks >= length => fence = None,
            Some(_) => {}
            None if ticks >= 3 => fence = Some(ticks),
            None => {
                let spans: Vec<_> = line.split('`').collect();
                out.extend(spans.iter().enumerate().filter(|(n, _)| n % 2 == 0).map(|(_, s)| *s));
                out.push('\n');
            }
        }
    }
    out
}

/// The anchor a heading gets in the book.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[test]
fn the_summary_lists_every_page_of_the_book() {
    let docs = root().join("docs");
    let summary = std::fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    let listed: BTreeSet<String> =
        Regex::new(r"\]\(([^)]+)\)").unwrap().captures_iter(&summary).map(|c| c[1].to_owned()).collect();
    let mut found = Vec::new();
    collect(&docs, &mut found);
    let there: BTreeSet<String> = found
        .iter()
        .map(|p| p.strip_prefix(&docs).unwrap().display().to_string())
        .filter(|p| p != "SUMMARY.md")
        .collect();
    assert_eq!(listed, there);
}

#[test]
fn links_lead_somewhere() {
    let link = Regex::new(r"\[[^\]]*\]\(([^)\s]+)\)").unwrap();
    let mut broken = Vec::new();
    for (path, text) in pages() {
        for found in link.captures_iter(&prose(&text)) {
            let target = &found[1];
            if target.starts_with("https://") {
                continue;
            }
            let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
            let aim = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let Ok(text) = std::fs::read_to_string(&aim) else {
                broken.push(format!("{}: {target}", path.display()));
                continue;
            };
            let headings: Vec<_> =
                text.lines().filter(|l| l.starts_with('#')).map(|l| anchor(l.trim_start_matches('#'))).collect();
            if !fragment.is_empty() && !headings.iter().any(|h| h == fragment) {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn status_names_each_feature_once() {
    let text = std::fs::read_to_string(root().join("docs/status.md")).unwrap();
    let row = Regex::new(r"^\| \[([ x])\] \| ([A-Z]+)-(\d\d) \| .{5,} \|$").unwrap();
    let mut last = (String::new(), 0);
    let mut count = 0;
    for line in text.lines().filter(|l| l.starts_with("| [")) {
        let found = row.captures(line).unwrap_or_else(|| panic!("not of the form of a row: {line}"));
        let (group, number) = (found[2].to_owned(), found[3].parse::<u32>().unwrap());
        let expected = if group == last.0 { last.1 + 1 } else { 1 };
        assert_eq!(number, expected, "ids run on without a gap: {line}");
        last = (group, number);
        count += 1;
    }
    assert_eq!(count, 200, "an id, once given, stays");
}

#[test]
fn the_changelog_keeps_its_form() {
    let text = std::fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let version = Regex::new(r"^## \[(Unreleased|\d+\.\d+\.\d+)\]( - \d{4}-\d{2}-\d{2})?$").unwrap();
    let groups = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];
    assert!(text.contains("## [Unreleased]"));
    for line in text.lines() {
        if line.starts_with("## ") {
            assert!(version.is_match(line), "{line}");
        } else if let Some(group) = line.strip_prefix("### ") {
            assert!(groups.contains(&group), "{group}");
        }
    }
}

#[test]
fn the_readme_opens_with_its_two_commands() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let demo = text.find("    cargo run --release -p shard-cli -- demo\n").expect("the demo");
    let test = text.find("    cargo test --workspace\n").expect("the tests");
    assert!(demo < test && test < text.find("## ").unwrap());
}

/// Each `shard ...` line of a code block or code span, without comment, pipe and redirection.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fence: Option<(usize, bool)> = None;
    let typed = Regex::new(r"^(?:[a-z]*\$ )?(?:[A-Z_]+=\S+ )*shard ").unwrap();
    let span = Regex::new(r"`shard ([^`]+)`").unwrap();
    for line in text.lines() {
        let ticks = line.trim_start().chars().take_while(|c| *c == '`').count();
        match fence {
            Some((length, _)) if ticks >= length => fence = None,
            Some((_, shown)) => {
                if shown && typed.is_match(line) {
                    found.push(line[line.find("shard ").unwrap()..].to_owned());
                }
            }
            None if ticks >= 3 => {
                let kind = line.trim_start_matches('`').trim();
                fence = Some((ticks, ["console", "text", "sh", ""].contains(&kind)));
            }
            None => found.extend(span.captures_iter(line).map(|c| format!("shard {}", &c[1]))),
        }
    }
    let cut = Regex::new(r"\s(#|\||>|2>|&&|;|<).*$").unwrap();
    found.into_iter().map(|c| cut.replace(&c, "").trim_end().to_owned()).collect()
}

/// Splits as a shell would, as far as our pages need it.
fn words(command: &str) -> Vec<String> {
    let form = Regex::new(r#""[^"]*"|'[^']*'|\S+"#).unwrap();
    form.find_iter(command).map(|w| w.as_str().trim_matches(|c| c == '"' || c == '\'').to_owned()).collect()
}

#[test]
fn every_command_in_the_pages_is_one_the_program_knows() {
    let shard = Shard::get();
    if !shard.has_command("commit") {
        // The account of skips is for needs of the machine; a program without commands fails elsewhere.
        eprintln!("this build of shard has no commands yet");
        return;
    }
    let mut unknown = BTreeSet::new();
    let mut checked = 0;
    for (path, text) in pages() {
        // The reference is generated, and the pages among the cases are run, mistyped commands included.
        if path.ends_with("cli-reference.md") || path.components().any(|part| part.as_os_str() == "cases") {
            continue;
        }
        for command in commands(&text) {
            let words = words(&command);
            // `shard --help CMD ...` would not look at what follows; asking for the command's own help does.
            let verb: Vec<&String> = words[1..].iter().take_while(|w| !w.starts_with('-')).take(1).collect();
            let Some(verb) = verb.first() else { continue };
            if verb.chars().any(|c| !c.is_ascii_lowercase() && c != '-') {
                continue;
            }
            let help = Command::new(shard.path()).args([verb.as_str(), "--help"]).output().unwrap();
            let help_text = String::from_utf8_lossy(&help.stdout).into_owned();
            checked += 1;
            if !help.status.success() {
                unknown.insert(format!("{}: {command}", path.display()));
                continue;
            }
            for flag in words[2..].iter().filter(|w| w.starts_with("--")) {
                let flag = flag.split('=').next().unwrap();
                if !help_text.contains(flag) {
                    unknown.insert(format!("{}: {command}: {flag}", path.display()));
                }
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert!(checked > 10, "{checked} commands found");
}
