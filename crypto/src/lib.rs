//! Who, and what exactly: digests with domain separation, keys, signed envelopes and sealed key files.
//!
//! This crate computes and checks; it reads no file, asks for no passphrase and knows no format but the key file's. It
//! guarantees that what it calls verified was signed by the key it names, for the purpose it names, and that secrets it
//! holds are erased when dropped and absent from `Debug` output.

mod actor;
mod digest;
mod domains;
mod hex;
mod key;
mod keyfile;
#[cfg(test)]
mod published;
mod signed;

pub use actor::{Actor, ActorId};
pub use digest::{Context, Digest, Hasher, ObjectHasher};
pub use domains::DOMAINS;
pub use hex::HexError;
pub use key::{KeyError, NoEntropy, PublicKey, SecretKey, Signature, SignatureDomain, SignatureError};
pub use keyfile::{KeyFile, KeyFileError, Passphrase, SealCost};
pub use signed::{Signed, Unverified, Verified};
