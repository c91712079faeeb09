//! How a batch is written in one record of the flat file.
//!
//! First 8 bytes: number of the last record known to be synced when this one was appended. Then the changes: a byte
//! for what it is (1 put, 2 delete, 3 delete range), the table's number, and
//! - put: key length 2, value length 4, key, value
//! - delete: key length 2, key
//! - delete range: twice, for start and end: kind 1 (0 unbounded, 1 included, 2 excluded), key length 2, key
//!
//! Numbers are little-endian.

use std::borrow::Cow;
use std::ops::Bound;

use super::super::rows::Rows;
use super::super::{BackendError, KeyRange, Op, Result, Table};
use crate::framed_log::HEADER_SIZE;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const DELETE_RANGE: u8 = 3;

const SYNCED: usize = 8;
const PUT_OVERHEAD: u64 = 8;

/// Encodes changes, with 0 as the number of the last synced record.
pub(super) fn encode(ops: &[Op]) -> Vec<u8> {
    let mut out = vec![0; SYNCED];
    for op in ops {
        match op {
            Op::Put { table, key, value } => push_put(&mut out, *table, key, value),
            Op::Delete { table, key } => {
                out.extend_from_slice(&[DELETE, table.number()]);
                push_key(&mut out, key);
            }
            Op::DeleteRange { table, range } => {
                out.extend_from_slice(&[DELETE_RANGE, table.number()]);
                for bound in [&range.start, &range.end] {
                    let (kind, key) = match bound {
                        Bound::Unbounded => (0, &[][..]),
                        Bound::Included(key) => (1, &**key),
                        Bound::Excluded(key) => (2, &**key),
                    };
                    out.push(kind);
                    push_key(&mut out, key);
                }
            }
        }
    }
    out
}

/// Adds one put to an encoded body.
pub(super) fn push_put(out: &mut Vec<u8>, table: Table, key: &[u8], value: &[u8]) {
    out.extend_from_slice(&[PUT, table.number()]);
    let length = u16::try_from(key.len()).expect("keys were checked against their limit");
    out.extend_from_slice(&length.to_le_bytes());
    let length = u32::try_from(value.len()).expect("values were checked against their limit");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

fn push_key(out: &mut Vec<u8>, key: &[u8]) {
    let length = u16::try_from(key.len()).expect("keys and bounds were checked against their limit");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(key);
}

/// Writes the number of the last synced record into an encoded body.
pub(super) fn set_synced(body: &mut [u8], sequence: u64) {
    body[..SYNCED].copy_from_slice(&sequence.to_le_bytes());
}

/// Returns about how large a file is that holds only these rows.
pub(super) fn whole_size(rows: &Rows) -> u64 {
    HEADER_SIZE as u64 + rows.bytes() + rows.len() as u64 * PUT_OVERHEAD
}

/// Reads the number of the last synced record.
pub(super) fn synced(body: &[u8]) -> Result<u64> {
    Ok(u64::from_le_bytes(Reader(body).array()?))
}

/// Reads a body back.
pub(super) fn decode(body: &[u8]) -> Result<(u64, Vec<Op>)> {
    let mut reader = Reader(body);
    let synced = u64::from_le_bytes(reader.array()?);
    let mut ops = Vec::new();
    while !reader.0.is_empty() {
        let [what, table] = reader.array()?;
        let table = Table::from_number(table).ok_or_else(damaged)?;
        ops.push(match what {
            PUT => {
                let key_length = u16::from_le_bytes(reader.array()?);
                let value_length = u32::from_le_bytes(reader.array()?);
                let key = reader.take(usize::from(key_length))?.to_vec();
                Op::Put { table, key, value: reader.take(value_length as usize)?.to_vec() }
            }
            DELETE => Op::Delete { table, key: reader.key()?.to_vec() },
            DELETE_RANGE => {
                let range = KeyRange { start: reader.bound()?, end: reader.bound()? };
                Op::DeleteRange { table, range }
            }
            _ => return Err(damaged()),
        });
    }
    Ok((synced, ops))
}

fn damaged() -> BackendError {
    BackendError::Damaged { reason: "a record of the flat file says nothing this build can read".into() }
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Result<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("exactly as many were taken"))
    }

    fn key(&mut self) -> Result<&'b [u8]> {
        let length = u16::from_le_bytes(self.array()?);
        self.take(usize::from(length))
    }

    fn bound(&mut self) -> Result<Bound<Cow<'static, [u8]>>> {
        let [kind] = self.array()?;
        let key = self.key()?;
        match kind {
            0 if key.is_empty() => Ok(Bound::Unbounded),
            1 => Ok(Bound::Included(key.to_vec().into())),
            2 => Ok(Bound::Excluded(key.to_vec().into())),
            _ => Err(damaged()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_batch_reads_back_and_any_cut_of_it_is_refused_or_shorter() {
        let ops = vec![
            Op::Put { table: Table::Ref, key: b"heads/main".to_vec(), value: vec![7; 300] },
            Op::Delete { table: Table::Commit, key: vec![1] },
            Op::DeleteRange { table: Table::Counter, range: KeyRange::prefix(b"a").into_owned() },
            Op::DeleteRange { table: Table::Meta, range: KeyRange::after(b"a").into_owned() },
        ];
        let mut body = encode(&ops);
        set_synced(&mut body, 9);
        assert_eq!(synced(&body).unwrap(), 9);
        assert_eq!(decode(&body).unwrap(), (9, ops.clone()));
        for cut in 0..body.len() {
            if let Ok((_, fewer)) = decode(&body[..cut]) {
                assert_eq!(fewer, ops[..fewer.len()]);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(0_u8..5, 0..100)) {
            let _ = decode(&bytes);
        }
    }
}
