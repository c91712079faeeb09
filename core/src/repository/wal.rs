//! The write-ahead log: what a transaction changes, in one record.
//!
//! Offsets are absolute and values whole, so that replaying twice equals once. The first record of each log says where
//! the files that grow by appending ended when the log began; from it and the records alone, recovery restores them.

use std::collections::BTreeMap;

use shard_crypto::Digest;

use crate::canonical::{Canonical, DecodeError, Decoder, Encoder};

/// Where a file that only grows ends: in bytes, and for a framed log the number of its next record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct End {
    /// Length in bytes that counts; what lies beyond is garbage.
    pub offset: u64,
    /// Number of the next record; 0 for packs.
    pub sequence: u64,
}

/// The ends of all files that grow by appending, by path under `.shard/`.
pub type Ends = BTreeMap<String, End>;

fn encode_ends(ends: &Ends, e: &mut Encoder) {
    e.array(ends.len());
    for (file, end) in ends {
        e.array(3).text(file).uint(end.offset).uint(end.sequence);
    }
}

fn decode_ends(d: &mut Decoder<'_>) -> Result<Ends, DecodeError> {
    let count = d.array()?;
    let mut ends = Ends::new();
    for _ in 0..count {
        d.array_of(3)?;
        let file = d.text()?;
        if ends.last_key_value().is_some_and(|(last, _): (&String, _)| last.as_str() >= file) {
            return Err(d.invalid("files are not sorted"));
        }
        ends.insert(file.to_owned(), End { offset: d.uint()?, sequence: d.uint()? });
    }
    Ok(ends)
}

/// Bytes appended to one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// Path under `.shard/`.
    pub file: String,
    /// Where the bytes begin.
    pub offset: u64,
    /// The bytes; empty where they were written and synced before, and only the end moves.
    pub bytes: Vec<u8>,
    /// Where the file ends afterwards.
    pub end: End,
}

/// The new content of a file that is replaced whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContent {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A synced file under `tmp/`, with the BLAKE3 of its content.
    Temporary {
        /// Its name under `tmp/`.
        name: String,
        /// The hash of what it holds.
        digest: Digest,
    },
    /// The file is removed.
    Absent,
}

/// One transaction, or the checkpoint a log begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Where everything ended when the log began.
    Checkpoint(Ends),
    /// A transaction.
    Transaction {
        /// Files that grow.
        appends: Vec<Append>,
        /// Files that are replaced, refs, HEAD and index included, by path under `.shard/`.
        files: Vec<(String, FileContent)>,
    },
}

impl Canonical for Record {
    fn encode(&self, e: &mut Encoder) {
        match self {
            Self::Checkpoint(ends) => {
                e.map(2).uint(1).uint(1).uint(2);
                encode_ends(ends, e);
            }
            Self::Transaction { appends, files } => {
                e.map(3).uint(1).uint(1).uint(3).array(appends.len());
                for append in appends {
                    e.array(5).text(&append.file).uint(append.offset).bytes(&append.bytes);
                    e.uint(append.end.offset).uint(append.end.sequence);
                }
                e.uint(4).array(files.len());
                for (file, content) in files {
                    e.array(2).text(file);
                    match content {
                        FileContent::Bytes(bytes) => e.bytes(bytes),
                        FileContent::Temporary { name, digest } => e.array(2).text(name).bytes(&digest.0),
                        FileContent::Absent => e.null(),
                    };
                }
            }
        }
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut keys = d.map()?;
        keys.expect(d, 1)?;
        if d.uint()? != 1 {
            return Err(d.invalid("a record of a later version"));
        }
        let record = match keys.next(d)? {
            Some(2) => Self::Checkpoint(decode_ends(d)?),
            Some(3) => {
                let count = d.array()?;
                let mut appends = Vec::new();
                for _ in 0..count {
                    d.array_of(5)?;
                    let file = d.text()?.to_owned();
                    let (offset, bytes) = (d.uint()?, d.bytes()?.to_vec());
                    appends.push(Append { file, offset, bytes, end: End { offset: d.uint()?, sequence: d.uint()? } });
                }
                keys.expect(d, 4)?;
                let count = d.array()?;
                let mut files = Vec::new();
                for _ in 0..count {
                    d.array_of(2)?;
                    let file = d.text()?.to_owned();
                    let content = match d.peek()? {
                        crate::canonical::ItemType::Bytes => FileContent::Bytes(d.bytes()?.to_vec()),
                        crate::canonical::ItemType::Null => {
                            d.null()?;
                            FileContent::Absent
                        }
                        _ => {
                            d.array_of(2)?;
                            FileContent::Temporary { name: d.text()?.to_owned(), digest: Digest(d.bytes_of()?) }
                        }
                    };
                    files.push((file, content));
                }
                Self::Transaction { appends, files }
            }
            _ => return Err(d.invalid("neither a checkpoint nor a transaction")),
        };
        if keys.next(d)?.is_some() {
            return Err(d.invalid("an unknown field"));
        }
        Ok(record)
    }
}

/// How far the write-ahead log is applied, and where the growing files end at that point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The log it speaks of; a record of another log never replays.
    pub log_id: [u8; 16],
    /// The last transaction whose changes are all in place.
    pub sequence: u64,
    /// The boot during which they were put there: after another, what was not synced may be gone.
    pub boot_id: [u8; 16],
    /// The ends after that transaction.
    pub ends: Ends,
}

impl Applied {
    /// Encodes it with a check, as the file holds it.
    pub fn to_file(&self) -> Vec<u8> {
        let mut e = Encoder::new();
        e.map(5).uint(1).uint(1).uint(2).bytes(&self.log_id).uint(3).uint(self.sequence);
        e.uint(4).bytes(&self.boot_id).uint(5);
        encode_ends(&self.ends, &mut e);
        let body = e.into_bytes();
        let mut bytes = Vec::with_capacity(body.len() + 16);
        bytes.extend_from_slice(b"SHRDAPLD");
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&blake3::hash(&body).as_bytes()[..8]);
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Decodes the file; `None` where it is absent, torn or damaged, which only means that recovery is needed.
    pub fn from_file(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(b"SHRDAPLD")?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (check, rest) = rest.split_first_chunk::<8>()?;
        let body = rest.get(..u32::from_le_bytes(*length) as usize)?;
        if blake3::hash(body).as_bytes()[..8] != check[..] {
            return None;
        }
        let parse = || -> Result<Self, DecodeError> {
            let mut d = Decoder::new(body);
            let mut keys = d.map()?;
            keys.expect(&mut d, 1)?;
            if d.uint()? != 1 {
                return Err(d.invalid("a later version"));
            }
            keys.expect(&mut d, 2)?;
            let log_id = d.bytes_of()?;
            keys.expect(&mut d, 3)?;
            let sequence = d.uint()?;
            keys.expect(&mut d, 4)?;
            let boot_id = d.bytes_of()?;
            keys.expect(&mut d, 5)?;
            let ends = decode_ends(&mut d)?;
            if keys.next(&mut d)?.is_some() {
                return Err(d.invalid("an unknown field"));
            }
            d.finish()?;
            Ok(Self { log_id, sequence, boot_id, ends })
        };
        parse().ok()
    }
}
