//! `shard demo`: the whole of it on real data, checked at every step.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shard_core::ids::CommitId;
use shard_core::object::ingest::MAX_THREADS;
use shard_core::remote;
use shard_core::repository::init::InitOptions;
use shard_core::repository::{Repository, Settings};
use shard_core::worktree::{CommitOptions, CommitReport, StatusOptions};
use shard_crypto::Hasher;
use shard_storage::vfs::{Real, Vfs};

use crate::args::DemoArgs;
use crate::failure::{Code, Failure, Result};
use crate::invocation::Invocation;
use crate::page::{Page, dim, plain};
use crate::quantity;
use crate::view::{DemoReport, DemoStep, View};

/// Bytes of a model that one edit replaces.
const EDIT: usize = 64 << 10;
/// Most bytes of source that are taken along.
const MOST_SOURCE: u64 = 64 << 20;

/// Commits a real tree and a generated file, edits 1 %, restores, verifies, clones, pulls, and compares what came out with
/// what went in. Any difference is a failure.
pub(super) fn run(invocation: &Invocation, args: &DemoArgs) -> Result<DemoReport> {
    let directory = std::env::temp_dir().join(format!("shard-demo-{}", std::process::id()));
    fs::create_dir_all(&directory).map_err(io("create", &directory))?;
    let mut demo = Demo { invocation, vfs: Arc::new(Real), directory, steps: Vec::new() };
    let result = demo.play(args);
    let keep = args.keep;
    if !keep {
        // What stays is in the system's own directory for such things.
        let _ = fs::remove_dir_all(&demo.directory);
    }
    result?;
    Ok(DemoReport { directory: keep.then(|| demo.directory.display().to_string()), steps: demo.steps })
}

struct Demo<'a> {
    invocation: &'a Invocation,
    vfs: Arc<dyn Vfs>,
    directory: PathBuf,
    steps: Vec<DemoStep>,
}

/// What a directory holds: path to a digest of mode and content.
type Picture = BTreeMap<String, String>;

impl Demo<'_> {
    fn play(&mut self, args: &DemoArgs) -> Result<()> {
        let (ana, bo) = (self.directory.join("ana"), self.directory.join("bo"));
        fs::create_dir_all(&ana).map_err(io("create", &ana))?;
        let started = Instant::now();
        let files = self.bring_source(&ana)?;
        let model = ana.join("model.bin");
        let bytes = generate(&model, u64::from(args.size) << 20)?;
        let (repository, _) = Repository::init(self.vfs.clone(), &ana, InitOptions::default(), self.settings("ana"))?;
        self.step(
            "made",
            started,
            format!("ana: {} of source and model.bin, {}", quantity::of(files, "file"), quantity::bytes(bytes)),
        );

        let (first, one) = self.commit(&repository, &ana, "epoch 1")?;
        let changed = edit(&model, bytes)?;
        let (second, two) = self.commit(&repository, &ana, "epoch 2: 1 % of the model")?;
        let reused = bytes.saturating_sub(second.new_bytes);
        let last = self.steps.last_mut().expect("a commit was just noted");
        last.detail.push_str(&format!(
            "; {} edited, {:.1} % of the model reused",
            quantity::bytes(changed),
            reused as f64 * 100.0 / bytes as f64
        ));

        let started = Instant::now();
        for (commit, expected, name) in [(&first, &one, "one"), (&second, &two, "two")] {
            let target = self.directory.join(name);
            repository.export_directory(&self.vfs, id_of(commit)?, &target, &self.invocation.progress)?;
            compare(&format!("epoch {name}, restored"), expected, &picture(&target)?)?;
        }
        self.step("restored", started, "both epochs, every file as it was".to_owned());

        let started = Instant::now();
        let store = repository.store(&repository.state()?)?;
        let report = repository.verify(&store, &[id_of(&second)?], &self.invocation.progress)?;
        if let Some(failure) = report.failures.first() {
            return Err(differs(format!("verify found {failure:?}")));
        }
        self.step(
            "verified",
            started,
            format!(
                "{} and {}, {}",
                quantity::of(report.commits, "signature"),
                quantity::of(report.objects, "object"),
                quantity::bytes(report.bytes)
            ),
        );

        let started = Instant::now();
        let source = remote::Source::open(self.vfs.clone(), &ana, self.settings("bo"))?;
        let (theirs, cloned) = remote::clone(
            self.vfs.clone(),
            &source,
            &bo,
            remote::CloneOptions::default(),
            self.settings("bo"),
            &self.invocation.progress,
        )?;
        compare("the clone", &two, &picture(&bo)?)?;
        self.step(
            "cloned",
            started,
            format!(
                "bo: {}, {}, every object checked",
                quantity::of(cloned.fetch.objects, "object"),
                quantity::bytes(cloned.fetch.bytes)
            ),
        );

        edit(&model, bytes)?;
        let (third, three) = self.commit(&repository, &ana, "epoch 3")?;
        let started = Instant::now();
        let source = remote::Source::open(self.vfs.clone(), &ana, self.settings("bo"))?;
        let pulled = remote::pull(&theirs, &source, &remote::PullOptions::default(), &self.invocation.progress)?;
        compare("what was pulled", &three, &picture(&bo)?)?;
        self.step(
            "pulled",
            started,
            format!(
                "bo: {}, {} sent of {}",
                quantity::of(pulled.fetch.objects, "object"),
                quantity::bytes(pulled.fetch.bytes),
                quantity::bytes(bytes)
            ),
        );

        let started = Instant::now();
        if theirs.state()?.head_commit() != Some(id_of(&third)?) {
            return Err(differs("the heads differ".to_owned()));
        }
        for repository in [&repository, &theirs] {
            let status = repository.status(&StatusOptions::default(), &self.invocation.progress)?;
            if !status.is_clean() {
                return Err(differs(format!("a worktree is not clean: {:?}", status.unstaged)));
            }
        }
        let head = id_of(&third)?.to_string();
        self.step("equal", started, format!("head {} on both, nothing to commit", crate::page::short(&head)));
        Ok(())
    }

    fn settings(&self, name: &str) -> Settings {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        Settings { user_name: name.to_owned(), threads, command: "demo".to_owned(), ..Settings::default() }
    }

    fn step(&mut self, name: &str, started: Instant, detail: String) {
        let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.steps.push(DemoStep { name: name.to_owned(), detail, millis });
    }

    fn commit(&mut self, repository: &Repository, root: &Path, message: &str) -> Result<(CommitReport, Picture)> {
        let expected = picture(root)?;
        let started = Instant::now();
        let options =
            CommitOptions { message: message.to_owned(), all: true, secrets: true, ..CommitOptions::default() };
        let report = repository.commit(&options, &self.invocation.progress)?;
        let id = id_of(&report)?.to_string();
        let detail = format!(
            "{} {message}: {}, {} new, {} stored",
            crate::page::short(&id),
            quantity::of(report.changes.added + report.changes.changed, "file"),
            quantity::bytes(report.new_bytes),
            quantity::bytes(report.stored_bytes)
        );
        self.step("committed", started, detail);
        repository.tidy();
        Ok((report, expected))
    }

    /// Copies the program's own source where it is run from there, else the program itself.
    fn bring_source(&self, target: &Path) -> Result<u64> {
        let manifest = self.invocation.environment.text("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let root = manifest.as_deref().and_then(Path::parent).filter(|root| root.join("Cargo.lock").is_file());
        let Some(root) = root else {
            let program = std::env::current_exe().map_err(io("find", Path::new("the program")))?;
            fs::copy(&program, target.join("shard")).map_err(io("copy", &program))?;
            return Ok(1);
        };
        let mut left = MOST_SOURCE;
        copy_source(root, &target.join("source"), &mut left)
    }
}

fn id_of(report: &CommitReport) -> Result<CommitId> {
    report.id.ok_or_else(|| differs("a commit has no id".to_owned()))
}

fn differs(message: String) -> Failure {
    Failure::new(Code::Internal, message)
}

fn io<'a>(verb: &'a str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Failure + 'a {
    move |error| Failure::io(format!("{verb} {}", path.display()), &error)
}

fn compare(what: &str, expected: &Picture, found: &Picture) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    let differing = expected.iter().find(|(path, digest)| found.get(*path) != Some(digest)).map(|(path, _)| path);
    let extra = found.keys().find(|path| !expected.contains_key(*path));
    Err(differs(format!("{what} differs at {}", differing.or(extra).map_or("an unknown path", String::as_str))))
}

/// Copies files and links, without build output and without what is hidden, until `left` bytes are used up.
fn copy_source(from: &Path, to: &Path, left: &mut u64) -> Result<u64> {
    fs::create_dir_all(to).map_err(io("create", to))?;
    let mut files = 0;
    for entry in fs::read_dir(from).map_err(io("list", from))? {
        let entry = entry.map_err(io("list", from))?;
        let (name, path) = (entry.file_name(), entry.path());
        let hidden = name.to_string_lossy().starts_with('.');
        let kind = entry.file_type().map_err(io("examine", &path))?;
        if hidden || name == "target" {
            continue;
        }
        if kind.is_dir() {
            files += copy_source(&path, &to.join(&name), left)?;
        } else if kind.is_file() {
            let size = entry.metadata().map_err(io("examine", &path))?.len();
            if size <= *left {
                fs::copy(&path, to.join(&name)).map_err(io("copy", &path))?;
                *left -= size;
                files += 1;
            }
        }
    }
    Ok(files)
}

/// Writes a file that does not compress, the same each time.
fn generate(path: &Path, length: u64) -> Result<u64> {
    use std::io::Write;
    let mut file = fs::File::create(path).map_err(io("create", path))?;
    let mut piece = vec![0; 1 << 20];
    for number in 0..length.div_ceil(piece.len() as u64) {
        fill(number, &mut piece);
        file.write_all(&piece).map_err(io("write", path))?;
    }
    Ok(length)
}

/// Replaces about 1 % of a file in places that are spread over it, differently each time.
fn edit(path: &Path, length: u64) -> Result<u64> {
    use std::os::unix::fs::FileExt;
    let file = fs::OpenOptions::new().read(true).write(true).open(path).map_err(io("open", path))?;
    let places = (length / 100 / EDIT as u64).max(1);
    let mut now = [0; EDIT];
    for place in 0..places {
        let at = place * (length / places);
        file.read_exact_at(&mut now, at).map_err(io("read", path))?;
        // Whatever stands there decides what comes, so that a second edit changes it again.
        let seed = Hasher::plain().update(&now).finalize();
        fill(u64::from_le_bytes(*seed.0.first_chunk().expect("a digest has 32 bytes")), &mut now);
        file.write_all_at(&now, at).map_err(io("write", path))?;
    }
    Ok(places * EDIT as u64)
}

/// Fills bytes by xorshift64* (Vigna, 2016): quick, and nothing that compresses.
fn fill(seed: u64, bytes: &mut [u8]) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for chunk in bytes.chunks_mut(8) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let value = state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes();
        chunk.copy_from_slice(&value[..chunk.len()]);
    }
}

/// Takes a picture of a directory, leaving out `.shard`.
fn picture(root: &Path) -> Result<Picture> {
    let mut found = Picture::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).map_err(io("list", &directory))? {
            let path = entry.map_err(io("list", &directory))?.path();
            let metadata = fs::symlink_metadata(&path).map_err(io("examine", &path))?;
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            if name == ".shard" {
                continue;
            }
            if metadata.is_dir() {
                waiting.push(path);
                continue;
            }
            let digest = if metadata.is_symlink() {
                let target = fs::read_link(&path).map_err(io("read", &path))?;
                format!("link to {}", target.display())
            } else {
                format!("{} {}", metadata.permissions().mode() & 0o100, digest_of(&path)?)
            };
            found.insert(name, digest);
        }
    }
    Ok(found)
}

fn digest_of(path: &Path) -> Result<String> {
    use std::io::Read;
    let mut file = fs::File::open(path).map_err(io("open", path))?;
    let mut hasher = Hasher::plain();
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece).map_err(io("read", path))? {
            0 => return Ok(hasher.finalize().to_string()),
            read => hasher.update(&piece[..read]),
        };
    }
}

impl View for DemoReport {
    fn render(&self, page: &mut Page) {
        let count = self.steps.len();
        for (at, step) in self.steps.iter().enumerate() {
            let took = quantity::span(Duration::from_millis(step.millis));
            page.line([
                dim(format!("{}/{count}  ", at + 1)),
                plain(format!("{:<10}", step.name)),
                plain(&*step.detail),
                dim(format!("  {took}")),
            ]);
        }
        let what = match &self.directory {
            Some(directory) => format!("kept in {directory}"),
            None => "the directory was removed".to_owned(),
        };
        page.done([plain("everything that went in came out")], &[what]);
    }
}
