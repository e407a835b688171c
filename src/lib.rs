//! peerlab: a peer-to-peer network to read, run and measure.

pub mod error;
pub mod manager;
pub mod matrix;
pub mod net;
