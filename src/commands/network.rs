//! The verbs for the network, one function each: `lease` and `release`, which hold slots by hand, and `peers`,
//! `status` and `why`, which answer the three questions that people ask most: who is here, what is my peer doing, and
//! what does all this wait for?
//!
//! They stand together because all of them are about slots and the queue, and none about files or matrices. What they
//! show is made by others: `peers` and `why` ask the manager for its `state`, so that all that is printed was true at
//! the same moment; `status` asks this peer's own threads; `why` adds what this peer knows of its own troubles.
//!
//! A lease that is held by hand lives in the [`Shell`], between two commands; so it can be held at the prompt only. At
//! the prompt's end it is given back ([`Shell::leave`]); when the program ends in another way, its connection ends with
//! it, and that is a release too.

use serde_json::json;

use super::context::Shell;
use crate::cli::{say, say_json, tell};
use crate::clock::Clock;
use crate::error::{Code, Error, Kind, Result};
use crate::peer::manager_client::ManagerClient;
use crate::peer::multiply::lease::{HeldLease, Wait};
use crate::peer::replication::context::ReplicationStatus;
use crate::share::units::counted;

impl Shell {
    /// Lease slots and hold them.
    pub(super) fn lease(&mut self, slots: u32, json: bool) -> Result<()> {
        if !self.stays {
            return Err(Error::new(Kind::Usage, "slots are held by hand at the prompt only")
                .advise("start `peer` and type `lease` there"));
        }
        if let Some(lease) = &self.lease
            && lease.left().is_some()
        {
            return Err(Error::new(
                Code::Conflict,
                format!("you hold {} already", counted(lease.size(), "slot")),
            )
            .advise("`release` them first"));
        }
        let peer = self.peer()?;
        let asker = peer.network().first_number()?;
        let mut told = None;
        let mut on_wait = |wait: Wait| {
            if told != Some(wait.position) {
                tell(&wait);
                told = Some(wait.position);
            }
        };
        let lease = HeldLease::ask(self.config.manager, asker, slots, &mut on_wait)?;
        if json {
            let left = lease.left().map_or(0, |left| left.as_millis() as u64);
            say_json(&json!({"lease": lease.number(), "for_ms": left, "slots": lease.slots()}))?;
        } else {
            say(format_args!("leased {}, renewed while nobody else waits:", counted(lease.size(), "slot")))?;
            for card in lease.slots() {
                say(format_args!("  {:3} at {:16} {}", card.slots, card.name, card.addr))?;
            }
        }
        self.lease = Some(lease);
        Ok(())
    }

    /// Says that the lease has ended, if it has: nobody at the prompt would notice.
    pub(super) fn tell_of_an_ended_lease(&mut self) {
        if let Some(lease) = self.lease.take_if(|lease| lease.left().is_none()) {
            let why =
                lease.over().unwrap_or_else(|| "its time is up, and the manager does not answer".into());
            tell(format_args!("your lease has ended: {why}; `lease` asks for another"));
        }
    }

    /// Gives back what `lease` got.
    pub(super) fn release(&mut self, json: bool) -> Result<()> {
        let Some(lease) = self.lease.take() else {
            let advice = if self.stays {
                "`lease 7` gets seven"
            } else {
                "slots are held at the prompt: start `peer`"
            };
            return Err(Error::new(Code::NotFound, "you hold no slots").advise(advice));
        };
        let over = lease.over();
        if json {
            say_json(&json!({"lease": lease.number(), "released": over.is_none(), "over": over}))?;
        } else if let Some(why) = over {
            say(format_args!("the lease had ended already: {why}"))?;
        } else {
            say(format_args!("released {}", counted(lease.size(), "slot")))?;
        }
        Ok(())
    }

    /// The manager's table.
    pub(super) fn peers(&mut self, json: bool) -> Result<()> {
        let state = ManagerClient::new(self.config.manager).state()?;
        if json {
            return say_json(&json!({"peers": state.peers}));
        }
        if state.peers.is_empty() {
            say(format_args!("nobody is here; `peer serve` starts a peer"))?;
            return Ok(());
        }
        say(format_args!("{:16} {:21} {:>5} {:>4}", "name", "address", "slots", "used"))?;
        for peer in state.peers {
            let note = if peer.slots > 0 { &*peer.reason } else { "" };
            let line = format!(
                "{:16} {:21} {:5} {:4}  {note}",
                peer.name,
                peer.addr.to_string(),
                peer.slots,
                peer.used
            );
            say(format_args!("{}", line.trim_end()))?;
        }
        Ok(())
    }

    /// What this peer is doing.
    pub(super) fn status(&mut self, json: bool) -> Result<()> {
        let peer = self.peer()?;
        let standing = peer.network().standing();
        let (slots, serving) = peer.load();
        let held = self.lease.as_ref().and_then(|lease| Some((lease, lease.left()?)));
        let trouble = standing.trouble.map(|(why, since)| (why, since.elapsed().as_secs_f64()));
        if json {
            let held = held.map(|(lease, left)| {
                json!({"lease": lease.number(), "for_ms": left.as_millis() as u64, "slots": lease.slots()})
            });
            return say_json(&json!({
                "name": self.config.name, "addr": peer.addr(), "manager": self.config.manager,
                "peer": standing.number, "slots": slots, "serving": serving, "lease": held,
                "trouble": trouble.map(|(why, _)| why),
                "files": peer.library().count(), "uploads": peer.uploads().status(),
                "keeping": peer.replication().map(|replication| replication.status()),
            }));
        }
        say(format_args!("{} listens on {}", self.config.name, peer.addr()))?;
        match standing.number {
            Some(number) => say(format_args!("joined at {} as number {number}", self.config.manager))?,
            None => say(format_args!("not joined"))?,
        }
        if let Some((why, since)) = trouble {
            say(format_args!("trouble for {since:.0} s: {why}"))?;
        }
        say(format_args!("serves {} in {}", counted(serving, "product"), counted(slots, "slot")))?;
        match held {
            Some((lease, left)) => {
                let size = counted(lease.size(), "slot");
                say(format_args!("holds {size} for another {:.0} s", left.as_secs_f64()))?;
            }
            None => say(format_args!("holds no slots"))?,
        }
        say(format_args!("offers {}", counted(peer.library().count(), "file")))?;
        if let Some(replication) = peer.replication() {
            say_keeping(&replication.status())?;
        }
        for upload in peer.uploads().status() {
            let how = if upload.served { "is served" } else { "is choked" };
            say(format_args!(
                "uploads {} to {}, which {how}: {}",
                upload.file,
                upload.to,
                counted(upload.pieces, "piece")
            ))?;
        }
        Ok(())
    }

    /// What is waited for, by this peer and by others.
    pub(super) fn why(&mut self, json: bool) -> Result<()> {
        let trouble = self.peer.get().and_then(|peer| peer.network().standing().trouble);
        let over = self.lease.as_ref().and_then(HeldLease::over);
        let state = ManagerClient::new(self.config.manager).state()?;
        let mut reasons: Vec<String> = Vec::new();
        reasons
            .extend(trouble.map(|(why, since)| format!("for {:.0} s: {why}", since.elapsed().as_secs_f64())));
        reasons.extend(over.map(|why| format!("your lease ended: {why}; `lease` asks again")));
        let obstacles = state.peers.iter().filter(|peer| peer.slots > 0 && !peer.leasable);
        reasons.extend(obstacles.map(|peer| format!("{} is not leased: {}", peer.name, peer.reason)));
        if json {
            return say_json(&json!({"reasons": reasons, "queue": state.queue, "leases": state.leases}));
        }
        if reasons.is_empty() && state.queue.is_empty() {
            say(format_args!("nothing waits"))?;
        }
        if !reasons.is_empty() {
            say(reasons.join("\n"))?;
        }
        let name = |number| {
            let peer = state.peers.iter().find(|peer| peer.peer == number);
            peer.map_or_else(|| "somebody".into(), |peer| peer.name.to_string())
        };
        let now = Clock::new().now();
        for waiter in &state.queue {
            let since = now.saturating_sub(waiter.since) as f64 / 1000.0;
            let (place, who) = (waiter.position, name(waiter.peer));
            say(format_args!(
                "{place}. {who} waits for {} since {since:.0} s: {}",
                counted(waiter.asked, "slot"),
                waiter.reason
            ))?;
        }
        Ok(())
    }
}

/// What a peer does for its folder.
fn say_keeping(status: &ReplicationStatus) -> Result<()> {
    if let Some(why) = &status.paused {
        say(format_args!("paused: {why}"))?;
    }
    if !status.fetching.is_empty() {
        let names: Vec<String> = status.fetching.iter().map(ToString::to_string).collect();
        say(format_args!("fetches {} by order of the manager; {} wait", names.join(", "), status.waiting))?;
    }
    status.notes.iter().try_for_each(say)
}
