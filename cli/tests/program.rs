//! The program as a process: streams, exit codes and what stands on which.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn shard(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shard"));
    command.current_dir(directory).env_clear().env("HOME", directory).stdin(Stdio::null());
    command
}

fn run(words: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    shard(directory.path()).args(words).output().unwrap()
}

fn json(output: &Output) -> Value {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "one document: {text}");
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_usage_error_with_json_is_a_document_on_standard_output() {
    for words in [
        &["--json", "comit"][..],
        &["comit", "--json=id"],
        &["commit", "--mesage", "x", "--events"],
        &["branch", "lsit", "--json"],
        &["--json"],
        &["version", "--json=nonsense"],
    ] {
        let output = run(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        let value = json(&output);
        assert_eq!((&value["ok"], &value["error"]["exit"]), (&false.into(), &2.into()), "{value}");
        assert!(output.stderr.is_empty(), "{words:?}");
    }
}

#[test]
fn a_usage_error_for_people_stands_on_standard_error() {
    let output = run(&["comit"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("error[usage]: ") && text.contains("hint: shard commit"), "{text}");
}

#[test]
fn json_after_two_dashes_is_a_path() {
    let output = run(&["rm", "--nonsense", "--", "--json"]);
    assert!(output.stdout.is_empty() && output.status.code() == Some(2));
}

#[test]
fn the_command_of_an_error_is_named_as_far_as_it_is_known() {
    assert_eq!(json(&run(&["-C", "/", "branch", "new", "--json"]))["cmd"], "branch.new");
    assert_eq!(json(&run(&["checkout", "--nonsense", "--json"]))["cmd"], "switch");
    assert_eq!(json(&run(&["nonsense", "--json"]))["cmd"], "shard");
}

#[test]
fn help_and_version_stand_on_standard_output() {
    for words in [&["--help"][..], &["-h"], &["--version"], &["commit", "--help"]] {
        let output = run(words);
        assert!(output.status.success() && output.stderr.is_empty() && !output.stdout.is_empty(), "{words:?}");
        assert!(!output.stdout.contains(&0x1b), "no styles off a terminal: {words:?}");
    }
}

#[test]
fn a_closed_pipe_ends_quietly_as_a_success() {
    let directory = tempfile::tempdir().unwrap();
    for words in [&["schema"][..], &["completions", "bash"], &["schema", "--json"]] {
        let mut child =
            shard(directory.path()).args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert!(child.wait().unwrap().success(), "{words:?}: {errors}");
        assert_eq!(errors, "", "{words:?}");
    }
}

#[test]
fn a_command_outside_a_repository_says_how_to_begin_one() {
    let output = run(&["config", "set", "threads", "2", "--json"]);
    assert_eq!(output.status.code(), Some(5));
    let value = json(&output);
    assert_eq!(value["error"]["code"], "repository.not_found");
    assert_eq!(value["error"]["hints"][0]["run"], "shard init");
}

#[test]
fn a_broken_configuration_stops_other_commands_and_config_mends_it() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join(".shard")).unwrap();
    std::fs::write(directory.path().join(".shard/config.json"), r#"{"ui": {"colour": "never"}}"#).unwrap();
    let status = shard(directory.path()).args(["status", "--json"]).output().unwrap();
    assert_eq!(status.status.code(), Some(2), "{}", String::from_utf8_lossy(&status.stdout));
    assert_eq!(json(&status)["error"]["code"], "config.invalid");
    let mended = shard(directory.path()).args(["config", "unset", "ui.colour"]).output().unwrap();
    assert!(mended.status.success(), "{}", String::from_utf8_lossy(&mended.stderr));
    let listed = shard(directory.path()).args(["config", "list", "--json=key"]).output().unwrap();
    assert!(listed.status.success());
    assert_eq!(json(&listed)["warnings"], serde_json::json!([]));
}

#[test]
fn a_passphrase_shows_nowhere() {
    const CANARY: &str = "canary-passphrase-7731";
    let directory = tempfile::tempdir().unwrap();
    for words in
        [&["-vvv", "config", "list", "--origin"][..], &["-vvv", "--json", "config", "list"], &["-vvv", "status"]]
    {
        let output = shard(directory.path()).env("SHARD_PASSPHRASE", CANARY).args(words).output().unwrap();
        for stream in [output.stdout, output.stderr] {
            assert!(!String::from_utf8_lossy(&stream).contains(CANARY), "{words:?}");
        }
    }
}

/// Runs the program at a terminal of 80 by 24 and returns whether it succeeded and what the screen got.
fn at_a_terminal(command: &mut Command) -> (bool, String) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let open = || std::fs::File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let size = rustix::termios::Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&master, size).unwrap();
    let mut child = command.stdin(open()).stdout(open()).stderr(open()).spawn().unwrap();
    // The command keeps its copies of the terminal open; without them, reading ends when the program does.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut screen = Vec::new();
    // The last process to close a terminal makes reading fail, instead of end.
    let _ = std::fs::File::from(master).read_to_end(&mut screen);
    (child.wait().unwrap().success(), String::from_utf8_lossy(&screen).into_owned())
}

#[test]
fn an_editor_changes_the_settings_and_never_inherits_a_passphrase() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join(".shard")).unwrap();
    let mut command = shard(directory.path());
    command.env("PATH", std::env::var_os("PATH").unwrap()).env("SHARD_PASSPHRASE", "canary");
    command.env("EDITOR", r#"edit() { env > seen; echo '{"threads": 3}' > "$1"; }; edit"#);
    let (done, screen) = at_a_terminal(command.args(["config", "edit"]));
    assert!(done, "{screen}");
    let written = std::fs::read_to_string(directory.path().join(".shard/config.json")).unwrap();
    assert!(written.contains("\"threads\": 3"), "{written}");
    let seen = std::fs::read_to_string(directory.path().join("seen")).unwrap();
    assert!(seen.contains("EDITOR=") && !seen.contains("canary"), "{seen}");
    assert_eq!(std::fs::read_dir(directory.path().join(".shard/tmp")).unwrap().count(), 0);
}

#[test]
fn long_text_goes_through_the_pager_on_a_terminal_only() {
    let directory = tempfile::tempdir().unwrap();
    let paged = |words: &[&str]| {
        let mut command = shard(directory.path());
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("SHARD_PASSPHRASE", "canary");
        command.env("PAGER", "env > seen; echo PAGED; cat");
        let (done, screen) = at_a_terminal(command.args(words));
        assert!(done, "{screen}");
        screen
    };
    let screen = paged(&["--help"]);
    assert!(screen.contains("PAGED") && screen.contains("Usage") && screen.contains('\x1b'), "{screen}");
    let seen = std::fs::read_to_string(directory.path().join("seen")).unwrap();
    assert!(seen.contains("LESS=FRX") && !seen.contains("canary"), "{seen}");
    assert!(!paged(&["--help", "--no-pager"]).contains("PAGED"), "asked not to");
    assert!(!paged(&["version"]).contains("PAGED"), "one line needs none");
}

#[test]
fn manual_pages_are_written_for_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let output = shard(directory.path()).args(["man", "pages", "--json"]).output().unwrap();
    let value = json(&output);
    let pages = value["data"]["pages"].as_array().unwrap();
    assert!(pages.len() > 30, "{value}");
    for page in pages {
        let text = std::fs::read_to_string(directory.path().join("pages").join(page.as_str().unwrap())).unwrap();
        assert!(text.contains(".SH NAME") || text.contains(".SH"), "{page}");
    }
    assert!(pages.contains(&"shard-branch-new.1".into()), "{value}");
}

#[test]
fn init_begins_a_repository_with_the_settings_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let words = ["init", "work", "--name", "demo", "--db", "flat", "--chunk-size", "65536", "--json"];
    let output = shard(directory.path()).args(words).output().unwrap();
    let value = json(&output);
    assert!(output.status.success(), "{value}");
    let data = &value["data"];
    assert_eq!(
        (&data["name"], &data["backend"], &data["chunker"]),
        (&"demo".into(), &"flat".into(), &"fastcdc:64KiB".into())
    );
    assert_eq!(value["next"], serde_json::json!(["shard commit -a -m \"first\""]));
    let schema = shard_cli::view::document(Some("init")).unwrap().unwrap();
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(data), "{data}");
    let get = shard(directory.path()).args(["-C", "work", "config", "get", "storage.backend"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&get.stdout), "flat\n");

    let again = shard(directory.path()).args(["init", "work", "--json"]).output().unwrap();
    assert_eq!((again.status.code(), &json(&again)["error"]["code"]), (Some(4), &"repository.exists".into()));
    let queue = shard(directory.path()).args(["-C", "work", "queue", "--json"]).output().unwrap();
    assert_eq!(json(&queue)["data"]["items"], serde_json::json!([]));
}

#[test]
fn init_refuses_settings_that_mean_nothing_and_makes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    for words in
        [&["--chunk-size", "0"][..], &["--compression", "lz5"], &["--chunker", "magic"], &["--backend", "oracle"]]
    {
        let output = shard(directory.path()).args(["init", "new", "--json"]).args(words).output().unwrap();
        let value = json(&output);
        assert_eq!((output.status.code(), &value["error"]["code"]), (Some(2), &"value.invalid".into()), "{value}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    let dry = shard(directory.path()).args(["init", "new", "--dry-run"]).output().unwrap();
    assert!(dry.status.success());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "a dry run makes nothing");
}

#[test]
fn ignore_check_names_the_rule() {
    let directory = tempfile::tempdir().unwrap();
    let here = |words: &[&str]| shard(directory.path()).args(words).output().unwrap();
    assert!(here(&["init"]).status.success());
    std::fs::create_dir(directory.path().join("logs")).unwrap();
    std::fs::write(directory.path().join(".gitignore"), "# comment\n*.tmp\n").unwrap();
    std::fs::write(directory.path().join("logs/.shardignore"), "*\n!keep\n").unwrap();
    let output = here(&["ignore", "check", "a.tmp", "logs/x", "logs/keep", "b", "--json"]);
    let items = &json(&output)["data"]["items"];
    assert_eq!(
        items[0],
        serde_json::json!({"path": "a.tmp", "ignored": true, "file": ".gitignore", "line": 2, "rule": "*.tmp"})
    );
    assert_eq!((&items[1]["file"], &items[1]["ignored"]), (&"logs/.shardignore".into(), &true.into()));
    assert_eq!((&items[2]["rule"], &items[2]["ignored"]), (&"!keep".into(), &false.into()));
    assert_eq!((&items[3]["rule"], &items[3]["ignored"]), (&Value::Null, &false.into()));
    let listed = here(&["ignore"]);
    assert_eq!(String::from_utf8_lossy(&listed.stdout), ".gitignore\t1 rule\nlogs/.shardignore\t2 rules\n");
    let outside = here(&["ignore", "check", "../x", "--json"]);
    assert_eq!((outside.status.code(), &json(&outside)["error"]["code"]), (Some(2), &"path.invalid".into()));
}

#[test]
fn log_lines_go_to_the_file_that_is_named_and_nowhere_else() {
    let directory = tempfile::tempdir().unwrap();
    let here = |words: &[&str]| shard(directory.path()).args(words).output().unwrap();
    assert!(here(&["init"]).status.success());
    std::fs::write(directory.path().join("a"), "one\n").unwrap();
    assert!(here(&["commit", "-a", "-m", "first"]).status.success());
    let logged = |target: &str| {
        let mut clone = shard(directory.path());
        clone.env("SHARD_LOG_FILE", "shard.log").args(["clone", ".", target, "-vv"]);
        let output = clone.output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        std::fs::read_to_string(directory.path().join("shard.log")).unwrap()
    };
    let first = logged("one");
    assert!(first.contains("transfer planned"), "{first}");
    assert!(first.lines().all(|line| line.contains(" trace=")), "{first}");
    let both = logged("two");
    assert!(both.len() > first.len() && both.starts_with(&first), "lines are added");

    assert!(here(&["config", "set", "log.file", "/nowhere/at/all"]).status.success());
    let refused = here(&["status", "--json"]);
    assert_eq!(json(&refused)["error"]["code"], "path.not_found", "{refused:?}");
    assert!(here(&["config", "unset", "log.file"]).status.success(), "the setting can be mended");
    assert!(here(&["status"]).status.success());
}

#[test]
fn ctrl_c_stops_an_add_and_leaves_nothing_half_done() {
    use std::io::{BufRead, BufReader, Write};
    let directory = tempfile::tempdir().unwrap();
    let here = |words: &[&str]| shard(directory.path()).args(words).output().unwrap();
    assert!(here(&["init"]).status.success());
    // Incompressible, and large enough to be at work for long after its first line of progress.
    let (mut file, mut word) = (std::fs::File::create(directory.path().join("large")).unwrap(), 1_u64);
    let mut block = vec![0; 1 << 20];
    for _ in 0..192 {
        for bytes in block.chunks_exact_mut(8) {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        file.write_all(&block).unwrap();
    }
    drop(file);
    let mut child = shard(directory.path()).args(["add", "large", "--events"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.contains("\"reading\"")).expect("the phase is told");
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let last = lines.last().expect("an answer follows");
    assert_eq!(child.wait().unwrap().code(), Some(130), "{last}");
    let value: Value = serde_json::from_str(&last).unwrap();
    assert_eq!((&value["error"]["code"], &value["error"]["exit"]), (&"interrupted".into(), &130.into()), "{value}");
    assert!(value["error"]["message"].as_str().unwrap().contains("as they were"), "{value}");

    let status = json(&here(&["status", "--json"]));
    assert_eq!(status["data"]["staged"], serde_json::json!([]), "nothing was staged");
    assert_eq!(status["data"]["untracked"], serde_json::json!(["large"]));
    assert!(here(&["fsck", "--full"]).status.success());
    assert!(here(&["add", "large"]).status.success(), "the next one takes it whole");
}

#[test]
fn the_demo_takes_its_own_source_and_a_second_repository_ends_equal() {
    let directory = tempfile::tempdir().unwrap();
    let demo = |manifest: Option<&str>| {
        let mut command = shard(directory.path());
        command.envs(manifest.map(|path| ("CARGO_MANIFEST_DIR", path))).env("TMPDIR", directory.path());
        let output = command.args(["demo", "--size", "8"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap() + std::str::from_utf8(&output.stderr).unwrap()
    };
    let run = demo(Some(env!("CARGO_MANIFEST_DIR")));
    let count = |text: &str| {
        let words: Vec<_> = text.split_whitespace().collect();
        let at = words.windows(2).position(|pair| pair == ["of", "source"]).expect("it says what it took");
        words[at - 2].replace(',', "").parse::<u64>().unwrap()
    };
    assert!(count(&run) > 100, "{run}");
    assert!(run.contains("9/9") && run.contains("✓ everything that went in came out"), "{run}");
    // Installed, it has no source about it.
    assert_eq!(count(&demo(None)), 1);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
}
