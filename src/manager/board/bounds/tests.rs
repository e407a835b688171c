//! The bounds of networks that are small enough to work out by hand.

use super::*;
use crate::net::message::{Activity, Download, Holder};
use crate::share::FileId;

const MIB: u64 = 1 << 20;

/// Peers 1, 2, ... with these caps (up, down); those from `first` on fetch `f`, the others have it.
fn state(caps: &[(Option<u64>, Option<u64>)], first: usize) -> State {
    let file: FileName = "f".to_owned().try_into().unwrap();
    let mut state = State::default();
    let mut holders = Vec::new();
    for (i, &(up, down)) in caps.iter().enumerate() {
        let peer = i as u64 + 1;
        let (name, addr) = (format!("p{peer}"), ([127, 0, 0, 1], peer as u16));
        let (name, addr): (crate::net::message::Name, std::net::SocketAddr) =
            (name.parse().unwrap(), addr.into());
        let fetches = i >= first;
        let download = Download {
            file: file.clone(),
            have: 0,
            pieces: 128,
            since_ms_ago: 0,
            bytes_per_s: 0,
            from: Vec::new(),
            map: String::new(),
        };
        holders.push(Holder { peer, name: name.clone(), addr, whole: !fetches, pass: None });
        state.peers.push(PeerState {
            peer,
            name,
            addr,
            slots: 4,
            used: 0,
            since: 0,
            leasable: true,
            reason: String::new(),
            keeps: true,
            up,
            down,
            said: Activity {
                downloads: if fetches { vec![download] } else { Vec::new() },
                ..Activity::default()
            },
        });
    }
    let id: FileId = serde_json::from_str(&format!("\"{}\"", "0".repeat(64))).unwrap();
    let size = 32 * MIB;
    state.files.push(FileState { file, id, size, piece_size: 262_144, holders, health: None });
    state
}

fn bound(caps: &[(Option<u64>, Option<u64>)], first: usize) -> (u64, Option<f64>, String) {
    let found = bounds(&state(caps, first)).pop().unwrap();
    let words = found["words"].as_str().unwrap().to_owned();
    (found["peers"].as_u64().unwrap(), found["seconds"].as_f64(), words)
}

#[test]
fn the_bound_is_that_of_the_lecture_with_the_caps_of_those_who_are_here() {
    let (four, eight) = (Some(4 * MIB), Some(8 * MIB));
    let seed = "the seed must upload every byte once".to_owned();
    assert_eq!(bound(&[(eight, None), (four, None), (four, None)], 1), (2, Some(4.0), seed.clone()));
    let all = "all uploads together must carry a copy for every peer".to_owned();
    assert_eq!(bound(&[(eight, None), (four, None), (four, None), (four, None)], 1), (3, Some(4.8), all));
    // Two seeds upload the file's bytes together; one that fetches without a cap does not bind.
    assert_eq!(bound(&[(four, None), (four, None), (None, None)], 2), (1, Some(4.0), seed));
    let down = "the slowest peer must download the whole file".to_owned();
    assert_eq!(bound(&[(None, None), (None, Some(2 * MIB))], 1), (1, Some(16.0), down));
}

#[test]
fn where_nothing_binds_it_is_said_why() {
    let none = "no bound: p1 may upload as fast as it can (no --up)".to_owned();
    assert_eq!(bound(&[(None, None), (Some(1), None)], 1), (1, None, none));
    assert_eq!(bound(&[(Some(1), None)], 0), (1, None, "no bound: nobody has all of it".to_owned()));
    // A link that carries nothing takes for ever, which JSON cannot say.
    assert_eq!(bound(&[(Some(0), None), (None, None)], 1).1, None);
}

#[test]
fn one_that_has_just_finished_fetches_no_more() {
    let four = Some(4 * MIB);
    let mut state = state(&[(four, None), (four, None), (four, None)], 1);
    assert_eq!(bounds(&state)[0]["peers"], 2);
    state.files[0].holders[1].whole = true;
    let bound = &bounds(&state)[0];
    assert_eq!(bound["peers"], 1);
    assert_eq!(bound["seconds"], 4.0, "the first two upload it together");
    state.files[0].holders[2].whole = true;
    assert!(bounds(&state).is_empty());
}

#[test]
fn a_file_that_nobody_fetches_has_no_bound() {
    assert!(bounds(&state(&[(None, None)], 1)).is_empty());
}
