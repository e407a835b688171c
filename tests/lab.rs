//! The exercises of the lab, proved: each stub builds and fails, each solution passes, and what students really write
//! instead fails with the right words.
//!
//! All variants are modules of one copy of the project, beside the files of which they are variants, so that they are
//! compiled at once: `lease_book.rs` with the wrong part `barging` of exercise 3 is `lease_book_lab3_barging.rs`.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// How many exercises there are.
const EXERCISES: usize = 10;

/// A text that stands in for parts of an exercise.
struct Variant {
    exercise: usize,
    /// `stub`, `solution` or what is wrong.
    name: String,
    /// What is to be said of it, if it is wrong.
    words: Option<String>,
    /// The files of which it replaces parts, and the whole files with them replaced.
    files: BTreeMap<String, String>,
}

fn lab(exercise: usize) -> PathBuf {
    Path::new(ROOT).join("tests/lab").join(exercise.to_string())
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The files that a text has parts of.
fn files_of(text: &str) -> Vec<String> {
    let named = text.lines().filter_map(|line| line.strip_prefix("//@ "));
    let mut files: Vec<_> = named.map(|file| file.split(' ').next().unwrap().to_owned()).collect();
    files.dedup();
    files
}

/// The texts of an exercise that stand in for parts: the stub, what is wrong, and the solution where it has one.
fn texts(exercise: usize) -> Vec<PathBuf> {
    let paths = fs::read_dir(lab(exercise)).unwrap().map(|entry| entry.unwrap().path());
    let stands_in = |path: &PathBuf| {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        stem.starts_with("wrong-") || ["stub", "solution"].contains(&stem)
    };
    paths.filter(stands_in).collect()
}

/// All variants of an exercise.
fn variants(exercise: usize) -> Vec<Variant> {
    let dir = lab(exercise);
    let mut variants = Vec::new();
    for path in texts(exercise) {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let name = stem.replace("wrong-", "wrong_");
        let text = read(&path);
        let spliced = |file: String| {
            let spliced = Command::new("scripts/lab.sh")
                .args(["splice", &exercise.to_string(), &file, path.to_str().unwrap()])
                .current_dir(ROOT)
                .output()
                .unwrap();
            assert!(spliced.status.success(), "{spliced:?}");
            let whole = String::from_utf8(spliced.stdout).unwrap();
            assert_ne!(whole, read(&Path::new(ROOT).join(&file)), "{}: no part of {file}", path.display());
            (file, whole)
        };
        let files = files_of(&text).into_iter().map(spliced).collect();
        let words = text.lines().find_map(|line| line.strip_prefix("//# ")).map(str::to_owned);
        assert_eq!(words.is_some(), stem.starts_with("wrong-"), "{}: `//# WORDS`", path.display());
        variants.push(Variant { exercise, name, words, files });
    }
    // Where no solution is written down, the project is it.
    if variants.iter().all(|variant| variant.name != "solution") {
        let stub = files_of(&read(&dir.join("stub.rs")));
        let files = stub.into_iter().map(|file| (file.clone(), read(&Path::new(ROOT).join(file)))).collect();
        variants.push(Variant { exercise, name: "solution".into(), words: None, files });
    }
    variants
}

/// The head of the first item in a text, to where its body begins: what can be seen from where, its name and its types.
fn head(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("//") && !line.starts_with("#["));
    lines.flat_map(str::split_whitespace).take_while(|word| !["{", "="].contains(word)).collect()
}

#[test]
fn each_part_has_the_head_of_the_item_in_whose_place_it_stands() {
    let mut heads = 0;
    for (exercise, path) in (1..=EXERCISES).flat_map(|n| texts(n).into_iter().map(move |path| (n, path))) {
        let text = read(&path);
        for part in text.split("//@ ").skip(1) {
            let (place, part) = part.split_once('\n').unwrap();
            let (file, number) = place.split_once(' ').unwrap_or((place, "1"));
            let source = read(&Path::new(ROOT).join(file));
            let below = source.split(&format!("// lab {exercise}\n")).nth(number.parse().unwrap());
            let below = below.unwrap_or_else(|| panic!("{file} has no part {number} of exercise {exercise}"));
            let (head, wanted) = (head(part), head(below));
            // What is not used may be `_`. Were anything else different, those that call it would not be built with it.
            let same = head.iter().zip(&wanted).all(|(word, wanted)| word == wanted || *word == "_:");
            assert!(same && head.len() == wanted.len(), "{}: {head:?}, not {wanted:?}", path.display());
            heads += 1;
        }
    }
    assert!(heads > 60, "{heads} parts");
}

/// Copies the sources without their tests, which would only cost time.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else if entry.file_name().to_str().unwrap().ends_with(".rs") {
            fs::write(to, without_tests(&read(&entry.path()))).unwrap();
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A source without the modules that are compiled for tests only, which stand at its end or are files of their own.
fn without_tests(source: &str) -> String {
    let mut kept = String::new();
    let mut lines = source.lines().peekable();
    while let Some(line) = lines.next() {
        let is_mount = ["#[cfg(test)]", "#[cfg(any(test, fuzzing))]"].contains(&line);
        if is_mount && lines.peek().is_some_and(|next| next.starts_with("#[path = ")) {
            lines.next();
        }
        match lines.peek().filter(|next| is_mount && next.contains("mod ")) {
            Some(next) if next.ends_with(';') => drop(lines.next()),
            Some(_) => break,
            None => kept += &format!("{line}\n"),
        }
    }
    kept
}

/// Puts a variant of `file` beside it, with the checks as its module; gives the name of its module.
fn place(copy: &Path, variant: &Variant, file: &str, source: &str) -> String {
    let path = Path::new(file);
    let stem = path.file_stem().unwrap().to_str().unwrap();
    let module = format!("{stem}_lab{}_{}", variant.exercise, variant.name);
    let checks = lab(variant.exercise).join(format!("checks-{stem}.rs"));
    let mount = format!("\n#[cfg(test)]\n#[path = {checks:?}]\nmod lab;\n");
    // A program's functions become those of a module of the library, which it calls by its name.
    let of_program = file.starts_with("src/bin/");
    let folder = if of_program { Path::new("src") } else { path.parent().unwrap() };
    let source = without_tests(source) + &mount;
    let source = if of_program { source.replace("peerlab::", "crate::") } else { source };
    fs::write(copy.join(folder).join(format!("{module}.rs")), source).unwrap();
    let parents = [folder.join("lib.rs"), folder.join("mod.rs"), folder.with_extension("rs")];
    let parent = parents.iter().map(|parent| copy.join(parent)).find(|parent| parent.exists()).unwrap();
    fs::write(&parent, read(&parent) + &format!("mod {module};\n")).unwrap();
    module
}

#[test]
fn stubs_fail_solutions_pass_and_what_is_wrong_is_told_in_the_right_words() {
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let dir = home.path().to_owned();
    copy(&Path::new(ROOT).join("src"), &dir.join("src"));
    let runner = lab(1).with_file_name("runner.rs");
    let library = dir.join("src/lib.rs");
    // No exercise is about what a user asks of a peer.
    let whole = read(&library).replace("pub mod commands;\n", "");
    fs::write(&library, format!("{whole}\n#[cfg(test)]\n#[path = {runner:?}]\nmod lab_runner;\n")).unwrap();
    fs::copy(Path::new(ROOT).join("Cargo.lock"), dir.join("Cargo.lock")).unwrap();
    // Without the tables of tests, benches and lints; it is built quickly and runs slowly.
    let manifest = read(&Path::new(ROOT).join("Cargo.toml"));
    let kept = manifest.split("\n[").filter(|table| {
        !["[bin]", "[test]", "[bench]", "[example]", "lints."].iter().any(|name| table.starts_with(name))
    });
    let manifest = kept.collect::<Vec<_>>().join("\n[").replace("default-run = \"peer\"", "autobins = false");
    fs::write(dir.join("Cargo.toml"), manifest).unwrap();

    let variants: Vec<Variant> = (1..=EXERCISES).flat_map(variants).collect();
    let mut modules: Vec<(&Variant, String)> = Vec::new();
    for variant in &variants {
        modules
            .extend(variant.files.iter().map(|(file, source)| (variant, place(&dir, variant, file, source))));
    }

    let judged = dir.join("judged");
    fs::create_dir(&judged).unwrap();
    // Where this test itself was built, with all that it stands on.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let run = |seeds: &str, which: &[&str]| {
        let run = Command::new(env!("CARGO"))
            .args(["test", "--locked", "--offline", "--lib", "--quiet"])
            .args(["--config", "profile.dev.package.peerlab.debug=0", "--", "::lab::checks"])
            .args(which)
            .env("CARGO_TARGET_DIR", target)
            .env("CARGO_PROFILE_DEV_OPT_LEVEL", "0")
            .env("CARGO_INCREMENTAL", "0")
            .env("PEERLAB_LAB", &judged)
            .env("PEERLAB_LAB_SEEDS", seeds)
            // The checks mostly wait.
            .env("RUST_TEST_THREADS", "16")
            .current_dir(&dir)
            .output();
        String::from_utf8_lossy(&run.unwrap().stderr).into_owned()
    };
    // What waits or runs for ever must not disturb what is right. What is wrong shows with the first seed of `check`.
    let said = run("1", &["--skip", "_solution::"]);
    assert!(fs::read_dir(&judged).unwrap().next().is_some(), "{said}");
    run("1 2 3", &["--skip", "_stub::", "--skip", "_wrong_"]);
    let mut reports: BTreeMap<String, String> = BTreeMap::new();
    for entry in fs::read_dir(&judged).unwrap().map(|entry| entry.unwrap()) {
        // peerlab.manager.desk_lab3_stub.lab
        let name = entry.file_name().into_string().unwrap();
        let module = name.rsplit('.').nth(1).unwrap();
        reports.insert(module.into(), read(&entry.path()));
    }
    let mut complaints = Vec::new();
    let mut points: BTreeMap<usize, u32> = BTreeMap::new();
    for (variant, module) in modules {
        let report = reports.get(&module).map(String::as_str).unwrap_or("\t\tit broke off");
        let wrong: Vec<&str> = report.lines().filter(|line| !line.ends_with('\t')).collect();
        if variant.name == "solution" {
            let won = report
                .lines()
                .map(|line| line.split('\t').next().unwrap().parse::<u32>().unwrap_or_default());
            *points.entry(variant.exercise).or_default() += won.sum::<u32>();
        }
        let fits = match (&variant.words, &*variant.name) {
            (None, "solution") => wrong.is_empty(),
            (None, _) => !wrong.is_empty() && !report.contains("it broke off"),
            (Some(words), _) => wrong.iter().any(|line| line.contains(&**words)),
        };
        if !fits {
            let words = variant.words.as_deref().unwrap_or_default();
            complaints.push(format!("{module}: {words:?} is not what is said:\n{}", wrong.join("\n")));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    // `grade` reads in the checks what there is to win.
    for (exercise, points) in points {
        assert_eq!(
            lab_sh(&["points", &exercise.to_string()]),
            (0, format!("{points}\n")),
            "exercise {exercise}"
        );
    }
}

#[test]
fn every_exercise_has_a_task_hints_and_three_wrong_solutions() {
    let page = read(&Path::new(ROOT).join("report/lab.md"));
    for exercise in 1..=EXERCISES {
        let wrong = variants(exercise).iter().filter(|variant| variant.words.is_some()).count();
        assert!(wrong >= 3, "exercise {exercise} has {wrong} wrong solutions");
        let hints = read(&lab(exercise).join("hints.txt"));
        assert!(hints.split("\n\n").count() >= 3, "exercise {exercise} has few hints");
        let task = page.split("\n## ").find(|part| part.starts_with(&format!("{exercise}. ")));
        let task = task.unwrap_or_else(|| panic!("report/lab.md has no exercise {exercise}"));
        for part in ["\nTime: ", "Read ", "**Task.**", "**Expected.**", "**Question.**"] {
            assert!(task.contains(part), "exercise {exercise} in report/lab.md lacks {part:?}");
        }
    }
}

#[test]
fn the_lecturer_is_shown_a_line_that_grade_could_print() {
    let page = read(&Path::new(ROOT).join("report/lecturer.md"));
    let line = page.split('`').find(|code| code.starts_with("{\"exercise\":")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(lab_sh(&["points", &line["exercise"].to_string()]).1, format!("{}\n", line["of"]));
    assert!(line["points"].as_u64() < line["of"].as_u64() && line["reasons"].is_array(), "{line}");
}

fn lab_sh(args: &[&str]) -> (i32, String) {
    let ran = Command::new("scripts/lab.sh").args(args).current_dir(ROOT).output().unwrap();
    let said = [ran.stdout, ran.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (ran.status.code().unwrap(), said)
}

#[test]
fn an_exercise_is_begun_in_an_empty_folder_its_hints_come_one_by_one_and_the_solution_keeps_what_was_written()
{
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("my queue");
    let dir = dir.to_str().unwrap();
    assert_eq!(lab_sh(&["check", dir]).0, 2, "there is nothing yet");
    let (status, task) = lab_sh(&["start", "3", dir]);
    assert_eq!(status, 0, "{task}");
    assert!(task.contains("## 3. The FIFO queue") && task.contains("/src/manager/desk.rs:"), "{task}");
    for link in task.split("](").skip(1).map(|rest| rest.split([')', '#']).next().unwrap()) {
        assert!(Path::new(dir).join(link).exists(), "TASK.md links to {link}");
    }
    assert_eq!(lab_sh(&["start", "3", dir]).0, 2, "what is there is not written over");
    let part = format!("{dir}/src/manager/desk.rs");
    assert!(read(Path::new(&part)).contains("todo!(\"Ticket::wait_for_turn is still empty\")"));
    let hints: Vec<String> = (0..6).map(|_| lab_sh(&["hint", dir]).1).collect();
    let all = read(&lab(3).join("hints.txt"));
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words(&hints[..4].join(" ")), words(&all), "one after another");
    assert!(hints[..4].iter().all(|hint| hint.lines().all(|line| line.len() <= 118)), "{hints:?}");
    assert!(hints[4].contains("all hints") && hints[5] == hints[4], "{hints:?}");
    assert_eq!(lab_sh(&["solve", dir]).0, 0);
    assert!(read(Path::new(&part)).contains(read(&Path::new(ROOT).join("src/manager/desk.rs")).trim_end()));
    assert!(read(Path::new(&format!("{part}.mine"))).contains("is still empty"), "what was written is kept");
    for wrong in [&["start", "11", "/tmp/x"][..], &["start"], &["dance"], &[]] {
        assert_eq!(lab_sh(wrong).0, 2, "{wrong:?}");
    }
    let (_, list) = lab_sh(&["list"]);
    assert_eq!(list.lines().filter(|line| line.contains("Difficulty")).count(), EXERCISES, "{list}");
}

#[test]
fn what_does_not_build_is_shown_from_its_first_error_on_and_what_is_wrong_below_what_was_tried() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("lease");
    assert_eq!(lab_sh(&["start", "4", dir.to_str().unwrap()]).0, 0);
    let copied = read(&dir.join("Cargo.toml"));
    // Else each build would begin with a warning that is not the student's.
    assert!(copied.contains("[lints.rust]\nunexpected_cfgs = ") && !copied.contains("clippy"), "{copied}");
    let cargo = home.path().join("cargo");
    let program = |path: &Path, does: &str| {
        fs::write(path, format!("#!/bin/sh\n{does}\n")).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    };
    let lab_sh = |command: &str, says: &str, status: i32| {
        program(&cargo, &format!("printf '{says}'\nexit {status}"));
        let path = format!("{}:{}", home.path().display(), env::var("PATH").unwrap());
        let mut check = Command::new("scripts/lab.sh");
        check.arg(command).arg(&dir).current_dir(ROOT).env("PATH", path);
        let ran = check.env("CARGO_TARGET_DIR", home.path().join("target")).output().unwrap();
        (ran.status.code(), String::from_utf8(ran.stdout).unwrap())
    };
    let error = "   Compiling log v0.4\\nwarning: unused\\nerror[E0425]: no `x`\\n --> src/a.rs:1:1\\n";
    let (status, said) = lab_sh("check", error, 101);
    assert_eq!(status, Some(2), "{said}");
    assert!(
        said.starts_with("error[E0425]: no `x`\n --> src/a.rs:1:1\n== It does not build yet. "),
        "{said}"
    );
    let (_, graded) = lab_sh("grade", error, 101);
    assert!(graded.contains("\"reasons\":[\"it does not build: error[E0425]: no `x`\"]"), "{graded}");
    let (status, said) = lab_sh("check", "cannot reach the registry\\n", 101);
    assert!(status == Some(2) && said.starts_with("cannot reach the registry\n== It does"), "{said}");
    // What was built, and would have checked.
    let (built, why) = (home.path().join("built"), "many words ".repeat(20));
    program(&built, &format!("printf '18\\tone\\t\\n1\\tanother\\t{why}\\n' >$PEERLAB_LAB/x.bindings.lab"));
    let (status, said) = lab_sh("check", &format!("  Executable x ({})\\n", built.display()), 0);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((status, &lines[..2]), (Some(1), &["right     one", "NOT YET   another"][..]), "{said}");
    let below = |line: &&str| line.starts_with("          ") && line.len() <= 118;
    assert!(lines[2..lines.len() - 1].iter().all(below) && lines.len() > 4, "{said}");
}
