//! Signed envelopes: a value, the digest of the bytes it was read from, and a signature over that digest.
//!
//! What arrives is `Signed<T, Unverified>`. Only [`Signed::verify`] turns it into `Signed<T, Verified>`, and only that
//! kind gives out its value for keeps; what stores or shows a value as somebody's word asks for it in its signature.

use crate::{ActorId, Digest, PublicKey, SecretKey, Signature, SignatureDomain, SignatureError};

/// The state of an envelope whose signature nobody has checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unverified(());

/// The state of an envelope whose signature holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    signer: ActorId,
}

/// A value with a signature over its digest.
///
/// The envelope takes the digest on trust: whoever decodes a value computes the digest of the very bytes it was decoded
/// from, and gives both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed<T, State> {
    value: T,
    digest: Digest,
    signature: Signature,
    state: State,
}

impl<T, State> Signed<T, State> {
    /// Returns the digest that is signed.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Returns the signature.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }
}

impl<T> Signed<T, Unverified> {
    /// Puts together what was decoded: the value, the digest of its encoding, and the signature that came with it.
    pub fn new(value: T, digest: Digest, signature: Signature) -> Self {
        Self { value, digest, signature, state: Unverified(()) }
    }

    /// Returns what the envelope claims, to find out whose signature it should bear and to report on it.
    pub fn claimed(&self) -> &T {
        &self.value
    }

    /// Gives up the envelope for what it claims.
    pub fn into_claimed(self) -> T {
        self.value
    }

    /// Says whether the signature holds, leaving the envelope as it is: for reports on what does not.
    ///
    /// # Errors
    /// As [`Signed::verify`].
    pub fn check(&self, domain: SignatureDomain, key: &PublicKey) -> Result<(), SignatureError> {
        key.verify(domain, &self.digest, &self.signature)
    }

    /// Checks that `key` signed the value in `domain`; the envelope is dropped if it did not.
    ///
    /// # Errors
    /// [`SignatureError::Mismatch`] if the signature is another's, over another digest, or of another domain.
    pub fn verify(self, domain: SignatureDomain, key: &PublicKey) -> Result<Signed<T, Verified>, SignatureError> {
        self.check(domain, key)?;
        let state = Verified { signer: key.actor() };
        Ok(Signed { value: self.value, digest: self.digest, signature: self.signature, state })
    }

    /// Checks that `actor` signed the value in `domain`; the envelope is dropped if it did not.
    ///
    /// # Errors
    /// [`SignatureError::Key`] if the actor's id is no key that could sign, and those of [`Signed::verify`].
    pub fn verify_actor(self, domain: SignatureDomain, actor: &ActorId) -> Result<Signed<T, Verified>, SignatureError> {
        let key = actor.public_key()?;
        self.verify(domain, &key)
    }
}

impl<T> Signed<T, Verified> {
    /// Signs a value of one's own.
    pub fn sign(value: T, digest: Digest, domain: SignatureDomain, key: &SecretKey) -> Self {
        let signature = key.sign(domain, &digest);
        Self { value, digest, signature, state: Verified { signer: key.actor() } }
    }

    /// Returns who signed.
    pub fn signer(&self) -> ActorId {
        self.state.signer
    }

    /// Returns the signed value.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Takes the envelope apart into the value and its signature.
    pub fn into_parts(self) -> (T, Signature) {
        (self.value, self.signature)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::KeyError;

    #[test]
    fn an_actor_that_is_no_key_has_signed_nothing() {
        let key = SecretKey::from_seed(&[1; 32]);
        let (body, signature) = Signed::sign("body", Digest::of(b"body"), SignatureDomain::COMMIT, &key).into_parts();
        let arrived = Signed::new(body, Digest::of(b"body"), signature);
        let refused = arrived.verify_actor(SignatureDomain::COMMIT, &ActorId::from_bytes([0; 32]));
        assert_eq!(refused, Err(SignatureError::Key(KeyError::Weak)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn what_was_signed_verifies_as_its_signers(seed: [u8; 32], body: Vec<u8>) {
            let key = SecretKey::from_seed(&seed);
            let ours = Signed::sign(body.clone(), Digest::of(&body), SignatureDomain::COMMIT, &key);
            prop_assert_eq!(ours.signer(), key.actor());

            let arrived = Signed::new(body.clone(), Digest::of(&body), *ours.signature());
            prop_assert_eq!(arrived.claimed(), &body);
            prop_assert_eq!(arrived.check(SignatureDomain::COMMIT, &key.public()), Ok(()));
            let theirs = arrived.verify_actor(SignatureDomain::COMMIT, &key.actor()).unwrap();
            prop_assert_eq!(theirs.value(), &body);
            prop_assert_eq!(theirs, ours);
        }

        #[test]
        fn another_body_domain_or_key_is_refused(seed: [u8; 32], body: Vec<u8>, flip in 1..=255u8) {
            let key = SecretKey::from_seed(&seed);
            let signature = key.sign(SignatureDomain::COMMIT, &Digest::of(&body));
            let arrived = |body: &[u8]| Signed::new((), Digest::of(body), signature);

            let mut other_body = body.clone();
            other_body.push(flip);
            let mut other_seed = seed;
            other_seed[0] ^= flip;
            let other_key = SecretKey::from_seed(&other_seed).public();
            let mismatch = Err(SignatureError::Mismatch);
            prop_assert_eq!(arrived(&other_body).verify(SignatureDomain::COMMIT, &key.public()), mismatch.clone());
            prop_assert_eq!(arrived(&body).verify(SignatureDomain::TAG, &key.public()), mismatch.clone());
            prop_assert_eq!(arrived(&body).verify(SignatureDomain::COMMIT, &other_key), mismatch);
        }
    }
}
