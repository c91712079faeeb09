//! Rows held in memory, for the engines that hold all of them.

use std::collections::BTreeMap;

use super::scan::{Source, Step};
use super::{BackendError, KeyRange, Op, Order, Result, Table};

/// Every row of every table, and how often they have changed.
#[derive(Debug, Default)]
pub(super) struct Rows {
    tables: [BTreeMap<Vec<u8>, Vec<u8>>; Table::ALL.len()],
    bytes: u64,
    generation: u64,
}

impl Rows {
    fn table(&self, table: Table) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.tables[usize::from(table.number())]
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> Option<&Vec<u8>> {
        self.table(table).get(key)
    }

    /// Returns the bytes of all keys and values.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns a number that is another after every change.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns the number of rows.
    pub(super) fn len(&self) -> usize {
        self.tables.iter().map(BTreeMap::len).sum()
    }

    /// Becomes a later generation than `old`, in whose place these rows step.
    pub(super) fn supersede(&mut self, old: &Self) {
        self.generation += old.generation + 1;
    }

    /// Applies changes in order.
    pub(super) fn apply(&mut self, ops: Vec<Op>) {
        self.generation += 1;
        for op in ops {
            match op {
                Op::Put { table, key, value } => {
                    let added = row_bytes(&key, &value);
                    let length = key.len();
                    let replaced = self.tables[usize::from(table.number())].insert(key, value);
                    self.bytes += added;
                    self.bytes -= replaced.map_or(0, |old| (length + old.len()) as u64);
                }
                Op::Delete { table, key } => self.remove(table, &key),
                Op::DeleteRange { table, range } => {
                    for key in self.keys(table, &range) {
                        self.remove(table, &key);
                    }
                }
            }
        }
    }

    fn remove(&mut self, table: Table, key: &[u8]) {
        if let Some(old) = self.tables[usize::from(table.number())].remove(key) {
            self.bytes -= row_bytes(key, &old);
        }
    }

    fn keys(&self, table: Table, range: &KeyRange<'_>) -> Vec<Vec<u8>> {
        if range.is_empty() {
            return Vec::new();
        }
        self.table(table).range::<[u8], _>(range.bounds()).map(|(key, _)| key.clone()).collect()
    }

    /// Adds the rows of a range to a step until it is full.
    pub(super) fn read(&self, table: Table, range: &KeyRange<'_>, order: Order, step: &mut Step) {
        if range.is_empty() {
            return;
        }
        let mut rows = self.table(table).range::<[u8], _>(range.bounds());
        while let Some((key, value)) = match order {
            Order::Ascending => rows.next(),
            Order::Descending => rows.next_back(),
        } {
            if !step.push(key.clone(), value.clone()) {
                return;
            }
        }
    }

    /// Iterates over every row, by table and key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Table, &Vec<u8>, &Vec<u8>)> {
        Table::ALL.into_iter().flat_map(|table| self.table(table).iter().map(move |(key, value)| (table, key, value)))
    }
}

fn row_bytes(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

/// A scan over rows that others may change: whole as long as nobody does.
pub(super) struct Watched<F> {
    seen: Option<u64>,
    read: F,
}

impl<F> Watched<F> {
    /// Makes a source of `read`, which reads a step and returns the generation it read.
    pub(super) fn new(read: F) -> Self {
        Self { seen: None, read }
    }
}

impl<F> Source for Watched<F>
where
    F: FnMut(&KeyRange<'_>, Order, &mut Step) -> Result<u64> + Send,
{
    fn read(&mut self, range: &KeyRange<'_>, order: Order, step: &mut Step) -> Result<()> {
        let generation = (self.read)(range, order, step)?;
        if *self.seen.get_or_insert(generation) != generation {
            return Err(BackendError::Moved);
        }
        Ok(())
    }
}
