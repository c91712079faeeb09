//! Commands on files and commits, as processes: exit codes, documents, streams.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// A repository that goes when the test ends.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.ok(&["init"]);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shard"));
        command.current_dir(self.0.path()).env_clear().env("HOME", self.path("home")).stdin(Stdio::null()).args(words);
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs a command that is to succeed and returns what it wrote.
    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command with `--json`, checks the document against its schemas and returns its exit code and the document.
    fn json(&self, words: &[&str]) -> (i32, Value) {
        let output = self.command(words).arg("--json").output().unwrap();
        let value: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{words:?}: {error}: {}", String::from_utf8_lossy(&output.stdout)));
        let envelope = shard_cli::view::document(None).unwrap().unwrap();
        assert!(jsonschema::validator_for(&envelope).unwrap().is_valid(&value), "{words:?}: {value}");
        if value["ok"] == true {
            let command = value["cmd"].as_str().unwrap();
            let schema = shard_cli::view::document(Some(command)).unwrap().unwrap();
            let validator = jsonschema::validator_for(&schema).unwrap();
            let errors: Vec<String> = validator.iter_errors(&value["data"]).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{words:?}: {errors:?}: {value}");
        }
        (output.status.code().unwrap(), value)
    }

    fn data(&self, words: &[&str]) -> Value {
        let (exit, value) = self.json(words);
        assert_eq!(exit, 0, "{words:?}: {value}");
        value["data"].clone()
    }

    fn error(&self, words: &[&str]) -> (i32, String) {
        let (exit, value) = self.json(words);
        assert!(!value["error"]["hints"].as_array().unwrap().is_empty(), "{words:?} leaves its reader alone: {value}");
        (exit, value["error"]["code"].as_str().unwrap_or_default().to_owned())
    }
}

/// Lists every file of a directory with its content, but what is only remembered.
fn snapshot(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let remembered = path.components().any(|part| part.as_os_str() == "locks" || part.as_os_str() == "cache");
            if path.is_dir() {
                open.push(path);
            } else if !remembered {
                found.push((path.clone(), std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_answer_fits_its_schema() {
    let place = Place::new();
    place.write("a", "one\n");
    place.write("d/b", [0, 1, 2]);
    place.write("d/.gitignore", "*.tmp\n");
    place.write("d/x.tmp", "");
    assert_eq!(place.data(&["log"])["items"], json!([]));
    assert_eq!(place.data(&["ls"])["items"], json!([]));
    assert_eq!(place.data(&["branch"])["items"][0]["target"], Value::Null);
    let status = place.data(&["status", "--ignored"]);
    assert_eq!((&status["untracked"], &status["ignored"]), (&json!(["a", "d/"]), &json!(["d/x.tmp"])));
    assert_eq!(place.data(&["add", "a"])["added"], 1);
    assert_eq!(place.data(&["commit", "-m", "first"])["changes"]["added"], 1);
    let second = place.data(&["commit", "-a", "-m", "second"]);
    assert_eq!((&second["subject"], &second["changes"]["added"]), (&"second".into(), &2.into()));
    let amended = place.data(&["commit", "--amend", "-m", "better"]);
    assert_eq!((&amended["parents"], &amended["subject"]), (&second["parents"], &"better".into()));
    let page = place.data(&["log", "-n", "1", "--stat"]);
    assert_eq!((&page["items"][0]["message"], page["items"].as_array().unwrap().len()), (&"better".into(), 1));
    let rest = place.data(&["log", "--cursor", page["next_cursor"].as_str().unwrap()]);
    assert_eq!((&rest["items"][0]["message"], &rest["next_cursor"]), (&"first".into(), &Value::Null));
    assert_eq!(place.data(&["show", "--stat"])["commit"]["changes"].as_array().unwrap().len(), 2);
    assert_eq!(place.data(&["show", "@:a"])["file"]["text"], "one\n");
    assert_eq!(place.data(&["show", "@:d"])["file"]["entries"][1]["path"], "d/b");
    assert_eq!(place.data(&["ls", "-r"])["items"].as_array().unwrap().len(), 3);
    assert_eq!(place.data(&["ls", "d"])["items"][1]["path"], "d/b");
    assert_eq!(place.data(&["switch", "-c", "topic"])["head"]["branch"], "topic");
    assert_eq!(place.data(&["branch", "new", "x", "@~1"])["name"], "x");
    assert_eq!(place.data(&["branch", "rename", "x", "y"])["name"], "y");
    assert_eq!(place.data(&["branch", "rm", "y"])["new"], Value::Null);
    assert_eq!(place.data(&["branch", "upstream", "--unset"])["upstream"], Value::Null);
    assert_eq!(place.data(&["tag", "new", "v1"])["old"], Value::Null);
    assert_eq!(place.data(&["tag"])["items"][0]["name"], "v1");
    assert!(place.data(&["tag", "export", "-o", "home.json"])["tags"]["v1"].is_string());
    place.ok(&["tag", "rm", "v1"]);
    assert_eq!(place.data(&["tag", "import", "home.json"])["imported"][0]["name"], "v1");
    place.write("a", "two\n");
    assert_eq!(place.data(&["restore", "--dry-run", "a"])["plan"], json!([{"path": "a", "action": "write"}]));
    assert_eq!(place.data(&["restore", "a"])["rescued"], json!(["a"]));
    assert_eq!(place.data(&["rm", "--cached", "a"])["removed"], 1);
    assert_eq!(place.data(&["restore", "--staged", "a"])["written"], 1);
}

#[test]
fn errors_have_their_code_exit_and_hint() {
    let place = Place::new();
    place.write("a", "one");
    place.write("out.log", "");
    place.write(".gitignore", "*.log\n");
    let wrong: &[(&[&str], i32, &str)] = &[
        (&["commit", "-m", "x"], 4, "commit.empty"),
        (&["commit"], 2, "usage"),
        (&["commit", "-m", " \n"], 2, "value.invalid"),
        (&["commit", "-F", "absent"], 3, "path.not_found"),
        (&["commit", "--amend", "-m", "x"], 3, "revision.not_found"),
        (&["add", "absent"], 3, "path.not_found"),
        (&["add", "../x"], 2, "path.invalid"),
        (&["add", "out.log"], 2, "path.invalid"),
        (&["status", "/etc"], 2, "path.invalid"),
        (&["rm", "a"], 3, "path.not_found"),
        (&["restore", "a"], 3, "path.not_found"),
        (&["show"], 3, "revision.not_found"),
        (&["show", "@~x"], 2, "revision.invalid"),
        (&["ls", "absent"], 3, "revision.not_found"),
        (&["ls", "--staged", "absent"], 3, "path.not_found"),
        (&["log", "--since", "soon"], 2, "value.invalid"),
        (&["log", "--cursor", "x"], 2, "value.invalid"),
        (&["log", "absent"], 3, "revision.not_found"),
        (&["switch", "absent"], 3, "branch.not_found"),
        (&["switch", "--continue"], 2, "value.invalid"),
        (&["switch", "--abort", "--dry-run"], 2, "usage"),
        (&["switch", "-c", "a..b"], 2, "value.invalid"),
        (&["branch", "new", "x"], 3, "revision.not_found"),
        (&["branch", "rm", "main"], 4, "branch.checked_out"),
        (&["branch", "rename", "x", "y"], 3, "branch.not_found"),
        (&["tag", "rm", "v1"], 3, "tag.not_found"),
        (&["tag", "import", "a"], 2, "value.invalid"),
        (&["tag", "import", "absent"], 3, "path.not_found"),
    ];
    for (words, exit, code) in wrong {
        assert_eq!(place.error(words), (*exit, (*code).to_owned()), "{words:?}");
    }
    place.ok(&["commit", "-a", "-m", "first"]);
    place.ok(&["tag", "new", "v1"]);
    for (words, exit, code) in [
        (&["commit", "-m", "again"][..], 4, "commit.empty"),
        (&["branch", "new", "main"], 4, "branch.exists"),
        (&["switch", "-c", "main"], 4, "branch.exists"),
        (&["switch", "v1"], 3, "branch.not_found"),
        (&["tag", "new", "v1"], 4, "tag.exists"),
        (&["show", "@:absent"], 3, "revision.not_found"),
        (&["ls", "@", "absent"], 3, "path.not_found"),
    ] {
        assert_eq!(place.error(words), (exit, code.to_owned()), "{words:?}");
    }
}

#[test]
fn a_dry_run_changes_nothing_on_disk() {
    let place = Place::new();
    place.write("a", "one");
    place.ok(&["commit", "-a", "-m", "first"]);
    place.ok(&["switch", "-q", "-c", "topic"]);
    place.write("a", "two, and longer");
    place.ok(&["commit", "-m", "second"]);
    place.ok(&["switch", "-q", "main"]);
    place.ok(&["tag", "new", "v1"]);
    place.write("a", "three");
    place.write("b", "new");
    place.ok(&["add", "b"]);
    place.write("tags.json", "{}");
    let before = snapshot(place.0.path());
    for words in [
        &["add", "-A"][..],
        &["rm", "b"],
        &["commit", "-m", "x"],
        &["commit", "-a", "-m", "x"],
        &["commit", "--amend", "-m", "x"],
        &["restore", "a"],
        &["restore", "--staged", "b"],
        &["switch", "--discard", "topic"],
        &["switch", "-c", "other"],
        &["branch", "new", "other"],
        &["branch", "rename", "topic", "other"],
        &["branch", "rm", "topic"],
        &["tag", "new", "v2"],
        &["tag", "rm", "v1"],
        &["tag", "import", "tags.json"],
        &["tag", "export", "-o", "other.json"],
    ] {
        let said = place.ok(&[words, &["--dry-run"]].concat());
        assert!(!said.is_empty(), "{words:?}");
        assert_eq!(snapshot(place.0.path()), before, "{words:?}");
    }
    assert_eq!(
        place.data(&["commit", "-a", "-m", "x", "--dry-run"])["changes"],
        json!({"added": 2, "changed": 1, "removed": 0})
    );
    assert_eq!(place.error(&["switch", "topic", "--dry-run"]), (4, "worktree.dirty".to_owned()));
}

#[test]
fn paths_are_those_of_the_directory_they_were_typed_in() {
    let place = Place::new();
    place.write("d/e/f", "x");
    place.write("d/g.log", "x");
    place.write(".gitignore", "*.log\n");
    assert_eq!(place.data(&["-C", "d", "add", "e", "../.gitignore"])["added"], 2);
    let (_, refused) = place.json(&["-C", "d", "add", "g.log"]);
    assert_eq!(refused["error"]["hints"][0]["run"], "shard add --force g.log");
    assert_eq!(place.data(&["-C", "d/e", "status", "."])["staged"][0]["path"], "d/e/f");
}

#[test]
fn bytes_go_into_a_pipe_as_they_are() {
    let place = Place::new();
    let bytes: Vec<u8> = (0..300_000u32).flat_map(|number| number.to_le_bytes()).collect();
    place.write("a.bin", &bytes);
    place.write("escape", "\x1b[2Jx");
    std::os::unix::fs::symlink("a.bin", place.path("link")).unwrap();
    place.ok(&["commit", "-a", "-m", "first"]);
    assert_eq!(place.run(&["show", "@:a.bin"]).stdout, bytes);
    assert_eq!(place.run(&["show", "@:escape"]).stdout, b"\x1b[2Jx");
    assert_eq!(place.run(&["show", "@:link"]).stdout, b"a.bin");
}

#[test]
fn a_reader_that_goes_away_ends_a_command_quietly() {
    let place = Place::new();
    place.write("a", vec![7; 1 << 20]);
    place.ok(&["commit", "-a", "-m", "first"]);
    for words in [&["log"][..], &["show", "@:a"], &["ls"], &["status"], &["log", "--json"], &["show"]] {
        let mut child = place.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert!(child.wait().unwrap().success() && errors.is_empty(), "{words:?}: {errors}");
    }
}

#[test]
fn what_is_left_out_is_named_and_the_commit_stands() {
    let place = Place::new();
    place.write("a", "one");
    place.write(".env", "TOKEN=1");
    std::fs::write(place.0.path().join(OsStr::from_bytes(b"n\xff")), "").unwrap();
    let (exit, value) = place.json(&["commit", "-a", "-m", "first"]);
    assert_eq!((exit, &value["data"]["changes"]["added"]), (9, &1.into()));
    let codes: Vec<&str> =
        value["warnings"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["file.secret", "file.name"]);
    let (exit, value) = place.json(&["commit", "-a", "-m", "again"]);
    assert_eq!((exit, value["error"]["details"]["skipped"].as_array().unwrap().len()), (4, 2), "{value}");
    assert_eq!(place.json(&["commit", "-a", "-y", "-m", "all"]).0, 9);
    assert_eq!(place.data(&["ls"])["items"][0]["path"], ".env");
}

#[test]
fn removing_spares_what_differs_and_takes_everything_where_asked() {
    let place = Place::new();
    place.write("a", "one");
    place.write("d/b", "two");
    place.ok(&["commit", "-a", "-m", "first"]);
    place.write("a", "edited since");
    let (exit, value) = place.json(&["rm", "a"]);
    assert_eq!((exit, &value["error"]["code"]), (4, &"worktree.dirty".into()));
    assert_eq!(value["error"]["hints"][1]["run"], "shard rm --force a");
    assert_eq!(place.data(&["rm", "--cached", "--force", "."])["removed"], 2);
    assert!(place.path("a").exists() && place.path("d/b").exists());
    assert_eq!(place.data(&["ls", "--staged"])["items"], json!([]));
    place.ok(&["restore", "--staged", "."]);
    assert_eq!(place.data(&["rm", "-f", "."])["removed"], 2);
    assert!(!place.path("a").exists() && !place.path("d").exists());
}

#[test]
fn exit_codes_tell_scripts_whether_anything_differs() {
    let place = Place::new();
    place.write("a", "one");
    assert_eq!(place.run(&["status", "--exit-code"]).status.code(), Some(10));
    assert_eq!(place.ok(&["status", "--porcelain"]), "untracked\tfile\ta\n");
    place.ok(&["commit", "-a", "-m", "first"]);
    assert_eq!(place.run(&["status", "--exit-code"]).status.code(), Some(0));
    place.write("a", "two, longer");
    place.write("tab\tnewline\n", "");
    let text = place.ok(&["status", "--porcelain"]);
    assert_eq!(text, "unstaged\tmodified\ta\nuntracked\tfile\ttab\\tnewline\\n\n");
}

#[test]
fn leaving_a_commit_without_a_name_says_how_to_keep_it() {
    let place = Place::new();
    place.write("a", "one");
    place.ok(&["commit", "-a", "-m", "first"]);
    place.ok(&["switch", "--detach"]);
    place.write("a", "two, longer");
    let id = place.data(&["commit", "-m", "second"])["id"].as_str().unwrap().to_owned();
    let (exit, value) = place.json(&["switch", "main"]);
    assert_eq!((exit, &value["warnings"][0]["code"]), (0, &"head.unnamed".into()));
    assert_eq!(value["next"][0], format!("shard branch new kept {id}"));
    place.ok(&["branch", "new", "kept", &id]);
    place.ok(&["switch", "kept"]);
    let (_, value) = place.json(&["switch", "main"]);
    assert_eq!(value["warnings"], json!([]));
}

#[test]
fn a_message_comes_from_an_option_a_file_or_standard_input() {
    let place = Place::new();
    place.write("message", "\n from a file  \n\nbody\n\n");
    place.ok(&["commit", "-a", "-q", "-F", "message"]);
    assert_eq!(place.data(&["log"])["items"][0]["message"], " from a file\n\nbody");
    place.write("a", "x");
    let mut child = place.command(&["commit", "-aF", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"# kept\n").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(place.data(&["log"])["items"][0]["message"], "# kept");
    place.write("latin", b"\xe9\xff");
    assert_eq!(place.error(&["commit", "-a", "-F", "latin"]), (2, "value.invalid".to_owned()));
}

#[test]
fn a_quiet_command_says_nothing_of_what_it_did() {
    let place = Place::new();
    place.write("a", "one\n");
    let quiet: &[&[&str]] = &[
        &["init", "other"],
        &["add", "a"],
        &["commit", "-m", "first"],
        &["branch", "new", "topic"],
        &["branch", "rename", "topic", "subject"],
        &["switch", "subject"],
        &["tag", "new", "v1"],
        &["tag", "rm", "v1"],
        &["rm", "--cached", "a"],
        &["restore", "--staged", "a"],
        &["config", "set", "threads", "2"],
        &["export", "HEAD", "out"],
        &["clone", ".", "copy"],
        &["verify"],
        &["fsck"],
        &["rebuild"],
        &["status", "--exit-code"],
    ];
    for words in quiet {
        assert_eq!(quietly(&place, words), "", "{words:?}");
    }
    let status = place.ok(&["status", "-q"]);
    assert!(status.starts_with("not tracked\n"), "a list is an answer: {status}");
}

/// Runs a command with `-q` and returns what it wrote, to whichever stream.
fn quietly(place: &Place, words: &[&str]) -> String {
    let output = place.command(words).arg("-q").output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 10)), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn files_that_moved_are_paired_by_content_whether_staged_or_not() {
    let place = Place::new();
    let noise: Vec<u8> = (0..200_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    place.write("large.bin", &noise);
    place.write("one/same.txt", "the same\n");
    place.write("two/same.txt", "the same\n");
    place.write("two/other.txt", "the same\n");
    place.write("empty", "");
    place.ok(&["commit", "-a", "-m", "first"]);
    place.write("two/kept.txt", "untracked\n");
    let to = |from: &str, to: &str| std::fs::rename(place.path(from), place.path(to)).unwrap();
    to("large.bin", "moved.bin");
    to("empty", "also-empty");
    std::fs::create_dir(place.path("three")).unwrap();
    to("two/same.txt", "three/same.txt");
    to("two/other.txt", "three/thing.txt");
    place.write("decoy.bin", vec![1; noise.len()]);
    let expected = |staged: bool| {
        json!([
            {"from": "large.bin", "to": "moved.bin", "staged": staged},
            {"from": "two/same.txt", "to": "three/same.txt", "staged": staged},
            {"from": "two/other.txt", "to": "three/thing.txt", "staged": staged},
        ])
    };
    let (_, status) = place.json(&["status"]);
    assert_eq!(status["data"]["renames"], expected(false));
    assert_eq!(
        status["data"]["untracked"],
        json!(["also-empty", "decoy.bin", "moved.bin", "three/", "two/kept.txt"]),
        "lists stay whole"
    );
    place.ok(&["add", "-A"]);
    let (_, status) = place.json(&["status"]);
    assert_eq!(status["data"]["renames"], expected(true));
    assert_eq!(status["data"]["unstaged"], json!([]));
}
