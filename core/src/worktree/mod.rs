//! The worktree: files on disk beside what is recorded.

pub mod ignore;
pub mod index;
