//! Decoded frames kept in memory, the least recently used given up first.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use crate::ids::ObjectId;

use super::ObjectKind;

/// A decoded frame: the payloads of its objects one after another.
#[derive(Debug)]
pub(super) struct DecodedFrame {
    pub(super) raw: Vec<u8>,
    pub(super) objects: Vec<(ObjectId, Option<ObjectKind>, Range<u32>)>,
}

impl DecodedFrame {
    /// Bytes of memory it takes: many small objects take more than their payloads.
    fn cost(&self) -> usize {
        self.raw.capacity() + self.objects.capacity() * size_of::<(ObjectId, Option<ObjectKind>, Range<u32>)>()
    }
}

#[derive(Debug, Default)]
struct Inner {
    frames: HashMap<(u32, u32), (Arc<DecodedFrame>, u64)>,
    clock: u64,
    bytes: usize,
}

/// Decoded frames by pack and offset. Shared by threads; the lock is held for a lookup only.
#[derive(Debug)]
pub(super) struct FrameCache {
    inner: Mutex<Inner>,
    limit: usize,
}

impl FrameCache {
    /// Keeps at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { inner: Mutex::default(), limit }
    }

    pub(super) fn get(&self, key: (u32, u32)) -> Option<Arc<DecodedFrame>> {
        let mut inner = self.inner.lock().expect("nothing panics while holding the cache");
        inner.clock += 1;
        let now = inner.clock;
        let (frame, used) = inner.frames.get_mut(&key)?;
        *used = now;
        Some(frame.clone())
    }

    pub(super) fn insert(&self, key: (u32, u32), frame: Arc<DecodedFrame>) {
        let mut inner = self.inner.lock().expect("nothing panics while holding the cache");
        inner.clock += 1;
        let now = inner.clock;
        inner.bytes += frame.cost();
        if let Some((old, _)) = inner.frames.insert(key, (frame, now)) {
            inner.bytes -= old.cost();
        }
        if inner.bytes <= self.limit {
            return;
        }
        // Give up the older half at once, so that the cost is spread over many insertions.
        let mut ages: Vec<u64> = inner.frames.values().map(|(_, used)| *used).collect();
        let middle = ages.len() / 2;
        let (_, median, _) = ages.select_nth_unstable(middle);
        let median = *median;
        let mut kept = 0;
        inner.frames.retain(|_, (frame, used)| {
            let keep = *used > median || *used == now;
            if keep {
                kept += frame.cost();
            }
            keep
        });
        inner.bytes = kept;
    }
}
