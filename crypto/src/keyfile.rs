//! Key files: an actor's secret key at rest, in the clear or sealed under a passphrase.
//!
//! Bytes only: where a key file lies, its permissions and its durability are its owner's business. Both forms begin
//! with a header that names the actor, so that a clone knows who it is while its key is locked.
//!
//! | offset | size | field |
//! |-|-|-|
//! | 0 | 8 | `SHRDSKEY` |
//! | 8 | 1 | version 1 |
//! | 9 | 1 | form: 0 plain, 1 sealed |
//! | 10 | 2 | 0 |
//! | 12 | 32 | public key |
//!
//! The plain form ends with the 32-byte seed at 44: 76 bytes in all. The sealed form has 144:
//!
//! | offset | size | field |
//! |-|-|-|
//! | 44 | 4 | Argon2id memory in KiB |
//! | 48 | 4 | Argon2id passes |
//! | 52 | 4 | Argon2id lanes |
//! | 56 | 16 | random salt |
//! | 72 | 24 | random nonce |
//! | 96 | 48 | the seed under XChaCha20-Poly1305, with its tag; bytes 0..96 are associated data |
//!
//! Integers are little-endian. The sealing key is 32 bytes of Argon2id version 0x13 (RFC 9106) over the passphrase's
//! bytes as given, without secret or associated data.

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Version};
use chacha20poly1305::{AeadInOut, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::{ActorId, NoEntropy, PublicKey, SecretKey, key::random};

const MAGIC: &[u8; 8] = b"SHRDSKEY";
const VERSION: u8 = 1;
const PLAIN: u8 = 0;
const SEALED: u8 = 1;

const PUBLIC_KEY: usize = 12;
const COST: usize = 44;
const SALT: usize = 56;
const NONCE: usize = 72;
const SEALED_SEED: usize = 96;
const TAG: usize = 128;

/// A key file that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The bytes are no key file, or one whose parts do not fit together.
    #[error("not a key file: {0}")]
    Malformed(&'static str),
    /// A later release wrote the file.
    #[error("key file has version {found}, this release reads 1")]
    UnsupportedVersion {
        /// The version the file states.
        found: u8,
    },
    /// The parameters of the passphrase function are too weak to protect a key, or so costly that deriving would stop
    /// the machine.
    #[error("key file asks for Argon2id with {memory_kib} KiB, {passes} passes and {lanes} lanes")]
    ParametersOutOfBounds {
        /// Memory, in KiB.
        memory_kib: u32,
        /// Passes over the memory.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
    /// The file is sealed, and no passphrase was given.
    #[error("key is sealed under a passphrase")]
    NeedsPassphrase,
    /// The passphrase is another, or the sealed bytes were altered: the two cannot be told apart.
    #[error("passphrase does not open the key")]
    WrongPassphrase,
    /// A key was to be sealed under an empty passphrase.
    #[error("passphrase is empty")]
    EmptyPassphrase,
    /// The memory for the passphrase function was not to be had.
    #[error("no {memory_kib} KiB of memory for the passphrase function")]
    OutOfMemory {
        /// Memory asked for, in KiB.
        memory_kib: u32,
    },
    /// There was no salt to be had.
    #[error("cannot seal a key")]
    NoEntropy(#[from] NoEntropy),
}

/// A passphrase; erased from memory when dropped, and never printed.
///
/// Its bytes are taken as given: the same characters typed in another Unicode form are another passphrase.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes what the user gave. The caller strips the line ending it was typed with, and keeps no copy.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Says whether there is nothing to it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// What it costs to try one passphrase: the parameters of Argon2id, always within bounds.
///
/// The floor keeps a key file that somebody altered, or a careless program wrote, from being cheap to guess; the
/// ceiling keeps one from taking all memory or an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealCost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl SealCost {
    /// The least cost accepted: 19 MiB, 2 passes. For tests, and for machines that can do no more.
    pub const FLOOR: Self = Self { memory_kib: 19 * 1024, passes: 2, lanes: 1 };
    /// What keys are sealed with unless told otherwise: 64 MiB, 3 passes; a tenth of a second, more on slow machines.
    pub const DEFAULT: Self = Self { memory_kib: 64 * 1024, passes: 3, lanes: 1 };
    /// The greatest cost accepted: 1 GiB, 16 passes, 16 lanes.
    pub const CEILING: Self = Self { memory_kib: 1024 * 1024, passes: 16, lanes: 16 };

    /// Takes a cost between [`SealCost::FLOOR`] and [`SealCost::CEILING`], each parameter by itself.
    ///
    /// # Errors
    /// [`KeyFileError::ParametersOutOfBounds`].
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, KeyFileError> {
        let within = (Self::FLOOR.memory_kib..=Self::CEILING.memory_kib).contains(&memory_kib)
            && (Self::FLOOR.passes..=Self::CEILING.passes).contains(&passes)
            && (Self::FLOOR.lanes..=Self::CEILING.lanes).contains(&lanes);
        if within {
            Ok(Self { memory_kib, passes, lanes })
        } else {
            Err(KeyFileError::ParametersOutOfBounds { memory_kib, passes, lanes })
        }
    }

    /// Returns the memory one try takes, in KiB.
    pub fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// Returns the number of passes over that memory.
    pub fn passes(self) -> u32 {
        self.passes
    }

    /// Returns the number of lanes, which are computed one after the other here.
    pub fn lanes(self) -> u32 {
        self.lanes
    }

    fn encode(self) -> [u8; SALT - COST] {
        let mut bytes = [0; SALT - COST];
        for (field, value) in bytes.chunks_exact_mut(4).zip([self.memory_kib, self.passes, self.lanes]) {
            field.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8; SALT - COST]) -> Result<Self, KeyFileError> {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *bytes;
        Self::new(u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]), u32::from_le_bytes([i, j, k, l]))
    }

    /// Derives the sealing key; its working memory is erased before it is given back.
    fn derive(self, passphrase: &Passphrase, salt: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
        let parameters = argon2::Params::new(self.memory_kib, self.passes, self.lanes, Some(32))
            .expect("our bounds lie within those of Argon2");
        let out_of_memory = KeyFileError::OutOfMemory { memory_kib: self.memory_kib };
        let blocks = parameters.block_count();
        let mut memory = Zeroizing::new(Vec::new());
        memory.try_reserve_exact(blocks).map_err(|_| out_of_memory)?;
        memory.resize(blocks, Block::default());
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
            .hash_password_into_with_memory(passphrase.0.as_bytes(), salt, &mut *key, memory.as_mut_slice())
            // What else it checks, the lengths of salt, passphrase and key, is fixed or bounded by memory.
            .map_err(|_| out_of_memory)?;
        Ok(key)
    }
}

impl Default for SealCost {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The bytes of a key file, known to have the right form.
///
/// Erased from memory when dropped, since a plain one is the secret itself.
#[derive(Clone)]
pub struct KeyFile {
    bytes: Zeroizing<Vec<u8>>,
    actor: ActorId,
    cost: Option<SealCost>,
}

impl KeyFile {
    /// Bytes in a plain key file.
    pub const PLAIN_LEN: usize = 76;
    /// Bytes in a sealed key file: the most a reader of key files needs to read, and one more to see that it ends.
    pub const SEALED_LEN: usize = 144;

    /// Puts a key into a file in the clear, where only the file's permissions protect it.
    pub fn plain(key: &SecretKey) -> Self {
        let mut bytes = header(PLAIN, key, Self::PLAIN_LEN);
        bytes.extend_from_slice(&*key.to_seed());
        Self { bytes, actor: key.actor(), cost: None }
    }

    /// Seals a key under a passphrase, with a fresh salt and nonce. Takes as long as opening does: a tenth of a
    /// second and 64 MiB at the default cost.
    ///
    /// # Errors
    /// [`KeyFileError::EmptyPassphrase`], [`KeyFileError::OutOfMemory`] and [`KeyFileError::NoEntropy`].
    pub fn seal(key: &SecretKey, passphrase: &Passphrase, cost: SealCost) -> Result<Self, KeyFileError> {
        Self::seal_with(key, passphrase, cost, &random()?, &random()?)
    }

    fn seal_with(
        key: &SecretKey,
        passphrase: &Passphrase,
        cost: SealCost,
        salt: &[u8; NONCE - SALT],
        nonce: &[u8; SEALED_SEED - NONCE],
    ) -> Result<Self, KeyFileError> {
        if passphrase.is_empty() {
            return Err(KeyFileError::EmptyPassphrase);
        }
        let mut bytes = header(SEALED, key, Self::SEALED_LEN);
        bytes.extend_from_slice(&cost.encode());
        bytes.extend_from_slice(salt);
        bytes.extend_from_slice(nonce);
        let mut seed = key.to_seed();
        let tag = cipher(&*cost.derive(passphrase, salt)?)
            .encrypt_inout_detached(&XNonce::from(*nonce), &bytes, seed.as_mut_slice().into())
            .expect("32 bytes are no message too long to encrypt");
        bytes.extend_from_slice(&*seed);
        bytes.extend_from_slice(&tag);
        Ok(Self { bytes, actor: key.actor(), cost: Some(cost) })
    }

    /// Reads the form of a key file. Cheap: nothing is derived, whatever the file asks for.
    ///
    /// # Errors
    /// [`KeyFileError::UnsupportedVersion`] for a later version; [`KeyFileError::ParametersOutOfBounds`] for a sealed
    /// file weaker than the floor or costlier than the ceiling; [`KeyFileError::Malformed`] for all else.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyFileError> {
        let Some((magic, [version, rest @ ..])) = bytes.split_first_chunk::<8>() else {
            return Err(KeyFileError::Malformed("it is too short"));
        };
        if magic != MAGIC {
            return Err(KeyFileError::Malformed("it begins with other bytes"));
        }
        if *version != VERSION {
            return Err(KeyFileError::UnsupportedVersion { found: *version });
        }
        let sealed = match rest {
            [PLAIN, 0, 0, ..] => false,
            [SEALED, 0, 0, ..] => true,
            _ => return Err(KeyFileError::Malformed("its form is unknown")),
        };
        if bytes.len() != if sealed { Self::SEALED_LEN } else { Self::PLAIN_LEN } {
            return Err(KeyFileError::Malformed("its length is not that of its form"));
        }
        let actor = PublicKey::from_bytes(&field(bytes, PUBLIC_KEY))
            .map_err(|_| KeyFileError::Malformed("its public key is none"))?
            .actor();
        let cost = if sealed { Some(SealCost::decode(&field(bytes, COST))?) } else { None };
        Ok(Self { bytes: Zeroizing::new(bytes.to_vec()), actor, cost })
    }

    /// Returns the actor whose key this is, as the file says: proven only by [`KeyFile::open`].
    pub fn actor(&self) -> ActorId {
        self.actor
    }

    /// Returns what trying a passphrase costs, or `None` for a plain file.
    pub fn cost(&self) -> Option<SealCost> {
        self.cost
    }

    /// Says whether a passphrase is needed.
    pub fn is_sealed(&self) -> bool {
        self.cost.is_some()
    }

    /// Returns the file's bytes, to be written where only their owner can read them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes the key out; for a sealed file by its passphrase, at the cost of [`KeyFile::cost`]. A plain file opens
    /// with any.
    ///
    /// # Errors
    /// [`KeyFileError::NeedsPassphrase`], [`KeyFileError::WrongPassphrase`] and [`KeyFileError::OutOfMemory`] for a
    /// sealed file; [`KeyFileError::Malformed`] if the secret key is not that of the public key beside it.
    pub fn open(&self, passphrase: Option<&Passphrase>) -> Result<SecretKey, KeyFileError> {
        let seed = match self.cost {
            None => Zeroizing::new(field(&self.bytes, COST)),
            Some(cost) => self.unseal(cost, passphrase.ok_or(KeyFileError::NeedsPassphrase)?)?,
        };
        let key = SecretKey::from_seed(&seed);
        if key.actor() == self.actor { Ok(key) } else { Err(KeyFileError::Malformed("its two keys are no pair")) }
    }

    fn unseal(&self, cost: SealCost, passphrase: &Passphrase) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
        let key = cost.derive(passphrase, &self.bytes[SALT..NONCE])?;
        let nonce = XNonce::from(field(&self.bytes, NONCE));
        let tag = Tag::from(field(&self.bytes, TAG));
        let mut seed = Zeroizing::new(field(&self.bytes, SEALED_SEED));
        cipher(&key)
            .decrypt_inout_detached(&nonce, &self.bytes[..SEALED_SEED], seed.as_mut_slice().into(), &tag)
            .map_err(|_| KeyFileError::WrongPassphrase)?;
        Ok(seed)
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile").field("actor", &self.actor).field("cost", &self.cost).finish_non_exhaustive()
    }
}

fn header(form: u8, key: &SecretKey, capacity: usize) -> Zeroizing<Vec<u8>> {
    // Never grown, so that no copy of a seed is left behind in memory given back.
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[VERSION, form, 0, 0]);
    bytes.extend_from_slice(key.public().as_bytes());
    bytes
}

/// Copies the field of `N` bytes at `offset`.
fn field<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    *bytes[offset..].first_chunk().expect("the length of a key file is checked before its fields are read")
}

fn cipher(key: &[u8; 32]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.into())
}

#[cfg(test)]
mod tests;
