//! What a node logged: its lines on the wire, and what else is worth a note.

use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

/// A moment, in microseconds since 1970.
pub(crate) type Micros = i64;

/// The log of one node.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// The node's name.
    pub(crate) node: String,
    /// Its lines on the wire, in their order.
    pub(crate) lines: Vec<Line>,
    /// What is written beside its lane.
    pub(crate) notes: Vec<(Micros, String)>,
    /// What could not be read, in words.
    pub(crate) odd: Vec<String>,
}

/// A message, as one end of its connection logged it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    /// When.
    pub(crate) at: Micros,
    /// The address of this end.
    pub(crate) here: SocketAddr,
    /// That of the other.
    pub(crate) other: SocketAddr,
    /// Whether it was said here, and not heard.
    pub(crate) said: bool,
    /// The message; a text where it is the first line of an HTTP head.
    pub(crate) message: Value,
}

/// The `type` of a message.
pub(crate) fn kind(message: &Value) -> &str {
    message["type"].as_str().unwrap_or("http")
}

impl Log {
    /// Reads a file with the log of `node`. Lines that begin with `[NAME] ` are those of the node of that name: so
    /// `scripts/up.sh` writes the logs of several nodes into one file. Lines with a text of `say` become notes.
    pub(crate) fn read(node: &str, text: &str, say: &[String], logs: &mut Vec<Self>) {
        let mut odd = Vec::new();
        for (number, line) in text.lines().enumerate() {
            // What follows the first line of an HTTP head, or of a long message.
            if line.starts_with("    ") || line.trim().is_empty() {
                continue;
            }
            let (node, record) = prefixed(line).unwrap_or((node, line));
            let known = logs.iter().position(|log| log.node == node).unwrap_or_else(|| {
                logs.push(Self { node: node.into(), ..Self::default() });
                logs.len() - 1
            });
            // What a program said to its user, between its log lines, is no fault.
            let is_of_a_log = line.starts_with('[') || line.contains("{\"type\":");
            if let (true, Err(why)) = (is_of_a_log, logs[known].read_record(record, say)) {
                odd.push(format!("line {}: {why}: {line:.60}", number + 1));
            }
        }
        if let (Some(first), Some(log)) = (odd.first(), logs.last_mut()) {
            let more = match odd.len() {
                1 => String::new(),
                all => format!(" (and {} more)", all - 1),
            };
            log.odd.push(format!("{node}: passed over {first}{more}"));
        }
    }

    fn read_record(&mut self, record: &str, say: &[String]) -> Result<(), &'static str> {
        let head = record.strip_prefix('[').and_then(|rest| rest.split_once("] "));
        let Some((head, text)) = head else { return Err("no line of a log") };
        let (time, level) = head.split_once(' ').ok_or("no line of a log")?;
        let at = parse_time(time).ok_or("its time cannot be read")?;
        if level.trim() == "NOTE" || say.iter().any(|wanted| text.contains(wanted)) {
            self.notes.push((at, text.to_owned()));
        }
        if level.trim() == "TRACE"
            && let Some((here, said, other, text)) = ends(text)
        {
            let message = if text.starts_with('{') {
                serde_json::from_str(text).map_err(|_| "no whole message")?
            } else {
                Value::from(text)
            };
            self.lines.push(Line { at, here, other, said, message });
        }
        Ok(())
    }
}

/// The name before a record, as `scripts/lib.sh` puts it there.
fn prefixed(line: &str) -> Option<(&str, &str)> {
    let (name, record) = line.strip_prefix('[')?.split_once("] ")?;
    (record.starts_with('[') && !name.contains(' ')).then_some((name, record))
}

/// `HERE > OTHER TEXT`, or the same with `<`.
fn ends(text: &str) -> Option<(SocketAddr, bool, SocketAddr, &str)> {
    let mut words = text.splitn(4, ' ');
    let here = words.next()?.parse().ok()?;
    let said = match words.next()? {
        ">" => true,
        "<" => false,
        _ => return None,
    };
    let other = words.next()?.parse().ok()?;
    Some((plain(here), said, plain(other), words.next()?))
}

/// One spelling for an address: a listener for both versions of IP sees those of IPv4 as `::ffff:127.0.0.1`.
fn plain(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// A time as it stands in a log.
fn parse_time(text: &str) -> Option<Micros> {
    let since = humantime::parse_rfc3339(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    since.as_micros().try_into().ok()
}

/// A time that a person wrote: one as in the logs, or seconds after `first`.
pub(crate) fn read_time(text: &str, first: Micros) -> Result<Micros, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let after = seconds.and_then(|after| Some(first + Micros::try_from(after.as_micros()).ok()?));
    after.or_else(|| parse_time(text)).ok_or_else(|| {
        format!(
            "{text} is no time: write seconds after the first message, or a time as 2026-08-01T12:00:00.5Z"
        )
    })
}
