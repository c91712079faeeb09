//! What a backend holds can be made again, by any other, and nobody sees a difference.

use serde_json::Value;
use shard_tests::Sandbox;

/// Runs `shard --json` in the repository and returns what it answers, but for the trace.
fn answer(sandbox: &Sandbox, backend: &str, arguments: &[&str]) -> Value {
    let mut command = sandbox.shard("ana", ["-C", "demo", "--json"]).unwrap();
    let output = command.args(arguments).env("SHARD_STORAGE_BACKEND", backend).output().unwrap();
    let said = || String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?} on {backend}: {}", said());
    let mut document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said()));
    document.as_object_mut().unwrap().remove("trace");
    document
}

#[test]
fn a_rebuild_for_another_backend_changes_no_answer() {
    let sandbox = Sandbox::new().unwrap();
    assert!(sandbox.shard("ana", ["init", "demo"]).unwrap().output().unwrap().status.success());
    let root = sandbox.path().join("ana/demo");
    let on = |backend: &str, arguments: &[&str]| answer(&sandbox, backend, arguments);
    for number in 0..12 {
        std::fs::write(root.join(format!("f{}", number % 5)), format!("version {number}\n").repeat(1 + number * 40))
            .unwrap();
        on("sqlite", &["commit", "-a", "-m", &format!("number {number}")]);
        match number {
            3 => drop(on("sqlite", &["branch", "new", "topics/one"])),
            6 => drop(on("sqlite", &["tag", "new", "v1"])),
            9 => drop(on("sqlite", &["switch", "topics/one"])),
            _ => {}
        }
    }
    let first = on("sqlite", &["log"])["data"]["items"][0]["id"].as_str().unwrap()[..10].to_owned();
    let questions: [&[&str]; 6] = [
        &["log", "main", "-n", "1000"],
        &["log", "-n", "3"],
        &["show", &first],
        &["branch", "list"],
        &["tag", "list"],
        &["status"],
    ];
    let ask = |backend: &str| questions.map(|question| on(backend, question));
    let expected = ask("sqlite");
    assert_eq!(expected[0]["data"]["items"].as_array().unwrap().len(), 10);
    for backend in ["sled", "flat", "sqlite"] {
        on(backend, &["rebuild"]);
        assert_eq!(on(backend, &["store", "stats"])["data"]["backend"], backend);
        assert_eq!(ask(backend), expected, "{backend}");
    }
}
