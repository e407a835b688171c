//! peerlab: a peer-to-peer network to read, run and measure.
//!
//! An always-on **manager** and any number of **peers**, each client and server at once. Peers lease each
//! other's slots, first come, first served, and multiply large matrices with Strassen's seven products; they
//! share files in verified pieces, and keep a copy of every file on every peer. It is written to be read:
//! every module begins with a lecture on its subject. Read it floor by floor, the ground floor first. The whole
//! protocol stands in [`net::message`].
//!
//! # The house
//! A room imports only rooms on floors below it, and no files import each other in a circle; a test holds both.
//!
//! | floor | rooms |
//! |---|---|
//! | the programs | `bin/manager`, `bin/peer`, `bin/uppercase` |
//! | what a user can ask of a peer | [`commands`] |
//! | two sides that do not know each other | [`manager`], [`peer`] |
//! | how nodes talk; what programs share | [`net`], [`cli`] |
//! | what is computed, what is shared | [`matrix`], [`share`] |
//! | the ground | [`error`], [`clock`], [`thread`] |
//!
//! Both sides are built alike: what is *known* (plain state, without sockets, threads or a clock; time and randomness
//! are passed in), one *lock* around it, and the *conversations* that wait. In the manager these are `manager/state`,
//! `desk` and `sessions`. A wing of the peer is a chapter of the report, its state first: `serve` has bindings,
//! `multiply` products, the `library` a row for each name, `swarm` requesters, `replication` the table of `decide`.
//! What thinks can be tested as tables, by properties and by the million.
//!
//! # Where something new goes
//! | what | where |
//! |---|---|
//! | a message, or a field | `net/message`: the enum of its direction; then the golden dialogue in `tests/golden`, and the table in `report/a-messages.md`, which a test compares |
//! | a verb | `commands/command.rs` (the grammar), a function beside its like that returns an `Outcome`, a line in `commands/mod.rs` |
//! | an option of a program | a field of `peer/config.rs`, or of `Settings` in `manager/mod.rs`; its text is its help |
//! | a rule of the manager | a pure function of `manager/state`, called from one verb of `Table`; its unit test stands beside it |
//! | a case in a file's life | a row of `peer/replication/decide.rs`, and its test there |
//! | a thread | `thread::start` with its name, and a row below |
//! | what must hold at any moment | `World::check` in `tests/sim/mod.rs`; and a fault that breaks it in `tests/planted` |
//! | something that is read | a function in `tests/fuzz/inputs.rs`, with what it promises |
//! | a limit on what others send | `net/limits.rs`, with its reason |
//! | a script | `scripts/`, with `lib.sh`: the comment at its top is what `--help` prints; data of the report need `--write` |
//! | a test | of state: beside it. Of programs: a module of `tests/`, which is one program; it waits for conditions, never for time |
//!
//! `cargo test --lib NAME` runs the fast ones, `cargo test --test main MODULE::NAME` one of the others,
//! `scripts/check.sh` everything.
//!
//! # The threads
//! Each is named after the function that it runs.
//!
//! | thread | how many | what it does |
//! |---|---|---|
//! | `accept_loop` | one a node | starts a thread for every connection |
//! | `serve_node` | one a connection, at the manager | one conversation: a peer's membership, a holder's lease, who has which file, a look |
//! | `probe` | one a new peer, until it has shown that it computes | connects back to see whether others can, and asks for a small product |
//! | `heartbeat` | one, at the manager | pings, and strikes out who is silent |
//! | `broadcast_loop` | one, at the manager | tells everybody the list when it has changed |
//! | `replicate_loop` | one, at the manager | asks peers to fetch the copies that are missing |
//! | `exam_loop` | one, at the manager | has each peer examined that was blamed, or is needed and unproven |
//! | `record_loop` | one, at a manager with `--record` | writes what the board shows into a file |
//! | `examine` | one an examination | asks the peer for a small product, and checks it |
//! | `drain_outbox` | one a listener that is slow, or to whom very much is said, briefly | waits for it, so that nobody else does |
//! | `keep_membership` | one a peer | the conversation with the manager, and coming back |
//! | `serve_peer` | one a connection, at a peer | computes products for others, hears who wants pieces |
//! | `send_pieces` | one for each who wants pieces | sends them, and news of them |
//! | `judge_uploads` | one a peer | judges every ten seconds who is served pieces |
//! | `scan_folder` | one a peer | looks into the shared folder, and moves files in it |
//! | `fetch_ordered` | four a peer | fetch what the manager asks for |
//! | `compute` | one for each further core, while a product is computed | some rows of it, or of one of two |
//! | `load`, `look` | one a multiply, briefly | reads one operand, or its entries, while another reads the other |
//! | `touch`, `times_blocks` | one for each further core, briefly | fresh memory for a product, and the checks of it that can be shared |
//! | `publish` | one a peer | tells the manager what this peer has |
//! | `fetch_from` | one a holder, in a download | takes pieces from it |
//! | `ask_files` | one for each other peer but one, briefly | asks it what it offers |
//! | `watch_lease` | one a lease that is held by hand | says when it has ended |
//! | `keep_lease` | one a held lease | renews it, hears of losses |
//! | `serve_slot` | one a leased slot | sends products to it and takes the answers |
//! | `show_progress` | one for what may take long, a multiply or a download, say | the bar on the terminal |
//! | `serve_client` | one a client of `uppercase` | answers its lines |
//! | `show_lines` | one a prompt on a terminal | shows warnings above the line that is typed |
//! | `say_wait` | one for each question to the manager for which a person waits | says that it takes long, if it does |
//! | `ask_names` | one a Tab, briefly | asks the manager for the names of files |
//! | `hear_signals` | one a program | hears SIGINT, SIGTERM and SIGHUP, but those that were ignored at the start |
//! | `leave` | one a prompt or command, at its end | lets its peer leave, for which nobody waits long |
//! | `leave_on_signal` | one a prompt or command | stops the command of a prompt, or leaves in order, when a signal comes |
//!
//! # The order of locks
//! Almost every lock here is alone: a thread that holds it takes no other. The exceptions, in the order in which they
//! are taken:
//!
//! 1. the last states of the board (`manager::board`), then the manager's table (`manager::desk`), then a listener's
//!    [`net::outbox::Outbox`], whose lock is held for a copy in memory;
//! 2. at a peer: the library, then its place in the network, or one file's pieces;
//! 3. at a peer: a download's neighbours, then the outboxes to them, or what says whether it is wanted: the library, the
//!    orders of replication.
//!
//! No lock is held while a thread waits for somebody else's program. This is wrong:
//!
//! ```text
//! let table = self.table.lock();
//! peer.stream.write_all(&ping)?;            // a peer that does not read stops the whole manager
//! ```
//!
//! and this is right:
//!
//! ```text
//! let line = self.table.lock().lines[&peer].clone();
//! line.send(&ping);                         // queued in memory, sent when the peer takes it
//! ```

pub mod cli;
pub mod clock;
pub mod commands;
pub mod error;
#[cfg(any(test, fuzzing))]
#[path = "../tests/fuzz/inputs.rs"]
pub mod inputs;
pub mod manager;
pub mod matrix;
pub mod net;
pub mod peer;
pub mod share;
pub mod thread;

#[cfg(test)]
#[path = "../tests/sim/mod.rs"]
mod sim;
