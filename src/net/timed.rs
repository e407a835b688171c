//! The stream of a connection; and reads and writes that end, with a limit on how long they may take.
//!
//! A socket's own timeout is for one call, and a sender of one byte at a time meets it for ever. So each call gets the
//! time that is *left*: until an end, or at a pace, a time that grows with the bytes that have passed.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::trace;

use super::limits::Pace;
use super::message::shown;
use super::places::Occupant;

/// What one call sends of a file: in between it is seen whether the reader keeps the pace.
const SEND_STEP: u64 = 4 << 20;

/// The stream of a connection, for its speaking half, which another thread may have.
#[derive(Clone, Debug)]
pub struct Writer {
    pub(super) stream: Arc<TcpStream>,
    pub(super) other: SocketAddr,
    /// Whose words these are.
    pub(super) occupant: Arc<Occupant>,
}

impl Writer {
    /// Logs a line that this side said (`>`) or heard (`<`), and both ends of the connection: so it is known again in
    /// the log of the other side, and `scripts/chart.sh` draws one arrow for both.
    pub(super) fn trace(&self, way: char, line: &[u8]) {
        trace!("{} {way} {} {}", self.stream.local_addr().unwrap_or(self.other), self.other, shown(line));
    }

    /// Closes the connection, which wakes the thread that listens.
    pub fn close(&self) {
        // It fails only when the connection is gone already, which is what we want.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// How long the reads or writes of one message may take.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    /// For ever.
    None,
    /// Until then, all together.
    End(Instant),
    /// At a pace, for the bytes that have passed so far. An end that grew with the size that was *announced*
    /// would let a sender that announces much and sends one byte now and then hold a slot for hours. Only the time
    /// that was spent in waiting for the other side counts: it is not to blame for what this side does in between.
    Pace { pace: Pace, spent: Duration, passed: u64 },
}

impl Limit {
    /// At this pace from now on.
    pub(super) fn at(pace: Pace) -> Self {
        Self::Pace { pace, spent: Duration::ZERO, passed: 0 }
    }
}

/// A stream whose reads and writes share one limit.
pub(super) struct Timed {
    pub(super) writer: Writer,
    pub(super) limit: Limit,
}

impl Timed {
    /// The time that is left, as a socket's timeout.
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = match self.limit {
            Limit::None => return Ok(None),
            Limit::End(end) => end.saturating_duration_since(Instant::now()),
            Limit::Pace { pace, spent, passed } => pace.time(passed).saturating_sub(spent).min(pace.stall),
        };
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        Ok(Some(left.max(Duration::from_millis(1))))
    }

    /// One call, which passes some bytes in the time that is left.
    fn call(
        &mut self,
        set_timeout: fn(&TcpStream, Option<Duration>) -> io::Result<()>,
        mut call: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            set_timeout(&self.writer.stream, self.left()?)?;
            let began = Instant::now();
            let bytes = call(&self.writer.stream);
            if let Limit::Pace { spent, passed, .. } = &mut self.limit {
                *spent += began.elapsed();
                *passed += *bytes.as_ref().unwrap_or(&0) as u64;
            }
            if bytes.is_ok() {
                self.writer.occupant.spoke();
            }
            if !matches!(&bytes, Err(e) if e.kind() == ErrorKind::Interrupted) {
                return bytes;
            }
        }
    }

    /// Sends `bytes` bytes of a file from `offset` on, inside the kernel (sendfile).
    pub(super) fn send_file(&mut self, file: &File, offset: u64, bytes: u64) -> io::Result<()> {
        let (mut at, end) = (offset, offset + bytes);
        while at < end {
            let step = (end - at).min(SEND_STEP) as usize;
            let send = |stream: &TcpStream| Ok(rustix::fs::sendfile(stream, file, Some(&mut at), step)?);
            if self.call(TcpStream::set_write_timeout, send)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}

impl Read for Timed {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.call(TcpStream::set_read_timeout, |mut stream| stream.read(bytes))
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.call(TcpStream::set_write_timeout, |mut stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a call has waited for too long: a socket's own words for it are "resource temporarily unavailable".
pub fn is_timeout(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
