//! The verbs for matrices: `make` and `multiply`, from files to files, and `show`, to the screen.
//!
//! The product itself is computed elsewhere ([`multiply`](mod@multiply) by leased slots,
//! [`strassen`](crate::matrix::strassen) on this machine). What is here is what stands around it, and it is much of
//! what a user meets: a name that is no file, shapes that do not fit, a matrix with an entry that is no number, a place
//! where nothing can be written. All of that is looked at before another peer works for the answer.
//!
//! An answer appears under its name only when it is whole and on the disk; a multiply that is interrupted leaves the
//! former file as it was.
//!
//! `make`, `show` and `multiply --local` do not even need a manager.

use std::fs::{self, File};
use std::io::{self, BufReader, IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::debug;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;
use serde_json::json;
use tempfile::NamedTempFile;

use super::command::{MakeOptions, MultiplyOptions};
use super::context::Work;
use super::show::{Outcome, show_busy, show_products, show_work};
use crate::cli::tell;
use crate::error::{Code, Error, Result};
use crate::matrix::strassen::Plan;
use crate::matrix::{Matrix, npy};
use crate::peer::Peer;
use crate::peer::multiply::{self, Done, Question};
use crate::share::store::sync_folder;
use crate::share::units::counted;
use crate::thread::{cores, on_threads};

/// Writes a random matrix.
pub(super) fn make(options: MakeOptions, work: &Work) -> Result<Outcome> {
    let MakeOptions { matrix: mut file, rows, cols, seed, integers, force } = options;
    let cols = cols.unwrap_or(rows);
    if file.extension().is_none_or(|e| e != "npy") && !is_folder(&file) {
        file.as_mut_os_string().push(".npy");
    }
    check_place(&file, force, npy::MAKE, &[])?;
    // A seed that JSON readers agree on, below 2^53.
    let seed = seed.unwrap_or_else(|| rand::random::<u64>() >> 11);
    let mut rng = StdRng::seed_from_u64(seed);
    let (what, matrix) = show_busy(format!("making {}", file.display()), || {
        // Only to learn whether there is memory for it.
        Matrix::try_zeros(rows, cols)?;
        Ok(match integers {
            true => ("whole numbers", Matrix::random_integers(rows, cols, &mut rng)),
            false => ("reals", Matrix::random(rows, cols, &mut rng)),
        })
    })?;
    if work.is_stopped() {
        return Err(Error::failed("stopped: nothing is written"));
    }
    let file = save(work, &matrix, &file, force, npy::MAKE)?.unwrap_or(file);
    let file = file.to_string_lossy();
    let text = format!("{file}: {rows} x {cols} {what}, made with --seed {seed}");
    let data = json!({"file": file, "rows": rows, "cols": cols, "seed": seed, "integers": integers});
    Ok(Outcome::new(data, text))
}

/// A product. `load_seconds` is reading both operands and getting memory for the answer, `seconds` from then to the
/// whole answer in it, waiting for leases excluded. `rounded` says that the operands are whole numbers, and too large
/// for an exact product.
#[derive(Debug, Serialize)]
pub(super) struct Multiplied {
    rows: usize,
    inner: usize,
    cols: usize,
    seconds: f64,
    load_seconds: f64,
    save_seconds: f64,
    wait_seconds: f64,
    levels: u32,
    checked: bool,
    rounded: bool,
    products: Vec<Done>,
}

/// Loads, multiplies, checks, saves: by slots that `peer` leases, or by this machine alone.
pub(super) fn multiply(
    options: &MultiplyOptions,
    peer: Option<&Peer>,
    work: &Work,
) -> Result<Outcome<Multiplied>> {
    let MultiplyOptions { a, b, output, levels, slots, force, .. } = options;
    let output = output.as_deref();
    output.map_or(Ok(()), |path| check_place(path, *force, npy::MULTIPLY, &[a, b]))?;
    let began = Instant::now();
    let (a, b) = show_busy(format!("reading {} and {}", a.display(), b.display()), || load_both(a, b))?;
    let (rows, inner, cols) = (a.rows(), a.cols(), b.cols());
    let levels = if peer.is_some() { *levels } else { 0 };
    let question = Question::new(&a, &b, Plan::new(rows, inner, cols, levels), &work.stop)?;
    let rounded = question.rounds_whole_numbers();
    let mut c = Matrix::try_zeros(rows, cols)?.on_huge_pages().in_memory(cores());
    let loaded = Instant::now();
    let (waited, products) = compute(question, peer, *slots, &mut c)?;
    let seconds = loaded.elapsed().saturating_sub(waited).as_secs_f64();
    drop((a, b));
    let saving = Instant::now();
    let elsewhere = output.map_or(Ok(None), |path| save(work, &c, path, *force, npy::MULTIPLY))?;
    let output = elsewhere.as_deref().or(output);
    let save_seconds = output.map_or(0.0, |_| saving.elapsed().as_secs_f64());
    let multiplied = Multiplied {
        rows,
        inner,
        cols,
        seconds,
        load_seconds: (loaded - began).as_secs_f64(),
        save_seconds,
        wait_seconds: waited.as_secs_f64(),
        levels,
        checked: true,
        rounded,
        products,
    };
    let text = multiplied.text(output);
    Ok(Outcome { aside: output.is_some_and(is_stdout), ..Outcome::new(multiplied, text) })
}

/// The product into `c`; gives the time that was spent waiting for leases, and what was done by others.
fn compute(
    question: Question<'_>,
    peer: Option<&Peer>,
    slots: Option<u32>,
    c: &mut Matrix,
) -> Result<(Duration, Vec<Done>)> {
    let (rows, inner, cols) = question.plan.shape();
    if [rows, inner, cols].contains(&0) {
        return Ok(Default::default()); // C is zeros already.
    }
    let Some(peer) = peer else {
        let here = format!("multiplying {rows} x {inner} by {inner} x {cols}");
        return show_busy(here, || question.multiply_here(c)).map(|()| Default::default());
    };
    let products = question.plan.products();
    let slots = slots.unwrap_or(if question.plan.levels() == 0 { 1 } else { 7 });
    if slots as usize > products {
        tell(format_args!("there is work for {} only: one product each", counted(products, "slot")));
    }
    show_work(
        |bar, events| show_products(bar, events, products),
        |events| multiply::multiply(peer.network(), question, c, slots, events),
    )
}

impl Multiplied {
    /// In words; the answer was written to `output`.
    fn text(&self, output: Option<&Path>) -> String {
        let Self { rows, cols, seconds, wait_seconds, .. } = self;
        let target = output.map_or("the product".into(), Path::to_string_lossy);
        let by = by_whom(&self.products);
        let mut text = format!("{target}: {rows} x {cols} in {seconds:.3} s, {by}; checked by Freivalds");
        if self.rounded {
            text += "\nthe whole numbers are too large for an exact product: sums on the way may exceed 2^53, and be rounded";
        }
        if *wait_seconds > 0.5 {
            text += &format!("\nwaited {wait_seconds:.1} s for slots");
        }
        if output.is_none() {
            text += "\nnot written to a file: -o C.npy does that";
        }
        text
    }
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

/// Reads both operands, whose shapes must fit.
fn load_both(path_a: &Path, path_b: &Path) -> Result<(Matrix, Matrix)> {
    // At once: on a quick disk most of the time goes into fresh memory for them.
    let mut loaded = on_threads("load", vec![path_a, path_b], load).into_iter();
    let (Some(a), Some(b)) = (loaded.next(), loaded.next()) else { unreachable!("a result for each path") };
    let (a, b) = (a?, b?);
    if a.cols() != b.rows() {
        let shape = |path: &Path, m: &Matrix| format!("{} is {} x {}", path.display(), m.rows(), m.cols());
        let shapes = format!("{}, {}", shape(path_a, &a), shape(path_b, &b));
        return Err(Error::new(Code::Usage, format!("the shapes do not fit: {shapes}"))
            .advise("the left matrix needs as many columns as the right one has rows"));
    }
    Ok((a, b))
}

/// The most rows and columns that are shown.
const SHOWN: usize = 8;

/// A matrix in a file, as far as it fits on a screen.
pub(super) fn look(path: &Path) -> Result<Outcome> {
    let matrix = show_busy(format!("reading {}", path.display()), || open(path))?;
    let (file, rows, cols) = (path.to_string_lossy(), matrix.rows(), matrix.cols());
    let entries = || matrix.as_slice().iter().copied();
    let (least, most) = (entries().reduce(f64::min), entries().reduce(f64::max));
    let corner: Vec<&[f64]> = (0..rows.min(SHOWN)).map(|i| &matrix.row(i)[..cols.min(SHOWN)]).collect();
    let more = |of: usize| if of > SHOWN { " ..." } else { "" };
    let line =
        |row: &&[f64]| row.iter().map(|x| format!(" {:>8}", entry(*x))).collect::<String>() + more(cols);
    let mut lines = vec![format!("{file}: {rows} x {cols}")];
    if let (Some(least), Some(most)) = (least, most) {
        lines[0] += &format!(", from {} to {}", entry(least), entry(most));
        lines.extend(corner.iter().map(line));
        lines.extend((rows > SHOWN).then(|| format!("{:>9}", "...")));
    }
    let data =
        json!({"file": file, "rows": rows, "cols": cols, "min": least, "max": most, "entries": corner});
    Ok(Outcome::new(data, lines.join("\n")))
}

/// A number in a column of eight characters: eight of them fit on a line of 80.
fn entry(x: f64) -> String {
    match x.abs() {
        size if x.fract() == 0.0 && size < 1e7 => format!("{x}"),
        1e-3..1e3 => format!("{x:.3}"),
        _ => format!("{x:.1e}"),
    }
}

/// Reads an operand from a file, and refuses one with an entry that is no finite number: Strassen would
/// spread it over the whole answer.
fn load(path: &Path) -> Result<Matrix> {
    let (name, matrix) = (path.display(), open(path)?);
    if let Some((row, col)) = matrix.first_non_finite() {
        let value = matrix.row(row)[col];
        let what = format!("{name} has the entry {value} in row {row}, column {col} (counted from 0)");
        return Err(Error::new(Code::Infeasible, what).advise(
            "replace entries that are not finite numbers: they would spread over the whole product",
        ));
    }
    Ok(matrix)
}

/// Reads a matrix from a file.
fn open(path: &Path) -> Result<Matrix> {
    let name = path.display();
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = opened.map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => {
            let npy = path.with_added_extension("npy");
            let text = path.to_string_lossy();
            let short = shlex::try_quote(text.trim_end_matches(".npy")).unwrap_or_default();
            let advice = match npy.exists() {
                true => format!("{} is there", npy.display()),
                false => format!("`peer make {short} 1000` writes one; at the prompt `make {short} 1000`"),
            };
            Error::new(Code::NotFound, format!("there is no file {name}")).advise(advice)
        }
        _ => Error::failed(format!("cannot open {name}")).because(e),
    })?;
    if !metadata.is_file() {
        return Err(Error::failed(format!("{name} is not a file")).advise("give the path of a .npy file"));
    }
    let matrix = npy::read(BufReader::new(file), metadata.len())
        .map_err(|e| Error::new(e.code(), format!("{name}: {e}")))?;
    debug!("read {name}: {} x {}", matrix.rows(), matrix.cols());
    Ok(matrix)
}

/// Looks whether an answer could be written there, before others work for it. Without `force` no file is replaced but a
/// matrix that the same command wrote and that is no operand, and that is said.
fn check_place(path: &Path, force: bool, by: &str, operands: &[&Path]) -> Result<()> {
    if is_stdout(path) {
        return match io::stdout().is_terminal() {
            true => Err(Error::new(Code::Usage, "a matrix is no text for a terminal")
                .advise("send it into a file or a program, or give -o the name of a file")),
            false => Ok(()),
        };
    }
    let folder = folder_of(path);
    if !folder.is_dir() {
        return Err(Error::new(Code::NotFound, format!("there is no folder {}", folder.display()))
            .advise("create it first (mkdir), or choose another place"));
    }
    if is_folder(path) {
        return Err(Error::failed(format!("{} is the name of a folder", path.display()))
            .advise("give that of a file in it"));
    }
    // A link stands for what it leads to. A pipe or a device needs no file beside it.
    let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(&place).map_or(true, |is| is.is_file()) {
        new_file(folder_of(&place)).map_err(|e| cannot_write(path, e))?;
    }
    let name = path.display();
    let what = match lies_there(path, by) {
        There::Nothing => return Ok(()),
        _ if force => return Ok(()),
        _ if operands.iter().any(|operand| is_same_file(operand, path)) => "is an operand",
        There::Ours(rows, cols) => {
            tell(format_args!("will replace {name}, a matrix of {rows} x {cols}"));
            return Ok(());
        }
        There::Others => "is there, and was not made by this command",
    };
    Err(Error::new(Code::Conflict, format!("{name} {what}"))
        .advise("choose another name, or replace it with --force"))
}

/// What lies where an answer is to go.
enum There {
    /// No byte: no file, an empty one, or a link to nothing.
    Nothing,
    /// A matrix that the same command wrote: its rows and columns.
    Ours(usize, usize),
    Others,
}

fn lies_there(path: &Path, by: &str) -> There {
    match fs::metadata(path) {
        Ok(is) if is.len() > 0 => match File::open(path).ok().and_then(|file| npy::written_here(file, by)) {
            Some((rows, cols)) => There::Ours(rows, cols),
            None => There::Others,
        },
        _ => There::Nothing,
    }
}

fn is_folder(path: &Path) -> bool {
    path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let file = |path| fs::metadata(path).map(|is| (is.dev(), is.ino())).ok();
    file(one).is_some_and(|one| file(other) == Some(one))
}

/// Whether an answer that goes there goes to stdout, by whatever name.
fn is_stdout(path: &Path) -> bool {
    path == Path::new("-") || is_same_file(path, Path::new("/dev/stdout"))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

/// Writes a matrix to a file, which appears under its name only when it is whole and on the disk. What is
/// no plain file, such as a pipe or `/dev/null`, is written to and not replaced. Where somebody has saved something
/// there since [`check_place`], the matrix gets another name, which is said and returned.
fn save(work: &Work, matrix: &Matrix, path: &Path, force: bool, by: &str) -> Result<Option<PathBuf>> {
    let written = || write(work, matrix, path, force, by).map_err(|e| cannot_write(path, e));
    let place = show_busy(format!("writing {}", path.display()), written)?;
    if let Some(place) = &place {
        let (name, place) = (path.display(), place.display());
        tell(format_args!("{name} was saved by somebody else meanwhile; the matrix is in {place}"));
    }
    Ok(place)
}

fn cannot_write(path: &Path, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let failed = Error::failed(format!("cannot write {}", path.display())).because(why);
    failed.advise("choose another place, or make room there")
}

/// A file beside an answer, in which it is written before it has its name.
fn new_file(folder: &Path) -> io::Result<NamedTempFile> {
    // As a file that is made in the usual way; the user's umask still applies.
    let mode = fs::Permissions::from_mode(0o666);
    tempfile::Builder::new().prefix(".peerlab-").permissions(mode).tempfile_in(folder)
}

fn write(
    work: &Work,
    matrix: &Matrix,
    path: &Path,
    force: bool,
    by: &str,
) -> Result<Option<PathBuf>, Box<dyn std::error::Error + Send + Sync>> {
    if is_stdout(path) {
        npy::write(matrix, by, io::stdout().lock())?;
        return Ok(None);
    }
    // A link stands for what it leads to.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(&path).is_ok_and(|is| !is.is_file() && !is.is_dir()) {
        npy::write(matrix, by, File::options().write(true).open(path)?)?;
        return Ok(None);
    }
    let folder = folder_of(&path);
    let mut file = new_file(folder)?;
    work.writes(file.path());
    npy::write(matrix, by, &mut file)?;
    file.flush()?;
    file.as_file().sync_all()?;
    let other = put_in_place(file, &path, force, by)?;
    sync_folder(folder)?;
    Ok(other)
}

/// Gives a file its name, or another one that is free, which is returned.
fn put_in_place(mut file: NamedTempFile, path: &Path, force: bool, by: &str) -> io::Result<Option<PathBuf>> {
    let mut other = None;
    for n in 2.. {
        let place = other.as_deref().unwrap_or(path);
        // A name that was free is taken only if it still is.
        let may = || path.symlink_metadata().is_ok() && !matches!(lies_there(path, by), There::Others);
        let put = match other.is_none() && (force || may()) {
            true => file.persist(place),
            false => file.persist_noclobber(place),
        };
        match put {
            Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => file = e.file,
            put => return put.map(|_| other).map_err(|e| e.error),
        }
        other = Some(path.with_extension(format!("{n}.npy")));
    }
    Ok(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The square of the matrix in a file, without a network.
    fn squared(file: &Path) -> MultiplyOptions {
        MultiplyOptions {
            a: file.into(),
            b: file.into(),
            output: None,
            levels: 1,
            slots: None,
            local: true,
            force: false,
        }
    }

    #[test]
    fn what_is_made_and_multiplied_is_told_to_people_and_to_programs() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name);
        let options = || MakeOptions {
            matrix: place("a"),
            rows: 4,
            cols: None,
            seed: Some(5),
            integers: true,
            force: false,
        };
        let work = Work::default();
        assert!(work.interrupt());
        make(options(), &work).unwrap_err();
        assert!(!place("a.npy").exists(), "it was stopped");
        work.begins();
        let made = make(options(), &work).unwrap();
        let file = place("a.npy");
        let name = file.to_str().unwrap();
        assert_eq!(made.text, format!("{name}: 4 x 4 whole numbers, made with --seed 5"));
        assert_eq!(
            serde_json::to_string(&made.data).unwrap(),
            format!(r#"{{"cols":4,"file":"{name}","integers":true,"rows":4,"seed":5}}"#)
        );
        let mut options = squared(&file);
        let outcome = multiply(&options, None, &work).unwrap();
        let text = outcome.text;
        assert!(text.starts_with("the product: 4 x 4 in 0."), "{text}");
        assert!(
            text.ends_with(
                "s, without peers; checked by Freivalds\nnot written to a file: -o C.npy does that"
            )
        );
        let data = serde_json::to_string(&outcome.data).unwrap();
        assert!(data.starts_with(r#"{"rows":4,"inner":4,"cols":4,"seconds":0."#), "{data}");
        assert!(
            data.ends_with(r#""wait_seconds":0.0,"levels":0,"checked":true,"rounded":false,"products":[]}"#),
            "{data}"
        );
        let answer = place("c.npy");
        options.output = Some(answer.clone());
        let outcome = multiply(&options, None, &work).unwrap().text;
        assert!(outcome.starts_with(answer.to_str().unwrap()) && !outcome.contains('\n'), "{outcome}");
    }

    #[test]
    fn a_product_of_whole_numbers_that_may_be_rounded_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let (file, work) = (dir.path().join("a.npy"), Work::default());
        let options = squared(&file);
        for (entry, rounded) in [(1e6, false), (1e9, true)] {
            save(&work, &Matrix::from_vec(1, 1, vec![entry]).unwrap(), &file, true, npy::MAKE).unwrap();
            let outcome = multiply(&options, None, &work).unwrap();
            let says = "the whole numbers are too large for an exact product";
            assert_eq!(outcome.text.contains(says), rounded, "{}", outcome.text);
            assert_eq!(json!(outcome.data)["rounded"], rounded);
        }
    }

    #[test]
    fn what_somebody_saves_where_an_answer_is_to_go_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().canonicalize().unwrap();
        let path = folder.join("c.npy");
        let (c, work) = (Matrix::zeros(2, 2), Work::default());
        check_place(&path, false, npy::MAKE, &[]).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing is left of the look");
        let no = check_place(Path::new("/proc/c.npy"), false, npy::MAKE, &[]).unwrap_err().to_string();
        assert!(no.contains("cannot write /proc/c.npy"), "before others work for it: {no}");
        fs::write(&path, "mine").unwrap();
        for n in 2..4 {
            let place = save(&work, &c, &path, false, npy::MAKE).unwrap().unwrap();
            assert_eq!(place, folder.join(format!("c.{n}.npy")));
            assert!(look(&place).is_ok());
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        assert_eq!(save(&work, &c, &path, true, npy::MAKE).unwrap(), None, "with --force");
        assert_eq!(save(&work, &c, &path, false, npy::MAKE).unwrap(), None, "its own");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(folder.join("nothing"), &path).unwrap();
        assert_eq!(save(&work, &c, &path, false, npy::MAKE).unwrap(), None, "a link to nothing");
        assert!(look(&path).is_ok());
    }

    #[test]
    fn a_matrix_is_shown_with_its_shape_its_range_and_at_most_eight_rows_and_columns() {
        let dir = tempfile::tempdir().unwrap();
        let (path, work) = (dir.path().join("m.npy"), Work::default());
        let (name, put) =
            (path.to_str().unwrap(), |matrix: &Matrix| save(&work, matrix, &path, false, npy::MAKE).unwrap());
        put(&Matrix::from_vec(2, 2, vec![1.0, -0.25, 1e-9, 20000.5]).unwrap());
        let text = format!("{name}: 2 x 2, from -0.250 to 2.0e4\n        1   -0.250\n   1.0e-9    2.0e4");
        assert_eq!(look(&path).unwrap().text, text);
        put(&Matrix::zeros(9, 10));
        let shown = look(&path).unwrap();
        let lines: Vec<String> = shown.text.lines().map(String::from).collect();
        assert_eq!(lines.len(), 10);
        assert_eq!(lines[0], format!("{name}: 9 x 10, from 0 to 0"));
        assert!(lines[8].ends_with("0 ...") && lines[9].trim() == "...", "{lines:?}");
        let data = shown.data;
        assert_eq!((data["entries"][7].as_array().unwrap().len(), &data["max"]), (8, &json!(0.0)));
        put(&Matrix::zeros(0, 3));
        assert_eq!(look(&path).unwrap().text, format!("{name}: 0 x 3"));
    }
}
