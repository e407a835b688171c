//! The wings of one peer, as its threads share them.

use std::sync::Arc;

use super::library::Library;
use super::network::Network;
use super::replication::orders::Replication;
use super::serve::Serving;
use super::swarm::upload::Uploads;

/// The wings of one peer.
pub(crate) struct Wings {
    pub(crate) network: Arc<Network>,
    pub(super) serving: Serving,
    pub(crate) library: Arc<Library>,
    pub(crate) uploads: Arc<Uploads>,
    /// Not at a peer that came for one command.
    pub(crate) replication: Option<Arc<Replication>>,
}
