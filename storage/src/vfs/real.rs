//! The file system of the operating system.

/// The real file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Real;
