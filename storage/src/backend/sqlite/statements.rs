//! The SQL of each table.

use std::ops::Bound;

use super::super::{KeyRange, Table};

/// Returns the table's name.
pub(super) const fn name(table: Table) -> &'static str {
    match table {
        Table::Meta => "meta",
        Table::Commit => "commits",
        Table::CommitOrder => "commit_order",
        Table::Ref => "refs",
        Table::Counter => "counters",
    }
}

/// Makes a function from table to statement, so that the commonest are never composed anew.
macro_rules! per_table {
    ($(#[$doc:meta])* $function:ident, $before:literal, $after:literal) => {
        $(#[$doc])*
        pub(super) const fn $function(table: Table) -> &'static str {
            match table {
                Table::Meta => concat!($before, "meta", $after),
                Table::Commit => concat!($before, "commits", $after),
                Table::CommitOrder => concat!($before, "commit_order", $after),
                Table::Ref => concat!($before, "refs", $after),
                Table::Counter => concat!($before, "counters", $after),
            }
        }
    };
}

per_table! {
    /// Reads the value of a key.
    get, "SELECT value FROM ", " WHERE key = ?1"
}
per_table! {
    /// Sets the value of a key.
    put, "INSERT INTO ", " (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
}
per_table! {
    /// Removes a key.
    delete, "DELETE FROM ", " WHERE key = ?1"
}

/// Returns the condition for keys of a range, and what to bind to it.
pub(super) fn within<'r>(range: &'r KeyRange<'_>) -> (&'static str, Vec<&'r [u8]>) {
    use Bound::{Excluded, Included, Unbounded};
    match range.bounds() {
        (Unbounded, Unbounded) => ("", vec![]),
        (Included(start), Unbounded) => (" WHERE key >= ?1", vec![start]),
        (Excluded(start), Unbounded) => (" WHERE key > ?1", vec![start]),
        (Unbounded, Included(end)) => (" WHERE key <= ?1", vec![end]),
        (Unbounded, Excluded(end)) => (" WHERE key < ?1", vec![end]),
        (Included(start), Included(end)) => (" WHERE key >= ?1 AND key <= ?2", vec![start, end]),
        (Included(start), Excluded(end)) => (" WHERE key >= ?1 AND key < ?2", vec![start, end]),
        (Excluded(start), Included(end)) => (" WHERE key > ?1 AND key <= ?2", vec![start, end]),
        (Excluded(start), Excluded(end)) => (" WHERE key > ?1 AND key < ?2", vec![start, end]),
    }
}
