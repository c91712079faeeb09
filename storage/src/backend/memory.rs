//! Rows in memory and nowhere else: for tests, and for views of repositories that may not be written.

use std::sync::{PoisonError, RwLock};

use super::rows::{Rows, Watched};
use super::{
    Backend, BackendKind, BackendStats, Batch, Durability, KeyRange, Order, Result, Scan, Sharing, Table, check_key,
};

/// A backend that is gone when it is dropped.
#[derive(Debug, Default)]
pub struct Memory {
    rows: RwLock<Rows>,
}

impl Backend for Memory {
    fn kind(&self) -> BackendKind {
        BackendKind::Memory
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        check_key(key)?;
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        Ok(rows.get(table, key).cloned())
    }

    fn scan(&self, table: Table, range: KeyRange<'_>, order: Order) -> Result<Scan<'_>> {
        let source = Watched::new(move |range: &KeyRange<'_>, order, step: &mut _| {
            let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
            rows.read(table, range, order, step);
            Ok(rows.generation())
        });
        Scan::start(source, range, order)
    }

    fn apply(&self, batch: Batch, _: Durability) -> Result<()> {
        batch.check()?;
        self.rows.write().unwrap_or_else(PoisonError::into_inner).apply(batch.into_ops());
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn sharing(&self) -> Sharing {
        Sharing::SingleProcess
    }

    fn stats(&self) -> BackendStats {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        BackendStats { disk_bytes: 0, memory_bytes: rows.bytes() }
    }
}
