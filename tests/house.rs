//! The house keeps its order: a room imports only rooms on floors below it, no files import each other in a circle,
//! lib.rs lists every thread, and what the programs stand on is little, and free.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The rooms, floor by floor, from the ground. Rooms of one floor do not know each other.
const FLOORS: [&[&str]; 7] = [
    &["error", "clock"],
    &["thread"],
    &["matrix", "share"],
    &["net", "cli"],
    &["manager", "peer"],
    &["commands"],
    &["bin"],
];

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All files of `src` but tests, by the path of their module: `peer::swarm::link`.
fn files() -> BTreeMap<Vec<String>, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![src()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let inside = path.strip_prefix(src()).unwrap().with_extension("");
            let mut module: Vec<String> =
                inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            let is_test = module.iter().any(|part| part.ends_with("tests"));
            if path.extension() != Some("rs".as_ref()) || is_test || module == ["lib"] {
                continue;
            }
            module.pop_if(|last| last == "mod");
            files.insert(module, without_tests(&fs::read_to_string(path).unwrap()));
        }
    }
    files
}

/// Code without comments and without what follows `#[cfg(test)]`, which ends a file here.
fn without_tests(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules that a file names: in `use`, with its braces, and in paths that begin with `crate`, `super` or `self`.
fn named(module: &[String], code: &str) -> BTreeSet<Vec<String>> {
    let mut named = BTreeSet::new();
    for (at, _) in code.match_indices("use ") {
        let begins = code[..at].rsplit('\n').next().unwrap_or_default();
        // What a module hands on from below is not what it needs.
        if begins.trim().is_empty()
            && let Some(end) = code[at..].find(';')
        {
            let tree = code[at + 4..at + end].replace(char::is_whitespace, "");
            leaves(&tree, &[], &mut named);
        }
    }
    for (at, _) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        if code[..at].ends_with(':') {
            continue; // In the middle of a longer path.
        }
        let path: String =
            code[at..].chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect();
        named.insert(path.split("::").filter(|part| !part.is_empty()).map(String::from).collect());
    }
    named.into_iter().filter_map(|path| absolute(module, &path)).collect()
}

fn leaves(tree: &str, before: &[String], named: &mut BTreeSet<Vec<String>>) {
    let (head, body) = match tree.split_once('{') {
        Some((head, body)) => (head, Some(body.strip_suffix('}').unwrap_or(body))),
        None => (tree, None),
    };
    let mut path = before.to_vec();
    path.extend(head.split("::").filter(|part| !part.is_empty()).map(String::from));
    let Some(body) = body else {
        named.insert(path);
        return;
    };
    let (mut depth, mut from) = (0, 0);
    for (at, c) in body.char_indices().chain([(body.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                leaves(&body[from..at], &path, named);
                from = at + 1;
            }
            _ => {}
        }
    }
}

fn absolute(module: &[String], path: &[String]) -> Option<Vec<String>> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    let (base, rest) = match path.first()?.as_str() {
        "crate" | "peerlab" => (&[][..], &path[1..]),
        "self" => (module, &path[1..]),
        "super" => (module.get(..module.len().checked_sub(ups)?)?, &path[ups..]),
        _ => return None,
    };
    Some(base.iter().chain(rest).cloned().collect())
}

/// Which files a file imports.
fn arrows() -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let files = files();
    let file_of = |path: Vec<String>| {
        (1..=path.len()).rev().map(|n| path[..n].to_vec()).find(|it| files.contains_key(it))
    };
    let to = |module: &Vec<String>, code: &String| {
        let named = named(module, code).into_iter().filter_map(file_of);
        named.filter(|other| other != module).collect()
    };
    files.iter().map(|(module, code)| (module.clone(), to(module, code))).collect()
}

fn floor(module: &[String]) -> usize {
    let place = FLOORS.iter().position(|rooms| rooms.contains(&module[0].as_str()));
    place.unwrap_or_else(|| panic!("{} has no floor", module[0]))
}

#[test]
fn a_room_imports_only_rooms_on_floors_below_it() {
    let mut upward = Vec::new();
    for (module, others) in arrows() {
        let others =
            others.into_iter().filter(|other| other[0] != module[0] && floor(other) >= floor(&module));
        upward.extend(others.map(|other| format!("{} imports {}", module.join("::"), other.join("::"))));
    }
    assert!(upward.is_empty(), "{upward:#?}");
}

/// Takes away what imports nothing that is left, again and again; what stays is in a circle, or above one.
fn circles<T: Ord + Clone>(mut arrows: BTreeMap<T, BTreeSet<T>>) -> Vec<T> {
    loop {
        let left: BTreeSet<T> = arrows.keys().cloned().collect();
        let before = arrows.len();
        arrows.retain(|_, others| others.iter().any(|other| left.contains(other)));
        if arrows.len() == before {
            return arrows.into_keys().collect();
        }
    }
}

#[test]
fn no_files_and_no_folders_import_each_other_in_a_circle() {
    let arrows = arrows();
    let mut folders: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
    for (module, others) in &arrows {
        // The wing in which a file lies; what stands beside the wings is a wing of its own.
        let wing = |module: &Vec<String>| module[..module.len().min(2)].to_vec();
        let others = others.iter().map(wing).filter(|other| *other != wing(module) && other.len() == 2);
        folders.entry(wing(module)).or_default().extend(others);
    }
    assert_eq!(circles(arrows), Vec::<Vec<String>>::new());
    folders.retain(|wing, _| wing.len() == 2);
    assert_eq!(circles(folders), Vec::<Vec<String>>::new());
}

#[test]
fn the_table_in_lib_rs_lists_every_thread_that_is_started_and_no_other() {
    let mut started = BTreeSet::new();
    for (module, code) in files() {
        if module[0] == "thread" {
            continue;
        }
        let code = code.replace(char::is_whitespace, "");
        for call in [
            "thread::start(\"",
            "thread::start_scoped(scope,\"",
            "Server::start(\"",
            "on_threads(\"",
            ".start_thread(\"",
        ] {
            for (at, _) in code.match_indices(call) {
                started.extend(code[at + call.len()..].split('"').next().map(String::from));
            }
        }
        for by_hand in ["thread::Builder", "thread::spawn", ".spawn("] {
            assert!(!code.contains(by_hand), "{} starts a thread by {by_hand}", module.join("::"));
        }
    }
    let lib = fs::read_to_string(src().join("lib.rs")).unwrap();
    let table = lib.split("# The threads").nth(1).unwrap().split("\n//! #").next().unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("//! | `"));
    let names = rows.flat_map(|row| row.split('|').next().unwrap_or_default().split(['`', ',', ' ']));
    let listed: BTreeSet<String> = names.filter(|name| !name.is_empty()).map(String::from).collect();
    assert_eq!(listed, started);
}

#[test]
fn keys_are_compared_in_a_time_that_does_not_depend_on_where_they_differ() {
    let code = files().remove(&["net", "key"].map(String::from)[..]).unwrap();
    let by_hand = code.split("impl PartialEq for Key {").nth(1).unwrap_or_default();
    assert!(by_hand.split("impl ").next().unwrap_or_default().contains("CtOutput"), "not in constant time");
}

/// How many crates a build of the two programs may compile beside this one: all that they stand on, however indirectly,
/// each version once, with macros and what builds need, without tests and measurements.
const CRATES: usize = 90;

/// The licences of which each crate must offer one. All are those of scripts/deny.toml.
const LICENCES: [&str; 3] = ["MIT", "Apache-2.0", "Unicode-3.0"];

/// Whether somebody who accepts only those may use what has this licence: `(MIT OR Zlib) AND Unicode-3.0`.
fn is_free(licence: &str) -> bool {
    let licence = licence.replace(['(', ')'], "").replace('/', " OR ");
    let all = licence.split(" AND ").all(|one| one.split(" OR ").any(|name| LICENCES.contains(&name.trim())));
    all && !licence.is_empty()
}

#[test]
fn the_programs_stand_on_few_crates_that_come_from_the_registry_and_are_free() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "-e", "normal,build", "--no-dedupe", "--prefix", "none"])
        .args(["--format", "{p}|{l}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let lines = String::from_utf8(tree.stdout).unwrap();
    let crates: BTreeSet<&str> = lines.lines().filter(|line| !line.starts_with("peerlab v")).collect();
    for line in &crates {
        let (name, licence) = line.split_once('|').unwrap();
        // Where it does not come from the registry, its place stands behind its version.
        assert!(!name.replace(" (proc-macro)", "").contains('('), "{name} is not of the registry");
        assert!(is_free(licence), "{name}: {licence:?}");
    }
    let count = crates.len();
    assert!((1..=CRATES).contains(&count), "{count} crates: {crates:#?}");
    let deny = fs::read_to_string(src().with_file_name("scripts/deny.toml")).unwrap();
    let allowed = deny.lines().find_map(|line| line.strip_prefix("allow = ")).unwrap();
    let allowed: BTreeSet<&str> = allowed.split('"').skip(1).step_by(2).collect();
    assert_eq!(allowed, BTreeSet::from(LICENCES));
    assert!(is_free("MIT/Apache-2.0") && is_free("(GPL-3.0 OR MIT) AND Unicode-3.0"));
    assert!(!is_free("GPL-3.0") && !is_free("MIT AND GPL-3.0") && !is_free(""));
}

#[test]
fn what_is_fuzzed_is_built_of_the_same_crates_as_the_programs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let locked = |lock: &str| {
        let lock = fs::read_to_string(root.join(lock)).unwrap();
        let (_, ours) = lock.split_once("name = \"peerlab\"\n").unwrap();
        let block = ours.split("\n\n").next().unwrap();
        block.split('"').skip(3).step_by(2).map(str::to_owned).collect::<BTreeSet<String>>()
    };
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let (_, needed) = manifest.split_once("\n[dependencies]\n").unwrap();
    let lines = needed.lines().take_while(|line| !line.starts_with('['));
    let named = lines.filter(|line| !line.starts_with('#') && !line.contains("optional = true"));
    let needed: BTreeSet<String> =
        named.filter_map(|line| line.split_once(" = ")).map(|(name, _)| name.to_owned()).collect();
    assert!(needed.len() > 7 && needed.is_subset(&locked("Cargo.lock")), "{needed:?}");
    // cargo-fuzz mends its own lock without a word, and leaves it changed.
    assert_eq!(locked("tests/fuzz/Cargo.lock"), needed);
}
