//! The interactive peer: a line is read, its command is run, and so on.
//!
//! On a terminal there is line editing, a history and completion, and a failure is told and forgotten.
//! Where stdin is not a terminal it is a script: it stops at the first failure with its exit status, and
//! ends in order at its end. Lines that are empty or begin with `#` are passed over.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{CommandFactory, Parser};
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{Context, Editor, Helper, Highlighter, Hinter, Validator};

use super::command::Command;
use super::context::Shell;
use super::run as run_command;
use crate::cli::tell;
use crate::error::{Error, Kind, Result};
use crate::peer::Peer;

/// A line at the prompt.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, name = "", about = "Commands at the prompt", disable_help_flag = true)]
struct Line {
    /// Print the result as one JSON object
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// What a line asks for.
enum Asked {
    Run(Box<Line>),
    /// Something to read, such as help; it is printed already.
    Shown,
    Nothing,
}

/// Runs the prompt of `peer` until its user leaves, or the script ends or fails.
///
/// # Errors
/// The first failure of a script.
pub fn run(peer: Arc<Peer>, history: Option<PathBuf>) -> Result<()> {
    let name = peer.config().name.to_string();
    let mut shell = Shell::for_prompt(peer);
    let ended =
        if io::stdin().is_terminal() { interactive(&mut shell, &name, history) } else { script(&mut shell) };
    shell.leave();
    ended
}

fn script(shell: &mut Shell) -> Result<()> {
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|e| Error::failed("cannot read commands from stdin").because(e))?;
        if let Asked::Run(line) = parse(&line)? {
            if matches!(line.command, Command::Quit) {
                return Ok(());
            }
            run_command(shell, line.command, line.json)?;
        }
    }
    Ok(())
}

fn interactive(shell: &mut Shell, name: &str, history: Option<PathBuf>) -> Result<()> {
    let failed = |e: ReadlineError| Error::failed("cannot read from the terminal").because(e);
    let mut editor: Editor<Completion, DefaultHistory> = Editor::new().map_err(failed)?;
    editor.set_helper(Some(Completion { files: FilenameCompleter::new() }));
    if let Some(history) = &history {
        // There is none before the first use.
        let _ = editor.load_history(history);
    }
    tell(format_args!("This is the peer {name}. `help` shows the commands, `quit` leaves."));
    loop {
        shell.tell_of_an_ended_lease();
        let line = match editor.readline(&format!("{name}> ")) {
            Ok(line) => line,
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => break,
            Err(e) => return Err(failed(e)),
        };
        let _ = editor.add_history_entry(&line);
        match parse(&line) {
            Ok(Asked::Run(line)) if matches!(line.command, Command::Quit) => break,
            Ok(Asked::Run(line)) => {
                if let Err(e) = run_command(shell, line.command, line.json) {
                    tell(e);
                }
            }
            Ok(Asked::Shown | Asked::Nothing) => {}
            Err(e) => tell(e),
        }
    }
    if let Some(history) = &history {
        // A history that cannot be kept is no reason to fail.
        let _ = editor.save_history(history);
    }
    Ok(())
}

/// A line as a command; in any case, as the sources write it (`ADD`, `GET`).
fn parse(line: &str) -> Result<Asked> {
    if line.trim().is_empty() || line.trim_start().starts_with('#') {
        return Ok(Asked::Nothing);
    }
    let usage = |what: String| Error::new(Kind::Usage, what).advise("`help` shows the commands");
    let mut words = shell_words::split(line).map_err(|e| usage(format!("{line:?}: {e}")))?;
    if let Some(place) = command_place(&words, &Line::command()) {
        words[place] = words[place].to_lowercase();
    }
    match Line::try_parse_from(words) {
        Ok(line) => Ok(Asked::Run(Box::new(line))),
        Err(e) if e.use_stderr() => {
            // Up to the first empty line: what is wrong, and with which arguments.
            let text = e.render().to_string();
            let what: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
            Err(usage(what.join(" ").trim_start_matches("error: ").to_owned()))
        }
        Err(shown) => {
            let _ = shown.print();
            Ok(Asked::Shown)
        }
    }
}

/// Where the command stands among `words`: the first that is neither an option nor an option's value.
pub fn command_place(words: &[String], grammar: &clap::Command) -> Option<usize> {
    let takes_value = |word: &str| {
        let long = word.strip_prefix("--");
        let named = |arg: &&clap::Arg| long.is_some() && arg.get_long() == long;
        grammar.get_arguments().find(named).is_some_and(|arg| arg.get_action().takes_values())
    };
    let mut value = false;
    words.iter().position(|word| {
        let option = word.starts_with('-');
        let command = !value && !option;
        value = !value && option && takes_value(word);
        command
    })
}

/// Completes the first word to a command, the others to files.
#[derive(Helper, Highlighter, Hinter, Validator)]
struct Completion {
    files: FilenameCompleter,
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        at: usize,
        context: &Context<'_>,
    ) -> Result<(usize, Vec<Pair>), ReadlineError> {
        let before = line[..at].trim_start();
        if before.contains(' ') {
            return self.files.complete(line, at, context);
        }
        let typed = before.to_lowercase();
        let grammar = Line::command();
        let names = grammar.get_subcommands().map(|command| command.get_name().to_owned());
        let fitting = names.chain(["help".to_owned()]).filter(|name| name.starts_with(&typed));
        let pair = |name: String| Pair { display: name.clone(), replacement: format!("{name} ") };
        Ok((at - before.len(), fitting.map(pair).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> String {
        match parse(line) {
            Ok(Asked::Run(line)) => format!("{:?}", line.command),
            Ok(_) => "nothing".into(),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn a_line_is_a_command_in_any_case() {
        assert_eq!(parsed("LEASE 3"), "Lease { slots: 3 }");
        assert_eq!(parsed("--json Peers"), "Peers");
        assert_eq!(parsed("   # a remark"), "nothing");
        assert!(parsed("make 'two words' 3").contains("two words"));
    }

    #[test]
    fn a_mistake_is_named_with_what_to_do() {
        assert_eq!(parsed("frobnicate"), "unrecognized subcommand 'frobnicate'; `help` shows the commands");
        assert!(parsed("lease x").contains("invalid value 'x'"));
        assert!(parsed("make 'a").contains("missing closing quote"));
    }
}
