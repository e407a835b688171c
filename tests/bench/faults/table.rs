//! What is printed: rows as they come, and in words each promise that was broken.

use std::fmt::Display;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// A table on stdout. Several threads may write to it.
pub(crate) struct Table {
    broken: AtomicUsize,
    line: Mutex<()>,
}

impl Table {
    /// With these columns.
    pub(crate) fn new(columns: &str) -> Self {
        println!("{columns}");
        Self { broken: AtomicUsize::new(0), line: Mutex::new(()) }
    }

    pub(crate) fn row(&self, cells: &[&dyn Display]) {
        let cells: Vec<String> = cells.iter().map(|cell| cell.to_string().replace(',', ";")).collect();
        let _line = self.line.lock();
        println!("{}", cells.join(","));
        let _ = std::io::stdout().flush();
    }

    /// Notes a promise as broken, unless it was kept.
    pub(crate) fn promise(&self, kept: bool, what: impl Display) {
        if !kept {
            self.broken.fetch_add(1, Ordering::Relaxed);
            eprintln!("BROKEN: {what}");
        }
    }

    /// Does something that ends in a panic where a promise is broken so badly that it cannot go on.
    pub(crate) fn survive<R>(&self, what: &str, work: impl FnOnce() -> R) -> Option<R> {
        let done = catch_unwind(AssertUnwindSafe(work)).ok();
        self.promise(done.is_some(), format_args!("{what} could not go on; the reason stands above"));
        done
    }

    /// The program's exit status.
    pub(crate) fn verdict(self) -> ExitCode {
        match self.broken.into_inner() {
            0 => {
                eprintln!("every promise was kept");
                ExitCode::SUCCESS
            }
            broken => {
                eprintln!("{broken} times a promise was broken");
                ExitCode::FAILURE
            }
        }
    }
}

/// The value below which this share of `values` lies.
pub(crate) fn percentile<T: Copy + PartialOrd>(values: &mut [T], share: f64) -> Option<T> {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values.get(((values.len().max(1) - 1) as f64 * share) as usize).copied()
}

/// Memory of a process, in KiB: `VmRSS` now, `VmHWM` at its peak.
pub(crate) fn memory_kib(pid: u32, which: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(which)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The seed of all random choices: `FAULTS_SEED`, or one that is drawn once and said.
pub(crate) fn seed() -> u64 {
    static SEED: LazyLock<u64> = LazyLock::new(|| {
        let given = std::env::var("FAULTS_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| rand::random_range(0..1_000_000));
        eprintln!("FAULTS_SEED={seed} makes the same random choices again");
        seed
    });
    *SEED
}

/// Whether a row is wanted: `FAULTS_ONLY` may name a part of those that are.
pub(crate) fn is_wanted(name: &str) -> bool {
    std::env::var("FAULTS_ONLY").map_or(true, |part| name.contains(&part))
}

/// Does so many pieces of work in so many threads.
pub(crate) fn on_lanes(lanes: usize, pieces: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    let lane = || {
        let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < pieces);
        std::iter::from_fn(take).for_each(&work);
    };
    std::thread::scope(|scope| (0..lanes).for_each(|_| _ = scope.spawn(lane)));
}
