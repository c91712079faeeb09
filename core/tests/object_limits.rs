//! Objects at their limits: what is written can be read again, and what others wrote can be edited.

mod place;

use place::Place;
use shard_core::canonical::{Canonical, Encoder};
use shard_core::ids::TreeId;
use shard_core::object::{ObjectKind, ObjectSink, ObjectStore, StagedObjects};
use shard_core::tree::editor::{Node, TreeEditor};
use shard_core::tree::{Content, EntryType, MAX_NODE, Tree, TreeEntry, TreeNode};
use shard_core::{Error, RepoPath};

fn store_of(place: &Place) -> ObjectStore {
    place.repository.store(&place.repository.state().unwrap()).unwrap()
}

fn register(place: &Place, objects: StagedObjects) {
    let permit = place.repository.write_permit("test").unwrap();
    let mut transaction = place.repository.transaction(&permit).unwrap();
    transaction.add_objects(objects);
    transaction.commit().unwrap();
}

fn edit(place: &Place, base: TreeId, editor: TreeEditor) -> Tree {
    let store = store_of(place);
    let staging = place.repository.staging(&store);
    let mut writer = staging.writer();
    let tree = editor.apply(&store, base, &mut writer).unwrap();
    writer.finish().unwrap();
    register(place, staging.finish().unwrap());
    Tree::read(&store_of(place), tree).unwrap()
}

fn file(content: &[u8]) -> Node {
    Node { kind: EntryType::File, size: content.len() as u64, content: Content::Inline(content.into()) }
}

#[test]
fn a_directory_with_an_entry_as_large_as_a_node_is_edited() {
    let place = Place::new();
    let node = |length: usize| {
        let mut e = Encoder::new();
        e.bytes(&vec![7; length]);
        let content = Content::Opaque(e.as_bytes().into());
        TreeNode::Leaf(vec![TreeEntry { name: "later".into(), kind: EntryType::Unknown(9), size: 0, content }])
    };
    let frame = node(100_000).to_bytes().len() - 100_000;
    let largest = node(MAX_NODE - frame);
    assert_eq!(largest.to_bytes().len(), MAX_NODE);
    let store = store_of(&place);
    let staging = place.repository.staging(&store);
    let mut writer = staging.writer();
    let id = TreeId(writer.put(ObjectKind::Tree, &largest.to_bytes()).unwrap());
    writer.finish().unwrap();
    register(&place, staging.finish().unwrap());
    for name in ["before", "mine"] {
        let mut editor = TreeEditor::new();
        editor.set(&RepoPath::parse(name).unwrap(), file(b"x"));
        assert_eq!(edit(&place, id, editor).entries().len(), 2);
    }
}

#[test]
fn a_directory_of_the_longest_names_is_read_as_it_was_written() {
    let place = Place::new();
    let mut editor = TreeEditor::new();
    const LEAVES: usize = 1_100;
    for leaf in 0..LEAVES {
        for entry in 0..64 {
            let mut name = format!("{leaf:06}-{entry:02}-{:-<245}", "");
            if entry == 63 {
                // Where a leaf ends, and a node above it does not: the longest nodes there can be.
                name = (0u32..)
                    .map(|salt| format!("{leaf:06}-{entry:02}-{salt:-<245}"))
                    .find(|name| {
                        let hash = blake3::hash(name.as_bytes());
                        hash.as_bytes()[31] == 0 && hash.as_bytes()[30] != 0
                    })
                    .unwrap();
            }
            editor.set(&RepoPath::parse(&name).unwrap(), file(b""));
        }
    }
    assert_eq!(edit(&place, Tree::empty_id(), editor).entries().len(), LEAVES * 64);
}

#[test]
fn more_tiny_objects_are_stored_than_one_pack_takes() {
    let place = Place::new();
    let store = store_of(&place);
    let staging = place.repository.staging(&store);
    let mut writer = staging.writer();
    let count = 300_000u64;
    for number in 0..count {
        let mut object = [0; 32];
        object[..8].copy_from_slice(&number.to_le_bytes());
        writer.put(ObjectKind::Chunk, &object).unwrap();
    }
    writer.finish().unwrap();
    let objects = staging.finish().unwrap();
    assert_eq!(objects.new_objects, count);
    register(&place, objects);
    let last = ObjectKind::Chunk.id(&{
        let mut object = [0; 32];
        object[..8].copy_from_slice(&(count - 1).to_le_bytes());
        object
    });
    assert!(store_of(&place).get(last, ObjectKind::Chunk).is_ok());
}

#[test]
fn sizes_that_add_up_to_too_much_are_refused_before_they_are_written() {
    let place = Place::new();
    let store = store_of(&place);
    let staging = place.repository.staging(&store);
    let mut writer = staging.writer();
    let mut editor = TreeEditor::new();
    let claim = Node { size: u64::MAX, ..Node::empty_directory() };
    editor.set(&RepoPath::parse("theirs").unwrap(), claim);
    editor.set(&RepoPath::parse("mine").unwrap(), file(b"x"));
    let refused = editor.apply(&store, Tree::empty_id(), &mut writer);
    assert!(matches!(refused, Err(Error::Unsupported { .. })), "{refused:?}");
}
