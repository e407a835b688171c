//! Pieces in and out.

pub mod download;
pub mod rate;
mod requesters;
pub mod upload;
