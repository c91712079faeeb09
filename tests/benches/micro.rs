//! Parts of shard against the limits of the machine, measured in the same run.
//!
//! First a line with the number that has a goal: chunking and hashing on all cores, as a share of the limit
//! `cores × 1 / (1/cut + 1/hash)`, where `cut` and `hash` are what one core reaches at each alone. Then criterion's figures.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use std::{fs, hint, thread};

use criterion::{BatchSize, Criterion, Throughput};
use shard_core::RepoPath;
use shard_core::object::chunker::{ChunkerSetting, Cutter, Profile};
use shard_core::object::ingest::{IngestJob, IngestOptions, ingest};
use shard_core::object::{Discard, ObjectKind};
use shard_core::progress::Silent;
use shard_crypto::Digest;
use shard_storage::backend::{self, Backend, BackendKind, Batch, Durability, OpenMode, Table};
use shard_storage::pack::{Class, Codec, Completeness, FrameEntry, PackOrdinal, PackWriter, encode_frame};
use shard_storage::vfs::{Dir, Real};
use shard_tests::corpus::{self, SEED, Stream};

/// What the ingest hands a worker at a time; chunks of it are hashed while they are in cache.
const SLAB: usize = 4 << 20;
const DATA: usize = 256 << 20;

fn main() {
    // `cargo test --benches` only wants to know that it runs.
    let quick = std::env::args().any(|a| a == "--test");
    let data = random(if quick { 8 << 20 } else { DATA });
    if !quick {
        share_of_limit(&data);
    }
    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    chunks(&mut criterion, &data);
    packs(&mut criterion);
    backends(&mut criterion);
    criterion.final_summary();
}

fn random(len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    Stream::new(SEED, "micro").fill(&mut data);
    data
}

/// Cuts a slab and returns how many chunks there are.
fn cut(cutter: &Cutter, slab: &[u8]) -> usize {
    cutter.cuts(slab, true).count()
}

/// Hashes a slab in the pieces given.
fn hash(pieces: &[usize], slab: &[u8]) {
    let mut rest = slab;
    for length in pieces {
        let (piece, after) = rest.split_at(*length);
        hint::black_box(ObjectKind::Chunk.id(piece));
        rest = after;
    }
}

fn cut_and_hash(cutter: &Cutter, slab: &[u8]) {
    let mut rest = slab;
    for length in cutter.cuts(slab, true) {
        let (piece, after) = rest.split_at(length);
        hint::black_box(ObjectKind::Chunk.id(piece));
        rest = after;
    }
}

/// Prints how near the ingest comes to what the cores could do.
fn share_of_limit(data: &[u8]) {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let cutter = Profile::CDC32.cutter();
    let pieces: Vec<Vec<usize>> = data.chunks(SLAB).map(|slab| cutter.cuts(slab, true).collect()).collect();
    let cut = fastest(data.len(), || {
        for slab in data.chunks(SLAB) {
            hint::black_box(cut(&cutter, slab));
        }
    });
    let hash = fastest(data.len(), || {
        for (slab, pieces) in data.chunks(SLAB).zip(&pieces) {
            hash(pieces, slab);
        }
    });
    let limit = cores as f64 / (1.0 / cut + 1.0 / hash);
    let memory = fastest(data.len(), || on_all_cores(cores, data, &cutter));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let cached = from_cache(directory.path(), data.len(), cores);
    println!("one core cuts {} and hashes {}; the limit of {cores} cores is {}", rate(cut), rate(hash), rate(limit));
    println!("chunk + hash in memory: {}, {:.0} % of the limit (goal: 80 %)", rate(memory), 100.0 * memory / limit);
    println!("ingest of a file in the page cache, nothing kept: {}, {:.0} %", rate(cached), 100.0 * cached / limit);
}

fn on_all_cores(cores: usize, data: &[u8], cutter: &Cutter) {
    let slabs: Vec<&[u8]> = data.chunks(SLAB).collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(slab) = slabs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    cut_and_hash(cutter, slab);
                }
            });
        }
    });
}

/// The product's own pipeline, from a file the kernel holds in memory to ids.
fn from_cache(directory: &Path, len: usize, threads: usize) -> f64 {
    corpus::incompressible(&directory.join("big"), SEED, len as u64).expect("room for the data");
    let worktree = Dir::open_root(Arc::new(Real), directory).expect("it was just made");
    let path = RepoPath::parse("big").expect("a plain name");
    let jobs = [IngestJob { path, size: len as u64, recorded: None }];
    let options = IngestOptions { chunker: ChunkerSetting::default(), threads };
    fastest(len, || {
        hint::black_box(ingest(&worktree, &jobs, options, Discard, &Silent).expect("the file is there"));
    })
}

/// Returns the best of seven, in bytes a second.
fn fastest(bytes: usize, mut work: impl FnMut()) -> f64 {
    let times = (0..7).map(|_| {
        let begin = Instant::now();
        work();
        begin.elapsed().as_secs_f64()
    });
    bytes as f64 / times.fold(f64::INFINITY, f64::min)
}

fn rate(bytes_a_second: f64) -> String {
    format!("{:.2} GB/s", bytes_a_second / 1e9)
}

fn chunks(criterion: &mut Criterion, data: &[u8]) {
    let mut group = criterion.benchmark_group("chunk");
    let slab = &data[..SLAB];
    group.throughput(Throughput::Bytes(SLAB as u64));
    for (name, profile) in [("cdc16", Profile::CDC16), ("cdc32", Profile::CDC32), ("cdc256", Profile::CDC256)] {
        let cutter = profile.cutter();
        let pieces: Vec<usize> = cutter.cuts(slab, true).collect();
        group.bench_function(format!("cut {name}"), |b| b.iter(|| cut(&cutter, slab)));
        group.bench_function(format!("hash {name}"), |b| b.iter(|| hash(&pieces, slab)));
        group.bench_function(format!("cut and hash {name}"), |b| b.iter(|| cut_and_hash(&cutter, slab)));
    }
    group.finish();
}

/// Writes packs of 32 MiB, sealed and synced: with each frame's check, without compression.
fn packs(criterion: &mut Criterion) {
    const FRAMES: usize = 512;
    const PAYLOAD: usize = 64 << 10;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let objects = Dir::open_root(Arc::new(Real), directory.path()).expect("it was just made");
    let payloads = random(FRAMES * PAYLOAD);
    let entries: Vec<FrameEntry> = payloads
        .chunks(PAYLOAD)
        .map(|p| FrameEntry { id: Digest(ObjectKind::Chunk.id(p).0), kind: 0, length: PAYLOAD as u32 })
        .collect();
    let mut group = criterion.benchmark_group("pack");
    group.throughput(Throughput::Bytes((FRAMES * PAYLOAD) as u64)).sample_size(10);
    group.bench_function("write and seal 32 MiB", |b| {
        b.iter_batched(
            || PackWriter::create(&objects, PackOrdinal::first(Class::Data), Digest([7; 32]), Completeness::Complete),
            |writer| {
                let mut writer = writer.expect("room for a pack");
                let ordinal = writer.ordinal();
                let mut frame = Vec::new();
                for (entry, payload) in entries.iter().zip(payloads.chunks(PAYLOAD)) {
                    frame.clear();
                    encode_frame(Codec::RAW, &[*entry], payload, &mut frame).expect("within all limits");
                    writer.append_frame(&frame).expect("room in the pack");
                }
                drop(writer.seal().expect("a disk that syncs"));
                fs::remove_file(directory.path().join(ordinal.path())).expect("it was just written");
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// A thousand rows of 32-byte keys and 120-byte values in a batch, then single rows out of a hundred thousand.
fn backends(criterion: &mut Criterion) {
    const BATCH: u64 = 1000;
    let kinds = BackendKind::ALL.into_iter();
    for kind in kinds {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let place = Dir::open_root(Arc::new(Real), directory.path()).expect("it was just made");
        let store = match backend::open(kind, &place, OpenMode::ReadWrite) {
            Ok(store) => store,
            Err(error) => {
                println!("{kind}: {error}");
                continue;
            }
        };
        let mut group = criterion.benchmark_group(format!("backend {kind}"));
        for round in 0..100 {
            fill(&*store, round, BATCH);
        }
        let mut round = 100;
        group.throughput(Throughput::Elements(BATCH)).sample_size(20);
        group.bench_function("put 1,000 rows", |b| {
            b.iter(|| {
                fill(&*store, round, BATCH);
                // The same rows come again, so that the store stays as large as it is however long this runs.
                round = 100 + (round + 1) % 100;
            });
        });
        group.throughput(Throughput::Elements(1));
        let mut stream = Stream::new(SEED, "keys");
        group.bench_function("get", |b| {
            b.iter(|| {
                let found = store.get(Table::Commit, &key(stream.below(100 * BATCH))).expect("a store that reads");
                assert!(found.is_some());
            });
        });
        group.finish();
    }
}

fn fill(store: &dyn Backend, round: u64, rows: u64) {
    let mut batch = Batch::new();
    for row in 0..rows {
        batch.put(Table::Commit, key(round * rows + row), vec![round as u8; 120]);
    }
    store.apply(batch, Durability::Unsynced).expect("a store that writes");
}

fn key(number: u64) -> Vec<u8> {
    Digest::of(&number.to_le_bytes()).0.to_vec()
}
