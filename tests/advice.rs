//! What the programs advise: every command and option that a message names exists, and who follows an advice is helped.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Subcommand;
use clap::error::ErrorKind;
use peerlab::commands::command;
use proc_macro2::{TokenStream, TokenTree};

use crate::common::files::put;
use crate::common::node::Network;
use crate::common::{integers, save};

/// What stands between backticks and is no command of ours: words of the wire, and a command of the shell.
const OTHERS: [&str; 9] =
    [".meta4", "ok", "wait", "have", "bind", "registered", "ulimit -n", "ulimit -u", "{question}"];

/// Gives the code of every file of the programs to `each`, but for tests.
fn each_source(each: &mut impl FnMut(&Path, TokenStream)) {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let is_test = path.file_stem().unwrap().to_str().unwrap().ends_with("tests");
            if path.is_dir() {
                folders.push(path);
            } else if path.extension() == Some("rs".as_ref()) && !is_test {
                let text = fs::read_to_string(&path).unwrap();
                each(&path, text.split("#[cfg(test)]\nmod tests {").next().unwrap().parse().unwrap());
            }
        }
    }
}

/// All texts in it, comments excepted, and where.
fn texts() -> Vec<(PathBuf, String)> {
    let mut texts = Vec::new();
    each_source(&mut |path, code| collect(code, &mut |text| texts.push((path.to_owned(), text))));
    texts
}

/// Gives every string of this code to `each`, but those of attributes; comments are attributes, too.
fn collect(code: TokenStream, each: &mut impl FnMut(String)) {
    let mut tokens = code.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(sign) if sign.as_char() == '#' => {
                tokens.next_if(|next| matches!(next, TokenTree::Punct(bang) if bang.as_char() == '!'));
                tokens.next_if(|next| matches!(next, TokenTree::Group(_)));
            }
            TokenTree::Group(group) => collect(group.stream(), each),
            TokenTree::Literal(literal) => {
                if let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string()) {
                    each(text.value());
                }
            }
            _ => {}
        }
    }
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(String::from).collect()
}

/// All options that `--help` of the three programs and of their commands names.
fn options() -> BTreeSet<String> {
    let mut options = BTreeSet::new();
    let commands = command::Command::augment_subcommands(clap::Command::new("peer"));
    let commands: Vec<&str> = commands.get_subcommands().map(clap::Command::get_name).collect();
    let peer = env!("CARGO_BIN_EXE_peer");
    let of_commands = commands.into_iter().map(|command| vec![peer, command, "--help"]);
    let of_programs = [peer, env!("CARGO_BIN_EXE_manager"), env!("CARGO_BIN_EXE_uppercase")];
    for words in of_commands.chain(of_programs.map(|program| vec![program, "--help"])) {
        let help = Command::new(words[0]).args(&words[1..]).output().unwrap();
        options.extend(named_options(&String::from_utf8(help.stdout).unwrap()));
    }
    options
}

fn named_options(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.filter(|word| word.len() > 3 && word.starts_with("--")).map(String::from).collect()
}

#[test]
fn every_command_and_option_that_a_message_names_exists() {
    let (known, mut checked) = (options(), 0);
    for (path, text) in texts() {
        let place = format!("{}: {text:?}", path.display());
        for option in named_options(&text) {
            assert!(known.contains(&option), "{place}: there is no option {option}");
        }
        for command in quoted(&text).iter().filter(|quoted| !OTHERS.contains(&&***quoted)) {
            let words: Vec<&str> = command.split_whitespace().filter(|word| *word != "-o").collect();
            if matches!(words[0], "peer" | "manager")
                && words.get(1).is_none_or(|word| word.starts_with("--"))
            {
                continue;
            }
            let words =
                words.into_iter().skip_while(|word| *word == "peer").map(|word| word.replace("{}", "name"));
            let grammar = clap::Command::new("peer").no_binary_name(true);
            let parsed = command::Command::augment_subcommands(grammar).try_get_matches_from(words);
            // A command may be named without its arguments.
            let named_only = |no: &clap::Error| no.kind() == ErrorKind::MissingRequiredArgument;
            assert!(
                parsed.as_ref().is_ok_and(|found| found.subcommand().is_some())
                    || parsed.as_ref().is_err_and(|no| named_only(no) || no.kind() == ErrorKind::DisplayHelp),
                "{place}: {command} is no command"
            );
            checked += 1;
        }
    }
    assert!(checked > 20, "only {checked} commands are named");
}

/// What fails and how, what is said then, what that advises (`$` begins what is no command of ours), and a command that
/// works after it.
const FOLLOWED: [(&str, i32, &str, &str, &str); 25] = [
    ("show new", 3, "`peer make new 1000`", "make new 1000", "show new.npy"),
    ("show a", 3, "a.npy is there", "show a.npy", "show a.npy"),
    ("show data.v2", 3, "`peer make data.v2 1000`", "make data.v2 1000", "show data.v2.npy"),
    ("show out", 1, "give the path of a .npy file", "$ cp a.npy out/b.npy", "show out/b.npy"),
    ("show text.npy", 1, "write it with numpy.save(path, array)", "$ cp a.npy text.npy", "show text.npy"),
    ("show cut.npy", 1, "write or copy it again", "$ cp a.npy cut.npy", "show cut.npy"),
    (
        "show vector.npy",
        1,
        "save it as one row, array.reshape(1, 9)",
        "$ cp row.npy vector.npy",
        "show vector.npy",
    ),
    ("show cube.npy", 1, "save one matrix of it, such as array[0]", "$ cp a.npy cube.npy", "show cube.npy"),
    ("show number.npy", 1, "save it as one row and one column", "$ cp row.npy number.npy", "show number.npy"),
    (
        "show complex.npy",
        1,
        "save it again with numpy.save(path",
        "$ cp row.npy complex.npy",
        "show complex.npy",
    ),
    (
        "multiply a.npy none.npy --local",
        4,
        "replace entries that are not finite numbers",
        "$ cp a.npy none.npy",
        "multiply a.npy none.npy --local",
    ),
    (
        "multiply a.npy row.npy --local",
        2,
        "the left matrix needs as many columns as the right one has rows",
        "$ cp a.npy row.npy",
        "multiply a.npy row.npy --local",
    ),
    ("make theirs.npy 2", 4, "replace it with --force", "make theirs.npy 2 --force", "show theirs.npy"),
    ("make nowhere/x.npy 3", 3, "create it first (mkdir)", "$ mkdir nowhere", "make nowhere/x.npy 3"),
    (
        "multiply a.npy a.npy -o out --local",
        1,
        "give that of a file in it",
        "multiply a.npy a.npy -o out/c.npy --local",
        "show out/c.npy",
    ),
    (
        "multiply a.npy a.npy -o a.npy --local",
        4,
        "--force",
        "multiply a.npy a.npy -o a.npy --local --force",
        "show a.npy",
    ),
    ("multiply a.npy a.npy --slots 99", 0, "taking those", "peers", "multiply a.npy a.npy"),
    ("down lost.txt -o out", 3, "`files` lists what is offered", "files", "down there.txt -o out"),
    (
        "down there.txt -o mine",
        4,
        "rename one of the two",
        "$ mv mine/there.txt mine/my.txt",
        "down there.txt -o mine",
    ),
    ("down there.txt -o a.npy", 1, "give the folder into which files go", "down there.txt -o out", "files"),
    ("verify there.txt", 3, "--data names the folder", "down there.txt", "verify there.txt --data ."),
    ("lease 3", 2, "start `peer` and type `lease` there", "help lease", "peers"),
    ("release", 3, "slots are held at the prompt", "help", "peers"),
    ("quit", 2, "`peer help` shows the commands", "help", "peers"),
    (
        "bounds --size 1M --seed-up 0 --peer-up 1M --peers 3",
        4,
        "give a rate above 0, such as 2Mbit",
        "bounds --size 1M --seed-up 2Mbit --peer-up 1M --peers 3",
        "peers",
    ),
];

/// What else is advised, by the reason for which no command of [`FOLLOWED`] shows that it helps.
const NOT_FOLLOWED: [(&str, &[&str]); 5] = [
    (
        "it speaks to those who write a program for the wire; the golden dialogues and tests/wire.rs hold the rules",
        &[
            "a bit for each, then zeros",
            "counted from 0",
            "an id has 64 hex digits",
            "ask for pieces of the bitfield",
            "ask the manager for a new lease",
            "ask the manager which peers have it",
            "it has 16 hex digits",
            "it has {}, with",
            "a file has at most",
            "keep {} at most",
            "larger pieces, or a smaller file",
            "a peer may offer",
            "register, and show",
            "say `ok` to each",
            "say {expected} here",
            "send the key",
            "send the next product",
            "send the pass",
            "send the product to another",
            "the payload has 8",
            "use a power of two",
            "ask another holder",
        ],
    ),
    (
        "what to write stands in it, and the next try shows whether it was right",
        &[
            "a name has 1 to",
            "give a time from",
            "give the peer's own address",
            "give an address of this machine",
            "make --dead-after several times --ping",
            "make --ping",
            "write a host and a port",
            "write all, or a number",
            "write bytes, such as",
            "write 30s",
            "write 20M",
            "write 10 or 0.5",
            "name a file that is not there yet",
            "send it into a file or a program",
            "`restore {file} --as NEW`",
            "`files` shows who has it",
            "if that is meant, save it",
            "--id chooses among several",
            "`release` them first",
            "`add` it again",
            "add the files in it one by one",
            "rename it first, or name a file",
            "share yours under another name",
            "share several small files",
            "`help` shows the commands",
            "/data/ lists what is",
        ],
    ),
    (
        "its test stands with what it is about: admission, the store, programs, replication, leases",
        &[
            "make it yours alone: chmod 600",
            "a longer one, for all nodes",
            "give every node the same --secret-file",
            "start every node with the same --secret-file",
            "give this one another folder",
            "another peer watches this folder",
            "start `manager` there",
            "see whether {} is the address of a manager",
            "start one with `peer serve`",
            "see what `why` says",
            "`why` says what is waited for",
            "it is published again soon",
            "it was dropped, changed or deleted",
            "run the command again for that",
            "the pieces are kept",
            "the pieces that are there are kept",
            "others are asked",
            "wait for that, or save it into another folder",
            "take it from another mirror",
            "put the right bytes there",
            "let the port through the firewall",
            "it is taken off the list if",
            "--data names the folder in which it lies",
        ],
    ),
    (
        "it is done outside: on this machine, at another program, or by another person",
        &[
            "choose another place, or make room there",
            "cut the matrices into smaller products",
            "cut the product into smaller ones",
            "end other programs",
            "make room",
            "use a smaller matrix",
            "what was dropped may come back",
            "see to its permissions",
            "this machine computes wrongly",
            "run the same release",
            "its missing pieces must be fetched",
        ],
    ),
    (
        "it says to wait, or to look",
        &[
            "`restore` again when nobody writes",
            "add it when nobody writes to it",
            "ask another peer, or try again later",
            "see whether it is being restarted",
            "see whether it is stopped",
            "see whether the program there",
            "try again later",
            "try again when nobody writes",
            "write or copy the file again",
        ],
    ),
];

#[test]
fn who_follows_an_advice_is_helped() {
    let network = Network::start(&["--replicas", "0"], &[]);
    let path = |name: &str| network.path(name);
    save(&integers(3, 3, 1), &path("a.npy"));
    save(&integers(1, 9, 1), &path("row.npy"));
    let npy = |name: &str, kind: &str, shape: &str, bytes: usize| {
        let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
        let start = [&b"\x93NUMPY\x01\x00v\x00"[..], format!("{header:117}\n").as_bytes()].concat();
        fs::write(path(name), [start, vec![0xff; bytes]].concat()).unwrap();
    };
    for (name, kind, shape, bytes) in [
        ("vector.npy", "<f8", "(9,)", 72),
        ("cube.npy", "<f8", "(1, 3, 3)", 72),
        ("number.npy", "<f8", "()", 8),
        ("complex.npy", "<c16", "(1, 9)", 144),
        ("none.npy", "<f8", "(3, 3)", 72),
        ("cut.npy", "<f8", "(3, 3)", 40),
    ] {
        npy(name, kind, shape, bytes);
    }
    for name in ["text.npy", "theirs.npy"] {
        fs::write(path(name), "not a matrix").unwrap();
    }
    for folder in ["out", "mine"] {
        fs::create_dir(path(folder)).unwrap();
    }
    fs::write(path("mine/there.txt"), "of ben").unwrap();
    put(&network, "ada", "there.txt", "of ada");
    let mut ada = network.command("ada", &["serve"]);
    ada.ready();
    let run = |line: &str| network.command("ben", &line.split(' ').collect::<Vec<_>>()).outcome();
    for (line, status, said, advised, then) in FOLLOWED {
        let first = run(line);
        assert_eq!(first.status, Some(status), "{line}: {first:#?}");
        assert!(first.stderr.contains(said), "{line}: {first:#?}");
        match advised.strip_prefix("$ ") {
            Some(line) => {
                let shell = Command::new("sh").current_dir(path("")).args(["-c", line]).status().unwrap();
                assert!(shell.success(), "{line}");
            }
            None => drop(run(advised).assert(0, &[])),
        }
        run(then).assert(0, &[]);
    }
}

/// The texts in the parentheses of each `advise(..)` in this code.
fn advised(code: TokenStream, each: &mut impl FnMut(String)) {
    let mut tokens = code.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match (token, tokens.peek()) {
            (TokenTree::Ident(name), Some(TokenTree::Group(said))) if name == "advise" => {
                collect(said.stream(), each);
            }
            (TokenTree::Group(group), _) => advised(group.stream(), each),
            _ => {}
        }
    }
}

#[test]
fn every_advice_is_followed_here_or_a_reason_stands_in_its_place() {
    let mut all = Vec::new();
    each_source(&mut |path, code| advised(code, &mut |text| all.push((path.to_owned(), text))));
    assert!(all.len() > 100, "only {} are found", all.len());
    let followed = FOLLOWED.map(|(_, _, said, ..)| said);
    // Where a text has a place for a name, what stands before or after it.
    let known = |text: &str| {
        let parts = text.split(['{', '}']).filter(|part| part.len() > 9);
        parts.clone().any(|part| followed.iter().any(|said| said.contains(part) || part.contains(said)))
            || NOT_FOLLOWED.iter().any(|(_, texts)| texts.iter().any(|known| text.contains(known)))
    };
    // A word alone is counted, not advised.
    let new: Vec<_> = all.iter().filter(|(_, text)| text.contains(' ') && !known(text)).collect();
    assert!(new.is_empty(), "is one helped who follows these? {new:#?}");
    let mut old = NOT_FOLLOWED.iter().flat_map(|(_, texts)| *texts).collect::<Vec<_>>();
    old.retain(|known| !all.iter().any(|(_, text)| text.contains(**known)));
    assert!(old.is_empty(), "nothing advises these any more: {old:?}");
}
