//! Who, and what exactly: digests with domain separation, keys, signed envelopes and sealed key files.

mod digest;

pub use digest::Digest;
