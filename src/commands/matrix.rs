//! The verbs for matrices: `make` and `multiply`, from files to files.
//!
//! The product itself is computed elsewhere ([`multiply`] by leased slots, [`strassen`](crate::matrix::strassen) on
//! this machine). What is here is what stands around it, and it is much of what a user meets: a name that is no file,
//! shapes that do not fit, a matrix with an entry that is no number, a place where nothing can be written. All of that
//! is looked at before anybody else works for the answer.
//!
//! An answer appears under its name only when it is whole and on the disk; a multiply that is interrupted leaves the
//! former file as it was.
//!
//! They stand apart from the other verbs because they need nothing of the prompt's state: `make` and
//! `multiply --local` do not even need a manager.

use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::unbounded;
use log::debug;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;
use serde_json::json;

use super::show::show_progress;
use crate::cli::{say, say_json};
use crate::error::{Code, Error, Kind, Result};
use crate::matrix::strassen::Plan;
use crate::matrix::{Matrix, both, npy};
use crate::peer::Peer;
use crate::peer::multiply::{self, Done, MultiplyReport, Question};
use crate::share::units::counted;
use crate::thread::{self, cores};

/// Writes a random matrix.
pub(super) fn make(
    name: &Path,
    rows: usize,
    cols: usize,
    seed: Option<u64>,
    integers: bool,
    json: bool,
) -> Result<()> {
    let path = if name.extension().is_some_and(|e| e == "npy") {
        name.to_owned()
    } else {
        let mut name = name.as_os_str().to_owned();
        name.push(".npy");
        name.into()
    };
    check_place(&path)?;
    // A seed that JSON readers agree on, below 2^53.
    let seed = seed.unwrap_or_else(|| rand::random::<u64>() >> 11);
    let mut rng = StdRng::seed_from_u64(seed);
    // Only to learn whether there is memory for it.
    Matrix::try_zeros(rows, cols)?;
    let matrix = match integers {
        true => Matrix::random_integers(rows, cols, &mut rng),
        false => Matrix::random(rows, cols, &mut rng),
    };
    save(&matrix, &path)?;
    if json {
        return say_json(
            &json!({"file": path, "rows": rows, "cols": cols, "seed": seed, "integers": integers}),
        );
    }
    let what = if integers { "whole numbers" } else { "reals" };
    say(format_args!("{}: {rows} x {cols} {what}, made with --seed {seed}", path.display()))?;
    Ok(())
}

/// How a product is computed.
pub(super) enum How {
    /// By this machine alone.
    Local,
    /// By leased slots.
    Leased { peer: Arc<Peer>, levels: u32, slots: u32 },
}

/// What `multiply --json` prints. `load_seconds` is reading both operands and getting memory for the answer,
/// `seconds` from then to the whole answer in it, waiting for leases excluded.
#[derive(Debug, Serialize)]
struct Summary {
    rows: usize,
    inner: usize,
    cols: usize,
    seconds: f64,
    load_seconds: f64,
    save_seconds: f64,
    wait_seconds: f64,
    levels: u32,
    checked: bool,
    products: Vec<Done>,
}

impl Summary {
    /// In words; the answer was written to `output`.
    fn say(&self, output: Option<&Path>) -> Result<()> {
        let Self { rows, cols, seconds, wait_seconds, .. } = self;
        let by = by_whom(&self.products);
        let target = output.map_or_else(|| "the product".into(), |path| path.display().to_string());
        say(format_args!("{target}: {rows} x {cols} in {seconds:.3} s, {by}; checked by Freivalds"))?;
        if *wait_seconds > 0.5 {
            say(format_args!("waited {wait_seconds:.1} s for slots"))?;
        }
        if output.is_none() {
            say(format_args!("not written to a file: -o C.npy does that"))?;
        }
        Ok(())
    }
}

/// Loads, multiplies, checks, saves, tells.
pub(super) fn run_multiply(a: &Path, b: &Path, output: Option<&Path>, how: &How, json: bool) -> Result<()> {
    if let Some(path) = output {
        check_place(path)?;
    }
    let began = Instant::now();
    let (path_a, path_b) = (a, b);
    // At once: on a quick disk most of the time goes into fresh memory for them.
    let (b, a) = both("load", || load(path_b), || load(path_a));
    let (a, b) = (a?, b?);
    let (rows, inner, cols) = (a.rows(), a.cols(), b.cols());
    if inner != b.rows() {
        return Err(Error::new(
            Kind::Usage,
            format!(
                "the shapes do not fit: {} is {rows} x {inner}, {} is {} x {cols}",
                path_a.display(),
                path_b.display(),
                b.rows()
            ),
        )
        .advise("the left matrix needs as many columns as the right one has rows"));
    }
    let levels = match how {
        How::Local => 0,
        How::Leased { levels, .. } => *levels,
    };
    let plan = Plan::new(rows, inner, cols, levels);
    let question = Question::new(&a, &b, plan)?;
    let mut c = Matrix::try_zeros(rows, cols)?.on_huge_pages().in_memory(cores());
    let load_seconds = began.elapsed().as_secs_f64();
    let report = match how {
        How::Local => multiply_here(question, &mut c)?,
        How::Leased { peer, slots, .. } => multiply_there(peer, question, &mut c, *slots)?,
    };
    drop((a, b));
    let saving = Instant::now();
    if let Some(path) = output {
        save(&c, path)?;
    }
    let save_seconds = if output.is_some() { saving.elapsed().as_secs_f64() } else { 0.0 };
    let MultiplyReport { seconds, wait_seconds, products } = report;
    let summary = Summary {
        rows,
        inner,
        cols,
        seconds,
        load_seconds,
        save_seconds,
        wait_seconds,
        levels,
        checked: true,
        products,
    };
    if json { say_json(&summary) } else { summary.say(output) }
}

/// "7 products by 3 peers (ada 3, ben 2, cyd 2)".
fn by_whom(products: &[Done]) -> String {
    if products.is_empty() {
        return "without peers".into();
    }
    let mut names: Vec<&str> = products.iter().map(|done| &*done.peer).collect();
    names.sort_unstable();
    let shares: Vec<String> =
        names.chunk_by(|x, y| x == y).map(|share| format!("{} {}", share[0], share.len())).collect();
    let (done, peers) = (counted(products.len(), "product"), counted(shares.len(), "peer"));
    format!("{done} by {peers} ({})", shares.join(", "))
}

/// On all cores of this machine.
fn multiply_here(question: Question<'_>, c: &mut Matrix) -> Result<MultiplyReport> {
    let began = Instant::now();
    question.multiply_here(c)?;
    Ok(MultiplyReport { seconds: began.elapsed().as_secs_f64(), wait_seconds: 0.0, products: Vec::new() })
}

/// By leased peers, with its progress on stderr.
fn multiply_there(peer: &Peer, question: Question<'_>, c: &mut Matrix, slots: u32) -> Result<MultiplyReport> {
    let (progress, events) = unbounded();
    std::thread::scope(|scope| {
        thread::start_scoped(scope, "show_progress", move || show_progress(&events, question.products()))?;
        multiply::multiply(peer.network(), question, c, slots, progress)
    })
}

/// Reads a matrix from a file, and refuses one with an entry that is no finite number: Strassen would
/// spread it over the whole answer.
fn load(path: &Path) -> Result<Matrix> {
    let name = path.display();
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = opened.map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Error::new(Code::NotFound, format!("there is no file {name}"))
            .advise(format!("`make {} 1000` writes one of that name", path.with_extension("").display())),
        _ => Error::failed(format!("cannot open {name}")).because(e),
    })?;
    if !metadata.is_file() {
        return Err(Error::failed(format!("{name} is not a file")).advise("give the path of a .npy file"));
    }
    let matrix = npy::read(BufReader::new(file), metadata.len())
        .map_err(|e| Error::new(e.kind(), format!("{name}: {e}")))?;
    if let Some((row, col)) = matrix.first_non_finite() {
        let value = matrix.row(row)[col];
        return Err(Error::new(
            Code::Infeasible,
            format!("{name} has the entry {value} in row {row}, column {col} (counted from 0)"),
        )
        .advise("replace entries that are not finite numbers: they would spread over the whole product"));
    }
    debug!("read {name}: {} x {}", matrix.rows(), matrix.cols());
    Ok(matrix)
}

/// Looks whether an answer could be written there, before others work for it.
fn check_place(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(Error::new(Code::NotFound, format!("there is no folder {}", folder.display()))
            .advise("make it first, or choose another place"));
    }
    if path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(Error::failed(format!("{} is the name of a folder", path.display()))
            .advise("give that of a file in it"));
    }
    Ok(())
}

/// Writes a matrix to a file, which appears under its name only when it is whole and on the disk. What is
/// no plain file, such as a pipe or `/dev/null`, is written to and not replaced.
fn save(matrix: &Matrix, path: &Path) -> Result<()> {
    let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
        Error::failed(format!("cannot write {}", path.display()))
            .because(e)
            .advise("choose another place, or make room there")
    };
    // A link stands for what it leads to.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(path).is_ok_and(|is| !is.is_file() && !is.is_dir()) {
        let device = File::options().write(true).open(path).map_err(|e| failed(e.into()))?;
        return npy::write(matrix, device).map_err(|e| failed(e.into()));
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As a file that is made in the usual way; the user's umask still applies.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.prefix(".peerlab-").tempfile_in(folder).map_err(|e| failed(e.into()))?;
    npy::write(matrix, &mut file).map_err(|e| failed(e.into()))?;
    file.flush().map_err(|e| failed(e.into()))?;
    file.as_file().sync_all().map_err(|e| failed(e.into()))?;
    file.persist(path).map_err(|e| failed(e.error.into()))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| failed(e.into()))
}
