//! What is said to a manager, and what it says: a peer's stay, leases, files, and a look at it all.
//!
//! Both enums list their messages in the order of the conversations: first those of a peer that stays (`register` to
//! `quit`), then those of a holder (`lease` to `progress`), then those about files (`query` to `drop`), then the one
//! look (`state`). (`FromManager` has `fetch`, `drop` and `list`, which a peer that stays is told, with those about
//! files.)

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::parts::{Bound, Credentials, Dropped, LeaseId, Name, PeerCard, PeerId, Refusal, yes};
use super::state::{Activity, FileState, Progress, State};
use crate::clock::Millis;
use crate::net::key::Key;
use crate::share::{FileId, FileName};

/// What a peer says of itself when it joins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// [`VERSION`](super::VERSION) of the speaker.
    pub version: u32,
    /// What the peer calls itself.
    pub name: Name,
    /// Where it listens; the manager connects back to see that others can.
    pub addr: SocketAddr,
    /// How many products it serves at once.
    pub slots: u32,
    /// Whether it takes part in replication.
    #[serde(default = "yes")]
    pub keeps: bool,
    /// Who it was until now, at this manager or at the one before it. Only so can it take its own place at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<Credentials>,
    /// Leases it is still serving, so that a restarted manager counts them.
    #[serde(default)]
    pub bound: Vec<Bound>,
    /// What it sends to others at most, in bytes per second; without it there is no cap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up: Option<u64>,
    /// What it takes from others at most, in bytes per second; without it there is no cap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<u64>,
}

/// What is said to a manager.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ToManager {
    /// "I am here": opens the conversation in which a peer stays known. Answered by `registered`.
    Register(Candidate),
    /// "I am still here": the answer to `ping`, and to `wait`.
    Ok(Activity),
    /// The last product under an unbound lease is done: its slots are free again.
    Unbound {
        /// The lease that is over here.
        lease: LeaseId,
    },
    /// "I leave": the orderly end of a registration.
    Quit {},
    /// "I need slots": opens the conversation of a holder. Answered by `wait` or `leased`.
    Lease {
        /// The requester, whose slots it does not want; nobody is one that is not registered.
        #[serde(flatten)]
        who: Credentials,
        /// How many slots, all or none.
        slots: u32,
        /// Peers whose slots it does not want: they answered wrongly, or not at all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        avoid: Vec<PeerId>,
    },
    /// "I need my lease longer." Answered by `leased`, or by `expired` when it is too late.
    Renew {},
    /// "I am done with my lease." Answered by `released`.
    Release {},
    /// "This peer of my lease answered wrongly." Not answered; the manager examines that peer itself. From a registered
    /// peer, in the conversation in which it is: "this peer sent me wrong bytes", for the board.
    Blame {
        /// The peer that is blamed.
        peer: PeerId,
        /// What it did, in words.
        reason: String,
    },
    /// "This is how far my multiply is", from the holder of a lease, for the board. Not answered.
    Progress(Progress),
    /// "Who has this file?" (C1). Answered by `holders`, or by `not_found`. From a peer that is listed as
    /// a whole holder it means that it has lost the file (C3), and takes it off the list, unless it says that it has
    /// it.
    Query {
        /// The requester.
        #[serde(flatten)]
        who: Credentials,
        /// The file.
        file: FileName,
        /// The requester only wants to know: it has not lost the file.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        has: bool,
    },
    /// "I have this file, too" (C1), whole or in part. The payload is the SHA-256 of each piece. Answered by
    /// `updated`, by `conflict` when the name stands for other bytes, or by `expired` when these bytes were
    /// dropped.
    Update {
        /// The holder.
        #[serde(flatten)]
        who: Credentials,
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
        /// Whether each is to be told with its [`Health`](super::Health).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        health: bool,
    },
    /// "Remove this file everywhere." Answered by `dropped`, or by `not_found`. With `id` and `at` it is a peer
    /// that tells a manager, which may have been restarted, of a drop that it remembers: of any file in the
    /// conversation in which it is registered, of one that is listed in others, too.
    Drop {
        /// The peer that wants it; nobody where the conversation says it.
        #[serde(flatten)]
        who: Credentials,
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
        /// What shows to this manager that another conversation is this peer's. It is told to nobody else, and kept on
        /// no disk.
        token: Key,
    },
    /// All peers that are here; sent at every change, whole, so that no peer needs to keep count.
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
        /// What the holder of the lease shows with each product.
        key: Key,
    },
    /// "Begin nothing more for this lease." Answered by `unbound`, once the running products are done.
    Unbind {
        /// The lease that ended.
        lease: LeaseId,
    },
    /// "Not yet": sent at once and every second to one that waits for slots. Answered by `ok`, by which
    /// the manager sees that it is still there.
    Wait {
        /// The place in the queue; 1 is the head.
        position: usize,
        /// How many slots were asked for.
        asked: u32,
        /// How many could be had now.
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
        /// Where the slots are; `slots` counts those of this lease, and `key` opens them.
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
    /// "These bytes were dropped": the peer puts them into its trash, ends what it fetches of them, and remembers it.
    Drop(Dropped),
    /// "Tell me your files again": what the manager lists for a peer is not what the peer believes.
    List {},
    /// Who has the file that was asked for. The payload is the SHA-256 of each piece.
    Holders {
        /// The file, without its health; the requester is left out of its holders.
        #[serde(flatten)]
        found: FileState,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_not_listed_is_an_error_also_beside_the_file_that_holders_carry() {
        let id = "0".repeat(64);
        let line = format!(
            "{{\"type\":\"holders\",\"file\":\"a\",\"id\":\"{id}\",\"size\":1,\"piece_size\":1024,\"holders\":[],\"payload\":32}}"
        );
        let holders: FromManager = serde_json::from_str(&line).unwrap();
        assert_eq!(serde_json::to_string(&holders).unwrap(), line);
        for wrong in ["\"slotz\":1,\"payload\"", "\"peer\":7,\"payload\""] {
            let wrong = line.replace("\"payload\"", wrong);
            assert!(serde_json::from_str::<FromManager>(&wrong).is_err(), "{wrong}");
        }
    }
}
