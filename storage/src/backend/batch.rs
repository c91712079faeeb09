//! A batch: changes that happen together.

use std::ops::Bound;

use super::{BackendError, KeyRange, MAX_BATCH, MAX_KEY, MAX_VALUE, Result, Table, check_key};

/// One change of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Sets the value of a key.
    Put {
        /// Where.
        table: Table,
        /// The key.
        key: Vec<u8>,
        /// Its new value.
        value: Vec<u8>,
    },
    /// Removes a key, if it is there.
    Delete {
        /// Where.
        table: Table,
        /// The key.
        key: Vec<u8>,
    },
    /// Removes every key of a range, those put earlier in the same batch included.
    DeleteRange {
        /// Where.
        table: Table,
        /// Which keys.
        range: KeyRange<'static>,
    },
}

/// Changes that are applied together, in order, wholly or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    ops: Vec<Op>,
    size: usize,
}

impl Batch {
    /// What each change counts besides its keys and values, in bytes.
    const OP_OVERHEAD: usize = 16;

    /// Starts an empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the value of a key.
    pub fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> &mut Self {
        self.push(Op::Put { table, key: key.into(), value: value.into() })
    }

    /// Removes a key, if it is there.
    pub fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) -> &mut Self {
        self.push(Op::Delete { table, key: key.into() })
    }

    /// Removes every key of a range, those put earlier in the same batch included.
    pub fn delete_range(&mut self, table: Table, range: KeyRange<'_>) -> &mut Self {
        self.push(Op::DeleteRange { table, range: range.into_owned() })
    }

    fn push(&mut self, op: Op) -> &mut Self {
        self.size += Self::OP_OVERHEAD
            + match &op {
                Op::Put { key, value, .. } => key.len() + value.len(),
                Op::Delete { key, .. } => key.len(),
                Op::DeleteRange { range, .. } => bound_length(&range.start) + bound_length(&range.end),
            };
        self.ops.push(op);
        self
    }

    /// Returns the changes in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Returns the changes in order, giving up the batch.
    pub fn into_ops(self) -> Vec<Op> {
        self.ops
    }

    /// Says whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Returns the number of changes.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Returns the bytes counted against [`MAX_BATCH`]: keys, values and bounds, and 16 for each change.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Checks every limit, so that an engine refuses a batch before it has begun on it.
    pub(super) fn check(&self) -> Result<()> {
        for op in &self.ops {
            match op {
                Op::Put { key, value, .. } => {
                    check_key(key)?;
                    within("value", value.len(), MAX_VALUE)?;
                }
                Op::Delete { key, .. } => check_key(key)?,
                Op::DeleteRange { range, .. } => {
                    within("bound", bound_length(&range.start), MAX_KEY)?;
                    within("bound", bound_length(&range.end), MAX_KEY)?;
                }
            }
        }
        within("batch", self.size, MAX_BATCH)
    }
}

fn within(part: &'static str, length: usize, limit: usize) -> Result<()> {
    if length > limit { Err(BackendError::TooLarge { part, length, limit }) } else { Ok(()) }
}

fn bound_length(bound: &Bound<impl AsRef<[u8]>>) -> usize {
    match bound {
        Bound::Included(key) | Bound::Excluded(key) => key.as_ref().len(),
        Bound::Unbounded => 0,
    }
}
