//! peerlab: a peer-to-peer network to read, run and measure.

pub mod cli;
pub mod clock;
pub mod error;
pub mod manager;
pub mod matrix;
pub mod net;
pub mod peer;
