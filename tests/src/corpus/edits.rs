//! Edits of a large file, made while copying it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use super::stream::Stream;

/// One change: `insert` bytes come in at `offset` of the old file, `skip` old bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Edit {
    offset: u64,
    insert: u64,
    skip: u64,
}

/// A list of edits, sorted by place, none overlapping the next.
#[derive(Debug, Clone)]
pub struct Edits {
    seed: u64,
    list: Vec<Edit>,
}

impl Edits {
    /// 200 inserts and 200 overwrites of 1 to 4,096 bytes, anywhere in a file of `len` bytes.
    pub fn small(seed: u64, len: u64) -> Self {
        let mut stream = Stream::new(seed, "small edits");
        let list = (0..400)
            .map(|n| {
                let size = 1 + stream.below(4096);
                Edit { offset: stream.below(len.max(1)), insert: size, skip: if n % 2 == 0 { 0 } else { size } }
            })
            .collect();
        Self::sorted(seed, list)
    }

    /// Inserts of `share` per cent of a file of `len` bytes, in `places` equal pieces.
    pub fn inserted(seed: u64, len: u64, share: u64, places: u64) -> Self {
        let mut stream = Stream::new(seed, "inserts");
        let insert = len * share / 100 / places;
        let list = (0..places).map(|_| Edit { offset: stream.below(len.max(1)), insert, skip: 0 }).collect();
        Self::sorted(seed, list)
    }

    fn sorted(seed: u64, mut list: Vec<Edit>) -> Self {
        list.sort_by_key(|e| e.offset);
        for at in 1..list.len() {
            let (before, this) = (list[at - 1], &mut list[at]);
            this.offset = this.offset.max(before.offset + before.skip);
        }
        Self { seed, list }
    }

    /// Returns how many bytes the edits bring in: no store can add fewer.
    pub fn new_bytes(&self) -> u64 {
        self.list.iter().map(|e| e.insert).sum()
    }

    /// Writes `from` with the edits made to the new file `to`.
    ///
    /// # Errors
    /// `from` cannot be read, `to` exists or cannot be written.
    pub fn apply(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut stream = Stream::new(self.seed, "edited bytes");
        let mut old = BufReader::with_capacity(1 << 20, File::open(from)?);
        let mut new = BufWriter::with_capacity(1 << 20, File::create_new(to)?);
        let mut at = 0;
        for edit in &self.list {
            at += io::copy(&mut (&mut old).take(edit.offset - at), &mut new)?;
            let mut fresh = vec![0; usize::try_from(edit.insert).map_err(io::Error::other)?];
            stream.fill(&mut fresh);
            new.write_all(&fresh)?;
            at += io::copy(&mut (&mut old).take(edit.skip), &mut io::sink())?;
            if at < edit.offset {
                break;
            }
        }
        io::copy(&mut old, &mut new)?;
        new.flush()
    }
}
