//! The one target: the environment variable `INPUT` says which of the inputs is fuzzed.
#![no_main]

use std::sync::LazyLock;

use peerlab::inputs::{INPUTS, Input};

static INPUT: LazyLock<Input> = LazyLock::new(|| {
    let wanted = std::env::var("INPUT").unwrap_or_default();
    let found = INPUTS.into_iter().find(|(name, _)| *name == wanted);
    found.unwrap_or_else(|| panic!("INPUT is one of {:?}", INPUTS.map(|(name, _)| name))).1
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| INPUT(bytes));
