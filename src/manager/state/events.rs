//! What happened last, in plain words: for the board, for `why`, for a log.
//!
//! # The problem
//! A thousand files put into a folder are a thousand changes; told one by one they would push everything else off
//! the list within a second, and nobody reads a thousand lines.
//!
//! # The rule
//! Changes of files are told by *who* and *what*. One of the same who and what, within [`GATHER`] of the last one, is
//! added to the line that is there: "ada offers 1000 files, f999 the last, 9.8 MiB together". The line moves to the
//! end, with the time of its last change. Every other event is a line of its own. The last [`EVENTS`] lines are kept.
//!
//! All of this is plain state: no socket, no thread, no clock.

use std::collections::VecDeque;

use log::info;

use crate::clock::Millis;
use crate::net::message::Event;
use crate::share::FileName;
use crate::share::units::about;

/// How many of the last events are kept.
pub(crate) const EVENTS: usize = 200;

/// How long a line waits for others of its kind, in milliseconds.
pub(crate) const GATHER: Millis = 2_000;

/// How many of the last lines are looked at for one of the same kind: more kinds than go on at once.
const RECENT: usize = 32;

/// What can happen to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Somebody has a file that was not there before.
    Offers,
    /// Somebody has put it there again, though it was dropped.
    BringsBack,
    /// One more has it.
    HasToo,
    /// One more has begun to fetch it.
    Begins,
    /// One that fetched it has all of it.
    Completes,
    /// One that had all of it has a part of it.
    Reduces,
    /// One that had it has lost it.
    Loses,
    /// It left with its last holder.
    Gone,
    /// It was removed everywhere.
    Dropped,
    /// One that was away still offers what was dropped.
    Refused,
    /// Somebody was asked to fetch it.
    Asked,
    /// Somebody was asked, and nothing came of it.
    InVain,
}

impl What {
    /// The line for one file.
    fn one(self, who: &str, file: &str, size: u64) -> String {
        match self {
            Self::Offers => format!("{who} offers {file}, {}", about(size)),
            Self::BringsBack => format!("{who} put {file} there again on purpose after it was dropped"),
            Self::HasToo => format!("{who} has {file}, too"),
            Self::Begins => format!("{who} has begun to fetch {file}"),
            Self::Completes => format!("{who} has all of {file}"),
            Self::Reduces => format!("{who} has only a part of {file} now"),
            Self::Loses => format!("{who} has lost {file}: it asks for it"),
            Self::Gone => format!("nobody offers {file} any more"),
            Self::Dropped => format!("{file} is dropped: whoever has it puts it into its trash"),
            Self::Refused => format!("{who} still has {file}, which was dropped: it is told to drop it, too"),
            Self::Asked => format!("{who} is asked to fetch {file}, {}", about(size)),
            Self::InVain => {
                format!("{who} was asked to fetch {file}, and nothing came of it; it is asked again later")
            }
        }
    }

    /// The line for several.
    fn many(self, who: &str, count: usize, last: &str, size: u64) -> String {
        let size = about(size);
        match self {
            Self::Offers => format!("{who} offers {count} files, {last} the last, {size} together"),
            Self::BringsBack => {
                format!(
                    "{who} put {count} files there again on purpose after they were dropped, {last} the last"
                )
            }
            Self::HasToo => format!("{who} has {count} files, too, {last} the last"),
            Self::Begins => format!("{who} has begun to fetch {count} files, {last} the last"),
            Self::Completes => format!("{who} has all of {count} files, {last} the last, {size} together"),
            Self::Reduces => format!("{who} has only a part of {count} files now, {last} the last"),
            Self::Loses => format!("{who} has lost {count} files, {last} the last: it asks for them"),
            Self::Gone => format!("nobody offers {count} files any more, {last} the last"),
            Self::Dropped => {
                format!(
                    "{count} files are dropped, {last} the last: whoever has them puts them into its trash"
                )
            }
            Self::Refused => {
                format!(
                    "{who} still has {count} files that were dropped, {last} the last: it is told to drop them, too"
                )
            }
            Self::Asked => format!("{who} is asked to fetch {count} files, {last} the last, {size} together"),
            Self::InVain => format!(
                "{who} was asked to fetch {count} files, {last} the last, and nothing came of it; it is asked again later"
            ),
        }
    }
}

/// A line to which more may be added.
#[derive(Debug)]
struct Gathering {
    who: String,
    what: What,
    count: usize,
    size: u64,
}

/// The last events, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Events {
    lines: VecDeque<(Event, Option<Gathering>)>,
}

impl Events {
    /// An event that is a line of its own.
    pub(crate) fn tell(&mut self, at: Millis, text: String) {
        info!("{text}");
        self.push(Event { at, text }, None);
    }

    /// Something happened to a file.
    pub(crate) fn tell_of(&mut self, at: Millis, who: String, what: What, file: &FileName, size: u64) {
        let file = file.as_str();
        info!("{}", what.one(&who, file, size));
        let same = |(event, line): &&(Event, Option<Gathering>)| {
            let like = line.as_ref().is_some_and(|line| line.what == what && line.who == who);
            like && at.saturating_sub(event.at) < GATHER
        };
        // The newest is at the end.
        let known = self.lines.iter().rev().take(RECENT).position(|line| same(&line));
        let known = known.and_then(|back| self.lines.remove(self.lines.len() - 1 - back)?.1);
        let line = match known {
            Some(line) => Gathering { count: line.count + 1, size: line.size.saturating_add(size), ..line },
            None => Gathering { who, what, count: 1, size },
        };
        let text = match line.count {
            1 => what.one(&line.who, file, size),
            count => what.many(&line.who, count, file, line.size),
        };
        self.push(Event { at, text }, Some(line));
    }

    fn push(&mut self, event: Event, line: Option<Gathering>) {
        if self.lines.len() == EVENTS {
            self.lines.pop_front();
        }
        self.lines.push_back((event, line));
    }

    /// The lines, oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.lines.iter().map(|(event, _)| event)
    }
}

#[cfg(test)]
mod tests;
