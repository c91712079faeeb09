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

    /// Decodes a public key, at a fraction of the cost of a verification.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::DOMAINS;

    /// Signatures over the hash of `shard` by the key of the seed 00, 01, …, 1f, made with another implementation.
    const SIGNATURES: [(SignatureDomain, &str); 4] = [
        (
            SignatureDomain::COMMIT,
            "e2b3e6a9ffa7c0ad69f0eac1a5d0cfdd1be4fb04180ac6ad2d4d00f95c6ee0641a51f6fd3889b8f2b8bf2ec8934c31cda9b3593727fc1a18f740aa6b67faaa06",
        ),
        (
            SignatureDomain::TAG,
            "96c826a516b9594d38cc15d7d427e943de050733f09f98612514aa2996e5f9361f1adeb33b6378a8e47d8d4c06854af1d8d39403b3a8256656df7c3d5325d90b",
        ),
        (
            SignatureDomain::REF_SET,
            "4d5509168c27efd1624923bd4a9a59ea03296cd91bc4cb21e005f5a5bd4d39c455af6f6d4b349a6f54768a6fdfa8761bf746a7edc38db80ce61a38bce468300f",
        ),
        (
            SignatureDomain::EVENT,
            "f48b4db5634a988348efbf0338cdd4434abd71f31df076facfe762b6db8edf7af33aa140afea00b3f77b5b4ccdf65d4f99145ce251a460389ab08e0837cb8903",
        ),
    ];

    fn key() -> SecretKey {
        SecretKey::from_seed(&std::array::from_fn(|index| index as u8))
    }

    fn bytes(hex: &str) -> [u8; 32] {
        hex::parse(hex).unwrap()
    }

    #[test]
    fn signatures_in_each_domain_are_pinned() {
        assert_eq!(
            key().public().to_string(),
            "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8",
            "the public key of a seed"
        );
        let digest = Digest::of(b"shard");
        for (domain, expected) in SIGNATURES {
            let signature = key().sign(domain, &digest);
            assert_eq!(signature.to_string(), expected, "{domain:?}");
            assert_eq!(expected.parse(), Ok(signature));
            assert_eq!(key().public().verify(domain, &digest, &signature), Ok(()));
            assert!(DOMAINS.contains(&domain.label()), "{domain:?} is listed");
        }
    }

    #[test]
    fn weak_keys_are_refused() {
        // The points of small order, each without the sign of its x and with it.
        for point in [
            "0100000000000000000000000000000000000000000000000000000000000000",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        ] {
            let mut point = bytes(point);
            assert_eq!(PublicKey::from_bytes(&point), Err(KeyError::Weak));
            point[31] |= 0x80;
            assert!(PublicKey::from_bytes(&point).is_err(), "{point:02x?}");
        }
    }

    #[test]
    fn no_point_has_a_second_encoding() {
        // The coordinate is below 2^255 − 19; these bytes write the nineteen numbers from there to 2^255 − 1.
        for excess in 0..19 {
            for sign in [0x7f, 0xff] {
                let mut point = [0xff; 32];
                point[0] = 0xed + excess;
                point[31] = sign;
                assert!(PublicKey::from_bytes(&point).is_err(), "excess {excess}");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_point_are_refused() {
        assert_eq!(PublicKey::from_bytes(&{ [2; 32] }), Err(KeyError::NotAPoint));
        assert_eq!("00".parse::<PublicKey>(), Err(KeyError::Hex(HexError::Length { expected: 64, found: 2 })));
    }

    #[test]
    fn a_signature_has_one_encoding() {
        // Adding the group's order to the scalar gives what older rules also accept.
        const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
        let digest = Digest::of(b"shard");
        let mut signature = *key().sign(SignatureDomain::COMMIT, &digest).as_bytes();
        let mut carry = 0;
        for (byte, order) in signature[32..].iter_mut().zip(bytes(ORDER)) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            *byte = sum as u8;
            carry = sum >> 8;
        }
        let rewritten = Signature::from_bytes(signature);
        let verified = key().public().verify(SignatureDomain::COMMIT, &digest, &rewritten);
        assert_eq!(verified, Err(SignatureError::Mismatch));
    }

    #[test]
    fn generated_keys_differ_and_are_not_printed() {
        let (one, other) = (SecretKey::generate().unwrap(), SecretKey::generate().unwrap());
        assert_ne!(one.public(), other.public());
        assert_eq!(format!("{one:?}"), "SecretKey(…)");
    }

    #[test]
    fn only_64_bytes_are_a_signature() {
        assert_eq!(Signature::from_slice(&[0; 63]), None);
        assert_eq!(Signature::from_slice(&[0; 65]), None);
        assert_eq!(Signature::from_slice(&[7; 64]), Some(Signature::from_bytes([7; 64])));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn what_a_key_signs_its_public_half_verifies(seed: [u8; 32], digest: [u8; 32]) {
            let (key, digest) = (SecretKey::from_seed(&seed), Digest::from_bytes(digest));
            let signature = key.sign(SignatureDomain::EVENT, &digest);
            prop_assert_eq!(key.public().verify(SignatureDomain::EVENT, &digest, &signature), Ok(()));
            prop_assert_eq!(*key.to_seed(), seed);
            prop_assert_eq!(PublicKey::from_bytes(key.public().as_bytes()), Ok(key.public()));
            prop_assert_eq!(key.public().to_string().parse::<PublicKey>(), Ok(key.public()));
        }

        #[test]
        fn any_flipped_bit_is_refused(seed: [u8; 32], digest: [u8; 32], bit in 0..8 * (64 + 32 + 32usize)) {
            let (key, digest) = (SecretKey::from_seed(&seed), Digest::from_bytes(digest));
            let signature = key.sign(SignatureDomain::COMMIT, &digest);
            let mut bytes = [&signature.as_bytes()[..], digest.as_bytes(), key.public().as_bytes()].concat();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let signature = Signature::from_slice(&bytes[..64]).unwrap();
            let digest = Digest::from_bytes(bytes[64..96].try_into().unwrap());
            let verified = PublicKey::from_bytes(bytes[96..].try_into().unwrap())
                .map_err(SignatureError::from)
                .and_then(|key| key.verify(SignatureDomain::COMMIT, &digest, &signature));
            prop_assert!(verified.is_err());
        }

        #[test]
        fn a_signature_holds_in_no_other_domain(seed: [u8; 32], digest: [u8; 32]) {
            let (key, digest) = (SecretKey::from_seed(&seed), Digest::from_bytes(digest));
            for (made, _) in SIGNATURES {
                let signature = key.sign(made, &digest);
                for (asked, _) in SIGNATURES {
                    let verified = key.public().verify(asked, &digest, &signature);
                    prop_assert_eq!(verified.is_ok(), made == asked);
                }
            }
        }

        #[test]
        fn any_bytes_are_a_key_or_an_error(bytes: [u8; 32]) {
            if let Ok(key) = PublicKey::from_bytes(&bytes) {
                prop_assert_eq!(key.as_bytes(), &bytes);
            }
        }
    }
}
