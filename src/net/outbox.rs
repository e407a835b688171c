//! What several threads have to say to one listener: a bounded queue that never makes its speakers wait.
//!
//! # The problem
//! A manager tells one peer many things from many threads: pings, bindings, lists. Two threads that write
//! into one socket at once tear each other's lines. A lock around the socket mends that, and opens the
//! next hole: a listener that stops reading blocks whoever holds the lock, and then everybody else.
//!
//! # The rule
//! - [`Outbox::post`] puts a line at the end of the queue. It is memory only, so it may be called under
//!   any lock, and the order of posts is the order on the wire.
//! - [`Outbox::flush`] hands to the kernel what the kernel takes at once (`MSG_DONTWAIT`). One thread at a
//!   time does so, without the lock, and sends also what others post meanwhile: they go on at once, and under
//!   load a system call carries the lines of many.
//! - When the kernel does not take all, or others never stop posting, a thread is started to send the rest. It
//!   waits for the listener, and ends with the queue.
//! - A listener behind whom [`limits::OUTBOX`] bytes pile up, or who takes none of them for
//!   [`limits::MESSAGE_TIME`], is dropped: its connection is closed, which wakes its reader.
//!
//! So in the usual case a message costs one system call and no thread, and in the worst one listener
//! costs one thread and 12 MiB (a queue of 4, and what was taken from it to be sent), and delays nobody.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, trace};
use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::net::{SendFlags, send};
use serde::Serialize;

use super::limits;
use super::message::encode;
use crate::thread;

/// How often one flush sends; then a thread takes over, since others may go on posting for ever.
const ROUNDS: usize = 32;

/// A handle to one listener's queue; clones share it.
#[derive(Clone, Debug)]
pub struct Outbox {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stream: Arc<TcpStream>,
    queue: Mutex<Queue>,
    /// Told when nobody is sending any more.
    settled: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    /// A thread is sending, or waiting for the listener; it alone may write. It says that it has stopped while it
    /// holds the lock under which it saw the queue empty. So a line that is posted meanwhile either is seen by
    /// it, or finds nobody sending.
    sending: bool,
    closed: bool,
}

impl Outbox {
    /// The queue of the listener at the other end of `stream`; a connection has one at most
    /// ([`Connection::outbox`](super::connection::Connection::outbox)).
    pub(super) fn new(stream: Arc<TcpStream>) -> Self {
        Self { shared: Arc::new(Shared { stream, queue: Mutex::default(), settled: Condvar::new() }) }
    }

    /// Queues one message; no system call.
    pub fn post<M: Serialize>(&self, message: &M) {
        match encode(message) {
            Ok(line) => self.post_line(&line),
            Err(e) => debug!("a message was not sent: {e}"),
        }
    }

    /// Queues a line that is encoded already, because many are to hear it.
    pub fn post_line(&self, line: &[u8]) {
        let mut queue = self.shared.queue.lock();
        if queue.closed {
            return;
        }
        if queue.bytes.len() + line.len() > limits::OUTBOX {
            debug!("dropping a listener that does not read: {} bytes wait for it", queue.bytes.len());
            return self.shared.close(&mut queue);
        }
        trace!("> {}", String::from_utf8_lossy(line).trim_end());
        queue.bytes.extend_from_slice(line);
    }

    /// Sends what is queued, also by others meanwhile, as far as the kernel takes it at once; a thread sends the
    /// rest.
    pub fn flush(&self) {
        let mut queue = self.shared.queue.lock();
        if queue.sending || queue.bytes.is_empty() {
            return;
        }
        queue.sending = true;
        for _ in 0..ROUNDS {
            let mut bytes = std::mem::take(&mut queue.bytes);
            let sent = MutexGuard::unlocked(&mut queue, || send_now(&self.shared.stream, &bytes));
            let (Ok(sent), false) = (sent, queue.closed) else { return self.shared.close(&mut queue) };
            let whole = sent == bytes.len();
            bytes.drain(..sent);
            bytes.append(&mut queue.bytes);
            queue.bytes = bytes;
            if queue.bytes.is_empty() {
                return self.shared.settle(&mut queue);
            }
            if !whole {
                break;
            }
        }
        self.leave_to_thread(&mut queue);
    }

    fn leave_to_thread(&self, queue: &mut MutexGuard<'_, Queue>) {
        let shared = Arc::clone(&self.shared);
        let started =
            MutexGuard::unlocked(queue, || thread::start("drain_outbox", move || shared.drain_outbox()));
        match started {
            Ok(thread) => thread.detach(),
            Err(_) => self.shared.close(queue),
        }
    }

    /// Waits until nobody is sending any more, so that all that was flushed is with the kernel, at most so long. For
    /// the end of a conversation: what was said last may be in the hands of another thread.
    pub(super) fn wait_until_sent(&self, within: Duration) {
        let end = Instant::now() + within;
        let mut queue = self.shared.queue.lock();
        while queue.sending && !queue.closed {
            if self.shared.settled.wait_until(&mut queue, end).timed_out() {
                return;
            }
        }
    }

    /// Queues one message and flushes.
    pub fn send<M: Serialize>(&self, message: &M) {
        self.post(message);
        self.flush();
    }

    /// Ends the conversation: closes the connection, which wakes its reader.
    pub fn close(&self) {
        self.shared.close(&mut self.shared.queue.lock());
    }
}

/// Hands bytes to the kernel, as many as it takes without waiting, and returns how many those were.
fn send_now(stream: &TcpStream, bytes: &[u8]) -> rustix::io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match send(stream, &bytes[sent..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(n) => sent += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => break,
            Err(e) => return Err(e),
        }
    }
    Ok(sent)
}

impl Shared {
    /// The queue is empty, and nobody sends any more.
    fn settle(&self, queue: &mut Queue) {
        queue.sending = false;
        self.settled.notify_all();
    }

    fn close(&self, queue: &mut Queue) {
        queue.closed = true;
        queue.bytes = Vec::new();
        self.settled.notify_all();
        // It fails only when the connection is gone already, which is what we want.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Writes until the queue is empty or the listener is given up.
    fn drain_outbox(&self) {
        loop {
            let bytes = {
                let mut queue = self.queue.lock();
                if queue.bytes.is_empty() || queue.closed {
                    return self.settle(&mut queue);
                }
                std::mem::take(&mut queue.bytes)
            };
            let written = self
                .stream
                .set_write_timeout(Some(limits::MESSAGE_TIME))
                .and_then(|()| (&*self.stream).write_all(&bytes));
            if let Err(e) = written {
                debug!("dropping a listener that does not read: {e}");
                return self.close(&mut self.queue.lock());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, ErrorKind, Read};

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
        outbox.shared.queue.lock().sending = true;
        outbox.send(&1);
        assert_eq!(outbox.shared.queue.lock().bytes, b"1\n");
        outbox.shared.queue.lock().sending = false;
        outbox.send(&2);
        let mut lines = BufReader::new(there).lines().map(Result::unwrap);
        assert_eq!([lines.next().unwrap(), lines.next().unwrap()], ["1", "2"]);
    }

    #[test]
    fn a_refusal_arrives_though_another_thread_is_sending_when_the_conversation_ends() {
        let (mut here, there) = pair();
        let outbox = here.outbox();
        outbox.shared.queue.lock().sending = true;
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
            outbox.shared.queue.lock().sending = false;
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
        let line = vec![b'x'; 64 << 10];
        let began = Instant::now();
        while !here.is_gone() {
            outbox.post_line(&line);
            outbox.flush();
            assert!(began.elapsed() < Duration::from_secs(5), "it was never dropped");
        }
        assert!(outbox.shared.queue.lock().bytes.is_empty());
    }
}
