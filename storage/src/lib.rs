//! Bytes at rest.
//!
//! Everything `shard` keeps on disk passes through this crate: the [`vfs`] through which every disk operation goes,
//! files replaced whole ([`atomic_file`]), the one append-only record format ([`framed_log`]), OS locks
//! ([`lock_file`]), pack files ([`pack`]) and the key-value [`backend`] that holds rebuildable views.
//!
//! The crate knows bytes and places, never meaning: what an object *is* belongs to `shard-core`.

pub mod atomic_file;
pub mod backend;
pub mod framed_log;
pub mod lock_file;
pub mod pack;
pub mod vfs;
