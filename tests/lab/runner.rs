//! Runs the checks of an exercise of the lab and says what is wrong in the exercise's own words.
//!
//! `scripts/lab.sh` puts this file and the checks into a copy of the project, where they are modules of the file that
//! is worked on. Each check is a function of a seed, which panics with a sentence for the student.

use std::any::Any;
use std::cell::RefCell;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;
use std::{env, fs, panic, thread};

/// What a check is worth, what holds when it passes, and the check, which draws its inputs from a seed.
pub(crate) type Check = (u32, &'static str, fn(u64));

/// How long a check may take: a program that waits for ever is wrong, too.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs all checks, with every seed in `PEERLAB_LAB_SEEDS`. A line for each goes to a file, named after the module, in
/// the folder `PEERLAB_LAB`: its points, what it says, and what is wrong, if anything is, parted by tabs.
///
/// # Panics
/// When a check fails.
pub(crate) fn run(module: &str, checks: &[Check]) {
    let seeds = env::var("PEERLAB_LAB_SEEDS").unwrap_or_else(|_| "1 2 3".into());
    let seeds: Vec<u64> = seeds.split_whitespace().map(|seed| seed.parse().unwrap()).collect();
    let judged = checks.iter().map(|&(points, says, check)| {
        let wrong = seeds.iter().find_map(|&seed| wrong(check, seed)).unwrap_or_default();
        format!("{points}\t{says}\t{}\n", wrong.replace(char::is_control, " "))
    });
    let report: String = judged.collect();
    if let Ok(folder) = env::var("PEERLAB_LAB") {
        fs::write(format!("{folder}/{}", module.replace("::", ".")), &report).unwrap();
    }
    assert!(report.lines().all(|line| line.ends_with('\t')), "not solved yet:\n{report}");
}

/// What is wrong according to a check, if anything is.
fn wrong(check: fn(u64), seed: u64) -> Option<String> {
    let (done, result) = channel();
    thread::spawn(move || done.send(panic::catch_unwind(|| check(seed))));
    match result.recv_timeout(PATIENCE) {
        Ok(Ok(())) => None,
        Ok(Err(panicked)) => Some(said(&*panicked)),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            Some(format!("it has not come to an end after {} s: something waits for ever", PATIENCE.as_secs()))
        }
    }
}

/// The words of a panic, those of Rust itself put plainly.
fn said(panicked: &(dyn Any + Send)) -> String {
    let text = match (panicked.downcast_ref::<String>(), panicked.downcast_ref::<&str>()) {
        (Some(text), _) => text,
        (None, Some(text)) => *text,
        (None, None) => "it panicked without a word",
    };
    if text == "a scoped thread panicked" || text.starts_with("called `Result::unwrap()` on an `Err` value: ") {
        return format!("a thread of this check panicked in your part, or could not go on ({text})");
    }
    // assertion `left == right` failed: TEXT
    //   left: WHAT CAME
    //  right: WHAT HAD TO COME
    let equal = text.strip_prefix("assertion `left == right` failed: ").and_then(|text| {
        let (text, values) = text.split_once("\n  left: ")?;
        let (came, due) = values.split_once("\n right: ")?;
        Some(format!("{text}: {came}; right is {due}"))
    });
    equal.unwrap_or_else(|| text.into())
}

thread_local! {
    /// What is told of each line that this thread logs.
    static ON_LOG: RefCell<Option<Box<dyn FnMut(&str)>>> = const { RefCell::new(None) };
}

struct Listener;

impl log::Log for Listener {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        // While it is told, nobody listens.
        if let Some(mut told) = ON_LOG.take() {
            told(&record.args().to_string());
            ON_LOG.set(Some(told));
        }
    }

    fn flush(&self) {}
}

/// From now on `told` hears of each line that this thread logs, when it does.
pub(crate) fn on_log(told: impl FnMut(&str) + 'static) {
    // Another check may have begun to listen before.
    let _ = log::set_logger(&Listener);
    log::set_max_level(log::LevelFilter::Debug);
    ON_LOG.set(Some(Box::new(told)));
}
