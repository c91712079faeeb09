//! Other repositories: what they published, what of it is missing here, and bringing it over.
//!
//! A [`Source`] offers signed ref sets and verbatim frames. [`fetch()`] believes neither: ref sets pass the gate and must
//! continue what their actors published before, every object is hashed before it is stored, and refs move in one
//! transaction, once everything they reach is here. Only `refs/peers/*` moves; [`pull()`] and [`clone()`] then move a
//! branch of one's own, to a trusted commit and forwards only.

mod chain;
mod clone;
mod closure;
mod fetch;
mod held;
mod peer_book;
mod plan;
mod pull;
mod source;

pub use clone::{CloneOptions, CloneReport, clone};
pub use closure::{Closure, Reached};
pub use fetch::{FetchReport, RefusedActor, fetch, plan_fetch};
pub use peer_book::PeerBook;
pub use plan::TransferPlan;
pub use pull::{PullOptions, PullOutcome, PullReport, pull};
pub use source::Source;
