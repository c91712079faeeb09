//! A file that looks like an SQLite database to everything that goes by bytes.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::stream::Stream;
use super::text::Vocabulary;

const PAGE: usize = 4096;

/// Pages of rows behind an SQLite header. No engine would open it; chunkers and codecs see what they would in a real one.
#[derive(Debug, Clone, Copy)]
pub struct PageFile {
    /// What everything follows from.
    pub seed: u64,
    /// How many pages of 4,096 bytes.
    pub pages: u32,
}

impl PageFile {
    /// The file of B5: 60 MB.
    pub const B5: Self = Self { seed: super::SEED, pages: 14_649 };
    /// How many pages differ from one version of B5 to the next.
    pub const CHANGED: u32 = 1_150;

    /// Writes version `version` to the new file `path`: version 0, and in each later one `changed` pages where a few rows
    /// hold other values.
    ///
    /// # Errors
    /// The file exists, or cannot be written.
    pub fn write(&self, path: &Path, version: u32, changed: u32) -> io::Result<()> {
        let mut revisions = vec![0_u32; self.pages as usize];
        for v in 1..=version {
            let mut stream = Stream::new(self.seed ^ u64::from(v) << 32, "changed pages");
            let mut left = changed.min(self.pages.saturating_sub(1));
            while left > 0 {
                let page = 1 + stream.index(revisions.len() - 1);
                if revisions[page] != v {
                    revisions[page] = v;
                    left -= 1;
                }
            }
        }
        let vocabulary = Vocabulary::new(&mut Stream::new(self.seed, "rows"));
        let mut file = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
        for (number, revision) in (0_u32..).zip(revisions) {
            file.write_all(&self.page(&vocabulary, number, revision, version))?;
        }
        file.flush()
    }

    fn page(&self, vocabulary: &Vocabulary, number: u32, revision: u32, version: u32) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        let start = if number == 0 { self.header(&mut page, version) } else { 0 };
        let mut rows = Stream::new(self.seed ^ u64::from(number), "page");
        let mut values = Stream::new(self.seed ^ u64::from(number) ^ u64::from(revision) << 32, "values");
        page[start] = 13;
        let (mut end, mut count, mut id) = (PAGE, 0, u64::from(number) * 64);
        loop {
            id += 1 + rows.below(2);
            let mut row = format!("{id:08}").into_bytes();
            for _ in 0..3 + rows.index(6) {
                row.push(b' ');
                row.extend_from_slice(vocabulary.word(&mut rows).as_bytes());
            }
            // One row in twelve of a changed page holds another amount.
            let amount = rows.below(1_000_000);
            let changed = revision > 0 && values.chance(80);
            let amount = if changed { values.below(1_000_000) } else { amount };
            row.extend_from_slice(&amount.to_be_bytes()[4..]);
            let pointer = start + 8 + 2 * count;
            if pointer + 2 + row.len() + 8 > end {
                break;
            }
            end -= row.len();
            page[end..end + row.len()].copy_from_slice(&row);
            page[pointer..pointer + 2].copy_from_slice(&(end as u16).to_be_bytes());
            count += 1;
        }
        page[start + 3..start + 5].copy_from_slice(&(count as u16).to_be_bytes());
        page[start + 5..start + 7].copy_from_slice(&(end as u16).to_be_bytes());
        page
    }

    fn header(&self, page: &mut [u8; PAGE], version: u32) -> usize {
        page[..16].copy_from_slice(b"SQLite format 3\0");
        page[16..18].copy_from_slice(&(PAGE as u16).to_be_bytes());
        page[18..24].copy_from_slice(&[1, 1, 0, 64, 32, 32]);
        page[24..28].copy_from_slice(&(version + 1).to_be_bytes());
        page[28..32].copy_from_slice(&self.pages.to_be_bytes());
        page[44..48].copy_from_slice(&4_u32.to_be_bytes());
        page[56..60].copy_from_slice(&1_u32.to_be_bytes());
        page[92..96].copy_from_slice(&(version + 1).to_be_bytes());
        page[96..100].copy_from_slice(&3_045_000_u32.to_be_bytes());
        100
    }
}
