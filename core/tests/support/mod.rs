//! Crash tests: a repository on a simulated disk, stopped at every operation of a scenario, crashed in every way, and
//! judged by what a model says was acknowledged.
//!
//! A [`World`](world::World) is a machine with a disk, a [`Scenario`](scenario::Scenario) the commands it runs,
//! [`matrix`] stops and crashes it, [`judge`] says what is wrong with what is left.

pub mod faults;
pub mod judge;
pub mod log_damage;
pub mod matrix;
pub mod scenario;
pub mod world;
