//! Reads and writes that end: a stream with a limit on how long it may take.
//!
//! A socket's own timeout is for one call, and who passes one byte at a time passes it for ever. So each call
//! gets the time that is *left*: until an end, or at a pace, a time that grows with the bytes that have passed.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::limits::{self, Pace};

/// What one call sends of a file: in between it is seen whether the reader keeps the pace.
const SEND_STEP: u64 = 4 << 20;

/// How long the reads or writes of one message may take.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    /// For ever.
    None,
    /// Until then, all together.
    End(Instant),
    /// At a pace, for the bytes that have passed so far. An end that grew with the size that was *announced*
    /// would let one who announces much and sends one byte now and then hold a slot for hours.
    Pace { pace: Pace, began: Instant, passed: u64 },
}

impl Limit {
    /// The pace of a payload.
    pub(super) fn pace() -> Self {
        Self::at(limits::PAYLOAD_PACE)
    }

    pub(super) fn at(pace: Pace) -> Self {
        Self::Pace { pace, began: Instant::now(), passed: 0 }
    }
}

/// A stream whose reads and writes share one limit.
#[derive(Debug)]
pub(super) struct Timed {
    pub(super) stream: Arc<TcpStream>,
    pub(super) limit: Limit,
}

impl Timed {
    /// The time that is left, as a socket's timeout.
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = match self.limit {
            Limit::None => return Ok(None),
            Limit::End(end) => end.saturating_duration_since(Instant::now()),
            Limit::Pace { pace, began, passed } => {
                pace.time(passed).saturating_sub(began.elapsed()).min(pace.stall)
            }
        };
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        Ok(Some(left.max(Duration::from_millis(1))))
    }

    fn passed(&mut self, bytes: usize) {
        if let Limit::Pace { passed, .. } = &mut self.limit {
            *passed += bytes as u64;
        }
    }

    /// Time that the other side did not take is not counted against it.
    pub(super) fn excuse(&mut self, time: Duration) {
        if let Limit::Pace { began, .. } = &mut self.limit {
            *began += time;
        }
    }

    /// Sends `bytes` bytes of a file from `offset` on, inside the kernel (sendfile).
    pub(super) fn send_file(&mut self, file: &File, offset: u64, bytes: u64) -> io::Result<()> {
        let (mut at, end) = (offset, offset + bytes);
        while at < end {
            self.stream.set_write_timeout(self.left()?)?;
            let step = (end - at).min(SEND_STEP) as usize;
            match rustix::fs::sendfile(&*self.stream, file, Some(&mut at), step) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(sent) => self.passed(sent),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}

impl Read for Timed {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        let read = (&*self.stream).read(bytes)?;
        self.passed(read);
        Ok(read)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        let written = (&*self.stream).write(bytes)?;
        self.passed(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn is_timeout(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
