//! What happened last, in plain words: for the board, for `why`, for a log.
//!
//! # The problem
//! A thousand files put into a folder are a thousand changes; told one by one they would push everything else off
//! the list within a second, and nobody reads a thousand lines.
//!
//! # The rule
//! Changes of files are told by *who* and *what*. One of the same who and what, within [`GATHER`] of the last one, is
//! added to the line that is there: "ada offers f999 and 999 more, 9.8 MiB together". The line moves to the
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
const EVENTS: usize = 200;

/// How long a line waits for others of its kind, in milliseconds.
const GATHER: Millis = 2_000;

/// How many of the last lines are looked at for one of the same kind: more kinds than go on at once.
const RECENT: usize = 32;

/// What can happen to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
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
    /// One remembers that it was dropped before this manager began.
    Remembered,
    /// One that was away still offers what was dropped.
    Refused,
    /// Somebody was asked to fetch it.
    Asked,
    /// Somebody was asked, and nothing came of it.
    Failed,
}

impl What {
    /// The line for one file, or for `count` of them of which `file` is the last.
    fn line(self, who: &str, file: &str, count: usize, size: u64) -> String {
        let (more, together, they, them, were) = match count {
            1 => (String::new(), "", "it", "it", "was"),
            _ => (format!(" and {} more", count - 1), " together", "they", "them", "were"),
        };
        let (files, size) = (format!("{file}{more}"), format!("{}{together}", about(size)));
        match self {
            Self::Offers => format!("{who} offers {files}, {size}"),
            Self::BringsBack => {
                format!("{who} put {files} there again on purpose after {they} {were} dropped")
            }
            Self::HasToo => format!("{who} has {files}, too"),
            Self::Begins => format!("{who} has begun to fetch {files}"),
            Self::Completes => format!("{who} has all of {files}"),
            Self::Reduces => format!("{who} has only a part of {files} now"),
            Self::Loses => format!("{who} has lost {files}: it asks for {them}"),
            Self::Gone => format!("nobody offers {files} any more"),
            Self::Dropped => format!("{who} dropped {files}: each peer moves {them} to its trash"),
            Self::Remembered => {
                format!("{who} remembers that {files} {were} dropped: each peer moves {them} to its trash")
            }
            Self::Refused => {
                format!("{who} still has {files}, which {were} dropped: it is told to drop {them}, too")
            }
            Self::Asked => format!("{who} is asked to fetch {files}, {size}"),
            Self::Failed => {
                format!("{who} was asked to fetch {files}, and nothing came of it; it is asked again later")
            }
        }
    }
}

/// An event, and what may be added to it.
struct Line {
    event: Event,
    /// Who and what, where files are counted.
    kind: Option<(String, What)>,
    count: usize,
    size: u64,
}

/// The last events, oldest first.
#[derive(Default)]
pub(super) struct Events {
    lines: VecDeque<Line>,
}

impl Events {
    /// An event that is a line of its own.
    pub(super) fn tell(&mut self, at: Millis, text: String) {
        info!("{text}");
        self.push(Line { event: Event { at, text }, kind: None, count: 1, size: 0 });
    }

    /// An event that happens again and again: of those that begin so only the last is kept, so that a peer that repeats
    /// itself does not push out all others.
    pub(super) fn tell_last(&mut self, at: Millis, beginning: String, rest: &str) {
        self.take_recent(|line| line.event.text.starts_with(&beginning));
        self.tell(at, beginning + rest);
    }

    /// Something happened to a file.
    pub(super) fn tell_of(&mut self, at: Millis, who: String, what: What, file: &FileName, size: u64) {
        info!("{}", what.line(&who, file.as_str(), 1, size));
        let kind = Some((who, what));
        let known = self.take_recent(|line| line.kind == kind && at.saturating_sub(line.event.at) < GATHER);
        let (count, size) = known.map_or((1, size), |it| (it.count + 1, it.size.saturating_add(size)));
        let who = kind.as_ref().map_or("", |(who, _)| who);
        let text = what.line(who, file.as_str(), count, size);
        self.push(Line { event: Event { at, text }, kind, count, size });
    }

    /// Takes out the last of the recent lines that is such a one.
    fn take_recent(&mut self, is_it: impl Fn(&Line) -> bool) -> Option<Line> {
        let older = self.lines.len().saturating_sub(RECENT);
        let place = self.lines.iter().skip(older).rposition(is_it)?;
        self.lines.remove(older + place)
    }

    fn push(&mut self, line: Line) {
        if self.lines.len() == EVENTS {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// Oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Event> + ExactSizeIterator {
        self.lines.iter().map(|line| &line.event)
    }
}

#[cfg(test)]
mod tests;
