//! The worktree: files on disk beside what is recorded.
//!
//! [`scan`] compares without reading, [`gather`](self) reads what is left open, and the verbs stand on both: add, commit,
//! status, checkout. What cannot be read keeps its recorded entry; nothing that was not seen is taken for deleted.

pub mod checkout;
mod commit;
pub mod export;
mod folding;
mod gather;
pub mod ignore;
pub mod import;
pub mod index;
pub mod materialize;
mod obstruction;
mod rename;
pub mod scan;
mod stage;
mod stat_cache;
pub mod status;

pub use checkout::{CheckoutPlan, CheckoutReport};
pub use commit::{ChangeCounts, CommitOptions, CommitReport};
pub use export::ExportReport;
pub use gather::looks_secret;
pub use import::{ImportOptions, ImportReport};
pub use rename::Rename;
pub use scan::{Scope, Skipped};
pub use stage::{AddOptions, AddReport};
pub use status::{Status, StatusOptions};
