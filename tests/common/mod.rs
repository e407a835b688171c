//! What the integration tests share: running programs, a plain client of the wire, a peer that misbehaves
//! on demand, and matrices in files.
//!
//! Everything here looks at the programs from the outside: their arguments, stdout, stderr, exit status,
//! and bytes on a socket. Nothing waits for a time to pass; [`until`] polls for what it waits for.

pub(crate) mod browser;
pub(crate) mod calls;
pub(crate) mod fake;
pub(crate) mod files;
pub(crate) mod node;
pub(crate) mod terminal;
pub(crate) mod wire;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use peerlab::matrix::{Matrix, npy};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// How long anything may take before a test gives it up: far more than it needs on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Polls until `probe` has an answer.
///
/// # Panics
/// When it has none by the deadline; says `what` was waited for.
#[track_caller]
pub(crate) fn until<T>(what: &str, deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The matrix of whole numbers that belongs to a seed.
pub(crate) fn integers(rows: usize, cols: usize, seed: u64) -> Matrix {
    Matrix::random_integers(rows, cols, &mut StdRng::seed_from_u64(seed))
}

/// Writes a matrix to a file.
pub(crate) fn save(matrix: &Matrix, path: &Path) {
    npy::write(matrix, npy::MAKE, File::create(path).unwrap()).unwrap();
}

/// Reads a matrix from a file.
pub(crate) fn load(path: &Path) -> Matrix {
    let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let length = file.metadata().unwrap().len();
    npy::read(BufReader::new(file), length).unwrap()
}

/// A·B by the definition, in whole numbers: shares no code with what it is held against.
pub(crate) fn exact(a: &Matrix, b: &Matrix) -> Vec<i64> {
    assert_eq!(a.cols(), b.rows());
    let whole = |x: &f64| {
        assert_eq!(x.fract(), 0.0);
        *x as i64
    };
    let rows_of_b: Vec<Vec<i64>> = (0..b.rows()).map(|p| b.row(p).iter().map(whole).collect()).collect();
    let mut c = vec![0; a.rows() * b.cols()];
    for i in 0..a.rows() {
        let into = &mut c[i * b.cols()..][..b.cols()];
        for (p, scale) in a.row(i).iter().map(whole).enumerate().filter(|(_, scale)| *scale != 0) {
            into.iter_mut().zip(&rows_of_b[p]).for_each(|(c, b)| *c += scale * b);
        }
    }
    c
}

/// Fails unless the file holds A·B exactly.
#[track_caller]
pub(crate) fn assert_is_product(path: &Path, a: &Matrix, b: &Matrix) {
    let c = load(path);
    assert_eq!((c.rows(), c.cols()), (a.rows(), b.cols()), "the shape of {}", path.display());
    let right = exact(a, b);
    let wrong = c.as_slice().iter().zip(&right).position(|(got, right)| *got != *right as f64);
    if let Some(at) = wrong {
        let (i, j) = (at / b.cols(), at % b.cols());
        panic!("entry ({i}, {j}) is {} and should be {}", c.as_slice()[at], right[at]);
    }
}
