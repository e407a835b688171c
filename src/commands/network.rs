//! The verbs for the network: `lease` and `release`, which hold slots by hand; `peers`, `status` and `why`, which
//! answer the three questions that people ask most: who is here, what is my peer doing, and what does all this wait
//! for? And `bounds`, which only computes.
//!
//! `peers` and `why` ask the manager for its `state`, so that all that is shown was true at the same moment; `status`
//! asks this peer's own threads; `why` adds what this peer knows of its own troubles.
//!
//! A lease that is held by hand lives in the [`Context`], between two commands; so it can be held at the prompt only.
//! At the prompt's end it is given back ([`Context::leave`]); when the program ends in another way, its connection ends
//! with it, and that is a release too.

use std::iter;
use std::time::Instant;

use serde_json::{Value, json};

use super::context::Context;
use super::show::Outcome;
use crate::cli::tell;
use crate::clock::{Clock, Millis};
use crate::error::{Code, Error, Result};
use crate::net::message::{
    FailedFile, PeerCard, PeerId, PeerState, State, UploadStage, UploadState, WaiterState,
};
use crate::peer::multiply::lease::HeldLease;
use crate::peer::replication::orders::ReplicationStatus;
use crate::peer::swarm::requesters::Upload;
use crate::share::theory::{LowerBound, Setting, client_server, swarm};
use crate::share::units::{about, counted};

/// How many peers that wait for pieces are told one by one.
const CHOKES: usize = 50;

/// Leases slots, and holds them.
pub(super) fn lease(context: &mut Context, slots: u32) -> Result<Outcome> {
    if !context.stays {
        return Err(Error::new(Code::Usage, "slots are held by hand at the prompt only")
            .advise("start `peer` and type `lease` there"));
    }
    if let Some(lease) = context.lease.as_ref().filter(|lease| lease.left().is_some()) {
        let text = format!("you hold {} already", counted(lease.size(), "slot"));
        return Err(Error::new(Code::Conflict, text).advise("`release` them first"));
    }
    let network = context.peer()?.network();
    let mut told = None;
    let on_wait = |position, text| {
        if told.replace(position) != Some(position) {
            tell(text);
        }
    };
    let lease = HeldLease::ask(network, slots, &[], &context.work.stop, on_wait)?;
    lease.tell_end(|why| tell(format_args!("your lease has ended: {why}; `lease` asks for another")))?;
    let lease = context.lease.insert(lease);
    let mut text = format!("leased {}, renewed while nobody else waits:", counted(lease.size(), "slot"));
    for card in &lease.slots {
        text += &format!("\n  {:3} at {:16} {}", card.slots, card.name, card.addr);
    }
    Ok(Outcome::new(terms(lease), text))
}

/// A lease as programs see it.
fn terms(lease: &HeldLease) -> Value {
    let left = lease.left().map_or(0, |left| left.as_millis() as u64);
    // Without the keys: what a program prints may end in a file.
    let slots: Vec<_> = lease.slots.iter().map(|card| PeerCard { key: None, ..card.clone() }).collect();
    json!({"lease": lease.number, "for_ms": left, "slots": slots})
}

/// Gives back what `lease` got.
pub(super) fn release(context: &mut Context) -> Result<Outcome> {
    let Some(lease) = context.lease.take() else {
        let at_prompt = "`lease 7` gets seven";
        let advice = if context.stays { at_prompt } else { "slots are held at the prompt: start `peer`" };
        return Err(Error::new(Code::NotFound, "you hold no slots").advise(advice));
    };
    let over = lease.over();
    let text = match &over {
        Some(why) => format!("the lease had ended already: {why}"),
        None => format!("released {}", counted(lease.size(), "slot")),
    };
    Ok(Outcome::new(json!({"lease": lease.number, "released": over.is_none(), "over": over}), text))
}

/// The manager's table.
pub(super) fn peers(context: &Context) -> Result<Outcome> {
    let State { peers, peers_left_out: more, .. } = context.manager().state()?;
    let more = if more > 0 { format!("\nand {more} more") } else { String::new() };
    Ok(Outcome::new(json!({"peers": peers}), table(&peers) + &more))
}

fn table(peers: &[PeerState]) -> String {
    if peers.is_empty() {
        return "nobody is here; `peer serve` starts a peer".into();
    }
    let mut text = format!("{:16} {:21} {:>5} {:>4}", "name", "address", "slots", "used");
    for PeerState { name, addr, slots, used, reason, .. } in peers {
        let note = if *slots > 0 { reason } else { "" };
        let line = format!("\n{name:16} {:21} {slots:5} {used:4}  {note}", addr.to_string());
        text += line.trim_end();
    }
    text
}

/// What this peer is doing.
pub(super) fn status(context: &Context) -> Result<Outcome> {
    let peer = context.peer()?;
    let (name, addr, manager) = (&context.config.name, peer.network().addr, context.config.manager);
    let (standing, (slots, serving)) = (peer.network().standing(), peer.load());
    let (files, uploads) = (peer.wings.library.offers().len(), peer.wings.uploads.status(Instant::now()));
    let held = context.lease.as_ref().and_then(|lease| Some((lease, lease.left()?)));
    let replication = peer.wings.replication.as_ref().map(|replication| replication.status());
    let mut lines = vec![
        format!("{name} listens on {addr}"),
        match standing.number {
            Some(number) => format!("joined at {manager} as number {number}"),
            None => "not joined".into(),
        },
    ];
    lines.extend(standing.trouble.as_ref().map(|trouble| format!("trouble {}", since_when(trouble))));
    lines.push(format!("serves {} in {}", counted(serving, "product"), counted(slots, "slot")));
    lines.push(match held {
        Some((lease, left)) => {
            format!("holds {} for another {:.0} s", counted(lease.size(), "slot"), left.as_secs_f64())
        }
        None => "holds no slots".into(),
    });
    lines.push(format!("offers {}", counted(files, "file")));
    lines.extend(replication.iter().flat_map(work_for_the_folder));
    let downloads = peer.wings.uploads.activity(Instant::now()).downloads;
    lines.extend(traffic(&uploads, downloads.iter().map(|one| one.bytes_per_s).sum()));
    let data = json!({
        "name": name, "addr": addr, "manager": manager, "peer": standing.number, "slots": slots,
        "serving": serving, "lease": held.map(|(lease, _)| terms(lease)),
        "trouble": standing.trouble.map(|(why, _)| why), "files": files, "uploads": uploads,
        "downloads": downloads, "replication": replication,
    });
    Ok(Outcome::new(data, lines.join("\n")))
}

/// What goes out and what comes in, and to whom what goes out is sent.
fn traffic(uploads: &[Upload], received: u64) -> Vec<String> {
    let sent: u64 = uploads.iter().map(|upload| upload.row.up).sum();
    let sums = format!("sends {}/s, receives {}/s", about(sent), about(received));
    let to = |Upload { to, row, pieces }: &Upload| {
        format!("uploads {} to {to} ({}), which is {}", row.file, counted(*pieces, "piece"), seat(row))
    };
    iter::once(sums).chain(uploads.iter().map(to)).collect()
}

/// How a peer that wants pieces fares: "choked: other peers have higher rates (for 3 s; 0 B/s up, 5 KiB/s down)".
fn seat(row: &UploadState) -> String {
    let since = row.since_ms_ago / 1000;
    format!("{} (for {since} s; {}/s up, {}/s down)", row.state, about(row.up), about(row.down))
}

/// What a peer does for its folder.
fn work_for_the_folder(status: &ReplicationStatus) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(status.paused.as_ref().map(|why| format!("paused: {why}")));
    if !status.fetching.is_empty() {
        let names: Vec<String> = status.fetching.iter().map(ToString::to_string).collect();
        lines.push(format!("fetches {} by order of the manager; {} wait", names.join(", "), status.waiting));
    }
    lines.extend(status.failed.iter().map(|FailedFile { file, why }| format!("{file}: {why}")));
    lines.extend(status.not_shared.iter().map(|(name, why)| format!("{name:?} is not shared: {why}")));
    lines.extend_from_slice(&status.notes);
    lines
}

/// "for 3 s: the manager does not answer".
fn since_when((why, since): &(String, Instant)) -> String {
    format!("for {:.0} s: {why}", since.elapsed().as_secs_f64())
}

/// What is waited for, by this peer and by others.
pub(super) fn why(context: &Context) -> Result<Outcome> {
    let trouble = context.work.peer.get().and_then(|peer| peer.network().standing().trouble);
    let over = context.lease.as_ref().and_then(HeldLease::over);
    let state = context.manager().state()?;
    let mut reasons = Vec::new();
    reasons.extend(trouble.as_ref().map(since_when));
    reasons.extend(over.map(|why| format!("your lease ended: {why}; `lease` asks again")));
    let obstacles = state.peers.iter().filter(|peer| peer.slots > 0 && !peer.leasable);
    reasons.extend(obstacles.map(|peer| format!("{} is not leased: {}", peer.name, peer.reason)));
    reasons.extend(state.peers.iter().flat_map(troubles));
    let own = context.work.peer.get().and_then(|peer| peer.network().number());
    reasons.extend(chokes(&state.peers, own));
    let data = json!({"reasons": reasons, "queue": state.queue, "leases": state.leases});
    let now = Clock::start().now();
    reasons.extend(state.queue.iter().map(|waiter| place_in_queue(waiter, now)));
    Ok(Outcome::new(data, if reasons.is_empty() { "nothing waits".into() } else { reasons.join("\n") }))
}

/// Why a peer gives nothing, or lacks files.
fn troubles(peer: &PeerState) -> Vec<String> {
    let paused = peer.said.paused.iter().map(|why| format!("{} has paused: {why}", peer.name));
    let failed =
        peer.said.failed.iter().map(|one| format!("{} lacks {}: it {}", peer.name, one.file, one.why));
    paused.chain(failed).collect()
}

/// Which peers want pieces from others and do not get them now, and why: first this peer, which is number `own`.
fn chokes(peers: &[PeerState], own: Option<PeerId>) -> Vec<String> {
    let rows = peers.iter().flat_map(|peer| peer.said.uploads.iter().map(move |row| (&peer.name, row)));
    let mut waiting: Vec<_> = rows.filter(|(_, row)| row.state >= UploadStage::Owes).collect();
    waiting.sort_by_key(|(_, row)| Some(row.peer) != own);
    let more = waiting.len().saturating_sub(CHOKES);
    let told = waiting.iter().take(CHOKES).map(|(giver, row)| {
        let known = peers.iter().find(|peer| peer.peer == row.peer);
        let name = match known {
            _ if Some(row.peer) == own => "you".into(),
            Some(peer) => peer.name.to_string(),
            None => "somebody".into(),
        };
        format!("{giver} lets {name} wait for {}: {}", row.file, seat(row))
    });
    told.chain((more > 0).then(|| format!("and {more} more wait for pieces"))).collect()
}

/// A request that waits, and the reason that its requester is told. That is another program than the one that asks here.
fn place_in_queue(waiter: &WaiterState, now: Millis) -> String {
    let WaiterState { position, name, asked, reason, .. } = waiter;
    let yours = [("you are the", "it is the"), ("your", "its"), ("before you", "before it")];
    let reason = yours.into_iter().fold(reason.clone(), |text, (you, it)| text.replacen(you, it, 1));
    let name = name.as_ref().map_or("somebody".into(), ToString::to_string);
    let since = now.saturating_sub(waiter.since) as f64 / 1000.0;
    format!("{position}. {name} has waited {since:.0} s for {}: {reason}", counted(*asked, "slot"))
}

/// The lecture's two bounds.
///
/// # Errors
/// `infeasible` where a link that is needed has no rate at all.
pub(super) fn bounds(setting: &Setting) -> Result<Outcome> {
    let Setting { size, peers, seed_up, .. } = *setting;
    let mut text = format!("F = {}, N = {peers}, u_s = {}/s", about(size), about(seed_up));
    let mut data = json!({});
    let bounds = [("client_server", "D_cs", client_server(setting)), ("p2p", "D_p2p", swarm(setting))];
    for (key, name, LowerBound { seconds, term }) in bounds {
        let [formula, because] = term.texts();
        if !seconds.is_finite() {
            return Err(Error::new(Code::Infeasible, format!("it never ends: {because}, at a rate of 0"))
                .advise("give a rate above 0, such as 2Mbit"));
        }
        data[key] = json!({"seconds": seconds, "term": formula, "because": because});
        text += &format!("\n{name:6} >= {seconds:10.3} s = {formula:22} {because}");
    }
    Ok(Outcome::new(data, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::message::Activity;

    fn peer(name: &str, slots: u32, reason: &str) -> PeerState {
        PeerState {
            peer: 7,
            name: name.parse().unwrap(),
            addr: "127.0.0.1:40312".parse().unwrap(),
            slots,
            used: 1,
            since: 0,
            leasable: reason.is_empty(),
            reason: reason.into(),
            keeps: true,
            up: None,
            down: None,
            said: Activity::default(),
        }
    }

    #[test]
    fn a_table_of_peers_says_why_one_that_has_slots_is_not_leased() {
        assert_eq!(table(&[]), "nobody is here; `peer serve` starts a peer");
        let peers = [peer("ada", 4, ""), peer("ben", 2, "it is slow"), peer("cyd", 0, "it has no slots")];
        assert_eq!(
            table(&peers),
            "name             address               slots used\n\
             ada              127.0.0.1:40312           4    1\n\
             ben              127.0.0.1:40312           2    1  it is slow\n\
             cyd              127.0.0.1:40312           0    1"
        );
    }

    #[test]
    fn a_peer_that_waits_for_pieces_is_told_by_whom_since_when_and_why() {
        let mut ada = peer("ada", 4, "");
        let row = |peer, state| {
            let (file, since_ms_ago, up, down) = ("a.bin".parse().unwrap(), 3500, 0, 5120);
            UploadState { peer, file, state, since_ms_ago, up, down }
        };
        ada.said.uploads =
            vec![row(8, UploadStage::Regular), row(9, UploadStage::Owes), row(9, UploadStage::Choked)];
        let peers = [ada, PeerState { peer: 9, ..peer("ben", 0, "") }];
        let told = |own| chokes(&peers, own).join("\n");
        assert_eq!(told(Some(8)), told(Some(9)).replace("lets you", "lets ben"));
        assert_eq!(
            told(Some(9)),
            "ada lets you wait for a.bin: waiting behind the others: it owes more than it gave or passed on \
             (for 3 s; 0 B/s up, 5.0 KiB/s down)\n\
             ada lets you wait for a.bin: choked: other peers have higher rates (for 3 s; 0 B/s up, 5.0 KiB/s down)"
        );
    }

    #[test]
    fn what_goes_out_and_comes_in_is_summed_and_told_for_each_that_wants_pieces() {
        assert_eq!(traffic(&[], 0), ["sends 0 B/s, receives 0 B/s"]);
        let upload = |to: &str, pieces, state, up| {
            let row = UploadState {
                peer: 8,
                file: "a.bin".parse().unwrap(),
                state,
                since_ms_ago: 3500,
                up,
                down: 5120,
            };
            Upload { to: to.into(), pieces, row }
        };
        let uploads =
            [upload("ben", 1, UploadStage::Optimistic, 1024), upload("cyd", 2, UploadStage::Choked, 2048)];
        assert_eq!(
            traffic(&uploads, 4096),
            [
                "sends 3.0 KiB/s, receives 4.0 KiB/s",
                "uploads a.bin to ben (1 piece), which is served: it was drawn at random (the optimist's place) (for 3 s; \
                 1.0 KiB/s up, 5.0 KiB/s down)",
                "uploads a.bin to cyd (2 pieces), which is choked: other peers have higher rates (for 3 s; 2.0 KiB/s up, \
                 5.0 KiB/s down)",
            ]
        );
    }

    #[test]
    fn a_place_in_the_queue_says_for_what_and_since_when() {
        let reason =
            "you are the head of the queue; 2 of your 3 slots are free; the lease of yours ends".into();
        let somebody = "somebody";
        let mut waiter = WaiterState { position: 1, peer: 7, name: None, asked: 3, since: 4000, reason };
        let text = "has waited 2 s for 3 slots: it is the head of the queue; 2 of its 3 slots are free; the lease of yours ends";
        assert_eq!(place_in_queue(&waiter, 6000), format!("1. {somebody} {text}"));
        waiter.name = Some("ada".parse().unwrap());
        assert_eq!(place_in_queue(&waiter, 6000), format!("1. ada {text}"));
        assert!(place_in_queue(&waiter, 0).contains("waited 0 s"), "the clocks differ");
        waiter.reason = "one is before you; the head of the queue waits for 1 slot, 0 are free".into();
        assert!(place_in_queue(&waiter, 0).contains(": one is before it; the head of the queue waits"));
    }

    #[test]
    fn bounds_are_shown_as_a_formula_each_and_as_numbers() {
        let outcome = bounds(&Setting::alike(32 << 20, 8 << 20, 16, 4 << 20, None)).unwrap();
        assert_eq!(
            outcome.text,
            "F = 32.0 MiB, N = 16, u_s = 8.0 MiB/s\n\
             D_cs   >=     64.000 s = N F / u_s              the server must upload a copy for every peer\n\
             D_p2p  >=      7.111 s = N F / (u_s + sum u_i)  all uploads together must carry a copy for every peer"
        );
        let data = json!({
            "client_server": {
                "because": "the server must upload a copy for every peer", "seconds": 64.0, "term": "N F / u_s",
            },
            "p2p": {
                "because": "all uploads together must carry a copy for every peer",
                "seconds": 512.0 / 72.0, "term": "N F / (u_s + sum u_i)",
            },
        });
        assert_eq!(outcome.data, data);
        for (seed, down, because) in [(0, None, "the server must upload"), (1, Some(0), "the slowest peer")] {
            let never = bounds(&Setting::alike(1, seed, 1, 1, down)).unwrap_err();
            assert!(never.to_string().contains(because) && never.code() == Code::Infeasible, "{never}");
        }
    }
}
