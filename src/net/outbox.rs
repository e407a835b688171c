//! What several threads have to say to one listener: a bounded queue that never makes its speakers wait.
//!
//! # The problem
//! A manager tells one peer many things from many threads: pings, bindings, lists. Two threads that write
//! into one socket at once tear each other's lines. A lock around the socket mends that, and opens the
//! next hole: a listener that stops reading blocks the thread that holds the lock, and then all others.
//!
//! # The rule
//! - [`Outbox::post`] puts a line at the end of the queue. It is memory only, so it may be called under
//!   any lock, and the order of posts is the order on the wire.
//! - [`Outbox::flush`] hands to the kernel what the kernel takes at once (`MSG_DONTWAIT`). One thread at a
//!   time does so, without the lock, and sends also what others post meanwhile: they go on at once, and under
//!   load a system call carries the lines of many.
//! - When the kernel does not take all, or others never stop posting, a thread is started to send the rest. It
//!   waits for the listener, and ends with the queue.
//! - A listener for which more than [`limits::OUTBOX`] bytes pile up, or that takes none of them for
//!   [`limits::MESSAGE_TIME`], is dropped: its connection is closed, which wakes its reader.
//!
//! So in the usual case a message costs one system call and no thread, and in the worst one listener
//! costs one thread and 4 MiB, and delays nobody.
//!
//! # A line that many hear
//! is encoded once, and all queues share it ([`Arc`]): the list of 4,000 peers takes 400 kB, for 4,000 listeners that
//! do not read, too, and not 1.6 GB. It is freed when the last of them has got it.
//!
//! There is no budget for all that is unsent. In its place stand 4 MiB for each listener, the bound on connections, of
//! which one party has a share (`net/places.rs`), and that a long answer is shared, or made in pages while it is read.
//! After a flood nothing but the allocator gives memory back to the system: it returns what is free at the end of its
//! arenas, and not what is free before something that lives on. `scripts/faults.sh flood` measures what that leaves.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use log::debug;
use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use serde::Serialize;

use super::limits;
use super::message::encode;
use super::timed::Writer;
use crate::thread::{self, Thread};

/// How often one flush sends; then a thread takes over, since others may go on posting for ever.
const ROUNDS: usize = 32;

/// How many lines one system call sends at most.
const AT_ONCE: usize = 64;

/// A handle to one listener's queue; clones share it.
#[derive(Clone, Debug)]
pub struct Outbox(Arc<Queue>);

#[derive(Debug)]
struct Queue {
    writer: Writer,
    unsent: Mutex<Unsent>,
    /// Told when nobody is sending any more.
    settled: Condvar,
}

#[derive(Debug, Default)]
struct Unsent {
    lines: VecDeque<Arc<[u8]>>,
    /// How many bytes of the first of them are sent already.
    begun: usize,
    /// How many bytes of all of them are not.
    bytes: usize,
    /// A thread is sending, or waiting for the listener; it alone may write. It says that it has stopped while it
    /// holds the lock under which it saw the queue empty. So a line that is posted meanwhile either is seen by
    /// it, or finds nobody sending.
    sending: bool,
    closed: bool,
}

impl Outbox {
    /// The queue of the listener at the other end of this stream; a connection has one at most
    /// ([`Connection::outbox`](super::connection::Connection::outbox)). One that is `held` sends nothing until it may
    /// [`resume`](Self::resume).
    pub(super) fn new(writer: Writer, held: bool) -> Self {
        // For the thread that waits; only a time of zero would be refused.
        let _ = writer.stream.set_write_timeout(Some(limits::MESSAGE_TIME));
        Self(Arc::new(Queue {
            writer,
            unsent: Mutex::new(Unsent { sending: held, ..Unsent::default() }),
            settled: Condvar::new(),
        }))
    }

    /// Queues one message; no system call.
    pub fn post<M: Serialize>(&self, message: &M) {
        self.post_line(encode(message));
    }

    /// Queues a line that is encoded already, because many are to hear it: they share its bytes.
    pub fn post_line(&self, line: impl Into<Arc<[u8]>>) {
        let (line, mut unsent) = (line.into(), self.0.unsent.lock());
        if unsent.closed {
            return;
        }
        if unsent.bytes + line.len() > limits::OUTBOX {
            debug!("dropping a listener that does not read: {} bytes wait for it", unsent.bytes);
            return self.0.close(&mut unsent);
        }
        self.0.writer.trace('>', &line);
        unsent.bytes += line.len();
        unsent.lines.push_back(line);
    }

    /// Sends what is queued, also by others meanwhile, as far as the kernel takes it at once; a thread sends the
    /// rest.
    pub fn flush(&self) {
        {
            let mut unsent = self.0.unsent.lock();
            if unsent.lines.is_empty() || std::mem::replace(&mut unsent.sending, true) {
                return;
            }
        }
        self.resume();
    }

    /// Sends what is queued, for the one that said that it is `sending`.
    pub(super) fn resume(&self) {
        if !self.0.drain_outbox(false) {
            let queue = Arc::clone(&self.0);
            let drain = move || while !queue.drain_outbox(true) {};
            thread::start("drain_outbox", drain).map_or_else(|_| self.close(), Thread::detach);
        }
    }

    /// Queues one message and flushes.
    pub fn send<M: Serialize>(&self, message: &M) {
        self.post(message);
        self.flush();
    }

    /// Waits until nobody is sending any more, so that all that was flushed is with the kernel, at most so long. For
    /// the end of a conversation: what was said last may be in the hands of another thread.
    pub(super) fn wait_until_sent(&self, within: Duration) {
        let sends = |unsent: &mut Unsent| unsent.sending && !unsent.closed;
        self.0.settled.wait_while_for(&mut self.0.unsent.lock(), sends, within);
    }

    /// Ends the conversation: closes the connection, which wakes its reader.
    pub fn close(&self) {
        self.0.close(&mut self.0.unsent.lock());
    }
}

impl Unsent {
    /// So many bytes are sent.
    fn take_off(&mut self, sent: usize) {
        self.bytes -= sent;
        self.begun += sent;
        while let Some(line) = self.lines.pop_front_if(|line| line.len() <= self.begun) {
            self.begun -= line.len();
        }
    }
}

impl Queue {
    /// Sends what is queued, for the one that said that it is `sending`; true when nothing is left. Where it may not
    /// `wait` for the listener, it ends when the kernel takes no more; and always after some rounds.
    fn drain_outbox(&self, wait: bool) -> bool {
        let flags = if wait { SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL | SendFlags::DONTWAIT };
        let mut unsent = self.unsent.lock();
        for _ in 0..ROUNDS {
            if unsent.lines.is_empty() {
                unsent.sending = false;
                self.settled.notify_all();
                return true;
            }
            let lines: Vec<_> = unsent.lines.iter().take(AT_ONCE).cloned().collect();
            let mut parts: Vec<_> = lines.iter().map(|line| IoSlice::new(line)).collect();
            let mut left = &mut parts[..];
            IoSlice::advance_slices(&mut left, unsent.begun);
            let send = || sendmsg(&self.writer.stream, left, &mut SendAncillaryBuffer::default(), flags);
            match MutexGuard::unlocked(&mut unsent, || retry_on_intr(send)) {
                _ if unsent.closed => return true,
                Ok(sent) => unsent.take_off(sent),
                Err(Errno::AGAIN) if !wait => return false,
                Err(e) => {
                    debug!("dropping a listener that does not read: {e}");
                    self.close(&mut unsent);
                    return true;
                }
            }
        }
        false
    }

    fn close(&self, unsent: &mut Unsent) {
        unsent.closed = true;
        (unsent.lines, unsent.bytes) = (VecDeque::new(), 0);
        self.settled.notify_all();
        self.writer.close();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, ErrorKind, Read};
    use std::time::Instant;

    use super::*;
    use crate::error::{Code, Error};
    use crate::net::connection::tests::pair;

    #[test]
    fn lines_arrive_whole_and_in_order_from_many_threads_though_the_listener_is_slow() {
        let (mut here, mut there) = pair();
        let outbox = here.outbox();
        let pad = "x".repeat(2000);
        std::thread::scope(|scope| {
            for speaker in 0..8 {
                let (outbox, pad) = (&outbox, &pad);
                scope.spawn(move || (0..200).for_each(|n| outbox.send(&(speaker, n, pad))));
            }
        });
        drop(here);
        there.set_read_timeout(Some(limits::MESSAGE_TIME)).unwrap();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            // 8 x 200 lines; the outbox lives on in its drainer until all is read.
            let mut buffer = vec![0; 4096];
            while text.lines().count() < 1600 || !text.ends_with('\n') {
                let n = there.read(&mut buffer).unwrap();
                assert_ne!(n, 0, "the connection ended early");
                text.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
            }
            text
        });
        let mut next = [0; 8];
        for line in reader.join().unwrap().lines() {
            let (speaker, n, _): (usize, u32, String) = serde_json::from_str(line).unwrap();
            assert_eq!(n, next[speaker]);
            next[speaker] += 1;
        }
    }

    #[test]
    fn who_posts_while_another_sends_goes_on_and_the_sender_takes_the_line_along() {
        let (mut here, there) = pair();
        let outbox = here.outbox();
        // Another thread is in its system call.
        outbox.0.unsent.lock().sending = true;
        outbox.send(&1);
        assert_eq!(outbox.0.unsent.lock().bytes, 2);
        outbox.0.unsent.lock().sending = false;
        outbox.send(&2);
        let mut lines = BufReader::new(there).lines().map(Result::unwrap);
        assert_eq!([lines.next().unwrap(), lines.next().unwrap()], ["1", "2"]);
    }

    #[test]
    fn a_refusal_arrives_though_another_thread_is_sending_when_the_conversation_ends() {
        let (mut here, there) = pair();
        let outbox = here.outbox();
        outbox.0.unsent.lock().sending = true;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                here.refuse(&Error::new(Code::Busy, "not now"));
                here.linger();
            });
            // While the other thread is in its system call, the conversation does not end.
            there.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let early = (&there).read(&mut [0]).map_err(|e| e.kind());
            assert_eq!(early, Err(ErrorKind::WouldBlock));
            there.set_read_timeout(Some(limits::MESSAGE_TIME)).unwrap();
            // It comes back, and finds the refusal.
            outbox.0.unsent.lock().sending = false;
            outbox.flush();
            let line = BufReader::new(&there).lines().next();
            assert!(line.is_some_and(|line| line.unwrap().contains("not now")));
            drop(there);
        });
    }

    #[test]
    fn a_listener_that_never_reads_delays_nobody_and_is_dropped() {
        let (mut here, _there) = pair();
        let outbox = here.outbox();
        let line: Arc<[u8]> = vec![b'x'; 64 << 10].into();
        let (began, mut posted) = (Instant::now(), 0);
        while !here.is_gone() {
            outbox.post_line(Arc::clone(&line));
            outbox.flush();
            posted += line.len();
            // What the kernel holds of it comes on top.
            assert!(posted < 16 * limits::OUTBOX, "{posted} bytes wait for it, or more");
            assert!(began.elapsed() < Duration::from_secs(5), "it was never dropped");
        }
        assert_eq!(outbox.0.unsent.lock().bytes, 0);
        // What was not sent is freed, when the thread that was sending has seen it.
        while Arc::strong_count(&line) > 1 {
            assert!(began.elapsed() < Duration::from_secs(5), "it is held for ever");
            std::thread::yield_now();
        }
    }
}
