//! Products for others, under a lease.
//!
//! Two bounds are kept apart. A peer *serves* as many products as it has slots: it takes their operands
//! in and gives their answers out. But it *computes* one at a time, on all its cores, because two products that
//! share a core both take twice as long. So while one product computes, the operands of the next arrive.
//!
//! A product that its lease does not allow does not end the conversation: its payload is read and thrown away, and the
//! next request is heard. What ends it is a line that is no message, a payload that is not the operands, and want of
//! memory for them.

pub(super) mod bindings;
mod buffers;

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::debug;
use parking_lot::{Condvar, Mutex, MutexGuard};

use self::bindings::{Begin, Bindings};
use self::buffers::Buffers;
use super::network::Network;
use crate::clock::Clock;
use crate::error::{Code, Error, Result};
use crate::matrix::View;
use crate::matrix::kernel::abandoned;
use crate::matrix::strassen;
use crate::net::connection::{Connection, Received};
use crate::net::key::Key;
use crate::net::limits;
use crate::net::message::{FromPeer, LeaseId, ToManager, ToPeer, unexpected};

/// How often a product that waits for the cores looks whether its requester is still there.
const GONE_CHECK: Duration = Duration::from_millis(100);

/// Operands of no more bytes than this are multiplied at once, and wait for no larger product.
const SMALL: u64 = 4096;

/// What this peer serves, and the way to tell the manager about it.
pub(super) struct Serving {
    network: Arc<Network>,
    pub(super) clock: Clock,
    pub(super) bindings: Mutex<Bindings>,
    bound: Condvar,
    /// How many there are; locked while a product is computed on them. No lock of a peer is taken under it.
    cores: Mutex<usize>,
    pub(super) buffers: Buffers,
}

impl Serving {
    /// Serves `slots` products at once, and computes them on `cores` cores.
    pub(super) fn new(network: Arc<Network>, slots: u32, cores: usize) -> Self {
        Self {
            network,
            clock: Clock::start(),
            bindings: Mutex::new(Bindings::new(slots)),
            bound: Condvar::new(),
            cores: Mutex::new(cores),
            buffers: Buffers::of_this_machine(),
        }
    }

    /// Another manager knows this peer now.
    pub(super) fn rejoined(&self) {
        self.bindings.lock().rejoined();
        self.bound.notify_all();
    }

    /// The manager said `bind`.
    pub(super) fn bind(&self, lease: LeaseId, slots: u32, for_ms: u64, key: Key) {
        self.bindings.lock().bind(lease, slots, self.clock.now().saturating_add(for_ms), key);
        self.bound.notify_all();
    }

    /// Begins a product, if its lease allows it. A product may overtake its `bind` by a moment. A small one by which
    /// the manager finds out whether this peer computes takes no slot.
    fn begin(&self, lease: LeaseId, key: &Key, payload: u64) -> Result<Option<InService<'_>>> {
        let end = Instant::now() + limits::BIND_LAG;
        let mut bindings = self.bindings.lock();
        let refused = loop {
            // Its token may come only now.
            let is_exam = || payload <= SMALL && self.network.is_exam(lease, key);
            if MutexGuard::unlocked(&mut bindings, is_exam) {
                return Ok(None);
            }
            match bindings.begin(lease, key, self.clock.now()) {
                Begin::Go => return Ok(Some(InService { serving: self, lease })),
                Begin::Unknown if !self.bound.wait_until(&mut bindings, end).timed_out() => {}
                refused => break refused,
            }
        };
        Err(match refused {
            Begin::LeaseBusy => {
                Error::new(Code::Busy, format!("all slots of the lease {lease} here are in use"))
                    .advise("send the next product when one is answered")
            }
            Begin::PeerBusy => Error::new(Code::Busy, "all slots of this peer are in use")
                .advise("send the product to another peer"),
            Begin::WrongKey => {
                Error::new(Code::Unauthorised, format!("nothing shows that the lease {lease} is yours"))
                    .advise("send the key that the manager tells its holder for this peer")
            }
            _ => Error::new(Code::Expired, format!("the lease {lease} does not run here"))
                .advise("ask the manager for a new lease"),
        })
    }

    /// Waits for the cores: a product that is done in half the time is worth more than two that are done together,
    /// because its answer travels while the next one computes, and the last one leaves no core idle.
    fn cores(&self, connection: &Connection) -> Result<MutexGuard<'_, usize>> {
        loop {
            match self.cores.try_lock_for(GONE_CHECK) {
                Some(cores) => return Ok(cores),
                None if connection.is_gone() => return Err(abandoned()),
                None => {}
            }
        }
    }
}

/// A product that counts as being served until this is dropped.
struct InService<'a> {
    serving: &'a Serving,
    lease: LeaseId,
}

impl Drop for InService<'_> {
    fn drop(&mut self) {
        let last = self.serving.bindings.lock().end(self.lease);
        if last {
            // Without a manager nobody waits for it; the next one is told by `register`.
            self.serving.network.tell_manager(&ToManager::Unbound { lease: self.lease });
        }
    }
}

/// What a matrix takes, in 128 bits, where no such product overflows.
fn bytes_of(rows: u32, cols: u32) -> u128 {
    8 * u128::from(rows) * u128::from(cols)
}

/// Refuses a product whose payload is not its operands, or which is too large.
fn check_payload(rows: u32, inner: u32, cols: u32, payload: u64) -> Result<()> {
    let fits = |bytes: u128| bytes <= limits::PRODUCT.into();
    let operands = bytes_of(rows, inner) + bytes_of(inner, cols);
    if operands == payload.into() && fits(operands) && fits(bytes_of(rows, cols)) {
        return Ok(());
    }
    let what =
        format!("{payload} bytes are not the operands of a {rows} x {inner} by {inner} x {cols} product");
    Err(Error::new(Code::BadMessage, what).advise(format!(
        "the payload has 8 (rows inner + inner cols) bytes, and neither it nor the answer more than {}",
        limits::PRODUCT
    )))
}

/// Serves one that wants products, beginning with the first.
pub(super) fn serve_products(serving: &Serving, connection: &mut Connection, first: ToPeer) -> Result<()> {
    let mut message = first;
    loop {
        let ToPeer::Multiply { lease, key, product, rows, inner, cols, payload } = message else {
            return Err(unexpected(&message, "multiply"));
        };
        check_payload(rows, inner, cols, payload)?;
        match serving.begin(lease, &key, payload) {
            Ok(_in_service) => {
                connection.stays(lease);
                serve_product(serving, connection, product, [rows, inner, cols])?;
                connection.may_give_way();
            }
            Err(no) => {
                debug!("refused product {product} of {}: {no}", connection.other());
                connection.refuse(&no);
                connection.discard_payload(payload)?;
            }
        }
        message = match connection.receive(Some(limits::REST_TIME))? {
            Received::Message(message) => message,
            Received::End | Received::Silence => return Ok(()),
        };
    }
}

/// Takes the operands in, computes, gives the answer out.
fn serve_product(
    serving: &Serving,
    connection: &mut Connection,
    product: u32,
    shape: [u32; 3],
) -> Result<()> {
    let [rows, inner, cols] = shape.map(|side| side as usize);
    let payload = 8 * (rows * cols) as u64;
    let header = FromPeer::Product { product, rows: shape[0], cols: shape[2], payload };
    if shape.contains(&0) {
        connection.discard_payload(8 * (rows * inner + inner * cols) as u64)?;
        // A line of 100 bytes may ask for 4 GiB of zeros: they need not be in memory.
        let zeros = |out: &mut dyn Write| io::copy(&mut io::repeat(0).take(payload), out).map(drop);
        return connection.send_with_payload(&header, zeros);
    }
    let mut left = serving.buffers.take(rows * inner)?;
    connection.receive_payload(bytemuck::cast_slice_mut(&mut left.numbers))?;
    let mut right = serving.buffers.take(inner * cols)?;
    connection.receive_payload(bytemuck::cast_slice_mut(&mut right.numbers))?;
    let mut answer = serving.buffers.take_for_answer(rows * cols, rows * inner + inner * cols)?;
    let small = left.numbers.len() + right.numbers.len() + answer.numbers.len() <= SMALL as usize / 8;
    let all_cores = if small { None } else { Some(serving.cores(connection)?) };
    let cores = all_cores.as_ref().map_or(1, |cores| **cores);
    let still_wanted = || !connection.is_gone();
    let (a, b) = (View::new(&left.numbers, rows, inner), View::new(&right.numbers, inner, cols));
    strassen::multiply(a, b, &mut answer.numbers, cores, &still_wanted)?;
    drop((all_cores, left, right));
    connection.send_with_payload(&header, |out| out.write_all(bytemuck::cast_slice(&answer.numbers)))
}
