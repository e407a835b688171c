//! What the manager shows of everything it knows: the answer to `state`, and so the board.
//!
//! It is one message and not many, so that what is seen together was true together. Some of its parts also travel
//! alone: a [`FileState`] in the answer to `files`, [`Progress`] and [`Download`] from the peers to the manager, which
//! shows them as they came.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::parts::{Holder, LeaseId, Name, PeerCard, PeerId, is_zero, plain, yes};
use crate::clock::Millis;
use crate::error::{Code, Error};
use crate::net::limits;
use crate::share::fingerprint::Fingerprint;
use crate::share::{FileId, FileName, Manifest, as_text};

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

/// How long a manager that has just started bears with what it does not know yet, in milliseconds: its peers reconnect
/// within three seconds. Infeasible requests wait so long, and so do questions about a file that nobody has told of.
pub const GRACE: Millis = 5_000;

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

as_text!(Replicas, |it| match it {
    Replicas::All => "all".to_owned(),
    Replicas::Some(number) => number.to_string(),
});

impl std::str::FromStr for Replicas {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "all" => Ok(Self::All),
            _ => text.parse().map(Self::Some).map_err(|_| {
                Error::new(Code::Usage, format!("{text:.40?} is no number of replicas"))
                    .advise("write all, or a number; 0 keeps none")
            }),
        }
    }
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
    /// What its last `ok` said, without `list`.
    #[serde(flatten)]
    pub said: Activity,
}

/// What a peer says of itself with each `ok`: what others depend on is told to them. What is empty is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activity {
    /// The [`Fingerprint`] of the files that the peer believes it is listed for.
    /// Where the manager's list is another, it asks for the peer's files again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<Fingerprint>,
    /// What the peer is fetching now; [`limits::DOWNLOADS`] of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub downloads: Vec<Download>,
    /// Its folder is not what it was: why, and what to do. Until that is done it offers nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// Which files it cannot get, and why; [`limits::FAILED`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedFile>,
    /// Which peers want pieces from it, those that it serves first; [`limits::UPLOADS`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uploads: Vec<UploadState>,
}

impl Activity {
    /// What somebody else wrote, cut so that it can be kept and shown.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.downloads.truncate(limits::DOWNLOADS);
        self.downloads.iter_mut().for_each(|one| one.from.truncate(limits::UPLOADS));
        let is_long = |one: &&mut Download| one.map.len() > limits::MAP as usize / 4;
        self.downloads.iter_mut().filter(is_long).for_each(|one| one.map.clear());
        self.failed.truncate(limits::FAILED);
        self.failed.iter_mut().for_each(|one| one.why = plain(&one.why));
        self.uploads.truncate(limits::UPLOADS);
        self.paused = self.paused.map(|why| plain(&why));
        self
    }
}

/// A file that a peer cannot get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailedFile {
    /// The file.
    pub file: FileName,
    /// What the peer cannot do, and why: "cannot fetch it: the disk is full".
    pub why: String,
}

/// A peer that wants pieces of a file, as the one that has them sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UploadState {
    /// Its number.
    pub peer: PeerId,
    /// The file.
    pub file: FileName,
    /// Whether it is served, and why.
    pub state: UploadStage,
    /// How long ago that began, in milliseconds.
    pub since_ms_ago: u64,
    /// What is sent to it, in bytes per second.
    pub up: u64,
    /// What comes from it, in bytes per second, whatever the file.
    pub down: u64,
}

/// Whether a peer that wants pieces is served, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UploadStage {
    /// For its rate.
    Regular,
    /// Drawn at random.
    Optimistic,
    /// It has a place, but others go first until it has given as much as it took.
    Owes,
    /// Not now.
    Choked,
}

impl fmt::Display for UploadStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Regular => "served: it is among the first by rate",
            Self::Optimistic => "served: it was drawn at random (the optimist's place)",
            Self::Owes => "waiting behind the others: it owes more than it gave or passed on",
            Self::Choked => "choked: other peers have higher rates",
        })
    }
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
    /// Which parts of it are there: a bit for each of [`limits::MAP`] equal parts, or for each piece where there are
    /// fewer, the first in the highest bit; in hexadecimal digits.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub map: String,
}

/// A requester that waits for slots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaiterState {
    /// The place in the queue; 1 is the head.
    pub position: usize,
    /// The requester's number, 0 for one that is not registered.
    pub peer: PeerId,
    /// The requester's name, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// How many slots it asked for.
    pub asked: u32,
    /// Since when it waits.
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
    /// When it was finished.
    pub at: Millis,
    /// How long it took from its first lease on, in milliseconds; 0 where its holder did not say.
    pub took_ms: u64,
    /// How it went.
    pub progress: Progress,
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
    /// Its products: one of the classical multiply, seven of Strassen's, forty-nine with two levels. Of more than
    /// [`limits::PRODUCTS`] the first.
    pub products: Vec<ProductState>,
    /// How many products it has, those that are not told counted in.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub all: usize,
    /// How many of all are not checked yet.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unchecked: usize,
    /// How long ago its first lease began, in milliseconds: a multiply may hold one lease after another.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub age_ms: u64,
    /// The products that had to be done again last, and why: which peer had it, and what went wrong;
    /// [`limits::REDONE`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub again: Vec<(u32, String)>,
}

impl Progress {
    /// Whether every product is checked.
    pub fn is_done(&self) -> bool {
        self.unchecked == 0 && self.products.iter().all(|product| product.state == ProductStage::Checked)
    }
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProductStage {
    /// Nobody has it.
    #[default]
    Waiting,
    /// Its operands are on their way.
    Sent,
    /// A peer has them, and computes.
    Computing,
    /// The answer is there and was found right.
    Checked,
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

impl FileState {
    /// A file with these holders.
    pub fn of(manifest: &Manifest, holders: Vec<Holder>, health: Option<Health>) -> Self {
        let (file, id, layout) = (manifest.name().clone(), manifest.id(), manifest.layout());
        Self { file, id, size: layout.size(), piece_size: layout.piece_size().into(), holders, health }
    }
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
    /// Fewer have all of it, for it is new: there were never as many.
    Spreading,
    /// Fewer have all of it than before.
    Healing,
    /// Nobody has all of it.
    Missing,
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
