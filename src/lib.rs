//! peerlab: a peer-to-peer network to read, run and measure.
//!
//! An always-on **manager** and any number of **peers**, each client and server at once. Peers lease each
//! other's slots, first come, first served, and multiply large matrices with Strassen's seven products; they
//! share files in verified pieces, and keep a copy of every file on every peer. It is written to be read:
//! every module begins with a lecture on its subject. Read it floor by floor, the ground floor first. The whole
//! protocol stands in [`net::message`].
//!
//! # The house
//! A room knows only the rooms below it.
//!
//! | floor | rooms |
//! |---|---|
//! | the programs | `bin/manager`, `bin/peer`, `bin/uppercase`; what they share: [`cli`] |
//! | two sides that do not know each other | [`manager`], [`peer`] |
//! | how nodes talk | [`net`] |
//! | the ground | [`matrix`], [`share`], [`error`], [`clock`] |
//!
//! # Thinking apart from waiting
//! Some modules *think*: plain state that is changed by plain calls, without sockets, threads or a clock;
//! time and randomness are passed in. Those are all of [`matrix`] (but a product uses all cores), of [`share`]
//! (but its `store` reads and writes the disk), and [`manager::state`], [`manager::board`], `peer::serve::bindings` and [`peer::watch`]. They can be tested as tables, by
//! properties and by the million. The others *wait*: threads that
//! move bytes in and out of that state.
//!
//! # The threads
//! Each is named after the function that it runs.
//!
//! | thread | how many | what it does |
//! |---|---|---|
//! | `accept_loop` | one a node | starts a thread for every connection |
//! | `serve_node` | one a connection, at the manager | one conversation: a peer's membership, a holder's lease, who has which file, a look |
//! | `probe` | one a new peer, briefly | connects back to see whether others can |
//! | `heartbeat` | one, at the manager | pings, and strikes out who is silent |
//! | `broadcast_loop` | one, at the manager | tells everybody the list when it has changed |
//! | `replicate_loop` | one, at the manager | asks peers to fetch the copies that are missing |
//! | `drain_outbox` | one a listener that is slow, or to whom very much is said, briefly | waits for it, so that nobody else does |
//! | `keep_membership` | one a peer | the conversation with the manager, and coming back |
//! | `serve_peer` | one a connection, at a peer | computes products for others, hears who wants pieces |
//! | `send_pieces` | one for each who wants pieces | sends them, and news of them |
//! | `judge_uploads` | one a peer | judges every ten seconds who is served pieces |
//! | `scan_folder` | one a peer | looks into the shared folder, and moves files in it |
//! | `obey_fetch` | four a peer | fetch what the manager asks for |
//! | `compute_rows` | one for each further core, while a product is computed | one of two products, or its share of the rows |
//! | `load` | one a multiply, briefly | reads the right operand while another reads the left one |
//! | `touch`, `times_blocks` | one for each further core, briefly | fresh memory for a product, and the checks of it that can be shared |
//! | `publish` | one a peer | tells the manager what this peer has |
//! | `fetch_from` | one a holder, in a download | takes pieces from it |
//! | `ask_files` | one for each other peer, briefly | asks it what it offers |
//! | `keep_lease` | one a held lease | renews it, hears of losses |
//! | `serve_slot` | one a leased slot | sends products to it and takes the answers |
//! | `tell_progress` | one a multiply, while it has a lease | tells the manager how far the products are |
//! | `show_progress` | one a multiply or download | the bar on the terminal |
//! | `leave_on_signal` | one a prompt or command | leaves in order when a signal comes |
//!
//! # The order of locks
//! Almost every lock here is alone: whoever holds it takes no other. The exceptions, in the order in
//! which they are taken:
//!
//! 1. the manager's table ([`manager::desk::Desk`]), then a listener's [`net::outbox::Outbox`], whose
//!    lock is held for a copy in memory;
//! 2. a peer's membership, then its bindings, the list of what it offers, or the outbox to the manager;
//! 3. a download's state, then the outboxes to its holders;
//! 4. the drops that a peer remembers, then the outbox to the manager;
//! 5. the list of what a peer offers, its upload desk, or the account of a download, then one file's pieces.
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
pub mod manager;
pub mod matrix;
pub mod net;
pub mod peer;
pub mod share;
pub mod thread;
