//! Which messages are drawn: what a chart is about, and not what is said every second.

use std::collections::HashMap;

use super::merge::{Arrow, Chart};
use super::records::Micros;

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    pub(crate) from: Option<Micros>,
    pub(crate) to: Option<Micros>,
    /// Only these types, if there are any.
    pub(crate) only: Vec<String>,
    pub(crate) without: Vec<String>,
    /// Only what this node said or heard.
    pub(crate) of: Option<String>,
    /// Pings and their oks, too.
    pub(crate) pings: bool,
}

/// Leaves out what was not asked for, and lanes at which nothing is left; says how many messages that were. Of `wait`s
/// that only repeat one place in the queue, the first stays: the band beside the lane says how long it was.
pub(crate) fn select(chart: &mut Chart, choice: &Choice) -> usize {
    let all = chart.arrows.len();
    let in_time =
        |at: Micros| choice.from.is_none_or(|from| from <= at) && choice.to.is_none_or(|to| at < to);
    let mut last = HashMap::new();
    let of = choice.of.as_ref().map(|name| chart.lanes.iter().position(|lane| lane == name));
    chart.arrows.retain(|arrow| {
        let repeated = is_repeated(arrow, &mut last) && !choice.pings;
        let (kind, is) = (arrow.kind(), |types: &[String]| types.iter().any(|one| one == arrow.kind()));
        let boring = matches!(kind, "ping" | "ok") && !choice.pings;
        let wanted = if choice.only.is_empty() { !boring } else { is(&choice.only) };
        let there = of.is_none_or(|lane| [Some(arrow.from), Some(arrow.to)].contains(&lane));
        there && in_time(arrow.begins()) && wanted && !repeated && !is(&choice.without)
    });
    chart.notes.retain(|note| in_time(note.0));
    drop_empty_lanes(chart);
    all - chart.arrows.len()
}

/// Whether the message before it on its connection was a `wait` at the same place, too.
fn is_repeated(
    arrow: &Arrow,
    last: &mut HashMap<(std::net::SocketAddr, std::net::SocketAddr), Option<u64>>,
) -> bool {
    let place = match arrow.kind() {
        "wait" => arrow.message["position"].as_u64(),
        "ok" => return false,
        _ => None,
    };
    last.insert(arrow.connection(), place).flatten().is_some_and(|before| place == Some(before))
}

fn drop_empty_lanes(chart: &mut Chart) {
    let used = |lane: usize| {
        chart.arrows.iter().any(|arrow| arrow.from == lane || arrow.to == lane)
            || chart.notes.iter().any(|note| note.1 == lane)
    };
    let kept: Vec<usize> = (0..chart.lanes.len()).filter(|&lane| used(lane)).collect();
    let now = |lane: usize| kept.iter().position(|&old| old == lane).unwrap_or_default();
    for arrow in &mut chart.arrows {
        (arrow.from, arrow.to) = (now(arrow.from), now(arrow.to));
    }
    chart.notes.iter_mut().for_each(|note| note.1 = now(note.1));
    chart.logged = kept.iter().filter(|&&lane| lane < chart.logged).count();
    chart.lanes = kept.iter().map(|&lane| chart.lanes[lane].clone()).collect();
}
