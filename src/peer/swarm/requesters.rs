//! The desk at which everybody stands who wants pieces: plain state behind one lock, under which nobody waits.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crossbeam_channel::Sender;
use log::{debug, info};
use rand::rngs::StdRng;

use crate::net::message::PeerId;
use crate::share::choker::{Contender, Occasion, Service, judge};
use crate::share::uplink::{AskerId, Request, Uplink};
use crate::share::{FileId, FileName, Piece};

/// What one that speaks is to say.
#[derive(Debug)]
pub(super) enum Say {
    Have(Piece),
    Choke,
    Unchoke,
    Piece(Request),
}

/// A conversation with somebody who wants pieces.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) peer: PeerId,
    pub(super) name: String,
    pub(super) file: FileName,
    pub(super) id: FileId,
    pub(super) interested: bool,
    pub(super) service: Service,
    pub(super) open: usize,
    pub(super) to: Sender<Say>,
    /// How much may wait there to be said: who lets more pile up is served no more.
    pub(super) room: usize,
    /// Bytes sent in this round, per second in the last, and pieces in all.
    pub(super) sent: u64,
    pub(super) rate: u64,
    pub(super) pieces: u64,
}

/// What is received from a peer: in this round, and per second in the last. The larger counts: who has just begun to
/// give is not judged by a round in which he gave nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meter {
    pub(super) now: u64,
    pub(super) rate: u64,
}

#[derive(Debug)]
pub(super) struct State {
    /// Whether anybody is served at all: not by one who may upload nothing.
    pub(super) serves: bool,
    pub(super) next: AskerId,
    pub(super) askers: BTreeMap<AskerId, Asker>,
    pub(super) uplink: Uplink,
    pub(super) received: HashMap<PeerId, Meter>,
    /// Downloads that run here; without one, this peer is a seed.
    pub(super) downloads: usize,
    pub(super) rng: StdRng,
    pub(super) over: bool,
}

impl State {
    /// A round is over: what was counted becomes a rate.
    pub(super) fn measure(&mut self, round: Duration) {
        let rate = |bytes: u64| (bytes as f64 / round.as_secs_f64()) as u64;
        for asker in self.askers.values_mut() {
            asker.rate = rate(std::mem::take(&mut asker.sent));
        }
        for meter in self.received.values_mut() {
            meter.rate = rate(std::mem::take(&mut meter.now));
        }
        self.received.retain(|_, meter| meter.rate > 0);
    }

    /// Judges who is served from now on, and tells those for whom that is a change.
    pub(super) fn judge(&mut self, unchoke: usize, occasion: Occasion) {
        let deaf = self.askers.iter().filter(|(_, asker)| asker.to.len() > asker.room);
        for id in deaf.map(|(&id, _)| id).collect::<Vec<_>>() {
            self.remove(id);
        }
        let contenders: Vec<Contender> = self
            .askers
            .iter()
            .map(|(&id, asker)| Contender {
                peer: id,
                interested: asker.interested && self.serves,
                service: asker.service,
                received: self.received.get(&asker.peer).map_or(0, |meter| meter.rate.max(meter.now)),
                sent: asker.rate,
            })
            .collect();
        let seeding = self.downloads == 0;
        let served: HashMap<AskerId, Service> =
            judge(&contenders, unchoke, seeding, occasion, &mut self.rng).into_iter().collect();
        for (id, asker) in &mut self.askers {
            let service = served.get(id).copied().unwrap_or(Service::Choked);
            let before = std::mem::replace(&mut asker.service, service);
            if (before == Service::Choked) == (service == Service::Choked) {
                continue;
            }
            debug!("{} is {service:?} for {}", asker.name, asker.file);
            let say = if service == Service::Choked { Say::Choke } else { Say::Unchoke };
            if service == Service::Choked {
                self.uplink.void(*id, asker.id);
                asker.open = 0;
            }
            let _ = asker.to.send(say);
        }
        self.serve();
    }

    /// Takes somebody off the desk, if he stands there, with his turns.
    pub(super) fn remove(&mut self, asker: AskerId) {
        if let Some(gone) = self.askers.remove(&asker) {
            info!("{} has got {} pieces of {}", gone.name, gone.pieces, gone.file);
            if !self.askers.values().any(|asker| asker.id == gone.id) {
                self.uplink.forget_file(gone.id);
            }
        }
        self.uplink.forget(asker);
    }

    /// Gives the turns that are free to those who wait.
    pub(super) fn serve(&mut self) {
        while let Some(request) = self.uplink.next_request() {
            let Some(asker) = self.askers.get(&request.asker) else {
                self.uplink.done(request);
                continue;
            };
            if asker.to.send(Say::Piece(request)).is_err() {
                self.uplink.done(request);
            }
        }
    }
}
