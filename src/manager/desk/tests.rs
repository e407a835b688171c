//! Threads that wait for their turn. What is waited for is that another thread sleeps, never that time passes.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread::{self, ScopedJoinHandle};

use super::*;
use crate::manager::state::roster::Reach;
use crate::net::connection::Connection;
use crate::net::limits;
use crate::net::message::NOBODY;

/// Longer than any of these waits takes.
const LONG: Duration = Duration::from_secs(10);

/// A desk with one peer of one slot, and the way to those that ask.
fn desk() -> (Desk, Outbox, PeerId) {
    let desk = Desk::new(Duration::from_secs(600), Replicas::default(), Duration::from_secs(60), None);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let line = Connection::connect(listener.local_addr().unwrap(), limits::LINE, None).unwrap().outbox();
    let ada = r#"{"version":2,"name":"ada","addr":"127.0.0.1:9","slots":1}"#;
    let peer = desk.admit(serde_json::from_str(ada).unwrap(), &line).unwrap();
    desk.change(|table, now| table.tried(peer, Reach::Yes, &Ok(()), now));
    (desk, line, peer)
}

fn ask<'a>(desk: &'a Desk, line: &Outbox) -> Ticket<'a> {
    let wish = Wish { requester: NOBODY, slots: 1, avoid: Vec::new() };
    desk.ask(&wish, line, Duration::ZERO).unwrap()
}

/// The holder releases its lease, and the peer has nothing more to do under it.
fn give_back(desk: &Desk, peer: PeerId, ticket: Ticket<'_>) {
    let lease = ticket.number;
    drop(ticket);
    desk.change(|table, now| table.unbound(peer, lease, now));
}

fn is_leased(standing: &TicketStanding) -> bool {
    matches!(standing, TicketStanding::Leased { .. })
}

/// The slot is given back, and the second is next. Is a thread that sleeps at the ticket of this place woken?
fn is_woken(place: usize) -> bool {
    let (desk, line, peer) = desk();
    let first = ask(&desk, &line);
    let waiting = [ask(&desk, &line), ask(&desk, &line)];
    let turn = &waiting[place - 2].turn;
    let mut locked = desk.locked.lock();
    let desk = &desk;
    thread::scope(|scope| {
        // The lock is free for it when the other sleeps. What can be woken by hand after that was not woken.
        let gives_back = scope.spawn(move || {
            give_back(desk, peer, first);
            !turn.notify_one()
        });
        turn.wait(&mut locked);
        drop(locked);
        gives_back.join().unwrap()
    })
}

#[test]
fn the_thread_whose_turn_it_is_is_woken() {
    assert!(is_woken(2));
}

#[test]
fn a_thread_whose_turn_it_is_not_sleeps_on() {
    assert!(!is_woken(3));
}

#[test]
fn a_wake_up_without_a_reason_ends_no_wait() {
    /// Wakes the thread as soon as it sleeps; false when it has ended.
    fn wakes<T>(turn: &Condvar, thread: &ScopedJoinHandle<'_, T>) -> bool {
        while !turn.notify_one() {
            if thread.is_finished() {
                return false;
            }
            thread::yield_now();
        }
        true
    }
    let (desk, line, peer) = desk();
    let (first, second) = (ask(&desk, &line), ask(&desk, &line));
    thread::scope(|scope| {
        let waiter = scope.spawn(|| second.wait_for_turn(LONG));
        for _ in 0..3 {
            assert!(wakes(&second.turn, &waiter), "it was woken, has no lease, and does not wait any more");
        }
        give_back(&desk, peer, first);
        assert!(is_leased(&waiter.join().unwrap()));
    });
}

#[test]
fn no_wake_up_is_lost() {
    let (desk, line, peer) = desk();
    // With so many peers a look takes a while. After that a lock that is let go of goes to the thread that waits for
    // it.
    for port in 10_000..13_000 {
        let other = format!(r#"{{"version":2,"name":"p{port}","addr":"127.0.0.1:{port}","slots":0}}"#);
        desk.admit(serde_json::from_str(&other).unwrap(), &line).unwrap();
    }
    let (tell, told) = channel();
    let comes = || tell.send(fs::read_link("/proc/thread-self").unwrap()).unwrap();
    let until_it_sleeps = || {
        let state = Path::new("/proc").join(told.recv().unwrap()).join("stat");
        while !fs::read_to_string(&state).unwrap().contains(") S ") {
            thread::yield_now();
        }
    };
    for _ in 0..20 {
        let (first, second) = (ask(&desk, &line), ask(&desk, &line));
        let lease = first.number;
        drop(first);
        let locked = desk.locked.lock();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                comes();
                let began = Instant::now();
                second.wait_for_turn(LONG);
                began.elapsed()
            });
            until_it_sleeps();
            scope.spawn(|| {
                comes();
                desk.change(|table, now| table.unbound(peer, lease, now));
            });
            until_it_sleeps();
            // One looks, then the other gives the slot back: in between the first must be asleep.
            MutexGuard::unlock_fair(locked);
            let took = waiter.join().unwrap();
            assert!(took < LONG, "its turn came between its look and its sleep, and it slept on");
        });
        give_back(&desk, peer, second);
    }
}
