//! Suites that take long or need much, and the corpora, by name: `cargo run -r -p shard-tests -- list`.

use std::path::Path;
use std::process::ExitCode;

use shard_tests::corpus::{self, PageFile, SEED, SourceTree};

const USAGE: &str = "usage: shard-tests list | SUITE [OPTIONS] | corpus KIND PATH   (KIND: b1, large, random:BYTES, pages, small:FILES)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["corpus", kind, path] => write_corpus(kind, Path::new(path)),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

fn write_corpus(kind: &str, path: &Path) -> Result<(), String> {
    let (kind, size) = kind.split_once(':').unwrap_or((kind, "0"));
    let size: u64 = size.parse().map_err(|_| format!("`{size}` is no number; {USAGE}"))?;
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
