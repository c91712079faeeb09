//! What the bytes mean.
//!
//! Objects, trees, commits, the worktree and the repository that ties them together: transactions, locks, recovery.
//! This crate is synchronous. It names no async runtime, no network, no command line and no SQL engine, prints nothing,
//! and returns a report from everything it does.

pub mod byte_size;
pub mod canonical;
pub mod clock;
pub mod duration;
mod error;
pub mod history;
pub mod ids;
pub mod metrics;
mod near_name;
pub mod object;
pub mod progress;
pub mod remote;
pub mod repo_path;
pub mod repository;
pub mod tree;
pub mod worktree;

pub use byte_size::ByteSize;
pub use error::{Blocked, BlockedReason, Error, Holder, Result, UnsafeReason};
pub use near_name::near_names;
pub use repo_path::RepoPath;
