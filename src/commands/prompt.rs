//! The interactive peer: a line is read, its command is run, and so on.
//!
//! On a terminal there is line editing, a history and completion, and a failure is told and forgotten. Ctrl-C clears
//! the line that is being typed, and stops the command that runs; twice within a second, or Ctrl-D, leaves. Several
//! lines that are pasted at once are several commands.
//!
//! Where stdin is not a terminal it is a script: it stops at the first failure with its exit status, and
//! ends in order at its end. Lines that are empty or begin with `#` are passed over.

use std::io::{self, BufRead, IsTerminal};
use std::sync::Arc;

use clap::{CommandFactory, FromArgMatches, Parser};
use crossbeam_channel::unbounded;
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Config, Editor, ExternalPrinter};

use super::command::{Command, in_lower_case};
use super::completion::{Completion, names_from, names_in_trash};
use super::context::Context;
use super::run as run_command;
use crate::cli::{ShowLines, show_lines, tell};
use crate::error::{Code, Error, Result};
use crate::peer::Peer;
use crate::thread::{self, Thread};

/// Where a peer keeps the history of its prompt, in its folder.
const HISTORY: &str = ".peerlab/history";

/// A line at the prompt.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, name = "", about = "Commands at the prompt", disable_help_flag = true)]
pub(crate) struct Typed {
    /// Print the result as one JSON object
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// The grammar of a line. Its examples are without the name of the program, and without the options that are given to
/// the program once.
fn grammar() -> clap::Command {
    Typed::command().mut_subcommands(|command| {
        let example = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let Some(shell) = example.strip_prefix("Example: peer ") else { return command };
        let known = |word: &&str| {
            let long = word.strip_prefix("--");
            long.is_none() || command.get_arguments().any(|arg| arg.get_long() == long)
        };
        let words: Vec<&str> = shell.split(' ').take_while(known).collect();
        command.after_help(format!("Example: {}", words.join(" ")))
    })
}

/// Runs the prompt until its user leaves, or the script ends or fails.
///
/// # Errors
/// The first failure of a script.
pub fn run(mut context: Context) -> Result<()> {
    let ended = if io::stdin().is_terminal() { interactive(&mut context) } else { script(&mut context) };
    context.leave();
    ended
}

fn script(context: &mut Context) -> Result<()> {
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|e| Error::failed("cannot read commands from stdin").because(e))?;
        if !obey(context, &line)? {
            break;
        }
    }
    Ok(())
}

fn interactive(context: &mut Context) -> Result<()> {
    let history = context.config.data.join(HISTORY);
    let name = context.config.name.to_string();
    let failed = |e: ReadlineError| Error::failed("cannot read from the terminal").because(e);
    let mut editor = editor(Arc::clone(context.peer()?)).map_err(failed)?;
    let above = show_above(&mut editor)?;
    // There is none before the first use.
    let _ = editor.load_history(&history);
    tell(format_args!("This is the peer {name}. `help` shows the commands, `quit` leaves."));
    'prompt: loop {
        show_lines(above.clone());
        let read = editor.readline(&format!("{name}> "));
        show_lines(None);
        let lines = match read {
            Ok(lines) => lines,
            Err(ReadlineError::Interrupted) if context.work.interrupt() => {
                tell("Ctrl-C once more, or `quit`, leaves");
                continue;
            }
            Err(ReadlineError::Interrupted | ReadlineError::Eof) => break,
            Err(e) => return Err(failed(e)),
        };
        context.work.begins();
        for line in lines.lines() {
            let _ = editor.add_history_entry(line);
            match obey(context, line) {
                Ok(true) => {}
                Ok(false) => break 'prompt,
                Err(e) => tell(e),
            }
            if context.work.is_stopped() {
                break;
            }
        }
    }
    // A history that cannot be kept is no reason to fail.
    let _ = editor.save_history(&history);
    Ok(())
}

/// What lines are read with. Tab lists what can stand there where it is more than one.
fn editor(peer: Arc<Peer>) -> Result<Editor<Completion, DefaultHistory>, ReadlineError> {
    let lists =
        Config::builder().completion_type(CompletionType::List).completion_show_all_if_ambiguous(true);
    let mut editor = Editor::with_config(lists.build())?;
    let offered = names_from(peer.network().config.clone());
    let names = move |restores: bool| if restores { names_in_trash(&peer) } else { offered() };
    editor.set_helper(Some(Completion::new(grammar(), names)));
    Ok(editor)
}

/// What shows lines above the one that is being typed; `None` where stderr is not that terminal. A thread does it, so
/// that nobody who has something to say waits for the terminal.
fn show_above(editor: &mut Editor<Completion, DefaultHistory>) -> Result<Option<ShowLines>> {
    let Ok(mut printer) = editor.create_external_printer() else { return Ok(None) };
    let (above, lines) = unbounded::<String>();
    let show = move || lines.into_iter().for_each(|line| drop(printer.print(line)));
    thread::start("show_lines", show).map(Thread::detach)?;
    let send = move |text: &str| drop(above.send(text.to_owned()));
    Ok(io::stderr().is_terminal().then(|| -> ShowLines { Arc::new(send) }))
}

/// Runs a line; false when it is `quit`.
fn obey(context: &mut Context, line: &str) -> Result<bool> {
    match parse(line)? {
        Some(Typed { command: Command::Quit, .. }) => return Ok(false),
        Some(Typed { command, json }) => run_command(context, command, json)?,
        None => {}
    }
    Ok(true)
}

/// A line as a command; in any case, as the sources write it (`ADD`, `GET`). `None` where there is nothing to run: for
/// a remark, or for help, which is printed here.
pub(crate) fn parse(line: &str) -> Result<Option<Typed>> {
    // A script may begin with a byte order mark.
    let line = line.trim_start_matches('\u{feff}');
    if line.trim().is_empty() || line.trim_start().starts_with('#') {
        return Ok(None);
    }
    let usage = |what: String| Error::new(Code::Usage, what).advise("`help` shows the commands");
    let words = shlex::split(line)
        .ok_or_else(|| usage(format!("{line:?}: missing closing quote, or a backslash at the end")))?;
    let home = std::env::home_dir();
    let words = words.into_iter().map(|word| match (&home, word.strip_prefix("~/")) {
        (Some(home), Some(rest)) => home.join(rest).into_os_string(),
        _ => word.into(),
    });
    let grammar = grammar();
    let typed = grammar.clone().try_get_matches_from(in_lower_case(words, &grammar));
    match typed.and_then(|typed| Typed::from_arg_matches(&typed)) {
        Ok(typed) => Ok(Some(typed)),
        Err(e) if e.use_stderr() => {
            // Up to the first empty line: what is wrong, and with which arguments. Then perhaps what was meant.
            let text = e.render().to_string();
            let mut lines = text.lines().map(str::trim);
            let what: Vec<&str> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
            let meant = lines.find_map(|line| line.strip_prefix("tip: ")).map(|tip| format!(" - {tip}"));
            Err(usage(what.join(" ").trim_start_matches("error: ").to_owned() + &meant.unwrap_or_default()))
        }
        Err(shown) => {
            let _ = shown.print();
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> String {
        match parse(line) {
            Ok(Some(typed)) => format!("{:?}", typed.command),
            Ok(None) => "nothing".into(),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn a_line_is_a_command_in_any_case() {
        assert_eq!(parsed("LEASE 3"), "Lease { slots: 3 }");
        assert_eq!(parsed("--json Peers"), "Peers");
        assert_eq!(parsed("   # a remark"), "nothing");
        assert!(parsed("make 'two words' 3").contains("two words"));
        assert_eq!(parsed("\u{feff}exit"), "Quit");
        let home = std::env::home_dir().unwrap();
        assert!(parsed("add ~/notes.txt").contains(home.join("notes.txt").to_str().unwrap()));
    }

    #[test]
    fn every_example_in_the_help_of_a_command_can_be_typed_here() {
        for command in grammar().get_subcommands() {
            let example = command.get_after_help().unwrap().to_string();
            let line = example.trim_start_matches("Example: ").trim_start_matches("Example, at the prompt: ");
            assert!(matches!(parse(line), Ok(Some(_))), "{example}: {}", parsed(line));
        }
        assert!(
            parsed("make a -5").contains("write a whole number, such as 1000"),
            "{}",
            parsed("make a -5")
        );
    }

    #[test]
    fn a_mistake_is_named_with_what_to_do() {
        let meant = "unrecognized subcommand 'multply' - a similar subcommand exists: 'multiply'; `help` shows the commands";
        assert_eq!(parsed("multply a b"), meant);
        assert_eq!(parsed("frobnicate"), "unrecognized subcommand 'frobnicate'; `help` shows the commands");
        assert!(parsed("lease x").contains("invalid value 'x'"));
        assert!(parsed("make 'a").contains("missing closing quote"));
    }
}
