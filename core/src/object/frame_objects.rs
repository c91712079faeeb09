//! Taking a frame apart for a check: every object in it, with its claimed id and its bytes.

use std::cell::RefCell;

use shard_storage::pack::{Damage, FrameView, OpenPack};

use super::ObjectKind;
use super::compression::{Codec, Decompressor};
use crate::canonical::Canonical;
use crate::history::commit;
use crate::ids::{CommitId, ObjectId, TreeId};
use crate::repository::Genesis;
use crate::tree::decode_node;
use crate::tree::manifest::ManifestNode;

thread_local! {
    /// Contexts and buffers are costly to make and cheap to keep: one of each a thread.
    static SCRATCH: RefCell<(Decompressor, Vec<u8>)> = RefCell::new((Decompressor::new(), Vec::new()));
}

/// Decompresses a frame and gives each object to `take`: its claimed id, its kind where it is known, its bytes. Nothing
/// is compared. Returns the bytes of all objects together.
///
/// # Errors
/// Why the frame cannot be decompressed.
pub(crate) fn for_each_object(
    view: &FrameView<'_>,
    mut take: impl FnMut(ObjectId, Option<ObjectKind>, &[u8]),
) -> Result<u64, String> {
    let header = view.header();
    let codec =
        Codec::from_code(header.codec.0).ok_or_else(|| format!("codec {} is of a later version", header.codec.0))?;
    SCRATCH.with_borrow_mut(|(decompressor, buffer)| {
        let raw = if codec == Codec::Raw {
            view.payload()
        } else {
            buffer.clear();
            decompressor
                .decompress(codec, view.payload(), header.raw_length as usize, buffer)
                .map_err(|error| error.to_string())?;
            &buffer[..]
        };
        let mut at = 0;
        for entry in view.entries() {
            let end = at + entry.length as usize;
            let payload = raw.get(at..end).ok_or("it holds less than its table says")?;
            take(ObjectId(entry.id.0), ObjectKind::from_number(entry.kind), payload);
            at = end;
        }
        Ok(at as u64)
    })
}

/// Lists what lies behind damage in an open pack, as far as each frame's objects hash to their ids: bytes that strangers
/// choose may look like frames.
pub(crate) fn admit_proven(pack: &mut OpenPack, damage: &Damage) {
    for frame in &damage.unproven {
        let Ok(read) = pack.read_frame(frame.offset as u32, frame.header.frame_length() as u32) else { continue };
        let mut proven = true;
        let decoded = for_each_object(&read.view(), |id, kind, payload| {
            proven &= kind.is_some_and(|kind| kind.id(payload) == id);
        });
        if proven && decoded.is_ok() {
            pack.admit(frame);
        }
    }
}

/// Says what is wrong with the form of an object: metadata has exactly one encoding. `None` where nothing is, or where
/// this version cannot judge the kind.
pub(crate) fn form_fault(id: ObjectId, kind: ObjectKind, payload: &[u8]) -> Option<String> {
    fn encoded<T: Canonical>(payload: &[u8]) -> Result<Vec<u8>, String> {
        T::from_bytes(payload).map(|value| value.to_bytes()).map_err(|error| error.to_string())
    }
    let again = match kind {
        ObjectKind::Manifest => encoded::<ManifestNode>(payload),
        ObjectKind::Tree => {
            decode_node(TreeId(id), payload).map(|node| node.to_bytes()).map_err(|error| error.to_string())
        }
        ObjectKind::Genesis => encoded::<Genesis>(payload),
        ObjectKind::Commit => match commit::decode(CommitId(id), payload) {
            // The body is kept as it came, so only its own encoding is compared.
            Ok(commit) => {
                let body = commit.claimed().to_bytes();
                let same = shard_crypto::Digest::of(&body) == *commit.digest();
                return (!same).then(|| NOT_CANONICAL.to_owned());
            }
            Err(error) => Err(error.to_string()),
        },
        ObjectKind::Chunk | ObjectKind::Tag | ObjectKind::Conflict | ObjectKind::Database | ObjectKind::IssueState => {
            return None;
        }
    };
    match again {
        Ok(bytes) if bytes == payload => None,
        Ok(_) => Some(NOT_CANONICAL.to_owned()),
        Err(why) => Some(why),
    }
}

const NOT_CANONICAL: &str = "it is not in the one form its content has";
