//! Every named limit, at the limit and one beyond.
//!
//! A limit of formats and messages has a row here, which tries both sides, or stands in [`ELSEWHERE`] with the test that
//! does. One that only bounds memory or work, and refuses nothing, stands in [`INWARD`] with its reason. A constant that
//! is in none of them fails the last test.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use shard_core::RepoPath;
use shard_core::canonical::{self, Canonical, Decoder, Encoder};
use shard_core::history::commit::{self, Commit};
use shard_core::history::ref_name::{MAX_REF_NAME, RefName};
use shard_core::history::refs::{self, RefNames, RefSet};
use shard_core::history::revision::{MAX_REVISION, Revision};
use shard_core::history::tag::MAX_TAGS_FILE;
use shard_core::ids::{ChunkId, CommitId, ManifestId, RepositoryId, TreeId};
use shard_core::object::compression::{Codec, Decompressor, MAX_RAW};
use shard_core::object::verified_frame::check_form;
use shard_core::object::{MAX_OBJECT, ObjectKind, ObjectSink};
use shard_core::progress::Silent;
use shard_core::repo_path::{MAX_COMPONENT, MAX_COMPONENTS, MAX_PATH};
use shard_core::repository::config::{self, ConfigFile, Scope};
use shard_core::repository::init::InitOptions;
use shard_core::repository::{Genesis, Repository, Settings, genesis};
use shard_core::tree::manifest::{self, Extent, ManifestNode, NodeEntries};
use shard_core::tree::{Content, EntryType, MAX_INLINE, MAX_NODE, MAX_TARGET, NodeRef, TreeEntry, TreeNode};
use shard_core::worktree::CommitOptions;
use shard_core::worktree::ignore::{IgnoreStack, MAX_RULE_FILE};
use shard_crypto::SecretKey;
use shard_storage::vfs::Real;

/// A limit, and whether something so much larger than it is taken.
struct Row {
    /// What is limited, as the table of bounds says.
    what: &'static str,
    constant: &'static str,
    is_taken: Box<dyn Fn(usize) -> bool>,
}

fn row<T, E: Debug>(
    what: &'static str,
    constant: &'static str,
    try_with: impl Fn(usize) -> Result<T, E> + 'static,
) -> Row {
    Row { what, constant, is_taken: Box::new(move |beyond| try_with(beyond).is_ok()) }
}

fn key() -> SecretKey {
    SecretKey::from_seed(&[3; 32])
}

fn repository_id() -> RepositoryId {
    RepositoryId::from_bytes([1; 32])
}

fn commit() -> Commit {
    Commit {
        repository: repository_id(),
        tree: TreeId::from_bytes([2; 32]),
        parents: Vec::new(),
        actor: key().actor(),
        access_heads: Vec::new(),
        depth: 1,
        time_ms: 0,
        zone_minutes: 0,
        author: String::new(),
        message: String::new(),
        extensions: None,
        event_head: None,
        unknown: Vec::new(),
    }
}

/// What the gate for strangers' commits says of one.
fn admit(commit: Commit) -> shard_core::Result<()> {
    let payload = commit::sign(commit, &key());
    check_form(ObjectKind::Commit.id(&payload), ObjectKind::Commit, &payload)
}

/// What the gate says of a tree node.
fn admit_tree(node: &TreeNode) -> shard_core::Result<()> {
    let payload = node.to_bytes();
    check_form(ObjectKind::Tree.id(&payload), ObjectKind::Tree, &payload)
}

fn admit_entry(name: &str, kind: EntryType, size: u64, content: Content) -> shard_core::Result<()> {
    admit_tree(&TreeNode::Leaf(vec![TreeEntry { name: name.into(), kind, size, content }]))
}

/// An entry that makes its node as long as wished.
fn padded_node(length: usize) -> TreeNode {
    let node = |length: usize| {
        let mut e = Encoder::new();
        e.bytes(&vec![7; length]);
        let content = Content::Opaque(e.as_bytes().into());
        TreeNode::Leaf(vec![TreeEntry { name: "later".into(), kind: EntryType::Unknown(9), size: 0, content }])
    };
    let frame = node(100_000).to_bytes().len() - 100_000;
    node(length - frame)
}

fn admit_manifest(entries: NodeEntries, size: u64) -> shard_core::Result<()> {
    let payload = ManifestNode { profile: 1, size, entries }.to_bytes();
    check_form(ObjectKind::Manifest.id(&payload), ObjectKind::Manifest, &payload)
}

fn leaf(entries: usize, length: u64) -> NodeEntries {
    NodeEntries::Leaf(vec![Extent { chunk: Some(ChunkId::from_bytes([5; 32])), length }; entries])
}

/// A ref set of so many names, each so long, as its receiver judges it.
fn admit_ref_set(names: usize, length: usize) -> shard_core::Result<RefSet> {
    let name = |number: usize| (format!("{number:06}{:a<1$}", "", length - 6), CommitId::from_bytes([4; 32]));
    let names = RefNames { heads: (0..names).map(name).collect(), tags: BTreeMap::new() };
    let set = RefSet::sign(repository_id(), names, None, false, &key());
    RefSet::verify(set.as_bytes(), repository_id())
}

fn nested(depth: usize) -> Vec<u8> {
    let mut e = Encoder::new();
    for _ in 0..depth {
        e.array(1);
    }
    e.uint(1);
    e.into_bytes()
}

/// A repository to try what only one as a whole refuses.
struct Place {
    dir: tempfile::TempDir,
    repository: Repository,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (repository, _) =
            Repository::init(Arc::new(Real), dir.path(), InitOptions::default(), Settings::default()).unwrap();
        std::fs::write(dir.path().join("file"), "content").unwrap();
        let options = CommitOptions { message: "first".to_owned(), all: true, ..CommitOptions::default() };
        repository.commit(&options, &Silent).unwrap();
        Self { dir, repository }
    }

    fn put(&self, kind: ObjectKind, length: usize) -> shard_core::Result<()> {
        let state = self.repository.state()?;
        let store = self.repository.store(&state)?;
        let staging = self.repository.staging(&store);
        let mut writer = staging.writer();
        writer.put(kind, &vec![9; length])?;
        writer.finish()?;
        staging.finish().map(drop)
    }

    fn commit(&self, message: usize, author: usize) -> shard_core::Result<()> {
        std::fs::write(self.dir.path().join("file"), format!("{message} {author}")).unwrap();
        let options = CommitOptions {
            message: "m".repeat(message),
            author: Some("a".repeat(author)),
            all: true,
            ..CommitOptions::default()
        };
        self.repository.commit(&options, &Silent).map(drop)
    }
}

/// A fresh place for each try.
fn in_repository<T>(
    what: &'static str,
    constant: &'static str,
    try_with: impl Fn(&Place, usize) -> shard_core::Result<T> + 'static,
) -> Row {
    row(what, constant, move |beyond| try_with(&Place::new(), beyond))
}

fn rows() -> Vec<Row> {
    let text = |length: usize| "t".repeat(length);
    vec![
        row("path", "MAX_PATH", move |beyond| {
            // As many of the longest components as there is room for, and a shorter last one.
            let most = format!("{}/", text(MAX_COMPONENT)).repeat(MAX_PATH / (MAX_COMPONENT + 1) - 1);
            RepoPath::parse(&format!("{most}{}/{}", text(200), text(MAX_PATH + beyond - most.len() - 201)))
        }),
        row("path component", "MAX_COMPONENT", move |beyond| RepoPath::parse(&text(MAX_COMPONENT + beyond))),
        row("path component, in a tree", "MAX_COMPONENT", move |beyond| {
            admit_entry(&text(MAX_COMPONENT + beyond), EntryType::File, 0, Content::Inline([].into()))
        }),
        row("path depth", "MAX_COMPONENTS", |beyond| RepoPath::parse(&vec!["d"; MAX_COMPONENTS + beyond].join("/"))),
        row("tree node", "MAX_NODE", |beyond| admit_tree(&padded_node(MAX_NODE + beyond))),
        row("level of a tree node", "MAX_LEVEL", |beyond| {
            let children = vec![NodeRef { last: "a".into(), size: 0, id: TreeId::from_bytes([1; 32]) }];
            admit_tree(&TreeNode::Upper { level: 8 + beyond as u64, children })
        }),
        row("inline content", "MAX_INLINE", |beyond| {
            let bytes = vec![1; MAX_INLINE + beyond];
            admit_entry("name", EntryType::File, bytes.len() as u64, Content::Inline(bytes.into()))
        }),
        row("symlink target", "MAX_TARGET", |beyond| {
            let target = Content::Chunk(ChunkId::from_bytes([1; 32]));
            admit_entry("name", EntryType::Symlink, MAX_TARGET + beyond as u64, target)
        }),
        row("entries of a manifest node", "MAX_ENTRIES", |beyond| {
            let entries = manifest::MAX_ENTRIES + beyond;
            admit_manifest(leaf(entries, 1), entries as u64)
        }),
        row("level of a manifest node", "MAX_LEVEL", |beyond| {
            let below = NodeEntries::Upper(6 + beyond as u64, vec![(ManifestId::from_bytes([1; 32]), 9)]);
            admit_manifest(below, 9)
        }),
        row("chunk that a manifest names", "MAX_OBJECT", |beyond| {
            let length = (MAX_OBJECT + beyond) as u64;
            admit_manifest(leaf(1, length), length)
        }),
        row("object that comes", "MAX_OBJECT", |beyond| {
            let payload = vec![0; MAX_OBJECT + beyond];
            check_form(ObjectKind::Chunk.id(&payload), ObjectKind::Chunk, &payload)
        }),
        in_repository("object that is stored", "MAX_OBJECT", |place, beyond| {
            place.put(ObjectKind::Chunk, MAX_OBJECT + beyond)
        }),
        row("object, decompressed", "MAX_RAW", |beyond| {
            let raw = vec![0; MAX_RAW + beyond];
            let stored = zstd::bulk::compress(&raw, 1).unwrap();
            Decompressor::new().decompress(Codec::Zstd, &stored, raw.len(), &mut Vec::new())
        }),
        row("commit message that comes", "MAX_MESSAGE", move |beyond| {
            admit(Commit { message: text(commit::MAX_MESSAGE + beyond), ..commit() })
        }),
        in_repository("commit message", "MAX_MESSAGE", |place, beyond| place.commit(commit::MAX_MESSAGE + beyond, 1)),
        row("author that comes", "MAX_AUTHOR", move |beyond| {
            admit(Commit { author: text(commit::MAX_AUTHOR + beyond), ..commit() })
        }),
        in_repository("author", "MAX_AUTHOR", |place, beyond| place.commit(1, commit::MAX_AUTHOR + beyond)),
        row("parents", "MAX_PARENTS", |beyond| {
            let parents = (0..commit::MAX_PARENTS + beyond).map(|number| CommitId::from_bytes([number as u8; 32]));
            admit(Commit { parents: parents.collect(), depth: 2, ..commit() })
        }),
        row("access heads", "MAX_ACCESS_HEADS", |beyond| {
            admit(Commit { access_heads: vec![[1; 32]; 8 + beyond], ..commit() })
        }),
        row("CBOR depth", "MAX_DEPTH", |beyond| {
            let bytes = nested(canonical::MAX_DEPTH + beyond);
            let mut d = Decoder::new(&bytes);
            d.item().map(drop)
        }),
        row("ref name", "MAX_REF_NAME", move |beyond| RefName::branch(&text(MAX_REF_NAME + beyond))),
        row("names of a ref set", "MAX_NAMES", |beyond| admit_ref_set(refs::MAX_NAMES + beyond, 20)),
        row("bytes of a ref set", "MAX_REF_SET", |beyond| {
            // Of the longest names so many as fit, and then the one that is as long as there is room.
            let bytes = |names, length| RefSet::sign(repository_id(), of(names, length), None, false, &key());
            let most = (1..).find(|names| bytes(names + 1, 200).as_bytes().len() > refs::MAX_REF_SET).unwrap();
            let set = if beyond == 0 { bytes(most, 200) } else { bytes(most + 1, 200) };
            RefSet::verify(set.as_bytes(), repository_id())
        }),
        row("revision", "MAX_REVISION", |beyond| {
            let zeros = "0".repeat(MAX_REVISION + beyond - "main~1".len());
            format!("main~{zeros}1").parse::<Revision>()
        }),
        in_repository("tags.json", "MAX_TAGS_FILE", |place, beyond| {
            place.repository.import_tags(format!("{{{}}}", " ".repeat(MAX_TAGS_FILE + beyond - 2)).as_bytes(), false)
        }),
        in_repository("tags of a tags.json", "MAX_NAMES", |place, beyond| {
            let head = place.repository.state()?.head_commit().unwrap();
            let tags: Vec<_> =
                (0..refs::MAX_NAMES + beyond).map(|number| format!("\"t{number}\":\"{head}\"")).collect();
            // So many cannot be published beside a branch, which is another refusal.
            match place.repository.import_tags(format!("{{{}}}", tags.join(",")).as_bytes(), false) {
                Err(shard_core::Error::ValueInvalid { what: "ref set", .. }) => Ok(()),
                other => other.map(drop),
            }
        }),
        row("repository name", "MAX_NAME", move |beyond| {
            let name = text(genesis::MAX_NAME + beyond);
            let genesis = Genesis { nonce: [0; 16], creator: key().actor(), name, private: false, recovery_key: None };
            Genesis::from_bytes(&genesis.to_bytes())
        }),
        row("configuration file", "MAX_FILE", |beyond| {
            let padded = format!("{{{}}}", " ".repeat(config::MAX_FILE + beyond - 2));
            ConfigFile::parse("config.json", Scope::Repository, padded.as_bytes())
        }),
        row("configuration value", "MAX_TEXT", move |beyond| {
            let mut file = ConfigFile::empty("config.json", Scope::Repository);
            file.set("user.name", &text(4096 + beyond))
        }),
        row("ignore file", "MAX_RULE_FILE", |beyond| {
            // The last rule counts as long as all of it lies within.
            let padding = "#".repeat(MAX_RULE_FILE + beyond - "\nx\n".len());
            let rules = format!("{padding}\nx\n");
            let stack = IgnoreStack::new(Some(("rules", rules.as_bytes())));
            stack.check("x", false).is_ignored().then_some(()).ok_or("it does not count")
        }),
    ]
}

fn of(names: usize, length: usize) -> RefNames {
    let name = |number: usize| (format!("{number:06}{:a<1$}", "", length - 6), CommitId::from_bytes([4; 32]));
    RefNames { heads: (0..names).map(name).collect(), tags: BTreeMap::new() }
}

#[test]
fn each_limit_is_taken_and_one_beyond_is_refused() {
    let rows = rows();
    for Row { what, is_taken, .. } in &rows {
        assert!(is_taken(0), "{what}: refused at its limit");
        assert!(!is_taken(1), "{what}: taken beyond its limit");
    }
    eprintln!("bounds: {} limits tried on both sides", rows.len());
}

/// Limits that other tests try: constant, test.
const ELSEWHERE: &[(&str, &str)] = &[
    ("MAX_WINDOW_LOG", "twenty_bombs_are_refused_at_once_and_cost_no_memory"),
    ("WHOLE_MAX", "settings_are_read_within_their_limits_and_refused_beyond"),
    ("MAX_HEADERS", "a_gap_is_filled_from_the_headers_the_source_keeps"),
    ("MAX_ACTORS", "invented_actors_are_taken_up_to_a_number_and_named_beyond"),
    ("MAX_FRAME_RAW", "a_frame_of_the_largest_size_fits_and_one_byte_more_is_refused"),
    ("MAX_FRAME", "a_frame_of_the_largest_size_fits_and_one_byte_more_is_refused"),
    ("MAX_FRAME_ENTRIES", "a_frame_of_the_most_objects_fits_and_one_more_is_refused"),
    ("MAX_PACK", "a_pack_takes_no_frame_beyond_its_limits"),
    ("MAX_PACK_ENTRIES", "a_pack_takes_no_frame_beyond_its_limits"),
    ("MAX_BODY", "a_body_beyond_the_limit_is_refused_and_read_as_a_bad_record"),
    ("MAX_KEY", "limits_are_kept_and_what_is_beyond_changes_nothing"),
    ("MAX_VALUE", "limits_are_kept_and_what_is_beyond_changes_nothing"),
    ("MAX_BATCH", "limits_are_kept_and_what_is_beyond_changes_nothing"),
];

/// Limits that refuse nothing anybody brings: constant, what it bounds.
const INWARD: &[(&str, &str)] = &[
    ("MAX_CANDIDATES", "names shown where a prefix fits several"),
    ("MAX_REMEMBERED", "commits a page of the log remembers"),
    ("MAX_TEXT", "what is shown of a file as text"),
    ("MAX_LOG", "a log that is copied aside"),
    ("MAX_SLOT", "a small file as recovery reads it"),
    ("MAX_WAITING", "writers that wait in one process"),
    ("MAX_APPLIED", "a file of ours"),
    ("MAX_SMALL_FILE", "a file of ours"),
    ("MAX_FILE", "a file of ours"),
    ("MAX_PROBLEMS", "what one report lists"),
    ("MAX_LISTED", "what one report lists"),
    ("MAX_BENEATH", "what one report lists"),
    ("MAX_FOUND", "what one question finds"),
    ("MAX_NODES_DEEP", "levels that valid nodes have"),
    ("MAX_DEPTH", "directories that valid paths have"),
    ("MAX_GENESIS", "a file of ours"),
    ("MAX_SEALING", "packs being synced at once"),
    ("MAX_REPLACED", "a file of ours"),
    ("MAX_OPEN_PACKS", "files open at once"),
    ("MAX_THREADS", "threads"),
    ("MAX_CACHE", "a file of ours"),
    ("MAX_RULE", "a line that can match no path"),
    ("MAX_READ", "files a guess at renames reads"),
    ("MAX_READ_BYTES", "what a guess at renames reads"),
    ("MAX_GONE", "files a guess at renames compares"),
    ("MAX_SEGMENTS", "pieces one worker writes at once"),
    ("MAX_IGNORE", "what is read of an ignore file"),
    ("MAX_WHOLE", "ids remembered"),
    ("MAX_SETTLED", "ids remembered"),
    ("MAX_TABLES", "tables remembered"),
    ("MAX_BOOK", "a file of ours"),
    ("MAX_HELD", "what others publish and is held; more is named and not taken"),
    ("MAX_LEARNED", "headers kept of one fetch; older ones are asked for again"),
    ("MAX_SLOT_CONTENTS", "a longer description of who waits is left out"),
    ("MAX_ATTEMPTS", "names tried for a new pack"),
    ("MAX_SEARCH", "work on a damaged pack"),
    ("MAX_ARCHIVE", "an archive that the formats' own test unpacks"),
    ("MAX_UNCOVERED", "packs without an index run, before one is made"),
    ("MAX_MERGED_FOOTERS", "packs merged into a run at once"),
];

fn sources(at: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn no_limit_is_without_a_test_or_a_reason() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut texts = Vec::new();
    ["core/src", "storage/src", "core/tests"].iter().for_each(|room| sources(&workspace.join(room), &mut texts));
    let constants = texts.iter().flat_map(|text| text.lines()).filter_map(|line| {
        let (_, rest) = line.split_once("const ").filter(|(before, _)| !before.contains("//"))?;
        let name = rest.split(':').next()?.trim();
        (name.starts_with("MAX_") || name.ends_with("_MAX")).then(|| name.to_owned())
    });
    let rows = rows();
    let told = |name: &String| {
        rows.iter().any(|row| row.constant == name)
            || ELSEWHERE.iter().chain(INWARD).any(|(constant, _)| constant == name)
    };
    let untold: Vec<String> = constants.filter(|name| !told(name)).collect();
    assert!(untold.is_empty(), "neither tried nor explained: {untold:?}");
    for (constant, test) in ELSEWHERE {
        let exists = texts.iter().any(|text| text.contains(&format!("fn {test}(")));
        assert!(exists, "{constant} is said to be tried by {test}, which is nowhere");
    }
}
