//! What the thread of one leased slot does: it takes the next product, sends the two operands, and takes the answer in.
//!
//! Operands are sums that are formed while they are sent, and no answer is ever stored: a portion of rows is received,
//! checked by Freivalds, and added to C, then the next.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::lease::Lease;
use super::tasks::Next;
use super::{Done, Job, Progress};
use crate::error::{Error, Kind, Result};
use crate::matrix::Operand;
use crate::matrix::freivalds::Verdict;
use crate::net::connection::Connection;
use crate::net::limits;
use crate::net::message::{FromPeer, PeerCard, ProductStage, ToPeer, no_answer};

/// The slowest peer that is still worth waiting for, in floating-point operations per second.
const SLOWEST_PEER: f64 = 5e7;

/// The size of the buffer through which operands and answers are streamed, in numbers: 128 KiB, so that what
/// is done with a portion is done in the second cache.
const PORTION: usize = 16 << 10;

impl<'m> Job<'m> {
    /// One leased slot: takes products until none is left, the lease is over, or the peer fails.
    pub(super) fn serve_slot(&self, lease: &Lease, card: &PeerCard) -> Result<()> {
        let mut connection = Connection::connect(card.addr, limits::LINE)?;
        lease.watch(card.peer, connection.stream());
        while let Some(attempt) = self.next(lease, card) {
            let began = Instant::now();
            let product = attempt.product;
            if let Err(why) = self.compute(lease, &mut connection, product) {
                let why = Error::new(why.kind(), format!("{} at {}: {why}", card.name, card.addr));
                if why.kind() == Kind::Check {
                    lease.blame(card.peer, why.to_string());
                }
                self.tell(Progress::Redone { product, why: why.to_string() });
                return Err(why);
            }
            let (rows, inner, cols) = self.plan.block();
            self.done.lock().push(Done {
                product,
                peer: card.name.to_string(),
                seconds: began.elapsed().as_secs_f64(),
                bytes_out: 8 * (rows * inner + inner * cols) as u64,
                bytes_in: 8 * (rows * cols) as u64,
                attempts: attempt.finish(),
            });
            self.tell(Progress::Checked { by: card.clone() });
        }
        Ok(())
    }

    /// The next product for a slot; waits while others may still fail. None is begun after the lease.
    fn next(&self, lease: &Lease, card: &PeerCard) -> Option<Attempt<'_, 'm>> {
        let mut tasks = self.tasks.lock();
        while lease.serves(card.peer) {
            match tasks.take() {
                Next::Product(product) => {
                    self.stages.begun(product, card.peer);
                    return Some(Attempt { job: self, product, finished: false });
                }
                Next::Wait => self.changed.wait(&mut tasks),
                Next::Done => return None,
            }
        }
        None
    }

    /// Sends the operands of a product, and takes its answer in: rows that are right are a part of C at once.
    fn compute(&self, lease: &Lease, connection: &mut Connection, product: usize) -> Result<()> {
        let (rows, inner, cols) = self.plan.block();
        let (left, right) = (self.plan.left(product, self.a), self.plan.right(product, self.b));
        let payload = 8 * (rows * inner + inner * cols) as u64;
        let request = ToPeer::Multiply {
            lease: lease.number(),
            product: product as u32,
            rows: rows as u32,
            inner: inner as u32,
            cols: cols as u32,
            payload,
        };
        let mut probe = self.witness.probe(product);
        connection.send_with_payload(&request, |out| {
            stream(&left, out, |rows| probe.left(rows))?;
            stream(&right, out, |_| ())
        })?;
        self.tell(Progress::Sent);
        self.stages.reached(product, ProductStage::Computing);
        let work = 2.0 * rows as f64 * inner as f64 * cols as f64;
        let deadline = limits::MESSAGE_TIME * 3 + Duration::from_secs_f64(work / SLOWEST_PEER);
        let expected = (product as u32, rows as u32, cols as u32, 8 * (rows * cols) as u64);
        match connection.answer(deadline)? {
            FromPeer::Product { product, rows, cols, payload }
                if (product, rows, cols, payload) == expected => {}
            FromPeer::Product { .. } => {
                return Err(Error::new(Kind::Check, "an answer to another question"));
            }
            other => return Err(no_answer(&other, "multiply")),
        }
        self.tell(Progress::Computed);
        let mut answer = connection.payload();
        in_portions(rows, cols, |first, portion| {
            answer.receive_part(bytemuck::cast_slice_mut(portion))?;
            if let Verdict::Wrong { row } = probe.check(portion) {
                return Err(Error::new(Kind::Check, format!("product {product} is wrong in row {row}")));
            }
            self.assembly.add(product, first, portion);
            Ok(())
        })
    }
}

/// A product that a slot has begun. Unless it is finished it goes back to the others, also when the
/// slot's thread panics: they wait for it.
struct Attempt<'j, 'm> {
    job: &'j Job<'m>,
    product: usize,
    finished: bool,
}

impl Attempt<'_, '_> {
    /// The answer is right and part of C; says how many attempts it took.
    fn finish(mut self) -> u32 {
        self.finished = true;
        self.job.tasks.lock().attempts(self.product)
    }
}

impl Drop for Attempt<'_, '_> {
    fn drop(&mut self) {
        let stage = if self.finished { ProductStage::Checked } else { ProductStage::Waiting };
        self.job.stages.reached(self.product, stage);
        let mut tasks = self.job.tasks.lock();
        if self.finished {
            tasks.finished()
        } else {
            tasks.failed(self.product)
        }
        self.job.changed.notify_all();
    }
}

/// Writes an operand in row order, and shows its rows to `look` on the way.
fn stream(operand: &Operand<'_>, out: &mut dyn Write, mut look: impl FnMut(&[f64])) -> io::Result<()> {
    in_portions(operand.rows(), operand.cols(), |first, portion| {
        operand.fill_rows(first, portion);
        look(portion);
        out.write_all(bytemuck::cast_slice(portion))
    })
}

/// Goes through a matrix of this shape in portions of whole rows, each in the same small buffer: `each` is
/// given the number of the portion's first row, and the buffer.
fn in_portions<E>(
    rows: usize,
    cols: usize,
    mut each: impl FnMut(usize, &mut [f64]) -> Result<(), E>,
) -> Result<(), E> {
    if rows == 0 || cols == 0 {
        return Ok(());
    }
    let at_once = (PORTION / cols).clamp(1, rows);
    let mut buffer = vec![0.0; at_once * cols];
    (0..rows)
        .step_by(at_once)
        .try_for_each(|first| each(first, &mut buffer[..at_once.min(rows - first) * cols]))
}
