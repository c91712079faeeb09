//! The one CBOR encoder and decoder.
//!
//! Everything that is hashed or signed passes through here. The profile is RFC 8949 section 4.2.1 narrowed to major
//! types 0 to 5, false, true and null: shortest forms, definite lengths, map keys that are unsigned integers in strictly
//! ascending order. Floats, tags, other simple values and indefinite lengths do not exist. One value therefore has one
//! encoding, and the decoder refuses every other: what it accepts re-encodes to the same bytes.
//!
//! The decoder allocates nothing and borrows from its input. Depth and lengths are checked before they are acted on, so
//! a few hostile bytes cannot claim memory or stack. What the items mean is left to the types that implement
//! [`Canonical`].

use std::fmt;

/// Deepest nesting of arrays and maps that is accepted: nothing of ours nests beyond 8, and 32 leaves room to grow while
/// a decoder's state stays on the stack.
pub const MAX_DEPTH: usize = 32;

/// A value with exactly one encoding.
pub trait Canonical: Sized {
    /// Appends the encoding of `self` as one item.
    fn encode(&self, e: &mut Encoder);

    /// Reads one item.
    ///
    /// # Errors
    /// Whatever is not the one encoding of a value of this type.
    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError>;

    /// Returns the encoding.
    fn to_bytes(&self) -> Vec<u8> {
        let mut e = Encoder::new();
        self.encode(&mut e);
        e.into_bytes()
    }

    /// Decodes `input`, which must hold this value and nothing after it.
    ///
    /// # Errors
    /// As [`Canonical::decode`], and for trailing bytes.
    fn from_bytes(input: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(input);
        let value = Self::decode(&mut d)?;
        d.finish()?;
        Ok(value)
    }
}

/// Writes items, each in its shortest form, into a growing buffer.
///
/// The caller keeps two promises of the profile, since the encoder does not look back: as many items follow as
/// [`array`](Self::array) and [`map`](Self::map) announced, and map keys ascend.
#[derive(Debug, Clone, Default)]
pub struct Encoder {
    buffer: Vec<u8>,
}

impl Encoder {
    /// Starts with an empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts with an empty buffer that has room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { buffer: Vec::with_capacity(capacity) }
    }

    /// Appends to what `buffer` already holds.
    #[must_use]
    pub fn appending_to(buffer: Vec<u8>) -> Self {
        Self { buffer }
    }

    /// Opens an array of `items` items.
    pub fn array(&mut self, items: usize) -> &mut Self {
        self.head(4, items as u64)
    }

    /// Opens a map of `pairs` pairs; before each value comes its key, by [`uint`](Self::uint), in ascending order.
    pub fn map(&mut self, pairs: usize) -> &mut Self {
        self.head(5, pairs as u64)
    }

    /// Appends an unsigned integer.
    pub fn uint(&mut self, value: u64) -> &mut Self {
        self.head(0, value)
    }

    /// Appends a signed integer.
    pub fn int(&mut self, value: i64) -> &mut Self {
        // -1 - n and the bitwise complement are the same number, which never overflows.
        if value < 0 { self.head(1, !value as u64) } else { self.head(0, value as u64) }
    }

    /// Appends a byte string.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.head(2, value.len() as u64).raw(value)
    }

    /// Appends a text.
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.head(3, value.len() as u64).raw(value.as_bytes())
    }

    /// Appends `false` or `true`.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.buffer.push(if value { TRUE } else { FALSE });
        self
    }

    /// Appends null.
    pub fn null(&mut self) -> &mut Self {
        self.buffer.push(NULL);
        self
    }

    /// Appends `value`, or null for `None`.
    pub fn optional<T>(&mut self, value: Option<T>, some: impl FnOnce(&mut Self, T)) -> &mut Self {
        match value {
            Some(value) => some(self, value),
            None => self.buffer.push(NULL),
        }
        self
    }

    /// Appends another value.
    pub fn value<T: Canonical>(&mut self, value: &T) -> &mut Self {
        value.encode(self);
        self
    }

    /// Appends one item that is encoded already.
    pub fn raw(&mut self, item: &[u8]) -> &mut Self {
        self.buffer.extend_from_slice(item);
        self
    }

    /// Returns the bytes written so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Returns the bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.buffer
    }

    #[inline]
    fn head(&mut self, major: u8, argument: u64) -> &mut Self {
        let major = major << 5;
        if argument < 24 {
            self.buffer.push(major | argument as u8);
        } else if let Ok(argument) = u8::try_from(argument) {
            self.buffer.extend_from_slice(&[major | 24, argument]);
        } else if let Ok(argument) = u16::try_from(argument) {
            let [a, b] = argument.to_be_bytes();
            self.buffer.extend_from_slice(&[major | 25, a, b]);
        } else if let Ok(argument) = u32::try_from(argument) {
            let [a, b, c, d] = argument.to_be_bytes();
            self.buffer.extend_from_slice(&[major | 26, a, b, c, d]);
        } else {
            self.buffer.push(major | 27);
            self.buffer.extend_from_slice(&argument.to_be_bytes());
        }
        self
    }
}

/// What the next item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemType {
    /// A number from 0 to 2^64 - 1.
    Uint,
    /// A number from -2^64 to -1.
    NegativeInt,
    /// A byte string.
    Bytes,
    /// A UTF-8 text.
    Text,
    /// An array.
    Array,
    /// A map.
    Map,
    /// `false` or `true`.
    Bool,
    /// Null.
    Null,
}

impl fmt::Display for ItemType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uint => "an unsigned integer",
            Self::NegativeInt => "a negative integer",
            Self::Bytes => "bytes",
            Self::Text => "a text",
            Self::Array => "an array",
            Self::Map => "a map",
            Self::Bool => "a boolean",
            Self::Null => "null",
        })
    }
}

/// Why bytes are not the canonical encoding of what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The input ends inside an item.
    #[error("ends too early")]
    Truncated,
    /// Bytes follow the value.
    #[error("bytes follow the value")]
    Trailing,
    /// A shorter form of the same number or length exists.
    #[error("a number is not in its shortest form")]
    NotShortest,
    /// A float, tag, indefinite length or unknown simple value.
    #[error("byte {0:#04x} begins nothing the profile knows")]
    Unsupported(u8),
    /// An item of another type stands here.
    #[error("{expected} was expected, found {found}")]
    Unexpected {
        /// What the caller asked for.
        expected: ItemType,
        /// What is there.
        found: ItemType,
    },
    /// Arrays and maps nest beyond [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    NotUtf8,
    /// Map keys do not ascend, or are no unsigned integers.
    #[error("map keys are not ascending unsigned integers")]
    KeyOrder,
    /// A number or length is outside what its place allows.
    #[error("a value is out of range")]
    OutOfRange,
    /// The value has the right form and a wrong meaning; the word says which.
    #[error("{0}")]
    Invalid(&'static str),
}

/// A refusal, and where in the input it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {kind}")]
pub struct DecodeError {
    /// Position of the item refused, in bytes from the start of the input.
    pub offset: usize,
    /// Why.
    pub kind: DecodeErrorKind,
}

const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
const NULL: u8 = 0xf6;

/// Reads items from a slice, refusing everything that is not canonical.
///
/// It holds no heap memory. Strings are returned as slices of the input.
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    input: &'a [u8],
    position: usize,
    /// Items still to come in each open array and map, the innermost last.
    open: [usize; MAX_DEPTH],
    depth: usize,
}

impl<'a> Decoder<'a> {
    /// Starts at the first byte of `input`. The caller has bounded its length.
    #[must_use]
    pub fn new(input: &'a [u8]) -> Self {
        Self { input, position: 0, open: [0; MAX_DEPTH], depth: 0 }
    }

    /// Returns how many bytes were read.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Returns how many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.input.len() - self.position
    }

    /// Makes the error that refuses the value just read for a reason of the caller's.
    #[must_use]
    pub fn invalid(&self, reason: &'static str) -> DecodeError {
        self.error(self.position, DecodeErrorKind::Invalid(reason))
    }

    /// Returns the type of the next item without reading it.
    pub fn peek(&self) -> Result<ItemType, DecodeError> {
        let Some(&first) = self.input.get(self.position) else {
            return Err(self.error(self.position, DecodeErrorKind::Truncated));
        };
        Ok(match first >> 5 {
            0 => ItemType::Uint,
            1 => ItemType::NegativeInt,
            2 => ItemType::Bytes,
            3 => ItemType::Text,
            4 => ItemType::Array,
            5 => ItemType::Map,
            _ => match first {
                FALSE | TRUE => ItemType::Bool,
                NULL => ItemType::Null,
                other => return Err(self.error(self.position, DecodeErrorKind::Unsupported(other))),
            },
        })
    }

    /// Opens an array and returns how many items follow. There are at least as many bytes left, so memory for that many
    /// items of a byte each may be reserved; for larger ones reserve less.
    pub fn array(&mut self) -> Result<usize, DecodeError> {
        let at = self.position;
        let items = self.length(ItemType::Array)?;
        self.open(at, items)?;
        Ok(items)
    }

    /// Opens an array that has exactly `items` items.
    pub fn array_of(&mut self, items: usize) -> Result<(), DecodeError> {
        let at = self.position;
        if self.array()? == items { Ok(()) } else { Err(self.error(at, DecodeErrorKind::OutOfRange)) }
    }

    /// Opens a map. Its keys come from the value returned, which checks their order.
    pub fn map(&mut self) -> Result<MapKeys, DecodeError> {
        let at = self.position;
        let pairs = self.length(ItemType::Map)?;
        let items = pairs.checked_mul(2).ok_or_else(|| self.error(at, DecodeErrorKind::Truncated))?;
        self.open(at, items)?;
        Ok(MapKeys { left: pairs, least: Some(0) })
    }

    /// Reads an unsigned integer.
    #[inline]
    pub fn uint(&mut self) -> Result<u64, DecodeError> {
        self.enter_item();
        self.head(ItemType::Uint)
    }

    /// Reads an unsigned integer of at most `greatest`.
    pub fn uint_to(&mut self, greatest: u64) -> Result<u64, DecodeError> {
        let at = self.position;
        let value = self.uint()?;
        if value <= greatest { Ok(value) } else { Err(self.error(at, DecodeErrorKind::OutOfRange)) }
    }

    /// Reads an unsigned integer into a narrower type.
    pub fn uint_as<T: TryFrom<u64>>(&mut self) -> Result<T, DecodeError> {
        let at = self.position;
        T::try_from(self.uint()?).map_err(|_| self.error(at, DecodeErrorKind::OutOfRange))
    }

    /// Reads an integer that fits an `i64`.
    pub fn int(&mut self) -> Result<i64, DecodeError> {
        let at = self.position;
        self.enter_item();
        let negative = self.peek()? == ItemType::NegativeInt;
        let argument = self.head(if negative { ItemType::NegativeInt } else { ItemType::Uint })?;
        let value = i64::try_from(argument).map_err(|_| self.error(at, DecodeErrorKind::OutOfRange))?;
        Ok(if negative { !value } else { value })
    }

    /// Reads a byte string.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.length(ItemType::Bytes)?;
        let bytes = &self.input[self.position..self.position + length];
        self.position += length;
        Ok(bytes)
    }

    /// Reads a byte string of exactly `N` bytes.
    #[inline]
    pub fn bytes_of<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let at = self.position;
        self.bytes()?.try_into().map_err(|_| self.error(at, DecodeErrorKind::OutOfRange))
    }

    /// Reads a text. Any valid UTF-8 is accepted, whatever its Unicode normal form.
    #[inline]
    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        let at = self.position;
        let length = self.length(ItemType::Text)?;
        let bytes = &self.input[self.position..self.position + length];
        self.position += length;
        std::str::from_utf8(bytes).map_err(|_| self.error(at, DecodeErrorKind::NotUtf8))
    }

    /// Reads `false` or `true`.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        self.expect(ItemType::Bool)?;
        self.enter_item();
        let value = self.input[self.position] == TRUE;
        self.position += 1;
        Ok(value)
    }

    /// Reads null.
    pub fn null(&mut self) -> Result<(), DecodeError> {
        self.expect(ItemType::Null)?;
        self.enter_item();
        self.position += 1;
        Ok(())
    }

    /// Reads null as `None`, or else what `some` reads.
    pub fn optional<T>(
        &mut self,
        some: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.peek()? == ItemType::Null {
            self.null()?;
            return Ok(None);
        }
        some(self).map(Some)
    }

    /// Reads another value.
    pub fn value<T: Canonical>(&mut self) -> Result<T, DecodeError> {
        T::decode(self)
    }

    /// Reads one item whatever its type, with everything in it, and returns its encoding. All of it is checked.
    pub fn item(&mut self) -> Result<&'a [u8], DecodeError> {
        let start = self.position;
        self.skip()?;
        Ok(&self.input[start..self.position])
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// When bytes are left, or an array or map still lacks items.
    pub fn finish(mut self) -> Result<(), DecodeError> {
        self.close_full();
        if self.remaining() > 0 {
            return Err(self.error(self.position, DecodeErrorKind::Trailing));
        }
        if self.depth > 0 {
            return Err(self.error(self.position, DecodeErrorKind::Truncated));
        }
        Ok(())
    }

    /// Recurses at most [`MAX_DEPTH`] deep, which `open` enforces.
    fn skip(&mut self) -> Result<(), DecodeError> {
        match self.peek()? {
            ItemType::Uint => self.uint().map(drop),
            ItemType::NegativeInt => {
                self.enter_item();
                self.head(ItemType::NegativeInt).map(drop)
            }
            ItemType::Bytes => self.bytes().map(drop),
            ItemType::Text => self.text().map(drop),
            ItemType::Array => (0..self.array()?).try_for_each(|_| self.skip()),
            ItemType::Map => {
                let mut keys = self.map()?;
                while keys.next(self)?.is_some() {
                    self.skip()?;
                }
                Ok(())
            }
            ItemType::Bool => self.bool().map(drop),
            ItemType::Null => self.null(),
        }
    }

    fn expect(&self, expected: ItemType) -> Result<(), DecodeError> {
        let found = self.peek()?;
        if found == expected {
            return Ok(());
        }
        Err(self.error(self.position, DecodeErrorKind::Unexpected { expected, found }))
    }

    /// Reads the head of a string, array or map, and checks its length against the bytes that are left.
    fn length(&mut self, expected: ItemType) -> Result<usize, DecodeError> {
        let at = self.position;
        self.enter_item();
        let length = self.head(expected)?;
        match usize::try_from(length) {
            Ok(length) if length <= self.remaining() => Ok(length),
            _ => Err(self.error(at, DecodeErrorKind::Truncated)),
        }
    }

    #[inline]
    fn head(&mut self, expected: ItemType) -> Result<u64, DecodeError> {
        let at = self.position;
        self.expect(expected)?;
        let first = self.input[at];
        self.position += 1;
        let short = first & 0x1f;
        let (argument, least) = match short {
            0..24 => return Ok(u64::from(short)),
            24 => (u64::from(u8::from_be_bytes(self.take(at)?)), 24),
            25 => (u64::from(u16::from_be_bytes(self.take(at)?)), 1 << 8),
            26 => (u64::from(u32::from_be_bytes(self.take(at)?)), 1 << 16),
            27 => (u64::from_be_bytes(self.take(at)?), 1 << 32),
            _ => return Err(self.error(at, DecodeErrorKind::Unsupported(first))),
        };
        if argument < least {
            return Err(self.error(at, DecodeErrorKind::NotShortest));
        }
        Ok(argument)
    }

    #[inline]
    fn take<const N: usize>(&mut self, item: usize) -> Result<[u8; N], DecodeError> {
        let Some(bytes) = self.input[self.position..].first_chunk() else {
            return Err(self.error(item, DecodeErrorKind::Truncated));
        };
        self.position += N;
        Ok(*bytes)
    }

    fn open(&mut self, at: usize, items: usize) -> Result<(), DecodeError> {
        if items > self.remaining() {
            return Err(self.error(at, DecodeErrorKind::Truncated));
        }
        // Entering this item closed what was full. The parent may be full only since, and stays open around it.
        if self.depth == MAX_DEPTH {
            return Err(self.error(at, DecodeErrorKind::TooDeep));
        }
        self.open[self.depth] = items;
        self.depth += 1;
        Ok(())
    }

    #[inline]
    fn enter_item(&mut self) {
        self.close_full();
        if self.depth > 0 {
            self.open[self.depth - 1] -= 1;
        }
    }

    #[inline]
    fn close_full(&mut self) {
        while self.depth > 0 && self.open[self.depth - 1] == 0 {
            self.depth -= 1;
        }
    }

    fn error(&self, offset: usize, kind: DecodeErrorKind) -> DecodeError {
        DecodeError { offset, kind }
    }
}

/// The keys of a map that is being read.
#[derive(Debug, Clone)]
pub struct MapKeys {
    left: usize,
    /// Least key that may follow; `None` once the greatest possible one was seen.
    least: Option<u64>,
}

impl MapKeys {
    /// Reads the next key, or returns `None` after the last. The caller reads the value before asking again.
    pub fn next(&mut self, d: &mut Decoder<'_>) -> Result<Option<u64>, DecodeError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let at = d.position;
        let disorder = DecodeError { offset: at, kind: DecodeErrorKind::KeyOrder };
        if d.peek()? != ItemType::Uint {
            return Err(disorder);
        }
        let key = d.uint()?;
        if self.least.is_none_or(|least| key < least) {
            return Err(disorder);
        }
        self.least = key.checked_add(1);
        Ok(Some(key))
    }

    /// Reads the next key, which must be `key`.
    pub fn expect(&mut self, d: &mut Decoder<'_>, key: u64) -> Result<(), DecodeError> {
        let at = d.position;
        match self.next(d)? {
            Some(found) if found == key => Ok(()),
            _ => Err(DecodeError { offset: at, kind: DecodeErrorKind::Invalid("a field is missing or unknown") }),
        }
    }

    /// Returns how many pairs are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.left
    }
}

#[cfg(test)]
mod tests;
