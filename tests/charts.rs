//! Sequence charts: the logs of several nodes become one picture, in the order of time, each message once.

use std::collections::BTreeMap;

use peerlab::matrix::strassen::SEVEN;

use crate::common::node::{Node, state};
use crate::common::{PATIENCE, until};

#[allow(dead_code, reason = "as a program it has a `main`, too")]
#[path = "../scripts/chart.rs"]
mod chart;

use chart::bands::{Lasting, bands};
use chart::draw::draw;
use chart::merge::{Chart, merge};
use chart::records::Log;
use chart::select::{Choice, select};

/// The chart of these logs, each with the name of its node, and what there was to say about them.
fn chart_of(logs: &[(&str, &str)]) -> (Chart, Vec<String>) {
    let mut read = Vec::new();
    logs.iter().for_each(|(node, text)| Log::read(node, text, &[], &mut read));
    merge(&read)
}

/// Leaves out what is left out if nobody says otherwise.
fn selected(mut chart: Chart, choice: &Choice) -> Chart {
    select(&mut chart, choice);
    chart
}

/// What each message is, and from which lane to which it goes.
fn told(chart: &Chart) -> Vec<String> {
    let lane = |lane: usize| &chart.lanes[lane];
    chart.arrows.iter().map(|it| format!("{} > {}: {}", lane(it.from), lane(it.to), it.kind())).collect()
}

/// The labels of a picture from top to bottom.
fn labels(svg: &str) -> Vec<String> {
    let label = |line: &str| {
        let (head, text) = line.strip_prefix("<text class=\"label")?.split_once('>')?;
        let y: f64 = head.split_once(" y=\"")?.1.trim_end_matches('"').parse().ok()?;
        Some((y, text.trim_end_matches("</text>").to_owned()))
    };
    let mut labels: Vec<(f64, String)> = svg.lines().filter_map(label).collect();
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    labels.into_iter().map(|(_, text)| text).collect()
}

const MANAGER: &str = r#"
[2026-08-01T12:00:00.000200Z TRACE] 127.0.0.1:7000 < 127.0.0.1:5001 {"type":"lease","slots":2}
[2026-08-01T12:00:00.000300Z INFO ] cyd leased 2 slots
[2026-08-01T12:00:00.000300Z TRACE] 127.0.0.1:7000 > 127.0.0.1:6001 {"type":"bind","lease":9007,"slots":2,"for_ms":30000,"key":"..."}
[2026-08-01T12:00:00.000400Z TRACE] 127.0.0.1:7000 > 127.0.0.1:5001 {"type":"leased","lease":9007,"for_ms":30000,"slots":[{"peer":3,"name":"ada","addr":"127.0.0.1:6000","slots":2,"key":"..."}]}
[2026-08-01T12:00:00.000450Z TRACE] 127.0.0.1:7000 > 127.0.0.1:6001 {"type":"ping"}
[2026-08-01T12:00:00.000500Z TRACE] 127.0.0.1:7000 > 127.0.0.1:6001 {"type":"ping"}
[2026-08-01T12:00:00.000650Z TRACE] 127.0.0.1:7000 < 127.0.0.1:6001 {"type":"ok"}
"#;

const ADA: &str = r#"
[2026-08-01T12:00:00.000500Z TRACE] 127.0.0.1:6001 < 127.0.0.1:7000 {"type":"bind","lease":9007,"slots":2,"for_ms":30000,"key":"..."}
[2026-08-01T12:00:00.000550Z TRACE] 127.0.0.1:6001 < 127.0.0.1:7000 {"type":"ping"}
[2026-08-01T12:00:00.000600Z TRACE] 127.0.0.1:6001 > 127.0.0.1:7000 {"type":"ok"}
[2026-08-01T12:00:00.000900Z TRACE] 127.0.0.1:6000 < 127.0.0.1:5002 {"type":"multiply","lease":9007,"key":"...","product":4,"rows":1,"inner":1,"cols":1,"payload":16}
[2026-08-01T12:00:00.001000Z TRACE] 127.0.0.1:6000 > 127.0.0.1:5002 {"type":"product","product":4,"rows":1,"cols":1,"payload":8}
"#;

const CYD: &str = r#"
[2026-08-01T12:00:00.000100Z TRACE] 127.0.0.1:5001 > 127.0.0.1:7000 {"type":"lease","slots":2}
leased 2 slots: 2 at ada
[2026-08-01T12:00:00.000700Z TRACE] 127.0.0.1:5001 < 127.0.0.1:7000 {"type":"leased","lease":9007,"for_ms":30000,"slots":[{"peer":3,"name":"ada","addr":"127.0.0.1:6000","slots":2,"key":"..."}]}
[2026-08-01T12:00:00.000800Z TRACE] 127.0.0.1:5002 > 127.0.0.1:6000 {"type":"multiply","lease":9007,"key":"...","product":4,"rows":1,"inner":1,"cols":1,"payload":16}
[2026-08-01T12:00:00.001100Z TRACE] 127.0.0.1:5002 < 127.0.0.1:6000 {"type":"product","product":4,"rows":1,"cols":1,"payload":8}
"#;

#[test]
fn what_both_ends_logged_is_one_arrow_and_all_stand_in_the_order_of_time() {
    // In whichever order the logs are given.
    for logs in [
        [("manager", MANAGER), ("ada", ADA), ("cyd", CYD)],
        [("cyd", CYD), ("ada", ADA), ("manager", MANAGER)],
    ] {
        let (chart, words) = chart_of(&logs);
        assert_eq!(words, [""; 0]);
        let all = [
            "cyd > manager: lease",
            "manager > ada: bind",
            "manager > cyd: leased",
            "manager > ada: ping",
            "manager > ada: ping",
            "ada > manager: ok",
            "cyd > ada: multiply",
            "ada > cyd: product",
        ];
        assert_eq!(told(&chart), all);
        let heard: Vec<bool> = chart.arrows.iter().map(|arrow| arrow.heard.is_some()).collect();
        assert_eq!(heard, [true, true, true, true, false, true, true, true], "one ping never came");
        let svg = draw(&selected(chart, &Choice::default()), "<A lease>");
        let all = [
            "lease: 2 slots",
            "bind #1: 2 slots, 30 s",
            "leased #1: 2 slots, 30 s",
            "multiply 4 under #1",
            "product 4",
        ];
        assert_eq!(labels(&svg), all);
        assert!(
            svg.contains("<title>&lt;A lease></title>") || svg.contains("<title>&lt;A lease&gt;</title>"),
            "{svg}"
        );
        assert!(!svg.contains("9007") && svg.contains(r#"class="computes""#), "{svg}");
    }
}

/// Waits for slots, then for pieces: at first, and when it is choked; what is choked after it wants nothing does not
/// wait.
const DAN: &str = r#"
[2026-08-01T12:00:00.000100Z TRACE] 127.0.0.1:5001 > 127.0.0.1:7000 {"type":"lease","slots":2}
[2026-08-01T12:00:00.000200Z TRACE] 127.0.0.1:5001 < 127.0.0.1:7000 {"type":"wait","position":1,"free":0}
[2026-08-01T12:00:00.000300Z TRACE] 127.0.0.1:5001 < 127.0.0.1:7000 {"type":"leased","lease":1,"for_ms":30000,"slots":[]}
[2026-08-01T12:00:00.000400Z TRACE] 127.0.0.1:5001 > 127.0.0.1:7000 {"type":"lease","slots":1}
[2026-08-01T12:00:00.000500Z TRACE] 127.0.0.1:5001 < 127.0.0.1:7000 {"type":"leased","lease":2,"for_ms":30000,"slots":[]}
[2026-08-01T12:00:00.000600Z TRACE] 127.0.0.1:5002 > 127.0.0.1:6000 {"type":"interested","on":true}
[2026-08-01T12:00:00.000700Z TRACE] 127.0.0.1:5002 < 127.0.0.1:6000 {"type":"unchoke"}
[2026-08-01T12:00:00.000800Z TRACE] 127.0.0.1:5002 < 127.0.0.1:6000 {"type":"choke"}
[2026-08-01T12:00:00.000900Z TRACE] 127.0.0.1:5002 < 127.0.0.1:6000 {"type":"unchoke"}
[2026-08-01T12:00:00.001000Z TRACE] 127.0.0.1:5002 > 127.0.0.1:6000 {"type":"interested","on":false}
[2026-08-01T12:00:00.001100Z TRACE] 127.0.0.1:5002 < 127.0.0.1:6000 {"type":"choke"}
"#;

#[test]
fn a_band_shows_how_long_slots_and_pieces_were_waited_for() {
    let (chart, words) = chart_of(&[("dan", DAN)]);
    assert_eq!(words, [""; 0]);
    let shown: Vec<_> = bands(&chart).iter().map(|it| (it.kind, it.lane, it.begins, it.ends)).collect();
    let all =
        [(Lasting::Waits, 0, 0, Some(2)), (Lasting::Choked, 0, 5, Some(6)), (Lasting::Choked, 0, 7, Some(8))];
    assert_eq!(shown, all, "the second lease came at once");
    let svg = draw(&chart, "Waiting");
    for (class, times) in [("waits", 1), ("choked", 2), ("computes", 0)] {
        // One more stands in the legend, where there are any.
        let rects = svg.matches(&format!("<rect class=\"{class}\"")).count();
        assert_eq!(rects, if times > 0 { times + 1 } else { 0 }, "{class} in {svg}");
    }
    assert!(svg.contains(">waits for slots<") && svg.contains(">is choked<"), "{svg}");
}

#[test]
fn every_colour_has_another_one_in_a_dark_room() {
    let svg = draw(&chart_of(&[("cyd", CYD)]).0, "A lease");
    let style = svg.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let (light, dark) = style.split_once("@media (prefers-color-scheme:dark){").unwrap();
    let coloured = |rules: &str| -> Vec<String> {
        let rules = rules.split('}').filter_map(|rule| rule.split_once('{'));
        let colours = rules.filter(|(_, how)| how.contains(":#"));
        colours.flat_map(|(what, _)| what.trim().split(',').map(str::to_owned).collect::<Vec<_>>()).collect()
    };
    let dark = coloured(dark);
    let lacking: Vec<_> = coloured(light).into_iter().filter(|what| !dark.contains(what)).collect();
    assert!(dark.len() > 20 && lacking == [""; 0], "{lacking:?} of {dark:?}");
}

#[test]
fn a_chart_shows_what_was_asked_for() {
    let of = |choice: Choice| {
        told(&selected(chart_of(&[("manager", MANAGER), ("ada", ADA), ("cyd", CYD)]).0, &choice))
    };
    let types = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
    let first = chart_of(&[("cyd", CYD)]).0.arrows[0].begins();
    assert_eq!(of(Choice { pings: true, ..Choice::default() }).len(), 8);
    let only = Choice { only: types(&["bind", "leased"]), ..Choice::default() };
    assert_eq!(of(only), ["manager > ada: bind", "manager > cyd: leased"]);
    let late = Choice { from: Some(first + 700), without: types(&["product"]), ..Choice::default() };
    assert_eq!(of(late), ["cyd > ada: multiply"]);
    let of_manager = Choice { of: Some("manager".into()), to: Some(first + 300), ..Choice::default() };
    assert_eq!(of(of_manager), ["cyd > manager: lease", "manager > ada: bind"]);
}

#[test]
fn one_log_alone_has_lanes_for_those_with_which_its_node_spoke() {
    let (chart, _) = chart_of(&[("cyd", CYD)]);
    assert_eq!(chart.lanes, ["cyd", "others", "ada"]);
    assert_eq!(told(&chart)[3], "ada > cyd: product");
    let register =
        r#"[2026-08-01T12:00:00Z TRACE] 127.0.0.1:7000 < 127.0.0.1:6001 {"type":"register","name":"ada"}"#;
    let (chart, _) = chart_of(&[("manager", &format!("{register}\n{MANAGER}"))]);
    assert_eq!(
        told(&chart)[..3],
        ["ada > manager: register", "others > manager: lease", "manager > ada: bind"]
    );
}

#[test]
fn a_file_with_the_logs_of_several_nodes_is_told_apart_by_their_names() {
    let prefix =
        |name: &str, log: &str| log.lines().map(|line| format!("[{name}] {line}\n")).collect::<String>();
    let up = prefix("manager", MANAGER.trim()) + &prefix("ada", ADA.trim());
    let (chart, words) = chart_of(&[("up", &up), ("cyd", CYD)]);
    assert_eq!((chart.lanes.len(), chart.arrows.len(), words.len()), (3, 8, 0), "{words:?}");
}

#[test]
fn malformed_lines_are_passed_over_with_words() {
    let torn = "[2026-08-01T12:00:00.1Z TRACE] 127.0.0.1:6001 < 127.0.0.1:7000 {\"type\":\"bi";
    let late = "[yesterday TRACE] 127.0.0.1:6001 < 127.0.0.1:7000 {\"type\":\"ping\"}";
    let http =
        "[2026-08-01T12:00:00.2Z TRACE] 127.0.0.1:6000 < 127.0.0.1:5009 GET /data/ HTTP/1.1\n    Host: ada";
    let (chart, words) = chart_of(&[("ada", &format!("{torn}\n{ADA}\n{late}\n[\n{http}\n\u{fffd}\n"))]);
    assert_eq!(words.len(), 1, "{words:?}");
    assert!(words[0].starts_with("ada: passed over line 1: no whole message: [2026-08-01"), "{words:?}");
    assert!(words[0].ends_with("(and 2 more)"), "{words:?}");
    assert_eq!(told(&chart).last().unwrap(), "others > ada: http");
    assert_eq!(chart.arrows.len(), 6);
}

#[test]
fn a_clock_that_is_ahead_is_set_by_the_fastest_messages_each_way() {
    let ahead = ADA.replace("12:00:00.00", "12:00:05.00");
    let (right, _) = chart_of(&[("manager", MANAGER), ("cyd", CYD), ("ada", ADA)]);
    let (chart, words) = chart_of(&[("manager", MANAGER), ("cyd", CYD), ("ada", &ahead)]);
    assert_eq!(told(&chart), told(&right));
    assert!(chart.arrows.iter().all(|arrow| arrow.heard.is_none_or(|heard| Some(heard) >= arrow.said)));
    assert_eq!(words, ["ada: its clock is 5000 ms ahead of that of manager: set"]);
}

/// Where the number in an attribute of this name stands in a line.
fn number(line: &str, name: &str) -> f64 {
    let rest = line.split_once(&format!(" {name}=\"")).unwrap().1;
    rest.split_once('"').unwrap().0.parse().unwrap()
}

#[test]
fn the_chart_of_a_real_lease_tells_it_in_order_and_each_message_once() {
    let dir = tempfile::tempdir().unwrap();
    let start = |program, args: &[&str]| {
        let mut node = Node::start(program, dir.path(), "trace", args);
        let ready = node.ready();
        (node, ready["addr"].as_str().unwrap().to_owned())
    };
    let (manager, addr) = start("manager", &["--listen", "127.0.0.1:0"]);
    let peer =
        |name, slots| start("peer", &["serve", "--manager", &addr, "--name", name, "--slots", slots]).0;
    let (ada, ben) = (peer("ada", "1"), peer("ben", "1"));
    until("both can be leased", PATIENCE, || {
        let state = state(addr.parse().unwrap());
        let leasable = state["peers"].as_array().unwrap().iter().filter(|row| row["leasable"] == true);
        (leasable.count() == 2).then_some(())
    });
    let mut cyd =
        Node::start("peer", dir.path(), "trace", &["--manager", &addr, "--name", "cyd", "--slots", "0"]);
    for (say, hear) in [("lease 2", "leased 2 slots"), ("release", "released")] {
        cyd.type_line(say);
        until(hear, PATIENCE, || cyd.stdout().contains(hear).then_some(()));
    }
    let unbound = |text: &str| text.matches(r#"{"type":"unbound""#).count();
    let both = [&manager, &ada, &ben];
    until("both are free again, and all have logged it", PATIENCE, || {
        (both.map(|node| unbound(&node.stderr())) == [2, 1, 1]).then_some(())
    });

    let logs = [("manager", &manager), ("cyd", &cyd), ("ada", &ada), ("ben", &ben)];
    let logs = logs.map(|(name, node)| (name, node.stderr()));
    let (chart, words) = chart_of(&logs.each_ref().map(|(name, log)| (*name, log.as_str())));
    assert_eq!(words, [""; 0]);
    for arrow in chart.arrows.iter().filter(|arrow| arrow.to < chart.logged) {
        assert!(arrow.heard.is_none_or(|heard| Some(heard) >= arrow.said), "{arrow:?}");
    }
    let types = ["lease", "bind", "leased", "release", "unbind", "unbound", "released"];
    let only = types.map(str::to_owned).to_vec();
    let chart = selected(chart, &Choice { only, ..Choice::default() });
    let mut counts = BTreeMap::new();
    told(&chart).into_iter().for_each(|one| *counts.entry(one).or_insert(0) += 1);
    assert_eq!((counts.len(), counts.values().max()), (10, Some(&1)), "{counts:?}");
    let place =
        |what: &str| told(&chart).iter().position(|one| one == what).unwrap_or_else(|| panic!("{what}"));
    for name in ["ada", "ben"] {
        let [bind, unbind] = ["bind", "unbind"].map(|what| place(&format!("manager > {name}: {what}")));
        let unbound = place(&format!("{name} > manager: unbound"));
        assert!(place("cyd > manager: lease") < bind && bind < place("manager > cyd: leased"));
        assert!(place("cyd > manager: release") < unbind && unbind < unbound);
    }
    // Every end has its place by its time, so no arrow goes upwards.
    let svg = draw(&chart, "A lease");
    assert_eq!(labels(&svg)[0], "lease: 2 slots");
    let arrows: Vec<&str> = svg.lines().filter(|line| line.starts_with("<g class=\"message\">")).collect();
    assert_eq!(arrows.len(), 10);
    assert!(arrows.iter().all(|arrow| number(arrow, "y1") < number(arrow, "y2")), "{svg}");
    for secret in ["token", "key"] {
        assert!(!svg.contains(secret), "{svg}");
    }
}

#[test]
fn the_picture_of_the_seven_products_is_the_table_by_which_they_are_computed() {
    let picture = include_str!("../report/figures/quadrants.svg");
    let sum = |matrix: &str, signs: [i8; 4]| {
        let mut parts: Vec<(i8, &str)> = signs.into_iter().zip(["11", "12", "21", "22"]).collect();
        parts.retain(|(sign, _)| *sign != 0);
        parts.sort_by_key(|(sign, _)| -sign);
        let text: Vec<String> = parts.iter().map(|(_, quadrant)| format!("{matrix}{quadrant}")).collect();
        match text.len() {
            1 => text[0].clone(),
            _ => format!("({})", text.join(if parts[1].0 < 0 { " − " } else { " + " })),
        }
    };
    for (i, product) in SEVEN.iter().enumerate() {
        let formula = format!("M{} = {} {}<", i + 1, sum("A", product.left), sum("B", product.right));
        assert!(picture.contains(&formula), "{formula}");
        let into = product.into.iter().zip(["11", "12", "21", "22"]).filter(|(sign, _)| **sign != 0);
        let into: Vec<String> = into
            .map(|(sign, quadrant)| format!("{} in C{quadrant}", if *sign < 0 { "−" } else { "+" }))
            .collect();
        assert!(picture.contains(&format!(">{}<", into.join(", "))), "{into:?}");
    }
}
