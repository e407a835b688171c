//! Faults that real engineers make, each as a patch in `tests/planted`, and the test that is to catch each.
//!
//! A suite that is green says nothing as long as nobody knows what would make it red. `scripts/faults.sh planted` puts
//! one fault after another into a copy of the project, and runs the test that the patch names: it must fail. This file
//! builds nothing; it only sees to it that the patches keep up with the source.
//!
//! A new fault: change one file of `src`, write `git diff` to `tests/planted/NAME.patch`, and put two lines above it:
//! `Fault: ` what is wrong and what comes of it; `Caught by: ` the path of a test, as `cargo test --lib` shows it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Rooms in which at least one fault is planted.
const ROOMS: [&str; 12] = [
    "manager/state/",
    "manager/desk",
    "peer/serve/",
    "peer/multiply/",
    "peer/library/",
    "peer/replication/",
    "peer/swarm/",
    "share/store/",
    "share/picker",
    "share/versions",
    "matrix/freivalds/",
    "net/",
];

/// What follows this at the beginning of a line.
fn after<'t>(text: &'t str, begins: &str) -> Vec<&'t str> {
    text.lines().filter_map(|line| line.strip_prefix(begins)).collect()
}

/// The text that each hunk replaces.
fn replaced(patch: &str) -> Vec<String> {
    let hunks = patch.split("\n@@ ").skip(1).map(|hunk| hunk.lines().skip(1));
    let old = |line: &str| line.strip_prefix([' ', '-']).map(|line| format!("{line}\n"));
    hunks.map(|lines| lines.filter_map(old).collect()).collect()
}

/// Whether there is a test of this path: in the file of its module, or in the file that this module is in.
fn exists(test: &str) -> bool {
    let (module, name) = test.rsplit_once("::").unwrap();
    let path = Path::new("src").join(module.replace("::", "/"));
    let folder = path.parent().unwrap();
    let files = [path.with_extension("rs"), folder.with_extension("rs"), folder.join("mod.rs")];
    let texts = files.iter().filter_map(|file| fs::read_to_string(Path::new(ROOT).join(file)).ok());
    texts.into_iter().any(|text| text.contains(&format!("#[test]\n{}", begins(&text, name))))
}

/// The line that begins this function, where it is at all.
fn begins<'t>(text: &'t str, name: &str) -> &'t str {
    text.lines().find(|line| line.trim_start().starts_with(&format!("fn {name}("))).unwrap_or("no such line")
}

#[test]
fn every_planted_fault_fits_the_source_and_names_a_test_that_is_there() {
    let (mut files, mut count) = (BTreeSet::new(), 0);
    for entry in fs::read_dir(Path::new(ROOT).join("tests/planted")).unwrap() {
        let path = entry.unwrap().path();
        let (patch, name) = (fs::read_to_string(&path).unwrap(), path.display());
        let [file] = after(&patch, "+++ b/src/")[..] else { panic!("{name}: of one file of src") };
        let ([words], [test]) = (&after(&patch, "Fault: ")[..], &after(&patch, "Caught by: ")[..]) else {
            panic!("{name}: begin with a line `Fault: ` and a line `Caught by: `");
        };
        assert!(words.split(' ').count() > 4, "{name}: say in words what is wrong");
        assert!(exists(test), "{name}: there is no test {test}");
        let source = fs::read_to_string(Path::new(ROOT).join("src").join(file)).unwrap();
        let hunks = replaced(&patch);
        assert!(!hunks.is_empty(), "{name} changes nothing");
        for old in hunks {
            let places = source.matches(&old).count();
            assert_eq!(places, 1, "{name}: src/{file} has changed; plant this fault again there:\n{old}");
        }
        files.insert(file.to_owned());
        count += 1;
    }
    assert!(count >= 20, "{count} faults");
    for room in ROOMS {
        assert!(files.iter().any(|file| file.starts_with(room)), "no fault is planted in {room}");
    }
}
