//! What a peer does for the network with its shared folder: it keeps copies.

mod decide;
pub(super) mod folder;
pub mod orders;
mod watch;

#[cfg(test)]
#[path = "../../../tests/sim/peer.rs"]
pub(crate) mod sim;
