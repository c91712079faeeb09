//! Promises of packs and runs, each as a sentence.

mod crashes;
mod damage;
mod golden;
mod lies;
mod pack;
mod runs;
mod scanning;

use std::sync::Arc;

use shard_crypto::Digest;

use super::*;
use crate::vfs::{Dir, File, OpenOptions, Real};

const REPOSITORY: Digest = Digest([7; 32]);

/// A directory that stands for `objects/`, gone when dropped.
struct Objects {
    directory: tempfile::TempDir,
    dir: Dir,
}

impl Objects {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let dir = Dir::open_root(Arc::new(Real), directory.path()).unwrap();
        Self { directory, dir }
    }

    fn writer(&self) -> PackWriter {
        PackWriter::create(&self.dir, PackOrdinal::first(Class::Data), REPOSITORY, Completeness::Complete).unwrap()
    }

    fn open(&self, ordinal: PackOrdinal, options: OpenOptions) -> File {
        self.dir.open(ordinal.path(), options).unwrap()
    }

    fn reader(&self, ordinal: PackOrdinal) -> Result<PackReader> {
        PackReader::open(self.open(ordinal, OpenOptions::READ), ordinal, &REPOSITORY)
    }

    fn scanned(&self, ordinal: PackOrdinal, length: u64) -> Result<(OpenPack, Damage)> {
        OpenPack::open(self.open(ordinal, OpenOptions::READ), ordinal, &REPOSITORY, length)
    }

    fn recovered(&self, ordinal: PackOrdinal, registered: u64) -> Result<(PackWriter, Damage)> {
        PackWriter::recover(self.open(ordinal, OpenOptions::WRITE), ordinal, &REPOSITORY, registered)
    }

    fn bytes(&self, ordinal: PackOrdinal) -> Vec<u8> {
        std::fs::read(self.directory.path().join(ordinal.path())).unwrap()
    }

    fn replace(&self, ordinal: PackOrdinal, bytes: &[u8]) {
        std::fs::write(self.directory.path().join(ordinal.path()), bytes).unwrap();
    }
}

/// An object as tests know it: its bytes follow from its number.
fn object(n: u32, length: usize) -> (FrameEntry, Vec<u8>) {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&n.to_le_bytes()).finalize_xof().fill(&mut bytes);
    let id = Digest(*blake3::hash(&[&n.to_le_bytes()[..], &bytes].concat()).as_bytes());
    (FrameEntry { id, kind: (n % 9) as u8, length: length as u32 }, bytes)
}

/// A raw frame of the objects with these numbers.
fn frame(numbers: std::ops::Range<u32>, length: usize) -> Vec<u8> {
    let (entries, payloads): (Vec<_>, Vec<_>) = numbers.map(|n| object(n, length)).unzip();
    let mut out = Vec::new();
    encode_frame(Codec::RAW, &entries, &payloads.concat(), &mut out).unwrap();
    out
}

/// Objects 0 to 11 in four frames.
fn small_pack(objects: &Objects) -> (PackOrdinal, Vec<u64>) {
    let mut writer = objects.writer();
    let offsets = (0..4).map(|n| writer.append_frame(&frame(3 * n..3 * n + 3, 40)).unwrap().into()).collect();
    (writer.seal().unwrap().release().unwrap().ordinal(), offsets)
}

/// Reads an object through its location, as the store does: the frame's table has the last word.
fn fetch(found: Option<Location>, n: u32, read: impl Fn(u32, u32) -> Result<FrameBuffer>) -> Option<Vec<u8>> {
    let location = found?;
    let frame = read(location.offset, location.reach).ok()?;
    let entry = frame.view().entry(location.slot)?;
    let range = frame.view().raw_range(location.slot)?;
    let expected = object(n, entry.length as usize).0;
    (entry == expected && entry.kind == location.kind).then(|| frame.view().payload()[range].to_vec())
}
