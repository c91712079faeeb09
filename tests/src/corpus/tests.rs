use std::fs;

use super::*;

/// A corpus that changes by a byte makes every published figure incomparable, so the digests are held fast.
#[test]
fn digests_are_those_committed() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    incompressible(&at("random"), SEED, 3_000_000).unwrap();
    SourceTree { seed: SEED, files: 300, bytes: 4_000_000 }.write(&at("tree")).unwrap();
    Edits::small(SEED, 3_000_000).apply(&at("random"), &at("edited")).unwrap();
    Edits::inserted(SEED, 3_000_000, 5, 50).apply(&at("random"), &at("inserted")).unwrap();
    many_small(&at("small"), SEED, 1_200).unwrap();
    PageFile { seed: SEED, pages: 200 }.write(&at("pages"), 0, 20).unwrap();
    PageFile { seed: SEED, pages: 200 }.write(&at("pages2"), 2, 20).unwrap();
    let digests: Vec<String> = ["random", "tree", "edited", "inserted", "small", "pages", "pages2"]
        .iter()
        .map(|name| format!("{name} {}", &digest(&at(name)).unwrap()[..16]))
        .collect();
    let committed: Vec<String> = include_str!("digests.txt").lines().map(str::to_owned).collect();
    assert_eq!(digests, committed);
}

#[test]
fn a_tree_holds_the_files_and_about_the_bytes_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let asked = SourceTree { seed: 7, files: 1500, bytes: 20_000_000 };
    let census = asked.write(&directory.path().join("tree")).unwrap();
    assert_eq!(census.files, asked.files);
    let ratio = census.bytes as f64 / asked.bytes as f64;
    assert!((0.85..1.15).contains(&ratio), "{census:?}");
    assert!(census.executables > 5 && census.symlinks > 3 && census.empty > 5, "{census:?}");
}

#[test]
fn edits_grow_the_file_by_what_they_insert() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    incompressible(&at("old"), 1, 10_000_000).unwrap();
    let edits = Edits::inserted(1, 10_000_000, 5, 50);
    assert_eq!(edits.new_bytes(), 500_000);
    edits.apply(&at("old"), &at("new")).unwrap();
    assert_eq!(fs::metadata(at("new")).unwrap().len(), 10_500_000);
    // Between the edits the old bytes stand: the two share long runs.
    let (old, new) = (fs::read(at("old")).unwrap(), fs::read(at("new")).unwrap());
    assert_eq!(old[9_999_000..], new[10_499_000..]);
}

#[test]
fn versions_of_a_page_file_differ_in_the_pages_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let file = PageFile { seed: 3, pages: 400 };
    file.write(&at("0"), 0, 40).unwrap();
    file.write(&at("1"), 1, 40).unwrap();
    let (a, b) = (fs::read(at("0")).unwrap(), fs::read(at("1")).unwrap());
    assert_eq!(a.len(), 400 * 4096);
    assert_eq!(&a[..16], b"SQLite format 3\0");
    let changed = a.chunks(4096).zip(b.chunks(4096)).filter(|(x, y)| x != y).count();
    // The header page changes with every version; a page may draw no changed row.
    assert!((35..=41).contains(&changed), "{changed}");
    let bytes = a.iter().zip(&b).filter(|(x, y)| x != y).count();
    assert!(bytes < 40 * 400, "{bytes} bytes differ: a change touches few rows");
}
