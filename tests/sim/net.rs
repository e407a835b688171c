//! The cables, the clocks, and the queue of everything that is still to happen.
//!
//! # The rule
//! A connection keeps the order of what is said over it, as TCP does, and carries lines as they are on the wire. A
//! cable that *holds* delivers late what was said meanwhile. One that *breaks* loses it, and lets no new connection
//! through; who talked over it hears of that when the connection is used again, or never. A node that is frozen hears
//! everything when it wakes. One that is killed answers no more: the other side hears the end. A question whose answer
//! is lost is asked again over another connection, and the two may arrive in any order.

use std::collections::BTreeMap;
use std::rc::Rc;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Millis;
use crate::net::message::encode;

/// A node; the manager is the first.
pub(crate) type NodeId = usize;

/// The manager.
pub(crate) const MANAGER: NodeId = 0;

pub(crate) type ConnId = usize;

/// How long nobody answers that wants to connect over a broken cable.
const CONNECT_TIME: Millis = 2_000;

/// One question in so many is repeated.
const REPEATED: u32 = 50;

/// One line on the wire, and what follows it.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) text: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Line {
    /// The message in it; `None` where it is none of this kind.
    pub(crate) fn message<M: DeserializeOwned>(&self) -> Option<M> {
        serde_json::from_slice(&self.text).ok()
    }
}

/// What a node hears.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// Somebody says something, perhaps as the first in a conversation.
    Said(ConnId, Rc<Line>),
    /// The other side is gone, or nobody listens there.
    Ended(ConnId),
    /// It wanted to be woken.
    Woken,
}

/// What a cable does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cable {
    /// It carries.
    Carries,
    /// It carries nothing until then, and loses nothing.
    Holds(Millis),
    /// It loses everything until then.
    Broken(Millis),
}

struct Conn {
    ends: [NodeId; 2],
    /// Which lives of the two talk.
    lives: [u32; 2],
    open: [bool; 2],
    /// When the last that was said to each arrives.
    last: [Millis; 2],
    /// Something was lost, so nothing more arrives.
    torn: bool,
}

/// How often which faults have happened: what never happens shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Lines that a cable lost, and that it held.
    pub(crate) lost: u64,
    pub(crate) held: u64,
    /// Lines that waited for a node to wake.
    pub(crate) delayed: u64,
    pub(crate) repeated: u64,
    /// Pieces that a power cut took.
    pub(crate) zeroed: u64,
    /// What could not be written to a full disk.
    pub(crate) refused: u64,
    /// Wrong pieces and products that were noticed.
    pub(crate) caught: u64,
    /// What was said in the name of another, and refused.
    pub(crate) forged: u64,
}

impl Faults {
    /// Each with its name.
    pub(crate) fn all(self) -> [(&'static str, u64); 8] {
        let Self { lost, held, delayed, repeated, zeroed, refused, caught, forged } = self;
        let network = [("lost", lost), ("held", held), ("delayed", delayed), ("repeated", repeated)];
        let nodes = [("zeroed", zeroed), ("refused", refused), ("caught", caught), ("forged", forged)];
        [network, nodes].concat().try_into().unwrap()
    }
}

/// A clock that runs at a quarter of so many quarters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) base: Millis,
    pub(crate) quarters: Millis,
}

impl Clock {
    /// What it shows at this moment of virtual time.
    pub(crate) fn show(&self, now: Millis) -> Millis {
        self.base + now * self.quarters / 4
    }

    /// When it shows that.
    pub(crate) fn when(&self, shown: Millis) -> Millis {
        (shown.saturating_sub(self.base) * 4).div_ceil(self.quarters)
    }
}

/// Everything between the nodes.
pub(crate) struct Net {
    pub(crate) now: Millis,
    pub(crate) rng: SmallRng,
    pub(crate) clocks: Vec<Clock>,
    /// How often each node was started; `alive` says whether it runs.
    lives: Vec<u32>,
    pub(crate) alive: Vec<bool>,
    pub(crate) frozen: Vec<Millis>,
    cables: BTreeMap<(NodeId, NodeId), Cable>,
    conns: Vec<Conn>,
    queue: BTreeMap<(Millis, u64), (NodeId, u32, Input)>,
    count: u64,
    /// Of each node: when it is to be woken next.
    alarms: Vec<Millis>,
    /// How many lines were delivered.
    pub(crate) delivered: u64,
    pub(crate) faults: Faults,
    /// The lines of a run that is told, as a node's log has them.
    pub(crate) story: Option<Vec<(Millis, NodeId, String)>>,
}

impl Net {
    /// Between so many nodes, which do not run yet.
    pub(crate) fn new(clocks: Vec<Clock>, seed: u64, tell: bool) -> Self {
        let nodes = clocks.len();
        Self {
            now: 0,
            rng: SmallRng::seed_from_u64(seed),
            clocks,
            lives: vec![0; nodes],
            alive: vec![false; nodes],
            frozen: vec![0; nodes],
            cables: BTreeMap::new(),
            conns: Vec::new(),
            queue: BTreeMap::new(),
            count: 0,
            alarms: vec![Millis::MAX; nodes],
            delivered: 0,
            faults: Faults::default(),
            story: tell.then(Vec::new),
        }
    }

    /// What a node's clock shows.
    pub(crate) fn clock(&self, node: NodeId) -> Millis {
        self.clocks[node].show(self.now)
    }

    /// A node begins a new life.
    pub(crate) fn start(&mut self, node: NodeId) {
        self.lives[node] += 1;
        self.alive[node] = true;
        self.alarms[node] = Millis::MAX;
    }

    /// A node is killed: all that talked with it hear the end, as far as the cable carries it.
    pub(crate) fn kill(&mut self, node: NodeId) {
        (self.alive[node], self.frozen[node]) = (false, 0);
        for conn in 0..self.conns.len() {
            for side in [0, 1] {
                let it = &self.conns[conn];
                if it.ends[side] == node && it.lives[side] == self.lives[node] {
                    self.close(conn, node);
                }
            }
        }
    }

    /// What becomes of the cable between two nodes. One that breaks tears what was being said.
    pub(crate) fn cut(&mut self, a: NodeId, b: NodeId, cable: Cable) {
        self.cables.insert((a.min(b), a.max(b)), cable);
        if matches!(cable, Cable::Broken(_)) {
            let both = |conn: &&mut Conn| conn.ends == [a, b] || conn.ends == [b, a];
            self.conns.iter_mut().filter(both).for_each(|conn| conn.torn = true);
        }
    }

    fn cable(&self, a: NodeId, b: NodeId) -> Cable {
        match self.cables.get(&(a.min(b), a.max(b))) {
            Some(&Cable::Holds(until) | &Cable::Broken(until)) if until <= self.now => Cable::Carries,
            Some(&cable) => cable,
            None => Cable::Carries,
        }
    }

    /// All cables carry and all nodes are awake from now on.
    pub(crate) fn mend(&mut self) {
        self.cables.clear();
        for node in 0..self.frozen.len() {
            // What waits for it to wake comes now, before all that is said from now on.
            self.thaw_at(node, self.now);
            self.frozen[node] = 0;
        }
    }

    /// A node hears nothing for so long.
    pub(crate) fn freeze(&mut self, node: NodeId, time: Millis) {
        self.thaw_at(node, self.frozen[node].max(self.now + time));
    }

    /// A node wakes then. What waited for its waking before keeps its order, and comes before all that is said later.
    fn thaw_at(&mut self, node: NodeId, thaws: Millis) {
        let before = std::mem::replace(&mut self.frozen[node], thaws);
        let waits =
            |&(at, _): &(Millis, u64), (its, ..): &mut (NodeId, u32, Input)| *its == node && at == before;
        let waiting: Vec<_> = self.queue.extract_if(.., waits).map(|(_, input)| input).collect();
        if self.alarms[node] == before {
            self.alarms[node] = thaws;
        }
        waiting.into_iter().for_each(|(node, life, input)| self.push(thaws, node, life, input));
    }

    /// Whether a connection from one node to another would succeed now.
    pub(crate) fn carries(&self, a: NodeId, b: NodeId) -> bool {
        self.alive[b] && !matches!(self.cable(a, b), Cable::Broken(_))
    }

    fn push(&mut self, at: Millis, node: NodeId, life: u32, input: Input) {
        self.count += 1;
        self.queue.insert((at.max(self.now), self.count), (node, life, input));
    }

    fn delay(&mut self) -> Millis {
        // Mostly a moment, now and then a long one.
        if self.rng.random_ratio(1, 50) {
            self.rng.random_range(50..1_500)
        } else {
            self.rng.random_range(0..8)
        }
    }

    /// How often a question is asked: now and then twice, as by a node that has not heard the answer.
    pub(crate) fn times(&mut self) -> usize {
        let again = self.rng.random_ratio(1, REPEATED);
        self.faults.repeated += u64::from(again);
        1 + usize::from(again)
    }

    /// Begins a conversation. What is said in it may be said at once; where nobody listens, its end is heard.
    pub(crate) fn connect(&mut self, from: NodeId, to: NodeId) -> ConnId {
        let conn = self.conns.len();
        let (ends, lives) = ([from, to], [self.lives[from], self.lives[to]]);
        let torn = !self.carries(from, to);
        self.conns.push(Conn { ends, lives, open: [true, !torn], last: [self.now; 2], torn });
        if torn {
            let wait = if self.alive[to] { CONNECT_TIME } else { 1 };
            self.push(self.now + wait, from, lives[0], Input::Ended(conn));
        }
        conn
    }

    /// Says something over a connection, in order.
    pub(crate) fn say(&mut self, conn: ConnId, node: NodeId, message: &impl Serialize, payload: &[u8]) {
        let text = encode(message);
        if self.story.is_some() {
            self.tell(conn, node, '>', &text);
        }
        let line = Rc::new(Line { text, payload: payload.to_vec() });
        self.carry(conn, node, Input::Said(conn, line));
    }

    /// Ends a conversation; the other side hears that after all that was said.
    pub(crate) fn close(&mut self, conn: ConnId, node: NodeId) {
        let side = usize::from(self.conns[conn].ends[0] != node);
        if std::mem::replace(&mut self.conns[conn].open[side], false) {
            self.carry(conn, node, Input::Ended(conn));
        }
    }

    fn carry(&mut self, conn: ConnId, from: NodeId, input: Input) {
        let it = &self.conns[conn];
        let side = usize::from(it.ends[0] != from);
        let (to, life) = (it.ends[1 - side], it.lives[1 - side]);
        let is_word = matches!(input, Input::Said(..));
        let hears = it.open[1 - side] && self.alive[to] && self.lives[to] == life;
        let start = match self.cable(from, to) {
            Cable::Holds(until) => {
                self.faults.held += u64::from(is_word);
                until
            }
            Cable::Broken(_) => {
                self.faults.lost += u64::from(is_word);
                return self.conns[conn].torn = true;
            }
            Cable::Carries if is_word && (it.torn || !hears) => {
                // What is sent to nobody is answered by a reset.
                let own = it.lives[side];
                if std::mem::replace(&mut self.conns[conn].open[side], false) {
                    let wait = self.delay();
                    self.push(self.now + wait, from, own, Input::Ended(conn));
                }
                return;
            }
            Cable::Carries => self.now,
        };
        if self.conns[conn].torn || !hears {
            return;
        }
        let arrives = (start + self.delay()).max(self.conns[conn].last[1 - side]);
        self.conns[conn].last[1 - side] = arrives;
        self.push(arrives, to, life, input);
    }

    /// A node wants to be woken when its clock shows that.
    pub(crate) fn wake(&mut self, node: NodeId, shown: Millis) {
        let at = self.clocks[node].when(shown).max(self.now + 1);
        if at < self.alarms[node] || self.alarms[node] <= self.now {
            self.alarms[node] = at;
            self.push(at, node, self.lives[node], Input::Woken);
        }
    }

    /// When the next thing happens.
    pub(crate) fn next_time(&self) -> Option<Millis> {
        self.queue.first_key_value().map(|(&(at, _), _)| at)
    }

    /// The next thing that a living node hears; the time is that of it then.
    pub(crate) fn next(&mut self) -> Option<(NodeId, Input)> {
        let ((at, _), (node, life, input)) = self.queue.pop_first()?;
        self.now = at;
        if !self.alive[node] || self.lives[node] != life {
            return None;
        }
        if self.frozen[node] > at {
            if matches!(input, Input::Woken) && self.alarms[node] == at {
                self.alarms[node] = self.frozen[node];
            }
            self.faults.delayed += u64::from(matches!(input, Input::Said(..)));
            self.push(self.frozen[node], node, life, input);
            return None;
        }
        match &input {
            Input::Said(conn, line) => {
                let it = &self.conns[*conn];
                let side = usize::from(it.ends[0] != node);
                if !it.open[side] || it.torn {
                    self.faults.lost += u64::from(it.torn);
                    return None;
                }
                self.delivered += 1;
                if self.story.is_some() {
                    self.tell(*conn, node, '<', &line.text);
                }
            }
            Input::Ended(conn) => {
                let it = &mut self.conns[*conn];
                let side = usize::from(it.ends[0] != node);
                it.open[side] = false;
            }
            Input::Woken if self.alarms[node] != at => return None,
            Input::Woken => self.alarms[node] = Millis::MAX,
        }
        Some((node, input))
    }

    /// Writes a line as a log has it: where, which way, with whom, what.
    fn tell(&mut self, conn: ConnId, node: NodeId, way: char, text: &[u8]) {
        let side = usize::from(self.conns[conn].ends[0] != node);
        let other = self.conns[conn].ends[1 - side];
        // Who began has a port of its own for each connection.
        let addr = |one: usize, its: NodeId| match one {
            0 => format!("127.0.0.1:{}", 20_000 + conn),
            _ => format!("127.0.0.1:{}", port(its)),
        };
        let line = crate::net::message::shown(text);
        let told = format!("{} {way} {} {line}", addr(side, node), addr(1 - side, other));
        self.remark(node, told);
    }

    /// Something that a node does, for the story.
    pub(crate) fn remark(&mut self, node: NodeId, what: String) {
        let now = self.now;
        self.story.iter_mut().for_each(|story| story.push((now, node, what.clone())));
    }
}

/// Where a node listens.
pub(crate) fn port(node: NodeId) -> u16 {
    7000 + node as u16
}
