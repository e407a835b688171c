//! What other peers may ask of this one: the first message says which conversation it is.

use super::http::Mirror;
use super::serve::serve_products;
use super::swarm::upload::serve_join;
use super::wings::Wings;
use crate::error::Result;
use crate::net::connection::{Connection, Received};
use crate::net::limits;
use crate::net::message::{ToPeer, unexpected};

/// Serves one connection, from another peer or from a browser.
///
/// # Errors
/// What the other side is to be told before its connection is closed.
pub(super) fn serve_peer(wings: &Wings, connection: &mut Connection) -> Result<()> {
    let Wings { serving, library, uploads, .. } = wings;
    if (Mirror { library, uploads }).serve(connection)? {
        return Ok(());
    }
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
