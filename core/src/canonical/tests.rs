use proptest::prelude::*;

use super::*;

/// A value of the profile, for the laws.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Uint(u64),
    Negative(u64),
    Bytes(Vec<u8>),
    Text(String),
    Array(Vec<Value>),
    Map(Vec<(u64, Value)>),
    Bool(bool),
    Null,
}

impl Canonical for Value {
    fn encode(&self, e: &mut Encoder) {
        match self {
            Value::Uint(value) => e.uint(*value),
            Value::Negative(value) => e.head(1, *value),
            Value::Bytes(value) => e.bytes(value),
            Value::Text(value) => e.text(value),
            Value::Array(items) => items.iter().fold(e.array(items.len()), |e, item| e.value(item)),
            Value::Map(pairs) => pairs.iter().fold(e.map(pairs.len()), |e, (key, value)| e.uint(*key).value(value)),
            Value::Bool(value) => e.bool(*value),
            Value::Null => e.null(),
        };
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(match d.peek()? {
            ItemType::Uint => Value::Uint(d.uint()?),
            ItemType::NegativeInt => {
                d.enter_item();
                Value::Negative(d.head(ItemType::NegativeInt)?)
            }
            ItemType::Bytes => Value::Bytes(d.bytes()?.to_vec()),
            ItemType::Text => Value::Text(d.text()?.to_owned()),
            ItemType::Array => Value::Array((0..d.array()?).map(|_| d.value()).collect::<Result<_, _>>()?),
            ItemType::Map => {
                let mut keys = d.map()?;
                let mut pairs = Vec::new();
                while let Some(key) = keys.next(d)? {
                    pairs.push((key, d.value()?));
                }
                Value::Map(pairs)
            }
            ItemType::Bool => Value::Bool(d.bool()?),
            ItemType::Null => {
                d.null()?;
                Value::Null
            }
        })
    }
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<u64>().prop_map(Value::Uint),
        (0..64u32, any::<u64>()).prop_map(|(shift, value)| Value::Uint(value >> shift)),
        any::<u64>().prop_map(Value::Negative),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        ".{0,20}".prop_map(Value::Text),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Null),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..30).prop_map(Value::Array),
            prop::collection::btree_map(any::<u64>(), inner, 0..8)
                .prop_map(|pairs| Value::Map(pairs.into_iter().collect())),
        ]
    })
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// RFC 8949 Appendix A, every vector: whether it lies in the profile.
const APPENDIX_A: &[(&str, bool)] = &[
    ("00", true),
    ("01", true),
    ("0a", true),
    ("17", true),
    ("1818", true),
    ("1819", true),
    ("1864", true),
    ("1903e8", true),
    ("1a000f4240", true),
    ("1b000000e8d4a51000", true),
    ("1bffffffffffffffff", true),
    ("c249010000000000000000", false),
    ("3bffffffffffffffff", true),
    ("c349010000000000000000", false),
    ("20", true),
    ("29", true),
    ("3863", true),
    ("3903e7", true),
    ("f90000", false),
    ("f98000", false),
    ("f93c00", false),
    ("fb3ff199999999999a", false),
    ("f93e00", false),
    ("f97bff", false),
    ("fa47c35000", false),
    ("fa7f7fffff", false),
    ("fb7e37e43c8800759c", false),
    ("f90001", false),
    ("f90400", false),
    ("f9c400", false),
    ("fbc010666666666666", false),
    ("f97c00", false),
    ("f97e00", false),
    ("f9fc00", false),
    ("fa7f800000", false),
    ("fa7fc00000", false),
    ("faff800000", false),
    ("fb7ff0000000000000", false),
    ("fb7ff8000000000000", false),
    ("fbfff0000000000000", false),
    ("f4", true),
    ("f5", true),
    ("f6", true),
    ("f7", false),
    ("f0", false),
    ("f8ff", false),
    ("c074323031332d30332d32315432303a30343a30305a", false),
    ("c11a514b67b0", false),
    ("c1fb41d452d9ec200000", false),
    ("d74401020304", false),
    ("d818456449455446", false),
    ("d82076687474703a2f2f7777772e6578616d706c652e636f6d", false),
    ("40", true),
    ("4401020304", true),
    ("60", true),
    ("6161", true),
    ("6449455446", true),
    ("62225c", true),
    ("62c3bc", true),
    ("63e6b0b4", true),
    ("64f0908591", true),
    ("80", true),
    ("83010203", true),
    ("8301820203820405", true),
    ("98190102030405060708090a0b0c0d0e0f101112131415161718181819", true),
    ("a0", true),
    ("a201020304", true),
    ("a26161016162820203", false),
    ("826161a161626163", false),
    ("a56161614161626142616361436164614461656145", false),
    ("5f42010243030405ff", false),
    ("7f657374726561646d696e67ff", false),
    ("9fff", false),
    ("9f018202039f0405ffff", false),
    ("9f01820203820405ff", false),
    ("83018202039f0405ff", false),
    ("83019f0203ff820405", false),
    ("9f0102030405060708090a0b0c0d0e0f101112131415161718181819ff", false),
    ("bf61610161629f0203ffff", false),
    ("826161bf61626163ff", false),
    ("bf6346756ef563416d7421ff", false),
];

#[test]
fn appendix_a_vectors_are_accepted_exactly_when_they_lie_in_the_profile() {
    for &(hex, in_profile) in APPENDIX_A {
        let bytes = unhex(hex);
        match Value::from_bytes(&bytes) {
            Ok(value) => {
                assert!(in_profile, "{hex} should be refused, decoded as {value:?}");
                assert_eq!(value.to_bytes(), bytes, "{hex} re-encodes differently");
            }
            Err(error) => assert!(!in_profile, "{hex}: {error}"),
        }
    }
}

#[test]
fn numbers_and_texts_have_the_values_the_rfc_gives() {
    assert_eq!(Value::from_bytes(&unhex("1b000000e8d4a51000")), Ok(Value::Uint(1_000_000_000_000)));
    assert_eq!(Value::from_bytes(&unhex("63e6b0b4")), Ok(Value::Text("水".to_owned())));
    for (hex, expected) in [("20", -1), ("29", -10), ("3863", -100), ("3903e7", -1000), ("1903e8", 1000), ("00", 0)] {
        let bytes = unhex(hex);
        assert_eq!(Decoder::new(&bytes).int(), Ok(expected));
        assert_eq!(Encoder::new().int(expected).as_bytes(), bytes);
    }
    for extreme in [i64::MIN, i64::MAX] {
        let mut e = Encoder::new();
        assert_eq!(Decoder::new(e.int(extreme).as_bytes()).int(), Ok(extreme));
    }
    for beyond in ["1b8000000000000000", "3b8000000000000000", "3bffffffffffffffff"] {
        let bytes = unhex(beyond);
        let refused = Decoder::new(&bytes).int().unwrap_err();
        assert_eq!(refused.kind, DecodeErrorKind::OutOfRange, "{beyond} does not fit an i64");
    }
}

#[test]
fn non_canonical_twins_are_refused() {
    use DecodeErrorKind::*;
    for (hex, kind) in [
        // A longer form of 0, 23, 24, 255, 256, 65535, 65536 and 2^32 - 1.
        ("1800", NotShortest),
        ("1817", NotShortest),
        ("190018", NotShortest),
        ("1900ff", NotShortest),
        ("1a00000100", NotShortest),
        ("1a0000ffff", NotShortest),
        ("1b0000000000010000", NotShortest),
        ("1b00000000ffffffff", NotShortest),
        ("3800", NotShortest),
        // Longer lengths.
        ("580161", NotShortest),
        ("780161", NotShortest),
        ("980101", NotShortest),
        ("b8010101", NotShortest),
        // Reserved and indefinite heads.
        ("1c", Unsupported(0x1c)),
        ("5f4161ff", Unsupported(0x5f)),
        ("9f01ff", Unsupported(0x9f)),
        ("bf0101ff", Unsupported(0xbf)),
        ("ff", Unsupported(0xff)),
        ("c000", Unsupported(0xc0)),
        ("f7", Unsupported(0xf7)),
        ("f814", Unsupported(0xf8)),
        // Keys out of order, twice, and of another type.
        ("a203040102", KeyOrder),
        ("a201020103", KeyOrder),
        ("a1200a", KeyOrder),
        ("a1410a01", KeyOrder),
        ("a21bffffffffffffffff000000", KeyOrder),
        // Too little and too much.
        ("", Truncated),
        ("18", Truncated),
        ("1901", Truncated),
        ("4261", Truncated),
        ("8201", Truncated),
        ("a101", Truncated),
        ("5bffffffffffffffff", Truncated),
        ("9bffffffffffffffff", Truncated),
        ("bb8000000000000001", Truncated),
        ("0000", Trailing),
        ("8000", Trailing),
        // Bad UTF-8: a lone continuation, an overlong slash, a surrogate, a cut sequence.
        ("6180", NotUtf8),
        ("62c0af", NotUtf8),
        ("63eda080", NotUtf8),
        ("62e6b0", NotUtf8),
    ] {
        let refused = Value::from_bytes(&unhex(hex)).expect_err(hex);
        assert_eq!(refused.kind, kind, "{hex}");
    }
}

#[test]
fn depth_32_is_read_and_33_is_refused() {
    let nested = |depth: usize| [vec![0x81; depth], vec![0x00]].concat();
    assert!(Value::from_bytes(&nested(MAX_DEPTH)).is_ok());
    for depth in [MAX_DEPTH + 1, 100_000] {
        let bytes = nested(depth);
        assert_eq!(Value::from_bytes(&bytes).unwrap_err().kind, DecodeErrorKind::TooDeep);
        assert_eq!(Decoder::new(&bytes).item().unwrap_err().kind, DecodeErrorKind::TooDeep);
    }
    // Siblings do not add up: depth is nesting.
    let wide = [vec![0x98, 200], [0x81, 0x80].repeat(200)].concat();
    assert!(Value::from_bytes(&wide).is_ok());
}

#[test]
fn an_item_is_skipped_whole_and_checked() {
    let bytes = unhex("8201a2018202f6056161");
    let mut d = Decoder::new(&bytes);
    assert_eq!(d.array(), Ok(2));
    d.uint().unwrap();
    assert_eq!(d.item().unwrap(), unhex("a2018202f6056161"));
    d.finish().unwrap();
    assert_eq!(Decoder::new(&unhex("820118ff1800")[..]).item().map(<[u8]>::len), Ok(4));
    assert_eq!(Decoder::new(&unhex("82011800")).item().unwrap_err().kind, DecodeErrorKind::NotShortest);
}

#[test]
fn a_value_that_reads_too_few_items_does_not_finish() {
    let bytes = unhex("820102");
    let mut d = Decoder::new(&bytes);
    d.array_of(2).unwrap();
    d.uint().unwrap();
    assert_eq!(d.clone().finish().unwrap_err().kind, DecodeErrorKind::Trailing);
    let mut d = Decoder::new(&bytes[..2]);
    assert_eq!(d.array().unwrap_err().kind, DecodeErrorKind::Truncated, "two items need two bytes");
}

#[test]
fn fifty_thousand_entries_decode_without_allocating() {
    let mut e = Encoder::with_capacity(4 << 20);
    e.array(50_000);
    for n in 0..50_000u64 {
        e.array(4).text(&format!("file-{n:08}")).uint(0).uint(n * 7).bytes(&[n as u8; 32]);
    }
    let bytes = e.into_bytes();
    let mut d = Decoder::new(&bytes);
    let mut total = 0;
    for _ in 0..d.array().unwrap() {
        d.array_of(4).unwrap();
        assert!(d.text().unwrap().starts_with("file-"));
        assert_eq!(d.uint(), Ok(0));
        total += d.uint().unwrap();
        assert_eq!(d.bytes_of::<32>().unwrap().len(), 32);
    }
    d.finish().unwrap();
    assert_eq!(total, 7 * 49_999 * 25_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_encoded_decodes_to_the_same(value in values()) {
        let bytes = value.to_bytes();
        prop_assert_eq!(Value::from_bytes(&bytes).unwrap(), value);
        prop_assert_eq!(Decoder::new(&bytes).item().unwrap(), &bytes[..]);
    }

    #[test]
    fn what_is_accepted_re_encodes_to_the_same_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(value) = Value::from_bytes(&bytes) {
            prop_assert_eq!(value.to_bytes(), bytes);
        }
    }

    #[test]
    fn a_changed_byte_is_refused_or_means_something_else(
        value in values(), at in any::<prop::sample::Index>(), with in 1u8..
    ) {
        let mut bytes = value.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= with;
        if let Ok(other) = Value::from_bytes(&bytes) {
            prop_assert_ne!(&other, &value);
            prop_assert_eq!(other.to_bytes(), bytes);
        }
    }

    #[test]
    fn no_prefix_of_an_encoding_is_accepted(value in values()) {
        let bytes = value.to_bytes();
        for end in 0..bytes.len() {
            prop_assert!(Value::from_bytes(&bytes[..end]).is_err());
        }
    }
}
