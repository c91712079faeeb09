//! Endless bytes and numbers out of a seed.

use std::fmt;

/// A deterministic stream: BLAKE3's extendable output over seed and purpose.
pub struct Stream {
    reader: blake3::OutputReader,
    buffer: Box<[u8]>,
    at: usize,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("position", &self.reader.position()).finish()
    }
}

impl Stream {
    /// Begins the stream of `seed` for `purpose`; two purposes share nothing.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("shard v1 test corpus");
        hasher.update(&seed.to_le_bytes());
        hasher.update(purpose.as_bytes());
        let buffer = vec![0; 64 << 10].into_boxed_slice();
        Self { reader: hasher.finalize_xof(), at: buffer.len(), buffer }
    }

    /// Fills `bytes` from the stream, past what numbers have used up.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.reader.fill(bytes);
    }

    /// Returns the next 64 bits.
    pub fn number(&mut self) -> u64 {
        if self.at == self.buffer.len() {
            self.reader.fill(&mut self.buffer);
            self.at = 0;
        }
        let bytes = self.buffer[self.at..self.at + 8].try_into().expect("the buffer's length is a multiple of eight");
        self.at += 8;
        u64::from_le_bytes(bytes)
    }

    /// Returns a number below `bound`, which is at least 1. Even to one part in 2^32.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(bound)) >> 64) as u64
    }

    /// Returns an index into something `len` long; small indexes come much oftener than large ones, as words do.
    pub fn skewed(&mut self, len: usize) -> usize {
        let (a, b, c) = (self.below(len as u64), self.below(len as u64), self.below(len as u64));
        a.min(b).min(c) as usize
    }

    /// Returns an even index into something `len` long.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// Returns true `parts` times in a thousand.
    pub fn chance(&mut self, parts: u64) -> bool {
        self.below(1000) < parts
    }

    /// Returns a sample of a log-normal distribution with median 1: two to the power of a normal of deviation `doublings`.
    /// Uses basic IEEE operations only, so that every machine gets the same.
    pub fn log_normal(&mut self, doublings: f64) -> f64 {
        // Twelve evens add up to a normal of deviation one, near enough.
        let sum: f64 = (0..12).map(|_| self.below(1 << 32) as f64 / 4_294_967_296.0).sum();
        exp2((sum - 6.0) * doublings)
    }
}

/// Two to the power of `x`, by repeated doubling and a polynomial for the fraction.
fn exp2(x: f64) -> f64 {
    let whole = x.floor();
    let t = (x - whole) * std::f64::consts::LN_2;
    let fraction = 1.0 + t * (1.0 + t / 2.0 * (1.0 + t / 3.0 * (1.0 + t / 4.0 * (1.0 + t / 5.0 * (1.0 + t / 6.0)))));
    let mut scale = 1.0;
    for _ in 0..whole.abs() as u32 {
        scale *= 2.0;
    }
    if whole < 0.0 { fraction / scale } else { fraction * scale }
}
