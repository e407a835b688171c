//! The logs of several nodes as one: an arrow for each message, though both ends logged it.
//!
//! Messages go through a connection in order, and a connection is known by its two addresses. So what was heard at one
//! end is the first line of the same text that was said at the other and is not heard yet.

use std::collections::HashMap;
use std::net::SocketAddr;

use serde_json::Value;

use super::records::{Line, Log, Micros, kind};

/// A message from one lane to another.
#[derive(Clone, Debug)]
pub(crate) struct Arrow {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// When it was said; not known where the speaker gave no log.
    pub(crate) said: Option<Micros>,
    /// When it was heard; not known where the hearer gave no log, or did not hear it.
    pub(crate) heard: Option<Micros>,
    /// The speaker's and the hearer's end of the connection.
    pub(crate) ends: (SocketAddr, SocketAddr),
    pub(crate) message: Value,
}

impl Arrow {
    /// The first that is known of it.
    pub(crate) fn begins(&self) -> Micros {
        self.said.or(self.heard).unwrap_or_default()
    }

    /// The `type` of the message.
    pub(crate) fn kind(&self) -> &str {
        kind(&self.message)
    }

    /// The connection, whichever way.
    pub(crate) fn connection(&self) -> (SocketAddr, SocketAddr) {
        (self.ends.0.min(self.ends.1), self.ends.0.max(self.ends.1))
    }
}

/// What is drawn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chart {
    /// The names of the lanes: first the nodes with a log, then others that are known by name, at last all others.
    pub(crate) lanes: Vec<String>,
    /// How many lanes have a log.
    pub(crate) logged: usize,
    /// In the order of time.
    pub(crate) arrows: Vec<Arrow>,
    /// When, at which lane, and what.
    pub(crate) notes: Vec<(Micros, usize, String)>,
}

/// One chart of all logs, and what there is to say about them in words.
pub(crate) fn merge(logs: &[Log]) -> (Chart, Vec<String>) {
    let mut words: Vec<String> = logs.iter().flat_map(|log| log.odd.clone()).collect();
    let mut chart = Chart {
        lanes: logs.iter().map(|log| log.node.clone()).collect(),
        logged: logs.len(),
        ..Chart::default()
    };
    let mut homes = HashMap::new();
    for (lane, log) in logs.iter().enumerate() {
        homes.extend(log.lines.iter().map(|line| (line.here, lane)));
        chart.notes.extend(log.notes.iter().map(|(at, text)| (*at, lane, text.clone())));
    }
    add_others(&mut chart, logs, &mut homes);
    chart.arrows = pair(logs, &homes);
    words.extend(align_clocks(&mut chart));
    chart.arrows.sort_by_key(Arrow::begins);
    chart.notes.sort();
    (chart, words)
}

/// Lanes for those that gave no log: by name where a message told the name that belongs to the address.
fn add_others(chart: &mut Chart, logs: &[Log], homes: &mut HashMap<SocketAddr, usize>) {
    let lines = || logs.iter().flat_map(|log| &log.lines);
    let mut names = HashMap::new();
    for line in lines() {
        learn_addresses(&line.message, &mut names);
        // One that registers says its name, whichever end the connection has.
        if let ("register", Some(name)) = (kind(&line.message), line.message["name"].as_str()) {
            names.insert(if line.said { line.here } else { line.other }, name.to_owned());
        }
    }
    for line in lines() {
        if homes.contains_key(&line.other) {
            continue;
        }
        let name = names.get(&line.other).map_or("others", String::as_str);
        let lane = chart.lanes.iter().position(|lane| lane == name).unwrap_or_else(|| {
            chart.lanes.push(name.to_owned());
            chart.lanes.len() - 1
        });
        homes.insert(line.other, lane);
    }
}

/// Whose address is which, as cards of peers say it.
fn learn_addresses(message: &Value, names: &mut HashMap<SocketAddr, String>) {
    if let (Some(name), Some(addr)) = (message["name"].as_str(), message["addr"].as_str())
        && let Ok(addr) = addr.parse()
    {
        names.insert(addr, name.to_owned());
    }
    match message {
        Value::Array(parts) => parts.iter().for_each(|part| learn_addresses(part, names)),
        Value::Object(parts) => parts.values().for_each(|part| learn_addresses(part, names)),
        _ => {}
    }
}

/// An arrow for each line that was said, and for each that was heard of one whose speaker gave no log.
fn pair(logs: &[Log], homes: &HashMap<SocketAddr, usize>) -> Vec<Arrow> {
    let arrow = |line: &Line| {
        let (from, to) = if line.said { (line.here, line.other) } else { (line.other, line.here) };
        let (said, heard) = if line.said { (Some(line.at), None) } else { (None, Some(line.at)) };
        let message = line.message.clone();
        Arrow { from: homes[&from], to: homes[&to], said, heard, ends: (from, to), message }
    };
    let lines = || logs.iter().flat_map(|log| &log.lines);
    let mut arrows: Vec<Arrow> = lines().filter(|line| line.said).map(arrow).collect();
    // Those of each way through each connection that nobody has heard yet.
    let mut unheard: HashMap<_, Vec<usize>> = HashMap::new();
    for (place, arrow) in arrows.iter().enumerate() {
        unheard.entry(arrow.ends).or_default().push(place);
    }
    for line in lines().filter(|line| !line.said) {
        let way = unheard.entry((line.other, line.here)).or_default();
        match way.iter().position(|&place| arrows[place].message == line.message) {
            Some(first) => arrows[way.remove(first)].heard = Some(line.at),
            None => arrows.push(arrow(line)),
        }
    }
    arrows
}

/// Several computers have several clocks. Where a message was heard before it was said, one of them is wrong: it is set
/// by the fastest messages each way, which took equally long (Cristian's rule). Says which clocks were set.
fn align_clocks(chart: &mut Chart) -> Vec<String> {
    let mut words = Vec::new();
    let mut right = vec![0];
    let mut next = 0;
    while let Some(&known) = right.get(next) {
        next += 1;
        for lane in 0..chart.logged {
            let fastest = |from: usize, to: usize| {
                let between = chart.arrows.iter().filter(|arrow| (arrow.from, arrow.to) == (from, to));
                between.filter_map(|arrow| Some(arrow.heard? - arrow.said?)).min()
            };
            let (Some(out), Some(back)) = (fastest(known, lane), fastest(lane, known)) else { continue };
            if right.contains(&lane) {
                continue;
            }
            right.push(lane);
            if out < 0 || back < 0 {
                let ahead = (out - back) / 2;
                let (name, than) = (&chart.lanes[lane], &chart.lanes[known]);
                words.push(format!("{name}: its clock is {} ms ahead of that of {than}: set", ahead / 1000));
                set_clock(chart, lane, -ahead);
            }
        }
    }
    words
}

fn set_clock(chart: &mut Chart, lane: usize, by: Micros) {
    for arrow in &mut chart.arrows {
        if arrow.from == lane {
            arrow.said = arrow.said.map(|at| at + by);
        }
        if arrow.to == lane {
            arrow.heard = arrow.heard.map(|at| at + by);
        }
    }
    chart.notes.iter_mut().filter(|note| note.1 == lane).for_each(|note| note.0 += by);
}
