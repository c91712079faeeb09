//! Transactions: everything a command changes becomes durable with one record of the write-ahead log, or not at all.
//!
//! The record's `fdatasync` is the commit point. Before it, nothing that exists was touched; after it, the changes are
//! put in place without syncing, since the log can do it again. A checkpoint syncs what was touched and begins a new log.

use std::collections::{BTreeMap, BTreeSet};

use shard_crypto::Digest;
use shard_storage::atomic_file::{self, AtomicFile, Sync};
use shard_storage::framed_log::{FramedLog, LogHeader, LogId, LogKind, LogOptions, MAX_BODY, Position, encode_record};
use shard_storage::pack::{Class, PackOrdinal, PackWriter, SealedPack};
use shard_storage::vfs::{Dir, FileKind, OpenOptions, VfsError};

use super::Repository;
use super::layout::{self, Layout};
use super::op_queue::WritePermit;
use super::state::{State, encode_upstreams};
use super::wal::{Append, Applied, End, Ends, FileContent, Record};
use crate::canonical::Canonical;
use crate::clock::{Clock, SystemClock};
use crate::history::operation::{Operation, SlotChange};
use crate::history::refs::{Head, LOCAL_PREFIX, MAX_NAMES, MAX_REF_SET, RefNames, RefSet};
use crate::ids::{CommitId, TreeId};
use crate::object::StagedObjects;
use crate::object::catalog::{CatalogRecord, PackChange, PackState};
use crate::object::store::{pack_error, pack_file};
use crate::worktree::index::Index;
use crate::{Error, Result, metrics};

/// Room a record leaves for what is not counted: names, numbers.
const RECORD_SLACK: usize = 16 << 10;

/// A sync that failed is never retried: what is on disk is unknown until the repository is opened and recovered.
pub(crate) fn sync_failure(error: VfsError) -> Error {
    if error.operation == "sync" {
        Error::DurabilityUnknown { path: error.path, source: error.source }
    } else {
        Error::Disk(error)
    }
}

/// Refuses what no log takes: a larger record would end the log for whoever reads it, and with it what was acknowledged.
fn check_body(body: &[u8]) -> Result<()> {
    if body.len() <= MAX_BODY as usize {
        return Ok(());
    }
    Err(Error::ValueInvalid {
        what: "transaction",
        value: format!("{} bytes", body.len()),
        reason: format!("at most {MAX_BODY} are changed at once: do it in parts"),
    })
}

/// Changes that are to take effect together. Dropping it changes nothing.
#[derive(Debug)]
pub struct Transaction<'p> {
    repository: &'p Repository,
    _permit: &'p WritePermit<'p>,
    /// What the repository holds under the permit.
    pub state: State,
    command: String,
    files: BTreeMap<String, FileContent>,
    slots: Vec<SlotChange>,
    objects: StagedObjects,
    packs: Vec<PackChange>,
    /// Files that were just made, and where they begin to grow; or whose growth has ended.
    begun: Vec<(String, End)>,
    /// Signed headers of others' ref sets, for the chain log.
    ref_headers: Vec<Vec<u8>>,
    forced: bool,
    sign_refs: bool,
    rescue: Option<TreeId>,
}

impl<'p> Transaction<'p> {
    /// Begins one, recovering first what a crash left. `command` goes to the operation log, without secrets.
    pub(crate) fn begin(repository: &'p Repository, permit: &'p WritePermit<'p>, command: &str) -> Result<Self> {
        repository.check_writable()?;
        let state = repository.settled_state()?;
        Ok(Self {
            repository,
            _permit: permit,
            state,
            command: command.to_owned(),
            files: BTreeMap::new(),
            slots: Vec::new(),
            objects: StagedObjects::default(),
            packs: Vec::new(),
            begun: Vec::new(),
            ref_headers: Vec::new(),
            forced: false,
            sign_refs: true,
            rescue: None,
        })
    }

    fn move_slot(&mut self, slot: String, old: Option<Vec<u8>>, new: Option<Vec<u8>>) {
        if old == new {
            return;
        }
        let content = new.clone().map_or(FileContent::Absent, FileContent::Bytes);
        self.files.insert(slot.clone(), content);
        match self.slots.iter_mut().find(|change| change.slot == slot) {
            Some(change) => change.new = new,
            None => self.slots.push(SlotChange { slot, old, new }),
        }
    }

    /// Moves HEAD.
    pub fn set_head(&mut self, head: Head) {
        let (old, new) = (self.state.head.to_string().into_bytes(), head.to_string().into_bytes());
        self.state.head = head;
        self.move_slot(layout::HEAD.to_owned(), Some(old), Some(new));
    }

    fn set_ref(&mut self, directory: &str, name: &str, id: Option<CommitId>) {
        let map = if directory == layout::HEADS { &mut self.state.heads } else { &mut self.state.tags };
        let old = match id {
            Some(id) => map.insert(name.to_owned(), id),
            None => map.remove(name),
        };
        let line = |id: Option<CommitId>| id.map(|id| format!("{id}\n").into_bytes());
        self.move_slot(format!("{directory}/{name}"), line(old), line(id));
    }

    /// Moves, creates or removes a branch. Its name was validated.
    pub fn set_branch(&mut self, name: &str, id: Option<CommitId>) {
        self.set_ref(layout::HEADS, name, id);
    }

    /// Moves, creates or removes a tag. Its name was validated.
    pub fn set_tag(&mut self, name: &str, id: Option<CommitId>) {
        self.set_ref(layout::TAGS, name, id);
    }

    /// Moves the branch HEAD stands on, or HEAD itself where it is detached.
    pub fn set_head_commit(&mut self, id: CommitId) {
        match self.state.head.clone() {
            Head::Branch(name) => self.set_branch(&name, Some(id)),
            Head::Detached(_) => self.set_head(Head::Detached(id)),
        }
    }

    /// Replaces the staging area.
    pub fn set_index(&mut self, index: Index) {
        let (old, new) = (self.state.index.to_bytes(), index.to_bytes());
        self.state.index = index;
        self.move_slot(layout::INDEX.to_owned(), Some(old), Some(new));
    }

    /// Takes over what an actor published. It was verified, and is newer than what is held.
    pub fn set_peer(&mut self, set: &RefSet) {
        let actor = set.header().actor;
        self.state.peers.insert(actor, set.as_bytes().to_vec());
        let content = FileContent::Bytes(set.as_bytes().to_vec());
        self.files.insert(format!("{}/{actor}", layout::PEERS), content);
    }

    /// Keeps signed headers of ref sets others published, so that a contradiction shows later. They were verified.
    pub(crate) fn keep_ref_headers(&mut self, headers: impl IntoIterator<Item = Vec<u8>>) {
        self.ref_headers.extend(headers);
    }

    /// Lets one branch follow another: `upstream` is `ACTOR/branch`.
    pub fn set_upstream(&mut self, branch: &str, upstream: Option<&str>) {
        let changed = match upstream {
            Some(upstream) => self.state.upstreams.insert(branch.to_owned(), upstream.to_owned()),
            None => self.state.upstreams.remove(branch),
        };
        if changed.as_deref() != upstream {
            let content = FileContent::Bytes(encode_upstreams(&self.state.upstreams));
            self.files.insert(layout::UPSTREAMS.to_owned(), content);
        }
    }

    /// Says that a branch moves backwards on purpose.
    pub fn set_forced(&mut self) {
        self.forced = true;
    }

    /// Records what is overwritten in the worktree, so that it can be brought back.
    pub fn set_rescue(&mut self, tree: TreeId) {
        self.rescue = Some(tree);
    }

    /// Takes new objects in.
    pub fn add_objects(&mut self, objects: StagedObjects) {
        debug_assert!(self.objects.is_empty(), "one staging a transaction");
        self.objects = objects;
    }

    /// Changes the state of packs, for maintenance.
    pub(crate) fn change_packs(&mut self, changes: impl IntoIterator<Item = PackChange>) {
        self.packs.extend(changes);
    }

    /// Replaces the catalog by a log that ends at `end`. Nothing else may change packs in this transaction.
    pub(crate) fn replace_catalog(&mut self, log: Vec<u8>, end: End) {
        self.files.insert(layout::CATALOG.to_owned(), FileContent::Bytes(log));
        self.begun.push((layout::CATALOG.to_owned(), end));
    }

    /// Says where a pack that was just made begins to grow.
    pub(crate) fn begin_pack(&mut self, ordinal: PackOrdinal) {
        let begins = End { offset: shard_storage::pack::PACK_HEADER_LENGTH as u64, sequence: 0 };
        self.begun.push((pack_file(ordinal), begins));
    }

    /// Leaves the published refs as they are: for transactions that move none.
    pub(crate) fn without_ref_set(&mut self) {
        self.sign_refs = false;
    }

    /// Makes it durable and puts it in place. Returns the state it left. In a dry run it is dropped instead.
    ///
    /// # Errors
    /// Before the commit point everything is as it was; [`Error::ValueInvalid`] where more than a log record takes is to
    /// change at once. [`Error::DurabilityUnknown`] means that the outcome is known
    /// only when the repository is opened again.
    pub fn commit(mut self) -> Result<State> {
        if self.repository.settings.dry_run || self.files.is_empty() && self.objects.is_empty() && self.packs.is_empty()
        {
            return Ok(self.state);
        }
        let mut appends = Vec::new();
        self.sign_ref_set(&mut appends)?;
        for header in std::mem::take(&mut self.ref_headers) {
            self.append_record(layout::REF_CHAIN, LogKind::REF_CHAIN, &header, &mut appends)?;
        }
        self.log_operation(&mut appends)?;
        let packs = self.objects.take_packs();
        let result = self.write_objects(&packs, &mut appends).and_then(|()| self.write_record(appends));
        let (record, sequence, end) = match result {
            Ok(written) => written,
            Err(error) => {
                if !matches!(error, Error::DurabilityUnknown { .. }) {
                    self.discard(packs);
                } else {
                    self.repository.poison();
                }
                return Err(error);
            }
        };
        // The commit point has passed: what follows can be done again by whoever comes next.
        metrics::COUNTERS.transactions.add(1);
        let mut state = self.state;
        if let Record::Transaction { appends, .. } = &record {
            for append in appends {
                state.ends.insert(append.file.clone(), append.end);
            }
        }
        state.ends.insert(layout::WAL.to_owned(), End { offset: end.offset, sequence: end.sequence });
        state.log.end = end;
        state.sequence = sequence;
        let layout = &self.repository.layout;
        let applied = apply(layout, std::slice::from_ref(&record)).or_else(|error| {
            release_ballast(layout, &error);
            apply(layout, std::slice::from_ref(&record))
        });
        match applied.and_then(|()| write_applied(layout, &state, self.repository.boot_id)) {
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "durable, but not in place yet: the next command puts it there"),
        }
        for pack in packs {
            if let Err(error) = pack.release() {
                tracing::debug!(%error, "the lock of a new pack goes with the process");
            }
        }
        Ok(state)
    }

    fn discard(&self, packs: Vec<SealedPack>) {
        if let Ok(objects) = self.repository.layout.shard.open_dir("objects") {
            for pack in packs {
                let _ = objects.unlink(pack.reader().ordinal().path());
            }
        }
    }

    /// Signs what this clone publishes, where that changes.
    fn sign_ref_set(&mut self, appends: &mut Vec<Append>) -> Result<()> {
        if !self.sign_refs {
            return Ok(());
        }
        let published = |map: &BTreeMap<String, CommitId>| -> BTreeMap<String, CommitId> {
            let public = |(name, _): &(&String, &CommitId)| !name.starts_with(LOCAL_PREFIX);
            map.iter().filter(public).map(|(name, id)| (name.clone(), *id)).collect()
        };
        let names = RefNames { heads: published(&self.state.heads), tags: published(&self.state.tags) };
        let actor = self.repository.actor();
        let before = match self.state.peers.get(&actor) {
            Some(bytes) => Some(RefSet::verify(bytes, self.repository.id())?),
            None => None,
        };
        if before.as_ref().map_or(names == RefNames::default(), |before| *before.names() == names) {
            return Ok(());
        }
        let (count, length) = (names.heads.len() + names.tags.len(), names.to_bytes().len());
        if count > MAX_NAMES || length + 1024 > MAX_REF_SET {
            return Err(Error::ValueInvalid {
                what: "ref set",
                value: format!("{count} branches and tags"),
                reason: format!("at most {MAX_NAMES} names are published, and {MAX_REF_SET} bytes of them"),
            });
        }
        // A sealed key that nobody opened signs nothing; the next command that has it does.
        let Some(key) = self.repository.unlocked_key() else { return Ok(()) };
        let set = RefSet::sign(self.repository.id(), names, before.as_ref(), self.forced, &key);
        let mut e = crate::canonical::Encoder::new();
        e.array(2).bytes(&set.header().to_bytes()).bytes(set.signature().as_bytes());
        self.append_record(layout::REF_CHAIN, LogKind::REF_CHAIN, e.as_bytes(), appends)?;
        self.set_peer(&set);
        Ok(())
    }

    fn log_operation(&mut self, appends: &mut Vec<Append>) -> Result<()> {
        if self.slots.is_empty() {
            return Ok(());
        }
        let operation = Operation {
            actor: self.repository.actor(),
            time_ms: self.repository.clock.now_ms(),
            command: std::mem::take(&mut self.command),
            changes: std::mem::take(&mut self.slots),
            rescue: self.rescue,
        };
        self.append_record(layout::OPERATIONS, LogKind::OPERATIONS, &operation.to_bytes(), appends)
    }

    /// Appends a record to a framed log, by way of the write-ahead record.
    fn append_record(&self, file: &str, kind: LogKind, body: &[u8], appends: &mut Vec<Append>) -> Result<()> {
        check_body(body)?;
        let header = FramedLog::read_header(&self.repository.layout.shard, file, kind)?;
        let last = appends.iter().rev().find(|append| append.file == file).map(|append| append.end);
        let end = last.unwrap_or_else(|| self.state.end(file));
        let mut bytes = Vec::new();
        encode_record(header.log_id, end.sequence, body, &mut bytes);
        let after = End { offset: end.offset + bytes.len() as u64, sequence: end.sequence + 1 };
        appends.push(Append { file: file.to_owned(), offset: end.offset, bytes, end: after });
        Ok(())
    }

    /// Brings new objects to where the record can speak of them: into the record, the shared open packs, or packs that
    /// are complete already.
    fn write_objects(&mut self, packs: &[SealedPack], appends: &mut Vec<Append>) -> Result<()> {
        let in_record = self.objects.memory_bytes() <= self.repository.settings.trial.inline_objects;
        let memory = std::mem::take(&mut self.objects.memory);
        let mut touched = Vec::new();
        for (class, frames) in Class::ALL.into_iter().zip(memory) {
            if frames.is_empty() {
                continue;
            }
            let ordinal = self.open_pack(class)?;
            let file = pack_file(ordinal);
            let offset = self.state.end(&file).offset;
            let bytes: Vec<u8> = frames.into_iter().flat_map(|frame| frame.0).collect();
            let end = End { offset: offset + bytes.len() as u64, sequence: 0 };
            if in_record {
                appends.push(Append { file, offset, bytes, end });
                continue;
            }
            let pack = self.repository.layout.shard.open(&file, OpenOptions::WRITE)?;
            let written = pack.allocate(offset, bytes.len() as u64).and_then(|()| pack.write_all_at(&bytes, offset));
            if let Err(error) = written {
                // What lies beyond the registered end is overwritten by the next; give the space back at once.
                let _ = pack.set_len(offset);
                return Err(error.into());
            }
            touched.push(pack);
            appends.push(Append { file, offset, bytes: Vec::new(), end });
        }
        for pack in touched {
            pack.sync_data().map_err(sync_failure)?;
        }
        for (file, end) in std::mem::take(&mut self.begun) {
            appends.push(Append { file, offset: end.offset, bytes: Vec::new(), end });
        }
        let mut changes = std::mem::take(&mut self.packs);
        changes.extend(packs.iter().map(|pack| {
            let length = pack.reader().file().size().unwrap_or(0);
            PackChange { ordinal: pack.reader().ordinal(), state: PackState::Sealed, length }
        }));
        if !changes.is_empty() {
            self.append_record(layout::CATALOG, LogKind::CATALOG, &CatalogRecord(changes).to_bytes(), appends)?;
        }
        Ok(())
    }

    fn open_pack(&self, class: Class) -> Result<PackOrdinal> {
        self.repository.catalog(&self.state)?.open_pack(class).ok_or_else(|| Error::FileCorrupt {
            path: self.repository.layout.path(layout::CATALOG),
            reason: format!("it names no open pack for {}", class.directory()),
        })
    }

    /// Writes the record and syncs it: the commit point.
    fn write_record(&mut self, appends: Vec<Append>) -> Result<(Record, u64, Position)> {
        let (layout, trial) = (&self.repository.layout, &self.repository.settings.trial);
        let mut files: Vec<(String, FileContent)> = std::mem::take(&mut self.files).into_iter().collect();
        if trial.refs_in_place {
            write_in_place(layout, &std::mem::take(&mut files))?;
        }
        let length = |content: &FileContent| match content {
            FileContent::Bytes(bytes) => bytes.len(),
            _ => 0,
        };
        let appended: usize = appends.iter().map(|append| append.bytes.len() + append.file.len()).sum();
        let mut total: usize =
            appended + files.iter().map(|(name, content)| name.len() + length(content)).sum::<usize>();
        let mut waiting = false;
        for (_, content) in &mut files {
            let FileContent::Bytes(bytes) = content else { continue };
            if bytes.len() > trial.inline_file || total + RECORD_SLACK > MAX_BODY as usize && bytes.len() > 1024 {
                total -= bytes.len();
                let mut temporary = AtomicFile::create(&layout.tmp, 0o644)?;
                temporary.write(bytes)?;
                let digest = Digest::of(bytes);
                let name = temporary.keep(Sync::Data).map_err(sync_failure)?;
                *content = FileContent::Temporary { name, digest };
                waiting = true;
            }
        }
        if waiting {
            layout.tmp.sync().map_err(sync_failure)?;
        }
        let record = Record::Transaction { appends, files };
        let body = record.to_bytes();
        if let Err(error) = check_body(&body) {
            if let Record::Transaction { files, .. } = &record {
                for (_, content) in files {
                    if let FileContent::Temporary { name, .. } = content {
                        let _ = layout.tmp.unlink(name);
                    }
                }
            }
            return Err(error);
        }
        let log = layout.shard.open(layout::WAL, OpenOptions::WRITE)?;
        let mut bytes = Vec::with_capacity(body.len() + 32);
        let start = self.state.log.end;
        encode_record(LogId(self.state.log.log_id), start.sequence, &body, &mut bytes);
        if let Err(error) = log.write_all_at(&bytes, start.offset) {
            // Half a record is no record; cut it off while we may.
            let _ = log.set_len(start.offset);
            return Err(error.into());
        }
        log.sync_data().map_err(sync_failure)?;
        metrics::COUNTERS.log_syncs.add(1);
        let end = Position { offset: start.offset + bytes.len() as u64, sequence: start.sequence + 1 };
        Ok((record, start.sequence, end))
    }
}

/// The defect that [`Trial::refs_in_place`](super::Trial) builds in.
fn write_in_place(layout: &Layout, files: &[(String, FileContent)]) -> Result<()> {
    for (name, content) in files {
        match content {
            FileContent::Bytes(bytes) => {
                if let Some((parent, _)) = name.rsplit_once('/') {
                    layout.shard.create_dir_all(parent)?;
                }
                let file = layout.shard.open(name, OpenOptions { truncate: true, ..OpenOptions::CREATE })?;
                file.write_all_at(bytes, 0)?;
            }
            _ => remove_file(&layout.shard, name)?,
        }
    }
    Ok(())
}

/// Puts what records say in place, unsynced. Doing it twice equals once.
fn apply(layout: &Layout, records: &[Record]) -> Result<()> {
    let mut files: BTreeMap<&str, &FileContent> = BTreeMap::new();
    for record in records {
        let Record::Transaction { appends, files: changed } = record else { continue };
        let mut open: Option<(&str, shard_storage::vfs::File)> = None;
        for append in appends.iter().filter(|append| !append.bytes.is_empty()) {
            // A log that was replaced whole by an earlier record grows from there.
            if let Some(content) = files.remove(&*append.file) {
                open = None;
                put_file(layout, &append.file, content)?;
            }
            let file = match open.take() {
                Some((name, file)) if name == append.file => file,
                _ => layout.shard.open(&append.file, OpenOptions::CREATE)?,
            };
            file.write_all_at(&append.bytes, append.offset)?;
            open = Some((&append.file, file));
        }
        files.extend(changed.iter().map(|(name, content)| (name.as_str(), content)));
    }
    // Removals first: a branch `a` may give way to `a/b`.
    for (name, content) in &files {
        if **content == FileContent::Absent {
            remove_file(&layout.shard, name)?;
        }
    }
    for (name, content) in files {
        put_file(layout, name, content)?;
    }
    Ok(())
}

fn remove_file(shard: &Dir, name: &str) -> Result<()> {
    match shard.unlink(name) {
        Ok(()) => {}
        Err(error) if error.is_not_found() => {}
        // `a` gave way to `a/b` already: what stands there now is the directory of names that came later.
        Err(_) if shard.metadata(name).is_ok_and(|found| found.kind == FileKind::Directory) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    // Directories of branch names with slashes go with their last branch.
    let mut path = std::path::Path::new(name);
    while let Some(parent) = path.parent() {
        let keep = parent.as_os_str().is_empty()
            || layout::DIRECTORIES.iter().any(|made| std::path::Path::new(made) == parent);
        if keep || shard.remove_dir(parent).is_err() {
            break;
        }
        path = parent;
    }
    Ok(())
}

fn put_file(layout: &Layout, name: &str, content: &FileContent) -> Result<()> {
    let shard = &layout.shard;
    let parent = std::path::Path::new(name).parent().filter(|parent| !parent.as_os_str().is_empty());
    match content {
        FileContent::Absent => Ok(()),
        FileContent::Bytes(bytes) => {
            let put = || atomic_file::write_atomically(&layout.tmp, shard, name, bytes, 0o644, Sync::None);
            match (put(), parent) {
                (Err(error), Some(parent)) if error.is_not_found() => {
                    shard.create_dir_all(parent)?;
                    put()?;
                }
                (result, _) => result?,
            }
            Ok(())
        }
        FileContent::Temporary { name: temporary, digest } => {
            if let Some(parent) = parent {
                shard.create_dir_all(parent)?;
            }
            match layout.tmp.rename(temporary, shard, name) {
                Ok(()) => Ok(()),
                Err(error) if error.is_not_found() => {
                    let bytes = shard.read(name, 16 << 20)?;
                    // A catalog may have grown since it was put there; its records have checks of their own.
                    if name == layout::CATALOG || Digest::of(&bytes) == *digest {
                        return Ok(());
                    }
                    Err(super::state::damaged(layout, name, "its new content is gone"))
                }
                Err(error) => Err(error.into()),
            }
        }
    }
}

fn write_applied(layout: &Layout, state: &State, boot_id: [u8; 16]) -> Result<()> {
    let applied = Applied { log_id: state.log.log_id, sequence: state.sequence, boot_id, ends: state.ends.clone() };
    let file = layout.shard.open(layout::APPLIED, OpenOptions::CREATE)?;
    file.write_all_at(&applied.to_file(), 0)?;
    Ok(())
}

/// On a full disk, gives up the room kept for putting a durable transaction in place.
fn release_ballast(layout: &Layout, error: &Error) {
    if matches!(error, Error::Disk(error) if error.is_full()) {
        let _ = layout.shard.unlink(layout::BALLAST);
    }
}

impl Repository {
    /// Returns a state that `applied` covers, recovering where a crash left work. The write permit is held.
    pub(crate) fn settled_state(&self) -> Result<State> {
        let layout = &self.layout;
        // Nobody writes but us: one reading suffices.
        let state = State::read_once(layout, self.boot_id)?;
        match state {
            Some(state) if state.settled => Ok(state),
            _ => self.checked(self.recover()),
        }
    }

    /// Copies the log's good records into a new, synced log, since after a failed sync bytes may be readable from cache
    /// alone; then puts everything in place.
    fn recover(&self) -> Result<State> {
        let layout = &self.layout;
        metrics::COUNTERS.recoveries.add(1);
        tracing::info!(repository = %layout.worktree.path().display(), "recovering");
        let mut bodies = Vec::new();
        let old = FramedLog::open_with(&layout.shard, layout::WAL, LogKind::WAL, LogOptions::READ, |record| {
            bodies.push(record.body);
            Ok::<_, Error>(())
        })?;
        old.check_tail()?;
        self.check_views_not_ahead(old.next_sequence() - 1, old.end_offset())?;
        let mut records = Vec::with_capacity(bodies.len());
        for body in &bodies {
            records.push(
                Record::from_bytes(body).map_err(|error| Error::FileCorrupt {
                    path: layout.path(layout::WAL),
                    reason: error.to_string(),
                })?,
            );
        }
        let (log_id, end) = replace_log(layout, old.header().first_sequence, &bodies)?;
        apply(layout, &records)?;
        let mut ends = Ends::new();
        for record in &records {
            match record {
                Record::Checkpoint(at) => ends = at.clone(),
                Record::Transaction { appends, .. } => {
                    ends.extend(appends.iter().map(|append| (append.file.clone(), append.end)));
                }
            }
        }
        for (file, end) in &ends {
            // Garbage behind the end, of a transaction that never was.
            match layout.shard.open(file, OpenOptions::WRITE) {
                Ok(file) if file.size()? > end.offset => file.set_len(end.offset)?,
                Ok(_) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        ends.insert(layout::WAL.to_owned(), End { offset: end.offset, sequence: end.sequence });
        let applied = Applied { log_id, sequence: end.sequence - 1, boot_id: self.boot_id, ends };
        let file = layout.shard.open(layout::APPLIED, OpenOptions::CREATE)?;
        file.write_all_at(&applied.to_file(), 0)?;
        sweep_temporaries(layout);
        State::read_once(layout, self.boot_id)?
            .filter(|state| state.settled)
            .ok_or_else(|| super::state::damaged(layout, layout::WAL, "it changed while it was recovered"))
    }

    /// Says whether enough has gathered in the log for a checkpoint.
    pub(crate) fn wants_checkpoint(&self, state: &State) -> bool {
        let records = state.log.end.sequence - state.log.first_sequence;
        let trial = &self.settings.trial;
        state.log.end.offset >= trial.checkpoint_bytes || records >= trial.checkpoint_records
    }

    /// Syncs everything the log speaks of, files before the directories that name them, and begins a new log.
    pub(crate) fn checkpoint(&self, _permit: &WritePermit<'_>) -> Result<()> {
        let layout = &self.layout;
        let state = self.settled_state()?;
        let mut touched: BTreeSet<String> = BTreeSet::new();
        FramedLog::open_with(&layout.shard, layout::WAL, LogKind::WAL, LogOptions::READ, |record| {
            if let Ok(Record::Transaction { appends, files }) = Record::from_bytes(&record.body) {
                touched.extend(appends.into_iter().map(|append| append.file));
                touched.extend(files.into_iter().map(|(name, _)| name));
            }
            Ok::<_, Error>(())
        })?;
        let mut directories: BTreeSet<std::path::PathBuf> = BTreeSet::new();
        for name in &touched {
            match layout.shard.open(name, OpenOptions::READ) {
                Ok(file) => file.sync_data().map_err(sync_failure)?,
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
            let mut path = std::path::Path::new(name);
            while let Some(parent) = path.parent() {
                directories.insert(parent.to_owned());
                path = parent;
            }
        }
        // Deepest first, so that a directory is durable before the one that names it.
        for directory in directories.iter().rev() {
            let synced = if directory.as_os_str().is_empty() {
                layout.shard.sync()
            } else {
                match layout.shard.open_dir(directory) {
                    Ok(dir) => dir.sync(),
                    Err(error) if error.is_not_found() => Ok(()),
                    Err(error) => Err(error),
                }
            };
            synced.map_err(sync_failure)?;
        }
        self.flush_views();
        let mut ends = state.ends.clone();
        ends.remove(layout::WAL);
        let catalog = self.catalog(&state)?;
        // What has become a sealed pack grows no more.
        let is_open = |file: &str| {
            Class::ALL.iter().any(|class| catalog.open_pack(*class).map(pack_file).as_deref() == Some(file))
        };
        ends.retain(|file, _| !file.ends_with(".pack") || is_open(file));
        let first = state.log.end.sequence;
        let (log_id, end) = replace_log(layout, first, &[Record::Checkpoint(ends.clone()).to_bytes()])?;
        ends.insert(layout::WAL.to_owned(), End { offset: end.offset, sequence: end.sequence });
        let applied = Applied { log_id, sequence: first, boot_id: self.boot_id, ends };
        let file = layout.shard.open(layout::APPLIED, OpenOptions::CREATE)?;
        file.write_all_at(&applied.to_file(), 0)?;
        metrics::COUNTERS.checkpoints.add(1);
        Ok(())
    }

    /// After a command's report: seals shared packs that have grown large and takes a checkpoint where one is due.
    /// Bounded work; whatever fails here costs nothing but a later tidying.
    pub fn tidy(&self) {
        if self.settings.dry_run {
            return;
        }
        let attempt = || -> Result<()> {
            let Some(state) = State::read(&self.layout, self.boot_id)? else { return Ok(()) };
            let catalog = self.catalog(&state)?;
            let large =
                |ordinal: &PackOrdinal| state.end(&pack_file(*ordinal)).offset >= self.settings.trial.seal_open_pack;
            let full: Vec<PackOrdinal> =
                Class::ALL.into_iter().filter_map(|class| catalog.open_pack(class)).filter(large).collect();
            if full.is_empty() && !self.wants_checkpoint(&state) && !self.wants_index_merge(&state, &catalog)? {
                return Ok(());
            }
            let permit = self.write_permit("tidy")?;
            for ordinal in full {
                self.seal_open_pack(&permit, ordinal)?;
            }
            let state = self.settled_state()?;
            let merged = self.merge_index(&state);
            // Whatever became of the index, the log must not grow for ever.
            if self.wants_checkpoint(&state) {
                self.checked(self.checkpoint(&permit))?;
            }
            merged
        };
        if let Err(error) = attempt() {
            tracing::debug!(%error, "tidying is left for later");
        }
    }

    /// Gives a shared pack its footer and begins another.
    fn seal_open_pack(&self, permit: &WritePermit<'_>, ordinal: PackOrdinal) -> Result<()> {
        let mut transaction = Transaction::begin(self, permit, "tidy")?;
        transaction.without_ref_set();
        let catalog = self.catalog(&transaction.state)?;
        if catalog.state(ordinal) != Some(PackState::Open) {
            return Ok(());
        }
        let file = pack_file(ordinal);
        let registered = transaction.state.end(&file).offset;
        let pack = self.layout.shard.open(&file, OpenOptions::WRITE)?;
        // A process that ended between sealing and registering left a footer, which is dropped and written anew.
        let (writer, damage) =
            PackWriter::recover(pack, ordinal, &self.id().digest(), registered).map_err(pack_error)?;
        if !damage.is_none() {
            // Sealed, the damage would be hidden behind a footer that looks whole.
            return Err(Error::FileCorrupt { path: self.layout.path(&file), reason: "a frame is damaged".to_owned() });
        }
        let sealed = writer.seal().map_err(pack_error)?;
        let next = create_open_pack(&self.layout, self.id(), catalog.next_ordinal(ordinal.class()))?;
        let length = sealed.reader().file().size()?;
        transaction.change_packs([
            PackChange { ordinal, state: PackState::Sealed, length },
            PackChange { ordinal: next, state: PackState::Open, length: 0 },
        ]);
        transaction.begun.push((file, End { offset: length, sequence: 0 }));
        transaction.begin_pack(next);
        transaction.commit()?;
        Ok(())
    }
}

/// Creates an empty pack, durable with its name.
pub(crate) fn create_open_pack(
    layout: &Layout,
    repository: crate::ids::RepositoryId,
    first: PackOrdinal,
) -> Result<PackOrdinal> {
    let objects = layout.shard.open_dir("objects")?;
    let completeness = shard_storage::pack::Completeness::Complete;
    let mut writer = PackWriter::create(&objects, first, repository.digest(), completeness).map_err(pack_error)?;
    let ordinal = writer.ordinal();
    writer.sync().map_err(pack_error)?;
    objects.open_dir(ordinal.directory())?.sync().map_err(sync_failure)?;
    Ok(ordinal)
}

/// Writes a new log with these records, synced, in place of the old one.
pub(crate) fn replace_log(layout: &Layout, first_sequence: u64, bodies: &[Vec<u8>]) -> Result<([u8; 16], Position)> {
    let random =
        |source| Error::Disk(VfsError { operation: "draw random bytes for", path: layout.path(layout::WAL), source });
    let log_id = LogId::random().map_err(random)?;
    let header = LogHeader::new(LogKind::WAL, log_id, first_sequence);
    let mut bytes = header.encode().to_vec();
    for (body, sequence) in bodies.iter().zip(first_sequence..) {
        encode_record(log_id, sequence, body, &mut bytes);
    }
    atomic_file::write_atomically(&layout.tmp, &layout.shard, layout::WAL, &bytes, 0o644, Sync::Full)
        .map_err(sync_failure)?;
    let end = Position { offset: bytes.len() as u64, sequence: first_sequence + bodies.len() as u64 };
    Ok((log_id.0, end))
}

/// Removes temporaries of commands that ended without doing so, a week old at least.
fn sweep_temporaries(layout: &Layout) {
    let Ok(entries) = layout.tmp.list() else { return };
    let week_ago = (SystemClock.now_ms() as i64 - 7 * 24 * 3600 * 1000).saturating_mul(1_000_000);
    for entry in entries {
        if layout.tmp.metadata(&entry.name).is_ok_and(|metadata| metadata.mtime_ns < week_ago) {
            let _ = layout.tmp.unlink(&entry.name);
        }
    }
}
