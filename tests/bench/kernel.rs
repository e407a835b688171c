//! How fast is the multiply? `cargo bench --features measure --bench kernel` says in one sentence for each question,
//! on stderr, with the ratio that answers it; on stdout stand the same figures as CSV. Competitors run in turn, round
//! after round, and medians are compared: on a machine that others use too, a ratio from one run means more than a
//! time.
//!
//! ```text
//! what,of,n,value
//! ```
//!
//! `-- 3` after it takes three rounds instead of seven.
#![allow(unsafe_code)] // `matrixmultiply` can be called in no other way

use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use peerlab::matrix::freivalds::{Entries, Verdict, witness};
use peerlab::matrix::kernel::Kernel;
use peerlab::matrix::strassen::{Plan, local_levels, multiply};
use peerlab::matrix::{Matrix, Operand};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use micro::{Vector, Vectorized};

/// The vectors of the library's kernels, for a loop that is not its own.
#[path = "../../src/matrix/micro.rs"]
#[allow(dead_code, unreachable_pub)]
mod micro;

/// Set to a size, it makes this program a process that measures its own memory.
const MEASURE_MEMORY: &str = "PEERLAB_BENCH_MEMORY";

fn main() {
    if let Some(n) = std::env::var(MEASURE_MEMORY).ok().and_then(|n| n.parse().ok()) {
        return println!("{}", workspace_mib(n));
    }
    let rounds = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(7);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let names: Vec<_> = Kernel::available().map(name).collect();
    println!("what,of,n,value");
    eprintln!("kernels: {}, {cores} cores, medians of {rounds} rounds", names.join(", "));
    kernels(rounds);
    for n in [1024, 2048, 3000, 4096] {
        strassen(n, rounds);
    }
    threads(4096, cores, rounds);
    for (n, largest) in [(1000, None), (1000, Some(9.0)), (1000, Some(2e5)), (4096, None), (4096, Some(1e5))]
    {
        // What is short is measured more often.
        freivalds(n, largest, rounds * 8192 / n);
    }
    memory(2048);
}

/// A row of the table; a name in it has no blanks.
fn row(what: &str, of: &str, n: usize, value: f64) {
    println!("{what},{},{n},{value:.4}", of.replace(' ', "_"));
}

/// What a kernel is written for.
fn name(kernel: Kernel) -> &'static str {
    match format!("{kernel:?}").as_str() {
        "Kernel(Avx512)" => "AVX-512",
        "Kernel(Avx2)" => "AVX2",
        _ => "portable",
    }
}

/// NumPy in a process of its own, with one thread of OpenBLAS and the instruction set of a kernel.
struct NumPy {
    python: Child,
    answers: BufReader<ChildStdout>,
}

impl NumPy {
    /// `None` where Python has no NumPy: `PEERLAB_PYTHON` in the environment names one that has.
    fn like(kernel: &str) -> Option<Self> {
        let core = match kernel {
            "AVX-512" => "SkylakeX",
            "AVX2" => "Haswell",
            _ => return None,
        };
        let mut python = Command::new(std::env::var("PEERLAB_PYTHON").unwrap_or_else(|_| "python3".into()))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/rivals.py"))
            .envs([("OPENBLAS_CORETYPE", core), ("OPENBLAS_NUM_THREADS", "1")])
            .env_remove("OPENBLAS_L2_SIZE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let answers = BufReader::new(python.stdout.take()?);
        let mut numpy = Self { python, answers };
        numpy.gflops(64).map(|_| numpy)
    }

    /// Of a product of two matrices of n x n; `None` where it does not answer.
    fn gflops(&mut self, n: usize) -> Option<f64> {
        writeln!(self.python.stdin.as_mut()?, "numpy {n}").ok()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).ok()?;
        let seconds: f64 = answer.trim().parse().ok()?;
        Some(2.0 * (n as f64).powi(3) / seconds / 1e9)
    }
}

impl Drop for NumPy {
    fn drop(&mut self) {
        drop(self.python.stdin.take());
        let _ = self.python.wait();
    }
}

/// The five loops against `matrixmultiply`, OpenBLAS, and fused multiply-adds that touch no memory.
fn kernels(rounds: usize) {
    let n = 2048;
    let (a, b, mut c) = matrices(n);
    for (kernel, vectors) in Kernel::available().zip(micro::Kernel::available()) {
        let name = name(kernel);
        let (mut ours, mut theirs, mut bare, mut blas) = (vec![], vec![], vec![], vec![]);
        let mut numpy = NumPy::like(name);
        for _ in 0..rounds {
            blas.extend(numpy.as_mut().and_then(|numpy| numpy.gflops(n)));
            ours.push(gflops(n, || kernel.multiply(a.view(), b.view(), c.as_mut_slice())));
            theirs.push(gflops(n, || matrixmultiply(&a, &b, &mut c)));
            let begun = Instant::now();
            bare.push(vectors.run(BareLoop { rounds: 10_000_000 }) / begun.elapsed().as_secs_f64() / 1e9);
        }
        let (ours, theirs, bare) = (median(ours), median(theirs), median(bare));
        let goal = if name == "AVX2" { "0.95" } else { "1.00" };
        let blas = match blas.is_empty() {
            true if name == "portable" => String::new(),
            true => ", no NumPy to compare with (PEERLAB_PYTHON=... names a Python that has it)".into(),
            false => {
                let blas = median(blas);
                row("over_openblas", name, n, ours / blas);
                format!(", {:.2} of OpenBLAS ({blas:.0}, goal {goal})", ours / blas)
            }
        };
        row("gflops", name, n, ours);
        row("over_matrixmultiply", name, n, ours / theirs);
        row("over_bare", name, n, ours / bare);
        eprintln!(
            "kernel {name:8} n={n}: {ours:.0} GFLOP/s; {:.2} of matrixmultiply ({theirs:.0}), {:.2} of bare FMAs ({bare:.0}){blas}",
            ours / theirs,
            ours / bare
        );
    }
}

/// Fused multiply-adds on registers and nothing else: the speed that no product on one core can exceed. What it
/// comes to is how many operations that were.
struct BareLoop {
    rounds: usize,
}

impl Vectorized for BareLoop {
    type Answer = f64;

    #[inline(always)]
    fn run<V: Vector, const MR: usize, const NV: usize>(self) -> f64 {
        let (a, b) = (V::splat(black_box(1.0)), V::splat(black_box(1e-9)));
        let mut sums = [[b; NV]; MR];
        // Different beginnings: the compiler would compute equal sums only once.
        sums.as_flattened_mut().iter_mut().for_each(|sum| *sum = V::splat(black_box(1.0)));
        for _ in 0..self.rounds {
            for sum in sums.as_flattened_mut() {
                *sum = b.plus_product(a, *sum);
            }
        }
        black_box(sums);
        (self.rounds * MR * NV * V::LANES * 2) as f64
    }
}

/// The whole local product on one thread against `matrixmultiply` and the kernel alone.
fn strassen(n: usize, rounds: usize) {
    let (a, b, mut c) = matrices(n);
    let (mut ours, mut theirs, mut kernel) = (vec![], vec![], vec![]);
    for _ in 0..rounds {
        ours.push(gflops(n, || local(&a, &b, &mut c, 1)));
        theirs.push(gflops(n, || matrixmultiply(&a, &b, &mut c)));
        kernel.push(gflops(n, || Kernel::best().multiply(a.view(), b.view(), c.as_mut_slice())));
    }
    let (ours, theirs, kernel) = (median(ours), median(theirs), median(kernel));
    let goal = if n == 4096 { "(goal 1.2)" } else { "" };
    row("over_matrixmultiply", "strassen", n, ours / theirs);
    row("over_kernel", "strassen", n, ours / kernel);
    eprintln!(
        "multiply n={n}, {} levels: {ours:.0} GFLOP/s (as if classical); {:.2} of matrixmultiply {goal}, {:.2} of the kernel",
        local_levels(n, n, n),
        ours / theirs,
        ours / kernel
    );
}

/// One thread, then all.
fn threads(n: usize, cores: usize, rounds: usize) {
    let (a, b, mut c) = matrices(n);
    let (mut one, mut all) = (vec![], vec![]);
    for _ in 0..rounds {
        one.push(gflops(n, || local(&a, &b, &mut c, 1)));
        all.push(gflops(n, || local(&a, &b, &mut c, cores)));
    }
    let (one, all) = (median(one), median(all));
    let seconds = 2.0 * (n as f64).powi(3) / all / 1e9;
    row("over_one_thread", &format!("{cores} threads"), n, all / one);
    eprintln!("threads n={n}: {cores} are {:.2} times as fast as one; {seconds:.3} s", all / one);
}

/// All seven checks of a product of one level, against the products that they check: looking at the operands
/// while they are formed, and at the answer. Of reals, or of whole numbers up to `largest`.
fn freivalds(n: usize, largest: Option<f64>, rounds: usize) {
    let (mut a, mut b, _) = matrices(n);
    if let Some(largest) = largest {
        let whole = |x: &mut f64| *x = (*x * largest).round();
        a.as_mut_slice().iter_mut().chain(b.as_mut_slice()).for_each(whole);
    }
    let (plan, entries) = (Plan::new(n, n, n, 1), Entries::of(&a, &b));
    assert_eq!(entries.exact(plan), largest.is_some());
    let (rows, inner, cols) = plan.block();
    let (mut l, mut r, mut p) =
        (Matrix::zeros(rows, inner), Matrix::zeros(inner, cols), Matrix::zeros(rows, cols));
    let (mut products, mut checks, mut fills) = (vec![], vec![], vec![]);
    for _ in 0..rounds {
        let (mut product, mut checked, mut filled) = (0.0, 0.0, 0.0);
        let mut rng = SmallRng::seed_from_u64(1);
        let began = Instant::now();
        let witness = witness(plan, &b, entries, 1, &mut rng);
        checked += began.elapsed().as_secs_f64();
        for i in 0..plan.products() {
            let (left, right) = (plan.left(i, a.view()), plan.right(i, b.view()));
            let blind = seconds(|| {
                fill(&left, &mut l, |_| ());
                fill(&right, &mut r, |_| ());
            });
            let mut probe = witness.probe(i, 1);
            let looking = seconds(|| {
                fill(&left, &mut l, |rows| probe.left(rows));
                fill(&right, &mut r, |_| ());
            });
            product += seconds(|| local(&l, &r, &mut p, 1));
            checked += looking - blind;
            for rows in p.as_slice().chunks(portion(cols)) {
                // As from a socket: what is checked has just been written.
                let answer = &mut l.as_mut_slice()[..rows.len()];
                answer.copy_from_slice(rows);
                checked += seconds(|| assert_eq!(probe.check(answer), Verdict::Right));
            }
            filled += blind;
        }
        products.push(product);
        checks.push(checked);
        fills.push(filled);
    }
    let (product, checked, filled) = (median(products), median(checks), median(fills));
    let of = largest.map_or("reals".to_owned(), |largest| format!("whole numbers up to {largest}"));
    row("percent_of_products", &format!("check of {of}"), n, 100.0 * checked / product);
    eprintln!(
        "Freivalds n={n}, one level, {of}: seven checks {:.0} ms, {:.1} % of the seven products (goal 5 %); forming the operands {:.0} ms",
        checked * 1e3,
        100.0 * checked / product,
        filled * 1e3
    );
}

/// Forms an operand some rows at a time, as it is sent, and shows each portion to `look`.
fn fill(operand: &Operand<'_>, into: &mut Matrix, mut look: impl FnMut(&[f64])) {
    let (cols, portion) = (operand.cols(), portion(operand.cols()));
    for (n, rows) in into.as_mut_slice().chunks_mut(portion).enumerate() {
        operand.fill_rows(n * portion / cols, rows);
        look(rows);
    }
}

/// The entries of so many rows as the peers send at once.
fn portion(cols: usize) -> usize {
    ((16 << 10) / cols).max(1) * cols
}

/// What a product needs beside its operands and its answer. Measured in a process of its own, which has no
/// freed memory to use again.
fn memory(n: usize) {
    let child = std::env::current_exe()
        .and_then(|program| std::process::Command::new(program).env(MEASURE_MEMORY, n.to_string()).output());
    let printed = child.ok().and_then(|out| String::from_utf8(out.stdout).ok());
    let mib: f64 = printed.and_then(|mib| mib.trim().parse().ok()).unwrap_or(f64::NAN);
    let blocks = mib / (n * n * 8) as f64 * f64::from(1 << 20);
    row("over_a_block", "workspace", n, blocks);
    eprintln!("memory n={n}: {mib:.0} MiB of workspace, {blocks:.2} of a block (goal 3)");
}

/// The growth of this process by one product, by the operating system's own accounting.
fn workspace_mib(n: usize) -> f64 {
    let (a, b, mut c) = matrices(n);
    c.as_mut_slice().fill(1.0);
    let before = peak_mib();
    local(&a, &b, &mut c, 1);
    peak_mib() - before
}

/// The largest resident size so far, in MiB.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}

fn matrices(n: usize) -> (Matrix, Matrix, Matrix) {
    let mut rng = SmallRng::seed_from_u64(n as u64);
    (Matrix::random(n, n, &mut rng), Matrix::random(n, n, &mut rng), Matrix::zeros(n, n))
}

fn local(a: &Matrix, b: &Matrix, c: &mut Matrix, threads: usize) {
    multiply(a.view(), b.view(), c.as_mut_slice(), threads, &|| true).expect("nobody abandons a benchmark");
}

fn matrixmultiply(a: &Matrix, b: &Matrix, c: &mut Matrix) {
    let (m, k, n) = (a.rows(), a.cols(), b.cols());
    let (a, b, c) = (a.as_slice().as_ptr(), b.as_slice().as_ptr(), c.as_mut_slice().as_mut_ptr());
    let (row_a, row_b) = (k as isize, n as isize);
    // SAFETY: the three are m x k, k x n and m x n in row order, as the strides say.
    unsafe { matrixmultiply::dgemm(m, k, n, 1.0, a, row_a, 1, b, row_b, 1, 0.0, c, row_b, 1) };
}

fn seconds(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64()
}

/// The speed of an n x n product, in 10^9 operations of the classical product per second.
fn gflops(n: usize, product: impl FnOnce()) -> f64 {
    2.0 * (n as f64).powi(3) / seconds(product) / 1e9
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
