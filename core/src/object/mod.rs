//! Objects: anything named by its hash.

pub mod chunker;
pub mod compression;
