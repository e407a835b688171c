//! Every limit on input that somebody else wrote, in one place, each with its reason.

use std::time::Duration;

/// The longest line a node takes from anybody but its manager, in bytes: room for the longest message
/// of a well-behaved peer a hundred times over, and cheap to lose.
pub const LINE: usize = 64 << 10;

/// The longest line a manager may send, in bytes: its list of peers takes about 100 bytes a peer.
pub const MANAGER_LINE: usize = 1 << 20;

/// How long a whole message may take from its first byte to its last, payload aside.
pub const MESSAGE_TIME: Duration = Duration::from_secs(10);

/// How long a new connection may stay silent before it has said what it wants.
pub const FIRST_MESSAGE_TIME: Duration = Duration::from_secs(10);

/// How long a conversation between peers may rest between two of its messages.
pub const REST_TIME: Duration = Duration::from_secs(60);

/// The slowest payload that is still worth waiting for, in bytes per second.
pub const PAYLOAD_RATE: u64 = 1 << 20;

/// How long a payload may pause: a sender that was stopped must not keep a slot that others wait for.
pub const STALL_TIME: Duration = Duration::from_secs(5);

/// How long connecting to a node may take.
pub const CONNECT_TIME: Duration = Duration::from_secs(2);

/// How long a connection that was answered with an error is read on, so that the answer is not
/// destroyed by a reset on its way (RFC 9112, section 9.6, "lingering close").
pub const LINGER_TIME: Duration = Duration::from_secs(1);

/// Bytes that may wait for one listener; who lets more pile up is dropped.
pub const OUTBOX: usize = 4 << 20;

/// Connections that the kernel may hold ready for `accept` (std asks for 128 only).
pub const BACKLOG: i32 = 4096;

/// Conversations that one node carries on at once; one more is refused in words.
pub const CONNECTIONS: usize = 4096;

/// The longest name of a peer, in bytes.
pub const NAME: usize = 64;

/// The most slots one peer may offer.
pub const SLOTS: u32 = 1024;

/// The operands of one product, in bytes: two blocks of 16,384 x 16,384 numbers.
pub const PRODUCT: u64 = 4 << 30;

/// The hashes of one file's pieces, in bytes: 32 for each of 65,536.
pub const HASHES: u64 = 2 << 20;

/// How many files one manager lists; they take some 300 bytes each in its memory, without their hashes.
pub const FILES: usize = 100_000;

/// The hashes of all files that one manager lists, in bytes.
pub const ALL_HASHES: u64 = 512 << 20;

/// What the files may take of one `state` message, in bytes; the rest of the line is for peers and events.
pub const STATE_FILES: usize = 512 << 10;

/// How many requests for pieces one conversation may have open; a well-behaved one keeps a few.
pub const OPEN_REQUESTS: usize = 64;

/// How many conversations about files one peer carries on as a server.
pub const JOINS: usize = 256;

/// The longest text of an error, in bytes; what others wrote is quoted in it.
pub const ERROR_TEXT: usize = 500;

/// How long `bytes` of a payload may take: [`MESSAGE_TIME`], and longer the more they are.
pub fn payload_time(bytes: u64) -> Duration {
    MESSAGE_TIME + Duration::from_secs(bytes / PAYLOAD_RATE)
}
