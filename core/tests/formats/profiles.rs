//! Numbers that manifests and packs record.

use shard_core::object::ObjectKind;
use shard_core::object::chunker::Profile;

/// Number, name, and the id of the payload `shard`, computed with another implementation.
const KINDS: [(u8, &str, &str); 9] = [
    (0, "chunk", "e2981fe2256eca43a84fb1e0b290ec21f8b00aa94976e7eeee7a4e12e27da7e0"),
    (1, "manifest", "91c7db85d2402cbe102a187e1472740c24a657ddaa6a6a7abcf2228f15a340a2"),
    (2, "tree", "a66c71c2284196fc577870aca4e9f93d4896e290d45a455a848d6a057a5b7ba3"),
    (3, "commit", "b90b782d746baa8f763842f1ba4a62cfecbf421fa22d691822d2b1ef7cd401b0"),
    (4, "tag", "8633483154bf571084d817249fcb934d22bcfd56e11f4ec5ccc651489f129ea6"),
    (5, "conflict", "80edca243dd47fdb134ab2ca268d1ce889443cc1b552885ad525bf48959ab526"),
    (6, "database", "fa71f5f6aaef93e603a3f7839d8ec2de63261873d9f507251736698afcc4fe7d"),
    (7, "issue state", "601ec14db974e38c13c7569928777390b4243335b005eed86484815d6cee4c28"),
    (8, "genesis", "dd29b451260c0db23f18798dd6fa8c51def25e94566451948936c9a1a6d7cbf1"),
];

/// Code, and what it means.
const PROFILES: [(u64, &str); 8] = [
    (0, "whole"),
    (65_537, "cdc16"),
    (131_073, "cdc32"),
    (262_145, "cdc64"),
    (1_048_577, "cdc256"),
    (16_386, "page(4096)"),
    (16_387, "fixed(4096)"),
    (4_194_307, "fixed(1048576)"),
];

#[test]
fn kinds_keep_their_numbers_names_and_ids() {
    assert_eq!(ObjectKind::ALL.len(), KINDS.len());
    for (number, name, id) in KINDS {
        let kind = ObjectKind::from_number(number).unwrap();
        assert_eq!((kind as u8, kind.name(), kind.id(b"shard").to_string()), (number, name, id.to_owned()));
    }
    assert_eq!(ObjectKind::from_number(9), None, "a kind of a later version is refused");
}

#[test]
fn profiles_keep_their_codes() {
    for (code, name) in PROFILES {
        let profile = Profile::from_code(code).unwrap();
        assert_eq!((profile.to_string().as_str(), profile.code()), (name, code));
    }
}
