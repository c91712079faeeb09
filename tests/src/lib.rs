//! Promises made across crates, tried on the real binary.
//!
//! Nothing here reaches into another crate's inside: what is tested is what a person types. [`Sandbox`] gives every test
//! a home of its own, [`binary`] finds or builds `shard`, [`transcript`] runs the pages of `tests/cases/`, [`corpus`]
//! makes the data the benchmark and the suites share, and [`suite`] holds what is too long or too demanding for an
//! ordinary test run. A test that needs something this machine lacks says so through [`need`].

pub mod binary;
pub mod corpus;
pub mod need;
pub mod sandbox;
pub mod suite;
pub mod transcript;

pub use binary::Shard;
pub use sandbox::Sandbox;
