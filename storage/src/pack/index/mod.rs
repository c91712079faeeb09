//! The pack index: from object id to pack, across all packs.
//!
//! The footers of sealed packs are sorted runs already. When more than [`MAX_UNCOVERED`] packs are in no run yet,
//! [`plan_merge`] says which runs and footers become one, and [`merge`] streams them into `objects/index/N.run`. Runs
//! are read by offset, never mapped, and can be rebuilt from footers at any time: a run that is damaged or lies costs
//! time and space, not data, because an object is believed to be somewhere only once its frame's own table names it.

mod filter;
mod merge;
mod plan;
mod run;
mod section;

pub use merge::{Source, merge};
pub use plan::{MAX_MERGED_FOOTERS, MAX_UNCOVERED, MERGE_FACTOR, MergePlan, plan_merge};
pub use run::{Run, RunEntries, RunEntry, RunInfo, run_file_name, run_number};
