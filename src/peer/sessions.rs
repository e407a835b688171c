//! What other peers may ask of this one: the first message says which conversation it is.

use super::library::Library;
use super::serve::{Serving, serve_products};
use super::swarm::upload::{Uploads, serve_join};
use crate::error::Result;
use crate::net::connection::{Connection, Received};
use crate::net::limits;
use crate::net::message::{ToPeer, unexpected};

/// Serves one connection from another peer.
///
/// # Errors
/// What the other side is to be told before its connection is closed.
pub(super) fn serve_peer(
    serving: &Serving,
    library: &Library,
    uploads: &Uploads,
    connection: &mut Connection,
) -> Result<()> {
    let Received::Message(first) = connection.receive(Some(limits::FIRST_MESSAGE_TIME))? else {
        return Ok(());
    };
    match first {
        ToPeer::Multiply { .. } => serve_products(serving, connection, first),
        ToPeer::Get {} => connection.send_all(library.list()),
        ToPeer::Join { peer, file, id } => serve_join(library, uploads, connection, peer, &file, id),
        other => Err(unexpected(&other, "multiply, get or join")),
    }
}
