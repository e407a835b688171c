//! A peer's part in swarms: pieces in and out.
//!
//! ```text
//!   download ─▶ holder ─▶ transfer     a file from all its holders at once: a thread for each, and what they share
//!                            │
//!                            ▼
//!                          upload      pieces for those that ask, whose turn is now
//!                            │
//!              link      requesters    how much may pass;  who is served, and what it is told
//!                            │
//!                          rate        bytes a second, and from whom
//! ```
//! A holder that we are connected to is a *neighbour*; a peer that asks us for pieces is a *requester*. Two peers that
//! want from each other are both, in two conversations.

pub(crate) mod download;
mod holder;
mod link;
pub(crate) mod rate;
pub(crate) mod requesters;
pub(crate) mod transfer;
pub(crate) mod upload;
