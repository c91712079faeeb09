use std::collections::BTreeMap;
use std::path::Component;

use proptest::prelude::*;

use super::*;

fn path(text: &str) -> RepoPath {
    RepoPath::parse(text).unwrap()
}

fn problem(text: &[u8]) -> Option<PathProblem> {
    RepoPath::check(text).err()
}

/// Names that some system takes for a directory it must not write into, or for a way out of the tree.
const HOSTILE: &[(&str, PathProblem)] = &[
    ("", PathProblem::Empty),
    (".", PathProblem::Dots),
    ("..", PathProblem::Dots),
    ("\0", PathProblem::Separator),
    ("a\0b", PathProblem::Separator),
    (".git", PathProblem::Reserved),
    (".GIT", PathProblem::Reserved),
    (".Git", PathProblem::Reserved),
    (".gIt.", PathProblem::Reserved),
    (".git ", PathProblem::Reserved),
    (".git...", PathProblem::Reserved),
    (".git . . ", PathProblem::Reserved),
    (".git::$INDEX_ALLOCATION", PathProblem::Reserved),
    (".git:stream", PathProblem::Reserved),
    (".git .:x", PathProblem::Reserved),
    (".git\\config", PathProblem::Reserved),
    (".git\\", PathProblem::Reserved),
    ("a\\.git\\hooks", PathProblem::Reserved),
    ("git~1", PathProblem::Reserved),
    ("GIT~1", PathProblem::Reserved),
    ("Git~1 .", PathProblem::Reserved),
    ("GIT~1\\config", PathProblem::Reserved),
    (".shard", PathProblem::Reserved),
    (".SHARD", PathProblem::Reserved),
    (".sHaRd. .", PathProblem::Reserved),
    ("shard~1", PathProblem::Reserved),
    ("SHARD~1", PathProblem::Reserved),
    (".shard::$DATA", PathProblem::Reserved),
    // Code points HFS+ skips, before, within and after.
    (".g\u{200c}it", PathProblem::Reserved),
    (".gi\u{200d}t", PathProblem::Reserved),
    ("\u{200e}.git", PathProblem::Reserved),
    (".git\u{200f}", PathProblem::Reserved),
    (".g\u{202a}it", PathProblem::Reserved),
    (".g\u{202b}it", PathProblem::Reserved),
    (".g\u{202c}it", PathProblem::Reserved),
    (".g\u{202d}it", PathProblem::Reserved),
    (".g\u{202e}it", PathProblem::Reserved),
    (".g\u{206a}it", PathProblem::Reserved),
    (".g\u{206b}it", PathProblem::Reserved),
    (".g\u{206c}it", PathProblem::Reserved),
    (".g\u{206d}it", PathProblem::Reserved),
    (".g\u{206e}it", PathProblem::Reserved),
    (".g\u{206f}it", PathProblem::Reserved),
    (".\u{feff}git", PathProblem::Reserved),
    (".\u{feff}S\u{200c}H\u{200d}ard\u{feff}", PathProblem::Reserved),
    (".G\u{200c}IT\u{200d} .", PathProblem::Reserved),
    // Letters that some rule folds to ASCII ones: the long s, the dotless i.
    (".g\u{131}t", PathProblem::Reserved),
    (".\u{17f}hard", PathProblem::Reserved),
    ("\u{17f}hard~1", PathProblem::Reserved),
    (".shard-tmp-", PathProblem::Temporary),
    (".shard-tmp-1a2b", PathProblem::Temporary),
    (".SHARD-tmp-x", PathProblem::Temporary),
    (".sha\u{200c}rd-tmp-x", PathProblem::Temporary),
];

/// Names that look dangerous and are files like others.
const HARMLESS: &[&str] = &[
    "...",
    "....",
    " ",
    "-",
    "-rf",
    "~",
    "a\\b",
    "C:",
    "c:\\windows",
    "CON",
    "nul.txt",
    "LPT1",
    "aux",
    "a:b",
    "new\nline",
    "\u{1b}[31m",
    "\u{202e}gnp.exe",
    ".gitignore",
    ".gitmodules",
    ".gitattributes",
    ".github",
    ".git-",
    ".gitx",
    "git",
    "git~2",
    "git~10",
    "x.git",
    " .git",
    ".shardignore",
    ".shards",
    ".shard-tmp",
    "shard",
    "shard~2",
    ".g\u{130}t",
    "\u{fffd}",
    "na\u{ef}ve",
    "水",
];

#[test]
fn hostile_names_are_refused_as_leaf_and_as_directory() {
    for &(name, why) in HOSTILE {
        assert_eq!(validate_component(name.as_bytes()), Err(why), "{name:?}");
        assert_eq!(problem(name.as_bytes()), Some(why), "{name:?}");
        for nested in [format!("a/{name}"), format!("{name}/a"), format!("a/{name}/b")] {
            assert_eq!(problem(nested.as_bytes()), Some(why), "{nested:?}");
        }
        assert!(path("a").join(name).is_err(), "{name:?}");
    }
}

#[test]
fn harmless_names_are_kept_byte_for_byte() {
    for &name in HARMLESS {
        assert_eq!(validate_component(name.as_bytes()), Ok(name));
        assert_eq!(path("a").join(name).unwrap().name(), Some(name));
        assert_eq!(path(&format!("{name}/{name}")).to_string(), format!("{name}/{name}"));
    }
}

#[test]
fn malformed_paths_say_why() {
    for (text, why) in [
        (&b"/"[..], PathProblem::Empty),
        (b"/etc/passwd", PathProblem::Empty),
        (b"a/", PathProblem::Empty),
        (b"a//b", PathProblem::Empty),
        (b"../a", PathProblem::Dots),
        (b"a/../b", PathProblem::Dots),
        (b"a/./b", PathProblem::Dots),
        (b"a\xff", PathProblem::NotUtf8),
        (b"\xc0\xae\xc0\xae/a", PathProblem::NotUtf8),
        (b"\xed\xa0\x80", PathProblem::NotUtf8),
    ] {
        assert_eq!(problem(text), Some(why), "{text:?}");
    }
    assert_eq!(validate_component(b"a/b"), Err(PathProblem::Separator));
    let refused = RepoPath::parse_bytes(b"a/../\xff").unwrap_err();
    assert_eq!(refused.to_string(), "path `a/../\u{fffd}`: `.` and `..` are not names");
    let refused = path("a").join("..").unwrap_err();
    assert_eq!(refused.to_string(), "path `a/..`: `.` and `..` are not names");
}

#[test]
fn lengths_are_taken_at_their_limit_and_refused_beyond() {
    let longest = "x".repeat(MAX_COMPONENT);
    assert_eq!(problem(longest.as_bytes()), None);
    assert_eq!(problem(format!("{longest}x").as_bytes()), Some(PathProblem::ComponentTooLong));
    // Bytes count, not letters.
    assert_eq!(problem("é".repeat(128).as_bytes()), Some(PathProblem::ComponentTooLong));

    let deepest = vec!["x"; MAX_COMPONENTS].join("/");
    assert_eq!(path(&deepest).depth(), MAX_COMPONENTS);
    assert_eq!(problem(format!("{deepest}/x").as_bytes()), Some(PathProblem::TooDeep));
    assert!(path(&deepest).join("x").is_err());
    assert!(path(&deepest).join_path(&path("x")).is_err());

    let long = vec![longest.as_str(); 16].join("/");
    assert_eq!(long.len(), MAX_PATH - 1);
    assert_eq!(problem(long.as_bytes()), None);
    assert_eq!(problem(format!("{long}/x").as_bytes()), Some(PathProblem::TooLong));
    assert!(path(&long).join("x").is_err());
}

#[test]
fn prefixes_are_whole_components() {
    assert!(path("a/b").starts_with(&path("a")));
    assert!(path("a/b").starts_with(&path("a/b")));
    assert!(path("a").starts_with(&RepoPath::root()));
    assert!(!path("ab").starts_with(&path("a")));
    assert!(!path("a").starts_with(&path("a/b")));
    assert_eq!(path("a/b/c").strip_prefix(&path("a")), Some(path("b/c")));
    assert_eq!(path("a").strip_prefix(&path("a")), Some(RepoPath::root()));
    assert_eq!(path("ab").strip_prefix(&path("a")), None);
}

#[test]
fn the_root_has_no_components() {
    let root = RepoPath::root();
    assert!(root.is_root() && root.parent().is_none() && root.name().is_none());
    assert_eq!((root.depth(), root.components().count()), (0, 0));
    assert_eq!(root.join("a").unwrap(), path("a"));
    assert_eq!(path("a").parent(), Some(RepoPath::root()));
    assert_eq!(path("a/b").parent(), Some(path("a")));
    assert!(RepoPath::parse("").is_err());
    assert_eq!(RepoPath::from_bytes(&root.to_bytes()), Ok(root));
}

#[test]
fn paths_order_like_the_entries_of_trees() {
    let mut paths: Vec<_> = ["a.b", "a/b", "a", "a b", "b", "a/b/c", "a-b", "A", "a/c"].map(path).into();
    paths.sort();
    let sorted: Vec<_> = paths.iter().map(RepoPath::as_str).collect();
    assert_eq!(sorted, ["A", "a", "a/b", "a/b/c", "a/c", "a b", "a-b", "a.b", "b"]);
}

#[test]
fn names_that_file_systems_confuse_share_a_key() {
    for (one, other) in [
        ("README", "readme"),
        ("Straße", "STRASSE"),
        ("é", "e\u{301}"),
        ("É", "e\u{301}"),
        ("\u{212b}", "å"),
        ("\u{212a}", "k"),
        ("ſ", "S"),
        ("ς", "Σ"),
        ("a\u{200d}b", "AB"),
        ("\u{1e9b}\u{323}", "\u{1e69}"),
    ] {
        assert_eq!(fold_key(one), fold_key(other), "{one} and {other}");
    }
    for (one, other) in [("a", "b"), ("a", "á"), ("o", "ø"), ("1", "①"), ("a.", "a")] {
        assert_ne!(fold_key(one), fold_key(other), "{one} and {other}");
    }
}

/// Strings made of what paths are attacked with.
fn attacks() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "/", "//", "\\", ".", "..", "../", "/..", "./", "~", "~1", "\0", ":", " ", "\u{200c}", "\u{feff}", "\u{202e}",
            ".git", ".GIT", "git", ".shard", "shard", "SHARD~1", ".shard-tmp-", "C:", "CON", "\n", "é", "e\u{301}", "ſ",
        ]).prop_map(str::to_owned),
        2 => "[a-z]{1,3}",
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn an_accepted_path_never_escapes_and_prints_as_it_was_parsed(text in attacks()) {
        let Ok(path) = RepoPath::parse(&text) else { return Ok(()) };
        prop_assert_eq!(path.as_str(), &text);
        let on_disk: &Path = path.as_ref();
        prop_assert!(on_disk.is_relative());
        for component in on_disk.components() {
            let Component::Normal(name) = component else { panic!("{text:?} holds {component:?}") };
            // Whatever folds, trims and skips like a file system, none of it names a reserved directory.
            let folded = fold_key(name.to_str().unwrap());
            let bare = folded.trim_end_matches(['.', ' ']);
            prop_assert!(![".git", ".shard", "git~1", "shard~1"].contains(&bare), "{:?}", text);
            prop_assert!(!folded.starts_with(".shard-tmp-"), "{:?}", text);
        }
        prop_assert_eq!(on_disk.components().count(), path.depth());
    }
}

fn paths() -> impl Strategy<Value = RepoPath> {
    prop::collection::vec("[a-c.! -]{1,2}x", 0..4)
        .prop_map(|names| names.iter().fold(RepoPath::root(), |path, name| path.join(name).unwrap()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn order_is_the_order_of_components(one in paths(), other in paths()) {
        let components = |path: &RepoPath| path.components().map(str::to_owned).collect::<Vec<_>>();
        prop_assert_eq!(one.cmp(&other), components(&one).cmp(&components(&other)));
        prop_assert_eq!(one.starts_with(&other), components(&one).starts_with(&components(&other)));
    }

    #[test]
    fn parent_and_name_undo_join(path in paths(), name in "[a-z]{1,5}") {
        let joined = path.join(&name).unwrap();
        prop_assert_eq!(joined.parent(), Some(path.clone()));
        prop_assert_eq!(joined.name(), Some(name.as_str()));
        prop_assert_eq!(joined.depth(), path.depth() + 1);
        prop_assert_eq!(path.join_path(&joined).unwrap().strip_prefix(&path), Some(joined.clone()));
        prop_assert_eq!(RepoPath::from_bytes(&joined.to_bytes()), Ok(joined));
    }

    #[test]
    fn folding_twice_changes_nothing_more(name in ".{0,12}") {
        let key = fold_key(&name);
        prop_assert_eq!(fold_key(&key), key.clone());
        prop_assert_eq!(fold_key(&name.to_uppercase()), fold_key(&name.to_uppercase().to_lowercase()));
    }

    #[test]
    fn no_two_names_of_different_keys_fold_together(names in prop::collection::vec("[aAéÉſsS]{1,3}", 2..12)) {
        let mut kept: BTreeMap<String, &str> = BTreeMap::new();
        for name in &names {
            kept.entry(fold_key(name)).or_insert(name);
        }
        let lower: std::collections::BTreeSet<_> = kept.values().map(|name| name.nfd().collect::<String>().to_lowercase()).collect();
        prop_assert_eq!(lower.len(), kept.len());
    }
}
