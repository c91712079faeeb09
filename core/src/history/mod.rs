//! History: commits, refs and how a revision is named.

pub mod ref_name;
pub mod revision;
