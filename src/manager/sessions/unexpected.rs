//! What is said to one that says something at the wrong time.

use crate::error::{Code, Error};
use crate::net::message::ToManager;

/// This message is one of the protocol, but not one of those that are expected here.
pub(super) fn unexpected(message: &ToManager, expected: &str) -> Error {
    let text = serde_json::to_string(message).unwrap_or_default();
    Error::new(Code::BadMessage, format!("not expected now: {text:.200}"))
        .advise(format!("say {expected} here"))
}
