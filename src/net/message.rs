//! Every message of the protocol, and why it exists. Whoever has read this file knows the wire.
//!
//! There is one enum for each direction: [`ToManager`], [`FromManager`], [`ToPeer`], [`FromPeer`]. Each
//! variant is one `type` of message, its fields the members of the JSON object. A field that is not
//! listed here is an error and not ignored: a misspelt `slotz` must not silently mean "the default".
//!
//! Numbers of peers and leases start from the manager's start time in microseconds and only grow, across
//! restarts too, so that a number never means two things. They stay below 2^53, the largest whole number
//! up to which every JSON reader agrees.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::fingerprint::Fingerprint;
use super::limits;
use crate::clock::Millis;
use crate::error::{Code, Error, Kind};
use crate::share::{FileId, FileName};

/// The version of this protocol; a `register` with another is refused.
pub const VERSION: u32 = 1;

/// A peer's number, given by the manager when it joins.
pub type PeerId = u64;

/// A lease's number, given by the manager when it is asked for.
pub type LeaseId = u64;

/// A peer's name: 1 to 64 bytes, no separators, no control characters, no dot in front, so that it can
/// stand in a message, on a screen and in the name of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl TryFrom<String> for Name {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        let plain = |c: char| !c.is_control() && !matches!(c, '/' | '\\');
        if (1..=limits::NAME).contains(&name.len()) && !name.starts_with('.') && name.chars().all(plain) {
            return Ok(Self(name));
        }
        Err(Error::new(Code::BadMessage, format!("{name:.80?} cannot be a peer's name")).advise(format!(
            "a name has 1 to {} bytes, no slash, no control character and no dot in front",
            limits::NAME
        )))
    }
}

impl std::str::FromStr for Name {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::try_from(name.to_owned())
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// How many peers are to have each file: the manager's policy. Written `all`, or a number; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Replicas {
    /// Every peer that keeps replicas.
    #[default]
    All,
    /// So many of them, or all where they are fewer.
    Some(usize),
}

impl std::str::FromStr for Replicas {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "all" => Ok(Self::All),
            _ => text.parse().map(Self::Some).map_err(|_| {
                Error::new(Kind::Usage, format!("{text:.40?} is no number of replicas"))
                    .advise("write all, or a number; 0 keeps none")
            }),
        }
    }
}

impl TryFrom<String> for Replicas {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Replicas> for String {
    fn from(replicas: Replicas) -> Self {
        replicas.to_string()
    }
}

impl fmt::Display for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.pad("all"),
            Self::Some(number) => number.fmt(f),
        }
    }
}

/// A peer as others see it. In `peers`, `slots` is what it offers; in `leased`, what was leased there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerCard {
    /// The peer's number.
    pub peer: PeerId,
    /// Its name.
    pub name: Name,
    /// Where it listens.
    pub addr: SocketAddr,
    /// How many slots.
    pub slots: u32,
}

/// A lease that a peer still serves although it lost the connection over which it was bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bound {
    /// The lease.
    pub lease: LeaseId,
    /// How many of the peer's slots it takes.
    pub slots: u32,
}

/// What is said to a manager.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ToManager {
    /// "I am here": opens the conversation in which a peer stays known. Answered by `registered`.
    Register {
        /// [`VERSION`] of the speaker.
        version: u32,
        /// What the peer calls itself.
        name: Name,
        /// Where it listens; the manager connects back to see that others can.
        addr: SocketAddr,
        /// How many products it serves at once.
        slots: u32,
        /// Whether it takes part in replication.
        #[serde(default = "yes")]
        keeps: bool,
        /// Leases it is still serving, so that a restarted manager counts them.
        #[serde(default)]
        bound: Vec<Bound>,
        /// What it sends to others at most, in bytes per second; without it there is no cap.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        up: Option<u64>,
        /// What it takes from others at most, in bytes per second; without it there is no cap.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        down: Option<u64>,
    },
    /// "I am still here": the answer to `ping`, and to `wait`.
    Ok {
        /// The [`fingerprint`](super::fingerprint) of the files that the peer believes it is listed for.
        /// Where the manager's list is another, it asks for the peer's files again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        list: Option<Fingerprint>,
        /// What the peer is fetching now, for the board; the first [`limits::DOWNLOADS`] of it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        downloads: Vec<Download>,
    },
    /// The last product under an unbound lease is done: its slots are free again.
    Unbound {
        /// The lease that is over here.
        lease: LeaseId,
    },
    /// "I leave": the orderly end of a registration.
    Quit {},
    /// "I need slots": opens the conversation of a holder. Answered by `wait` or `leased`.
    Lease {
        /// The asker's own number, whose slots it does not want; 0 for one that is not registered.
        peer: PeerId,
        /// How many slots, all or none.
        slots: u32,
    },
    /// "I need my lease longer." Answered by `leased`, or by `expired` when it is too late.
    Renew {},
    /// "I am done with my lease." Answered by `released`.
    Release {},
    /// "This peer of my lease answered wrongly." Not answered; twice blamed is quarantined.
    Blame {
        /// The peer that is blamed.
        peer: PeerId,
        /// What it did, in words.
        reason: String,
    },
    /// "This is how far my multiply is", from the holder of a lease, for the board. Not answered.
    Progress(Progress),
    /// "Who has this file?" (C1). Answered by `holders`, or by `not_found`. From a peer that is listed as
    /// a whole holder it means that it has lost the file (C3), and takes it off the list.
    Query {
        /// The asker's own number; 0 for one that is not registered.
        peer: PeerId,
        /// The file.
        file: FileName,
    },
    /// "I have this file, too" (C1), whole or in part. The payload is the SHA-256 of each piece. Answered by
    /// `updated`, by `conflict` when the name stands for other bytes, or by `expired` when these bytes were
    /// dropped.
    Update {
        /// The holder's own number.
        peer: PeerId,
        /// What the file is called.
        file: FileName,
        /// Its size in bytes.
        size: u64,
        /// The size of its pieces in bytes.
        piece_size: u64,
        /// Whether the holder has all of it.
        whole: bool,
        /// When a person put the file into the holder's folder, in milliseconds since 1970. Not given for what
        /// the holder fetched itself. Only with it, and later than the drop, is a dropped file accepted again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        published: Option<Millis>,
        /// Bytes that follow: 32 for each piece.
        payload: u64,
    },
    /// "Which files are there?" Answered by a `file` for each, and `end`.
    Files {
        /// Whether each is to be told with its [`Health`].
        #[serde(default, skip_serializing_if = "is_false")]
        health: bool,
    },
    /// "Remove this file everywhere." Answered by `dropped`, or by `not_found`. With `id` and `at` it is a peer
    /// that tells a manager, which may have been restarted, of a drop that it remembers.
    Drop {
        /// The file.
        file: FileName,
        /// Which bytes were dropped; without it those that the name stands for now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<FileId>,
        /// When that was, in milliseconds since 1970; without it now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Millis>,
    },
    /// "Show me what you know." Answered by `state`.
    State {},
}

/// What a manager says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum FromManager {
    /// "You are known as this number."
    Registered {
        /// The peer's own number.
        peer: PeerId,
    },
    /// Everybody who is here; sent at every change, whole, so that nobody needs to keep count.
    Peers {
        /// The whole list.
        peers: Vec<PeerCard>,
    },
    /// "Are you there?" Answered by `ok`.
    Ping {},
    /// "Serve this lease from now on", or, when it was renewed, for longer.
    Bind {
        /// The lease.
        lease: LeaseId,
        /// How many of the peer's slots it may use at once.
        slots: u32,
        /// For how long from now, in milliseconds.
        for_ms: u64,
    },
    /// "Begin nothing more for this lease." Answered by `unbound`, once the running products are done.
    Unbind {
        /// The lease that ended.
        lease: LeaseId,
    },
    /// "Not yet": sent at once and every second to whoever waits for slots. Answered by `ok`, by which
    /// the manager sees that he is still there.
    Wait {
        /// The place in the queue; 1 is the head.
        position: usize,
        /// How many slots he asked for.
        asked: u32,
        /// How many he could have now.
        free: u32,
        /// Why that is not enough, and what would end it.
        reason: String,
    },
    /// "These slots are yours."
    Leased {
        /// The lease, to be named in every product.
        lease: LeaseId,
        /// For how long from now, in milliseconds.
        for_ms: u64,
        /// Where the slots are; `slots` counts those of this lease.
        slots: Vec<PeerCard>,
    },
    /// "Your slots are given back."
    Released {},
    /// "A peer of your lease is gone."
    Lost {
        /// The lease, which goes on without it.
        lease: LeaseId,
        /// The peer that is gone.
        peer: PeerId,
    },
    /// "Your time is up."
    Expired {
        /// The lease that ended.
        lease: LeaseId,
    },
    /// "Fetch this file": a copy is missing. The peer queries for it and downloads it into its folder.
    Fetch {
        /// The file.
        file: FileName,
    },
    /// "These bytes were dropped": the peer puts them into its trash, ends what it fetches of them, and
    /// remembers it. The two last fields are always given by this manager.
    Drop {
        /// What the file was called.
        file: FileName,
        /// Which bytes were dropped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<FileId>,
        /// When, in milliseconds since 1970.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Millis>,
    },
    /// "Tell me your files again": what the manager lists for a peer is not what the peer believes.
    List {},
    /// Who has the file that was asked for. The payload is the SHA-256 of each piece.
    Holders {
        /// What the file is called.
        file: FileName,
        /// Which bytes that are.
        id: FileId,
        /// Its size in bytes.
        size: u64,
        /// The size of its pieces in bytes.
        piece_size: u64,
        /// Who has it, the asker left out.
        holders: Vec<Holder>,
        /// Bytes that follow: 32 for each piece.
        payload: u64,
    },
    /// "You are listed."
    Updated {
        /// Which bytes the name stands for.
        id: FileId,
    },
    /// "It is dropped, and everybody is told."
    Dropped {},
    /// One file of the catalogue.
    File(FileState),
    /// There are no more files.
    End {},
    /// Everything the manager knows.
    State(Box<State>),
    /// "No", with the reason.
    Error(Refusal),
}

/// What is said to a peer by another peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ToPeer {
    /// "Multiply these": the payload is the left operand, then the right one, in row order, as
    /// little-endian f64. Answered by `product`; any number, one after another.
    Multiply {
        /// The lease under which the slot was got.
        lease: LeaseId,
        /// The asker's own number for this product, returned with the answer.
        product: u32,
        /// Rows of the left operand and of the answer.
        rows: u32,
        /// Columns of the left operand, rows of the right one.
        inner: u32,
        /// Columns of the right operand and of the answer.
        cols: u32,
        /// Bytes that follow: 8 (rows inner + inner cols).
        payload: u64,
    },
    /// "Which files do you offer?" (E6). Answered by a `file` for each, and `end`.
    Get {},
    /// "I want pieces of this file": opens a conversation about it. Answered by `bitfield`.
    Join {
        /// The asker's own number; 0 for one that is not registered.
        peer: PeerId,
        /// The file.
        file: FileName,
        /// Which bytes are meant.
        id: FileId,
    },
    /// "You have pieces that I lack", or no longer. Only who is interested is unchoked.
    Interested {
        /// Whether it is so.
        on: bool,
    },
    /// "Send me this piece." Answered by `piece`, unless a `choke` comes first.
    Request {
        /// Its number, counted from 0.
        piece: u32,
    },
}

/// What a peer answers to another peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum FromPeer {
    /// The answer: the payload is the product in row order, as little-endian f64.
    Product {
        /// The number it was asked under.
        product: u32,
        /// Its rows.
        rows: u32,
        /// Its columns.
        cols: u32,
        /// Bytes that follow: 8 rows cols.
        payload: u64,
    },
    /// One file that the peer offers.
    File {
        /// What it is called.
        file: FileName,
        /// Which bytes that are.
        id: FileId,
        /// Its size in bytes.
        size: u64,
        /// Whether all of it is there.
        whole: bool,
    },
    /// There are no more files.
    End {},
    /// The pieces that are there, one bit each, the first piece in the highest bit of the first byte.
    Bitfield {
        /// Bytes that follow: an eighth of the number of pieces, rounded up.
        payload: u64,
    },
    /// "This piece is there now, too."
    Have {
        /// Its number, counted from 0.
        piece: u32,
    },
    /// "I send you nothing now"; voids every request that is not answered yet.
    Choke {},
    /// "You may ask for pieces."
    Unchoke {},
    /// The piece that was asked for: its bytes follow.
    Piece {
        /// Its number.
        piece: u32,
        /// Bytes that follow: the length of the piece.
        payload: u64,
    },
    /// "No", with the reason.
    Error(Refusal),
}

/// An error on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people: what failed and what to do next.
    pub text: String,
    /// With `infeasible`: how many slots could be leased at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leasable: Option<u32>,
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        Self { code: error.code(), text: plain(&error.to_string()), leasable: error.leasable() }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let error = Error::new(refusal.code, plain(&refusal.text));
        match refusal.leasable {
            Some(leasable) => error.with_leasable(leasable),
            None => error,
        }
    }
}

/// What others wrote, so that it can be shown: cut, and without characters that command a terminal.
pub fn plain(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(limits::ERROR_TEXT)];
    text.replace(char::is_control, "\u{fffd}")
}

/// Everything a manager knows, as one answer. Times are in milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The manager itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<ManagerState>,
    /// Who is here.
    pub peers: Vec<PeerState>,
    /// Who waits for slots, head first.
    pub queue: Vec<WaiterState>,
    /// Who holds slots.
    pub leases: Vec<LeaseState>,
    /// The last multiplies that were finished, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub done: Vec<DoneState>,
    /// Which files there are, in order of their names, as many as fit into a message.
    #[serde(default)]
    pub files: Vec<FileState>,
    /// How many more there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub files_left_out: usize,
    /// How many peers there are beyond those that fit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub peers_left_out: usize,
    /// How many wait beyond those that fit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub queue_left_out: usize,
    /// How many leases there are beyond those that fit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub leases_left_out: usize,
    /// The last changes in plain words, oldest first.
    pub events: Vec<Event>,
}

/// The manager itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagerState {
    /// Since when it runs.
    pub since: Millis,
    /// How long a lease lasts, in milliseconds.
    pub quantum_ms: u64,
    /// How many peers are to have each file.
    pub replicas: Replicas,
    /// What its clock shows now, by which all other times here are told.
    pub now: Millis,
}

/// A peer in the manager's table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerState {
    /// Its number.
    pub peer: PeerId,
    /// Its name.
    pub name: Name,
    /// Where it listens.
    pub addr: SocketAddr,
    /// How many products it serves at once.
    pub slots: u32,
    /// How many of its slots are leased, or still busy with the last product of a lease that ended.
    pub used: u32,
    /// Since when it is here.
    pub since: u64,
    /// Whether it can be leased; if not, `reason` says why.
    pub leasable: bool,
    /// Why it cannot be leased, empty when it can.
    pub reason: String,
    /// Whether it takes part in replication.
    #[serde(default = "yes")]
    pub keeps: bool,
    /// What it sends to others at most, in bytes per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up: Option<u64>,
    /// What it takes from others at most, in bytes per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<u64>,
    /// What it is fetching now, as its last `ok` said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub downloads: Vec<Download>,
}

/// A file that a peer is fetching.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Download {
    /// The file.
    pub file: FileName,
    /// How many of its pieces are there and verified.
    pub have: u32,
    /// How many it has.
    pub pieces: u32,
    /// How long ago it began, in milliseconds.
    pub since_ms_ago: u64,
    /// What comes in now, in bytes per second.
    pub bytes_per_s: u64,
    /// From whom pieces come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<PeerId>,
}

/// How far a multiply is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Rows of the left matrix.
    pub rows: u64,
    /// Columns of the left matrix, rows of the right one.
    pub inner: u64,
    /// Columns of the right matrix.
    pub cols: u64,
    /// Its products: one of the classical multiply, seven of Strassen's, forty-nine with two levels.
    pub products: Vec<ProductState>,
}

/// One product of a multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductState {
    /// Its number, counted from 0.
    pub product: u32,
    /// Who has it now, or had it last; 0 when it was given to nobody yet.
    pub peer: PeerId,
    /// How far it is.
    pub state: ProductStage,
    /// How often it was given to somebody: more than once when an answer was wrong or never came.
    pub attempts: u32,
}

/// How far a product is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProductStage {
    /// Nobody has it.
    Waiting,
    /// Its operands are on their way.
    Sent,
    /// A peer has them, and computes.
    Computing,
    /// The answer is there and was found right.
    Checked,
}

/// A multiply that was finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoneState {
    /// Its last lease.
    pub lease: LeaseId,
    /// The holder's number, 0 for one that is not registered.
    pub peer: PeerId,
    /// The holder's name, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// When its last lease ended.
    pub at: Millis,
    /// How long it took from its first lease on, in milliseconds.
    pub took_ms: u64,
    /// How it went.
    pub progress: Progress,
}

/// One who waits for slots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaiterState {
    /// The place in the queue; 1 is the head.
    pub position: usize,
    /// The asker's number, 0 for one that is not registered.
    pub peer: PeerId,
    /// The asker's name, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// How many slots he asked for.
    pub asked: u32,
    /// Since when he waits.
    pub since: u64,
    /// For what, and what would end it.
    pub reason: String,
}

/// A running lease.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseState {
    /// Its number.
    pub lease: LeaseId,
    /// The holder's number, 0 for one that is not registered.
    pub peer: PeerId,
    /// The holder's name, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// When it ends unless it is renewed.
    pub until: u64,
    /// Where its slots are.
    pub slots: Vec<PeerCard>,
    /// How far the multiply is for which it is held, if its holder has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// A file in the manager's catalogue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileState {
    /// What it is called.
    pub file: FileName,
    /// Which bytes that are.
    pub id: FileId,
    /// Its size in bytes.
    pub size: u64,
    /// The size of its pieces in bytes.
    pub piece_size: u64,
    /// Who has it, whole or in part.
    pub holders: Vec<Holder>,
    /// Whether enough peers have it, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// Whether enough peers have a file, and if not, what is done about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// In one word.
    pub state: Condition,
    /// In plain words: who has it, who is fetching it, or why nobody does.
    pub reason: String,
}

/// Whether enough peers have a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// As many as the policy asks have all of it.
    Whole,
    /// Fewer have all of it.
    Healing,
    /// Nobody has all of it.
    Missing,
}

/// One who has a file, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// Its number.
    pub peer: PeerId,
    /// Its name.
    pub name: Name,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Whether it has all of it.
    pub whole: bool,
}

/// A change of the network, in plain words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When.
    pub at: u64,
    /// What changed, and why.
    pub text: String,
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn yes() -> bool {
    true
}
