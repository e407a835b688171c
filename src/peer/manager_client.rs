//! Asking the manager who has a file.
//!
//! One connection serves any number of questions, one after another. It is opened when it is needed, and anew
//! when it broke meanwhile: a manager closes one that rests for a minute.

use std::net::SocketAddr;

use crate::error::{Code, Error, Result};
use crate::net::connection::Connection;
use crate::net::limits;
use crate::net::message::{FromManager, Holder, PeerId, State, ToManager};
use crate::share::{FileName, Manifest};

/// A connection to the manager at this address.
///
/// # Errors
/// When nobody listens there.
pub fn reach_manager(addr: SocketAddr) -> Result<Connection> {
    Connection::connect(addr, limits::MANAGER_LINE)
        .map_err(|e| e.advise("start `manager` there, or give its address with --manager"))
}

/// What the tracker answers to a query.
#[derive(Debug)]
pub struct Found {
    /// The file.
    pub manifest: Manifest,
    /// Who has it.
    pub holders: Vec<Holder>,
}

/// A way to the manager.
#[derive(Debug)]
pub struct ManagerClient {
    manager: SocketAddr,
    connection: Option<Connection>,
}

impl ManagerClient {
    /// To the manager at this address; connects when it is asked something.
    pub fn new(manager: SocketAddr) -> Self {
        Self { manager, connection: None }
    }

    /// Who has a file, and what its bytes are. A whole holder that asks under its own number has lost it.
    ///
    /// # Errors
    /// `not_found` when nobody offers it.
    pub fn query(&mut self, peer: PeerId, file: &FileName) -> Result<Found> {
        self.ask(|connection| query(connection, peer, file))
    }

    /// Removes a file everywhere.
    ///
    /// # Errors
    /// `not_found` when nobody offers it.
    pub fn drop(&mut self, file: &FileName) -> Result<()> {
        self.ask(|connection| {
            connection.send(&ToManager::Drop { file: file.clone(), id: None, at: None })?;
            match connection.expect(limits::MESSAGE_TIME)? {
                FromManager::Dropped {} => Ok(()),
                FromManager::Error(no) => Err(no.into()),
                other => Err(Error::new(Code::BadMessage, format!("not an answer to `drop`: {other:?}"))),
            }
        })
    }

    /// Everything the manager knows, as the board shows it.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn state(&mut self) -> Result<State> {
        let mut connection = reach_manager(self.manager)?;
        connection.send(&ToManager::State {})?;
        match connection.expect(limits::MESSAGE_TIME)? {
            FromManager::State(state) => Ok(*state),
            FromManager::Error(no) => Err(no.into()),
            other => Err(Error::new(Code::BadMessage, format!("not an answer to `state`: {other:?}"))),
        }
    }

    /// Asks, on the open connection if there is one; a failure there may only mean that it has rested too long.
    fn ask<T>(&mut self, question: impl Fn(&mut Connection) -> Result<T>) -> Result<T> {
        if let Some(mut connection) = self.connection.take() {
            match question(&mut connection) {
                Err(e) if e.code() == Code::Failed => {}
                answered => {
                    self.keep(connection, &answered);
                    return answered;
                }
            }
        }
        let mut connection = reach_manager(self.manager)?;
        let answered = question(&mut connection);
        self.keep(connection, &answered);
        answered
    }

    /// A refusal does not end the conversation; a failure, and an answer that is none, do.
    fn keep<T>(&mut self, connection: Connection, answered: &Result<T>) {
        let broken = |e: &Error| matches!(e.code(), Code::Failed | Code::BadMessage);
        self.connection = answered.as_ref().err().is_none_or(|e| !broken(e)).then_some(connection);
    }
}

fn query(connection: &mut Connection, peer: PeerId, file: &FileName) -> Result<Found> {
    connection.send(&ToManager::Query { peer, file: file.clone() })?;
    match connection.expect(limits::MESSAGE_TIME)? {
        FromManager::Holders { file: told, size, piece_size, holders, payload, .. } if told == *file => {
            if payload > limits::HASHES {
                return Err(Error::new(Code::BadMessage, "too many hashes from the manager"));
            }
            let mut hashes = vec![0; payload as usize];
            connection.receive_payload(&mut hashes)?;
            Ok(Found { manifest: Manifest::from_wire(told, size, piece_size, &hashes)?, holders })
        }
        FromManager::Error(no) => Err(no.into()),
        other => Err(Error::new(Code::BadMessage, format!("not an answer to `query`: {other:?}"))),
    }
}
