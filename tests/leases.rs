//! Leases, seen from the outside: plain JSON over sockets, and peers that count what is bound to them.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::fake::{Answer, FakePeer, HONEST};
use crate::common::node::Network;
use crate::common::wire::{Heard, Wire, detour};
use crate::common::{PATIENCE, until};
use peerlab::net::message::VERSION;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

/// Requesters of these tests answer when the test comes round to it; the manager bears with that.
const PATIENT: [&str; 2] = ["--dead-after", "60s"];

/// A manager with these options, and fake peers with these slots, all reachable.
fn network(options: &[&str], slots: &[u32]) -> (Network, Vec<FakePeer>) {
    let patient: &[&str] = if options.contains(&"--dead-after") { &[] } else { &PATIENT };
    let network = Network::start(&[options, patient].concat(), &[]);
    let join = |(i, slots): (usize, &u32)| FakePeer::join(network.addr, &format!("f{i}"), *slots, HONEST);
    let fakes: Vec<FakePeer> = slots.iter().enumerate().map(join).collect();
    network.all_leasable(fakes.len());
    (network, fakes)
}

/// Asks for slots and waits until they are granted; gives the lease's number.
fn lease(wire: &mut Wire, slots: u32) -> u64 {
    wire.ask(slots);
    wire.hear("leased")["lease"].as_u64().unwrap()
}

/// What the book says of a lease.
fn lease_until(network: &Network, lease: u64) -> Option<u64> {
    let state = network.state();
    let row = state["leases"].as_array().unwrap().iter().find(|row| row["lease"] == lease).cloned();
    row.map(|row| row["until"].as_u64().unwrap())
}

fn queue(network: &Network) -> Vec<Value> {
    network.state()["queue"].as_array().unwrap().clone()
}

/// When the manager noted an event whose text has all of these in it.
fn event(network: &Network, parts: &[&str]) -> Option<u64> {
    let state = network.state();
    let is = |event: &&Value| parts.iter().all(|part| event["text"].as_str().unwrap().contains(part));
    state["events"].as_array().unwrap().iter().find(is).map(|event| event["at"].as_u64().unwrap())
}

/// One of the hundred.
struct Requester {
    wire: Wire,
    slots: u32,
    hold: Duration,
    dies: bool,
}

#[test]
fn a_hundred_requesters_are_granted_in_order_of_arrival_and_no_peer_is_ever_over_its_slots() {
    let slots = [4, 2, 3];
    let (network, fakes) = network(&["--quantum", "60s"], &slots);
    let mut rng = StdRng::seed_from_u64(7);
    // Somebody holds everything while they arrive, so that all of them queue.
    let mut first = Wire::connect(network.addr);
    let first_lease = lease(&mut first, 9);
    let mut arrived: Vec<Requester> = Vec::new();
    for place in 1..=100 {
        let mut wire = Wire::connect(network.addr);
        let slots = rng.random_range(1..=9);
        wire.ask(slots);
        // Every one is told `wait` at once, though nobody before him has said `ok` yet.
        let Heard::Line(wait) = wire.next(PATIENCE) else { panic!("no answer to number {place}") };
        assert_eq!(
            (&wait["type"], &wait["position"], &wait["asked"]),
            (&json!("wait"), &json!(place), &json!(slots))
        );
        let hold = Duration::from_millis(rng.random_range(0..12));
        arrived.push(Requester { wire, slots, hold, dies: rng.random_bool(0.2) });
    }
    let order: Vec<Option<u64>> = thread::scope(|scope| {
        let run = |requester: Requester| {
            move || {
                let Requester { mut wire, slots, hold, dies } = requester;
                if dies {
                    return None;
                }
                wire.say(&json!({"type": "ok"}));
                let leased = wire.hear("leased");
                let granted: u64 = leased["slots"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|card| card["slots"].as_u64().unwrap())
                    .sum();
                assert_eq!(granted, u64::from(slots), "all or none");
                // The time for which it would work.
                thread::sleep(hold);
                wire.say(&json!({"type": "release"}));
                wire.hear("released");
                leased["lease"].as_u64()
            }
        };
        let threads: Vec<_> = arrived.into_iter().map(|requester| scope.spawn(run(requester))).collect();
        first.say(&json!({"type": "release"}));
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let by_arrival: Vec<u64> = order.into_iter().flatten().collect();
    assert!(by_arrival.len() > 60, "{} were served", by_arrival.len());
    for (fake, slots) in fakes.iter().zip(slots) {
        fake.sees("everything given back", |seen| seen.bound.is_empty());
        fake.seen(|seen| {
            assert_eq!(
                seen.most_bound,
                u64::from(slots),
                "{}: all its slots were used, and never more",
                fake.name
            );
            // Who died may have had his turn before his death was noticed.
            let granted =
                seen.granted.iter().copied().filter(|lease| by_arrival.contains(lease)).collect::<Vec<_>>();
            let expected = by_arrival.iter().copied().filter(|lease| granted.contains(lease));
            assert_eq!(granted, expected.collect::<Vec<_>>(), "{}: in order of arrival", fake.name);
            assert_eq!(seen.granted[0], first_lease);
        });
    }
    until("nothing is in use", PATIENCE, || (network.used() == 0).then_some(()));
}

#[test]
fn only_the_head_of_the_queue_may_take_though_a_later_request_would_fit() {
    let (network, fakes) = network(&[], &[4, 4]);
    let [mut ada, mut ben, mut cyd] = [0; 3].map(|_| Wire::connect(network.addr));
    lease(&mut ada, 7);
    ben.ask(7);
    assert_eq!(ben.hear("wait")["position"], 1);
    cyd.ask(1);
    let wait = cyd.hear("wait");
    assert_eq!((&wait["position"], &wait["free"]), (&json!(2), &json!(1)));
    ben.say(&json!({"type": "ok"}));
    cyd.say(&json!({"type": "ok"}));
    ada.say(&json!({"type": "release"}));
    let [ben, cyd] = [ben.hear("leased"), cyd.hear("leased")].map(|leased| leased["lease"].as_u64().unwrap());
    // Both of Ada's peers give back at different times; not even in between did Cyd overtake.
    let bound_to_cyd = || fakes.iter().find(|fake| fake.seen(|seen| seen.granted.contains(&cyd)));
    let at = until("the bind for Cyd", PATIENCE, bound_to_cyd);
    assert_eq!(at.seen(|seen| seen.granted[1..].to_vec()), [ben, cyd]);
}

#[test]
fn a_waiter_whose_connection_ends_leaves_the_queue() {
    let (network, _fakes) = network(&[], &[4]);
    let mut holder = Wire::connect(network.addr);
    lease(&mut holder, 4);
    let waiting = [3, 2, 1].map(|slots| {
        let mut wire = Wire::connect(network.addr);
        wire.ask(slots);
        wire.hear("wait");
        wire.say(&json!({"type": "ok"}));
        (slots, wire)
    });
    assert_eq!(queue(&network).len(), 3);
    let [(_, head), (_, mut middle), (_, mut last)] = waiting;
    drop(head);
    until("the head is gone", PATIENCE, || (queue(&network)[0]["asked"] == 2).then_some(()));
    assert_eq!(queue(&network).len(), 2);
    // Also one that says so: `release` gives the place away, and the connection may ask again.
    middle.say(&json!({"type": "release"}));
    middle.hear("released");
    assert_eq!(queue(&network)[0]["asked"], 1);
    holder.say(&json!({"type": "release"}));
    last.hear("leased");
}

#[test]
fn a_waiter_that_does_not_say_ok_loses_its_place() {
    let (network, _fakes) = network(&["--ping", "100ms", "--dead-after", "500ms"], &[4]);
    let mut holder = Wire::connect(network.addr);
    lease(&mut holder, 4);
    let mut mute = Wire::connect(network.addr);
    mute.ask(4);
    assert!(matches!(mute.next(PATIENCE), Heard::Line(_)));
    let Heard::Line(no) = mute.next(PATIENCE) else { panic!("not told why") };
    assert_eq!((&no["type"], &no["code"]), (&json!("error"), &json!("expired")));
    mute.hear_end();
    assert!(queue(&network).is_empty());
}

#[test]
fn a_lease_is_renewed_only_while_nobody_waits() {
    let (network, _fakes) = network(&["--quantum", "3s"], &[4]);
    let [mut holder, mut waiter] = [0; 2].map(|_| Wire::connect(network.addr));
    let number = lease(&mut holder, 4);
    let first = lease_until(&network, number).unwrap();
    let renewed = until("a renewal gives more time", PATIENCE, || {
        holder.say(&json!({"type": "renew"}));
        assert_eq!(holder.hear("leased")["lease"], number);
        lease_until(&network, number).filter(|renewed| *renewed > first)
    });
    waiter.ask(1);
    assert_eq!(waiter.hear("wait")["position"], 1);
    waiter.say(&json!({"type": "ok"}));
    holder.say(&json!({"type": "renew"}));
    let mut answer = holder.next(PATIENCE);
    if matches!(&answer, Heard::Line(message) if message["type"] == "leased") {
        // It may be over by now, on a machine that is busy with something else.
        if let Some(until) = lease_until(&network, number) {
            assert_eq!(until, renewed, "somebody waits, so there is no more time");
        }
        answer = holder.next(PATIENCE);
    }
    assert_eq!(answer, Heard::Line(json!({"type": "expired", "lease": number})));
    assert!(waiter.hear("leased")["lease"].as_u64() > Some(number));
    // The former holder may queue again, on the same connection.
    assert!(lease(&mut holder, 2) > number);
}

#[test]
fn the_slots_of_an_expired_lease_are_granted_again_only_after_unbound() {
    let (network, fakes) = network(&["--quantum", "500ms"], &[4]);
    let [mut holder, mut next] = [0; 2].map(|_| Wire::connect(network.addr));
    fakes[0].set(|manners| manners.says_unbound = false);
    let number = lease(&mut holder, 4);
    next.ask(4);
    assert_eq!(holder.hear("expired")["lease"], number);
    // It is told to wait, twice more at least, while the peer is still at work.
    for _ in 0..3 {
        let Heard::Line(wait) = next.next(PATIENCE) else { panic!("silence") };
        assert_eq!((&wait["type"], &wait["position"]), (&json!("wait"), &json!(1)));
        next.say(&json!({"type": "ok"}));
    }
    assert_eq!(network.used(), 4);
    assert_eq!(fakes[0].seen(|seen| seen.granted.clone()), [number]);
    fakes[0].set(|manners| manners.says_unbound = true);
    let second = next.hear("leased")["lease"].as_u64().unwrap();
    fakes[0].sees("the second lease", |seen| seen.granted == [number, second]);
    assert_eq!(fakes[0].seen(|seen| seen.most_bound), 4);
}

#[test]
fn a_peer_that_never_says_unbound_is_dropped_after_ten_quanta() {
    let (network, fakes) = network(&["--quantum", "200ms"], &[1, 1]);
    fakes[0].set(|manners| manners.says_unbound = false);
    let mut holder = Wire::connect(network.addr);
    lease(&mut holder, 2);
    holder.say(&json!({"type": "release"}));
    let given_back = until("the release", PATIENCE, || event(&network, &["gave back its slots"]));
    fakes[0].sees("the end", |seen| seen.ended);
    let dropped = event(&network, &["f0 left", "did not give back its slots in time"]).unwrap();
    assert!(dropped - given_back >= 10 * 200, "after {} ms", dropped - given_back);
    fakes[1].sees("a list without it", |seen| seen.list == ["f1"]);
}

#[test]
fn a_silent_peer_leaves_every_list_within_dead_after_plus_one_ping() {
    let (network, fakes) = network(&["--ping", "400ms", "--dead-after", "2s"], &[1, 1, 1]);
    // On a busy machine seconds are long, so time is counted in the manager's own pings.
    let pings = |at: usize| fakes[at].seen(|seen| seen.pings);
    until("some pings", PATIENCE, || (pings(1) > 1).then_some(()));
    let last_ok = pings(0);
    until("its last answer", PATIENCE, || (pings(0) > last_ok).then_some(()));
    fakes[0].set(|manners| manners.answers_pings = false);
    let before = pings(1);
    let witness = ["f1", "f2"];
    fakes[1].sees("a list without it", |seen| seen.list == witness);
    let pings = pings(1) - before;
    fakes[2].sees("a list without it", |seen| seen.list == witness);
    // 2 s are five pings; one more for the ping that it left unanswered, one for the pause between lists.
    assert!((4..=7).contains(&pings), "it took {pings} pings");
    assert!(event(&network, &["f0 left: silent for 2 s"]).is_some());
    fakes[0].sees("its connection closed", |seen| seen.ended);
}

#[test]
fn a_peer_that_cannot_be_connected_back_to_is_not_leased_and_is_told_why() {
    let network = Network::start(&PATIENT, &[]);
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (mut wire, _) = Wire::register(network.addr, "walled", nowhere, 4);
    let told = wire.hear("error");
    let text = told["text"].as_str().unwrap();
    assert!(text.contains(&nowhere.to_string()) && text.contains("--advertise"), "{text}");
    let row = network.row("walled").unwrap();
    assert_eq!(row["leasable"], false);
    assert!(row["reason"].as_str().unwrap().contains("cannot connect"), "{row}");
    let mut requester = Wire::connect(network.addr);
    requester.ask(1);
    let no = requester.hear("error");
    assert_eq!((&no["code"], &no["leasable"]), (&json!("infeasible"), &json!(0)));
    // The wall falls: it is tried again and found.
    let _listener = TcpListener::bind(nowhere).unwrap();
    network.all_leasable(1);
    lease(&mut requester, 4);
}

#[test]
fn a_peer_that_can_be_connected_back_to_after_all_has_no_trouble_any_more() {
    let network = Network::start(&PATIENT, &[]);
    let outside = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut peer = network.command("walled", &["--slots", "2", "--advertise", &outside.to_string()]);
    let mut status = || {
        let before = peer.stdout().lines().count();
        peer.type_line("status --json");
        until("it says how it is", PATIENCE, || {
            let said = peer.stdout();
            said.lines().nth(before).and_then(|line| serde_json::from_str::<Value>(line).ok())
        })
    };
    let walled = until("it has heard of the wall", PATIENCE, || {
        Some(status()).filter(|said| said["trouble"].to_string().contains("cannot connect to"))
    });
    let inside = walled["addr"].as_str().unwrap().parse().unwrap();
    detour(TcpListener::bind(outside).unwrap(), inside, |_| ());
    network.all_leasable(1);
    until("its trouble is over", PATIENCE, || status()["trouble"].is_null().then_some(()));
    assert!(event(&network, &["walled can be reached now"]).is_some());
}

#[test]
fn only_a_manager_that_has_just_started_lets_an_infeasible_request_wait() {
    let (network, _fakes) = network(&[], &[4]);
    let [mut early, mut second] = [0; 2].map(|_| Wire::connect(network.addr));
    early.ask(9);
    let wait = early.hear("wait");
    early.say(&json!({"type": "ok"}));
    second.ask(6);
    assert!(wait["reason"].as_str().unwrap().contains("just started"), "{wait}");
    let no = early.hear("error");
    assert_eq!((&no["code"], &no["leasable"]), (&json!("infeasible"), &json!(4)));
    let no = second.hear("error");
    assert_eq!((&no["code"], &no["leasable"]), (&json!("infeasible"), &json!(4)));
    // From now on there is no waiting for what cannot be.
    for _ in 0..2 {
        early.ask(9);
        let Heard::Line(no) = early.next(PATIENCE) else { panic!("no answer") };
        assert_eq!((&no["type"], &no["code"]), (&json!("error"), &json!("infeasible")));
    }
    let _more = FakePeer::join(network.addr, "more", 5, HONEST);
    network.all_leasable(2);
    lease(&mut early, 9);
}

#[test]
fn a_request_that_waits_is_infeasible_as_soon_as_peers_leave() {
    let (network, mut fakes) = network(&[], &[4, 4]);
    // Past the grace of a new manager.
    let mut requester = Wire::connect(network.addr);
    requester.ask(99);
    requester.hear("error");
    let mut holder = Wire::connect(network.addr);
    lease(&mut holder, 8);
    requester.ask(8);
    requester.hear("wait");
    requester.say(&json!({"type": "ok"}));
    let gone = fakes.pop().unwrap();
    let number = gone.number;
    drop(gone);
    let no = requester.hear("error");
    assert_eq!((&no["code"], &no["leasable"]), (&json!("infeasible"), &json!(4)));
    assert_eq!(holder.hear("lost")["peer"], number);
}

#[test]
fn a_registered_listener_that_never_reads_is_dropped_and_delays_nobody() {
    let (network, fakes) = network(&["--quantum", "60s", "--ping", "100ms"], &[4]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut deaf, number) = Wire::register(network.addr, "deaf", listener.local_addr().unwrap(), 4);
    network.all_leasable(2);
    let mut holder = Wire::connect(network.addr);
    lease(&mut holder, 8);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        // It says that it is there, but hears nothing.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) && deaf.try_say(&json!({"type": "ok"})) {
                thread::sleep(Duration::from_millis(100));
            }
        });
        // Every renewal is told to both peers.
        let many = "{\"type\":\"renew\"}\n".repeat(500);
        let mut lost = false;
        while !lost {
            holder.say_raw(many.as_bytes());
            let mut answered = 0;
            while answered < 500 {
                let Heard::Line(message) = holder.next(PATIENCE) else { panic!("the holder hears nothing") };
                match message["type"].as_str().unwrap() {
                    "leased" => answered += 1,
                    "lost" => lost = message["peer"] == number,
                    other => panic!("{other}"),
                }
            }
            assert!(!fakes[0].seen(|seen| seen.ended));
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(network.row("deaf").is_none());
    // The other peer has heard every renewal, and its pings go on.
    let pings = fakes[0].seen(|seen| seen.pings);
    fakes[0].sees("more pings", |seen| seen.pings > pings + 2);
    assert!(event(&network, &["f0 left"]).is_none());
}

#[test]
fn a_thousand_peers_joining_at_once_all_hear_the_whole_list_and_far_fewer_than_a_thousand_lists() {
    const PEERS: usize = 1000;
    let network = Network::start(&["--ping", "12s", "--dead-after", "60s"], &[]);
    // One listener for all: every address 127.x.y.z is this machine.
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let stopping = Arc::new(AtomicBool::new(false));
    let accept = {
        let stopping = Arc::clone(&stopping);
        thread::spawn(move || while listener.accept().is_ok() && !stopping.load(Ordering::Relaxed) {})
    };
    let began = Instant::now();
    let mut peers: Vec<(TcpStream, Vec<u8>, usize, bool)> = (0..PEERS)
        .map(|i| {
            let addr = SocketAddr::from(([127, 0, 1 + (i / 250) as u8, 1 + (i % 250) as u8], port));
            let hello =
                json!({"type": "register", "version": VERSION, "name": format!("p{i}"), "addr": addr, "slots": 1});
            let mut stream = TcpStream::connect(network.addr).unwrap();
            writeln!(stream, "{hello}").unwrap();
            stream.set_nonblocking(true).unwrap();
            (stream, Vec::new(), 0, false)
        })
        .collect();
    let mut bytes = 0;
    let mut buffer = vec![0; 1 << 20];
    until("everybody has the whole list", PATIENCE, || {
        for (stream, line, lists, whole) in &mut peers {
            let read = match stream.read(&mut buffer) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
                read => read.unwrap(),
            };
            assert_ne!(read, 0, "a peer was dropped");
            bytes += read;
            line.extend_from_slice(&buffer[..read]);
            while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                let heard: Vec<u8> = line.drain(..=end).collect();
                if heard.starts_with(b"{\"type\":\"peers\"") {
                    *lists += 1;
                    *whole = heard.windows(8).filter(|at| at == b"\"name\":\"").count() == PEERS;
                }
            }
        }
        peers.iter().all(|(.., whole)| *whole).then_some(())
    });
    let most = peers.iter().map(|(_, _, lists, _)| *lists).max().unwrap();
    // At once at the first change, and then five times a second at most.
    let allowed = 2 + (began.elapsed().as_secs_f64() * 5.0) as usize;
    assert!(most <= allowed, "{most} lists to one peer, {allowed} would be enough");
    // A list of all takes about 70 bytes a peer.
    assert!(bytes < PEERS * allowed * (PEERS * 80), "{bytes} bytes");
    network.all_leasable(PEERS);
    stopping.store(true, Ordering::Relaxed);
    let _ = TcpStream::connect(("127.0.0.1", port));
    accept.join().unwrap();
}

#[test]
fn only_the_holder_can_blame_and_only_what_the_manager_finds_itself_puts_a_peer_into_quarantine() {
    let (network, mut fakes) = network(&[], &[2, 2]);
    let liar = fakes[0].number;
    let blame = json!({"type": "blame", "peer": liar, "reason": "a wrong product"});
    let mut holder = Wire::connect(network.addr);
    holder.ask(2);
    let leased = holder.hear("leased");
    assert_eq!(leased["slots"].as_array().unwrap().len(), 2, "spread over as many peers as possible");
    holder.say(&json!({"type": "release"}));
    holder.hear("released");
    holder.say(&blame);
    assert_eq!(holder.hear("error")["code"], "unauthorised");
    holder.ask(2);
    holder.hear("leased");
    holder.say(&blame);
    until("the examination", PATIENCE, || event(&network, &["f0 was examined: its product was right"]));
    assert_eq!(network.row("f0").unwrap()["leasable"], true, "words alone do no harm");
    fakes[0].set(|manners| manners.answer = Answer::Wrong);
    holder.say(&blame);
    until("quarantine", PATIENCE, || event(&network, &["f0 is quarantined: it failed its examination: row"]));
    assert_eq!(network.row("f0").unwrap()["leasable"], false);
    holder.say(&json!({"type": "release"}));
    holder.hear("released");
    holder.ask(3);
    let no = holder.hear("error");
    assert_eq!((&no["code"], &no["leasable"]), (&json!("infeasible"), &json!(2)));
    // It is leased again when it has registered again.
    drop(fakes.remove(0));
    until("its end", PATIENCE, || network.row("f0").is_none().then_some(()));
    let again = FakePeer::join(network.addr, "f0", 2, HONEST);
    assert!(again.number > liar);
    network.all_leasable(2);
    lease(&mut holder, 4);
}

#[test]
fn a_registered_peer_has_one_place_in_the_queue_and_asks_again_when_its_first_request_is_granted() {
    let (network, _fakes) = network(&[], &[1]);
    let (_ada, ada) = Wire::register(network.addr, "ada", ([127, 0, 0, 1], 9).into(), 0);
    let mut holder = Wire::connect(network.addr);
    lease(&mut holder, 1);
    let ask = json!({"type": "lease", "peer": ada, "slots": 1});
    let mut wires: Vec<Wire> = (0..3).map(|_| Wire::connect(network.addr)).collect();
    for wire in &mut wires {
        wire.say(&ask);
        wire.hear("wait");
        wire.say(&json!({"type": "ok"}));
    }
    let waits = |count| {
        until("places", PATIENCE, || {
            let queue = network.state()["queue"].as_array().unwrap().clone();
            (queue.len() == count).then_some(())
        });
    };
    waits(1);
    let reason = wires[1].hear("wait")["reason"].clone();
    assert!(reason.as_str().unwrap().starts_with("another request of yours waits"), "{reason}");
    wires[1].say(&json!({"type": "ok"}));
    // One that comes later is before its next request.
    let mut ben = Wire::connect(network.addr);
    ben.ask(1);
    ben.hear("wait");
    ben.say(&json!({"type": "ok"}));
    waits(2);
    holder.say(&json!({"type": "release"}));
    holder.hear("released");
    let first = wires[0].hear("leased")["lease"].as_u64().unwrap();
    waits(2);
    wires[0].say(&json!({"type": "release"}));
    let next = ben.hear("leased")["lease"].as_u64().unwrap();
    assert!(first < next);
}

#[test]
fn who_blames_falsely_three_times_is_not_heard_and_then_harms_nobody() {
    let (network, fakes) = network(&[], &[1]);
    let mut holder = Wire::connect(network.addr);
    lease(&mut holder, 1);
    let exams = |count| {
        until("an examination", PATIENCE, || {
            let events = network.state()["events"].as_array().unwrap().clone();
            let exams =
                events.iter().filter(|event| event["text"].as_str().unwrap().contains("was examined"));
            (exams.count() == count).then_some(())
        })
    };
    // The slot of the lease is the only one: the examination waits for it.
    for count in 1..=3 {
        holder.say(&json!({"type": "blame", "peer": fakes[0].number, "reason": "I do not like it"}));
        holder.say(&json!({"type": "release"}));
        holder.hear("released");
        exams(count);
        lease(&mut holder, 1);
    }
    holder.say(&json!({"type": "blame", "peer": fakes[0].number, "reason": "I do not like it"}));
    until("a deaf ear", PATIENCE, || event(&network, &["falsely too often, and is not heard"]));
    assert_eq!(network.row("f0").unwrap()["leasable"], true);
}

#[test]
fn a_peer_that_comes_back_with_bound_leases_is_leased_only_after_it_has_unbound_them() {
    let network = Network::start(&PATIENT, &[]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut wire = Wire::connect(network.addr);
    let addr = listener.local_addr().unwrap();
    wire.say(&json!({"type": "register", "version": VERSION, "name": "back", "addr": addr, "slots": 4,
        "bound": [{"lease": 17, "slots": 3}]}));
    wire.hear("registered");
    assert_eq!(wire.hear("unbind")["lease"], 17);
    network.all_leasable(1);
    assert_eq!(network.row("back").unwrap()["used"], 3);
    let mut requester = Wire::connect(network.addr);
    lease(&mut requester, 1);
    assert_eq!(wire.hear("bind")["slots"], 1);
    let mut second = Wire::connect(network.addr);
    second.ask(3);
    assert_eq!(second.hear("wait")["free"], 0);
    second.say(&json!({"type": "ok"}));
    wire.say(&json!({"type": "unbound", "lease": 17}));
    assert_eq!(wire.hear("bind")["slots"], 3);
    second.hear("leased");
}
