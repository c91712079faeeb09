//! Keys: ed25519 pairs, and signatures which belong to one purpose.
//!
//! A signature is made over `domain ‖ 00 ‖ digest`, where the domain says what kind of thing is signed. Verification is
//! strict: of the several rules implementations of ed25519 follow, it takes the one under which neither a weak key nor
//! a rewritten signature passes.

use std::{fmt, str::FromStr};

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use crate::{
    ActorId, Digest,
    hex::{self, HexError},
};

/// What kind of thing a signature is made over, so that a signature made for one never passes for another.
///
/// No domain is a prefix of another or of what libp2p signs with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureDomain(&'static str);

impl SignatureDomain {
    /// A commit's body.
    pub const COMMIT: Self = Self("shard v1 commit signature");
    /// An annotated tag's body.
    pub const TAG: Self = Self("shard v1 tag signature");
    /// The header of an actor's ref set.
    pub const REF_SET: Self = Self("shard v1 ref set signature");
    /// An event, by its id.
    pub const EVENT: Self = Self("shard v1 event signature");

    /// Returns the text that stands before the signed digest.
    pub const fn label(self) -> &'static str {
        self.0
    }

    fn message(self, digest: &Digest) -> Vec<u8> {
        [self.0.as_bytes(), &[0], digest.as_bytes()].concat()
    }
}

/// 32 bytes that cannot serve as somebody's public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The bytes are not the one encoding of a point of the curve.
    #[error("public key is not a point of the curve")]
    NotAPoint,
    /// The point has small order: almost any signature would pass under it.
    #[error("public key is weak")]
    Weak,
    /// The text is not 64 hexadecimal digits.
    #[error("public key is not written in hexadecimal")]
    Hex(#[from] HexError),
}

/// A signature that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The signature is not this key's, or not over this digest in this domain.
    #[error("signature does not match the signed bytes and the key")]
    Mismatch,
    /// The signer cannot have a valid signature, as its id is no acceptable public key.
    #[error("signer is not a usable key")]
    Key(#[from] KeyError),
}

/// The operating system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub struct NoEntropy(#[source] getrandom::Error);

/// Fills an array with random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], NoEntropy> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(NoEntropy)?;
    Ok(bytes)
}

/// The secret half of an actor's key pair; erased from memory when dropped, and never printed.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Bytes in the seed of a key.
    pub const LEN: usize = 32;

    /// Makes a new key from random bytes of the operating system.
    ///
    /// # Errors
    /// [`NoEntropy`] if there are none, as in a sandbox that forbids asking.
    pub fn generate() -> Result<Self, NoEntropy> {
        Ok(Self::from_seed(&Zeroizing::new(random()?)))
    }

    /// Takes the key of this seed (the 32-byte private key of RFC 8032). Every seed is a key; the caller keeps, and
    /// erases, its own copy.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Returns a copy of the seed, which erases itself when dropped.
    pub fn to_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// Returns the public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Returns the actor who signs with this key.
    pub fn actor(&self) -> ActorId {
        self.public().actor()
    }

    /// Signs a digest for one purpose. The same key, domain and digest give the same signature.
    pub fn sign(&self, domain: SignatureDomain, digest: &Digest) -> Signature {
        Signature(self.0.sign(&domain.message(digest)).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// The public half of a key pair: a point of the curve that is not weak, decoded and ready to verify with.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Bytes in the encoding of a key.
    pub const LEN: usize = 32;

    /// Decodes a public key, at the cost of about a tenth of a verification.
    ///
    /// # Errors
    /// [`KeyError::NotAPoint`] unless the bytes are the canonical encoding of a point (RFC 8032, 5.1.3), so that no
    /// actor has two ids; [`KeyError::Weak`] for the points of small order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        // Decoding reduces the coordinate modulo the field's prime, so a few points have a second encoding.
        if key.to_edwards().compress().as_bytes() != bytes {
            return Err(KeyError::NotAPoint);
        }
        Ok(Self(key))
    }

    /// Returns the key's encoding.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Returns the actor whose key this is.
    pub fn actor(&self) -> ActorId {
        ActorId::from_bytes(*self.as_bytes())
    }

    /// Checks that `signature` was made by this key over `digest` in `domain`.
    ///
    /// # Errors
    /// [`SignatureError::Mismatch`] if it was not, if it is not in its one encoding, or if its point is weak.
    pub fn verify(
        &self,
        domain: SignatureDomain,
        digest: &Digest,
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        self.verify_message(&domain.message(digest), signature)
    }

    pub(crate) fn verify_message(&self, message: &[u8], signature: &Signature) -> Result<(), SignatureError> {
        self.0
            .verify_strict(message, &ed25519_dalek::Signature::from_bytes(&signature.0))
            .map_err(|_| SignatureError::Mismatch)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::from_bytes(&hex::parse(text)?)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(self.as_bytes(), f)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// The 64 bytes of an ed25519 signature, which may or may not hold.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature([u8; 64]);

impl Signature {
    /// Bytes in a signature.
    pub const LEN: usize = 64;

    /// Takes the bytes of a signature; whether it holds is asked of [`PublicKey::verify`].
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// Takes a signature from a slice; `None` unless it has 64 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Returns the signature's bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl FromStr for Signature {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        hex::parse(text).map(Self)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(&self.0, f)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({self})")
    }
}
