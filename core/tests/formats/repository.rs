//! The repository of version 1: how it was made, and what it says.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use shard_core::RepoPath;
use shard_core::canonical::Canonical;
use shard_core::clock::FixedClock;
use shard_core::history::commit;
use shard_core::history::operation::Operation;
use shard_core::history::ref_name::RefName;
use shard_core::history::refs::{Head, RefNames, RefSet};
use shard_core::history::revision::Revision;
use shard_core::object::catalog::CatalogRecord;
use shard_core::object::compression::Compression;
use shard_core::object::reader::read_all;
use shard_core::progress::Silent;
use shard_core::repository::init::InitOptions;
use shard_core::repository::{Repository, Settings};
use shard_core::tree::walk;
use shard_core::worktree::checkout::{Obstacles, SwitchTarget};
use shard_core::worktree::{AddOptions, CommitOptions};
use shard_crypto::{Digest, SecretKey};
use shard_storage::framed_log::{FramedLog, LogError, LogKind, LogOptions};
use shard_storage::vfs::Real;

use super::structures::read_chain_record;

/// 2023-11-14T22:13:20Z.
const TIME_MS: u64 = 1_700_000_000_000;

/// Content that is all different and hardly takes room once compressed.
fn lines(from: u32, count: u32) -> String {
    (from..from + count).fold(String::new(), |mut text, number| {
        writeln!(text, "{number:>200} green bottles").unwrap();
        text
    })
}

fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut bytes);
    bytes
}

fn write(root: &Path, name: &str, content: impl AsRef<[u8]>) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// What this version can record: every type of entry, every codec, packs open and sealed, refs of every sort.
pub fn make() -> Vec<u8> {
    let place = tempfile::tempdir().unwrap();
    let root = place.path();
    let options = InitOptions {
        name: "version 1".into(),
        config: Some(b"{\n  \"chunker\": {\n    \"profile\": \"fastcdc\"\n  }\n}\n".to_vec()),
        ..InitOptions::default()
    };
    drop(Repository::init(Arc::new(Real), root, options, Settings::default()).unwrap());
    let open = |compression: &str, hours: u64| {
        let clock = FixedClock::at(TIME_MS).in_zone(60);
        clock.advance(Duration::from_secs(hours * 3600));
        let compression: Compression = compression.parse().unwrap();
        let settings = Settings { user_name: "Zoë".into(), compression, ..Settings::default() };
        Repository::open_with(Arc::new(Real), root, settings, Arc::new(clock)).unwrap()
    };
    let commit = |repository: &Repository, message: &str| {
        let options = CommitOptions { message: message.into(), all: true, ..CommitOptions::default() };
        repository.commit(&options, &Silent).unwrap().id.unwrap()
    };

    write(root, "README.md", "# A repository of version 1\n");
    write(root, "empty", "");
    write(root, "tool", "#!/bin/sh\nexec true\n");
    std::fs::set_permissions(root.join("tool"), std::fs::Permissions::from_mode(0o755)).unwrap();
    write(root, "src/main.rs", "fn main() {}\n".repeat(50));
    write(root, "src/naïve name.txt", "UTF-8\n");
    write(root, "notes.txt", lines(0, 1000));
    symlink("src/main.rs", root.join("link")).unwrap();
    symlink("x".repeat(300), root.join("long link")).unwrap();
    std::fs::create_dir_all(root.join("hollow/inner")).unwrap();
    std::fs::File::create(root.join("sparse")).unwrap().set_len(3 << 20).unwrap();
    write(root, "many/.keep", "");
    (0..1100).for_each(|number| write(root, &format!("many/{number:04}"), ""));
    let first = commit(&open("zstd:3", 1), "first\n\nEvery type of entry, compressed by zstd.\n");

    write(root, "notes.txt", format!("{}in between\n{}", lines(0, 300), lines(300, 700)));
    write(root, "noise", noise(20_000));
    let repository = open("zlib", 2);
    commit(&repository, "second: an insertion, compressed by zlib");
    repository.create_branch(&RefName::branch("topic/one").unwrap(), &"HEAD".parse::<Revision>().unwrap()).unwrap();
    repository.create_tag(&RefName::tag("v1.0").unwrap(), &"HEAD".parse::<Revision>().unwrap(), false).unwrap();
    repository.create_branch(&RefName::branch("local/own").unwrap(), &"HEAD~1".parse::<Revision>().unwrap()).unwrap();

    let switch = |repository: &Repository, branch: &str| {
        let id = repository.state().unwrap().heads[branch];
        let target = SwitchTarget { head: Head::Branch(branch.into()), commit: Some(id), create: false };
        repository.switch(&target, Obstacles::Refuse, &Silent).unwrap();
    };
    let repository = open("zstd:3", 3);
    switch(&repository, "topic/one");
    std::fs::remove_file(root.join("link")).unwrap();
    std::fs::remove_dir_all(root.join("many")).unwrap();
    commit(&repository, "third, on a branch: removals");
    switch(&repository, "main");

    // More than is kept in memory: sealed packs of its own.
    write(root, "src/bottles.txt", lines(1_000_000, 21_000));
    commit(&open("none", 4), "fourth: packs of its own, not compressed");

    let repository = open("zstd:3", 5);
    let other = SecretKey::from_seed(&[2; 32]);
    let names = RefNames { heads: [("main".to_owned(), first)].into(), tags: [("seen".to_owned(), first)].into() };
    let before = RefSet::sign(repository.id(), RefNames::default(), None, false, &other);
    let published = RefSet::sign(repository.id(), names, Some(&before), false, &other);
    let permit = repository.write_permit("fixture").unwrap();
    let mut transaction = repository.transaction(&permit).unwrap();
    transaction.set_peer(&published);
    transaction.set_upstream("main", Some(&format!("{}/main", other.actor())));
    transaction.commit().unwrap();
    drop(permit);
    write(root, "staged.txt", "staged, not committed\n");
    let path: RepoPath = "staged.txt".parse().unwrap();
    repository.add(&[path], AddOptions::default(), &Silent).unwrap();
    drop(repository);
    pack(root)
}

/// Packs `.shard` in a way that depends on nothing but names, modes and contents.
fn pack(root: &Path) -> Vec<u8> {
    fn visit(root: &Path, at: &Path, tar: &mut tar::Builder<Vec<u8>>) {
        let mut paths: Vec<_> = std::fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            let metadata = std::fs::metadata(&path).unwrap();
            let name = path.strip_prefix(root).unwrap();
            let mut header = tar::Header::new_ustar();
            header.set_mode(metadata.permissions().mode() & 0o777);
            header.set_mtime(0);
            if metadata.is_dir() {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_size(0);
                tar.append_data(&mut header, name, std::io::empty()).unwrap();
                visit(root, &path, tar);
            } else if !name.to_string_lossy().ends_with("-shm") {
                // SQLite's shared memory is about running processes.
                let content = std::fs::read(&path).unwrap();
                header.set_size(content.len() as u64);
                tar.append_data(&mut header, name, &content[..]).unwrap();
            }
        }
    }
    let mut tar = tar::Builder::new(Vec::new());
    let shard = root.join(".shard");
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o755);
    header.set_mtime(0);
    header.set_size(0);
    tar.append_data(&mut header, ".shard", std::io::empty()).unwrap();
    visit(root, &shard, &mut tar);
    let mut out = zstd::Encoder::new(Vec::new(), 19).unwrap();
    out.write_all(&tar.into_inner().unwrap()).unwrap();
    out.finish().unwrap()
}

/// Unpacks what [`make`] returned. The secret key is for its owner's eyes again.
pub fn unpack(archive: &[u8], root: &Path) {
    let mut bytes = Vec::new();
    zstd::Decoder::new(archive).unwrap().read_to_end(&mut bytes).unwrap();
    let mut tar = tar::Archive::new(&bytes[..]);
    tar.set_preserve_permissions(true);
    tar.unpack(root).unwrap();
}

/// Opens the repository with a clock that is later than all it holds.
pub fn open(root: &Path) -> shard_core::Result<Repository> {
    let clock = FixedClock::at(TIME_MS + 1_000_000_000);
    Repository::open_with(Arc::new(Real), root, Settings::default(), Arc::new(clock))
}

/// Says everything a repository says: refs, commits, and every file of each, each log's records.
pub fn describe(repository: &Repository) -> String {
    let state = repository.state().unwrap();
    let store = repository.store(&state).unwrap();
    let history = repository.history(&state, &store);
    let mut out = String::new();
    let genesis = repository.genesis();
    writeln!(out, "repository {} {}", repository.id(), genesis.name).unwrap();
    writeln!(out, "creator {}\nactor {}", genesis.creator, repository.actor()).unwrap();
    write!(out, "head {}", state.head).unwrap();
    for (kind, refs) in [("branch", &state.heads), ("tag", &state.tags)] {
        refs.iter().for_each(|(name, id)| writeln!(out, "{kind} {id} {name}").unwrap());
    }
    for (branch, upstream) in &state.upstreams {
        writeln!(out, "upstream {branch} {upstream}").unwrap();
    }
    for (actor, bytes) in &state.peers {
        let set = RefSet::verify(bytes, repository.id()).unwrap();
        assert_eq!(set.header().actor, *actor);
        writeln!(out, "ref set {} of {actor}: {}", set.header().seq, set.header().digest()).unwrap();
        let names = set.names();
        for (name, id) in names.heads.iter().chain(&names.tags) {
            writeln!(out, "  {id} {name}").unwrap();
        }
    }
    writeln!(out, "index {}", state.index.tree).unwrap();

    let walk = history.dag().walk(repository.tips(&state)).unwrap();
    for walked in walk {
        let id = walked.unwrap().id;
        let signed = commit::read_signed(&store, id).unwrap();
        let commit = signed.claimed();
        writeln!(out, "\ncommit {id} {}", history.trust(&signed)).unwrap();
        commit.parents.iter().for_each(|parent| writeln!(out, "parent {parent}").unwrap());
        writeln!(out, "tree {}", commit.tree).unwrap();
        writeln!(out, "by {} at {} {:+} depth {}", commit.author, commit.time_ms, commit.zone_minutes, commit.depth)
            .unwrap();
        writeln!(out, "says {:?}", commit.message).unwrap();
        let (mut count, mut all) = (0, blake3::Hasher::new());
        walk::visit(&store, commit.tree, None, &mut |path, entry| {
            let content = match entry.tree() {
                Some(tree) => tree.to_string(),
                None => Digest::of(&read_all(&store, &entry.content, entry.size, 64 << 20)?).to_string(),
            };
            let line = format!("{} {} {content} {path}\n", entry.kind.name(), entry.size);
            count += 1;
            all.update(line.as_bytes());
            if !path.as_str().starts_with("many/") {
                out.push_str(&line);
            }
            Ok(())
        })
        .unwrap();
        writeln!(out, "entries {count} {}", all.finalize()).unwrap();
    }

    out.push('\n');
    let shard = &repository.layout().shard;
    let each = |name: &str, kind: LogKind, say: &mut dyn FnMut(&[u8])| {
        FramedLog::open_with(shard, name, kind, LogOptions::READ, |record| {
            say(&record.body);
            Ok::<_, LogError>(())
        })
        .unwrap();
    };
    each("operations.log", LogKind::OPERATIONS, &mut |body| {
        let operation = Operation::from_bytes(body).unwrap();
        assert_eq!(operation.to_bytes(), body);
        let slots: Vec<_> = operation.changes.iter().map(|change| change.slot.as_str()).collect();
        writeln!(out, "operation {} {}", operation.time_ms, slots.join(" ")).unwrap();
    });
    let mut last = None;
    each("refs/chain.log", LogKind::REF_CHAIN, &mut |body| {
        let header = read_chain_record(body).unwrap().into_claimed();
        assert_eq!(header.prev, last, "each header names the one before");
        last = Some(header.digest());
        writeln!(out, "ref set header {} {}", header.seq, header.digest()).unwrap();
    });
    each("objects/catalog.log", LogKind::CATALOG, &mut |body| {
        let record = CatalogRecord::from_bytes(body).unwrap();
        assert_eq!(record.to_bytes(), body);
        for change in &record.0 {
            writeln!(out, "pack {} {:?} {}", change.ordinal, change.state, change.length).unwrap();
        }
    });
    out
}
