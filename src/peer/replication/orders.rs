//! Fetching what the manager asks for.
//!
//! The manager decides who should have what, and bounds how many orders run at a peer. A worker takes the next one,
//! asks the tracker who has it (on a connection that serves one order after another), and downloads it as `down` would.
//! One that fails is not repeated here: the manager does that, after a pause.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::unbounded;
use log::info;

use super::context::Replication;
use crate::error::{Code, Error, Result};
use crate::peer::manager_client::ManagerClient;
use crate::peer::swarm::download::download;
use crate::peer::swarm::transfer::DownloadSettings;
use crate::share::FileName;

/// How long an ordered download without any holder waits for one: others wait for the place it takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many rounds of choking an ordered download may get no piece: in three, somebody who was choked has had a chance.
/// The manager will order it again; until then another file has the place.
const STALL_ROUNDS: u32 = 3;

/// The rounds are this peer's own, and a holder may have longer ones: however short they are made (`--time-scale`), a
/// slow holder has this long to send a piece.
const STALL_LEAST: Duration = Duration::from_secs(3);

/// However long they are made: after this time without progress the manager gives the order up, and the place
/// is wanted for the next one.
const STALL_MOST: Duration = Duration::from_secs(30);

/// How long an ordered download may get no piece, at a peer whose rounds of choking are this long.
fn stall(round: Duration) -> Duration {
    round.saturating_mul(STALL_ROUNDS).clamp(STALL_LEAST, STALL_MOST)
}

/// Fetches one file after another until the peer leaves.
pub(super) fn obey_fetch(replication: &Replication) {
    let mut manager = ManagerClient::new(replication.library.network().manager());
    while let Some((file, stop)) = replication.next_order() {
        if let Err(e) = fetch(replication, &mut manager, &file, &stop) {
            info!("{file} was not fetched: {e}");
        }
        replication.fetched(&file);
    }
}

fn fetch(
    replication: &Replication,
    manager: &mut ManagerClient,
    file: &FileName,
    stop: &AtomicBool,
) -> Result<()> {
    let (library, store) = (&replication.library, &replication.store);
    if !store.has_marker() {
        // The empty place where a disk should be mounted is not filled.
        return Err(Error::failed(format!("{} has lost its marker", store.dir().display())));
    }
    let found = manager.query(0, file)?;
    let id = found.manifest.id();
    let is_whole_somewhere = found.holders.iter().any(|holder| holder.whole);
    if !replication.fetches(file, id) {
        return Err(Error::failed("it was dropped meanwhile"));
    }
    if library.get(file).is_some_and(|offer| offer.id() == id && offer.open().is_ok()) {
        return Ok(()); // It is here, or on its way.
    }
    let uploads = &replication.uploads;
    let settings = DownloadSettings {
        patience: PATIENCE,
        stall: Some(stall(uploads.round)),
        stop: Some(stop),
        ..DownloadSettings::new(library, uploads, store)
    };
    let (events, _) = unbounded();
    let report = download(settings, manager, found, events).inspect_err(|no| {
        if no.code() == Code::Conflict && is_whole_somewhere {
            // Where nobody has all of it, what lies here may be the better copy.
            library.in_the_way(file, id);
        } else if stop.load(Ordering::SeqCst) && library.when_dropped(file, id).is_some() {
            store.forget_download(file, id);
        }
    })?;
    info!("fetched {file}: {} bytes in {:.3} s", report.size, report.seconds);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_short_the_rounds_a_slow_holder_has_time_for_a_piece_and_however_long_the_place_is_given_back()
    {
        let stall_ms = |scale: f64| stall(Duration::from_secs(10).div_f64(scale)).as_millis();
        assert_eq!([100.0, 10.0, 2.0, 1.0, 0.01].map(stall_ms), [3_000, 3_000, 15_000, 30_000, 30_000]);
    }
}
