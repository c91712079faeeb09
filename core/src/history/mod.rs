//! History: commits, refs and how a revision is named.

pub mod revision;
