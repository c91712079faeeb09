//! Data to measure and to test with, the same on every machine.
//!
//! Everything follows from a seed through the extendable output of BLAKE3, with integer arithmetic and IEEE basic operations
//! only, so a corpus is named by its kind, size and seed; [`digest`] is what the benchmark prints and what the tests here
//! hold fast. Nothing is drawn from real sources.

mod digest;
mod edits;
mod pages;
mod stream;
mod text;
mod tree;

pub use digest::digest;
pub use edits::Edits;
pub use pages::PageFile;
pub use stream::Stream;
pub use text::{Dialect, Project, Vocabulary};
pub use tree::{SourceTree, TreeCensus};

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Seed of the corpora that `docs/benchmarks.md` speaks of.
pub const SEED: u64 = 2;

/// Writes `len` bytes that no codec makes smaller. About 1 GB/s.
///
/// # Errors
/// The file exists, or cannot be written.
pub fn incompressible(path: &Path, seed: u64, len: u64) -> io::Result<()> {
    let mut stream = Stream::new(seed, "incompressible");
    let mut file = File::create_new(path)?;
    let mut buffer = vec![0; 1 << 20];
    let mut left = len;
    while left > 0 {
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        stream.fill(&mut buffer[..take]);
        file.write_all(&buffer[..take])?;
        left -= take as u64;
    }
    Ok(())
}

/// Writes `count` text files of exactly 1 KiB, a thousand to a directory.
///
/// # Errors
/// `directory` exists, or something in it cannot be written.
pub fn many_small(directory: &Path, seed: u64, count: u64) -> io::Result<()> {
    fs::create_dir(directory)?;
    let mut stream = Stream::new(seed, "many small");
    let vocabulary = Vocabulary::new(&mut stream);
    let project = Project::new(&vocabulary, &mut stream);
    let mut text = Vec::with_capacity(8 << 10);
    for number in 0..count {
        let place = directory.join(format!("{:04}", number / 1000));
        if number % 1000 == 0 {
            fs::create_dir(&place)?;
        }
        text.clear();
        writeln!(text, "record {number}")?;
        project.write(&mut stream, Dialect::Code, 1024, &mut text);
        let mut file = BufWriter::new(File::create_new(place.join(format!("{:03}.txt", number % 1000)))?);
        file.write_all(&text[..1024])?;
        file.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
