//! Digests: 32-byte BLAKE3 values, and the labels that keep one use of the hash apart from every other.
//!
//! Whatever is named by its content is named by one of three functions: [`Digest::of`], the plain hash;
//! [`Context`], the hash under a label of its own; and [`ObjectHasher`], which gives stored objects their ids.

use std::{fmt, str::FromStr};

use zeroize::Zeroizing;

use crate::hex::{self, HexError};

/// A 32-byte BLAKE3 digest, ordered by its bytes.
///
/// Comparison is not constant-time: a digest is public, and what it is computed from is not derived from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Bytes in a digest.
    pub const LEN: usize = 32;

    /// Thirty-two zero bytes: a placeholder in fixed-size formats, never the digest of anything known.
    pub const ZERO: Self = Self([0; 32]);

    /// Computes the plain BLAKE3 hash of `bytes`, under no label.
    ///
    /// This is what signatures of commits, tags and ref sets are made over; whatever becomes a *name* takes a
    /// [`Context`] or an [`ObjectHasher`] instead.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Takes the 32 bytes of a digest computed elsewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the digest's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the first eight hexadecimal digits: for people to read, never to look anything up by.
    pub fn short(&self) -> String {
        hex::text(&self.0[..4])
    }
}

impl FromStr for Digest {
    type Err = HexError;

    /// Reads 64 hexadecimal digits of either case; a prefix is refused.
    fn from_str(text: &str) -> Result<Self, HexError> {
        hex::parse(text).map(Self)
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(&self.0, f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A label under which bytes are hashed, so that a digest computed for one purpose never answers for another.
///
/// It is BLAKE3's `derive_key` mode with the label as its context string. Labels are constants of the program, begin
/// with `shard v1 `, and no label in use is a prefix of another; each belongs in the list of the `domains` module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context(&'static str);

impl Context {
    /// Names a pack by its header and footer.
    pub const PACK: Self = Self::new("shard v1 pack");
    /// Names an event by its header.
    pub const EVENT_ID: Self = Self::new("shard v1 event id");
    /// Ties an event's body to its header.
    pub const EVENT_BODY: Self = Self::new("shard v1 event body");
    /// Names a closed chunk of events.
    pub const EVENT_CHUNK: Self = Self::new("shard v1 event chunk");
    /// Derives the id of an issue object which no event creates, such as the lease object.
    pub const OBJECT_NAME: Self = Self::new("shard v1 object name");
    /// Names the folded state of one issue.
    pub const ISSUE_STATE: Self = Self::new("shard v1 issue state");
    /// Names a snapshot of all issues.
    pub const ISSUE_SNAPSHOT: Self = Self::new("shard v1 issue snapshot");
    /// Names an entry of the undo log.
    pub const OPERATION: Self = Self::new("shard v1 operation");
    /// Names the signed part of a ref set, as the next one names it.
    pub const REF_SET_HEADER: Self = Self::new("shard v1 ref set header");

    /// Makes a context of a label; the label must be unique to its use.
    pub const fn new(label: &'static str) -> Self {
        Self(label)
    }

    /// Returns the label.
    pub const fn label(self) -> &'static str {
        self.0
    }

    /// Hashes `bytes` under the label.
    pub fn digest(self, bytes: &[u8]) -> Digest {
        self.hasher().update(bytes).finalize()
    }

    /// Starts a hash under the label of bytes that come in pieces.
    pub fn hasher(self) -> Hasher {
        Hasher(blake3::Hasher::new_derive_key(self.0))
    }
}

/// A hash under way; the pieces it is given are hashed as if they were one.
#[derive(Clone)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// Starts a plain hash, as [`Digest::of`] computes it.
    pub fn plain() -> Self {
        Self(blake3::Hasher::new())
    }

    /// Adds the next piece.
    pub fn update(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// Returns the digest of all pieces so far; more may follow.
    pub fn finalize(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher(…)")
    }
}

/// Gives objects of one kind their ids: BLAKE3, keyed for the kind and the repository.
///
/// The key is derived once, so that an id costs one keyed hash of the payload and nothing else. In a private repository
/// the secret keeps outsiders from confirming a guess at some content; in a public one it is empty.
#[derive(Clone)]
pub struct ObjectHasher(Zeroizing<[u8; 32]>);

impl ObjectHasher {
    /// Derives the key for the kind of this lower-case name, such as `chunk`, under the repository's secret.
    pub fn new(kind: &str, secret: &[u8]) -> Self {
        let mut context = String::from("shard v1 object ");
        context.push_str(kind);
        Self(Zeroizing::new(blake3::derive_key(&context, secret)))
    }

    /// Returns the id of an object with this payload.
    pub fn digest(&self, payload: &[u8]) -> Digest {
        Digest(*blake3::keyed_hash(&self.0, payload).as_bytes())
    }

    /// Starts the id of an object whose payload comes in pieces.
    pub fn hasher(&self) -> Hasher {
        Hasher(blake3::Hasher::new_keyed(&self.0))
    }
}

impl fmt::Debug for ObjectHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ObjectHasher(…)")
    }
}

/// An object hasher of this very key, to be held against published vectors.
#[cfg(test)]
pub(crate) fn keyed(key: [u8; 32]) -> ObjectHasher {
    ObjectHasher(Zeroizing::new(key))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::DOMAINS;

    /// The id of the payload `shard` in each kind, first without a secret, then under the secret 00, 01, …, 1f;
    /// computed with another implementation. Changing one changes every repository.
    const OBJECT_IDS: [(&str, &str, &str); 9] = [
        (
            "chunk",
            "e2981fe2256eca43a84fb1e0b290ec21f8b00aa94976e7eeee7a4e12e27da7e0",
            "a29a13aa3b1ae747344d6847e1ca29223b6665a2f7002bf47e8ee0f9ebbe138e",
        ),
        (
            "manifest",
            "91c7db85d2402cbe102a187e1472740c24a657ddaa6a6a7abcf2228f15a340a2",
            "099c126516eba986dc4c65c7256421fe3d91451dbd7468ec4bfe046837b45130",
        ),
        (
            "tree",
            "a66c71c2284196fc577870aca4e9f93d4896e290d45a455a848d6a057a5b7ba3",
            "41a3440694ad1d635fedff858f7b937de28613e239ce84a518f313a3e913a7d9",
        ),
        (
            "commit",
            "b90b782d746baa8f763842f1ba4a62cfecbf421fa22d691822d2b1ef7cd401b0",
            "9f2cf618091c909096cf23b3066d3f12e4f3692b1dfd781cbb248ea9c9fe4e37",
        ),
        (
            "tag",
            "8633483154bf571084d817249fcb934d22bcfd56e11f4ec5ccc651489f129ea6",
            "aa5ed7f6a3d5ad33ab237b6e0ddd85a7e8cbf8cb248b953458ec3af2f938a872",
        ),
        (
            "conflict",
            "80edca243dd47fdb134ab2ca268d1ce889443cc1b552885ad525bf48959ab526",
            "2bb1be22f51be58ca0972cf2cbd93da02d034c53431402fda2735f6c25a2a97c",
        ),
        (
            "database",
            "fa71f5f6aaef93e603a3f7839d8ec2de63261873d9f507251736698afcc4fe7d",
            "035ed058ac19c5f5b9982f210d47fa83f95628494d4e08e5acae0590ad83ed3f",
        ),
        (
            "issue state",
            "601ec14db974e38c13c7569928777390b4243335b005eed86484815d6cee4c28",
            "42f9c76884aeebc8aed0190c0da1e65d3beaf76ebcfc20c7120bd161ec5f398e",
        ),
        (
            "genesis",
            "dd29b451260c0db23f18798dd6fa8c51def25e94566451948936c9a1a6d7cbf1",
            "935039e38701350754bff64b3d48b7868f64701ba9259a7af65f3d00e0a7daab",
        ),
    ];

    /// The digest of `shard` in each context, computed with another implementation.
    const CONTEXTS: [(Context, &str); 8] = [
        (Context::PACK, "4ece450d30839e0ba76d23841d5fb6a89822b48e746c1b13e8dc87363f5d6444"),
        (Context::EVENT_ID, "e54d09d7c29ded3eb6b5475c5191d48ed76c11d3e0e3653233bb2b83c8df8c82"),
        (Context::EVENT_BODY, "9dad26afb730fe0d5dc3caa89f2ac2002c7187b784b220d4d4423b091fd4167d"),
        (Context::EVENT_CHUNK, "a14a1e81a97be3c9fd598f20a0a9ff66923b9900ab0d5bc663b74d27020b2ce1"),
        (Context::OBJECT_NAME, "552ea3d712ae3149ca4e0ae16bcd6f9ce59db1b25ad21739243903d096adc6a9"),
        (Context::ISSUE_STATE, "47afd9c00f3924e22ac0722b0b0ff591a107e043fa7ffdc4a11ed018a7ee4760"),
        (Context::ISSUE_SNAPSHOT, "064227918ef5ef7192b03c9b78d8b63eefd4218549731b26fdfaa307af68161b"),
        (Context::OPERATION, "6782a93602a5d9725c5745e6993ab59a16d472d9cac3cd71ad6057da543132ab"),
    ];

    #[test]
    fn object_ids_of_each_kind_are_pinned() {
        let secret: [u8; 32] = std::array::from_fn(|index| index as u8);
        for (kind, public, private) in OBJECT_IDS {
            assert_eq!(ObjectHasher::new(kind, b"").digest(b"shard").to_string(), public, "{kind}");
            assert_eq!(ObjectHasher::new(kind, &secret).digest(b"shard").to_string(), private, "private {kind}");
            assert!(DOMAINS.contains(&format!("shard v1 object {kind}").as_str()), "{kind} is listed");
        }
    }

    #[test]
    fn digests_of_each_context_are_pinned() {
        for (context, expected) in CONTEXTS {
            assert_eq!(context.digest(b"shard").to_string(), expected, "{context:?}");
            assert!(DOMAINS.contains(&context.label()), "{context:?} is listed");
        }
    }

    #[test]
    fn text_that_is_no_digest_says_why() {
        assert_eq!("".parse::<Digest>(), Err(HexError::Length { expected: 64, found: 0 }));
        assert_eq!("0".repeat(63).parse::<Digest>(), Err(HexError::Length { expected: 64, found: 63 }));
        assert_eq!("é".repeat(32).parse::<Digest>(), Err(HexError::Digit { position: 0 }));
        assert_eq!(format!("{}-", "0".repeat(63)).parse::<Digest>(), Err(HexError::Digit { position: 63 }));
        assert_eq!("0".repeat(64).parse::<Digest>(), Ok(Digest::ZERO));
    }

    #[test]
    fn the_key_of_an_object_hasher_is_not_printed() {
        assert_eq!(format!("{:?}", ObjectHasher::new("chunk", b"canary")), "ObjectHasher(…)");
        assert_eq!(format!("{:?}", ObjectHasher::new("chunk", b"canary").hasher()), "Hasher(…)");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn a_digest_reads_back_from_its_text(bytes: [u8; 32]) {
            let digest = Digest::from_bytes(bytes);
            prop_assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
            prop_assert_eq!(digest.to_string().to_uppercase().parse::<Digest>(), Ok(digest));
            prop_assert!(digest.to_string().starts_with(&digest.short()));
            prop_assert_eq!(digest.short().len(), 8);
        }

        #[test]
        fn labels_kinds_and_secrets_are_apart(payload: Vec<u8>, secret: [u8; 32]) {
            let mut ids: Vec<Digest> = CONTEXTS.iter().map(|(context, _)| context.digest(&payload)).collect();
            for (kind, ..) in OBJECT_IDS {
                ids.push(ObjectHasher::new(kind, b"").digest(&payload));
                ids.push(ObjectHasher::new(kind, &secret).digest(&payload));
            }
            ids.push(Digest::of(&payload));
            let count = ids.len();
            ids.sort_unstable();
            ids.dedup();
            prop_assert_eq!(ids.len(), count);
        }

        #[test]
        fn pieces_hash_as_their_whole(pieces: Vec<Vec<u8>>) {
            let whole = pieces.concat();
            let objects = ObjectHasher::new("chunk", b"");
            let hash = |mut hasher: Hasher| {
                pieces.iter().for_each(|piece| { hasher.update(piece); });
                hasher.finalize()
            };
            prop_assert_eq!(hash(objects.hasher()), objects.digest(&whole));
            prop_assert_eq!(hash(Context::PACK.hasher()), Context::PACK.digest(&whole));
            prop_assert_eq!(hash(Hasher::plain()), Digest::of(&whole));
        }
    }
}
