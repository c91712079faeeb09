//! What tests change about how a repository works.

use crate::clock::BootId;

/// What tests change about how a repository works; the default is how it works.
///
/// No format and no promise depends on the sizes: smaller ones only bring a small test where otherwise megabytes lead.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// The boot to be taken for the current one, instead of what the system says.
    pub boot_id: Option<BootId>,
    /// New objects up to this many bytes ride in the record, so that a small commit costs one sync.
    pub inline_objects: usize,
    /// A file up to this many bytes rides in the record.
    pub inline_file: usize,
    /// New objects beyond this many bytes go to packs of their own.
    pub staged_in_memory: usize,
    /// Of a long ingest, chunks are registered whenever so many bytes are new,
    pub instalment_bytes: u64,
    /// the last pack being ended for it from this many bytes on.
    pub instalment_least: u64,
    /// The log is checkpointed from this many bytes on,
    pub checkpoint_bytes: u64,
    /// or from this many records on.
    pub checkpoint_records: u64,
    /// The shared open pack is sealed from this many bytes on.
    pub seal_open_pack: u64,
    /// Builds a defect in, which crash tests must find: refs, HEAD and index are written in place and left out of the
    /// record.
    pub refs_in_place: bool,
}

impl Default for Trial {
    fn default() -> Self {
        Self {
            boot_id: None,
            inline_objects: 64 << 10,
            inline_file: 64 << 10,
            staged_in_memory: 4 << 20,
            instalment_bytes: 1 << 30,
            instalment_least: 4 << 20,
            checkpoint_bytes: 4 << 20,
            checkpoint_records: 512,
            seal_open_pack: 4 << 20,
            refs_in_place: false,
        }
    }
}

impl Trial {
    /// Returns which boot of the machine this is; zeros where nobody knows.
    pub(crate) fn boot_id(&self) -> [u8; 16] {
        self.boot_id.or_else(BootId::current).map_or([0; 16], |boot| boot.0)
    }
}
