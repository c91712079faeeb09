//! Single structures: each must decode, encode again to the same bytes, and keep its name.

use std::collections::BTreeMap;
use std::sync::Arc;

use shard_core::canonical::{Canonical, DecodeError, Decoder, Encoder};
use shard_core::history::commit::{self, Commit};
use shard_core::history::operation::{Operation, SlotChange};
use shard_core::history::refs::{self, Head, RefNames, RefSet, RefSetHeader};
use shard_core::ids::{ChunkId, CommitId, ManifestId, RepositoryId, TreeId};
use shard_core::object::ObjectKind;
use shard_core::object::catalog::{CatalogRecord, PackChange, PackState};
use shard_core::repository::Genesis;
use shard_core::repository::wal::{Append, Applied, End, Ends, FileContent, Record};
use shard_core::tree::manifest::{Extent, ManifestNode, NodeEntries};
use shard_core::tree::{Content, EntryType, NodeRef, TreeEntry, TreeNode};
use shard_core::worktree::index::{Index, Pending};
use shard_crypto::{Context, Digest, SecretKey, Signature, SignatureDomain, Signed, Unverified};
use shard_storage::framed_log::{FramedLog, LogError, LogHeader, LogId, LogKind, LogOptions, Tail, encode_record};
use shard_storage::pack::PackOrdinal;
use shard_storage::vfs::{Dir, Real};

use super::fixture_file::{Golden, Refusal, bless, hex, parse, path, render};

const FILE: &str = "structures-v1.txt";
const HEAD: &str = "\
# One of each structure of version 1, as bytes. See README.md.
#
# name     what it is
# id       what names it: the id of an object, or the digest that is signed or chained
# bytes    its encoding
# refused  position of a byte, bits to turn in it, and what is said of the result
";

/// 2023-11-14T22:13:20Z.
const TIME_MS: u64 = 1_700_000_000_000;

fn key() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

fn other_key() -> SecretKey {
    SecretKey::from_seed(&[2; 32])
}

fn genesis() -> Genesis {
    Genesis {
        nonce: *b"0123456789abcdef",
        creator: key().actor(),
        name: "Zoë's".into(),
        private: false,
        recovery_key: None,
    }
}

fn repository() -> RepositoryId {
    genesis().id()
}

fn chunk(text: &str) -> ChunkId {
    ChunkId(ObjectKind::Chunk.id(text.as_bytes()))
}

fn tree(text: &str) -> TreeId {
    TreeId(ObjectKind::Tree.id(text.as_bytes()))
}

fn commit_id(text: &str) -> CommitId {
    CommitId(ObjectKind::Commit.id(text.as_bytes()))
}

fn manifest(text: &str) -> ManifestId {
    ManifestId(ObjectKind::Manifest.id(text.as_bytes()))
}

fn entry(name: &str, kind: EntryType, size: u64, content: Content) -> TreeEntry {
    TreeEntry { name: name.into(), kind, size, content }
}

fn leaf() -> TreeNode {
    TreeNode::Leaf(vec![
        entry("a", EntryType::File, 0, Content::Inline(Box::default())),
        entry("b.txt", EntryType::File, 6, Content::Inline(b"hello\n"[..].into())),
        entry("build", EntryType::Executable, 70_000, Content::Manifest(manifest("build"))),
        entry("link", EntryType::Symlink, 5, Content::Inline(b"b.txt"[..].into())),
        entry("long link", EntryType::Symlink, 300, Content::Chunk(chunk("long link"))),
        entry("src", EntryType::Directory, 1 << 33, Content::Tree(tree("src"))),
        entry("tbl.db", EntryType::Unknown(4), 4096, Content::Opaque([0x82, 0x01, 0x41, 0xff][..].into())),
        entry("é", EntryType::File, 4097, Content::Chunk(chunk("é"))),
    ])
}

fn first_commit() -> Commit {
    Commit {
        repository: repository(),
        tree: tree("root"),
        parents: Vec::new(),
        actor: key().actor(),
        access_heads: Vec::new(),
        depth: 1,
        time_ms: TIME_MS,
        zone_minutes: -210,
        author: "Zoë".into(),
        message: "first\n\nand a body\n".into(),
        extensions: None,
        event_head: None,
        unknown: Vec::new(),
    }
}

/// A commit with everything this version knows of, and two fields that it does not.
fn full_commit() -> Commit {
    Commit {
        parents: vec![commit_id("one"), commit_id("two")],
        access_heads: vec![[5; 32], [6; 32]],
        depth: 3,
        zone_minutes: 345,
        extensions: Some(vec![0x81, 0x01]),
        event_head: Some([7; 32]),
        unknown: vec![(64, vec![0x07]), (1000, vec![0x63, b'n', b'e', b'w'])],
        ..first_commit()
    }
}

fn names() -> RefNames {
    RefNames {
        heads: BTreeMap::from([("main".into(), commit_id("one")), ("topic/é".into(), commit_id("two"))]),
        tags: BTreeMap::from([("v1.0".into(), commit_id("one"))]),
    }
}

fn first_set() -> RefSet {
    RefSet::sign(repository(), RefNames { heads: names().heads, tags: BTreeMap::new() }, None, false, &key())
}

fn second_set() -> RefSet {
    RefSet::sign(repository(), names(), Some(&first_set()), true, &key())
}

fn operation() -> Operation {
    Operation {
        actor: key().actor(),
        time_ms: TIME_MS,
        command: "switch -c topic".into(),
        changes: vec![
            SlotChange { slot: "HEAD".into(), old: Some(b"ref: refs/heads/main\n".to_vec()), new: None },
            SlotChange {
                slot: "refs/heads/topic".into(),
                old: None,
                new: Some(format!("{}\n", commit_id("one")).into()),
            },
        ],
        rescue: Some(tree("rescue")),
    }
}

fn catalog() -> CatalogRecord {
    let change = |ordinal, state, length| PackChange { ordinal: PackOrdinal::from_u32(ordinal), state, length };
    CatalogRecord(vec![
        change(0, PackState::Open, 0),
        change(1, PackState::Sealed, 33_554_432),
        change(2, PackState::Condemned, 70_000),
        change(4_294_967_295, PackState::Gone, 0),
    ])
}

fn ends() -> Ends {
    Ends::from([
        ("objects/catalog.log".into(), End { offset: 85, sequence: 2 }),
        ("objects/data/0000/00000000.pack".into(), End { offset: 64, sequence: 0 }),
        ("operations.log".into(), End { offset: 1 << 32, sequence: 70_000 }),
    ])
}

fn transaction() -> Record {
    let append = |file: &str, offset, bytes: &[u8], end, sequence| Append {
        file: file.into(),
        offset,
        bytes: bytes.to_vec(),
        end: End { offset: end, sequence },
    };
    Record::Transaction {
        appends: vec![
            append("objects/data/0000/00000000.pack", 64, b"a frame", 71, 0),
            append("objects/meta/0000/00000001.pack", 64, b"", 4096, 0),
            append("operations.log", 48, b"a record", 56, 2),
        ],
        files: vec![
            ("HEAD".into(), FileContent::Bytes(b"ref: refs/heads/main\n".to_vec())),
            ("refs/heads/old".into(), FileContent::Absent),
            ("refs/upstreams".into(), FileContent::Temporary { name: "17-3".into(), digest: Digest::of(b"content") }),
        ],
    }
}

fn log() -> Vec<u8> {
    let mut bytes = LogHeader::new(LogKind::WAL, LogId(*b"the id of a log."), 7).encode().to_vec();
    encode_record(LogId(*b"the id of a log."), 7, b"first", &mut bytes);
    encode_record(LogId(*b"the id of a log."), 8, b"", &mut bytes);
    bytes
}

/// A byte, counted from the end where negative, and the bits to turn in it.
type Turn = (isize, u8);

/// Every structure, with what makes its negative twins.
fn written_today() -> Vec<(&'static str, Vec<u8>, Vec<Turn>)> {
    let holes = ManifestNode {
        profile: 65_537,
        size: 65_536 + 1_048_576 + (1 << 32),
        entries: NodeEntries::Leaf(vec![
            Extent { chunk: Some(chunk("one")), length: 65_536 },
            Extent { chunk: None, length: 1 << 32 },
            Extent { chunk: Some(chunk("two")), length: 1_048_576 },
        ]),
    };
    let upper = ManifestNode {
        profile: 16_387,
        size: 3_000_000,
        entries: NodeEntries::Upper(1, vec![(manifest("one"), 2_000_000), (manifest("two"), 1_000_000)]),
    };
    let upper_tree = TreeNode::Upper {
        level: 1,
        children: vec![
            NodeRef { last: "m".into(), size: 5, id: tree("a to m") },
            NodeRef { last: "z".into(), size: 0, id: tree("n to z") },
        ],
    };
    let index = Index { base: Some(commit_id("one")), tree: tree("root"), pending: None };
    let pending = Pending {
        from: tree("root"),
        to: tree("target"),
        commit: Some(commit_id("two")),
        head: Head::Detached(commit_id("two")),
    };
    let applied = Applied { log_id: *b"the id of a log.", sequence: 8, boot_id: *b"the id of a boot", ends: ends() };
    let recovery = Genesis { recovery_key: Some(other_key().actor()), private: true, ..genesis() };
    let unborn = Index { base: None, tree: TreeId(ObjectKind::Tree.id(&[0x83, 1, 0, 0x80])), pending: None };
    let set = second_set();
    let mut chain = Encoder::new();
    chain.array(2).bytes(&set.header().to_bytes()).bytes(set.signature().as_bytes());
    let (of_map, of_array) = (vec![(2, 3), (0, 1)], vec![(1, 3), (0, 1)]);
    let both = |first: &[Turn], more: &[Turn]| [first, more].concat();
    vec![
        ("genesis", genesis().to_bytes(), of_map.clone()),
        ("genesis, private, with a recovery key", recovery.to_bytes(), of_map.clone()),
        ("tree, empty", TreeNode::Leaf(Vec::new()).to_bytes(), vec![(1, 3), (3, 1)]),
        ("tree, leaf", leaf().to_bytes(), both(&of_array, &[(6, 0x4e), (11, 0x01)])),
        ("tree, upper", upper_tree.to_bytes(), both(&of_array, &[(6, 0x17)])),
        ("manifest, leaf with a hole", holes.to_bytes(), both(&of_array, &[(12, 1)])),
        ("manifest, upper", upper.to_bytes(), both(&of_array, &[(11, 1)])),
        ("commit, first", commit::sign(first_commit(), &key()), vec![(5, 3), (10, 1), (-1, 1)]),
        ("commit, full", commit::sign(full_commit(), &key()), vec![(6, 3), (10, 1), (-1, 1)]),
        ("ref names", names().to_bytes(), vec![(0, 1), (5, 0x43)]),
        ("ref set header, first", first_set().header().to_bytes(), vec![(0, 1), (72, 3)]),
        ("ref set header, second", set.header().to_bytes(), vec![(0, 1), (72, 3)]),
        ("ref set, first", first_set().as_bytes().to_vec(), vec![(8, 1), (-130, 1), (-1, 1)]),
        ("ref set, second", set.as_bytes().to_vec(), vec![(8, 1), (-200, 1), (-1, 1)]),
        ("ref chain record", chain.into_bytes(), vec![(8, 1), (-1, 1)]),
        ("operation", operation().to_bytes(), of_map.clone()),
        ("catalog record", catalog().to_bytes(), both(&of_array, &[(5, 4)])),
        ("wal record, checkpoint", Record::Checkpoint(ends()).to_bytes(), both(&of_map, &[(3, 4), (7, 0x10)])),
        ("wal record, transaction", transaction().to_bytes(), both(&of_map, &[(3, 4)])),
        ("applied", applied.to_file(), vec![(22, 3), (30, 1)]),
        ("index, unborn", unborn.to_bytes(), of_map.clone()),
        ("index", index.to_bytes(), of_map.clone()),
        ("index, in the middle of a checkout", Index { pending: Some(pending), ..index }.to_bytes(), of_map),
        ("HEAD, on a branch", Head::Branch("topic/é".into()).to_string().into(), vec![(0, 1)]),
        ("HEAD, detached", Head::Detached(commit_id("one")).to_string().into(), vec![(3, 0x40)]),
        ("ref file", format!("{}\n", commit_id("one")).into(), vec![(63, 0x40)]),
        ("framed log", log(), vec![(0, 1), (8, 3), (9, 3), (12, 1), (40, 1), (56, 1), (72, 1), (80, 1)]),
    ]
}

/// Decodes a structure; returns its encoding by this version, and what names it.
fn read(name: &str, bytes: &[u8]) -> Result<(Vec<u8>, String), String> {
    fn canonical<T: Canonical>(bytes: &[u8], id: impl Fn(&T, &[u8]) -> String) -> Result<(Vec<u8>, String), String> {
        let value = T::from_bytes(bytes).map_err(|error| error.to_string())?;
        let again = value.to_bytes();
        let id = id(&value, &again);
        Ok((again, id))
    }
    let plain = |bytes: &[u8]| Digest::of(bytes).to_string();
    match name.split(',').next().unwrap() {
        "genesis" => canonical(bytes, |genesis: &Genesis, _| genesis.id().to_string()),
        "tree" => canonical(bytes, |_: &TreeNode, bytes| ObjectKind::Tree.id(bytes).to_string()),
        "manifest" => canonical(bytes, |_: &ManifestNode, bytes| ObjectKind::Manifest.id(bytes).to_string()),
        "commit" => {
            let id = CommitId(ObjectKind::Commit.id(bytes));
            let signed = commit::decode(id, bytes).map_err(|error| match error {
                shard_core::Error::ObjectCorrupt { reason, .. } => reason,
                other => other.to_string(),
            })?;
            let actor = signed.claimed().actor.public_key().map_err(|error| error.to_string())?;
            signed.check(SignatureDomain::COMMIT, &actor).map_err(|error| error.to_string())?;
            let mut e = Encoder::new();
            e.array(2).bytes(&signed.claimed().to_bytes()).bytes(signed.signature().as_bytes());
            Ok((e.into_bytes(), id.to_string()))
        }
        "ref names" => canonical(bytes, |_: &RefNames, bytes| plain(bytes)),
        "ref set header" => canonical(bytes, |header: &RefSetHeader, _| header.digest().to_string()),
        "ref set" => {
            let set = RefSet::verify(bytes, repository()).map_err(|error| error.to_string())?;
            let mut e = Encoder::new();
            e.array(3).bytes(&set.header().to_bytes()).bytes(set.signature().as_bytes()).bytes(&set.names().to_bytes());
            Ok((e.into_bytes(), set.header().digest().to_string()))
        }
        "ref chain record" => read_chain_record(bytes).map(|header| {
            let mut e = Encoder::new();
            e.array(2).bytes(&header.claimed().to_bytes()).bytes(header.signature().as_bytes());
            (e.into_bytes(), header.claimed().digest().to_string())
        }),
        "operation" => canonical(bytes, |_: &Operation, bytes| Context::OPERATION.digest(bytes).to_string()),
        "catalog record" => canonical(bytes, |_: &CatalogRecord, bytes| plain(bytes)),
        "wal record" => canonical(bytes, |_: &Record, bytes| plain(bytes)),
        "applied" => {
            let again = Applied::from_file(bytes).ok_or("no such file")?.to_file();
            let id = plain(&again);
            Ok((again, id))
        }
        "index" => canonical(bytes, |_: &Index, bytes| plain(bytes)),
        "HEAD" => {
            let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
            let again = Head::parse(text).ok_or("it names no branch or commit")?.to_string().into_bytes();
            let id = plain(&again);
            Ok((again, id))
        }
        "ref file" => {
            let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
            let again = format!("{}\n", refs::parse_id(text).ok_or("it holds no commit id")?).into_bytes();
            let id = plain(&again);
            Ok((again, id))
        }
        "framed log" => read_log(bytes).map(|again| {
            let id = plain(&again);
            (again, id)
        }),
        _ => panic!("nobody reads {name}"),
    }
}

/// Reads a record of `refs/chain.log`, and checks who signed it.
pub fn read_chain_record(bytes: &[u8]) -> Result<Signed<RefSetHeader, Unverified>, String> {
    let parse = || {
        let mut d = Decoder::new(bytes);
        d.array_of(2)?;
        let header = d.bytes()?;
        let signature = Signature::from_bytes(d.bytes_of()?);
        d.finish()?;
        Ok(Signed::new(RefSetHeader::from_bytes(header)?, Digest::of(header), signature))
    };
    let signed = parse().map_err(|error: DecodeError| error.to_string())?;
    let key = signed.claimed().actor.public_key().map_err(|error| error.to_string())?;
    signed.check(SignatureDomain::REF_SET, &key).map_err(|error| error.to_string())?;
    Ok(signed)
}

fn read_log(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("log"), bytes).unwrap();
    let dir = Dir::open_root(Arc::new(Real), place.path()).unwrap();
    let mut bodies = Vec::new();
    let log = FramedLog::open_with(&dir, "log", LogKind::WAL, LogOptions::READ, |record| {
        bodies.push((record.sequence, record.body));
        Ok::<_, LogError>(())
    });
    let log = log.map_err(|error| match error {
        LogError::Header { source, .. } => source.to_string(),
        other => other.to_string(),
    })?;
    match log.tail() {
        Tail::Clean => {}
        Tail::Torn { offset } => return Err(format!("it ends in a torn record at {offset}")),
        Tail::Damaged { offset, .. } => {
            return Err(format!("the record at {offset} is damaged, with a good one behind"));
        }
    }
    let mut again = log.header().encode().to_vec();
    for (sequence, body) in bodies {
        encode_record(log.log_id(), sequence, &body, &mut again);
    }
    Ok(again)
}

fn turned(bytes: &[u8], at: usize, bits: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= bits;
    bytes
}

fn fixtures() -> Vec<Golden> {
    bless(FILE, || {
        let golden = |(name, bytes, twins): (&str, Vec<u8>, Vec<Turn>)| {
            let (again, id) = read(name, &bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(hex(&again), hex(&bytes), "{name}");
            let refusal = |(at, bits): Turn| {
                let at = if at < 0 { bytes.len() - at.unsigned_abs() } else { at.unsigned_abs() };
                match read(name, &turned(&bytes, at, bits)) {
                    Err(message) => Refusal { at, turned: bits, message },
                    Ok(_) => panic!("{name} with {bits:02x} turned at {at} is accepted"),
                }
            };
            let refused = twins.into_iter().map(refusal).collect();
            Golden { name: name.to_owned(), id, bytes, refused }
        };
        let all: Vec<Golden> = written_today().into_iter().map(golden).collect();
        render(HEAD, &all).into_bytes()
    });
    parse(&std::fs::read_to_string(path(FILE)).unwrap())
}

#[test]
fn every_structure_decodes_and_encodes_to_the_same_bytes_and_name() {
    let all = fixtures();
    assert_eq!(all.len(), 27, "a fixture, once there, stays");
    for golden in all {
        let (again, id) = read(&golden.name, &golden.bytes).unwrap_or_else(|error| panic!("{}: {error}", golden.name));
        assert_eq!(hex(&again), hex(&golden.bytes), "{}", golden.name);
        assert_eq!(id, golden.id, "{}", golden.name);
    }
}

#[test]
fn every_structure_is_still_written_as_it_was() {
    let all = fixtures();
    for (name, bytes, _) in written_today() {
        let golden = all.iter().find(|golden| golden.name == name).unwrap_or_else(|| panic!("no fixture of {name}"));
        assert_eq!(hex(&bytes), hex(&golden.bytes), "{name}");
    }
}

#[test]
fn a_wrong_bit_and_a_later_version_are_refused_with_the_reason() {
    for golden in fixtures() {
        assert!(!golden.refused.is_empty(), "{} has no negative twin", golden.name);
        for Refusal { at, turned: bits, message } in &golden.refused {
            let refused = read(&golden.name, &turned(&golden.bytes, *at, *bits)).map(|(_, id)| id);
            assert_eq!(refused, Err(message.clone()), "{} with {bits:02x} turned at {at}", golden.name);
        }
    }
}

#[test]
fn no_single_bit_can_change_unnoticed() {
    // Text is read with some patience, its line's end and the case of digits; see the twins for what it refuses.
    let is_text = |name: &str| name.starts_with("HEAD") || name == "ref file" || name.ends_with("of a checkout");
    for golden in fixtures().iter().filter(|golden| !is_text(&golden.name)) {
        for bit in 0..golden.bytes.len() * 8 {
            let other = turned(&golden.bytes, bit / 8, 1 << (bit % 8));
            if let Ok((again, id)) = read(&golden.name, &other) {
                assert_eq!(hex(&again), hex(&other), "{} at bit {bit} has two encodings", golden.name);
                assert_ne!(id, golden.id, "{} at bit {bit} keeps its name", golden.name);
            }
        }
    }
}

#[test]
fn applied_of_a_later_version_only_means_that_the_log_is_read() {
    let mut file = fixtures().into_iter().find(|golden| golden.name == "applied").unwrap().bytes;
    file[22] = 2;
    let check = blake3::hash(&file[20..]);
    file[12..20].copy_from_slice(&check.as_bytes()[..8]);
    assert_eq!(Applied::from_file(&file), None);
}

#[test]
fn what_is_signed_needs_its_signature_whole() {
    for golden in fixtures() {
        let signed = ["commit", "ref set, ", "ref chain"].iter().any(|begin| golden.name.starts_with(begin));
        let checked = signed || golden.name == "applied" || golden.name == "framed log";
        for bit in (0..golden.bytes.len() * 8).filter(|_| checked) {
            let other = turned(&golden.bytes, bit / 8, 1 << (bit % 8));
            assert!(read(&golden.name, &other).is_err(), "{} at bit {bit}", golden.name);
        }
    }
}
