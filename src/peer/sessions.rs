//! What other peers may ask of this one: the first message says which conversation it is.

use super::http::Mirror;
use super::serve::serve_products;
use super::swarm::upload::serve_join;
use super::wings::Wings;
use crate::error::{Code, Error, Result};
use crate::net::connection::Connection;
use crate::net::http::first_message;
use crate::net::message::{NOBODY, ToPeer, unexpected};

/// Serves one connection, from another peer or from a browser.
///
/// # Errors
/// What the other side is to be told before its connection is closed.
pub(super) fn serve_peer(wings: &Wings, connection: &mut Connection) -> Result<()> {
    let Wings { network, serving, library, uploads, .. } = wings;
    let (mirror, other, speaker) = (Mirror { library, uploads }, connection.other(), connection.writer());
    let Some(first) = first_message(connection, |request| mirror.answer(request, other, speaker))? else {
        return Ok(());
    };
    match first {
        ToPeer::Multiply { .. } => serve_products(serving, connection, first),
        ToPeer::Get {} => connection.send_all(library.list()),
        ToPeer::Join { peer, file, id, pass } => {
            if peer != NOBODY && !pass.is_some_and(|pass| network.is_pass(&pass, peer, id)) {
                return Err(Error::new(
                    Code::Unauthorised,
                    format!("nothing shows that you are the peer {peer}"),
                )
                .advise("send the pass that the manager tells with the holders, or leave the number out"));
            }
            connection.is_of(peer);
            serve_join(library, uploads, connection, peer, &file, id)
        }
        other => Err(unexpected(&other, "multiply, get or join")),
    }
}
