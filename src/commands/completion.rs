//! What Tab offers at the prompt: whatever can stand there.
//!
//! The grammar of the commands says what that is (`clap_complete` reads it): the name of a command, an option of the
//! command that is typed, a value that it may have, a path, or the name of a file that somebody offers, or
//! that can be restored. Nothing is
//! listed here by hand, so a new command is completed, too.
//!
//! The names of offered files are asked of the manager, at most once a second, and not waited for long: the person who
//! types must not wait for a manager that is away.

use std::any::TypeId;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Arg, Command};
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter, CompletionCandidate, complete};
use crossbeam_channel::bounded;
use parking_lot::Mutex;
use rustyline::Helper;
use rustyline::completion::{Completer, FilenameCompleter, Pair, Quote, escape, extract_word, unescape};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;

use super::command::in_lower_case;
use crate::peer::Peer;
use crate::peer::config::Config;
use crate::peer::manager_client::ManagerClient;
use crate::peer::wings::Wings;
use crate::share::FileName;
use crate::thread::{self, Thread};

/// How long the manager's answer is waited for.
const WAIT: Duration = Duration::from_millis(300);

/// How long the names of files that it told are used.
const AGE: Duration = Duration::from_secs(1);

/// Of how many drops it is looked whether the trash has the file.
const MOST_THROWN: usize = 100;

/// Stands for all paths on this machine.
const PATHS: &str = "/";

/// Completes the word before the cursor.
pub(crate) struct Completion {
    grammar: Command,
    paths: FilenameCompleter,
}

impl Helper for Completion {}
impl Highlighter for Completion {}
impl Hinter for Completion {
    type Hint = String;
}
impl Validator for Completion {}

impl Completion {
    /// For the commands of this grammar. `names` gives those of the files that are offered, or that can be restored.
    pub(crate) fn new(
        grammar: Command,
        names: impl Fn(bool) -> Vec<String> + Clone + Send + Sync + 'static,
    ) -> Self {
        let argument = |restores: bool, arg: Arg| {
            let (kind, names) = (arg.get_value_parser().type_id(), names.clone());
            if kind == TypeId::of::<FileName>() && arg.is_positional() {
                let named =
                    move || names(restores).into_iter().map(CompletionCandidate::new).collect::<Vec<_>>();
                arg.add(ArgValueCandidates::new(named))
            } else if kind == TypeId::of::<PathBuf>() {
                arg.add(ArgValueCompleter::new(|_: &_| vec![CompletionCandidate::new(PATHS)]))
            } else {
                arg
            }
        };
        let grammar = grammar.mut_subcommands(|command| {
            let restores = command.get_name() == "restore";
            command.mut_args(|arg| argument(restores, arg))
        });
        Self { grammar, paths: FilenameCompleter::new() }
    }

    /// Where the last word of a line begins, and what it may become.
    pub(crate) fn candidates(&self, line: &str) -> (usize, Vec<String>) {
        let (start, typed) = extract_word(line, line.len(), Some('\\'), is_special);
        let mut words = shlex::split(&line[..start]).unwrap_or_default();
        words.push(unescape(typed, Some('\\')).into_owned());
        let (last, words) = (words.len() - 1, in_lower_case(words, &self.grammar));
        let found = complete(&mut self.grammar.clone(), words, last, None).unwrap_or_default();
        let values = found.iter().map(|candidate| candidate.get_value().to_string_lossy().into_owned());
        (start, values.filter(|value| typed.starts_with('-') || !value.starts_with('-')).collect())
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
        let (start, words) = self.candidates(&line[..at]);
        if words == [PATHS] {
            return self.paths.complete(line, at, context);
        }
        let pair = |display: String| {
            let word = escape(display.clone(), Some('\\'), is_special, Quote::None);
            Pair { display, replacement: word + " " }
        };
        Ok((start, words.into_iter().map(pair).collect()))
    }
}

/// What must be escaped within a word.
fn is_special(c: char) -> bool {
    c.is_whitespace() || "'\"\\".contains(c)
}

/// The names of all files that are offered, as far as they are known in time.
pub(super) fn names_from(config: Config) -> impl Fn() -> Vec<String> + Clone + Send + Sync {
    let known = Arc::new(Mutex::new((None::<Instant>, Vec::new())));
    move || {
        let (asked, names) = &mut *known.lock();
        if asked.is_none_or(|asked| asked.elapsed() >= AGE) {
            let (tell, told) = bounded(1);
            let mut manager = ManagerClient::new(&config);
            let ask = move || drop(tell.send(manager.files(false)));
            let started = thread::start("ask_names", ask).map(Thread::detach);
            if let (Ok(()), Ok(Ok(files))) = (started, told.recv_timeout(WAIT)) {
                *names = files.iter().map(|row| row.file.to_string()).collect();
            }
            *asked = Some(Instant::now());
        }
        names.clone()
    }
}

/// The names of all files that were dropped and are in the trash of this peer.
pub(super) fn names_in_trash(peer: &Peer) -> Vec<String> {
    let Wings { library, replication: Some(own), .. } = &*peer.wings else { return Vec::new() };
    // A key that is pressed does not wait for ten thousand looks at the disk: the newest come last.
    let newest = library.drops().into_iter().rev().take(MOST_THROWN).map(|drop| drop.file);
    let there = newest.filter(|file| own.store.has_thrown(file));
    let names: BTreeSet<String> = there.map(|file| file.to_string()).collect();
    names.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::super::command;
    use super::*;

    #[derive(Parser)]
    #[command(no_binary_name = true, disable_help_flag = true)]
    struct Line {
        #[arg(long, global = true)]
        json: bool,
        #[command(subcommand)]
        command: command::Command,
    }

    /// What the last word of this line may become.
    fn words(line: &str) -> Vec<String> {
        let names = |restores: bool| match restores {
            true => vec!["old.txt".to_owned()],
            false => vec!["a.bin".to_owned(), "two words.txt".to_owned()],
        };
        Completion::new(Line::command(), names).candidates(line).1
    }

    #[test]
    fn what_can_stand_there_follows_from_the_grammar() {
        let commands = words("");
        for name in ["make", "multiply", "down", "show", "help", "quit"] {
            assert!(commands.contains(&name.to_owned()), "{commands:?} lacks {name}");
        }
        for line in ["mul", "  MUL", "--json mul", "help mul"] {
            assert_eq!(words(line), ["multiply"], "{line:?}");
        }
        assert_eq!(words("--json "), commands);
        for line in ["down ", "DOWN ", "drop ", "verify ", "--json down -o out ", "down --stay "] {
            assert_eq!(words(line), ["a.bin", "two words.txt"], "{line:?}");
        }
        assert_eq!(words("down a"), ["a.bin"]);
        assert_eq!(words("restore "), ["old.txt"], "what can be restored is not what is offered");
        assert_eq!(words("restore old.txt --as "), [""; 0], "a new name");
        assert_eq!(words(r"down two\ w"), ["two words.txt"]);
        for line in ["add ", "show m", "multiply a.npy ", "multiply a b -o ", "multiply a b --output c"] {
            assert_eq!(words(line), [PATHS], "{line:?}");
        }
        assert_eq!(words("down a --pick "), ["rarest", "sequential", "split"]);
        assert_eq!(words("down a --pick se"), ["sequential"]);
        let options = words("down a --");
        for name in ["--output", "--stay", "--pick", "--json"] {
            assert!(options.contains(&name.to_owned()), "{options:?} lacks {name}");
        }
        assert!(!options.contains(&"--levels".to_owned()), "{options:?}");
        assert_eq!(words("lease "), [""; 0]);
    }
}
