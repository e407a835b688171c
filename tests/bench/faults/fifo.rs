//! Leases are granted in the order of their numbers, and none is lost.
//!
//! Many clients take a slot of one peer and give it back, again and again. A number is given to each request when it
//! comes. The peer hears of each lease when it is granted, on one connection, so what it hears is the order of grants.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::common::node::{Network, state};
use crate::common::{PATIENCE, until};
use crate::light::{Lines, Listener, number, register};
use crate::table::Table;

/// How many clients ask at the same time, in each third of the leases.
const CLIENTS: [usize; 3] = [4, 32, 256];

/// Slots of the peer.
const SLOTS: usize = 7;

pub(crate) fn run(count: usize) -> Table {
    let table = Table::new("clients,leases,granted,out_of_order,lost,seconds,leases_per_second");
    for (i, clients) in CLIENTS.into_iter().enumerate() {
        let leases = count / CLIENTS.len() + usize::from(i < count % CLIENTS.len());
        table.survive(&format!("fifo with {clients} clients"), || measure(&table, clients, leases));
    }
    table
}

fn measure(table: &Table, clients: usize, leases: usize) {
    let network = Network::start(&[], &[]);
    let listener = Listener::start();
    let mut peer = Lines::connect(network.addr).unwrap();
    peer.say(&register("pool", listener.addr(0), SLOTS)).unwrap();
    let bound = thread::spawn(move || hear_binds(peer, leases));
    until("the peer can be leased", PATIENCE, || {
        (state(network.addr)["peers"][0]["leasable"] == true).then_some(())
    });
    let (left, began) = (AtomicUsize::new(leases), Instant::now());
    let granted: Vec<u64> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..clients).map(|_| scope.spawn(|| take_and_give_back(&network, &left))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let seconds = began.elapsed().as_secs_f64();
    let bound = bound.join().unwrap();
    let out_of_order = bound.windows(2).filter(|pair| pair[0] >= pair[1]).count();
    let told: HashSet<u64> = granted.iter().copied().collect();
    let lost = leases - told.len().min(leases) + bound.iter().filter(|lease| !told.contains(lease)).count();
    table.row(&[
        &clients,
        &leases,
        &granted.len(),
        &out_of_order,
        &lost,
        &format_args!("{seconds:.1}"),
        &format_args!("{:.0}", leases as f64 / seconds),
    ]);
    table.promise(out_of_order == 0, format_args!("{out_of_order} leases were granted before older ones"));
    table.promise(lost == 0, format_args!("{lost} leases were lost"));
}

/// The numbers of so many leases, in the order in which the peer heard of them.
fn hear_binds(mut peer: Lines, leases: usize) -> Vec<u64> {
    let mut bound = Vec::with_capacity(leases);
    let mut ended = 0;
    while ended < leases {
        let line = peer.hear().unwrap();
        assert_ne!(line, "", "the manager ended the conversation with the peer");
        let answer = if line.starts_with("{\"type\":\"bind\"") {
            bound.push(number(line, "lease"));
            continue;
        } else if line.starts_with("{\"type\":\"unbind\"") {
            ended += 1;
            format!("{{\"type\":\"unbound\",\"lease\":{}}}\n", number(line, "lease"))
        } else if line.starts_with("{\"type\":\"ping\"") {
            "{\"type\":\"ok\"}\n".into()
        } else {
            continue;
        };
        peer.say(&answer).unwrap();
    }
    bound
}

/// Takes a slot and gives it back, as often as there are leases left; the numbers of the leases.
fn take_and_give_back(network: &Network, left: &AtomicUsize) -> Vec<u64> {
    let mut client = Lines::connect(network.addr).unwrap();
    let mut granted = Vec::new();
    let one_less = |left: usize| left.checked_sub(1);
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
        client.say("{\"type\":\"lease\",\"slots\":1}\n").unwrap();
        loop {
            let line = client.hear().unwrap();
            if line.starts_with("{\"type\":\"leased\"") {
                granted.push(number(line, "lease"));
                break;
            }
            assert!(line.starts_with("{\"type\":\"wait\""), "{line}");
            client.say("{\"type\":\"ok\"}\n").unwrap();
        }
        client.say("{\"type\":\"release\"}\n").unwrap();
        assert!(client.hear().unwrap().starts_with("{\"type\":\"released\""));
    }
    granted
}
