//! Suites that take long or need much, and the corpora, by name: `cargo run -r -p shard-tests -- list`.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use shard_tests::corpus::{self, PageFile, SEED, SourceTree};
use shard_tests::need::{self, Need};
use shard_tests::suite::hammer::{Load, hammer};
use shard_tests::suite::{Findings, Git, Program, Suite, full, kill, long_add, power};
use shard_tests::{Sandbox, Shard};

const USAGE: &str = "usage: shard-tests list | all | SUITE [OPTIONS] | corpus KIND PATH
  KIND: b1, large, random:BYTES, pages, small:FILES";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["list"] => {
            list();
            Ok(true)
        }
        ["corpus", kind, path] => write_corpus(kind, Path::new(path)).map(|()| true),
        ["all", options @ ..] => Suite::ALL.into_iter().try_fold(true, |good, suite| Ok(run(suite, options)? && good)),
        [name, options @ ..] => match Suite::ALL.into_iter().find(|s| s.name() == *name) {
            Some(suite) => run(suite, options),
            None => Err(USAGE.to_owned()),
        },
        [] => Err(USAGE.to_owned()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

fn list() {
    for suite in Suite::ALL {
        println!("{:8} {}", suite.name(), suite.about());
        for need in suite.needs().iter().filter(|n| !matches!(n, Need::Command(_))) {
            println!("         {need}{}", if need.is_met() { "" } else { ", which this machine does not offer" });
        }
    }
}

/// Runs a suite at length, prints its closing line, and returns whether nothing was found.
fn run(suite: Suite, options: &[&str]) -> Result<bool, String> {
    if let Some(skip) = need::check(suite.name(), &suite.needs(), suite.twin())? {
        println!("{}: skipped, {skip}", suite.name());
        return Ok(true);
    }
    let number = |name: &str, default: u64| -> Result<u64, String> {
        match options.iter().position(|o| *o == name) {
            None => Ok(default),
            Some(at) => {
                let value = options.get(at + 1).ok_or_else(|| format!("{name} needs a number"))?;
                value.parse().map_err(|_| format!("{name} {value} is no number"))
            }
        }
    };
    let seed = number("--seed", u64::from(std::process::id()))?;
    let begin = Instant::now();
    let sandbox = || Sandbox::new().map_err(|e| e.to_string());
    let findings = match suite {
        Suite::Power => {
            let cuts = number("--cuts", 2000)?;
            if options.contains(&"--beside-git") {
                for all_synced in [false, true] {
                    let findings = power::cut_power(&Git { all_synced }, None, cuts.min(200), seed)?;
                    println!("git, {}: {findings}", if all_synced { "all flushed" } else { "as it comes" });
                }
            }
            power::cut_power(&Program, Some(Shard::get()), cuts, seed)?
        }
        Suite::Kill => {
            let kills = number("--kills", 2500)?;
            let mut findings = kill::kill_at_random(&Program, &sandbox()?, kills, seed)?;
            match need::check("kill at each call", &[Need::Strace], suite.twin())? {
                Some(skip) => findings.skips.push(skip),
                None => findings.add(kill::kill_at_calls(&Program, &sandbox()?, 1000, 1)?),
            }
            findings.add(long_add::kill_a_long_add(&sandbox()?)?);
            findings
        }
        Suite::Hammer => {
            let load = Load {
                writers: number("--processes", 16)?,
                readers: number("--readers", 4)?,
                time: Duration::from_secs(number("--seconds", 1200)?),
            };
            hammer(&sandbox()?, load)?
        }
        Suite::Full => full::fill(&sandbox()?, number("--sizes", 24)?)?,
    };
    report(suite, &findings, seed, begin);
    Ok(findings.violations.is_empty())
}

fn report(suite: Suite, findings: &Findings, seed: u64, begin: Instant) {
    println!("{}: {findings}", suite.name());
    println!("seed {seed}, {:.0} s", begin.elapsed().as_secs_f64());
}

fn write_corpus(kind: &str, path: &Path) -> Result<(), String> {
    let (kind, size) = kind.split_once(':').unwrap_or((kind, "0"));
    let size: u64 = size.parse().map_err(|_| format!("`{size}` is no number\n{USAGE}"))?;
    let written = match kind {
        "b1" => SourceTree::B1.write(path).map(|census| println!("{census:?}")),
        "large" => SourceTree::LARGE.write(path).map(|census| println!("{census:?}")),
        "random" => corpus::incompressible(path, SEED, size),
        "pages" => PageFile::B5.write(path, 0, PageFile::CHANGED),
        "small" => corpus::many_small(path, SEED, size),
        _ => return Err(USAGE.to_owned()),
    };
    written.map_err(|e| format!("{}: {e}", path.display()))?;
    println!("digest {}", corpus::digest(path).map_err(|e| e.to_string())?);
    Ok(())
}
