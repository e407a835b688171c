//! A peer's part in swarms: pieces in and out.
//!
//! | file | what it is about |
//! |---|---|
//! | [`download`] | a file from all its holders at once |
//! | `holder` | one of its threads: what comes from one holder |
//! | [`transfer`] | what those threads share: the neighbours, and what each is asked for |
//! | [`upload`] | pieces for those that ask |
//! | [`requesters`] | which of them are served, and what each is told: plain state |
//! | [`rate`] | the register of what each holder gave: plain state |
//! | `link` | how much may pass: `--up` and `--down` |
//!
//! A holder that this peer is connected to is a *neighbour*; a peer that asks this one for pieces is a *requester*. Two
//! peers that want from each other are both, in two conversations.

pub(crate) mod download;
mod holder;
mod link;
pub(crate) mod rate;
pub(crate) mod requesters;
pub(crate) mod transfer;
pub(crate) mod upload;
