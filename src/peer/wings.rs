//! The wings of one peer, as its threads share them.

use std::sync::Arc;

use super::library::Library;
use super::network::Network;
use super::replication::orders::Replication;
use super::serve::Serving;
use super::swarm::upload::Uploads;

/// The wings of one peer.
#[derive(Debug)]
pub(super) struct Wings {
    pub(super) network: Arc<Network>,
    pub(super) serving: Serving,
    pub(super) library: Arc<Library>,
    pub(super) uploads: Arc<Uploads>,
    /// Not at a peer that came for one command.
    pub(super) replication: Option<Arc<Replication>>,
}
