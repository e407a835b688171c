//! One connection, one conversation: what every node says, and how it is carried.
//!
//! # The problem
//! TCP carries a stream of bytes between two programs that do not trust each other. A conversation
//! needs messages: whole ones, of known kinds, that come in time or not at all.
//!
//! # The rule
//! A message is one line of JSON, tagged by `type` ([`message`]). Where it carries `"payload": N`, N raw
//! bytes follow the newline. The first line of a connection says which conversation it is, so every
//! node needs one port only ([`server`]). One type reads the socket, and it returns a message, the
//! clean end, or an error; never half a message ([`connection`]). One type writes what several threads
//! have to say to the same listener, and it never waits for it ([`outbox`]).
//!
//! # An example
//! You can be a peer with nothing but a terminal. Lines marked `>` are typed, the others come back:
//!
//! ```text
//! $ nc 127.0.0.1 7000
//! > {"type":"lease","slots":2}
//! {"type":"leased","lease":1763654400000007,"for_ms":30000,"slots":[{"peer":1763654400000001,...,"key":"68c6..."}]}
//! > {"type":"release"}
//! {"type":"released"}
//! > {"type":"leese"}
//! {"type":"error","code":"bad_message","text":"... unknown variant `leese`, expected one of ..."}
//! ```
//!
//! # What is missing
//! Nothing is encrypted: a machine on the way reads everything, tokens and keys ([`key`]), too. All that know the
//! secret of a network can speak to its nodes, and where it has none, all that can reach a port ([`admission`]). A line
//! is read as a whole before it is understood, so a message costs its sender's bandwidth and [`limits::LINE`] bytes of
//! our memory.

pub mod admission;
pub mod connection;
pub(crate) mod http;
pub mod key;
pub mod limits;
pub mod message;
pub mod outbox;
pub(crate) mod places;
pub mod server;
mod timed;

pub use timed::is_timeout;
