//! A peer in virtual time: the program's own state, and around it what its threads do.
//!
//! # What is the program's, and what is not
//! The program's own are the library with its versions, the orders, the facts of a name, the table of `decide` and the
//! pauses after a failure, what a look into the folder means, the picker and the neighbours of a download, its check of
//! each piece, the requesters and the register of what was given, the bindings, and its place in the network. Here
//! stands what the threads do around them: which message calls what, and what `folder` does to a disk. The disk itself
//! is [`Disk`](crate::sim::disk).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use rand::RngExt;

use super::decide::{Action, Facts, Failures, OnOffer, decide, replaced};
use super::folder::facts_of;
use super::orders::{Replication, WORKERS, stall};
use super::watch::{Look, Sight, Watch};
use crate::clock::Millis;
use crate::error::{Code, Error, Result};
use crate::net::admission::Admission;
use crate::net::limits;
use crate::net::message::{
    Activity, Credentials, Dropped, FromManager, FromPeer, Holder, LeaseId, NOBODY, Name, PeerCard, PeerId,
    Refusal, ToManager, ToPeer, unexpected,
};
use crate::peer::config::{Config, UploadSettings};
use crate::peer::library::Library;
use crate::peer::library::offer::Offer;
use crate::peer::library::publish::News;
use crate::peer::membership::register;
use crate::peer::network::Network;
use crate::peer::serve::bindings::{Begin, Bindings};
use crate::peer::swarm::download::{GONE, ORDER_PATIENCE};
use crate::peer::swarm::requesters::Say;
use crate::peer::swarm::transfer::Neighbours;
use crate::peer::swarm::upload::Uploads;
use crate::share::choker::{Occasion, ROUND_SECONDS};
use crate::share::picker::{PickOrder, Picker};
use crate::share::store::{Partial, Stamp, Store, Written, is_conflict_copy};
use crate::share::uplink::{PieceRequest, RequesterId};
use crate::share::{Bitfield, FileId, FileName, Manifest, Piece};
use crate::sim::disk::{Disk, Part};
use crate::sim::net::{ConnId, Input, Line, MANAGER, Net, NodeId, port};
use crate::sim::{answer_of, node_at};

/// How often the folder is looked at.
const SCAN: Millis = 2_000;

/// How many holders a download listens to at once: so few that some make room for others.
const NEIGHBOURS: usize = 2;

/// How long a piece is on the link, on which there is one at a time.
const PIECE_TIME: Millis = 20;

/// How many are served for their rates. With the optimist that is less than want the same file.
const UNCHOKE: usize = 1;

/// The rounds in which the requesters are judged.
const ROUND: Duration = Duration::from_secs(ROUND_SECONDS);

/// The pauses and patiences of `folder`, `download` and `membership`.
const QUERY_PAUSE: Millis = 1_000;
const SILENCE: Millis = 6_000;
const ANSWER_TIME: Millis = 10_000;

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A moment of virtual time, as the program counts it.
fn instant(now: Millis) -> Instant {
    *EPOCH + Duration::from_millis(now)
}

/// What one connection is about, as this peer sees it.
enum Talk {
    /// The conversation in which it is registered.
    Member,
    /// It tells what it has.
    Publish(Credentials, News),
    /// The folder asks whether others have what was edited here: the name, what lies there now, what was offered.
    Replace(FileName, Arc<Manifest>, FileId),
    /// The folder drops the former version of its own conflict copy.
    DropCopy(Arc<Manifest>),
    /// An order asks who has a file.
    Query(FileName, Option<(FileId, Millis)>),
    /// The manager lists what this peer remembers as dropped then: it is told.
    Remind(FileName, FileId, Millis),
    /// A download asks again.
    QueryAgain(FileName),
    /// A person drops a file.
    Drop(FileName),
    /// A download takes pieces from a holder.
    Fetch(FileName, Holder),
    /// Somebody takes pieces from here.
    Upload(Seat),
    /// Somebody has products computed here.
    Serve,
    /// A multiply of this peer: its conversation with the manager, and one at a slot.
    Job(usize),
    Slot(usize, PeerCard, u32),
}

/// What is known in a conversation with a requester.
struct Seat {
    peer: PeerId,
    requester: RequesterId,
    offer: Arc<Offer>,
    /// What it is to be told.
    says: Receiver<Say>,
    /// The piece that it is being sent, and when that is done.
    sending: Option<(Millis, PieceRequest)>,
}

impl Seat {
    /// What is said to it now; a piece, when its time on the link is over. One thing comes after another.
    fn next_say(&mut self, now: Millis) -> Option<Say> {
        if let Some((_, request)) = self.sending.take_if(|(by, _)| *by <= now) {
            return Some(Say::Piece(request));
        }
        if self.sending.is_some() {
            return None;
        }
        match self.says.try_recv().ok()? {
            Say::Piece(request) => {
                self.sending = Some((now + PIECE_TIME, request));
                None
            }
            message => Some(message),
        }
    }
}

/// A download.
struct Fetch {
    /// Its number in the register.
    download: u64,
    manifest: Arc<Manifest>,
    partial: Arc<Partial>,
    offer: Arc<Offer>,
    state: Neighbours<ConnId>,
    next_query: Millis,
    asked: Option<ConnId>,
}

/// A product that is computed here.
struct Product {
    conn: ConnId,
    lease: LeaseId,
    product: u32,
    answer: u64,
    ends: Millis,
}

/// A multiply that a person began here.
#[derive(Default)]
struct Job {
    slots: u32,
    left: Vec<u32>,
    conn: Option<ConnId>,
    lease: Option<LeaseId>,
    renew_at: Option<Millis>,
    /// Peers that answered wrongly.
    avoid: Vec<PeerId>,
    again: Option<Millis>,
    gave_up: u32,
    over: bool,
}

/// A running peer.
pub(crate) struct Peer {
    node: NodeId,
    network: Arc<Network>,
    library: Arc<Library>,
    uploads: Arc<Uploads>,
    /// How many rounds of choking there were, and when the next is.
    round: u64,
    round_at: Millis,
    replication: Arc<Replication>,
    watch: Watch,
    /// What the last look has seen, and after how many changes of the disk.
    there: (Option<i64>, Vec<(FileName, Stamp)>),
    stamps: BTreeMap<FileName, (Stamp, Arc<Manifest>)>,
    failures: Failures,
    /// What the last look has found and is not settled yet.
    todo: VecDeque<(FileName, Sight)>,
    settled: bool,
    looking: bool,
    next_look: Millis,
    /// The folder waits for the manager in this conversation.
    asks: Option<ConnId>,
    bindings: Bindings,
    products: Vec<Product>,
    /// Products whose `bind` may be on its way.
    early: Vec<(ConnId, ToPeer, Vec<u8>, Millis)>,
    member: Option<ConnId>,
    silent_at: Millis,
    rejoin_at: Option<Millis>,
    pause: Millis,
    publishing: Option<ConnId>,
    publish_at: Millis,
    /// The running orders, and the download of each when it has begun.
    orders: BTreeMap<FileName, Option<Fetch>>,
    /// An order may wait for a worker.
    orders_due: bool,
    jobs: Vec<Job>,
    talks: BTreeMap<ConnId, Talk>,
    /// When a question must be answered.
    deadlines: BTreeMap<ConnId, Millis>,
    /// It answers wrongly until then.
    pub(crate) lies_until: Millis,
    slots: u32,
    /// What the manager has confirmed to list as whole here.
    pub(crate) published: Vec<(FileName, FileId)>,
    /// Until when each lease may begin products here, as it was told; the fact, kept apart from the program.
    bound: BTreeMap<LeaseId, Millis>,
}

impl Peer {
    /// One that starts now, over what lies on its disk.
    pub(crate) fn start(net: &mut Net, node: NodeId, disk: &mut Disk, slots: u32) -> Self {
        let now = net.clock(node);
        let addr = ([127, 0, 0, 1], port(node)).into();
        // A link with a limit carries one piece at a time.
        let upload = UploadSettings { up: Some(50 << 10), down: None, unchoke: UNCHOKE, round: ROUND };
        let config = Config {
            manager: ([127, 0, 0, 1], port(MANAGER)).into(),
            listen: addr,
            advertise: None,
            name: name_of(node),
            slots,
            data: "".into(),
            keeps: true,
            scan: Duration::from_millis(SCAN),
            admission: Admission::default(),
            upload,
        };
        let network = Arc::new(Network::new(config, addr));
        let library = Arc::new(Library::new(Arc::clone(&network)));
        let uploads = Arc::new(Uploads::new(upload, node as u64));
        let replication = Replication::new(Store::default(), Arc::clone(&library), Arc::clone(&uploads));
        library.remember(disk.drops.iter().cloned());
        let mut peer = Self {
            node,
            network,
            library,
            uploads,
            round: 0,
            round_at: now + ROUND.as_millis() as Millis,
            replication: Arc::new(replication),
            watch: Watch::default(),
            there: (None, Vec::new()),
            stamps: BTreeMap::new(),
            failures: Failures::default(),
            todo: VecDeque::new(),
            settled: true,
            looking: false,
            next_look: now,
            asks: None,
            bindings: Bindings::new(slots),
            products: Vec::new(),
            early: Vec::new(),
            member: None,
            silent_at: Millis::MAX,
            rejoin_at: Some(now),
            pause: 100,
            publishing: None,
            publish_at: now,
            orders: BTreeMap::new(),
            orders_due: false,
            jobs: Vec::new(),
            talks: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            lies_until: 0,
            slots,
            published: Vec::new(),
            bound: BTreeMap::new(),
        };
        peer.follow(net, disk);
        peer
    }

    /// Hears something, and does all that follows.
    pub(crate) fn hear(&mut self, net: &mut Net, disk: &mut Disk, input: Input) {
        let now = net.clock(self.node);
        disk.now = now;
        match input {
            Input::Said(conn, line) => self.said(net, disk, conn, &line, now),
            Input::Ended(conn) => self.ended(net, disk, conn, now),
            Input::Woken => {}
        }
        self.follow(net, disk);
    }

    /// All that is due, and when to look again.
    pub(crate) fn follow(&mut self, net: &mut Net, disk: &mut Disk) {
        let now = net.clock(self.node);
        disk.now = now;
        let late: Vec<_> =
            self.deadlines.iter().filter(|(_, by)| **by <= now).map(|(&conn, _)| conn).collect();
        for conn in late {
            self.ended(net, disk, conn, now);
            net.close(conn, self.node);
        }
        self.keep_membership(net, now);
        self.end_products(net, now);
        self.look(net, disk, now);
        self.take_orders(net, now);
        self.attend(net, disk, now);
        self.publish(net, now);
        self.go_on_with_jobs(net, now);
        self.judge_uploads(now);
        self.send_pieces(net, disk, now);
        let next = self.next_time(now);
        net.wake(self.node, next);
    }

    fn next_time(&self, now: Millis) -> Millis {
        let products = self.products.iter().map(|it| it.ends);
        let early = self.early.iter().map(|(.., by)| *by);
        let queries = self.orders.values().flatten().map(|fetch| fetch.next_query);
        let jobs =
            self.jobs.iter().filter(|job| !job.over).flat_map(|job| [job.again, job.renew_at]).flatten();
        let look = (self.asks.is_none()).then_some(self.next_look.max(now + 1));
        let publish = (self.publish_at > now).then_some(self.publish_at);
        let silence = self.member.is_some().then_some(self.silent_at);
        let pieces = self.talks.values().filter_map(|talk| match talk {
            Talk::Upload(Seat { sending: Some((by, _)), .. }) => Some(*by),
            _ => None,
        });
        let one = self.rejoin_at.into_iter().chain(look).chain(publish).chain(silence).chain([self.round_at]);
        let all = products.chain(early).chain(queries).chain(jobs).chain(self.deadlines.values().copied());
        all.chain(pieces).chain(one).min().unwrap_or(Millis::MAX)
    }

    fn ask(&mut self, net: &mut Net, now: Millis, talk: Talk, message: &ToManager, payload: &[u8]) -> ConnId {
        for _ in 1..net.times() {
            // Nobody hears the answer to this one.
            let lost = net.connect(self.node, MANAGER);
            net.say(lost, self.node, message, payload);
            net.close(lost, self.node);
        }
        let conn = net.connect(self.node, MANAGER);
        net.say(conn, self.node, message, payload);
        self.talks.insert(conn, talk);
        self.deadlines.insert(conn, now + ANSWER_TIME);
        conn
    }

    fn said(&mut self, net: &mut Net, disk: &mut Disk, conn: ConnId, line: &Line, now: Millis) {
        match self.talks.get(&conn) {
            None | Some(Talk::Serve | Talk::Upload(_)) => self.asked(net, conn, line, now),
            Some(Talk::Member) => self.hear_manager(net, conn, line, now),
            Some(&Talk::Job(job)) => self.hear_of_lease(net, conn, job, line, now),
            Some(Talk::Slot(job, card, product)) => {
                let (job, card, product) = (*job, card.clone(), *product);
                self.hear_answer(net, conn, (job, card, product), line);
            }
            Some(Talk::Fetch(file, holder)) => {
                let (file, holder) = (file.clone(), holder.clone());
                self.hear_holder(net, disk, conn, (&file, &holder), line, now);
            }
            Some(_) => self.answered(net, disk, conn, Some(line), now),
        }
    }

    fn ended(&mut self, net: &mut Net, disk: &mut Disk, conn: ConnId, now: Millis) {
        match self.talks.get(&conn) {
            None => {}
            Some(Talk::Member) => self.part(net, &Error::failed("the conversation has ended"), now),
            Some(Talk::Serve | Talk::Upload(_)) => self.forget(conn, now),
            Some(&Talk::Job(job)) => {
                self.talks.remove(&conn);
                let job = &mut self.jobs[job];
                (job.conn, job.lease, job.again) = (None, None, Some(now + 1_000));
            }
            Some(Talk::Slot(job, _, product)) => {
                let (job, product) = (*job, *product);
                self.talks.remove(&conn);
                self.jobs[job].left.push(product);
                self.rest(net, job);
            }
            Some(Talk::Fetch(file, holder)) => {
                let (file, peer) = (file.clone(), holder.peer);
                self.talks.remove(&conn);
                if let Some(Some(fetch)) = self.orders.get_mut(&file) {
                    fetch.state.left(peer, instant(now));
                }
                self.post(net, &file, now);
            }
            Some(_) => self.answered(net, disk, conn, None, now),
        }
        self.deadlines.remove(&conn);
    }

    // The conversation with the manager: `membership`.

    fn keep_membership(&mut self, net: &mut Net, now: Millis) {
        if self.member.is_some() && now >= self.silent_at {
            self.part(net, &Error::failed("the manager has fallen silent"), now);
        }
        if self.rejoin_at.is_none_or(|at| now < at) {
            return;
        }
        self.rejoin_at = None;
        let conn = net.connect(self.node, MANAGER);
        let register = register(&self.network, self.network.addr, self.bindings.still_bound(now));
        net.say(conn, self.node, &register, &[]);
        self.talks.insert(conn, Talk::Member);
        (self.member, self.silent_at) = (Some(conn), now + ANSWER_TIME);
    }

    fn part(&mut self, net: &mut Net, why: &Error, now: Millis) {
        let Some(conn) = self.member.take() else { return };
        self.talks.remove(&conn);
        net.close(conn, self.node);
        let joined = self.network.parted(why, instant(now));
        self.library.tell_again();
        self.pause = if joined { 100 } else { (self.pause * 2).min(1_500) };
        self.rejoin_at = Some(now + net.rng.random_range(self.pause / 2..=self.pause));
    }

    fn hear_manager(&mut self, net: &mut Net, conn: ConnId, line: &Line, now: Millis) {
        let Some(message) = line.message::<FromManager>() else { return };
        if self.network.number().is_some() {
            self.silent_at = now + SILENCE;
        }
        match message {
            FromManager::Registered { peer, token } => {
                self.network.told(peer, token);
                self.bindings.rejoined();
                for Dropped { file, id, at } in self.library.drops().into_iter().rev() {
                    let who = Credentials::default();
                    let drop = ToManager::Drop { who, file, id: Some(id), at: Some(at) };
                    (0..net.times()).for_each(|_| net.say(conn, self.node, &drop, &[]));
                }
                self.network.registered(peer);
                self.silent_at = now + SILENCE;
                self.library.tell_again();
                self.begin_early(net, now);
            }
            FromManager::Peers { peers } => self.network.meet(peers),
            FromManager::Ping {} => {
                let status = self.replication.status();
                let said = Activity {
                    list: self.library.fingerprint(),
                    paused: status.paused,
                    failed: status.failed,
                    ..self.uploads.activity(instant(now))
                };
                net.say(conn, self.node, &ToManager::Ok(said.bounded()), &[]);
            }
            FromManager::Bind { lease, slots, for_ms, key } => {
                self.bindings.bind(lease, slots, now.saturating_add(for_ms), key);
                self.bound.insert(lease, now.saturating_add(for_ms));
                self.begin_early(net, now);
            }
            FromManager::Unbind { lease } => {
                self.bound.remove(&lease);
                if self.bindings.unbind(lease) {
                    net.say(conn, self.node, &ToManager::Unbound { lease }, &[]);
                }
            }
            FromManager::Fetch { file } => {
                self.replication.fetch(file);
                self.orders_due = true;
            }
            FromManager::Drop(dropped) => self.replication.dropped(&dropped),
            FromManager::List {} => self.library.tell_again(),
            FromManager::Error(no) => {
                if let Err(why) = self.network.warned(no.into(), instant(now)) {
                    self.part(net, &why, now);
                }
            }
            _ => {}
        }
    }

    // What the manager knows follows what there is: `publish`.

    fn publish(&mut self, net: &mut Net, now: Millis) {
        if self.publishing.is_some() || now < self.publish_at {
            return;
        }
        let Some((who, news)) = self.library.news(now) else { return };
        let (asks, file) = (who.clone(), news.file.clone());
        let (whole, published) = (news.whole, news.published);
        let (message, payload) = match &news.offer {
            Some(offer) => {
                let (layout, hashes) = (offer.manifest.layout(), offer.manifest.hashes().to_vec());
                let (size, piece_size, payload) =
                    (layout.size(), layout.piece_size().into(), hashes.len() as u64);
                (ToManager::Update { who: asks, file, size, piece_size, whole, published, payload }, hashes)
            }
            None => (ToManager::Query { who: asks, file, has: false }, Vec::new()),
        };
        self.publishing = Some(self.ask(net, now, Talk::Publish(who, news), &message, &payload));
    }

    /// The manager has answered a question, or has not.
    fn answered(&mut self, net: &mut Net, disk: &mut Disk, conn: ConnId, line: Option<&Line>, now: Millis) {
        let message = line.and_then(Line::message::<FromManager>);
        let payload = line.map_or(&[][..], |line| &line.payload);
        let answer = match message {
            None => Err(Error::failed("the conversation broke")),
            Some(FromManager::Error(no)) => Err(Error::from(no)),
            Some(answer) => Ok(answer),
        };
        self.deadlines.remove(&conn);
        net.close(conn, self.node);
        let Some(talk) = self.talks.remove(&conn) else { return };
        match talk {
            Talk::Publish(who, news) => {
                self.publishing = None;
                if let (Ok(_), true, Some(offer)) = (&answer, news.whole, &news.offer) {
                    self.published.push((news.file.clone(), offer.id()));
                }
                if self.library.answered(&who, news, answer.map(drop)).is_err() {
                    self.publish_at = now + 300;
                }
            }
            Talk::Replace(file, there, former) => {
                self.asks = None;
                let elsewhere = match answer {
                    Ok(FromManager::Holders { found, .. }) => {
                        found.id != there.id() && found.holders.iter().any(|holder| holder.whole)
                    }
                    Err(no) if no.code() == Code::NotFound => false,
                    _ => {
                        self.settled = false;
                        return;
                    }
                };
                self.library.taken_off(&file);
                self.replace(net, disk, &file, &there, former, elsewhere, now);
            }
            Talk::DropCopy(there) => {
                self.asks = None;
                match answer {
                    Err(e) if e.code() != Code::NotFound => {
                        let stamp = disk.files.get(there.name()).map(|file| file.stamp);
                        self.fail(there.name(), stamp, now);
                    }
                    _ => self.offer(there),
                }
            }
            Talk::Drop(file) if answer.is_ok() => net.remark(self.node, format!("{file} is dropped")),
            Talk::Query(file, reminded) => {
                let found = answer.and_then(|answer| listing(&file, answer, payload));
                let id = found.as_ref().ok().map(|(found, _)| found.id());
                let dropped = id.and_then(|id| Some((id, self.library.when_dropped(&file, id)?)));
                match (dropped, reminded) {
                    (Some((id, at)), None) => {
                        let who = self.network.credentials();
                        let drop = ToManager::Drop { who, file: file.clone(), id: Some(id), at: Some(at) };
                        self.ask(net, now, Talk::Remind(file, id, at), &drop, &[]);
                    }
                    (_, reminded) => {
                        if let Some((id, at)) = reminded.filter(|(dropped, _)| Some(*dropped) == id) {
                            self.library.published(&file, id, at + 1);
                        }
                        self.begin_fetch(net, disk, &file, found, now);
                    }
                }
            }
            Talk::Remind(file, id, at) => match answer {
                Ok(_) => drop(self.query(net, &file, now, Talk::Query(file.clone(), Some((id, at))))),
                Err(_) => self.done(&file, None),
            },
            Talk::QueryAgain(file) => {
                let found = answer.and_then(|answer| listing(&file, answer, payload));
                let Some(Some(fetch)) = self.orders.get_mut(&file) else { return };
                fetch.asked = None;
                let Ok((found, holders)) = found else { return };
                if found.id() != fetch.manifest.id() {
                    return self.end_fetch(
                        net,
                        disk,
                        &file,
                        Err(Error::new(Code::Expired, "another content")),
                        now,
                    );
                }
                let is_listed = |peer| holders.iter().any(|holder| holder.peer == peer);
                let gone = fetch.state.silent(GONE, instant(now)).filter(|(peer, _)| !is_listed(*peer));
                let gone: Vec<_> = gone.map(|(_, &conn)| conn).collect();
                gone.into_iter().for_each(|conn| self.ended_with(net, conn, now));
                self.join(net, &file, holders, now);
            }
            _ => {}
        }
    }

    // The folder: `folder`, which waits for the manager now and then.

    fn look(&mut self, net: &mut Net, disk: &mut Disk, now: Millis) {
        loop {
            if self.asks.is_some() {
                return;
            }
            if let Some((file, sight)) = self.todo.pop_front() {
                self.settled &= self.settle(net, disk, &file, sight, now);
                continue;
            }
            if std::mem::take(&mut self.looking) {
                disk.save_drops(self.library.drops(), now);
                self.next_look = now + if self.settled { SCAN } else { SCAN / 2 };
            }
            if now >= self.next_look {
                self.begin_look(disk, now);
                continue;
            }
            if self.library.is_settled() {
                return;
            }
            let Some(file) = self.library.next_unsettled(*EPOCH) else { return };
            self.settle(net, disk, &file, Sight::default(), now);
            if self.library.is_settled() {
                disk.save_drops(self.library.drops(), now);
            }
        }
    }

    fn begin_look(&mut self, disk: &mut Disk, now: Millis) {
        self.next_look = now + SCAN;
        let mut offers = self.library.offers();
        offers.retain(|offer| offer.is_whole());
        let offered: Vec<_> = offers.iter().map(|offer| (offer.name().clone(), offer.id())).collect();
        if self.there.0 != Some(disk.changes) {
            let there = disk.files.iter().map(|(name, file)| (name.clone(), file.stamp));
            self.there = (Some(disk.changes), there.collect());
        }
        self.stamps.retain(|name, _| disk.files.contains_key(name));
        let known = |name: &FileName, stamp: &Stamp| {
            let known = self.stamps.get(name).filter(|(then, _)| then == stamp);
            let to = |(other, id): &(FileName, FileId), it: &Manifest| other.cmp(name).then(id.cmp(&it.id()));
            known.is_some_and(|(_, it)| offered.binary_search_by(|other| to(other, it)).is_ok())
                || self.failures.waits(name, Some(*stamp), instant(now))
        };
        let look = self.watch.look(&self.there.1, &offered, known);
        if look.is_disaster(offered.len(), 0)
            && look.is_disaster(offered.len(), found_again(disk, &look, &offered))
        {
            self.replication.pause(Some("files have vanished".into()));
            return;
        }
        if self.replication.pause(None) {
            self.library.unsettle_dropped();
        }
        (self.settled, self.looking) = (look.moving.is_empty(), true);
        self.todo.extend(look.sights());
    }

    fn read(&mut self, disk: &Disk, file: &FileName) -> Result<Arc<Manifest>> {
        let there = disk.files.get(file).ok_or_else(|| Error::new(Code::NotFound, "no such file"))?;
        let known = self.stamps.get(file).filter(|(then, _)| *then == there.stamp);
        if let Some((_, known)) = known {
            return Ok(Arc::clone(known));
        }
        let read = Arc::new(there.content.manifest(file));
        self.stamps.insert(file.clone(), (there.stamp, Arc::clone(&read)));
        Ok(read)
    }

    fn settle(&mut self, net: &mut Net, disk: &mut Disk, file: &FileName, sight: Sight, now: Millis) -> bool {
        let paused = self.replication.is_paused();
        let row = self.library.take_unsettled(file, paused);
        for id in &row.dropped {
            if !self.orders.contains_key(file) {
                disk.parts.remove(&(file.clone(), *id));
            }
        }
        let stamp = disk.files.get(file).map(|file| file.stamp);
        let read = match sight.changing {
            0 if stamp.is_none_or(|stamp| sight.agrees(stamp)) => self.read(disk, file),
            _ => Err(Error::new(Code::Busy, "somebody writes to it")),
        };
        let on_disk = sight.of(read.as_ref().map(|there| there.id()).map_err(Error::code));
        let own_copy = is_conflict_copy(file, &name_of(self.node));
        let facts = Facts {
            failed: self.failures.waits(file, stamp, instant(now)),
            unsteady_copy: own_copy && !self.watch.is_still(file),
            paused,
            ..facts_of(&self.library, file, &row, on_disk, stamp)
        };
        let action = decide(&facts);
        if action != Action::Leave {
            net.remark(self.node, format!("{file}: {action:?}"));
        }
        match (action, read, facts.offered) {
            (Action::LookAgain, ..) => return false,
            (Action::Withdraw, ..) => self.library.withdraw(file),
            (Action::Offer, Ok(there), _) => self.offer(there),
            (Action::Trash, ..) => self.trash(disk, file),
            (Action::SetAside, Ok(there), _) => {
                self.set_aside(net, disk, file, &there, None, now);
                if facts.wanted.is_some() {
                    self.replication.fetch(file.clone());
                    self.orders_due = true;
                }
            }
            (Action::Replace, Ok(there), OnOffer::Whole(former)) => {
                if self.network.number().is_none() {
                    return false;
                }
                let who = self.network.credentials();
                let query = ToManager::Query { who, file: file.clone(), has: false };
                let talk = Talk::Replace(file.clone(), there, former);
                self.asks = Some(self.ask(net, now, talk, &query, &[]));
            }
            _ => {}
        }
        if !matches!(action, Action::Leave | Action::LookAgain) {
            self.failures.forget(file);
            self.replication.fails(file, None);
        }
        true
    }

    fn fail(&mut self, file: &FileName, stamp: Option<Stamp>, now: Millis) {
        self.replication.fails(file, Some("cannot settle it".into()));
        self.failures.failed(file, stamp, instant(now));
    }

    fn offer(&self, there: Arc<Manifest>) {
        self.library.offer(Arc::new(Offer::whole(&self.replication.store, there)));
    }

    fn trash(&mut self, disk: &mut Disk, file: &FileName) {
        disk.trash(file);
        self.stamps.remove(file);
        self.library.withdraw(file);
    }

    #[expect(clippy::too_many_arguments, reason = "it is what the folder had in hand when it asked")]
    fn replace(
        &mut self,
        net: &mut Net,
        disk: &mut Disk,
        file: &FileName,
        there: &Arc<Manifest>,
        former: FileId,
        elsewhere: bool,
        now: Millis,
    ) {
        let dropped = self.library.when_dropped(file, there.id()).is_some();
        let own_copy = is_conflict_copy(file, &name_of(self.node));
        let action = replaced(dropped, elsewhere, own_copy);
        let moves = action == Action::Trash || action == Action::SetAside && !own_copy;
        match action {
            // Somebody has saved it once more meanwhile.
            _ if moves && disk.files.get(file).is_none_or(|now| now.content.id() != there.id()) => {
                self.library.withdraw(file);
                self.settled = false;
            }
            Action::Trash => self.trash(disk, file),
            Action::SetAside => self.set_aside(net, disk, file, there, Some(former), now),
            _ => self.offer(Arc::clone(there)),
        }
    }

    fn set_aside(
        &mut self,
        net: &mut Net,
        disk: &mut Disk,
        file: &FileName,
        there: &Arc<Manifest>,
        former: Option<FileId>,
        now: Millis,
    ) {
        if is_conflict_copy(file, &name_of(self.node)) {
            let who = self.network.credentials();
            let drop = ToManager::Drop { who, file: file.clone(), id: former, at: None };
            self.asks = Some(self.ask(net, now, Talk::DropCopy(Arc::clone(there)), &drop, &[]));
            return;
        }
        self.library.withdraw(file);
        self.stamps.remove(file);
        let stamp = disk.files.get(file).map(|file| file.stamp);
        match disk.set_aside(file, &name_of(self.node), there.id(), now) {
            Some(aside) => drop(self.settle(net, disk, &aside, Sight::default(), now)),
            None => self.fail(file, stamp, now),
        }
    }

    // Copies: `orders` and `download`.

    fn take_orders(&mut self, net: &mut Net, now: Millis) {
        while self.orders_due && self.orders.len() < WORKERS {
            self.orders_due = self.replication.status().waiting > 0;
            if !self.orders_due {
                return;
            }
            let Some(file) = self.replication.next_order() else { return };
            self.orders.insert(file.clone(), None);
            self.query(net, &file, now, Talk::Query(file.clone(), None));
        }
    }

    fn query(&mut self, net: &mut Net, file: &FileName, now: Millis, talk: Talk) -> ConnId {
        let who = self.network.credentials();
        let query = ToManager::Query { who, file: file.clone(), has: true };
        self.ask(net, now, talk, &query, &[])
    }

    fn done(&mut self, file: &FileName, why: Option<Error>) {
        self.orders.remove(file);
        self.orders_due = true;
        self.replication.fetched(file, why);
    }

    fn begin_fetch(
        &mut self,
        net: &mut Net,
        disk: &mut Disk,
        file: &FileName,
        found: Result<(Manifest, Vec<Holder>)>,
        now: Millis,
    ) {
        let Ok((found, holders)) = found else { return self.done(file, None) };
        let (id, is_whole_somewhere) = (found.id(), holders.iter().any(|holder| holder.whole));
        let here = self
            .library
            .get(file)
            .is_some_and(|offer| offer.id() == id && (!offer.is_whole() || self.serves(disk, file, id)));
        if self.library.when_dropped(file, id).is_some() || here {
            return self.done(file, None);
        }
        if disk.files.contains_key(file) {
            if is_whole_somewhere {
                self.library.in_the_way(file, id);
            }
            return self.done(file, Some(Error::new(Code::Conflict, "another file is called so")));
        }
        if disk.refuses_piece(now) {
            return self.done(file, Some(Error::new(Code::Busy, "the disk is full")));
        }
        let found = Arc::new(found);
        let part = disk.parts.entry((file.clone(), id)).or_insert_with(|| Part {
            manifest: (*found).clone(),
            bytes: vec![0; found.layout().size() as usize],
            synced: false,
        });
        let partial = Arc::new(Partial::nowhere(Arc::clone(&found)));
        for piece in found.layout().iter() {
            // What a former life has left is hashed.
            let _ = partial.write(piece, &part.bytes[piece.offset() as usize..][..piece.len()]);
        }
        let offer = Arc::new(Offer::part(&self.replication.store, &partial));
        self.library.offer(Arc::clone(&offer));
        let download = self.uploads.requesters.lock().register.begin(&found, instant(now));
        self.uploads.requesters.lock().register.found(download, partial.have().count());
        let picker = Picker::new(partial.have(), PickOrder::Rarest, net.rng.random());
        let state = Neighbours::new(picker, instant(now));
        let (manifest, next_query, asked) = (found, now + QUERY_PAUSE, None);
        let fetch = Fetch { download, manifest, partial, offer, state, next_query, asked };
        if let Some(order) = self.orders.get_mut(file) {
            *order = Some(fetch);
        }
        self.join(net, file, holders, now);
        self.finish(net, disk, file, now);
    }

    /// Connects to holders that are not listened to yet.
    fn join(&mut self, net: &mut Net, file: &FileName, holders: Vec<Holder>, now: Millis) {
        let (own, requester) = (self.network.addr, self.network.credentials().peer);
        for holder in holders.into_iter().filter(|holder| holder.addr != own && holder.peer != requester) {
            let Some(Some(fetch)) = self.orders.get_mut(file) else { return };
            if let Err(makes_room) = fetch.state.admit(&holder, NEIGHBOURS, instant(now)) {
                makes_room.into_iter().for_each(|conn| self.ended_with(net, conn, now));
                continue;
            }
            let (to, pass) = (node_at(holder.addr), holder.pass.clone());
            let conn = net.connect(self.node, to);
            if net.carries(self.node, to) {
                fetch.state.connected(holder.peer, conn, instant(now));
            }
            let who = if pass.is_some() { requester } else { NOBODY };
            let join = ToPeer::Join { peer: who, file: file.clone(), id: fetch.manifest.id(), pass };
            net.say(conn, self.node, &join, &[]);
            self.talks.insert(conn, Talk::Fetch(file.clone(), holder));
            self.deadlines.insert(conn, now + ANSWER_TIME);
        }
    }

    fn attend(&mut self, net: &mut Net, disk: &mut Disk, now: Millis) {
        let files: Vec<FileName> = self.orders.keys().cloned().collect();
        for file in files {
            let Some(Some(fetch)) = self.orders.get_mut(&file) else { continue };
            let is_void = self.replication.is_void(&file, fetch.manifest.id());
            let failed = if is_void || self.replication.is_paused() {
                Some(Error::failed("it is stopped"))
            } else if fetch.state.quiet(instant(now)) >= stall(self.network.config.upload.round) {
                Some(Error::failed("nothing has come"))
            } else if fetch.state.lonely(instant(now)) >= ORDER_PATIENCE {
                Some(Error::new(Code::NotFound, "no holder could be reached"))
            } else {
                None
            };
            if let Some(why) = failed {
                self.end_fetch(net, disk, &file, Err(why), now);
            } else if now >= fetch.next_query {
                fetch.next_query = now + QUERY_PAUSE;
                if fetch.asked.is_none() {
                    let asked = self.query(net, &file, now, Talk::QueryAgain(file.clone()));
                    if let Some(Some(fetch)) = self.orders.get_mut(&file) {
                        fetch.asked = Some(asked);
                    }
                }
                self.leave_those_that_owe(net, &file, now);
                self.post(net, &file, now);
            }
        }
    }

    /// Holders that owe pieces for long are asked no more.
    fn leave_those_that_owe(&mut self, net: &mut Net, file: &FileName, now: Millis) {
        let Some(Some(Fetch { state, .. })) = self.orders.get(file) else { return };
        let owe = state.lines().filter(|(peer, _)| state.patience(*peer, instant(now)).is_err());
        let owe: Vec<_> = owe.map(|(_, &conn)| conn).collect();
        owe.into_iter().for_each(|conn| self.ended_with(net, conn, now));
    }

    fn hear_holder(
        &mut self,
        net: &mut Net,
        disk: &mut Disk,
        conn: ConnId,
        (file, holder): (&FileName, &Holder),
        line: &Line,
        now: Millis,
    ) {
        self.deadlines.remove(&conn);
        let Some(Some(fetch)) = self.orders.get_mut(file) else { return };
        let Fetch { download, manifest, partial, state, .. } = fetch;
        let (peer, id, layout, mut barred) = (holder.peer, manifest.id(), manifest.layout(), false);
        state.heard(peer, instant(now));
        match line.message::<FromPeer>() {
            Some(FromPeer::Bitfield { .. }) => {
                if let Ok(has) = Bitfield::from_wire(layout, &line.payload) {
                    state.picker.joined(peer, has);
                }
            }
            Some(FromPeer::Have { piece }) => {
                let Ok(piece) = layout.piece(piece) else { return };
                state.picker.gained(peer, piece);
                self.uploads.requesters.lock().holder_has(holder, id, piece);
            }
            Some(FromPeer::Choke {}) => state.picker.choked(peer),
            Some(FromPeer::Unchoke {}) => state.picker.unchoked(peer),
            Some(FromPeer::Piece { piece, .. }) => {
                let Ok(piece) = layout.piece(piece) else { return };
                // Here a piece takes a few round trips.
                state.picker.paced(peer, false);
                if state.picker.arrived(peer, piece) {
                    if disk.refuses_piece(now) {
                        let full = Err(Error::new(Code::Busy, "the disk is full"));
                        return self.end_fetch(net, disk, file, full, now);
                    }
                    match partial.write(piece, &line.payload) {
                        Ok(Written::Kept) => {
                            let part = disk.parts.get_mut(&(file.clone(), id));
                            let part = part.expect("a download that runs keeps its part");
                            part.bytes[piece.offset() as usize..][..piece.len()]
                                .copy_from_slice(&line.payload);
                            part.synced = false;
                            state.kept(piece, peer, instant(now));
                            let (mut requesters, len) = (self.uploads.requesters.lock(), piece.len() as u64);
                            requesters.register.came(*download, holder, len, instant(now));
                            requesters.have(id, piece);
                        }
                        _ => {
                            net.faults.caught += 1;
                            barred = state.lied(piece, peer);
                        }
                    }
                }
            }
            _ => return self.ended_with(net, conn, now),
        }
        self.post(net, file, now);
        if barred {
            self.ended_with(net, conn, now);
        }
        self.finish(net, disk, file, now);
    }

    fn ended_with(&mut self, net: &mut Net, conn: ConnId, now: Millis) {
        net.close(conn, self.node);
        self.ended(net, &mut Disk::default(), conn, now);
    }

    /// Says what each neighbour can be told and asked for now.
    fn post(&mut self, net: &mut Net, file: &FileName, now: Millis) {
        let Some(Some(fetch)) = self.orders.get_mut(file) else { return };
        for (conn, says) in fetch.state.post(instant(now)) {
            says.iter().for_each(|message| net.say(conn, self.node, message, &[]));
        }
    }

    /// A download that has all pieces gets its name.
    fn finish(&mut self, net: &mut Net, disk: &mut Disk, file: &FileName, now: Millis) {
        let Some(fetch) = self.orders.get(file).and_then(Option::as_ref) else { return };
        if fetch.state.picker.is_done() {
            let there = Arc::clone(&fetch.manifest);
            let part = (file.clone(), there.id());
            let published = match disk.sync(&part, now).then(|| disk.publish(&part, now)) {
                None => Err(Error::new(Code::Busy, "the disk is full")),
                Some(Some(stamp)) => {
                    let id = disk.files[file].content.id();
                    assert_eq!(id, there.id(), "{file} gets its name, and its bytes are others");
                    self.stamps.insert(file.clone(), (stamp, there));
                    Ok(())
                }
                Some(None) => Err(Error::new(Code::Conflict, "another file is called so")),
            };
            self.end_fetch(net, disk, file, published, now);
        }
    }

    fn end_fetch(&mut self, net: &mut Net, disk: &mut Disk, file: &FileName, ended: Result<()>, now: Millis) {
        let Some(fetch) = self.orders.get_mut(file).and_then(Option::take) else { return };
        let is_its = |talk: &Talk| matches!(talk, Talk::Fetch(its, _) | Talk::QueryAgain(its) if its == file);
        for (conn, _) in self.talks.extract_if(.., |_, talk| is_its(talk)) {
            self.deadlines.remove(&conn);
            net.close(conn, self.node);
        }
        self.uploads.requesters.lock().register.end(fetch.download);
        let id = fetch.manifest.id();
        match ended {
            Ok(()) => {
                fetch.offer.complete();
                self.library.completed(file);
                self.done(file, None);
            }
            Err(why) => {
                self.library.take_back(&fetch.offer);
                let is_void = self.replication.is_void(file, id);
                if is_void {
                    disk.parts.remove(&(file.clone(), id));
                }
                match why.code() {
                    _ if is_void || self.replication.is_paused() => return self.done(file, None),
                    Code::Expired => {
                        self.query(net, file, now, Talk::Query(file.clone(), None));
                        return;
                    }
                    Code::Conflict => self.library.in_the_way(file, id),
                    _ => {}
                }
                self.done(file, Some(why));
            }
        }
    }

    // What others want of this peer.

    /// Whether a whole file is still what was hashed.
    fn serves(&self, disk: &Disk, file: &FileName, id: FileId) -> bool {
        let known = self.stamps.get(file).filter(|(_, known)| known.id() == id);
        known.is_some_and(|(then, _)| disk.files.get(file).is_some_and(|there| there.stamp == *then))
    }

    fn asked(&mut self, net: &mut Net, conn: ConnId, line: &Line, now: Millis) {
        let Some(message) = line.message::<ToPeer>() else { return };
        let rest = now + limits::REST_TIME.as_millis() as Millis;
        match (self.talks.get(&conn), message) {
            (None | Some(Talk::Serve), asked @ ToPeer::Multiply { .. }) => {
                self.talks.insert(conn, Talk::Serve);
                self.begin(net, conn, asked, &line.payload, now, None);
            }
            (None, ToPeer::Join { peer, file, id, pass }) => {
                let shown = pass.as_ref().is_some_and(|pass| self.network.is_pass(pass, peer, id));
                if peer != NOBODY && !shown {
                    let no = Error::new(Code::Unauthorised, "that pass shows nothing");
                    return self.refuse(net, conn, &no, now);
                }
                match self.library.find(&file, id).and_then(|offer| self.take_seat(peer, offer, now)) {
                    Ok(seat) => {
                        let has = seat.offer.have().as_bytes().to_vec();
                        let payload = has.len() as u64;
                        net.say(conn, self.node, &FromPeer::Bitfield { payload }, &has);
                        self.talks.insert(conn, Talk::Upload(seat));
                        self.deadlines.insert(conn, rest);
                    }
                    Err(no) => self.refuse(net, conn, &no, now),
                }
            }
            (Some(Talk::Upload(seat)), wish) => match self.hear_wish(seat, &wish, now) {
                Ok(true) => {
                    self.deadlines.insert(conn, rest);
                }
                Ok(false) => {
                    net.close(conn, self.node);
                    self.forget(conn, now);
                }
                Err(no) => self.refuse(net, conn, &no, now),
            },
            _ => {}
        }
    }

    /// A peer wants pieces. All are at one address.
    fn take_seat(&self, peer: PeerId, offer: Arc<Offer>, now: Millis) -> Result<Seat> {
        let (addr, served, at) = (self.network.addr, Arc::clone(&offer), instant(now));
        let (requester, says) = self.uploads.requesters.lock().admit(peer, addr, served, at)?;
        Ok(Seat { peer, requester, offer, says, sending: None })
    }

    /// What a requester says, as in `hear_wishes`. False when it is served no more.
    fn hear_wish(&self, seat: &Seat, wish: &ToPeer, now: Millis) -> Result<bool> {
        let (requester, offer, layout) = (seat.requester, &seat.offer, seat.offer.manifest.layout());
        let (name, mut requesters) = (self.network.name_of(seat.peer), self.uploads.requesters.lock());
        name.into_iter().for_each(|name| requesters.named(requester, name));
        match *wish {
            ToPeer::Interested { on } => Ok(requesters.interested(requester, on, instant(now))),
            ToPeer::Request { piece } => {
                let piece = layout.piece(piece)?;
                requesters.ask(requester, piece, offer.have().contains(piece))
            }
            ToPeer::Have { piece } => Ok(requesters.has(requester, layout.piece(piece)?)),
            ToPeer::Wrong { .. } if requesters.may_complain(requester) => Ok(true),
            ref other => Err(unexpected(other, "what a requester says")),
        }
    }

    /// Judges in rounds which requesters are served.
    fn judge_uploads(&mut self, now: Millis) {
        if now >= self.round_at {
            self.round += 1;
            self.round_at = now + ROUND.as_millis() as Millis;
            self.uploads.requesters.lock().judge(Occasion::of_round(self.round), instant(now));
        }
    }

    /// Says what the requesters are to be told now.
    fn send_pieces(&mut self, net: &mut Net, disk: &Disk, now: Millis) {
        let next = |(&conn, talk): (&ConnId, &mut Talk)| match talk {
            Talk::Upload(seat) => Some((conn, Arc::clone(&seat.offer), seat.next_say(now)?)),
            _ => None,
        };
        while let Some((conn, offer, say)) = self.talks.iter_mut().find_map(next) {
            let request = match say {
                Say::Piece(request) => request,
                Say::Message(message) => {
                    net.say(conn, self.node, &message, &[]);
                    continue;
                }
            };
            let sent = self.send_piece(net, disk, conn, (&offer, request.piece), now);
            self.uploads.requesters.lock().done(request, sent.is_ok(), instant(now));
            sent.unwrap_or_else(|no| self.refuse(net, conn, &no, now));
        }
    }

    fn refuse(&mut self, net: &mut Net, conn: ConnId, no: &Error, now: Millis) {
        net.say(conn, self.node, &FromPeer::Error(Refusal::from(no)), &[]);
        net.close(conn, self.node);
        self.forget(conn, now);
    }

    /// Others have ended a conversation, or are refused. A requester gives up its seat.
    fn forget(&mut self, conn: ConnId, now: Millis) {
        self.deadlines.remove(&conn);
        if let Some(Talk::Upload(seat)) = self.talks.remove(&conn) {
            self.uploads.requesters.lock().leave(seat.requester, instant(now));
        }
    }

    fn send_piece(
        &self,
        net: &mut Net,
        disk: &Disk,
        conn: ConnId,
        (offer, piece): (&Offer, Piece),
        now: Millis,
    ) -> Result<()> {
        let (file, id) = (offer.name(), offer.id());
        let range = piece.offset() as usize..piece.offset() as usize + piece.len();
        let here = self.library.find(file, id).is_ok() && offer.have().contains(piece);
        let bytes = match disk.parts.get(&(file.clone(), id)) {
            _ if !here => None,
            _ if offer.is_whole() => {
                self.serves(disk, file, id).then(|| disk.files[file].content.bytes[range].to_vec())
            }
            part => part.map(|part| part.bytes[range].to_vec()),
        };
        let mut bytes =
            bytes.ok_or_else(|| Error::new(Code::NotFound, format!("{file} was changed here")))?;
        if now < self.lies_until {
            bytes[0] ^= 1;
        }
        let answer = FromPeer::Piece { piece: piece.index(), payload: bytes.len() as u64 };
        net.say(conn, self.node, &answer, &bytes);
        Ok(())
    }

    /// A product may begin, or is refused. Its `bind` may be on its way.
    fn begin(
        &mut self,
        net: &mut Net,
        conn: ConnId,
        asked: ToPeer,
        payload: &[u8],
        now: Millis,
        by: Option<Millis>,
    ) {
        let ToPeer::Multiply { lease, ref key, product, .. } = asked else { return };
        let question = payload.try_into().map_or(0, u64::from_be_bytes);
        let answer = answer_of(question) ^ u64::from(now < self.lies_until);
        if self.network.is_exam(lease, key) {
            return net.say(conn, self.node, &product_message(product), &answer.to_be_bytes());
        }
        match self.bindings.begin(lease, key, now) {
            Begin::Go => {
                let until = self.bound.get(&lease).copied();
                assert!(
                    until.is_some_and(|until| now < until),
                    "a product of the lease {lease} began after its end"
                );
                let ends = now + net.rng.random_range(20..2_500);
                self.products.push(Product { conn, lease, product, answer, ends });
                assert!(self.products.len() <= self.slots as usize, "more products than slots");
            }
            Begin::Unknown if by.is_none_or(|by| now < by) => {
                let by = by.unwrap_or(now + limits::BIND_LAG.as_millis() as Millis);
                self.early.push((conn, asked, payload.to_vec(), by));
            }
            Begin::LeaseBusy | Begin::PeerBusy => {
                self.refuse(net, conn, &Error::new(Code::Busy, "all slots are in use"), now)
            }
            Begin::WrongKey => self.refuse(net, conn, &Error::new(Code::Unauthorised, "not your lease"), now),
            _ => self.refuse(net, conn, &Error::new(Code::Expired, "the lease does not run here"), now),
        }
    }

    fn begin_early(&mut self, net: &mut Net, now: Millis) {
        for (conn, asked, payload, by) in std::mem::take(&mut self.early) {
            self.begin(net, conn, asked, &payload, now, Some(by));
        }
    }

    fn end_products(&mut self, net: &mut Net, now: Millis) {
        if self.early.iter().any(|(.., by)| *by <= now) {
            self.begin_early(net, now);
        }
        let ended: Vec<_> = self.products.extract_if(.., |it| it.ends <= now).collect();
        for Product { conn, lease, product, answer, .. } in ended {
            net.say(conn, self.node, &product_message(product), &answer.to_be_bytes());
            if self.bindings.end(lease)
                && let (Some(member), Some(_)) = (self.member, self.network.number())
            {
                net.say(member, self.node, &ToManager::Unbound { lease }, &[]);
            }
        }
    }

    // What a person does here.

    /// Has so many products computed by slots that are leased.
    pub(crate) fn multiply(&mut self, net: &mut Net, disk: &mut Disk, slots: u32, products: u32) {
        let left = (0..products).collect();
        self.jobs.push(Job { slots, left, again: Some(net.clock(self.node)), ..Job::default() });
        self.follow(net, disk);
    }

    /// Drops a file everywhere.
    pub(crate) fn drop_file(&mut self, net: &mut Net, disk: &mut Disk, file: &FileName) {
        if self.network.number().is_some() {
            let who = self.network.credentials();
            let drop = ToManager::Drop { who, file: file.clone(), id: None, at: None };
            self.ask(net, net.clock(self.node), Talk::Drop(file.clone()), &drop, &[]);
        }
        self.follow(net, disk);
    }

    /// Takes what was dropped last under a name out of the trash, where the name is free.
    pub(crate) fn restore(&mut self, net: &mut Net, disk: &mut Disk, file: &FileName) {
        let now = net.clock(self.node);
        let mut drops = self.library.drops();
        drops.sort_by_key(|drop| std::cmp::Reverse(drop.at));
        let last = drops.into_iter().find(|drop| drop.file == *file);
        let Some(Dropped { id, at, .. }) = last else { return };
        if let Some(stamp) = disk.restore(file, id, now) {
            let there = Arc::new(disk.files[file].content.manifest(file));
            self.stamps.insert(file.clone(), (stamp, Arc::clone(&there)));
            self.library.published(file, id, now.max(at + 1));
            self.offer(there);
        }
        self.follow(net, disk);
    }

    fn go_on_with_jobs(&mut self, net: &mut Net, now: Millis) {
        for n in 0..self.jobs.len() {
            let job = &mut self.jobs[n];
            if let (Some(conn), Some(at)) = (job.conn, job.renew_at)
                && at <= now
            {
                job.renew_at = None;
                net.say(conn, self.node, &ToManager::Renew {}, &[]);
            }
            if job.over || job.conn.is_some() || job.again.is_none_or(|at| now < at) {
                continue;
            }
            job.again = None;
            if job.left.is_empty() && !self.is_out(n) {
                self.jobs[n].over = true;
                continue;
            }
            let conn = net.connect(self.node, MANAGER);
            self.talks.insert(conn, Talk::Job(n));
            self.deadlines.insert(conn, now + 2 * ANSWER_TIME);
            self.jobs[n].conn = Some(conn);
            self.lease(net, n);
        }
    }

    fn lease(&mut self, net: &mut Net, n: usize) {
        let registered = self.network.number().is_some();
        let who = if registered { self.network.credentials() } else { Credentials::default() };
        let (slots, avoid) = (self.jobs[n].slots, self.jobs[n].avoid.clone());
        if let Some(conn) = self.jobs[n].conn {
            net.say(conn, self.node, &ToManager::Lease { who, slots, avoid }, &[]);
        }
    }

    /// Whether products of a multiply are being computed somewhere.
    fn is_out(&self, n: usize) -> bool {
        self.talks.values().any(|talk| matches!(talk, Talk::Slot(job, ..) if *job == n))
    }

    fn hear_of_lease(&mut self, net: &mut Net, conn: ConnId, n: usize, line: &Line, now: Millis) {
        self.deadlines.insert(conn, now + 2 * ANSWER_TIME);
        match line.message::<FromManager>() {
            Some(FromManager::Wait { .. }) => {
                net.say(conn, self.node, &ToManager::Ok(Activity::default()), &[])
            }
            Some(FromManager::Leased { lease, slots, for_ms }) => {
                self.jobs[n].renew_at = Some(now + for_ms / 2);
                if self.jobs[n].lease.replace(lease) != Some(lease) {
                    self.use_slots(net, n, slots);
                }
            }
            Some(FromManager::Expired { .. } | FromManager::Released {}) => {
                let job = &mut self.jobs[n];
                (job.lease, job.renew_at) = (None, None);
                self.rest(net, n);
            }
            Some(FromManager::Error(no)) => {
                let job = &mut self.jobs[n];
                job.gave_up += 1;
                job.avoid.clear();
                // It is told why; a person would try again, and give up some time.
                job.over = job.gave_up >= 3 && no.code == Code::Infeasible;
                (job.conn, job.lease, job.again) = (None, None, Some(now + 3_000));
                self.talks.remove(&conn);
                self.deadlines.remove(&conn);
                net.close(conn, self.node);
            }
            _ => {}
        }
    }

    fn use_slots(&mut self, net: &mut Net, n: usize, slots: Vec<PeerCard>) {
        for card in slots {
            (0..card.slots).for_each(|_| self.send_product(net, n, &card));
        }
        self.rest(net, n);
    }

    /// Sends the next product to a slot, if there is one.
    fn send_product(&mut self, net: &mut Net, n: usize, card: &PeerCard) {
        let (Some(lease), Some(key)) = (self.jobs[n].lease, card.key.clone()) else { return };
        let Some(product) = self.jobs[n].left.pop() else { return };
        let conn = net.connect(self.node, node_at(card.addr));
        let multiply = ToPeer::Multiply { lease, key, product, rows: 1, inner: 1, cols: 1, payload: 16 };
        net.say(conn, self.node, &multiply, &u64::from(product).to_be_bytes());
        self.talks.insert(conn, Talk::Slot(n, card.clone(), product));
        self.deadlines.insert(conn, net.clock(self.node) + 30_000);
    }

    fn hear_answer(
        &mut self,
        net: &mut Net,
        conn: ConnId,
        (n, card, product): (usize, PeerCard, u32),
        line: &Line,
    ) {
        self.talks.remove(&conn);
        self.deadlines.remove(&conn);
        net.close(conn, self.node);
        let (job, peer) = (&mut self.jobs[n], card.peer);
        match line.message::<FromPeer>() {
            Some(FromPeer::Product { product: its, .. }) if its == product => {
                if line.payload == answer_of(product.into()).to_be_bytes() {
                    self.send_product(net, n, &card);
                } else {
                    net.faults.caught += 1;
                    job.left.push(product);
                    job.avoid.push(peer);
                    if let Some(manager) = job.conn {
                        let blame = ToManager::Blame { peer, reason: "a wrong product".into() };
                        (0..net.times()).for_each(|_| net.say(manager, self.node, &blame, &[]));
                    }
                }
            }
            _ => job.left.push(product),
        }
        self.rest(net, n);
    }

    /// When nothing is being computed: the lease is given back, or another one is asked for, or all is done.
    fn rest(&mut self, net: &mut Net, n: usize) {
        if self.is_out(n) || self.jobs[n].over {
            return;
        }
        let Job { lease, conn, .. } = self.jobs[n];
        let Some(conn) = conn else { return };
        if lease.is_some() {
            net.say(conn, self.node, &ToManager::Release {}, &[]);
        } else if self.jobs[n].left.is_empty() {
            self.jobs[n].over = true;
            self.jobs[n].conn = None;
            self.talks.remove(&conn);
            self.deadlines.remove(&conn);
            net.close(conn, self.node);
        } else {
            self.lease(net, n);
        }
    }

    // What is looked at from outside.

    /// Its number, while it is registered, and how many products it computes.
    pub(crate) fn load(&self) -> (Option<PeerId>, u32) {
        (self.network.number(), self.products.len() as u32)
    }

    /// Whether its folder is paused: a person would restart it.
    pub(crate) fn is_paused(&self) -> bool {
        self.replication.is_paused()
    }

    /// Which pieces of a file it offers.
    pub(crate) fn part_of(&self, file: &FileName, id: FileId) -> Option<Bitfield> {
        self.library.get(file).filter(|offer| offer.id() == id).map(|offer| offer.have())
    }

    /// What is still to be done here, if anything is.
    pub(crate) fn unrest(&self, disk: &Disk) -> Option<String> {
        if self.network.number().is_none() {
            return Some("it is not registered".into());
        }
        if let Some(job) = self.jobs.iter().position(|job| !job.over) {
            return Some(format!("its multiply {job} is not done"));
        }
        let offers = self.library.offers();
        let whole = offers.iter().filter(|offer| offer.is_whole()).map(|offer| offer.name());
        // Both stand in the order of the names.
        if offers.len() == disk.files.len() && whole.clone().eq(disk.files.keys()) {
            return None;
        }
        if let Some(offer) = offers.iter().find(|offer| !disk.files.contains_key(offer.name())) {
            return Some(format!("{} is offered and does not lie there", offer.name()));
        }
        let name = disk.files.keys().find(|name| !whole.clone().any(|offered| offered == *name));
        name.map(|name| format!("{name} lies there and is not offered"))
    }
}

fn listing(file: &FileName, answer: FromManager, payload: &[u8]) -> Result<(Manifest, Vec<Holder>)> {
    let FromManager::Holders { found, .. } = answer else { return Err(Error::failed("no answer")) };
    let manifest = Manifest::from_wire(file.clone(), found.size, found.piece_size, payload)?;
    Ok((manifest, found.holders))
}

fn product_message(product: u32) -> FromPeer {
    FromPeer::Product { product, rows: 1, cols: 1, payload: 8 }
}

fn found_again(disk: &Disk, look: &Look, offered: &[(FileName, FileId)]) -> usize {
    let there = look.changed().filter_map(|name| disk.files.get(name).map(|file| &file.content));
    look.found_again(offered, there.filter(|it| !it.bytes.is_empty()).map(|it| it.id()).collect())
}

/// What the peer of a node calls itself.
pub(crate) fn name_of(node: NodeId) -> Name {
    // It is asked for at each look at a file, and a name is checked when it is made.
    static NAMES: LazyLock<[Name; 6]> =
        LazyLock::new(|| ["manager", "ada", "ben", "cyd", "dee", "eve"].map(|name| name.parse().unwrap()));
    NAMES[node].clone()
}
