//! What tests of files share: bytes, shared folders, and who has what.

use std::fs;
use std::path::PathBuf;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use super::node::Network;
use super::{PATIENCE, until};

/// The bytes that belong to a seed.
pub(crate) fn bytes(size: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; size];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// The shared folder that the peer `name` has, or is going to have.
pub(crate) fn folder(network: &Network, name: &str) -> PathBuf {
    network.path(&format!("peerlab-{name}"))
}

/// Puts a file into the shared folder of a peer, as a person would.
pub(crate) fn put(network: &Network, name: &str, file: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder(network, name).join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

/// The row of a file in the manager's state.
pub(crate) fn row(network: &Network, file: &str) -> Option<Value> {
    network.state()["files"].as_array().unwrap().iter().find(|row| row["file"] == file).cloned()
}

/// Waits until so many peers are listed for all of a file.
#[track_caller]
pub(crate) fn whole_at(network: &Network, file: &str, holders: usize) {
    until(&format!("{file} at {holders} holders"), PATIENCE, || {
        let row = row(network, file)?;
        let whole = row["holders"].as_array().unwrap().iter().filter(|holder| holder["whole"] == true);
        (whole.count() == holders).then_some(())
    });
}
