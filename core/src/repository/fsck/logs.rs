//! Checking what names the repository, the write-ahead log, and the logs it makes grow.

use std::collections::BTreeMap;

use shard_crypto::{KeyFile, Signature, SignatureDomain, Signed, Unverified};
use shard_storage::backend::BackendError;
use shard_storage::framed_log::{FramedLog, LogKind, LogOptions, RECORD_HEADER_SIZE, Tail};

use super::FsckReport;
use crate::canonical::{Canonical, DecodeError, Decoder};
use crate::history::operation::Operation;
use crate::history::refs::RefSetHeader;
use crate::object::catalog::CatalogRecord;
use crate::repository::fault::Fault;
use crate::repository::wal::{Applied, Record};
use crate::repository::{Repository, State, layout, read_genesis};
use crate::{Error, Result};

/// Largest `applied` file.
const MAX_APPLIED: u64 = 1 << 20;

/// Values of slots, as files hold them; `None` where the last operation removed one.
pub(in crate::repository) type Slots = BTreeMap<String, Option<Vec<u8>>>;

impl Repository {
    /// Checks genesis and keys.
    pub(super) fn check_identity(&self, report: &mut FsckReport) {
        match read_genesis(&self.layout) {
            Ok(genesis) if genesis == self.genesis => {}
            Ok(_) => report.file(Fault::Foreign, layout::GENESIS, None, "it names another repository"),
            Err(error) => report.error(layout::GENESIS, &error),
        }
        let shard = &self.layout.shard;
        match shard.read(layout::SECRET_KEY, KeyFile::SEALED_LEN as u64 + 1) {
            Ok(bytes) => {
                if let Err(error) = KeyFile::parse(&bytes) {
                    report.file(Fault::Damaged, layout::SECRET_KEY, None, error.to_string());
                }
            }
            Err(error) => report.error(layout::SECRET_KEY, &error.into()),
        }
        match shard.read_optional(layout::PUBLIC_KEY, 1024) {
            Ok(Some(bytes)) if bytes == format!("{}\n", self.actor()).into_bytes() => {}
            Ok(Some(_)) => {
                report.file(Fault::Damaged, layout::PUBLIC_KEY, None, "it is not the public half of the secret key");
            }
            Ok(None) => report.file(Fault::Absent, layout::PUBLIC_KEY, None, "it is missing"),
            Err(error) => report.error(layout::PUBLIC_KEY, &error.into()),
        }
    }

    /// Checks the write-ahead log from its first record, those that were applied long ago included.
    pub(super) fn check_log(&self, report: &mut FsckReport) {
        let shard = &self.layout.shard;
        let applied = match shard.read_optional(layout::APPLIED, MAX_APPLIED) {
            Ok(bytes) => Applied::from_file(&bytes.unwrap_or_default()),
            Err(error) => return report.error(layout::APPLIED, &error.into()),
        };
        let mut undecodable = Vec::new();
        let log = FramedLog::open_with(shard, layout::WAL, LogKind::WAL, LogOptions::READ, |record| {
            match Record::from_bytes(&record.body) {
                Ok(Record::Checkpoint(_)) if record.offset == shard_storage::framed_log::HEADER_SIZE as u64 => {}
                Ok(Record::Transaction { .. }) => {}
                Ok(Record::Checkpoint(_)) => undecodable.push((record.offset, "a checkpoint in the middle".to_owned())),
                Err(error) => undecodable.push((record.offset, error.to_string())),
            }
            Ok::<_, Error>(())
        });
        for (offset, why) in undecodable {
            report.file(Fault::Damaged, layout::WAL, Some(offset), why);
        }
        let log = match log {
            Ok(log) => log,
            Err(error) => return report.error(layout::WAL, &error),
        };
        let end = log.end();
        if end.sequence == log.header().first_sequence {
            report.file(Fault::Damaged, layout::WAL, Some(end.offset), "it does not begin with a checkpoint");
        }
        let same_log = applied.as_ref().filter(|applied| applied.log_id == log.log_id().0);
        let durable = same_log.and_then(|applied| applied.ends.get(layout::WAL)).map_or(0, |end| end.sequence);
        match log.tail() {
            Tail::Damaged { offset, .. } => {
                report.file(Fault::Damaged, layout::WAL, Some(offset), "a good record follows a bad one");
            }
            _ if end.sequence < durable => {
                let why = format!("records {} to {} were durable and are gone", end.sequence, durable - 1);
                report.file(Fault::Damaged, layout::WAL, Some(end.offset), why);
            }
            Tail::Torn { .. } => {
                report.note(layout::WAL, "its last record was never completed; the next writer cuts it")
            }
            Tail::Clean => {}
        }
        match same_log {
            Some(applied) if applied.boot_id == self.boot_id && applied.sequence + 1 >= end.sequence => {}
            _ => report.note(layout::APPLIED, "the next writer puts the write-ahead log in place again"),
        }
    }

    /// Checks the logs that transactions append to.
    pub(super) fn check_growing(&self, state: &State, report: &mut FsckReport) {
        let mut catalog = |body: &[u8]| CatalogRecord::from_bytes(body).map(drop).map_err(|error| error.to_string());
        self.check_grown(state, layout::CATALOG, LogKind::CATALOG, report, &mut catalog);
        let mut operation = |body: &[u8]| Operation::from_bytes(body).map(drop).map_err(|error| error.to_string());
        self.check_grown(state, layout::OPERATIONS, LogKind::OPERATIONS, report, &mut operation);
        let mut header = |body: &[u8]| self.check_ref_header(body);
        self.check_grown(state, layout::REF_CHAIN, LogKind::REF_CHAIN, report, &mut header);
    }

    fn check_grown(
        &self,
        state: &State,
        file: &str,
        kind: LogKind,
        report: &mut FsckReport,
        check: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) {
        if state.overlay.files.contains_key(file) {
            // It is being replaced; the write-ahead log holds it.
            return;
        }
        let added: Vec<_> = state.overlay.appends.iter().filter(|append| append.file == file).collect();
        let end = state.end(file);
        let (expected, beyond) = match added.first() {
            Some(append) => (append.offset, append.end.sequence - 1),
            None => (end.offset, end.sequence),
        };
        let mut faults = Vec::new();
        let log = FramedLog::open_with(&self.layout.shard, file, kind, LogOptions::READ, |record| {
            if record.sequence < beyond
                && let Err(why) = check(&record.body)
            {
                faults.push((record.offset, why));
            }
            Ok::<_, Error>(())
        });
        for append in &added {
            if let Err(why) = check(append.bytes.get(RECORD_HEADER_SIZE..).unwrap_or_default()) {
                faults.push((append.offset, why));
            }
        }
        for (offset, why) in faults {
            report.file(Fault::Damaged, file, Some(offset), why);
        }
        match log {
            Err(error) => report.error(file, &error),
            Ok(log) if log.next_sequence() < beyond || log.end_offset() < expected => {
                let why = format!("it ends before byte {expected}, which it is known to reach");
                report.file(Fault::Damaged, file, Some(log.end_offset()), why);
            }
            Ok(_) => {}
        }
    }

    /// Checks the signature of a ref set header: one that others published counts like ours.
    fn check_ref_header(&self, body: &[u8]) -> Result<(), String> {
        let parse = || -> Result<_, DecodeError> {
            let mut d = Decoder::new(body);
            d.array_of(2)?;
            let header = d.bytes()?;
            let signature = Signature::from_bytes(d.bytes_of()?);
            d.finish()?;
            Ok((RefSetHeader::from_bytes(header)?, shard_crypto::Digest::of(header), signature))
        };
        let (header, digest, signature) = parse().map_err(|error| error.to_string())?;
        if header.repository != self.id() {
            return Err("it belongs to another repository".to_owned());
        }
        let actor = header.actor;
        Signed::<_, Unverified>::new(header, digest, signature)
            .verify_actor(SignatureDomain::REF_SET, &actor)
            .map(drop)
            .map_err(|error| error.to_string())
    }

    /// Returns what the operation log says HEAD, refs and index hold; `None` where it cannot be read.
    pub(super) fn recorded_slots(&self, state: &State) -> Option<Slots> {
        let mut slots = Slots::new();
        let mut learn = |body: &[u8]| {
            if let Ok(operation) = Operation::from_bytes(body) {
                slots.extend(operation.changes.into_iter().map(|change| (change.slot, change.new)));
            }
        };
        let end = state.end(layout::OPERATIONS);
        let added: Vec<_> = state.overlay.appends.iter().filter(|append| append.file == layout::OPERATIONS).collect();
        let beyond = added.first().map_or(end.sequence, |append| append.end.sequence - 1);
        let shard = &self.layout.shard;
        let log = FramedLog::open_with(shard, layout::OPERATIONS, LogKind::OPERATIONS, LogOptions::READ, |record| {
            if record.sequence < beyond {
                learn(&record.body);
            }
            Ok::<_, Error>(())
        });
        if log.ok()?.next_sequence() < beyond {
            return None;
        }
        for append in added {
            learn(append.bytes.get(RECORD_HEADER_SIZE..).unwrap_or_default());
        }
        Some(slots)
    }

    /// Holds the view against the log.
    pub(super) fn check_view(&self, state: &State, report: &mut FsckReport) {
        match self.view_sequence() {
            Ok(Some(seen)) if seen > state.sequence && self.state().is_ok_and(|state| seen > state.sequence) => {
                let why = format!("a view has seen transaction {seen}, but the log ends at {}", state.sequence);
                report.file(Fault::Damaged, layout::WAL, Some(state.log.end.offset), why);
            }
            Ok(_) => {}
            Err(BackendError::Busy { .. }) => {}
            Err(error) => report.file(Fault::Damaged, layout::VIEWS, None, error.to_string()),
        }
    }
}
