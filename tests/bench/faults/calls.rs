//! System calls that fail, each once, one after another: files that cannot be opened, read, written, brought to the
//! disk or renamed; ports that cannot be had; connections that break; threads that cannot be started.
//!
//! First a day without a failure shows how many calls of each kind each program makes. Then a day for each failure, at
//! calls that are spread evenly over them.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::common::calls::{Case, KINDS, Verdict, build, run as pass};
use crate::table::{Table, is_wanted, on_lanes};

/// Who suffers: three nodes, and three commands.
const VICTIMS: [&str; 6] = ["manager", "p0", "p1", "down", "multiply", "drop"];

/// How many networks live at the same time.
const LANES: usize = 4;

pub(crate) fn run(count: usize) -> Table {
    let table = Table::new("call,programs,calls,failed,crashed,wrong,words_missing,left_behind,not_whole");
    table.survive("failing calls", || measure(&table, count));
    table
}

fn measure(table: &Table, count: usize) {
    let dir = tempfile::tempdir().unwrap();
    let library = build(dir.path());
    let usual = pass(&library, &Case { kind: "none", victim: "nobody", at: 0 }, &BTreeMap::new());
    assert_eq!(usual.broken(), [""; 0], "without a failure");
    let made = |kind: &str, victim: &str| usual.calls.get(&(kind.to_owned(), victim.to_owned())).copied();
    let pairs: Vec<_> = KINDS
        .into_iter()
        .flat_map(|(kind, _)| VICTIMS.map(|victim| (kind, victim)))
        .filter_map(|(kind, victim)| Some((kind, victim, made(kind, victim)?)))
        .filter(|(kind, victim, _)| is_wanted(&format!("{kind} of {victim}")))
        .collect();
    // A failure for each pair in turn, until there are so many, or no calls are left.
    let mut cases = Vec::new();
    for round in 0.. {
        let left: Vec<_> = pairs.iter().filter(|(.., calls)| *calls > round).collect();
        if left.is_empty() || cases.len() >= count {
            break;
        }
        cases.extend(left.into_iter().map(|(kind, victim, calls)| (*kind, *victim, round, *calls)));
    }
    cases.truncate(count);
    let rounds = |kind, victim| cases.iter().filter(|case| (case.0, case.1) == (kind, victim)).count();
    let cases: Vec<Case> = cases
        .iter()
        .map(|&(kind, victim, round, calls)| Case {
            kind,
            victim,
            at: 1 + round * calls / rounds(kind, victim),
        })
        .collect();
    let verdicts = Mutex::new(BTreeMap::<&str, Vec<Verdict>>::new());
    on_lanes(LANES, cases.len(), |at| {
        let case = &cases[at];
        let verdict = pass(&library, case, &usual.idle);
        for broken in verdict.broken() {
            table.promise(
                false,
                format_args!("call {} of kind {} of {}: {broken}", case.at, case.kind, case.victim),
            );
        }
        verdicts.lock().entry(case.kind).or_default().push(verdict);
    });
    for (kind, verdicts) in verdicts.into_inner() {
        let of_kind = || pairs.iter().filter(|pair| pair.0 == kind);
        let sum = |count: fn(&Verdict) -> bool| verdicts.iter().filter(|verdict| count(verdict)).count();
        table.row(&[
            &kind,
            &of_kind().count(),
            &of_kind().map(|(.., calls)| calls).sum::<usize>(),
            &sum(|it| it.failed),
            &sum(|it| !it.crashed.is_empty()),
            &sum(|it| !it.wrong.is_empty()),
            &sum(|it| !it.wordless.is_empty()),
            &sum(|it| !it.leaked.is_empty()),
            &sum(|it| !it.not_whole.is_empty()),
        ]);
    }
}
