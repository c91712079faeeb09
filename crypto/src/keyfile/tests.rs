use proptest::prelude::*;

use super::*;

const FIXTURE_PLAIN: &[u8] = include_bytes!("../../tests/fixtures/key-v1-plain");
const FIXTURE_FLOOR: &[u8] = include_bytes!("../../tests/fixtures/key-v1-sealed-floor");
const FIXTURE_DEFAULT: &[u8] = include_bytes!("../../tests/fixtures/key-v1-sealed-default");
const FIXTURE_LANES: &[u8] = include_bytes!("../../tests/fixtures/key-v1-sealed-lanes");

fn key() -> SecretKey {
    SecretKey::from_seed(&std::array::from_fn(|index| index as u8))
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.into())
}

fn open(bytes: &[u8], with: Option<&Passphrase>) -> Result<ActorId, KeyFileError> {
    let key = KeyFile::parse(bytes)?.open(with)?;
    Ok(key.actor())
}

/// A sealed fixture with one of its parameters replaced.
fn with_cost(memory_kib: u32, passes: u32, lanes: u32) -> Vec<u8> {
    let mut bytes = FIXTURE_FLOOR.to_vec();
    bytes[COST..SALT].copy_from_slice(&SealCost { memory_kib, passes, lanes }.encode());
    bytes
}

#[test]
fn key_files_of_version_1_open() {
    let horse = passphrase("correct horse battery staple");
    let other = SecretKey::from_seed(&[7; 32]).actor();
    assert_eq!(open(FIXTURE_PLAIN, None), Ok(key().actor()));
    assert_eq!(open(FIXTURE_FLOOR, Some(&horse)), Ok(key().actor()));
    assert_eq!(open(FIXTURE_DEFAULT, Some(&horse)), Ok(key().actor()));
    assert_eq!(open(FIXTURE_LANES, Some(&passphrase("Pässwörter, 密码"))), Ok(other));
}

#[test]
fn key_files_are_written_as_version_1() {
    let horse = passphrase("correct horse battery staple");
    let salt = std::array::from_fn(|index| 0x40 + index as u8);
    let nonce = std::array::from_fn(|index| 0x80 + index as u8);
    assert_eq!(KeyFile::plain(&key()).as_bytes(), FIXTURE_PLAIN);
    let sealed = KeyFile::seal_with(&key(), &horse, SealCost::FLOOR, &salt, &nonce).unwrap();
    assert_eq!(sealed.as_bytes(), FIXTURE_FLOOR);
}

#[test]
fn a_locked_key_file_names_its_actor_and_its_cost() {
    let file = KeyFile::parse(FIXTURE_DEFAULT).unwrap();
    assert_eq!((file.actor(), file.cost()), (key().actor(), Some(SealCost::DEFAULT)));
    assert!(file.is_sealed());
    assert!(!KeyFile::parse(FIXTURE_PLAIN).unwrap().is_sealed());
}

#[test]
fn a_sealed_key_opens_with_its_passphrase_only() {
    let sealed = KeyFile::seal(&key(), &passphrase("one"), SealCost::FLOOR).unwrap();
    let (len, bytes) = (sealed.as_bytes().len(), sealed.as_bytes());
    assert_eq!(len, KeyFile::SEALED_LEN);
    assert!(!bytes.windows(32).any(|window| window == *key().to_seed()), "the seed is not in the file");
    assert_eq!(open(bytes, None), Err(KeyFileError::NeedsPassphrase));
    assert_eq!(open(bytes, Some(&passphrase("One"))), Err(KeyFileError::WrongPassphrase));
    assert_eq!(open(bytes, Some(&passphrase(""))), Err(KeyFileError::WrongPassphrase));
    assert_eq!(open(bytes, Some(&passphrase("one"))), Ok(key().actor()));
}

#[test]
fn sealing_twice_gives_different_files() {
    let seal = || KeyFile::seal(&key(), &passphrase("one"), SealCost::FLOOR).unwrap();
    let (one, other) = (seal(), seal());
    assert_ne!(one.as_bytes()[SALT..], other.as_bytes()[SALT..]);
}

#[test]
fn an_empty_passphrase_seals_nothing() {
    let sealed = KeyFile::seal(&key(), &passphrase(""), SealCost::FLOOR);
    assert_eq!(sealed.unwrap_err(), KeyFileError::EmptyPassphrase);
}

#[test]
fn parameters_out_of_bounds_are_refused_before_anything_is_derived() {
    for (memory_kib, passes, lanes) in [
        (19 * 1024 - 1, 2, 1),
        (19 * 1024, 1, 1),
        (19 * 1024, 0, 1),
        (19 * 1024, 2, 0),
        (8, 1, 1),
        (1024 * 1024 + 1, 2, 1),
        (1 << 31, 3, 1),
        (u32::MAX, u32::MAX, u32::MAX),
        (64 * 1024, 17, 1),
        (64 * 1024, 3, 17),
    ] {
        let refused = KeyFileError::ParametersOutOfBounds { memory_kib, passes, lanes };
        assert_eq!(SealCost::new(memory_kib, passes, lanes), Err(refused));
        let parsed = KeyFile::parse(&with_cost(memory_kib, passes, lanes));
        assert_eq!(parsed.unwrap_err(), refused);
    }
}

#[test]
fn bounds_are_themselves_accepted() {
    for bound in [SealCost::FLOOR, SealCost::DEFAULT, SealCost::CEILING] {
        assert_eq!(SealCost::new(bound.memory_kib(), bound.passes(), bound.lanes()), Ok(bound));
    }
}

#[test]
fn altered_parameters_within_bounds_do_not_open_the_key() {
    let horse = passphrase("correct horse battery staple");
    for altered in [with_cost(19 * 1024 + 1, 2, 1), with_cost(19 * 1024, 3, 1), with_cost(19 * 1024, 2, 2)] {
        assert_eq!(open(&altered, Some(&horse)), Err(KeyFileError::WrongPassphrase));
    }
}

#[test]
fn a_sealed_key_file_is_not_taken_for_a_plain_one() {
    let mut relabelled = FIXTURE_FLOOR.to_vec();
    relabelled[9] = PLAIN;
    assert!(matches!(KeyFile::parse(&relabelled), Err(KeyFileError::Malformed(_))));
    assert!(matches!(
        KeyFile::parse(&relabelled[..KeyFile::PLAIN_LEN]).unwrap().open(None),
        Err(KeyFileError::Malformed(_))
    ));
}

#[test]
fn a_later_version_is_refused_as_such() {
    for fixture in [FIXTURE_PLAIN, FIXTURE_FLOOR] {
        let mut later = fixture.to_vec();
        later[8] = 2;
        later.push(0);
        assert_eq!(KeyFile::parse(&later).unwrap_err(), KeyFileError::UnsupportedVersion { found: 2 });
    }
}

#[test]
fn a_file_of_another_length_is_refused() {
    for fixture in [FIXTURE_PLAIN, FIXTURE_FLOOR] {
        for length in 0..fixture.len() {
            assert!(matches!(KeyFile::parse(&fixture[..length]), Err(KeyFileError::Malformed(_))), "{length} bytes");
        }
        assert!(matches!(KeyFile::parse(&[fixture, b"\n"].concat()), Err(KeyFileError::Malformed(_))));
    }
}

#[test]
fn every_flipped_bit_of_a_plain_key_file_is_refused() {
    for bit in 0..8 * FIXTURE_PLAIN.len() {
        let mut altered = FIXTURE_PLAIN.to_vec();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&altered, None).is_err(), "bit {bit}");
    }
}

#[test]
fn secrets_are_not_printed() {
    let canary = "canary-9f31";
    assert_eq!(format!("{:?}", passphrase(canary)), "Passphrase(…)");
    let printed = format!("{:?}", KeyFile::plain(&key()));
    assert!(printed.contains(&key().actor().to_string()));
    assert!(!printed.contains("000102030405") && !printed.contains("0, 1, 2, 3, 4, 5"), "{printed}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_plain_key_file_gives_its_key_back(seed: [u8; 32]) {
        let key = SecretKey::from_seed(&seed);
        prop_assert_eq!(open(KeyFile::plain(&key).as_bytes(), None), Ok(key.actor()));
    }

    #[test]
    fn any_bytes_are_a_key_file_or_an_error(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), valid in 0..10usize) {
        let valid = valid.min(bytes.len());
        bytes[..valid].copy_from_slice(&FIXTURE_FLOOR[..valid]);
        if let Ok(file) = KeyFile::parse(&bytes) {
            prop_assert_eq!(file.as_bytes(), bytes);
        }
    }
}

// Each case derives a key: fewer of them.
proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn sealing_and_opening_give_the_key_back(seed: [u8; 32], text in ".{1,64}") {
        let (key, text) = (SecretKey::from_seed(&seed), passphrase(&text));
        let sealed = KeyFile::seal(&key, &text, SealCost::FLOOR).unwrap();
        prop_assert_eq!(open(sealed.as_bytes(), Some(&text)), Ok(key.actor()));
    }

    // The parameters have tests of their own: a flipped bit of theirs may ask for a gigabyte.
    #[test]
    fn any_flipped_bit_of_a_sealed_key_file_is_refused(
        byte in prop_oneof![0..COST, SALT..KeyFile::SEALED_LEN],
        bit in 0..8u32,
    ) {
        let mut altered = FIXTURE_FLOOR.to_vec();
        altered[byte] ^= 1 << bit;
        prop_assert!(open(&altered, Some(&passphrase("correct horse battery staple"))).is_err());
    }
}
