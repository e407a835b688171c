//! How a manager finds out whether a peer computes: it asks for a small product itself, and checks it.
//!
//! When a peer has joined, or its slots are needed, this shows that the address is its own and that somebody computes
//! there. When it was blamed, this decides: what a holder says is a reason to look, and no more.

use std::time::Duration;

use rand::RngExt;

use crate::error::{Code, Error, Result};
use crate::manager::desk::Desk;
use crate::manager::state::roster::Exam;
use crate::net::connection::Connection;
use crate::net::limits::{self, Pace};
use crate::net::message::{FromPeer, ToPeer, no_answer};
use crate::thread;

/// How long a peer that is to be examined may take for a product that takes it no time.
const EXAM_TIME: Duration = Duration::from_secs(5);

/// The longest side of its operands.
const SIDE: usize = 8;

/// Examines each peer that is to be, in a thread of its own: one that does not answer delays no other.
pub(crate) fn exam_loop(desk: &Desk) {
    std::thread::scope(|scope| {
        while let Some(exam) = desk.next_exam() {
            let there = exam.clone();
            // Where there is no thread, one after another.
            if thread::start_scoped(scope, "examine", move || hold_exam(desk, &there)).is_err() {
                hold_exam(desk, &exam);
            }
        }
    });
}

fn hold_exam(desk: &Desk, exam: &Exam) {
    let passed = Connection::connect(exam.addr, limits::LINE, desk.secret.as_ref())
        .and_then(|mut connection| examine(&mut connection, exam, EXAM_TIME));
    desk.change(|table, now| table.examined(exam, passed, now));
}

/// Asks for the product of two small random matrices of whole numbers, and waits so long for it.
///
/// # Errors
/// A failed check when it is wrong; others when there is none.
pub(super) fn examine(connection: &mut Connection, exam: &Exam, wait: Duration) -> Result<()> {
    let mut rng = rand::rng();
    let [rows, inner, cols] = std::array::from_fn(|_| rng.random_range(1..=SIDE));
    let mut operand = |len| -> Vec<f64> { (0..len).map(|_| rng.random_range(-9..=9_i8).into()).collect() };
    let (a, b, mut c) = (operand(rows * inner), operand(inner * cols), vec![0.0; rows * cols]);
    let (lease, key, payload) = (exam.lease, exam.key.clone(), 8 * (a.len() + b.len()) as u64);
    let shape = [rows, inner, cols].map(|side| side as u32);
    let multiply =
        ToPeer::Multiply { lease, key, product: 0, rows: shape[0], inner: shape[1], cols: shape[2], payload };
    connection.send_with_payload(&multiply, |out| {
        out.write_all(bytemuck::cast_slice(&a))?;
        out.write_all(bytemuck::cast_slice(&b))
    })?;
    let (answer, payload) = (connection.answer::<FromPeer>(wait)?, 8 * c.len() as u64);
    if answer != (FromPeer::Product { product: 0, rows: shape[0], cols: shape[2], payload }) {
        return Err(no_answer(&answer, "multiply"));
    }
    connection.payload_pace(Pace { start: wait, rate: limits::PAYLOAD_RATE, stall: wait });
    connection.receive_payload(bytemuck::cast_slice_mut(&mut c))?;
    let entry =
        |at: usize| (0..inner).map(|i| a[at / cols * inner + i] * b[i * cols + at % cols]).sum::<f64>();
    match (0..c.len()).find(|&at| c[at] != entry(at)) {
        Some(at) => Err(Error::new(Code::Check, format!("row {} of its product is wrong", at / cols + 1))),
        None => Ok(()),
    }
}
