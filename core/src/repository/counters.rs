//! Counters that outlive a process.
//!
//! They lie in one small file, `.shard/counters`, that a command locks, adds to and writes back in place. Nothing is
//! synced: after a power cut or a torn write they begin anew, which costs numbers and nothing else.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shard_storage::vfs::{File, LockKind, OpenOptions, Result};

use super::{Repository, layout};
use crate::canonical::{DecodeError, Decoder, Encoder};
use crate::metrics::COUNTERS;

/// First bytes of the file, the version with them.
const MAGIC: &[u8; 8] = b"SHRDCNT\x01";
/// Magic 8, check 8.
const HEADER: usize = 16;
/// Largest file that is read.
const MAX_FILE: u64 = 64 << 10;
/// How often the lock is tried, a millisecond apart: it is held for microseconds.
const ATTEMPTS: usize = 20;

/// Counters by name.
type Totals = BTreeMap<String, u64>;

/// What this process has recorded already, in whichever repository.
static RECORDED: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

fn encode(totals: &Totals) -> Vec<u8> {
    let mut e = Encoder::new();
    e.array(totals.len());
    for (name, value) in totals {
        e.array(2).text(name).uint(*value);
    }
    let body = e.into_bytes();
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&blake3::hash(&body).as_bytes()[..HEADER - MAGIC.len()]);
    bytes.extend_from_slice(&body);
    bytes
}

fn decode(body: &[u8]) -> std::result::Result<Totals, DecodeError> {
    let mut totals = Totals::new();
    let mut d = Decoder::new(body);
    for _ in 0..d.array()? {
        d.array_of(2)?;
        let total = totals.entry(d.text()?.to_owned()).or_default();
        *total = total.saturating_add(d.uint()?);
    }
    d.finish()?;
    Ok(totals)
}

/// Reads the file; what makes no sense counts nothing.
fn read(file: &File) -> Totals {
    let bytes = file.read_all(MAX_FILE).unwrap_or_default();
    let Some((check, body)) = bytes.strip_prefix(MAGIC).and_then(<[u8]>::split_first_chunk::<8>) else {
        return Totals::new();
    };
    if blake3::hash(body).as_bytes()[..check.len()] != *check {
        return Totals::new();
    }
    decode(body).unwrap_or_default()
}

fn lock(file: &File, kind: LockKind) -> Result<bool> {
    for _ in 0..ATTEMPTS {
        if file.try_lock(kind)? {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(false)
}

impl Repository {
    /// Adds what this process has counted since the last call to the repository's counters. Called once at the end of a
    /// command, after its report. Costs a handful of system calls and no sync; a failure costs only numbers.
    pub fn record_counters(&self) {
        let mut recorded = RECORDED.lock().unwrap_or_else(PoisonError::into_inner);
        let news: Vec<(&'static str, u64)> = COUNTERS
            .all()
            .into_iter()
            .map(|(name, value)| (name, value - recorded.get(name).copied().unwrap_or(0).min(value)))
            .filter(|(_, value)| *value > 0)
            .collect();
        if news.is_empty() {
            return;
        }
        let attempt = || -> Result<bool> {
            let file = self.layout.shard.open(layout::COUNTERS, OpenOptions::CREATE)?;
            if !lock(&file, LockKind::Exclusive)? {
                return Ok(false);
            }
            let mut totals = read(&file);
            for (name, value) in &news {
                let total = totals.entry((*name).to_owned()).or_default();
                *total = total.saturating_add(*value);
            }
            let bytes = encode(&totals);
            file.write_all_at(&bytes, 0)?;
            if file.size()? > bytes.len() as u64 {
                file.set_len(bytes.len() as u64)?;
            }
            Ok(true)
        };
        match attempt() {
            Ok(true) => news.into_iter().for_each(|(name, value)| *recorded.entry(name).or_default() += value),
            Ok(false) => tracing::debug!("the counters are busy and not recorded"),
            Err(error) => tracing::debug!(%error, "the counters are not recorded"),
        }
    }

    /// Returns the counters of all commands so far, this one included, by name.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let recorded = RECORDED.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut totals = match self.layout.shard.open(layout::COUNTERS, OpenOptions::READ) {
            Ok(file) => {
                // A reader that gets no lock reads what may be half-written, and the check tells.
                let _ = lock(&file, LockKind::Shared);
                read(&file)
            }
            Err(_) => Totals::new(),
        };
        for (name, value) in COUNTERS.all() {
            *totals.entry(name.to_owned()).or_default() += value - recorded.get(name).copied().unwrap_or(0).min(value);
        }
        totals
    }
}
