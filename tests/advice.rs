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

/// All texts in the code of the programs, tests and comments excepted, and where.
fn texts() -> Vec<(PathBuf, String)> {
    let (mut texts, mut folders) = (Vec::new(), vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")]);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let is_test = path.file_stem().unwrap().to_str().unwrap().ends_with("tests");
            if path.is_dir() {
                folders.push(path);
            } else if path.extension() == Some("rs".as_ref()) && !is_test {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap().parse().unwrap();
                collect(code, &mut |text| texts.push((path.clone(), text)));
            }
        }
    }
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

#[test]
fn who_follows_an_advice_is_helped() {
    let network = Network::start(&["--replicas", "0"], &[]);
    let path = |name: &str| network.path(name);
    save(&integers(3, 3, 1), &path("a.npy"));
    fs::write(path("text.npy"), "not a matrix").unwrap();
    put(&network, "ada", "there.txt", "of ada");
    let mut ada = network.command("ada", &["serve"]);
    ada.ready();
    let run = |line: &str| network.command("ben", &line.split(' ').collect::<Vec<_>>()).outcome();
    // What fails and how, what is said, what that advises, and whether the first command works then.
    for (line, status, said, advised, then) in [
        ("show new", 3, "`peer make new 1000`", "make new 1000", "show new.npy"),
        ("show a", 3, "a.npy is there", "show a.npy", "show a.npy"),
        ("show data.v2", 3, "`peer make data.v2 1000`", "make data.v2 1000", "show data.v2.npy"),
        ("make text 2", 4, "replace it with --force", "make text 2 --force", "show text.npy"),
        (
            "multiply a.npy a.npy -o a.npy --local",
            4,
            "--force",
            "multiply a.npy a.npy -o a.npy --local --force",
            "show a.npy",
        ),
        ("multiply a.npy a.npy --slots 99", 0, "taking those", "peers", "multiply a.npy a.npy"),
        ("down lost.txt -o out", 3, "`files` lists what is offered", "files", "down there.txt -o out"),
        ("verify there.txt", 3, "--data names the folder", "down there.txt", "verify there.txt --data ."),
        ("release", 3, "slots are held at the prompt", "help", "peers"),
    ] {
        let first = run(line);
        assert_eq!(first.status, Some(status), "{line}: {first:#?}");
        assert!(first.stderr.contains(said), "{line}: {first:#?}");
        for line in [advised, then] {
            run(line).assert(0, &[]);
        }
    }
}
