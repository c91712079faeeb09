//! Actors: who signs.

use std::{fmt, str::FromStr};

use crate::{
    KeyError, PublicKey,
    hex::{self, HexError},
};

/// An actor's identity: the bytes of its public key, ordered as bytes.
///
/// Any 32 bytes make an id, since one is read from data before anything is verified. Whether they are a key that can
/// sign is found out by [`ActorId::public_key`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActorId([u8; 32]);

impl ActorId {
    /// Bytes in an id.
    pub const LEN: usize = 32;

    /// Takes the bytes of an id, unchecked.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the id's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Decodes the key which the id is.
    ///
    /// # Errors
    /// Those of [`PublicKey::from_bytes`]: the id is no point of the curve, or a weak one.
    pub fn public_key(&self) -> Result<PublicKey, KeyError> {
        PublicKey::from_bytes(&self.0)
    }

    /// Returns the first eight hexadecimal digits: for people to read, never to decide by.
    pub fn short(&self) -> String {
        hex::text(&self.0[..4])
    }
}

impl From<PublicKey> for ActorId {
    fn from(key: PublicKey) -> Self {
        key.actor()
    }
}

impl AsRef<[u8]> for ActorId {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for ActorId {
    type Err = HexError;

    /// Reads 64 hexadecimal digits of either case.
    fn from_str(text: &str) -> Result<Self, HexError> {
        hex::parse(text).map(Self)
    }
}

impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(&self.0, f)
    }
}

impl fmt::Debug for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An actor and the name it is shown by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Who it is.
    pub id: ActorId,
    /// What it calls itself: text for people, which proves nothing.
    pub name: String,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() { f.pad(&self.id.short()) } else { f.pad(&self.name) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::SecretKey;

    #[test]
    fn an_actor_without_a_name_is_shown_by_its_id() {
        let id = ActorId::from_bytes([0xab; 32]);
        assert_eq!(Actor { id, name: String::new() }.to_string(), "abababab");
        assert_eq!(Actor { id, name: "ana".into() }.to_string(), "ana");
    }

    #[test]
    fn an_id_that_is_no_key_cannot_sign() {
        assert_eq!(ActorId::from_bytes([0; 32]).public_key(), Err(KeyError::Weak));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn an_actor_is_its_key(seed: [u8; 32]) {
            let key = SecretKey::from_seed(&seed);
            prop_assert_eq!(key.actor().public_key(), Ok(key.public()));
            prop_assert_eq!(key.actor().to_string().parse(), Ok(key.actor()));
            prop_assert_eq!(ActorId::from(key.public()), key.actor());
        }

        #[test]
        fn ids_are_ordered_as_their_bytes_and_their_text(one: [u8; 32], other: [u8; 32]) {
            let ids = (ActorId::from_bytes(one), ActorId::from_bytes(other));
            prop_assert_eq!(ids.0.cmp(&ids.1), one.cmp(&other));
            prop_assert_eq!(ids.0.to_string().cmp(&ids.1.to_string()), one.cmp(&other));
        }
    }
}
