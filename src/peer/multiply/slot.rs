//! What the thread of one leased slot does: it takes the next product, sends the two operands, and takes the answer in.
//!
//! Operands are sums that are formed while they are sent, and no answer is ever stored: a portion of rows is received,
//! checked by Freivalds, and added to C, then the next.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use super::lease::HeldLease;
use super::products::Attempt;
use super::{Multiplication, Question};
use crate::error::{Code, Error, Result};
use crate::matrix::Operand;
use crate::matrix::freivalds::Verdict;
use crate::net::connection::Connection;
use crate::net::key::Key;
use crate::net::limits;
use crate::net::message::{FromPeer, PeerCard, ToManager, ToPeer, no_answer, plain};

/// The slowest peer that is still worth waiting for, in floating-point operations per second.
const SLOWEST_PEER: f64 = 5e7;

/// The size of the buffer through which operands and answers are streamed, in numbers: 128 KiB, so that what
/// is done with a portion is done in the second cache.
const PORTION: usize = 16 << 10;

impl Multiplication<'_> {
    /// One leased slot: takes products until none is left, the lease is over, or the peer fails. None is begun
    /// after the lease.
    pub(super) fn serve_slot(&self, lease: &HeldLease, card: &PeerCard, secret: Option<&Key>) -> Result<()> {
        let mut connection = Connection::connect(card.addr, limits::LINE, secret)
            .inspect_err(|_| _ = self.avoid(lease, card.peer, false))?;
        lease.watch(card.peer, connection.stream());
        let card = Arc::new(card.clone());
        let give_up = |late: &PeerCard| {
            // All slots that have nothing to do find it at once.
            if self.avoid(lease, late.peer, false) {
                self.note(format!("{} takes too long: others do its products", late.name));
            }
        };
        while let Some(attempt) = self.products.next(&card, || lease.serves(card.peer), give_up) {
            if let Err(why) = self.compute(lease, &card, &mut connection, &attempt) {
                // Then it was this program that closed the connection.
                let given_up = why.code() != Code::Check && self.avoided.lock().contains_key(&card.peer);
                let why = if given_up { Error::failed("it took too long, or failed before") } else { why };
                let at = |why: String| format!("{} at {}: {why}", card.name, card.addr);
                let (told, why) = (at(why.unadvised()), Error::new(why.code(), at(why.to_string())));
                let no_answer =
                    matches!(why.code(), Code::Failed | Code::BadMessage) && !connection.is_gone();
                let lied = why.code() == Code::Check;
                // Also one that closes, or refuses, while the lease runs and the peer is not said to be lost.
                if lied || lease.serves(card.peer) {
                    self.avoid(lease, card.peer, lied);
                }
                if lied || no_answer {
                    lease.line.send(&ToManager::Blame { peer: card.peer, reason: told.clone() });
                }
                if !self.question.is_stopped() {
                    let name = self.question.plan.name(attempt.product);
                    self.note(format!("{name} must be done again: {told}"));
                }
                attempt.failed(plain(&told));
                return Err(why);
            }
            attempt.finish();
        }
        Ok(())
    }

    /// Sends the operands of a product, and takes its answer in: rows that are right are a part of C at once.
    fn compute(
        &self,
        lease: &HeldLease,
        card: &PeerCard,
        connection: &mut Connection,
        attempt: &Attempt<'_>,
    ) -> Result<()> {
        let (product, Question { a, b, plan, .. }) = (attempt.product, self.question);
        let mut probe = self.witness.probe(product, 1);
        let (left, right) = (plan.left(product, a.view()), plan.right(product, b.view()));
        let (rows, inner, cols) = plan.block();
        let multiply = ToPeer::Multiply {
            lease: lease.number,
            key: card.key.clone().ok_or_else(|| Error::failed("the manager told no key to the slot"))?,
            product: product as u32,
            rows: rows as u32,
            inner: inner as u32,
            cols: cols as u32,
            payload: 8 * (rows * inner + inner * cols) as u64,
        };
        connection.send_with_payload(&multiply, |out| {
            stream(&left, out, |rows| probe.left(rows))?;
            stream(&right, out, |_| ())
        })?;
        attempt.sent();
        self.hear_answer(connection, product)?;
        attempt.computed();
        in_portions(rows, cols, |first, portion| {
            connection.receive_payload(bytemuck::cast_slice_mut(portion))?;
            if let Verdict::Wrong { row } = probe.check(portion) {
                return Err(Error::new(Code::Check, format!("{} is wrong in row {row}", plan.name(product))));
            }
            self.assembly.add(product, first, portion);
            Ok(())
        })
    }

    /// Waits for the line before the answer, the longer the more there is to compute.
    fn hear_answer(&self, connection: &mut Connection, product: usize) -> Result<()> {
        let (rows, inner, cols) = self.question.plan.block();
        let work = 2.0 * rows as f64 * inner as f64 * cols as f64;
        let deadline = limits::MESSAGE_TIME * 3 + Duration::from_secs_f64(work / SLOWEST_PEER);
        let payload = 8 * (rows * cols) as u64;
        let expected =
            FromPeer::Product { product: product as u32, rows: rows as u32, cols: cols as u32, payload };
        match connection.answer(deadline)? {
            answer if answer == expected => Ok(()),
            FromPeer::Product { .. } => Err(Error::new(Code::Check, "an answer to another question")),
            other => Err(no_answer(&other, "multiply")),
        }
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
    let at_once = (PORTION / cols).clamp(1, rows);
    let mut buffer = vec![0.0; at_once * cols];
    (0..rows)
        .step_by(at_once)
        .try_for_each(|first| each(first, &mut buffer[..at_once.min(rows - first) * cols]))
}
