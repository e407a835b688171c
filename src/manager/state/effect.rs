//! What follows from a change of the table, to be carried out by the desk around it, in this order.
//!
//! What is known decides, and says here what it decided; it holds no socket and wakes no thread. So a rule is tested by
//! reading what follows, and a simulated network can carry it out in its own way.

use crate::net::message::{FromManager, LeaseId, PeerId};

/// One thing to be carried out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Where this ticket stands has changed: wake the thread that waits for it, and no other.
    Turn(LeaseId),
    /// Say this to the peer.
    Tell(PeerId, FromManager),
    /// Say this to the program that holds the lease.
    TellHolder(LeaseId, FromManager),
    /// Say this to every peer.
    TellAll(FromManager),
    /// End the conversation with the peer.
    HangUp(PeerId),
}
