//! The gate for frames that come from elsewhere.
//!
//! A frame is copied as it was stored, without compressing it anew, once everything in it has been held against its
//! claims: it decodes within its limits, each object hashes to the id its table states, metadata is canonical, and all
//! of it belongs to one class of packs. Only what passed can be [stored](super::StagingWriter::put_frame).

use shard_storage::pack::{Class, FrameBuffer};

use super::store::{Place, decode_frame};
use super::{MAX_OBJECT, ObjectKind};
use crate::canonical::Canonical;
use crate::history::commit;
use crate::ids::{CommitId, ObjectId, TreeId};
use crate::repository::Genesis;
use crate::tree::manifest::ManifestNode;
use crate::{Error, Result, tree};

/// Refuses metadata that is not in the one form its content has. Chunks are any bytes.
///
/// # Errors
/// [`Error::ObjectCorrupt`] naming the object; [`Error::Unsupported`] for kinds this version cannot judge.
pub fn check_form(id: ObjectId, kind: ObjectKind, payload: &[u8]) -> Result<()> {
    let corrupt = |reason: String| Error::ObjectCorrupt { id: id.digest(), reason };
    if payload.len() > MAX_OBJECT {
        return Err(corrupt("it is above 1 MiB".to_owned()));
    }
    match kind {
        ObjectKind::Chunk => Ok(()),
        ObjectKind::Manifest => ManifestNode::from_bytes(payload).map(drop).map_err(|error| corrupt(error.to_string())),
        ObjectKind::Tree => tree::decode_node(TreeId(id), payload).map(drop),
        ObjectKind::Commit => commit::decode(CommitId(id), payload).map(drop),
        ObjectKind::Genesis => Genesis::from_bytes(payload).map(drop).map_err(|error| corrupt(error.to_string())),
        ObjectKind::Tag | ObjectKind::Conflict | ObjectKind::Database | ObjectKind::IssueState => {
            Err(Error::Unsupported { what: format!("taking over {id}, which is of kind `{kind}`,") })
        }
    }
}

/// A frame of which every object was decoded, hashed and judged.
#[derive(Debug)]
pub struct VerifiedFrame {
    frame: FrameBuffer,
    class: Class,
    raw: Vec<u8>,
    /// Each object's id, kind, and where it ends in `raw`.
    objects: Vec<(ObjectId, ObjectKind, u32)>,
}

impl VerifiedFrame {
    /// The gate. `place` is where the frame was read, for messages. Costs decoding and hashing all of it.
    ///
    /// # Errors
    /// [`Error::FileCorrupt`] where it does not decode, [`Error::ObjectCorrupt`] naming the object that is not what it
    /// claims, [`Error::Unsupported`] for kinds this version cannot judge.
    pub(crate) fn verify(frame: FrameBuffer, place: Place) -> Result<Self> {
        let decoded = decode_frame(&frame, place)?;
        let corrupt = |id: ObjectId, reason: String| Error::ObjectCorrupt { id: id.digest(), reason };
        let mut objects = Vec::with_capacity(decoded.objects.len());
        let mut class = None;
        for (id, kind, range) in &decoded.objects {
            let kind = kind.ok_or_else(|| corrupt(*id, "it is of an unknown kind".to_owned()))?;
            let payload = &decoded.raw[range.start as usize..range.end as usize];
            if kind.id(payload) != *id {
                return Err(corrupt(*id, "its bytes hash to another id".to_owned()));
            }
            check_form(*id, kind, payload)?;
            let theirs = if kind.is_data() { Class::Data } else { Class::Meta };
            if *class.get_or_insert(theirs) != theirs {
                return Err(corrupt(*id, "data and metadata share a frame".to_owned()));
            }
            objects.push((*id, kind, range.end));
        }
        let class = class.ok_or_else(|| Error::FileCorrupt {
            path: super::store::pack_file(place.pack).into(),
            reason: format!("frame at {} holds no object", place.location.offset),
        })?;
        Ok(Self { frame, class, raw: decoded.raw, objects })
    }

    /// Returns which packs it belongs to.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Returns the objects in order of their slots: id, kind and payload.
    pub fn objects(&self) -> impl ExactSizeIterator<Item = (ObjectId, ObjectKind, &[u8])> {
        let mut start = 0;
        self.objects.iter().map(move |(id, kind, end)| {
            let payload = &self.raw[start as usize..*end as usize];
            start = *end;
            (*id, *kind, payload)
        })
    }

    /// Returns the frame as it was stored.
    pub fn as_bytes(&self) -> &[u8] {
        self.frame.view().as_bytes()
    }
}
