//! Every page of `tests/cases/`, on every backend.
//!
//! `SHARD_TEST_BLESS=1` plays each page once, on its first backend, and writes what came out into it.

use std::path::{Path, PathBuf};
use std::{env, fs};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use shard_tests::Sandbox;
use shard_tests::need::{self, Need};
use shard_tests::transcript::Page;

/// The persistent backends; `memory` exists for tests beneath the command line.
const BACKENDS: [&str; 3] = ["sqlite", "flat", "sled"];

fn main() {
    let arguments = Arguments::from_args();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let bless = env::var_os("SHARD_TEST_BLESS").is_some_and(|v| v == "1");
    let mut trials = Vec::new();
    for path in pages(&directory) {
        let name = path.strip_prefix(&directory).expect("listed beneath it").with_extension("").display().to_string();
        let page = match Page::open(&path) {
            Ok(page) => page,
            Err(error) => {
                trials.push(Trial::test(name, move || Err(Failed::from(error))));
                continue;
            }
        };
        let mut backends: Vec<&str> =
            BACKENDS.into_iter().filter(|b| page.backends.is_empty() || page.backends.iter().any(|p| p == b)).collect();
        if bless {
            backends.truncate(1);
        }
        for backend in backends {
            let (test, page, path) = (format!("{name}::{backend}"), page.clone(), path.clone());
            let run = {
                let test = test.clone();
                move || play(&test, &page, &path, backend, bless)
            };
            trials.push(Trial::ignorable_test(test, run));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn play(test: &str, page: &Page, path: &Path, backend: &str, bless: bool) -> Result<Completion, Failed> {
    let verbs = page.verbs();
    let needs: Vec<Need> = page.needs.iter().cloned().chain(verbs.iter().cloned().map(Need::Command)).collect();
    if let Some(skip) = need::check(test, &needs, "-")? {
        return Ok(Completion::ignored_with(skip));
    }
    let mut sandbox = if verbs.is_empty() { Sandbox::without_shard()? } else { Sandbox::new()? };
    sandbox.set("SHARD_STORAGE_BACKEND", backend);
    if bless {
        let text = page.bless(&sandbox)?;
        fs::write(path, text)?;
        return Ok(Completion::Completed);
    }
    let mismatches = page.run(&sandbox)?;
    if mismatches.is_empty() {
        return Ok(Completion::Completed);
    }
    let mut message = format!("{} on {backend}\n", path.display());
    for mismatch in mismatches {
        message.push_str(&mismatch.to_string());
    }
    message.push_str("SHARD_TEST_BLESS=1 writes what came out into the page.");
    Err(Failed::from(message))
}

/// Lists the pages beneath `directory`, in order; `README.md` tells how to write one and is none.
fn pages(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    for entry in entries {
        let path = entry.expect("a directory that opened can be listed").path();
        if path.is_dir() {
            found.extend(pages(&path));
        } else if path.extension().is_some_and(|e| e == "md") && path.file_name().is_some_and(|n| n != "README.md") {
            found.push(path);
        }
    }
    found.sort();
    found
}
