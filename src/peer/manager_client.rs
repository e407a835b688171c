//! Asking the manager: a method for each question.
//!
//! One connection serves any number of questions, one after another. It is opened when it is needed, and once more when
//! it broke meanwhile: a manager closes one that rests for a minute.

use std::error::Error as _;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};
use log::debug;

use super::config::Config;
use crate::cli::tell;
use crate::clock::Millis;
use crate::error::{Code, Error, Result};
use crate::net::connection::Connection;
use crate::net::key::Key;
use crate::net::limits;
use crate::net::message::{Credentials, FileState, FromManager, Holder, PeerId, State, ToManager, no_answer};
use crate::share::{FileId, FileName, Manifest};
use crate::thread::{self, Thread};

/// For how long a command tries again where nobody listens: a manager that is restarted is back within a second. Less
/// than [`QUIET`], so that a person for whom nobody answers is told so once.
const RESTART: Duration = Duration::from_millis(1500);

/// The pause before it tries again.
const RESTART_CHECK: Duration = Duration::from_millis(50);

/// A connection to the manager at this address. Where nobody listens there, it may be about to start again: one that
/// `tries_again` waits for that.
///
/// # Errors
/// When nobody listens there.
pub(crate) fn reach_manager(addr: SocketAddr, secret: Option<&Key>, tries_again: bool) -> Result<Connection> {
    let end = Instant::now() + RESTART;
    loop {
        match Connection::connect(addr, limits::MANAGER_LINE, secret) {
            Err(no) if is_refused(&no) && tries_again && Instant::now() < end => {
                debug!("nobody listens at {addr}: trying again");
                std::thread::sleep(RESTART_CHECK);
            }
            reached => {
                return reached
                    .map_err(|e| e.advise("start `manager` there, or give its address with --manager"));
            }
        }
    }
}

/// Whether the system there says that nobody listens.
fn is_refused(no: &Error) -> bool {
    let cause = no.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == ErrorKind::ConnectionRefused)
}

/// What the manager answers to a query.
pub struct Listing {
    /// The file.
    pub(crate) manifest: Manifest,
    /// Who has it.
    pub(crate) holders: Vec<Holder>,
    /// Who asked: to whom the holders' passes belong.
    pub(crate) requester: PeerId,
}

/// A way to ask the manager.
pub struct ManagerClient {
    addr: SocketAddr,
    secret: Option<Key>,
    connection: Option<Connection>,
    /// Whether a person waits for the answer.
    says_wait: bool,
}

/// After how long a person is told what is waited for.
const QUIET: Duration = Duration::from_secs(2);

/// Does what a person waits for, and says on stderr that it is the manager that takes long, if it does.
pub(crate) fn say_wait<T>(manager: SocketAddr, ask: impl FnOnce() -> T) -> T {
    let (answered, is_answered) = bounded::<()>(0);
    let say = move || {
        if is_answered.recv_timeout(QUIET) == Err(RecvTimeoutError::Timeout) {
            tell(format_args!("waiting for the manager at {manager}"));
        }
    };
    let said = thread::start("say_wait", say).map(Thread::detach);
    said.unwrap_or_else(|e| debug!("nobody is told what is waited for: {e}"));
    let answer = ask();
    drop(answered);
    answer
}

impl ManagerClient {
    /// To the manager of a peer that is to behave so; connects when it is asked something.
    pub(crate) fn new(config: &Config) -> Self {
        let secret = config.admission.secret.clone();
        Self { addr: config.manager, secret, connection: None, says_wait: false }
    }

    /// For a person, who is told when the manager takes long.
    pub(crate) fn for_person(config: &Config) -> Self {
        Self { says_wait: true, ..Self::new(config) }
    }

    /// Who else has a file, and what its bytes are.
    ///
    /// # Errors
    /// `not_found` when nobody else offers it.
    pub(crate) fn query(&mut self, who: &Credentials, file: &FileName) -> Result<Listing> {
        self.query_within(limits::MESSAGE_TIME, who, file, true)
    }

    /// The same, from a peer that has lost the file: it is listed for it no more.
    ///
    /// # Errors
    /// As [`ManagerClient::query`].
    pub(super) fn lost(&mut self, who: &Credentials, file: &FileName) -> Result<Listing> {
        self.query_within(limits::MESSAGE_TIME, who, file, false)
    }

    /// As both, for one that can do without an answer after so long.
    ///
    /// # Errors
    /// As [`ManagerClient::query`].
    pub(super) fn query_within(
        &mut self,
        wait: Duration,
        who: &Credentials,
        file: &FileName,
        has: bool,
    ) -> Result<Listing> {
        let query = ToManager::Query { who: who.clone(), file: file.clone(), has };
        self.ask(|connection| match connection.ask(&query, wait)? {
            FromManager::Holders { found, payload } if found.file == *file => {
                let hashes = connection.receive_hashes(payload)?;
                let manifest = Manifest::from_wire(found.file, found.size, found.piece_size, &hashes)?;
                Ok(Listing { manifest, holders: found.holders, requester: who.peer })
            }
            other => Err(no_answer(&other, "query")),
        })
    }

    /// This peer has a file, whole or in part; `published` is when a person put it there, if one did.
    ///
    /// # Errors
    /// `conflict` when the name stands for other bytes, `expired` when these were dropped, `busy` when there is no
    /// room.
    pub(crate) fn update(
        &mut self,
        who: &Credentials,
        manifest: &Manifest,
        whole: bool,
        published: Option<Millis>,
    ) -> Result<()> {
        let (layout, hashes) = (manifest.layout(), manifest.hashes());
        let (file, size, piece_size) = (manifest.name(), layout.size(), layout.piece_size().into());
        let payload = hashes.len() as u64;
        self.ask(|connection| {
            let (who, file) = (who.clone(), file.clone());
            let update = ToManager::Update { who, file, size, piece_size, whole, published, payload };
            connection.send_with_payload(&update, |out| out.write_all(hashes))?;
            match connection.answer(limits::MESSAGE_TIME)? {
                FromManager::Updated { .. } => Ok(()),
                other => Err(no_answer(&other, "update")),
            }
        })
    }

    /// Removes a file everywhere; with `id` only if it is these bytes, and with `at` only if nobody has put them there
    /// later than that.
    ///
    /// # Errors
    /// `not_found` when nobody offers it.
    pub(crate) fn drop_file(
        &mut self,
        who: &Credentials,
        file: &FileName,
        id: Option<FileId>,
        at: Option<Millis>,
    ) -> Result<()> {
        self.ask(|connection| {
            let drop = ToManager::Drop { who: who.clone(), file: file.clone(), id, at };
            match connection.ask(&drop, limits::MESSAGE_TIME)? {
                FromManager::Dropped {} => Ok(()),
                other => Err(no_answer(&other, "drop")),
            }
        })
    }

    /// The manager's list of files, with their health if that is asked for.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn files(&mut self, health: bool) -> Result<Vec<FileState>> {
        self.ask(|connection| {
            connection.send(&ToManager::Files { health })?;
            let mut files = Vec::new();
            loop {
                match connection.answer(limits::MESSAGE_TIME)? {
                    FromManager::File(file) => files.push(file),
                    FromManager::End {} => return Ok(files),
                    other => return Err(no_answer(&other, "files")),
                }
            }
        })
    }

    /// Everything the manager knows, as the board shows it.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn state(&mut self) -> Result<State> {
        self.ask(|connection| match connection.ask(&ToManager::State {}, limits::MESSAGE_TIME)? {
            FromManager::State(state) => Ok(*state),
            other => Err(no_answer(&other, "state")),
        })
    }

    /// Asks, on the open connection if there is one; a failure there may only mean that it has rested too long. A
    /// refusal does not end the conversation; a failure, and an answer that is none, do.
    fn ask<T>(&mut self, question: impl Fn(&mut Connection) -> Result<T>) -> Result<T> {
        if self.says_wait {
            return say_wait(self.addr, || self.ask_quietly(question));
        }
        self.ask_quietly(question)
    }

    fn ask_quietly<T>(&mut self, question: impl Fn(&mut Connection) -> Result<T>) -> Result<T> {
        let rested = self.connection.is_some();
        let reach = || reach_manager(self.addr, self.secret.as_ref(), self.says_wait);
        let mut connection = self.connection.take().map_or_else(reach, Ok)?;
        match question(&mut connection) {
            Err(e) if e.code() == Code::Failed && rested => {
                drop(connection);
                self.ask_quietly(question)
            }
            Err(e) if e.code() == Code::BadMessage => {
                Err(e.advise(format!("see whether {} is the address of a manager", self.addr)))
            }
            Err(e) if e.code() == Code::Failed => Err(e),
            answered => {
                self.connection = Some(connection);
                answered
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn what_was_asked_on_a_connection_that_rested_too_long_is_asked_on_a_new_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (closed, is_closed) = bounded(0);
        let manager = thread::spawn(move || {
            for mut stream in listener.incoming().take(3).map(Result::unwrap) {
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                assert!(line.starts_with(r#"{"type":"drop""#), "{line}");
                stream.write_all(b"{\"type\":\"dropped\"}\n").unwrap();
                drop(stream);
                closed.send(()).unwrap();
            }
        });
        let mut client = ManagerClient { addr, secret: None, connection: None, says_wait: true };
        for _ in 0..3 {
            client.drop_file(&Credentials::default(), &"a".parse().unwrap(), None, None).unwrap();
            is_closed.recv().unwrap();
            assert!(client.connection.is_some(), "it does not know yet");
        }
        manager.join().unwrap();
    }
}
