//! Progress: what a long operation tells whoever watches.

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Files, objects or other things.
    Items,
}

/// Receives progress. Called from several threads, often; it must be cheap.
pub trait Progress: Sync {
    /// A phase begins; `total` where it is known.
    fn phase(&self, _name: &'static str, _total: Option<u64>, _unit: Unit) {}
    /// So much more of the phase is done.
    fn advance(&self, _amount: u64) {}
    /// What is being worked on.
    fn path(&self, _path: &str) {}
    /// Whether whoever watches wants it to end: it then does so soon, with [`Error::Cancelled`](crate::Error::Cancelled).
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}
