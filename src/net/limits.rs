//! Every limit on input that somebody else wrote, in one place, each with its reason.

use std::time::Duration;

/// The longest line a node takes from anybody but its manager, in bytes: room for twice the longest message of a
/// well-behaved peer, which says how far the products of three levels are; and cheap to lose.
pub const LINE: usize = 64 << 10;

/// The longest line a manager may send, in bytes: its list of peers takes about 100 bytes a peer.
pub const MANAGER_LINE: usize = 1 << 20;

/// How long a whole message may take from its first byte to its last, payload aside.
pub const MESSAGE_TIME: Duration = Duration::from_secs(10);

/// How long a new connection may stay silent before it has said what it wants.
pub const FIRST_MESSAGE_TIME: Duration = Duration::from_secs(10);

/// How long a conversation may rest between two of its messages: between peers, or with a manager about leases and
/// files.
pub const REST_TIME: Duration = Duration::from_secs(60);

/// How long a manager may be silent before a peer takes it for dead, however rarely it pings.
pub const SILENCE: Duration = Duration::from_secs(60);

/// The slowest payload that is still worth waiting for, in bytes per second.
pub const PAYLOAD_RATE: u64 = 1 << 20;

/// How long a payload may pause: a sender that was stopped must not keep a slot that others wait for.
pub const STALL_TIME: Duration = Duration::from_secs(5);

/// The head of an HTTP request, in bytes: a browser's, with cookies that others set for this host.
pub const HTTP_HEAD: usize = 16 << 10;

/// How many headers an HTTP request may have.
pub const HTTP_HEADERS: usize = 64;

/// How long the head of an HTTP request may take, from its first byte to its last.
pub const HTTP_HEAD_TIME: Duration = Duration::from_secs(10);

/// How an answer over HTTP must be taken. People have slower links than peers.
pub const HTTP_PACE: Pace = Pace { start: Duration::from_secs(10), rate: 16 << 10, stall: STALL_TIME };

/// What the kernel may hold of an answer over HTTP, in bytes (it doubles this, for needs of its own): what it holds
/// counts as taken. It would hold megabytes, and a reader of 1,000 bytes a second would have three minutes; so it has
/// 46 s.
pub const HTTP_BUFFER: usize = 128 << 10;

/// How long a product may wait at a peer for its `bind`, which takes another way than it.
pub const BIND_LAG: Duration = Duration::from_secs(1);

/// How long a new peer may take for the product by which the manager sees whether it computes; nobody is kept out for
/// it. Longer than [`BIND_LAG`], after which another program at that address refuses that product.
pub const FIRST_EXAM_TIME: Duration = Duration::from_secs(2);

/// How long connecting to a node may take.
pub const CONNECT_TIME: Duration = Duration::from_secs(2);

/// How long a connection that was answered with an error is read on, so that the answer is not
/// destroyed by a reset on its way (RFC 9112, section 9.6, "lingering close").
pub const LINGER_TIME: Duration = Duration::from_secs(1);

/// Bytes that may wait for one listener; one that lets more pile up is dropped.
pub const OUTBOX: usize = 4 << 20;

/// Connections that the kernel may hold ready for `accept` (std asks for 128 only).
pub const BACKLOG: i32 = 4096;

/// Conversations that one node carries on at once: five thousand registered peers, and strangers. Strangers have at
/// most half of them; one more takes the place of the least useful one of the party that has most (`net/places.rs`).
/// Each costs a thread and some 20 KiB.
pub const CONNECTIONS: usize = 8192;

/// The most slots one peer may offer.
pub const SLOTS: u32 = 1024;

/// How many peers one request for slots may avoid, and one more.
pub const AVOID: usize = 65;

/// The operands of one product, in bytes: two blocks of 16,384 x 16,384 numbers.
pub const PRODUCT: u64 = 4 << 30;

/// The hashes of one file's pieces, in bytes: 32 for each of 65,536.
pub const HASHES: u64 = 2 << 20;

/// How many files one manager lists; they take some 300 bytes each in its memory, without their hashes. One more takes
/// the place of one of the peer that has most for itself alone (`manager/state/catalogue.rs`).
pub const FILES: usize = 100_000;

/// The hashes of all files that one manager lists, in bytes.
pub const ALL_HASHES: u64 = 512 << 20;

/// How many drops one manager remembers; they take some 200 bytes each.
pub const DROPS: usize = 100_000;

/// How many of its downloads a peer tells the manager of, for the board.
pub const DOWNLOADS: usize = 8;

/// How many files that cannot be fetched it names.
pub const FAILED: usize = 8;

/// How many of those that want pieces of it it names, the ones that it serves first.
pub const UPLOADS: usize = 16;

/// In how many parts it says of a file which are there: as many as are told apart on the board.
pub const MAP: u32 = 256;

/// Of how many products that were done again a multiply says why.
pub const REDONE: usize = 8;

/// How many products of a multiply are shown on the board: those of three levels.
pub const PRODUCTS: usize = 343;

/// How many requests for pieces one conversation may have open; a well-behaved one keeps a few.
pub const OPEN_REQUESTS: usize = 64;

/// How many conversations about files one peer carries on as a server; see `net/places.rs`.
pub const JOINS: usize = 256;

/// The longest text of an error, in bytes; what others wrote is quoted in it.
pub const ERROR_TEXT: usize = 500;

/// How fast something long must go for it to be worth waiting for.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The time before it is looked at all.
    pub start: Duration,
    /// Bytes per second from then on.
    pub rate: u64,
    /// The longest pause.
    pub stall: Duration,
}

impl Pace {
    /// How long `bytes` may take.
    pub fn time(&self, bytes: u64) -> Duration {
        self.start + Duration::from_secs(bytes / self.rate)
    }
}

/// How a payload must go: at [`PAYLOAD_RATE`], after [`MESSAGE_TIME`].
pub const PAYLOAD_PACE: Pace = Pace { start: MESSAGE_TIME, rate: PAYLOAD_RATE, stall: STALL_TIME };

/// How a piece of a file must come: a peer that serves may have a low `--up`, of which many have a share.
pub const PIECE_PACE: Pace = Pace { start: MESSAGE_TIME, rate: 1 << 10, stall: STALL_TIME };
