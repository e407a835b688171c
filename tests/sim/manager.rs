//! A manager in virtual time: the program's own table, and around it what its threads do.
//!
//! # What is the program's, and what is not
//! Every decision is [`Table`]'s. Here stands what `desk` and `sessions` do around it: which verb a message calls, who
//! is told what follows ([`Effect`]), and when somebody who waits is looked after again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::state::Table;
use super::state::effect::Effect;
use super::state::lease_book::TicketStanding;
use super::state::roster::{Exam, Reach, Wish};
use crate::clock::Millis;
use crate::error::{Code, Error, Result};
use crate::net::key::Key;
use crate::net::limits;
use crate::net::message::{
    Candidate, Credentials, Dropped, FileState, FromManager, FromPeer, LeaseId, PeerCard, PeerId, Refusal,
    Replicas, State, ToManager, ToPeer, plain, unexpected,
};
use crate::share::{FileId, FileName, Manifest};
use crate::sim::net::{ConnId, Input, Line, MANAGER, Net};
use crate::sim::{QUANTUM, answer_of, node_at};

/// How long a peer may be silent.
pub(crate) const DEAD_AFTER: Duration = Duration::from_secs(3);

/// How often peers are asked whether they are there, in how many parts.
const PING: Millis = 1_000;
const BEATS: u64 = 3;

/// How often one that waits is told where it stands.
const WAIT_NOTICE: Millis = 1_000;

/// How long a new peer, and one that was blamed, may take for a product.
const FIRST_EXAM_TIME: Millis = limits::FIRST_EXAM_TIME.as_millis() as Millis;
const EXAM_TIME: Millis = 5_000;

/// What one connection is about.
enum Talk {
    /// Nothing yet, or who has which file.
    Asks,
    Member(PeerId),
    Holder(Holder),
    /// The manager asks for a product itself.
    Exam {
        exam: Exam,
        is_first: bool,
        by: Millis,
        pause: Millis,
    },
}

/// One that wants slots.
struct Holder {
    step: Step,
}

enum Step {
    Wait { wish: Wish, ticket: Option<LeaseId>, answer_by: Option<Millis>, tell_at: Millis },
    Hold { lease: LeaseId, until: Millis },
    Rest { last: LeaseId },
}

impl Holder {
    fn ticket(&self) -> Option<LeaseId> {
        match &self.step {
            Step::Wait { ticket, .. } => *ticket,
            Step::Hold { lease, .. } => Some(*lease),
            Step::Rest { .. } => None,
        }
    }
}

/// A running manager.
pub(crate) struct Manager {
    table: Table,
    talks: BTreeMap<ConnId, Talk>,
    lines: BTreeMap<PeerId, ConnId>,
    /// New peers that are to be tried: when, and the pause after that.
    tries: Vec<(PeerId, Millis, Millis)>,
    beat: u64,
    looked: Millis,
    next_beat: Millis,
    next_list: Millis,
    next_plan: Option<Millis>,
    /// The number of the last lease that was granted out of the queue.
    granted: LeaseId,
    /// What everybody was told to drop.
    dropped: Vec<(FileName, FileId, Millis)>,
}

impl Manager {
    /// One that starts now, by its own clock.
    pub(crate) fn start(net: &mut Net, replicas: Replicas) -> Self {
        let now = net.clock(MANAGER);
        let key: [u8; 32] = rand::RngExt::random(&mut net.rng);
        let key = crate::share::hex(&key).parse::<Key>().unwrap();
        let table = Table::new(QUANTUM, replicas, now * 1000, key, now);
        net.wake(MANAGER, now);
        Self {
            table,
            talks: BTreeMap::new(),
            lines: BTreeMap::new(),
            tries: Vec::new(),
            beat: 0,
            looked: now,
            next_beat: now,
            next_list: now,
            next_plan: None,
            granted: 0,
            dropped: Vec::new(),
        }
    }

    /// Hears something, and does all that follows.
    pub(crate) fn hear(&mut self, net: &mut Net, input: Input) {
        let now = net.clock(MANAGER);
        match input {
            Input::Said(conn, line) => self.said(net, conn, &line, now),
            Input::Ended(conn) => self.ended(net, conn, now),
            Input::Woken => self.woken(net, now),
        }
        self.follow(net, now);
        let next = self.next_time();
        net.wake(MANAGER, next);
    }

    /// When something is due next.
    fn next_time(&self) -> Millis {
        let list = self.table.list_changed.then_some(self.next_list);
        let tries = self.tries.iter().map(|&(_, at, _)| at);
        let talks = self.talks.values().filter_map(|talk| match talk {
            Talk::Exam { by, .. } => Some(*by),
            Talk::Holder(Holder { step: Step::Wait { answer_by, tell_at, .. }, .. }) => {
                Some(answer_by.unwrap_or(*tell_at))
            }
            Talk::Holder(Holder { step: Step::Hold { until, .. }, .. }) => Some(*until),
            _ => None,
        });
        let all = tries.chain(talks).chain(list).chain(self.next_plan);
        all.chain([self.next_beat]).min().unwrap_or(Millis::MAX)
    }

    fn said(&mut self, net: &mut Net, conn: ConnId, line: &Line, now: Millis) {
        if let Some(Talk::Exam { exam, .. }) = self.talks.get(&conn) {
            let exam = exam.clone();
            let right = line.payload == answer_of(exam.lease).to_be_bytes();
            let passed = match line.message::<FromPeer>() {
                Some(FromPeer::Product { .. }) if right => Ok(()),
                Some(FromPeer::Error(no)) => Err(no.into()),
                answer => {
                    net.faults.caught += u64::from(answer.is_some());
                    Err(Error::new(Code::Check, "its product is wrong"))
                }
            };
            return self.examined(net, conn, passed, now);
        }
        let Some(message) = line.message::<ToManager>() else {
            return self.refuse(net, conn, &Error::new(Code::BadMessage, "no message"), true, now);
        };
        match self.talks.get(&conn) {
            None | Some(Talk::Asks) => self.first(net, conn, message, line, now),
            Some(&Talk::Member(peer)) => self.member(net, conn, peer, message, now),
            Some(Talk::Holder(_)) => self.holder(net, conn, message, now),
            Some(Talk::Exam { .. }) => {}
        }
    }

    fn ended(&mut self, net: &mut Net, conn: ConnId, now: Millis) {
        match self.talks.remove(&conn) {
            Some(Talk::Member(peer)) => {
                self.lines.remove(&peer);
                self.table.strike(peer, "its connection broke", now);
            }
            Some(Talk::Holder(holder)) => {
                if let Some(ticket) = holder.ticket() {
                    self.table.leave(ticket, now);
                }
            }
            Some(exam @ Talk::Exam { .. }) => {
                self.talks.insert(conn, exam);
                self.examined(net, conn, Err(Error::failed("the connection broke")), now);
            }
            _ => {}
        }
    }

    fn refuse(&mut self, net: &mut Net, conn: ConnId, no: &Error, ends: bool, now: Millis) {
        net.say(conn, MANAGER, &FromManager::Error(Refusal::from(no)), &[]);
        if ends {
            self.ended(net, conn, now);
            net.close(conn, MANAGER);
        }
    }

    /// `serve_node`: which conversation it is, and who has which file.
    fn first(&mut self, net: &mut Net, conn: ConnId, message: ToManager, line: &Line, now: Millis) {
        self.talks.insert(conn, Talk::Asks);
        match message {
            ToManager::Register(candidate) => self.register(net, conn, candidate, now),
            ToManager::Lease { who, slots, avoid } => self.wish(net, conn, &who, slots, avoid, now),
            request => match self.answer(request, &line.payload, now) {
                Ok((answer, payload)) => net.say(conn, MANAGER, &answer, &payload),
                Err(no) => {
                    let ends = matches!(no.code(), Code::Failed | Code::BadMessage);
                    self.refuse(net, conn, &no, ends, now);
                }
            },
        }
    }

    /// `tracker::answer`.
    fn answer(&mut self, request: ToManager, payload: &[u8], now: Millis) -> Result<(FromManager, Vec<u8>)> {
        let table = &mut self.table;
        match request {
            ToManager::Query { who, file, has } => {
                let requester = table.roster.caller(&who)?;
                let (manifest, holders) = table.query(requester, &file, has, now)?;
                let (found, hashes) = (FileState::of(&manifest, holders, None), manifest.hashes().to_vec());
                Ok((FromManager::Holders { found, payload: hashes.len() as u64 }, hashes))
            }
            ToManager::Update { who, file, size, piece_size, whole, published, .. } => {
                let peer = table.roster.member(&who)?;
                let manifest = Manifest::from_wire(file, size, piece_size, payload)?;
                table.update(peer, &manifest, whole, published, now)?;
                Ok((FromManager::Updated { id: manifest.id() }, Vec::new()))
            }
            ToManager::Drop { who, file, id, at } => {
                let peer = table.roster.member(&who)?;
                table.drop_file(peer, &file, id, at, false, now)?;
                Ok((FromManager::Dropped {}, Vec::new()))
            }
            other => Err(unexpected(&other, "something else")),
        }
    }

    fn register(&mut self, net: &mut Net, conn: ConnId, candidate: Candidate, now: Millis) {
        match self.table.admit(candidate, DEAD_AFTER, now) {
            Ok(peer) => {
                self.talks.insert(conn, Talk::Member(peer));
                self.lines.insert(peer, conn);
                self.tries.push((peer, now, 500));
            }
            Err(no) => self.refuse(net, conn, &no, true, now),
        }
    }

    /// `stay_known`.
    fn member(&mut self, net: &mut Net, conn: ConnId, peer: PeerId, message: ToManager, now: Millis) {
        match message {
            ToManager::Ok(said) => self.table.heard(peer, said, now),
            ToManager::Unbound { lease } => self.table.unbound(peer, lease, now),
            ToManager::Drop { file, id, at, .. } => {
                if let Err(no) = self.table.drop_file(peer, &file, id, at, true, now) {
                    self.refuse(net, conn, &no, false, now);
                }
            }
            ToManager::Blame { peer: whom, reason } => self.table.complain(peer, whom, plain(&reason), now),
            ToManager::Quit {} => {
                self.ended(net, conn, now);
                net.close(conn, MANAGER);
            }
            other => self.refuse(net, conn, &unexpected(&other, "ok"), true, now),
        }
    }

    // Slots: `sessions::holder`, a step at a time.

    fn wish(
        &mut self,
        net: &mut Net,
        conn: ConnId,
        who: &Credentials,
        slots: u32,
        avoid: Vec<PeerId>,
        now: Millis,
    ) {
        match self.table.roster.caller(who) {
            Ok(requester) => {
                let wish = Wish { requester, slots, avoid };
                let ticket = self.ask(&wish, now);
                let step = Step::Wait { wish, ticket, answer_by: None, tell_at: now };
                self.talks.insert(conn, Talk::Holder(Holder { step }));
                self.look_after(net, conn, now);
            }
            Err(no) => self.refuse(net, conn, &no, true, now),
        }
    }

    /// Each peer has one place in the queue.
    fn ask(&mut self, wish: &Wish, now: Millis) -> Option<LeaseId> {
        let Table { book, roster, .. } = &mut self.table;
        (!book.waits(wish.requester)).then(|| book.ask(roster, wish.clone(), now))
    }

    fn step(&mut self, conn: ConnId, step: Step) {
        if let Some(Talk::Holder(holder)) = self.talks.get_mut(&conn) {
            holder.step = step;
        }
    }

    /// Looks after one that waits, holds, or has to answer.
    fn look_after(&mut self, net: &mut Net, conn: ConnId, now: Millis) {
        let Some(Talk::Holder(Holder { step, .. })) = self.talks.get(&conn) else { return };
        match *step {
            Step::Wait { answer_by: Some(by), .. } if now < by => {}
            Step::Wait { answer_by: Some(_), .. } => {
                self.refuse(net, conn, &Error::new(Code::Expired, "a `wait` was not answered"), true, now);
            }
            Step::Wait { ref wish, ticket, tell_at, .. } => {
                let wish = wish.clone();
                let ticket = ticket.or_else(|| self.ask(&wish, now));
                self.stand(net, conn, wish, ticket, tell_at, now);
            }
            Step::Hold { lease, until } if now >= until => {
                self.table.leave(lease, now);
                net.say(conn, MANAGER, &FromManager::Expired { lease }, &[]);
                self.step(conn, Step::Rest { last: lease });
            }
            Step::Hold { .. } | Step::Rest { .. } => {}
        }
    }

    fn stand(
        &mut self,
        net: &mut Net,
        conn: ConnId,
        wish: Wish,
        ticket: Option<LeaseId>,
        tell_at: Millis,
        now: Millis,
    ) {
        let last = ticket.unwrap_or_default();
        let standing = match ticket {
            Some(ticket) => self.table.standing(ticket, now),
            None => TicketStanding::Waiting(self.table.book.second(&self.table.roster, &wish)),
        };
        match standing {
            TicketStanding::Waiting(_) if now < tell_at => {
                self.step(conn, Step::Wait { wish, ticket, answer_by: None, tell_at });
            }
            TicketStanding::Waiting(wait) => {
                net.say(conn, MANAGER, &wait, &[]);
                let answer_by = Some(now + DEAD_AFTER.as_millis() as Millis / 2);
                self.step(conn, Step::Wait { wish, ticket, answer_by, tell_at: now + WAIT_NOTICE });
            }
            TicketStanding::Leased { until, slots } => {
                self.leased(net, conn, last, until, slots, now);
                self.step(conn, Step::Hold { lease: last, until });
            }
            TicketStanding::Infeasible { leasable } => {
                let no = Error::new(Code::Infeasible, "too many slots").with_leasable(leasable);
                self.refuse(net, conn, &no, false, now);
                self.step(conn, Step::Rest { last });
            }
            TicketStanding::Over => self.step(conn, Step::Rest { last }),
        }
    }

    fn leased(
        &self,
        net: &mut Net,
        conn: ConnId,
        lease: LeaseId,
        until: Millis,
        slots: Vec<PeerCard>,
        now: Millis,
    ) {
        let for_ms = until.saturating_sub(now);
        net.say(conn, MANAGER, &FromManager::Leased { lease, for_ms, slots }, &[]);
    }

    fn holder(&mut self, net: &mut Net, conn: ConnId, message: ToManager, now: Millis) {
        let Some(Talk::Holder(Holder { step })) = self.talks.get_mut(&conn) else { return };
        match (message, step) {
            (ToManager::Progress(_), _) => {}
            (ToManager::Ok(_), Step::Wait { answer_by, .. }) => {
                *answer_by = None;
                self.look_after(net, conn, now);
            }
            (ToManager::Ok(_), _) => {}
            (ToManager::Release {}, Step::Rest { .. }) => {
                net.say(conn, MANAGER, &FromManager::Released {}, &[])
            }
            (ToManager::Release {}, step) => {
                let ticket = match step {
                    Step::Wait { ticket, .. } => ticket.unwrap_or_default(),
                    Step::Hold { lease, .. } => *lease,
                    Step::Rest { last } => *last,
                };
                *step = Step::Rest { last: ticket };
                self.table.leave(ticket, now);
                net.say(conn, MANAGER, &FromManager::Released {}, &[]);
            }
            (ToManager::Renew {}, &mut Step::Hold { lease, .. }) => {
                self.table.book.renew(lease, now);
                if let TicketStanding::Leased { until, slots } = self.table.standing(lease, now) {
                    self.leased(net, conn, lease, until, slots, now);
                    self.step(conn, Step::Hold { lease, until });
                }
            }
            (ToManager::Renew {}, &mut Step::Rest { last }) => {
                net.say(conn, MANAGER, &FromManager::Expired { lease: last }, &[]);
            }
            (ToManager::Blame { peer, reason }, &mut Step::Hold { lease, .. }) => {
                if let Err(no) = self.table.blame(lease, peer, &reason, now) {
                    self.refuse(net, conn, &no, false, now);
                }
            }
            (ToManager::Blame { .. }, Step::Rest { .. }) => {}
            (ToManager::Lease { who, slots, avoid }, Step::Rest { .. }) => {
                self.wish(net, conn, &who, slots, avoid, now);
            }
            (other, _) => {
                self.refuse(net, conn, &unexpected(&other, "something else"), true, now);
            }
        }
    }

    // What the other threads do.

    fn woken(&mut self, net: &mut Net, now: Millis) {
        if now >= self.next_beat {
            let late = Duration::from_millis(now.saturating_sub(self.looked).saturating_sub(PING / BEATS));
            (self.looked, self.next_beat, self.beat) = (now, now + PING / BEATS, self.beat + 1);
            let beat = self.beat % BEATS;
            self.table.ping(|peer| peer % BEATS == beat);
            self.table.strike_silent(late, DEAD_AFTER, now);
        }
        let due: Vec<_> = self.tries.extract_if(.., |(_, at, _)| *at <= now).collect();
        for (peer, _, pause) in due {
            if let Some(exam) = self.table.first_exam(peer) {
                self.examine(net, exam, true, now + FIRST_EXAM_TIME, pause);
            }
        }
        let conns: Vec<ConnId> = self.talks.keys().copied().collect();
        for conn in conns {
            match self.talks.get(&conn) {
                Some(Talk::Exam { by, .. }) if *by <= now => {
                    self.examined(net, conn, Err(Error::failed("it does not answer")), now);
                    net.close(conn, MANAGER);
                }
                Some(Talk::Holder(_)) => self.look_after(net, conn, now),
                _ => {}
            }
        }
    }

    /// Asks a peer for a product.
    fn examine(&mut self, net: &mut Net, exam: Exam, is_first: bool, by: Millis, pause: Millis) {
        let conn = net.connect(MANAGER, node_at(exam.addr));
        let (lease, key) = (exam.lease, exam.key.clone());
        let multiply = ToPeer::Multiply { lease, key, product: 0, rows: 1, inner: 1, cols: 1, payload: 16 };
        net.say(conn, MANAGER, &multiply, &lease.to_be_bytes());
        self.talks.insert(conn, Talk::Exam { exam, is_first, by, pause });
    }

    fn examined(&mut self, net: &mut Net, conn: ConnId, passed: Result<()>, now: Millis) {
        let Some(Talk::Exam { exam, is_first, pause, .. }) = self.talks.remove(&conn) else { return };
        if !is_first {
            return self.table.examined(&exam, passed, now);
        }
        let there = passed.is_ok() || net.carries(MANAGER, node_at(exam.addr));
        let reach = if there { Reach::Yes } else { Reach::No("nobody listens there".into()) };
        self.table.tried(exam.peer, reach, &passed, now);
        if passed.is_err() {
            self.tries.push((exam.peer, now + pause, (pause * 2).min(5_000)));
        }
    }

    /// All that follows from a change: what is to be told, the list, the copies, the examinations.
    fn follow(&mut self, net: &mut Net, now: Millis) {
        loop {
            self.carry_out(net, now);
            if self.table.list_changed && now >= self.next_list {
                self.next_list = now + 200;
                let list = self.table.take_list();
                self.lines.values().for_each(|&conn| net.say(conn, MANAGER, &list, &[]));
            }
            if std::mem::take(&mut self.table.book.place_left) {
                // Those of the same peer may ask now.
                let second = |talk: &Talk| {
                    matches!(talk, Talk::Holder(Holder { step: Step::Wait { ticket: None, .. }, .. }))
                };
                let seconds: Vec<_> =
                    self.talks.iter().filter(|(_, it)| second(it)).map(|(&conn, _)| conn).collect();
                seconds.into_iter().for_each(|conn| self.look_after(net, conn, now));
            }
            if self.table.is_plan_due() || self.next_plan.is_some_and(|at| at <= now) {
                self.next_plan = self.table.replicate(now);
            } else if self.table.is_exam_due(now)
                && let Some(exam) = self.table.begin_exam(now)
            {
                self.examine(net, exam, false, now + EXAM_TIME, 0);
            } else {
                break;
            }
        }
        self.carry_out(net, now);
    }

    /// `Locked::carry_out`.
    fn carry_out(&mut self, net: &mut Net, now: Millis) {
        loop {
            let effects = self.table.take_effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Tell(peer, message) => {
                        self.lines.get(&peer).iter().for_each(|&&conn| net.say(conn, MANAGER, &message, &[]));
                    }
                    Effect::TellHolder(lease, message) => {
                        self.of_ticket(lease).iter().for_each(|&conn| net.say(conn, MANAGER, &message, &[]));
                    }
                    Effect::TellAll(message) => {
                        if let FromManager::Drop(Dropped { file, id, at }) = &message {
                            self.dropped.push((file.clone(), *id, *at));
                        }
                        self.lines.values().for_each(|&conn| net.say(conn, MANAGER, &message, &[]));
                    }
                    Effect::Turn(ticket) => {
                        let Table { book, roster, .. } = &self.table;
                        if book.leases(roster).any(|it| it.lease == ticket) {
                            // One that was hopeless for a moment is woken once more when it is granted.
                            assert!(
                                ticket >= self.granted,
                                "the lease {ticket} was granted after {}",
                                self.granted
                            );
                            self.granted = ticket;
                        }
                        if let Some(conn) = self.of_ticket(ticket) {
                            self.look_after(net, conn, now);
                        }
                    }
                    Effect::HangUp(peer) => {
                        if let Some(conn) = self.lines.remove(&peer) {
                            self.talks.remove(&conn);
                            net.close(conn, MANAGER);
                        }
                    }
                }
            }
        }
    }

    fn of_ticket(&self, lease: LeaseId) -> Option<ConnId> {
        let holds = |talk: &Talk| matches!(talk, Talk::Holder(holder) if holder.ticket() == Some(lease));
        self.talks.iter().find(|(_, talk)| holds(talk)).map(|(&conn, _)| conn)
    }

    // What is looked at from outside.

    /// How many slots of a peer the manager believes to be in use; `None` when it does not know that number.
    pub(crate) fn used(&self, peer: PeerId) -> Option<u32> {
        self.lines.contains_key(&peer).then(|| self.table.book.used(peer))
    }

    /// The lease that was granted last.
    pub(crate) fn last_lease(&self) -> LeaseId {
        self.granted
    }

    /// What this manager told everybody to drop, and when by its clock.
    pub(crate) fn dropped(&self) -> &[(FileName, FileId, Millis)] {
        &self.dropped
    }

    /// The files with their whole holders.
    pub(crate) fn listed(&self, net: &Net) -> Vec<FileState> {
        self.table.files(false, net.clock(MANAGER)).collect()
    }

    /// What its board shows.
    pub(crate) fn state(&self, net: &Net) -> State {
        self.table.state(net.clock(MANAGER))
    }

    /// Whether nobody waits, holds anything, or is still to be asked.
    pub(crate) fn is_idle(&self) -> bool {
        !self.talks.values().any(|talk| matches!(talk, Talk::Holder(holder) if holder.ticket().is_some()))
    }
}
