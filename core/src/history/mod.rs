//! History: commits, refs and how a revision is named.

pub mod commit;
pub mod operation;
pub mod ref_name;
pub mod refs;
pub mod revision;
