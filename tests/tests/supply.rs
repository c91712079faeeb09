//! What this program is built from: the line of crates, versions, floors, and the form of `deny.toml`.
//!
//! Works offline. Advisories are checked by `cargo deny` where that runs; here only their form and review dates are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Our crates with libraries, each naming only those to its left.
const LINE: [&str; 4] = ["shard-crypto", "shard-storage", "shard-core", "shard-cli"];

/// Crates that core may not name: asynchrony, network, command line, SQL engines.
const NOT_IN_CORE: [&str; 10] =
    ["tokio", "async-std", "axum", "hyper", "libp2p", "clap", "rusqlite", "r2d2_sqlite", "libsqlite3-sys", "sled"];

/// Least versions of crates whose older ones have known holes. Checked where the crate is in the graph at all.
const FLOORS: [(&str, [u64; 3]); 7] = [
    ("yamux", [0, 13, 10]),
    ("libp2p-gossipsub", [0, 50, 0]),
    ("quinn-proto", [0, 11, 15]),
    ("snow", [0, 9, 5]),
    ("libsqlite3-sys", [0, 30, 0]),
    ("zstd-sys", [2, 0, 0]),
    ("tar", [0, 4, 38]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--locked", "--no-deps"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Direct dependencies of each workspace member, development and build ones marked by their kind.
fn direct() -> BTreeMap<String, Vec<(String, Option<String>)>> {
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let list = dependencies.map(|d| (text(&d["name"]), d["kind"].as_str().map(str::to_owned))).collect();
            (text(&package["name"]), list)
        })
        .collect()
}

/// Name and version of everything in Cargo.lock.
fn locked() -> Vec<(String, [u64; 3])> {
    let text = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let field = |block: &str, name: &str| {
        let line = block.lines().find_map(|l| l.strip_prefix(&format!("{name} = \""))).unwrap_or_default();
        line.trim_end_matches('"').to_owned()
    };
    text.split("[[package]]")
        .skip(1)
        .map(|block| {
            let version = field(block, "version");
            let plain = version.split(['-', '+']).next().unwrap_or_default();
            let mut numbers = plain.split('.').map(|n| n.parse().unwrap());
            let mut next = || numbers.next().unwrap_or(0);
            (field(block, "name"), [next(), next(), next()])
        })
        .collect()
}

#[test]
fn each_crate_names_only_those_to_its_left() {
    let direct = direct();
    for (place, name) in LINE.iter().enumerate() {
        for (dependency, kind) in &direct[*name] {
            if let Some(other) = LINE.iter().position(|n| n == dependency) {
                assert!(other < place, "{name} names {dependency} ({kind:?}), which stands to its right");
            }
            assert_ne!(dependency, "shard-tests", "{name} names the tests");
        }
    }
}

#[test]
fn core_names_no_runtime_network_command_line_or_sql_engine() {
    let direct = direct();
    for name in ["shard-core", "shard-crypto"] {
        for (dependency, kind) in &direct[name] {
            let foreign = NOT_IN_CORE.iter().any(|n| dependency == n || dependency.starts_with(&format!("{n}-")));
            assert!(!foreign, "{name} names {dependency} ({kind:?})");
        }
    }
}

/// Name and versions of everything the shipped crates are built from; what only tests pull in ships to nobody.
fn shipped() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--workspace", "--exclude", "shard-tests", "--locked", "--edges", "normal,build"])
        .args(["--prefix", "none", "--format", "{p}"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        if let [name, version, ..] = line.split(' ').collect::<Vec<_>>()[..] {
            versions.entry(name.to_owned()).or_default().insert(version.to_owned());
        }
    }
    versions
}

#[test]
fn each_direct_dependency_has_one_version() {
    let used: BTreeSet<String> =
        direct().into_values().flatten().filter(|(_, kind)| kind.is_none()).map(|(name, _)| name).collect();
    let shipped = shipped();
    assert!(shipped.len() > 30, "the tree was not understood");
    let doubled: Vec<_> =
        shipped.iter().filter(|(name, versions)| used.contains(*name) && versions.len() > 1).collect();
    assert!(doubled.is_empty(), "{doubled:?}");
}

#[test]
fn versions_stay_above_their_floors() {
    let locked = locked();
    assert!(locked.len() > 50, "Cargo.lock was not understood");
    for (name, floor) in FLOORS {
        for (_, version) in locked.iter().filter(|(n, _)| n == name) {
            assert!(*version >= floor, "{name} {version:?} is below {floor:?}");
        }
    }
}

#[test]
fn everything_locked_comes_from_the_registry_or_from_here() {
    let text = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for line in text.lines().filter(|l| l.starts_with("source = ")) {
        assert_eq!(line, "source = \"registry+https://github.com/rust-lang/crates.io-index\"");
    }
    assert_eq!(text.matches("checksum = ").count(), text.matches("source = ").count());
}

#[test]
fn every_ignored_advisory_has_a_reason_and_a_review_date() {
    let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    for table in ["[graph]", "[licenses]", "[sources]", "[bans]", "[advisories]"] {
        assert!(text.contains(table), "deny.toml has no {table}");
    }
    for licence in ["\"BSL-1.0\"", "\"BlueOak-1.0.0\""] {
        assert!(text.contains(licence), "{licence} is not allowed, though we depend on it");
    }
    let form =
        regex::Regex::new(r#"^\s*\{ id = "RUSTSEC-\d{4}-\d{4}", reason = ".{20,}; review \d{4}-\d{2}-\d{2}" \},$"#);
    let form = form.unwrap();
    let entries: Vec<_> = text.lines().filter(|l| l.contains("RUSTSEC-")).collect();
    assert!(!entries.is_empty(), "sled brings advisories that have to be answered");
    for entry in entries {
        assert!(form.is_match(entry), "not of the form {{ id, reason \"...; review YYYY-MM-DD\" }}: {entry}");
    }
}

#[test]
fn unsafe_code_is_forbidden_outside_the_sqlite_crate() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"deny\""));
    let mut allowed = Vec::new();
    for member in ["crypto", "storage", "core", "cli", "tests"] {
        let own = std::fs::read_to_string(root().join(member).join("Cargo.toml")).unwrap();
        assert!(own.contains("[lints]\nworkspace = true"), "{member} does not take the workspace's lints");
        for path in sources(&root().join(member)) {
            let text = std::fs::read_to_string(&path).unwrap();
            let lifted = text.lines().any(|l| l.trim_start().starts_with("#") && l.contains("allow(unsafe_code)"));
            if lifted {
                allowed.push(path);
            }
        }
    }
    assert!(allowed.is_empty(), "{allowed:?} lift the ban on unsafe code");
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|n| n != "target") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}
