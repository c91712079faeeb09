//! Why a backend refused or failed.

use super::BackendKind;
use crate::framed_log::{HeaderError, LogError};
use crate::vfs::VfsError;

/// Why a backend refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// A key, value or batch beyond what every engine admits; nothing was changed.
    #[error("{part} of {length} bytes, where 1 to {limit} are admitted")]
    TooLarge {
        /// `key`, `value`, `bound` or `batch`.
        part: &'static str,
        /// Its length in bytes. An empty key has 0.
        length: usize,
        /// The longest admitted.
        limit: usize,
    },
    /// Another process holds what this one needs and did not let go of it in time.
    #[error("the backend is in use{}", pid.map(|pid| format!(" by process {pid}")).unwrap_or_default())]
    Busy {
        /// That process, where it can be told.
        pid: Option<u32>,
    },
    /// Written by a newer build.
    #[error("the backend has schema {found}, this build reads up to {supported}")]
    NewerSchema {
        /// The schema found.
        found: u32,
        /// The newest this build reads.
        supported: u32,
    },
    /// A scan lost the instant it was showing: a batch was applied meanwhile.
    #[error("the rows changed while they were being listed")]
    Moved,
    /// What is on disk makes no sense; a rebuild replaces it.
    #[error("the backend is damaged: {reason}")]
    Damaged {
        /// What was found.
        reason: String,
    },
    /// It was opened for reading only.
    #[error("the backend was opened for reading only")]
    ReadOnly,
    /// The engine was left out of this build.
    #[error("this build has no {kind} backend")]
    NotBuilt {
        /// The engine asked for.
        kind: BackendKind,
    },
    /// A disk operation failed.
    #[error(transparent)]
    Io(#[from] VfsError),
    /// The engine failed in a way of its own.
    #[error("{engine}: {source}")]
    Engine {
        /// Which engine.
        engine: BackendKind,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl BackendError {
    /// Says whether there is no backend yet: only opening for reading fails so.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Io(error) if error.is_not_found())
    }

    /// Says whether the disk is full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io(error) if error.is_full())
    }

    /// Says whether throwing the backend away and rebuilding it is the remedy.
    pub fn wants_rebuild(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}

impl From<LogError> for BackendError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Io(error) => Self::Io(error),
            LogError::Header { source: HeaderError::UnsupportedVersion { found }, .. } => {
                Self::NewerSchema { found: found.into(), supported: crate::framed_log::VERSION.into() }
            }
            LogError::Poisoned { .. } => Self::Engine { engine: BackendKind::Flat, source: error.into() },
            other => {
                let reason = std::error::Error::source(&other).map(|why| format!("{other}: {why}"));
                Self::Damaged { reason: reason.unwrap_or_else(|| other.to_string()) }
            }
        }
    }
}
