//! Counters that outlive a process.
//!
//! Each command adds one row with what it counted, under a random key, so that processes never overwrite each other's
//! numbers; a checkpoint folds them into one.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;

use shard_storage::backend::{self, Backend, BackendKind, Batch, Durability, KeyRange, Order, Table};

use crate::canonical::{DecodeError, Decoder, Encoder};
use crate::metrics::COUNTERS;
use crate::repository::Repository;

/// Fewest rows worth folding.
const FOLD_FROM: usize = 8;

/// Counters by name.
type Totals = BTreeMap<String, u64>;

/// What this process has recorded already, in whichever repository.
static RECORDED: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

fn encode<'a>(counters: impl ExactSizeIterator<Item = (&'a str, u64)>) -> Vec<u8> {
    let mut e = Encoder::new();
    e.array(counters.len());
    for (name, value) in counters {
        e.array(2).text(name).uint(value);
    }
    e.into_bytes()
}

fn decode(bytes: &[u8], totals: &mut Totals) -> Result<(), DecodeError> {
    let mut d = Decoder::new(bytes);
    for _ in 0..d.array()? {
        d.array_of(2)?;
        let total = totals.entry(d.text()?.to_owned()).or_default();
        *total = total.saturating_add(d.uint()?);
    }
    d.finish()
}

/// Reads every row; returns the sums and the keys they came from.
fn read(backend: &dyn Backend) -> backend::Result<(Totals, Vec<Vec<u8>>)> {
    let (mut totals, mut keys) = (Totals::new(), Vec::new());
    for row in backend.scan(Table::Counter, KeyRange::ALL, Order::Ascending)? {
        let (key, value) = row?;
        // A row that makes no sense counts nothing.
        let _ = decode(&value, &mut totals);
        keys.push(key);
    }
    Ok((totals, keys))
}

/// Makes one row of many. Nobody else folds: the write permit is held.
pub(super) fn fold(backend: &dyn Backend) {
    let attempt = || -> backend::Result<()> {
        let (totals, keys) = read(backend)?;
        if keys.len() < FOLD_FROM {
            return Ok(());
        }
        let mut batch = Batch::new();
        for key in keys {
            batch.delete(Table::Counter, key);
        }
        let counters: Vec<_> = totals.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        batch.put(Table::Counter, [0; 8], encode(counters.into_iter()));
        backend.apply(batch, Durability::Unsynced)
    };
    if let Err(error) = attempt() {
        tracing::debug!(%error, "the counters are not folded");
    }
}

impl Repository {
    /// Adds what this process has counted since the last call to the repository's counters. Called once at the end of a
    /// command, after its report; it never syncs, never makes a backend, takes
    /// less than a millisecond, and a failure costs only numbers. Under sled only a process that uses the views records.
    pub fn record_counters(&self) {
        let mut recorded = RECORDED.lock().unwrap_or_else(PoisonError::into_inner);
        let news: Vec<(&str, u64)> = COUNTERS
            .all()
            .into_iter()
            .map(|(name, value)| (name, value - recorded.get(name).copied().unwrap_or(0).min(value)))
            .filter(|(_, value)| *value > 0)
            .collect();
        if news.is_empty() {
            return;
        }
        // Opening sled costs more than most commands.
        let costly = self.settings.backend == BackendKind::Sled && !self.has_open_backend();
        let Ok(Some(kept)) = (if costly { Ok(None) } else { self.open_backend(false) }) else { return };
        if !kept.writable {
            return;
        }
        let Ok(mut key) = crate::repository::random::<8>() else { return };
        // Apart from the key that folding writes.
        key[0] |= 0x80;
        let mut batch = Batch::new();
        batch.put(Table::Counter, key, encode(news.iter().copied()));
        match kept.backend.apply(batch, Durability::Unsynced) {
            Ok(()) => news.into_iter().for_each(|(name, value)| *recorded.entry(name).or_default() += value),
            Err(error) => tracing::debug!(%error, "the counters are not recorded"),
        }
    }

    /// Returns the counters of all commands so far, this one included, by name.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let recorded = RECORDED.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut totals = match self.open_backend(true) {
            Ok(Some(kept)) => read(&*kept.backend).map(|(totals, _)| totals).unwrap_or_default(),
            _ => BTreeMap::new(),
        };
        for (name, value) in COUNTERS.all() {
            *totals.entry(name.to_owned()).or_default() += value - recorded.get(name).copied().unwrap_or(0).min(value);
        }
        totals
    }
}
