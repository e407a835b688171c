//! The peer in Python, and the saboteurs that are built on it.
