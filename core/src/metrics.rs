//! Counters of what this process did.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows. Adding costs one relaxed atomic operation.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Starts at 0.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds to it.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Returns it.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident = $name:literal;)*) => {
        /// The counters of this process.
        #[derive(Debug, Default)]
        pub struct Counters {$(
            $(#[$doc])*
            pub $field: Counter,
        )*}

        impl Counters {
            const fn new() -> Self {
                Self {$($field: Counter::new(),)*}
            }

            /// Returns every counter with its name.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$(($name, self.$field.get()),)*]
            }
        }
    };
}

counters! {
    /// Transactions committed.
    transactions = "transactions";
    /// Syncs of the write-ahead log.
    log_syncs = "wal_syncs";
    /// Checkpoints taken.
    checkpoints = "checkpoints";
    /// Recoveries run.
    recoveries = "recoveries";
    /// Objects read and checked.
    objects_read = "objects_read";
    /// Objects stored.
    objects_new = "objects_new";
    /// Objects that existed already.
    objects_reused = "objects_reused";
    /// Bytes of file content read in.
    ingest_bytes = "ingest_bytes";
    /// Bytes of new objects before compression.
    new_bytes = "ingest_bytes_new";
    /// Bytes of new objects as stored.
    stored_bytes = "stored_bytes_new";
    /// Milliseconds spent waiting for the right to write.
    queue_wait_ms = "queue_wait_ms";
}

/// The counters of this process.
pub static COUNTERS: Counters = Counters::new();
