//! What Tab offers at the prompt: whatever can stand there.
//!
//! The grammar of the commands says what that is: the name of a command, an option of the command that is typed, one of
//! the values that an option or argument may have, a path, or the name of a file that somebody offers. Nothing is listed
//! here by hand, so a new command is completed, too.
//!
//! The names of offered files are asked of the manager, at most once a second, and not waited for long: the person who
//! types must not wait for a manager that is away.

use std::any::TypeId;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Arg, Command};
use crossbeam_channel::bounded;
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::{Helper, Highlighter, Hinter, Validator};

use super::command::command_place;
use crate::peer::manager_client::ManagerClient;
use crate::share::FileName;
use crate::thread::{self, Thread};

/// How long the manager's answer is waited for.
const WAIT: Duration = Duration::from_millis(300);

/// How long the names of files that it told are used.
const AGE: Duration = Duration::from_secs(1);

/// What can stand at a place.
#[derive(Debug, PartialEq)]
enum Place {
    /// One of these.
    Words(Vec<String>),
    /// The name of a file that somebody offers.
    Offered,
    /// A path on this machine.
    Path,
}

/// Completes the word before the cursor.
#[derive(Helper, Highlighter, Hinter, Validator)]
pub(super) struct Completion {
    grammar: Command,
    paths: FilenameCompleter,
    manager: SocketAddr,
    /// When the manager was asked last, and what it told.
    offered: RefCell<(Option<Instant>, Vec<String>)>,
}

impl Completion {
    /// For the commands of this grammar.
    pub(super) fn new(mut grammar: Command, manager: SocketAddr) -> Self {
        grammar.build();
        Self { grammar, paths: FilenameCompleter::new(), manager, offered: RefCell::default() }
    }

    /// The names of all files that are offered, as far as they are known in time.
    fn offered(&self) -> Vec<String> {
        let (asked, names) = &mut *self.offered.borrow_mut();
        if asked.is_none_or(|asked| asked.elapsed() >= AGE) {
            *asked = Some(Instant::now());
            let (tell, told) = bounded(1);
            let mut manager = ManagerClient::new(self.manager);
            let ask = move || drop(tell.send(manager.files(false)));
            let started = thread::start("ask_names", ask).map(Thread::detach);
            if let (Ok(()), Ok(Ok(files))) = (started, told.recv_timeout(WAIT)) {
                *names = files.iter().map(|row| row.file.to_string()).collect();
            }
        }
        names.clone()
    }
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        at: usize,
        context: &rustyline::Context<'_>,
    ) -> Result<(usize, Vec<Pair>), ReadlineError> {
        let (start, before) = words_before(&line[..at]);
        let typed = &line[start..at];
        let words = match place(&self.grammar, &before, typed) {
            Place::Path => return self.paths.complete(line, at, context),
            Place::Offered => self.offered(),
            Place::Words(words) => words,
        };
        // As the shell would understand what is typed; a quote may still be open.
        let typed = typed.trim_start_matches(['\'', '"']).replace('\\', "").to_lowercase();
        let fitting = words.into_iter().filter(|word| word.to_lowercase().starts_with(&typed));
        let pair =
            |word: String| Pair { replacement: format!("{} ", shell_words::quote(&word)), display: word };
        Ok((start, fitting.map(pair).collect()))
    }
}

/// Where the last word of a line begins, which may be empty, and the words before it.
fn words_before(line: &str) -> (usize, Vec<String>) {
    let (mut start, mut quote, mut escaped) = (0, None, false);
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote != Some('\'') => escaped = true,
            '\'' | '"' if quote.is_none() => quote = Some(c),
            _ if quote == Some(c) => quote = None,
            _ if c.is_whitespace() && quote.is_none() => start = at + c.len_utf8(),
            _ => {}
        }
    }
    (start, shell_words::split(&line[..start]).unwrap_or_default())
}

/// What can stand after these words, where `typed` has begun.
fn place(grammar: &Command, before: &[String], typed: &str) -> Place {
    let words = [before, &[typed.to_owned()]].concat();
    let names = || grammar.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let Some(at) = command_place(&words, grammar).filter(|at| *at < before.len()) else {
        return Place::Words(if typed.starts_with('-') { options(grammar) } else { names() });
    };
    let command = match &*before[at].to_lowercase() {
        "help" => return Place::Words(names()),
        name => match grammar.find_subcommand(name) {
            Some(command) => command,
            None => return Place::Words(Vec::new()),
        },
    };
    let (mut value, mut positionals) = (None, command.get_positionals());
    for word in &before[at + 1..] {
        if value.take().is_some() {
            continue;
        }
        match word.strip_prefix('-') {
            Some(name) => value = option(command, name).filter(|arg| arg.get_action().takes_values()),
            None => drop(positionals.next()),
        }
    }
    match value.or_else(|| positionals.next().filter(|_| !typed.starts_with('-'))) {
        Some(arg) => of(arg),
        None => Place::Words(options(command)),
    }
}

/// The option `-o` or `--output` of a command, its first dash taken off.
fn option<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    let is = |arg: &&Arg| match name.strip_prefix('-') {
        Some(long) => arg.get_long() == Some(long),
        None => arg.get_short().is_some_and(|short| name.starts_with(short)),
    };
    command.get_arguments().find(is)
}

fn options(command: &Command) -> Vec<String> {
    command.get_arguments().filter_map(Arg::get_long).map(|long| format!("--{long}")).collect()
}

/// What an argument may be.
fn of(arg: &Arg) -> Place {
    let kind = arg.get_value_parser().type_id();
    if kind == TypeId::of::<FileName>() {
        Place::Offered
    } else if kind == TypeId::of::<PathBuf>() {
        Place::Path
    } else {
        Place::Words(arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::super::command;
    use super::*;

    #[derive(Parser)]
    #[command(no_binary_name = true)]
    struct Line {
        #[arg(long, global = true)]
        json: bool,
        #[command(subcommand)]
        command: command::Command,
    }

    /// What can stand at the end of this line.
    fn at_the_end_of(line: &str) -> Place {
        let mut grammar = Line::command();
        grammar.build();
        let (start, before) = words_before(line);
        place(&grammar, &before, &line[start..])
    }

    #[track_caller]
    fn words(line: &str) -> Vec<String> {
        match at_the_end_of(line) {
            Place::Words(words) => words,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[test]
    fn what_can_stand_there_follows_from_the_grammar() {
        let commands = words("");
        for name in ["make", "multiply", "down", "help", "quit"] {
            assert!(commands.contains(&name.to_owned()), "{commands:?} lacks {name}");
        }
        for line in ["mul", "  MUL", "--json ", "help ", "help mu"] {
            assert_eq!(words(line), commands, "{line:?}");
        }
        for line in ["down ", "DOWN a", "drop ", "verify x", "--json down -o out ", "down --stay "] {
            assert_eq!(at_the_end_of(line), Place::Offered, "{line:?}");
        }
        for line in ["add ", "multiply a.npy ", "multiply a b -o ", "multiply a b --output c", "down a -o "] {
            assert_eq!(at_the_end_of(line), Place::Path, "{line:?}");
        }
        assert_eq!(words("down a --pick "), ["rarest", "sequential", "split"]);
        for line in ["down a -", "down --", "down a "] {
            let options = words(line);
            assert!(
                ["--output", "--stay", "--pick", "--json"]
                    .iter()
                    .all(|name| options.contains(&(*name).into()))
            );
            assert!(!options.contains(&"--levels".to_owned()), "{options:?}");
        }
        assert!(words("lease ").is_empty() && words("nonsense ").is_empty());
    }

    #[test]
    fn a_word_begins_after_a_space_that_is_not_quoted() {
        for (line, start, before) in [
            ("", 0, vec![]),
            ("down  a", 6, vec!["down"]),
            ("down 'a b", 5, vec!["down"]),
            (r"add a\ b c", 9, vec!["add", "a b"]),
        ] {
            assert_eq!(
                words_before(line),
                (start, before.into_iter().map(String::from).collect()),
                "{line:?}"
            );
        }
    }
}
