use proptest::prelude::*;

use super::*;

fn parsed(text: &str) -> Revision {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn name(text: &str) -> RefName {
    text.parse().unwrap()
}

fn reason(text: &str) -> String {
    match text.parse::<RevisionRange>().expect_err(text) {
        Error::RevisionInvalid { reason, .. } | Error::PathInvalid { reason, .. } => reason,
        other => panic!("{text}: {other}"),
    }
}

#[test]
fn every_form_of_the_grammar_is_read() {
    let id = "0123456789abcdef".repeat(4);
    let bases = [
        ("HEAD", Base::Head),
        ("@", Base::Head),
        ("main", Base::Name(name("main"))),
        ("ana/main", Base::Name(name("ana/main"))),
        ("heads/topic/x", Base::Branch(name("topic/x"))),
        ("refs/heads/x", Base::Branch(name("x"))),
        ("tags/v1.0", Base::Tag(name("v1.0"))),
        ("refs/tags/v1.0", Base::Tag(name("v1.0"))),
        (&id, Base::Id(id.parse().unwrap())),
        (&id.to_uppercase(), Base::Id(id.parse().unwrap())),
        ("@{3}", Base::At { branch: None, when: "3".into() }),
        ("HEAD@{3}", Base::At { branch: None, when: "3".into() }),
        ("main@{2 days ago}", Base::At { branch: Some(name("main")), when: "2 days ago".into() }),
        ("heads/main@{1}", Base::At { branch: Some(name("main")), when: "1".into() }),
        ("x@{2024-01-01T00:00~^}", Base::At { branch: Some(name("x")), when: "2024-01-01T00:00~^".into() }),
    ];
    let steps = [
        ("", vec![]),
        ("~", vec![Step::Ancestor(1)]),
        ("~2", vec![Step::Ancestor(2)]),
        ("^", vec![Step::Parent(1)]),
        ("^^2~0", vec![Step::Parent(1), Step::Parent(2), Step::Ancestor(0)]),
    ];
    let paths = [
        ("", None),
        (":", Some(RepoPath::root())),
        (":a/b", Some(RepoPath::parse("a/b").unwrap())),
        (":a/", Some(RepoPath::parse("a").unwrap())),
        (":a..b~1^:@{x", Some(RepoPath::parse("a..b~1^:@{x").unwrap())),
    ];
    for (base_text, base) in &bases {
        for (steps_text, steps) in &steps {
            for (path_text, path) in &paths {
                let text = format!("{base_text}{steps_text}{path_text}");
                let expected = Revision { base: base.clone(), steps: steps.clone(), path: path.clone() };
                assert_eq!(parsed(&text), expected, "{text}");
                assert_eq!(text.parse::<RevisionRange>().unwrap(), RevisionRange::Single(expected), "{text}");
            }
        }
    }
}

#[test]
fn ranges_take_head_for_a_side_left_out() {
    let (a, b) = (parsed("main~2"), parsed("ana/topic^"));
    for (text, range) in [
        ("main~2..ana/topic^", RevisionRange::Between { from: a.clone(), to: b.clone() }),
        ("main~2...ana/topic^", RevisionRange::Symmetric { ours: a.clone(), theirs: b }),
        ("..main~2", RevisionRange::Between { from: Revision::head(), to: a.clone() }),
        ("main~2..", RevisionRange::Between { from: a, to: Revision::head() }),
        ("...", RevisionRange::Symmetric { ours: Revision::head(), theirs: Revision::head() }),
        ("x@{1..2}..y@{a:b}", RevisionRange::Between { from: parsed("x@{1..2}"), to: parsed("y@{a:b}") }),
        ("x..y@{1}", RevisionRange::Between { from: parsed("x"), to: parsed("y@{1}") }),
    ] {
        assert_eq!(text.parse::<RevisionRange>().unwrap(), range, "{text}");
    }
}

#[test]
fn what_is_no_revision_says_why() {
    for (text, why) in [
        ("", "it names no commit, branch or tag"),
        ("~1", "it names no commit, branch or tag"),
        (":a", "it names no commit, branch or tag"),
        ("^main", "it names no commit, branch or tag"),
        ("main~x", "`x` is no step: those are ~, ~2, ^ and ^2"),
        ("main~1x", "`x` is no step: those are ~, ~2, ^ and ^2"),
        ("main^{commit}", "`{commit}` is no step: those are ~, ~2, ^ and ^2"),
        ("main~99999999999", "`~99999999999` goes further back than commits can"),
        ("main@{}", "`@{}` names no operation and no date"),
        ("main@{1", "`@{` is not closed"),
        ("a b", "it holds a space, a control character or one of ~ ^ : ? * [ \\"),
        ("-x", "it begins with a hyphen"),
        ("heads/", "it has an empty component"),
        ("a....b", "`..`, a component beginning with a dot, and a final dot are not allowed"),
        ("a..b..c", "a range stands where one revision is wanted"),
        ("a..b:c", "a range is of commits, without paths"),
        ("main:../x", "`.` and `..` are not names"),
        ("main:/x", "it has an empty component"),
        ("main:.shard/x", "`.shard`, `.git` and their aliases are reserved"),
    ] {
        assert_eq!(reason(text), why, "{text}");
    }
    assert!("a..b".parse::<Revision>().is_err(), "a range is no revision");
    assert!(reason(&"x".repeat(MAX_REVISION + 1)).contains("longer than"));
}

#[test]
fn only_4_to_63_digits_may_begin_an_id() {
    for (text, prefix) in [
        ("abcd", Some("abcd")),
        ("ABCD", Some("abcd")),
        ("0123456789", Some("0123456789")),
        ("abc", None),
        ("abcx", None),
        ("heads/abcd", None),
    ] {
        assert_eq!(parsed(text).base.prefix().as_deref(), prefix, "{text}");
    }
}

fn revisions() -> impl Strategy<Value = Revision> {
    let name = || "[a-f0-9]{1,8}(/[a-z]{1,3})?".prop_map(|text| text.parse::<RefName>().unwrap());
    let base = prop_oneof![
        Just(Base::Head),
        any::<[u8; 32]>()
            .prop_map(|id| Base::Id(id.iter().map(|b| format!("{b:02x}")).collect::<String>().parse().unwrap())),
        name().prop_map(Base::Branch),
        name().prop_map(Base::Tag),
        name().prop_map(Base::Name),
        (prop::option::of(name()), "[^}]{0,6}[a-z0-9]").prop_map(|(branch, when)| Base::At { branch, when }),
    ];
    let step =
        prop_oneof![any::<u32>().prop_map(Step::Ancestor), (0..4u32).prop_map(Step::Parent), Just(Step::Ancestor(1))];
    let path = "[a-z.:~@{]{1,4}x(/[a-z]{1,3})?".prop_filter_map("a path", |text| text.parse::<RepoPath>().ok());
    (base, prop::collection::vec(step, 0..4), prop::option::of(prop_oneof![path, Just(RepoPath::root())]))
        .prop_map(|(base, steps, path)| Revision { base, steps, path })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_printed_parses_to_the_same(revision in revisions()) {
        prop_assert_eq!(revision.to_string().parse::<Revision>().unwrap(), revision.clone());
        prop_assert_eq!(revision.to_string().parse::<RevisionRange>().unwrap(), RevisionRange::Single(revision));
    }

    #[test]
    fn ranges_print_and_parse(one in revisions(), other in revisions(), symmetric: bool) {
        let (one, other) = (Revision { path: None, ..one }, Revision { path: None, ..other });
        let range = if symmetric {
            RevisionRange::Symmetric { ours: one, theirs: other }
        } else {
            RevisionRange::Between { from: one, to: other }
        };
        prop_assert_eq!(range.to_string().parse::<RevisionRange>().unwrap(), range);
    }

    #[test]
    fn any_text_is_read_or_refused_and_what_is_read_prints_alike(text in r"[a-c@{}~^:./0-2 \-]{0,12}") {
        if let Ok(range) = text.parse::<RevisionRange>() {
            prop_assert_eq!(range.to_string().parse::<RevisionRange>().unwrap(), range);
        }
    }
}
