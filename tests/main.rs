//! Every integration test, in one program: it is linked once. Each file looks at one subject from the outside;
//! `cargo test --test main leases::` runs those of one file.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod admission;
mod advice;
mod board;
mod charts;
mod common;
mod failures;
mod files;
mod house;
mod http;
mod lab;
mod leases;
mod multiply;
mod orders;
mod planted;
mod programs;
mod python;
mod replication;
mod report;
mod terminal;
mod uppercase;
mod wire;
