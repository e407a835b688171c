//! Exercise 3, second part: threads that wait for their turn.

use std::cell::Cell;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::thread;

use super::*;
use crate::lab_runner::{on_log, run};
use crate::manager::state::roster::Reach;
use crate::net::connection::Connection;
use crate::net::limits;
use crate::net::message::NOBODY;

#[test]
fn checks() {
    run(
        module_path!(),
        &[
            (1, "to look is not to wait", looks),
            (2, "a thread that waits is woken when it is its turn", woken),
            (2, "a wake-up without a reason ends no wait", no_reason),
            (1, "the wait ends after `at_most`", ends),
            (2, "nobody keeps the lock while it waits", lets_go),
            (2, "no wake-up is lost", none_lost),
            (1, "a thread that waits sleeps until it is woken", sleeps),
            (2, "ten threads are served one after another, in order", all),
            (2, "messages are sent, and the lock is free meanwhile", sends_without_the_lock),
        ],
    );
}

/// A desk with one peer of one slot, and a way to say something to somebody.
fn desk() -> (Desk, Outbox) {
    let desk = Desk::new(Duration::from_secs(600), Replicas::default(), Duration::from_secs(60), None);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let line = Connection::connect(listener.local_addr().unwrap(), limits::LINE, None).unwrap().outbox();
    let ada = r#"{"version":2,"name":"ada","addr":"127.0.0.1:9","slots":1}"#;
    let peer = desk.admit(serde_json::from_str(ada).unwrap(), &line).unwrap();
    desk.change(|table, now| table.tried(peer, Reach::Yes, &Ok(()), now));
    (desk, line)
}

fn ask<'a>(desk: &'a Desk, line: &Outbox) -> Ticket<'a> {
    let wish = Wish { requester: NOBODY, slots: 1, avoid: Vec::new() };
    desk.ask(&wish, line, Duration::ZERO).unwrap()
}

/// The holder releases its lease; gives the peer with the only slot, which has to give it back.
fn release(desk: &Desk, ticket: Ticket<'_>) -> PeerId {
    drop(ticket);
    desk.change(|table, _| match table.take_list() {
        FromManager::Peers { peers, .. } => peers.iter().find(|peer| peer.slots > 0).unwrap().peer,
        _ => unreachable!(),
    })
}

/// The holder releases its lease, and the slot is given back.
fn give_back(desk: &Desk, ticket: Ticket<'_>) {
    let number = ticket.number;
    let peer = release(desk, ticket);
    desk.change(|table, now| table.unbound(peer, number, now));
}

/// What a thread gives; when it panicked, its words.
fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))
}

/// A peer to which nothing can be sent: nobody is at the other end.
fn unreachable_peer(desk: &Desk) -> PeerId {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let line = Connection::connect(listener.local_addr().unwrap(), limits::LINE, None).unwrap().outbox();
    let bob = r#"{"version":2,"name":"bob","addr":"127.0.0.1:10","slots":0}"#;
    desk.admit(serde_json::from_str(bob).unwrap(), &line).unwrap()
}

const LONG: Duration = Duration::from_secs(5);

fn is_leased(standing: &TicketStanding) -> bool {
    matches!(standing, TicketStanding::Leased { .. })
}

fn looks(_: u64) {
    let (desk, line) = desk();
    let first = ask(&desk, &line);
    let standing = first.wait_for_turn(Duration::ZERO);
    assert!(is_leased(&standing), "the only slot is free, and the first that asks does not get it");
    let second = ask(&desk, &line);
    let began = Instant::now();
    let standing = second.wait_for_turn(Duration::ZERO);
    assert!(matches!(standing, TicketStanding::Waiting(_)), "the only slot is taken; the second request is {standing:?}");
    assert!(began.elapsed() < LONG, "`at_most` is 0, and the look took {:?}", began.elapsed());
}

fn woken(_: u64) {
    let (desk, line) = desk();
    let (first, second) = (ask(&desk, &line), ask(&desk, &line));
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let began = Instant::now();
            (second.wait_for_turn(LONG), began.elapsed())
        });
        give_back(&desk, first);
        let (standing, took) = joined(waiter);
        assert!(is_leased(&standing), "the slot was given back, and the one that waited for it is {standing:?}");
        assert!(took < LONG, "the slot was given back at once, but the one that waited slept on until its time was over");
    });
}

fn no_reason(_: u64) {
    let (desk, line) = desk();
    let (first, second) = (ask(&desk, &line), ask(&desk, &line));
    let (done, answer) = channel();
    let (second, done) = (&second, done);
    thread::scope(|scope| {
        let waiter = scope.spawn(move || done.send(second.wait_for_turn(LONG)));
        for _ in 0..50 {
            second.turn.notify_all();
            if let Ok(standing) = answer.recv_timeout(Duration::from_millis(10)) {
                panic!(
                    "the Condvar was notified and no slot was given back; after that wake-up `wait_for_turn` came back with \
                     {standing:?} long before its time: look again after each wake-up, in a loop"
                );
            }
        }
        give_back(&desk, first);
        let _ = joined(waiter);
        assert!(is_leased(&answer.recv().unwrap()), "woken 50 times for no reason, then for a good one: it has no lease");
    });
}

fn ends(_: u64) {
    let (desk, line) = desk();
    let (_first, second) = (ask(&desk, &line), ask(&desk, &line));
    let began = Instant::now();
    let standing = second.wait_for_turn(Duration::from_millis(50));
    assert!(matches!(standing, TicketStanding::Waiting(_)), "nobody gave a slot back; after 50 ms it is {standing:?}");
    assert!(began.elapsed() >= Duration::from_millis(50), "`at_most` is 50 ms; it came back after {:?}", began.elapsed());
}

fn lets_go(_: u64) {
    let (desk, line) = desk();
    let (_first, second) = (ask(&desk, &line), ask(&desk, &line));
    let (done, answer) = channel();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| second.wait_for_turn(Duration::from_secs(1)));
        scope.spawn(|| {
            let began = Instant::now();
            // However the two threads meet: one of these looks falls into the wait.
            for _ in 0..20 {
                desk.change(|_, _| ());
                thread::sleep(Duration::from_millis(10));
            }
            done.send(began.elapsed()).unwrap();
        });
        joined(waiter);
    });
    let took = answer.recv().unwrap();
    assert!(
        took < Duration::from_millis(900),
        "while one thread waited for its turn no other could look at the table: it holds the lock and sleeps"
    );
}

const LOST: &str = "one thread looked, and before it slept another gave the slot back: that wake-up was lost, and it slept on \
                    until its time was over. Look and go to sleep without letting go of the lock in between";

/// A look that lets go of the lock and sends what there is to tell: at that moment the slot is given back.
fn none_lost_while_it_sends() {
    let (desk, line) = desk();
    let desk = Arc::new(desk);
    let (first, second) = (ask(&desk, &line), ask(&desk, &line));
    let number = first.number;
    let peer = release(&desk, first);
    let bob = unreachable_peer(&desk);
    desk.locked.lock().table.ping(|peer| peer == bob);
    let at_most = Duration::from_secs(1);
    let end = Instant::now() + at_most;
    let was_given_back = Rc::new(Cell::new(false));
    let (desk_too, gives_back) = (Arc::clone(&desk), Rc::clone(&was_given_back));
    on_log(move |said| {
        if said.starts_with("dropping a listener") && !desk_too.locked.is_locked() && Instant::now() < end {
            desk_too.change(|table, now| table.unbound(peer, number, now));
            gives_back.set(true);
        }
    });
    second.wait_for_turn(at_most);
    assert!(!was_given_back.get() || Instant::now() < end, "{LOST}");
}

/// The slot is given back as soon as the lock is free after the look of the other thread.
fn none_lost(_: u64) {
    none_lost_while_it_sends();
    const A_MOMENT: Duration = Duration::from_millis(5);
    let (desk, line) = desk();
    // With so many peers a look takes longer than a millisecond. After that the lock goes to the one that waits for it,
    // and not to the one that lets go of it and takes it again.
    for port in 10_000..12_000 {
        let other = format!(r#"{{"version":2,"name":"p{port}","addr":"127.0.0.1:{port}","slots":0}}"#);
        desk.admit(serde_json::from_str(&other).unwrap(), &line).unwrap();
    }
    for _ in 0..5 {
        let (first, second) = (ask(&desk, &line), ask(&desk, &line));
        let (lease, number) = (&second, first.number);
        let peer = release(&desk, first);
        let locked = desk.locked.lock();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let began = Instant::now();
                lease.wait_for_turn(LONG);
                began.elapsed()
            });
            thread::sleep(A_MOMENT);
            scope.spawn(|| desk.change(|table, now| table.unbound(peer, number, now)));
            thread::sleep(A_MOMENT);
            drop(locked);
            assert!(joined(waiter) < LONG, "{LOST}");
        });
        give_back(&desk, second);
    }
}

/// A slot is given back and nobody is told: only one that looks again and again can know of it.
fn sleeps(_: u64) {
    const A_WHILE: Duration = Duration::from_millis(300);
    let (desk, line) = desk();
    let (first, second) = (ask(&desk, &line), ask(&desk, &line));
    let number = first.number;
    let peer = release(&desk, first);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let began = Instant::now();
            (second.wait_for_turn(A_WHILE), began.elapsed())
        });
        // It looks once, and then it sleeps.
        thread::sleep(A_WHILE / 3);
        let mut locked = desk.locked.lock();
        locked.table.unbound(peer, number, desk.clock.now());
        locked.table.take_effects();
        drop(locked);
        let (standing, took) = joined(waiter);
        assert!(
            took >= A_WHILE || is_leased(&standing),
            "nobody woke it, and after {took:?} of {A_WHILE:?} it came back with {standing:?}"
        );
        assert!(
            took >= A_WHILE,
            "nobody woke it, and it found its slot all the same: it looks again and again, which costs time and finds its turn \
             late. Sleep until `self.turn` is notified"
        );
    });
}

fn all(_: u64) {
    let (desk, line) = desk();
    let tickets: Vec<_> = (0..10).map(|_| ask(&desk, &line)).collect();
    let (turns, order) = channel();
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for ticket in tickets {
            let (turns, desk) = (turns.clone(), &desk);
            threads.push(scope.spawn(move || {
                let number = ticket.number;
                let standing = ticket.wait_for_turn(LONG);
                turns.send((number, is_leased(&standing))).unwrap();
                give_back(desk, ticket);
            }));
        }
        threads.into_iter().for_each(joined);
    });
    drop(turns);
    let order: Vec<_> = order.iter().collect();
    for (number, leased) in &order {
        assert!(leased, "ten threads wait for one slot, each gives it back at once: request {number} was never served");
    }
    assert!(order.is_sorted(), "ten requests for one slot were served in this order: {order:?}");
}

/// An outbox that cannot send says so in the log, at that moment and in the thread that flushes it.
fn sends_without_the_lock(_: u64) {
    let (desk, line) = desk();
    let desk = Arc::new(desk);
    let ticket = ask(&desk, &line);
    let bob = unreachable_peer(&desk);
    desk.locked.lock().table.ping(|peer| peer == bob);
    let is_free = Rc::new(Cell::new(None));
    let (look_at, found) = (Arc::clone(&desk), Rc::clone(&is_free));
    on_log(move |said| {
        if said.starts_with("dropping a listener") {
            found.set(Some(look_at.locked.try_lock().is_some()));
        }
    });
    ticket.wait_for_turn(Duration::ZERO);
    assert!(is_free.get().is_some(), "a peer was to be told something, and it was not sent: flush the outboxes that a look gives");
    assert!(
        is_free.get() == Some(true),
        "a message was sent while the lock was held: one slow listener would make everybody wait. Let go of the lock \
         (`drop(locked)`) before you flush"
    );
}
