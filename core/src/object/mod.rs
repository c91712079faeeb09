//! Objects: anything named by its hash.
//!
//! [`ObjectStore`] reads what one transaction's state registers; [`Staging`] prepares new objects, which count once a
//! transaction takes them in. Both compare every object's bytes with its id: what lies about its content is never
//! returned and never stored.

pub mod catalog;
pub mod chunker;
pub mod compression;
mod frame_cache;
pub(crate) mod frame_objects;
pub mod ingest;
pub(crate) mod instalment;
mod kind;
pub mod reader;
pub mod staging;
pub(crate) mod store;
pub mod verified_frame;

use crate::Result;
use crate::ids::ObjectId;

pub use kind::{MAX_OBJECT, ObjectKind};
pub use staging::{StagedObjects, Staging, StagingWriter};
pub use store::{ObjectBytes, ObjectStore};
pub use verified_frame::VerifiedFrame;

/// Takes new objects. What exists already costs a lookup and stores nothing.
pub trait ObjectSink {
    /// Stores a payload of at most [`MAX_OBJECT`] bytes and returns its id.
    fn put(&mut self, kind: ObjectKind, payload: &[u8]) -> Result<ObjectId>;

    /// Says that another file's chunks come next, so that what was learned of the last one's compressibility is forgotten.
    fn begin_file(&mut self) {}
}

/// A sink that keeps nothing and only computes ids: for plans and comparisons.
#[derive(Debug, Clone, Copy, Default)]
pub struct Discard;

impl ObjectSink for Discard {
    fn put(&mut self, kind: ObjectKind, payload: &[u8]) -> Result<ObjectId> {
        Ok(kind.id(payload))
    }
}
