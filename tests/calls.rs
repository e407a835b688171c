//! Calls of the system that fail: once each, in a short day of a small network. `scripts/faults.sh calls` lets many
//! more fail.

use std::collections::BTreeMap;

use crate::common::calls::{Case, Verdict, build, run};

#[test]
fn a_call_that_fails_once_spoils_nothing_and_is_told_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let library = build(dir.path());
    let (usual, cases) = (
        Case { kind: "none", victim: "nobody", at: 0 },
        [
            ("open", "multiply", 1),
            ("read", "multiply", 1),
            ("write", "p0", 1),
            ("rename", "p0", 1),
            ("fsync", "p0", 1),
            ("bind", "manager", 1),
            ("accept", "p0", 2),
            ("connect", "down", 1),
            ("spawn", "manager", 8),
        ],
    );
    let usual: Verdict = run(&library, &usual, &BTreeMap::new());
    assert_eq!(usual.broken(), [""; 0], "without a failure");
    std::thread::scope(|scope| {
        for (kind, victim, at) in cases {
            let (library, usual) = (&library, &usual);
            scope.spawn(move || {
                let case = Case { kind, victim, at };
                let verdict = run(library, &case, &usual.idle);
                assert!(verdict.failed, "{case:?} did not come");
                assert_eq!(verdict.broken(), [""; 0], "{case:?}");
            });
        }
    });
}
