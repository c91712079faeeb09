//! The repository: what ties objects, history and worktree together.

pub mod config;
