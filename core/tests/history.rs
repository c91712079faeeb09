//! History: naming commits, walking them, branches and tags.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use shard_core::history::commit::{self, Commit, Trust};
use shard_core::history::dag::Side;
use shard_core::history::log::{LogCursor, LogOptions};
use shard_core::history::ref_name::RefName;
use shard_core::history::ref_report::RefUpdate;
use shard_core::history::refs::{Head, RefNames, RefSet};
use shard_core::history::revision::Revision;
use shard_core::history::show::ShowReport;
use shard_core::ids::{CommitId, TreeId};
use shard_core::object::{ObjectKind, ObjectSink};
use shard_core::repository::init::InitOptions;
use shard_core::repository::{Repository, Settings, Transaction};
use shard_core::tree::editor::{Node, TreeEditor};
use shard_core::tree::{Content, EntryType, Tree};
use shard_core::{Error, RepoPath};
use shard_crypto::{ActorId, SecretKey};
use shard_storage::vfs::{Real, Vfs};

/// A repository and what one needs to make history in it.
struct Fixture {
    place: tempfile::TempDir,
    repository: Repository,
}

/// A commit to be made: its parents by their place in the list, and the files it sets (`None` removes).
#[derive(Debug, Clone, Default)]
struct Plan {
    parents: Vec<usize>,
    files: Vec<(String, Option<String>)>,
    message: String,
    author: String,
    time_ms: u64,
}

fn plan(parents: &[usize], files: &[(&str, &str)]) -> Plan {
    let files = files.iter().map(|(path, text)| (path.to_string(), Some(text.to_string()))).collect();
    Plan { parents: parents.to_vec(), files, author: "Ana".to_owned(), ..Plan::default() }
}

fn path(text: &str) -> RepoPath {
    RepoPath::parse(text).unwrap()
}

fn name(text: &str) -> RefName {
    RefName::branch(text).unwrap()
}

fn rev(text: &str) -> Revision {
    text.parse().unwrap()
}

impl Fixture {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let vfs: Arc<dyn Vfs> = Arc::new(Real);
        let (repository, _) = Repository::init(vfs, place.path(), InitOptions::default(), Settings::default()).unwrap();
        let fixture = Self { place, repository };
        let state = fixture.repository.state().unwrap();
        let store = fixture.repository.store(&state).unwrap();
        let staging = fixture.repository.staging(&store);
        let mut writer = staging.writer();
        assert_eq!(Tree::default().write(&mut writer).unwrap(), Tree::empty_id());
        writer.finish().unwrap();
        let staged = staging.finish().unwrap();
        fixture.change(|transaction| transaction.add_objects(staged));
        fixture
    }

    fn reopen(&mut self) {
        self.repository = Repository::open(Arc::new(Real), self.place.path(), Settings::default()).unwrap();
    }

    /// Makes commits in one transaction and moves no ref.
    fn commit(&self, plans: &[Plan]) -> Vec<CommitId> {
        self.commit_as(plans, &self.repository.key().unwrap())
    }

    fn commit_as(&self, plans: &[Plan], key: &SecretKey) -> Vec<CommitId> {
        let state = self.repository.state().unwrap();
        let store = self.repository.store(&state).unwrap();
        let staging = self.repository.staging(&store);
        let mut writer = staging.writer();
        let mut contents: Vec<BTreeMap<String, String>> = Vec::new();
        let mut trees: Vec<TreeId> = Vec::new();
        for plan in plans {
            let mut files = plan.parents.first().map(|&at| contents[at].clone()).unwrap_or_default();
            for (file, text) in &plan.files {
                match text {
                    Some(text) => drop(files.insert(file.clone(), text.clone())),
                    None => files.retain(|path, _| !path.starts_with(file)),
                }
            }
            let mut editor = TreeEditor::new();
            for (file, text) in &files {
                let content = Content::Inline(text.as_bytes().into());
                editor.set(&path(file), Node { kind: EntryType::File, size: text.len() as u64, content });
            }
            trees.push(editor.apply(&store, Tree::empty_id(), &mut writer).unwrap());
            contents.push(files);
        }
        let mut made: Vec<(CommitId, u64)> = Vec::new();
        for (at, plan) in plans.iter().enumerate() {
            let depth = 1 + plan.parents.iter().map(|&parent| made[parent].1).max().unwrap_or(0);
            let commit = Commit {
                repository: self.repository.id(),
                tree: trees[at],
                parents: plan.parents.iter().map(|&parent| made[parent].0).collect(),
                actor: key.actor(),
                access_heads: Vec::new(),
                depth,
                time_ms: plan.time_ms,
                zone_minutes: 0,
                author: plan.author.clone(),
                message: if plan.message.is_empty() { format!("commit {at}") } else { plan.message.clone() },
                extensions: None,
                event_head: None,
                unknown: Vec::new(),
            };
            let id = writer.put(ObjectKind::Commit, &commit::sign(commit, key)).unwrap();
            made.push((CommitId(id), depth));
        }
        writer.finish().unwrap();
        let staged = staging.finish().unwrap();
        self.change(|transaction| transaction.add_objects(staged));
        made.into_iter().map(|(id, _)| id).collect()
    }

    fn change(&self, change: impl FnOnce(&mut Transaction<'_>)) {
        let permit = self.repository.write_permit("test").unwrap();
        let mut transaction = self.repository.transaction(&permit).unwrap();
        change(&mut transaction);
        transaction.commit().unwrap();
        drop(permit);
        self.repository.tidy();
    }

    fn set_branch(&self, name: &str, id: CommitId) {
        self.change(|transaction| transaction.set_branch(name, Some(id)));
    }

    /// Publishes names as somebody else, and returns as whom.
    fn peer(&self, seed: u8, heads: &[(&str, CommitId)]) -> ActorId {
        self.publish(&SecretKey::from_seed(&[seed; 32]), heads)
    }

    fn publish(&self, key: &SecretKey, heads: &[(&str, CommitId)]) -> ActorId {
        let heads = heads.iter().map(|(name, id)| (name.to_string(), *id)).collect();
        let names = RefNames { heads, tags: Default::default() };
        let set = RefSet::sign(self.repository.id(), names, None, false, key);
        self.change(|transaction| transaction.set_peer(&set));
        key.actor()
    }

    fn resolve(&self, text: &str) -> Result<CommitId, Error> {
        let state = self.repository.state().unwrap();
        let store = self.repository.store(&state).unwrap();
        self.repository.history(&state, &store).resolve(&text.parse()?)
    }

    fn log(&self, options: &LogOptions) -> (Vec<CommitId>, Option<LogCursor>) {
        let state = self.repository.state().unwrap();
        let store = self.repository.store(&state).unwrap();
        let page = self.repository.history(&state, &store).log_page(options).unwrap();
        (page.commits.into_iter().map(|logged| logged.id).collect(), page.next)
    }
}

/// ```text
/// 0 - 1 - 3 - 4   main     4 merges 3 and 2
///      \ 2 -/
/// ```
fn merged() -> (Fixture, Vec<CommitId>) {
    let fixture = Fixture::new();
    let made = fixture.commit(&[
        plan(&[], &[("a", "1"), ("dir/x", "x")]),
        plan(&[0], &[("a", "2")]),
        plan(&[1], &[("b", "from the side")]),
        plan(&[1], &[("dir/y", "y")]),
        plan(&[3, 2], &[("b", "from the side")]),
    ]);
    fixture.set_branch("main", made[4]);
    (fixture, made)
}

#[test]
fn revisions_name_what_the_table_says() {
    let (fixture, c) = merged();
    fixture.set_branch("feature/x", c[2]);
    fixture.change(|transaction| transaction.set_tag("v1", Some(c[1])));
    let ana = fixture.peer(7, &[("main", c[3]), ("topic/deep", c[0])]);
    let hex = |at: usize, digits: usize| c[at].to_string()[..digits].to_owned();
    let table = [
        ("HEAD".to_owned(), 4),
        ("@".to_owned(), 4),
        ("main".to_owned(), 4),
        ("heads/main".to_owned(), 4),
        ("refs/heads/feature/x".to_owned(), 2),
        ("feature/x".to_owned(), 2),
        ("v1".to_owned(), 1),
        ("tags/v1".to_owned(), 1),
        (hex(0, 64), 0),
        (hex(0, 12), 0),
        (hex(3, 9).to_uppercase(), 3),
        ("@~".to_owned(), 3),
        ("@^".to_owned(), 3),
        ("@^2".to_owned(), 2),
        ("@^0".to_owned(), 4),
        ("@~0".to_owned(), 4),
        ("main~2".to_owned(), 1),
        ("main~3".to_owned(), 0),
        ("main^2~2".to_owned(), 0),
        (format!("{}~1", hex(1, 10)), 0),
        (format!("{}/main", ana.short()), 3),
        (format!("{}/topic/deep", &ana.to_string()[..4]), 0),
        (format!("{ana}/main~1"), 1),
    ];
    for (text, at) in table {
        assert_eq!(fixture.resolve(&text).map_err(|error| error.to_string()), Ok(c[at]), "{text}");
    }
}

#[test]
fn what_is_not_there_says_why_and_offers_names_like_it() {
    let (fixture, c) = merged();
    fixture.set_branch("release", c[0]);
    let ana = fixture.peer(7, &[("topic", c[3])]);
    let not_found = |text: &str| match fixture.resolve(text).unwrap_err() {
        Error::RevisionNotFound { reason, suggestions, .. } => (reason, suggestions),
        other => panic!("{text}: {other}"),
    };
    assert_eq!(not_found("mian"), (None, vec!["main".to_owned()]));
    assert_eq!(not_found("relaese").1, ["release"]);
    assert_eq!(not_found("topic").1, [format!("{}/topic", ana.short())]);
    assert_eq!(not_found("heads/mian").1, ["heads/main"]);
    assert_eq!(not_found("@~9").0.as_deref(), Some("history has 4"));
    assert_eq!(not_found("@^3").0.unwrap(), format!("commit {} has 2 parents", &c[4].to_string()[..12]));
    assert_eq!(not_found("@~^2").0.unwrap(), format!("commit {} has 1 parent", &c[3].to_string()[..12]));
    assert_eq!(not_found(&"ab".repeat(32)), (None, vec![]));
    let state = fixture.repository.state().unwrap();
    let tree = commit::read(&fixture.repository.store(&state).unwrap(), c[0]).unwrap().tree;
    assert_eq!(not_found(&tree.to_string()).0.as_deref(), Some("it names a tree, not a commit"));
    assert!(matches!(fixture.resolve("main@{yesterday}"), Err(Error::Unsupported { .. })));
    assert!(matches!(fixture.resolve("main:a"), Err(Error::RevisionInvalid { .. })));
}

#[test]
fn an_unborn_branch_is_legal_and_says_so() {
    let fixture = Fixture::new();
    for text in ["HEAD", "main", "heads/main", "@~2"] {
        let error = fixture.resolve(text).unwrap_err().to_string();
        assert!(error.ends_with("branch `main` has no commit yet"), "{error}");
    }
    assert_eq!(fixture.log(&LogOptions::default()), (vec![], None));
    let state = fixture.repository.state().unwrap();
    let store = fixture.repository.store(&state).unwrap();
    let branches = fixture.repository.history(&state, &store).branches();
    assert_eq!(branches.len(), 1);
    assert!(branches[0].current && branches[0].target.is_none() && branches[0].name == "main");
}

#[test]
fn ambiguity_lists_its_candidates() {
    let fixture = Fixture::new();
    // Enough commits that two begin with the same four digits, all but the first tips of their own.
    let plans: Vec<Plan> = (0..2000).map(|at: usize| plan(if at == 0 { &[][..] } else { &[0][..] }, &[])).collect();
    let made = fixture.commit(&plans);
    fixture.change(|transaction| {
        for (at, id) in made.iter().enumerate() {
            transaction.set_branch(&format!("local/{at}"), Some(*id));
        }
    });
    let mut seen = BTreeSet::new();
    let prefix = made.iter().map(|id| id.to_string()[..4].to_owned()).find(|prefix| !seen.insert(prefix.clone()));
    let prefix = prefix.expect("2,000 of 65,536 prefixes are not all different");
    let Err(Error::RevisionAmbiguous { candidates, .. }) = fixture.resolve(&prefix) else {
        panic!("{prefix} is ambiguous")
    };
    assert!(candidates.len() >= 2 && candidates.iter().all(|id| id.starts_with(&prefix)), "{candidates:?}");

    fixture.change(|transaction| transaction.set_tag("local/7", Some(made[8])));
    match fixture.resolve("local/7") {
        Err(Error::RevisionAmbiguous { candidates, .. }) => {
            assert_eq!(candidates, ["heads/local/7", "tags/local/7"]);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fixture.resolve("heads/local/7").unwrap(), made[7]);
    assert_eq!(fixture.resolve("tags/local/7").unwrap(), made[8]);
}

#[test]
fn peers_whose_ids_begin_alike_are_told_apart() {
    let (fixture, c) = merged();
    let mut seen = BTreeMap::new();
    let alike = (0..10_000u32).find_map(|number| {
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        let key = SecretKey::from_seed(&seed);
        let prefix = key.actor().to_string()[..4].to_owned();
        Some((seen.insert(prefix.clone(), seed)?, seed, prefix))
    });
    let (one, other, prefix) = alike.expect("10,000 of 65,536 prefixes are not all different");
    let one = fixture.publish(&SecretKey::from_seed(&one), &[("main", c[3]), ("only", c[1])]);
    let other = fixture.publish(&SecretKey::from_seed(&other), &[("main", c[2])]);
    match fixture.resolve(&format!("{prefix}/main")) {
        Err(Error::RevisionAmbiguous { mut candidates, .. }) => {
            let mut names = [format!("{}/main", one.short()), format!("{}/main", other.short())];
            names.sort();
            candidates.sort();
            assert_eq!(candidates, names);
        }
        found => panic!("{found:?}"),
    }
    assert_eq!(fixture.resolve(&format!("{}/main", other.short())).unwrap(), c[2]);
    assert_eq!(fixture.resolve(&format!("{prefix}/only")).unwrap(), c[1], "only one of both has it");
    assert!(matches!(fixture.resolve(&format!("{}/main", &prefix[..3])), Err(Error::RevisionNotFound { .. })));
}

#[test]
fn a_prefix_finds_only_what_a_ref_reaches() {
    let (fixture, c) = merged();
    let lost = fixture.commit(&[plan(&[], &[("lost", "1")])])[0];
    assert!(matches!(fixture.resolve(&lost.to_string()[..16]), Err(Error::RevisionNotFound { .. })));
    assert_eq!(fixture.resolve(&lost.to_string()).unwrap(), lost, "a whole id needs no ref");
    fixture.change(|transaction| transaction.set_head(Head::Detached(lost)));
    assert_eq!(fixture.resolve(&lost.to_string()[..16]).unwrap(), lost);
    assert_eq!(fixture.resolve(&c[0].to_string()[..16]).unwrap(), c[0]);
}

#[test]
fn a_path_in_a_commit_is_found_or_its_neighbours_are_named() {
    let (fixture, c) = merged();
    let state = fixture.repository.state().unwrap();
    let store = fixture.repository.store(&state).unwrap();
    let history = fixture.repository.history(&state, &store);
    let found = history.resolve_path(&rev("main~2:a")).unwrap();
    assert_eq!((found.commit, found.node.content), (c[1], Content::Inline(b"2"[..].into())));
    let root = history.resolve_path(&rev("main:")).unwrap();
    assert_eq!((root.path.is_root(), root.node.kind, root.node.size), (true, EntryType::Directory, 16));
    match history.resolve_path(&rev("main:dir/z")).unwrap_err() {
        Error::RevisionNotFound { suggestions, reason, .. } => {
            assert_eq!(reason.as_deref(), Some("nothing lies at `dir/z` in it"));
            assert_eq!(suggestions, ["main:dir/x", "main:dir/y"]);
        }
        other => panic!("{other}"),
    }
    let ShowReport::Path(shown) = history.show(&rev("main:dir")).unwrap() else { panic!("a path is shown") };
    assert_eq!(shown.entries.iter().map(|entry| &*entry.name).collect::<Vec<_>>(), ["x", "y"]);
    let ShowReport::Path(shown) = history.show(&rev("main:b")).unwrap() else { panic!("a path is shown") };
    assert_eq!(shown.text.as_deref(), Some("from the side"));
    let ShowReport::Commit(shown) = history.show(&rev("main~1")).unwrap() else { panic!("a commit is shown") };
    let changes: Vec<_> = shown.changes.unwrap().into_iter().map(|change| change.path.to_string()).collect();
    assert_eq!((shown.id, changes, shown.trust), (c[3], vec!["dir/y".to_owned()], Trust::Good));
}

#[test]
fn ranges_take_what_one_side_reaches_or_exactly_one_does() {
    let (fixture, c) = merged();
    let log = |range: &str| {
        let (ids, _) = fixture.log(&LogOptions { range: Some(range.parse().unwrap()), ..LogOptions::default() });
        ids.into_iter().collect::<BTreeSet<_>>()
    };
    let side = c[2];
    fixture.set_branch("side", side);
    assert_eq!(log("side..main"), BTreeSet::from([c[3], c[4]]));
    assert_eq!(log("main..side"), BTreeSet::new());
    assert_eq!(log("main~1...side"), BTreeSet::from([c[3], c[2]]));
    assert_eq!(log("@~2"), BTreeSet::from([c[0], c[1]]));
    assert_eq!(log("..side"), BTreeSet::new());
}

#[test]
fn the_log_is_newest_first_and_marks_trust_and_names() {
    let (fixture, c) = merged();
    let stranger = SecretKey::from_seed(&[9; 32]);
    let theirs = fixture.commit_as(&[plan(&[], &[("s", "1")])], &stranger)[0];
    fixture.set_branch("theirs", theirs);
    let ana = fixture.peer(7, &[("main", c[4])]);
    fixture.change(|transaction| transaction.set_tag("v1", Some(c[4])));
    let state = fixture.repository.state().unwrap();
    let store = fixture.repository.store(&state).unwrap();
    let history = fixture.repository.history(&state, &store);
    let page = history.log_page(&LogOptions { changes: true, ..LogOptions::default() }).unwrap();
    let mut middle = [c[2], c[3]];
    middle.sort();
    let ids: Vec<_> = page.commits.iter().map(|logged| logged.id).collect();
    assert_eq!(ids, [c[4], middle[0], middle[1], c[1], c[0]]);
    assert_eq!(page.commits[0].refs, ["main".to_owned(), "v1".to_owned(), format!("{}/main", ana.short())]);
    assert!(page.commits.iter().all(|logged| logged.trust == Trust::Good));
    let paths = |at: usize| -> Vec<String> {
        page.commits[at].changes.as_ref().unwrap().iter().map(|change| change.path.to_string()).collect()
    };
    assert_eq!((paths(0), paths(4)), (vec!["b".to_owned()], vec!["a".to_owned(), "dir/x".to_owned()]));
    let range = Some("theirs".parse().unwrap());
    let page = history.log_page(&LogOptions { range, ..LogOptions::default() }).unwrap();
    assert_eq!(page.commits[0].trust, Trust::NotAllowed);
}

#[test]
fn the_log_of_a_path_shows_what_differs_from_every_parent() {
    let (fixture, c) = merged();
    let log = |paths: &[&str]| {
        let paths = paths.iter().map(|text| path(text)).collect();
        fixture.log(&LogOptions { paths, ..LogOptions::default() }).0.into_iter().collect::<BTreeSet<_>>()
    };
    assert_eq!(log(&["a"]), BTreeSet::from([c[0], c[1]]));
    // The merge took `b` as one parent has it.
    assert_eq!(log(&["b"]), BTreeSet::from([c[2]]));
    assert_eq!(log(&["dir"]), BTreeSet::from([c[0], c[3]]));
    assert_eq!(log(&["dir", "b"]), BTreeSet::from([c[0], c[2], c[3], c[4]]), "of both it differs from each parent");
    assert_eq!(log(&["nowhere"]), BTreeSet::new());
    let removed = Plan { parents: vec![0], files: vec![("dir".to_owned(), None)], ..Plan::default() };
    let made = fixture.commit(&[plan(&[], &[("dir/x", "1"), ("k", "1")]), removed, plan(&[1], &[("dir/x", "1")])]);
    fixture.set_branch("main", made[2]);
    assert_eq!(log(&["dir/x"]), made.iter().copied().collect(), "gone and back again");
}

#[test]
fn the_log_filters_by_author_and_time() {
    let fixture = Fixture::new();
    let by = |author: &str, time_ms: u64, parents: &[usize]| Plan {
        author: author.to_owned(),
        time_ms,
        parents: parents.to_vec(),
        ..Plan::default()
    };
    let c = fixture.commit(&[by("Ana Ø", 10, &[]), by("Bo", 5, &[0]), by("ana ø", 20, &[1])]);
    fixture.set_branch("main", c[2]);
    let author = Some("ANA Ø".to_owned());
    assert_eq!(fixture.log(&LogOptions { author, ..LogOptions::default() }).0, [c[2], c[0]]);
    // A clock that went back hides nothing behind it.
    let since_ms = Some(10);
    assert_eq!(fixture.log(&LogOptions { since_ms, ..LogOptions::default() }).0, [c[2], c[0]]);
}

#[test]
fn a_commit_whose_depth_lies_is_found_out() {
    let (fixture, c) = merged();
    let state = fixture.repository.state().unwrap();
    let store = fixture.repository.store(&state).unwrap();
    let tip = commit::read(&store, c[4]).unwrap();
    let staging = fixture.repository.staging(&store);
    let mut writer = staging.writer();
    let lie = Commit { parents: vec![c[4]], depth: tip.depth + 7, ..tip };
    let id = CommitId(writer.put(ObjectKind::Commit, &commit::sign(lie, &fixture.repository.key().unwrap())).unwrap());
    writer.finish().unwrap();
    let staged = staging.finish().unwrap();
    fixture.change(|transaction| {
        transaction.add_objects(staged);
        transaction.set_branch("lie", Some(id));
    });
    let state = fixture.repository.state().unwrap();
    let store = fixture.repository.store(&state).unwrap();
    let dag = fixture.repository.history(&state, &store).dag();
    let walked: Vec<_> = dag.walk([id]).unwrap().collect();
    assert!(matches!(&walked[..], [Err(Error::ObjectCorrupt { .. })]), "{walked:?}");
    assert!(dag.is_ancestor(c[0], id).is_err());
}

#[test]
fn branches_survive_reopening_and_keep_their_slashes() {
    let (mut fixture, c) = merged();
    let update = fixture.repository.create_branch(&name("feature/x"), &rev("main~1")).unwrap();
    assert_eq!(update, RefUpdate { name: "feature/x".to_owned(), old: None, new: Some(c[3]) });
    fixture.repository.create_branch(&name("feature/deep/er"), &rev("feature/x~1")).unwrap();
    fixture.reopen();
    let state = fixture.repository.state().unwrap();
    assert_eq!(state.heads.keys().collect::<Vec<_>>(), ["feature/deep/er", "feature/x", "main"]);
    let store = fixture.repository.store(&state).unwrap();
    let branches = fixture.repository.history(&state, &store).branches();
    assert_eq!(branches.iter().map(|info| info.current).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!((branches[0].target, branches[0].trust), (Some(c[1]), Some(Trust::Good)));
    assert_eq!(branches[0].subject, "commit 1");

    let update = fixture.repository.delete_branch("feature/x").unwrap();
    assert_eq!(update, RefUpdate { name: "feature/x".to_owned(), old: Some(c[3]), new: None });
    fixture.repository.create_branch(&name("feature/x"), &rev(&c[3].to_string())).unwrap();
    fixture.reopen();
    assert_eq!(fixture.resolve("feature/x").unwrap(), c[3], "what was deleted can be made again");
}

#[test]
fn names_that_cannot_stand_beside_each_other_are_refused() {
    let (fixture, _) = merged();
    let repository = &fixture.repository;
    repository.create_branch(&name("a/b"), &rev("@")).unwrap();
    let create = |text: &str| repository.create_branch(&name(text), &rev("@")).unwrap_err();
    assert!(matches!(create("main"), Error::BranchExists { name } if name == "main"));
    assert!(matches!(create("MAIN"), Error::BranchExists { name } if name == "main"));
    for nested in ["a", "A", "a/b/c", "main/x"] {
        assert!(matches!(create(nested), Error::ValueInvalid { .. }), "{nested}");
    }
    assert!(matches!(repository.create_branch(&name("new"), &rev("nowhere")), Err(Error::RevisionNotFound { .. })));
    assert!(matches!(repository.delete_branch("main"), Err(Error::BranchCheckedOut { .. })), "HEAD stands there");
    match repository.delete_branch("a/c") {
        Err(Error::BranchNotFound { suggestions, .. }) => assert_eq!(suggestions, ["a/b"]),
        other => panic!("{other:?}"),
    }
    assert!(matches!(repository.rename_branch("a/b", &name("main")), Err(Error::BranchExists { .. })));
    let state = repository.state().unwrap();
    assert_eq!(state.heads.keys().collect::<Vec<_>>(), ["a/b", "main"]);
}

#[test]
fn names_beyond_what_can_be_published_are_refused_before_they_are_made() {
    // 4,096 names, or 512 KiB of longer ones.
    for (count, pad) in [(4095, 1), (2377, 176)] {
        let (fixture, c) = merged();
        let long = |number: usize| format!("{number:04}{}", "x".repeat(pad));
        fixture.change(|transaction| {
            transaction.set_head(Head::Branch(long(0)));
            transaction.set_branch("main", None);
            transaction.set_branch(&long(0), Some(c[0]));
        });
        // One record does not take them all.
        for numbers in (1..count).collect::<Vec<_>>().chunks(1000) {
            fixture.change(|transaction| {
                numbers.iter().for_each(|number| transaction.set_branch(&long(*number), Some(c[0])));
            });
        }
        let repository = &fixture.repository;
        repository.create_branch(&name(&long(count)), &rev("@")).unwrap();
        let refused = repository.create_branch(&name(&long(count + 1)), &rev("@"));
        assert!(matches!(refused, Err(Error::ValueInvalid { .. })), "{refused:?}");
        let tag = repository.create_tag(&name(&long(count + 1)), &rev("@"), false);
        assert!(matches!(tag, Err(Error::ValueInvalid { .. })), "{tag:?}");
        repository.create_branch(&name("local/free"), &rev("@")).unwrap();
        repository.delete_branch(&long(1)).unwrap();
        repository.create_branch(&name(&long(1)), &rev("@")).unwrap();
    }
}

#[test]
fn an_unborn_branch_occupies_its_name() {
    let fixture = Fixture::new();
    let id = fixture.commit(&[plan(&[], &[("a", "1")])])[0].to_string();
    assert!(matches!(fixture.repository.create_branch(&name("main/x"), &rev(&id)), Err(Error::ValueInvalid { .. })));
    assert!(matches!(fixture.repository.create_branch(&name("Main"), &rev(&id)), Err(Error::BranchExists { .. })));
    fixture.repository.rename_branch("main", &name("trunk")).unwrap();
    assert_eq!(fixture.repository.state().unwrap().head, Head::Branch("trunk".to_owned()));
    fixture.repository.create_branch(&name("main/x"), &rev(&id)).unwrap();
}

#[test]
fn a_renamed_branch_takes_head_and_upstream_along() {
    let (mut fixture, c) = merged();
    let ana = fixture.peer(7, &[("main", c[3])]);
    let upstream = format!("{}/main", ana.short());
    let recorded = fixture.repository.set_branch_upstream("main", Some(&upstream)).unwrap();
    assert_eq!(recorded, Some(format!("{ana}/main")));
    // Into a directory that has the old name, back out of it, and to other letters.
    for (from, to) in [("main", "main/line"), ("main/line", "main"), ("main", "Main"), ("Main", "trunk")] {
        let [new, old] = fixture.repository.rename_branch(from, &name(to)).unwrap();
        assert_eq!((new.new, old.old, old.new), (Some(c[4]), Some(c[4]), None));
        fixture.reopen();
        let state = fixture.repository.state().unwrap();
        assert_eq!((state.branch(), state.head_commit()), (Some(to), Some(c[4])));
        assert_eq!(state.heads.len(), 1);
        let store = fixture.repository.store(&state).unwrap();
        let branches = fixture.repository.history(&state, &store).branches();
        assert_eq!(branches[0].upstream.as_ref(), Some(&upstream));
        assert_eq!(branches[0].ahead_behind, Some((2, 0)));
    }
    assert_eq!(fixture.repository.set_branch_upstream("trunk", None).unwrap(), None);
    assert!(fixture.repository.state().unwrap().upstreams.is_empty());
    let missing = fixture.repository.set_branch_upstream("trunk", Some(&format!("{}/mian", ana.short())));
    match missing {
        Err(Error::RevisionNotFound { suggestions, .. }) => assert_eq!(suggestions, [upstream]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rename_into_a_directory_of_the_old_name_survives_a_lost_applied() {
    let (mut fixture, c) = merged();
    fixture.repository.rename_branch("main", &name("main/line")).unwrap();
    // As after a power loss: nothing says how far the log is applied.
    std::fs::write(fixture.place.path().join(".shard/applied"), b"").unwrap();
    fixture.reopen();
    fixture.repository.create_branch(&name("other"), &rev("main/line")).unwrap();
    let state = fixture.repository.state().unwrap();
    assert_eq!(state.heads.keys().collect::<Vec<_>>(), ["main/line", "other"]);
    assert_eq!(state.head_commit(), Some(c[4]));
}

#[test]
fn tags_stay_unless_forced_and_work_as_revisions() {
    let (mut fixture, c) = merged();
    let tag = |text: &str| RefName::tag(text).unwrap();
    fixture.repository.create_tag(&tag("v1.0"), &rev("@~2"), false).unwrap();
    fixture.repository.create_tag(&tag("release/1"), &rev("@"), false).unwrap();
    fixture.reopen();
    assert_eq!(fixture.resolve("v1.0").unwrap(), c[1]);
    assert_eq!(fixture.resolve("release/1").unwrap(), c[4]);
    let again = fixture.repository.create_tag(&tag("v1.0"), &rev("@"), false);
    assert!(matches!(again, Err(Error::TagExists { name }) if name == "v1.0"));
    let moved = fixture.repository.create_tag(&tag("v1.0"), &rev("@"), true).unwrap();
    assert_eq!((moved.old, moved.new), (Some(c[1]), Some(c[4])));
    let folded = fixture.repository.create_tag(&tag("V1.0"), &rev("@"), true);
    assert!(matches!(folded, Err(Error::TagExists { .. })), "forcing moves a tag, and none is called so");
    let nested = fixture.repository.create_tag(&tag("v1.0/x"), &rev("@"), true);
    assert!(matches!(nested, Err(Error::ValueInvalid { .. })));
    let removed = fixture.repository.delete_tag("v1.0").unwrap();
    assert_eq!((removed.old, removed.new), (Some(c[4]), None));
    match fixture.repository.delete_tag("release/2") {
        Err(Error::TagNotFound { suggestions, .. }) => assert_eq!(suggestions, ["release/1"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tags_json_goes_out_and_comes_back() {
    let (fixture, c) = merged();
    let repository = &fixture.repository;
    repository.create_tag(&RefName::tag("v1").unwrap(), &rev("@~1"), false).unwrap();
    repository.create_tag(&RefName::tag("release/2").unwrap(), &rev("@"), false).unwrap();
    let exported = {
        let state = repository.state().unwrap();
        let store = repository.store(&state).unwrap();
        repository.history(&state, &store).export_tags()
    };
    assert_eq!(exported, format!("{{\n  \"release/2\": \"{}\",\n  \"v1\": \"{}\"\n}}\n", c[4], c[3]));
    repository.delete_tag("v1").unwrap();
    let report = repository.import_tags(exported.as_bytes(), false).unwrap();
    assert_eq!((report.imported.len(), report.unchanged, report.skipped.len()), (1, 1, 0));
    assert_eq!(fixture.resolve("v1").unwrap(), c[3]);
}

#[test]
fn importing_tags_leaves_out_what_cannot_be_taken() {
    let (fixture, c) = merged();
    let repository = &fixture.repository;
    repository.create_tag(&RefName::tag("kept").unwrap(), &rev("@"), false).unwrap();
    let json = serde_json::json!({
        "good": c[0].to_string(),
        "object": {"commit": c[1].to_string().to_uppercase()},
        "kept": c[0].to_string(),
        "good/nested": c[0].to_string(),
        "GOOD": c[0].to_string(),
        "../../escape": c[0].to_string(),
        "absent": "ab".repeat(32),
        "short": "abcd",
        "number": 7,
    });
    let report = repository.import_tags(json.to_string().as_bytes(), false).unwrap();
    let imported: Vec<_> = report.imported.iter().map(|update| update.name.as_str()).collect();
    assert_eq!(imported, ["good", "object"]);
    let mut skipped: Vec<_> = report.skipped.iter().map(|(name, _)| name.as_str()).collect();
    skipped.sort_unstable();
    assert_eq!(skipped, ["../../escape", "GOOD", "absent", "good/nested", "kept", "number", "short"]);
    assert_eq!(repository.state().unwrap().tags["kept"], c[4]);
    let report = repository.import_tags(format!("{{\"kept\": \"{}\"}}", c[0]).as_bytes(), true).unwrap();
    assert_eq!(report.imported, [RefUpdate { name: "kept".to_owned(), old: Some(c[4]), new: Some(c[0]) }]);
    for broken in ["", "[]", "{\"a\":", "7", &"[".repeat(10_000)] {
        assert!(matches!(repository.import_tags(broken.as_bytes(), true), Err(Error::ValueInvalid { .. })), "{broken}");
    }
}

#[test]
fn head_survives_reopening_in_every_form() {
    let (mut fixture, c) = merged();
    assert_eq!(fixture.repository.state().unwrap().head_commit(), Some(c[4]));
    fixture.change(|transaction| transaction.set_head(Head::Detached(c[1])));
    fixture.reopen();
    let state = fixture.repository.state().unwrap();
    assert_eq!((state.branch(), state.head_commit()), (None, Some(c[1])));
    assert_eq!(fixture.resolve("@").unwrap(), c[1]);
    fixture.change(|transaction| transaction.set_head(Head::Branch("unborn/x".to_owned())));
    fixture.reopen();
    let state = fixture.repository.state().unwrap();
    assert_eq!((state.branch(), state.head_commit()), (Some("unborn/x"), None));
    assert!(fixture.resolve("@").is_err());
}

#[test]
fn a_prefix_is_found_among_ten_thousand_commits() {
    let fixture = Fixture::new();
    let plans: Vec<Plan> =
        (0..10_000).map(|at: usize| plan(&at.checked_sub(1).into_iter().collect::<Vec<_>>(), &[])).collect();
    let made = fixture.commit(&plans);
    fixture.set_branch("main", made[9_999]);
    for at in [0, 5_000, 9_999] {
        assert_eq!(fixture.resolve(&made[at].to_string()[..12]).unwrap(), made[at]);
    }
}

/// What each commit reaches, itself included, by brute force.
fn reached(plans: &[Plan]) -> Vec<BTreeSet<usize>> {
    let mut all: Vec<BTreeSet<usize>> = Vec::new();
    for (at, plan) in plans.iter().enumerate() {
        let mut set = BTreeSet::from([at]);
        plan.parents.iter().for_each(|&parent| set.extend(&all[parent]));
        all.push(set);
    }
    all
}

/// A history of up to 24 commits with up to three parents each.
fn histories() -> impl Strategy<Value = Vec<Plan>> {
    let parents = prop::collection::vec(any::<prop::sample::Index>(), 0..=3);
    prop::collection::vec((parents, prop::option::of(0..4u8)), 1..24).prop_map(|drawn| {
        (drawn.into_iter().enumerate())
            .map(|(at, (parents, file))| {
                let mut parents: Vec<usize> =
                    if at == 0 { vec![] } else { parents.iter().map(|p| p.index(at)).collect() };
                parents.sort_unstable();
                parents.dedup();
                let message = format!("number {at}");
                let files = file.map(|file| (format!("f{}", file % 2), Some(format!("{file}")))).into_iter().collect();
                Plan { parents, files, message, ..Plan::default() }
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn walks_reach_what_brute_force_does(plans in histories(), a: prop::sample::Index, b: prop::sample::Index) {
        let plans: Vec<Plan> = plans.into_iter().map(|plan| Plan { files: vec![], ..plan }).collect();
        let fixture = Fixture::new();
        let made = fixture.commit(&plans);
        let reached = reached(&plans);
        let (a, b) = (a.index(made.len()), b.index(made.len()));
        let ids = |set: &BTreeSet<usize>| set.iter().map(|&at| made[at]).collect::<BTreeSet<_>>();
        let state = fixture.repository.state().unwrap();
        let store = fixture.repository.store(&state).unwrap();
        let dag = fixture.repository.history(&state, &store).dag();
        let walk: Vec<_> = dag.walk([made[a]]).unwrap().map(|walked| walked.unwrap()).collect();
        let order: Vec<_> = walk.iter().map(|walked| (u64::MAX - walked.commit.claimed().depth, walked.id)).collect();
        prop_assert!(order.is_sorted_by(|a, b| a < b), "depth, then id, each once");
        prop_assert_eq!(walk.iter().map(|walked| walked.id).collect::<BTreeSet<_>>(), ids(&reached[a]));
        let without: BTreeSet<_> = dag.walk_without([made[a]], [made[b]]).unwrap().map(|walked| walked.unwrap().id).collect();
        prop_assert_eq!(without, ids(&(&reached[a] - &reached[b])));
        let difference: BTreeSet<_> = (dag.walk_difference([made[a]], [made[b]]).unwrap())
            .map(|walked| walked.unwrap())
            .map(|walked| (walked.id, walked.side == Side::Ours))
            .collect();
        let ours = ids(&(&reached[a] - &reached[b])).into_iter().map(|id| (id, true));
        let theirs = ids(&(&reached[b] - &reached[a])).into_iter().map(|id| (id, false));
        prop_assert_eq!(difference, ours.chain(theirs).collect::<BTreeSet<_>>());
        let counts = ((&reached[a] - &reached[b]).len() as u64, (&reached[b] - &reached[a]).len() as u64);
        prop_assert_eq!(dag.ahead_behind(made[a], made[b]).unwrap(), counts);
        prop_assert_eq!(dag.is_ancestor(made[a], made[b]).unwrap(), reached[b].contains(&a));
        let mut visited = Vec::new();
        dag.visit_ids([made[a], made[b], made[a]], &mut |id| {
            visited.push(id);
            Ok(())
        }).unwrap();
        prop_assert_eq!(visited.len(), (&reached[a] | &reached[b]).len());
    }

    #[test]
    fn pages_concatenate_to_the_whole_log(plans in histories(), limit in 1..6usize, filtered: bool) {
        let fixture = Fixture::new();
        let made = fixture.commit(&plans);
        fixture.set_branch("main", *made.last().unwrap());
        let paths = if filtered { vec![path("f0")] } else { vec![] };
        let (whole, none) = fixture.log(&LogOptions { paths: paths.clone(), ..LogOptions::default() });
        prop_assert_eq!(none, None);
        let (mut joined, mut after) = (Vec::new(), None);
        loop {
            let (page, next) = fixture.log(&LogOptions { paths: paths.clone(), limit: Some(limit), after, ..LogOptions::default() });
            prop_assert!(page.len() == limit || next.is_none());
            joined.extend(page);
            let Some(next) = next else { break };
            prop_assert_eq!(next.to_string().parse::<LogCursor>().unwrap(), next);
            after = Some(next);
        }
        prop_assert_eq!(joined, whole);
    }
}
